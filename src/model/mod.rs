//! The nouns of mail, each under the one name the RFCs give it (5321, 5322, 9051, 8474).
//!
//! Invariants: a value of these types is valid, because its constructors are the only way to it; nothing here does
//! I/O or knows a wire format beyond the text form of the noun itself.

pub mod account;
pub mod address;
pub mod dsn;
pub mod envelope;
pub mod flags;
pub mod ids;
pub mod mailbox_name;
pub mod uids;

pub use account::{
    Account, AccountId, ClientProtocol, PARTITIONS, Partition, Pop3Deletion, Protocols, Quota,
    SPOOL_PARTITIONS, Usage,
};
pub use address::{AddrSpec, AddressError, Domain, LocalPart, login_key, shown};
pub use dsn::{DsnReturn, EnvelopeId, Notify, OriginalRecipient, RecipientDsn};
pub use envelope::{BodyType, Envelope, ForwardPath, ReversePath};
pub use flags::{Flag, Flags, Keyword, KeywordError};
pub use ids::{LogPosition, MailboxId, ModSeq, SegmentId, SeqNum, Uid, UidValidity};
pub use mailbox_name::{MailboxName, MailboxNameError, SpecialUse};
pub use uids::Uids;
