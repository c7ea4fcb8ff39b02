//! What a core remembers of the directory's answers.
//!
//! Invariants: an answer is believed for a time ([`Ages`]), and not beyond a change of the directory's generation; while the
//! back end fails, a yes that was good is given for a longer time; one question is under way once, whoever else wants
//! to know waits for it; whoever asked may go away, then the next one asks.
//! Limits: [`ENTRIES_MAX`] keys; the least recently used half goes when they are reached.
//! Failure: a question that failed is not asked again for [`RETRY_AFTER`], so that a dead back end costs one time-out a key
//! and interval, not one a connection.
//! Not here: asking (`Directory`).

use super::source::{Ages, Found, Unavailable};
use crate::base::oneshot::{self, Receiver, Sender};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Keys remembered by one core for each kind of question; about 300 bytes each.
pub const ENTRIES_MAX: usize = 50_000;

/// Between two questions for one key to a back end that failed.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Slot<T> {
    answer: Found<T>,
    believed_until: Instant,
    usable_until: Instant,
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self {
            answer: self.answer.clone(),
            ..*self
        }
    }
}

/// What is known of a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Look<T> {
    /// This, `Err` included: it was asked a moment ago.
    Known(Found<T>),
    /// Nothing that is believed any more.
    Missing,
}

/// What whoever found a key missing does.
#[derive(Debug)]
pub enum Turn {
    /// Ask, then [`Cache::settle`] or [`Cache::abandon`].
    Ask,
    /// Somebody asks already: wait, then look again.
    Wait(Receiver<()>),
}

/// Answers to one kind of question. Looking costs no allocation.
#[derive(Debug)]
pub struct Cache<T> {
    /// What was used lately, and what before that: two halves are as good as an order of use.
    young: HashMap<Box<str>, Slot<T>>,
    old: HashMap<Box<str>, Slot<T>>,
    asked: HashMap<Box<str>, Vec<Sender<()>>>,
    generation: u64,
    entries_max: usize,
    ages: Ages,
}

impl<T> Cache<T> {
    /// Remembers nothing yet, and never more than `entries_max` keys.
    #[must_use]
    pub fn new(entries_max: usize, ages: Ages) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            asked: HashMap::new(),
            generation: 0,
            entries_max,
            ages,
        }
    }

    /// Forgets everything if the directory is of another generation than what is remembered.
    pub fn follow(&mut self, generation: u64) {
        if self.generation != generation {
            self.generation = generation;
            self.young.clear();
            self.old.clear();
        }
    }

    /// What is known of `key` at `now`.
    pub fn look(&mut self, key: &str, now: Instant) -> Look<T> {
        if !self.young.contains_key(key)
            && let Some((key, slot)) = self.old.remove_entry(key)
        {
            self.insert(key, slot);
        }
        match self.young.get(key) {
            Some(slot) if now < slot.believed_until => Look::Known(slot.answer.clone()),
            _ => Look::Missing,
        }
    }

    /// Whose turn it is to ask for a missing key.
    pub fn turn(&mut self, key: &str) -> Turn {
        if let Some(waiting) = self.asked.get_mut(key) {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            return Turn::Wait(receiver);
        }
        self.asked.insert(key.into(), Vec::new());
        Turn::Ask
    }

    /// The answer to a question that was asked when the directory was of `generation`; wakes all who wait.
    pub fn settle(&mut self, key: &str, generation: u64, answer: Found<T>, now: Instant) -> Found<T> {
        let slot = match answer {
            Ok(found) => {
                // An outdated no stands in for nothing: whoever came meanwhile would be refused for good.
                let (ttl, stale) = if found.is_some() {
                    (self.ages.positive, self.ages.stale)
                } else {
                    (self.ages.negative, Duration::ZERO)
                };
                Slot {
                    answer: Ok(found),
                    believed_until: now + ttl,
                    usable_until: now + ttl + stale,
                }
            }
            Err(Unavailable) => self.stand_in(key, now),
        };
        let answer = slot.answer.clone();
        // What was read before a change is true for whoever asked before it, and for nobody later.
        if self.generation == generation {
            self.insert(key.into(), slot);
        }
        self.abandon(key);
        answer
    }

    /// Whoever asked has gone, or has settled: those who wait look again.
    pub fn abandon(&mut self, key: &str) {
        self.asked.remove(key);
    }

    /// What to say of `key` while the back end is down.
    fn stand_in(&self, key: &str, now: Instant) -> Slot<T> {
        let last = self.young.get(key).filter(|slot| now < slot.usable_until);
        last.map_or(
            Slot {
                answer: Err(Unavailable),
                believed_until: now + RETRY_AFTER,
                usable_until: now,
            },
            |last| Slot {
                answer: last.answer.clone(),
                believed_until: now + RETRY_AFTER,
                usable_until: last.usable_until,
            },
        )
    }

    fn insert(&mut self, key: Box<str>, slot: Slot<T>) {
        if self.young.len() >= self.entries_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, slot);
    }
}

/// For counting in tests and meters.
impl<T> Cache<T> {
    /// Keys remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// True when nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn found(n: u32) -> Found<u32> {
        Ok(Some(Arc::new(n)))
    }

    #[test]
    fn answers_are_believed_for_their_time() {
        let (mut cache, start) = (Cache::new(10, Ages::default()), Instant::now());
        let _ = cache.settle("a", 0, found(1), start);
        let _ = cache.settle("b", 0, Ok(None), start);
        assert_eq!(
            cache.look("a", start + Ages::default().negative),
            Look::Known(found(1))
        );
        assert_eq!(cache.look("b", start), Look::Known(Ok(None)));
        assert_eq!(cache.look("b", start + Ages::default().negative), Look::Missing);
        assert_eq!(cache.look("a", start + Ages::default().positive), Look::Missing);
    }

    #[test]
    fn a_dead_back_end_leaves_old_answers_and_is_not_pestered() {
        let (mut cache, start) = (Cache::new(10, Ages::default()), Instant::now());
        let _ = cache.settle("a", 0, found(1), start);
        let later = start + Ages::default().positive;
        assert_eq!(cache.settle("a", 0, Err(Unavailable), later), found(1));
        assert_eq!(cache.look("a", later), Look::Known(found(1)));
        assert_eq!(cache.look("a", later + RETRY_AFTER), Look::Missing);
        let end = later + Ages::default().stale;
        assert_eq!(cache.settle("a", 0, Err(Unavailable), end), Err(Unavailable));
        assert_eq!(cache.look("a", end), Look::Known(Err(Unavailable)));
        assert_eq!(cache.look("a", end + RETRY_AFTER), Look::Missing);
    }

    #[test]
    fn an_outdated_no_refuses_nobody() {
        let (mut cache, start) = (Cache::<u32>::new(10, Ages::default()), Instant::now());
        let _ = cache.settle("a", 0, Ok(None), start);
        let later = start + Ages::default().negative;
        assert_eq!(cache.settle("a", 0, Err(Unavailable), later), Err(Unavailable));
    }

    #[test]
    fn a_change_makes_what_was_read_before_it_void() {
        let (mut cache, now) = (Cache::new(10, Ages::default()), Instant::now());
        let _ = cache.settle("a", 0, found(1), now);
        assert!(matches!(cache.turn("b"), Turn::Ask));
        cache.follow(1);
        assert_eq!(cache.look("a", now), Look::Missing);
        assert_eq!(
            cache.settle("b", 0, found(2), now),
            found(2),
            "who asked before hears it"
        );
        assert_eq!(cache.look("b", now), Look::Missing);
    }

    #[test]
    fn one_asks_and_the_others_wait_for_it_or_take_its_place() {
        let mut cache: Cache<u32> = Cache::new(10, Ages::default());
        assert!(matches!(cache.turn("a"), Turn::Ask));
        let Turn::Wait(mut waits) = cache.turn("a") else {
            panic!("two ask")
        };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut is_woken = || std::pin::Pin::new(&mut waits).poll(&mut context).is_ready();
        assert!(!is_woken());
        cache.abandon("a");
        assert!(is_woken());
        assert!(matches!(cache.turn("a"), Turn::Ask));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_what_is_known_was_settled(keys in prop::collection::vec(0_u32..40, 1..300)) {
            let (mut cache, now) = (Cache::new(20, Ages::default()), Instant::now());
            for key in keys {
                let name = key.to_string();
                match cache.look(&name, now) {
                    Look::Known(answer) => prop_assert_eq!(answer, found(key)),
                    Look::Missing => { let _ = cache.settle(&name, 0, found(key), now); }
                }
                prop_assert!(cache.len() <= 20);
            }
        }
    }
}
