//! Sequence sets against a session's view: which messages are meant.
//!
//! Invariants: what comes out is sorted, without overlap, and inside the view; time is linear in ranges (but for their
//! sorting and one binary search each), never in the numbers they span.
//! A number beyond the last message is told, and what is there of its range found all the same: FETCH and the like refuse it,
//! SEARCH, which is never refused for a criterion, would say otherwise that nothing is found.
//! Standards: RFC 9051 §9 `sequence-set`, §6.4.9 (missing UIDs are passed over), RFC 5182 §2.1 (`$`).

use super::types::{SequenceNumber, SequenceRange, SequenceSet};
use crate::model::{Uid, Uids};
use smallvec::SmallVec;
use std::ops::Range;

/// What a set came to in a view.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Resolved {
    /// Places in the view (0-based), ascending, not touching.
    pub ranges: SmallVec<[Range<usize>; 4]>,
    /// The first sequence number that names no message, which `*` by itself is in an empty mailbox: a command other than SEARCH,
    /// SORT and THREAD is BAD (RFC 9051 §9, `seq-number`). Never set for UIDs.
    pub first_invalid: Option<SequenceNumber>,
}

impl Resolved {
    /// Messages meant.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    /// True when no message is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Every place meant, ascending.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.ranges.iter().cloned().flatten()
    }
}

impl SequenceSet {
    /// Finds the messages meant among `view`, the UIDs the session has been shown, ascending. `saved`: what `$` means,
    /// ascending UIDs. `*` is the last message; in an empty view it is none among UIDs and in a range, and invalid as a number.
    #[must_use]
    pub fn resolve(&self, view: &Uids, saved: &[Uid], by_uid: bool) -> Resolved {
        let mut resolved = Resolved::default();
        match self {
            Self::Saved => {
                let places = saved.iter().filter_map(|uid| view.index_of(*uid));
                resolved.ranges.extend(places.map(|place| place..place + 1));
            }
            Self::Ranges(ranges) if by_uid => {
                resolved
                    .ranges
                    .extend(ranges.iter().map(|range| uid_range(*range, view)));
            }
            Self::Ranges(ranges) => {
                resolved.first_invalid = ranges.iter().find_map(|range| invalid_number(*range, view.len()));
                resolved
                    .ranges
                    .extend(ranges.iter().map(|range| number_range(*range, view.len())));
            }
        }
        merge(&mut resolved.ranges);
        resolved
    }
}

fn uid_range(range: SequenceRange, view: &Uids) -> Range<usize> {
    let Some(largest) = view.last() else { return 0..0 };
    let uid = |number| match number {
        SequenceNumber::Number(number) => Uid(number),
        SequenceNumber::Largest => largest,
    };
    let (first, last) = in_order(uid(range.first), uid(range.last));
    view.below(first)..view.up_to(last)
}

/// What of a range is there, perhaps nothing: `7:*` in a view of 3 means its last message, as `559:*` does for UIDs (RFC 9051 §9).
fn number_range(range: SequenceRange, count: usize) -> Range<usize> {
    let number = |number| match number {
        SequenceNumber::Largest => count,
        SequenceNumber::Number(number) => number.get() as usize,
    };
    let (first, last) = in_order(number(range.first), number(range.last));
    first.saturating_sub(1)..last.min(count)
}

/// A number that names no message. With `*` at its other end a range names what there is, if that is nothing, too.
fn invalid_number(range: SequenceRange, count: usize) -> Option<SequenceNumber> {
    let ends = [range.first, range.last];
    if ends.contains(&SequenceNumber::Largest) {
        let is_alone = range.first == range.last;
        return (is_alone && count == 0).then_some(range.first);
    }
    let is_beyond = |end: &SequenceNumber| match end {
        SequenceNumber::Number(number) => number.get() as usize > count,
        SequenceNumber::Largest => false,
    };
    ends.into_iter().find(is_beyond)
}

fn in_order<T: Ord>(a: T, b: T) -> (T, T) {
    if a <= b { (a, b) } else { (b, a) }
}

fn merge(ranges: &mut SmallVec<[Range<usize>; 4]>) {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, kept| {
        let touches = next.start <= kept.end;
        if touches {
            kept.end = kept.end.max(next.end);
        }
        touches
    });
}
