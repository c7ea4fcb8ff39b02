//! A group in memory: records encoded at their final positions into the buffer that will be written.
//!
//! Invariants: a record's bytes are final once they are encoded; the header is filled in last, when `durable_to` is known.
//! Limits: the room that is left in its segment; who may encode how much is decided by `log`.
//! Not here: the bytes of headers (`frame`), who waits for which batch (`writer`).

use super::apply::Place;
use super::frame::{GROUP_HEADER_BYTES, GroupHeader, NO_PARTITION, RecordCopy, RecordHeader, RecordSeed};
use super::plan::Answer;
use super::record::{CHUNK_PREFIX_BYTES, Record, chunk_prefix, kind};
use super::{ChunkRef, CommitReceipt, Outcome, StoreError};
use crate::base::oneshot;
use crate::disk::{BLOCK_BYTES, DiskFile, WriteBuffer};
use crate::model::{AccountId, LogPosition, SegmentId, Usage};
use bytes::Bytes;
use smallvec::SmallVec;

/// What a caller waits for.
pub type Reply = Result<(CommitReceipt, Outcome), StoreError>;

/// A segment that groups go to.
#[derive(Clone)]
pub struct Segment<F> {
    /// Its file.
    pub file: F,
    /// Its id.
    pub id: SegmentId,
    /// See `segment::SegmentHeader`.
    pub generation: u32,
    /// See `segment::SegmentHeader`.
    pub version: u32,
    /// Of its file.
    pub bytes: u32,
}

impl<F> Segment<F> {
    /// What the checksums of its records start from.
    pub fn record_seed(&self) -> RecordSeed {
        RecordSeed::new(self.id, self.generation, self.version)
    }
}

/// An encoded record that is to be applied when it is durable.
pub struct Entry {
    /// What it does.
    pub record: Record,
    /// Where it lies, which of its partition it is.
    pub place: Place,
}

/// All records of one call.
pub struct Batch {
    /// In order.
    pub entries: SmallVec<[Entry; 1]>,
    /// What to tell the caller.
    pub answer: Answer,
    /// The caller, unless it does not wait.
    pub waiter: oneshot::Sender<Reply>,
    /// Accounts to be released when it is applied; see `pending`.
    pub touched: SmallVec<[(AccountId, Usage); 1]>,
    /// Of the receipt.
    pub commit: u64,
}

/// Records that are written and synced together.
pub struct Group<F: DiskFile> {
    /// Where it goes.
    pub segment: Segment<F>,
    /// Offset of its header.
    pub start: u32,
    /// Its number in the log.
    pub sequence: u64,
    /// Of its calls, in order.
    pub batches: Vec<Batch>,
    buffer: F::Buffer,
    used: usize,
    records: u32,
    capacity: usize,
    seed: RecordSeed,
}

impl<F: DiskFile> Group<F> {
    /// An empty group at `start`, with a buffer for `bytes` of records to begin with.
    pub fn new(segment: Segment<F>, start: u32, sequence: u64, capacity: usize, bytes: usize) -> Self {
        let len = blocks(GROUP_HEADER_BYTES + bytes)
            .next_power_of_two()
            .min(capacity);
        Self {
            buffer: segment.file.buffer(len),
            seed: segment.record_seed(),
            segment,
            start,
            sequence,
            batches: Vec::new(),
            used: GROUP_HEADER_BYTES,
            records: 0,
            capacity,
        }
    }

    /// The position behind it, padding included.
    pub fn end(&self) -> LogPosition {
        let end = self.start as usize + blocks(self.used);
        LogPosition {
            segment: self.segment.id,
            offset: u32::try_from(end).expect("a segment is below 4 GiB"),
        }
    }

    /// Bytes used so far, header included.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Could it still take `bytes` without growing beyond its segment?
    pub fn has_capacity(&self, bytes: usize) -> bool {
        self.used + bytes <= self.capacity
    }

    /// Bytes it occupies on disk.
    pub fn bytes(&self) -> usize {
        blocks(self.used)
    }

    /// Where the next record will lie.
    pub fn position(&self) -> LogPosition {
        let offset = self.start as usize + self.used;
        LogPosition {
            segment: self.segment.id,
            offset: u32::try_from(offset).expect("a segment is below 4 GiB"),
        }
    }

    /// Space for a record, the buffer grown if need be (to what groups were lately like, so this is rare).
    fn space(&mut self, bytes: usize) -> (LogPosition, &mut [u8]) {
        let position = self.position();
        let end = self.used + bytes;
        assert!(end <= self.capacity, "room was made for the whole batch");
        if end > self.buffer.bytes().len() {
            let len = blocks(end).next_power_of_two().min(self.capacity);
            let mut larger = self.segment.file.buffer(len);
            larger.bytes_mut()[..self.used].copy_from_slice(&self.buffer.bytes()[..self.used]);
            self.buffer = larger;
        }
        let start = std::mem::replace(&mut self.used, end);
        self.records += 1;
        (position, &mut self.buffer.bytes_mut()[start..end])
    }

    /// Encodes one record.
    pub fn put_record(&mut self, header: &RecordHeader, payload: &[u8]) -> LogPosition {
        let seed = self.seed;
        let (position, out) = self.space(header.record_bytes());
        let mut copy = RecordCopy::start(seed.at(position.offset), header, out);
        copy.put(payload);
        copy.finish();
        position
    }

    /// See `Log::put_chunk`.
    pub fn put_chunk(
        &mut self,
        epoch: u32,
        email_id: &mut Option<u64>,
        index: usize,
        bytes: usize,
        cursor: &mut PieceCursor<'_>,
    ) -> ChunkRef {
        let position = self.position();
        let own = u64::from(position.segment.0) << 32 | u64::from(position.offset);
        let email_id = *email_id.get_or_insert(own);
        let header = RecordHeader {
            payload_bytes: u32::try_from(CHUNK_PREFIX_BYTES + bytes).expect("a chunk is small"),
            kind: kind::CHUNK,
            flags: 0,
            partition: NO_PARTITION,
            epoch,
            sequence: 0,
        };
        let seed = self.seed;
        let (position, out) = self.space(header.record_bytes());
        let mut copy = RecordCopy::start(seed.at(position.offset), &header, out);
        copy.put(&chunk_prefix(
            email_id,
            u32::try_from(index).expect("chunks of a message"),
        ));
        cursor.copy(bytes, &mut copy);
        copy.finish();
        ChunkRef {
            position,
            bytes: u32::try_from(bytes).expect("a chunk is small"),
        }
    }

    /// The bytes to write: header filled in, padded with zeros.
    pub fn into_parts(self, header: impl FnOnce(u32, u32) -> GroupHeader, store_id: u64) -> Sealed<F> {
        let mut buffer = self.buffer;
        let used = u32::try_from(self.used).expect("a group is below 4 GiB");
        let bytes = blocks(self.used);
        let out = &mut buffer.bytes_mut()[..bytes];
        header(used, self.records).encode(store_id, out);
        out[self.used..].fill(0);
        buffer.truncate(bytes);
        Sealed {
            start: self.start,
            buffer,
            batches: self.batches,
        }
    }
}

/// A group as it goes to the disk.
pub struct Sealed<F: DiskFile> {
    /// Offset of its header.
    pub start: u32,
    /// All of it.
    pub buffer: F::Buffer,
    /// Of its calls, in order.
    pub batches: Vec<Batch>,
}

/// Rounded up to whole blocks.
pub fn blocks(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK_BYTES)
}

/// Puts the record that ends the log of `incarnation` into an empty group.
pub fn put_seal<F: DiskFile>(group: &mut Group<F>, epoch: u32, by: u32) {
    let record = Record::Seal { by };
    let mut payload = Vec::new();
    record.encode(&mut payload);
    let header = RecordHeader {
        payload_bytes: u32::try_from(payload.len()).expect("a seal is small"),
        kind: record.kind(),
        flags: 0,
        partition: NO_PARTITION,
        epoch,
        sequence: 0,
    };
    group.put_record(&header, &payload);
}

/// A group of one seal, for recovery to put at a cut.
pub fn seal_at_cut<F: DiskFile>(
    segment: Segment<F>,
    start: u32,
    sequence: u64,
    epoch: u32,
    by: u32,
) -> Group<F> {
    let mut group = Group::new(
        segment,
        start,
        sequence,
        BLOCK_BYTES,
        BLOCK_BYTES - GROUP_HEADER_BYTES,
    );
    put_seal(&mut group, epoch, by);
    group
}

/// A place in a list of pieces.
pub struct PieceCursor<'a> {
    pieces: &'a [Bytes],
    at: usize,
}

impl<'a> PieceCursor<'a> {
    /// At the start.
    pub fn new(pieces: &'a [Bytes]) -> Self {
        Self { pieces, at: 0 }
    }

    fn copy(&mut self, mut bytes: usize, copy: &mut RecordCopy<'_>) {
        while bytes > 0 {
            let piece = &self.pieces[0][self.at..];
            let take = piece.len().min(bytes);
            copy.put(&piece[..take]);
            bytes -= take;
            self.at += take;
            if self.at == self.pieces[0].len() {
                self.pieces = &self.pieces[1..];
                self.at = 0;
            }
        }
    }
}
