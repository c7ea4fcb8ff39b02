//! What an admin asks of a stopped store: is it whole, what is in it, get the mail out of it. The first also of a running one.
//!
//! Invariants: nothing here changes the store it looks at (a torn tail is reported, not cut); damage ends nothing: what
//! lies behind it is looked at as well; no record counts whose checksum is wrong.
//! Limits: memory for the state of all accounts, as a start has, and one group.
//!
//! | part | owns |
//! |---|---|
//! | `beside` | a store whose server runs, held still |
//! | `segments` | the superblock and the files, by log |
//! | `blocks` | reading on where a device cannot |
//! | `pieces` | the records of one group, also behind a damaged one |
//! | `order` | which of a segment's groups lie where they were written |
//! | `walk` | every log from end to end: groups, records, damage, torn tails |
//! | `derived` | checkpoints and snapshots: witnesses of the log, or damaged themselves |
//! | `regained` | mail that only checkpoints know |
//! | `ledger`, `survey` | the state that the readable records make, and what is missing |
//! | `check`, `stat`, `dump`, `salvage` | the commands |
//!
//! Not here: opening a store to serve it (`recovery`); arguments and printing (`boot`); files of other programs (`exchange`).

mod beside;
mod blocks;
mod check;
mod damage;
mod derived;
mod dump;
mod ledger;
mod order;
mod pieces;
mod regained;
mod salvage;
mod segments;
mod stat;
mod summaries;
mod survey;
mod walk;

pub use beside::{Frontier, hold_still};
pub use check::{CheckReport, check, check_up_to};
pub use damage::{Damage, Mail};
pub use dump::dump;
pub use salvage::{SalvageReport, salvage};
pub use segments::Frontiers;
pub use stat::{SegmentStat, StatReport, stat};
pub use survey::{Counts, Survey};

/// Told how many of how many bytes are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
