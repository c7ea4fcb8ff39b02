//! The UIDs of many messages, ascending, as runs of neighbours.
//!
//! A mailbox gives its UIDs out one after the other, so those of its messages are a few runs: as many as there are gaps.
//! A session that selects a mailbox of any size therefore needs no memory and no time for each message.
//! Invariants: ascending, each once; runs are not empty and do not touch, so equal lists have equal runs.
//! Limits: 8 octets a run; with every second message gone that is as much again as one number for each.
//! What it costs: a place is found by a binary search among the runs.
//! Not here: which messages those are (`store`), what a session was told of them (`mailbox::view`).

use super::Uid;
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::ops::{Range, RangeInclusive};

/// Ascending UIDs, each with its place (0-based).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uids {
    runs: SmallVec<[Run; 1]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Its first UID.
    first: NonZeroU32,
    /// The place behind that of its last.
    end: u32,
}

impl Uids {
    /// The UIDs that `uid_at` gives for the places below `len`, which ascend. It is asked for a few of each run.
    ///
    /// # Panics
    /// With 2^32 places or more: there are no more UIDs.
    #[must_use]
    pub fn of_ascending(len: usize, uid_at: impl Fn(usize) -> Uid) -> Self {
        let mut uids = Self::default();
        uids.append_ascending(len, uid_at);
        uids
    }

    /// Puts behind the last the UIDs that `uid_at` gives for the places below `len`, which ascend from there.
    ///
    /// # Panics
    /// See [`Self::of_ascending`].
    pub fn append_ascending(&mut self, len: usize, uid_at: impl Fn(usize) -> Uid) {
        let mut start = 0;
        while start < len {
            let first = uid_at(start);
            let end = end_of_run(start, len, first, &uid_at);
            self.push_run(first, end - start);
            start = end;
        }
    }

    fn push_run(&mut self, first: Uid, len: usize) {
        let len = u32::try_from(len).expect("a UID has 32 bits");
        let is_behind = self.last().is_none_or(|last| last < first);
        debug_assert!(is_behind, "UIDs ascend");
        let touches = self.last().is_some_and(|last| last.value() + 1 == first.value());
        let end = self.end().checked_add(len).expect("a UID has 32 bits");
        match self.runs.last_mut().filter(|_| touches) {
            Some(last) => last.end = end,
            None => self.runs.push(Run { first: first.0, end }),
        }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end() as usize
    }

    /// True for none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The UID at a place.
    ///
    /// # Panics
    /// Behind the last place.
    #[must_use]
    pub fn at(&self, index: usize) -> Uid {
        assert!(index < self.len(), "place {index} of {} UIDs", self.len());
        let place = place(index);
        self.uid_in(self.run_of_place(place), place)
    }

    /// The largest.
    #[must_use]
    pub fn last(&self) -> Option<Uid> {
        let run = self.runs.len().checked_sub(1)?;
        Some(self.uid_in(run, self.end() - 1))
    }

    /// The place of this one.
    #[must_use]
    pub fn index_of(&self, uid: Uid) -> Option<usize> {
        let index = self.below(uid);
        (index < self.len() && self.at(index) == uid).then_some(index)
    }

    /// How many are smaller than `uid`.
    #[must_use]
    pub fn below(&self, uid: Uid) -> usize {
        let behind = self.runs.partition_point(|run| run.first < uid.0);
        let Some(index) = behind.checked_sub(1) else {
            return 0;
        };
        let run = self.runs[index];
        let into = uid.value() - run.first.get();
        self.start_of(index).saturating_add(into).min(run.end) as usize
    }

    /// How many are `uid` or smaller.
    #[must_use]
    pub fn up_to(&self, uid: Uid) -> usize {
        let below = self.below(uid);
        below + usize::from(below < self.len() && self.at(below) == uid)
    }

    /// Those at some places, ascending.
    ///
    /// # Panics
    /// When the places end behind the last.
    pub fn range(&self, places: Range<usize>) -> impl Iterator<Item = Uid> + '_ {
        let numbers = self.runs_in(places).flatten();
        numbers.map(|number| Uid::new(number).expect("a run is of UIDs"))
    }

    /// The same as runs of numbers, ascending, not touching.
    ///
    /// # Panics
    /// See [`Self::range`].
    pub fn runs_in(&self, places: Range<usize>) -> impl Iterator<Item = RangeInclusive<u32>> + '_ {
        assert!(
            places.end <= self.len(),
            "places {places:?} of {} UIDs",
            self.len()
        );
        let first_run = self.run_of_place(place(places.start));
        (first_run..self.runs.len()).map_while(move |index| {
            let start = self.start_of(index).max(place(places.start));
            let end = self.runs[index].end.min(place(places.end));
            (start < end).then(|| self.uid_in(index, start).value()..=self.uid_in(index, end - 1).value())
        })
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.range(0..self.len())
    }

    /// Takes out those of `gone`, which ascend; the places that they had, ascending.
    pub fn remove_all(&mut self, gone: &[Uid]) -> Vec<usize> {
        let places: Vec<usize> = gone.iter().filter_map(|uid| self.index_of(*uid)).collect();
        if places.is_empty() {
            return places;
        }
        let mut left = Self::default();
        let mut kept_from = 0;
        for gone in &places {
            left.append_part(self, kept_from..*gone);
            kept_from = gone + 1;
        }
        left.append_part(self, kept_from..self.len());
        *self = left;
        places
    }

    /// Puts the UIDs at `places` of `other` behind the last, a run at a time.
    fn append_part(&mut self, other: &Self, places: Range<usize>) {
        let mut start = places.start;
        while start < places.end {
            let index = other.run_of_place(place(start));
            let end = (other.runs[index].end as usize).min(places.end);
            self.push_run(other.uid_in(index, place(start)), end - start);
            start = end;
        }
    }

    /// The run that `place` lies in; the number of runs when it is behind the last.
    fn run_of_place(&self, place: u32) -> usize {
        self.runs.partition_point(|run| run.end <= place)
    }

    /// The place of a run's first.
    fn start_of(&self, run: usize) -> u32 {
        run.checked_sub(1).map_or(0, |before| self.runs[before].end)
    }

    /// The place behind the last.
    fn end(&self) -> u32 {
        self.runs.last().map_or(0, |last| last.end)
    }

    /// The UID at `place`, which lies in this run.
    fn uid_in(&self, run: usize, place: u32) -> Uid {
        Uid(self.runs[run].first.saturating_add(place - self.start_of(run)))
    }
}

/// Where the run that begins at `start` with `first` ends. Ascending numbers are neighbours exactly when the last differs
/// from the first by their count, so doubling steps and a binary search find the end without a look at each.
fn end_of_run(start: usize, len: usize, first: Uid, uid_at: impl Fn(usize) -> Uid) -> usize {
    let is_in_run = |index: usize| (uid_at(index).value() - first.value()) as usize == index - start;
    if is_in_run(len - 1) {
        return len;
    }
    let mut step = 1;
    while start + step < len && is_in_run(start + step) {
        step *= 2;
    }
    let (mut inside, mut outside) = (start + step / 2, (start + step).min(len - 1));
    while outside - inside > 1 {
        let middle = inside.midpoint(outside);
        if is_in_run(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    outside
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("a UID has 32 bits")
}

impl FromIterator<Uid> for Uids {
    /// From ascending UIDs.
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> Self {
        let mut all = Self::default();
        for uid in uids {
            all.push_run(uid, 1);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::collections::BTreeSet;

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    /// Ascending, with runs and gaps of all kinds, the largest UID among them at times.
    fn some_uids() -> impl Strategy<Value = Vec<Uid>> {
        let near = |from: u32| prop::collection::btree_set((from..=from + 40).prop_map(uid), 0..40);
        let sets = (near(1), near(1000), near(u32::MAX - 40));
        sets.prop_map(|(a, b, c)| a.into_iter().chain(b).chain(c).collect())
    }

    proptest! {
        #[test]
        fn a_list_of_runs_is_the_list(list in some_uids(), probe in 1..1100u32, gone in some_uids()) {
            let mut uids: Uids = list.iter().copied().collect();
            prop_assert_eq!(&uids, &Uids::of_ascending(list.len(), |index| list[index]));
            prop_assert_eq!(uids.iter().collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(uids.last(), list.last().copied());
            for (index, uid) in list.iter().enumerate() {
                prop_assert_eq!(uids.at(index), *uid);
                prop_assert_eq!(uids.index_of(*uid), Some(index));
                prop_assert_eq!(uids.up_to(*uid), index + 1);
            }
            for probe in [uid(probe), uid(u32::MAX)] {
                prop_assert_eq!(uids.below(probe), list.partition_point(|uid| *uid < probe));
                prop_assert_eq!(uids.up_to(probe), list.partition_point(|uid| *uid <= probe));
                prop_assert_eq!(uids.index_of(probe), list.binary_search(&probe).ok());
            }
            let third = list.len() / 3..list.len() - list.len() / 3;
            prop_assert_eq!(uids.range(third.clone()).collect::<Vec<_>>(), list[third].to_vec());

            let places = uids.remove_all(&gone);
            let gone: BTreeSet<Uid> = gone.into_iter().collect();
            let expected: Vec<usize> = (0..list.len()).filter(|index| gone.contains(&list[*index])).collect();
            prop_assert_eq!(places, expected);
            let left: Uids = list.iter().copied().filter(|uid| !gone.contains(uid)).collect();
            prop_assert_eq!(uids, left);
        }

        #[test]
        fn what_is_put_behind_joins_the_last_run(list in some_uids(), cut in 0..120usize) {
            let (old, new) = list.split_at(cut.min(list.len()));
            let mut uids: Uids = old.iter().copied().collect();
            uids.append_ascending(new.len(), |index| new[index]);
            prop_assert_eq!(uids, list.into_iter().collect());
        }
    }

    #[test]
    fn neighbours_are_not_looked_at_one_by_one() {
        let looks = Cell::new(0);
        let uids = Uids::of_ascending(1_000_000, |index| {
            looks.set(looks.get() + 1);
            // One gap in the middle.
            uid(u32::try_from(index).unwrap() + 1 + u32::from(index >= 400_000))
        });
        assert_eq!((uids.len(), uids.runs.len()), (1_000_000, 2));
        assert!(looks.get() < 100, "{} looks", looks.get());
    }
}
