//! IMAP commands into values, beside the crate `imap-codec`; and the core over a pipelined stream.
//!
//! Run: `cargo bench --bench imap_parse`. Both parsers build owned values from one complete command.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use ringpost::model::{Uid, UidValidity};
use ringpost::proto::imap::{
    Answer, Appended, Channel, Completion, Config, Imap, Question, Transition, parse, types::CommandBody,
};
use ringpost::proto::{Actions, Event, Protocol, Receipt, ReceiptId};
use std::hint::black_box;
use std::sync::Arc;

const COMMANDS: [(&str, &str); 8] = [
    ("noop", "a1 NOOP\r\n"),
    ("login", "a1 LOGIN alice@example.org \"correct horse\"\r\n"),
    ("select", "a1 SELECT \"Entw&APw-rfe\"\r\n"),
    ("fetch_flags", "a1 UID FETCH 1:* (FLAGS)\r\n"),
    (
        "fetch_headers",
        "a1 UID FETCH 1:500 (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Cc Bcc Subject Date \
         Message-ID Priority X-Priority References Newsgroups In-Reply-To Content-Type Reply-To)])\r\n",
    ),
    (
        "store",
        "a1 UID STORE 17,19:23,44 +FLAGS.SILENT (\\Seen $Forwarded)\r\n",
    ),
    (
        "search",
        "a1 UID SEARCH UNDELETED SINCE 1-Feb-1994 OR FROM \"smith\" NOT SUBJECT \"hello world\"\r\n",
    ),
    ("list", "a1 LIST \"\" \"*\"\r\n"),
];

fn parsing(c: &mut Criterion) {
    for (name, command) in COMMANDS {
        let mut group = c.benchmark_group(format!("imap_parse/{name}"));
        group.throughput(Throughput::Bytes(command.len() as u64));
        let text = command.strip_suffix("\r\n").expect("a whole command").as_bytes();
        group.bench_function("ringpost", |b| {
            b.iter(|| parse::command(black_box(text)).expect("valid"))
        });
        let codec = CommandCodec::default();
        let wire = command.as_bytes();
        group.bench_function("imap-codec", |b| {
            b.iter(|| codec.decode_static(black_box(wire)).expect("valid"));
        });
        group.finish();
    }
    let mut set = "a1 UID FETCH 1".to_owned();
    (0..2_000).for_each(|n| set.push_str(&format!(",{}", 3 + 2 * n)));
    set.push_str(" FLAGS\r\n");
    let mut group = c.benchmark_group("imap_parse/set_of_2001");
    group.throughput(Throughput::Bytes(set.len() as u64));
    let text = &set.as_bytes()[..set.len() - 2];
    group.bench_function("ringpost", |b| {
        b.iter(|| parse::command(black_box(text)).expect("valid"))
    });
    let codec = CommandCodec::default();
    group.bench_function("imap-codec", |b| {
        b.iter(|| codec.decode_static(black_box(set.as_bytes())).expect("valid"));
    });
    group.finish();
}

struct Proof;

impl Receipt for Proof {
    fn id(&self) -> ReceiptId {
        ReceiptId { log: 0, sequence: 1 }
    }
}

/// Every question is answered at once, so that what is measured is the core.
fn answer(question: Question) -> Answer<Proof> {
    match question {
        Question::Authenticate { .. } => Answer::Authenticated,
        Question::Command(command) => {
            let is_select = matches!(command.body, CommandBody::Select { .. });
            let transition = if is_select {
                Transition::Selected
            } else {
                Transition::Stay
            };
            Answer::Done(Completion::ok("done").with_transition(transition))
        }
        Question::Idle => Answer::Idling,
        Question::IdleDone => Answer::Done(Completion::ok("done")),
        Question::AppendBegin(_) | Question::AppendNext(_) | Question::AppendPart { .. } => {
            Answer::AppendReady
        }
        Question::AppendCommit => Answer::Appended(Appended {
            were_told: false,
            highest_mod_seq: None,
            receipt: Proof,
            uid_validity: UidValidity(1),
            uids: vec![Uid::FIRST],
        }),
        Question::AppendAbandon => Answer::AppendDropped,
    }
}

fn feed(imap: &mut Imap<Proof>, out: &mut Actions<Question>, mut input: &[u8]) -> usize {
    let mut body = 0;
    while !input.is_empty() {
        let taken = imap.handle(Event::Bytes(input), out).0;
        input = &input[taken..];
        while let Some(question) = out.question.take() {
            body += out.body.iter().map(ExactSizeIterator::len).sum::<usize>();
            out.clear();
            let _ = imap.handle(Event::Answer(answer(question)), out);
        }
        body += out.body.iter().map(ExactSizeIterator::len).sum::<usize>();
        out.clear();
    }
    body
}

fn selected() -> (Imap<Proof>, Actions<Question>) {
    let channel = Channel {
        is_tls: true,
        is_plaintext_login_allowed: false,
    };
    let mut imap = Imap::new(Arc::new(Config::default()), channel);
    let mut out = Actions::default();
    let _ = imap.handle(Event::Opened, &mut out);
    let _ = imap.handle(Event::Quiet, &mut out);
    feed(&mut imap, &mut out, b"a LOGIN a b\r\nb SELECT INBOX\r\n");
    (imap, out)
}

fn framing(c: &mut Criterion) {
    let mut stream = Vec::new();
    for n in 0..1_000 {
        stream.extend_from_slice(format!("t{n} UID FETCH {}:{} (FLAGS)\r\n", n + 1, n + 10).as_bytes());
    }
    let mut group = c.benchmark_group("imap_core/pipelined_1000_fetches");
    group.throughput(Throughput::Elements(1_000));
    for (name, slice_bytes) in [("slices_of_16384", 16_384), ("slices_of_100", 100)] {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                selected,
                |(imap, out)| {
                    stream
                        .chunks(slice_bytes)
                        .map(|slice| feed(imap, out, slice))
                        .sum::<usize>()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();

    let message = vec![b'x'; 1024 * 1024];
    let mut stream = format!("a APPEND INBOX {{{}+}}\r\n", message.len()).into_bytes();
    stream.extend_from_slice(&message);
    stream.extend_from_slice(b"\r\n");
    let mut group = c.benchmark_group("imap_core/append_1_mib");
    group.throughput(Throughput::Bytes(stream.len() as u64));
    group.bench_function("slices_of_16384", |b| {
        b.iter_batched_ref(
            selected,
            |(imap, out)| {
                stream
                    .chunks(16_384)
                    .map(|slice| feed(imap, out, slice))
                    .sum::<usize>()
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parsing, framing);
criterion_main!(benches);
