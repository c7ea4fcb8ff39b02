//! What one log says of another: places and records there that were durable, whatever became of them since.
//!
//! A log that was cut off ends where it ends, and nothing in it says that there was more. But a body is durable before a
//! record names it, mail is spooled before it is delivered, and a checkpoint holds nothing that was not durable. So a log
//! that ends before what any of them names has lost its end.
//! Invariants: what is noted was durable when its witness was written; what compaction has freed is not missed.
//! Limits: a number for each segment, and for each spool partition.
//! Not here: `durable_to` and seals, by which a log speaks of itself (`scan`); what a checkpoint covers (`found`).

use super::compaction::Released;
use super::record::{MessageRecord, Record};
use super::{ChunkRef, SpoolKey};
use crate::model::{LogPosition, SegmentId};
use std::collections::BTreeMap;

/// What the records and checkpoints that were read say.
#[derive(Default)]
pub struct Witnesses {
    /// Of each segment: its log went on at least up to here.
    reached: BTreeMap<SegmentId, u32>,
    /// Of each spool partition: the highest sequence that a delivery names.
    spooled: BTreeMap<u16, u64>,
}

impl Witnesses {
    /// One more record.
    pub fn note(&mut self, record: &Record) {
        match record {
            Record::Message(message) | Record::Undeleted { message, .. } => self.message(message),
            Record::MessageMoved(moved) => self.message(&moved.message),
            Record::Spool { chunks, .. } => self.chunks(chunks),
            Record::ServedRestated { key, .. } => self.key(*key),
            _ => {}
        }
    }

    /// All before `position` was durable.
    pub fn reached(&mut self, position: LogPosition) {
        let known = self.reached.entry(position.segment).or_default();
        *known = position.offset.max(*known);
    }

    fn chunks(&mut self, chunks: &[ChunkRef]) {
        for chunk in chunks {
            let LogPosition { segment, offset } = chunk.position;
            let offset = offset.saturating_add(1);
            self.reached(LogPosition { segment, offset });
        }
    }

    fn key(&mut self, key: SpoolKey) {
        let known = self.spooled.entry(key.partition).or_default();
        *known = key.sequence.max(*known);
    }

    fn message(&mut self, message: &MessageRecord) {
        self.chunks(&message.chunks);
        if let Some((key, _)) = message.key {
            self.key(key);
        }
    }

    /// What of it is gone: `end` gives where the log ends in a segment, if that has anything in it.
    pub fn gone(
        &self,
        end: impl Fn(SegmentId) -> Option<u32>,
        released: &Released,
        sequences: &[u64],
    ) -> Vec<(LogPosition, String)> {
        let mut gone = Vec::new();
        for (segment, reached) in &self.reached {
            let what = match end(*segment) {
                Some(end) if end >= *reached => continue,
                None if released.spans(*segment) => continue,
                Some(_) => {
                    format!("the end of this log is gone: elsewhere what lay before {reached:#x} is named")
                }
                None => "the segment is missing; what lay in it is named elsewhere".to_owned(),
            };
            let offset = end(*segment).unwrap_or(0);
            let segment = *segment;
            gone.push((LogPosition { segment, offset }, what));
        }
        let nowhere = LogPosition {
            segment: SegmentId(0),
            offset: 0,
        };
        for (partition, spooled) in &self.spooled {
            let last = sequences.get(usize::from(*partition)).copied().unwrap_or(0);
            if last < *spooled {
                let missing = spooled - last;
                let what = format!(
                    "the last {missing} changes of partition {partition} are gone: mail was delivered from what was spooled there"
                );
                gone.push((nowhere, what));
            }
        }
        gone
    }
}
