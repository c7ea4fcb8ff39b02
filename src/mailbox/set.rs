//! Sequence sets resolved against a session's view (RFC 9051 §9 `sequence-set`, RFC 5182 `$`).
//!
//! Invariants: the result is ascending, disjoint index ranges of the view, so that work on a set is linear in the
//! messages it names, however often and in whatever order the client named them.
//! Failure: a sequence number beyond the last message is the peer's fault ([`BeyondView`], BAD); a UID that is not there
//! is passed over (RFC 9051 §6.4.9). `*` in an empty mailbox names nothing.
//! Not here: parsing and the limit on ranges (`proto::imap`).

use super::view::View;
use crate::model::Uid;
use crate::proto::imap::types::{SequenceNumber, SequenceRange, SequenceSet};
use smallvec::SmallVec;
use std::ops::Range;

/// Ascending, disjoint, not empty ranges of view indexes.
pub type IndexRanges = SmallVec<[Range<usize>; 4]>;

/// A message sequence number larger than the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeyondView;

/// The messages a set names, by sequence number or by UID. `saved` is what `$` stands for, ascending.
///
/// # Errors
/// [`BeyondView`] when a sequence number has no message. Both ends of a range may not lie beyond; one may, as clients
/// that have not yet read an EXPUNGE send such.
pub fn resolve(
    view: &View,
    set: &SequenceSet,
    by_uid: bool,
    saved: &[Uid],
) -> Result<IndexRanges, BeyondView> {
    let ranges = match set {
        SequenceSet::Saved => return Ok(saved_indexes(view, saved)),
        SequenceSet::Ranges(ranges) => ranges,
    };
    let mut found: IndexRanges = SmallVec::with_capacity(ranges.len());
    for range in ranges {
        let indexes = if by_uid {
            uid_range(view, *range)
        } else {
            number_range(view.len(), *range)?
        };
        if !indexes.is_empty() {
            found.push(indexes);
        }
    }
    merge(&mut found);
    Ok(found)
}

/// How many messages the ranges name.
#[must_use]
pub fn count(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(ExactSizeIterator::len).sum()
}

/// True when `index` lies in one of the ranges.
#[must_use]
pub fn contains(ranges: &[Range<usize>], index: usize) -> bool {
    let after = ranges.partition_point(|range| range.end <= index);
    ranges.get(after).is_some_and(|range| range.contains(&index))
}

fn number_range(len: usize, range: SequenceRange) -> Result<Range<usize>, BeyondView> {
    let end = |number: SequenceNumber| match number {
        SequenceNumber::Largest => len,
        SequenceNumber::Number(number) => usize::try_from(number.get()).unwrap_or(usize::MAX),
    };
    let has_star = range.first == SequenceNumber::Largest || range.last == SequenceNumber::Largest;
    if len == 0 && has_star {
        return Ok(0..0);
    }
    let (a, b) = (end(range.first), end(range.last));
    let (low, high) = (a.min(b), a.max(b));
    if low > len || (range.first == range.last && high > len) {
        return Err(BeyondView);
    }
    Ok(low - 1..high.min(len))
}

fn uid_range(view: &View, range: SequenceRange) -> Range<usize> {
    let Some(largest) = view.uids().last() else {
        return 0..0;
    };
    let end = |number: SequenceNumber| match number {
        SequenceNumber::Largest => *largest,
        SequenceNumber::Number(number) => Uid(number),
    };
    let (a, b) = (end(range.first), end(range.last));
    let (low, high) = (a.min(b), a.max(b));
    let uids = view.uids();
    uids.partition_point(|uid| *uid < low)..uids.partition_point(|uid| *uid <= high)
}

fn saved_indexes(view: &View, saved: &[Uid]) -> IndexRanges {
    let mut found = IndexRanges::new();
    for index in saved.iter().filter_map(|uid| view.index_of(*uid)) {
        match found.last_mut() {
            Some(last) if last.end == index => last.end = index + 1,
            _ => found.push(index..index + 1),
        }
    }
    found
}

fn merge(ranges: &mut IndexRanges) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut kept: IndexRanges = SmallVec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        match kept.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => kept.push(range),
        }
    }
    *ranges = kept;
}

/// A UID list as a set for the wire (`3:5,9`), ascending input.
#[must_use]
pub fn uid_set_text(uids: impl IntoIterator<Item = Uid>) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut uids = uids.into_iter().map(Uid::value).peekable();
    while let Some(first) = uids.next() {
        let mut last = first;
        while uids.next_if(|next| Some(*next) == last.checked_add(1)).is_some() {
            last += 1;
        }
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = if first == last {
            write!(text, "{comma}{first}")
        } else {
            write!(text, "{comma}{first}:{last}")
        };
    }
    text
}
