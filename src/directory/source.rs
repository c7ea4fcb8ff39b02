//! What a back end of the directory knows, and how it is asked.
//!
//! Three questions, each about one key in ASCII lower case, its domain with A-labels: is this domain ours, what stands at this address, who logs in
//! by this name. What follows from the answers (details, catch-alls, aliases of aliases) is `resolve`'s, the same for all.
//! Failure: [`Unavailable`]; a source answers or fails within its own time-out and never hangs.
//! Not here: remembering answers (`cache`).

use crate::model::{Account, AddrSpec};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long answers are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// A found entry. A back end that others write to (SQL, LDAP) is as late as this.
    pub positive: Duration,
    /// A no: shorter, because a new account should not wait for it.
    pub negative: Duration,
    /// How much longer an old answer stands in while the back end is down.
    pub stale: Duration,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            positive: Duration::from_secs(60),
            negative: Duration::from_secs(10),
            stale: Duration::from_secs(3_600),
        }
    }
}

/// The back end cannot say. The cause is in its log; the peer hears 451 or its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the directory cannot answer just now")]
pub struct Unavailable;

/// An answer: `None` is a certain no.
pub type Found<T> = Result<Option<Arc<T>>, Unavailable>;

/// An answer under way. Its waker may come from any executor.
pub type Asked<T> = Pin<Box<dyn Future<Output = Found<T>> + Send>>;

/// Whether a password is right, once the back end has said so.
pub type Checked = Pin<Box<dyn Future<Output = Result<bool, Unavailable>> + Send>>;

/// A domain that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainFacts {
    /// Who gets mail for local parts that nobody has.
    pub catch_all: Option<AddrSpec>,
    /// What separates a local part from its detail (RFC 5233); `None`: there are no details.
    pub detail_separator: Option<char>,
}

impl Default for DomainFacts {
    fn default() -> Self {
        Self {
            catch_all: None,
            detail_separator: Some('+'),
        }
    }
}

/// What stands at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A mailbox.
    Account(Recipient),
    /// Others get the mail.
    Alias(Vec<AddrSpec>),
}

/// An account as one that mail is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub account: Arc<Account>,
    /// Others who get the mail too.
    pub forward: Vec<AddrSpec>,
    /// Whether the account itself gets it where `forward` names others.
    pub keeps_copy: bool,
    /// Whether `name+detail` is for it.
    pub takes_details: bool,
}

impl Recipient {
    /// An account that keeps its mail.
    #[must_use]
    pub fn new(account: Arc<Account>) -> Self {
        Self {
            account,
            forward: Vec::new(),
            keeps_copy: true,
            takes_details: true,
        }
    }
}

/// A text that opens an account: a password hash in `{SCHEME}` notation. No `Debug`, no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Takes a stored text as it is.
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever verifies or stores it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// What `log in as this name` is checked against.
#[derive(Clone)]
pub struct LoginRecord {
    /// Who it is. Disabled accounts are here too: the caller refuses them.
    pub account: Arc<Account>,
    /// The account's passwords: one hash, and beside it SCRAM verifiers where its domain keeps them. Empty: none fits.
    pub hashes: Vec<PasswordHash>,
    /// Passwords made for programs.
    pub app_passwords: Vec<AppPassword>,
    /// Where the back end itself says whether a password is right (an LDAP bind): by what it knows the account. Its own
    /// hashes are not looked at then.
    pub checked_by: Option<Arc<str>>,
    /// The base32 secret of RFC 6238. Where there is one, mail protocols take app passwords only.
    pub totp_secret: Option<PasswordHash>,
}

/// A password made for one program, with a scope.
#[derive(Clone)]
pub struct AppPassword {
    /// Its id, unique in the directory.
    pub id: u64,
    /// Of the password.
    pub hash: PasswordHash,
    /// What it opens.
    pub protocols: crate::model::Protocols,
    /// Unix seconds from which it opens nothing; `None`: never.
    pub expires_at: Option<i64>,
}

impl fmt::Debug for LoginRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginRecord({})", self.account.id)
    }
}

/// A back end.
pub trait Source: Send + Sync {
    /// Is this domain ours?
    fn domain(&self, domain: &str) -> Asked<DomainFacts>;

    /// What stands at exactly this address?
    fn address(&self, address: &str) -> Asked<Entry>;

    /// Who logs in by this name?
    fn login(&self, login: &str) -> Asked<LoginRecord>;

    /// Rises with every change that this process made or heard of: whatever was remembered before is not believed any more.
    fn generation(&self) -> u64 {
        0
    }

    /// How long its answers are believed.
    fn ages(&self) -> Ages {
        Ages::default()
    }

    /// Is this the password of whom `reference` ([`LoginRecord::checked_by`]) names?
    fn check_password(&self, _reference: &str, _password: &[u8]) -> Checked {
        Box::pin(std::future::ready(Err(Unavailable)))
    }

    /// Keeps `hash` in place of the hash `old` of the account that logs in as `login`: the password was right and the old
    /// scheme is not what it should be. A back end that cannot write does nothing.
    fn rehash(&self, _login: &str, _old: PasswordHash, _hash: PasswordHash) {}

    /// The app password `id` was used at `now` (Unix seconds). A back end that cannot write does nothing.
    fn used_app_password(&self, _id: u64, _now: i64) {}
}
