//! What one core's store did, for metrics. Times are the disk's matter (`disk::meters`): the store has no clock for them.

use crate::base::meter::{Counter, Counts, Gauge, Sizes};

/// One core's; see `base::meter`.
#[derive(Debug, Default)]
pub struct StoreMeters {
    /// Calls that were committed: durable and applied.
    pub commits: Counter,
    /// Commits in each group, that is for each sync.
    pub group_commits: Counts,
    /// Bytes of each group, padding included.
    pub group_bytes: Sizes,
    /// Segments made since the start.
    pub segments_made: Counter,
    /// Accounts that were ever touched.
    pub accounts: Gauge,
    /// Free bytes of the file system when they were last asked for.
    pub free_bytes: Gauge,
    /// 1 after a write or sync has failed: commits are refused until a restart.
    pub has_failed: Gauge,
    /// Checkpoints written since the start.
    pub checkpoints: Counter,
    /// Bytes of the newest one.
    pub checkpoint_bytes: Gauge,
    /// When it became the current one, Unix time in milliseconds; 0: none of this start yet.
    pub checkpoint_at_ms: Gauge,
}
