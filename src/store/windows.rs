//! Stretches of segments read ahead: many messages that lie near each other come with one read of the disk.
//!
//! Owns: which stretches a set of rows needs ([`around`]) and those read lately ([`Windows`]). A stretch is as the disk gave
//! it: whoever takes a record out of it checks the record.
//! Limits: [`WINDOW_BYTES_MAX`], [`GAP_BYTES_MAX`] of a read; [`WINDOWS_BYTES_MAX`] kept, [`USED_BYTES_MAX`] of them that were
//! used to their end.
//! Not here: reading (`reader`).

use super::log::CHUNK_OVERHEAD_BYTES;
use super::{ChunkRef, MessageRow};
use crate::disk::BLOCK_BYTES;
use crate::model::{LogPosition, SegmentId};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque, btree_map};
use std::rc::Rc;

/// Bytes of one read ahead: long enough that a disk works at its full rate, short enough to be there in about a millisecond.
pub const WINDOW_BYTES_MAX: u32 = 512 * 1024;

/// Bytes between two records that are read along rather than asked for apart: what a disk gives in the time of one more request.
pub const GAP_BYTES_MAX: u32 = 32 * 1024;

/// Bytes of windows a core keeps, for all sessions that read ahead; beside it the one read last.
pub const WINDOWS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Of these, bytes of windows whose last record was taken out: who did is done with them, or will be in a moment. More would be
/// memory that is touched for nothing (a mailbox that is read through once used all of [`WINDOWS_BYTES_MAX`]), where the next
/// window can have the place of the last one, near the processor.
/// Two mebibytes read 4 KiB messages a sixth more slowly than one; a half was no better.
pub const USED_BYTES_MAX: usize = 1024 * 1024;

/// How far before a message record its body is looked for in the same read. A short message's only chunk was written
/// right before its record, so that one read of the disk usually fetches both.
const BEHIND_BYTES_MAX: u32 = 128 * 1024;

/// Room for the headers of the record's chunk and of the record itself, and for a prefix.
const OVERHEAD_BYTES: u32 = 256;

/// The last record of a window begins so near its end: one of a message, with what was put before the body in it.
const LAST_BYTES: u64 = 4 * 1024;

/// A stretch of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Where.
    pub segment: SegmentId,
    /// The first byte.
    pub start: u32,
    /// Behind the last.
    pub end: u32,
}

impl Span {
    /// The row's message record, and what lies before it as far as its body is long.
    pub fn of(row: &MessageRow) -> Self {
        let LogPosition { segment, offset } = row.record;
        let behind = row.size.saturating_add(OVERHEAD_BYTES).min(BEHIND_BYTES_MAX);
        Self {
            segment,
            start: offset.saturating_sub(behind).max(BLOCK_BYTES as u32),
            end: offset.saturating_add(row.record_bytes),
        }
    }

    /// A chunk's record.
    pub fn of_chunk(chunk: &ChunkRef) -> Self {
        let LogPosition { segment, offset } = chunk.position;
        Self {
            segment,
            start: offset,
            end: offset
                .saturating_add(chunk.bytes)
                .saturating_add(CHUNK_OVERHEAD_BYTES as u32),
        }
    }

    /// Is this row's message short enough to be read ahead whole?
    pub fn holds_body(row: &MessageRow) -> bool {
        row.size <= BEHIND_BYTES_MAX
    }

    /// Records that lie closer than their bodies are long came by one command, and its bodies lie before them all. If they
    /// do not after all, as many bytes were read in vain as the bodies have.
    fn widened_by(self, bodies: u32) -> Self {
        let length = self.end - self.start;
        if bodies <= length {
            return self;
        }
        let length = bodies.saturating_add(length).min(WINDOW_BYTES_MAX.max(length));
        Self {
            start: self.end.saturating_sub(length).max(BLOCK_BYTES as u32),
            ..self
        }
    }

    fn can_take_in(&self, next: &Self) -> bool {
        self.segment == next.segment
            && next.start <= self.end.saturating_add(GAP_BYTES_MAX)
            && next.end.max(self.end) - self.start <= WINDOW_BYTES_MAX
    }
}

/// The stretches that hold the records of these rows and, as far as they tell, their bodies, each read once.
pub fn around<'a>(rows: impl Iterator<Item = &'a MessageRow>) -> Vec<Span> {
    let body_bytes = |row: &MessageRow| {
        let is_read = Span::holds_body(row) && row.body_segment == row.record.segment;
        if is_read { row.size + OVERHEAD_BYTES } else { 0 }
    };
    clustered(rows.map(|row| (Span::of(row), body_bytes(row))).collect())
}

/// Spans of records, each with the bytes of its body.
fn clustered(mut spans: Vec<(Span, u32)>) -> Vec<Span> {
    spans.sort_unstable();
    let mut clusters: Vec<(Span, u32)> = Vec::new();
    for (span, bytes) in spans {
        match clusters.last_mut() {
            Some((last, bodies)) if last.can_take_in(&span) => {
                last.end = last.end.max(span.end);
                *bodies = bodies.saturating_add(bytes);
            }
            _ => clusters.push((span, bytes)),
        }
    }
    let widened = clusters.into_iter().map(|(span, bodies)| span.widened_by(bodies));
    merged(widened.collect())
}

/// The stretches that hold these, each read once.
pub fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.can_take_in(&span) => last.end = last.end.max(span.end),
            _ => merged.push(span),
        }
    }
    merged
}

/// Stretches read lately, the oldest forgotten first.
pub struct Windows<B> {
    by_start: BTreeMap<(SegmentId, u32), Window<B>>,
    order: VecDeque<(SegmentId, u32)>,
    bytes: usize,
}

struct Window<B> {
    /// Behind its last byte, as an offset in the segment. Kept beside the bytes: a search looks at many windows and takes one.
    end: u64,
    /// A record was taken out that ends in its last part, where the last one does.
    is_used: Cell<bool>,
    bytes: Rc<B>,
}

impl<B: AsRef<[u8]>> Window<B> {
    fn length(&self) -> usize {
        (*self.bytes).as_ref().len()
    }
}

impl<B> Default for Windows<B> {
    fn default() -> Self {
        Self {
            by_start: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Windows<B> {
    /// Keeps what was read from `start` on; the oldest go.
    pub fn keep(&mut self, segment: SegmentId, start: u32, bytes: B) {
        let key = (segment, start);
        let length = bytes.as_ref().len();
        self.bytes += length;
        let window = Window {
            end: u64::from(start) + length as u64,
            is_used: Cell::new(false),
            bytes: Rc::new(bytes),
        };
        match self.by_start.insert(key, window) {
            Some(before) => self.bytes -= before.length(),
            None => self.order.push_back(key),
        }
        self.forget_used();
        while self.bytes > WINDOWS_BYTES_MAX && self.order.len() > 1 {
            let oldest = self.order.pop_front().expect("there are some");
            let gone = self.by_start.remove(&oldest);
            self.bytes -= gone.map_or(0, |gone| gone.length());
        }
    }

    /// Of the windows used to their end the oldest go.
    fn forget_used(&mut self) {
        let is_used = |key: &(SegmentId, u32)| self.by_start[key].is_used.get();
        let used = self.order.iter().filter(|key| is_used(key));
        let used_bytes = |key: &(SegmentId, u32)| self.by_start[key].length();
        let mut excess = used
            .clone()
            .map(used_bytes)
            .sum::<usize>()
            .saturating_sub(USED_BYTES_MAX);
        let mut gone: SmallVec<[(SegmentId, u32); 4]> = SmallVec::new();
        for key in used {
            if excess == 0 {
                break;
            }
            excess = excess.saturating_sub(used_bytes(key));
            gone.push(*key);
        }
        for key in gone {
            self.order.retain(|other| *other != key);
            let window = self.by_start.remove(&key).expect("it was looked at");
            self.bytes -= window.length();
        }
    }

    /// The bytes from `position` to the end of its window, of the one that reaches furthest where windows overlap (that
    /// around a command's records lies in that of its bodies and the next command's); none may be left.
    /// What is there is left for others to use; see [`Self::find`].
    pub fn peek(&self, position: LogPosition) -> Option<&[u8]> {
        rest_of(self.near(position), position)
    }

    /// Windows that begin before `position` and may reach it.
    fn near(&self, position: LogPosition) -> btree_map::Range<'_, (SegmentId, u32), Window<B>> {
        let LogPosition { segment, offset } = position;
        let first = offset.saturating_sub(WINDOW_BYTES_MAX);
        self.by_start.range((segment, first)..=(segment, offset))
    }

    /// As [`Self::peek`], to be used now.
    pub fn find(&self, position: LogPosition) -> Option<&[u8]> {
        let near = self.near(position).inspect(|(_, window)| {
            // Also of those that do not reach as far as another.
            let rest = window.end.checked_sub(u64::from(position.offset));
            if rest.is_some_and(|rest| rest < LAST_BYTES) {
                window.is_used.set(true);
            }
        });
        rest_of(near, position)
    }

    /// Is all of it there?
    pub fn has(&self, span: &Span) -> bool {
        let position = LogPosition {
            segment: span.segment,
            offset: span.start,
        };
        self.peek(position)
            .is_some_and(|rest| rest.len() >= (span.end - span.start) as usize)
    }
}

/// The bytes from `position` on, of the window that reaches furthest.
fn rest_of<'a, B: AsRef<[u8]> + 'a>(
    near: impl Iterator<Item = (&'a (SegmentId, u32), &'a Window<B>)>,
    position: LogPosition,
) -> Option<&'a [u8]> {
    let ((_, start), window) = near.max_by_key(|(_, window)| window.end)?;
    let rest = (*window.bytes)
        .as_ref()
        .get((position.offset - start) as usize..)?;
    (!rest.is_empty()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span(segment: u32, start: u32, end: u32) -> Span {
        Span {
            segment: SegmentId(segment),
            start,
            end,
        }
    }

    #[test]
    fn near_records_come_with_one_read_and_far_ones_with_their_own() {
        let spans = vec![
            span(1, 90_000, 95_000),
            span(1, 5_000, 10_000),
            span(1, 12_000, 60_000),
            span(2, 60_000, 61_000),
        ];
        let merged = merged(spans);
        assert_eq!(merged, [span(1, 5_000, 95_000), span(2, 60_000, 61_000)]);
    }

    #[test]
    fn who_reads_through_a_mailbox_once_uses_little_memory_and_others_keep_theirs() {
        let mut windows = Windows::default();
        let position = |segment: u32, offset: u32| LogPosition {
            segment: SegmentId(segment),
            offset,
        };
        windows.keep(SegmentId(2), 0, vec![2; WINDOW_BYTES_MAX as usize]);
        for number in 0..100 {
            let start = number * WINDOW_BYTES_MAX;
            windows.keep(SegmentId(1), start, vec![1; WINDOW_BYTES_MAX as usize]);
            let first = windows.find(position(1, start)).map(<[u8]>::len);
            assert_eq!(first, Some(WINDOW_BYTES_MAX as usize));
            let last = windows.find(position(1, start + WINDOW_BYTES_MAX - 500));
            assert_eq!(last.map(<[u8]>::len), Some(500));
            assert!(windows.bytes <= USED_BYTES_MAX + 2 * WINDOW_BYTES_MAX as usize);
            assert_eq!(windows.order.len(), windows.by_start.len());
        }
        assert!(windows.find(position(2, 0)).is_some(), "it was not used yet");
        assert!(
            windows.find(position(1, 98 * WINDOW_BYTES_MAX)).is_some(),
            "it may be in use"
        );
    }

    #[test]
    fn bodies_that_came_by_one_command_come_with_its_records() {
        // Twenty-five bodies of 4 KiB from 8,192 on, then their records.
        let record = |number: u32| 8_192 + 25 * 4_352 + number * 160;
        let spans = (0..25).map(|n| (span(1, record(n) - 4_352, record(n) + 160), 4_352));
        let around = clustered(spans.collect());
        assert_eq!(around.len(), 1);
        assert!(
            around[0].start <= 8_192 && around[0].end == record(24) + 160,
            "{around:?}"
        );
        // One whose body lies before it needs no more.
        assert_eq!(
            clustered(vec![(span(1, 20_000, 24_600), 4_352)]),
            [span(1, 20_000, 24_600)]
        );
        // The first blocks are not the log's.
        let low = vec![(span(1, 5_000, 5_100), 90_000)];
        assert_eq!(clustered(low), [span(1, BLOCK_BYTES as u32, 5_100)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_record_lies_in_a_stretch_and_none_is_too_long(
            spans in proptest::collection::vec((0..3_u32, 4_096..4_000_000_u32, 1..60_000_u32, 0..130_000_u32), 0..60)
        ) {
            let spans = spans.into_iter().map(|(s, start, len, body)| (span(s, start, start + len), body));
            let spans: Vec<(Span, u32)> = spans.collect();
            let around = clustered(spans.clone());
            for (span, _) in &spans {
                prop_assert!(around.iter().any(|m| m.segment == span.segment && m.start <= span.start && m.end >= span.end));
            }
            prop_assert!(around.iter().all(|m| m.end - m.start <= WINDOW_BYTES_MAX));
        }

        #[test]
        fn every_span_lies_in_a_merged_one_and_none_is_too_long(
            spans in proptest::collection::vec((0..3_u32, 4_096..4_000_000_u32, 1..60_000_u32), 0..60)
        ) {
            let spans: Vec<Span> = spans.into_iter().map(|(s, start, len)| span(s, start, start + len)).collect();
            let merged = merged(spans.clone());
            for span in &spans {
                prop_assert!(merged.iter().any(|m| m.segment == span.segment && m.start <= span.start && m.end >= span.end));
            }
            prop_assert!(merged.iter().all(|m| m.end - m.start <= WINDOW_BYTES_MAX));
        }

        #[test]
        fn what_is_found_is_what_was_kept_and_the_total_is_bounded(
            windows in proptest::collection::vec((0..3_u32, 0..40_u32, 1..2_000_000_usize), 1..20)
        ) {
            let byte = |segment: u32, at: u32| (segment as u8) ^ (at >> 16) as u8;
            let mut kept = Windows::default();
            for (segment, block, len) in windows {
                let start = block << 16;
                // Every byte of a stretch of 64 KiB is the same, which is quick to make.
                let mut bytes = vec![0; len];
                for (stretch, part) in (block..).zip(bytes.chunks_mut(1 << 16)) {
                    part.fill(byte(segment, stretch << 16));
                }
                kept.keep(SegmentId(segment), start, bytes);
                prop_assert!(kept.bytes <= WINDOWS_BYTES_MAX || kept.order.len() == 1);
                prop_assert_eq!(kept.order.len(), kept.by_start.len());
            }
            for segment in 0..3 {
                for block in 0..40_u32 {
                    let position = LogPosition { segment: SegmentId(segment), offset: (block << 16) + 7 };
                    if let Some(found) = kept.find(position) {
                        prop_assert_eq!(found[0], byte(segment, position.offset));
                    }
                }
            }
        }
    }
}
