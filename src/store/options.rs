//! The store's limits: every size it allocates, writes or refuses by, with its reason.
//!
//! Invariants: [`StoreOptions::checked`] holds for every running store, so a batch that passes the size check always
//! fits into an empty segment.
//! Not here: limits of mailboxes (`plan`), of the read cache (`cache`).

use crate::disk::BLOCK_BYTES;

/// Bytes of one segment. Long enough that creating one (allocation, two syncs) is rare, short enough that a start
/// after a crash and, later, compaction work on small pieces.
pub const SEGMENT_BYTES: u32 = 64 * 1024 * 1024;

/// Bytes of the first segment of a start on a disk that has no room for a whole one: enough for thousands of flags and
/// expunges, none for mail.
pub const SMALL_SEGMENT_BYTES: u32 = 256 * 1024;

/// Bytes a group may grow to while the one before it is written. Measured on a loaded machine with 2,000 producers of
/// 50 KiB: 1 MiB 3.3–4.4 k commits/s (p50 420–515 ms), 4 MiB 7.7–8.2 k (p50 216–223 ms); of 4 KiB: 29–37 k against
/// 39–46 k. A lone writer's group is as short as its batch either way.
pub const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one batch (all records of one call), which is never split over groups: a delivery of 256 KiB to a thousand
/// recipients, or a flag change on a million scattered UIDs.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of filled groups that may wait for the disk on one core, beside the open one; beyond, callers wait
/// (back-pressure). With the group being written that is 12 MiB a core, more only for a batch that is larger itself.
pub const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of body in one chunk record: what a reader checks and holds at once.
pub const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A message longer than this is written chunk by chunk while it is received.
pub const BODY_IN_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// Free bytes of the file system below which no mail is taken any more. Flags and expunges still commit into what is
/// allocated, and the admin's tools keep working.
pub const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of log after which a core writes a checkpoint: what a start after a crash has to read of each log, at most
/// (while a checkpoint is smaller than a fourth of it). At 50 KiB a message, checkpoints are then 5 % of what is written.
pub const CHECKPOINT_LOG_BYTES: u64 = 128 * 1024 * 1024;

/// Bytes of a checkpoint that are encoded at once: it takes a fraction of a millisecond, in which nothing else runs.
pub const CHECKPOINT_SLICE_BYTES: usize = 256 * 1024;

/// A checkpoint is not written again before the log grew by this many times its size, so that a core with many messages
/// does not write mostly checkpoints.
pub const CHECKPOINT_LOG_FACTOR: u64 = 4;

/// Bytes of accounts a core keeps in memory beside those in use: some 500,000 messages, or the accounts of thousands of
/// users who come and go. A load of 100,000 messages from disk takes milliseconds, so more buys little.
pub const LOADED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How old the known number of free bytes may be before a delivery asks again.
pub const FREE_BYTES_AGE_MS: i64 = 1_000;

/// How long what was expunged can be brought back, and is known to sessions that synchronise.
pub const EXPUNGED_KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// Dead bytes below which compaction does not begin: a pass says all accounts anew, which a small store would do for
/// little.
pub const COMPACTION_DEAD_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// Percent of the bytes in finished segments that must be dead before compaction begins: with a quarter dead, what a pass
/// writes to say accounts anew (about 30 bytes a message) is under 1 % of what it frees at 50 KiB a message.
pub const COMPACTION_DEAD_PERCENT: u64 = 25;

/// A segment with more than this percent alive is left alone: freeing it would cost more writing than it gives back.
pub const COMPACTION_LIVE_PERCENT_MAX: u64 = 70;

/// Live bytes that one pass writes anew at most: what is freed comes back in steps, and a pass ends within minutes.
pub const COMPACTION_PASS_BYTES: u64 = 1024 * 1024 * 1024;

/// Bytes a pass writes on one core in a second, at most: about a tenth of what a disk takes that is worth compacting for.
pub const COMPACTION_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;

/// What tests set smaller and an admin may set otherwise. The default is right for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// See [`SEGMENT_BYTES`]. Segments of any length are read.
    pub segment_bytes: u32,
    /// See `GROUP_BYTES_MAX`.
    pub group_bytes_max: usize,
    /// See [`CHUNK_BYTES_MAX`].
    pub chunk_bytes_max: usize,
    /// See [`BODY_IN_MEMORY_BYTES_MAX`].
    pub body_in_memory_bytes_max: usize,
    /// See [`RESERVE_BYTES`].
    pub reserve_bytes: u64,
    /// See `CHECKPOINT_LOG_BYTES`.
    pub checkpoint_log_bytes: u64,
    /// See `CHECKPOINT_LOG_FACTOR`.
    pub checkpoint_log_factor: u64,
    /// See `CHECKPOINT_SLICE_BYTES`.
    pub checkpoint_slice_bytes: usize,
    /// See `LOADED_BYTES_MAX`.
    pub loaded_bytes_max: usize,
    /// See `EXPUNGED_KEPT_MS`. Longer keeps the bytes of expunged mail for longer.
    pub expunged_kept_ms: i64,
    /// See `COMPACTION_DEAD_BYTES_MIN`.
    pub compaction_dead_bytes_min: u64,
    /// See `COMPACTION_PASS_BYTES`.
    pub compaction_pass_bytes: u64,
    /// See `COMPACTION_BYTES_PER_SECOND`. Less leaves more of the disk to mail and more dead bytes on it.
    pub compaction_bytes_per_second: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            group_bytes_max: GROUP_BYTES_MAX,
            chunk_bytes_max: CHUNK_BYTES_MAX,
            body_in_memory_bytes_max: BODY_IN_MEMORY_BYTES_MAX,
            reserve_bytes: RESERVE_BYTES,
            checkpoint_log_bytes: CHECKPOINT_LOG_BYTES,
            checkpoint_log_factor: CHECKPOINT_LOG_FACTOR,
            checkpoint_slice_bytes: CHECKPOINT_SLICE_BYTES,
            loaded_bytes_max: LOADED_BYTES_MAX,
            expunged_kept_ms: EXPUNGED_KEPT_MS,
            compaction_dead_bytes_min: COMPACTION_DEAD_BYTES_MIN,
            compaction_pass_bytes: COMPACTION_PASS_BYTES,
            compaction_bytes_per_second: COMPACTION_BYTES_PER_SECOND,
        }
    }
}

impl StoreOptions {
    /// What takes days happens within seconds: for tests of whole servers.
    #[must_use]
    pub fn hurried() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            segment_bytes: 4 * 1024 * 1024,
            checkpoint_log_bytes: 4 * MIB,
            checkpoint_log_factor: 1,
            loaded_bytes_max: 64 * 1024,
            expunged_kept_ms: 0,
            compaction_dead_bytes_min: MIB,
            ..Self::default()
        }
    }

    /// These options.
    ///
    /// # Panics
    /// When they contradict each other: the program that set them is wrong.
    #[must_use]
    pub fn checked(self) -> Self {
        assert!((self.segment_bytes as usize).is_multiple_of(BLOCK_BYTES));
        assert!(self.segment_bytes as usize >= 8 * BLOCK_BYTES);
        assert!(self.group_bytes_max >= BLOCK_BYTES);
        assert!(self.checkpoint_slice_bytes > 0);
        assert!((1..=CHUNK_BYTES_MAX).contains(&self.chunk_bytes_max));
        self
    }

    /// Bytes of the longest batch: it must fit, with its group's header, between the header block and the block kept
    /// for a seal.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        (self.segment_bytes as usize - 3 * BLOCK_BYTES).min(BATCH_BYTES_MAX)
    }

    /// Bodies of one call that are longer than this in sum are written ahead as chunks, so that a batch stays small.
    #[must_use]
    pub fn inline_bytes_max(&self) -> usize {
        (self.batch_bytes_max() / 2).min(2 * self.body_in_memory_bytes_max)
    }
}
