//! What another directory said last, for all cores: it stands in while that one is away.
//!
//! A core remembers what it asked itself (`cache`), and that not for long; whoever comes back to another core than before
//! would otherwise be unknown there at the wrong moment.
//! Invariants: only what was a yes is kept; a later no removes it.
//! Limits: [`ENTRIES_MAX`] keys; the least recently answered half goes when they are reached.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys kept of each kind of question; some 300 octets each.
pub const ENTRIES_MAX: usize = 100_000;

type Answers<T> = HashMap<Box<str>, (Arc<T>, Instant)>;

/// Answers to one kind of question.
#[derive(Debug)]
pub struct Last<T> {
    young: Answers<T>,
    old: Answers<T>,
    entries_max: usize,
}

impl<T> Default for Last<T> {
    fn default() -> Self {
        Self::new(ENTRIES_MAX)
    }
}

impl<T> Last<T> {
    fn new(entries_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            entries_max,
        }
    }

    /// It was answered just now.
    pub fn settle(&mut self, key: &str, found: Option<&Arc<T>>, now: Instant) {
        let Some(found) = found else {
            self.young.remove(key);
            self.old.remove(key);
            return;
        };
        if self.young.len() >= self.entries_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.into(), (found.clone(), now));
    }

    /// The last answer, if it is not older than `age_max`.
    pub fn find(&self, key: &str, age_max: Duration, now: Instant) -> Option<Arc<T>> {
        let (found, at) = self.young.get(key).or_else(|| self.old.get(key))?;
        (now.saturating_duration_since(*at) < age_max).then(|| found.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_stands_in_for_its_time_and_a_no_ends_it() {
        let (mut last, now) = (Last::new(10), Instant::now());
        let hour = Duration::from_secs(3_600);
        last.settle("a", Some(&Arc::new(1)), now);
        assert_eq!(last.find("a", hour, now + hour / 2), Some(Arc::new(1)));
        assert_eq!(last.find("a", hour, now + hour), None);
        last.settle("a", Some(&Arc::new(2)), now + hour);
        assert_eq!(last.find("a", hour, now + hour), Some(Arc::new(2)));
        last.settle("a", None, now + hour);
        assert_eq!(last.find("a", hour, now + hour), None);
    }

    #[test]
    fn memory_is_bounded_and_the_latest_are_kept() {
        let (mut last, now) = (Last::new(10), Instant::now());
        for number in 0..100 {
            last.settle(&number.to_string(), Some(&Arc::new(number)), now);
            assert!(last.young.len() + last.old.len() <= 10);
        }
        let hour = Duration::from_secs(3_600);
        assert!((95..100).all(|number| last.find(&number.to_string(), hour, now) == Some(Arc::new(number))));
    }
}
