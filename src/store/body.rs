//! Message bodies on their way in: in memory while short, chunk by chunk into the log when long.
//!
//! Invariants: a [`Body`] is whole; the chunks of a stored one are durable; memory of a [`BodyWriter`] is bounded by
//! the limit for bodies in memory plus what one `push` brings.
//! Limits: [`super::BODY_IN_MEMORY_BYTES_MAX`], [`BODY_BYTES_MAX`].
//! Failure: chunks of a body that is never finished, or never delivered, are dead bytes of the log.
//! Not here: which mailbox a body goes to (`plan`).

use super::compaction::Pin;
use super::group::{PieceCursor, Reply};
use super::handle::{Inner, Store};
use super::log::CHUNK_OVERHEAD_BYTES;
use super::plan::Plan;
use super::{ChunkRef, Environment, StoreError};
use crate::base::guard::AbortOnUnwind;
use crate::base::oneshot;
use crate::proto::pop3::OctetCount;
use bytes::Bytes;
use smallvec::SmallVec;

/// Pieces of a body that keep the receive buffers they came in, whatever their length. Mail usually comes in fewer, so its
/// octets are copied once, into the log's buffer.
pub const PIECES_SHARED_MAX: usize = 4;

/// Behind [`PIECES_SHARED_MAX`], pieces shorter than this are joined in memory of their own: a peer that sends single
/// octets would otherwise hold a whole receive buffer for each.
pub const PIECE_SHARED_BYTES_MIN: usize = 8 * 1024;

/// Longest body the format can hold with room for a prefix: sizes are 32-bit. Policy sets far lower limits.
pub const BODY_BYTES_MAX: u64 = u32::MAX as u64 - 1024 * 1024;

/// A message body, whole: in memory, or (beyond [`super::BODY_IN_MEMORY_BYTES_MAX`]) already durable in the log of the
/// core that received it.
#[derive(Clone, Debug)]
pub struct Body {
    kind: BodyKind,
    line_end_octets: u32,
    /// Of the body this is a copy of; `None`: it is new.
    email_id: Option<u64>,
    /// While it lives, compaction leaves the segments of its chunks alone.
    pins: SmallVec<[Pin; 1]>,
}

#[derive(Clone, Debug)]
enum BodyKind {
    Memory(SmallVec<[Bytes; 4]>),
    Stored(Vec<ChunkRef>),
}

impl Body {
    /// A body that is nowhere else yet.
    #[must_use]
    pub fn from_memory(pieces: SmallVec<[Bytes; 4]>) -> Self {
        Self {
            kind: BodyKind::Memory(pieces),
            line_end_octets: 0,
            email_id: None,
            pins: SmallVec::new(),
        }
    }

    /// Says how many octets longer it is when every line, the last one too, ends in CRLF, as POP3 sends it. 0 for what
    /// came by DATA.
    #[must_use]
    pub fn with_line_end_octets(mut self, octets: u32) -> Self {
        self.line_end_octets = octets;
        self
    }

    /// See [`Self::with_line_end_octets`].
    #[must_use]
    pub fn line_end_octets(&self) -> u32 {
        self.line_end_octets
    }

    /// `chunks` must be durable.
    pub(super) fn stored(chunks: Vec<ChunkRef>) -> Self {
        Self {
            kind: BodyKind::Stored(chunks),
            line_end_octets: 0,
            email_id: None,
            pins: SmallVec::new(),
        }
    }

    /// What is put anew stays the same body.
    pub(super) fn with_email_id(mut self, email_id: u64) -> Self {
        self.email_id = Some(email_id);
        self
    }

    /// Are these chunks that nothing else refers to yet?
    pub(super) fn is_pinned(&self) -> bool {
        !self.pins.is_empty()
    }

    pub(super) fn email_id(&self) -> Option<u64> {
        self.email_id
    }

    /// Octets.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // nobody asks whether a body is empty
    pub fn len(&self) -> u64 {
        match &self.kind {
            BodyKind::Memory(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            BodyKind::Stored(chunks) => super::record::body_bytes(chunks),
        }
    }

    pub(super) fn stored_chunks(&self) -> Option<&[ChunkRef]> {
        match &self.kind {
            BodyKind::Memory(_) => None,
            BodyKind::Stored(chunks) => Some(chunks),
        }
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        match &self.kind {
            BodyKind::Memory(pieces) => pieces,
            BodyKind::Stored(_) => &[],
        }
    }
}

/// Collects a body of unknown length in bounded memory.
pub struct BodyWriter<E: Environment> {
    store: Store<E>,
    pieces: Vec<Bytes>,
    /// Short pieces being joined; they come behind `pieces`.
    joined: Vec<u8>,
    held: usize,
    len: u64,
    as_lines: OctetCount,
    chunks: ChunkWriter,
}

/// The chunks of one body so far.
#[derive(Default)]
pub(super) struct ChunkWriter {
    /// Of the body; where the first chunk goes if it is new.
    email_id: Option<u64>,
    chunks: Vec<ChunkRef>,
    pins: SmallVec<[Pin; 1]>,
    /// Of the newest chunk; when it is durable, all are.
    newest: Option<oneshot::Receiver<Reply>>,
}

impl<E: Environment> BodyWriter<E> {
    pub(super) fn new(store: Store<E>) -> Self {
        Self {
            store,
            pieces: Vec::new(),
            joined: Vec::new(),
            held: 0,
            len: 0,
            as_lines: OctetCount::default(),
            chunks: ChunkWriter::default(),
        }
    }

    /// Takes the next piece. Waits only when the body is longer than [`super::BODY_IN_MEMORY_BYTES_MAX`]
    /// (back-pressure of the log).
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Failed`], [`StoreError::ShuttingDown`]: drop the writer then.
    pub async fn push(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.len += piece.len() as u64;
        if self.len > BODY_BYTES_MAX {
            return Err(StoreError::Limit("octets of a message"));
        }
        self.as_lines.push(&piece);
        self.held += piece.len();
        self.keep(piece);
        let options = self.store.inner().options;
        let is_long = self.held > options.body_in_memory_bytes_max || !self.chunks.chunks.is_empty();
        if is_long && self.held >= options.chunk_bytes_max {
            // On the heap, so that a short message's writer stays small.
            Box::pin(self.spill(self.held - self.held % options.chunk_bytes_max)).await?;
        }
        Ok(())
    }

    async fn spill(&mut self, bytes: usize) -> Result<(), StoreError> {
        if self.chunks.chunks.is_empty() {
            self.store.inner().check_space(self.len).await?;
        }
        self.flush(bytes).await
    }

    fn keep(&mut self, piece: Bytes) {
        let is_short = piece.len() < PIECE_SHARED_BYTES_MIN;
        if is_short && (self.pieces.len() >= PIECES_SHARED_MAX || !self.joined.is_empty()) {
            self.joined.extend_from_slice(&piece);
            if self.joined.len() >= PIECE_SHARED_BYTES_MIN {
                self.end_joined();
            }
        } else if !piece.is_empty() {
            self.end_joined();
            self.pieces.push(piece);
        }
    }

    fn end_joined(&mut self) {
        if !self.joined.is_empty() {
            self.pieces.push(std::mem::take(&mut self.joined).into());
        }
    }

    /// Octets so far.
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// What was collected; chunks already written are durable when this returns.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub async fn finish(mut self) -> Result<Body, StoreError> {
        self.end_joined();
        let longer = self.as_lines.finish().saturating_sub(self.len);
        let line_end_octets = u32::try_from(longer).map_err(|_| StoreError::Limit("octets of a message"))?;
        let body = if self.chunks.chunks.is_empty() {
            Body::from_memory(self.pieces.into())
        } else {
            self.flush(self.held).await?;
            self.chunks.finish().await?
        };
        Ok(body.with_line_end_octets(line_end_octets))
    }

    /// Writes the first `bytes` of what is held.
    async fn flush(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.end_joined();
        let pieces = std::mem::take(&mut self.pieces);
        let (now, later) = split_pieces(pieces, bytes);
        self.pieces = later;
        self.held -= bytes;
        self.chunks.write(self.store.inner(), &now, bytes).await
    }
}

fn split_pieces(pieces: Vec<Bytes>, mut bytes: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    for mut piece in pieces {
        let taken = piece.split_to(piece.len().min(bytes));
        bytes -= taken.len();
        head.extend((!taken.is_empty()).then_some(taken));
        tail.extend((!piece.is_empty()).then_some(piece));
    }
    (head, tail)
}

impl ChunkWriter {
    /// Of a body that is written anew.
    pub(super) fn anew(email_id: u64) -> Self {
        Self {
            email_id: Some(email_id),
            ..Self::default()
        }
    }

    /// Encodes `bytes` octets of `pieces` as chunks; waits for room before each, not for the disk.
    pub(super) async fn write<E: Environment>(
        &mut self,
        inner: &Inner<E>,
        pieces: &[Bytes],
        bytes: usize,
    ) -> Result<(), StoreError> {
        let mut cursor = PieceCursor::new(pieces);
        let mut left = bytes;
        while left > 0 {
            let chunk_bytes = left.min(inner.options.chunk_bytes_max);
            let _turn = inner.line.turn().await;
            inner.wait_for_room(CHUNK_OVERHEAD_BYTES + chunk_bytes).await?;
            let _guard = AbortOnUnwind::over("the open group");
            let mut log = inner.log.borrow_mut();
            let index = self.chunks.len();
            let chunk = log.put_chunk(&mut self.email_id, index, chunk_bytes, &mut cursor);
            let segment = chunk.position.segment;
            if self
                .chunks
                .last()
                .is_none_or(|last| last.position.segment != segment)
            {
                self.pins.push(inner.compaction.bodies.pin(segment));
            }
            self.chunks.push(chunk);
            let (sender, receiver) = oneshot::channel();
            log.put_batch(Plan::barrier(), sender);
            self.newest = Some(receiver);
            drop(log);
            inner.work.notify_all();
            left -= chunk_bytes;
        }
        Ok(())
    }

    pub(super) async fn finish(self) -> Result<Body, StoreError> {
        if let Some(newest) = self.newest {
            newest.await.unwrap_or(Err(StoreError::ShuttingDown))?;
        }
        let mut body = Body::stored(self.chunks);
        body.pins = self.pins;
        Ok(body)
    }
}

/// Writes a body that is in memory as durable chunks, so that what refers to it stays small.
pub(super) async fn store_body<E: Environment>(inner: &Inner<E>, body: Body) -> Result<Body, StoreError> {
    if body.stored_chunks().is_some() || body.len() == 0 {
        return Ok(body);
    }
    let line_end_octets = body.line_end_octets();
    let mut chunks = ChunkWriter::default();
    let bytes = usize::try_from(body.len()).expect("it is in memory");
    chunks.write(inner, body.pieces(), bytes).await?;
    Ok(chunks.finish().await?.with_line_end_octets(line_end_octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimDisk;
    use crate::store::tests::world::{World, small_options};

    #[test]
    fn single_octets_share_memory_and_keep_their_order() {
        let mut world = World::open(&SimDisk::new(1), 1, small_options()).expect("it opens");
        let mut writer = world.stores[0].body_writer();
        let text: Vec<u8> = (0..6_000_u32).map(|i| (i % 251) as u8).collect();
        for octet in &text {
            world
                .run(writer.push(Bytes::copy_from_slice(&[*octet])))
                .expect("it fits");
        }
        assert!(
            writer.pieces.len() <= PIECES_SHARED_MAX + 1,
            "{} pieces",
            writer.pieces.len()
        );
        let body = world.run(writer.finish()).expect("it is whole");
        assert_eq!(body.pieces().concat(), text);
    }

    #[test]
    fn what_comes_in_few_pieces_is_not_copied() {
        let mut world = World::open(&SimDisk::new(1), 1, small_options()).expect("it opens");
        let mut writer = world.stores[0].body_writer();
        let piece = Bytes::from_static(b"Subject: x\r\n\r\n");
        world.run(writer.push(piece.clone())).expect("it fits");
        assert_eq!(writer.pieces[0].as_ptr(), piece.as_ptr());
    }
}
