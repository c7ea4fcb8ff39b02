//! Sequence sets as written (RFC 9051 §9 `sequence-set`), not yet resolved against a mailbox.

use smallvec::SmallVec;

/// A sequence set (RFC 9051 §9): what was written, not yet resolved against a mailbox. 1 to `SEQUENCE_RANGES_MAX` ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// Ranges in the order written.
    Ranges(SmallVec<[SequenceRange; 4]>),
    /// `$` (RFC 5182): what the last SEARCH saved.
    Saved,
}

impl SequenceSet {
    /// The set of `uids`, which ascend.
    #[must_use]
    pub fn of(uids: impl IntoIterator<Item = crate::model::Uid>) -> Self {
        let mut ranges: SmallVec<[SequenceRange; 4]> = SmallVec::new();
        for uid in uids {
            let number = SequenceNumber::Number(uid.0);
            match ranges.last_mut() {
                Some(SequenceRange {
                    last: SequenceNumber::Number(last),
                    ..
                }) if last.get().checked_add(1) == Some(uid.value()) => *last = uid.0,
                _ => ranges.push(SequenceRange {
                    first: number,
                    last: number,
                }),
            }
        }
        Self::Ranges(ranges)
    }
}

/// `a:b`; either end may be `*`. A single number is `a:a`. The ends may be in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    pub first: SequenceNumber,
    pub last: SequenceNumber,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceNumber {
    /// 1..=2^32-1
    Number(std::num::NonZeroU32),
    /// `*`: the largest in the mailbox.
    Largest,
}
