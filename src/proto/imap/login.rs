//! STARTTLS, LOGIN and AUTHENTICATE inside the core.
//!
//! Invariants: a password that would travel in clear is refused before it is asked about; a failed exchange leaves the
//! connection as it was, one error older.
//! Standards: RFC 9051 §6.2, RFC 8314, RFC 4959, RFC 5530.
//! Not here: the messages of a mechanism (`authenticate`).

use super::api::{LoginRefusal, Question, Status};
use super::authenticate::{Credentials, Exchange, SASL_RESPONSE_BYTES_MAX, Step};
use super::core::{Core, Doing};
use super::encode::code::Code;
use super::framing::{Frame, Limits};
use super::types::{Secret, Tag};
use crate::proto::Actions;

impl Core {
    pub(super) fn start_tls(&mut self, tag: Tag, out: &mut Actions<Question>) {
        if self.channel.is_tls || !self.config.is_starttls_offered {
            let text = if self.channel.is_tls {
                "TLS is up already"
            } else {
                "STARTTLS is not offered here"
            };
            self.push_tagged(&tag, Status::Bad, None, text, out);
            return self.count_error(out);
        }
        out.synchronise = true;
        self.doing = Doing::StartTls { tag, has_more: false };
    }

    pub(super) fn is_login_allowed(&self) -> bool {
        self.channel.is_tls || self.channel.is_plaintext_login_allowed
    }

    pub(super) fn refuse_plaintext(&mut self, tag: &Tag, out: &mut Actions<Question>) {
        self.push_tagged(
            tag,
            Status::No,
            Some(&Code::PrivacyRequired),
            "Start TLS first",
            out,
        );
        self.count_error(out);
    }

    pub(super) fn login(&mut self, tag: Tag, login: Vec<u8>, password: Secret, out: &mut Actions<Question>) {
        if !self.is_login_allowed() {
            return self.refuse_plaintext(&tag, out);
        }
        let credentials = Credentials {
            login,
            secret: password,
            authorization: None,
        };
        self.ask_login(tag, credentials, out);
    }

    pub(super) fn ask_login(&mut self, tag: Tag, credentials: Credentials, out: &mut Actions<Question>) {
        out.question = Some(Question::Authenticate {
            login: credentials.login,
            secret: credentials.secret,
            authorization: credentials.authorization,
        });
        self.doing = Doing::AskedLogin { tag };
    }

    pub(super) fn authenticate(
        &mut self,
        tag: Tag,
        mechanism: &str,
        initial_response: Option<Vec<u8>>,
        out: &mut Actions<Question>,
    ) {
        if !self.is_login_allowed() {
            return self.refuse_plaintext(&tag, out);
        }
        let Some(exchange) = Exchange::new(mechanism) else {
            self.push_tagged(&tag, Status::No, Some(&Code::Cannot), "No such mechanism", out);
            return self.count_error(out);
        };
        match initial_response {
            Some(response) => self.sasl_step(tag, exchange.initial(&response), out),
            None => self.sasl_step(tag, Step::Challenge(exchange), out),
        }
    }

    pub(super) fn sasl_step(&mut self, tag: Tag, step: Step, out: &mut Actions<Question>) {
        match step {
            Step::Challenge(exchange) => {
                out.wire.extend_from_slice(b"+ ");
                out.wire.extend_from_slice(exchange.challenge().as_bytes());
                out.wire.extend_from_slice(b"\r\n");
                self.doing = Doing::Sasl { tag, exchange };
            }
            Step::Complete(credentials) => self.ask_login(tag, credentials, out),
            Step::Failed(text) => {
                self.push_tagged(&tag, Status::Bad, None, text, out);
                self.count_error(out);
            }
        }
    }

    pub(super) fn sasl_line(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        input: &[u8],
        out: &mut Actions<Question>,
    ) -> usize {
        let limits = Limits {
            text_bytes: SASL_RESPONSE_BYTES_MAX,
            has_literals: false,
        };
        let (taken, frame) = self.framer.advance(input, limits);
        let step = match frame {
            Frame::Command(line) => exchange.respond(line),
            Frame::TooLong(_) => {
                self.framer.release();
                self.sasl_step(tag, Step::Failed("The response is too long"), out);
                return taken;
            }
            _ => {
                self.doing = Doing::Sasl { tag, exchange };
                return taken;
            }
        };
        self.framer.finish();
        self.sasl_step(tag, step, out);
        taken
    }
}

pub(super) fn login_refusal(refusal: LoginRefusal) -> (Code, &'static str) {
    match refusal {
        LoginRefusal::AuthenticationFailed => (Code::AuthenticationFailed, "Authentication failed"),
        LoginRefusal::AuthorizationFailed => (Code::AuthorizationFailed, "Authorization failed"),
        LoginRefusal::Unavailable => (Code::Unavailable, "Try again later"),
        LoginRefusal::PrivacyRequired => (Code::PrivacyRequired, "Start TLS first"),
    }
}
