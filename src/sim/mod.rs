//! The seeded test world: a disk that fails, loses and tears the way real ones may, without threads or real time.
//!
//! Invariants: one `u64` seed decides everything; the same seed gives the same run.
//! Not here: what must survive (the tests of `store`).

pub mod disk;

pub use disk::{Fault, Lie, SimDisk};

/// A small generator of pseudo-random numbers (SplitMix64), so that seeds mean the same for ever.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Everything after follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end.max(1)
    }
}
