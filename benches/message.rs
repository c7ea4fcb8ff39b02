//! What digesting a message costs, for honest mail and for what attackers send.
//!
//! Run: `cargo bench --bench message`. The limit to watch is 100 ms for BODYSTRUCTURE and ENVELOPE of any message
//! (a core does nothing else meanwhile); honest mail takes microseconds. On 2 shared cores the honest message took
//! 14 µs for BODYSTRUCTURE, 2 µs for ENVELOPE and 24 µs for a search; the slowest hostile BODYSTRUCTURE is 50 MB of
//! dashes, 34 ms, which is one pass over it.
//! Before that a table tells how much longer the hostile messages of the tests take when they become four times as long:
//! about 4 is linear, 16 would be quadratic. `cargo bench --bench message -- growth` makes the table only.

#[path = "../tests/hostile/messages.rs"]
mod hostile;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringpost::proto::message::search::{Matcher, text_contains};
use ringpost::proto::message::{
    bodystructure, date, envelope, header, preview, references, structure, subject, trace,
};
use std::hint::black_box;
use std::time::{Duration, Instant};

fn honest() -> String {
    let head = "From: Ann <ann@a.test>\r\nTo: Bob <bob@b.test>, c@c.test\r\nSubject: Minutes\r\n\
        Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nMessage-ID: <1@a.test>\r\nMIME-Version: 1.0\r\n\
        Received: from x.test\r\nReceived: from y.test\r\nContent-Type: multipart/mixed; boundary=\"=_m\"\r\n\r\n";
    let text = "A line of text as people write it, seventy-odd characters or so long.\r\n".repeat(60);
    let data = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n".repeat(600);
    format!(
        "{head}--=_m\r\nContent-Type: multipart/alternative; boundary=\"=_a\"\r\n\r\n\
         --=_a\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n\
         --=_a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{text}\r\n--=_a--\r\n\
         --=_m\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{data}\r\n--=_m--\r\n"
    )
}

fn nested_multiparts(levels: usize) -> String {
    let level = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    (0..levels).map(level).collect()
}

/// Name and message, each some way to make a careless reader slow.
fn messages() -> Vec<(&'static str, String)> {
    let mixed = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let digest = "Content-Type: multipart/digest; boundary=a\r\n\r\n";
    let parameters: String = (0..100_000).map(|n| format!("; p*{n}*=x")).collect();
    let mut deep_delimiters: String = (0..100)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n:03}\r\n\r\n--b{n:03}\r\n"))
        .collect();
    deep_delimiters.push_str("\r\n");
    deep_delimiters.push_str(&"--b999\n".repeat(3_000_000));
    vec![
        ("honest 56 KB", honest()),
        ("multipart nested 20,000", nested_multiparts(20_000)),
        (
            "message/rfc822 nested 5,000",
            "Content-Type: message/rfc822\r\n\r\n".repeat(5_000),
        ),
        (
            "1,000,000 parts",
            format!("{mixed}{}", "--a\r\n\r\nx\r\n".repeat(1_000_000)),
        ),
        (
            "100,000 digest messages",
            format!("{digest}{}", "--a\r\n\r\nTo: a@b\r\n\r\n".repeat(100_000)),
        ),
        (
            "100,000 To fields",
            format!("{}\r\n", "To: a@b.test\r\n".repeat(100_000)),
        ),
        (
            "1 MB subject",
            format!("Subject: {}\r\n\r\n", "a".repeat(1_000_000)),
        ),
        (
            "1 MB of addresses in one field",
            format!("To: {}\r\n\r\n", "a@b,".repeat(250_000)),
        ),
        (
            "1 MB of open comments",
            format!(
                "To: {}\r\nContent-Type: {}\r\n\r\n",
                "(".repeat(500_000),
                "(".repeat(500_000)
            ),
        ),
        (
            "1 MB of half encoded-words",
            format!("Subject: {}\r\n\r\n", "=?a?q?".repeat(170_000)),
        ),
        (
            "100,000 parameters",
            format!("Content-Type: multipart/mixed{parameters}\r\n\r\n"),
        ),
        ("21 MB of near delimiters, 100 deep", deep_delimiters),
        (
            "50 MB of empty lines",
            format!("{mixed}{}", "\n".repeat(50_000_000)),
        ),
        ("50 MB of dashes", format!("{mixed}{}", "\n-".repeat(25_000_000))),
    ]
}

fn digests(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    let matcher = Matcher::new(None, b"nowhere").expect("UTF-8");
    for (name, message) in messages() {
        let message = message.as_bytes();
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_with_input(BenchmarkId::new("bodystructure", name), message, |b, message| {
            b.iter(|| {
                let mut out = Vec::new();
                bodystructure::write(&structure::parse(message), message, true, &mut out);
                black_box(out)
            });
        });
        group.bench_with_input(BenchmarkId::new("envelope", name), message, |b, message| {
            b.iter(|| {
                let mut out = Vec::new();
                envelope::write(message, &mut out);
                black_box(out)
            });
        });
        group.bench_with_input(BenchmarkId::new("hops", name), message, |b, message| {
            b.iter(|| black_box(trace::hops(message)));
        });
        group.bench_with_input(BenchmarkId::new("search", name), message, |b, message| {
            let structure = structure::parse(message);
            b.iter(|| black_box(text_contains(&structure, message, &matcher)));
        });
    }
    group.finish();
}

/// Everything that delivery, FETCH, SORT, THREAD and SEARCH make of a message.
fn digest(message: &[u8], matcher: &Matcher) {
    let parsed = structure::parse(message);
    let header = &message[..header::length(message)];
    let mut out = Vec::new();
    bodystructure::write(&parsed, message, true, &mut out);
    envelope::write(header, &mut out);
    let text = preview::of(&parsed, message);
    black_box((
        subject::base_of(&text),
        references::links(header),
        date::sent_at(header),
        trace::hops(header),
    ));
    black_box((text_contains(&parsed, message, matcher), out));
}

/// The fastest of several turns, in microseconds: what disturbs only ever adds.
fn fastest(message: &[u8], matcher: &Matcher) -> f64 {
    let turn = || {
        let began = Instant::now();
        digest(message, matcher);
        began.elapsed()
    };
    let fastest = (0..7).map(|_| turn()).min().unwrap_or_default();
    fastest.as_secs_f64() * 1e6
}

fn growth(_: &mut Criterion) {
    let matcher = Matcher::new(None, b"nowhere").expect("UTF-8");
    println!(
        "{:45} {:>9} {:>10} {:>12} {:>6}",
        "hostile", "octets", "µs", "µs for ×4", "grown"
    );
    for hostile in hostile::ALL {
        let (short, long) = ((hostile.make)(20_000), (hostile.make)(80_000));
        let (before, after) = (
            fastest(short.as_bytes(), &matcher),
            fastest(long.as_bytes(), &matcher),
        );
        // Numbers in the text make some a little more than four times as long.
        let longer = long.len() as f64 / short.len() as f64;
        println!(
            "{:45} {:9} {before:10.0} {after:12.0} {:6.1}",
            hostile.name,
            short.len(),
            after / before * 4.0 / longer
        );
    }
}

criterion_group!(benches, growth, digests);
criterion_main!(benches);
