//! A session for fuzzers: feeds a protocol core with octets in any pieces, answers its questions, keeps what was said.
//!
//! The laws of `ringpost::proto` are looked at after every event: nothing is taken that was not offered, at most one thing
//! is waited for, and the pieces that the octets came in make no difference ([`same_in_pieces`]).

use ringpost::proto::{Actions, Event, Protocol, Receipt, ReceiptId};

/// A receipt out of thin air.
#[derive(Clone, Copy, Debug)]
pub struct FuzzReceipt;

impl Receipt for FuzzReceipt {
    fn id(&self) -> ReceiptId {
        ReceiptId { log: 1, sequence: 1 }
    }
}

/// What a session came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub wire: Vec<u8>,
    pub body: Vec<u8>,
    pub is_closed: bool,
}

/// Carries one session out. Synchronisation points find the peer waiting. Ends with the octets, or where TLS begins.
pub fn run<P: Protocol>(
    mut core: P,
    pieces: &[&[u8]],
    mut answer: impl FnMut(&mut P, P::Question) -> P::Answer,
) -> Said {
    let mut said = Said {
        wire: Vec::new(),
        body: Vec::new(),
        is_closed: false,
    };
    let mut out = Actions::default();
    core.handle(Event::Opened, &mut out);
    work_off(&mut core, &mut out, &mut said, &mut answer);
    let mut carry = Vec::new();
    for piece in pieces {
        carry.extend_from_slice(piece);
        while !said.is_closed {
            out.clear();
            let taken = core.handle(Event::Bytes(&carry), &mut out).0;
            assert!(taken <= carry.len());
            for range in &out.body {
                assert!(range.end <= taken, "body beyond what was taken");
                said.body.extend_from_slice(&carry[range.clone()]);
            }
            carry.drain(..taken);
            if !work_off(&mut core, &mut out, &mut said, &mut answer) && taken == 0 {
                break;
            }
        }
    }
    said
}

/// Carries out one set of actions after the other; whether there was anything to do.
fn work_off<P: Protocol>(
    core: &mut P,
    out: &mut Actions<P::Question>,
    said: &mut Said,
    answer: &mut impl FnMut(&mut P, P::Question) -> P::Answer,
) -> bool {
    let mut has_worked = false;
    loop {
        has_worked |= !out.wire.is_empty();
        said.wire.append(&mut out.wire);
        said.is_closed |= out.close;
        let question = out.question.take();
        let asked = [question.is_some(), out.synchronise, out.start_tls];
        assert!(
            asked.iter().filter(|asked| **asked).count() <= 1,
            "two things to wait for"
        );
        let event = match question {
            Some(question) => Event::Answer(answer(core, question)),
            None if out.synchronise => Event::Quiet,
            None if out.start_tls => {
                said.is_closed = true;
                return true;
            }
            None => return has_worked,
        };
        if said.is_closed {
            return true;
        }
        has_worked = true;
        out.clear();
        core.handle(event, out);
    }
}

/// A CR without LF or an LF without CR.
pub fn has_bare_line_end(octets: &[u8]) -> bool {
    let is_bare = |at: usize| match octets[at] {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => false,
    };
    (0..octets.len()).any(is_bare)
}

/// Runs a session with `octets` whole and again cut at multiples of `step`; both must come to the same.
pub fn same_in_pieces<P: Protocol>(
    new: impl Fn() -> P,
    octets: &[u8],
    step: u8,
    answer: impl Fn(&mut P, P::Question) -> P::Answer,
) {
    let [whole, cut] = both(new, octets, step, answer);
    assert_eq!(whole, cut);
}

/// The same for what is said, not for the octets of messages.
pub fn same_replies_in_pieces<P: Protocol>(
    new: impl Fn() -> P,
    octets: &[u8],
    step: u8,
    answer: impl Fn(&mut P, P::Question) -> P::Answer,
) {
    let [whole, cut] = both(new, octets, step, answer);
    assert_eq!(whole.is_closed, cut.is_closed);
}

fn both<P: Protocol>(
    new: impl Fn() -> P,
    octets: &[u8],
    step: u8,
    answer: impl Fn(&mut P, P::Question) -> P::Answer,
) -> [Said; 2] {
    let whole = run(new(), &[octets], &answer);
    let pieces: Vec<&[u8]> = octets.chunks(usize::from(step).max(1)).collect();
    let cut = run(new(), &pieces, &answer);
    assert_eq!(
        String::from_utf8_lossy(&whole.wire),
        String::from_utf8_lossy(&cut.wire)
    );
    [whole, cut]
}
