//! Random numbers for naming runs and choosing moments. Not for secrets.

use std::hash::{BuildHasher, RandomState};

/// A number that no other run will have: the standard library seeds its hashers from the kernel.
pub fn number() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

/// Uniform in 0..1.
pub fn fraction() -> f64 {
    (number() >> 11) as f64 / (1u64 << 53) as f64
}
