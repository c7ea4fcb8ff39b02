//! Reports as one HTML file that needs nothing else: a table and two plots each, drawn as SVG.
//!
//! Latency by percentile, both axes logarithmic (the right end is what the slowest wait for); work done over time, in quarters
//! of a second, so that a pause shows that an average hides.

use crate::stats::{Report, TIMELINE_STEP};
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 260.0;
/// Room for the axes' texts.
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 34.0;

/// The page.
pub fn page(reports: &[Report]) -> String {
    let mut out = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Load test</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;\
         color:#1d2330;background:#fff}table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}\
         td+td{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:auto}\
         svg text{font:11px system-ui,sans-serif;fill:#5b6472}.grid{stroke:#e3e6eb}.line{fill:none;stroke:#2456c5;stroke-width:2}\
         .bar{fill:#2456c5}</style><h1>Load test</h1>",
    );
    for report in reports {
        section(report, &mut out);
    }
    out.push_str("</html>\n");
    out
}

fn section(report: &Report, out: &mut String) {
    let parameters: Vec<String> = report
        .parameters
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    put(
        out,
        format_args!(
            "<h2>{}</h2><p>{}</p><table>",
            escaped(&report.workload),
            escaped(&parameters.join(", "))
        ),
    );
    let latency = &report.latency_us;
    let mut row = |name: &str, value: String| {
        put(
            out,
            format_args!("<tr><td>{name}</td><td>{}</td></tr>", escaped(&value)),
        );
    };
    row("rate", format!("{:.0} {}/s", report.per_second, report.unit));
    for (name, micros) in [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p99_9),
        ("longest", latency.max),
    ] {
        row(name, format!("{:.2} ms", micros as f64 / 1e3));
    }
    row("failed", report.failure_count.to_string());
    if let Some(server) = &report.server {
        row(
            "server's CPU for 1,000",
            format!("{:.1} ms", server.cpu_seconds_per_1000 * 1e3),
        );
        row("server's memory", format!("{} MiB", server.resident_kib / 1024));
        row(
            "written for each",
            format!("{:.0} bytes", server.written_bytes_per_unit),
        );
    }
    if let Some(store) = &report.store {
        row("syncs for 1,000", format!("{:.1}", store.syncs_per_1000));
        row("commits in a group", format!("{:.1}", store.commits_per_group));
    }
    out.push_str("</table>");
    latency_plot(report, out);
    timeline_plot(report, out);
}

fn latency_plot(report: &Report, out: &mut String) {
    out.push_str("<h3>Latency by percentile</h3>");
    let points = &report.percentiles;
    let largest = points
        .iter()
        .map(|(_, micros)| *micros)
        .max()
        .unwrap_or(1)
        .max(10);
    let smallest = points.iter().map(|(_, micros)| *micros).min().unwrap_or(1).max(1);
    let (low, high) = ((smallest as f64).log10().floor(), (largest as f64).log10().ceil());
    let y = |micros: f64| {
        let share = (micros.max(1.0).log10() - low) / (high - low).max(1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - 10.0)
    };
    // 90, 99, 99.9 … are as far apart as the nines are rare.
    let nines = |quantile: f64| -(1.0 - quantile.min(0.99999)).log10();
    let x = |quantile: f64| LEFT + nines(quantile) / 5.0 * (WIDTH - LEFT - 10.0);
    open_svg(out);
    for decade in low as i32..=high as i32 {
        let micros = 10f64.powi(decade);
        grid_line(out, y(micros), &time(micros));
    }
    for (quantile, name) in [
        (0.0, "0"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
    ] {
        put(
            out,
            format_args!(
                "<text x='{:.1}' y='{}' text-anchor='middle'>{name}</text>",
                x(quantile),
                HEIGHT - 12.0
            ),
        );
    }
    let path: Vec<String> = points
        .iter()
        .map(|(quantile, micros)| format!("{:.1},{:.1}", x(*quantile), y(*micros as f64)))
        .collect();
    put(
        out,
        format_args!("<polyline class='line' points='{}'/></svg>", path.join(" ")),
    );
}

fn timeline_plot(report: &Report, out: &mut String) {
    put(
        out,
        format_args!("<h3>{} a second, over time</h3>", escaped(report.unit)),
    );
    let step = TIMELINE_STEP.as_secs_f64();
    let rates: Vec<f64> = report.timeline.iter().map(|count| *count as f64 / step).collect();
    let top = nice(rates.iter().copied().fold(1.0, f64::max));
    open_svg(out);
    let y = |rate: f64| HEIGHT - BOTTOM - rate / top * (HEIGHT - BOTTOM - 10.0);
    for quarter in 0..=4 {
        let rate = top * f64::from(quarter) / 4.0;
        grid_line(out, y(rate), &format!("{rate:.0}"));
    }
    let width = (WIDTH - LEFT - 10.0) / rates.len().max(1) as f64;
    for (index, rate) in rates.iter().enumerate() {
        put(
            out,
            format_args!(
                "<rect class='bar' x='{:.1}' y='{:.1}' width='{:.1}' height='{:.1}'/>",
                LEFT + index as f64 * width,
                y(*rate),
                (width - 1.0).max(0.5),
                HEIGHT - BOTTOM - y(*rate)
            ),
        );
    }
    put(
        out,
        format_args!(
            "<text x='{LEFT}' y='{0}'>0 s</text><text x='{1}' y='{0}' text-anchor='end'>{2:.1} s</text></svg>",
            HEIGHT - 12.0,
            WIDTH - 10.0,
            rates.len() as f64 * step
        ),
    );
}

fn open_svg(out: &mut String) {
    put(
        out,
        format_args!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>"),
    );
}

fn grid_line(out: &mut String, y: f64, text: &str) {
    put(
        out,
        format_args!(
            "<line class='grid' x1='{LEFT}' x2='{WIDTH}' y1='{y:.1}' y2='{y:.1}'/><text x='{}' y='{:.1}' text-anchor='end'>{text}</text>",
            LEFT - 6.0,
            y + 4.0
        ),
    );
}

/// The next round number.
fn nice(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 4.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * decade)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn time(micros: f64) -> String {
    match micros {
        m if m < 1e3 => format!("{m:.0} µs"),
        m if m < 1e6 => format!("{:.0} ms", m / 1e3),
        m => format!("{:.0} s", m / 1e6),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_numbers_are_just_above() {
        assert_eq!(nice(1.0), 1.0);
        assert_eq!(nice(1_201.0), 2_000.0);
        assert_eq!(nice(99_000.0), 100_000.0);
    }

    #[test]
    fn markup_in_parameters_stays_text() {
        assert_eq!(escaped("<b>&"), "&lt;b&gt;&amp;");
    }
}
