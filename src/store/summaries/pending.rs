//! Summaries that were made and are not in a file yet.
//!
//! Invariants: a draft is a whole summary as it will lie in a file; drafts of one message are joined.
//! Limits: [`PENDING_BYTES_MAX`] a core. An account with fewer than [`DRAFTS_MIN`] gets no file for them: as many messages are
//! opened with a few reads, and a file takes two blocks at least.
//! Not here: writing them (`keep`).

use super::entry::{PartSet, Summary, decode};
use crate::base::id_map::IdMap;
use crate::model::{AccountId, LogPosition};
use bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};

/// Bytes of drafts a core keeps; when there are more, those of accounts that have too few for a file are forgotten.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one account's drafts that are written without waiting for the end of a command: as many as the memory for drafts
/// allows, since what is written in two files is joined, which writes the first half again, and a file that is written while a
/// list is being made takes time from it. Envelopes of ten thousand messages are less.
pub const DUE_BYTES: usize = 6 * 1024 * 1024;

/// Drafts that are worth a file.
pub const DRAFTS_MIN: usize = 32;

/// What a draft costs beside its bytes.
const DRAFT_BYTES: usize = 64;

/// A summary as it will be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What is in it.
    pub parts: PartSet,
    /// All of it.
    pub bytes: Bytes,
}

#[derive(Debug, Default)]
struct OfAccount {
    drafts: HashMap<LogPosition, Draft, RandomState>,
    bytes: usize,
    is_due: bool,
    /// A command that made some has ended since they were written.
    is_left: bool,
}

/// All drafts of a core.
#[derive(Debug, Default)]
pub struct Pending {
    accounts: IdMap<AccountId, OfAccount>,
    due: VecDeque<AccountId>,
    /// Those that are to be due when there is time.
    left: Vec<AccountId>,
    bytes: usize,
}

impl Pending {
    /// The draft of the message with this record.
    pub fn find(&self, account: AccountId, record: LogPosition) -> Option<&Draft> {
        self.accounts.get(&account)?.drafts.get(&record)
    }

    /// Is there any of this account?
    pub fn has(&self, account: AccountId) -> bool {
        self.accounts.contains_key(&account)
    }

    /// Keeps a draft instead of the one before it. True: some account is due.
    pub fn put(&mut self, account: AccountId, record: LogPosition, draft: Draft) -> bool {
        let of_account = self.accounts.entry(account).or_default();
        let added = draft.bytes.len() + DRAFT_BYTES;
        let before = of_account.drafts.insert(record, draft);
        let freed = before.map_or(0, |draft| draft.bytes.len() + DRAFT_BYTES);
        of_account.bytes = of_account.bytes + added - freed;
        self.bytes = self.bytes + added - freed;
        let is_due = of_account.bytes >= DUE_BYTES && self.make_due(account);
        if self.bytes > PENDING_BYTES_MAX {
            self.make_room();
        }
        is_due || !self.due.is_empty()
    }

    /// A command of this account has ended. True: it is due.
    pub fn settle(&mut self, account: AccountId) -> bool {
        self.is_worth_a_file(account) && self.make_due(account)
    }

    /// The same, but it shall be due when there is time. True: it is worth a file.
    pub fn leave(&mut self, account: AccountId) -> bool {
        if !self.is_worth_a_file(account) {
            return false;
        }
        let of_account = self.accounts.get_mut(&account).expect("it has drafts");
        if !std::mem::replace(&mut of_account.is_left, true) {
            self.left.push(account);
        }
        true
    }

    /// Is there an account that is to be due when there is time?
    pub fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// There is time. True: some account is due.
    pub fn settle_left(&mut self) -> bool {
        for account in std::mem::take(&mut self.left) {
            if let Some(of_account) = self.accounts.get_mut(&account) {
                of_account.is_left = false;
            }
            self.settle(account);
        }
        !self.due.is_empty()
    }

    fn is_worth_a_file(&self, account: AccountId) -> bool {
        let found = self.accounts.get(&account);
        found.is_some_and(|of_account| of_account.drafts.len() >= DRAFTS_MIN)
    }

    fn make_due(&mut self, account: AccountId) -> bool {
        let Some(of_account) = self.accounts.get_mut(&account) else {
            return false;
        };
        if !std::mem::replace(&mut of_account.is_due, true) {
            self.due.push_back(account);
        }
        true
    }

    /// All accounts with enough drafts are due.
    pub fn settle_all(&mut self) {
        let accounts: Vec<AccountId> = self.accounts.keys().copied().collect();
        for account in accounts {
            self.settle(account);
        }
    }

    /// Of all drafts.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is there room for a draft that nobody waits for: are there fewer than so many bytes, or is the account on its way to a
    /// file?
    pub fn has_room(&self, account: AccountId, bytes_max: usize) -> bool {
        self.bytes < bytes_max || self.has(account)
    }

    /// Forgets drafts of accounts that have too few for a file.
    pub fn forget_few(&mut self) {
        let few = self
            .accounts
            .iter()
            .filter(|(_, of)| of.drafts.len() < DRAFTS_MIN);
        let few: Vec<AccountId> = few.map(|(account, _)| *account).collect();
        for account in few {
            self.forget(account);
        }
    }

    fn make_room(&mut self) {
        self.forget_few();
        self.settle_all();
        // The writer is too slow, or the disk refuses: rather no summaries than no memory.
        if self.bytes > PENDING_BYTES_MAX + PENDING_BYTES_MAX / 2 {
            *self = Self::default();
        }
    }

    /// The next account to be written.
    pub fn next_due(&mut self) -> Option<AccountId> {
        let account = self.due.pop_front()?;
        if let Some(of_account) = self.accounts.get_mut(&account) {
            of_account.is_due = false;
        }
        Some(account)
    }

    /// The account's drafts by record.
    pub fn of(&self, account: AccountId) -> Vec<(LogPosition, Draft)> {
        let drafts = self.accounts.get(&account).into_iter().flat_map(|of| &of.drafts);
        let mut drafts: Vec<(LogPosition, Draft)> =
            drafts.map(|(record, draft)| (*record, draft.clone())).collect();
        drafts.sort_unstable_by_key(|(record, _)| *record);
        drafts
    }

    /// These were written. Those that changed since stay.
    pub fn written(&mut self, account: AccountId, written: &[(LogPosition, Draft)]) {
        let Some(of_account) = self.accounts.get_mut(&account) else {
            return;
        };
        for (record, draft) in written {
            let now = of_account.drafts.get(record);
            if now.is_some_and(|now| now.bytes.as_ptr() == draft.bytes.as_ptr()) {
                of_account.drafts.remove(record);
                let freed = draft.bytes.len() + DRAFT_BYTES;
                of_account.bytes -= freed;
                self.bytes -= freed;
            }
        }
        if of_account.drafts.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// Nothing of this account is to be written.
    pub fn forget(&mut self, account: AccountId) {
        if let Some(of_account) = self.accounts.remove(&account) {
            self.bytes -= of_account.bytes;
        }
        self.due.retain(|due| *due != account);
        self.left.retain(|left| *left != account);
    }
}

impl Draft {
    /// What it says.
    pub fn summary(&self, seed: u32) -> Option<Summary<'_>> {
        decode(seed, &self.bytes).ok().map(|(_, summary)| summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Identity, Part, encode};
    use super::*;
    use crate::model::SegmentId;

    fn draft(octets: usize) -> Draft {
        let message = Identity {
            record: record(0),
            size: 1,
            internal_date_ms: 1,
        };
        let mut summary = Summary::new(1);
        let octets = vec![b'x'; octets];
        summary.put(Part::Envelope, &octets);
        let mut bytes = Vec::new();
        let parts = encode(1, &message, &summary, &mut bytes);
        Draft {
            parts,
            bytes: bytes.into(),
        }
    }

    fn record(offset: u32) -> LogPosition {
        LogPosition {
            segment: SegmentId(1),
            offset,
        }
    }

    #[test]
    fn an_account_is_due_when_it_has_enough_and_written_drafts_go_unless_they_changed() {
        let mut pending = Pending::default();
        let account = AccountId(1);
        for offset in 0..DRAFTS_MIN as u32 - 1 {
            assert!(!pending.put(account, record(offset), draft(100)));
        }
        assert!(!pending.settle(account) && pending.next_due().is_none());
        pending.put(account, record(99), draft(100));
        assert!(pending.settle(account) && pending.settle(account));
        assert_eq!(pending.next_due(), Some(account));
        assert_eq!(pending.next_due(), None, "it is due once");
        let drafts = pending.of(account);
        assert_eq!(drafts.len(), DRAFTS_MIN);
        pending.put(account, record(99), draft(200));
        pending.written(account, &drafts);
        assert_eq!(pending.of(account).len(), 1);
        pending.forget(account);
        assert!(!pending.has(account) && pending.bytes == 0);
    }

    #[test]
    fn an_account_that_was_left_is_due_when_there_is_time_once() {
        let mut pending = Pending::default();
        let account = AccountId(1);
        pending.put(account, record(0), draft(100));
        assert!(
            !pending.leave(account) && !pending.has_left(),
            "too few for a file"
        );
        for offset in 0..DRAFTS_MIN as u32 {
            pending.put(account, record(offset), draft(100));
        }
        assert!(pending.leave(account) && pending.leave(account));
        assert_eq!(pending.next_due(), None, "not yet");
        assert!(pending.settle_left() && !pending.has_left());
        assert_eq!(pending.next_due(), Some(account));
        assert_eq!(pending.next_due(), None);
        assert!(pending.leave(account), "again");
        pending.forget(account);
        assert!(!pending.has_left() && !pending.settle_left());
    }

    #[test]
    fn memory_is_bounded_however_many_accounts_and_drafts_there_are() {
        let mut pending = Pending::default();
        for number in 0..4_000 {
            pending.put(AccountId(number), record(1), draft(8_000));
            assert!(pending.bytes <= PENDING_BYTES_MAX + 10_000);
        }
        assert!(pending.next_due().is_none(), "none has enough");
        for offset in 0..4_000 {
            pending.put(AccountId(1), record(offset), draft(8_000));
            assert!(pending.bytes <= 2 * PENDING_BYTES_MAX);
        }
    }
}
