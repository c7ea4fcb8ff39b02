//! Random numbers: for naming runs and choosing moments, and a sequence that follows from a seed. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A number that no other run will have: the standard library seeds its hashers from the kernel.
pub fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Uniform in 0..1.
pub fn fraction() -> f64 {
    (number() >> 11) as f64 / (1u64 << 53) as f64
}

/// A sequence of numbers that follows from its seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..end` (for an `end` far below 2^64).
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
