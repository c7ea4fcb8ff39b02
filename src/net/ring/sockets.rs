//! The sockets on one core's ring: what each waits for, and what has come of it.
//!
//! Invariants: a socket has at most one receive and one send under way, so its bytes keep their order; no receive is under way
//! before somebody asked for bytes (a peer that floods is held up by its own TCP window); a descriptor is closed only after
//! the last completion of its socket, and its number is used again only then.
//! Limits: one buffer of received bytes a socket.
//! Not here: requests and memory (`uring`).

use super::uring::{Completion, Outcome, Uring};
use crate::base::buffer::BufLease;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

#[derive(Debug, Default)]
enum Receive {
    #[default]
    Idle,
    Armed(Waker),
    /// There was no buffer. It is armed again in the next turn.
    Starved(Waker),
    Done(io::Result<BufLease>),
}

#[derive(Debug, Default)]
enum Send {
    #[default]
    Idle,
    Armed(Waker),
    Done(io::Result<usize>, Vec<u8>),
}

struct Socket {
    fd: OwnedFd,
    receive: Receive,
    send: Send,
    /// Nobody holds the socket any more: it goes with its last completion.
    is_released: bool,
    /// The last receive emptied the socket.
    is_likely_empty: bool,
    /// Requests under way, cancellations among them.
    in_flight: u8,
}

/// A listening socket; its descriptor belongs to the listener.
#[derive(Default)]
struct Acceptor {
    accepted: VecDeque<io::Result<OwnedFd>>,
    is_armed: bool,
    waker: Option<Waker>,
}

pub(super) struct Sockets {
    // Dropped first, so that no request is under way when the descriptors are closed.
    uring: Uring,
    sockets: Vec<Option<Socket>>,
    free: Vec<u32>,
    acceptors: Vec<Acceptor>,
    starved: VecDeque<u32>,
    completions: Vec<Completion>,
}

impl Sockets {
    pub(super) fn new(uring: Uring) -> Self {
        Self {
            uring,
            sockets: Vec::new(),
            free: Vec::new(),
            acceptors: Vec::new(),
            starved: VecDeque::new(),
            completions: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, fd: OwnedFd) -> u32 {
        let socket = Some(Socket {
            fd,
            receive: Receive::Idle,
            send: Send::Idle,
            is_released: false,
            // A new connection's first bytes are usually there; whoever greets first loses one attempt.
            is_likely_empty: false,
            in_flight: 0,
        });
        if let Some(key) = self.free.pop() {
            self.sockets[key as usize] = socket;
            return key;
        }
        self.sockets.push(socket);
        u32::try_from(self.sockets.len() - 1).expect("fewer descriptors than 2^32")
    }

    pub(super) fn add_acceptor(&mut self) -> u32 {
        self.acceptors.push(Acceptor::default());
        u32::try_from(self.acceptors.len() - 1).expect("few listeners")
    }

    fn socket(&mut self, key: u32) -> (&mut Socket, &mut Uring) {
        let socket = self.sockets[key as usize].as_mut();
        (socket.expect("held by its stream"), &mut self.uring)
    }

    pub(super) fn poll_recv(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<io::Result<BufLease>> {
        let (socket, uring) = self.socket(key);
        match &mut socket.receive {
            Receive::Armed(waker) | Receive::Starved(waker) => waker.clone_from(cx.waker()),
            Receive::Idle => {
                uring.recv(key, socket.fd.as_fd(), socket.is_likely_empty);
                socket.in_flight += 1;
                socket.receive = Receive::Armed(cx.waker().clone());
            }
            Receive::Done(_) => {
                if let Receive::Done(result) = mem::take(&mut socket.receive) {
                    return Poll::Ready(result);
                }
            }
        }
        Poll::Pending
    }

    /// A receive is under way: bytes must not be taken from the socket beside it.
    pub(super) fn is_receiving(&mut self, key: u32) -> bool {
        let (socket, _) = self.socket(key);
        matches!(socket.receive, Receive::Armed(_) | Receive::Starved(_))
    }

    /// What a receive has brought that nobody waited for any more.
    pub(super) fn take_received(&mut self, key: u32) -> Option<io::Result<BufLease>> {
        let (socket, _) = self.socket(key);
        if !matches!(socket.receive, Receive::Done(_)) {
            return None;
        }
        match mem::take(&mut socket.receive) {
            Receive::Done(result) => Some(result),
            _ => None,
        }
    }

    pub(super) fn put_back(&mut self, key: u32, result: io::Result<BufLease>) {
        let (socket, _) = self.socket(key);
        debug_assert!(matches!(socket.receive, Receive::Idle));
        socket.receive = Receive::Done(result);
    }

    /// Takes `bytes` while they are being sent, and puts them back with the number sent.
    pub(super) fn poll_send(
        &mut self,
        key: u32,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
        part: Range<usize>,
    ) -> Poll<io::Result<usize>> {
        let (socket, uring) = self.socket(key);
        match &mut socket.send {
            Send::Armed(waker) => waker.clone_from(cx.waker()),
            Send::Idle => {
                uring.send(key, socket.fd.as_fd(), mem::take(bytes), part.start, part.end);
                socket.in_flight += 1;
                socket.send = Send::Armed(cx.waker().clone());
            }
            Send::Done(..) => {
                if let Send::Done(result, sent) = mem::take(&mut socket.send) {
                    *bytes = sent;
                    return Poll::Ready(result);
                }
            }
        }
        Poll::Pending
    }

    /// Cancels what is under way. The socket is quiet once [`Self::is_quiet`].
    pub(super) fn cancel(&mut self, key: u32) {
        let (socket, uring) = self.socket(key);
        match &socket.receive {
            Receive::Armed(_) => {
                uring.cancel_recv(key);
                socket.in_flight += 1;
            }
            // Its place in the list of the starved is void now.
            Receive::Starved(_) => socket.receive = Receive::Idle,
            Receive::Idle | Receive::Done(_) => {}
        }
        if let Send::Armed(_) = &socket.send {
            uring.cancel_send(key);
            socket.in_flight += 1;
        }
    }

    pub(super) fn is_quiet(&mut self, key: u32) -> bool {
        self.socket(key).0.in_flight == 0
    }

    /// Nobody waits for this socket any more. FIN goes out with the last completion, which the cancellation brings.
    pub(super) fn release(&mut self, key: u32) {
        self.cancel(key);
        self.socket(key).0.is_released = true;
        self.close_if_over(key);
    }

    fn close_if_over(&mut self, key: u32) {
        let slot = &mut self.sockets[key as usize];
        if slot
            .as_ref()
            .is_some_and(|socket| socket.is_released && socket.in_flight == 0)
        {
            *slot = None;
            self.free.push(key);
        }
    }

    /// The descriptor of a quiet socket, which is none of the ring any more.
    pub(super) fn take(&mut self, key: u32) -> OwnedFd {
        let socket = self.sockets[key as usize].take().expect("held by its stream");
        assert_eq!(socket.in_flight, 0);
        self.free.push(key);
        socket.fd
    }

    /// The next connection, or the error that ended the accept. `may_arm`: begins to accept if nothing is under way.
    pub(super) fn poll_accept(
        &mut self,
        key: u32,
        listening: &impl AsFd,
        may_arm: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<OwnedFd>>> {
        let acceptor = &mut self.acceptors[key as usize];
        if let Some(accepted) = acceptor.accepted.pop_front() {
            return Poll::Ready(Some(accepted));
        }
        if !acceptor.is_armed {
            if !may_arm {
                return Poll::Ready(None);
            }
            self.uring.accept(key, listening.as_fd());
            acceptor.is_armed = true;
        }
        acceptor.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Submits, lets the kernel work, and takes in what has completed. Returns how much has; wakers go to `wakers`.
    pub(super) fn turn(&mut self, wait_for: u32, wakers: &mut Vec<Waker>) -> io::Result<usize> {
        self.turn_with(wakers, |uring| {
            if wait_for > 0 || uring.must_enter() {
                uring.enter(wait_for)
            } else {
                Ok(())
            }
        })
    }

    /// A turn that waits for something to complete, for a write to `event`, or for `longest`.
    pub(super) fn nap(
        &mut self,
        event: BorrowedFd<'_>,
        longest: Duration,
        wakers: &mut Vec<Waker>,
    ) -> io::Result<usize> {
        self.turn_with(wakers, |uring| uring.nap(event, longest))
    }

    /// A turn in which `enter` decides whether the kernel is entered.
    pub(super) fn turn_with(
        &mut self,
        wakers: &mut Vec<Waker>,
        enter: impl FnOnce(&mut Uring) -> io::Result<()>,
    ) -> io::Result<usize> {
        self.rearm_starved();
        let entered = enter(&mut self.uring);
        let mut completions = mem::take(&mut self.completions);
        self.uring.reap(&mut completions);
        let count = completions.len();
        for completion in completions.drain(..) {
            wakers.extend(self.complete(completion));
        }
        self.completions = completions;
        entered.map(|()| count)
    }

    /// Every buffer taken was replaced when its completion was reaped, so all may try again; those beyond the number of
    /// buffers come back here.
    fn rearm_starved(&mut self) {
        for _ in 0..self.starved.len() {
            let Some(key) = self.starved.pop_front() else {
                return;
            };
            let Some(socket) = &mut self.sockets[key as usize] else {
                continue;
            };
            // The list may name a socket that has gone, or twice.
            if matches!(socket.receive, Receive::Starved(_))
                && let Receive::Starved(waker) = mem::take(&mut socket.receive)
            {
                self.uring.recv(key, socket.fd.as_fd(), false);
                socket.in_flight += 1;
                socket.receive = Receive::Armed(waker);
            }
        }
    }

    fn complete(&mut self, completion: Completion) -> Option<Waker> {
        let key = completion.key;
        if let Outcome::Accepted { result, goes_on } = completion.outcome {
            let acceptor = &mut self.acceptors[key as usize];
            acceptor.is_armed = goes_on;
            acceptor.accepted.push_back(result);
            return acceptor.waker.take();
        }
        let socket = self.sockets[key as usize]
            .as_mut()
            .expect("a socket outlives its requests");
        socket.in_flight -= 1;
        let woken = match completion.outcome {
            Outcome::Received { result, has_more } => {
                socket.is_likely_empty = !has_more;
                let waker = match mem::take(&mut socket.receive) {
                    Receive::Armed(waker) => Some(waker),
                    _ => None,
                };
                match (result, waker) {
                    (Err(error), Some(waker))
                        if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::EINTR))
                            && !socket.is_released =>
                    {
                        socket.receive = Receive::Starved(waker);
                        self.starved.push_back(key);
                        None
                    }
                    // By `cancel`: nobody waits.
                    (Err(error), _) if error.raw_os_error() == Some(libc::ECANCELED) => None,
                    (result, waker) => {
                        socket.receive = Receive::Done(result);
                        waker
                    }
                }
            }
            Outcome::Sent { result, bytes } => {
                match mem::replace(&mut socket.send, Send::Done(result, bytes)) {
                    Send::Armed(waker) => Some(waker),
                    _ => None,
                }
            }
            Outcome::Cancelled | Outcome::Accepted { .. } => None,
        };
        self.close_if_over(key);
        woken
    }

    /// Makes completions ring the bell, unless something is to be done already.
    pub(super) fn may_sleep(&mut self) -> bool {
        self.uring.set_bell(true);
        if self.starved.is_empty() && self.uring.is_at_rest() {
            return true;
        }
        self.uring.set_bell(false);
        false
    }

    /// For the time after the executor: a task whose last waker is dropped wants to be run once more, and nothing runs it.
    pub(super) fn without_wakers(mut self) -> Self {
        for socket in self.sockets.iter_mut().flatten() {
            if let Receive::Armed(waker) | Receive::Starved(waker) = mem::take(&mut socket.receive) {
                mem::forget(waker);
            }
            if let Send::Armed(waker) = mem::take(&mut socket.send) {
                mem::forget(waker);
            }
        }
        for acceptor in &mut self.acceptors {
            mem::forget(acceptor.waker.take());
        }
        self
    }

    pub(super) fn wake_up(&mut self) {
        self.uring.set_bell(false);
    }
}
