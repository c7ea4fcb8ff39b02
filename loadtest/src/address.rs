//! Where a server listens, as it is given on a command line.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// The first address of `host:port`.
pub fn resolve(address: &str) -> io::Result<SocketAddr> {
    let found = address.to_socket_addrs()?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {address}")))
}
