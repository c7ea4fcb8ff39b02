//! What one core's store did, for metrics. Times are the disk's matter (`disk::meters`): the store has no clock for them.

use crate::base::meter::{Counter, Counts, Gauge, Sizes};
use crate::model::{LogPosition, SegmentId};

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
    /// Of these, accounts in memory.
    pub loaded_accounts: Gauge,
    /// Accounts read into memory since the start.
    pub account_loads: Counter,
    /// Accounts that had to make room since the start.
    pub account_evictions: Counter,
    /// Messages delivered to accounts that were not in memory.
    pub cold_deliveries: Counter,
    /// Copies of mail that were taken beyond a quota.
    pub over_quota: Counter,
    /// Messages opened: their records, and what of their bodies was wanted, were looked for in memory or read.
    pub messages_opened: Counter,
    /// Reads of messages that failed: a checksum was wrong, or the disk refused.
    pub damaged_reads: Counter,
    /// Summaries found instead.
    pub summaries_recalled: Counter,
    /// Summaries made of new mail before anybody asked for them.
    pub summaries_ahead: Counter,
    /// Summaries that were not as they were written.
    pub summaries_wrong: Counter,
    /// Summaries written to files; again when files are joined.
    pub summaries_written: Counter,
    /// Files written for them.
    pub summary_files_written: Counter,
    /// Files that could not be written.
    pub summary_failures: Counter,
    /// Bytes of all files of summaries.
    pub summary_bytes: Gauge,
    /// Passes of compaction that this core led and that freed something.
    pub compaction_passes: Counter,
    /// Bytes of the segments that they freed.
    pub compaction_freed_bytes: Counter,
    /// Bytes that compaction wrote on this core: messages written anew, accounts said anew.
    pub compaction_written_bytes: Counter,
    /// Bytes of finished segments when all cores last looked at them, if this one led.
    pub compaction_log_bytes: Gauge,
    /// How many of them lived.
    pub compaction_live_bytes: Gauge,
    /// Free bytes of the file system when they were last asked for.
    pub free_bytes: Gauge,
    /// Which start writes this core's log; 0: none yet.
    pub incarnation: Gauge,
    /// Everything of this core's log before it is durable: the segment in the upper half, the offset in it in the lower one.
    pub durable_to: Gauge,
    /// 1 after a write or sync has failed: commits are refused until a restart.
    pub has_failed: Gauge,
    /// Checkpoints written since the start.
    pub checkpoints: Counter,
    /// Bytes of the newest one.
    pub checkpoint_bytes: Gauge,
    /// Bytes of all of this start, with their snapshots.
    pub checkpoint_bytes_total: Counter,
    /// Snapshot files that were not needed any more.
    pub snapshot_files_removed: Counter,
    /// When it became the current one, Unix time in milliseconds; 0: none of this start yet.
    pub checkpoint_at_ms: Gauge,
}

impl StoreMeters {
    /// The log is durable before `position`.
    pub fn note_durable(&self, position: LogPosition) {
        let packed = u64::from(position.segment.0) << 32 | u64::from(position.offset);
        self.durable_to.set(packed.cast_signed());
    }

    /// What was noted last.
    #[must_use]
    pub fn durable_to(&self) -> LogPosition {
        let packed = self.durable_to.value().cast_unsigned();
        LogPosition {
            segment: SegmentId((packed >> 32) as u32),
            offset: packed as u32,
        }
    }
}
