//! Checkpoints of one core, written while it serves and when it has sealed its log.
//!
//! Invariants: a checkpoint is derived from what is durable and applied, never from the pending view; the current one is
//! never written to, and goes only when its successor and the successor's name are durable.
//! While the core serves, the state is encoded slice by slice and commits go on in between. Each slice of accounts says
//! the position as of which it was taken; a start replays the log from the position as of which the *first* slice was
//! taken and passes over what an account's slice has already.
//! Failure: a checkpoint that cannot be written is a warning: the one before, or the log, says the same. The next
//! attempt comes when as much was logged again. Void ones (`paging`) have no successor before the next start.
//! Not here: when one is due and which files there are (`checkpoints`), bytes (`checkpoint`, `checkpoint_draft`,
//! `checkpoint_state`, `snapshot`), accounts (`checkpoint_accounts`), reading (`checkpoint_load`).

use super::Environment;
use super::checkpoint::{CheckpointHeader, CheckpointName, slice_kind};
use super::checkpoint_accounts::Accounts;
use super::checkpoint_draft::{Draft, Failure, Slice};
use super::checkpoint_state::{put_segment, put_served, put_spool};
use super::codec::{put_u16, put_u64};
use super::handle::Inner;
use super::snapshot::SnapshotName;
use crate::base::clock::Clock;
use crate::disk::{BLOCK_BYTES, Disk, DiskError};
use crate::model::LogPosition;

/// Attempts at one checkpoint while the state outgrows the file made for it.
const ATTEMPTS_MAX: u32 = 4;

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
        let file = disk.create(&file_name, len as u64).await?;
        let mut draft = Draft::begin(file, self.checkpoints.store_id(), name, len as u64);
        let (position, sequence, is_sealed) = (head.position, head.sequence, head.is_sealed);
        for slice in head.slices {
            draft.put(slice).await?;
        }
        let mut accounts = Accounts::new(snapshot, emptied, position);
        let written = self.write_accounts(&ids, &mut accounts, &mut draft).await?;
        let header = CheckpointHeader {
            store_id: self.checkpoints.store_id(),
            name,
            cores: self.checkpoints.cores,
            position,
            sequence,
            is_sealed,
            slices: draft.slices(),
            blocks: u32::try_from(draft.bytes() / BLOCK_BYTES as u64).map_err(|_| Failure::Outgrown)?,
        };
        // Without a header the file is none. Voided later, it goes with the others.
        if self.checkpoints.is_void.get() {
            return Ok(0);
        }
        draft.finish(&header).await?;
        disk.shrink(&file_name, draft.bytes()).await?;
        disk.sync_directory().await?;
        if self.checkpoints.is_void.get() {
            // Meanwhile: it must not be found by the next start.
            self.remove_garbage().await;
            disk.sync_directory().await?;
            return Ok(0);
        }
        self.switch_to(file_name, written);
        self.checkpoints.covered_to.set(Some(position.segment));
        let bytes = draft.bytes() + written.map_or(0, |(_, len)| len);
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
        let removed = self
            .checkpoints
            .switch_to(file_name, snapshot, &self.live_snapshots());
        self.meters.snapshot_files_removed.add(removed);
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
