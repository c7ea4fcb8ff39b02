//! Which blocks to write before there is anything to put in them, and when.
//!
//! A group that goes where the file system has written before costs half as much to make durable: blocks that are only allocated
//! must be noted as written with the first sync behind them, a write of metadata (ext4 without a journal, one 4 KiB block and a
//! sync: 82 µs instead of 171; 128 KiB: 110 instead of 250; a journal makes it dearer). So the writer puts zeros ahead of the log
//! while no group waits for it.
//!
//! Invariants: only blocks behind the last group are filled, by the writer itself between two groups, so no write of a group is ever
//! under way beside it; nothing is filled before the first commit, nor further ahead than [`window`] says, so what is filled in vain
//! is bounded by what is used; a log that grows faster than [`FillPace`] allows goes to blocks
//! that are only allocated, and what is written beside it stays a small part.
//! Groups that are long gain little for their length, and are not filled for ([`GROUP_BYTES_MAX`]).
//! Why not files of freed segments, used anew: they would spare these writes only where as much is expunged as comes in, and would
//! keep space from the file system; this does without either.
//! Not here: the writing (`writer`).

use crate::disk::BLOCK_BYTES;

/// Bytes a core fills in a second, at most. At 4 KiB a message that is what 4,000 messages a second grow by; beside the 170 MiB a
/// second that one core's log takes of large messages it is a tenth.
pub const FILL_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;

/// A log whose last group was longer is not filled for. 256 KiB of zeros and a sync take a third of a millisecond, so a group of this
/// length gives up 45 us of the disk's idle time for 100 of its own; a hundred connections, whose groups are of 100 KiB, had
/// 38 % more written and nothing for it.
pub const GROUP_BYTES_MAX: usize = 32 * 1024;

/// Filled ahead of the log however little it holds: a burst of some hundred messages.
const WINDOW_BYTES_MIN: u32 = 1024 * 1024;

/// Filled ahead of the log at most.
const WINDOW_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Filled at once, with a sync: a group that comes meanwhile waits for it, a third of a millisecond.
const STEP_BYTES: u32 = 256 * 1024;

/// What may be filled at once after a pause.
const CREDIT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Blocks of a segment to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Offset of the first byte.
    pub from: u32,
    /// A multiple of blocks.
    pub bytes: u32,
}

/// How far a segment is filled.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    to: u32,
}

impl Filled {
    /// A new segment: its header is written.
    pub const NEW: Filled = Filled {
        to: BLOCK_BYTES as u32,
    };

    /// What to fill next in a segment of `bytes` whose log ends at `log_end`, to have `window` bytes behind that.
    pub fn next(self, bytes: u32, log_end: u32, window: u32) -> Option<Stretch> {
        let from = self.to.max(log_end);
        let target = log_end.saturating_add(window).min(bytes);
        // A quarter of the segments of tests.
        let step = STEP_BYTES.min(bytes / 4);
        let bytes = target.saturating_sub(from).min(step) / BLOCK_BYTES as u32 * BLOCK_BYTES as u32;
        (bytes > 0).then_some(Stretch { from, bytes })
    }

    /// That is done, or under way.
    pub fn note(&mut self, stretch: Stretch) {
        self.to = stretch.from + stretch.bytes;
    }
}

/// Bytes that are filled ahead of a log that holds `used` bytes in its segment.
pub fn window(used: u32) -> u32 {
    (WINDOW_BYTES_MIN + used / 2).min(WINDOW_BYTES_MAX)
}

/// What may be filled now.
#[derive(Debug)]
pub struct FillPace {
    per_second: u64,
    credit: u64,
    at_ms: Option<i64>,
}

impl FillPace {
    /// At most `per_second` bytes a second; 0: nothing ever.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second,
            credit: u64::from(WINDOW_BYTES_MIN),
            at_ms: None,
        }
    }

    /// May `bytes` be filled at `now_ms`? They are counted then. A clock that goes back gives nothing.
    pub fn take(&mut self, bytes: u32, now_ms: i64) -> bool {
        if self.per_second == 0 {
            return false;
        }
        let elapsed = self
            .at_ms
            .replace(now_ms)
            .map_or(0, |at| now_ms.saturating_sub(at));
        let elapsed = u64::try_from(elapsed).unwrap_or(0);
        let earned = self.per_second.saturating_mul(elapsed) / 1_000;
        self.credit = self.credit.saturating_add(earned).min(CREDIT_BYTES_MAX);
        let has_enough = self.credit >= u64::from(bytes);
        if has_enough {
            self.credit -= u64::from(bytes);
        }
        has_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u32 = BLOCK_BYTES as u32;

    proptest! {
        #[test]
        fn stretches_follow_each_other_behind_the_log_up_to_the_window(
            blocks in 8_u32..50_000,
            log in 1_u32..50_000,
            window in 0_u32..(64 << 20),
        ) {
            let (bytes, log_end) = (blocks * BLOCK, log.min(blocks) * BLOCK);
            let mut filled = Filled::NEW;
            let mut at = log_end;
            while let Some(stretch) = filled.next(bytes, log_end, window) {
                prop_assert_eq!(stretch.from, at);
                prop_assert!(stretch.bytes > 0 && stretch.bytes.is_multiple_of(BLOCK));
                prop_assert!(stretch.bytes <= STEP_BYTES);
                at += stretch.bytes;
                filled.note(stretch);
            }
            prop_assert_eq!(at, (log_end + window / BLOCK * BLOCK).min(bytes));
        }
    }

    #[test]
    fn a_log_that_has_gone_past_what_was_filled_is_filled_from_its_end() {
        let mut filled = Filled::NEW;
        filled.note(Stretch {
            from: BLOCK,
            bytes: BLOCK,
        });
        let next = filled.next(100 * BLOCK, 10 * BLOCK, 2 * BLOCK);
        assert_eq!(
            next,
            Some(Stretch {
                from: 10 * BLOCK,
                bytes: 2 * BLOCK
            })
        );
    }

    #[test]
    fn a_second_gives_what_it_should_and_a_pause_no_more_than_a_segment() {
        let mut pace = FillPace::new(10_000_000);
        assert!(pace.take(WINDOW_BYTES_MIN, 5_000));
        assert!(!pace.take(1, 5_000));
        assert!(!pace.take(10_001, 5_001));
        assert!(pace.take(10_000, 5_001));
        // Back an hour, and on.
        assert!(!pace.take(1, -3_600_000));
        assert!(pace.take(10_000, -3_599_999));
        assert!(!pace.take(CREDIT_BYTES_MAX as u32 + 1, i64::MAX));
        assert!(pace.take(CREDIT_BYTES_MAX as u32, i64::MAX));
        assert!(!FillPace::new(0).take(BLOCK, 1 << 40));
    }
}
