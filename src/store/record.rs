//! Records: every change of a store's state, as values and as payload bytes.
//!
//! Invariants: `decode(encode(r)) == r`; a record says everything its application needs, so that replay asks no clock
//! and no chance; numbers of kinds are never reused.
//! Not here: the header every record has (`frame`), what a record does (`apply`). FORMAT.md has the fields.

use super::codec::{
    Malformed, Reader, UidSet, put_bytes, put_u8, put_u16, put_u32, put_u64, put_uids, put_varint,
};
use super::state::Metadata;
use super::{ChunkRef, SpoolKey};
use crate::base::clock::UnixMillis;
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SegmentId, SpecialUse, Uid,
};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use bytes::Bytes;
use smallvec::SmallVec;

/// A record's kind on disk.
pub mod kind {
    /// A piece of a body; see [`super::Chunk`].
    pub const CHUNK: u8 = 1;
    /// [`super::Record::AccountCreated`]
    pub const ACCOUNT_CREATED: u8 = 2;
    /// [`super::Record::MailboxCreated`]
    pub const MAILBOX_CREATED: u8 = 3;
    /// [`super::Record::MailboxDeleted`]
    pub const MAILBOX_DELETED: u8 = 4;
    /// [`super::Record::MailboxRenamed`]
    pub const MAILBOX_RENAMED: u8 = 5;
    /// [`super::Record::InboxRenamed`]
    pub const INBOX_RENAMED: u8 = 6;
    /// [`super::Record::Subscription`]
    pub const SUBSCRIPTION: u8 = 7;
    /// [`super::Record::Message`]
    pub const MESSAGE: u8 = 8;
    /// [`super::Record::StoreFlags`]
    pub const STORE_FLAGS: u8 = 9;
    /// [`super::Record::Expunge`]
    pub const EXPUNGE: u8 = 10;
    /// [`super::Record::Transfer`]
    pub const TRANSFER: u8 = 11;
    /// [`super::Record::Spool`]
    pub const SPOOL: u8 = 12;
    /// [`super::Record::SpoolDone`]
    pub const SPOOL_DONE: u8 = 13;
    /// [`super::Record::SpoolForget`]
    pub const SPOOL_FORGET: u8 = 14;
    /// [`super::Record::Seal`]
    pub const SEAL: u8 = 15;
    /// [`super::Record::StoreFlags`] with `unchanged_since`
    pub const STORE_FLAGS_UNCHANGED: u8 = 16;
    /// [`super::Record::Expunge`] with `at`; since format 2, as all that follow
    pub const EXPUNGE_DATED: u8 = 17;
    /// [`super::Record::Transfer`] with `at`
    pub const TRANSFER_DATED: u8 = 18;
    /// [`super::Record::InboxRenamed`] with `at`
    pub const INBOX_RENAMED_DATED: u8 = 19;
    /// [`super::Record::MailboxDeleted`] with `at`
    pub const MAILBOX_DELETED_DATED: u8 = 20;
    /// [`super::Record::GravesForgotten`]
    pub const GRAVES_FORGOTTEN: u8 = 21;
    /// [`super::Record::MessageMoved`]
    pub const MESSAGE_MOVED: u8 = 22;
    /// [`super::Record::PartitionBegins`]
    pub const PARTITION_BEGINS: u8 = 23;
    /// [`super::Record::AccountRestated`]
    pub const ACCOUNT_RESTATED: u8 = 24;
    /// [`super::Record::ServedRestated`]
    pub const SERVED_RESTATED: u8 = 25;
    /// [`super::Record::SpoolRestated`]
    pub const SPOOL_RESTATED: u8 = 26;
    /// [`super::Record::PartitionEnds`]
    pub const PARTITION_ENDS: u8 = 27;
    /// [`super::Record::Undeleted`]
    pub const UNDELETED: u8 = 28;
    /// [`super::Record::Metadata`]
    pub const METADATA: u8 = 29;
    /// The highest that is known.
    pub const LAST: u8 = METADATA;
}

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
    /// Of the payload of a [`Record::Message`], [`Record::MessageMoved`] or [`Record::Undeleted`].
    pub fn of_payload(payload: &[u8]) -> Result<Self, Malformed> {
        decode_message(&mut Reader::new(payload))
    }

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
        entries: Vec<(String, Option<Bytes>)>,
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
        /// Of a MOVE only.
        at: Option<UnixMillis>,
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

impl Record {
    /// The account whose state it changes; `None` for those about the spool, and seals.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::AccountCreated { account, .. }
            | Self::MailboxCreated { account, .. }
            | Self::MailboxDeleted { account, .. }
            | Self::MailboxRenamed { account, .. }
            | Self::InboxRenamed { account, .. }
            | Self::Subscription { account, .. }
            | Self::Metadata { account, .. }
            | Self::StoreFlags { account, .. }
            | Self::Expunge { account, .. }
            | Self::GravesForgotten { account, .. }
            | Self::AccountRestated { account, .. }
            | Self::Transfer { account, .. } => Some(*account),
            Self::Message(message) => Some(message.account),
            Self::MessageMoved(moved) => Some(moved.message.account),
            Self::Undeleted { message, .. } => Some(message.account),
            Self::Spool { .. }
            | Self::SpoolForget { .. }
            | Self::SpoolDone { .. }
            | Self::PartitionBegins { .. }
            | Self::ServedRestated { .. }
            | Self::SpoolRestated { .. }
            | Self::PartitionEnds { .. }
            | Self::Seal { .. } => None,
        }
    }

    /// The partition in its header.
    #[must_use]
    pub fn partition(&self) -> u16 {
        match self {
            Self::AccountCreated { account, .. }
            | Self::MailboxCreated { account, .. }
            | Self::MailboxDeleted { account, .. }
            | Self::MailboxRenamed { account, .. }
            | Self::InboxRenamed { account, .. }
            | Self::Subscription { account, .. }
            | Self::Metadata { account, .. }
            | Self::StoreFlags { account, .. }
            | Self::Expunge { account, .. }
            | Self::GravesForgotten { account, .. }
            | Self::AccountRestated { account, .. }
            | Self::Transfer { account, .. } => account.partition().0,
            Self::Message(message) => message.account.partition().0,
            Self::MessageMoved(moved) => moved.message.account.partition().0,
            Self::Undeleted { message, .. } => message.account.partition().0,
            Self::Spool { partition, .. }
            | Self::PartitionBegins { partition }
            | Self::ServedRestated { partition, .. }
            | Self::PartitionEnds { partition, .. }
            | Self::SpoolForget { partition, .. } => *partition,
            Self::SpoolDone { key } | Self::SpoolRestated { key, .. } => key.partition,
            Self::Seal { .. } => super::frame::NO_PARTITION,
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
            Self::Metadata { .. } => kind::METADATA,
            Self::Message(_) => kind::MESSAGE,
            Self::StoreFlags {
                unchanged_since: None,
                ..
            } => kind::STORE_FLAGS,
            Self::StoreFlags { .. } => kind::STORE_FLAGS_UNCHANGED,
            Self::Expunge { at: None, .. } => kind::EXPUNGE,
            Self::Expunge { .. } => kind::EXPUNGE_DATED,
            Self::Transfer { at: None, .. } => kind::TRANSFER,
            Self::Transfer { .. } => kind::TRANSFER_DATED,
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

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AccountCreated {
                account,
                uid_validity,
            } => {
                put_u64(out, account.0);
                put_u32(out, *uid_validity);
            }
            Self::MailboxCreated {
                account,
                mailbox,
                uid_validity,
                special_use,
                name,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u32(out, *uid_validity);
                put_u8(out, special_use.map_or(0, |s| s as u8));
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::MailboxDeleted { account, mailbox, at } => {
                put_account_mailbox(out, *account, *mailbox);
                put_at(out, *at);
            }
            Self::MailboxRenamed {
                account,
                mailbox,
                name,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::InboxRenamed {
                account,
                to,
                mod_seq,
                at,
            } => {
                put_account_mailbox(out, *account, *to);
                put_u64(out, mod_seq.0);
                put_at(out, *at);
            }
            Self::Subscription {
                account,
                name,
                subscribed,
            } => {
                put_u64(out, account.0);
                put_u8(out, u8::from(*subscribed));
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::Metadata {
                account,
                mailbox,
                entries,
            } => {
                put_account_mailbox(out, *account, mailbox.unwrap_or(NO_MAILBOX));
                put_varint(out, entries.len() as u64);
                for (name, value) in entries {
                    put_bytes(out, name.as_bytes());
                    put_u8(out, u8::from(value.is_some()));
                    if let Some(value) = value {
                        put_bytes(out, value);
                    }
                }
            }
            Self::Message(message) => encode_message(message, out),
            Self::StoreFlags {
                account,
                mailbox,
                mod_seq,
                operation,
                flags,
                keywords,
                unchanged_since,
                uids,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
                put_u8(out, *operation as u8);
                put_u8(out, flags.0);
                put_keywords(out, keywords);
                if let Some(since) = unchanged_since {
                    put_u64(out, since.0);
                }
                put_uids(out, uids);
            }
            Self::Expunge {
                account,
                mailbox,
                mod_seq,
                only_deleted,
                uids,
                at,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
                put_u8(out, u8::from(*only_deleted));
                put_uids(out, uids);
                put_at(out, *at);
            }
            Self::Transfer {
                account,
                from,
                to,
                mod_seq,
                moves,
                first_uid,
                uids,
                at,
            } => {
                put_account_mailbox(out, *account, *from);
                put_u32(out, to.0);
                put_u64(out, mod_seq.0);
                put_u8(out, u8::from(*moves));
                put_u32(out, first_uid.value());
                put_uids(out, uids);
                put_at(out, *at);
            }
            Self::GravesForgotten {
                account,
                mailbox,
                mod_seq,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
            }
            Self::MessageMoved(moved) => {
                encode_message(&moved.message, out);
                put_u32(out, moved.from.segment.0);
                put_u32(out, moved.from.offset);
                put_varint(out, moved.rows.len() as u64);
                for (mailbox, uid) in &moved.rows {
                    put_u32(out, mailbox.0);
                    put_u32(out, uid.value());
                }
            }
            Self::PartitionBegins { .. } => {}
            Self::Undeleted {
                mailbox,
                uid,
                message,
            } => {
                encode_message(message, out);
                put_u32(out, mailbox.0);
                put_u32(out, uid.value());
            }
            Self::AccountRestated {
                account,
                part,
                is_last,
                octets,
            } => {
                put_u64(out, account.0);
                put_u32(out, *part);
                put_u8(out, u8::from(*is_last));
                put_bytes(out, octets);
            }
            Self::ServedRestated { key, index, .. } => {
                put_key(out, *key);
                put_u16(out, *index);
            }
            Self::SpoolRestated { key, payload } => {
                put_key(out, *key);
                put_bytes(out, payload);
            }
            Self::PartitionEnds { begun_at, .. } => put_u64(out, *begun_at),
            Self::Spool {
                internal_date,
                line_end_octets,
                chunks,
                recipients,
                ..
            } => {
                put_date(out, *internal_date);
                put_u32(out, *line_end_octets);
                put_chunks(out, chunks);
                put_varint(out, recipients.len() as u64);
                for recipient in recipients {
                    put_u64(out, recipient.account.0);
                    put_bytes(out, recipient.mailbox.as_str().as_bytes());
                    put_bytes(out, &recipient.prefix);
                }
                if recipients.iter().any(|recipient| !recipient.asked.is_empty()) {
                    recipients
                        .iter()
                        .for_each(|recipient| put_bytes(out, &recipient.asked));
                }
            }
            Self::SpoolDone { key } | Self::SpoolForget { key, .. } => put_key(out, *key),
            Self::Seal { by } => put_u32(out, *by),
        }
    }

    /// Reads a payload of this kind back. `partition` is the one in the record's header.
    pub fn decode(kind: u8, partition: u16, payload: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(payload);
        let record = Self::fields(kind, partition, &mut input)?;
        input.finish()?;
        if record.partition() != partition {
            return Err(Malformed("it belongs to another partition"));
        }
        Ok(record)
    }

    fn fields(kind: u8, partition: u16, input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let account = |input: &mut Reader<'_>| input.u64().map(AccountId);
        let mailbox = |input: &mut Reader<'_>| input.u32().map(MailboxId);
        let mod_seq = |input: &mut Reader<'_>| input.u64().map(ModSeq);
        // Fields of a struct expression are evaluated in the order written: the order on disk.
        Ok(match kind {
            kind::ACCOUNT_CREATED => Self::AccountCreated {
                account: account(input)?,
                uid_validity: input.u32()?,
            },
            kind::MAILBOX_CREATED => Self::MailboxCreated {
                account: account(input)?,
                mailbox: mailbox(input)?,
                uid_validity: input.u32()?,
                special_use: special_use(input)?,
                name: name(input)?,
            },
            kind::MAILBOX_DELETED | kind::MAILBOX_DELETED_DATED => Self::MailboxDeleted {
                account: account(input)?,
                mailbox: mailbox(input)?,
                at: at(kind, input)?,
            },
            kind::MAILBOX_RENAMED => Self::MailboxRenamed {
                account: account(input)?,
                mailbox: mailbox(input)?,
                name: name(input)?,
            },
            kind::INBOX_RENAMED | kind::INBOX_RENAMED_DATED => Self::InboxRenamed {
                account: account(input)?,
                to: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                at: at(kind, input)?,
            },
            kind::SUBSCRIPTION => {
                let account = account(input)?;
                let subscribed = boolean(input)?;
                Self::Subscription {
                    account,
                    name: name(input)?,
                    subscribed,
                }
            }
            kind::METADATA => Self::Metadata {
                account: account(input)?,
                mailbox: Some(mailbox(input)?).filter(|mailbox| *mailbox != NO_MAILBOX),
                entries: entries(input)?,
            },
            kind::MESSAGE => Self::Message(Box::new(decode_message(input)?)),
            kind::STORE_FLAGS | kind::STORE_FLAGS_UNCHANGED => Self::StoreFlags {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                operation: operation(input)?,
                flags: flags(input)?,
                keywords: keywords(input)?,
                unchanged_since: match kind {
                    kind::STORE_FLAGS => None,
                    _ => Some(mod_seq(input)?),
                },
                uids: input.uids()?,
            },
            kind::EXPUNGE | kind::EXPUNGE_DATED => Self::Expunge {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                only_deleted: boolean(input)?,
                uids: input.uids()?,
                at: at(kind, input)?,
            },
            kind::TRANSFER | kind::TRANSFER_DATED => Self::Transfer {
                account: account(input)?,
                from: mailbox(input)?,
                to: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                moves: boolean(input)?,
                first_uid: uid(input)?,
                uids: input.uids()?,
                at: at(kind, input)?,
            },
            kind::GRAVES_FORGOTTEN => Self::GravesForgotten {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
            },
            kind::MESSAGE_MOVED => Self::MessageMoved(Box::new(decode_moved(input)?)),
            kind::PARTITION_BEGINS => Self::PartitionBegins { partition },
            kind::UNDELETED => {
                let message = Box::new(decode_message(input)?);
                Self::Undeleted {
                    mailbox: mailbox(input)?,
                    uid: uid(input)?,
                    message,
                }
            }
            kind::ACCOUNT_RESTATED => Self::AccountRestated {
                account: account(input)?,
                part: input.u32()?,
                is_last: boolean(input)?,
                octets: Bytes::copy_from_slice(input.bytes()?),
            },
            kind::SERVED_RESTATED => Self::ServedRestated {
                partition,
                key: key(input)?,
                index: input.u16()?,
            },
            kind::SPOOL_RESTATED => Self::SpoolRestated {
                key: key(input)?,
                payload: Bytes::copy_from_slice(input.bytes()?),
            },
            kind::PARTITION_ENDS => Self::PartitionEnds {
                partition,
                begun_at: input.u64()?,
            },
            kind::SPOOL => Self::Spool {
                partition,
                internal_date: date(input)?,
                line_end_octets: input.u32()?,
                chunks: chunks(input)?,
                recipients: recipients(input)?,
            },
            kind::SPOOL_DONE => Self::SpoolDone { key: key(input)? },
            kind::SPOOL_FORGET => Self::SpoolForget {
                partition,
                key: key(input)?,
            },
            kind::SEAL => Self::Seal { by: input.u32()? },
            _ => return Err(Malformed("a kind of record this version does not know")),
        })
    }
}

/// Stands for the account itself where a record has metadata.
const NO_MAILBOX: MailboxId = MailboxId(0);

fn entries(input: &mut Reader<'_>) -> Result<Vec<(String, Option<Bytes>)>, Malformed> {
    let count = input.count(2)?;
    let entry = |_| {
        let name = input.text()?.to_owned();
        let value = if boolean(input)? {
            Some(Bytes::copy_from_slice(input.bytes()?))
        } else {
            None
        };
        Ok((name, value))
    };
    (0..count).map(entry).collect()
}

/// Appends metadata.
pub fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_varint(out, metadata.len() as u64);
    for (name, value) in metadata {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
}

/// See [`put_metadata`].
pub fn metadata(input: &mut Reader<'_>) -> Result<Metadata, Malformed> {
    let count = input.count(2)?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let name = input.text()?.to_owned();
        metadata.insert(name, Bytes::copy_from_slice(input.bytes()?));
    }
    if metadata.len() == count {
        Ok(metadata)
    } else {
        Err(Malformed("a metadata entry twice"))
    }
}

fn encode_message(message: &MessageRecord, out: &mut Vec<u8>) {
    put_account_mailbox(out, message.account, message.mailbox);
    put_u32(out, message.uid.value());
    put_u64(out, message.mod_seq.0);
    put_u64(out, message.email_id);
    put_u8(out, message.flags.0);
    put_keywords(out, &message.keywords);
    put_date(out, message.internal_date);
    put_u64(out, message.save_date.0.cast_unsigned());
    put_u32(out, message.line_end_octets);
    put_bytes(out, &message.prefix);
    put_chunks(out, &message.chunks);
    put_u8(
        out,
        u8::from(message.key.is_some()) | u8::from(!message.asked.is_empty()) << 1,
    );
    if let Some((key, index)) = message.key {
        put_key(out, key);
        put_u16(out, index);
    }
    if !message.asked.is_empty() {
        put_bytes(out, &message.asked);
    }
}

fn decode_message(input: &mut Reader<'_>) -> Result<MessageRecord, Malformed> {
    let mut message = MessageRecord {
        account: AccountId(input.u64()?),
        mailbox: MailboxId(input.u32()?),
        uid: uid(input)?,
        mod_seq: ModSeq(input.u64()?),
        email_id: input.u64()?,
        flags: flags(input)?,
        keywords: keywords(input)?,
        internal_date: date(input)?,
        save_date: UnixMillis(input.u64()?.cast_signed()),
        line_end_octets: input.u32()?,
        prefix: Bytes::copy_from_slice(input.bytes()?),
        chunks: chunks(input)?,
        key: None,
        asked: Bytes::new(),
    };
    let parts = input.u8()?;
    if parts > 3 {
        return Err(Malformed("parts of a message record this version does not know"));
    }
    if parts & 1 != 0 {
        message.key = Some((key(input)?, input.u16()?));
    }
    if parts & 2 != 0 {
        message.asked = Bytes::copy_from_slice(input.bytes()?);
    }
    Ok(message)
}

fn decode_moved(input: &mut Reader<'_>) -> Result<MovedRecord, Malformed> {
    let message = decode_message(input)?;
    let segment = SegmentId(input.u32()?);
    let offset = input.u32()?;
    let count = input.count(8)?;
    let rows: Result<_, Malformed> = (0..count)
        .map(|_| Ok((MailboxId(input.u32()?), uid(input)?)))
        .collect();
    Ok(MovedRecord {
        from: LogPosition { segment, offset },
        rows: rows?,
        message,
    })
}

fn put_at(out: &mut Vec<u8>, at: Option<UnixMillis>) {
    if let Some(at) = at {
        put_u64(out, at.0.cast_unsigned());
    }
}
/// When it happened, in the kinds that say it.
fn at(kind: u8, input: &mut Reader<'_>) -> Result<Option<UnixMillis>, Malformed> {
    match kind {
        kind::EXPUNGE_DATED..=kind::MAILBOX_DELETED_DATED => Ok(Some(UnixMillis(input.u64()?.cast_signed()))),
        _ => Ok(None),
    }
}
fn put_account_mailbox(out: &mut Vec<u8>, account: AccountId, mailbox: MailboxId) {
    put_u64(out, account.0);
    put_u32(out, mailbox.0);
}
fn put_date(out: &mut Vec<u8>, date: InternalDate) {
    put_u64(out, date.at.0.cast_unsigned());
    put_u16(out, date.zone_minutes.cast_unsigned());
}
/// See [`keywords`].
pub fn put_keywords(out: &mut Vec<u8>, keywords: &[Keyword]) {
    put_varint(out, keywords.len() as u64);
    for keyword in keywords {
        put_bytes(out, keyword.as_str().as_bytes());
    }
}
fn put_chunks(out: &mut Vec<u8>, chunks: &[ChunkRef]) {
    put_varint(out, chunks.len() as u64);
    for chunk in chunks {
        put_u32(out, chunk.position.segment.0);
        put_u32(out, chunk.position.offset);
        put_u32(out, chunk.bytes);
    }
}
/// See [`key`].
pub fn put_key(out: &mut Vec<u8>, key: SpoolKey) {
    put_u16(out, key.partition);
    put_u64(out, key.sequence);
}
fn boolean(input: &mut Reader<'_>) -> Result<bool, Malformed> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("neither yes nor no")),
    }
}
fn uid(input: &mut Reader<'_>) -> Result<Uid, Malformed> {
    Uid::new(input.u32()?).ok_or(Malformed("UID 0"))
}
fn flags(input: &mut Reader<'_>) -> Result<Flags, Malformed> {
    let flags = Flags(input.u8()?);
    if Flags::ALL.contains(flags) {
        Ok(flags)
    } else {
        Err(Malformed("an unknown flag"))
    }
}
/// A mailbox name.
pub fn name(input: &mut Reader<'_>) -> Result<MailboxName, Malformed> {
    MailboxName::new(input.text()?).map_err(|_| Malformed("not a mailbox name"))
}
/// A special use; 0 is none.
pub fn special_use(input: &mut Reader<'_>) -> Result<Option<SpecialUse>, Malformed> {
    match input.u8()? {
        0 => Ok(None),
        number => SpecialUse::from_number(number)
            .map(Some)
            .ok_or(Malformed("an unknown special use")),
    }
}
fn operation(input: &mut Reader<'_>) -> Result<StoreOperation, Malformed> {
    match input.u8()? {
        0 => Ok(StoreOperation::Replace),
        1 => Ok(StoreOperation::Add),
        2 => Ok(StoreOperation::Remove),
        _ => Err(Malformed("an unknown operation on flags")),
    }
}
/// A number of keywords and they.
pub fn keywords(input: &mut Reader<'_>) -> Result<SmallVec<[Keyword; 2]>, Malformed> {
    let count = input.count(2)?;
    (0..count)
        .map(|_| Keyword::new(input.text()?).map_err(|_| Malformed("not a keyword")))
        .collect()
}
fn date(input: &mut Reader<'_>) -> Result<InternalDate, Malformed> {
    Ok(InternalDate {
        at: UnixMillis(input.u64()?.cast_signed()),
        zone_minutes: input.u16()?.cast_signed(),
    })
}
fn chunks(input: &mut Reader<'_>) -> Result<SmallVec<[ChunkRef; 1]>, Malformed> {
    let count = input.count(12)?;
    let chunk = |_| {
        let segment = SegmentId(input.u32()?);
        let offset = input.u32()?;
        Ok(ChunkRef {
            position: LogPosition { segment, offset },
            bytes: input.u32()?,
        })
    };
    (0..count).map(chunk).collect()
}
fn recipients(input: &mut Reader<'_>) -> Result<Vec<SpoolRecipient>, Malformed> {
    let count = input.count(10)?;
    let mut recipients = Vec::with_capacity(count);
    for _ in 0..count {
        recipients.push(SpoolRecipient {
            account: AccountId(input.u64()?),
            mailbox: name(input)?,
            prefix: Bytes::copy_from_slice(input.bytes()?),
            asked: Bytes::new(),
        });
    }
    if !input.is_empty() {
        for recipient in &mut recipients {
            recipient.asked = Bytes::copy_from_slice(input.bytes()?);
        }
    }
    Ok(recipients)
}
/// A spool key.
pub fn key(input: &mut Reader<'_>) -> Result<SpoolKey, Malformed> {
    Ok(SpoolKey {
        partition: input.u16()?,
        sequence: input.u64()?,
    })
}
