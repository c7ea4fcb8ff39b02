//! The nouns of the store's interface: what can be asked of it, what it answers, and why it refuses.
//!
//! Not here: what is done with them (`handle`), the durable state (`state`).

use super::Body;
use super::compaction::Pin;
use crate::base::clock::Clock;
use crate::disk::{Disk, DiskError};
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, Quota, SpecialUse, Uid,
    UidValidity,
};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use crate::proto::{Receipt, ReceiptId};
use bytes::Bytes;
use smallvec::SmallVec;

/// What the store takes from outside: disk, clock, entropy.
pub trait Environment: Clone + 'static {
    /// Where the log is.
    type Disk: Disk;
    /// What dates things.
    type Clock: Clock;
    /// The store's directory.
    fn disk(&self) -> &Self::Disk;
    /// Wall-clock time, for dates only.
    fn clock(&self) -> &Self::Clock;
    /// Used for the store's identity only, never in replay.
    fn random_u64(&self) -> u64;
}

/// Proof that a commit is durable. Only the store makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitReceipt {
    id: ReceiptId,
}

impl CommitReceipt {
    /// Only what has seen the sync succeed may call this.
    pub(super) fn after_sync(id: ReceiptId) -> Self {
        Self { id }
    }
}

impl Receipt for CommitReceipt {
    fn id(&self) -> ReceiptId {
        self.id
    }
}

/// Why the store did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Less than the reserve is free. 452 4.3.1, `NO [UNAVAILABLE]`.
    #[error("the store has no space: {0}")]
    NoSpace(String),
    /// A write or sync failed: this log takes no more commits until the process restarts. Reading works. 451 4.3.0.
    #[error("the log failed: {0}")]
    Failed(String),
    /// The server is stopping.
    #[error("the store is shutting down")]
    ShuttingDown,
    /// What was read is not what was written; it is not served.
    #[error("damage at {position}: {what}")]
    Damaged {
        /// Of the record, or the start of the segment.
        position: LogPosition,
        /// For the admin.
        what: String,
    },
    /// A read failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The account has no room for it now. 452 4.2.2, `NO [OVERQUOTA]`.
    #[error("over quota")]
    OverQuota,
    /// An empty account would have no room for it: trying again is of no use. 552 5.2.2, `NO [OVERQUOTA]`.
    #[error("more than the quota allows in all")]
    BeyondQuota,
    /// By this name or id. `NO [NONEXISTENT]`, `[TRYCREATE]`.
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// That was to be replaced. `NO [NONEXISTENT]`.
    #[error("no such message")]
    NoSuchMessage,
    /// `NO [ALREADYEXISTS]`.
    #[error("mailbox exists already")]
    MailboxExists,
    /// INBOX cannot be deleted, a mailbox with children cannot lose its name, …
    #[error("{0}")]
    Cannot(&'static str),
    /// A named limit: mailboxes per account, UIDs of a mailbox, keywords of a mailbox. `NO [LIMIT]`.
    #[error("limit reached: {0}")]
    Limit(&'static str),
}

/// What a recipient's copy of a delivery needs.
#[derive(Clone, Debug)]
pub struct LocalRecipient {
    /// Who gets a copy.
    pub account: AccountId,
    /// Where it goes; INBOX if that is gone when the delivery is committed.
    pub mailbox: MailboxName,
    /// Return-Path, Delivered-To, Received: the header lines put before the body, each ending in CRLF.
    pub prefix: Vec<u8>,
    /// What the sender asked for besides; see FORMAT.md.
    pub asked: Bytes,
    /// Of the account.
    pub quota: Quota,
    /// It gets its copy although there is no room for it: why is in `delivery::room`.
    pub may_exceed_quota: bool,
}

/// Names a spool entry. Delivering twice with one key and index of the recipient equals once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpoolKey {
    /// Of the spool, 1024 and up; its owner is `Partition(partition).core(cores)`.
    pub partition: u16,
    /// Of the spool record in that partition.
    pub sequence: u64,
}

/// One chunk record (at most 64 KiB of body) in some core's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    pub position: LogPosition,
    pub bytes: u32,
}

/// A message to the recipients that live on this core.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// All on this core; all of them get it, or none.
    pub recipients: Vec<LocalRecipient>,
    /// Stored once, however many recipients there are.
    pub body: Body,
    /// Of every copy.
    pub internal_date: InternalDate,
    /// Set when this is a fan-out from a spool record: recipients already served under it are skipped.
    /// The index of recipient i of the spool record is the list's i-th.
    pub key: Option<(SpoolKey, Vec<u16>)>,
}

/// An accepted message whose recipients live on several cores.
#[derive(Clone, Debug)]
pub struct SpoolEntry {
    pub key: SpoolKey,
    pub recipients: Vec<LocalRecipient>,
    /// Always `Stored`: the chunks lie in the log of the spooling core, durable.
    pub body: Body,
    pub internal_date: InternalDate,
}

/// One message put into one mailbox by its owner (APPEND).
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// It starts with these.
    pub flags: Flags,
    /// And these.
    pub keywords: SmallVec<[Keyword; 2]>,
    /// As the client gave it, or now.
    pub internal_date: InternalDate,
    /// The octets as given; nothing is put before them.
    pub body: Body,
}

/// A change to one account. Each is one record, whole or absent after a crash.
#[derive(Clone, Debug)]
pub enum Change {
    /// Missing parents are created with it.
    CreateMailbox {
        name: MailboxName,
        special_use: Option<SpecialUse>,
    },
    DeleteMailbox {
        name: MailboxName,
    },
    /// Children move along. INBOX: its messages move to the new mailbox, INBOX stays, empty (RFC 9051 §6.3.6).
    RenameMailbox {
        from: MailboxName,
        to: MailboxName,
    },
    Subscribe {
        name: MailboxName,
        subscribed: bool,
    },
    /// Entries of a mailbox, or of the account itself, get these values; those without one are removed.
    SetMetadata {
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
        /// The mailbox's special use becomes this; another mailbox that has it loses it.
        special_use: Option<Option<SpecialUse>>,
    },
    /// UIDs that are not there any more are passed over.
    StoreFlags {
        mailbox: MailboxId,
        uids: Vec<Uid>,
        operation: StoreOperation,
        flags: Flags,
        keywords: SmallVec<[Keyword; 2]>,
        /// Messages whose MODSEQ is above this when the record is applied stay as they are, with 0 those that have one of
        /// these flags (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// Removes those of `uids` that are there and, with `only_deleted`, carry \Deleted when the record is applied.
    Expunge {
        mailbox: MailboxId,
        uids: Vec<Uid>,
        only_deleted: bool,
    },
    /// A UID of the target is burnt for every source UID, also for those that are gone when the record is applied.
    Copy {
        from: MailboxId,
        uids: Vec<Uid>,
        to: MailboxId,
        quota: Quota,
    },
    Move {
        from: MailboxId,
        uids: Vec<Uid>,
        to: MailboxId,
    },
    /// APPEND.
    Append {
        mailbox: MailboxId,
        messages: Vec<NewMessage>,
        quota: Quota,
        /// REPLACE: this message is expunged by the same change. If it is not there any more, or another change that is on
        /// its way may take it away, nothing is done ([`StoreError::NoSuchMessage`]).
        replaces: Option<(MailboxId, Uid)>,
    },
}

/// What a change did, known when it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Created(MailboxId),
    /// UIDs whose flags differ from before, and the MODSEQ they now have.
    Flags {
        changed: Vec<Uid>,
        mod_seq: ModSeq,
        /// UIDs left alone because of `unchanged_since`, ascending.
        modified: Vec<Uid>,
    },
    Expunged(Vec<Uid>),
    /// Pairs (source UID, new UID), ascending.
    Copied {
        uid_validity: UidValidity,
        uids: Vec<(Uid, Uid)>,
    },
    Appended {
        uid_validity: UidValidity,
        uids: Vec<Uid>,
    },
}

/// What happened to one mailbox's name or subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    Created(MailboxName),
    Deleted(MailboxName),
    /// What lies below moved along.
    Renamed {
        from: MailboxName,
        to: MailboxName,
    },
    /// Subscribed to or not any more.
    Subscription(MailboxName),
    /// Entries of a mailbox's metadata were set or removed, or of the account's own.
    Metadata {
        mailbox: Option<MailboxName>,
        entries: Vec<String>,
    },
}

impl AccountChange {
    /// The mailbox of this name has another special use, or none any more (RFC 6154 §4).
    #[must_use]
    pub fn special_use_of(name: MailboxName) -> Self {
        Self::Metadata {
            mailbox: Some(name),
            entries: vec![SpecialUse::ENTRY.to_owned()],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxChange {
    Added(Uid),
    FlagsChanged(Uid),
    Expunged(Uid),
}
/// Whose a message is, as the row said by which it was opened.
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    pub account: AccountId,
    pub uid: Uid,
    pub record: LogPosition,
}

/// One stored message, opened for reading.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    pub prefix: Bytes,
    pub chunks: SmallVec<[ChunkRef; 1]>,
    pub size: u64,
    /// Unique per message body for the life of the store, equal for copies (RFC 8474 EMAILID).
    pub email_id: u64,
    /// Whom it is told of if it turns out to be damaged; `None` where nobody is.
    pub(super) owner: Option<Owner>,
    /// While it lives, compaction does not remove what it is read from.
    pub(super) pins: SmallVec<[Pin; 1]>,
}
