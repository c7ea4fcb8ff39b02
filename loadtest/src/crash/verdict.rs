//! What came of accidents, and how much a clean run shows.

use crate::oracle::Oracle;
use std::time::Duration;

/// What came of one kind of accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Clean,
    Faulty,
    /// The machine cannot do it.
    Skipped,
}

/// One kind of accident's result.
pub struct Verdict {
    pub outcome: Outcome,
    pub summary: String,
}

pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What a clean run shows, and how far: zero losses in N bound the loss at 3/N (the rule of three).
pub fn nothing_lost(oracle: &Oracle, accidents: u64, what: &str) -> String {
    format!(
        "{} messages and {} changes acknowledged, 0 lost (95 % confidence: under {:.4} lossy {what} each)",
        oracle.acknowledged(),
        oracle.changes(),
        3.0 / accidents.max(1) as f64
    )
}
