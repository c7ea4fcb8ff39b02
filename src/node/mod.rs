//! What all sessions of one core share: the store, the way to other cores, credentials, TLS, and whether to stop.
//!
//! Invariants: a node lives on one core and is handed out as `Rc`; nothing in it is shared with another core except what is
//! immutable (TLS configuration), exchanged whole ([`LiveSettings`]), or a channel, and two tables of the whole process, of
//! atomics for which nobody waits (`peers`, `auth::failures`).
//! Not here: starting and stopping the process (`boot`), the dialogues (`session`).

pub mod connections;
pub mod drain;
pub mod logins;
pub mod meters;
pub mod peers;
pub mod shutdown;
pub mod submitters;

use crate::auth::scram::Decoys;
use crate::auth::{Authenticator, Caller};
use crate::base::clock::{Clock, SystemClock, UnixMillis};
use crate::base::network::Network;
use crate::delivery::Router;
use crate::directory::{Accounts, Directory};
use crate::disk::file::FileDisk;
use crate::mailbox::digests::Digests;
use crate::model::ClientProtocol;
use crate::proto::pop3::Retention;
use crate::proto::sasl::TokenRefusal;
use crate::runtime::Core;
use crate::store::{Environment, Store};
use crate::tls::Offers;
use crate::tls::clients::AccountField;
use connections::Connections;
use drain::Drain;
use logins::Logins;
use meters::SessionMeters;
use parking_lot::RwLock;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::sync::Arc;
use submitters::{SubmissionLimits, Submitters};

/// Production's environment: files through io_uring, the system's clock and entropy.
#[derive(Clone, Debug)]
pub struct NodeEnvironment {
    disk: FileDisk,
    clock: SystemClock,
}

impl NodeEnvironment {
    /// Over `disk`.
    #[must_use]
    pub fn new(disk: FileDisk) -> Self {
        Self {
            disk,
            clock: SystemClock,
        }
    }
}

impl Environment for NodeEnvironment {
    type Disk = FileDisk;
    type Clock = SystemClock;

    fn disk(&self) -> &FileDisk {
        &self.disk
    }

    fn clock(&self) -> &SystemClock {
        &self.clock
    }

    fn random_u64(&self) -> u64 {
        getrandom::u64().expect("the system gives entropy; without it no store may be created")
    }
}

/// The system's clock, for those who want a reference to one.
pub static CLOCK: SystemClock = SystemClock;

/// The store that sessions see.
pub type NodeStore = Store<NodeEnvironment>;

/// What of the configuration sessions need. What the protocols are made of (`boot` makes them: [`LiveSettings::protocols`]) is
/// here as it was at the start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name in greetings and trace fields.
    pub hostname: String,
    /// Largest message taken, octets.
    pub message_bytes_max: u64,
    /// Every account's passwords have verifiers for SCRAM beside their hashes.
    pub offers_scram: bool,
    /// Where certificates of clients name accounts; `None`: nobody logs in by one.
    pub certificate_field: Option<AccountField>,
    /// Tokens of an issuer open accounts, and whose is refused is told this.
    pub token_refusal: Option<TokenRefusal>,
    /// How long mail is kept, if that is the same for every account.
    pub retention: Option<Retention>,
    /// Seconds between two POP3 logins of one account; 0: none are asked for.
    pub pop3_login_delay_seconds: u32,
    /// What IMAP offers; the size of messages and SASL's mechanisms in it are not looked at.
    pub imap: crate::proto::imap::Config,
    /// Submitted mail for other sites is refused for now (451) rather than for good (550).
    pub relays_later: bool,
    /// Limits per peer that make no sense on loopback (harvesting, failures) are on.
    pub limit_peers: bool,
    /// What a reload exchanges, in all cores at once.
    pub live: Arc<RwLock<LiveSettings>>,
    /// Take mail and throw it away.
    pub discard: Option<DiscardPermit>,
}

/// What a running server takes of a changed configuration. Connections under way keep the protocols they began with.
#[derive(Clone, Debug, Default)]
pub struct LiveSettings {
    /// For new connections.
    pub protocols: Protocols,
    /// Log in without TLS: only ever for peers on loopback.
    pub allow_plaintext_on_loopback: bool,
    /// What one account may submit.
    pub submission: SubmissionLimits,
    /// Whoever connects from here is a proxy: its connections begin with a PROXY header, and those without one are closed.
    /// Every service takes part, because a proxy that may name any address may pass for anybody.
    pub trusted_proxies: Vec<Network>,
    /// Whoever speaks SMTP or LMTP from here may say by XCLIENT for whom.
    pub xclient_from: Vec<Network>,
}

/// What the operator's settings mean for each protocol, shared by all sessions.
#[derive(Clone, Debug)]
pub struct Protocols {
    pub smtp: Arc<crate::proto::smtp::Config>,
    pub lmtp: Arc<crate::proto::smtp::Config>,
    pub submission: Arc<crate::proto::smtp::Config>,
    pub pop3: Arc<crate::proto::pop3::Config>,
    pub imap: Arc<crate::proto::imap::Config>,
}

impl Default for Protocols {
    /// With the limits of each, and without a name: for what is filled in before anybody connects.
    fn default() -> Self {
        let smtp = Arc::new(crate::proto::smtp::Config::new("localhost"));
        Self {
            smtp: smtp.clone(),
            lmtp: smtp.clone(),
            submission: smtp,
            pop3: Arc::default(),
            imap: Arc::default(),
        }
    }
}

impl Settings {
    /// What one account may submit.
    #[must_use]
    pub fn submission(&self) -> SubmissionLimits {
        self.live.read().submission
    }

    /// Whether connections from `address` begin with a PROXY header.
    #[must_use]
    pub fn is_proxy(&self, address: IpAddr) -> bool {
        let live = self.live.read();
        live.trusted_proxies
            .iter()
            .any(|network| network.contains(address))
    }

    /// Whether XCLIENT of a peer at `address` is believed.
    #[must_use]
    pub fn may_xclient(&self, address: IpAddr) -> bool {
        let live = self.live.read();
        live.xclient_from.iter().any(|network| network.contains(address))
    }
}

/// Says that the operator asked for a server that acknowledges mail and throws it away, to measure what the protocol
/// alone costs. Made from the command line and nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct DiscardPermit(());

impl DiscardPermit {
    /// The permit, if the argument was given.
    #[must_use]
    pub fn from_argument(discard: bool) -> Option<Self> {
        discard.then_some(Self(()))
    }
}

/// The name of a session in the log: core, second, count; shown as hexadecimal numbers with dots between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId {
    core: usize,
    seconds: i64,
    count: u64,
}

impl SessionId {
    /// The name of its mail transaction number `count`.
    #[must_use]
    pub fn transaction(self, count: u64) -> TransactionId {
        TransactionId { session: self, count }
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{:x}.{:x}", self.core, self.seconds, self.count)
    }
}

/// The name of a mail transaction, in its trace fields and in the log: its session's and a number behind it, so that who
/// knows one finds the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionId {
    session: SessionId,
    count: u64,
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:x}", self.session, self.count)
    }
}

/// One core's services.
pub struct Node {
    /// Which core this is.
    pub core: Core,
    /// Deliveries, on this core and others; the store is in it.
    pub router: Router<NodeEnvironment>,
    /// Who is here.
    pub directory: Directory,
    /// Where orders about them go; `None`: they are as they are.
    pub accounts: Option<Accounts>,
    /// Who they say they are.
    pub authenticator: Authenticator,
    /// For STARTTLS and the TLS ports.
    pub tls: Offers,
    /// See [`Settings`].
    pub settings: Settings,
    /// When accounts of this core logged in by POP3, for LOGIN-DELAY.
    pub pop3_logins: Logins,
    /// What SCRAM is told of accounts that there are not.
    pub decoys: Decoys,
    /// How much accounts of this core have submitted.
    pub submitters: Submitters,
    /// Numbers sessions, see [`SessionId`].
    pub sessions: Cell<u64>,
    /// What sessions did, for metrics.
    pub meters: Arc<SessionMeters>,
    /// Open connections, by peer.
    pub connections: Connections,
    /// What IMAP answered of messages lately.
    pub digests: RefCell<Digests>,
    /// Open sessions, and whether they are asked to end.
    pub drain: Drain,
}

impl Node {
    /// This core's store.
    #[must_use]
    pub fn store(&self) -> &NodeStore {
        self.router.store()
    }

    /// May a peer at `address` log in without TLS?
    #[must_use]
    pub fn allows_plaintext(&self, address: IpAddr) -> bool {
        address.to_canonical().is_loopback() && self.settings.live.read().allow_plaintext_on_loopback
    }

    /// By one of the protocols that a connection accepted now speaks.
    #[must_use]
    pub fn protocol<T>(&self, which: impl FnOnce(&Protocols) -> &Arc<T>) -> Arc<T> {
        which(&self.settings.live.read().protocols).clone()
    }

    /// Whether the limits on one peer are meant for this one: on loopback they make no sense unless asked for.
    #[must_use]
    pub fn limits(&self, peer: IpAddr) -> bool {
        self.settings.limit_peers || !peer.to_canonical().is_loopback()
    }

    /// Somebody at `address` who wants to log in.
    #[must_use]
    pub fn caller(&self, address: IpAddr, protocol: ClientProtocol) -> Caller {
        Caller {
            protocol,
            peer: self.limits(address).then_some(address),
        }
    }

    /// A name for the next session.
    #[must_use]
    pub fn next_session_id(&self) -> SessionId {
        let count = self.sessions.get() + 1;
        self.sessions.set(count);
        SessionId {
            core: self.core.id,
            seconds: self.now().seconds(),
            count,
        }
    }

    /// Now, by the wall clock.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        SystemClock.now()
    }
}
