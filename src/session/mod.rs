//! Sessions: each joins one protocol core, one connection and the services it needs.
//!
//! A session begins on the core that accepted its connection. A POP3 or IMAP session moves to the core that owns its
//! account once it has logged in, connection, TLS state, undecoded bytes and protocol state together, so that everything
//! it does from then on is local.
//! Invariants: what a protocol may do is decided by its core; a session only feeds it, answers its questions and sends
//! what it says; nothing of the store is borrowed over a wait.
//! Not here: accepting connections (`net`), the limits on them (`node::connections`), starting and stopping (`boot`).

mod counted;
pub mod dialogue;
pub mod head;
pub mod imap;
mod imap_services;
pub mod input;
pub mod login;
pub mod owner;
pub mod pipe;
pub mod pop3;
mod proxied;
pub mod service;
pub mod smtp;
pub mod strip;
pub mod submission;
mod transaction;

pub use service::Service;

use crate::base::meter::Gauge;
use crate::net::Conn;
use crate::node::connections::{Admission, Farewell};
use crate::node::meters::ServiceMeters;
use crate::node::peers::Place;
use crate::node::{Node, SessionId};
use crate::runtime::{self, Endpoint};
use futures_util::FutureExt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

/// A session between two cores.
pub struct Moved {
    session: MovedSession,
    /// Its place among its peer's connections goes with it.
    place: Option<Place>,
}

enum MovedSession {
    /// After LOGIN or AUTHENTICATE.
    Imap(Box<imap::Moved<Conn>>),
    /// After PASS or AUTH.
    Pop3(Box<pop3::Moved>),
    /// After AUTH.
    Smtp(Box<smtp::Moved<Conn>>),
}

/// The way to the core that owns an account.
pub type Moves = Rc<Endpoint<Moved, ()>>;

/// What a connection does for a while, in memory of its own: a task that held all its stages would be as large as the largest
/// of them, and would hold the connection once for each; this way an idle session is a small task and its protocol's loop.
type Stage<T> = Pin<Box<dyn Future<Output = T>>>;

/// Starts the session of a connection just accepted. Returns at once.
pub fn start(service: Service, conn: Conn, node: &Rc<Node>, moves: &Moves) {
    let Some(admission) = node.connections.admit() else {
        node.meters.refused_full.add(1);
        return refuse(service, conn, node.connections.farewell());
    };
    let id = node.next_session_id();
    tracing::debug!(%id, service = service.name(), peer = %conn.peer(), "connection");
    let seat = node.drain.seat();
    let opening = Box::pin(open(service, conn, id, node.clone(), moves.clone(), admission));
    runtime::spawn_detached(service.name(), async move {
        let _seat = seat;
        if let Some(serving) = opening.await {
            serving.await;
        }
    });
}

/// What comes before the greeting. Ends with the session to be served, if the connection is let in.
async fn open(
    service: Service,
    conn: Conn,
    id: SessionId,
    node: Rc<Node>,
    moves: Moves,
    mut admission: Admission,
) -> Option<Stage<()>> {
    service_meters(&node, service).begun.add(1);
    let opening = InGauge::of(&node, service, |meters| &meters.opening);
    let conn = proxied::identified(conn, &node).await?;
    if !is_admitted(service, &conn, &node, &mut admission) {
        node.meters.refused_peer.add(1);
        tracing::debug!(peer = %conn.peer(), service = service.name(), "too many connections from one peer");
        turn_away(conn, service.too_many_connections()).await;
        return None;
    }
    let conn = secured(service, conn, &node).await?;
    drop(opening);
    Some(serve(service, conn, id, node, moves, admission))
}

/// The session proper, until it has ended or moved.
fn serve(
    service: Service,
    conn: Conn,
    id: SessionId,
    node: Rc<Node>,
    moves: Moves,
    admission: Admission,
) -> Stage<()> {
    let serving = InGauge::of(&node, service, |meters| &meters.serving);
    let config = match service {
        Service::Smtp => node.protocol(|all| &all.smtp),
        Service::Lmtp => node.protocol(|all| &all.lmtp),
        Service::Submission | Service::Submission2525 | Service::Submissions => {
            node.protocol(|all| &all.submission)
        }
        Service::Pop3 | Service::Pop3s => {
            return stay(
                pop3::serve(conn, node),
                MovedSession::Pop3,
                serving,
                admission,
                moves,
            );
        }
        Service::Imap | Service::Imaps => {
            return stay(
                imap_services::serve(conn, node),
                MovedSession::Imap,
                serving,
                admission,
                moves,
            );
        }
    };
    let session = smtp::serve(conn, id, config, node, &admission);
    stay(session, MovedSession::Smtp, serving, admission, moves)
}

/// Goes on with a session that began on another core. Returns at once.
pub fn adopt(node: &Rc<Node>, moves: &Moves, moved: Moved) {
    let (moves, seat) = (moves.clone(), node.drain.seat());
    let mut admission = node.connections.adopt(moved.place);
    let service = match &moved.session {
        MovedSession::Imap(_) => Service::Imap,
        MovedSession::Pop3(_) => Service::Pop3,
        MovedSession::Smtp(_) => Service::Submission,
    };
    let gauge = InGauge::of(node, service, |meters| &meters.moved);
    let node = node.clone();
    let resumed = match moved.session {
        MovedSession::Imap(moved) => imap_services::resume(*moved, node)
            .map(|session| stay(session, MovedSession::Imap, gauge, admission, moves)),
        MovedSession::Pop3(moved) => pop3::resume(*moved, node)
            .map(|session| stay(session, MovedSession::Pop3, gauge, admission, moves)),
        MovedSession::Smtp(moved) => {
            // Its peer is known, and limited by its account from here on.
            let _ = admission.identify(None, moved.peer.ip(), 0);
            smtp::resume(*moved, node, &admission)
                .map(|session| stay(session, MovedSession::Smtp, gauge, admission, moves))
        }
    };
    // None: the connection is lost.
    let Some(session) = resumed else { return };
    runtime::spawn_detached("moved session", async move {
        let _seat = seat;
        session.await;
    });
}

/// `session` on this core, then its move if it wants one.
fn stay<M: 'static>(
    session: impl Future<Output = Option<Box<M>>> + 'static,
    of_protocol: fn(Box<M>) -> MovedSession,
    gauge: InGauge,
    admission: Admission,
    moves: Moves,
) -> Stage<()> {
    // Combinators, not an async block: that would hold the session twice, as what it captured and as what it awaits.
    Box::pin(session.then(move |ended| {
        drop(gauge);
        move_on(ended.map(of_protocol), admission, moves)
    }))
}

/// Sends a session to the core it wants to go to, if it did not end.
async fn move_on(session: Option<MovedSession>, admission: Admission, moves: Moves) {
    let Some(session) = session else { return };
    let core = match &session {
        MovedSession::Imap(moved) => moved.core,
        MovedSession::Pop3(moved) => moved.core,
        MovedSession::Smtp(moved) => moved.core,
    };
    let place = admission.into_place();
    // The other core has ended only when the whole process is stopping; then the connection simply closes.
    let _ = moves.call(core, Moved { session, place }).await;
}

/// One session in one state, as long as it lives.
struct InGauge {
    node: Rc<Node>,
    service: Service,
    gauge: fn(&ServiceMeters) -> &Gauge,
}

impl InGauge {
    fn of(node: &Rc<Node>, service: Service, gauge: fn(&ServiceMeters) -> &Gauge) -> Self {
        gauge(service_meters(node, service)).add(1);
        let node = node.clone();
        Self { node, service, gauge }
    }
}

impl Drop for InGauge {
    fn drop(&mut self) {
        (self.gauge)(service_meters(&self.node, self.service)).add(-1);
    }
}

fn service_meters(node: &Node, service: Service) -> &ServiceMeters {
    &node.meters.services[service as usize]
}

/// Whether this peer may have one connection more.
fn is_admitted(service: Service, conn: &Conn, node: &Node, admission: &mut Admission) -> bool {
    let peer = conn.peer().ip();
    let limits = service.connections_max().filter(|_| node.limits(peer));
    admission.identify(limits, peer, conn.local().port())
}

/// There is no place on this core for anybody; told to as many as may be told at a time.
fn refuse(service: Service, conn: Conn, farewell: Option<Farewell>) {
    tracing::debug!(peer = %conn.peer(), "too many connections, one closed");
    let Some(farewell) = farewell else { return };
    runtime::spawn_detached("farewell", async move {
        let _farewell = farewell;
        turn_away(conn, service.too_busy()).await;
    });
}

async fn turn_away(mut conn: Conn, reply: &'static [u8]) {
    conn.set_deadline(Some(Instant::now() + dialogue::GOODBYE_TIMEOUT));
    if conn.send(reply.to_vec()).await.is_ok() {
        conn.close().await;
    }
}

/// The connection, after its TLS handshake where the service begins with one.
async fn secured(service: Service, mut conn: Conn, node: &Node) -> Option<Conn> {
    if !service.is_implicit_tls() {
        return Some(conn);
    }
    match conn.start_tls(service.tls(&node.tls)).await {
        Ok(()) => Some(conn),
        Err(error) => {
            tracing::debug!(peer = %conn.peer(), %error, "TLS handshake failed");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What waits for the next command is held by each idle connection. With moves and closes inline it was 2.4 and 1.9 KB.
    #[test]
    fn futures_of_idle_sessions_are_small() {
        fn size<A, F>(_: impl Fn(Conn, Rc<Node>, A) -> F) -> usize {
            size_of::<F>()
        }
        let smtp = |conn, node: Rc<Node>, (id, admission): (SessionId, &'static Admission)| {
            smtp::serve(conn, id, node.protocol(|all| &all.smtp), node, admission)
        };
        assert!(size(smtp) <= 1152);
        assert!(size(|conn, node, ()| pop3::serve(conn, node)) <= 768);
    }
}
