//! What stands between the literals of an APPEND: the rest of a message made of parts (CATENATE, RFC 4469), further
//! messages (MULTIAPPEND, RFC 3502), and both on one line.
//!
//! Invariants: as in `append`: a literal leaves as ranges of the input, in the order of the parts; URLs that stand before it
//! are added before its first octet, messages that are whole are asked about before those behind them. A URL may come as a
//! literal itself, which is collected like any other.
//! Limits: what stands between two literals is one command line.
//! Not here: what a URL names (`url`, `session::imap`).

use super::api::{Question, Refusal};
use super::append::{Abandoned, Tail};
use super::core::{Core, Doing};
use super::encode::code::Code;
use super::framing::{Announced, Frame};
use super::input::COMMAND_LITERAL_BYTES_MAX;
use super::parse::{self, Fault, Line, PartsEnd};
use super::types::{Append, AppendMessage, NameForm, Tag};
use crate::proto::Actions;

const NOT_A_MESSAGE: Fault = Fault::Expected("another message after the space");

/// What the line follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// The literal that is a message.
    Message,
    /// A literal that is a part of one.
    Part,
}

impl Behind {
    fn read(self, text: &[u8], names: NameForm) -> Result<Line, Fault> {
        match self {
            Self::Message => parse::append_next(text, names),
            Self::Part => parse::catenate_next(text, names),
        }
    }
}

/// What comes when every message of a line has been asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The literal at its end.
    Literal {
        announced: Announced,
        bytes: u64,
        tail: Tail,
    },
    /// The end of the command.
    Commit,
}

impl Then {
    fn doing(self, tag: Tag) -> Doing {
        match self {
            Self::Commit => Doing::AskedCatenateEnd { tag },
            Self::Literal {
                announced,
                bytes,
                tail,
            } => Doing::AskedAppendBegin {
                tag,
                announced,
                bytes,
                tail,
            },
        }
    }
}

impl Core {
    /// APPEND with CATENATE and without any message literal: whole already.
    pub(super) fn append_whole(&mut self, tag: Tag, append: Append, out: &mut Actions<Question>) {
        self.ask_append(tag, append, Then::Commit, out);
    }

    /// Asks about the first message of a command, and then about those of the same line.
    pub(super) fn ask_append(
        &mut self,
        tag: Tag,
        mut append: Append,
        then: Then,
        out: &mut Actions<Question>,
    ) {
        let further = std::mem::take(&mut append.further);
        self.ask_messages(tag, Question::AppendBegin(append), further, then, out);
    }

    fn ask_messages(
        &mut self,
        tag: Tag,
        first: Question,
        further: Vec<AppendMessage>,
        then: Then,
        out: &mut Actions<Question>,
    ) {
        out.question = Some(first);
        self.doing = if further.is_empty() {
            then.doing(tag)
        } else {
            Doing::AskedFurther { tag, further, then }
        };
    }

    /// The session takes a message of the line: asks about the one behind it.
    pub(super) fn ask_next(
        &mut self,
        tag: Tag,
        mut further: Vec<AppendMessage>,
        then: Then,
        out: &mut Actions<Question>,
    ) {
        let next = Question::AppendNext(further.remove(0));
        self.ask_messages(tag, next, further, then, out);
    }

    /// The session does not take a message of the line.
    pub(super) fn line_refused(
        &mut self,
        tag: &Tag,
        refusal: &Refusal,
        then: Then,
        out: &mut Actions<Question>,
    ) {
        match then {
            Then::Literal { announced, bytes, .. } => {
                self.append_refused(tag, refusal, announced, bytes, out)
            }
            Then::Commit => self.append_failed(tag, refusal, out),
        }
    }

    /// The line behind a literal, up to the next one or its end.
    pub(super) fn append_line(
        &mut self,
        tag: Tag,
        behind: Behind,
        input: &[u8],
        out: &mut Actions<Question>,
    ) -> usize {
        let (taken, frame) = self.framer.advance(input, self.limits());
        match frame {
            Frame::Literal(text, announced) => {
                let line = behind.read(text, self.names);
                self.line_announced((tag, behind), line, announced, out);
            }
            Frame::Command(text) => {
                let line = behind.read(text, self.names);
                self.framer.finish();
                self.line_ended((tag, behind), line, out);
            }
            Frame::TooLong(_) => {
                self.framer.release();
                self.abandon(tag, Abandoned::Grammar(Fault::Limit("the line is too long")), out);
            }
            Frame::Partial | Frame::SkippedLiteral(_) | Frame::Skipped => {
                self.doing = Doing::AppendLine { tag, behind };
            }
        }
        taken
    }

    fn line_ended(
        &mut self,
        (tag, behind): (Tag, Behind),
        line: Result<Line, Fault>,
        out: &mut Actions<Question>,
    ) {
        let fault = match (line, behind) {
            (Ok(line), _) if line.end() == Some(PartsEnd::Closed) => {
                return self.ask_line(tag, line, 0, Then::Commit, out);
            }
            (_, Behind::Message) => NOT_A_MESSAGE,
            (Ok(_), Behind::Part) => Fault::Expected("')'"),
            (Err(fault), Behind::Part) => fault,
        };
        self.abandon(tag, Abandoned::Grammar(fault), out);
    }

    fn line_announced(
        &mut self,
        (tag, behind): (Tag, Behind),
        line: Result<Line, Fault>,
        announced: Announced,
        out: &mut Actions<Question>,
    ) {
        let bytes = announced.bytes.unwrap_or(u64::MAX);
        if self.is_beyond_literal_minus(announced, bytes) {
            return self.bye(Some(&Code::TooBig), super::input::LITERAL_MINUS, out);
        }
        let room = COMMAND_LITERAL_BYTES_MAX.saturating_sub(self.framer.literal_bytes());
        let why = match line {
            Err(fault) => Abandoned::Grammar(fault),
            Ok(line) => match line.end() {
                Some(PartsEnd::Closed) => Abandoned::Grammar(Fault::Expected("the end of the command")),
                Some(PartsEnd::UrlLiteral) if bytes <= room as u64 => {
                    if announced.is_synchronising {
                        out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
                    }
                    self.framer.collect(usize::try_from(bytes).unwrap_or(usize::MAX));
                    self.doing = Doing::AppendLine { tag, behind };
                    return;
                }
                // A part may be empty, a message may not.
                None if bytes == 0 => Abandoned::Cancelled,
                None | Some(PartsEnd::Text { .. }) if bytes <= self.message_bytes_max() => {
                    let tail = Tail::of_line(&line);
                    let then = Then::Literal {
                        announced,
                        bytes,
                        tail,
                    };
                    return self.ask_line(tag, line, bytes, then, out);
                }
                _ => Abandoned::TooBig,
            },
        };
        self.refuse_further(tag, why, announced, bytes, out);
    }

    /// `bytes`: of the literal at the end of the line, which belongs to its last message.
    fn ask_line(&mut self, tag: Tag, mut line: Line, bytes: u64, then: Then, out: &mut Actions<Question>) {
        if let Some(last) = line.messages.last_mut() {
            last.size = bytes;
        }
        let of_parts = if line.messages.is_empty() { bytes } else { 0 };
        let first = match line.parts {
            Some(parts) => Question::AppendPart {
                is_binary: parts.is_binary(),
                urls: parts.urls,
                bytes: of_parts,
            },
            None => Question::AppendNext(line.messages.remove(0)),
        };
        self.ask_messages(tag, first, line.messages, then, out);
    }
}
