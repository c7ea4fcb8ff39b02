//! CATENATE in the core (RFC 4469): a message made of literals and of URLs, in the order they come.
//!
//! Invariants: as in `append`: a literal leaves as ranges of the input, in the order of the parts; URLs that stand before it
//! are added before its first octet. A URL may come as a literal itself, which is collected like any other.
//! Limits: one message a command; the line between two literals is one command line.
//! Not here: what a URL names (`url`, `session::imap`).

use super::api::Question;
use super::append::{Abandoned, Tail};
use super::core::{Core, Doing};
use super::framing::{Announced, Frame};
use super::input::COMMAND_LITERAL_BYTES_MAX;
use super::parse::{self, Fault, Parts, PartsEnd};
use super::types::{Append, Tag};
use crate::proto::Actions;

impl Core {
    /// APPEND with CATENATE and without any message literal: whole already.
    pub(super) fn append_whole(&mut self, tag: Tag, append: Append, out: &mut Actions<Question>) {
        out.question = Some(Question::AppendBegin(append));
        self.doing = Doing::AskedCatenateEnd { tag };
    }

    /// The line behind a literal, up to the next one or its end.
    pub(super) fn catenate_next(&mut self, tag: Tag, input: &[u8], out: &mut Actions<Question>) -> usize {
        let (taken, frame) = self.framer.advance(input, self.limits());
        match frame {
            Frame::Literal(text, announced) => {
                let parsed = parse::catenate_next(text);
                self.part_announced(tag, parsed, announced, out);
            }
            Frame::Command(text) => {
                let parsed = parse::catenate_next(text);
                self.framer.finish();
                match parsed {
                    Ok(Parts {
                        urls,
                        end: PartsEnd::Closed,
                    }) => {
                        out.question = Some(Question::AppendPart { urls, bytes: 0 });
                        self.doing = Doing::AskedCatenateEnd { tag };
                    }
                    Ok(_) => self.abandon(tag, Abandoned::Grammar(Fault::Expected("')'")), out),
                    Err(fault) => self.abandon(tag, Abandoned::Grammar(fault), out),
                }
            }
            Frame::TooLong(_) => {
                self.framer.release();
                self.abandon(tag, Abandoned::Grammar(Fault::Limit("the line is too long")), out);
            }
            Frame::Partial | Frame::SkippedLiteral(_) | Frame::Skipped => {
                self.doing = Doing::CatenateNext { tag };
            }
        }
        taken
    }

    fn part_announced(
        &mut self,
        tag: Tag,
        parsed: Result<Parts, Fault>,
        announced: Announced,
        out: &mut Actions<Question>,
    ) {
        let bytes = announced.bytes.unwrap_or(u64::MAX);
        let room = COMMAND_LITERAL_BYTES_MAX.saturating_sub(self.framer.literal_bytes());
        let why = match parsed {
            Ok(Parts {
                urls,
                end: PartsEnd::Text { is_utf8 },
            }) if bytes <= self.message_bytes_max() => {
                out.question = Some(Question::AppendPart { urls, bytes });
                self.doing = Doing::AskedAppendBegin {
                    tag,
                    announced,
                    bytes,
                    tail: Tail::of_part(is_utf8),
                };
                return;
            }
            Ok(Parts {
                end: PartsEnd::UrlLiteral,
                ..
            }) if bytes <= room as u64 => {
                if announced.is_synchronising {
                    out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
                }
                self.framer.collect(usize::try_from(bytes).unwrap_or(usize::MAX));
                self.doing = Doing::CatenateNext { tag };
                return;
            }
            Ok(_) => Abandoned::TooBig,
            Err(fault) => Abandoned::Grammar(fault),
        };
        self.refuse_further(tag, why, announced, bytes, out);
    }
}
