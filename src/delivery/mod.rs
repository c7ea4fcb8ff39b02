//! From an accepted message to the mailboxes of its recipients, with one receipt.
//!
//! Invariants: one mail transaction, one log, one receipt. If one core owns every recipient, that core's commit is the
//! receipt. Otherwise the message and all its recipients are committed first as one spool record in the log of the
//! core that received them; that commit is the receipt, and the owners are served from the record afterwards, again
//! after a crash until each has answered. A recipient is served once: its key is (spool record, index), and a second
//! time is a no-op. An account reached by two addresses of one mail transaction gets one copy.
//! Limits: [`FAN_OUTS_MAX`] spool records being served on a core.
//! Failure: before the receipt every failure refuses the whole mail transaction, so that the peer may retry without making
//! a duplicate (over LMTP, where each recipient has a reply of its own, a recipient's own failure refuses only it; whom a full
//! mailbox refuses, and who gets a copy beyond its quota, is in `room`); after it nothing is refused any more, a failing owner
//! is served again at the next start.
//! Not here: who a recipient is (`directory`), trace fields' text (`proto::message::trace`), the SMTP dialogue
//! (`session::smtp`).

mod accept;
pub mod compaction;
pub mod fan_out;
mod owner;
mod permits;
pub mod request;
mod room;
mod router;
pub mod summaries;
#[cfg(test)]
mod tests;
pub mod undelete;
pub mod warnings;

pub use accept::{AcceptedMessage, Recipient};
pub use permits::FAN_OUTS_MAX;
pub use room::Concerned;
pub use router::Router;
