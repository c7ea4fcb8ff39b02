//! Segments that records speak of: bodies lie in them, and what compaction moved did.
//!
//! Invariants: an id that any record names is never given again, whether its file is there or not: otherwise another
//! message would one day lie where a row says that its own does. A message in a mailbox, and what waits in the spool, lies in
//! segments that are there.
//! Limits: an entry for each message whose body lies in several segments.
//! Failure: [`OpenError::Damaged`].
//! Not here: segments that checkpoints name (`found`); snapshots, whose rows are looked at when they are read (`paging`).

use super::compaction::Segments;
use super::record::{MessageRecord, Record};
use super::state::{AccountState, CoreState};
use super::{ChunkRef, MessageRow, OpenError};
use crate::model::{LogPosition, SegmentId};
use std::collections::HashMap;

/// What the records that were read say.
#[derive(Default)]
pub struct Named {
    /// The highest id.
    pub highest: u32,
    /// Of messages whose body lies in several segments, by the place of their record: all but the first.
    scattered: HashMap<LogPosition, Vec<SegmentId>>,
}

impl Named {
    /// One more record.
    pub fn note(&mut self, position: LogPosition, record: &Record) {
        match record {
            Record::Message(message) | Record::Undeleted { message, .. } => self.message(position, message),
            Record::MessageMoved(moved) => {
                self.segment(moved.from.segment);
                self.message(position, &moved.message);
            }
            Record::Spool { chunks, .. } => self.chunks(chunks),
            _ => {}
        }
    }

    fn segment(&mut self, segment: SegmentId) {
        self.highest = self.highest.max(segment.0);
    }

    fn chunks(&mut self, chunks: &[ChunkRef]) {
        chunks
            .iter()
            .for_each(|chunk| self.segment(chunk.position.segment));
    }

    fn message(&mut self, position: LogPosition, message: &MessageRecord) {
        self.chunks(&message.chunks);
        // An email id is a place, and no two messages may have one.
        let id = u32::try_from(message.email_id >> 32).unwrap_or(0);
        self.segment(SegmentId(id));
        let first = message.chunks.first().map(|chunk| chunk.position.segment);
        let mut others: Vec<SegmentId> = message
            .chunks
            .iter()
            .map(|chunk| chunk.position.segment)
            .collect();
        others.retain(|segment| Some(*segment) != first);
        others.dedup();
        if !others.is_empty() {
            self.scattered.insert(position, others);
        }
    }

    /// Rows may come from accounts said anew, without their records.
    pub fn note_rows(&mut self, state: &CoreState) {
        for row in rows(state) {
            self.segment(row.record.segment);
            self.segment(row.body_segment);
        }
        for entry in state.spool.values() {
            self.chunks(entry.body.stored_chunks().unwrap_or_default());
        }
    }

    /// No message may lie in a segment that is not there.
    pub fn check(&self, state: &CoreState, there: &Segments) -> Result<(), OpenError> {
        let damaged = |position, what: &str| OpenError::Damaged {
            position,
            what: what.to_owned(),
        };
        let is_scattered_missing = |row: &&MessageRow| {
            let others = self.scattered.get(&row.record);
            others.is_some_and(|others| others.iter().any(|segment| !there.has(*segment)))
        };
        let of_bodies = || rows(state).find(is_scattered_missing).map(|row| row.record);
        if let Some(position) = there.first_missing(rows(state)).or_else(of_bodies) {
            return Err(damaged(position, "a message lies in a segment that is not there"));
        }
        let spooled = state
            .spool
            .values()
            .flat_map(|entry| entry.body.stored_chunks().unwrap_or_default());
        match spooled
            .map(|chunk| chunk.position)
            .find(|at| !there.has(at.segment))
        {
            None => Ok(()),
            Some(position) => Err(damaged(
                position,
                "a message that waits in the spool lies in a segment that is not there",
            )),
        }
    }
}

/// All rows and graves in memory.
fn rows(state: &CoreState) -> impl Iterator<Item = &MessageRow> {
    let loaded = state.accounts.values().flat_map(AccountState::rows_and_graves);
    loaded.chain(state.cold.values().flat_map(|cold| &cold.delta))
}
