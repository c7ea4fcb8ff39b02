//! The numbers of kinds on disk.
//!
//! Invariants: a number is never used again. Kinds that say when (`…_DATED`) came with format 2 beside those that do not; both are read.
//! Not here: their payloads (`encode`, `decode`).

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
/// [`super::Record::Transfer`] of a known moment
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
/// [`super::Record::Transfer`] that gives a new SAVEDATE
pub const TRANSFER_SAVED: u8 = 30;
/// [`super::Record::StoreFlags`] by [`super::StoreRule::OfChanged`]
pub const STORE_FLAGS_SPARING: u8 = 31;
/// The same with `unchanged_since`
pub const STORE_FLAGS_SPARING_UNCHANGED: u8 = 32;
/// [`super::Record::Metadata`] that raises a mailbox's HIGHESTMODSEQ
pub const METADATA_COUNTED: u8 = 33;
/// [`super::Record::SpecialUseSet`]
pub const SPECIAL_USE_SET: u8 = 34;
/// The highest that is known.
pub const LAST: u8 = SPECIAL_USE_SET;
