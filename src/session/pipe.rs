//! The connection under a session, as a trait: [`crate::net::Conn`] in production, a pair of queues in tests.
//!
//! Invariants: as [`crate::net::Conn`] says; `recv` may be dropped while it waits and loses nothing.

use crate::base::buffer::BufLease;
use crate::net::{Conn, Detached, TlsInfo};
use crate::tls::Names;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// One connection of one session. The methods mean what those of [`Conn`] with their names do.
pub trait Pipe: Sized {
    /// The connection between two cores.
    type Detached: Send + 'static;

    fn peer(&self) -> SocketAddr;
    fn local(&self) -> SocketAddr;
    fn set_deadline(&mut self, at: Option<Instant>);
    fn recv(&mut self) -> impl Future<Output = io::Result<BufLease>>;
    fn has_input(&mut self) -> bool;
    /// See [`Conn::expect_input`].
    fn expect_input(&mut self) {}
    fn send(&mut self, bytes: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>>;
    fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> impl Future<Output = io::Result<()>>;
    fn tls(&self) -> Option<&TlsInfo>;
    /// See [`Conn::take_names`].
    fn take_names(&mut self) -> Option<Names> {
        None
    }
    fn detach(self) -> Self::Detached;
    fn attach(detached: Self::Detached) -> io::Result<Self>;
    fn close(self) -> impl Future<Output = ()>;
}

impl Pipe for Conn {
    type Detached = Detached;

    fn peer(&self) -> SocketAddr {
        Self::peer(self)
    }
    fn local(&self) -> SocketAddr {
        Self::local(self)
    }
    fn set_deadline(&mut self, at: Option<Instant>) {
        Self::set_deadline(self, at);
    }
    fn recv(&mut self) -> impl Future<Output = io::Result<BufLease>> {
        Self::recv(self)
    }
    fn has_input(&mut self) -> bool {
        Self::has_input(self)
    }
    fn expect_input(&mut self) {
        Self::expect_input(self);
    }
    fn send(&mut self, bytes: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> {
        Self::send(self, bytes)
    }
    fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> impl Future<Output = io::Result<()>> {
        Self::start_tls(self, config)
    }
    fn tls(&self) -> Option<&TlsInfo> {
        Self::tls(self)
    }
    fn take_names(&mut self) -> Option<Names> {
        Self::take_names(self)
    }
    fn detach(self) -> Detached {
        Self::detach(self)
    }
    fn attach(detached: Detached) -> io::Result<Self> {
        Self::attach(detached)
    }
    fn close(self) -> impl Future<Output = ()> {
        Self::close(self)
    }
}
