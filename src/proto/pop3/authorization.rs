//! The AUTHORIZATION state (RFC 1939 §4): the greeting, USER and PASS, AUTH PLAIN, STLS, CAPA.
//!
//! Invariants: no password is taken without TLS unless the operator allows it, and then nothing offers it either; a wrong
//! name and a wrong password get the same reply.

use super::limits;
use super::maildrop::Maildrop;
use super::reply::{self, LoginRefusal, put};
use super::server::{Pop3, Question, State};
use crate::proto::sasl::{self, Credentials, Secret};
use crate::proto::{Actions, Deadline, Receipt};

impl<R: Receipt> Pop3<R> {
    pub(super) fn open(&mut self, out: &mut Actions<Question>) {
        if !matches!(self.state, State::Unopened) {
            return;
        }
        self.state = State::Command;
        self.say(reply::GREETING, out);
        out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
    }

    fn may_send_password(&self) -> bool {
        self.is_tls || self.config.allow_plaintext
    }

    pub(super) fn capa(&mut self, out: &mut Actions<Question>) {
        self.say(
            b"+OK Capability list follows\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n",
            out,
        );
        self.say(b"PIPELINING\r\nEXPIRE NEVER\r\n", out);
        if self.may_send_password() {
            self.say(b"USER\r\nSASL PLAIN\r\n", out);
        }
        if self.config.tls_available && !self.is_tls && self.maildrop.is_none() {
            self.say(b"STLS\r\n", out);
        }
        self.say(b"IMPLEMENTATION Ringpost\r\n.\r\n", out);
    }

    pub(super) fn user(&mut self, name: &str, out: &mut Actions<Question>) {
        if !self.may_send_password() {
            return self.refuse(reply::NEEDS_TLS, out);
        }
        self.user = Some(name.into());
        self.say(reply::SEND_PASS, out);
    }

    pub(super) fn pass(&mut self, secret: &[u8], out: &mut Actions<Question>) {
        if !self.may_send_password() {
            return self.refuse(reply::NEEDS_TLS, out);
        }
        let Some(login) = self.user.take() else {
            return self.refuse(reply::USER_FIRST, out);
        };
        self.authenticate(
            Credentials {
                authorization: None,
                login,
                secret: Secret::new(secret),
            },
            out,
        );
    }

    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Actions<Question>) {
        if !mechanism.eq_ignore_ascii_case(b"PLAIN") {
            return self.refuse(reply::NO_MECHANISM, out);
        }
        if !self.may_send_password() {
            return self.refuse(reply::NEEDS_TLS, out);
        }
        match initial {
            Some(response) => self.sasl_response(response, out),
            None => {
                self.state = State::Sasl;
                self.say(reply::CONTINUE, out);
            }
        }
    }

    pub(super) fn sasl_response(&mut self, response: &[u8], out: &mut Actions<Question>) {
        if response == b"*" {
            return self.refuse(reply::CANCELLED, out);
        }
        match sasl::decode_plain(response) {
            Ok(credentials) => self.authenticate(credentials, out),
            Err(_) => self.refuse(reply::BAD_RESPONSE, out),
        }
    }

    fn authenticate(&mut self, credentials: Credentials, out: &mut Actions<Question>) {
        self.user = None;
        self.ask(Question::Authenticate(credentials), State::Authenticate, out);
    }

    pub(super) fn opened(&mut self, maildrop: Maildrop, out: &mut Actions<Question>) {
        let (messages, octets) = maildrop.totals();
        self.maildrop = Some(maildrop);
        self.renew_idle(out);
        put(
            &mut out.wire,
            format_args!("+OK {messages} messages ({octets} octets)\r\n"),
        );
    }

    pub(super) fn login_refused(&mut self, refusal: LoginRefusal, out: &mut Actions<Question>) {
        self.login_failures += 1;
        if self.login_failures >= self.config.login_failures_max {
            return self.close_with(reply::TOO_MANY_FAILURES, out);
        }
        // The session may have delayed the answer: the peer's time begins anew.
        out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
        self.say(refusal.reply(), out);
    }

    pub(super) fn stls(&mut self, out: &mut Actions<Question>) {
        if self.is_tls {
            return self.refuse(reply::ALREADY_TLS, out);
        }
        if !self.config.tls_available {
            return self.refuse(reply::NO_TLS, out);
        }
        self.state = State::TlsSync;
        out.synchronise = true;
    }

    /// Forgets everything said in plaintext (RFC 2595 §4).
    pub(super) fn tls_is_ready(&mut self) {
        if !matches!(self.state, State::Tls | State::Unopened) {
            return;
        }
        self.is_tls = true;
        self.user = None;
        if matches!(self.state, State::Tls) {
            self.state = State::Command;
        }
    }
}
