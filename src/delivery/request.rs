//! The questions and answers of deliveries between cores.

use crate::model::{AccountId, Quota};
use crate::store::{CommitReceipt, CompactionAnswer, CompactionStep, Delivery, SpoolKey, StoreError, Wanted};

/// What one core asks of another for deliveries.
#[derive(Debug)]
pub enum Request {
    /// Commit this message to recipients the other core owns.
    Deliver(Box<Delivery>),
    /// Has this account room for one more message of `bytes`? Asked before a spool record is written.
    HasRoom {
        account: AccountId,
        bytes: u64,
        quota: Quota,
    },
    /// Every recipient of this spool record has its copy: the keys may be forgotten.
    Forget(SpoolKey),
    /// Take part in a pass of compaction.
    Compact(CompactionStep),
    /// Bring expunged messages back.
    Undelete { account: AccountId, wanted: Wanted },
}

/// The answers, in the order of the requests.
#[derive(Debug)]
pub enum Reply {
    /// To [`Request::Deliver`].
    Delivered(Result<CommitReceipt, StoreError>),
    /// To [`Request::HasRoom`].
    Room(bool),
    /// To [`Request::Forget`].
    Forgotten(Result<(), StoreError>),
    /// To [`Request::Compact`].
    Compacted(Box<Result<CompactionAnswer, StoreError>>),
    /// To [`Request::Undelete`].
    Undeleted(Restored),
}

/// What was brought back; `None`: the store has no such account.
pub type Restored = Result<Option<u64>, StoreError>;
