//! Protocol cores: state machines without I/O, clock, randomness or logging.
//!
//! Every server protocol is one type with one door, [`Protocol::handle`]: an [`Event`] goes in, [`Actions`] come out.
//! What the protocol cannot know (is this forward-path acceptable? are these credentials right? is this message safe?)
//! it *asks*; the session fetches the answer and comes back with it. Tests answer from a table.
//!
//! Laws, each a property test of every protocol:
//! 1. any split of the same bytes gives the same actions, except at synchronisation points, where whether more bytes
//!    were already there is itself an event ([`Event::Early`] or [`Event::Quiet`]);
//! 2. memory held never exceeds the sum of the named limits;
//! 3. no input panics;
//! 4. encode after decode is the identity on values;
//! 5. plaintext behind STARTTLS is never acted on;
//! 6. only CRLF ends a line, and only CRLF.CRLF ends DATA;
//! 7. replies come in the order of the commands under pipelining.
//!
//! Not here: sockets and deadlines (`session`), TLS (`tls`), what a command does to the store (`mailbox`, `delivery`).

pub mod imap;
pub mod line;
pub mod message;
pub mod pop3;
pub mod proxy;
pub mod sasl;
mod session;
pub mod smtp;
#[cfg(test)]
mod testing;

use smallvec::SmallVec;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What happened to a session. `A` is the protocol's type of answers.
#[derive(Debug)]
pub enum Event<'a, A> {
    /// The connection is open and the greeting is due. Comes once, first.
    Opened,
    /// Input. The core consumes a prefix and says how long it was; the rest is offered again, with more behind it.
    Bytes(&'a [u8]),
    /// At a synchronisation point: the peer had already sent more.
    Early,
    /// At a synchronisation point: the peer is waiting, as it should.
    Quiet,
    /// The answer to the one open question.
    Answer(A),
    /// The TLS handshake asked for by [`Actions::start_tls`] has succeeded.
    TlsReady,
    /// The deadline of [`Actions::deadline`] has passed.
    Deadline,
    /// The server is shutting down: finish or say goodbye.
    Shutdown,
    /// Whoever has logged in may not use the service any more: say so and close. What was begun is finished before.
    Revoked,
    /// The peer sent its end of stream.
    PeerClosed,
}

/// How many bytes of an [`Event::Bytes`] were taken; 0 for every other event.
///
/// Taking fewer than offered means: not before the open question is answered, the synchronisation point is settled,
/// TLS is up, what stands in `wire` and `body` is worked off, or (when 0 were taken and the actions are empty) more
/// bytes are there. The last case is bounded by the protocol's line limit. So a session carries out the actions and
/// offers the rest again as long as something was taken or done, and reads from the peer only when nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumed(pub usize);

/// Which limit on time runs now. The session owns the clock; the values are named beside each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// The peer has this long for its next command or line, in seconds.
    Seconds(u32),
    /// Progress under a minimum rate: the running deadline moves on by what the octets just received have earned, but
    /// never beyond `seconds_max` from now, so that a fast beginning does not pay for an endless rest.
    Earned {
        /// Octets just received, at the minimum rate.
        milliseconds: u64,
        /// Longest pause that earned time pays for.
        seconds_max: u32,
    },
}

impl Deadline {
    /// Adds what `octets` earn at `bytes_per_second` to what is due already in the same actions.
    pub fn earn(due: &mut Option<Self>, octets: usize, bytes_per_second: u64, seconds_max: u32) {
        let earned = (octets as u64).saturating_mul(1_000) / bytes_per_second.max(1);
        let before = match due {
            // A deadline set in the same actions begins now, and what came with its cause earned nothing of it.
            Some(Self::Seconds(_)) => return,
            Some(Self::Earned { milliseconds, .. }) => *milliseconds,
            None => 0,
        };
        *due = Some(Self::Earned {
            milliseconds: before.saturating_add(earned),
            seconds_max,
        });
    }

    /// The moment meant, when `running` is the deadline so far and `now` is now. `None`: none is running, and progress
    /// sets none.
    #[must_use]
    pub fn moment(self, running: Option<Instant>, now: Instant) -> Option<Instant> {
        match self {
            Self::Seconds(seconds) => Some(now + Duration::from_secs(seconds.into())),
            Self::Earned {
                milliseconds,
                seconds_max,
            } => {
                let latest = now + Duration::from_secs(seconds_max.into());
                let earned = running?.checked_add(Duration::from_millis(milliseconds));
                Some(earned.unwrap_or(latest).min(latest))
            }
        }
    }
}

/// What the session is to do, in this order: take the body bytes, send the wire bytes, then the rest.
#[derive(Debug)]
pub struct Actions<Q> {
    /// Octets to send to the peer. The session clears it after sending and gives the same buffer again.
    pub wire: Vec<u8>,
    /// Ranges of the slice just offered that belong to the message body, in order; dot-stuffing is already undone
    /// by leaving the dots out.
    pub body: SmallVec<[Range<usize>; 8]>,
    /// The one open question. While it is open the core takes no bytes.
    pub question: Option<Q>,
    /// A synchronisation point was reached: answer with [`Event::Early`] or [`Event::Quiet`] before anything else.
    pub synchronise: bool,
    /// Start the TLS handshake once `wire` is sent. The core takes no bytes before [`Event::TlsReady`].
    pub start_tls: bool,
    /// Replaces the running deadline.
    pub deadline: Option<Deadline>,
    /// Close once `wire` is sent.
    pub close: bool,
}

impl<Q> Default for Actions<Q> {
    fn default() -> Self {
        Self {
            wire: Vec::new(),
            body: SmallVec::new(),
            question: None,
            synchronise: false,
            start_tls: false,
            deadline: None,
            close: false,
        }
    }
}

impl<Q> Actions<Q> {
    /// True when something must be done before a core takes more input. `wire_bytes_max`: what it lets wait to be sent.
    fn pauses_input(&self, wire_bytes_max: usize) -> bool {
        self.question.is_some()
            || self.synchronise
            || self.start_tls
            || self.close
            || self.wire.len() > wire_bytes_max
    }

    /// Empties everything but keeps the memory of `wire` and `body`.
    pub fn clear(&mut self) {
        self.wire.clear();
        self.body.clear();
        self.question = None;
        self.synchronise = false;
        self.start_tls = false;
        self.deadline = None;
        self.close = false;
    }
}

/// A server's side of one session.
pub trait Protocol {
    /// What it may ask.
    type Question;
    /// What it may be told.
    type Answer;

    /// Says what the TLS channel is called and whether the peer showed a certificate that is trusted: for SASL, before the
    /// event that says that TLS is ready. Protocols without SASL need not know.
    fn name_channel(&mut self, bindings: sasl::Bindings, has_certificate: bool) {
        let _ = (bindings, has_certificate);
    }

    /// Takes one event and appends what is to be done to `out`. Never panics on input.
    fn handle(&mut self, event: Event<'_, Self::Answer>, out: &mut Actions<Self::Question>) -> Consumed;
}

/// Proof that a change is durable. Success replies that promise something are built from one; the store's
/// `CommitReceipt` is the only implementation outside tests.
pub trait Receipt {
    /// A short name of the commit for the reply and the log, such as a queue id.
    fn id(&self) -> ReceiptId;
}

/// Log, sequence: unique for the life of a store. Shown as hexadecimal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptId {
    /// Which log the commit lies in.
    pub log: u16,
    /// Which commit of the store it is.
    pub sequence: u64,
}

impl std::fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:X}.{:X}", self.log, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A peer that begins with `seconds` and then sends `octets` every `pause_ms`; after how long it is cut off, if it is
    /// within an hour.
    fn cut_off_after(octets: usize, pause_ms: u64) -> Option<u64> {
        let began = Instant::now();
        let mut deadline = Deadline::Seconds(60).moment(None, began);
        for step in 1..=3_600_000 / pause_ms {
            let now = began + Duration::from_millis(step * pause_ms);
            if deadline.is_some_and(|at| now >= at) {
                return Some((now - began).as_secs());
            }
            let mut due = None;
            Deadline::earn(&mut due, octets, 100, 180);
            deadline = due.and_then(|due| due.moment(deadline, now));
        }
        None
    }

    #[test]
    fn the_minimum_rate_is_kept_and_no_fast_beginning_pays_for_a_slow_rest() {
        assert_eq!(cut_off_after(1_000, 10_000), None, "just fast enough");
        assert_eq!(
            cut_off_after(17_900, 179_000),
            Some(179),
            "nothing came for the first minute"
        );
        assert!(cut_off_after(1, 10_000).is_some_and(|seconds| seconds <= 70));
        assert!(cut_off_after(900, 10_000).is_some_and(|seconds| seconds <= 620));
        let began = Instant::now();
        let mut due = None;
        Deadline::earn(&mut due, 50 << 20, 100, 180);
        let deadline = due.and_then(|due| due.moment(Some(began), began));
        assert_eq!(deadline, Some(began + Duration::from_secs(180)));
    }
}
