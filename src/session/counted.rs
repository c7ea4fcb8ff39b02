//! A connection whose replies are counted on their way out: refusals by code, for metrics.
//!
//! What is counted is what the peer is told, whichever part of the protocol decided it.

use super::pipe::Pipe;
use crate::base::buffer::BufLease;
use crate::net::TlsInfo;
use crate::node::meters::SessionMeters;
use crate::tls::Names;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// See the module head. What moves to another core is counted there by another.
pub struct Counted<P> {
    pipe: P,
    meters: Arc<SessionMeters>,
}

impl<P> Counted<P> {
    /// Counts what goes through `pipe`.
    pub fn new(pipe: P, meters: Arc<SessionMeters>) -> Self {
        Self { pipe, meters }
    }
}

impl<P> Counted<P> {
    /// The connection, to be counted on another core.
    pub fn into_inner(self) -> P {
        self.pipe
    }
}

impl<P: Pipe> Pipe for Counted<P> {
    type Detached = (P::Detached, Arc<SessionMeters>);

    fn peer(&self) -> SocketAddr {
        self.pipe.peer()
    }
    fn local(&self) -> SocketAddr {
        self.pipe.local()
    }
    fn set_deadline(&mut self, at: Option<Instant>) {
        self.pipe.set_deadline(at);
    }
    fn recv(&mut self) -> impl Future<Output = io::Result<BufLease>> {
        self.pipe.recv()
    }
    fn has_input(&mut self) -> bool {
        self.pipe.has_input()
    }
    fn expect_input(&mut self) {
        self.pipe.expect_input();
    }
    fn send(&mut self, bytes: Vec<u8>) -> impl Future<Output = io::Result<Vec<u8>>> {
        self.meters.refusals.count_replies(&bytes);
        self.pipe.send(bytes)
    }
    fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) -> impl Future<Output = io::Result<()>> {
        self.pipe.start_tls(config)
    }
    fn tls(&self) -> Option<&TlsInfo> {
        self.pipe.tls()
    }
    fn take_names(&mut self) -> Option<Names> {
        self.pipe.take_names()
    }
    fn detach(self) -> Self::Detached {
        (self.pipe.detach(), self.meters)
    }
    fn attach((detached, meters): Self::Detached) -> io::Result<Self> {
        let pipe = P::attach(detached)?;
        Ok(Self { pipe, meters })
    }
    fn close(self) -> impl Future<Output = ()> {
        self.pipe.close()
    }
}
