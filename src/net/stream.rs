//! The byte stream under a connection: the only place of `net` that knows how bytes are moved.
//!
//! Invariants: receiving and sending are readiness-based, so a buffer is touched only inside a poll and a dropped wait loses
//! nothing; the descriptor is owned here and handed on by [`Stream::into_fd`].
//! Traps of glommio met here: `set_read_timeout` sits on the stream and makes the read after an abandoned one fail at once,
//! so it is never used (`deadline`); `TcpStream` cannot give its descriptor away, so a move duplicates it first.
//! One variant today. A ring of our own in the executor (one-shot receive with provided buffers) becomes the second; it needs
//! to own what it sends, and `into_fd` to await its last completion.
//! Not here: TLS, deadlines, keep-alive (set on the listener and inherited).

use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::SockRef;
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A connected TCP stream on this core.
#[derive(Debug)]
pub(super) enum Stream {
    /// `recv(MSG_DONTWAIT)`, and a poll request in io_uring when there is nothing.
    Polled(TcpStream),
}

impl Stream {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self::Polled(stream)
    }

    /// Takes a connected socket onto this core's executor.
    pub(super) fn from_fd(fd: OwnedFd) -> Self {
        // SAFETY: the descriptor is a connected TCP socket and its ownership passes to the stream.
        Self::Polled(unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) })
    }

    /// Takes the socket off this executor.
    pub(super) fn into_fd(self) -> io::Result<OwnedFd> {
        // F_DUPFD_CLOEXEC. The poll request still in the ring is for the old descriptor and is cancelled with its drop.
        self.fd().try_clone_to_owned()
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        let Self::Polled(stream) = self;
        // SAFETY: the descriptor stays open as long as the stream that is borrowed.
        unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>, space: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self::Polled(stream) = self;
        Pin::new(stream).poll_read(cx, space)
    }

    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self::Polled(stream) = self;
        Pin::new(stream).poll_write(cx, bytes)
    }

    /// Receives what is there, never waiting; `WouldBlock` when nothing is.
    pub(super) fn recv_now(&self, space: &mut [u8]) -> io::Result<usize> {
        // SAFETY: u8 and MaybeUninit<u8> have the same layout and `recv` writes initialised bytes only.
        let space = unsafe { &mut *(std::ptr::from_mut(space) as *mut [MaybeUninit<u8>]) };
        SockRef::from(&self.fd()).recv_with_flags(space, libc::MSG_DONTWAIT)
    }

    /// Are received bytes waiting in the kernel? False at the end of the stream.
    pub(super) fn has_input(&self) -> bool {
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
