//! The AUTHORIZATION state (RFC 1939 §4): the greeting, USER and PASS, AUTH, STLS, CAPA, and UTF8 and LANG (RFC 6856).
//!
//! Invariants: no password is taken without TLS unless the operator allows it, and then nothing offers it either; a wrong
//! name and a wrong password get the same reply.

use super::language::Language;
use super::limits;
use super::maildrop::{Maildrop, Retention};
use super::reply::{self, LoginRefusal, put};
use super::server::{Pop3, Question, State};
use crate::proto::sasl::{Credentials, Exchange, Mechanism, Request, SaslError, Secret, Step};
use crate::proto::{Actions, Deadline, Receipt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

impl<R: Receipt> Pop3<R> {
    pub(super) fn greet(&mut self, out: &mut Actions<Question>) {
        self.state = State::Command;
        self.say(reply::GREETING, out);
        out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
    }

    fn may_send_password(&self) -> bool {
        self.channel().is_private && self.config.mechanisms.has(Mechanism::Plain)
    }

    pub(super) fn capa(&mut self, out: &mut Actions<Question>) {
        self.say(reply::CAPABILITIES, out);
        let wire = &mut out.wire;
        wire.extend_from_slice(
            b"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\nLANG\r\n",
        );
        let retention = match &self.maildrop {
            Some(maildrop) => Some(maildrop.retention()),
            None => self.config.retention,
        };
        match retention {
            Some(Retention::Forever) => wire.extend_from_slice(b"EXPIRE NEVER\r\n"),
            Some(Retention::Days(days)) => put(wire, format_args!("EXPIRE {days}\r\n")),
            // It is one account's, and not known yet whose.
            None => {}
        }
        put(
            wire,
            format_args!("LOGIN-DELAY {}\r\n", self.config.login_delay_seconds),
        );
        if self.may_send_password() {
            wire.extend_from_slice(b"USER\r\n");
        }
        let mut mechanisms = self.config.mechanisms.on(self.channel()).peekable();
        if mechanisms.peek().is_some() {
            wire.extend_from_slice(b"SASL");
            mechanisms.for_each(|mechanism| put(wire, format_args!(" {}", mechanism.name())));
            wire.extend_from_slice(b"\r\n");
        }
        if self.config.tls_available && !self.is_tls && self.maildrop.is_none() {
            wire.extend_from_slice(b"STLS\r\n");
        }
        wire.extend_from_slice(b"IMPLEMENTATION Ringpost\r\n.\r\n");
    }

    /// Names and passwords are UTF-8 with or without it, and messages are sent as they are; see the head of `pop3`.
    pub(super) fn utf8(&mut self, out: &mut Actions<Question>) {
        self.say(reply::UTF8_ON, out);
    }

    pub(super) fn lang(&mut self, range: Option<&[u8]>, out: &mut Actions<Question>) {
        let Some(range) = range else {
            self.say(reply::LANGUAGES, out);
            for (_, tag, name) in Language::ALL {
                put(&mut out.wire, format_args!("{tag} {name}\r\n"));
            }
            return out.wire.extend_from_slice(reply::LIST_END);
        };
        match Language::find(range) {
            Some(language) => {
                self.language = language;
                reply::language_is(language, &mut out.wire);
            }
            None => self.refuse(reply::NO_LANGUAGE, out),
        }
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
        let credentials = Credentials {
            authorization: None,
            login,
            secret: Secret::new(secret),
        };
        self.authenticate(Request::Password(credentials), None, out);
    }

    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Actions<Question>) {
        let Some(found) = self.config.mechanisms.find(mechanism, self.channel()) else {
            let lacks_tls = !self.channel().is_private && self.config.mechanisms.needs_tls(mechanism);
            let reply = if lacks_tls {
                reply::NEEDS_TLS
            } else {
                reply::NO_MECHANISM
            };
            return self.refuse(reply, out);
        };
        let (exchange, step) = Exchange::begin(found, initial, self.bindings.as_deref());
        self.sasl_step(exchange, step, out);
    }

    pub(super) fn sasl_step(&mut self, exchange: Exchange, step: Step, out: &mut Actions<Question>) {
        match step {
            Step::Challenge(challenge) => {
                out.wire.extend_from_slice(reply::CONTINUE);
                out.wire.extend_from_slice(STANDARD.encode(challenge).as_bytes());
                out.wire.extend_from_slice(b"\r\n");
                self.state = State::Sasl(exchange);
            }
            Step::Ask(request) => self.authenticate(request, Some(exchange), out),
            Step::Failed(SaslError::Cancelled) => self.refuse(reply::CANCELLED, out),
            Step::Failed(SaslError::Refused) => self.login_refused(LoginRefusal::Credentials, None, out),
            Step::Failed(SaslError::Binding) => self.refuse(reply::BAD_BINDING, out),
            Step::Failed(SaslError::Base64 | SaslError::Syntax) => self.refuse(reply::BAD_RESPONSE, out),
        }
    }

    fn authenticate(&mut self, request: Request, exchange: Option<Exchange>, out: &mut Actions<Question>) {
        self.user = None;
        self.ask(
            Question::Authenticate(request),
            State::Authenticate(exchange),
            out,
        );
    }

    pub(super) fn opened(&mut self, maildrop: Maildrop, out: &mut Actions<Question>) {
        let (messages, octets) = maildrop.totals();
        self.maildrop = Some(maildrop);
        self.bindings = None;
        self.renew_idle(out);
        reply::opened(self.language, messages, octets, &mut out.wire);
    }

    pub(super) fn login_refused(
        &mut self,
        refusal: LoginRefusal,
        exchange: Option<Exchange>,
        out: &mut Actions<Question>,
    ) {
        // The session may have delayed the answer: the peer's time begins anew.
        out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
        // A token that nobody could judge may be a good one.
        if refusal == LoginRefusal::Credentials
            && let Some(mut exchange) = exchange
            && let Some(challenge) = exchange.refused(&self.config.token_refusal)
        {
            return self.sasl_step(exchange, Step::Challenge(challenge), out);
        }
        self.login_failures += 1;
        if self.login_failures >= self.config.login_failures_max {
            return self.close_with(reply::TOO_MANY_FAILURES, out);
        }
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
    pub(super) fn forget_plaintext(&mut self) {
        if !matches!(self.state, State::Tls | State::Unopened) {
            return;
        }
        self.is_tls = true;
        self.user = None;
        self.language = Language::default();
        if matches!(self.state, State::Tls) {
            self.state = State::Command;
        }
    }
}
