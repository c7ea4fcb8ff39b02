//! What IMAP sessions need of the node, and their move to the account's core.

use super::imap::{self, AuthVerdict, Moved, Served, Services};
use super::login::{self, Judgement};
use crate::base::clock::SystemClock;
use crate::mailbox::digests::Digests;
use crate::mailbox::searching::Pace;
use crate::model::ClientProtocol;
use crate::net::Conn;
use crate::node::shutdown::Shutdown;
use crate::node::{CLOCK, Node, NodeEnvironment, NodeStore};
use crate::proto::imap::{Config, LoginRefusal};
use crate::proto::sasl::Request;
use crate::runtime::{self, Core};
use futures_util::FutureExt;
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// A session from its greeting until it ends or wants to move.
pub fn serve(conn: Conn, node: Rc<Node>) -> impl Future<Output = Option<Box<Moved<Conn>>>> {
    let is_tls = conn.tls().is_some();
    imap::serve(conn, is_tls, node).map(moved)
}

/// Goes on with a session on the core that owns its account. It moves once more if that login fails in the last moment
/// and the client logs in to an account of a third core. `None`: the connection is lost.
pub fn resume(
    session: Moved<Conn>,
    node: Rc<Node>,
) -> Option<impl Future<Output = Option<Box<Moved<Conn>>>>> {
    imap::resume(session, node)
        .inspect_err(|error| tracing::debug!(%error, "moved IMAP connection lost"))
        .ok()
        .map(|serving| serving.map(moved))
}

fn moved(served: Served<Conn>) -> Option<Box<Moved<Conn>>> {
    match served {
        Served::Ended => None,
        Served::Moved(moved) => Some(moved),
    }
}

impl Pace for Node {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn breathe(&self) {
        runtime::breathe().await;
    }
}

impl Services for Node {
    type Environment = NodeEnvironment;

    fn store(&self) -> &NodeStore {
        self.router.store()
    }

    fn digests(&self) -> &RefCell<Digests> {
        &self.digests
    }

    fn clock(&self) -> &SystemClock {
        &CLOCK
    }

    fn core(&self) -> Core {
        self.core
    }

    fn config(&self) -> Arc<Config> {
        self.protocol(|all| &all.imap)
    }

    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        Some(self.tls.imap.clone())
    }

    fn is_plaintext_login_allowed(&self, peer: SocketAddr) -> bool {
        self.allows_plaintext(peer.ip())
    }

    async fn authenticate(
        &self,
        request: &Request,
        peer: SocketAddr,
        certificate: Option<&[u8]>,
    ) -> AuthVerdict {
        // Acting for somebody else is a right that nobody has been given.
        if matches!(request, Request::Password(credentials) if credentials.authorization.is_some()) {
            return AuthVerdict::Refused(LoginRefusal::AuthorizationFailed);
        }
        let caller = self.caller(peer.ip(), ClientProtocol::Imap);
        match login::judge(self, request, caller, certificate).await {
            Judgement::Account(account) => AuthVerdict::Account(account.as_ref().clone()),
            Judgement::Verifier(verifier, nonce) => AuthVerdict::Verifier(verifier, nonce),
            Judgement::Proven => AuthVerdict::Proven,
            Judgement::Refused => AuthVerdict::Refused(LoginRefusal::AuthenticationFailed),
            Judgement::Unavailable => AuthVerdict::Refused(LoginRefusal::Unavailable),
        }
    }

    fn shutdown(&self) -> &Shutdown {
        self.drain.shutdown()
    }
}
