//! AUTH (RFC 4954): who submits a message.
//!
//! Invariants: only a service for submission knows the command; it is taken once, behind EHLO, outside a transaction; no
//! password is taken without TLS unless the operator allows it, and then nothing offers it either; what is refused is
//! refused with one text.
//! Not here: the messages of the mechanisms (`proto::sasl`), whether credentials are right (a question).

use super::limits;
use super::reply::{self, AuthRefusal, put};
use super::server::{Question, Role, Smtp, State};
use crate::proto::line::Line;
use crate::proto::sasl::{Channel, Exchange, RESPONSE_BYTES_MAX, Request, SaslError, Step};
use crate::proto::{Actions, Deadline, Receipt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::command::split_word;

impl<R: Receipt> Smtp<R> {
    pub(super) fn is_submission(&self) -> bool {
        self.config.role == Role::Submission
    }

    /// Why a command that needs a known submitter is refused.
    pub(super) fn check_submitter(&self) -> Result<(), reply::Reply> {
        if !self.is_submission() || self.is_authenticated {
            return Ok(());
        }
        let lacks_tls = !self.channel().is_private && self.config.tls_available;
        Err(if lacks_tls {
            reply::STARTTLS_FIRST
        } else {
            reply::AUTH_FIRST
        })
    }

    /// What the connection has to offer SASL.
    pub(super) fn channel(&self) -> Channel {
        Channel {
            is_private: self.is_tls || self.allows_plaintext,
            has_binding: self.bindings.is_some(),
            has_certificate: self.has_certificate,
        }
    }

    /// EHLO's line, where a mechanism may be used.
    pub(super) fn offer_auth(&self, out: &mut Actions<Question>) {
        let mut mechanisms = self.config.mechanisms.on(self.channel()).peekable();
        if !self.is_submission() || mechanisms.peek().is_none() {
            return;
        }
        out.wire.extend_from_slice(b"250-AUTH");
        mechanisms.for_each(|mechanism| put(&mut out.wire, format_args!(" {}", mechanism.name())));
        out.wire.extend_from_slice(b"\r\n");
    }

    pub(super) fn auth(&mut self, argument: &[u8], out: &mut Actions<Question>) {
        if !self.is_submission() {
            return self.refuse(reply::NOT_IMPLEMENTED, out);
        }
        if !self.is_extended() {
            return self.refuse(reply::HELLO_FIRST, out);
        }
        if self.is_authenticated || self.transaction.is_some() {
            return self.refuse(reply::AUTH_NOT_NOW, out);
        }
        let (name, initial) = split_word(argument);
        if name.is_empty() || initial.contains(&b' ') {
            return self.refuse(reply::BAD_ARGUMENTS, out);
        }
        let Some(mechanism) = self.config.mechanisms.find(name, self.channel()) else {
            let lacks_tls = !self.channel().is_private && self.config.mechanisms.needs_tls(name);
            let reply = if lacks_tls {
                reply::AUTH_NEEDS_TLS
            } else {
                reply::NO_MECHANISM
            };
            return self.refuse(reply, out);
        };
        let initial = Some(initial).filter(|initial| !initial.is_empty());
        let (exchange, step) = Exchange::begin(mechanism, initial, self.bindings.as_deref());
        self.sasl_step(exchange, step, out);
    }

    pub(super) fn take_response(&mut self, rest: &[u8], out: &mut Actions<Question>) -> usize {
        // The limit of RFC 4954 counts the response without its CRLF.
        let (taken, line) = match self.lines.next(rest, RESPONSE_BYTES_MAX + 2) {
            Line::Partial { taken } => return taken,
            Line::TooLong { taken } => (taken, None),
            Line::Whole { content, taken } => (taken, Some(content)),
        };
        let State::Sasl(mut exchange) = std::mem::replace(&mut self.state, State::Command) else {
            return taken;
        };
        match line {
            Some(line) => {
                let step = exchange.respond(line);
                self.sasl_step(exchange, step, out);
            }
            None => self.refuse(reply::LINE_TOO_LONG, out),
        }
        taken
    }

    fn sasl_step(&mut self, exchange: Exchange, step: Step, out: &mut Actions<Question>) {
        match step {
            Step::Challenge(challenge) => {
                out.wire.extend_from_slice(b"334 ");
                out.wire.extend_from_slice(STANDARD.encode(challenge).as_bytes());
                out.wire.extend_from_slice(b"\r\n");
                self.state = State::Sasl(exchange);
            }
            Step::Ask(request) => {
                self.request = Some(request);
                self.ask(Question::Authenticate, State::Authenticate(exchange), out);
            }
            Step::Failed(SaslError::Cancelled) => self.refuse(reply::AUTH_CANCELLED, out),
            Step::Failed(SaslError::Refused) => self.auth_failed(AuthRefusal::Credentials, out),
            Step::Failed(SaslError::Binding) => self.refuse(AuthRefusal::Credentials.reply(), out),
            Step::Failed(SaslError::Base64 | SaslError::Syntax) => self.refuse(reply::BAD_RESPONSE, out),
        }
    }

    pub(super) fn authenticated(&mut self, out: &mut Actions<Question>) {
        self.state = State::Command;
        self.is_authenticated = true;
        self.bindings = None;
        self.errors = 0;
        out.deadline = Some(Deadline::Seconds(limits::COMMAND_SECONDS));
        self.say(reply::AUTHENTICATED, out);
    }

    pub(super) fn auth_refused(
        &mut self,
        mut exchange: Exchange,
        refusal: AuthRefusal,
        out: &mut Actions<Question>,
    ) {
        self.state = State::Command;
        // The session may have delayed the answer: the peer's time begins anew.
        out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
        // A token that nobody could judge may be a good one.
        let is_no = matches!(refusal, AuthRefusal::Credentials);
        match exchange.refused(&self.config.token_refusal).filter(|_| is_no) {
            Some(challenge) => self.sasl_step(exchange, Step::Challenge(challenge), out),
            None => self.auth_failed(refusal, out),
        }
    }

    fn auth_failed(&mut self, refusal: AuthRefusal, out: &mut Actions<Question>) {
        self.login_failures += 1;
        if self.login_failures >= limits::LOGIN_FAILURES_MAX {
            return self.close_with(reply::TOO_MANY_FAILURES, out);
        }
        self.say(refusal.reply(), out);
    }

    pub(super) fn go_on(
        &mut self,
        mut exchange: Exchange,
        out: &mut Actions<Question>,
        answer: impl FnOnce(&mut Exchange) -> Step,
    ) {
        self.state = State::Command;
        let step = answer(&mut exchange);
        self.sasl_step(exchange, step, out);
    }

    /// What [`Question::Authenticate`] is about.
    pub fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }
}
