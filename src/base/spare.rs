//! Free memory of one size, kept for the next who needs it.
//!
//! Invariants: at most `most` blocks are kept; [`Spare::trim`] frees those that nobody took since the call before it, so a
//! burst (every client connecting anew) does not pin its peak while steady load never allocates.
//! Not here: who calls `trim`, and when ([`TRIM_PERIOD`] is what it is made for); the memory's contents.

use std::time::Duration;

/// How often a core gives back what it did not need: long against the gaps of a load that comes in waves, short against
/// the life of an idle connection.
pub const TRIM_PERIOD: Duration = Duration::from_secs(2);

/// Free blocks of one core.
#[derive(Debug)]
pub struct Spare {
    free: Vec<Box<[u8]>>,
    most: usize,
    /// The fewest there were since the last `trim`.
    lowest: usize,
}

impl Spare {
    /// None yet, and never more than `most`.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            free: Vec::new(),
            most,
            lowest: 0,
        }
    }

    /// The block that was given back last: it is the likeliest to be in the cache.
    pub fn take(&mut self) -> Option<Box<[u8]>> {
        let block = self.free.pop();
        self.lowest = self.lowest.min(self.free.len());
        block
    }

    /// Keeps `block`, or frees it when there are enough.
    pub fn give_back(&mut self, block: Box<[u8]>) {
        if self.free.len() < self.most {
            self.free.push(block);
        }
    }

    /// Frees what lay untouched since the last call.
    pub fn trim(&mut self) {
        self.free.drain(..self.lowest);
        self.free.shrink_to(self.free.len() * 2);
        self.lowest = self.free.len();
    }

    /// Blocks kept now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spare_with(count: usize) -> Spare {
        let mut spare = Spare::new(8);
        for _ in 0..count {
            spare.give_back(vec![0; 16].into_boxed_slice());
        }
        spare
    }

    #[test]
    fn more_than_the_most_are_not_kept() {
        assert_eq!(spare_with(20).count(), 8);
    }

    #[test]
    fn what_nobody_took_for_a_period_is_freed() {
        let mut spare = spare_with(8);
        spare.trim();
        assert_eq!(spare.count(), 8, "they came within this period");
        spare.trim();
        assert_eq!(spare.count(), 0);
    }

    #[test]
    fn what_was_in_use_at_once_is_kept() {
        let mut spare = spare_with(8);
        spare.trim();
        let used: Vec<_> = (0..3).map_while(|_| spare.take()).collect();
        used.into_iter().for_each(|block| spare.give_back(block));
        spare.trim();
        assert_eq!(spare.count(), 3);
    }
}
