//! Checkpoints of one core, written while it serves and when it has sealed its log.
//!
//! Invariants: a checkpoint is derived from what is durable and applied, never from the pending view; the current one is
//! never written to, and goes only when its successor and the successor's name are durable; those of earlier starts go
//! when every core has one of this start, because only together they are a whole store.
//! While the core serves, the state is encoded slice by slice and commits go on in between. Each slice of accounts says
//! the position as of which it was taken; a start replays the log from the position as of which the *first* slice was
//! taken and passes over what an account's slice has already.
//! Failure: a checkpoint that cannot be written is a warning: the one before, or the log, says the same. The next
//! attempt comes when as much was logged again.
//! Not here: bytes (`checkpoint`, `checkpoint_state`), reading (`checkpoint_load`).

use super::Environment;
use super::checkpoint::{CheckpointHeader, CheckpointName, SliceHeader, slice_kind};
use super::checkpoint_state::{
    CoveredSegment, account_bytes, put_account, put_segment, put_served, put_spool,
};
use super::codec::{put_u16, put_u64};
use super::group::Batch;
use super::handle::Inner;
use super::options::CHECKPOINT_LOG_FACTOR;
use super::recovery::StoreSeed;
use crate::base::clock::Clock;
use crate::base::wait::Notify;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use crate::model::{AccountId, LogPosition};
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Accounts measured before other tasks get a turn.
const MEASURED_AT_ONCE: usize = 1_000;

/// Attempts at one checkpoint while the state outgrows the file made for it.
const ATTEMPTS_MAX: u32 = 4;

/// What the cores of one start share about checkpoints.
pub struct CheckpointBoard {
    /// Cores that have none of this start yet.
    missing: AtomicUsize,
    /// Files of earlier starts, to be removed when nobody is missing.
    old: Mutex<Vec<String>>,
}

impl CheckpointBoard {
    /// For a start with this many cores that found these files.
    pub fn new(cores: usize, old: Vec<String>) -> Self {
        Self {
            missing: AtomicUsize::new(cores),
            old: Mutex::new(old),
        }
    }
}

/// One core's account of its checkpoints.
pub struct Checkpoints {
    store_id: u64,
    name: Cell<CheckpointName>,
    cores: u16,
    board: Arc<CheckpointBoard>,
    /// Segments of earlier starts.
    older: Arc<Vec<CoveredSegment>>,
    /// The last applied sequence of every partition.
    sequences: RefCell<Vec<u64>>,
    wanted: Notify,
    logged_bytes: Cell<u64>,
    due_at_bytes: Cell<u64>,
    log_bytes: u64,
    /// The current one, and the length of its file.
    current: RefCell<Option<String>>,
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
            older: seed.covered.clone(),
            sequences: RefCell::new(seed.sequences.clone()),
            wanted: Notify::new(),
            logged_bytes: Cell::new(0),
            due_at_bytes: Cell::new(0),
            log_bytes: seed.options.checkpoint_log_bytes,
            current: RefCell::new(None),
            garbage: RefCell::default(),
        }
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

    fn is_due(&self) -> bool {
        self.logged_bytes.get() >= self.due_at_bytes.get()
    }

    fn next_name(&self) -> CheckpointName {
        let mut name = self.name.get();
        name.number += 1;
        self.name.set(name);
        name
    }
}

/// Why there is no new checkpoint.
enum Failure {
    /// The state outgrew the file.
    Outgrown,
    Disk(DiskError),
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// One checkpoint on its way into its file.
struct Draft<F: DiskFile> {
    file: F,
    store_id: u64,
    name: CheckpointName,
    at: u64,
    end: u64,
    slices: u32,
}

impl<F: DiskFile> Draft<F> {
    async fn put(&mut self, slice: Slice) -> Result<(), Failure> {
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
struct Slice {
    kind: u8,
    as_of: LogPosition,
    items: u32,
    payload: Vec<u8>,
}

impl Slice {
    fn new(kind: u8, as_of: LogPosition) -> Self {
        Self {
            kind,
            as_of,
            items: 0,
            payload: Vec::new(),
        }
    }

    fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
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
            } else {
                wanted.changed().await;
            }
        }
    }

    /// Writes one and makes it the current one, or says why not.
    pub async fn checkpoint(&self) {
        let logged = self.checkpoints.logged_bytes.get();
        let put_off = |bytes: u64| {
            let wait = self
                .checkpoints
                .log_bytes
                .max(bytes.saturating_mul(CHECKPOINT_LOG_FACTOR));
            self.checkpoints.due_at_bytes.set(logged + wait);
        };
        put_off(0);
        for attempt in 0..ATTEMPTS_MAX {
            match self.write_checkpoint(attempt).await {
                Ok(bytes) => return put_off(bytes),
                Err(Failure::Outgrown) => {}
                Err(Failure::Disk(error)) => {
                    tracing::warn!(core = self.core, %error, "no checkpoint: a start would read more of the log");
                    return;
                }
            }
        }
    }

    /// Gives the bytes of the file.
    async fn write_checkpoint(&self, attempt: u32) -> Result<u64, Failure> {
        self.remove_garbage().await;
        let mut accounts: Vec<AccountId> = self.state.borrow().accounts.keys().copied().collect();
        accounts.sort_unstable();
        let account_bytes = self.measure(&accounts).await;
        let head = self.encode_head();
        let head_bytes: usize = head
            .slices
            .iter()
            .map(|slice| slice.payload.len() + 2 * BLOCK_BYTES)
            .sum();
        // An eighth more, because mail comes in meanwhile.
        let slack = (account_bytes / 8 + 16 * BLOCK_BYTES) << attempt;
        let len = (BLOCK_BYTES + head_bytes + account_bytes + slack).next_multiple_of(BLOCK_BYTES);
        let name = self.checkpoints.next_name();
        let file_name = name.file();
        // Until it is the current one, it is garbage whatever happens to this task.
        self.checkpoints.garbage.borrow_mut().push(file_name.clone());
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
        let mut rest = &accounts[..];
        while !rest.is_empty() {
            let slice = self.encode_accounts(&mut rest);
            draft.put(slice).await?;
        }
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
        let mut block = draft.file.buffer(BLOCK_BYTES);
        block.bytes_mut().copy_from_slice(&header.encode());
        draft.file.write_at(Rc::new(block), 0).await?;
        draft.file.sync().await?;
        disk.shrink(&file_name, draft.at).await?;
        disk.sync_directory().await?;
        self.switch_to(file_name);
        self.meters.checkpoints.add(1);
        self.meters.checkpoint_bytes.set(draft.at as i64);
        self.meters.checkpoint_at_ms.set(self.env.clock().now().0);
        self.remove_garbage().await;
        Ok(draft.at)
    }

    /// Bytes that the accounts will need, measured with pauses.
    async fn measure(&self, accounts: &[AccountId]) -> usize {
        let mut bytes = 0;
        for accounts in accounts.chunks(MEASURED_AT_ONCE) {
            {
                let state = self.state.borrow();
                bytes += accounts
                    .iter()
                    .filter_map(|id| state.accounts.get(id))
                    .map(account_bytes)
                    .sum::<usize>();
            }
            Pause(false).await;
        }
        // Each slice has a header and is padded to a block.
        bytes + (bytes / self.options.checkpoint_slice_bytes + 1) * 2 * BLOCK_BYTES
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
        for segment in self.checkpoints.older.iter().chain(&log.written) {
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

    /// The next accounts, as of now, until a slice is full.
    fn encode_accounts(&self, rest: &mut &[AccountId]) -> Slice {
        let state = self.state.borrow();
        let mut slice = Slice::new(slice_kind::ACCOUNTS, self.log.borrow().durable_to);
        while let Some((first, others)) = rest.split_first()
            && slice.payload.len() < self.options.checkpoint_slice_bytes
        {
            let account = state.accounts.get(first).expect("an account is never removed");
            slice.add(|out| put_account(out, account));
            *rest = others;
        }
        slice
    }

    /// The new file is durable.
    fn switch_to(&self, file_name: String) {
        let mut garbage = self.checkpoints.garbage.borrow_mut();
        garbage.retain(|name| *name != file_name);
        match self.checkpoints.current.replace(Some(file_name)) {
            Some(before) => garbage.push(before),
            None => {
                let board = &self.checkpoints.board;
                if board.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    garbage.append(&mut board.old.lock());
                }
            }
        }
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

/// Lets other tasks run once.
struct Pause(bool);

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
