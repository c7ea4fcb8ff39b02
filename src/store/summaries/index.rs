//! Where the summaries of an account lie, in memory.
//!
//! Invariants: places ascend by record, each record once; of two files that know a record the newer counts. What is read into
//! memory here can be forgotten at any moment and read again.
//! Limits: sixteen bytes a summary and an open file for each of [`FILES_MAX`]; [`INDEXES_MAX`] accounts with [`OPEN_FILES_MAX`]
//! files in all, and of bytes an eighth of what loaded accounts may take, which is counted there.
//! Failure: a file that is not as it was written is forgotten, and removed.
//! Not here: the bytes of files (`file`), reading summaries (`recall`).

use super::entry::PartSet;
use super::file::{IndexEntry, SummariesName, decode_header, decode_index};
use crate::base::id_map::IdMap;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::model::{AccountId, LogPosition};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

/// Files of one account. More are joined; a crash may leave some that were joined already.
pub const FILES_MAX: usize = 8;

/// Accounts whose indexes are in memory.
pub const INDEXES_MAX: usize = 128;

/// Their open files. Two for each account: one, nearly always, and another until they are joined.
pub const OPEN_FILES_MAX: usize = 2 * INDEXES_MAX;

/// What an index costs beside its places.
const INDEX_BYTES: usize = 512;

/// A file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: SummariesName,
    /// Its length.
    pub bytes: u64,
}

/// The files of an account, the newest last.
pub type Files = SmallVec<[Known; 1]>;

/// Where a summary lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The record of its message.
    pub record: LogPosition,
    /// Of its first byte.
    pub at: u32,
    /// Its length.
    pub bytes: u16,
    /// What is in it.
    pub parts: PartSet,
    /// In which of the files.
    pub slot: u8,
}

const _: () = assert!(size_of::<Place>() == 16);

/// An open file.
#[derive(Clone, Debug)]
pub struct Slot<F> {
    /// Which.
    pub known: Known,
    /// Open for reading.
    pub file: F,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Index<F> {
    /// By their number in places; the newest is the last. `None`: joined with others.
    pub slots: Vec<Option<Slot<F>>>,
    places: Vec<Place>,
}

impl<F> Default for Index<F> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<F> Index<F> {
    /// All, ascending.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// Where the summary of the message with this record is.
    pub fn find(&self, record: LogPosition) -> Option<&Place> {
        let at = self.places.partition_point(|place| place.record < record);
        self.places.get(at).filter(|place| place.record == record)
    }

    /// Forgets a summary that is not as it was written.
    pub fn forget(&mut self, place: &Place) {
        self.places.retain(|other| other != place);
    }

    /// Takes in a newer file, instead of those with the slots `joined`.
    pub fn add(&mut self, slot: Slot<F>, entries: &[IndexEntry], joined: &BTreeSet<u8>) {
        for slot in joined {
            self.slots[usize::from(*slot)] = None;
        }
        self.places.retain(|place| !joined.contains(&place.slot));
        // A place whose file is gone is used again, so that there are never more slots than files.
        let free = self.slots.iter().position(Option::is_none);
        let number = free.unwrap_or(self.slots.len());
        if free.is_none() {
            self.slots.push(None);
        }
        self.slots[number] = Some(slot);
        let slot = u8::try_from(number).expect("an account has few files");
        self.places.extend(entries.iter().map(|entry| Place {
            record: entry.record,
            at: entry.at,
            bytes: entry.bytes,
            parts: entry.parts,
            slot,
        }));
        // Two ascending runs, which this sort only merges; the newer stays behind the older one.
        self.places.sort_by_key(|place| place.record);
        self.places.dedup_by(|newer, older| {
            let is_same = newer.record == older.record;
            if is_same {
                *older = *newer;
            }
            is_same
        });
    }

    fn files(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn memory_bytes(&self) -> usize {
        INDEX_BYTES * (1 + self.slots.len()) + self.places.capacity() * size_of::<Place>()
    }
}

/// Reads the head of a file. `None`: it is not as it was written, or cannot be read.
pub async fn open<D: Disk>(
    disk: &D,
    store_id: u64,
    known: Known,
) -> Option<(Slot<D::File>, Vec<IndexEntry>)> {
    let file = disk.open(&known.name.file()).await.ok()?;
    let block = file.read_at(0, BLOCK_BYTES).await.ok()?;
    let header = decode_header(store_id, &known.name, block.as_ref()).ok()?;
    if header.file_bytes() != known.bytes {
        return None;
    }
    let index = file
        .read_at(BLOCK_BYTES as u64, header.index_bytes())
        .await
        .ok()?;
    let entries = decode_index(store_id, &known.name, &header, index.as_ref()).ok()?;
    Some((Slot { known, file }, entries))
}

/// The indexes in memory.
#[derive(Debug)]
pub struct Indexes<F> {
    by_account: IdMap<AccountId, Cached<F>>,
    uses: u64,
    files: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct Cached<F> {
    index: Rc<RefCell<Index<F>>>,
    files: usize,
    bytes: usize,
    last_used: u64,
}

impl<F> Indexes<F> {
    /// None yet.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            by_account: IdMap::default(),
            uses: 0,
            files: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// All of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The account's.
    pub fn find(&mut self, account: AccountId) -> Option<Rc<RefCell<Index<F>>>> {
        self.uses += 1;
        let cached = self.by_account.get_mut(&account)?;
        cached.last_used = self.uses;
        Some(cached.index.clone())
    }

    /// Looks without counting it as a use.
    pub fn peek(&self, account: AccountId) -> Option<&RefCell<Index<F>>> {
        self.by_account.get(&account).map(|cached| &*cached.index)
    }

    /// Keeps an index, or counts one anew that has changed; those not used for longest go.
    pub fn keep(&mut self, account: AccountId, index: Rc<RefCell<Index<F>>>) {
        self.forget(account);
        self.uses += 1;
        let bytes = index.borrow().memory_bytes();
        let files = index.borrow().files();
        self.bytes += bytes;
        self.files += files;
        let cached = Cached {
            index,
            files,
            bytes,
            last_used: self.uses,
        };
        self.by_account.insert(account, cached);
        while self.bytes > self.bytes_max
            || self.by_account.len() > INDEXES_MAX
            || self.files > OPEN_FILES_MAX
        {
            let oldest = self.by_account.iter().min_by_key(|(_, cached)| cached.last_used);
            let oldest = *oldest.expect("there is one").0;
            self.forget(oldest);
        }
    }

    /// The account's is not needed, or not right any more.
    pub fn forget(&mut self, account: AccountId) {
        if let Some(cached) = self.by_account.remove(&account) {
            self.bytes -= cached.bytes;
            self.files -= cached.files;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Part;
    use super::*;
    use crate::model::SegmentId;

    fn entry(offset: u32, at: u32) -> IndexEntry {
        IndexEntry {
            record: LogPosition {
                segment: SegmentId(1),
                offset,
            },
            at,
            bytes: 40,
            parts: PartSet::NONE.with(Part::Envelope),
        }
    }

    fn slot(number: u32) -> Slot<()> {
        let name = SummariesName {
            account: AccountId(1),
            incarnation: 1,
            number,
        };
        Slot {
            known: Known { name, bytes: 4096 },
            file: (),
        }
    }

    fn index(files: &[&[IndexEntry]]) -> Index<()> {
        let mut index = Index::default();
        for (number, entries) in files.iter().enumerate() {
            index.add(slot(number as u32), entries, &BTreeSet::new());
        }
        index
    }

    #[test]
    fn the_newer_of_two_counts_and_joined_files_go() {
        let mut index = index(&[&[entry(1, 10), entry(5, 11)], &[entry(3, 20), entry(5, 21)]]);
        let at: Vec<u32> = index.places().iter().map(|place| place.at).collect();
        assert_eq!(at, [10, 20, 21]);
        let joined: BTreeSet<u8> = [0].into();
        index.add(slot(2), &[entry(5, 30)], &joined);
        let at: Vec<(u32, u8)> = index
            .places()
            .iter()
            .map(|place| (place.at, place.slot))
            .collect();
        assert_eq!(at, [(20, 1), (30, 0)], "the free slot is used again");
        assert_eq!(index.find(entry(3, 0).record).map(|place| place.at), Some(20));
        assert_eq!(index.find(entry(1, 0).record), None);
    }

    #[test]
    fn what_is_in_memory_is_bounded_and_the_oldest_go() {
        let mut indexes: Indexes<()> = Indexes::new(usize::MAX);
        for number in 0..=INDEXES_MAX as u64 {
            indexes.keep(AccountId(number), Rc::default());
            assert!(indexes.find(AccountId(1)).is_some() || number < 1);
        }
        assert!(indexes.find(AccountId(0)).is_none(), "it was not used since");
        assert_eq!(indexes.bytes(), INDEXES_MAX * INDEX_BYTES);
        let mut of_files: Indexes<()> = Indexes::new(usize::MAX);
        for number in 0..INDEXES_MAX as u64 {
            let many = index(&[&[], &[], &[]]);
            of_files.keep(AccountId(number), Rc::new(RefCell::new(many)));
        }
        let kept = (0..INDEXES_MAX as u64).filter(|number| of_files.peek(AccountId(*number)).is_some());
        assert_eq!(kept.count(), OPEN_FILES_MAX / 3);
        let mut none: Indexes<()> = Indexes::new(0);
        none.keep(AccountId(1), Rc::default());
        assert!(none.find(AccountId(1)).is_none() && none.bytes() == 0);
    }
}
