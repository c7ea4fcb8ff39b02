//! The message store of one core: durable changes in, durable views out.
//!
//! Every change is a record in this core's log. A record is encoded into the open group at once, in program order; a
//! group is written and synced as a whole, and only then are its records *applied* to the durable state, sessions told,
//! and receipts handed out. State is a fold of `apply` over records, at run time and in replay alike. The only things
//! taken from the pending view are numbers (UIDs, MODSEQs, mailbox ids, quota), so that an unacknowledged group can be
//! dropped without a trace that a client could have seen.
//!
//! | part | owns |
//! |---|---|
//! | `handle` | [`Store`]: the door; its start and its end |
//! | `commit` | one commit from planning to receipt |
//! | `looking` | looks at what is durable |
//! | `plan`, `plan_account`, `plan_messages`, `pending` | may this be, and under which numbers |
//! | `names` | which mailbox a name means |
//! | `record`, `frame`, `segment`, `codec` | bytes; FORMAT.md describes them |
//! | `log`, `group`, `turn`, `writer` | the open group, room in it, writing and syncing, the next segment |
//! | `apply`, `apply_mailboxes`, `apply_messages`, `state` | what a record does; the state sessions look at |
//! | `paging`, `pins`, `cold` | which accounts are in memory, and what is known of the others |
//! | `body` | bodies: in memory, or chunk by chunk |
//! | `reader`, `cache`, `windows` | messages back from the log, checked; many with one read |
//! | `image`, `restore` | accounts put into a store as they were elsewhere, numbers and all |
//! | `tools` | check, stat, dump, salvage: a stopped store under the admin's eyes |
//! | `checkpoints`, `checkpointer` | when a checkpoint is due, which files there are; writing one |
//! | `checkpoint`, `checkpoint_draft`, `checkpoint_state` | the state of a core in a file; its bytes |
//! | `checkpoint_accounts`, `snapshot` | the accounts in it: what changed, in snapshot files |
//! | `recovery`, `checkpoint_load`, `scan`, `replay` | from a directory to states; the cut; damage |
//! | `found`, `named`, `witnesses` | what must be there: segments, and ends of logs that others speak of |
//! | `summaries` | what lists of messages are made of, so that no message is opened for it twice |
//!
//! Failure: the first failed write or sync ends commits for good ([`StoreError::Failed`]); reading goes on; recovery at
//! the next start is the tested path.
//! Not here: disks (`disk`), accounts' names and passwords (`directory`), IMAP semantics beyond the rows (`mailbox`).

mod apply;
mod apply_mailboxes;
mod apply_messages;
mod body;
mod cache;
mod checkpoint;
mod checkpoint_accounts;
mod checkpoint_draft;
mod checkpoint_load;
mod checkpoint_state;
mod checkpointer;
mod checkpoints;
mod codec;
mod cold;
mod commit;
mod compaction;
mod found;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group;
mod handle;
mod image;
mod log;
mod looking;
pub mod meters;
mod named;
mod names;
mod options;
mod paging;
mod pending;
mod pins;
mod plan;
mod plan_account;
mod plan_keywords;
mod plan_messages;
mod quota;
mod reader;
mod rebuild;
mod record;
mod recovery;
mod replay;
mod restated;
mod restore;
mod scan;
mod segment;
mod snapshot;
mod state;
mod summaries;
mod superblock;
pub mod tools;
mod troubles;
mod turn;
mod types;
mod undelete;
mod windows;
mod witnesses;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use body::{Body, BodyWriter};
pub use compaction::{Answer as CompactionAnswer, PassReport, Step as CompactionStep, compact};
pub use handle::Store;
pub use image::{AccountImage, MailboxImage, MessageImage, UID_MAX};
pub use names::Names;
pub use options::{BODY_IN_MEMORY_BYTES_MAX, CHUNK_BYTES_MAX, RESERVE_BYTES, SEGMENT_BYTES, StoreOptions};
pub use pins::Pin;
pub use plan::{MAILBOXES_MAX, SUBSCRIPTIONS_MAX};
pub use quota::{CROSSINGS_MAX, MARKS_PERCENT, QuotaCrossing};
pub use recovery::{OpenError, Recovered, RecoveryReport, StoreSeed, recover, recover_with};
pub use restore::{Begun, RestoreError, Restored, Restorer};
pub use segment::FORMAT_VERSION;
pub use state::{
    AccountState, BuriedMailbox, ChangeLog, Grave, INBOX_ID, KEYWORDS_MAX, MailboxState, MessageRow, Metadata,
};
pub use summaries::{PART_BYTES_MAX, Part, PartSet, SUMMARIES_VERSION, Summary, SummarySource};
pub use types::{
    AccountChange, Change, ChunkRef, CommitReceipt, Delivery, Environment, LocalRecipient, MailboxChange,
    NewMessage, Outcome, SpoolEntry, SpoolKey, StoreError, StoredMessage,
};
pub use undelete::{RESTORED, Wanted};

/// Descriptors that one core's store has open at most, but for some while checkpoints and compaction work: each file that it
/// reads once with O_DIRECT and once through the page cache.
pub const DESCRIPTORS_PER_CORE_MAX: u64 = 2 * (reader::OPEN_SEGMENTS_MAX + summaries::OPEN_FILES_MAX) as u64;
