//! MAIL and RCPT: the envelope of a mail transaction (RFC 5321 §3.3).
//!
//! Invariants: a path stands in the envelope exactly if its command was answered 250; unknown recipients and errors
//! are counted apart, because a mailing list with a few dead members is no scanner.

use super::limits;
use super::parameters::{self, ParameterError};
use super::path::Path;
use super::reply::{self, RecipientRefusal, Reply};
use super::server::{BeginVerdict, Question, RecipientVerdict, Smtp, State};
use crate::model::{AddressError, Envelope, ForwardPath, RecipientDsn};
use crate::proto::{Actions, Deadline, Receipt};

impl<R: Receipt> Smtp<R> {
    pub(super) fn mail(&mut self, argument: &[u8], out: &mut Actions<Question>) {
        match self.parse_mail(argument) {
            Ok(envelope) => {
                let declared_size = envelope.declared_size;
                self.transaction = Some(envelope);
                self.ask(Question::MayBegin { declared_size }, State::Begin, out);
            }
            Err(reply) => self.refuse(reply, out),
        }
    }

    fn parse_mail(&self, argument: &[u8]) -> Result<Envelope, Reply> {
        if self.hello.is_none() {
            return Err(self.hello_first());
        }
        self.check_submitter()?;
        if self.transaction.is_some() {
            return Err(reply::NESTED_MAIL);
        }
        let (path, rest) = Path::split(argument).ok_or(reply::BAD_SENDER)?;
        let parameters =
            parameters::parse_mail(rest, self.is_tls, self.is_submission()).map_err(parameter_reply)?;
        let reverse_path = path.reverse(parameters.is_utf8).map_err(|error| match error {
            AddressError::NeedsUtf8 => reply::NEEDS_SMTPUTF8,
            AddressError::Syntax | AddressError::TooLong | AddressError::International => reply::BAD_SENDER,
        })?;
        if parameters
            .size
            .is_some_and(|size| size > self.config.message_bytes_max)
        {
            return Err(reply::TOO_BIG);
        }
        Ok(Envelope {
            reverse_path,
            body_type: parameters.body.unwrap_or_default(),
            is_utf8: parameters.is_utf8,
            declared_size: parameters.size,
            requires_tls: parameters.requires_tls,
            dsn_return: parameters.dsn_return,
            envelope_id: parameters.envelope_id,
            ..Envelope::default()
        })
    }

    pub(super) fn begin(&mut self, verdict: BeginVerdict, out: &mut Actions<Question>) {
        self.state = State::Command;
        match verdict {
            Ok(()) => self.say(reply::SENDER_OK, out),
            Err(refusal) => {
                self.reset();
                self.say(refusal.reply(), out);
            }
        }
    }

    pub(super) fn rcpt(&mut self, argument: &[u8], out: &mut Actions<Question>) {
        match self.parse_rcpt(argument) {
            Ok(candidate) => {
                self.candidate = Some(candidate);
                self.ask(Question::MayReceive, State::Recipient, out);
            }
            // The peer sends the rest in another transaction: no error of its.
            Err(reply::TOO_MANY_RECIPIENTS) => self.say(reply::TOO_MANY_RECIPIENTS, out),
            Err(reply) => self.refuse(reply, out),
        }
    }

    fn parse_rcpt(&self, argument: &[u8]) -> Result<(ForwardPath, RecipientDsn), Reply> {
        let Some(envelope) = &self.transaction else {
            self.check_submitter()?;
            return Err(if self.hello.is_none() {
                self.hello_first()
            } else {
                reply::MAIL_FIRST
            });
        };
        if self.chunked.is_some() {
            return Err(reply::MIXED_CHUNKS);
        }
        let (path, rest) = Path::split(argument).ok_or(reply::BAD_RECIPIENT)?;
        let dsn = parameters::parse_rcpt(rest, envelope.is_utf8).map_err(parameter_reply)?;
        let forward = path.forward(envelope.is_utf8).map_err(|error| match error {
            AddressError::NeedsUtf8 => reply::NEEDS_SMTPUTF8,
            AddressError::Syntax | AddressError::TooLong | AddressError::International => {
                reply::BAD_RECIPIENT
            }
        })?;
        if envelope.forward_paths.len() >= self.config.recipients_max {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        Ok((forward, dsn))
    }

    pub(super) fn recipient(&mut self, verdict: RecipientVerdict, out: &mut Actions<Question>) {
        self.state = State::Command;
        let candidate = self.candidate.take();
        match verdict {
            Ok(()) => {
                if let (Some(envelope), Some((path, dsn))) = (&mut self.transaction, candidate) {
                    envelope.push_recipient(path, dsn);
                }
                self.say(reply::RECIPIENT_OK, out);
            }
            Err(RecipientRefusal::UnknownUser) => self.refuse_unknown(out),
            Err(refusal @ (RecipientRefusal::RelayDenied | RecipientRefusal::NotSentOn)) => {
                self.refuse(refusal.reply(), out)
            }
            Err(refusal) => self.say(refusal.reply(), out),
        }
    }

    fn refuse_unknown(&mut self, out: &mut Actions<Question>) {
        self.unknown_recipients += 1;
        let max = self.config.unknown_recipients_max;
        if max.is_some_and(|max| self.unknown_recipients > max) {
            return self.close_with(reply::TOO_MANY_UNKNOWN, out);
        }
        self.say(RecipientRefusal::UnknownUser.reply(), out);
    }

    fn hello_first(&self) -> Reply {
        if self.is_lmtp() {
            reply::LHLO_FIRST
        } else {
            reply::HELLO_FIRST
        }
    }

    /// Forgets the mail transaction.
    pub(super) fn reset(&mut self) {
        self.transaction = None;
        self.candidate = None;
        self.chunked = None;
    }

    /// Why DATA or BDAT is out of place, if it is.
    pub(super) fn check_recipients(&self) -> Result<(), Reply> {
        let Some(envelope) = &self.transaction else {
            return Err(if self.hello.is_none() {
                self.hello_first()
            } else {
                reply::MAIL_FIRST
            });
        };
        if envelope.forward_paths.is_empty() {
            return Err(reply::NO_RECIPIENTS);
        }
        Ok(())
    }

    /// Octets of a message earn time for the rest of it.
    pub(super) fn note_progress(taken: usize, out: &mut Actions<Question>) {
        let (rate, pause) = (limits::DATA_BYTES_PER_SECOND_MIN, limits::DATA_PAUSE_SECONDS);
        Deadline::earn(&mut out.deadline, taken, rate, pause);
    }
}

fn parameter_reply(error: ParameterError) -> Reply {
    match error {
        ParameterError::Unknown => reply::UNKNOWN_PARAMETER,
        ParameterError::Value => reply::BAD_PARAMETER,
    }
}
