//! Counts that one thread writes and others may read at any time: what metrics are made of.
//!
//! Invariants: each meter has one writer, the core it belongs to, so that adding is a plain load and store without a lock
//! prefix and no cache line ever moves between two cores that both write. Readers (the control thread, now and then) see
//! each number whole, but not all of them as of one moment.
//! A meter written by two threads loses counts and does nothing worse.
//! Not here: names and the text that is served (`admin`).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`. The writer's only.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// As of now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `change`, which may be negative. The writer's only.
    #[inline]
    pub fn add(&self, change: i64) {
        self.set(self.0.load(Ordering::Relaxed).wrapping_add(change));
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// As of now.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a histogram beside the one for everything larger. With bounds that double, 22 of them reach from 32 µs to 67 s,
/// from 4 KiB to 8 GiB, from 1 to two million: a factor of two apart is what one tells apart on a dashboard.
pub const BUCKETS: usize = 22;

/// How many values fell between bounds that double: the first bound is `1 << FIRST_BOUND_LOG2`.
#[derive(Debug, Default)]
pub struct Histogram<const FIRST_BOUND_LOG2: u32> {
    /// Not summed up: each value is in one of them.
    buckets: [Counter; BUCKETS],
    larger: Counter,
    sum: Counter,
}

/// Microseconds, the first bound being 32.
pub type Micros = Histogram<5>;

/// Bytes, the first bound being 4 KiB.
pub type Sizes = Histogram<12>;

/// Numbers of things, the first bound being one.
pub type Counts = Histogram<0>;

impl<const FIRST_BOUND_LOG2: u32> Histogram<FIRST_BOUND_LOG2> {
    /// Counts `value` in. The writer's only.
    #[inline]
    pub fn record(&self, value: u64) {
        // A value equal to a bound belongs below it, as Prometheus has it (`le`).
        let above = value.saturating_sub(1) >> FIRST_BOUND_LOG2;
        let bucket = (u64::BITS - above.leading_zeros()) as usize;
        self.buckets.get(bucket).unwrap_or(&self.larger).add(1);
        self.sum.add(value);
    }

    /// Each bound with the number of values up to it, smaller ones included.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut count = 0;
        self.buckets.iter().enumerate().map(move |(index, bucket)| {
            count += bucket.value();
            (1 << (FIRST_BOUND_LOG2 + index as u32), count)
        })
    }

    /// Of all values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::value).sum::<u64>() + self.larger.value()
    }

    /// Of all values.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum.value()
    }
}

impl Micros {
    /// Counts in the time since `began`.
    #[inline]
    pub fn record_since(&self, began: std::time::Instant) {
        self.record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gauges_fall_again() {
        let gauge = Gauge::default();
        gauge.add(3);
        gauge.add(-5);
        assert_eq!(gauge.value(), -2);
    }

    proptest! {
        #[test]
        fn a_histogram_counts_every_value_below_its_bound(values in prop::collection::vec(any::<u32>(), 0..50)) {
            let histogram = Micros::default();
            values.iter().for_each(|value| histogram.record(u64::from(*value)));
            for (bound, count) in histogram.cumulative() {
                let expected = values.iter().filter(|value| u64::from(**value) <= bound).count() as u64;
                prop_assert_eq!(count, expected, "up to {}", bound);
            }
            prop_assert_eq!(histogram.count(), values.len() as u64);
            prop_assert_eq!(histogram.sum(), values.iter().map(|value| u64::from(*value)).sum::<u64>());
        }
    }
}
