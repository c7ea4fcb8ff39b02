//! Sessions: each joins one protocol core, one connection and the services it needs.
//!
//! A session begins on the core that accepted its connection. A POP3 or IMAP session moves to the core that owns its
//! account once it has logged in, connection, TLS state, undecoded bytes and protocol state together, so that everything
//! it does from then on is local.
//! Invariants: what a protocol may do is decided by its core; a session only feeds it, answers its questions and sends
//! what it says; nothing of the store is borrowed over a wait.
//! Not here: accepting connections and the limits on them (`net`, `boot`).

pub mod dialogue;
pub mod head;
pub mod imap;
mod imap_services;
pub mod input;
pub mod pipe;
pub mod pop3;
mod proxied;
pub mod service;
pub mod smtp;

pub use service::Service;

use crate::net::Conn;
use crate::node::Node;
use crate::node::connections::Admission;
use crate::runtime::{self, Endpoint};
use std::rc::Rc;
use std::time::Instant;

/// A session between two cores.
pub enum Moved {
    /// After LOGIN or AUTHENTICATE.
    Imap(Box<imap::Moved<Conn>>),
    /// After PASS or AUTH.
    Pop3(Box<pop3::Moved>),
}

/// The way to the core that owns an account.
pub type Moves = Rc<Endpoint<Moved, ()>>;

/// Starts the session of a connection just accepted. Returns at once.
pub fn start(service: Service, conn: Conn, node: &Rc<Node>, moves: &Moves) {
    let Some(mut admission) = node.connections.admit() else {
        tracing::debug!(peer = %conn.peer(), "too many connections, one closed");
        return;
    };
    let (node, moves, seat) = (node.clone(), moves.clone(), node.drain.seat());
    runtime::spawn_detached(service.name(), async move {
        let _seat = seat;
        let Some(conn) = proxied::identified(conn, &node).await else {
            return;
        };
        if !is_admitted(service, &conn, &node, &mut admission) {
            return turn_away(service, conn).await;
        }
        let Some(conn) = secured(service, conn, &node).await else {
            return;
        };
        match service {
            Service::Smtp => smtp::serve(conn, node.smtp.clone(), node).await,
            Service::Lmtp => smtp::serve(conn, node.lmtp.clone(), node).await,
            Service::Pop3 | Service::Pop3s => pop3::serve(conn, node, moves).await,
            Service::Imap | Service::Imaps => imap_services::serve(conn, node, moves).await,
        }
    });
}

/// Goes on with a session that began on another core. Returns at once.
pub fn adopt(node: &Rc<Node>, moves: &Moves, moved: Moved) {
    let (node, moves, seat) = (node.clone(), moves.clone(), node.drain.seat());
    runtime::spawn_detached("moved session", async move {
        let _seat = seat;
        match moved {
            Moved::Imap(moved) => imap_services::resume(*moved, node, moves).await,
            Moved::Pop3(moved) => pop3::resume(*moved, node).await,
        }
    });
}

/// Whether this peer may have one connection more.
fn is_admitted(service: Service, conn: &Conn, node: &Node, admission: &mut Admission) -> bool {
    let peer = conn.peer().ip();
    match service.connections_per_peer_max() {
        Some(max) if node.limits(peer) => admission.is_within(max, peer, conn.local().port()),
        _ => true,
    }
}

async fn turn_away(service: Service, mut conn: Conn) {
    tracing::debug!(peer = %conn.peer(), service = service.name(), "too many connections from one peer");
    conn.set_deadline(Some(Instant::now() + dialogue::GOODBYE_TIMEOUT));
    if conn.send(service.too_many_connections().to_vec()).await.is_ok() {
        conn.close().await;
    }
}

/// The connection, after its TLS handshake where the service begins with one.
async fn secured(service: Service, mut conn: Conn, node: &Node) -> Option<Conn> {
    if !service.is_implicit_tls() {
        return Some(conn);
    }
    match conn.start_tls(node.tls.clone()).await {
        Ok(()) => Some(conn),
        Err(error) => {
            tracing::debug!(peer = %conn.peer(), %error, "TLS handshake failed");
            None
        }
    }
}
