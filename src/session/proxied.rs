//! Connections that come through a proxy: its PROXY header is read before anything else, and from then on the peer is who
//! the header says.
//!
//! Invariants: the header of an address that is not configured is never believed, nor waited for; a configured address
//! without a header is not served, for it could pass for a client on this machine; a client that the proxy does not
//! know is at the unspecified address, which is in no network and not on loopback.
//! Limits: [`HEADER_TIMEOUT`]; those of `proto::proxy`.
//! Not here: the header (`proto::proxy`), XCLIENT, which is a command of SMTP (`proto::smtp`).

use crate::net::Conn;
use crate::node::Node;
use crate::proto::proxy::{self, Progress, Source, V2_BYTES_MAX};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A proxy sends its header with the handshake of the connection; there is nothing it could wait for.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection with its peer's address; `None` when a proxy broke the rules.
pub async fn identified(mut conn: Conn, node: &Node) -> Option<Conn> {
    if !node.settings.is_proxy(conn.peer().ip()) {
        return Some(conn);
    }
    conn.set_deadline(Some(Instant::now() + HEADER_TIMEOUT));
    let header = receive_header(&mut conn).await;
    conn.set_deadline(None);
    match header {
        Ok(source) => {
            let peer = peer(source, conn.peer());
            conn.set_peer(peer);
            Some(conn)
        }
        Err(error) => {
            node.meters.refused_proxy.add(1);
            tracing::debug!(proxy = %conn.peer(), %error, "connection without a PROXY header closed");
            None
        }
    }
}

async fn receive_header(conn: &mut Conn) -> io::Result<Source> {
    let mut received = Vec::new();
    loop {
        match proxy::parse(&received) {
            Progress::Whole { source, .. } => return Ok(source),
            Progress::Fault(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
            Progress::Needs(count) => {
                debug_assert!(
                    received.len() + count <= V2_BYTES_MAX,
                    "the parser keeps its limits"
                );
                let lease = conn.recv_at_most(count).await?;
                if lease.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                received.extend_from_slice(&lease);
            }
        }
    }
}

fn peer(source: Source, proxy: SocketAddr) -> SocketAddr {
    match source {
        Source::Client(client) => client,
        Source::Proxy => proxy,
        Source::Unknown if proxy.is_ipv4() => SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
        Source::Unknown => SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 0),
    }
}
