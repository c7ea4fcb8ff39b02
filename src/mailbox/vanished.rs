//! Which messages a client knows of are gone (RFC 7162 §3.2.5.1, §3.2.6).
//!
//! Invariants: ranges come out ascending, apart and not touching; their number is bounded by the messages present and the
//! ranges asked about, whatever they span; time is linear in both but for one sort.
//! Not here: what the store remembers of expunges (`store`), the wire (`session::imap`).

use crate::model::{Uid, Uids};
use crate::proto::imap::types::{SequenceNumber, SequenceRange, UidSample};
use std::ops::RangeInclusive;

/// Sorts ranges, joins those that touch, and cuts off what lies outside of `within`.
#[must_use]
pub fn normalised(
    ranges: impl IntoIterator<Item = RangeInclusive<u32>>,
    within: &RangeInclusive<u32>,
) -> Vec<RangeInclusive<u32>> {
    let cut =
        |range: RangeInclusive<u32>| *range.start().max(within.start())..=*range.end().min(within.end());
    let mut ranges: Vec<_> = ranges
        .into_iter()
        .map(cut)
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_unstable_by_key(|range| *range.start());
    ranges.dedup_by(|next, kept| {
        let touches = *next.start() <= kept.end().saturating_add(1);
        if touches {
            *kept = *kept.start()..=*kept.end().max(next.end());
        }
        touches
    });
    ranges
}

/// The UIDs in `known` (normalised) that are not among `present`.
#[must_use]
pub fn missing(known: &[RangeInclusive<u32>], present: &Uids) -> Vec<RangeInclusive<u32>> {
    let mut missing = Vec::new();
    for range in known {
        let Some((first, last)) = Uid::new(*range.start()).zip(Uid::new(*range.end())) else {
            continue;
        };
        let mut next = Some(first.value());
        for run in present.runs_in(present.below(first)..present.up_to(last)) {
            let before = next.filter(|next| next < run.start());
            missing.extend(before.map(|next| next..=run.start() - 1));
            next = run.end().checked_add(1);
        }
        let behind = next.filter(|next| next <= range.end());
        missing.extend(behind.map(|next| next..=*range.end()));
    }
    missing
}

/// Ascending UIDs as ranges.
#[must_use]
pub fn joined(uids: impl IntoIterator<Item = Uid>) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for uid in uids {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(uid.value()) => {
                *last = *last.start()..=uid.value()
            }
            _ => ranges.push(uid.value()..=uid.value()),
        }
    }
    ranges
}

/// Is `uid` in `ranges` (normalised)?
#[must_use]
pub fn contains(ranges: &[RangeInclusive<u32>], uid: Uid) -> bool {
    let at = ranges.partition_point(|range| *range.end() < uid.value());
    ranges.get(at).is_some_and(|range| *range.start() <= uid.value())
}

/// What a UID FETCH names, where `*` is `largest`.
#[must_use]
pub fn uid_ranges(set: &[SequenceRange], largest: u32) -> Vec<RangeInclusive<u32>> {
    let number = |number: SequenceNumber| match number {
        SequenceNumber::Number(number) => number.get(),
        SequenceNumber::Largest => largest,
    };
    let ranges = set.iter().map(|range| {
        let (a, b) = (number(range.first), number(range.last));
        a.min(b)..=a.max(b)
    });
    normalised(ranges, &(1..=largest))
}

/// The largest UID of the sample that still has the number it had: the client has been told of every expunge up to it.
/// 0: there is none. No number beyond `present` is looked at, whatever the sample spans.
#[must_use]
pub fn agreed_up_to(sample: &UidSample, present: &Uids) -> u32 {
    let numbers = sample.numbers.iter().cloned().flatten();
    let uids = sample.uids.iter().cloned().flatten();
    let shown = |number: u32| {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        (index < present.len()).then(|| present.at(index).value())
    };
    numbers
        .zip(uids)
        .take_while(|(number, _)| shown(*number).is_some())
        .filter(|(number, uid)| shown(*number) == Some(*uid))
        .map(|(_, uid)| uid)
        .last()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn uids(numbers: &[u32]) -> Uids {
        numbers.iter().map(|n| Uid::new(*n).unwrap()).collect()
    }

    #[test]
    fn the_largest_uid_there_can_be_is_no_special_case() {
        let all = [1..=u32::MAX];
        assert_eq!(missing(&all, &uids(&[u32::MAX])), [1..=u32::MAX - 1]);
        assert_eq!(missing(&all, &uids(&[1])), [2..=u32::MAX]);
        assert_eq!(missing(&[], &uids(&[1])), []);
        assert_eq!(normalised([5..=u32::MAX, 1..=4], &(2..=u32::MAX)), [2..=u32::MAX]);
    }

    #[test]
    fn a_sample_that_spans_everything_costs_no_more_than_the_mailbox() {
        let sample = UidSample {
            numbers: vec![1..=u32::MAX],
            uids: vec![1..=u32::MAX],
        };
        assert_eq!(agreed_up_to(&sample, &uids(&[1, 2, 4])), 2);
        assert_eq!(agreed_up_to(&sample, &uids(&[])), 0);
    }

    #[test]
    fn the_examples_of_rfc_7162_section_3_2_5_2() {
        // Only UIDs divisible by three are present; the client's last pairs agree.
        let present: Uids = (1..=10_003).map(|n| Uid::new(n * 3).unwrap()).collect();
        assert_eq!(missing(&[1..=8], &present), [1..=2, 4..=5, 7..=8]);
        let sample = UidSample {
            numbers: vec![5_000..=5_000, 7_500..=7_500, 9_000..=9_000],
            uids: vec![15_000..=15_000, 22_500..=22_500, 27_001..=27_001],
        };
        assert_eq!(agreed_up_to(&sample, &present), 22_500);
    }

    proptest! {
        #[test]
        fn as_sets_have_it(
            ranges in prop::collection::vec((1..60_u32, 0..20_u32), 0..6),
            present in prop::collection::btree_set(1..60_u32, 0..30),
            within in (1..40_u32, 0..40_u32),
        ) {
            let within = within.0..=within.0 + within.1;
            let ranges: Vec<_> = ranges.into_iter().map(|(first, more)| first..=first + more).collect();
            let known: BTreeSet<u32> = ranges.iter().cloned().flatten().filter(|n| within.contains(n)).collect();
            let normal = normalised(ranges, &within);
            prop_assert_eq!(normal.iter().cloned().flatten().collect::<Vec<_>>(), known.iter().copied().collect::<Vec<_>>());
            prop_assert!(normal.windows(2).all(|pair| *pair[0].end() + 1 < *pair[1].start()));
            for uid in 1..80 {
                prop_assert_eq!(contains(&normal, Uid::new(uid).unwrap()), known.contains(&uid));
            }
            prop_assert_eq!(joined(known.iter().map(|uid| Uid::new(*uid).unwrap())), normal.clone());
            let gone = missing(&normal, &uids(&present.iter().copied().collect::<Vec<_>>()));
            prop_assert_eq!(
                gone.into_iter().flatten().collect::<Vec<_>>(),
                known.difference(&present).copied().collect::<Vec<_>>()
            );
        }
    }
}
