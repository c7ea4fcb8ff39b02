//! Counts what is asked of the allocator. The SMTP core: nothing per command line, nothing per message with short
//! addresses. Whatever takes a message apart: in proportion to the message, however hostile it is.

#[path = "hostile/messages.rs"]
mod messages;

use ringpost::proto::message::{
    bodystructure, date, envelope, header, preview, references, search, structure, subject, trace,
};
use ringpost::proto::smtp::{Answer, Config, Question, Smtp};
use ringpost::proto::{Actions, Event, Protocol, Receipt, ReceiptId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static ALLOCATED_BYTES: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

/// The counters are gone while a thread ends: such allocations are nobody's here.
fn note(bytes: usize) {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
    let _ = ALLOCATED_BYTES.try_with(|sum| sum.set(sum.get() + bytes as u64));
}

// SAFETY: every call goes to the system allocator unchanged; the counter is a plain thread-local that allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct TestReceipt;

impl Receipt for TestReceipt {
    fn id(&self) -> ReceiptId {
        ReceiptId { log: 1, sequence: 2 }
    }
}

struct Session {
    core: Smtp<TestReceipt>,
    out: Actions<Question>,
    wire: Vec<u8>,
}

impl Session {
    fn new() -> Self {
        let mut session = Self {
            core: Smtp::new(Arc::new(Config::new("mx.test"))),
            out: Actions::default(),
            wire: Vec::with_capacity(1 << 20),
        };
        session.core.handle(Event::Opened, &mut session.out);
        session.work_off();
        session.feed(b"EHLO probe.test\r\n");
        session
    }

    /// Feeds octets until all are taken.
    fn feed(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() {
            let taken = self.core.handle(Event::Bytes(octets), &mut self.out).0;
            octets = &octets[taken..];
            self.work_off();
        }
    }

    fn work_off(&mut self) {
        loop {
            self.wire.extend_from_slice(&self.out.wire);
            let question = self.out.question.take();
            let synchronise = self.out.synchronise;
            self.out.clear();
            let event = match question {
                Some(Question::MayBegin { .. }) => Event::Answer(Answer::Begin(Ok(()))),
                Some(Question::MayReceive) => Event::Answer(Answer::Recipient(Ok(()))),
                Some(Question::Commit) => {
                    drop(self.core.take_envelope());
                    Event::Answer(Answer::Committed(Ok(TestReceipt)))
                }
                Some(Question::Authenticate) => unreachable!("nobody logs in"),
                None if synchronise => Event::Quiet,
                None => return,
            };
            self.core.handle(event, &mut self.out);
        }
    }

    /// Allocations while `octets` are worked off, after they were worked off once before.
    fn allocations(&mut self, octets: &[u8]) -> u64 {
        self.feed(octets);
        self.wire.clear();
        let before = ALLOCATIONS.get();
        self.feed(octets);
        ALLOCATIONS.get() - before
    }
}

#[test]
fn a_command_line_allocates_nothing() {
    let mut session = Session::new();
    for line in [
        "EHLO probe.test\r\n",
        "HELO probe.test\r\nEHLO probe.test\r\n",
        "NOOP\r\n",
        "RSET\r\n",
        "VRFY somebody\r\n",
        "HELP\r\n",
        "MAIL FROM:<john.doe@mail.example.org> SIZE=1000 BODY=8BITMIME\r\nRSET\r\n",
        "MAIL FROM:<>\r\nRCPT TO:<jane.doe@mail.example.org>\r\nRSET\r\n",
        "MAIL FROM:<\"john doe\"@mail.example.org>\r\nRSET\r\n",
        "RCPT TO:<x>\r\n",
        "XYZZY\r\n",
    ] {
        assert_eq!(session.allocations(line.as_bytes()), 0, "{line:?}");
    }
    let long = format!("NOOP {}\r\n", "a".repeat(5_000));
    assert_eq!(session.allocations(long.as_bytes()), 0, "a line too long");
    assert!(session.wire.ends_with(b"500 5.5.2 Line too long\r\n"));
}

#[test]
fn a_message_to_one_recipient_allocates_nothing_in_the_core() {
    let mut session = Session::new();
    let envelope = "MAIL FROM:<john.doe@mail.example.org>\r\nRCPT TO:<jane.doe@mail.example.org>\r\n";
    let body = format!(
        "Subject: x\r\n\r\n{}",
        "A line of text, not long.\r\n..dots\r\n".repeat(200)
    );
    let data = format!("{envelope}DATA\r\n{body}.\r\n");
    let chunks = format!("{envelope}BDAT {}\r\n{body}BDAT 0 LAST\r\n", body.len());
    for (name, message) in [("DATA", data), ("BDAT", chunks)] {
        let allocations = session.allocations(message.as_bytes());
        println!(
            "{name}: {allocations} allocations a message of {} octets",
            body.len()
        );
        assert_eq!(allocations, 0, "{name}");
        assert!(session.wire.ends_with(b"250 2.0.0 Ok: queued as 1.2\r\n"));
    }
}

/// Everything that delivery, FETCH, SORT, THREAD and SEARCH make of a message.
fn digest(message: &[u8]) {
    let parsed = structure::parse(message);
    let header = &message[..header::length(message)];
    let mut out = Vec::new();
    bodystructure::write(&parsed, message, true, &mut out);
    envelope::write(header, &mut out);
    let text = preview::of(&parsed, message);
    let _ = (
        subject::base_of(&text),
        references::links(header),
        date::sent_at(header),
        trace::hops(header),
    );
    let matcher = search::Matcher::new(None, b"nowhere").expect("UTF-8");
    let _ = search::text_contains(&parsed, message, &matcher);
}

fn allocated(message: &str) -> (u64, u64) {
    let before = (ALLOCATIONS.get(), ALLOCATED_BYTES.get());
    digest(message.as_bytes());
    (ALLOCATIONS.get() - before.0, ALLOCATED_BYTES.get() - before.1)
}

#[test]
fn a_hostile_message_four_times_as_long_costs_no_more_than_four_times_the_memory() {
    digest(b"Subject: what is made once for all\r\n\r\n");
    for hostile in messages::ALL {
        let (short, long) = ((hostile.make)(2_000), (hostile.make)(8_000));
        let growth = long.len() as f64 / short.len() as f64;
        let ((few, less), (many, more)) = (allocated(&short), allocated(&long));
        // Vectors that double may have doubled once more.
        let allowed = |small: u64| (small as f64 * growth * 2.0) as u64 + 1_000_000;
        assert!(
            many <= allowed(few),
            "{}: {few} allocations, then {many}",
            hostile.name
        );
        assert!(
            more <= allowed(less),
            "{}: {less} octets, then {more}",
            hostile.name
        );
        // Taken all together, not at once: a pass over the text for each of a few uses.
        assert!(
            more < 64 * long.len() as u64 + 1_000_000,
            "{}: {more} octets",
            hostile.name
        );
    }
}
