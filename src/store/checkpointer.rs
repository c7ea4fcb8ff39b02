//! Checkpoints of one core, written while it serves and when it has sealed its log.
//!
//! Invariants: a checkpoint is derived from what is durable and applied, never from the pending view; the current one is
//! never written to, and goes only when its successor and the successor's name are durable; so do snapshot files, when no
//! account of it lies in them any more; those of earlier starts go when every core has one of this start and none needs
//! them, because only together they are a whole store.
//! While the core serves, the state is encoded slice by slice and commits go on in between. Each slice of accounts says
//! the position as of which it was taken; a start replays the log from the position as of which the *first* slice was
//! taken and passes over what an account's slice has already.
//! Failure: a checkpoint that cannot be written is a warning: the one before, or the log, says the same. The next
//! attempt comes when as much was logged again. Void ones (`paging`) have no successor before the next start.
//! Not here: bytes (`checkpoint`, `checkpoint_state`, `snapshot`), accounts (`checkpoint_accounts`), reading
//! (`checkpoint_load`).

use super::Environment;
use super::StoreError;
use super::checkpoint::{CheckpointHeader, CheckpointName, SliceHeader, slice_kind};
use super::checkpoint_accounts::{Accounts, FILES_MAX, Mark};
use super::checkpoint_state::{CoveredSegment, put_segment, put_served, put_spool};
use super::codec::{put_u16, put_u64};
use super::group::Batch;
use super::handle::Inner;
use super::recovery::StoreSeed;
use super::snapshot::SnapshotName;
use crate::base::clock::Clock;
use crate::base::wait::Notify;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use crate::model::{LogPosition, SegmentId};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Attempts at one checkpoint while the state outgrows the file made for it.
const ATTEMPTS_MAX: u32 = 4;

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
    cores: u16,
    board: Arc<CheckpointBoard>,
    /// Segments of earlier starts.
    pub older: RefCell<Vec<CoveredSegment>>,
    /// The last applied sequence of every partition.
    sequences: RefCell<Vec<u64>>,
    wanted: Notify,
    /// One was written, or could not be, or none will be any more.
    pub attempted: Notify,
    logged_bytes: Cell<u64>,
    due_at_bytes: Cell<u64>,
    log_bytes: u64,
    /// The segment in which the log goes on behind the current one.
    covered_to: Cell<Option<SegmentId>>,
    /// When the newest one was begun.
    begun_at_bytes: Cell<u64>,
    /// The current one.
    current: RefCell<Option<String>>,
    /// Snapshot files that the current one may need, and what of each is this core's.
    snapshots: RefCell<BTreeMap<SnapshotName, Share>>,
    /// What counts when the one being written is durable.
    marks: RefCell<Vec<Mark>>,
    /// A snapshot is damaged: there are none, and there will be none before the next start.
    is_void: Cell<bool>,
    /// Files of this start that are not needed any more, and one that may be half written.
    garbage: RefCell<Vec<String>>,
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
    fn snapshots_to_empty(&self, live: &BTreeMap<SnapshotName, u64>) -> BTreeSet<SnapshotName> {
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

    fn is_due(&self) -> bool {
        !self.is_void.get() && self.logged_bytes.get() >= self.due_at_bytes.get()
    }

    fn next_name(&self) -> CheckpointName {
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

/// Why there is no new checkpoint.
#[derive(Debug)]
pub enum Failure {
    /// The state outgrew the file.
    Outgrown,
    Disk(DiskError),
    /// A snapshot that had to be copied cannot be read.
    Store(StoreError),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// One checkpoint on its way into its file.
pub struct Draft<F: DiskFile> {
    file: F,
    store_id: u64,
    name: CheckpointName,
    at: u64,
    end: u64,
    slices: u32,
}

impl<F: DiskFile> Draft<F> {
    /// Writes the next slice.
    pub async fn put(&mut self, slice: Slice) -> Result<(), Failure> {
        let header = SliceHeader {
            payload_bytes: u32::try_from(slice.payload.len()).map_err(|_| Failure::Outgrown)?,
            kind: slice.kind,
            index: self.slices,
            as_of: slice.as_of,
            items: slice.items,
        };
        let bytes = header.slice_bytes();
        if self.at + bytes as u64 > self.end {
            return Err(Failure::Outgrown);
        }
        let mut buffer = self.file.buffer(bytes);
        header.encode(self.store_id, &self.name, &slice.payload, buffer.bytes_mut());
        self.file.write_at(Rc::new(buffer), self.at).await?;
        self.at += bytes as u64;
        self.slices += 1;
        Ok(())
    }
}

/// Encoded, not written yet.
pub struct Slice {
    kind: u8,
    as_of: LogPosition,
    pub items: u32,
    pub payload: Vec<u8>,
}

impl Slice {
    /// As of which position it is encoded.
    pub fn as_of(&self) -> LogPosition {
        self.as_of
    }

    /// Nothing yet.
    pub fn new(kind: u8, as_of: LogPosition) -> Self {
        Self {
            kind,
            as_of,
            items: 0,
            payload: Vec::new(),
        }
    }

    /// One more item.
    pub fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.payload);
        self.items += 1;
    }
}

/// The state as of one position, but for the accounts.
struct Head {
    position: LogPosition,
    sequence: u64,
    is_sealed: bool,
    slices: Vec<Slice>,
}

impl<E: Environment> Inner<E> {
    /// Writes a checkpoint soon after the start and whenever enough was logged.
    pub async fn keep_checkpoints(&self) {
        let mut wanted = self.checkpoints.wanted.waiter();
        loop {
            if self.checkpoints.is_due() {
                self.checkpoint().await;
                self.checkpoints.attempted.notify_all();
            } else {
                wanted.changed().await;
            }
        }
    }

    /// Writes one and makes it the current one, or says why not.
    pub async fn checkpoint(&self) {
        if self.checkpoints.is_void.get() {
            return self.remove_void().await;
        }
        let logged = self.checkpoints.logged_bytes.get();
        self.checkpoints.begun_at_bytes.set(logged);
        let put_off = |bytes: u64| {
            let wait = self
                .checkpoints
                .log_bytes
                .max(bytes.saturating_mul(self.options.checkpoint_log_factor));
            self.checkpoints.due_at_bytes.set(logged.saturating_add(wait));
        };
        put_off(0);
        for attempt in 0..ATTEMPTS_MAX {
            let written = self.write_checkpoint(attempt).await;
            let marks = self.checkpoints.marks.take();
            self.undo_marks(marks);
            match written {
                Ok(bytes) => {
                    put_off(bytes);
                    self.evict();
                    return;
                }
                Err(Failure::Outgrown) => {}
                Err(Failure::Disk(error)) => {
                    tracing::warn!(core = self.core, %error, "no checkpoint: a start would read more of the log");
                    // On a full disk the next attempt may be far off, and what was allocated is what is missing.
                    return self.remove_garbage().await;
                }
                Err(Failure::Store(error)) => {
                    tracing::warn!(core = self.core, %error, "no checkpoint: a snapshot cannot be read");
                    return self.remove_garbage().await;
                }
            }
        }
    }

    /// Gives the bytes of its files.
    async fn write_checkpoint(&self, attempt: u32) -> Result<u64, Failure> {
        // Of one that was given up in the middle.
        let marks = self.checkpoints.marks.take();
        self.undo_marks(marks);
        self.remove_garbage().await;
        let emptied = self.checkpoints.snapshots_to_empty(&self.live_snapshots());
        let (snapshot_bytes, head_bytes) = self.measure_accounts(&emptied).await;
        // Listed and encoded in one step: an account that comes later is behind the position, and will be replayed.
        let ids = self.state.borrow().account_ids();
        let head = self.encode_head();
        let beside: usize = head
            .slices
            .iter()
            .map(|slice| slice.payload.len() + 2 * BLOCK_BYTES)
            .sum();
        let name = self.checkpoints.next_name();
        let snapshot = self
            .begin_snapshot(snapshot_name(&name), roomy(snapshot_bytes, attempt))
            .await?;
        let len = roomy(BLOCK_BYTES + beside + head_bytes, attempt).next_multiple_of(BLOCK_BYTES);
        let file_name = name.file();
        // Until it is the current one, it is garbage whatever happens to this task.
        self.checkpoints.note_half_written(&file_name);
        let disk = self.env.disk();
        let mut draft = Draft {
            file: disk.create(&file_name, len as u64).await?,
            store_id: self.checkpoints.store_id,
            name,
            at: BLOCK_BYTES as u64,
            end: len as u64,
            slices: 0,
        };
        let (position, sequence, is_sealed) = (head.position, head.sequence, head.is_sealed);
        for slice in head.slices {
            draft.put(slice).await?;
        }
        let mut accounts = Accounts::new(snapshot, emptied, position);
        let written = self.write_accounts(&ids, &mut accounts, &mut draft).await?;
        let header = CheckpointHeader {
            store_id: self.checkpoints.store_id,
            name,
            cores: self.checkpoints.cores,
            position,
            sequence,
            is_sealed,
            slices: draft.slices,
            blocks: u32::try_from(draft.at / BLOCK_BYTES as u64).map_err(|_| Failure::Outgrown)?,
        };
        // Without a header the file is none. Voided later, it goes with the others.
        if self.checkpoints.is_void.get() {
            return Ok(0);
        }
        let mut block = draft.file.buffer(BLOCK_BYTES);
        block.bytes_mut().copy_from_slice(&header.encode());
        draft.file.write_at(Rc::new(block), 0).await?;
        draft.file.sync().await?;
        disk.shrink(&file_name, draft.at).await?;
        disk.sync_directory().await?;
        if self.checkpoints.is_void.get() {
            // Meanwhile: it must not be found by the next start.
            self.remove_garbage().await;
            disk.sync_directory().await?;
            return Ok(0);
        }
        self.switch_to(file_name, written);
        self.checkpoints.covered_to.set(Some(position.segment));
        let bytes = draft.at + written.map_or(0, |(_, len)| len);
        self.meters.checkpoints.add(1);
        self.meters.checkpoint_bytes.set(bytes as i64);
        self.meters.checkpoint_bytes_total.add(bytes);
        self.meters.checkpoint_at_ms.set(self.env.clock().now().0);
        self.remove_garbage().await;
        Ok(bytes)
    }

    /// Everything but the accounts, as of now.
    fn encode_head(&self) -> Head {
        let log = self.log.borrow();
        let state = self.state.borrow();
        let as_of = log.durable_to;
        let mut partitions = Slice::new(slice_kind::PARTITIONS, as_of);
        for (partition, sequence) in (0u16..).zip(self.checkpoints.sequences.borrow().iter()) {
            let core = crate::model::Partition(partition).core(usize::from(self.checkpoints.cores));
            if core == self.core && *sequence > 0 {
                partitions.add(|out| {
                    put_u16(out, partition);
                    put_u64(out, *sequence);
                });
            }
        }
        let mut segments = Slice::new(slice_kind::SEGMENTS, as_of);
        let older = self.checkpoints.older.borrow();
        for segment in older.iter().chain(&log.written) {
            segments.add(|out| put_segment(out, segment));
        }
        let mut spool = Slice::new(slice_kind::SPOOL, as_of);
        for entry in state.spool.values() {
            spool.add(|out| put_spool(out, entry));
        }
        let mut served = Slice::new(slice_kind::SERVED, as_of);
        for (key, entries) in &state.served {
            served.add(|out| put_served(out, *key, entries));
        }
        let slices = [partitions, segments, spool, served];
        Head {
            position: as_of,
            sequence: log.durable_sequence,
            is_sealed: log.is_sealed,
            slices: slices.into_iter().filter(|slice| slice.items > 0).collect(),
        }
    }

    /// The new one is durable, with the snapshot file that it came with.
    fn switch_to(&self, file_name: String, snapshot: Option<(SnapshotName, u64)>) {
        let marks = self.checkpoints.marks.take();
        self.settle_marks(marks);
        let mut garbage = self.checkpoints.garbage.borrow_mut();
        garbage.retain(|name| *name != file_name);
        let mut snapshots = self.checkpoints.snapshots.borrow_mut();
        if let Some((name, bytes)) = snapshot {
            garbage.retain(|garbage| *garbage != name.file());
            let share = Share {
                bytes,
                is_inherited: false,
            };
            snapshots.insert(name, share);
        }
        let board = &self.checkpoints.board;
        match self.checkpoints.current.replace(Some(file_name)) {
            Some(before) => garbage.push(before),
            None => {
                if board.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    garbage.append(&mut board.old.lock());
                }
            }
        }
        let live = self.live_snapshots();
        snapshots.retain(|name, share| {
            let is_live = live.contains_key(name);
            if !is_live && (!share.is_inherited || board.release(*name)) {
                garbage.push(name.file());
                self.meters.snapshot_files_removed.add(1);
            }
            is_live
        });
    }

    /// What cannot be removed is left to the next attempt, or the next start.
    async fn remove_garbage(&self) {
        let names = self.checkpoints.garbage.borrow().clone();
        for name in names {
            match self.env.disk().remove(&name).await {
                Ok(()) | Err(DiskError::NotFound { .. }) => {
                    self.checkpoints.garbage.borrow_mut().retain(|n| *n != name);
                }
                Err(_) => return,
            }
        }
    }
}

/// The snapshot file of a checkpoint.
fn snapshot_name(name: &CheckpointName) -> SnapshotName {
    SnapshotName {
        incarnation: name.incarnation,
        number: name.number,
        core: name.core,
    }
}

/// An eighth more, because mail comes in meanwhile.
fn roomy(bytes: usize, attempt: u32) -> usize {
    if bytes == 0 && attempt == 0 {
        return 0;
    }
    bytes + ((bytes / 8 + 16 * BLOCK_BYTES) << attempt)
}

/// Lets other tasks run once.
pub struct Pause(bool);

impl Pause {
    /// To be awaited.
    pub fn new() -> Self {
        Self(false)
    }
}

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
