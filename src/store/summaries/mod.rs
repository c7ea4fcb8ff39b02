//! Summaries of messages on disk: what lists of messages are made of (ENVELOPE, BODYSTRUCTURE, PREVIEW, header fields, EMAILID),
//! so that no message is opened for it twice, not after a restart either.
//!
//! Owns: summaries that were made ([`Store::keep_summary`]), in memory until there are enough for a file, then in files of one
//! account each; finding them again ([`Store::recall`]); which messages came lately ([`Store::next_fresh`]).
//! Invariants: derived data: any of it can be gone at any moment and is made anew from the message, equal. A summary is served
//! only when its checksum is right, which starts from the store's id and the account, and it names the row's message: the place of its record
//! (never used again; copies in other mailboxes share it), size and INTERNALDATE. A message never changes, so a right summary
//! is never out of date. Nobody waits for a file to be written or synced.
//! Limits: [`SUMMARIES_BYTES_MAX`] a core and [`ACCOUNT_BYTES_MAX`] an account; in memory those of `pending` and `index`. Files are
//! written in pieces with waits between them.
//! Failure: an error or a full disk costs summaries and nothing else; after [`FAILURES_MAX`] in a row none are written before the
//! next start. Files that are not as they were written are removed.
//!
//! Made when a core has nothing else to do, from mail that is still in memory, and of the rest when a client first asks; never by a
//! delivery: under load it would pay for lists that perhaps nobody makes (POP3, programs that ask for no envelope, mail that is
//! never read), in CPU, in bytes of the log and in bytes that compaction carries along. LIMITATION: the first list that is ever
//! made of mail that came faster than it could be summarised, or was lost with the memory of a crash, opens its messages; every
//! later one does not. A file is written when a core has time for it, not while the client that had it made may be asking for more.
//! What goes: when a file is joined with others, summaries whose messages no mailbox has any more, or that compaction has moved,
//! are left behind (a moved message is opened once more). Files of accounts that are not there go at a start.
//! Not here: what is in a part, and which command needs which (`mailbox::summary`).

mod entry;
mod file;
mod fresh;
mod index;
mod keep;
mod pending;
mod recall;
pub(super) mod verify;

pub(super) use entry::{Identity, decode, encode};
pub use entry::{PART_BYTES_MAX, Part, PartSet, Summary};
pub use file::SUMMARIES_VERSION;
pub(super) use file::SummariesName;
#[cfg(fuzzing)]
pub(super) use file::{INDEX_ENTRY_BYTES, decode_header, decode_index, encode_head, seal_head};
pub(super) use index::OPEN_FILES_MAX;
pub use recall::SummarySource;

use super::handle::{Inner, Store};
use super::recovery::StoreSeed;
use super::{Environment, MessageRow};
use crate::base::id_map::IdMap;
use crate::base::wait::Notify;
use crate::disk::Disk;
use crate::model::AccountId;
use fresh::Fresh;
use index::{Files, Index, Indexes, Known};
use pending::{Draft, Pending};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes of all files of a core: of some eight million messages. The accounts that got theirs first lose them.
pub const SUMMARIES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of one account's files when they are joined: of its newest hundred thousand messages.
pub const ACCOUNT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Files that could not be written, one after the other, before it is given up.
pub const FAILURES_MAX: u32 = 8;

/// What part of the memory for loaded accounts their indexes may take.
const MEMORY_SHARE: usize = 8;

/// More files of one account than this are not looked at.
const FILES_KNOWN_MAX: usize = 8 * index::FILES_MAX;

/// One core's summaries.
pub struct Summaries<D: Disk> {
    store_id: u64,
    incarnation: u32,
    next_number: Cell<u32>,
    files: RefCell<IdMap<AccountId, Files>>,
    bytes: Cell<u64>,
    /// Names of files to be removed.
    strays: RefCell<Vec<String>>,
    indexes: RefCell<Indexes<D::File>>,
    pending: RefCell<Pending>,
    pub fresh: Fresh,
    failures: Cell<u32>,
    wanted: Notify,
}

/// An index that others may use as well; not to be borrowed over a wait.
type SharedIndex<D> = Rc<RefCell<Index<<D as Disk>::File>>>;

impl<D: Disk> Summaries<D> {
    /// Those of this core, among the files that a start found.
    pub fn new(seed: &StoreSeed) -> Self {
        let mut files: IdMap<AccountId, Files> = IdMap::default();
        let mut strays = Vec::new();
        let mut bytes = 0;
        for (name, len) in seed.summaries.iter() {
            if name.account.partition().core(seed.cores) != seed.core {
                continue;
            }
            // Of a start that never was: the log is an older copy than this file, and may say other things in the same places.
            let is_of_now = name.incarnation < seed.incarnation;
            if is_of_now && seed.state.durable(name.account).is_some() {
                let known = Known {
                    name: *name,
                    bytes: *len,
                };
                files.entry(name.account).or_default().push(known);
                bytes += len;
            } else {
                strays.push(name.file());
            }
        }
        for known in files.values_mut() {
            known.sort_unstable_by_key(|known| known.name);
            let excess = known.len().saturating_sub(FILES_KNOWN_MAX);
            for known in known.drain(..excess) {
                bytes -= known.bytes;
                strays.push(known.name.file());
            }
        }
        Self {
            store_id: seed.store_id,
            incarnation: seed.incarnation,
            next_number: Cell::new(1),
            files: RefCell::new(files),
            bytes: Cell::new(bytes),
            strays: RefCell::new(strays),
            indexes: RefCell::new(Indexes::new(seed.options.loaded_bytes_max / MEMORY_SHARE)),
            pending: RefCell::default(),
            fresh: Fresh::default(),
            failures: Cell::new(0),
            wanted: Notify::new(),
        }
    }

    /// Of all files.
    pub fn file_bytes(&self) -> i64 {
        i64::try_from(self.bytes.get()).unwrap_or(i64::MAX)
    }

    /// Of indexes, which count among the bytes of loaded accounts.
    pub fn memory_bytes(&self) -> usize {
        self.indexes.borrow().bytes()
    }

    /// The index of the account's files. `None`: it has none.
    async fn index(&self, disk: &D, account: AccountId) -> Option<SharedIndex<D>> {
        if let Some(index) = self.indexes.borrow_mut().find(account) {
            return Some(index);
        }
        loop {
            let files = self.files.borrow().get(&account)?.clone();
            let mut index = Index::default();
            for known in &files {
                match index::open(disk, self.store_id, *known).await {
                    Some((slot, entries)) => index.add(slot, &entries, &Default::default()),
                    None => self.lose(known),
                }
            }
            // Otherwise a file was written or was lost meanwhile.
            if self.files.borrow().get(&account) == Some(&files) {
                let index = Rc::new(RefCell::new(index));
                self.indexes.borrow_mut().keep(account, index.clone());
                return Some(index);
            }
        }
    }

    /// This file is of no use any more.
    fn lose(&self, lost: &Known) {
        let account = lost.name.account;
        let mut files = self.files.borrow_mut();
        let Some(of_account) = files.get_mut(&account) else {
            return;
        };
        let before = of_account.len();
        of_account.retain(|known| *known != *lost);
        if of_account.len() < before {
            self.bytes.set(self.bytes.get() - lost.bytes);
            self.strays.borrow_mut().push(lost.name.file());
        }
        if of_account.is_empty() {
            files.remove(&account);
        }
    }

    /// All files of the account that got its newest one first, but for `but`. False: there is no such account.
    fn lose_oldest(&self, but: AccountId) -> bool {
        let oldest = {
            let files = self.files.borrow();
            let others = files.iter().filter(|(account, _)| **account != but);
            let newest = |of: &Files| of.last().map(|known| (known.name.incarnation, known.name.number));
            others
                .min_by_key(|(_, of_account)| newest(of_account))
                .map(|(account, of_account)| (*account, of_account.clone()))
        };
        let Some((account, files)) = oldest else {
            return false;
        };
        files.iter().for_each(|known| self.lose(known));
        self.indexes.borrow_mut().forget(account);
        true
    }

    /// Has a file these parts of the row's message, as far as that is known without waiting?
    fn has_in_file(&self, account: AccountId, row: &MessageRow, parts: PartSet) -> bool {
        let indexes = self.indexes.borrow();
        let Some(index) = indexes.peek(account).map(RefCell::borrow) else {
            return false;
        };
        let place = index.find(row.record);
        place.is_some_and(|place| place.parts.has_all(parts))
    }

    fn has_given_up(&self) -> bool {
        self.failures.get() >= FAILURES_MAX
    }
}

impl<E: Environment> Inner<E> {
    fn summary_seed(&self, account: AccountId) -> u32 {
        entry::seed(self.summaries.store_id, account)
    }
}

impl<E: Environment> Store<E> {
    /// Keeps what was found out about the message of this row, to be found by [`Self::recall`], the longest parts left out. Call
    /// [`Self::leave_summaries`] when there will be no more for a while. True: all of it is kept.
    pub fn keep_summary(&self, account: AccountId, row: &MessageRow, summary: &Summary<'_>) -> bool {
        let inner = self.inner();
        let summaries = &inner.summaries;
        if summaries.has_given_up() {
            return false;
        }
        let wanted = summary.parts();
        let mut pending = summaries.pending.borrow_mut();
        let before = pending.find(account, row.record).cloned();
        let is_there = before.as_ref().is_some_and(|draft| draft.parts.has_all(wanted));
        if is_there || summaries.has_in_file(account, row, wanted) {
            return true;
        }
        let seed = inner.summary_seed(account);
        let mut whole = summary.clone();
        if let Some(before) = before.as_ref().and_then(|draft| draft.summary(seed)) {
            whole.complete_from(&before);
        }
        // Of exactly this length, so that it becomes `Bytes` as it is.
        let mut bytes = Vec::with_capacity(whole.encoded_bytes());
        let parts = encode(seed, &Identity::of(row), &whole, &mut bytes);
        if parts == PartSet::NONE {
            return false;
        }
        let bytes = bytes.into();
        if pending.put(account, row.record, Draft { parts, bytes }) {
            summaries.wanted.notify_all();
        }
        parts.has_all(wanted)
    }

    /// Would [`Self::keep_summary`] keep these parts of this row's message, as far as that is known without waiting?
    #[must_use]
    pub fn wants_summary(&self, account: AccountId, row: &MessageRow, parts: PartSet) -> bool {
        !self.inner().summaries.has_given_up() && !self.has_summary(account, row, parts)
    }

    /// Has [`Self::recall`] something about this row, as far as that is known without waiting? It may be wrong.
    #[must_use]
    pub fn has_summary(&self, account: AccountId, row: &MessageRow, parts: PartSet) -> bool {
        let summaries = &self.inner().summaries;
        let pending = summaries.pending.borrow();
        let draft = pending.find(account, row.record);
        draft.is_some_and(|draft| draft.parts.has_all(parts)) || summaries.has_in_file(account, row, parts)
    }

    /// A command that kept summaries of this account has ended: if there are enough for a file, one is written when somebody
    /// says that there is time ([`Self::settle_left_summaries`]). Clients that list a mailbox often ask something else of it at
    /// once, which a file written beside it held up by some ten milliseconds, and by as many again when what had just been
    /// in memory came from that file.
    pub fn leave_summaries(&self, account: AccountId) {
        let summaries = &self.inner().summaries;
        if summaries.pending.borrow_mut().leave(account) {
            summaries.fresh.notify();
        }
    }

    /// Did a command leave enough summaries for a file?
    #[must_use]
    pub fn has_left_summaries(&self) -> bool {
        self.inner().summaries.pending.borrow().has_left()
    }

    /// There is time to write what commands have left.
    pub fn settle_left_summaries(&self) {
        let summaries = &self.inner().summaries;
        if summaries.pending.borrow_mut().settle_left() {
            summaries.wanted.notify_all();
        }
    }
}
