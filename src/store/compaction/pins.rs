//! Segments that somebody still refers to from outside the state: a body on its way in, a message being read.
//!
//! Invariants: a pin holds until the last of its clones is dropped, on whatever core that is.
//! Limits: an entry for each segment pinned lately, a few bytes.

use crate::base::id_map::IdMap;
use crate::model::SegmentId;
use std::cell::RefCell;
use std::sync::{Arc, Weak};

/// Keeps one segment from being freed (bodies) or removed (reads) while it lives.
pub type Pin = Arc<()>;

/// Entries behind which those nobody holds any more are cleared away.
const CLEARED_AT: usize = 256;

/// What is pinned on one core.
#[derive(Default)]
pub struct Pins {
    tokens: RefCell<IdMap<SegmentId, Weak<()>>>,
}

impl Pins {
    /// Pins a segment.
    pub fn pin(&self, segment: SegmentId) -> Pin {
        let mut tokens = self.tokens.borrow_mut();
        if let Some(pin) = tokens.get(&segment).and_then(Weak::upgrade) {
            return pin;
        }
        if tokens.len() >= CLEARED_AT {
            tokens.retain(|_, token| token.strong_count() > 0);
        }
        let pin = Arc::new(());
        tokens.insert(segment, Arc::downgrade(&pin));
        pin
    }

    /// Does anybody hold a pin of it?
    #[must_use]
    pub fn is_pinned(&self, segment: SegmentId) -> bool {
        let tokens = self.tokens.borrow();
        tokens.get(&segment).is_some_and(|token| token.strong_count() > 0)
    }

    /// All that are pinned.
    #[must_use]
    pub fn all(&self) -> Vec<SegmentId> {
        let tokens = self.tokens.borrow();
        let held = tokens.iter().filter(|(_, token)| token.strong_count() > 0);
        held.map(|(segment, _)| *segment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_pinned_until_the_last_clone_is_gone() {
        let (pins, segment) = (Pins::default(), SegmentId(3));
        let first = pins.pin(segment);
        let second = pins.pin(segment).clone();
        drop(first);
        assert!(pins.is_pinned(segment));
        assert_eq!(pins.all(), [segment]);
        drop(second);
        assert!(!pins.is_pinned(segment) && !pins.is_pinned(SegmentId(4)));
    }
}
