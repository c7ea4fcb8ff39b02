//! What IMAP sessions need of the node, and their move to the account's core.

use super::imap::{self, AuthVerdict, Moved, QuotaRefusal, Served, Services};
use super::login::{self, Judgement};
use super::owner::Owner;
use crate::base::clock::SystemClock;
use crate::directory::Accounts;
use crate::directory::orders::{AccountSettings, AccountView, Order, OrderError, Outcome};
use crate::mailbox::digests::Digests;
use crate::mailbox::searching::Pace;
use crate::model::{Account, ClientProtocol, Quota};
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
use std::time::{Duration, Instant};

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

    fn computed(&self) -> Option<Duration> {
        runtime::computed()
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
            Judgement::Account(owner) => AuthVerdict::Account(*owner),
            Judgement::Verifier(verifier, nonce) => AuthVerdict::Verifier(verifier, nonce),
            Judgement::Proven => AuthVerdict::Proven,
            Judgement::Refused => AuthVerdict::Refused(LoginRefusal::AuthenticationFailed),
            Judgement::Unavailable => AuthVerdict::Refused(LoginRefusal::Unavailable),
        }
    }

    fn may_be_revoked(&self, owner: &Owner) -> bool {
        owner.is_outdated(self.directory.generation(), Instant::now())
    }

    async fn renew(&self, owner: &mut Owner) -> bool {
        owner.renew(&self.directory).await
    }

    async fn set_quota(&self, account: &Account, quota: Quota) -> Result<(), QuotaRefusal> {
        let Some(Accounts::Embedded(_)) = &self.accounts else {
            return Err(QuotaRefusal::Elsewhere);
        };
        let address = account.address.to_string();
        let shown = self
            .order(
                &address,
                Order::AccountShow {
                    address: address.clone(),
                },
            )
            .await?;
        let Outcome::Accounts(views) = shown else {
            return Err(QuotaRefusal::Unavailable);
        };
        // As the directory has it now: rights may have gone since the login.
        let domain = account.address.domain.as_str();
        let may = |view: &AccountView| {
            let is_same = view.id == account.id.0 && view.is_enabled;
            is_same
                && (view.is_admin
                    || view
                        .administers
                        .iter()
                        .any(|own| own.eq_ignore_ascii_case(domain)))
        };
        if !views.iter().any(may) {
            return Err(QuotaRefusal::NoPermission);
        }
        let order = Order::AccountSet {
            address: address.clone(),
            set: AccountSettings {
                // 0 means none.
                quota_bytes: Some(quota.bytes.unwrap_or(0)),
                quota_messages: Some(quota.messages.unwrap_or(0)),
                ..AccountSettings::default()
            },
            is_forced: false,
        };
        self.order(&address, order).await.map(|_| ())
    }

    fn shutdown(&self) -> &Shutdown {
        self.drain.shutdown()
    }
}

impl Node {
    /// An order of a session that `address` has logged in to.
    async fn order(&self, address: &str, order: Order) -> Result<Outcome, QuotaRefusal> {
        let accounts = self.accounts.as_ref().ok_or(QuotaRefusal::Elsewhere)?;
        let outcome = accounts.perform_for(&format!("{address} by IMAP"), order).await;
        outcome.map_err(|error| match error {
            // It was renamed or deleted meanwhile.
            OrderError::Refused(_) => QuotaRefusal::NoPermission,
            OrderError::Failed(_) => QuotaRefusal::Unavailable,
        })
    }
}
