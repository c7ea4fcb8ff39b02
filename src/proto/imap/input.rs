//! From bytes to commands inside the core: which literals are taken, how faults are answered, what is refused and how it is skipped.
//!
//! Invariants: a refused command has had its one response before a byte of it is skipped; what cannot be skipped
//! within [`DISCARDED_LITERAL_BYTES_MAX`] ends the connection.
//! Limits: the constants below.
//! Standards: RFC 9051 §4.3, RFC 7888 §4.
//! Not here: finding lines and literals (`framing`), APPEND's message (`append`).

use super::api::{Question, Status};
use super::core::{Core, State};
use super::encode::code::Code;
use super::framing::{Announced, Frame, Limits};
use super::parse::{self, Fault, ParseError};
use super::types::{METADATA_VALUE_BYTES_MAX, Tag};
use crate::proto::Actions;

/// Octets of one command's text, literals not counted. RFC 7162 §4 asks for 8,192 at least; clients with long UID sets
/// come near 64 KiB.
pub const COMMAND_TEXT_BYTES_MAX: usize = 64 * 1024;

/// The same before login. ID is the longest command there: 30 pairs of 30 and 1,024 octets (RFC 2971 §3.3), quoted.
pub const COMMAND_TEXT_BEFORE_LOGIN_BYTES_MAX: usize = 40 * 1024;

/// Octets of a line in IDLE, where nothing but DONE may come.
pub const IDLE_LINE_BYTES_MAX: usize = 8 * 1024;

/// Octets of all literals of one command but APPEND's message. A mailbox name or a search text is far shorter.
pub const COMMAND_LITERAL_BYTES_MAX: usize = 64 * 1024;

/// Octets of one literal before login: a name or a password.
pub const LITERAL_BEFORE_LOGIN_BYTES_MAX: usize = 1024;

/// Octets of a refused non-synchronising literal that are read and dropped to stay in step; beyond it BYE.
pub const DISCARDED_LITERAL_BYTES_MAX: u64 = 64 * 1024;

/// Octets of the longest non-synchronising literal under LITERAL- (RFC 7888 §5).
pub const LITERAL_MINUS_BYTES_MAX: u64 = 4096;

pub(super) const LITERAL_MINUS: &str = "A literal this long must wait for its '+'";

impl Core {
    pub(super) fn limits(&self) -> Limits {
        let text_bytes = if self.state == State::NotAuthenticated {
            COMMAND_TEXT_BEFORE_LOGIN_BYTES_MAX
        } else {
            COMMAND_TEXT_BYTES_MAX
        };
        Limits {
            text_bytes,
            has_literals: true,
        }
    }

    pub(super) fn command_bytes(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let limits = self.limits();
        let (taken, frame) = self.framer.advance(input, limits);
        match frame {
            Frame::Partial => {}
            Frame::Command(text) => {
                let parsed = parse::command_with(text, self.names);
                let is_foreign = self.state == State::NotAuthenticated && parsed.is_err() && is_http(text);
                self.framer.finish();
                if is_foreign {
                    self.bye(None, "This is an IMAP server", out);
                } else {
                    self.command(parsed, out);
                }
            }
            Frame::Literal(text, announced) => {
                let tag = parse::tag(text);
                let head = parse::append_head(text, self.names);
                let refused = too_big(text, announced);
                self.literal(tag, &head, (announced, &refused), out);
            }
            Frame::TooLong(text) => {
                let tag = parse::tag(text);
                self.framer.release();
                self.push_untagged_or(tag, Status::Bad, None, "The command line is too long", out);
                self.count_error(out);
            }
            Frame::SkippedLiteral(announced) => match announced.bytes {
                Some(bytes) if bytes <= DISCARDED_LITERAL_BYTES_MAX => self.framer.skip(bytes),
                _ => self.bye(Some(&Code::TooBig), "Literal too big", out),
            },
            Frame::Skipped => {}
        }
        taken
    }

    pub(super) fn literal(
        &mut self,
        tag: Option<Tag>,
        head: &Result<parse::AppendHead, ParseError>,
        (announced, refused): (Announced, &Code),
        out: &mut Actions<Question>,
    ) {
        let Some(bytes) = announced.bytes else {
            self.push_untagged_or(
                tag,
                Status::Bad,
                None,
                "The literal's size is not a 64-bit number",
                out,
            );
            self.count_error(out);
            return self.refuse_literal(announced, u64::MAX, 0, out);
        };
        if self.is_beyond_literal_minus(announced, bytes) {
            self.push_untagged_or(tag, Status::Bad, Some(&Code::TooBig), LITERAL_MINUS, out);
            self.count_error(out);
            return self.refuse_literal(announced, bytes, DISCARDED_LITERAL_BYTES_MAX, out);
        }
        let is_authenticated = self.state != State::NotAuthenticated;
        if is_authenticated && self.append_literal(head, announced, bytes, out) {
            return;
        }
        let room = COMMAND_LITERAL_BYTES_MAX - self.framer.literal_bytes().min(COMMAND_LITERAL_BYTES_MAX);
        let most = if is_authenticated {
            room
        } else {
            room.min(LITERAL_BEFORE_LOGIN_BYTES_MAX)
        };
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= most => {
                if announced.is_synchronising {
                    out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
                }
                self.framer.collect(bytes);
            }
            _ => {
                self.push_untagged_or(tag, Status::No, Some(refused), "Literal too big", out);
                self.count_error(out);
                self.refuse_literal(announced, bytes, DISCARDED_LITERAL_BYTES_MAX, out);
            }
        }
    }

    /// Counts what is wrong with a command. After login a name that cannot be, or a limit, is no sign of a client out of step.
    pub(super) fn count_fault(&mut self, fault: Fault, out: &mut Actions<Question>) {
        if !fault.is_refusal() || self.state == State::NotAuthenticated {
            self.count_error(out);
        }
    }

    pub(super) fn push_parse_error(&mut self, error: &ParseError, out: &mut Actions<Question>) {
        self.push_fault(error.tag.clone(), error.fault, out);
    }

    /// Only what is not in the grammar is BAD (RFC 9051 §7.1.3, RFC 5530 §3).
    pub(super) fn push_fault(&mut self, tag: Option<Tag>, fault: Fault, out: &mut Actions<Question>) {
        let code = match fault {
            Fault::Expected(_) | Fault::UnknownCommand => None,
            Fault::SpecialUse => Some(Code::UseAttr),
            Fault::Limit(_) | Fault::TooDeep => Some(Code::Limit),
            Fault::Encoding(_) | Fault::Name(_) => Some(Code::Cannot),
        };
        let status = if code.is_some() { Status::No } else { Status::Bad };
        self.push_untagged_or(tag, status, code.as_ref(), &fault.to_string(), out);
    }

    /// RFC 7888 §5: with LITERAL- a client may send this many octets unasked.
    pub(super) fn is_beyond_literal_minus(&self, announced: Announced, bytes: u64) -> bool {
        !self.config.is_literal_plus && !announced.is_synchronising && bytes > LITERAL_MINUS_BYTES_MAX
    }

    /// After the response that refuses a command at its literal: forget it, skip what will come anyway (at most `most`
    /// octets), or close because that is too much.
    pub(super) fn refuse_literal(
        &mut self,
        announced: Announced,
        bytes: u64,
        most: u64,
        out: &mut Actions<Question>,
    ) {
        if announced.is_synchronising {
            self.framer.finish();
        } else if bytes <= most {
            self.framer.skip(bytes);
        } else {
            self.bye(Some(&Code::TooBig), "Literal too big", out);
        }
    }
}

/// How a literal is refused that is too big for its command.
fn too_big(text: &[u8], announced: Announced) -> Code {
    let most = METADATA_VALUE_BYTES_MAX as u64;
    // RFC 5464 §4.3: with the longest value that would be taken.
    if announced.bytes.is_none_or(|bytes| bytes > most) && parse::verb_is(text, b"SETMETADATA") {
        Code::MetadataMaxSize(most)
    } else {
        Code::TooBig
    }
}

/// Verbs of protocols that browsers can be made to speak to a mail port (ALPACA, USENIX Security 2021).
const FOREIGN_VERBS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"CONNECT ",
    b"OPTIONS ",
    b"DELETE ",
    b"PATCH ",
    b"PRI ",
];

/// True for a line that starts as an HTTP request does. As a tag such a word is legal: only lines that are no IMAP
/// command are asked about.
fn is_http(text: &[u8]) -> bool {
    FOREIGN_VERBS.iter().any(|verb| text.starts_with(verb))
}
