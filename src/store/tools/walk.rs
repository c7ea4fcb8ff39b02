//! Every log of a store from its first group to its end, over damage.
//!
//! Invariants: groups are told in the order of recovery (incarnation, log, sequence); what recovery would drop as a
//! torn tail is told as one and its records are not; damage and torn tail are told apart as recovery does it (by
//! `durable_to`, by a seal, by a checkpoint, by a newer incarnation). A group that lies where another one belongs (swapped blocks,
//! a misdirected write) is passed over: its records' places would be wrong. Which of two that is, `order` says.
//! Limits: what is read is linear in the log's bytes, whatever is damaged, but for headers gone before records that claim to be long.
//! Not here: what records say (`survey`).

use super::Progress;
use super::blocks::Blocks;
use super::damage::Damage;
use super::derived::Evidence;
use super::order::{Candidate, in_place};
use super::pieces::{Piece, Trust, headless, pieces};
use super::segments::{SegmentFile, Segments};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::model::{LogPosition, SegmentId};
use crate::store::compaction::Released;
use crate::store::frame::{GROUP_HEADER_BYTES, GroupHeader, RECORD_HEADER_BYTES, RecordHeader};
use crate::store::record::kind;
use crate::store::scan::LogName;
use std::collections::HashSet;

const BLOCK: u64 = BLOCK_BYTES as u64;
const OUT_OF_PLACE: &str = "a group that belongs elsewhere";

/// What is found on the way.
pub enum Event<'a> {
    /// A group begins; its records follow.
    Group {
        position: LogPosition,
        header: &'a GroupHeader,
    },
    /// A record whose checksum is right.
    Record {
        position: LogPosition,
        header: RecordHeader,
        payload: &'a [u8],
        trust: Trust,
    },
    /// A record whose checksum is wrong: header and payload as they stand there, if they can be told.
    BadRecord {
        position: LogPosition,
        bytes: u64,
        guess: Option<(RecordHeader, &'a [u8])>,
    },
    /// Anything else that is wrong.
    Damage(Damage),
    /// A log of the newest start ends here without a seal: it was cut off, or its end is gone without a witness.
    NoSeal { position: LogPosition },
    /// Behind here lies what was never acknowledged.
    TornTail { position: LogPosition, bytes: u64 },
}

/// Tells everything in `segments` to `see`.
pub async fn walk<D: Disk>(segments: &Segments<D>, see: &mut dyn FnMut(Event<'_>), progress: Progress<'_>) {
    let mut done = 0;
    for (name, files) in &segments.logs {
        let until = segments.frontiers.get(name).copied();
        let mut log = LogWalk {
            store_id: segments.store_id,
            name: *name,
            evidence: segments.evidence(*name),
            until,
            is_older: name.incarnation < segments.newest,
            last: 0,
            end: None,
            is_sealed: false,
            released: &segments.released,
            see,
        };
        match until {
            // What lies behind is being written, and whoever writes it vouches for what lies before.
            Some(_) => log.evidence.durable_to = until,
            None => log.look_for_evidence(files).await,
        }
        for (index, file) in files.iter().enumerate() {
            let mut told = |at: u64| progress(done + at, segments.bytes);
            let has_ended = log.segment(files, index, &mut told).await;
            done += file.len;
            if has_ended {
                done += files[index + 1..].iter().map(|file| file.len).sum::<u64>();
                break;
            }
        }
        log.finish(files).await;
        progress(done, segments.bytes);
    }
}

struct LogWalk<'a> {
    store_id: u64,
    name: LogName,
    evidence: Evidence,
    /// A server writes on from here.
    until: Option<LogPosition>,
    /// A newer incarnation exists: this log must end in a seal.
    is_older: bool,
    /// Sequence of the newest group.
    last: u64,
    /// Behind the newest group.
    end: Option<LogPosition>,
    is_sealed: bool,
    released: &'a Released,
    see: &'a mut dyn FnMut(Event<'_>),
}

fn position<F>(file: &SegmentFile<F>, offset: u64) -> LogPosition {
    LogPosition {
        segment: file.id,
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
    }
}

/// Header and padding of a group.
fn padded(bytes: u32) -> u64 {
    u64::from(bytes).next_multiple_of(BLOCK).max(BLOCK)
}

impl LogWalk<'_> {
    fn decode<F>(&self, file: &SegmentFile<F>, bytes: &[u8]) -> Option<GroupHeader> {
        GroupHeader::decode(self.store_id, bytes).filter(|header| {
            header.segment == file.id
                && header.generation == file.generation
                && header.log == self.name.log
                && header.incarnation == self.name.incarnation
        })
    }

    async fn look_for_evidence<F: DiskFile>(&mut self, files: &[SegmentFile<F>]) {
        for file in files {
            let mut blocks = Blocks::new(file.file.clone(), file.len);
            let mut offset = BLOCK;
            while offset + GROUP_HEADER_BYTES as u64 <= file.len {
                let bytes = blocks.get(offset, BLOCK_BYTES).await;
                let Some(header) = self.decode(file, bytes) else {
                    offset += BLOCK;
                    continue;
                };
                self.evidence.durable_to = self.evidence.durable_to.max(Some(header.durable_to));
                let seed = file.group_seed(offset).at(GROUP_HEADER_BYTES as u32);
                let first = bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default();
                if header.records == 1
                    && RecordHeader::decode(seed, first).is_ok_and(|(record, _)| record.kind == kind::SEAL)
                {
                    self.evidence.has_seal = true;
                }
                offset += padded(header.bytes);
            }
        }
    }

    /// Was what lies at `at` acknowledged once?
    fn was_durable(&self, at: LogPosition) -> bool {
        self.is_older || self.evidence.has_seal || self.evidence.durable_to.is_some_and(|to| to > at)
    }

    fn damage(&mut self, at: LogPosition, bytes: u64, what: impl Into<String>) {
        (self.see)(Event::Damage(Damage::at(at, bytes, what)));
    }

    /// Walks one segment; true when the log ends in it.
    async fn segment<F: DiskFile>(
        &mut self,
        files: &[SegmentFile<F>],
        index: usize,
        told: &mut dyn FnMut(u64),
    ) -> bool {
        self.pass_released();
        if self.is_sealed {
            return true;
        }
        let file = &files[index];
        let mut blocks = Blocks::new(file.file.clone(), file.len);
        let mut offset = BLOCK;
        // Where the blocks begin that hold no group of this log; groups are contiguous in a segment.
        let mut hole: Option<u64> = None;
        // Looked for when the first group comes that is not the next: places of groups that are where they were written.
        let mut placed: Option<HashSet<u64>> = None;
        while offset < file.len && self.until.is_none_or(|until| position(file, offset) < until) {
            told(offset);
            let bytes = blocks.get(offset, GROUP_HEADER_BYTES).await;
            let header = self.decode(file, bytes);
            let is_header = GroupHeader::decode(self.store_id, bytes).is_some();
            self.tell_unreadable(file, &mut blocks);
            let header = match header {
                Some(header) if header.sequence > self.last => header,
                other => {
                    if other.is_some() {
                        self.damage(position(file, offset), 0, OUT_OF_PLACE);
                    }
                    let is_expected = hole.is_none() && !is_header;
                    hole.get_or_insert(offset);
                    offset += if is_expected {
                        self.headless(file, &mut blocks, offset).await
                    } else {
                        BLOCK
                    };
                    if is_expected && self.end == Some(position(file, offset)) {
                        hole = None;
                    }
                    continue;
                }
            };
            // Without a hole here, what is missing lay at the end of an earlier segment.
            let at = hole.map(|hole| position(file, hole)).or(self.end);
            let at = at.unwrap_or_else(|| position(file, offset));
            if header.sequence > self.last + 1 {
                if !self.was_durable(at) {
                    return true;
                }
                if placed.is_none() {
                    placed = Some(self.in_place(file, offset).await);
                }
                if placed.as_ref().is_some_and(|placed| !placed.contains(&offset)) {
                    self.damage(position(file, offset), 0, OUT_OF_PLACE);
                    hole.get_or_insert(offset);
                    offset += BLOCK;
                    continue;
                }
                let missing = header.sequence - self.last - 1;
                let what = format!(
                    "{missing} groups before number {} are damaged or missing",
                    header.sequence
                );
                self.damage(at, hole.map_or(0, |hole| offset - hole), what);
            } else if let Some(start) = hole {
                self.damage(at, offset - start, "blocks between groups that belong to none");
            }
            let Some(bytes) = self.group(file, &mut blocks, offset, &header).await else {
                return true;
            };
            hole = None;
            self.last = header.sequence;
            offset += bytes;
            self.end = Some(position(file, offset));
            if self.is_sealed {
                return true;
            }
        }
        false
    }

    fn tell_unreadable<F: DiskFile>(&mut self, file: &SegmentFile<F>, blocks: &mut Blocks<F>) {
        for (offset, why) in std::mem::take(&mut blocks.unreadable) {
            self.damage(
                position(file, offset),
                BLOCK,
                format!("a block cannot be read: {why}"),
            );
        }
    }

    /// Where the groups from `offset` on lie that are newer than the newest so far and in their places.
    async fn in_place<F: DiskFile>(&self, file: &SegmentFile<F>, mut offset: u64) -> HashSet<u64> {
        let mut blocks = Blocks::new(file.file.clone(), file.len);
        let mut found = Vec::new();
        while offset < file.len {
            let bytes = blocks.get(offset, GROUP_HEADER_BYTES).await;
            let header = self.decode(file, bytes);
            if let Some(header) = header.filter(|header| header.sequence > self.last) {
                found.push(Candidate {
                    offset,
                    end: offset + padded(header.bytes),
                    sequence: header.sequence,
                    is_sure: begins_right(file, &mut blocks, offset).await,
                });
            }
            offset += BLOCK;
        }
        in_place(&found)
    }

    /// Tells the records of the group at `offset`; gives its bytes on disk, `None` if the log ends before it.
    async fn group<F: DiskFile>(
        &mut self,
        file: &SegmentFile<F>,
        blocks: &mut Blocks<F>,
        offset: u64,
        header: &GroupHeader,
    ) -> Option<u64> {
        let start = position(file, offset);
        let on_disk = padded(header.bytes);
        let whole = usize::try_from(on_disk).unwrap_or(usize::MAX);
        let bytes = blocks.get(offset, whole).await.to_vec();
        self.tell_unreadable(file, blocks);
        let (used, padding) = bytes.split_at(bytes.len().min(header.bytes as usize));
        let found = pieces(file.group_seed(offset), used, header.records);
        let is_short = used.len() < header.bytes as usize;
        let is_bad = is_short || found.iter().any(|piece| matches!(piece, Piece::Bad { .. }));
        if is_bad && !self.was_durable(start) {
            return None;
        }
        (self.see)(Event::Group {
            position: start,
            header,
        });
        self.tell(file, offset, used, &found);
        if is_short {
            self.damage(start, bytes.len() as u64, "the file ends inside this group");
        } else if !is_bad && found.len() as u64 != u64::from(header.records) {
            self.damage(start, on_disk, "another number of records than the group says");
        }
        // A group that was never vouched for may have lost sectors of its padding with its power; a seal vouches for what
        // lies before it, not for itself.
        let is_vouched = if self.is_sealed {
            self.is_older || self.evidence.durable_to.is_some_and(|to| to > start)
        } else {
            self.was_durable(start)
        };
        if padding.iter().any(|byte| *byte != 0) && is_vouched {
            let at = position(file, offset + used.len() as u64);
            let what = "the padding behind a group is not zero; nothing stored is touched";
            self.damage(at, padding.len() as u64, what);
        }
        Some(on_disk)
    }

    /// A group whose header is gone, where one must begin; gives how far to go on.
    async fn headless<F: DiskFile>(
        &mut self,
        file: &SegmentFile<F>,
        blocks: &mut Blocks<F>,
        offset: u64,
    ) -> u64 {
        let start = position(file, offset);
        if !self.was_durable(start) {
            return BLOCK;
        }
        let (bytes, found) = self.headless_pieces(file, blocks, offset).await;
        let Some(end) = found.last().map(end_of) else {
            return BLOCK;
        };
        self.last += 1;
        self.damage(
            start,
            GROUP_HEADER_BYTES as u64,
            "the group's header is not what was written",
        );
        self.tell(file, offset, &bytes, &found);
        let on_disk = (end as u64).next_multiple_of(BLOCK);
        self.end = Some(position(file, offset + on_disk));
        on_disk
    }

    /// The records behind a header that is gone, with as many bytes as they need.
    async fn headless_pieces<F: DiskFile>(
        &self,
        file: &SegmentFile<F>,
        blocks: &mut Blocks<F>,
        offset: u64,
    ) -> (Vec<u8>, Vec<Piece>) {
        let left = usize::try_from(file.len - offset).unwrap_or(usize::MAX);
        let mut want = BLOCK_BYTES;
        loop {
            let bytes = blocks.get(offset, want).await.to_vec();
            let found = headless(file.group_seed(offset), &bytes);
            let end = found.last().map_or(GROUP_HEADER_BYTES, end_of);
            let needed = end.saturating_add(claimed(&bytes[end.min(bytes.len())..]));
            let is_all = needed <= bytes.len() || needed > left || bytes.len() < want;
            if is_all {
                return (bytes, found);
            }
            // Twice as much at least: all readings together cost about as much as the last one.
            want = needed.max(2 * want).min(left);
        }
    }

    fn tell<F>(&mut self, file: &SegmentFile<F>, offset: u64, bytes: &[u8], found: &[Piece]) {
        for piece in found {
            match piece {
                Piece::Record {
                    at,
                    header,
                    payload,
                    trust,
                } => {
                    self.is_sealed |= header.kind == kind::SEAL;
                    (self.see)(Event::Record {
                        position: position(file, offset + *at as u64),
                        header: *header,
                        payload: &bytes[payload.clone()],
                        trust: *trust,
                    });
                }
                Piece::Bad { range, .. } => (self.see)(Event::BadRecord {
                    position: position(file, offset + range.start as u64),
                    bytes: range.len() as u64,
                    guess: guess(&bytes[range.clone()]),
                }),
            }
        }
    }

    /// Goes on behind groups that compaction has freed.
    fn pass_released(&mut self) {
        while let Some(run) = self.released.at(self.name, self.last + 1) {
            self.last = run.last_group;
            self.is_sealed = run.has_seal;
        }
    }

    async fn finish<F: DiskFile>(&mut self, files: &[SegmentFile<F>]) {
        self.pass_released();
        let first = files.first().map_or(SegmentId(0), |file| file.id);
        let end = self.end.unwrap_or(LogPosition {
            segment: first,
            offset: BLOCK_BYTES as u32,
        });
        if self.is_sealed {
            return;
        }
        if let Some(until) = self.until {
            if end < until && !self.released.has(self.name, until.segment) {
                self.damage(end, 0, "what lies from here on to the end of this log is gone");
            }
            return;
        }
        // A log that never had a group needs no seal.
        let is_used = self.end.is_some() || self.evidence.durable_to.is_some();
        if !is_used && self.is_older {
            return;
        }
        if is_used && self.was_durable(end) {
            self.damage(end, 0, "the end of this log is gone");
            return;
        }
        (self.see)(Event::NoSeal { position: end });
        let bytes = self.torn_bytes(files, end).await;
        if bytes > 0 {
            (self.see)(Event::TornTail { position: end, bytes });
        }
    }

    async fn torn_bytes<F: DiskFile>(&self, files: &[SegmentFile<F>], end: LogPosition) -> u64 {
        let mut torn = 0;
        for file in files.iter().filter(|file| file.id >= end.segment) {
            let mut blocks = Blocks::new(file.file.clone(), file.len);
            let mut offset = if file.id == end.segment {
                u64::from(end.offset)
            } else {
                BLOCK
            };
            while offset < file.len {
                let bytes = blocks.get(offset, GROUP_HEADER_BYTES).await;
                if let Some(header) = self.decode(file, bytes) {
                    torn += u64::from(header.bytes);
                }
                offset += BLOCK;
            }
        }
        torn
    }
}

fn end_of(piece: &Piece) -> usize {
    match piece {
        Piece::Record { payload, .. } => payload.end,
        Piece::Bad { range, .. } => range.end,
    }
}

/// Bytes of the record that seems to begin here: its header's, if it cannot be one of ours.
fn claimed(bytes: &[u8]) -> usize {
    let header = unchecked(bytes).filter(|header| (kind::CHUNK..=kind::LAST).contains(&header.kind));
    let payload = header.map_or(0, |header| header.payload_bytes as usize);
    payload.saturating_add(RECORD_HEADER_BYTES)
}

/// Is the first record of the group at `offset` right where it lies? In segments of format 1 records do not know their place.
async fn begins_right<F: DiskFile>(file: &SegmentFile<F>, blocks: &mut Blocks<F>, offset: u64) -> bool {
    let first = blocks.get(offset, BLOCK_BYTES).await;
    let needed = GROUP_HEADER_BYTES + claimed(first.get(GROUP_HEADER_BYTES..).unwrap_or_default());
    let bytes = blocks.get(offset, needed).await;
    let seed = file.group_seed(offset).at(GROUP_HEADER_BYTES as u32);
    RecordHeader::decode(seed, bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default()).is_ok()
}

/// A record's header, whatever its checksum says.
fn unchecked(bytes: &[u8]) -> Option<RecordHeader> {
    let array = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    Some(RecordHeader {
        payload_bytes: array(0)?,
        kind: *bytes.get(4)?,
        flags: *bytes.get(5)?,
        partition: u16::from_le_bytes(bytes.get(6..8)?.try_into().ok()?),
        epoch: array(8)?,
        sequence: u64::from_le_bytes(bytes.get(12..20)?.try_into().ok()?),
    })
}

fn guess(bytes: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let header = unchecked(bytes)?;
    Some((header, bytes.get(RECORD_HEADER_BYTES..)?))
}
