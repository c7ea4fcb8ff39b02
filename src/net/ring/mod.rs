//! An io_uring ring of our own inside the executor: receives into provided buffers, sends of owned bytes, multishot accept.
//!
//! Owns: every socket of its core that was accepted or attached by this back end.
//! Invariants: one ring a thread, made at first use and ended with the executor, which closes its sockets; requests of all
//! tasks that ran since the last turn go to the kernel in one call.
//! Failure: a kernel that refuses (before 5.19, a seccomp filter, limits) is told by [`Ring::of_this_core`], and the caller
//! takes the other back end; after the executor's end every call fails.
//! Against glommio's `TcpStream`, which receives with a system call of its own and waits by a poll request: see
//! `benches/mesh`.
//! Not here: `unsafe` (`uring`), TLS, deadlines (`conn`).

mod driver;
mod sockets;
#[cfg(test)]
mod tests;
mod uring;

use crate::base::buffer::BufLease;
use crate::runtime::{self, Doorbell};
use sockets::Sockets;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use uring::Uring;

thread_local! {
    static RING: RefCell<Option<Rc<Ring>>> = const { RefCell::new(None) };
}

/// One core's ring.
pub(super) struct Ring {
    /// `None` after the executor's end.
    sockets: RefCell<Option<Sockets>>,
    /// `None` after the executor's end, too: the driver, which is never dropped, still holds the ring.
    bell: Cell<Option<OwnedFd>>,
    /// Through which other threads wake tasks of this core.
    doorbell: Arc<Doorbell>,
    /// What the driver reads from to reach glommio's reactor; as the bell.
    null: Cell<Option<OwnedFd>>,
    /// The driver, while it sleeps.
    sleeper: Cell<Option<Waker>>,
    was_kicked: Cell<bool>,
    /// Room for wakers, kept between turns.
    wakers: Cell<Vec<Waker>>,
}

impl Ring {
    /// The ring of this core, made now if there is none. Only on a core whose executor runs.
    pub(super) fn of_this_core() -> io::Result<Rc<Self>> {
        if let Some(ring) = RING.with_borrow(Clone::clone) {
            return Ok(ring);
        }
        let bell = runtime::make_event()?;
        let doorbell = Doorbell::install()?;
        let uring = Uring::new(bell.as_fd())?;
        let null = std::fs::File::open("/dev/null")?;
        Ok(Self::start(bell, doorbell, null.into(), uring))
    }

    fn start(bell: OwnedFd, doorbell: Arc<Doorbell>, null: OwnedFd, uring: Uring) -> Rc<Self> {
        let files = (uring::file(&bell), uring::file(&null));
        let ring = Rc::new(Self {
            sockets: RefCell::new(Some(Sockets::new(uring))),
            bell: Cell::new(Some(bell)),
            doorbell,
            null: Cell::new(Some(null)),
            sleeper: Cell::new(None),
            was_kicked: Cell::new(false),
            wakers: Cell::default(),
        });
        RING.set(Some(ring.clone()));
        runtime::spawn_detached("network ring", driver::drive(ring.clone(), files.0, files.1));
        let ended = ring.clone();
        runtime::at_core_end(move || ended.end());
        ring
    }

    /// Closes every socket. The executor has ended: its tasks, the driver among them, are gone without having been dropped.
    fn end(&self) {
        RING.set(None);
        self.doorbell.end();
        std::mem::forget(self.sleeper.take());
        let sockets = self.sockets.take();
        drop(sockets.map(Sockets::without_wakers));
        drop((self.bell.take(), self.null.take()));
    }

    fn turn(&self, wait_for: u32) -> io::Result<usize> {
        self.turn_by(|sockets, wakers| sockets.turn(wait_for, wakers))
    }

    /// Sleeps in the kernel until something completes, somebody calls from outside, or `longest` is over. Tells how much
    /// has completed.
    fn nap(&self, longest: Duration) -> io::Result<usize> {
        let Some(event) = self.doorbell.begin_nap() else {
            return Ok(0);
        };
        let napped = self.turn_by(|sockets, wakers| sockets.nap(event.as_fd(), longest, wakers));
        self.doorbell.get_up();
        napped
    }

    fn turn_by(
        &self,
        act: impl FnOnce(&mut Sockets, &mut Vec<Waker>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut wakers = self.wakers.take();
        let turned = match &mut *self.sockets.borrow_mut() {
            Some(sockets) => act(sockets, &mut wakers),
            None => Err(ended()),
        };
        // After the borrow: whoever is woken may come back here.
        wakers.drain(..).for_each(Waker::wake);
        self.wakers.set(wakers);
        turned
    }

    fn may_sleep(&self) -> bool {
        self.with(Sockets::may_sleep).unwrap_or(true)
    }

    fn wake_up(&self) {
        self.sleeper.set(None);
        self.was_kicked.set(false);
        let _ = self.with(Sockets::wake_up);
    }

    /// Were requests made since the driver went to sleep? If not, the next one wakes it.
    fn is_kicked(&self, cx: &Context<'_>) -> bool {
        if self.was_kicked.get() {
            return true;
        }
        self.sleeper.set(Some(cx.waker().clone()));
        false
    }

    /// Requests were made.
    fn kick(&self) {
        if let Some(driver) = self.sleeper.take() {
            self.was_kicked.set(true);
            driver.wake();
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Sockets) -> T) -> io::Result<T> {
        self.sockets.borrow_mut().as_mut().map(act).ok_or_else(ended)
    }

    fn poll_with<T>(&self, act: impl FnOnce(&mut Sockets) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let polled = self.with(act).unwrap_or_else(|error| Poll::Ready(Err(error)));
        if polled.is_pending() {
            self.kick();
        }
        polled
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the core has ended")
}

/// A connected TCP socket on the ring.
pub(super) struct RingStream {
    ring: Rc<Ring>,
    key: u32,
    /// Owned by the ring's table; open as long as this stream holds `key`.
    fd: RawFd,
    is_held: bool,
    /// See [`Self::expect_input`].
    expects_input: bool,
}

impl std::fmt::Debug for RingStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingStream").field("fd", &self.fd).finish()
    }
}

impl RingStream {
    pub(super) fn new(ring: &Rc<Ring>, fd: OwnedFd) -> io::Result<Self> {
        let raw = fd.as_raw_fd();
        let key = ring.with(|sockets| sockets.add(fd))?;
        Ok(Self {
            ring: ring.clone(),
            key,
            fd: raw,
            is_held: true,
            expects_input: false,
        })
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.fd
    }

    /// The next bytes in the buffer the kernel put them; empty at the end of the stream. A receive whose wait is dropped goes
    /// on, and the next call gets its bytes.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BufLease>> {
        self.expects_input = false;
        self.ring.poll_with(|sockets| sockets.poll_recv(self.key, cx))
    }

    /// The peer is to answer what is sent next. The receive of that answer goes to the kernel together with the send, which
    /// saves entering the kernel once for each request a peer makes.
    pub(super) fn expect_input(&mut self) {
        self.expects_input = true;
    }

    /// Sends `bytes[part]`, owning `bytes` until they are sent: then they are put back. The number sent is short after an
    /// error in the middle only.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
        part: Range<usize>,
    ) -> Poll<io::Result<usize>> {
        let listens = std::mem::take(&mut self.expects_input);
        self.ring.poll_with(|sockets| {
            let polled = sockets.poll_send(self.key, cx, bytes, part);
            if listens && polled.is_pending() {
                listen(sockets, self.key, cx);
            }
            polled
        })
    }

    /// What a dropped wait's receive has brought, never waiting. `Ok(None)`: nothing, and none is under way, so bytes may be
    /// looked for in the socket itself. `WouldBlock`: one is under way.
    pub(super) fn received_now(&mut self) -> io::Result<Option<BufLease>> {
        if self.ring.with(|sockets| sockets.is_receiving(self.key))? {
            self.ring.turn(0)?;
        }
        let taken = self.ring.with(|sockets| sockets.take_received(self.key))?;
        if let Some(result) = taken {
            return result.map(Some);
        }
        if self.ring.with(|sockets| sockets.is_receiving(self.key))? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(None)
    }

    /// For the next [`Self::poll_recv`].
    pub(super) fn put_back(&mut self, result: io::Result<BufLease>) {
        let _ = self.ring.with(|sockets| sockets.put_back(self.key, result));
    }

    /// Takes the socket off the ring, with bytes that a dropped wait's receive has brought. Waits in the kernel, for as long as
    /// a cancellation takes.
    pub(super) fn into_parts(mut self) -> io::Result<(OwnedFd, Option<BufLease>)> {
        self.ring.with(|sockets| sockets.cancel(self.key))?;
        while !self.ring.with(|sockets| sockets.is_quiet(self.key))? {
            // The cancellation itself completes, so this does not wait for a peer.
            self.ring.turn(1)?;
        }
        self.is_held = false;
        let (received, fd) = self
            .ring
            .with(|sockets| (sockets.take_received(self.key), sockets.take(self.key)))?;
        Ok((fd, received.transpose()?.filter(|lease| !lease.is_empty())))
    }
}

/// Begins a receive, unless one is under way or has brought something that nobody took yet.
fn listen(sockets: &mut Sockets, key: u32, cx: &mut Context<'_>) {
    if sockets.is_receiving(key) {
        return;
    }
    match sockets.take_received(key) {
        Some(result) => sockets.put_back(key, result),
        None => {
            let begun = sockets.poll_recv(key, cx);
            debug_assert!(begun.is_pending());
        }
    }
}

impl Drop for RingStream {
    fn drop(&mut self) {
        // After the core's end the ring has closed it.
        if self.is_held && self.ring.with(|sockets| sockets.release(self.key)).is_ok() {
            self.ring.kick();
        }
    }
}

/// A listening socket on the ring.
pub(super) struct Acceptor {
    ring: Rc<Ring>,
    key: u32,
}

impl Acceptor {
    pub(super) fn new(ring: Rc<Ring>) -> io::Result<Self> {
        let key = ring.with(Sockets::add_acceptor)?;
        Ok(Self { ring, key })
    }

    pub(super) fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    /// The next connection, or what ended the accept; the call after that begins a new one, if `may_begin`. `None`: it has
    /// ended, everything accepted was told, and no new one may begin.
    pub(super) async fn next(
        &self,
        listening: &impl AsFd,
        may_begin: impl Fn() -> bool,
    ) -> Option<io::Result<OwnedFd>> {
        poll_fn(|cx| {
            let polled = self
                .ring
                .with(|sockets| sockets.poll_accept(self.key, listening, may_begin(), cx))
                .unwrap_or(Poll::Ready(None));
            if polled.is_pending() {
                self.ring.kick();
            }
            polled
        })
        .await
    }
}
