//! The accounts of a checkpoint: heads of all of them, and snapshots of those that changed since the one before.
//!
//! An account that only got mail in INBOX gets a blob of those rows behind its others; one that changed otherwise, or has too
//! many such blobs ([`BLOBS_MAX`], [`added_bytes_max`]), is written whole. What still lies in a file of which less than half
//! is live, or that is one too many ([`FILES_MAX`]), is written whole into the new one as well, and the old file goes.
//! Invariants: an account's head and its snapshot are taken in one step, as of one position; nothing here is relied on
//! before the checkpoint is durable (`Mark`); until then everything of the one before is left as it is.
//! Failure: as `checkpointer`. A damaged snapshot that had to be copied voids all checkpoints (`paging`).
//! Not here: the other slices and the switch (`checkpointer`).

use super::checkpoint::slice_kind;
use super::checkpoint_draft::{Draft, Failure, Slice};
use super::checkpoint_state::{ROW_BYTES, account_bytes};
use super::cold::{Chain, Cold, Head};
use super::handle::Inner;
use super::snapshot::{
    BLOB_ALIGNMENT, BlobRef, SnapshotName, blob_crc, damaged, put_base, put_delta, put_head, read_chain,
};
use super::state::{CoreState, INBOX_ID};
use super::{AccountState, Environment, StoreError};
use crate::base::wait::Pause;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile, WriteBuffer};
use crate::model::{AccountId, LogPosition, SegmentId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Blobs of one account: reading it takes as many reads.
pub const BLOBS_MAX: usize = 8;

/// Files that hold snapshots of one core: each costs an open at a load, and a name.
pub const FILES_MAX: usize = 64;

/// Accounts looked at before other tasks get a turn.
const LOOKED_AT_ONCE: usize = 1_000;

/// Of a slice that nothing goes into.
const NOWHERE: LogPosition = LogPosition {
    segment: SegmentId(0),
    offset: 0,
};

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// Bytes of rows behind a base of so many that are worth another whole snapshot.
fn added_bytes_max(base: u32) -> u64 {
    u64::from(base / 4).max(BLOCK_BYTES as u64)
}

/// A snapshot that counts when the checkpoint is durable.
pub struct Mark {
    account: AccountId,
    chain: Chain,
    /// Rows of the delta that are in it, if the account was cold.
    of_delta: Option<usize>,
}

/// What an account needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Todo {
    Nothing,
    /// A blob of so many rows.
    Delta(usize),
    /// A whole snapshot of what is in memory.
    Base,
    /// A whole snapshot of what has to be read first.
    Rebase,
}

/// One snapshot file on its way.
pub struct SnapshotDraft<F: DiskFile> {
    file: F,
    name: SnapshotName,
    store_id: u64,
    at: u64,
    end: u64,
    page: Vec<u8>,
}

impl<F: DiskFile> SnapshotDraft<F> {
    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<BlobRef, Failure> {
        self.page
            .resize(self.page.len().next_multiple_of(BLOB_ALIGNMENT), 0);
        let start = self.page.len();
        encode(&mut self.page);
        let blob = &self.page[start..];
        let at = (self.at + start as u64) / BLOB_ALIGNMENT as u64;
        Ok(BlobRef {
            file: self.name,
            at: u32::try_from(at).map_err(|_| Failure::Outgrown)?,
            bytes: u32::try_from(blob.len()).map_err(|_| Failure::Outgrown)?,
            crc: blob_crc(self.store_id, blob),
        })
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let bytes = self.page.len().next_multiple_of(BLOCK_BYTES);
        if bytes == 0 {
            return Ok(());
        }
        if self.at + bytes as u64 > self.end {
            return Err(Failure::Outgrown);
        }
        let mut buffer = self.file.buffer(bytes);
        let out = buffer.bytes_mut();
        out[..self.page.len()].copy_from_slice(&self.page);
        out[self.page.len()..bytes].fill(0);
        self.file.write_at(Rc::new(buffer), self.at).await?;
        self.at += bytes as u64;
        self.page.clear();
        Ok(())
    }
}

/// The accounts of one checkpoint on their way.
pub struct Accounts<E: Environment> {
    pub snapshot: Option<SnapshotDraft<FileOf<E>>>,
    /// Files that nothing may lie in afterwards.
    emptied: BTreeSet<SnapshotName>,
    /// Heads as of one position.
    slice: Slice,
    /// Full ones, or such as of which the log has gone on.
    full: Vec<Slice>,
}

impl<E: Environment> Accounts<E> {
    /// None yet.
    pub fn new(
        snapshot: Option<SnapshotDraft<FileOf<E>>>,
        emptied: BTreeSet<SnapshotName>,
        as_of: LogPosition,
    ) -> Self {
        Self {
            snapshot,
            emptied,
            slice: Slice::new(slice_kind::HEADS, as_of),
            full: Vec::new(),
        }
    }

    /// Adds a head as of `now`.
    fn add_head(&mut self, now: LogPosition, full: usize, put: impl FnOnce(&mut Vec<u8>)) {
        if self.slice.as_of() != now || self.slice.payload.len() >= full {
            let next = Slice::new(slice_kind::HEADS, now);
            let before = std::mem::replace(&mut self.slice, next);
            self.full.extend((before.items > 0).then_some(before));
        }
        self.slice.add(put);
    }

    async fn flush(&mut self, draft: &mut Draft<FileOf<E>>, page_bytes: usize) -> Result<(), Failure> {
        for slice in self.full.drain(..) {
            draft.put(slice).await?;
        }
        match &mut self.snapshot {
            Some(snapshot) if snapshot.page.len() >= page_bytes => snapshot.flush().await,
            _ => Ok(()),
        }
    }

    fn put(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<BlobRef, Failure> {
        // Nothing had to be written when it was measured.
        self.snapshot.as_mut().ok_or(Failure::Outgrown)?.put(encode)
    }

    fn page_bytes(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.page.len())
    }
}

fn is_long(chain: &Chain, added: usize) -> bool {
    let Some((base, others)) = chain.split_first() else {
        return true;
    };
    let others: u64 = others.iter().map(|blob| u64::from(blob.bytes)).sum();
    chain.len() >= BLOBS_MAX || others + (added * ROW_BYTES) as u64 > added_bytes_max(base.bytes)
}

fn todo(state: &CoreState, id: AccountId, emptied: &BTreeSet<SnapshotName>) -> Todo {
    let must_move = |chain: &Chain| chain.iter().any(|blob| emptied.contains(&blob.file));
    if let Some(cold) = state.cold.get(&id) {
        return match cold.delta.len() {
            added if must_move(&cold.chain) || (added > 0 && is_long(&cold.chain, added)) => Todo::Rebase,
            0 => Todo::Nothing,
            added => Todo::Delta(added),
        };
    }
    let Some(kept) = state.kept.get(&id) else {
        return Todo::Base;
    };
    match kept.appended as usize {
        _ if kept.is_changed || kept.chain.is_empty() || must_move(&kept.chain) => Todo::Base,
        0 => Todo::Nothing,
        added if is_long(&kept.chain, added) => Todo::Base,
        added => Todo::Delta(added),
    }
}

/// Bytes that blobs and head will need.
fn needs(state: &CoreState, id: AccountId, emptied: &BTreeSet<SnapshotName>) -> (usize, usize) {
    let delta = |rows: usize| rows * ROW_BYTES + 2 * BLOB_ALIGNMENT;
    let blobs = match todo(state, id, emptied) {
        Todo::Nothing => 0,
        Todo::Delta(rows) => delta(rows),
        Todo::Base => state.accounts.get(&id).map_or(0, account_bytes) + BLOB_ALIGNMENT,
        Todo::Rebase => state.cold.get(&id).map_or(0, |cold| {
            let there: u64 = cold.chain.iter().map(BlobRef::space).sum();
            there as usize + delta(cold.delta.len())
        }),
    };
    (blobs, 48 + 22 * (BLOBS_MAX / 2))
}

impl<E: Environment> Inner<E> {
    /// Bytes that snapshots and heads will need, measured with pauses.
    pub async fn measure_accounts(&self, emptied: &BTreeSet<SnapshotName>) -> (usize, usize) {
        let ids = self.state.borrow().account_ids();
        let (mut blobs, mut heads) = (0, 0);
        for ids in ids.chunks(LOOKED_AT_ONCE) {
            {
                let state = self.state.borrow();
                for (blob, head) in ids.iter().map(|id| needs(&state, *id, emptied)) {
                    blobs += blob;
                    heads += head;
                }
            }
            Pause::new().await;
        }
        let slice = self.options.checkpoint_slice_bytes;
        let padding = |bytes: usize| (bytes / slice + 1) * 2 * BLOCK_BYTES;
        // Each page and slice is padded to a block, and there is one at least for so many accounts.
        let pages = ids.len() / LOOKED_AT_ONCE * 2 * BLOCK_BYTES;
        let blobs = if blobs > 0 {
            blobs + padding(blobs) + pages
        } else {
            0
        };
        (blobs, heads + padding(heads) + pages)
    }

    /// Of every snapshot file how many bytes are live.
    pub fn live_snapshots(&self) -> BTreeMap<SnapshotName, u64> {
        let state = self.state.borrow();
        let mut live = BTreeMap::new();
        let cold = state.cold.values().map(|cold| &cold.chain);
        for blob in cold.chain(state.kept.values().map(|kept| &kept.chain)).flatten() {
            *live.entry(blob.file).or_default() += blob.space();
        }
        live
    }

    /// Makes the file that a checkpoint's snapshots go to.
    pub async fn begin_snapshot(
        &self,
        name: SnapshotName,
        bytes: usize,
    ) -> Result<Option<SnapshotDraft<FileOf<E>>>, Failure> {
        if bytes == 0 {
            return Ok(None);
        }
        let end = bytes.next_multiple_of(BLOCK_BYTES) as u64;
        let file_name = name.file();
        self.checkpoints.note_half_written(&file_name);
        Ok(Some(SnapshotDraft {
            file: self.env.disk().create(&file_name, end).await?,
            name,
            store_id: self.checkpoints.store_id(),
            at: 0,
            end,
            page: Vec::new(),
        }))
    }

    /// Writes all of them: heads into `draft`, snapshots into their file, which is synced then. Gives its length.
    pub async fn write_accounts(
        &self,
        ids: &[AccountId],
        accounts: &mut Accounts<E>,
        draft: &mut Draft<FileOf<E>>,
    ) -> Result<Option<(SnapshotName, u64)>, Failure> {
        let mut rest = ids;
        while !rest.is_empty() {
            self.encode_accounts(&mut rest, accounts)?;
            accounts.flush(draft, self.options.checkpoint_slice_bytes).await?;
            if let Some((first, others)) = rest.split_first()
                && self.rebase(*first, accounts).await?
            {
                rest = others;
            }
        }
        accounts.flush(draft, 0).await?;
        if accounts.slice.items > 0 {
            let last = std::mem::replace(&mut accounts.slice, Slice::new(slice_kind::HEADS, NOWHERE));
            draft.put(last).await?;
        }
        let Some(snapshot) = &mut accounts.snapshot else {
            return Ok(None);
        };
        snapshot.file.sync().await?;
        let (name, len) = (snapshot.name, snapshot.at);
        self.env.disk().shrink(&name.file(), len).await?;
        Ok(Some((name, len)))
    }

    /// The next accounts, as of now, until a page or a slice is full or one has to be read first.
    fn encode_accounts(&self, rest: &mut &[AccountId], accounts: &mut Accounts<E>) -> Result<(), Failure> {
        let mut state = self.state.borrow_mut();
        let mut looked_at = 0;
        while let Some((first, others)) = rest.split_first()
            && accounts.full.is_empty()
            && accounts.page_bytes() < self.options.checkpoint_slice_bytes
            && looked_at < LOOKED_AT_ONCE
        {
            let todo = todo(&state, *first, &accounts.emptied);
            if todo == Todo::Rebase {
                break;
            }
            self.encode_account(&mut state, *first, todo, accounts)?;
            looked_at += 1;
            *rest = others;
        }
        Ok(())
    }

    fn add_head(&self, accounts: &mut Accounts<E>, put: impl FnOnce(&mut Vec<u8>)) {
        let now = self.log.borrow().durable_to;
        accounts.add_head(now, self.options.checkpoint_slice_bytes, put);
    }

    fn encode_account(
        &self,
        state: &mut CoreState,
        id: AccountId,
        todo: Todo,
        accounts: &mut Accounts<E>,
    ) -> Result<(), Failure> {
        if let Some(cold) = state.cold.get(&id) {
            let mut chain = cold.chain.clone();
            if todo != Todo::Nothing {
                chain.push(accounts.put(|out| put_delta(out, id, &cold.delta))?);
                self.checkpoints.mark(Mark {
                    account: id,
                    chain: chain.clone(),
                    of_delta: Some(cold.delta.len()),
                });
            }
            self.add_head(accounts, |out| put_head(out, id, &cold.head, &chain));
            return Ok(());
        }
        state.measure(id);
        let account = state.accounts.get(&id).expect("an account is never removed");
        let kept = state.kept.get_mut(&id).expect("it was just measured");
        let mut chain = kept.chain.clone();
        match todo {
            Todo::Nothing => {}
            Todo::Delta(added) => {
                let rows = &account.mailboxes[&INBOX_ID].rows;
                chain.push(accounts.put(|out| put_delta(out, id, &rows[rows.len() - added..]))?);
            }
            Todo::Base | Todo::Rebase => {
                chain = Chain::new();
                chain.push(accounts.put(|out| put_base(out, account))?);
            }
        }
        self.add_head(accounts, |out| put_head(out, id, &Head::of(account), &chain));
        if todo != Todo::Nothing {
            (kept.appended, kept.is_changed, kept.is_being_written) = (0, false, true);
            self.checkpoints.mark(Mark {
                account: id,
                chain,
                of_delta: None,
            });
        }
        Ok(())
    }

    /// A cold account, read and written whole. False: it is not cold any more, or elsewhere, or need not be.
    async fn rebase(&self, id: AccountId, accounts: &mut Accounts<E>) -> Result<bool, Failure> {
        let chain = match self.state.borrow().cold.get(&id) {
            Some(cold) => cold.chain.clone(),
            None => return Ok(false),
        };
        if todo(&self.state.borrow(), id, &accounts.emptied) != Todo::Rebase {
            return Ok(false);
        }
        let read = read_chain(self.env.disk(), self.checkpoints.store_id(), id, &chain).await;
        let encoded = self.encode_rebased(id, &chain, read, accounts);
        if let Err(Failure::Store(error)) = &encoded {
            self.void_if_damaged(id, error).await;
        }
        encoded
    }

    fn encode_rebased(
        &self,
        id: AccountId,
        chain: &Chain,
        read: Result<AccountState, StoreError>,
        accounts: &mut Accounts<E>,
    ) -> Result<bool, Failure> {
        let state = self.state.borrow();
        let Some(cold) = state.cold.get(&id).filter(|cold| cold.chain == *chain) else {
            return Ok(false);
        };
        let last = chain.last().expect("a cold account has a snapshot");
        let account = read.map_err(Failure::Store)?;
        let account = cold
            .bring_up(account)
            .map_err(|why| Failure::Store(damaged(id, last, &why)))?;
        let mut chain = Chain::new();
        chain.push(accounts.put(|out| put_base(out, &account))?);
        self.add_head(accounts, |out| put_head(out, id, &cold.head, &chain));
        self.checkpoints.mark(Mark {
            account: id,
            chain,
            of_delta: Some(cold.delta.len()),
        });
        Ok(true)
    }

    /// The checkpoint is durable: from now on accounts are where it says.
    pub fn settle_marks(&self, marks: Vec<Mark>) {
        let mut state = self.state.borrow_mut();
        for mark in marks {
            if let Some(cold) = state.cold.get_mut(&mark.account) {
                settle_cold(cold, mark);
            } else if let Some(kept) = state.kept.get_mut(&mark.account) {
                kept.chain = mark.chain;
                match mark.of_delta {
                    // It was loaded meanwhile, with all of its delta.
                    Some(rows) => kept.appended = kept.appended.saturating_sub(rows as u32),
                    None => kept.is_being_written = false,
                }
            }
        }
    }

    /// There is no checkpoint: accounts are where they were.
    pub fn undo_marks(&self, marks: Vec<Mark>) {
        let mut state = self.state.borrow_mut();
        for mark in marks.into_iter().filter(|mark| mark.of_delta.is_none()) {
            if let Some(kept) = state.kept.get_mut(&mark.account) {
                (kept.is_being_written, kept.is_changed) = (false, true);
            }
        }
    }
}

fn settle_cold(cold: &mut Cold, mark: Mark) {
    let rows = mark.of_delta.unwrap_or(0);
    cold.delta.drain(..rows);
    cold.delta.shrink_to_fit();
    cold.chain = mark.chain;
}
