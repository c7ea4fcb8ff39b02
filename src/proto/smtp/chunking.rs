//! BDAT: messages in chunks of declared length (RFC 3030 §2).
//!
//! Invariants: exactly the declared octets are read as a chunk, whether it is wanted or not, and its reply comes after
//! them; a refused chunk ends the transaction, so that further chunks are refused too, until the next MAIL.
//! Bare CR and LF are refused here as in DATA, unless the message is declared BINARYMIME (§3), whose octets are nobody's
//! business; but as no octet of a chunk can be taken for a command, the connection lives on.

use super::limits;
use super::reply::{self, Reply};
use super::server::{Question, Smtp, State};
use crate::model::{BodyType, Envelope};
use crate::proto::line::body::LineEndCheck;
use crate::proto::{Actions, Deadline, Receipt};

/// The chunk whose octets are being read.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: u64,
    remaining: u64,
    is_last: bool,
    /// Set when the chunk is only skipped: what to say behind it, and how often.
    refusal: Option<(usize, Reply)>,
}

/// The message so far, from its first chunk on.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    /// Octets of all chunks begun.
    bytes: u64,
    /// BODY=BINARYMIME: `check` sees nothing.
    is_binary: bool,
    check: LineEndCheck,
}

impl Chunked {
    /// False once the message is sure to be refused.
    pub fn is_wanted(&self) -> bool {
        !self.check.so_far().any()
    }
}

impl<R: Receipt> Smtp<R> {
    pub(super) fn bdat(&mut self, bytes: u64, is_last: bool, out: &mut Actions<Question>) {
        if let Err(reply) = self.check_recipients() {
            return self.skip_chunk(bytes, 1, reply, out);
        }
        let replies = if is_last { self.replies_due() } else { 1 };
        let is_binary = |envelope: &Envelope| envelope.body_type == BodyType::BinaryMime;
        let is_binary = self.transaction.as_ref().is_some_and(is_binary);
        let chunked = self.chunked.get_or_insert_default();
        chunked.is_binary = is_binary;
        chunked.bytes = chunked.bytes.saturating_add(bytes);
        if chunked.bytes > self.config.message_bytes_max {
            return self.skip_chunk(bytes, replies, reply::TOO_BIG, out);
        }
        self.begin_chunk(bytes, is_last, None, out);
    }

    /// Reads `bytes` octets without looking at them, then refuses the chunk and with it the transaction. In LMTP a chunk
    /// with LAST is answered for each recipient (RFC 2033 §4.3).
    pub(super) fn skip_chunk(
        &mut self,
        bytes: u64,
        replies: usize,
        refusal: Reply,
        out: &mut Actions<Question>,
    ) {
        self.reset();
        self.begin_chunk(bytes, false, Some((replies, refusal)), out);
    }

    fn begin_chunk(
        &mut self,
        bytes: u64,
        is_last: bool,
        refusal: Option<(usize, Reply)>,
        out: &mut Actions<Question>,
    ) {
        out.deadline = Some(Deadline::Seconds(limits::DATA_GRACE_SECONDS));
        self.state = State::Chunk(Chunk {
            bytes,
            remaining: bytes,
            is_last,
            refusal,
        });
        if bytes == 0 {
            self.end_chunk(out);
        }
    }

    /// `offset` is where `rest` begins in the slice that was offered.
    pub(super) fn take_chunk(&mut self, rest: &[u8], offset: usize, out: &mut Actions<Question>) -> usize {
        let State::Chunk(chunk) = &mut self.state else {
            return 0;
        };
        let taken =
            usize::try_from(chunk.remaining).map_or(rest.len(), |remaining| remaining.min(rest.len()));
        chunk.remaining -= taken as u64;
        if let (None, Some(chunked)) = (chunk.refusal, &mut self.chunked) {
            if !chunked.is_binary {
                chunked.check.scan(&rest[..taken]);
            }
            if chunked.is_wanted() && taken > 0 {
                out.body.push(offset..offset + taken);
            }
        }
        Self::note_progress(taken, out);
        if chunk.remaining == 0 {
            self.end_chunk(out);
        }
        taken
    }

    fn end_chunk(&mut self, out: &mut Actions<Question>) {
        out.deadline = Some(Deadline::Seconds(limits::COMMAND_SECONDS));
        let State::Chunk(chunk) = std::mem::replace(&mut self.state, State::Command) else {
            return;
        };
        if let Some((replies, refusal)) = chunk.refusal {
            return self.refuse_each(replies, refusal, out);
        }
        if !chunk.is_last {
            return reply::chunk_taken(chunk.bytes, &mut out.wire);
        }
        let faults = self.chunked.take().unwrap_or_default().check.finish();
        self.end_message(faults, out);
    }
}
