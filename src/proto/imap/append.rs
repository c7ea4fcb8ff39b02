//! APPEND in the core: its head, its streamed message, its end.
//!
//! Invariants: the message is never collected here, it leaves as ranges of the input; nothing is promised before
//! [`Answer::Appended`](super::api::Answer::Appended); a refused message that comes anyway (a non-synchronising literal)
//! is skipped to its last octet, so that the next command starts at a known place.
//! Several messages (MULTIAPPEND) are stored together by one [`Question::AppendCommit`], or dropped together.
//! Limits: the line before a further message is one command line; how many messages there may be, the session says.
//! Standards: RFC 9051 §6.3.12, RFC 3502, RFC 7888, RFC 7889, RFC 4315, RFC 8508, RFC 6855 §4.

use super::api::{Appended, Question, Refusal, Status};
use super::catenate::{Behind, Then};
use super::core::{Core, Doing, State};
use super::encode::code::Code;
use super::framing::Announced;
use super::parse::{self, AppendHead, Fault, Line, PartsEnd};
use super::types::{Append, AppendMessage, Tag};
use crate::proto::Actions;

const EMPTY: &str = "A message has at least one octet";
const NOT_THE_END: Fault = Fault::Expected("the end of the line after the message");

/// What follows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// More parts of the message, or its end (CATENATE).
    Part,
    /// The parenthesis that closes a UTF8 part is due, then the same.
    PartParenthesis,
    /// The parenthesis that closes a UTF8 message is due.
    Parenthesis,
    /// CRLF is due.
    Start,
    /// CR was there.
    CarriageReturn,
}

impl Tail {
    fn of(message: &AppendMessage) -> Self {
        if let Some(parts) = &message.catenate {
            return Self::of_part(matches!(parts.end, PartsEnd::Text { is_utf8: true, .. }));
        }
        if message.is_utf8 {
            Self::Parenthesis
        } else {
            Self::Start
        }
    }
}

impl Tail {
    /// Behind a literal of CATENATE.
    fn of_part(is_utf8: bool) -> Self {
        if is_utf8 {
            Self::PartParenthesis
        } else {
            Self::Part
        }
    }

    /// Behind the literal at the end of a line.
    pub(super) fn of_line(line: &Line) -> Self {
        match line.messages.last() {
            Some(message) => Self::of(message),
            None => Self::of_part(matches!(line.end(), Some(PartsEnd::Text { is_utf8: true, .. }))),
        }
    }
}

/// Why messages that came are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Abandoned {
    /// What follows a message is neither the end of the line nor another message.
    Grammar(Fault),
    /// A further message is beyond the limit.
    TooBig,
    /// A further message has no octets.
    Cancelled,
}

fn behind_part(tag: Tag) -> Doing {
    let behind = Behind::Part;
    Doing::AppendLine { tag, behind }
}

impl Core {
    /// The literal announced at the end of `text` if it is APPEND's message (or APPEND is wrong before it). False:
    /// it is an ordinary literal.
    pub(super) fn append_literal(
        &mut self,
        text: &Result<AppendHead, parse::ParseError>,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) -> bool {
        match text {
            Ok(AppendHead::Other) => false,
            Ok(AppendHead::Message(tag, append)) => {
                self.append_announced(tag.clone(), append.clone(), announced, bytes, out);
                true
            }
            Err(error) => {
                self.push_parse_error(error, out);
                self.count_fault(error.fault, out);
                self.refuse_literal(announced, bytes, self.message_bytes_max(), out);
                true
            }
        }
    }

    fn append_announced(
        &mut self,
        tag: Tag,
        append: Append,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        let mut append = append;
        append.last_mut().size = bytes;
        if append.replaces.is_some() && self.state != State::Selected {
            self.push_tagged(&tag, Status::Bad, None, "Not in this state", out);
            self.count_error(out);
            return self.refuse_literal(announced, bytes, super::input::DISCARDED_LITERAL_BYTES_MAX, out);
        }
        if bytes > self.message_bytes_max() {
            self.push_tagged(
                &tag,
                Status::No,
                Some(&Code::TooBig),
                "The message is too big",
                out,
            );
            self.refuse_literal(announced, bytes, super::input::DISCARDED_LITERAL_BYTES_MAX, out);
            return;
        }
        if bytes == 0 && append.last().catenate.is_none() {
            // RFC 3502 §6.3.11 made the empty message mean "abort"; RFC 3501 has no message without octets.
            self.push_tagged(&tag, Status::No, None, EMPTY, out);
            self.refuse_literal(announced, bytes, 0, out);
            return;
        }
        let tail = Tail::of(append.last());
        let then = Then::Literal {
            announced,
            bytes,
            tail,
        };
        self.ask_append(tag, append, then, out);
    }

    pub(super) fn append_ready(
        &mut self,
        (tag, tail): (Tag, Tail),
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        if announced.is_synchronising {
            out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
        }
        self.framer.finish();
        // A part may be empty.
        self.doing = match (bytes, tail) {
            (0, Tail::Part) => behind_part(tag),
            (0, tail) => Doing::AppendTail { tag, tail },
            _ => Doing::AppendBody {
                tag,
                left: bytes,
                tail,
            },
        };
    }

    pub(super) fn append_refused(
        &mut self,
        tag: &Tag,
        refusal: &Refusal,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        self.push_tagged(tag, refusal.status(), refusal.code.as_ref(), &refusal.text, out);
        if announced.is_synchronising {
            self.framer.finish();
        } else {
            self.framer.skip(bytes);
        }
        self.command_ended(out);
    }

    /// Octets of `input` taken as message; they lie at `offset` in the slice the session offered.
    pub(super) fn append_body(
        &mut self,
        (tag, tail): (Tag, Tail),
        left: u64,
        input: &[u8],
        offset: usize,
        out: &mut Actions<Question>,
    ) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        out.body.push(offset..offset + taken);
        let left = left - taken as u64;
        self.doing = if left == 0 && tail == Tail::Part {
            behind_part(tag)
        } else if left == 0 {
            Doing::AppendTail { tag, tail }
        } else {
            Doing::AppendBody { tag, left, tail }
        };
        taken
    }

    /// The octet behind a message, and the one behind that.
    pub(super) fn append_tail(&mut self, tag: Tag, tail: Tail, byte: u8, out: &mut Actions<Question>) {
        match (tail, byte) {
            (Tail::PartParenthesis, b')') => self.doing = behind_part(tag),
            (Tail::Parenthesis, b')') => {
                self.doing = Doing::AppendTail {
                    tag,
                    tail: Tail::Start,
                };
            }
            (Tail::Start, b'\r') => {
                self.doing = Doing::AppendTail {
                    tag,
                    tail: Tail::CarriageReturn,
                };
            }
            (Tail::Start, b' ') => {
                let behind = Behind::Message;
                self.doing = Doing::AppendLine { tag, behind };
            }
            (Tail::CarriageReturn, b'\n') => {
                out.question = Some(Question::AppendCommit);
                self.doing = Doing::AskedAppendCommit { tag };
            }
            _ => {
                // Read as the first of what is skipped, so that a literal announced behind it is still seen.
                self.framer.skip_line();
                let _ = self.framer.advance(&[byte], self.limits());
                self.abandon(tag, Abandoned::Grammar(NOT_THE_END), out);
            }
        }
    }

    /// Drops what came of the command at a further literal, and skips what will come of it anyway.
    pub(super) fn refuse_further(
        &mut self,
        tag: Tag,
        why: Abandoned,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        if !announced.is_synchronising && bytes > self.message_bytes_max() {
            return self.bye(Some(&Code::TooBig), "Literal too big", out);
        }
        if announced.is_synchronising {
            self.framer.finish();
        } else {
            self.framer.skip(bytes);
        }
        self.abandon(tag, why, out);
    }

    pub(super) fn abandon(&mut self, tag: Tag, why: Abandoned, out: &mut Actions<Question>) {
        out.question = Some(Question::AppendAbandon);
        self.doing = Doing::AskedAppendAbandon { tag, why };
    }

    pub(super) fn appended<R>(&mut self, tag: &Tag, appended: &Appended<R>, out: &mut Actions<Question>) {
        let code = if appended.were_told {
            appended.highest_mod_seq.map(Code::HighestModSeq)
        } else {
            Some(Code::AppendUid {
                uid_validity: appended.uid_validity,
                uids: appended.uids.clone(),
            })
        };
        let text = if appended.were_told {
            "REPLACE completed"
        } else {
            "APPEND completed"
        };
        self.errors = 0;
        self.push_tagged(tag, Status::Ok, code.as_ref(), text, out);
        self.command_ended(out);
    }

    pub(super) fn append_failed(&mut self, tag: &Tag, refusal: &Refusal, out: &mut Actions<Question>) {
        self.push_tagged(tag, refusal.status(), refusal.code.as_ref(), &refusal.text, out);
        self.command_ended(out);
    }

    pub(super) fn append_abandoned(&mut self, tag: &Tag, why: Abandoned, out: &mut Actions<Question>) {
        match why {
            Abandoned::Grammar(fault) => {
                self.push_fault(Some(tag.clone()), fault, out);
                self.count_fault(fault, out);
            }
            Abandoned::TooBig => {
                self.push_tagged(
                    tag,
                    Status::No,
                    Some(&Code::TooBig),
                    "The message is too big",
                    out,
                );
            }
            Abandoned::Cancelled => self.push_tagged(tag, Status::No, None, EMPTY, out),
        }
        self.command_ended(out);
    }
}
