//! One core's log in memory: the open group, the filled ones behind it, room, sequence numbers.
//!
//! Invariants: a record has its final position when it is encoded; positions rise; a batch lies in one group; groups
//! leave in the order they were filled; a segment's last block stays free for a seal.
//! Limits: `options` (a group, a batch, what may wait).
//! Not here: I/O and the next segment's making (`writer`).

use super::apply::Place;
use super::checkpoint_state::CoveredSegment;
use super::frame::{GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader};
use super::group::{Batch, Entry, Group, PieceCursor, Reply, Segment, blocks, put_seal};
use super::options::{StoreOptions, WAITING_BYTES_MAX};
use super::plan::{Chunks, Plan};
use super::record::{CHUNK_PREFIX_BYTES, Record};
use super::scan::LogName;
use super::{Body, ChunkRef, StoreError};
use crate::base::oneshot;
use crate::disk::{BLOCK_BYTES, DiskFile};
use crate::model::LogPosition;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// A group may always become this long before another is begun: what a shorter one costs the core and the disk hardly depends
/// on its length.
const EVEN_BYTES_MIN: usize = 128 * 1024;

/// A group may become longer than the last ones by one part of so many, or what they left over would for ever make a third.
const EVEN_SLACK: usize = 8;

/// The chunks of each body of a batch.
pub type BodyChunks = SmallVec<[Chunks; 1]>;

/// Can a batch be encoded now?
pub enum Room {
    /// Yes, at once.
    Ready,
    /// Not before the writer has taken a group.
    Wait,
    /// Not before there is another segment.
    NeedsSegment,
}

/// The making of the next segment.
pub enum Next<F> {
    /// Nobody has asked for it.
    None,
    /// Asked for.
    Wanted,
    /// Made, durable, waiting.
    Ready(Segment<F>),
}

/// One core's log.
pub struct Log<F: DiskFile> {
    /// The core's number.
    pub number: u16,
    /// This start's.
    pub incarnation: u32,
    /// See `segment::Superblock`.
    pub store_id: u64,
    /// Everything before it is synced.
    pub durable_to: LogPosition,
    /// Of the last group before it; 0: none is written.
    pub durable_sequence: u64,
    /// That group is the seal.
    pub is_sealed: bool,
    /// This log's segments with durable groups, each with its end.
    pub written: Vec<CoveredSegment>,
    /// Why no more commits are taken.
    pub failed: Option<StoreError>,
    /// No more commits are taken because the server stops.
    pub is_stopping: bool,
    /// See [`Next`].
    pub next: Next<F>,
    /// Attempts to make a segment that ended without one, and why the last of them did.
    pub refused_segments: (u64, Option<StoreError>),
    asked_ahead: bool,
    current: Segment<F>,
    next_offset: u32,
    options: StoreOptions,
    open: Option<Group<F>>,
    filled: VecDeque<Group<F>>,
    filled_bytes: usize,
    last_group_bytes: usize,
    last_group_batches: usize,
    /// Of the last two that were taken to be written.
    taken_bytes: [usize; 2],
    group_sequence: u64,
    commits: u64,
    /// The newest commit that is applied.
    settled: u64,
    sequences: Vec<u64>,
    scratch: Vec<u8>,
}

/// What a log starts from.
pub struct LogStart<F> {
    /// The core's number.
    pub number: u16,
    /// This start's.
    pub incarnation: u32,
    /// The store's.
    pub store_id: u64,
    /// The first segment, durable.
    pub segment: Segment<F>,
    /// The last sequence of each partition.
    pub sequences: Vec<u64>,
    /// Limits.
    pub options: StoreOptions,
}

impl<F: DiskFile> Log<F> {
    /// An empty log in its first segment.
    pub fn new(start: LogStart<F>) -> Self {
        let first = BLOCK_BYTES as u32;
        Self {
            number: start.number,
            incarnation: start.incarnation,
            store_id: start.store_id,
            durable_to: LogPosition {
                segment: start.segment.id,
                offset: first,
            },
            durable_sequence: 0,
            is_sealed: false,
            written: Vec::new(),
            failed: None,
            is_stopping: false,
            next: Next::None,
            refused_segments: (0, None),
            asked_ahead: false,
            current: start.segment,
            next_offset: first,
            options: start.options,
            open: None,
            filled: VecDeque::new(),
            filled_bytes: 0,
            last_group_bytes: 0,
            last_group_batches: 0,
            taken_bytes: [0; 2],
            group_sequence: 0,
            commits: 0,
            settled: 0,
            sequences: start.sequences,
            scratch: Vec::new(),
        }
    }

    /// Why nothing is taken, if so.
    pub fn check_open(&self) -> Result<(), StoreError> {
        match &self.failed {
            Some(failed) => Err(failed.clone()),
            None if self.is_stopping => Err(StoreError::ShuttingDown),
            None => Ok(()),
        }
    }

    /// Makes room for a batch of `bytes` (without chunk and group headers of its own) if that needs no waiting.
    pub fn make_room(&mut self, bytes: usize) -> Result<Room, StoreError> {
        self.check_open()?;
        if bytes > self.options.batch_bytes_max() {
            return Err(StoreError::Limit("octets of one change"));
        }
        if let Some(open) = &self.open {
            let is_small = open.used() + bytes <= self.open_bytes_max() || open.batches.is_empty();
            if open.has_capacity(bytes) && is_small {
                return Ok(Room::Ready);
            }
            if self.filled_bytes > 0 && self.filled_bytes + open.bytes() > WAITING_BYTES_MAX {
                return Ok(Room::Wait);
            }
            self.close_open();
        }
        self.open_group(bytes)
    }

    /// Where the open group ends, if nothing waits behind the one being written. Callers who wait for one group come back
    /// together, so without this a long group stays long and a short one short: while the long one is written the few of the
    /// short one leave the core idle, and while the core fills the long one the disk has nothing to do. Half of what the
    /// last two had makes them nearly equal. As many groups carry the same changes: nobody pays with a sync.
    fn open_bytes_max(&self) -> usize {
        let max = self.options.group_bytes_max;
        if !self.filled.is_empty() {
            return max;
        }
        let half = self.taken_bytes.iter().sum::<usize>() / 2;
        (half + half / EVEN_SLACK).max(EVEN_BYTES_MIN).min(max)
    }

    fn open_group(&mut self, bytes: usize) -> Result<Room, StoreError> {
        // The last block of a segment is kept for a seal.
        let mut end = self.current.bytes as usize - BLOCK_BYTES;
        if self.next_offset as usize + blocks(GROUP_HEADER_BYTES + bytes) > end {
            match std::mem::replace(&mut self.next, Next::None) {
                Next::Ready(segment) => {
                    self.current = segment;
                    end = self.current.bytes as usize - BLOCK_BYTES;
                    self.next_offset = BLOCK_BYTES as u32;
                    self.asked_ahead = false;
                }
                other => {
                    self.next = other;
                    return Ok(Room::NeedsSegment);
                }
            }
        }
        let capacity = end - self.next_offset as usize;
        self.group_sequence += 1;
        let likely = bytes.max(self.last_group_bytes.min(self.options.group_bytes_max));
        let mut group = Group::new(
            self.current.clone(),
            self.next_offset,
            self.group_sequence,
            capacity,
            likely,
        );
        group.batches.reserve(self.last_group_batches);
        self.open = Some(group);
        Ok(Room::Ready)
    }

    fn close_open(&mut self) {
        if let Some(open) = self.open.take() {
            self.next_offset = open.end().offset;
            self.last_group_bytes = open.bytes();
            self.last_group_batches = open.batches.len();
            self.filled_bytes += open.bytes();
            self.filled.push_back(open);
        }
    }

    /// The next group to write, if there is one with something in it.
    pub fn take_group(&mut self) -> Option<Group<F>> {
        if self.filled.is_empty() && self.open.as_ref().is_some_and(|open| !open.batches.is_empty()) {
            self.close_open();
        }
        let group = self.filled.pop_front()?;
        self.filled_bytes -= group.bytes();
        self.taken_bytes = [self.taken_bytes[1], group.bytes()];
        Some(group)
    }

    /// A group is durable: up to `end`, in a segment of this generation, number `sequence`.
    pub fn note_durable(&mut self, generation: u32, end: LogPosition, sequence: u64) {
        self.durable_to = end;
        self.durable_sequence = sequence;
        if self.written.last().is_none_or(|last| last.id != end.segment) {
            let log = LogName {
                incarnation: self.incarnation,
                log: self.number,
            };
            self.written.push(CoveredSegment {
                id: end.segment,
                generation,
                log,
                end: end.offset,
            });
        }
        let last = self.written.last_mut().expect("it was just pushed");
        last.end = end.offset;
    }

    /// Is it time to make the next segment, before anybody has to wait for it? True once a segment.
    pub fn wants_segment_ahead(&mut self) -> bool {
        let is_half_full = self.next_offset > self.current.bytes / 2;
        let wants = is_half_full && !self.asked_ahead && matches!(self.next, Next::None);
        if wants {
            self.asked_ahead = true;
            self.next = Next::Wanted;
        }
        wants
    }

    /// The group that ends this log, when everything else is written.
    pub fn seal_group(&mut self) -> Group<F> {
        let nothing_waits = self.open.as_ref().is_none_or(|open| open.batches.is_empty());
        assert!(
            nothing_waits && self.filled.is_empty(),
            "a log is sealed when it is all written"
        );
        if self.open.take().is_some() {
            // Opened for a change that was refused; its place and its sequence are the seal's.
            self.group_sequence -= 1;
        }
        self.group_sequence += 1;
        let capacity = self.current.bytes as usize - self.next_offset as usize;
        let mut group = Group::new(
            self.current.clone(),
            self.next_offset,
            self.group_sequence,
            capacity,
            BLOCK_BYTES - GROUP_HEADER_BYTES,
        );
        put_seal(&mut group, self.incarnation, self.incarnation);
        self.next_offset = group.end().offset;
        group
    }

    /// Everything that waits to be written, taken out because it never will be.
    pub fn drain(&mut self) -> Vec<Batch> {
        let open = self.open.take();
        self.filled_bytes = 0;
        self.filled
            .drain(..)
            .chain(open)
            .flat_map(|group| group.batches)
            .collect()
    }

    fn open_mut(&mut self) -> &mut Group<F> {
        self.open.as_mut().expect("room was made")
    }

    /// Where [`Self::put_bodies`] will put these, if it is called next.
    pub fn place_bodies(&self, bodies: &[Body]) -> BodyChunks {
        let mut position = self.open.as_ref().expect("room was made").position();
        let mut place = |bytes: usize| {
            let bytes = u32::try_from(bytes).expect("a chunk is small");
            let chunk = ChunkRef { position, bytes };
            position.offset += CHUNK_OVERHEAD_BYTES as u32 + bytes;
            chunk
        };
        let of_body = |body: &Body| match body.stored_chunks() {
            Some(stored) => Chunks::from_slice(stored),
            None => chunk_lens(body.len(), &self.options).map(&mut place).collect(),
        };
        bodies.iter().map(of_body).collect()
    }

    /// Encodes the bodies of a batch that are in memory, each in chunks, and says where all of them are.
    pub fn put_bodies(&mut self, bodies: &[Body]) -> BodyChunks {
        bodies.iter().map(|body| self.put_body(body)).collect()
    }

    fn put_body(&mut self, body: &Body) -> Chunks {
        if let Some(stored) = body.stored_chunks() {
            return Chunks::from_slice(stored);
        }
        let mut cursor = PieceCursor::new(body.pieces());
        let mut email_id = body.email_id();
        let lens = chunk_lens(body.len(), &self.options);
        lens.enumerate()
            .map(|(index, bytes)| self.put_chunk(&mut email_id, index, bytes, &mut cursor))
            .collect()
    }

    /// One chunk of `bytes` bytes from the cursor. `email_id` is set by the first chunk of a body.
    pub fn put_chunk(
        &mut self,
        email_id: &mut Option<u64>,
        index: usize,
        bytes: usize,
        cursor: &mut PieceCursor<'_>,
    ) -> ChunkRef {
        let epoch = self.incarnation;
        self.open_mut().put_chunk(epoch, email_id, index, bytes, cursor)
    }

    /// Encodes a batch's records and registers its caller.
    pub fn put_batch(&mut self, plan: Plan, waiter: oneshot::Sender<Reply>) -> u64 {
        let mut entries = SmallVec::new();
        for record in plan.records {
            let place = self.put_record(&record);
            entries.push(Entry { record, place });
        }
        self.commits += 1;
        let commit = self.commits;
        let batch = Batch {
            entries,
            answer: plan.answer,
            waiter,
            touched: plan.touched,
            commit,
        };
        self.open_mut().batches.push(batch);
        commit
    }

    /// This commit and all before it are applied.
    pub fn note_settled(&mut self, commit: u64) {
        self.settled = commit;
    }

    /// Is everything that was encoded durable and applied?
    pub fn is_quiet(&self) -> bool {
        self.settled == self.commits
    }

    /// The last sequence of every partition, in flight or not.
    pub fn sequences(&self) -> &[u64] {
        &self.sequences
    }

    /// The sequence that the next record of `partition` will have.
    pub fn next_sequence(&self, partition: u16) -> u64 {
        self.sequences[usize::from(partition)] + 1
    }

    fn put_record(&mut self, record: &Record) -> Place {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        record.encode(&mut payload);
        let partition = record.partition();
        let sequence = self.next_sequence(partition);
        self.sequences[usize::from(partition)] = sequence;
        let header = RecordHeader {
            payload_bytes: u32::try_from(payload.len()).expect("a batch is below 4 GiB"),
            kind: record.kind(),
            flags: 0,
            partition,
            epoch: self.incarnation,
            sequence,
        };
        let position = self.open_mut().put_record(&header, &payload);
        self.scratch = payload;
        let bytes = u32::try_from(header.record_bytes()).expect("a batch is below 4 GiB");
        Place {
            position,
            bytes,
            sequence,
        }
    }
}

/// What a chunk needs beside its piece of the body.
pub const CHUNK_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + CHUNK_PREFIX_BYTES;

/// How a body of `len` octets is cut into chunks; an empty one has an empty chunk.
pub fn chunk_lens(len: u64, options: &StoreOptions) -> impl Iterator<Item = usize> + use<> {
    let len = usize::try_from(len).expect("it is in memory");
    let max = options.chunk_bytes_max;
    (0..len.div_ceil(max).max(1)).map(move |index| (len - index * max).min(max))
}

/// Bytes that these bodies need in a group.
pub fn bodies_bytes(bodies: &[Body], options: &StoreOptions) -> usize {
    let in_memory = bodies.iter().filter(|body| body.stored_chunks().is_none());
    in_memory
        .flat_map(|body| chunk_lens(body.len(), options))
        .map(|bytes| CHUNK_OVERHEAD_BYTES + bytes)
        .sum()
}
