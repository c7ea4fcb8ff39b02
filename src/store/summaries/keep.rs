//! Drafts into files, beside whatever the core does.
//!
//! A new file takes in those before it that are not much longer than it is, so that an account has few files and each summary is
//! written a handful of times at most, however it came: a thousand at a time or thirty.
//! Invariants: a file counts when it is whole; the files it took in are removed after that; entries are copied as they are, each
//! checked. Whoever reads from a file that is removed meanwhile reads on.
//! Limits: [`PIECE_BYTES`] between two waits; those of [`super`].
//! Failure: what cannot be written is dropped; see [`super`].
//! Not here: what waits to be written (`pending`), bytes (`entry`, `file`).

use super::entry::{Identity, decode, encode};
use super::file::{ENTRIES_MAX, INDEX_ENTRY_BYTES, IndexEntry, SummariesName, encode_head};
use super::index::{FILES_MAX, Index, Known, Place, Slot};
use super::pending::{DRAFTS_MIN, Draft};
use super::recall::read_places;
use super::{ACCOUNT_BYTES_MAX, SUMMARIES_BYTES_MAX, SharedIndex};
use crate::base::wait::Pause;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use crate::model::{AccountId, LogPosition};
use crate::store::Environment;
use crate::store::handle::Inner;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

/// Bytes of entries read, copied and written between two waits: some fifty microseconds.
const PIECE_BYTES: usize = 256 * 1024;

/// A file is joined with newer ones if it is at most so many times as long as they are together.
const JOIN_FACTOR: u64 = 2;

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// A summary for the new file.
enum Item {
    Draft(LogPosition, Draft),
    Copy(Place),
}

impl Item {
    fn record(&self) -> LogPosition {
        match self {
            Self::Draft(record, _) => *record,
            Self::Copy(place) => place.record,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Draft(_, draft) => draft.bytes.len(),
            Self::Copy(place) => usize::from(place.bytes),
        }
    }
}

/// What a new file holds and replaces.
struct Plan {
    items: Vec<Item>,
    joined: BTreeSet<u8>,
}

impl<E: Environment> Inner<E> {
    /// Writes what is due and removes what is not needed, for as long as the log is written.
    pub(in crate::store) async fn keep_summaries(&self) {
        let mut wanted = self.summaries.wanted.waiter();
        self.remove_summary_strays().await;
        loop {
            if !self.write_due_summaries().await {
                wanted.changed().await;
            }
        }
    }

    /// At the end: what is worth a file.
    pub(in crate::store) async fn flush_summaries(&self) {
        self.summaries.pending.borrow_mut().settle_all();
        while self.write_due_summaries().await {}
    }

    /// False: nothing is due.
    async fn write_due_summaries(&self) -> bool {
        let Some(account) = self.summaries.pending.borrow_mut().next_due() else {
            return false;
        };
        self.write_summaries(account).await;
        self.remove_summary_strays().await;
        true
    }

    async fn write_summaries(&self, account: AccountId) {
        if self.summaries.has_given_up() {
            return self.summaries.pending.borrow_mut().forget(account);
        }
        let disk = self.env.disk();
        let index = self.summaries.index(disk, account).await.unwrap_or_default();
        let drafts = self.summaries.pending.borrow().of(account);
        if drafts.len() < DRAFTS_MIN {
            return;
        }
        let whole = self.completed(account, &index, &drafts).await;
        let plan = self.plan_file(account, &index, whole).await;
        match self.write_file(account, &index, &plan).await {
            Ok((slot, entries)) => {
                self.summaries.failures.set(0);
                self.meters.summary_files_written.add(1);
                self.meters.summaries_written.add(entries.len() as u64);
                self.take_in(account, &index, slot, &entries, &plan.joined);
                self.summaries.pending.borrow_mut().written(account, &drafts);
            }
            Err(error) => {
                let failures = self.summaries.failures.get() + 1;
                self.summaries.failures.set(failures);
                self.meters.summary_failures.add(1);
                tracing::debug!(%account, %error, failures, "summaries are not kept");
                self.summaries.pending.borrow_mut().forget(account);
            }
        }
    }

    /// The drafts, each with the parts that an older summary of its message has and it has not.
    async fn completed(
        &self,
        account: AccountId,
        index: &SharedIndex<E::Disk>,
        drafts: &[(LogPosition, Draft)],
    ) -> Vec<(LogPosition, Draft)> {
        let mut older: Vec<Place> = {
            let index = index.borrow();
            let older = drafts.iter().filter_map(|(record, draft)| {
                let place = index.find(*record)?;
                (!draft.parts.has_all(place.parts)).then_some(*place)
            });
            older.collect()
        };
        let mut drafts = drafts.to_vec();
        let seed = self.summary_seed(account);
        let complete = |place: &Place, bytes: &[u8]| {
            let Ok((message, before)) = decode(seed, bytes) else {
                return false;
            };
            let found = drafts.binary_search_by_key(&place.record, |(record, _)| *record);
            let draft = &mut drafts[found.expect("it was looked for")].1;
            if let Some(joined) = join(seed, draft, &message, &before) {
                *draft = joined;
            }
            true
        };
        read_places(index, &mut older, complete).await;
        drafts
    }

    async fn plan_file(
        &self,
        account: AccountId,
        index: &RefCell<Index<FileOf<E>>>,
        drafts: Vec<(LogPosition, Draft)>,
    ) -> Plan {
        let bytes: usize = drafts.iter().map(|(_, draft)| draft.bytes.len()).sum();
        let joined = joined_by(bytes as u64, &index.borrow());
        let mut items: Vec<Item> = {
            let new: BTreeSet<LogPosition> = drafts.iter().map(|(record, _)| *record).collect();
            let index = index.borrow();
            let copies = index.places().iter().filter(|place| joined.contains(&place.slot));
            let copies = copies.filter(|place| !new.contains(&place.record));
            copies.map(|place| Item::Copy(*place)).collect()
        };
        Pause::new().await;
        if !items.is_empty() {
            self.leave_out_dead(account, &mut items).await;
        }
        items.extend(
            drafts
                .into_iter()
                .map(|(record, draft)| Item::Draft(record, draft)),
        );
        Pause::new().await;
        // Two ascending runs, which this sort only merges.
        items.sort_by_key(Item::record);
        keep_newest(&mut items);
        Plan { items, joined }
    }

    /// Drops summaries of messages that no mailbox has. If the account cannot be read, none.
    async fn leave_out_dead(&self, account: AccountId, items: &mut Vec<Item>) {
        let Ok(_pin) = self.load(account).await else {
            return;
        };
        let mut live: Vec<LogPosition> = {
            let state = self.state.borrow();
            let mailboxes = state.accounts.get(&account).into_iter();
            let rows = mailboxes.flat_map(|account| account.mailboxes.values());
            rows.flat_map(|mailbox| mailbox.rows.iter().map(|row| row.record))
                .collect()
        };
        Pause::new().await;
        live.sort();
        Pause::new().await;
        items.retain(|item| live.binary_search(&item.record()).is_ok());
    }

    /// Writes a new file, its head last: without it nothing in it counts.
    async fn write_file(
        &self,
        account: AccountId,
        index: &RefCell<Index<FileOf<E>>>,
        plan: &Plan,
    ) -> Result<(Slot<FileOf<E>>, Vec<IndexEntry>), DiskError> {
        let disk = self.env.disk();
        let number = self.summaries.next_number.get();
        self.summaries.next_number.set(number + 1);
        let name = SummariesName {
            account,
            incarnation: self.summaries.incarnation,
            number,
        };
        let start = (BLOCK_BYTES + plan.items.len() * INDEX_ENTRY_BYTES).next_multiple_of(BLOCK_BYTES);
        let entries_bytes: usize = plan.items.iter().map(Item::bytes).sum();
        let bytes = (start + entries_bytes).next_multiple_of(BLOCK_BYTES);
        if self.is_free_bytes_old() {
            self.refresh_free_bytes().await;
        }
        self.check_room_for_summaries(account, bytes as u64, &name)?;
        let file = disk.create(&name.file(), bytes as u64).await?;
        let mut target = Target {
            file: file.clone(),
            at: start,
            piece: Vec::with_capacity(PIECE_BYTES + BLOCK_BYTES),
            entries: Vec::with_capacity(plan.items.len()),
        };
        let written = async {
            let mut rest = &plan.items[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(piece_of(rest));
                rest = later;
                let copies = self.read_copies(account, index, piece).await;
                target.put(piece, &copies);
                target.write_blocks(false).await?;
            }
            target.write_blocks(true).await?;
            let blocks = u32::try_from(bytes / BLOCK_BYTES).expect("files of summaries are bounded");
            let head = encode_head(self.summaries.store_id, &name, blocks, &target.entries);
            write_all(&file, 0, head).await?;
            // Off everybody's path, and before what it takes in goes: a cut of the power costs no summaries that were there.
            file.sync().await
        };
        let written: Result<(), DiskError> = written.await;
        if let Err(error) = written {
            self.summaries.strays.borrow_mut().push(name.file());
            return Err(error);
        }
        let known = Known {
            name,
            bytes: bytes as u64,
        };
        Ok((Slot { known, file }, target.entries))
    }

    /// The whole bytes of those that are copied; of one that is not right, none.
    async fn read_copies(
        &self,
        account: AccountId,
        index: &RefCell<Index<FileOf<E>>>,
        items: &[Item],
    ) -> HashMap<LogPosition, Bytes> {
        let places = items.iter().filter_map(|item| match item {
            Item::Copy(place) => Some(*place),
            Item::Draft(..) => None,
        });
        let mut places: Vec<Place> = places.collect();
        let seed = self.summary_seed(account);
        let mut copies = HashMap::with_capacity(places.len());
        let copy = |place: &Place, bytes: &[u8]| {
            let is_right = decode(seed, bytes).is_ok_and(|(message, _)| message.record == place.record);
            if is_right {
                copies.insert(place.record, Bytes::copy_from_slice(bytes));
            }
            is_right
        };
        read_places(index, &mut places, copy).await;
        copies
    }

    /// Summaries never take the room that mail needs.
    fn check_room_for_summaries(
        &self,
        account: AccountId,
        bytes: u64,
        name: &SummariesName,
    ) -> Result<(), DiskError> {
        let summaries = &self.summaries;
        while summaries.bytes.get() + bytes > SUMMARIES_BYTES_MAX && summaries.lose_oldest(account) {}
        let no_space = DiskError::NoSpace { what: name.file() };
        let is_over = summaries.bytes.get() + bytes > SUMMARIES_BYTES_MAX;
        let free = self.free_bytes_known();
        let needed = self.options.reserve_bytes.saturating_mul(2).saturating_add(bytes);
        if is_over || free < needed {
            Err(no_space)
        } else {
            Ok(())
        }
    }

    /// From now on the new file counts, and those it took in do not.
    fn take_in(
        &self,
        account: AccountId,
        index: &SharedIndex<E::Disk>,
        slot: Slot<FileOf<E>>,
        entries: &[IndexEntry],
        joined: &BTreeSet<u8>,
    ) {
        let summaries = &self.summaries;
        let replaced: Vec<Known> = {
            let index = index.borrow();
            let slots = joined
                .iter()
                .filter_map(|slot| index.slots[usize::from(*slot)].as_ref());
            slots.map(|slot| slot.known).collect()
        };
        summaries.bytes.set(summaries.bytes.get() + slot.known.bytes);
        summaries
            .files
            .borrow_mut()
            .entry(account)
            .or_default()
            .push(slot.known);
        replaced.iter().for_each(|known| summaries.lose(known));
        index.borrow_mut().add(slot, entries, joined);
        // Also if it had to make room meanwhile, or is the account's first.
        summaries.indexes.borrow_mut().keep(account, Rc::clone(index));
        self.meters.summary_bytes.set(summaries.file_bytes());
    }

    /// What cannot be removed now is left to the next time, or the next start.
    async fn remove_summary_strays(&self) {
        let strays = self.summaries.strays.take();
        for (number, name) in strays.iter().enumerate() {
            match self.env.disk().remove(name).await {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(_) => {
                    let left = strays[number..].to_vec();
                    return self.summaries.strays.borrow_mut().extend(left);
                }
            }
        }
    }
}

/// A draft and what an older summary of the same message has beside. `None`: it fits no more.
fn join(seed: u32, draft: &Draft, message: &Identity, before: &super::Summary<'_>) -> Option<Draft> {
    let (of, mut whole) = decode(seed, &draft.bytes).ok()?;
    if of != *message {
        return None;
    }
    whole.complete_from(before);
    let mut bytes = Vec::new();
    let parts = encode(seed, message, &whole, &mut bytes);
    // The newer parts are what was asked for last.
    parts.has_all(draft.parts).then(|| Draft {
        parts,
        bytes: bytes.into(),
    })
}

/// The slots of the files that a new one with so many bytes of drafts takes in: from the newest back.
fn joined_by<F>(drafts: u64, index: &Index<F>) -> BTreeSet<u8> {
    let slots = index.slots.iter().enumerate();
    let mut files: Vec<(u8, Known)> = slots
        .filter_map(|(number, slot)| Some((u8::try_from(number).ok()?, slot.as_ref()?.known)))
        .collect();
    files.sort_unstable_by_key(|(_, known)| known.name);
    let (mut together, mut joined) = (drafts, BTreeSet::new());
    while let Some((number, known)) = files.pop() {
        if known.bytes > together.saturating_mul(JOIN_FACTOR) && files.len() + 2 <= FILES_MAX {
            break;
        }
        together += known.bytes;
        joined.insert(number);
    }
    joined
}

/// Leaves out the oldest of more than an account may have.
fn keep_newest(items: &mut Vec<Item>) {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += (item.bytes() + INDEX_ENTRY_BYTES) as u64;
        bytes <= ACCOUNT_BYTES_MAX
    };
    let kept = items.iter().rev().take(ENTRIES_MAX).take_while(fits).count();
    items.drain(..items.len() - kept);
}

/// How many of these are read and written together.
fn piece_of(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += item.bytes();
        bytes <= PIECE_BYTES
    };
    items.iter().take_while(fits).count().max(1)
}

/// A file being filled.
struct Target<F> {
    file: F,
    /// Where the piece begins: a multiple of the block.
    at: usize,
    piece: Vec<u8>,
    entries: Vec<IndexEntry>,
}

impl<F: DiskFile> Target<F> {
    fn put(&mut self, items: &[Item], copies: &HashMap<LogPosition, Bytes>) {
        for item in items {
            let (record, bytes, parts) = match item {
                Item::Draft(record, draft) => (*record, &draft.bytes, draft.parts),
                Item::Copy(place) => match copies.get(&place.record) {
                    Some(bytes) => (place.record, bytes, place.parts),
                    None => continue,
                },
            };
            self.entries.push(IndexEntry {
                record,
                at: u32::try_from(self.at + self.piece.len()).expect("files of summaries are bounded"),
                bytes: u16::try_from(bytes.len()).expect("summaries are bounded"),
                parts,
            });
            self.piece.extend_from_slice(bytes);
        }
    }

    /// Writes whole blocks of what there is, at the end with zeros behind it.
    async fn write_blocks(&mut self, is_last: bool) -> Result<(), DiskError> {
        let whole = if is_last {
            self.piece.len().next_multiple_of(BLOCK_BYTES)
        } else {
            self.piece.len() / BLOCK_BYTES * BLOCK_BYTES
        };
        if whole == 0 {
            return Ok(());
        }
        self.piece.resize(self.piece.len().max(whole), 0);
        let rest = self.piece.split_off(whole);
        let piece = std::mem::replace(&mut self.piece, rest);
        write_all(&self.file, self.at as u64, piece).await?;
        self.at += whole;
        Ok(())
    }
}

async fn write_all<F: DiskFile>(file: &F, at: u64, bytes: Vec<u8>) -> Result<(), DiskError> {
    let mut written = 0;
    for piece in bytes.chunks(PIECE_BYTES) {
        let mut buffer = file.buffer(piece.len().next_multiple_of(BLOCK_BYTES));
        buffer.bytes_mut().fill(0);
        buffer.bytes_mut()[..piece.len()].copy_from_slice(piece);
        file.write_at(Rc::new(buffer), at + written).await?;
        written += piece.len() as u64;
    }
    Ok(())
}
