//! One log of one incarnation, read from its first group to where it ends.
//!
//! Invariants: a group counts only when its header and every one of its records are right and it is the next in its
//! log; the first that is not ends the log. Because a group is written only after the one before it was synced, a
//! later group of the same log that names a `durable_to` beyond that end proves that something acknowledged is gone.
//! Limits: memory of one window ([`WINDOW_BYTES`], or one group if that is longer).
//! Failure: [`OpenError::Damaged`]; nothing has been changed then.
//! Not here: which logs there are, what is done about an end without a seal (`recovery`).

use super::OpenError;
use super::codec::Malformed;
use super::compaction::Released;
use super::frame::{GROUP_HEADER_BYTES, GroupHeader, RecordHeader, RecordSeed};
use super::record::kind;
use crate::disk::{BLOCK_BYTES, DiskError, DiskFile};
use crate::model::{LogPosition, SegmentId};

/// Bytes of one read.
const WINDOW_BYTES: usize = 1024 * 1024;

/// A segment to be scanned; its header was right.
#[derive(Clone)]
pub struct ScanSegment<F> {
    /// Its file.
    pub file: F,
    /// Bytes of the file.
    pub len: u64,
    /// From its header.
    pub id: SegmentId,
    /// From its header.
    pub generation: u32,
    /// From its header.
    pub version: u32,
}

impl<F> ScanSegment<F> {
    /// What the checksums of the records of the group at `offset` start from.
    fn group_seed(&self, offset: u64) -> RecordSeed {
        let offset = u32::try_from(offset).expect("a segment is below 4 GiB");
        RecordSeed::new(self.id, self.generation, self.version).behind(offset)
    }
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogName {
    /// Of which start.
    pub incarnation: u32,
    /// Of which core then.
    pub log: u16,
}

/// Where to begin in the first of a log's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanFrom {
    /// Of the first group to read.
    pub offset: u32,
    /// Of the group before it; 0: there is none.
    pub sequence: u64,
}

impl ScanFrom {
    /// All of the log.
    pub const BEGINNING: Self = Self {
        offset: BLOCK_BYTES as u32,
        sequence: 0,
    };
}

/// Where a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Behind the last group that counts; `None`: no group counts.
    pub cut: Option<LogPosition>,
    /// Index of the segment with the cut.
    pub segment_index: usize,
    /// The last group's sequence.
    pub sequence: u64,
    /// The last group is a seal.
    pub is_sealed: bool,
    /// Bytes behind the cut that look like groups but do not count.
    pub torn_bytes: u64,
    /// Behind the last group that counts in each segment up to the one with the cut.
    pub ends: Vec<u32>,
}

impl LogEnd {
    /// Goes on behind groups that compaction has freed: they fill whole segments.
    fn pass_released(&mut self, name: LogName, released: &Released) {
        while let Some(run) = released.at(name, self.sequence + 1) {
            self.sequence = run.last_group;
            self.is_sealed = run.has_seal;
        }
    }
}

/// A part of a file in memory.
pub struct Window<B> {
    start: u64,
    data: Option<B>,
}

impl<B: AsRef<[u8]>> Window<B> {
    /// Nothing yet.
    pub fn empty() -> Self {
        Self { start: 0, data: None }
    }

    fn slice(&self, position: u64, len: usize) -> Option<&[u8]> {
        let data = self.data.as_ref()?.as_ref();
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        data.get(at..at.checked_add(len)?)
    }

    /// `len` bytes at `position`, or fewer at the end of the file.
    pub async fn load<F: DiskFile<ReadBuffer = B>>(
        &mut self,
        file: &F,
        position: u64,
        len: usize,
    ) -> Result<&[u8], DiskError> {
        if self.slice(position, len).is_none() {
            self.data = Some(file.read_at(position, len.max(WINDOW_BYTES)).await?);
            self.start = position;
        }
        let data = self.data.as_ref().map_or(&[][..], |data| data.as_ref());
        let at = (position - self.start) as usize;
        Ok(&data[at..data.len().min(at + len)])
    }
}

/// Reads a log's segments, which ascend by id and of which some may have been freed, from `from` in the first of them, and gives every record but chunks and
/// seals to `each`.
pub async fn scan_log<F: DiskFile>(
    store_id: u64,
    name: LogName,
    segments: &[ScanSegment<F>],
    released: &Released,
    from: ScanFrom,
    mut each: impl FnMut(LogPosition, RecordHeader, &[u8]) -> Result<(), Malformed>,
) -> Result<LogEnd, OpenError> {
    let mut scan = Scan {
        store_id,
        name,
        window: Window::empty(),
    };
    let first = segments.first().filter(|_| from.sequence > 0);
    let mut end = LogEnd {
        cut: first.map(|segment| position(segment, u64::from(from.offset))),
        segment_index: 0,
        sequence: from.sequence,
        is_sealed: false,
        torn_bytes: 0,
        ends: vec![BLOCK_BYTES as u32; segments.len()],
    };
    if let Some(behind) = end.ends.first_mut() {
        *behind = from.offset;
    }
    for (index, segment) in segments.iter().enumerate() {
        end.pass_released(name, released);
        if end.is_sealed {
            break;
        }
        scan.window = Window::empty();
        let mut offset = u64::from(end.ends[index]);
        while let Some(group) = scan.group(segment, offset, end.sequence + 1).await? {
            let last_kind = scan.records(segment, offset, &group, &mut each).await?;
            offset += u64::from(group.bytes).next_multiple_of(BLOCK_BYTES as u64);
            let cut = position(segment, offset);
            end.cut = Some(cut);
            end.ends[index] = cut.offset;
            end.segment_index = index;
            end.sequence = group.sequence;
            end.is_sealed = last_kind == Some(kind::SEAL);
            if end.is_sealed {
                break;
            }
        }
    }
    end.pass_released(name, released);
    if !end.is_sealed {
        end.torn_bytes = scan.check_behind(segments, &end).await?;
    }
    end.ends.truncate(end.segment_index + 1);
    Ok(end)
}

fn position<F>(segment: &ScanSegment<F>, offset: u64) -> LogPosition {
    LogPosition {
        segment: segment.id,
        offset: u32::try_from(offset).expect("a segment is below 4 GiB"),
    }
}

struct Scan<F: DiskFile> {
    store_id: u64,
    name: LogName,
    window: Window<F::ReadBuffer>,
}

impl<F: DiskFile> Scan<F> {
    fn is_ours(&self, segment: &ScanSegment<F>, header: &GroupHeader) -> bool {
        header.segment == segment.id
            && header.generation == segment.generation
            && header.log == self.name.log
            && header.incarnation == self.name.incarnation
    }

    /// The header of the group at `offset`, if all of the group is right and it is number `sequence`.
    async fn group(
        &mut self,
        segment: &ScanSegment<F>,
        offset: u64,
        sequence: u64,
    ) -> Result<Option<GroupHeader>, DiskError> {
        let (store_id, seed) = (self.store_id, segment.group_seed(offset));
        if offset + GROUP_HEADER_BYTES as u64 > segment.len {
            return Ok(None);
        }
        let bytes = self
            .window
            .load(&segment.file, offset, GROUP_HEADER_BYTES)
            .await?;
        let Some(header) = GroupHeader::decode(store_id, bytes) else {
            return Ok(None);
        };
        let fits =
            header.bytes as usize >= GROUP_HEADER_BYTES && u64::from(header.bytes) + offset <= segment.len;
        if !self.is_ours(segment, &header) || header.sequence != sequence || !fits {
            return Ok(None);
        }
        let bytes = self
            .window
            .load(&segment.file, offset, header.bytes as usize)
            .await?;
        Ok(is_whole(&header, seed, bytes).then_some(header))
    }

    /// Hands out the records of a group that was found whole; gives the kind of the last one.
    async fn records(
        &mut self,
        segment: &ScanSegment<F>,
        offset: u64,
        group: &GroupHeader,
        each: &mut impl FnMut(LogPosition, RecordHeader, &[u8]) -> Result<(), Malformed>,
    ) -> Result<Option<u8>, OpenError> {
        let seed = segment.group_seed(offset);
        let bytes = self
            .window
            .load(&segment.file, offset, group.bytes as usize)
            .await?;
        let mut last_kind = None;
        let mut at = GROUP_HEADER_BYTES;
        while at < bytes.len() {
            let record_position = position(segment, offset + at as u64);
            let damaged = |why: Malformed| OpenError::Damaged {
                position: record_position,
                what: why.0.to_owned(),
            };
            let (header, payload) =
                RecordHeader::decode(seed.at(at as u32), &bytes[at..]).map_err(damaged)?;
            last_kind = Some(header.kind);
            if !matches!(header.kind, kind::CHUNK | kind::SEAL) {
                each(record_position, header, payload).map_err(damaged)?;
            }
            at += header.record_bytes();
        }
        Ok(last_kind)
    }

    /// Looks behind the end for groups that prove damage; gives the bytes of those that prove nothing.
    async fn check_behind(&mut self, segments: &[ScanSegment<F>], end: &LogEnd) -> Result<u64, OpenError> {
        let first = segments.first().map_or(SegmentId(0), |segment| segment.id);
        let first_group = LogPosition {
            segment: first,
            offset: BLOCK_BYTES as u32,
        };
        let cut = end.cut.unwrap_or(first_group);
        let mut torn_bytes = 0;
        for segment in &segments[end.segment_index.min(segments.len())..] {
            self.window = Window::empty();
            let mut offset = if segment.id == cut.segment {
                u64::from(cut.offset)
            } else {
                BLOCK_BYTES as u64
            };
            while offset + GROUP_HEADER_BYTES as u64 <= segment.len {
                let bytes = self
                    .window
                    .load(&segment.file, offset, GROUP_HEADER_BYTES)
                    .await?;
                let header = GroupHeader::decode(self.store_id, bytes);
                if let Some(header) = header.filter(|header| self.is_ours(segment, header)) {
                    if header.durable_to > cut {
                        let what = format!(
                            "the group here is not what was written (group {} says that all before {} was durable)",
                            header.sequence, header.durable_to
                        );
                        return Err(OpenError::Damaged { position: cut, what });
                    }
                    torn_bytes += u64::from(header.bytes);
                }
                offset += BLOCK_BYTES as u64;
            }
        }
        Ok(torn_bytes)
    }
}

/// True when the records fill the group exactly and every checksum is right.
fn is_whole(header: &GroupHeader, seed: RecordSeed, bytes: &[u8]) -> bool {
    if bytes.len() != header.bytes as usize {
        return false;
    }
    let mut rest = bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default();
    for _ in 0..header.records {
        let at = bytes.len() - rest.len();
        match RecordHeader::decode(seed.at(at as u32), rest) {
            Ok((record, _)) => rest = &rest[record.record_bytes()..],
            Err(_) => return false,
        }
    }
    rest.is_empty()
}

/// Is there any group of this store in the file, whatever its segment? Asked of files whose header is bad, and whose name may be.
pub async fn has_groups<F: DiskFile>(store_id: u64, file: &F, len: u64) -> Result<bool, DiskError> {
    let mut window = Window::empty();
    let mut offset = BLOCK_BYTES as u64;
    while offset + GROUP_HEADER_BYTES as u64 <= len {
        let bytes = window.load(file, offset, GROUP_HEADER_BYTES).await?;
        if GroupHeader::decode(store_id, bytes).is_some() {
            return Ok(true);
        }
        offset += BLOCK_BYTES as u64;
    }
    Ok(false)
}
