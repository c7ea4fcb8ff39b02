//! Connections, lease-shaped: a receive buffer is taken only when bytes are there, and given back on drop.
//!
//! API CONTRACT FOR THE OTHER MODULES.

use crate::base::buffer::BufLease;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One connection, plain or TLS, on this core.
#[derive(Debug)]
pub struct Conn {}

/// A connection between two cores: everything of it, TLS state and undecoded bytes included.
pub struct Detached {}

/// What TLS was agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: String,
}

impl Conn {
    pub fn peer(&self) -> SocketAddr {
        unimplemented!()
    }
    pub fn local(&self) -> SocketAddr {
        unimplemented!()
    }
    /// `recv` and `send` fail with `TimedOut` once this moment has passed. One timer a connection, re-armed lazily.
    pub fn set_deadline(&mut self, _at: Option<Instant>) {
        unimplemented!()
    }
    /// The next bytes (decrypted). An empty lease is the peer's end of stream. Dropping the wait loses nothing.
    pub async fn recv(&mut self) -> io::Result<BufLease> {
        unimplemented!()
    }
    /// True when bytes are at hand without waiting (for synchronisation points).
    pub fn has_input(&mut self) -> bool {
        unimplemented!()
    }
    /// Sends all of `bytes` and gives the buffer back, emptied.
    pub async fn send(&mut self, _bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        unimplemented!()
    }
    /// Server handshake. Bytes already received count as its beginning (implicit TLS passes none).
    pub async fn start_tls(&mut self, _config: Arc<rustls::ServerConfig>) -> io::Result<()> {
        unimplemented!()
    }
    pub fn tls(&self) -> Option<&TlsInfo> {
        unimplemented!()
    }
    /// Takes the connection off this core's executor.
    pub fn detach(self) -> Detached {
        unimplemented!()
    }
    /// Puts it on this one.
    pub fn attach(_detached: Detached) -> io::Result<Self> {
        unimplemented!()
    }
    /// close_notify and FIN, bounded by a short time; errors do not matter any more.
    pub async fn close(self) {
        unimplemented!()
    }
}

/// A bound, listening socket, not yet on any executor. Send.
pub struct BoundListener {}
impl BoundListener {
    /// Binds with SO_REUSEPORT and a named backlog. Port 0: a free one. Bind one per core to the same address.
    pub fn bind(_address: SocketAddr) -> io::Result<Self> {
        unimplemented!()
    }
    pub fn local(&self) -> SocketAddr {
        unimplemented!()
    }
}
/// A listener on this core.
pub struct Listener {}
impl Listener {
    pub fn new(_bound: BoundListener) -> io::Result<Self> {
        unimplemented!()
    }
    /// Accepts until stopped; backs off on EMFILE with a reserve descriptor; never leaks an accepted descriptor.
    /// Calls `serve` for each connection (which spawns and returns at once).
    pub async fn accept_all(&self, _serve: impl Fn(Conn)) {
        unimplemented!()
    }
    /// Ends `accept_all` after what waits in the backlog was accepted.
    pub fn stop(&self) {
        unimplemented!()
    }
}
/// Bound on [`Conn::close`].
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
