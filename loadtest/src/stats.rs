//! What a run measured: a histogram of latencies, failures by stage and code, and the one table every workload prints.
//!
//! Invariants: only what ends between the warm-up's end and the run's end is counted, in the histogram and the rate
//! alike, so both are of the same work. Latencies are in microseconds, kept to three digits.

use crate::process::Usage;
use crate::scrape::Store;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest latency told apart: ten minutes. Longer ones count as this.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Work done is counted in steps of this, for the plot over time.
pub const TIMELINE_STEP: Duration = Duration::from_millis(250);

/// The time in which work counts.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub from: Instant,
    pub to: Instant,
}

/// One thread's measurements.
pub struct Recorder {
    window: Window,
    latencies: Histogram<u64>,
    failures: BTreeMap<String, u64>,
    /// Units done in each [`TIMELINE_STEP`] of the window.
    timeline: Vec<u64>,
    /// Everything done so far, counted or not; read by the progress line.
    progress: Arc<AtomicU64>,
}

impl Recorder {
    pub fn new(window: Window, progress: Arc<AtomicU64>) -> Recorder {
        Recorder {
            window,
            latencies: empty_histogram(),
            failures: BTreeMap::new(),
            timeline: Vec::new(),
            progress,
        }
    }

    /// One unit of work is done, `now`, that began or should have begun at `since`.
    pub fn done(&mut self, since: Instant, now: Instant) {
        self.progress.fetch_add(1, Ordering::Relaxed);
        if now >= self.window.from && now < self.window.to {
            let microseconds = now.saturating_duration_since(since).as_micros() as u64;
            self.latencies.saturating_record(microseconds.max(1));
            let since_start = now.saturating_duration_since(self.window.from);
            let step = (since_start.as_micros() / TIMELINE_STEP.as_micros()) as usize;
            if self.timeline.len() <= step {
                self.timeline.resize(step + 1, 0);
            }
            self.timeline[step] += 1;
        }
    }

    /// One unit of work failed. Failures count from the first moment: a warm-up that is refused must show.
    pub fn failed(&mut self, stage: &str, code: &str) {
        *self.failures.entry(format!("{stage}: {code}")).or_default() += 1;
    }

    pub fn merge(&mut self, other: Recorder) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.latencies.add(other.latencies);
        if self.timeline.len() < other.timeline.len() {
            self.timeline.resize(other.timeline.len(), 0);
        }
        for (total, count) in self.timeline.iter_mut().zip(other.timeline) {
            *total += count;
        }
        for (key, count) in other.failures {
            *self.failures.entry(key).or_default() += count;
        }
    }
}

fn empty_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_US_MAX, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants: {error}"),
    }
}

/// The outcome of a run, as printed and as JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    pub workload: String,
    pub unit: &'static str,
    pub parameters: BTreeMap<&'static str, String>,
    pub seconds: f64,
    pub count: u64,
    /// Units done from the first moment on, outside of the window too.
    pub done: u64,
    pub per_second: f64,
    pub latency_us: Latency,
    pub failures: BTreeMap<String, u64>,
    pub failure_count: u64,
    pub generator_cpu_us_per_unit: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreFigures>,
    /// Share of the work, and the latency in microseconds that it did not exceed.
    pub percentiles: Vec<(f64, u64)>,
    /// Units in each quarter of a second.
    pub timeline: Vec<u64>,
}

/// What the server's metrics say of its store meanwhile.
#[derive(Debug, Serialize)]
pub struct StoreFigures {
    pub syncs_per_1000: f64,
    pub commits_per_group: f64,
    pub log_bytes_per_unit: f64,
}

#[derive(Debug, Default, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
    pub max: u64,
}

/// What the server's processes used meanwhile.
#[derive(Debug, Serialize)]
pub struct ServerFigures {
    pub cpu_seconds_per_1000: f64,
    pub cpu_seconds: f64,
    pub resident_kib: u64,
    pub written_bytes: u64,
    pub written_bytes_per_unit: f64,
}

/// Process figures at the two ends of the window.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    pub own: (f64, f64),
    pub server: Option<(Usage, Usage)>,
    pub store: Option<(Store, Store)>,
}

impl Report {
    pub fn new(
        workload: &str,
        unit: &'static str,
        parameters: BTreeMap<&'static str, String>,
        recorder: &Recorder,
        seconds: f64,
        ends: &Ends,
    ) -> Report {
        let histogram = &recorder.latencies;
        let count = histogram.len();
        let per_unit = |total: f64| if count == 0 { 0.0 } else { total / count as f64 };
        Report {
            workload: workload.to_owned(),
            unit,
            parameters,
            seconds,
            count,
            done: recorder.progress.load(Ordering::Relaxed),
            per_second: count as f64 / seconds,
            latency_us: Latency {
                p50: histogram.value_at_quantile(0.5),
                p90: histogram.value_at_quantile(0.9),
                p99: histogram.value_at_quantile(0.99),
                p99_9: histogram.value_at_quantile(0.999),
                max: histogram.max(),
            },
            failure_count: recorder.failures.values().sum(),
            failures: recorder.failures.clone(),
            store: ends.store.map(|(before, after)| StoreFigures {
                syncs_per_1000: per_unit(after.syncs - before.syncs) * 1000.0,
                commits_per_group: (after.commits - before.commits) / (after.groups - before.groups).max(1.0),
                log_bytes_per_unit: per_unit(after.written_bytes - before.written_bytes),
            }),
            percentiles: percentiles(histogram),
            timeline: recorder.timeline.clone(),
            generator_cpu_us_per_unit: per_unit((ends.own.1 - ends.own.0) * 1e6),
            server: ends.server.as_ref().map(|(before, after)| {
                let cpu_seconds = after.cpu_seconds - before.cpu_seconds;
                let written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
                ServerFigures {
                    cpu_seconds_per_1000: per_unit(cpu_seconds) * 1000.0,
                    cpu_seconds,
                    resident_kib: after.resident_kib,
                    written_bytes,
                    written_bytes_per_unit: per_unit(written_bytes as f64),
                }
            }),
        }
    }

    /// Prints the table.
    pub fn print(&self) {
        let parameters: Vec<String> = self
            .parameters
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        println!("{} {}", self.workload, parameters.join(" "));
        println!(
            "  rate         {:.0} {}/s ({} in {:.1} s)",
            self.per_second, self.unit, self.count, self.seconds
        );
        let l = &self.latency_us;
        println!(
            "  latency      p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            time(l.p50),
            time(l.p90),
            time(l.p99),
            time(l.p99_9),
            time(l.max)
        );
        if let Some(server) = &self.server {
            println!(
                "  server       {:.4} CPU s per 1,000 {}, {} MiB resident, {:.0} bytes written each",
                server.cpu_seconds_per_1000,
                self.unit,
                server.resident_kib / 1024,
                server.written_bytes_per_unit
            );
        }
        if let Some(store) = &self.store {
            println!(
                "  store        {:.1} syncs per 1,000 {}, {:.1} commits in a group, {:.0} bytes of log each",
                store.syncs_per_1000, self.unit, store.commits_per_group, store.log_bytes_per_unit
            );
        }
        println!("  generator    {:.1} µs CPU each", self.generator_cpu_us_per_unit);
        for (what, count) in &self.failures {
            println!("  failed       {count} × {what}");
        }
    }
}

/// The latency curve, closer the rarer: each nine in twenty steps.
fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    (0..=100)
        .map(|step| 1.0 - 10f64.powf(-f64::from(step) / 20.0))
        .map(|quantile| (quantile, histogram.value_at_quantile(quantile)))
        .collect()
}

fn time(microseconds: u64) -> String {
    let duration = Duration::from_micros(microseconds);
    match microseconds {
        0..1_000 => format!("{microseconds} µs"),
        1_000..1_000_000 => format!("{:.2} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", duration.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_that_ends_inside_the_window_counts() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let window = Window {
            from: start + second,
            to: start + 3 * second,
        };
        let mut recorder = Recorder::new(window, Arc::default());
        recorder.done(start, start + second / 2);
        recorder.done(start, start + 2 * second);
        recorder.done(start, start + 3 * second);
        assert_eq!(recorder.latencies.len(), 1);
        assert_eq!(recorder.progress.load(Ordering::Relaxed), 3);
    }
}
