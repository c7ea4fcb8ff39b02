//! STARTTLS, LOGIN and AUTHENTICATE inside the core.
//!
//! Invariants: a password that would travel in clear is refused before it is asked about; a failed exchange leaves the
//! connection as it was, one error older.
//! Standards: RFC 9051 §6.2, RFC 8314, RFC 4959, RFC 5530.
//! Not here: the messages of a mechanism (`proto::sasl`).

use super::api::{LoginRefusal, Question, Status};
use super::core::{Core, Doing};
use super::encode::code::Code;
use super::framing::{Frame, Limits};
use super::types::{Secret, Tag};
use crate::proto::Actions;
use crate::proto::sasl::{self, Credentials, Exchange, Request, SaslError, Step};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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

    /// What the connection has to offer SASL.
    pub(super) fn sasl_channel(&self) -> sasl::Channel {
        sasl::Channel {
            is_private: self.is_login_allowed(),
            has_binding: self.bindings.is_some(),
            has_certificate: self.has_certificate,
        }
    }

    pub(super) fn login(&mut self, tag: Tag, login: &[u8], password: &Secret, out: &mut Actions<Question>) {
        if !self.is_login_allowed() {
            return self.refuse_plaintext(&tag, out);
        }
        let credentials = Credentials {
            authorization: None,
            // What is no UTF-8 is nobody's name, and takes as long to refuse.
            login: String::from_utf8_lossy(login).into(),
            secret: sasl::Secret::new(&password.0),
        };
        self.ask_login(tag, None, Request::Password(credentials), out);
    }

    fn ask_login(
        &mut self,
        tag: Tag,
        exchange: Option<Exchange>,
        request: Request,
        out: &mut Actions<Question>,
    ) {
        out.question = Some(Question::Authenticate(request));
        self.doing = Doing::AskedLogin { tag, exchange };
    }

    pub(super) fn authenticate(
        &mut self,
        tag: Tag,
        mechanism: &str,
        initial_response: Option<&[u8]>,
        out: &mut Actions<Question>,
    ) {
        let (offered, channel) = (self.config.mechanisms, self.sasl_channel());
        let Some(mechanism) = offered.find(mechanism.as_bytes(), channel) else {
            if !channel.is_private {
                return self.refuse_plaintext(&tag, out);
            }
            self.push_tagged(&tag, Status::No, Some(&Code::Cannot), "No such mechanism", out);
            return self.count_error(out);
        };
        let (exchange, step) = Exchange::begin(mechanism, initial_response, self.bindings.as_deref());
        self.sasl_step(tag, exchange, step, out);
    }

    pub(super) fn sasl_step(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        step: Step,
        out: &mut Actions<Question>,
    ) {
        let text = match step {
            Step::Challenge(challenge) => {
                out.wire.extend_from_slice(b"+ ");
                out.wire.extend_from_slice(STANDARD.encode(challenge).as_bytes());
                out.wire.extend_from_slice(b"\r\n");
                self.doing = Doing::Sasl { tag, exchange };
                return;
            }
            Step::Ask(request) => return self.ask_login(tag, Some(exchange), request, out),
            Step::Failed(SaslError::Refused | SaslError::Binding) => {
                let (code, text) = login_refusal(LoginRefusal::AuthenticationFailed);
                self.push_tagged(&tag, Status::No, Some(&code), text, out);
                return self.count_error(out);
            }
            Step::Failed(SaslError::Cancelled) => "Authentication cancelled",
            Step::Failed(SaslError::Base64) => "Not base64",
            Step::Failed(SaslError::Syntax) => "Not a message of this mechanism",
        };
        self.push_tagged(&tag, Status::Bad, None, text, out);
        self.count_error(out);
    }

    pub(super) fn sasl_line(
        &mut self,
        tag: Tag,
        mut exchange: Exchange,
        input: &[u8],
        out: &mut Actions<Question>,
    ) -> usize {
        let limits = Limits {
            text_bytes: sasl::RESPONSE_BYTES_MAX,
            has_literals: false,
        };
        let (taken, frame) = self.framer.advance(input, limits);
        let step = match frame {
            Frame::Command(line) => exchange.respond(line),
            Frame::TooLong(_) => {
                self.framer.release();
                self.push_tagged(&tag, Status::Bad, None, "The response is too long", out);
                self.count_error(out);
                return taken;
            }
            _ => {
                self.doing = Doing::Sasl { tag, exchange };
                return taken;
            }
        };
        self.framer.finish();
        self.sasl_step(tag, exchange, step, out);
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
