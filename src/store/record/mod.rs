//! Records: every change of a store's state, as values and as payload bytes.
//!
//! Invariants: `decode(encode(r)) == r`; a record says everything its application needs, so that replay asks no clock
//! and no chance; numbers of kinds are never reused.
//! `kind` has the numbers, `encode` and `decode` the payloads.
//! Not here: the header every record has (`frame`), what a record does (`apply`). FORMAT.md has the fields.

mod decode;
mod encode;
pub mod kind;

pub use decode::{key, keywords, metadata, name, special_use};
pub use encode::{put_key, put_keywords, put_metadata};

use super::codec::UidSet;
use super::{ChunkRef, SpoolKey};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SpecialUse, Uid};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use bytes::Bytes;
use smallvec::SmallVec;

/// Stands for the account itself where a record has metadata.
const NO_MAILBOX: MailboxId = MailboxId(0);

/// The first bytes of a chunk's payload, before its piece of the body: for whoever salvages a damaged store.
pub const CHUNK_PREFIX_BYTES: usize = 12;

/// Encodes a chunk's prefix: the body's email id and the chunk's place in the body.
#[must_use]
pub fn chunk_prefix(email_id: u64, index: u32) -> [u8; CHUNK_PREFIX_BYTES] {
    let mut out = [0; CHUNK_PREFIX_BYTES];
    out[..8].copy_from_slice(&email_id.to_le_bytes());
    out[8..].copy_from_slice(&index.to_le_bytes());
    out
}

/// When a transfer was. Logs of before have the first two: their messages kept the SAVEDATE they had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transferred {
    Undated,
    /// For graves only.
    Dated(UnixMillis),
    /// It is the SAVEDATE of the messages in the target, too (RFC 8514 §3).
    Saved(UnixMillis),
}

impl Transferred {
    /// The moment, if it is known.
    #[must_use]
    pub fn at(self) -> Option<UnixMillis> {
        match self {
            Self::Undated => None,
            Self::Dated(at) | Self::Saved(at) => Some(at),
        }
    }

    /// What becomes of a SAVEDATE. It never goes back, so that a row's is never before its record's.
    #[must_use]
    pub fn save_date(self, before: UnixMillis) -> UnixMillis {
        match self {
            Self::Undated | Self::Dated(_) => before,
            Self::Saved(at) => before.max(at),
        }
    }
}

/// How a STORE is applied. Kinds of their own on disk, because replay must make of old records what was made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreRule {
    /// All its keywords get bits, whether a message changes or not; to UNCHANGEDSINCE 0 every message has changed.
    OfAll,
    /// Keywords get bits if it changes a message; UNCHANGEDSINCE 0 passes over messages that have one of its flags
    /// (RFC 7162 §3.1.3).
    OfChanged,
}

/// One message in one mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// Whose.
    pub account: AccountId,
    /// Where it goes.
    pub mailbox: MailboxId,
    /// Its UID there.
    pub uid: Uid,
    /// Of its arrival.
    pub mod_seq: ModSeq,
    /// Of its body.
    pub email_id: u64,
    /// It starts with these.
    pub flags: Flags,
    /// And these; the mailbox numbers them when the record is applied.
    pub keywords: SmallVec<[Keyword; 2]>,
    /// INTERNALDATE.
    pub internal_date: InternalDate,
    /// SAVEDATE (RFC 8514).
    pub save_date: UnixMillis,
    /// Octets it is longer by when every line ends in CRLF.
    pub line_end_octets: u32,
    /// Header lines put before the body.
    pub prefix: Bytes,
    /// The body, in order; one at least.
    pub chunks: SmallVec<[ChunkRef; 1]>,
    /// The spool entry it comes from and its index there.
    pub key: Option<(SpoolKey, u16)>,
    /// See [`SpoolRecipient::asked`].
    pub asked: Bytes,
}

impl MessageRecord {
    /// Prefix and body, octets.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.prefix.len() as u64 + body_bytes(&self.chunks)
    }
}

/// A message record that lies elsewhere now, with everything its rows need of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedRecord {
    /// Where the record lay.
    pub from: LogPosition,
    /// The rows and graves that refer to it.
    pub rows: Vec<(MailboxId, Uid)>,
    /// As the first of the rows stood.
    pub message: MessageRecord,
}

/// Octets of the body in `chunks`.
#[must_use]
pub fn body_bytes(chunks: &[ChunkRef]) -> u64 {
    chunks.iter().map(|c| u64::from(c.bytes)).sum()
}

/// One recipient in a spool record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolRecipient {
    /// Who gets a copy.
    pub account: AccountId,
    /// Into which mailbox.
    pub mailbox: MailboxName,
    /// Before the body.
    pub prefix: Bytes,
    /// What the sender asked for besides delivery, for whoever reports or sends on: the parameters of MAIL, a line end and
    /// those of RCPT. Most ask for nothing: empty.
    pub asked: Bytes,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are named after what they are; `apply` says what is done with them
pub enum Record {
    /// INBOX and the standard mailboxes are ids 1 to 6 with UIDVALIDITY `uid_validity` and the five after it.
    AccountCreated {
        account: AccountId,
        uid_validity: u32,
    },
    MailboxCreated {
        account: AccountId,
        mailbox: MailboxId,
        uid_validity: u32,
        special_use: Option<SpecialUse>,
        name: MailboxName,
    },
    MailboxDeleted {
        account: AccountId,
        mailbox: MailboxId,
        /// When. A kind of its own on disk, as all the `at` here; `None` in format 1.
        at: Option<UnixMillis>,
    },
    /// Whatever lies below its old name moves along.
    MailboxRenamed {
        account: AccountId,
        mailbox: MailboxId,
        name: MailboxName,
    },
    /// Every message of INBOX moves to `to`, which is new, and keeps its UID number.
    InboxRenamed {
        account: AccountId,
        to: MailboxId,
        mod_seq: ModSeq,
        at: Option<UnixMillis>,
    },
    Subscription {
        account: AccountId,
        name: MailboxName,
        subscribed: bool,
    },
    /// Entries of a mailbox, or of the account itself, get these values, or none (RFC 5464).
    Metadata {
        account: AccountId,
        mailbox: Option<MailboxId>,
        /// What a mailbox's HIGHESTMODSEQ becomes. A kind of its own on disk; `None` for the account's own, and in older
        /// records.
        mod_seq: Option<ModSeq>,
        entries: Vec<(String, Option<Bytes>)>,
    },
    /// The mailboxes that have this use lose it, and `mailbox`, if there is one, has it (or none) from here on.
    SpecialUseSet {
        account: AccountId,
        mailbox: Option<MailboxId>,
        special_use: Option<SpecialUse>,
    },
    Message(Box<MessageRecord>),
    StoreFlags {
        account: AccountId,
        mailbox: MailboxId,
        mod_seq: ModSeq,
        operation: StoreOperation,
        flags: Flags,
        keywords: SmallVec<[Keyword; 2]>,
        /// Messages with a MODSEQ above this are passed over. A kind of its own on disk.
        unchanged_since: Option<ModSeq>,
        rule: StoreRule,
        uids: UidSet,
    },
    Expunge {
        account: AccountId,
        mailbox: MailboxId,
        mod_seq: ModSeq,
        only_deleted: bool,
        uids: UidSet,
        at: Option<UnixMillis>,
    },
    /// COPY and MOVE: the n-th of `uids` becomes `first_uid + n` of the target, whether it is still there or not.
    Transfer {
        account: AccountId,
        from: MailboxId,
        to: MailboxId,
        mod_seq: ModSeq,
        moves: bool,
        first_uid: Uid,
        uids: UidSet,
        when: Transferred,
    },
    /// What was expunged up to this MODSEQ is not remembered any more.
    GravesForgotten {
        account: AccountId,
        mailbox: MailboxId,
        mod_seq: ModSeq,
    },
    /// Compaction wrote a message anew.
    MessageMoved(Box<MovedRecord>),
    /// From here to its [`Record::PartitionEnds`] all of a partition is said anew, so that what lies before is not
    /// needed to rebuild it. Changes go on in between.
    PartitionBegins {
        partition: u16,
    },
    /// A part of an account as it stands here; see `restated`.
    AccountRestated {
        account: AccountId,
        part: u32,
        is_last: bool,
        octets: Bytes,
    },
    /// A key of [`super::CoreState::served`].
    ServedRestated {
        partition: u16,
        key: SpoolKey,
        index: u16,
    },
    /// A spool entry that is not done: its key, and its record's payload.
    SpoolRestated {
        key: SpoolKey,
        payload: Bytes,
    },
    /// A grave is opened: its message is in a mailbox again, under a new UID. The grave stays, as of one that has moved.
    Undeleted {
        /// Of the grave.
        mailbox: MailboxId,
        /// Of the grave.
        uid: Uid,
        message: Box<MessageRecord>,
    },
    PartitionEnds {
        partition: u16,
        /// Sequence of the [`Record::PartitionBegins`].
        begun_at: u64,
    },
    /// Its key is the partition and sequence of its header.
    Spool {
        partition: u16,
        internal_date: InternalDate,
        line_end_octets: u32,
        chunks: SmallVec<[ChunkRef; 1]>,
        recipients: Vec<SpoolRecipient>,
    },
    SpoolDone {
        key: SpoolKey,
    },
    /// The keys of `key` that `partition` remembers.
    SpoolForget {
        partition: u16,
        key: SpoolKey,
    },
    /// The log of this incarnation ends here. `by` is the incarnation that says so.
    Seal {
        by: u32,
    },
}

/// Whose a record is.
enum Owner {
    Account(AccountId),
    Partition(u16),
    Nobody,
}

impl Record {
    /// The account whose state it changes; `None` for those about the spool, and seals.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self.owner() {
            Owner::Account(account) => Some(account),
            Owner::Partition(_) | Owner::Nobody => None,
        }
    }

    /// The partition in its header.
    #[must_use]
    pub fn partition(&self) -> u16 {
        match self.owner() {
            Owner::Account(account) => account.partition().0,
            Owner::Partition(partition) => partition,
            Owner::Nobody => super::frame::NO_PARTITION,
        }
    }

    fn owner(&self) -> Owner {
        match self {
            Self::AccountCreated { account, .. }
            | Self::MailboxCreated { account, .. }
            | Self::MailboxDeleted { account, .. }
            | Self::MailboxRenamed { account, .. }
            | Self::InboxRenamed { account, .. }
            | Self::Subscription { account, .. }
            | Self::Metadata { account, .. }
            | Self::SpecialUseSet { account, .. }
            | Self::StoreFlags { account, .. }
            | Self::Expunge { account, .. }
            | Self::GravesForgotten { account, .. }
            | Self::AccountRestated { account, .. }
            | Self::Transfer { account, .. } => Owner::Account(*account),
            Self::Message(message) => Owner::Account(message.account),
            Self::MessageMoved(moved) => Owner::Account(moved.message.account),
            Self::Undeleted { message, .. } => Owner::Account(message.account),
            Self::Spool { partition, .. }
            | Self::PartitionBegins { partition }
            | Self::ServedRestated { partition, .. }
            | Self::PartitionEnds { partition, .. }
            | Self::SpoolForget { partition, .. } => Owner::Partition(*partition),
            Self::SpoolDone { key } | Self::SpoolRestated { key, .. } => Owner::Partition(key.partition),
            Self::Seal { .. } => Owner::Nobody,
        }
    }

    /// Its kind on disk.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::AccountCreated { .. } => kind::ACCOUNT_CREATED,
            Self::MailboxCreated { .. } => kind::MAILBOX_CREATED,
            Self::MailboxDeleted { at: None, .. } => kind::MAILBOX_DELETED,
            Self::MailboxDeleted { .. } => kind::MAILBOX_DELETED_DATED,
            Self::MailboxRenamed { .. } => kind::MAILBOX_RENAMED,
            Self::InboxRenamed { at: None, .. } => kind::INBOX_RENAMED,
            Self::InboxRenamed { .. } => kind::INBOX_RENAMED_DATED,
            Self::Subscription { .. } => kind::SUBSCRIPTION,
            Self::Metadata { mod_seq: None, .. } => kind::METADATA,
            Self::Metadata { .. } => kind::METADATA_COUNTED,
            Self::SpecialUseSet { .. } => kind::SPECIAL_USE_SET,
            Self::Message(_) => kind::MESSAGE,
            Self::StoreFlags {
                unchanged_since,
                rule,
                ..
            } => match (unchanged_since, rule) {
                (None, StoreRule::OfAll) => kind::STORE_FLAGS,
                (Some(_), StoreRule::OfAll) => kind::STORE_FLAGS_UNCHANGED,
                (None, StoreRule::OfChanged) => kind::STORE_FLAGS_SPARING,
                (Some(_), StoreRule::OfChanged) => kind::STORE_FLAGS_SPARING_UNCHANGED,
            },
            Self::Expunge { at: None, .. } => kind::EXPUNGE,
            Self::Expunge { .. } => kind::EXPUNGE_DATED,
            Self::Transfer { when, .. } => match when {
                Transferred::Undated => kind::TRANSFER,
                Transferred::Dated(_) => kind::TRANSFER_DATED,
                Transferred::Saved(_) => kind::TRANSFER_SAVED,
            },
            Self::GravesForgotten { .. } => kind::GRAVES_FORGOTTEN,
            Self::MessageMoved(_) => kind::MESSAGE_MOVED,
            Self::Undeleted { .. } => kind::UNDELETED,
            Self::PartitionBegins { .. } => kind::PARTITION_BEGINS,
            Self::AccountRestated { .. } => kind::ACCOUNT_RESTATED,
            Self::ServedRestated { .. } => kind::SERVED_RESTATED,
            Self::SpoolRestated { .. } => kind::SPOOL_RESTATED,
            Self::PartitionEnds { .. } => kind::PARTITION_ENDS,
            Self::Spool { .. } => kind::SPOOL,
            Self::SpoolDone { .. } => kind::SPOOL_DONE,
            Self::SpoolForget { .. } => kind::SPOOL_FORGET,
            Self::Seal { .. } => kind::SEAL,
        }
    }
}
