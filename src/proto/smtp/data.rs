//! DATA: from 354 to the reply at the end of data (RFC 5321 §4.1.1.4).
//!
//! A message with a bare CR or LF is read to its true end, refused, and the connection closed: whatever follows may be
//! what an attacker meant another server to take for commands (SMTP smuggling).

use super::limits;
use super::reply::{self, CommitRefusal};
use super::server::{Question, Smtp, State};
use crate::model::{BodyType, Envelope};
use crate::proto::line::body::{DataDecoder, Faults};
use crate::proto::{Actions, Deadline, Receipt};

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    decoder: DataDecoder,
}

impl Receiving {
    /// False once the message is sure to be refused.
    pub fn is_wanted(&self) -> bool {
        !self.decoder.faults().any()
    }
}

impl<R: Receipt> Smtp<R> {
    pub(super) fn data(&mut self, out: &mut Actions<Question>) {
        if self.chunked.is_some() {
            return self.refuse(reply::MIXED_CHUNKS, out);
        }
        let is_binary = |envelope: &Envelope| envelope.body_type == BodyType::BinaryMime;
        if self.transaction.as_ref().is_some_and(is_binary) {
            // Its octets cannot be told from the end of data (RFC 3030 §3).
            return self.refuse(reply::BINARY_NEEDS_CHUNKS, out);
        }
        match self.check_recipients() {
            Ok(()) => self.synchronise(State::DataSync, out),
            Err(reply) => self.refuse(reply, out),
        }
    }

    pub(super) fn begin_data(&mut self, out: &mut Actions<Question>) {
        self.say(reply::SEND_DATA, out);
        out.deadline = Some(Deadline::Seconds(limits::DATA_GRACE_SECONDS));
        self.state = State::Data(Receiving {
            decoder: DataDecoder::new(self.config.message_bytes_max),
        });
    }

    /// `offset` is where `rest` begins in the slice that was offered.
    pub(super) fn take_data(&mut self, rest: &[u8], offset: usize, out: &mut Actions<Question>) -> usize {
        let State::Data(receiving) = &mut self.state else {
            return 0;
        };
        let body = &mut out.body;
        let progress = receiving.decoder.decode(rest, |range| {
            body.push(range.start + offset..range.end + offset);
            body.len() < limits::BODY_RANGES_MAX
        });
        Self::note_progress(progress.taken, out);
        if progress.is_end {
            let faults = receiving.decoder.faults();
            self.end_data(faults, out);
        }
        progress.taken
    }

    fn end_data(&mut self, faults: Faults, out: &mut Actions<Question>) {
        if faults.bare_line_end {
            for _ in 1..self.replies_due() {
                self.say(reply::BARE_LINE_END, out);
            }
            return self.close_with(reply::BARE_LINE_END, out);
        }
        self.end_message(faults, out);
    }

    /// Asks for the commit of a message whose end was reached, or says what is wrong with it.
    pub(super) fn end_message(&mut self, faults: Faults, out: &mut Actions<Question>) {
        out.deadline = Some(Deadline::Seconds(limits::COMMAND_SECONDS));
        let replies = self.replies_due();
        if !faults.any() {
            return self.ask(Question::Commit, State::Commit { replies }, out);
        }
        self.state = State::Command;
        self.reset();
        let reply = match faults {
            Faults {
                bare_line_end: true, ..
            } => reply::BARE_LINE_END,
            Faults { too_big: true, .. } => reply::TOO_BIG,
            _ => reply::TEXT_LINE_TOO_LONG,
        };
        self.refuse_each(replies, reply, out);
    }

    /// Says each result, in order.
    pub(super) fn committed<'a>(
        &mut self,
        results: impl Iterator<Item = &'a Result<R, CommitRefusal>>,
        out: &mut Actions<Question>,
    ) where
        R: 'a,
    {
        self.state = State::Command;
        self.reset();
        for result in results {
            match result {
                Ok(receipt) => {
                    // A peer that gets mail through is no scanner.
                    self.errors = 0;
                    self.idle_commands = 0;
                    self.unknown_recipients = 0;
                    reply::queued(receipt, &mut out.wire);
                }
                Err(refusal) => refusal.write(&mut out.wire),
            }
        }
    }
}
