//! IMAP sessions: the protocol core, a connection and the store, joined.
//!
//! Owns: what is answered when; pushing changes; the move of a connection to the core that owns its account.
//! A connection is served by [`serve`] on the core that accepted it. When it has logged in and another core owns the
//! account, `serve` ends with [`Served::Moved`]; the integrator sends that value to the core it names, where [`resume`]
//! takes over with the login still unanswered, so that the `OK` is given by the core that will serve the account.
//!
//! Invariants: the view is told of changes only between commands, in IDLE and where RFC 9051 §5.5 and §7.5.1 allow it;
//! only durable state is shown; a tagged OK to a change is written after the store's receipt; nothing of the store is
//! borrowed over a wait.
//! A mailbox that another session deletes: commands that need it are answered `NO [NONEXISTENT]`, others what they came to,
//! and after the command that notices it (or at once in IDLE) the session ends with BYE, as RFC 2180 §3.3 lets a server do.
//! An account that is disabled, deleted or kept from IMAP: BYE at the next command, in IDLE and NOTIFY within
//! [`owner::IDLE_LOOK`](super::owner::IDLE_LOOK); what else has changed of it, such as quotas, counts from the next command on.
//! Limits: [`link::SEND_BUFFER_BYTES`] of responses a connection; those of each file; the core's own.
//! Failure: a lost connection ends the session; errors of the store are `NO` with a code (`state`); octets that turn out
//! damaged in the middle of a literal end the connection, since no response can be put there.
//! Not here: grammar and states (`proto::imap`), semantics that need no wire (`mailbox`), accounts (`directory`).

mod append;
mod catenate;
mod changes;
mod commands;
mod compress;
mod context;
mod driver;
mod enable;
mod fetch;
mod fetch_content;
mod fetch_summary;
mod flags;
pub mod link;
mod list;
mod mailboxes;
mod message_limit;
mod metadata;
mod multi_search;
mod naming;
mod notify;
mod partial;
mod qresync;
mod quota;
mod rev2;
mod search;
mod select;
mod special_use;
mod state;
mod thread;
mod transfer;
mod uid_only;

#[cfg(test)]
mod tests;

pub use driver::{Moved, Served, resume, serve};

use crate::mailbox::digests::Digests;
use crate::mailbox::searching::Pace;
use crate::model::{Account, Quota};
use crate::node::shutdown::Shutdown;
use crate::proto::imap::{Config, LoginRefusal};
use crate::proto::sasl::Request;
use crate::proto::sasl::scram::Verifier;
use crate::runtime::Core;
use crate::session::owner::Owner;
use crate::store::{Environment, Store};
use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the sessions of one core need of the server around them. One value a core, shared by its sessions as an `Rc`.
///
/// [`Pace`] beside it gives the monotonic clock and `runtime::breathe`.
pub trait Services: Pace + 'static {
    /// Disk, clock and entropy of the store.
    type Environment: Environment;

    /// This core's store.
    fn store(&self) -> &Store<Self::Environment>;
    /// The wall clock, for INTERNALDATE and for SEARCH's YOUNGER and OLDER.
    fn clock(&self) -> &<Self::Environment as Environment>::Clock;
    /// Which core this is, of how many.
    fn core(&self) -> Core;
    /// The settings of new connections.
    fn config(&self) -> Arc<Config>;
    /// What STARTTLS uses; `None`: it must not be offered ([`Config::is_starttls_offered`]).
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>>;
    /// May this peer send its password in clear?
    fn is_plaintext_login_allowed(&self, peer: SocketAddr) -> bool;
    /// Are these right? Takes its time when they are not (delays and limits are its own), never blocks the core.
    /// `certificate`: the peer's (DER), if it showed one.
    fn authenticate(
        &self,
        request: &Request,
        peer: SocketAddr,
        certificate: Option<&[u8]>,
    ) -> impl Future<Output = AuthVerdict>;
    /// May the directory say something else of whoever has logged in than it did at the last look? Costs next to nothing.
    fn may_be_revoked(&self, owner: &Owner) -> bool;
    /// Looks at it anew. False: the session is over.
    fn renew(&self, owner: &mut Owner) -> impl Future<Output = bool>;
    /// Gives `account` these limits and no others, if its owner may do that.
    fn set_quota(&self, account: &Account, quota: Quota) -> impl Future<Output = Result<(), QuotaRefusal>>;
    /// What FETCH answered of this core's messages lately.
    fn digests(&self) -> &RefCell<Digests>;
    /// Told once, when the server stops.
    fn shutdown(&self) -> &Shutdown;
}

/// What the directory says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthVerdict {
    Account(Owner),
    /// The exchange goes on with what is kept of the password, and this nonce.
    Verifier(Box<Verifier>, String),
    /// Whoever has proven the password may log in.
    Proven,
    Refused(LoginRefusal),
}

/// Why limits stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaRefusal {
    /// The account is no admin of its domain.
    NoPermission,
    /// They are kept where this server writes nothing.
    Elsewhere,
    /// The directory does not answer.
    Unavailable,
}
