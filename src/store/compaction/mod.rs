//! Compaction: what nobody needs any more is given back to the file system, while the store serves.
//!
//! A pass frees *victims*, finished segments with little alive in them. One core leads it, all take part:
//!
//! | step | every core | then the leader |
//! |---|---|---|
//! | estimate | says how much may have died since it last looked, at most | goes on if that may be worth a look |
//! | mark | forgets old graves; says what lives in which segment, and which are pinned | chooses victims (`choose`) |
//! | move | writes the messages its accounts have in victims anew into its own log (`relocate`), and says its partitions anew whose records may lie there (`restate`), durably | writes the list of freed segments (`released`), durably |
//! | release | lets go of the files; says which are being read | removes the others, syncs the directory |
//!
//! The log alone must go on rebuilding everything. Records are not carried over one by one (a flag change, a tombstone, …,
//! each with rules of its own about what may be dropped before what): a partition that has records in a victim is *said
//! anew* behind them, account by account, whole, as a checkpoint would, and a replay that misses records knows nothing of
//! the partition until it comes to that (`rebuild`). So nothing old can come back to life, whatever is freed in whatever
//! order. It costs about 30 bytes a message and pass, and a pass begins only when a quarter of the store is dead.
//! Messages (prefix, body) are written anew one by one, because they are what the space is about.
//!
//! Invariants: nothing is freed before everything that took its place is durable (rule 9); a segment is no victim while a
//! start could read the log from it, a body on its way in or a spool entry has chunks in it, or damage keeps a message in
//! it from being moved; a file is not removed while a message in it is being read. Ids of segments are never used again.
//! Limits: `options`; what a pass may write in a second is its caller's pace. What it loads and changes is bounded as for
//! everybody: it waits for checkpoints when more is loaded than should be. A long account is looked at and said anew piece
//! by piece (`walk`, `restated`).
//! Failure: a pass that fails has freed nothing; what it wrote is dead bytes for the next one.
//! Freed segments are removed, not recycled. LIMITATION: a write into a file that was written before would cost half (FORMAT.md
//! has the figures, and what is missing).
//! Not here: when a pass begins and how the cores are asked (`delivery::compaction`).

mod choose;
mod mark;
mod pass;
mod pins;
mod released;
mod relocate;
mod restate;
mod runs;
mod walk;

pub use pass::{Answer, PassReport, Step, compact};
#[cfg(test)]
pub use pass::{PHASES, PLANTED, PlantedBug};
pub use pins::{Pin, Pins};
pub use released::Released;

use super::MessageRow;
use super::apply::Place;
use super::record::Record;
use super::recovery::StoreSeed;
use crate::model::{AccountId, LogPosition, PARTITIONS, SPOOL_PARTITIONS, SegmentId};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What the cores of one start share about compaction.
pub struct CompactionBoard {
    /// As of the newest list that is durable.
    pub released: Mutex<Released>,
    /// Freed, but somebody was reading: to be removed later.
    pub unremoved: Mutex<BTreeSet<SegmentId>>,
    /// As of the start.
    pub there: Segments,
}

impl CompactionBoard {
    /// For a start that found this list and these segments.
    #[must_use]
    pub fn new(released: Released, there: Segments) -> Self {
        Self {
            released: Mutex::new(released),
            unremoved: Mutex::default(),
            there,
        }
    }
}

/// The segments that a start found; all that come later are there as well.
#[derive(Debug)]
pub struct Segments {
    /// Ascending, apart from each other: first and last id.
    runs: Vec<(u32, u32)>,
    last: u32,
}

impl Segments {
    /// These, ascending; `last` is the highest id ever given.
    pub fn new(ids: impl Iterator<Item = SegmentId>, last: u32) -> Self {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for SegmentId(id) in ids {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == id => *last = id,
                _ => runs.push((id, id)),
            }
        }
        Self { runs, last }
    }

    /// Was it there, or made later?
    #[must_use]
    pub fn has(&self, SegmentId(id): SegmentId) -> bool {
        let index = self.runs.partition_point(|(_, last)| *last < id);
        id > self.last || self.runs.get(index).is_some_and(|(first, _)| *first <= id)
    }

    /// The first of these rows' messages that lies in one that was not there.
    pub fn first_missing<'a>(&self, rows: impl Iterator<Item = &'a MessageRow>) -> Option<LogPosition> {
        let mut seen = None;
        for row in rows {
            let pair = (row.record.segment, row.body_segment);
            if seen == Some(pair) {
                continue;
            }
            if !self.has(pair.0) || !self.has(pair.1) {
                return Some(row.record);
            }
            seen = Some(pair);
        }
        None
    }
}

/// One core's account of compaction.
pub struct Compaction {
    pub board: Arc<CompactionBoard>,
    pub store_id: u64,
    pub incarnation: u32,
    pub cores: usize,
    /// Segments with chunks of bodies that no message record names yet.
    pub bodies: Pins,
    /// Segments that messages are being read from.
    pub reads: Pins,
    /// Released, their files perhaps still there.
    pub leaving: RefCell<BTreeSet<SegmentId>>,
    /// Where messages went in this pass and in the one before, for whoever holds a row from before.
    moved: RefCell<[HashMap<(AccountId, LogPosition), Place>; 2]>,
    /// The account being walked through, as long as nothing in it was taken elsewhere.
    walked: Cell<Option<AccountId>>,
    /// What this core found when it last looked at everything.
    looked: RefCell<Option<mark::Looked>>,
    /// What all cores said then, if this one leads.
    marked: Cell<Option<choose::Marked>>,
    /// By partition.
    said_anew: RefCell<Vec<SaidAnew>>,
}

/// Where a partition was said anew.
#[derive(Clone, Default)]
struct SaidAnew {
    /// Where that began; its records before are not needed. `None`: not in this start.
    from: Option<SegmentId>,
    /// Bytes of what was said, by segment.
    bytes: BTreeMap<SegmentId, u64>,
    /// Of the one under way.
    next_from: Option<SegmentId>,
    next_bytes: BTreeMap<SegmentId, u64>,
}

impl Compaction {
    pub fn new(seed: &StoreSeed) -> Self {
        let partitions = usize::from(PARTITIONS + SPOOL_PARTITIONS);
        Self {
            board: seed.compaction.clone(),
            store_id: seed.store_id,
            incarnation: seed.incarnation,
            cores: seed.cores,
            bodies: Pins::default(),
            reads: Pins::default(),
            leaving: RefCell::default(),
            moved: RefCell::default(),
            walked: Cell::default(),
            looked: RefCell::default(),
            marked: Cell::default(),
            said_anew: RefCell::new(vec![SaidAnew::default(); partitions]),
        }
    }

    /// A record of this core is durable.
    pub fn note_applied(&self, record: &Record, place: Place) {
        let partition = usize::from(record.partition());
        if walk::takes_elsewhere(record) && record.account() == self.walked.get() {
            self.walked.set(None);
        }
        match record {
            Record::PartitionBegins { .. } => {
                let mut all = self.said_anew.borrow_mut();
                all[partition].next_from = Some(place.position.segment);
                all[partition].next_bytes = BTreeMap::new();
            }
            Record::AccountRestated { .. } => {
                let mut all = self.said_anew.borrow_mut();
                let bytes = &mut all[partition].next_bytes;
                *bytes.entry(place.position.segment).or_default() += u64::from(place.bytes);
            }
            Record::PartitionEnds { .. } => {
                let mut all = self.said_anew.borrow_mut();
                let this = &mut all[partition];
                this.from = this.next_from;
                this.bytes = std::mem::take(&mut this.next_bytes);
            }
            Record::MessageMoved(moved) => {
                let key = (moved.message.account, moved.from);
                self.moved.borrow_mut()[0].insert(key, place);
            }
            _ => {}
        }
    }

    /// A pass begins.
    fn note_pass(&self) {
        let [newest, before] = &mut *self.moved.borrow_mut();
        *before = std::mem::take(newest);
    }

    /// The same message in its new place, if compaction has moved it lately.
    #[must_use]
    pub fn moved_row(&self, account: AccountId, row: &MessageRow) -> Option<MessageRow> {
        let moved = self.moved.borrow();
        let place = moved.iter().find_map(|moved| moved.get(&(account, row.record)))?;
        Some(MessageRow {
            record: place.position,
            record_bytes: place.bytes,
            ..*row
        })
    }

    /// Must the partition be said anew before segments up to `last` can go?
    fn needs_saying(&self, partition: u16, last: SegmentId) -> bool {
        let all = self.said_anew.borrow();
        all[usize::from(partition)].from.is_none_or(|from| from <= last)
    }
}
