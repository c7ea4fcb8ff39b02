//! IMAP commands as values (RFC 3501 §6, §9 and the extensions named at each). They own their text; the literal of an
//! APPEND is not among them, it is streamed.
//!
//! Invariants: a value is what the grammar allows; names of mailboxes are checked [`MailboxName`]s already decoded from
//! modified UTF-7 unless the grammar asks for a pattern.

mod append;
mod mailboxes;
mod messages;
mod notify;
mod search;
mod sequence;

pub use append::{Append, AppendMessage, InternalDate, Replaced};
pub use mailboxes::{
    List, METADATA_VALUE_BYTES_MAX, MetadataDepth, MetadataQuery, NameForm, QResync, SelectParameters,
    StatusItem, UidSample,
};
pub use messages::{Fetch, FetchItem, Partial, Section, SectionText, Store, StoreOperation};
pub use notify::{EventGroup, Events, MailboxFilter, Notify, NotifySet};
pub use search::{PartialRange, ReturnOptions, Search, SearchKey, SortCriterion, SortKey, ThreadAlgorithm};
pub use sequence::{SequenceNumber, SequenceRange, SequenceSet};

use crate::model::MailboxName;
use smallvec::SmallVec;

/// A command's tag (RFC 9051 §2.2.1): any ASTRING-CHAR but `+`; short.
pub type Tag = SmallVec<[u8; 16]>;

/// A tagged command, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Repeated in the tagged response.
    pub tag: Tag,
    /// What is asked.
    pub body: CommandBody,
}

/// What a client asks. LOGIN, AUTHENTICATE, STARTTLS, CAPABILITY, NOOP before login, LOGOUT and IDLE's DONE are
/// handled by the protocol core; everything else is for the session.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and FETCH, the largest, is the most frequent"
)]
pub enum CommandBody {
    /// §6.1.1
    Capability,
    /// §6.1.2
    Noop,
    /// §6.1.3
    Logout,
    /// RFC 2971. `None` is `NIL`.
    Id(Option<IdFields>),
    /// §6.2.1
    StartTls,
    /// §6.2.2, with RFC 4959's initial response (still base64; `=` alone is the empty one).
    Authenticate {
        mechanism: String,
        initial_response: Option<Vec<u8>>,
    },
    /// §6.2.3
    Login { login: Vec<u8>, password: Secret },
    /// RFC 5161.
    Enable(Vec<String>),
    /// §6.3.1
    Select {
        mailbox: MailboxName,
        parameters: SelectParameters,
    },
    /// §6.3.2
    Examine {
        mailbox: MailboxName,
        parameters: SelectParameters,
    },
    /// §6.3.3 with RFC 6154's USE.
    Create {
        mailbox: MailboxName,
        special_use: Vec<crate::model::SpecialUse>,
    },
    /// §6.3.4
    Delete(MailboxName),
    /// §6.3.5
    Rename { from: MailboxName, to: MailboxName },
    /// §6.3.6
    Subscribe(MailboxName),
    /// §6.3.7
    Unsubscribe(MailboxName),
    /// §6.3.8 with the selection and return options of RFC 5258, 5819, 6154.
    List(List),
    /// RFC 3501 §6.3.9.
    Lsub { reference: String, pattern: String },
    /// RFC 2342.
    Namespace,
    /// §6.3.10
    Status {
        mailbox: MailboxName,
        items: SmallVec<[StatusItem; 6]>,
    },
    /// §6.3.11: the message is streamed as body bytes; its size is known beforehand.
    Append(Append),
    /// RFC 2177.
    Idle,
    /// §6.4.1
    Check,
    /// §6.4.2
    Close,
    /// RFC 3691.
    Unselect,
    /// RFC 8437.
    Unauthenticate,
    /// RFC 4978, DEFLATE.
    Compress,
    /// §6.4.3; with a set it is UIDPLUS' UID EXPUNGE (RFC 4315).
    Expunge { uids: Option<SequenceSet> },
    /// §6.4.4
    Search(Search),
    /// ESEARCH (RFC 7377): by UID, in the mailboxes that the filters name; in the selected one if there are none.
    MultiSearch {
        sources: Vec<MailboxFilter>,
        search: Search,
    },
    /// RFC 5267 §4.3.5: tags of searches that are not to be updated any more.
    CancelUpdate(Vec<Tag>),
    /// RFC 5256 §3: the keys in a [`Search`] without order and result options.
    Thread {
        algorithm: ThreadAlgorithm,
        search: Search,
    },
    /// §6.4.5
    Fetch(Fetch),
    /// §6.4.6
    Store(Store),
    /// §6.4.7
    Copy {
        set: SequenceSet,
        mailbox: MailboxName,
        by_uid: bool,
    },
    /// RFC 6851.
    Move {
        set: SequenceSet,
        mailbox: MailboxName,
        by_uid: bool,
    },
    /// RFC 5464 §4.2.
    GetMetadata {
        /// `None`: the server.
        mailbox: Option<MailboxName>,
        query: MetadataQuery,
    },
    /// RFC 5464 §4.3: entries and their new values; without one an entry is removed.
    SetMetadata {
        mailbox: Option<MailboxName>,
        entries: Vec<(String, Option<Vec<u8>>)>,
    },
    /// RFC 5465.
    Notify(Notify),
    /// RFC 2087/9208.
    GetQuota(String),
    /// RFC 2087/9208.
    GetQuotaRoot(MailboxName),
    /// RFC 9208 §4.1.3: all limits that the root shall have. Names of resources in upper case.
    SetQuota {
        root: String,
        limits: Vec<(String, u64)>,
    },
}

/// Field-value pairs of ID (RFC 2971 §3.3); a value of `None` is `NIL`.
pub type IdFields = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Bytes that must not be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
