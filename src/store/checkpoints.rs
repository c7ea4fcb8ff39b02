//! What one core knows of its checkpoints: which there are, what of which file is its own, when the next is due.
//!
//! Invariants: snapshot files go when no account of the current checkpoint lies in them any more; files of earlier starts
//! go when every core has a checkpoint of this start and none needs them, because only together they are a whole store.
//! Not here: writing them (`checkpointer`).

use super::checkpoint::CheckpointName;
use super::checkpoint_accounts::{FILES_MAX, Mark};
use super::checkpoint_state::CoveredSegment;
use super::group::Batch;
use super::recovery::StoreSeed;
use super::snapshot::SnapshotName;
use crate::base::wait::Notify;
use crate::model::SegmentId;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the cores of one start share about checkpoints.
pub struct CheckpointBoard {
    /// Cores that have none of this start yet.
    missing: AtomicUsize,
    /// Files of earlier starts, to be removed when nobody is missing.
    old: Mutex<Vec<String>>,
    /// Snapshot files of earlier starts, and how many cores may still need each.
    snapshots: Mutex<HashMap<SnapshotName, usize>>,
}

impl CheckpointBoard {
    /// For a start with this many cores that found these files.
    pub fn new(cores: usize, old: Vec<String>, snapshots: impl Iterator<Item = SnapshotName>) -> Self {
        Self {
            missing: AtomicUsize::new(cores),
            old: Mutex::new(old),
            snapshots: Mutex::new(snapshots.map(|name| (name, cores)).collect()),
        }
    }

    /// A core needs it no more. True: nobody does, and the checkpoints that did are not needed either, because a core says
    /// this only when it has one of this start.
    fn release(&self, name: SnapshotName) -> bool {
        let mut snapshots = self.snapshots.lock();
        let Some(users) = snapshots.get_mut(&name) else {
            return false;
        };
        *users -= 1;
        *users == 0
    }
}

/// One core's account of its checkpoints.
pub struct Checkpoints {
    store_id: u64,
    name: Cell<CheckpointName>,
    pub cores: u16,
    board: Arc<CheckpointBoard>,
    /// Segments of earlier starts.
    pub older: RefCell<Vec<CoveredSegment>>,
    /// The last applied sequence of every partition.
    pub sequences: RefCell<Vec<u64>>,
    pub wanted: Notify,
    /// One was written, or could not be, or none will be any more.
    pub attempted: Notify,
    pub logged_bytes: Cell<u64>,
    pub due_at_bytes: Cell<u64>,
    pub log_bytes: u64,
    /// The segment in which the log goes on behind the current one.
    pub covered_to: Cell<Option<SegmentId>>,
    /// When the newest one was begun.
    pub begun_at_bytes: Cell<u64>,
    /// The current one.
    current: RefCell<Option<String>>,
    /// Snapshot files that the current one may need, and what of each is this core's.
    snapshots: RefCell<BTreeMap<SnapshotName, Share>>,
    /// What counts when the one being written is durable.
    pub marks: RefCell<Vec<Mark>>,
    /// A snapshot is damaged: there are none, and there will be none before the next start.
    pub is_void: Cell<bool>,
    /// Files of this start that are not needed any more, and one that may be half written.
    pub garbage: RefCell<Vec<String>>,
}

impl Checkpoints {
    /// None of this start yet: the first is due at once, so that one start never has to replay what another did.
    pub fn new(seed: &StoreSeed) -> Self {
        Self {
            store_id: seed.store_id,
            name: Cell::new(CheckpointName {
                incarnation: seed.incarnation,
                core: u16::try_from(seed.core).expect("cores were counted"),
                number: 0,
            }),
            cores: u16::try_from(seed.cores).expect("cores were counted"),
            board: seed.board.clone(),
            older: RefCell::new(seed.covered.to_vec()),
            covered_to: Cell::new(None),
            sequences: RefCell::new(seed.sequences.clone()),
            wanted: Notify::new(),
            attempted: Notify::new(),
            logged_bytes: Cell::new(0),
            due_at_bytes: Cell::new(0),
            log_bytes: seed.options.checkpoint_log_bytes,
            begun_at_bytes: Cell::new(0),
            snapshots: RefCell::new(
                seed.snapshots
                    .iter()
                    .map(|(name, bytes)| (*name, Share::inherited(*bytes)))
                    .collect(),
            ),
            marks: RefCell::default(),
            is_void: Cell::new(false),
            current: RefCell::new(None),
            garbage: RefCell::default(),
        }
    }

    /// The segment from which on a start may read the log. `None`: also logs of earlier starts, because a core has no
    /// checkpoint of this one, or they are void.
    pub fn log_is_read_from(&self) -> Option<SegmentId> {
        let all_have_one = self.board.missing.load(Ordering::Acquire) == 0;
        let is_right = all_have_one && !self.is_void.get();
        self.covered_to.get().filter(|_| is_right)
    }

    /// Bytes of groups that became durable in this start.
    pub fn logged_bytes(&self) -> u64 {
        self.logged_bytes.get()
    }

    /// A group of `bytes` is durable.
    pub fn note_logged(&self, bytes: u64) {
        self.logged_bytes.set(self.logged_bytes.get() + bytes);
        if self.is_due() {
            self.wanted.notify_all();
        }
    }

    /// The records of a batch are part of the state.
    pub fn note_applied(&self, batch: &Batch) {
        let mut sequences = self.sequences.borrow_mut();
        for entry in &batch.entries {
            sequences[usize::from(entry.record.partition())] = entry.place.sequence;
        }
    }

    /// What checksums of snapshots start from.
    pub fn store_id(&self) -> u64 {
        self.store_id
    }

    /// Notes what counts when the checkpoint being written is durable.
    pub fn mark(&self, mark: Mark) {
        self.marks.borrow_mut().push(mark);
    }

    /// A file that is garbage until a checkpoint with it is durable.
    pub fn note_half_written(&self, file_name: &str) {
        self.garbage.borrow_mut().push(file_name.to_owned());
    }

    /// From now on there are no checkpoints. False: that was so.
    pub fn set_void(&self) -> bool {
        !self.is_void.replace(true)
    }

    /// Asks for one as soon as `bytes` were logged since the last one. False: there will be none.
    pub fn want_early(&self, bytes: u64) -> bool {
        let due = self
            .begun_at_bytes
            .get()
            .saturating_add(bytes.min(self.log_bytes));
        if due < self.due_at_bytes.get() {
            self.due_at_bytes.set(due);
            self.wanted.notify_all();
        }
        !self.is_void.get()
    }

    /// Files of which this core should leave nothing: less than half of its share is live, or they are too many.
    pub fn snapshots_to_empty(&self, live: &BTreeMap<SnapshotName, u64>) -> BTreeSet<SnapshotName> {
        let shares = self.snapshots.borrow();
        let is_wasteful =
            |name: &SnapshotName, live: u64| shares.get(name).is_none_or(|share| 2 * live < share.bytes);
        let mut emptied: BTreeSet<SnapshotName> = live
            .iter()
            .filter(|(name, live)| is_wasteful(name, **live))
            .map(|(name, _)| *name)
            .collect();
        let mut kept: Vec<(u64, SnapshotName)> = live
            .iter()
            .filter(|(name, _)| !emptied.contains(name))
            .map(|(name, live)| (*live, *name))
            .collect();
        kept.sort_unstable();
        let surplus = kept.len().saturating_sub(FILES_MAX);
        emptied.extend(kept[..surplus].iter().map(|(_, name)| *name));
        emptied
    }

    /// The new one is durable, with the snapshot file that it came with. Gives the number of snapshot files that are not
    /// needed any more.
    pub fn switch_to(
        &self,
        file_name: String,
        snapshot: Option<(SnapshotName, u64)>,
        live: &BTreeMap<SnapshotName, u64>,
    ) -> u64 {
        let mut garbage = self.garbage.borrow_mut();
        garbage.retain(|name| *name != file_name);
        let mut snapshots = self.snapshots.borrow_mut();
        if let Some((name, bytes)) = snapshot {
            garbage.retain(|garbage| *garbage != name.file());
            let share = Share {
                bytes,
                is_inherited: false,
            };
            snapshots.insert(name, share);
        }
        let board = &self.board;
        match self.current.replace(Some(file_name)) {
            Some(before) => garbage.push(before),
            None => {
                if board.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    garbage.append(&mut board.old.lock());
                }
            }
        }
        let mut removed = 0;
        snapshots.retain(|name, share| {
            let is_live = live.contains_key(name);
            if !is_live && (!share.is_inherited || board.release(*name)) {
                garbage.push(name.file());
                removed += 1;
            }
            is_live
        });
        removed
    }

    pub fn is_due(&self) -> bool {
        !self.is_void.get() && self.logged_bytes.get() >= self.due_at_bytes.get()
    }

    pub fn next_name(&self) -> CheckpointName {
        let mut name = self.name.get();
        name.number += 1;
        self.name.set(name);
        name
    }
}

/// What of a snapshot file is one core's.
#[derive(Clone, Copy, Debug)]
struct Share {
    bytes: u64,
    /// Other cores may need the file as well.
    is_inherited: bool,
}

impl Share {
    fn inherited(bytes: u64) -> Self {
        Self {
            bytes,
            is_inherited: true,
        }
    }
}
