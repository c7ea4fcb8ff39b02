//! Which segments a pass frees: pure, from what all cores have said.
//!
//! Invariants: a pinned segment, and one that is not finished, is never chosen; those with the least alive come first.
//! Not here: who says what is alive (`mark`).

use super::super::checkpoint_state::CoveredSegment;
use super::super::options::{COMPACTION_DEAD_PERCENT, COMPACTION_LIVE_PERCENT_MAX, StoreOptions};
use crate::model::SegmentId;
use std::collections::{BTreeMap, BTreeSet};

/// What one core says.
#[derive(Clone, Debug)]
pub struct Marks {
    /// Segments a start would not read the log from: those of older logs, and the finished ones of its own.
    pub finished: Vec<CoveredSegment>,
    /// Segments of its own log behind those.
    pub behind: Vec<CoveredSegment>,
    /// Bytes that its accounts need, by segment.
    pub live: BTreeMap<SegmentId, u64>,
    /// Segments that something outside the state refers to.
    pub pinned: Vec<SegmentId>,
    /// Bytes of all its accounts, said anew, about.
    pub restated_bytes: u64,
    /// Segments before this can go without that.
    pub said_from: SegmentId,
}

/// What may have changed since a core last said what is alive, at most: quickly said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes logged since, whatever they are.
    pub logged_bytes: u64,
    /// Bytes of what could be brought back then and is not kept any more.
    pub old_bytes: u64,
}

/// What all cores said when they last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Bytes of all finished segments.
    pub bytes: u64,
    /// How many of them lived.
    pub live_bytes: u64,
}

/// May so many dead bytes of so many be worth a pass?
#[must_use]
pub fn pays(dead: u64, bytes: u64, options: &StoreOptions) -> bool {
    dead >= options.compaction_dead_bytes_min.max(1) && dead * 100 >= bytes * COMPACTION_DEAD_PERCENT
}

/// Can it pay to look at everything, with `finished_bytes` in finished segments? A `None` of any core: nobody knows.
#[must_use]
pub fn may_pay(
    finished_bytes: u64,
    marked: Option<Marked>,
    growth: &[Option<Growth>],
    options: &StoreOptions,
) -> bool {
    let growth: Option<Vec<Growth>> = growth.iter().copied().collect();
    let (Some(marked), Some(growth)) = (marked, growth) else {
        return finished_bytes >= options.compaction_dead_bytes_min;
    };
    let logged: u64 = growth.iter().map(|growth| growth.logged_bytes).sum();
    let old: u64 = growth.iter().map(|growth| growth.old_bytes).sum();
    let dead = marked.bytes - marked.live_bytes + logged + old;
    // As if all that was logged was dead: then the dead part is the greatest.
    finished_bytes >= options.compaction_dead_bytes_min && pays(dead, marked.bytes + logged, options)
}

/// What to free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victims {
    /// Ascending.
    pub segments: BTreeSet<SegmentId>,
    /// Bytes of all finished segments.
    pub bytes: u64,
    /// How many of them live.
    pub live_bytes: u64,
    /// Live bytes of the chosen.
    pub moving_bytes: u64,
    /// Bytes of the chosen.
    pub chosen_bytes: u64,
}

/// Chooses; nothing if it does not pay. `free_bytes` bounds what may be written before anything comes back: what is said
/// anew and moved must fit above the reserve. What can go without saying partitions anew goes alone if that gains more.
#[must_use]
pub fn choose(marks: &[Marks], options: &StoreOptions, free_bytes: u64) -> Victims {
    let mut live: BTreeMap<SegmentId, u64> = BTreeMap::new();
    let mut finished: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for mark in marks {
        for (segment, bytes) in &mark.live {
            *live.entry(*segment).or_default() += bytes;
        }
        finished.extend(mark.finished.iter().map(|s| (s.id, u64::from(s.end))));
    }
    // Estimates may exceed what is there.
    let live_of = |id: &SegmentId, end: u64| live.get(id).copied().unwrap_or(0).min(end);
    let none = Victims {
        bytes: finished.values().sum(),
        live_bytes: finished.iter().map(|(id, end)| live_of(id, *end)).sum(),
        ..Victims::default()
    };
    let dead = none.bytes - none.live_bytes;
    if !pays(dead, none.bytes, options) {
        return none;
    }
    let pinned: BTreeSet<SegmentId> = marks.iter().flat_map(|mark| &mark.pinned).copied().collect();
    let mut candidates: Vec<Candidate> = finished
        .iter()
        .filter(|(id, _)| !pinned.contains(id))
        .map(|(id, end)| Candidate {
            id: *id,
            end: *end,
            live: live_of(id, *end),
        })
        .collect();
    candidates.sort_unstable_by_key(|candidate| (candidate.per_mille(), candidate.id));
    let spare = free_bytes.saturating_sub(options.reserve_bytes);
    let restated: u64 = marks.iter().map(|mark| mark.restated_bytes).sum();
    let said_from = marks.iter().map(|mark| mark.said_from).min();
    let is_said = |candidate: &Candidate| said_from.is_some_and(|from| candidate.id < from);
    let room = |spare: u64| options.compaction_pass_bytes.min(spare / 2);
    let cheap = take(&none, candidates.iter().filter(|c| is_said(c)), room(spare));
    let Some(spare) = spare.checked_sub(restated) else {
        return cheap;
    };
    let all = take(&none, candidates.iter(), room(spare));
    if all.gain().saturating_sub(restated) > cheap.gain() {
        all
    } else {
        cheap
    }
}

/// A segment that may be chosen.
struct Candidate {
    id: SegmentId,
    end: u64,
    live: u64,
}

impl Candidate {
    fn per_mille(&self) -> u64 {
        self.live * 1_000 / self.end.max(1)
    }
}

/// The first of the candidates, which come by how much of them is alive, as far as `room` goes.
fn take<'a>(none: &Victims, candidates: impl Iterator<Item = &'a Candidate>, room: u64) -> Victims {
    let mut victims = none.clone();
    for candidate in candidates {
        let is_full = candidate.per_mille() > COMPACTION_LIVE_PERCENT_MAX * 10;
        if is_full || victims.moving_bytes + candidate.live > room {
            break;
        }
        victims.moving_bytes += candidate.live;
        victims.chosen_bytes += candidate.end;
        victims.segments.insert(candidate.id);
    }
    victims
}

impl Victims {
    /// Bytes that come back, but for what is said anew.
    fn gain(&self) -> u64 {
        self.chosen_bytes - self.moving_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scan::LogName;
    use super::*;

    fn marks(segments: &[(u32, u32, u64)], pinned: &[u32]) -> Marks {
        let log = LogName {
            incarnation: 1,
            log: 0,
        };
        let finished = |(id, end, _): &(u32, u32, u64)| CoveredSegment {
            id: SegmentId(*id),
            generation: 1,
            log,
            end: *end,
        };
        Marks {
            finished: segments.iter().map(finished).collect(),
            behind: Vec::new(),
            live: segments
                .iter()
                .map(|(id, _, live)| (SegmentId(*id), *live))
                .collect(),
            pinned: pinned.iter().map(|id| SegmentId(*id)).collect(),
            restated_bytes: 0,
            said_from: SegmentId(0),
        }
    }

    fn chosen(marks: &[Marks], options: &StoreOptions, free: u64) -> Vec<u32> {
        let victims = choose(marks, options, free);
        victims.segments.iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_least_alive_go_first_and_pinned_full_or_expensive_ones_stay() {
        let options = StoreOptions {
            compaction_dead_bytes_min: 100,
            compaction_pass_bytes: 500,
            reserve_bytes: 0,
            ..StoreOptions::default()
        };
        let one = marks(
            &[(1, 1_000, 300), (2, 1_000, 0), (3, 1_000, 900), (4, 1_000, 0)],
            &[4],
        );
        assert_eq!(chosen(std::slice::from_ref(&one), &options, 1 << 40), [1, 2]);
        // Another core needs more of the first: then it would be too much.
        let other = marks(&[(1, 1_000, 250)], &[]);
        assert_eq!(chosen(&[one.clone(), other], &options, 1 << 40), [2]);
        assert_eq!(chosen(&[one], &options, 400), [2]);
    }

    #[test]
    fn nothing_is_written_into_the_reserve_or_for_less_than_it_costs() {
        let options = StoreOptions {
            compaction_dead_bytes_min: 100,
            reserve_bytes: 10_000,
            ..StoreOptions::default()
        };
        let mut one = marks(&[(1, 1_000, 0), (2, 1_000, 100), (3, 1_000, 0)], &[]);
        (one.restated_bytes, one.said_from) = (1_500, SegmentId(2));
        let chosen = |one: &Marks, free| chosen(std::slice::from_ref(one), &options, free);
        assert_eq!(chosen(&one, 1 << 40), [1, 2, 3]);
        // What is said anew does not fit, nothing does, it just fits with what is to be moved.
        assert_eq!(chosen(&one, 11_499), [1]);
        assert_eq!(chosen(&one, 9_000), [1]);
        assert_eq!(chosen(&one, 11_700), [1, 2, 3]);
        one.restated_bytes = 1_950;
        assert_eq!(chosen(&one, 1 << 40), [1]);
        one.said_from = SegmentId(1);
        assert_eq!(chosen(&one, 1 << 40), [1, 2, 3]);
        one.restated_bytes = 2_900;
        assert_eq!(chosen(&one, 1 << 40), [] as [u32; 0]);
    }

    #[test]
    fn nobody_looks_while_no_more_can_be_dead_than_does_not_pay() {
        let options = StoreOptions {
            compaction_dead_bytes_min: 100,
            ..StoreOptions::default()
        };
        let marked = |live_bytes| {
            Some(Marked {
                bytes: 1_000,
                live_bytes,
            })
        };
        let grown = |logged_bytes, old_bytes| {
            Some(Growth {
                logged_bytes,
                old_bytes,
            })
        };
        // Never looked, or one core has not: only by what is there.
        assert!(may_pay(100, None, &[grown(0, 0)], &options));
        assert!(!may_pay(99, None, &[None], &options));
        assert!(may_pay(1_000, marked(1_000), &[grown(0, 0), None], &options));
        assert!(!may_pay(
            1_000,
            marked(800),
            &[grown(0, 0), grown(0, 0)],
            &options
        ));
        assert!(!may_pay(
            1_000,
            marked(800),
            &[grown(0, 10), grown(0, 39)],
            &options
        ));
        assert!(may_pay(
            1_000,
            marked(800),
            &[grown(0, 11), grown(0, 39)],
            &options
        ));
        // 266 of 1,066.
        assert!(!may_pay(1_000, marked(800), &[grown(66, 0)], &options));
        assert!(may_pay(1_000, marked(800), &[grown(67, 0)], &options));
    }

    #[test]
    fn a_store_that_is_mostly_alive_is_left_alone() {
        let options = StoreOptions {
            compaction_dead_bytes_min: 100,
            ..StoreOptions::default()
        };
        let full = marks(&[(1, 1_000, 900), (2, 1_000, 700)], &[]);
        assert_eq!(chosen(&[full], &options, 1 << 40), [] as [u32; 0]);
        let small = marks(&[(1, 99, 0)], &[]);
        assert_eq!(chosen(&[small], &options, 1 << 40), [] as [u32; 0]);
    }
}
