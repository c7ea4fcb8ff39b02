//! Requests between cores: a bounded inbox per core, a reply slot per request, wakes across threads.
//!
//! Invariants: a request that was accepted is answered exactly once, by its reply or by [`CoreGone`]; the slot for the reply
//! is made with the request, so a reply never waits and is never lost; a full inbox makes callers wait in the order they
//! came (`tokio::sync::Semaphore` is fair and wakes any executor); requests of the own core are calls, not messages.
//! Dropping a call does not recall its request: once accepted it runs to its end, on the own core too.
//! Limits: [`INBOX_REQUESTS_MAX`] waiting per core, [`SERVE_BATCH`] taken before I/O is let in.
//! Failure: a request that panics answers [`CoreGone`] to its caller and is logged; a core that ends, even by a panic, answers
//! it to everybody.
//! A task that waits for many calls at once must do so through a combinator with wakers of its own (`FuturesUnordered`):
//! glommio panics at the 32,768th clone of one task's waker, and every call under way holds one.
//! glommio's own channels are not used: they are polled, single-producer and have a history of hangs. A wake from another
//! core goes through that core's doorbell (`doorbell`), or glommio's eventfd while it sleeps there.
//! Not here: what is asked.

use super::doorbell::from_outside;
use super::executor::{at_core_end, is_on_core, report_panic, spawn_detached};
use crate::base::meter::{Counter, Micros};
use crossbeam::queue::ArrayQueue;
use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::sync::{Semaphore, TryAcquireError};

/// Requests that wait in one core's inbox before callers wait outside. Enough for every connection of a busy core to have
/// one under way while that core sleeps 1 ms in a sync; each holds only its own message.
pub const INBOX_REQUESTS_MAX: usize = 4096;

/// Requests started in one go before the reactor is visited, so that a flood of them does not keep sockets and disk of the
/// serving core waiting.
const SERVE_BATCH: usize = 128;

/// The other core has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other core has ended")]
pub struct CoreGone;

/// Where one reply goes. Filled once, by the serving core.
struct Slot<Rep>(Mutex<SlotState<Rep>>);

struct SlotState<Rep> {
    answer: Option<Result<Rep, CoreGone>>,
    waker: Option<Waker>,
    is_answered: bool,
}

impl<Rep> Slot<Rep> {
    fn new() -> Self {
        Self(Mutex::new(SlotState {
            answer: None,
            waker: None,
            is_answered: false,
        }))
    }

    /// The first answer counts.
    fn answer(&self, answer: Result<Rep, CoreGone>) {
        let waker = {
            let mut state = self.0.lock();
            if state.is_answered {
                return;
            }
            state.is_answered = true;
            state.answer = Some(answer);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<Rep, CoreGone>> {
        let mut state = self.0.lock();
        if let Some(answer) = state.answer.take() {
            return Poll::Ready(answer);
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// The serving side's duty to answer; dropped without an answer it answers [`CoreGone`].
struct Answer<Rep>(Arc<Slot<Rep>>);

impl<Rep> Drop for Answer<Rep> {
    fn drop(&mut self) {
        self.0.answer(Err(CoreGone));
    }
}

struct Envelope<Req, Rep> {
    request: Req,
    answer: Answer<Rep>,
    sent_at: Instant,
}

/// What went through one core's endpoint, for metrics; see `base::meter`.
#[derive(Debug, Default)]
pub struct MeshMeters {
    /// Requests of this core to others.
    pub calls: Counter,
    /// How long requests of others waited for this core, from the moment they had room.
    pub waited: Micros,
}

/// What all cores share of one core.
struct Inbox<Req, Rep> {
    waiting: ArrayQueue<Envelope<Req, Rep>>,
    /// One permit per free place in `waiting`, so a push with a permit always finds room.
    room: Semaphore,
    server: AtomicWaker,
    /// No more requests are accepted; those accepted are served.
    is_closed: AtomicBool,
    /// Nobody will serve any more.
    has_ended: AtomicBool,
}

impl<Req, Rep> Inbox<Req, Rep> {
    fn new() -> Self {
        Self {
            waiting: ArrayQueue::new(INBOX_REQUESTS_MAX),
            room: Semaphore::new(INBOX_REQUESTS_MAX),
            server: AtomicWaker::new(),
            is_closed: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
        }
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.room.close();
        self.server.wake();
    }

    /// Every request accepted and not yet taken is answered [`CoreGone`] (by the drop of its duty).
    fn end(&self) {
        self.close();
        self.has_ended.store(true, Ordering::SeqCst);
        while self.waiting.pop().is_some() {}
    }

    async fn push(&self, envelope: Envelope<Req, Rep>) -> Result<(), CoreGone> {
        self.take_room().await?;
        if self.waiting.push(envelope).is_err() {
            debug_assert!(false, "a permit without room");
            return Err(CoreGone);
        }
        self.server.wake();
        // `end` empties the inbox once; a push that came between its flag and now is taken back here.
        if self.has_ended.load(Ordering::SeqCst) {
            while self.waiting.pop().is_some() {}
        }
        Ok(())
    }

    /// Takes a place in `waiting`. There mostly is one, which needs no waker that finds this core.
    async fn take_room(&self) -> Result<(), CoreGone> {
        let room = match self.room.try_acquire() {
            Err(TryAcquireError::NoPermits) => {
                from_outside(self.room.acquire()).await.map_err(|_| CoreGone)?
            }
            room => room.map_err(|_| CoreGone)?,
        };
        room.forget();
        Ok(())
    }

    fn take(&self) -> Option<Envelope<Req, Rep>> {
        let envelope = self.waiting.pop()?;
        self.room.add_permits(1);
        Some(envelope)
    }
}

struct EndOnDrop<'a, Req, Rep>(&'a Inbox<Req, Rep>);

impl<Req, Rep> Drop for EndOnDrop<'_, Req, Rep> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request being served; a panic in it is its answer.
type LocalReply<Rep> = Pin<Box<dyn Future<Output = Result<Rep, CoreGone>>>>;

/// The serving function of the own core, for calls without a message.
struct OwnServe<Req, Rep>(Rc<dyn Fn(Req) -> LocalReply<Rep>>);

thread_local! {
    /// The own core's serving functions by endpoint. Here and not in the endpoint, which must be able to travel to its core.
    static OWN_SERVE: RefCell<HashMap<u64, Rc<dyn Any>>> = RefCell::new(HashMap::new());
}

static NEXT_ENDPOINT: AtomicU64 = AtomicU64::new(0);

/// One core's end of the mesh: requests to any core (the own one included), bounded, waker-based.
pub struct Endpoint<Req, Rep> {
    id: u64,
    own: usize,
    inboxes: Arc<[Inbox<Req, Rep>]>,
    meters: Arc<MeshMeters>,
}

impl<Req, Rep> Drop for Endpoint<Req, Rep> {
    /// A core that gives up its endpoint, perhaps before it ever served, serves nobody any more.
    fn drop(&mut self) {
        self.inboxes[self.own].end();
    }
}

/// A connected endpoint per core, each to be moved to its thread.
pub fn mesh<Req: Send + 'static, Rep: Send + 'static>(cores: usize) -> Vec<Endpoint<Req, Rep>> {
    let inboxes: Arc<[_]> = (0..cores).map(|_| Inbox::new()).collect();
    (0..cores)
        .map(|own| Endpoint {
            id: NEXT_ENDPOINT.fetch_add(1, Ordering::Relaxed),
            own,
            inboxes: inboxes.clone(),
            meters: Arc::default(),
        })
        .collect()
}

impl<Req: Send + 'static, Rep: Send + 'static> Endpoint<Req, Rep> {
    /// What went through it so far.
    #[must_use]
    pub fn meters(&self) -> &Arc<MeshMeters> {
        &self.meters
    }

    /// Waits for room, sends, waits for the reply. Room for the reply is reserved with the request.
    /// `CoreGone` is also what a request answers that panicked.
    ///
    /// # Panics
    /// When there is no such core.
    pub async fn call(&self, core: usize, request: Req) -> Result<Rep, CoreGone> {
        let inbox = &self.inboxes[core];
        if core == self.own
            && let Some(serve) = self.own_serve()
        {
            if inbox.is_closed.load(Ordering::Relaxed) {
                return Err(CoreGone);
            }
            return OwnCall {
                reply: Some(serve(request)),
            }
            .await;
        }
        let slot = Arc::new(Slot::new());
        let answer = Answer(slot.clone());
        self.meters.calls.add(1);
        let envelope = Envelope {
            request,
            answer,
            sent_at: Instant::now(),
        };
        inbox.push(envelope).await?;
        from_outside(poll_fn(|cx| slot.poll(cx))).await
    }

    /// Serves requests from all cores until [`Endpoint::close`]: one local task per request, so none waits for another.
    /// What was accepted before the close is still served; requests under way may outlive this call.
    pub async fn serve<S, F>(&self, serve: S)
    where
        S: Fn(Req) -> F + 'static,
        F: Future<Output = Rep> + 'static,
    {
        let serve = Rc::new(serve);
        self.register_own_serve(serve.clone());
        let under_way = UnderWay::new(&self.inboxes, self.own);
        let inbox = &self.inboxes[self.own];
        // Also when this wait is dropped: a request pushed after the last look would never be answered.
        let _ended = EndOnDrop(inbox);
        loop {
            for _ in 0..SERVE_BATCH {
                let Some(envelope) = inbox.take() else {
                    break;
                };
                self.meters.waited.record_since(envelope.sent_at);
                let (request, answer) = (envelope.request, envelope.answer);
                let key = under_way.insert(answer.0.clone());
                let (serve, under_way) = (serve.clone(), under_way.clone());
                spawn_detached("mesh request", async move {
                    let _done = Done { under_way, key };
                    let reply = serve(request).await;
                    answer.0.answer(Ok(reply));
                });
            }
            if inbox.waiting.is_empty() {
                if from_outside(poll_fn(|cx| Self::poll_more(inbox, cx))).await {
                    continue;
                }
                break;
            }
            super::breathe().await;
        }
    }

    /// True: requests wait. False: closed and all taken.
    fn poll_more(inbox: &Inbox<Req, Rep>, cx: &Context<'_>) -> Poll<bool> {
        inbox.server.register(cx.waker());
        // Looked at after registering: a push before it is seen here, a later one wakes.
        if !inbox.waiting.is_empty() {
            return Poll::Ready(true);
        }
        if inbox.is_closed.load(Ordering::SeqCst) {
            return Poll::Ready(!inbox.waiting.is_empty());
        }
        Poll::Pending
    }

    /// This core accepts no more requests; [`Endpoint::serve`] ends when it has taken those it accepted.
    pub fn close(&self) {
        self.inboxes[self.own].close();
    }

    fn own_serve(&self) -> Option<Rc<dyn Fn(Req) -> LocalReply<Rep>>> {
        OWN_SERVE.with_borrow(|all| {
            let serve = all.get(&self.id)?.downcast_ref::<OwnServe<Req, Rep>>()?;
            Some(serve.0.clone())
        })
    }

    fn register_own_serve<S, F>(&self, serve: Rc<S>)
    where
        S: Fn(Req) -> F + 'static,
        F: Future<Output = Rep> + 'static,
    {
        let boxed = move |request| -> LocalReply<Rep> {
            let serve = serve.clone();
            Box::pin(async move {
                // The call itself is inside the future, so that its panic is contained with the future's.
                let reply = AssertUnwindSafe(async { serve(request).await });
                reply.catch_unwind().await.map_err(|panic| {
                    report_panic("request of the own core", &*panic);
                    CoreGone
                })
            })
        };
        let own = OwnServe::<Req, Rep>(Rc::new(boxed));
        OWN_SERVE.with_borrow_mut(|all| all.insert(self.id, Rc::new(own)));
        let id = self.id;
        at_core_end(move || {
            OWN_SERVE.with_borrow_mut(|all| all.remove(&id));
        });
    }
}

/// Slots of requests this core has taken and not answered, so that its end can answer them: an executor that ends does not
/// drop its tasks, and with them their duty to answer.
struct UnderWay<Rep> {
    slots: RefCell<Vec<Option<Arc<Slot<Rep>>>>>,
    /// Indices of empty places in `slots`.
    free: RefCell<Vec<usize>>,
}

impl<Rep: Send + 'static> UnderWay<Rep> {
    fn new<Req: Send + 'static>(inboxes: &Arc<[Inbox<Req, Rep>]>, own: usize) -> Rc<Self> {
        let new = Rc::new(Self {
            slots: RefCell::default(),
            free: RefCell::default(),
        });
        let (under_way, inboxes) = (new.clone(), inboxes.clone());
        at_core_end(move || {
            inboxes[own].end();
            let slots = under_way.slots.take();
            slots.iter().flatten().for_each(|slot| slot.answer(Err(CoreGone)));
        });
        new
    }
}

impl<Rep> UnderWay<Rep> {
    fn insert(&self, slot: Arc<Slot<Rep>>) -> usize {
        let mut slots = self.slots.borrow_mut();
        if let Some(key) = self.free.borrow_mut().pop() {
            slots[key] = Some(slot);
            return key;
        }
        slots.push(Some(slot));
        slots.len() - 1
    }
}

struct Done<Rep> {
    under_way: Rc<UnderWay<Rep>>,
    key: usize,
}

impl<Rep> Drop for Done<Rep> {
    fn drop(&mut self) {
        // After the end of the core there are no places any more.
        if let Some(place) = self.under_way.slots.borrow_mut().get_mut(self.key) {
            *place = None;
            self.under_way.free.borrow_mut().push(self.key);
        }
    }
}

/// A call of the own core. Dropped halfway it goes on as a task: a commit must not depend on whether its caller waits.
struct OwnCall<Rep: 'static> {
    reply: Option<LocalReply<Rep>>,
}

impl<Rep: 'static> Future for OwnCall<Rep> {
    type Output = Result<Rep, CoreGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(reply) = &mut self.reply else {
            return Poll::Ready(Err(CoreGone));
        };
        let answer = reply.as_mut().poll(cx);
        if answer.is_ready() {
            self.reply = None;
        }
        answer
    }
}

impl<Rep: 'static> Drop for OwnCall<Rep> {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take()
            && is_on_core()
        {
            spawn_detached("mesh request whose caller left", async move {
                let _ = reply.await;
            });
        }
    }
}
