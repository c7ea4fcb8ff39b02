//! What the line protocols have in common around their commands: the order of events, and how a session ends.
//!
//! Invariants: behind the close nothing is acted on; a shutdown, and that a login holds no more, is heard at the next command boundary; a peer's end does not
//! call back what was already handed over to be committed.
//! Not here: commands, replies, deadlines (each protocol); IMAP, whose commands may end out of order.

use super::{Actions, Consumed, Event};

/// Where a session stands, as far as its end goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// `close` was said.
    Closed,
    /// Between commands.
    Boundary,
    /// A question is open whose answer counts although nobody may hear it.
    Committing,
    /// Anywhere else.
    Elsewhere,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The peer took too long.
    Deadline,
    /// The server stops.
    Shutdown,
    /// Whoever has logged in may not be here any more.
    Revoked,
    /// The peer sent its end of stream.
    Peer,
}

/// What is to happen at the next command boundary.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ending {
    is_shutting_down: bool,
    is_revoked: bool,
    peer_has_closed: bool,
}

impl Ending {
    /// The server stops.
    pub fn is_shutting_down(self) -> bool {
        self.is_shutting_down
    }
}

/// A protocol of command lines, taken apart into its events.
pub(super) trait LineProtocol {
    type Question;
    type Answer;

    fn ending(&mut self) -> &mut Ending;
    fn moment(&self) -> Moment;
    fn open(&mut self, out: &mut Actions<Self::Question>);
    fn take(&mut self, input: &[u8], out: &mut Actions<Self::Question>) -> usize;
    fn settle_sync(&mut self, is_early: bool, out: &mut Actions<Self::Question>);
    fn answer(&mut self, answer: Self::Answer, out: &mut Actions<Self::Question>);
    fn tls_is_ready(&mut self);
    /// Says goodbye, if there is anything to say, and closes.
    fn end(&mut self, cause: Cause, out: &mut Actions<Self::Question>);
}

/// [`Protocol::handle`](super::Protocol::handle) of every such protocol.
pub(super) fn handle<P: LineProtocol>(
    session: &mut P,
    event: Event<'_, P::Answer>,
    out: &mut Actions<P::Question>,
) -> Consumed {
    if session.moment() == Moment::Closed {
        // Octets are dropped, so that they are not offered for ever.
        return Consumed(if let Event::Bytes(input) = event {
            input.len()
        } else {
            0
        });
    }
    let mut taken = 0;
    match event {
        Event::Bytes(input) => taken = session.take(input, out),
        Event::Opened => session.open(out),
        Event::Early => session.settle_sync(true, out),
        Event::Quiet => session.settle_sync(false, out),
        Event::Answer(answer) => session.answer(answer, out),
        Event::TlsReady => session.tls_is_ready(),
        Event::Shutdown => session.ending().is_shutting_down = true,
        Event::Revoked => session.ending().is_revoked = true,
        Event::Deadline => session.end(Cause::Deadline, out),
        Event::PeerClosed if session.moment() == Moment::Committing => {
            session.ending().peer_has_closed = true
        }
        Event::PeerClosed => session.end(Cause::Peer, out),
    }
    if session.moment() == Moment::Boundary {
        let ending = *session.ending();
        if ending.is_revoked {
            session.end(Cause::Revoked, out);
        } else if ending.is_shutting_down {
            session.end(Cause::Shutdown, out);
        } else if ending.peer_has_closed {
            session.end(Cause::Peer, out);
        }
    }
    Consumed(taken)
}
