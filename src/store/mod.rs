//! The message store of one core: durable changes in, durable views out.
//!
//! Every change is a record in this core's log. A record is encoded into the open group at once, in program order; a
//! group is written and synced as a whole, and only then are its records *applied* to the durable state, sessions told,
//! and receipts handed out. State is a fold of [`apply`] over records, at run time and in replay alike. The only things
//! taken from the pending view are numbers (UIDs, MODSEQs, mailbox ids, quota), so that an unacknowledged group can be
//! dropped without a trace that a client could have seen.
//!
//! API CONTRACT FOR THE OTHER MODULES. The bodies are written by whoever builds the store.

use crate::base::clock::{Clock, UnixMillis};
use crate::base::wait::Waiter;
use crate::disk::{Disk, DiskError};
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SpecialUse, Uid, UidValidity,
};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use crate::proto::{Receipt, ReceiptId};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;
use std::ops::Range;

/// What the store takes from outside: disk, clock, entropy.
pub trait Environment: Clone + 'static {
    type Disk: Disk;
    type Clock: Clock;
    fn disk(&self) -> &Self::Disk;
    fn clock(&self) -> &Self::Clock;
    /// Used for the store's identity only, never in replay.
    fn random_u64(&self) -> u64;
}

/// Proof that a commit is durable. Only the store makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitReceipt {
    id: ReceiptId,
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
    Damaged { position: LogPosition, what: String },
    /// A read failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("over quota")]
    OverQuota,
    #[error("no such mailbox")]
    NoSuchMailbox,
    #[error("mailbox exists already")]
    MailboxExists,
    /// INBOX cannot be deleted, a mailbox with children cannot lose its name, …
    #[error("{0}")]
    Cannot(&'static str),
    /// A named limit: mailboxes per account, keywords per mailbox, UIDs of a mailbox.
    #[error("limit reached: {0}")]
    Limit(&'static str),
}

/// What a recipient's copy of a delivery needs.
#[derive(Clone, Debug)]
pub struct LocalRecipient {
    pub account: AccountId,
    /// INBOX if it is gone.
    pub mailbox: MailboxName,
    /// Return-Path, Delivered-To, Received: the header lines put before the body, each ending in CRLF.
    pub prefix: Vec<u8>,
    /// `None`: no limit.
    pub quota_bytes: Option<u64>,
}

/// Delivering twice with one key equals once. (spool partition, spool sequence, index of the recipient)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpoolKey {
    pub partition: u16,
    pub sequence: u64,
}

/// A message body, whole: in memory, or (beyond [`BODY_IN_MEMORY_BYTES_MAX`]) already durable in the log of the core that received it.
#[derive(Clone, Debug)]
pub struct Body(BodyKind);
#[derive(Clone, Debug)]
enum BodyKind {
    Memory(SmallVec<[Bytes; 4]>),
    Stored(Vec<ChunkRef>),
}
impl Body {
    pub fn from_memory(pieces: SmallVec<[Bytes; 4]>) -> Self {
        Self(BodyKind::Memory(pieces))
    }
    /// Octets.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
}

/// A message longer than this is written chunk by chunk while it is received.
pub const BODY_IN_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// One chunk record (at most 64 KiB of body) in some core's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRef {
    pub position: LogPosition,
    pub bytes: u32,
}

/// Collects a body of unknown length in bounded memory.
pub struct BodyWriter<E: Environment>(PhantomData<E>);
impl<E: Environment> BodyWriter<E> {
    /// Takes the next piece. Waits only when the body is longer than [`BODY_IN_MEMORY_BYTES_MAX`] (back-pressure of the log).
    pub async fn push(&mut self, _piece: Bytes) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Octets so far.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }
    /// What was collected; chunks already written are durable when this returns.
    pub async fn finish(self) -> Result<Body, StoreError> {
        unimplemented!()
    }
}

/// A message to the recipients that live on this core.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub recipients: Vec<LocalRecipient>,
    pub body: Body,
    pub internal_date: InternalDate,
    /// Set when this is a fan-out from a spool record: recipients already served under it are skipped.
    /// The index of recipient i of the spool record is `spool_indexes[i]`.
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
    pub flags: Flags,
    pub keywords: SmallVec<[Keyword; 2]>,
    pub internal_date: InternalDate,
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
    /// UIDs that are not there any more are passed over.
    StoreFlags {
        mailbox: MailboxId,
        uids: Vec<Uid>,
        operation: StoreOperation,
        flags: Flags,
        keywords: SmallVec<[Keyword; 2]>,
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
        quota_bytes: Option<u64>,
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

/// The durable state of one account.
#[derive(Debug)]
pub struct AccountState {
    pub id: AccountId,
    pub names: BTreeMap<MailboxName, MailboxId>,
    pub mailboxes: HashMap<MailboxId, MailboxState>,
    pub subscriptions: BTreeSet<MailboxName>,
    pub highest_mod_seq: ModSeq,
    pub bytes_used: u64,
}

/// The durable state of one mailbox.
#[derive(Debug)]
pub struct MailboxState {
    pub id: MailboxId,
    pub name: MailboxName,
    pub uid_validity: UidValidity,
    /// As clients may see it: one more than the highest UID ever durable here.
    pub uid_next: u32,
    pub special_use: Option<SpecialUse>,
    /// Ascending by UID.
    pub rows: Vec<MessageRow>,
    /// Bit i of [`MessageRow::keywords`] is `keywords[i]`. At most 64.
    pub keywords: Vec<Keyword>,
    pub highest_mod_seq: ModSeq,
    pub changes: ChangeLog,
}

/// One message in one mailbox, fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRow {
    pub uid: Uid,
    pub flags: Flags,
    pub keywords: u64,
    /// Prefix and body, octets.
    pub size: u32,
    pub internal_date: InternalDate,
    pub save_date: UnixMillis,
    pub mod_seq: ModSeq,
    /// The message record: prefix, chunks, email id.
    pub record: LogPosition,
    /// Length of that record, so that one read fetches it.
    pub record_bytes: u32,
}

/// What happened to a mailbox lately, so that a session catches up without comparing whole mailboxes.
#[derive(Debug, Default)]
pub struct ChangeLog {
    // a bounded ring; first is the cursor of its oldest entry
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MailboxChange {
    Added(Uid),
    FlagsChanged(Uid),
    Expunged(Uid),
}
impl ChangeLog {
    /// The cursor after the newest entry.
    pub fn end(&self) -> u64 {
        unimplemented!()
    }
    /// Entries from `cursor` on; `None` when some of them are forgotten: compare whole views instead.
    pub fn since(&self, _cursor: u64) -> Option<Box<dyn Iterator<Item = &MailboxChange> + '_>> {
        unimplemented!()
    }
}

/// One stored message, opened for reading.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    pub prefix: Bytes,
    pub chunks: SmallVec<[ChunkRef; 1]>,
    pub size: u64,
    /// Unique per message body for the life of the store, equal for copies (RFC 8474 EMAILID).
    pub email_id: u64,
}

/// Builds the stores of all cores: recovery runs once, on one executor.
pub async fn recover<E: Environment>(_env: &E, _cores: usize) -> Result<Recovered, OpenError> {
    unimplemented!()
}
/// What recovery found, cut into one seed per core.
pub struct Recovered {
    pub seeds: Vec<StoreSeed>,
    pub report: RecoveryReport,
}
/// Everything a core needs to serve its partitions. Travels to the core's thread.
pub struct StoreSeed {}
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    pub segments: u64,
    pub records: u64,
    pub messages: u64,
    pub torn_tail_bytes: u64,
    pub incarnation: u32,
}
/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0} is not a Ringpost store: {1}")]
    NotAStore(String, String),
    #[error("the store has format {found}, this version reads up to {supported}: use a newer ringpost")]
    NewerFormat { found: u32, supported: u32 },
    #[error("damage in acknowledged data at {position}: {what}; nothing was changed")]
    Damaged { position: LogPosition, what: String },
}

/// One core's store. Clones are the same store.
#[derive(Clone)]
pub struct Store<E: Environment>(PhantomData<E>);

impl<E: Environment> Store<E> {
    /// Starts the log of core `core`: creates its first segment durably.
    pub async fn start(_env: E, _seed: StoreSeed) -> Result<Self, OpenError> {
        unimplemented!()
    }
    /// Writes and syncs groups until shutdown. Spawn it once on the core's executor; nothing commits without it.
    pub async fn run_writer(self) {
        unimplemented!()
    }
    /// Commits what is open, refuses what comes later, ends `run_writer`.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
    /// True after a write or sync has failed: commits are refused, reads go on.
    pub fn failure(&self) -> Option<StoreError> {
        unimplemented!()
    }
    /// Is there room for a message of `bytes`? Ask before 354.
    pub fn check_room(&self, _bytes: u64) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub fn body_writer(&self) -> BodyWriter<E> {
        unimplemented!()
    }
    /// Commits one message to recipients of this core. Durable on return.
    pub async fn deliver(&self, _delivery: Delivery) -> Result<CommitReceipt, StoreError> {
        unimplemented!()
    }
    /// Commits a message whose recipients live on several cores, as one record. Durable on return; then fan out.
    pub async fn spool(
        &self,
        _recipients: Vec<LocalRecipient>,
        _body: Body,
        _internal_date: InternalDate,
    ) -> Result<(CommitReceipt, SpoolEntry), StoreError> {
        unimplemented!()
    }
    /// Every recipient of the entry has its copy: forget it. Needs no wait by the caller, may be lost in a crash.
    pub async fn spool_done(&self, _key: SpoolKey) -> Result<(), StoreError> {
        unimplemented!()
    }
    pub async fn spool_forget(&self, _key: SpoolKey) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Spool entries that recovery found unfinished. Empty after the first call.
    pub fn unfinished_spool(&self) -> Vec<SpoolEntry> {
        unimplemented!()
    }
    /// Commits one change to one account of this core. Durable on return.
    pub async fn change(
        &self,
        _account: AccountId,
        _change: Change,
    ) -> Result<(CommitReceipt, Outcome), StoreError> {
        unimplemented!()
    }
    /// Makes sure the account exists, with INBOX and the standard mailboxes.
    pub async fn ensure_account(&self, _account: AccountId) -> Result<(), StoreError> {
        unimplemented!()
    }
    /// Looks at the durable state; `f` must not wait. `None`: the account was never touched.
    pub fn account<R>(&self, _account: AccountId, _f: impl FnOnce(&AccountState) -> R) -> Option<R> {
        unimplemented!()
    }
    /// Signalled after every durable change of the account.
    pub fn watch(&self, _account: AccountId) -> Waiter {
        unimplemented!()
    }
    /// Reads a message's record.
    pub async fn open_message(
        &self,
        _account: AccountId,
        _row: &MessageRow,
    ) -> Result<StoredMessage, StoreError> {
        unimplemented!()
    }
    /// Octets of `range` of prefix + body, each piece checked against its CRC before it is returned. Ask for at most
    /// 256 KiB at a time.
    pub async fn read_message(
        &self,
        _message: &StoredMessage,
        _range: Range<u64>,
    ) -> Result<Vec<Bytes>, StoreError> {
        unimplemented!()
    }
}
