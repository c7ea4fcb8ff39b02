//! Wakes from other threads for a core that may sleep in its network ring, where glommio cannot reach it.
//!
//! Owns: who has called and was not answered yet, and the eventfd that ends a nap.
//! Invariants: every wake through [`from_outside`] reaches its task whatever the core does: while the core is up or naps, its
//! driver answers ([`Doorbell::answer`]); while it sleeps in glommio, or no driver has installed a doorbell, the wake goes
//! through glommio; which of these holds is decided under one lock, so none is lost in between. A nap never begins before
//! every caller was answered. At most one write to the eventfd ends one nap.
//! Failure: a thread that is no core, or a core without the ring, has no doorbell: wakes are glommio's there.
//! Waits for other threads that do not go through [`from_outside`] are late by one nap at most, never lost.
//! Not here: when to nap (`net::ring::driver`).

use parking_lot::Mutex;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

thread_local! {
    static OWN: RefCell<Option<Arc<Doorbell>>> = const { RefCell::new(None) };
}

/// What the core does that a call has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It comes round to its callers by itself.
    Up,
    /// It waits in the ring for completions, the read of the eventfd among them.
    Napping,
    /// It waits in glommio, or has ended.
    Asleep,
}

#[derive(Debug)]
struct Door {
    state: State,
    callers: Vec<Arc<Caller>>,
    /// Ends a nap. `None` once the core has ended: its driver, which is never dropped, still holds the doorbell.
    event: Option<Arc<OwnedFd>>,
}

/// One core's doorbell.
#[derive(Debug)]
pub(crate) struct Doorbell {
    door: Mutex<Door>,
}

/// Who waits on a core for something from outside.
#[derive(Debug)]
struct Caller {
    bell: Arc<Doorbell>,
    task: Waker,
}

impl Doorbell {
    /// The calling core's doorbell from now on.
    pub(crate) fn install() -> io::Result<Arc<Self>> {
        let bell = Arc::new(Self {
            door: Mutex::new(Door {
                state: State::Up,
                callers: Vec::new(),
                event: Some(Arc::new(make_event()?)),
            }),
        });
        OWN.set(Some(bell.clone()));
        Ok(bell)
    }

    /// Wakes everybody who has called, and tells how many. On its own core only.
    pub(crate) fn answer(&self) -> usize {
        let mut callers = {
            let mut door = self.door.lock();
            if door.callers.is_empty() {
                return 0;
            }
            mem::take(&mut door.callers)
        };
        let count = callers.len();
        // Outside the lock: whoever is woken here may call again.
        for caller in callers.drain(..) {
            caller.task.wake_by_ref();
        }
        self.keep_room(callers);
        count
    }

    /// Spares an allocation a call.
    fn keep_room(&self, empty: Vec<Arc<Caller>>) {
        let mut door = self.door.lock();
        if door.callers.capacity() == 0 {
            door.callers = empty;
        }
    }

    /// What tells the next call: eight bytes can be read there. `None`: somebody has called, answer first.
    pub(crate) fn begin_nap(&self) -> Option<Arc<OwnedFd>> {
        let mut door = self.door.lock();
        let event = door.event.clone().filter(|_| door.callers.is_empty())?;
        door.state = State::Napping;
        Some(event)
    }

    /// `false`: somebody has called, answer first. Otherwise the next call goes through glommio.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut door = self.door.lock();
        if door.callers.is_empty() {
            door.state = State::Asleep;
        }
        door.state == State::Asleep
    }

    pub(crate) fn get_up(&self) {
        self.door.lock().state = State::Up;
    }

    /// The core's executor has ended. Its tasks' wakers are not dropped: glommio would want to run such a task once more.
    pub(crate) fn end(&self) {
        OWN.set(None);
        let mut door = self.door.lock();
        door.state = State::Asleep;
        door.event = None;
        mem::forget(mem::take(&mut door.callers));
    }

    fn is_own(&self) -> bool {
        OWN.with_borrow(|own| {
            own.as_ref()
                .is_some_and(|own| std::ptr::eq(&raw const **own, self))
        })
    }
}

impl Wake for Caller {
    fn wake(self: Arc<Self>) {
        if self.bell.is_own() {
            self.task.wake_by_ref();
            return;
        }
        let mut door = self.bell.door.lock();
        let state = door.state;
        if state == State::Asleep {
            drop(door);
            self.task.wake_by_ref();
            return;
        }
        door.callers.push(self.clone());
        if state == State::Napping {
            door.state = State::Up;
            let event = door.event.clone();
            drop(door);
            event.iter().for_each(|event| ring(event));
        }
    }
}

/// A wait for what another thread brings about: its wake finds this core whether it is up, naps or sleeps.
pub(crate) fn from_outside<F: Future>(wait: F) -> FromOutside<F> {
    FromOutside { wait }
}

pin_project_lite::pin_project! {
    /// See [`from_outside`].
    pub(crate) struct FromOutside<F> {
        #[pin]
        wait: F,
    }
}

impl<F: Future> Future for FromOutside<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(bell) = OWN.with_borrow(Clone::clone) else {
            return self.project().wait.poll(cx);
        };
        let task = cx.waker().clone();
        let caller = Waker::from(Arc::new(Caller { bell, task }));
        self.project().wait.poll(&mut Context::from_waker(&caller))
    }
}

/// An eventfd that blocks, as whoever reads it through io_uring wants to wait.
pub(crate) fn make_event() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; the descriptor is new and nobody else's.
    unsafe {
        match libc::eventfd(0, libc::EFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn ring(event: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes are read from memory that is there; the descriptor is open as long as it is borrowed. It cannot fail:
    // the counter is far from full.
    unsafe { libc::write(event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    struct Fixture {
        bell: Arc<Doorbell>,
        woken: Arc<Count>,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                bell: Doorbell::install().unwrap(),
                woken: Arc::default(),
            }
        }

        fn caller(&self) -> Waker {
            Waker::from(Arc::new(Caller {
                bell: self.bell.clone(),
                task: Waker::from(self.woken.clone()),
            }))
        }

        fn call_from_another_thread(&self) {
            let caller = self.caller();
            std::thread::spawn(move || caller.wake()).join().unwrap();
        }

        fn count(&self) -> usize {
            self.woken.0.load(Ordering::SeqCst)
        }
    }

    /// What was written to the eventfd since the last look.
    fn rings(event: &OwnedFd) -> u64 {
        let mut count = 0u64;
        let mut poll = libc::pollfd {
            fd: event.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd and eight bytes are there; the descriptor is open.
        unsafe {
            if libc::poll(&raw mut poll, 1, 0) == 1 {
                libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8);
            }
        }
        count
    }

    #[test]
    fn while_the_core_is_up_calls_wait_for_its_answer() {
        let fixture = Fixture::new();
        fixture.call_from_another_thread();
        fixture.call_from_another_thread();
        assert_eq!(fixture.count(), 0);
        assert!(fixture.bell.begin_nap().is_none(), "first the answer");
        assert!(!fixture.bell.fall_asleep(), "first the answer");
        assert_eq!(fixture.bell.answer(), 2);
        assert_eq!((fixture.count(), fixture.bell.answer()), (2, 0));
    }

    #[test]
    fn the_first_call_ends_a_nap_and_others_need_not() {
        let fixture = Fixture::new();
        let event = fixture.bell.begin_nap().unwrap();
        fixture.call_from_another_thread();
        fixture.call_from_another_thread();
        assert_eq!(rings(&event), 1);
        fixture.bell.get_up();
        assert_eq!((fixture.bell.answer(), fixture.count()), (2, 2));
        fixture.call_from_another_thread();
        assert_eq!(rings(&event), 0, "nobody naps");
    }

    #[test]
    fn a_core_that_sleeps_or_has_ended_is_woken_directly() {
        let fixture = Fixture::new();
        assert!(fixture.bell.fall_asleep());
        fixture.call_from_another_thread();
        assert_eq!(fixture.count(), 1);
        fixture.bell.get_up();
        fixture.bell.end();
        fixture.call_from_another_thread();
        assert_eq!(fixture.count(), 2);
        assert!(fixture.bell.begin_nap().is_none(), "it has ended");
    }

    #[test]
    fn a_wake_on_the_own_core_goes_straight_to_the_task() {
        let fixture = Fixture::new();
        fixture.caller().wake();
        assert_eq!((fixture.count(), fixture.bell.answer()), (1, 0));
        assert!(fixture.bell.fall_asleep());
        fixture.caller().wake_by_ref();
        assert_eq!(fixture.count(), 2);
    }
}
