//! Prometheus' text format, version 0.0.4: families with help and type, samples with labels, histograms.
//!
//! Invariants: a family's samples stand together behind its head; names begin with `ringpost_` or `process_`.
//! Standards: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use crate::base::meter::Histogram;
use std::fmt::{Display, Write as _};

/// Labels of a sample. Values are our own words and numbers; they need no escapes.
pub type Labels<'a> = &'a [(&'a str, &'a dyn Display)];

/// A text that grows.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family of counters.
    pub fn counters(&mut self, name: &str, help: &str) {
        self.family(name, help, "counter");
    }

    /// Begins a family of gauges.
    pub fn gauges(&mut self, name: &str, help: &str) {
        self.family(name, help, "gauge");
    }

    /// Begins a family of histograms.
    pub fn histograms(&mut self, name: &str, help: &str) {
        self.family(name, help, "histogram");
    }

    fn family(&mut self, name: &str, help: &str, kind: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// One number of the family begun last.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        self.put(format_args!(" {value}\n"));
    }

    /// One histogram of the family begun last, its values multiplied by `unit` (1e-6 for microseconds, as times are given in
    /// seconds).
    pub fn histogram<const FIRST: u32>(
        &mut self,
        name: &str,
        labels: Labels<'_>,
        unit: f64,
        histogram: &Histogram<FIRST>,
    ) {
        // What is counted in meanwhile must not make the last bucket smaller than one before it.
        let mut largest = 0;
        for (bound, count) in histogram.cumulative() {
            largest = count;
            self.bucket(name, labels, &(bound as f64 * unit), count);
        }
        let count = histogram.count().max(largest);
        self.bucket(name, labels, &"+Inf", count);
        self.text.push_str(name);
        self.text.push_str("_sum");
        self.labels(labels, None);
        self.put(format_args!(" {}\n{name}_count", histogram.sum() as f64 * unit));
        self.labels(labels, None);
        self.put(format_args!(" {count}\n"));
    }

    fn bucket(&mut self, name: &str, labels: Labels<'_>, bound: &dyn Display, count: u64) {
        self.text.push_str(name);
        self.text.push_str("_bucket");
        self.labels(labels, Some(bound));
        self.put(format_args!(" {count}\n"));
    }

    fn labels(&mut self, labels: Labels<'_>, bound: Option<&dyn Display>) {
        let mut opener = '{';
        let bound = bound.map(|bound| ("le", bound));
        for (name, value) in labels.iter().copied().chain(bound) {
            self.text.push(opener);
            self.put(format_args!("{name}=\"{value}\""));
            opener = ',';
        }
        if opener == ',' {
            self.text.push('}');
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _ = self.text.write_fmt(text);
    }

    /// The whole.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::meter::Micros;

    #[test]
    fn the_format_is_prometheus() {
        let mut text = Exposition::default();
        text.counters("a_total", "How many.");
        text.sample("a_total", &[], 3);
        text.sample("a_total", &[("core", &1), ("service", &"smtp")], 4);
        let histogram = Micros::default();
        histogram.record(32);
        histogram.record(33);
        histogram.record(u64::from(u32::MAX));
        text.histograms("b_seconds", "How long.");
        text.histogram("b_seconds", &[("core", &0)], 1e-6, &histogram);
        let text = text.into_text();
        assert!(text.starts_with(
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\na_total{core=\"1\",service=\"smtp\"} 4\n"
        ));
        for line in [
            "b_seconds_bucket{core=\"0\",le=\"0.000032\"} 1",
            "b_seconds_bucket{core=\"0\",le=\"0.000064\"} 2",
            "b_seconds_bucket{core=\"0\",le=\"+Inf\"} 3",
            "b_seconds_count{core=\"0\"} 3",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} in {text}");
        }
    }
}
