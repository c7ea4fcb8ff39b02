//! How fast lines, bodies and SMTP commands are read, each against an implementation that looks at one octet at a time
//! and, where it does the same job, against the published crate `smtp-proto`.
//!
//! Run: `cargo bench --bench parse`. The baselines are checked against the real thing before they are measured, so that a
//! fast answer is also the right one.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringpost::model::{AddrSpec, ReversePath};
use ringpost::proto::line::body::{DataDecoder, LineEndCheck};
use ringpost::proto::line::find_crlf;
use ringpost::proto::smtp::parameters::{self, MailParameters};
use ringpost::proto::smtp::{Command, Path};
use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

/// A mail of lines as they are typical: 76 octets (base64, or text that was wrapped).
fn mail(lines: usize, bytes: usize) -> Vec<u8> {
    let mut mail = b"From: a@y.test\r\nSubject: bench\r\n\r\n".to_vec();
    for number in 0..lines {
        let line: Vec<u8> = (0..bytes)
            .map(|at| b'a' + u8::try_from((at + number) % 26).expect("small"))
            .collect();
        mail.extend_from_slice(&line);
        mail.extend_from_slice(b"\r\n");
    }
    mail.extend_from_slice(b".\r\n");
    mail
}

mod naive {
    //! One octet at a time.

    use super::{AddrSpec, MailParameters, Range, ReversePath};
    use ringpost::model::BodyType;

    pub fn find_crlf(input: &[u8]) -> Option<usize> {
        (1..input.len())
            .find(|at| input[*at] == b'\n' && input[at - 1] == b'\r')
            .map(|at| at - 1)
    }

    /// Does what `DataDecoder` does: ranges of body, the end, bare CR and LF.
    pub fn decode(input: &[u8], mut body: impl FnMut(Range<usize>)) -> (usize, bool) {
        let (mut place, mut from, mut has_bare) = (0, 0, false);
        for (at, octet) in input.iter().enumerate() {
            place = match (place, octet) {
                (0, b'.') => {
                    body(from..at);
                    from = at + 1;
                    3
                }
                (2, b'\n') => 0,
                (4, b'\n') => return (at + 1, has_bare),
                (3, b'\r') => 4,
                (2 | 4, _) => {
                    has_bare = true;
                    1
                }
                (_, b'\r') => 2,
                (_, b'\n') => {
                    has_bare = true;
                    1
                }
                _ => 1,
            };
        }
        body(from..input.len());
        (input.len(), has_bare)
    }

    /// Reads `MAIL FROM:<path> parameters` by growing strings.
    pub fn parse_mail(line: &[u8]) -> Option<(ReversePath, MailParameters)> {
        let mut words: Vec<String> = vec![String::new()];
        let mut is_quoted = false;
        for octet in line {
            match octet {
                b' ' if !is_quoted => words.push(String::new()),
                _ => {
                    is_quoted ^= *octet == b'"';
                    words.last_mut()?.push(char::from(*octet));
                }
            }
        }
        let mut words = words.into_iter();
        if words.next()?.to_uppercase() != "MAIL" {
            return None;
        }
        let path = words.next()?;
        if !path.to_uppercase().starts_with("FROM:<") || !path.ends_with('>') {
            return None;
        }
        let path = ReversePath(Some(AddrSpec::parse(&path[6..path.len() - 1]).ok()?));
        let mut parameters = MailParameters::default();
        for word in words {
            match word.to_uppercase().split_once('=') {
                Some(("SIZE", size)) => parameters.size = size.parse().ok(),
                Some(("BODY", "8BITMIME")) => parameters.body = Some(BodyType::EightBitMime),
                _ => return None,
            }
        }
        Some((path, parameters))
    }
}

fn parse_mail(line: &[u8]) -> Option<(ReversePath, MailParameters)> {
    let Ok(Command::Mail(argument)) = Command::parse(line) else {
        return None;
    };
    let (path, rest) = Path::split(argument)?;
    let parameters = parameters::parse_mail(rest, false, false).ok()?;
    Some((path.reverse(parameters.is_utf8).ok()?, parameters))
}

fn borrow_mail(line: &[u8]) -> Option<(Path<'_>, MailParameters)> {
    let Ok(Command::Mail(argument)) = Command::parse(line) else {
        return None;
    };
    let (path, rest) = Path::split(argument)?;
    Some((path, parameters::parse_mail(rest, false, false).ok()?))
}

fn decode(mail: &[u8]) -> (usize, bool, usize) {
    let mut decoder = DataDecoder::new(u64::MAX);
    let mut body_bytes = 0;
    let progress = decoder.decode(mail, |range| {
        body_bytes += range.len();
        true
    });
    (progress.taken, decoder.faults().bare_line_end, body_bytes)
}

fn lines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("line_search");
    for bytes in [30, 80, 500, 2_000] {
        let mut line = vec![b'a'; bytes - 2];
        line.extend_from_slice(b"\r\n");
        assert_eq!(naive::find_crlf(&line), find_crlf(&line));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("ringpost", bytes), &line, |b, line| {
            b.iter(|| find_crlf(black_box(line)));
        });
        group.bench_with_input(BenchmarkId::new("byte_by_byte", bytes), &line, |b, line| {
            b.iter(|| naive::find_crlf(black_box(line)));
        });
    }
    group.finish();
}

fn end_of_data(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("end_of_data");
    for (name, mail) in [
        ("4k_lines_of_76", mail(50, 76)),
        ("64k_lines_of_76", mail(840, 76)),
        ("1m_lines_of_76", mail(13_440, 76)),
        ("1m_lines_of_998", mail(1_048, 998)),
    ] {
        let mut naive_body = 0;
        let (end, has_bare) = naive::decode(&mail, |range| naive_body += range.len());
        assert_eq!(decode(&mail), (end, has_bare, naive_body));
        group.throughput(Throughput::Bytes(mail.len() as u64));
        group.bench_with_input(BenchmarkId::new("ringpost", name), &mail, |b, mail| {
            b.iter(|| decode(black_box(mail)));
        });
        group.bench_with_input(BenchmarkId::new("byte_by_byte", name), &mail, |b, mail| {
            b.iter(|| {
                naive::decode(black_box(mail), |range| {
                    black_box(range);
                })
            });
        });
        // Copies the body and does not check line ends: more work in one way, less in another.
        group.bench_with_input(BenchmarkId::new("smtp_proto", name), &mail, |b, mail| {
            let mut copy = Vec::with_capacity(mail.len());
            b.iter(|| {
                copy.clear();
                let mut receiver = smtp_proto::request::receiver::DataReceiver::new();
                receiver.ingest(&mut black_box(mail).iter(), &mut copy)
            });
        });
        group.bench_with_input(BenchmarkId::new("chunk_check", name), &mail, |b, mail| {
            b.iter(|| {
                let mut check = LineEndCheck::default();
                check.scan(black_box(mail));
                check.finish()
            });
        });
    }
    group.finish();
}

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    let line = b"MAIL FROM:<john.doe@mail.example.org> SIZE=123456 BODY=8BITMIME\r\n";
    let content = &line[..line.len() - 2];
    assert_eq!(parse_mail(content), naive::parse_mail(content));
    assert!(parse_mail(content).is_some());
    assert!(smtp_proto::Request::parse(&mut line.iter()).is_ok());
    group.throughput(Throughput::Elements(1));
    group.bench_function("mail/ringpost", |b| b.iter(|| parse_mail(black_box(content))));
    // As far as smtp-proto goes: where the parts are, without a checked, lower-cased address of our own.
    group.bench_function("mail/ringpost_borrowed", |b| {
        b.iter(|| borrow_mail(black_box(content)).is_some())
    });
    group.bench_function("mail/byte_by_byte", |b| {
        b.iter(|| naive::parse_mail(black_box(content)))
    });
    group.bench_function("mail/smtp_proto", |b| {
        b.iter(|| smtp_proto::Request::parse(&mut black_box(line).iter()));
    });
    for (name, line) in [("rset", &b"RSET\r\n"[..]), ("ehlo", b"EHLO mail.example.org\r\n")] {
        let content = &line[..line.len() - 2];
        assert!(Command::parse(content).is_ok() && smtp_proto::Request::parse(&mut line.iter()).is_ok());
        group.bench_function(format!("{name}/ringpost"), |b| {
            b.iter(|| Command::parse(black_box(content)))
        });
        group.bench_function(format!("{name}/smtp_proto"), |b| {
            b.iter(|| smtp_proto::Request::parse(&mut black_box(line).iter()));
        });
    }
    group.finish();
}

/// Short runs: the differences measured here are factors, not percents.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50)
}

criterion_group! {
    name = benches;
    config = short();
    targets = lines, end_of_data, commands
}
criterion_main!(benches);
