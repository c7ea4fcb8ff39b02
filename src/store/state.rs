//! The durable state of accounts and mailboxes, as sessions see it.
//!
//! Invariants: changed by `apply` only, but for [`MailboxState::recent_from`]; rows ascend by UID; `uid_next` is above every UID ever durable here; at most
//! [`KEYWORDS_MAX`] keywords a mailbox; names and mailboxes of an account refer to each other one to one.
//! Graves rise by MODSEQ; of what left a mailbox above `graves_from`, none is missing.
//! Not here: numbers given to changes that are not durable yet (`pending`).

use super::cold::{Cold, Kept};
use super::names::Names;
use super::{AccountChange, MailboxChange, SpoolEntry, SpoolKey};
use crate::base::clock::UnixMillis;
use crate::base::id_map::IdMap;
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SegmentId, SpecialUse, Uid,
    UidValidity,
};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Keywords of a mailbox: the bits of [`MessageRow::keywords`]. When all have a name, a new keyword takes the bit of one that
/// no message has, of those that are there and of those that can be brought back. When there is none, a change that would give
/// it is refused (`plan_keywords`); what a record of before that rule says is left out, as RFC 9051 §7.1 (PERMANENTFLAGS)
/// lets a server do.
pub const KEYWORDS_MAX: usize = 64;

/// Entries a [`ChangeLog`] keeps (8 bytes each, names beside them in an account's): a session that is further behind
/// compares whole mailboxes, or is told that it missed something.
pub const CHANGES_KEPT_MAX: usize = 1024;

/// The id of every account's INBOX.
pub const INBOX_ID: MailboxId = MailboxId(1);

/// Values of metadata by their entries' names in lower case (RFC 5464 §3.2 compares them without case).
pub type Metadata = BTreeMap<String, Bytes>;

/// The durable state of one account.
#[derive(Debug, PartialEq)]
pub struct AccountState {
    /// Whose.
    pub id: AccountId,
    /// Every mailbox by its name.
    pub names: Names<MailboxId>,
    /// Every mailbox by its id.
    pub mailboxes: IdMap<MailboxId, MailboxState>,
    /// Names subscribed to, whether there is such a mailbox or not.
    pub subscriptions: Names<()>,
    /// Of the newest change of the account.
    pub highest_mod_seq: ModSeq,
    /// Octets of all its messages; a copy counts again.
    pub bytes_used: u64,
    /// Of the server, as this account has it.
    pub metadata: Metadata,
    /// What was in mailboxes that were deleted.
    pub buried: Vec<BuriedMailbox>,
    /// What happened to its mailboxes lately; each mailbox has a log of its messages beside it.
    pub changes: ChangeLog<AccountChange>,
    pub(super) next_mailbox: u32,
    pub(super) next_uid_validity: u32,
}

impl AccountState {
    /// A new account with INBOX and the standard mailboxes, subscribed to all of them.
    #[must_use]
    pub fn new(id: AccountId, uid_validity: u32) -> Self {
        let mut account = Self {
            next_uid_validity: uid_validity,
            ..Self::empty(id)
        };
        account.add_next(MailboxName::inbox(), None);
        for (role, name) in SpecialUse::STANDARD {
            let name = MailboxName::new(name).expect("the standard names are valid");
            account.add_next(name, Some(role));
        }
        account.subscriptions = account.names.keys().cloned().collect();
        account
    }

    /// Without any mailbox: to be filled by whoever reads it back.
    pub(super) fn empty(id: AccountId) -> Self {
        Self {
            id,
            names: Names::default(),
            mailboxes: IdMap::default(),
            subscriptions: Names::default(),
            highest_mod_seq: ModSeq(0),
            bytes_used: 0,
            metadata: Metadata::new(),
            buried: Vec::new(),
            changes: ChangeLog::default(),
            next_mailbox: INBOX_ID.0,
            next_uid_validity: 0,
        }
    }

    fn add_next(&mut self, name: MailboxName, special_use: Option<SpecialUse>) {
        let id = MailboxId(self.next_mailbox);
        let uid_validity = UidValidity(self.next_uid_validity);
        self.add_mailbox(MailboxState::new(id, name, uid_validity, special_use));
    }

    pub(super) fn add_mailbox(&mut self, mailbox: MailboxState) {
        self.next_mailbox = self.next_mailbox.max(mailbox.id.0 + 1);
        self.next_uid_validity = self.next_uid_validity.max(mailbox.uid_validity.0 + 1);
        self.names.insert(mailbox.name.clone(), mailbox.id);
        self.mailboxes.insert(mailbox.id, mailbox);
    }

    /// Every row that refers to a message record, of what is there and of what can be brought back.
    pub(super) fn rows_and_graves(&self) -> impl Iterator<Item = &MessageRow> {
        let mailboxes = self.mailboxes.values();
        let own = mailboxes.flat_map(|mailbox| mailbox.rows.iter().chain(kept_rows(&mailbox.graves)));
        own.chain(self.buried.iter().flat_map(|mailbox| kept_rows(&mailbox.graves)))
    }

    /// Is this name subscribed to, in whatever normalization?
    #[must_use]
    pub fn is_subscribed(&self, name: &MailboxName) -> bool {
        self.subscriptions.find(name).is_some()
    }

    /// Are all its names in NFC?
    pub(super) fn has_normalized_names(&self) -> bool {
        self.names.is_normalized() && self.subscriptions.is_normalized()
    }

    /// How many messages there are in all its mailboxes.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.mailboxes
            .values()
            .map(|mailbox| mailbox.rows.len() as u64)
            .sum()
    }

    /// The mailbox of this name: tests ask by names, the server by ids.
    #[cfg(test)]
    pub(super) fn mailbox_named(&self, name: &MailboxName) -> Option<&MailboxState> {
        self.mailboxes.get(self.names.get(name)?)
    }
}

/// The durable state of one mailbox.
#[derive(Debug, PartialEq)]
pub struct MailboxState {
    /// For as long as it lives.
    pub id: MailboxId,
    /// As of now.
    pub name: MailboxName,
    /// Never changes.
    pub uid_validity: UidValidity,
    /// As clients may see it: one more than the highest UID ever durable here.
    pub uid_next: u32,
    /// Its role, whatever it is named.
    pub special_use: Option<SpecialUse>,
    /// Ascending by UID.
    pub rows: Vec<MessageRow>,
    /// Bit i of [`MessageRow::keywords`] is `keywords[i]`. At most 64.
    pub keywords: Vec<Keyword>,
    /// Of the newest change here.
    pub highest_mod_seq: ModSeq,
    /// What was expunged or moved away, by rising MODSEQ of that.
    pub graves: Vec<Grave>,
    /// What was expunged up to this MODSEQ is forgotten; all that was later has a grave.
    pub graves_from: ModSeq,
    /// It goes with the mailbox when that is renamed or deleted.
    pub metadata: Metadata,
    /// What happened lately.
    pub changes: ChangeLog,
    /// The least UID that no session has had for `\Recent` yet. Not durable: after a restart nothing is recent that was
    /// there before it. In a cell, because sessions that look at the state move it on.
    pub recent_from: Cell<u32>,
}

impl MailboxState {
    pub(super) fn new(
        id: MailboxId,
        name: MailboxName,
        uid_validity: UidValidity,
        special_use: Option<SpecialUse>,
    ) -> Self {
        Self {
            id,
            name,
            uid_validity,
            uid_next: 1,
            special_use,
            rows: Vec::new(),
            keywords: Vec::new(),
            highest_mod_seq: ModSeq(0),
            graves: Vec::new(),
            graves_from: ModSeq(0),
            metadata: Metadata::new(),
            changes: ChangeLog::default(),
            recent_from: Cell::new(1),
        }
    }

    /// The row of `uid`.
    #[must_use]
    pub fn row(&self, uid: Uid) -> Option<&MessageRow> {
        let index = self.rows.binary_search_by_key(&uid, |row| row.uid).ok()?;
        self.rows.get(index)
    }

    /// The UIDs that left this mailbox by a change above `mod_seq`, ascending (RFC 7162 §3.2.5.2). `None`: not all of
    /// them are remembered any more; the client has to compare its UIDs with those that are there.
    #[must_use]
    pub fn expunged_since(&self, mod_seq: ModSeq) -> Option<Vec<Uid>> {
        if mod_seq < self.graves_from {
            return None;
        }
        let first = self.graves.partition_point(|grave| grave.mod_seq <= mod_seq);
        let mut uids: Vec<Uid> = self.graves[first..].iter().map(|grave| grave.row.uid).collect();
        uids.sort_unstable();
        Some(uids)
    }

    pub(super) fn bury(
        &mut self,
        rows: &[MessageRow],
        mod_seq: ModSeq,
        at: Option<UnixMillis>,
        has_moved: bool,
    ) {
        // What format 1 expunged has no date: old enough to be forgotten.
        let at = at.unwrap_or(UnixMillis(i64::MIN));
        self.graves.extend(rows.iter().map(|row| Grave {
            row: *row,
            mod_seq,
            at,
            has_moved,
        }));
    }

    /// The bits of `keywords`, giving a new one the next free bit, or the lowest that no message has. One for which there is
    /// none is left out: `plan_keywords` lets no change come to that.
    pub(super) fn keyword_bits(&mut self, keywords: &[Keyword], free: &mut FreeBits) -> u64 {
        let mut found = 0;
        for keyword in keywords {
            let index = match self.keywords.iter().position(|k| k == keyword) {
                Some(index) => index,
                None if self.keywords.len() < KEYWORDS_MAX => {
                    self.keywords.push(keyword.clone());
                    self.keywords.len() - 1
                }
                None => {
                    let known = *free.0.get_or_insert_with(|| !self.used_keyword_bits()) & !found;
                    if known == 0 {
                        continue;
                    }
                    let index = known.trailing_zeros() as usize;
                    self.keywords[index] = keyword.clone();
                    index
                }
            };
            found |= 1 << index;
        }
        if let Some(free) = &mut free.0 {
            *free &= !found;
        }
        found
    }

    /// The keywords that some message has, of those that are there and of those that can be brought back.
    pub(super) fn used_keyword_bits(&self) -> u64 {
        let rows = self.rows.iter().chain(kept_rows(&self.graves));
        rows.fold(0, |bits, row| bits | row.keywords)
    }

    /// Would a keyword that the mailbox does not know be kept? Looks at every message once all bits have names.
    #[must_use]
    pub fn takes_new_keyword(&self) -> bool {
        self.keywords.len() < KEYWORDS_MAX || self.used_keyword_bits() != u64::MAX
    }

    /// Differs when the meaning of a bit does: a list only grows until all bits have names.
    #[must_use]
    pub fn keywords_version(&self) -> u64 {
        if self.keywords.len() < KEYWORDS_MAX {
            return self.keywords.len() as u64;
        }
        let mut hasher = DefaultHasher::new();
        self.keywords
            .iter()
            .for_each(|keyword| keyword.as_str().hash(&mut hasher));
        hasher.finish()
    }

    /// The bits of those of `keywords` that have one.
    #[must_use]
    pub fn known_keyword_bits(&self, keywords: &[Keyword]) -> u64 {
        let bit = |keyword: &Keyword| self.keywords.iter().position(|k| k == keyword);
        keywords
            .iter()
            .filter_map(bit)
            .fold(0, |bits, index| bits | 1 << index)
    }

    /// The keywords of these bits.
    pub fn keywords_of(&self, bits: u64) -> impl Iterator<Item = &Keyword> {
        self.keywords
            .iter()
            .enumerate()
            .filter(move |(index, _)| bits >> index & 1 == 1)
            .map(|(_, keyword)| keyword)
    }
}

/// Bits that no message had when one record began to be applied, and that it has not given away: looked for once, and only
/// when a new keyword needs one.
#[derive(Debug, Default)]
pub(super) struct FreeBits(Option<u64>);

/// One message in one mailbox, fixed width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRow {
    /// Its UID here.
    pub uid: Uid,
    /// As they stand.
    pub flags: Flags,
    /// Bits; see [`MailboxState::keywords`].
    pub keywords: u64,
    /// Prefix and body, octets.
    pub size: u32,
    /// INTERNALDATE's moment; see [`Self::internal_date`].
    pub internal_date_at: UnixMillis,
    /// INTERNALDATE's zone, minutes east of UTC. Beside its moment, not in a struct of both, which would be padded.
    pub internal_date_zone_minutes: i16,
    /// When it came into this mailbox's account.
    pub save_date: UnixMillis,
    /// Of its newest change.
    pub mod_seq: ModSeq,
    /// The message record: prefix, chunks, email id.
    pub record: LogPosition,
    /// Length of that record, so that one read fetches it.
    pub record_bytes: u32,
    /// The segment with the body's first chunk.
    pub body_segment: SegmentId,
    /// Other chunks of the body lie in other segments.
    pub is_body_scattered: bool,
    /// Octets it is longer by when every line, the last one too, ends in CRLF: what POP3 announces is `size` plus this.
    pub line_end_octets: u32,
}

/// Sixty-four bytes for each message of an account in memory, no more.
const _: () = assert!(size_of::<MessageRow>() == 64);

impl MessageRow {
    /// INTERNALDATE.
    #[must_use]
    pub fn internal_date(&self) -> InternalDate {
        InternalDate {
            at: self.internal_date_at,
            zone_minutes: self.internal_date_zone_minutes,
        }
    }
}

/// A message that left its mailbox: remembered for sessions that synchronise, and for an admin who brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grave {
    /// As it last stood.
    pub row: MessageRow,
    /// Of its leaving.
    pub mod_seq: ModSeq,
    /// When it left.
    pub at: UnixMillis,
    /// It lives on in another mailbox.
    pub has_moved: bool,
}

/// What can be brought back: what has moved is where it has moved to.
fn kept_rows(graves: &[Grave]) -> impl Iterator<Item = &MessageRow> {
    let kept = graves.iter().filter(|grave| !grave.has_moved);
    kept.map(|grave| &grave.row)
}

/// The messages of a mailbox that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuriedMailbox {
    /// The id that it had.
    pub id: MailboxId,
    /// The name that it had last.
    pub name: MailboxName,
    /// What the bits of its rows mean.
    pub keywords: Vec<Keyword>,
    /// Never empty.
    pub graves: Vec<Grave>,
}

/// What happened to a mailbox (or to the mailboxes of an account) lately, so that a session catches up without
/// comparing them whole.
#[derive(Debug, PartialEq)]
pub struct ChangeLog<C = MailboxChange> {
    first: u64,
    entries: VecDeque<C>,
}

impl<C> Default for ChangeLog<C> {
    fn default() -> Self {
        Self {
            first: 0,
            entries: VecDeque::new(),
        }
    }
}

impl<C> ChangeLog<C> {
    /// The cursor after the newest entry.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Entries from `cursor` on; `None` when some of them are forgotten: compare whole views instead.
    #[must_use]
    pub fn since(&self, cursor: u64) -> Option<Box<dyn Iterator<Item = &C> + '_>> {
        let skip = usize::try_from(cursor.checked_sub(self.first)?).ok()?;
        (skip <= self.entries.len()).then(|| Box::new(self.entries.iter().skip(skip)) as Box<_>)
    }

    pub(super) fn push(&mut self, change: C) {
        if self.entries.len() == CHANGES_KEPT_MAX {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(change);
    }

    /// The newest entry. Until the record after its own is applied too, nobody has seen it.
    pub(super) fn newest_mut(&mut self) -> Option<&mut C> {
        self.entries.back_mut()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<C>()
    }

    /// After replay no session holds a cursor: counting starts anew, whether the log was read or a checkpoint.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Everything one core (or, during recovery, the whole store) knows durably.
#[derive(Debug, Default)]
pub struct CoreState {
    /// Accounts in memory.
    pub accounts: IdMap<AccountId, AccountState>,
    /// All others that were ever touched.
    pub cold: IdMap<AccountId, Cold>,
    /// What is known of the snapshots of those in memory. One that is not here has none.
    pub kept: IdMap<AccountId, Kept>,
    /// About as many bytes are those in memory.
    pub loaded_bytes: usize,
    /// How often one was asked for: what [`Kept::last_used`] counts in.
    pub loads: u64,
    /// Spool entries not done yet.
    pub spool: BTreeMap<SpoolKey, SpoolEntry>,
    /// Recipients served from a spool entry: partition of the account and index in the entry.
    pub served: HashMap<SpoolKey, SmallVec<[(u16, u16); 4]>>,
}
