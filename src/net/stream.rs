//! The byte stream under a connection: the only place of `net` that knows which back end moves the bytes.
//!
//! Invariants: a dropped receive loses nothing; received bytes leave here once and in order, those that came before a move or
//! that found no room included; the descriptor is owned here and handed on by [`Stream::into_parts`].
//! Traps of glommio met here: `set_read_timeout` sits on the stream and makes the read after an abandoned one fail at once,
//! so it is never used (`deadline`); `TcpStream` cannot give its descriptor away, so a move duplicates it first.
//! Not here: the ring itself (`ring`), TLS, deadlines, keep-alive (set on the listener and inherited).

use super::ring::{Ring, RingStream};
use crate::base::buffer::BufLease;
use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Once;
use std::task::{Context, Poll, ready};

/// What moves the bytes of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// glommio's `TcpStream`.
    Tcp,
    /// A ring of our own in each executor (Linux 5.19; better from 6.1). Where it cannot be had, `Tcp` serves instead.
    #[default]
    Ring,
}

impl Backend {
    /// This core's ring, if it is wanted and can be had. Says once a process why it cannot.
    pub(super) fn ring(self) -> Option<Rc<Ring>> {
        static TOLD: Once = Once::new();
        if self == Self::Tcp {
            return None;
        }
        let ring = Ring::of_this_core();
        if let Err(error) = &ring {
            TOLD.call_once(|| tracing::warn!(%error, "no ring for the network; plain sockets serve instead"));
        }
        ring.ok()
    }
}

/// A connected TCP stream on this core.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// Received and not yet taken. Boxed, as most connections never have any.
    rest: Option<Box<Rest>>,
}

#[derive(Debug)]
enum Socket {
    /// `recv(MSG_DONTWAIT)`, and a poll request in io_uring when there is nothing: a buffer is touched only inside a poll.
    Glommio(TcpStream),
    /// Requests that own their buffers until they complete.
    Ring(RingStream),
}

#[derive(Debug)]
struct Rest {
    lease: BufLease,
    taken: usize,
}

/// A stream between two cores.
pub(super) struct StreamParts {
    fd: OwnedFd,
    rest: Option<Box<Rest>>,
    backend: Backend,
}

impl Stream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Glommio(stream),
            rest: None,
        }
    }

    /// Takes a connected socket onto this core's executor.
    pub(super) fn from_fd(fd: OwnedFd, ring: Option<&Rc<Ring>>) -> io::Result<Self> {
        let socket = match ring {
            Some(ring) => Socket::Ring(RingStream::new(ring, fd)?),
            // SAFETY: the descriptor is a connected TCP socket and its ownership passes to the stream.
            None => Socket::Glommio(unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }),
        };
        Ok(Self { socket, rest: None })
    }

    /// Takes the socket off this executor, with everything received from it.
    pub(super) fn into_parts(self) -> io::Result<StreamParts> {
        match self.socket {
            Socket::Glommio(stream) => Ok(StreamParts {
                // F_DUPFD_CLOEXEC. The poll request still in glommio's ring is for the old descriptor and is cancelled with
                // its drop.
                fd: borrow(stream.as_raw_fd(), &stream).try_clone_to_owned()?,
                rest: self.rest,
                backend: Backend::Tcp,
            }),
            Socket::Ring(stream) => {
                let (fd, received) = stream.into_parts()?;
                debug_assert!(self.rest.is_none() || received.is_none());
                let received = received.map(|lease| Box::new(Rest { lease, taken: 0 }));
                Ok(StreamParts {
                    fd,
                    rest: self.rest.or(received),
                    backend: Backend::Ring,
                })
            }
        }
    }

    /// Puts it on this one, with the same back end if this core has it.
    pub(super) fn from_parts(parts: StreamParts) -> io::Result<Self> {
        let mut stream = Self::from_fd(parts.fd, parts.backend.ring().as_ref())?;
        stream.rest = parts.rest;
        Ok(stream)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        let fd = match &self.socket {
            Socket::Glommio(stream) => stream.as_raw_fd(),
            Socket::Ring(stream) => stream.as_raw_fd(),
        };
        borrow(fd, self)
    }

    /// The next bytes in a buffer of their own; empty at the end of the stream. Over the ring it is the buffer they came in.
    pub(super) fn poll_recv_lease(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<BufLease>> {
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Ok(rest.into_lease()));
        }
        match &mut self.socket {
            Socket::Glommio(stream) => {
                // Taken inside the poll, back in the pool if it stays pending.
                let mut lease = BufLease::take();
                let count = ready!(Pin::new(stream).poll_read(cx, lease.space()))?;
                lease.set_filled(count);
                Poll::Ready(Ok(lease))
            }
            Socket::Ring(stream) => stream.poll_recv(cx),
        }
    }

    /// The next bytes into `space`, which is not empty. Over the ring they are copied there, because TLS wants records whole.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.rest.is_some() {
            return Poll::Ready(Ok(self.take_rest(space)));
        }
        match &mut self.socket {
            Socket::Glommio(stream) => Pin::new(stream).poll_read(cx, space),
            Socket::Ring(stream) => {
                let lease = ready!(stream.poll_recv(cx))?;
                Poll::Ready(Ok(self.fill(lease, space)))
            }
        }
    }

    /// Copies what fits and keeps the rest.
    fn fill(&mut self, lease: BufLease, space: &mut [u8]) -> usize {
        let count = lease.len().min(space.len());
        space[..count].copy_from_slice(&lease[..count]);
        if count < lease.len() {
            self.rest = Some(Box::new(Rest { lease, taken: count }));
        }
        count
    }

    fn take_rest(&mut self, space: &mut [u8]) -> usize {
        let Some(rest) = &mut self.rest else { return 0 };
        let waiting = &rest.lease[rest.taken..];
        let count = waiting.len().min(space.len());
        space[..count].copy_from_slice(&waiting[..count]);
        rest.taken += count;
        if rest.taken == rest.lease.len() {
            self.rest = None;
        }
        count
    }

    /// Sends some of `bytes[part]`. While pending it may hold `bytes`; they are back when it is ready, except after a wait that
    /// was dropped.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut Vec<u8>,
        part: Range<usize>,
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Glommio(stream) => Pin::new(stream).poll_write(cx, &bytes[part]),
            Socket::Ring(stream) => stream.poll_send(cx, bytes, part),
        }
    }

    /// The peer is to answer what is sent next. What has come already is at hand before that: with a receive beside it there
    /// would be two pieces of bytes to take along in a move.
    pub(super) fn expect_input(&mut self) {
        if let (Socket::Ring(stream), None) = (&mut self.socket, &self.rest) {
            stream.expect_input();
        }
    }

    /// Receives what is there, never waiting; `WouldBlock` when nothing is.
    pub(super) fn recv_now(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_some() {
            return Ok(self.take_rest(space));
        }
        if let Socket::Ring(stream) = &mut self.socket
            && let Some(lease) = stream.received_now()?
        {
            return Ok(self.fill(lease, space));
        }
        // SAFETY: u8 and MaybeUninit<u8> have the same layout and `recv` writes initialised bytes only.
        let space = unsafe { &mut *(std::ptr::from_mut(space) as *mut [MaybeUninit<u8>]) };
        SockRef::from(&self.fd()).recv_with_flags(space, libc::MSG_DONTWAIT)
    }

    /// Are received bytes at hand? False at the end of the stream.
    pub(super) fn has_input(&mut self) -> bool {
        if self.rest.is_some() {
            return true;
        }
        if let Socket::Ring(stream) = &mut self.socket {
            match stream.received_now() {
                Ok(Some(lease)) => {
                    let has_bytes = !lease.is_empty();
                    stream.put_back(Ok(lease));
                    return has_bytes;
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    stream.put_back(Err(error));
                    return false;
                }
            }
        }
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        matches!(SockRef::from(&self.fd()).recv_with_flags(&mut byte, flags), Ok(1))
    }

    /// FIN behind what was sent.
    pub(super) fn shutdown_send(&self) {
        // A peer that is gone already needs no FIN.
        let _ = SockRef::from(&self.fd()).shutdown(Shutdown::Write);
    }

    /// The peer's address and ours; an error when the peer is gone already.
    pub(super) fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        let fd = self.fd();
        let socket = SockRef::from(&fd);
        let canonical = |address: socket2::SockAddr| {
            let address = address.as_socket().ok_or(io::ErrorKind::Unsupported)?;
            // An IPv4 peer of a dual-stack socket is counted and logged as the IPv4 address it is.
            Ok::<_, io::Error>(SocketAddr::new(address.ip().to_canonical(), address.port()))
        };
        Ok((canonical(socket.peer_addr()?)?, canonical(socket.local_addr()?)?))
    }
}

impl Rest {
    fn into_lease(self) -> BufLease {
        let mut lease = self.lease;
        let count = lease.len() - self.taken;
        lease.filled_mut().copy_within(self.taken.., 0);
        lease.set_filled(count);
        lease
    }
}

fn borrow<T>(fd: i32, _owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the descriptor stays open as long as its owner is borrowed.
    unsafe { BorrowedFd::borrow_raw(fd) }
}
