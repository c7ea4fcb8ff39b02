//! APPEND in the core: its head, its streamed message, its end.
//!
//! Invariants: the message is never collected here, it leaves as ranges of the input; nothing is promised before
//! [`Answer::Appended`](super::api::Answer::Appended); a refused message that comes anyway (a non-synchronising literal)
//! is skipped to its last octet, so that the next command starts at a known place.
//! Standards: RFC 9051 §6.3.12, RFC 7888, RFC 7889, RFC 4315.
//! LIMITATION: one message a command (no MULTIAPPEND, RFC 3502): a second one is answered BAD.

use super::api::{Appended, Question, Refusal, Status};
use super::core::{Core, Doing};
use super::encode::code::Code;
use super::framing::Announced;
use super::parse::{self, AppendHead};
use super::types::{Append, Tag};
use crate::proto::Actions;
use std::borrow::Cow;

/// What follows a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// CRLF is due.
    Start,
    /// CR was there.
    CarriageReturn,
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
        let append = Append {
            size: bytes,
            ..append
        };
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
        if bytes == 0 {
            // RFC 3502 §6.3.11 made the empty message mean "abort"; RFC 3501 has no message without octets.
            self.push_tagged(&tag, Status::No, None, "A message has at least one octet", out);
            self.refuse_literal(announced, bytes, 0, out);
            return;
        }
        out.question = Some(Question::AppendBegin(append));
        self.doing = Doing::AskedAppendBegin {
            tag,
            announced,
            bytes,
        };
    }

    pub(super) fn append_ready(
        &mut self,
        tag: Tag,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        if announced.is_synchronising {
            out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
        }
        self.framer.finish();
        self.doing = Doing::AppendBody { tag, left: bytes };
    }

    pub(super) fn append_refused(
        &mut self,
        tag: &Tag,
        refusal: &Refusal,
        announced: Announced,
        bytes: u64,
        out: &mut Actions<Question>,
    ) {
        self.push_tagged(tag, Status::No, refusal.code.as_ref(), &refusal.text, out);
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
        tag: Tag,
        left: u64,
        input: &[u8],
        offset: usize,
        out: &mut Actions<Question>,
    ) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        out.body.push(offset..offset + taken);
        let left = left - taken as u64;
        self.doing = if left == 0 {
            Doing::AppendTail {
                tag,
                tail: Tail::Start,
            }
        } else {
            Doing::AppendBody { tag, left }
        };
        taken
    }

    /// The octet behind a message, and the one behind that.
    pub(super) fn append_tail(&mut self, tag: Tag, tail: Tail, byte: u8, out: &mut Actions<Question>) {
        match (tail, byte) {
            (Tail::Start, b'\r') => {
                self.doing = Doing::AppendTail {
                    tag,
                    tail: Tail::CarriageReturn,
                };
            }
            (Tail::CarriageReturn, b'\n') => {
                out.question = Some(Question::AppendCommit);
                self.doing = Doing::AskedAppendCommit { tag };
            }
            _ => {
                // Read as the first of what is skipped, so that a literal announced behind it is still seen.
                self.framer.skip_line();
                let _ = self.framer.advance(&[byte], self.limits());
                out.question = Some(Question::AppendAbandon);
                self.doing = Doing::AskedAppendAbandon { tag };
            }
        }
    }

    pub(super) fn appended<R>(&mut self, tag: &Tag, appended: &Appended<R>, out: &mut Actions<Question>) {
        let code = Code::AppendUid {
            uid_validity: appended.uid_validity,
            uids: vec![appended.uid],
        };
        self.errors = 0;
        self.push_tagged(tag, Status::Ok, Some(&code), "APPEND completed", out);
        self.command_ended(out);
    }

    pub(super) fn append_failed(&mut self, tag: &Tag, refusal: &Refusal, out: &mut Actions<Question>) {
        self.push_tagged(tag, Status::No, refusal.code.as_ref(), &refusal.text, out);
        self.command_ended(out);
    }

    pub(super) fn append_abandoned(&mut self, tag: &Tag, out: &mut Actions<Question>) {
        let text: Cow<'static, str> = "Expected the end of the line after the message".into();
        self.push_tagged(tag, Status::Bad, None, &text, out);
        self.count_error(out);
        self.command_ended(out);
    }
}
