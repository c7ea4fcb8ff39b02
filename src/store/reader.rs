//! Messages back from the log, of any core: nothing leaves here whose checksum was not right.
//!
//! Invariants: a segment is read only after its header was checked; a payload comes from the newest groups in memory,
//! from the cache, from stretches read ahead through the page cache, or from the disk, and is checked in all cases but the
//! second. What is wrong in a stretch is read from the disk itself before it is called damaged.
//! Limits: [`OPEN_SEGMENTS_MAX`], `cache`.
//! Failure: [`StoreError::Damaged`] names the position; the rest of the store stays readable.

use super::cache::{Cache, RecentGroups};
use super::frame::{RECORD_HEADER_BYTES, RecordHeader, RecordSeed};
use super::record::{CHUNK_PREFIX_BYTES, MessageRecord, chunk_prefix, kind};
use super::segment::{SegmentHeader, segment_name};
use super::types::Owner;
use super::windows::{self, Span, Windows};
use super::{ChunkRef, MessageRow, StoreError, StoredMessage};
use crate::base::id_map::IdMap;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::model::{AccountId, LogPosition, SegmentId};
use bytes::Bytes;
use futures_util::future::join_all;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;

/// Open segment files a core keeps: 16 GiB of mail without reopening, and few descriptors of the process's limit. Each may have a
/// second one, through the page cache.
pub const OPEN_SEGMENTS_MAX: usize = 256;

type BufferOf<D> = <<D as Disk>::File as DiskFile>::Buffer;
type ReadOf<D> = <<D as Disk>::File as DiskFile>::ReadBuffer;

/// Reads records of all logs.
pub struct LogReader<D: Disk> {
    disk: D,
    store_id: u64,
    files: RefCell<OpenSegments<D::File>>,
    cache: RefCell<Cache>,
    recent: RefCell<RecentGroups<BufferOf<D>>>,
    windows: RefCell<Windows<ReadOf<D>>>,
}

struct OpenSegments<F> {
    files: IdMap<SegmentId, (RecordSeed, F)>,
    order: VecDeque<SegmentId>,
}

impl<D: Disk> LogReader<D> {
    /// Reads the store with this id.
    pub fn new(disk: D, store_id: u64) -> Self {
        Self {
            disk,
            store_id,
            files: RefCell::new(OpenSegments {
                files: IdMap::default(),
                order: VecDeque::new(),
            }),
            cache: RefCell::default(),
            recent: RefCell::default(),
            windows: RefCell::default(),
        }
    }

    /// A segment whose file is open already.
    pub fn know(&self, segment: SegmentId, seed: RecordSeed, file: D::File) {
        let mut open = self.files.borrow_mut();
        if open.files.insert(segment, (seed, file)).is_none() {
            open.order.push_back(segment);
        }
        if open.order.len() > OPEN_SEGMENTS_MAX
            && let Some(oldest) = open.order.pop_front()
        {
            open.files.remove(&oldest);
        }
    }

    /// A group of this core that is durable now.
    pub fn keep_group(&self, segment: SegmentId, start: u32, buffer: Rc<BufferOf<D>>) {
        self.recent.borrow_mut().keep(segment, start, buffer);
    }

    /// Is the segment there?
    pub async fn is_there(&self, segment: SegmentId) -> Result<bool, StoreError> {
        match self.segment(segment).await {
            Ok(_) => Ok(true),
            Err(StoreError::Disk(DiskError::NotFound { .. })) => Ok(false),
            Err(other) => Err(other),
        }
    }

    async fn segment(&self, segment: SegmentId) -> Result<(RecordSeed, D::File), StoreError> {
        if let Some((seed, file)) = self.files.borrow().files.get(&segment) {
            return Ok((*seed, file.clone()));
        }
        let file = self.disk.open(&segment_name(segment)).await?;
        let block = file.read_at(0, BLOCK_BYTES).await?;
        let start = LogPosition { segment, offset: 0 };
        let header = SegmentHeader::decode(block.as_ref())
            .map_err(|why| damaged(start, format!("the segment's header: {why}")))?;
        if header.segment != segment || header.store_id != self.store_id {
            return Err(damaged(start, "the segment belongs elsewhere".to_owned()));
        }
        let seed = header.record_seed();
        self.know(segment, seed, file.clone());
        Ok((seed, file))
    }

    /// These segments are freed: their files are let go.
    pub fn forget(&self, segments: &BTreeSet<SegmentId>) {
        let mut open = self.files.borrow_mut();
        open.files.retain(|segment, _| !segments.contains(segment));
        open.order.retain(|segment| !segments.contains(segment));
    }

    /// A message's record, which must be one of `account`.
    pub async fn message_record(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<MessageRecord, StoreError> {
        let position = row.record;
        let decoded = match self.look_in_memory(position, kind::MESSAGE, MessageRecord::of_payload) {
            Some(decoded) => decoded,
            None => MessageRecord::of_payload(&self.message_from_disk(row).await?),
        };
        let message = decoded.map_err(|why| damaged(position, format!("a message record: {}", why.0)))?;
        // INTERNALDATE travels with the row through every copy, and SAVEDATE never goes back: a record of another message
        // at this place shows.
        let is_this_row = message.account == account
            && message.size() == u64::from(row.size)
            && message.internal_date == row.internal_date()
            && message.save_date <= row.save_date;
        if !is_this_row {
            return Err(damaged(position, "the record is not this row's".to_owned()));
        }
        Ok(message)
    }

    /// Opens a message: as [`Self::message_record`], for [`Self::read_message`].
    pub async fn open_message(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<StoredMessage, StoreError> {
        let message = self.message_record(account, row).await?;
        Ok(StoredMessage {
            size: message.size(),
            prefix: message.prefix,
            chunks: message.chunks,
            email_id: message.email_id,
            owner: Some(Owner {
                account,
                uid: row.uid,
                record: row.record,
            }),
            pins: SmallVec::new(),
        })
    }

    async fn message_from_disk(&self, row: &MessageRow) -> Result<Bytes, StoreError> {
        let position = row.record;
        // Its chunk may end right where it begins.
        let Span { start, end, .. } = Span::of(row);
        let (seed, file) = self.segment(position.segment).await?;
        let read = file.read_at(u64::from(start), (end - start) as usize).await?;
        let bytes = read.as_ref();
        let at = (position.offset - start) as usize;
        let record = bytes
            .get(at..)
            .ok_or_else(|| damaged(position, "it ends too early".to_owned()))?;
        let payload = checked_payload(position, seed, kind::MESSAGE, record)?;
        self.cache.borrow_mut().keep(position, &payload);
        self.keep_chunks_of(&payload, position.segment, seed, start, bytes);
        Ok(payload)
    }

    /// Keeps the chunks of a message that came in with its record.
    fn keep_chunks_of(&self, payload: &[u8], segment: SegmentId, seed: RecordSeed, start: u32, bytes: &[u8]) {
        let Ok(message) = MessageRecord::of_payload(payload) else {
            return;
        };
        for chunk in message
            .chunks
            .iter()
            .filter(|chunk| chunk.position.segment == segment)
        {
            let Some(at) = chunk.position.offset.checked_sub(start) else {
                continue;
            };
            let Some(record) = bytes.get(at as usize..) else {
                continue;
            };
            if let Ok(payload) = checked_payload(chunk.position, seed, kind::CHUNK, record) {
                self.cache.borrow_mut().keep(chunk.position, &payload);
            }
        }
    }

    /// Octets of `range` of prefix + body.
    pub async fn read_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut out = Vec::new();
        let prefix_len = message.prefix.len() as u64;
        out.extend(overlap(&range, 0, prefix_len).map(|part| message.prefix.slice(part)));
        let mut start = prefix_len;
        for (index, chunk) in message.chunks.iter().enumerate() {
            if let Some(part) = overlap(&range, start, u64::from(chunk.bytes)) {
                out.push(self.chunk(*chunk, message.email_id, index).await?.slice(part));
            }
            start += u64::from(chunk.bytes);
        }
        Ok(out)
    }

    /// Appends octets of `range` of prefix + body to `out`, copied once from where they are in memory. `take` sees each
    /// piece and says how much of it is wanted; what comes behind the first that is not wanted whole is left out. After an
    /// error nothing was appended.
    pub async fn append_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
        take: impl FnMut(&[u8]) -> usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let before = out.len();
        let appended = self.append_pieces(message, range, take, out).await;
        if appended.is_err() {
            out.truncate(before);
        }
        appended
    }

    async fn append_pieces(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
        mut take: impl FnMut(&[u8]) -> usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        // False: it was the last.
        let mut append = |piece: &[u8]| {
            let wanted = take(piece);
            out.extend_from_slice(&piece[..wanted]);
            wanted == piece.len()
        };
        let prefix_len = message.prefix.len() as u64;
        if let Some(part) = overlap(&range, 0, prefix_len)
            && !append(&message.prefix[part])
        {
            return Ok(());
        }
        let mut start = prefix_len;
        for (index, chunk) in message.chunks.iter().enumerate() {
            let place = (message.email_id, index);
            if let Some(part) = overlap(&range, start, u64::from(chunk.bytes)) {
                let append_part =
                    |payload: &[u8]| Ok(append(&octets_of(chunk, place, payload)?[part.clone()]));
                let is_more: Result<bool, StoreError> =
                    match self.look_in_memory(chunk.position, kind::CHUNK, append_part) {
                        Some(appended) => appended,
                        None => {
                            let payload = self.chunk_from_disk(*chunk).await?;
                            Ok(append(&octets_of(chunk, place, &payload)?[part]))
                        }
                    };
                if !is_more? {
                    return Ok(());
                }
            }
            start += u64::from(chunk.bytes);
        }
        Ok(())
    }

    /// A chunk's piece of the body.
    async fn chunk(&self, chunk: ChunkRef, email_id: u64, index: usize) -> Result<Bytes, StoreError> {
        let payload = match self.payload_in_memory(chunk.position, kind::CHUNK) {
            Some(payload) => payload,
            None => self.chunk_from_disk(chunk).await?,
        };
        octets_of(&chunk, (email_id, index), &payload)?;
        Ok(payload.slice(CHUNK_PREFIX_BYTES..))
    }

    async fn chunk_from_disk(&self, chunk: ChunkRef) -> Result<Bytes, StoreError> {
        let (seed, file) = self.segment(chunk.position.segment).await?;
        let len = RECORD_HEADER_BYTES + CHUNK_PREFIX_BYTES + chunk.bytes as usize;
        let read = file.read_at(u64::from(chunk.position.offset), len).await?;
        let payload = checked_payload(chunk.position, seed, kind::CHUNK, read.as_ref())?;
        self.cache.borrow_mut().keep(chunk.position, &payload);
        Ok(payload)
    }

    /// Reads ahead what these rows' messages need, as far as it is not in memory, near ones by one read. What cannot be
    /// read is passed over: whoever opens the message hears why.
    pub async fn read_ahead(&self, rows: impl Iterator<Item = &MessageRow>) {
        let rows: Vec<&MessageRow> = rows.collect();
        let unread = rows.iter().filter(|row| !self.is_in_memory(row.record));
        let unread = unread.filter(|row| !self.windows.borrow().has(&Span::of(row)));
        self.read_windows(windows::around(unread.copied())).await;
        // Bodies of messages that came by one command, or went to several accounts, do not lie before their records.
        let bodies = rows.iter().filter(|row| Span::holds_body(row));
        let chunks = bodies.flat_map(|row| self.chunks_elsewhere(row));
        let spans = chunks.map(|chunk| Span::of_chunk(&chunk));
        let spans = spans.filter(|span| !self.windows.borrow().has(span));
        self.read_windows(windows::merged(spans.collect())).await;
    }

    async fn read_windows(&self, spans: Vec<Span>) {
        match &spans[..] {
            [] => {}
            [span] => self.read_window(*span).await,
            spans => {
                join_all(spans.iter().map(|span| self.read_window(*span))).await;
            }
        }
    }

    /// Of the body of a message whose record is in memory, what is not.
    fn chunks_elsewhere(&self, row: &MessageRow) -> SmallVec<[ChunkRef; 1]> {
        let windows = self.windows.borrow();
        let find = |position| windows.peek(position);
        let message = self.look_in(find, row.record, kind::MESSAGE, MessageRecord::of_payload);
        let mut chunks = message
            .and_then(Result::ok)
            .map(|message| message.chunks)
            .unwrap_or_default();
        chunks.retain(|chunk| !self.is_in_memory(chunk.position));
        chunks
    }

    async fn read_window(&self, span: Span) {
        let Ok((_, file)) = self.segment(span.segment).await else {
            return;
        };
        let len = (span.end - span.start) as usize;
        // What is wrong with it shows when a record is taken out of it, and that is read again from the disk itself.
        if let Ok(read) = file.read_cached_at(u64::from(span.start), len).await {
            self.windows.borrow_mut().keep(span.segment, span.start, read);
        }
    }

    /// Was this row's message, or most of it, read ahead, or is its record in memory?
    pub fn is_ahead(&self, row: &MessageRow) -> bool {
        self.windows.borrow().has(&Span::of(row)) || self.is_in_memory(row.record)
    }

    /// Is it in the cache or among the newest groups?
    pub fn is_in_memory(&self, position: LogPosition) -> bool {
        self.cache.borrow().find(position).is_some() || self.recent.borrow().find(position).is_some()
    }

    fn payload_in_memory(&self, position: LogPosition, kind: u8) -> Option<Bytes> {
        let cached = self.cache.borrow().find(position).cloned();
        cached.or_else(|| self.look_in_memory(position, kind, Bytes::copy_from_slice))
    }

    /// What `look` makes of a payload that is in memory.
    fn look_in_memory<R>(&self, position: LogPosition, kind: u8, look: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let windows = self.windows.borrow();
        self.look_in(|position| windows.find(position), position, kind, look)
    }

    /// The same, with what is in the windows found by `find`.
    fn look_in<'a, R>(
        &self,
        find: impl FnOnce(LogPosition) -> Option<&'a [u8]>,
        position: LogPosition,
        kind: u8,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        if let Some(payload) = self.cache.borrow().find(position) {
            return Some(look(payload));
        }
        let files = self.files.borrow();
        let seed = files.files.get(&position.segment).map(|(seed, _)| *seed)?;
        // Checked as well: memory is no more to be trusted than the disk, and this is where a bug would show.
        let recent = self.recent.borrow();
        if let Some(record) = recent.find(position)
            && let Ok(payload) = checked(position, seed, kind, record)
        {
            return Some(look(payload));
        }
        let record = find(position)?;
        checked(position, seed, kind, record).ok().map(look)
    }
}

fn damaged(position: LogPosition, what: String) -> StoreError {
    StoreError::Damaged { position, what }
}

/// The octets of the body in a chunk's payload. In format 1 a checksum knows its segment and not its place: what says then
/// that a block was not swapped with another is `place`, the body's email id and the chunk's number in it.
fn octets_of<'a>(chunk: &ChunkRef, place: (u64, usize), payload: &'a [u8]) -> Result<&'a [u8], StoreError> {
    if payload.len() != CHUNK_PREFIX_BYTES + chunk.bytes as usize {
        return Err(damaged(chunk.position, "a chunk of another length".to_owned()));
    }
    let (prefix, octets) = payload.split_at(CHUNK_PREFIX_BYTES);
    let index = u32::try_from(place.1).unwrap_or(u32::MAX);
    if prefix != chunk_prefix(place.0, index) {
        return Err(damaged(chunk.position, "a chunk of another message".to_owned()));
    }
    Ok(octets)
}

fn checked_payload(
    position: LogPosition,
    seed: RecordSeed,
    kind: u8,
    record: &[u8],
) -> Result<Bytes, StoreError> {
    checked(position, seed, kind, record).map(Bytes::copy_from_slice)
}

fn checked(position: LogPosition, seed: RecordSeed, kind: u8, record: &[u8]) -> Result<&[u8], StoreError> {
    match RecordHeader::decode(seed.at(position.offset), record) {
        Ok((header, payload)) if is_kind(header.kind, kind) => Ok(payload),
        Ok(_) => Err(damaged(position, "a record of another kind".to_owned())),
        Err(why) => Err(damaged(position, why.0.to_owned())),
    }
}

/// A message's record may have been written anew.
fn is_kind(found: u8, wanted: u8) -> bool {
    let is_message = matches!(found, kind::MESSAGE_MOVED | kind::UNDELETED);
    found == wanted || is_message && wanted == kind::MESSAGE
}

/// The part of `start..start + len` that lies in `range`, relative to `start`.
fn overlap(range: &Range<u64>, start: u64, len: u64) -> Option<Range<usize>> {
    let from = range.start.clamp(start, start + len) - start;
    let to = range.end.clamp(start, start + len) - start;
    let part = usize::try_from(from).ok()?..usize::try_from(to).ok()?;
    (!part.is_empty()).then_some(part)
}
