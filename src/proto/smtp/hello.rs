//! The greeting, EHLO, HELO and LHLO, STARTTLS: what the two sides know of each other.
//!
//! Not here: the TLS handshake itself (`tls`).

use super::limits::HELLO_BYTES_MAX;
use super::reply::{self, put};
use super::server::{Question, Smtp, State};
use super::xclient;
use crate::base::text::ShortText;
use crate::proto::{Actions, Receipt};

/// What the peer said of itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    name: ShortText,
    /// EHLO or LHLO rather than HELO.
    pub is_extended: bool,
}

impl Hello {
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// A name fit for a trace field (RFC 5321 §4.4): ASCII without spaces and without what would end a comment there, for each of
/// which `?` stands. Names that no DNS would know are common and harmless (`MY PC`, `Büro-PC` of programs that send the name of their
/// computer), so the grammar of domains is not asked for; control characters are no name.
fn parse_name(argument: &[u8]) -> Option<ShortText> {
    if argument.is_empty() || argument.len() > HELLO_BYTES_MAX || argument.iter().any(u8::is_ascii_control) {
        return None;
    }
    let is_fit = |c: char| c.is_ascii_graphic() && !"()<>@,;\\\"".contains(c);
    let text = String::from_utf8_lossy(argument);
    if text.chars().all(is_fit) {
        return Some((&*text).into());
    }
    let fit: String = text.chars().map(|c| if is_fit(c) { c } else { '?' }).collect();
    Some((&*fit).into())
}

impl<R: Receipt> Smtp<R> {
    pub(super) fn greet(&mut self, out: &mut Actions<Question>) {
        put(
            &mut out.wire,
            format_args!(
                "220 {} {} Ringpost\r\n",
                self.config.hostname,
                if self.is_lmtp() { "LMTP" } else { "ESMTP" }
            ),
        );
        self.state = State::Command;
    }

    pub(super) fn hello(&mut self, argument: &[u8], is_extended: bool, out: &mut Actions<Question>) {
        let Some(name) = parse_name(argument) else {
            return self.refuse(reply::BAD_HELLO, out);
        };
        // EHLO and HELO also do what RSET does (RFC 5321 §4.1.4).
        self.reset();
        self.hello = Some(Hello { name, is_extended });
        if self.pipelining_was_offered {
            self.answer_hello(out);
        } else {
            self.synchronise(State::Hello, out);
        }
    }

    pub(super) fn answer_hello(&mut self, out: &mut Actions<Question>) {
        self.state = State::Command;
        if !self.is_extended() {
            return put(&mut out.wire, format_args!("250 {}\r\n", self.config.hostname));
        }
        self.pipelining_was_offered = true;
        put(
            &mut out.wire,
            format_args!(
                "250-{}\r\n250-PIPELINING\r\n250-SIZE {}\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n",
                self.config.hostname, self.config.message_bytes_max
            ),
        );
        if self.is_tls {
            // Offered where it can be kept (RFC 8689 §3).
            self.say(b"250-REQUIRETLS\r\n", out);
        } else if self.config.tls_available {
            self.say(b"250-STARTTLS\r\n", out);
        }
        self.offer_auth(out);
        if self.takes_xclient {
            self.say(xclient::OFFER, out);
        }
        // No MAILMAX: a session may send as many messages as it likes (RFC 9422 §3).
        put(
            &mut out.wire,
            format_args!(
                "250-DSN\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-LIMITS RCPTMAX={}\r\n250 SMTPUTF8\r\n",
                self.config.recipients_max
            ),
        );
    }

    pub(super) fn start_tls(&mut self, out: &mut Actions<Question>) {
        if self.is_tls {
            return self.refuse(reply::ALREADY_TLS, out);
        }
        if !self.config.tls_available {
            return self.refuse(reply::NO_TLS, out);
        }
        self.synchronise(State::TlsSync, out);
    }

    pub(super) fn begin_tls(&mut self, out: &mut Actions<Question>) {
        self.say(reply::READY_FOR_TLS, out);
        out.start_tls = true;
        self.state = State::Tls;
    }

    /// Forgets everything said in plaintext (RFC 3207 §4.2).
    pub(super) fn forget_plaintext(&mut self) {
        if !matches!(self.state, State::Tls | State::Unopened) {
            return;
        }
        self.is_tls = true;
        self.is_authenticated = false;
        self.reset();
        self.hello = None;
        self.pipelining_was_offered = false;
        if matches!(self.state, State::Tls) {
            self.state = State::Command;
        }
    }
}
