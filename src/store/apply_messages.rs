//! What records do to the messages of mailboxes: come, change their flags, leave, are copied; and to what is left of them.
//!
//! Invariants: as in `apply`. Rows stay in the order of their UIDs, and `uid_next` lies behind them all; what was asked for
//! of a UID that is gone is passed over.
//! Not here: mailboxes as such (`apply_mailboxes`).

use super::apply::{Place, account_of, add_served, mailbox_of, raise};
use super::codec::{Malformed, UidSet};
use super::cold::Cold;
use super::record::{MessageRecord, MovedRecord, StoreRule, Transferred, body_bytes};
use super::state::{AccountState, CoreState, FreeBits, Grave, MailboxState, MessageRow};
use super::{ChunkRef, MailboxChange, Outcome};
use crate::base::clock::UnixMillis;
use crate::model::{Flags, Keyword, MailboxId, ModSeq, SegmentId, Uid};
use crate::proto::imap::types::StoreOperation;
use std::collections::HashMap;

/// A change by which messages leave a mailbox.
#[derive(Clone, Copy)]
pub struct Leaving {
    pub mod_seq: ModSeq,
    pub at: Option<UnixMillis>,
}

/// The row of a message that comes, its keywords left out.
pub fn row_of(place: Place, message: &MessageRecord) -> Result<MessageRow, Malformed> {
    let size = u32::try_from(message.size()).map_err(|_| Malformed("a message beyond 4 GiB"))?;
    if message.chunks.is_empty() || body_bytes(&message.chunks) > u64::from(u32::MAX) {
        return Err(Malformed("a message without a body"));
    }
    let (body_segment, is_body_scattered) = body_place(&message.chunks);
    Ok(MessageRow {
        uid: message.uid,
        flags: message.flags,
        keywords: 0,
        size,
        internal_date_at: message.internal_date.at,
        internal_date_zone_minutes: message.internal_date.zone_minutes,
        save_date: message.save_date,
        mod_seq: message.mod_seq,
        record: place.position,
        record_bytes: place.bytes,
        body_segment,
        is_body_scattered,
        line_end_octets: message.line_end_octets,
    })
}

pub fn add_message(
    state: &mut CoreState,
    place: Place,
    message: &MessageRecord,
) -> Result<Outcome, Malformed> {
    add_served(state, message);
    let mut row = row_of(place, message)?;
    let goes_to_delta = Cold::takes(message.mailbox, !message.keywords.is_empty());
    if goes_to_delta && let Some(cold) = state.cold.get_mut(&message.account) {
        cold.deliver(row)?;
        return Ok(Outcome::Done);
    }
    if goes_to_delta {
        state.note_appended(message.account);
    } else {
        state.note_changed(message.account);
    }
    let account = account_of(state, message.account)?;
    raise(&mut account.highest_mod_seq, message.mod_seq);
    account.bytes_used += u64::from(row.size);
    let mailbox = mailbox_of(account, message.mailbox)?;
    row.keywords = mailbox.keyword_bits(&message.keywords, &mut FreeBits::default());
    append_row(mailbox, row)?;
    Ok(Outcome::Done)
}

/// A message comes into a mailbox.
pub fn append_row(mailbox: &mut MailboxState, row: MessageRow) -> Result<(), Malformed> {
    if row.uid.value() < mailbox.uid_next {
        return Err(Malformed("a UID is given twice"));
    }
    mailbox.uid_next = row
        .uid
        .value()
        .checked_add(1)
        .ok_or(Malformed("a UID too large"))?;
    raise(&mut mailbox.highest_mod_seq, row.mod_seq);
    mailbox.rows.push(row);
    mailbox.changes.push(MailboxChange::Added(row.uid));
    Ok(())
}

/// The indexes of the rows whose UID lies in `first..=last`.
pub fn rows_between(rows: &[MessageRow], first: u32, last: u32) -> std::ops::Range<usize> {
    let start = rows.partition_point(|row| row.uid.value() < first);
    let end = rows.partition_point(|row| row.uid.value() <= last);
    start..end
}

/// What a STORE does to each message.
pub struct FlagChange<'a> {
    pub operation: StoreOperation,
    pub flags: Flags,
    pub keywords: &'a [Keyword],
    pub unchanged_since: Option<ModSeq>,
    pub rule: StoreRule,
}

impl FlagChange<'_> {
    /// Is this message left alone? `named`: the bits of those of the keywords that the mailbox knows.
    fn passes_over(&self, row: &MessageRow, named: u64) -> bool {
        match self.unchanged_since {
            None => false,
            // RFC 7162 §3.1.3: 0 fails where there is such a flag, and system flags always are.
            Some(ModSeq(0)) if self.rule == StoreRule::OfChanged => {
                let is_replacing = self.operation == StoreOperation::Replace;
                is_replacing || self.flags != Flags::default() || row.keywords & named != 0
            }
            Some(since) => row.mod_seq > since,
        }
    }

    /// Does it give bits to keywords that have none?
    pub fn gives_bits(&self, mailbox: &MailboxState, uids: &UidSet, named: u64) -> bool {
        match (self.operation, self.rule) {
            (StoreOperation::Remove, _) => false,
            (_, StoreRule::OfAll) => true,
            (_, StoreRule::OfChanged) => {
                let mut ranges = uids.ranges().iter();
                ranges.any(|(first, last)| {
                    let mut rows = mailbox.rows[rows_between(&mailbox.rows, *first, *last)].iter();
                    rows.any(|row| !self.passes_over(row, named))
                })
            }
        }
    }
}

pub fn store_flags(
    mailbox: &mut MailboxState,
    mod_seq: ModSeq,
    wanted: &FlagChange<'_>,
    uids: &UidSet,
) -> Result<Outcome, Malformed> {
    let flags = wanted.flags;
    let named = mailbox.known_keyword_bits(wanted.keywords);
    let bits = if wanted.gives_bits(mailbox, uids, named) {
        mailbox.keyword_bits(wanted.keywords, &mut FreeBits::default())
    } else {
        named
    };
    let mut changed = Vec::new();
    let mut modified = Vec::new();
    for (first, last) in uids.ranges() {
        let range = rows_between(&mailbox.rows, *first, *last);
        for row in &mut mailbox.rows[range] {
            // Decided here, not where the change was asked for: what was committed meanwhile counts.
            if wanted.passes_over(row, named) {
                modified.push(row.uid);
                continue;
            }
            let (new_flags, new_bits) = match wanted.operation {
                StoreOperation::Replace => (flags, bits),
                StoreOperation::Add => (row.flags.with(flags), row.keywords | bits),
                StoreOperation::Remove => (row.flags.without(flags), row.keywords & !bits),
            };
            if (new_flags, new_bits) == (row.flags, row.keywords) {
                continue;
            }
            (row.flags, row.keywords, row.mod_seq) = (new_flags, new_bits, mod_seq);
            mailbox.changes.push(MailboxChange::FlagsChanged(row.uid));
            changed.push(row.uid);
        }
    }
    if !changed.is_empty() {
        raise(&mut mailbox.highest_mod_seq, mod_seq);
    }
    Ok(Outcome::Flags {
        changed,
        mod_seq,
        modified,
    })
}

/// Takes out the rows of `uids` that `wanted` picks, in one pass.
fn take_rows(
    mailbox: &mut MailboxState,
    uids: &UidSet,
    wanted: impl Fn(&MessageRow) -> bool,
) -> Vec<MessageRow> {
    let mut taken = Vec::new();
    let mut ranges = uids.ranges().iter().peekable();
    mailbox.rows.retain(|row| {
        let uid = row.uid.value();
        while ranges.next_if(|(_, last)| *last < uid).is_some() {}
        let is_listed = ranges.peek().is_some_and(|(first, _)| *first <= uid);
        let goes = is_listed && wanted(row);
        if goes {
            taken.push(*row);
        }
        !goes
    });
    for row in &taken {
        mailbox.changes.push(MailboxChange::Expunged(row.uid));
    }
    taken
}

pub fn expunge(
    account: &mut AccountState,
    mailbox: MailboxId,
    left: Leaving,
    only_deleted: bool,
    uids: &UidSet,
) -> Result<Outcome, Malformed> {
    raise(&mut account.highest_mod_seq, left.mod_seq);
    let mailbox = mailbox_of(account, mailbox)?;
    let wanted = |row: &MessageRow| !only_deleted || row.flags.contains(Flags::DELETED);
    let gone = take_rows(mailbox, uids, wanted);
    if !gone.is_empty() {
        raise(&mut mailbox.highest_mod_seq, left.mod_seq);
        mailbox.bury(&gone, left.mod_seq, left.at, false);
    }
    account.bytes_used -= gone.iter().map(|row| u64::from(row.size)).sum::<u64>();
    Ok(Outcome::Expunged(gone.iter().map(|row| row.uid).collect()))
}

pub fn transfer(
    account: &mut AccountState,
    (from, to): (MailboxId, MailboxId),
    (mod_seq, when): (ModSeq, Transferred),
    moves: bool,
    first_uid: Uid,
    uids: &UidSet,
) -> Result<Outcome, Malformed> {
    raise(&mut account.highest_mod_seq, mod_seq);
    let source = mailbox_of(account, from)?;
    let rows: Vec<MessageRow> = if moves {
        take_rows(source, uids, |_| true)
    } else {
        let ranges = uids.ranges().iter();
        ranges
            .flat_map(|(a, b)| source.rows[rows_between(&source.rows, *a, *b)].to_vec())
            .collect()
    };
    if moves && !rows.is_empty() {
        raise(&mut source.highest_mod_seq, mod_seq);
        source.bury(&rows, mod_seq, when.at(), true);
    }
    let source_keywords = source.keywords.clone();
    if !moves {
        account.bytes_used += rows.iter().map(|row| u64::from(row.size)).sum::<u64>();
    }
    let target = mailbox_of(account, to)?;
    let mut bits = KeywordMap::new(&source_keywords);
    let mut places = Places {
        ranges: uids.ranges(),
        before: 0,
    };
    let mut pairs = Vec::with_capacity(rows.len());
    for mut row in rows {
        let new = u64::from(first_uid.value()) + places.of(row.uid.value());
        let new = u32::try_from(new)
            .ok()
            .and_then(Uid::new)
            .ok_or(Malformed("a UID too large"))?;
        pairs.push((row.uid, new));
        (row.uid, row.mod_seq) = (new, mod_seq);
        row.save_date = when.save_date(row.save_date);
        row.keywords = bits.translate(row.keywords, target);
        append_row(target, row)?;
    }
    let end = u64::from(first_uid.value()) + uids.count();
    target.uid_next = u32::try_from(end)
        .map_err(|_| Malformed("a UID too large"))?
        .max(target.uid_next);
    Ok(Outcome::Copied {
        uid_validity: target.uid_validity,
        uids: pairs,
    })
}

/// Places of ascending UIDs in the set that holds them, in one pass over its ranges.
struct Places<'a> {
    ranges: &'a [(u32, u32)],
    before: u64,
}

impl Places<'_> {
    /// How many UIDs of the set come before `uid`.
    fn of(&mut self, uid: u32) -> u64 {
        while let Some(((first, last), rest)) = self.ranges.split_first()
            && *last < uid
        {
            self.before += u64::from(last - first) + 1;
            self.ranges = rest;
        }
        let into = self.ranges.first().map_or(0, |(first, _)| uid - first);
        self.before + u64::from(into)
    }
}

/// Keyword bits of one mailbox as bits of another, each combination looked up once.
struct KeywordMap<'a> {
    names: &'a [Keyword],
    known: HashMap<u64, u64>,
    free: FreeBits,
}

impl<'a> KeywordMap<'a> {
    fn new(names: &'a [Keyword]) -> Self {
        Self {
            names,
            known: HashMap::new(),
            free: FreeBits::default(),
        }
    }

    fn translate(&mut self, bits: u64, target: &mut MailboxState) -> u64 {
        if bits == 0 {
            return 0;
        }
        if let Some(known) = self.known.get(&bits) {
            return *known;
        }
        let names = self
            .names
            .iter()
            .enumerate()
            .filter(|(index, _)| bits >> index & 1 == 1);
        let names: Vec<Keyword> = names.map(|(_, name)| name.clone()).collect();
        let translated = target.keyword_bits(&names, &mut self.free);
        self.known.insert(bits, translated);
        translated
    }
}

pub fn forget_graves(account: &mut AccountState, id: MailboxId, up_to: ModSeq) {
    let is_kept = |grave: &Grave| grave.mod_seq > up_to;
    if let Some(mailbox) = account.mailboxes.get_mut(&id) {
        mailbox.graves.retain(is_kept);
        raise(&mut mailbox.graves_from, up_to);
    } else if let Some(buried) = account.buried.iter_mut().find(|buried| buried.id == id) {
        buried.graves.retain(is_kept);
        account.buried.retain(|buried| !buried.graves.is_empty());
    }
}

/// What lay there lives on elsewhere.
pub fn open_grave(account: &mut AccountState, id: MailboxId, uid: Uid) {
    if let Some(mailbox) = account.mailboxes.get_mut(&id) {
        let graves = mailbox.graves.iter_mut().filter(|grave| grave.row.uid == uid);
        graves.for_each(|grave| grave.has_moved = true);
    } else if let Some(buried) = account.buried.iter_mut().find(|buried| buried.id == id) {
        buried.graves.retain(|grave| grave.row.uid != uid);
        account.buried.retain(|buried| !buried.graves.is_empty());
    }
}

/// Points everything that referred to a message's old record to its new one. What is gone meanwhile is passed over.
pub fn move_record(account: &mut AccountState, place: Place, moved: &MovedRecord) {
    let (body_segment, is_body_scattered) = body_place(&moved.message.chunks);
    let to_new = |row: &mut MessageRow| {
        if row.record == moved.from {
            row.record = place.position;
            row.record_bytes = place.bytes;
            (row.body_segment, row.is_body_scattered) = (body_segment, is_body_scattered);
        }
    };
    for (mailbox, uid) in &moved.rows {
        if let Some(mailbox) = account.mailboxes.get_mut(mailbox) {
            if let Ok(index) = mailbox.rows.binary_search_by_key(uid, |row| row.uid) {
                to_new(&mut mailbox.rows[index]);
                // A UID is that of a row or of a grave.
                continue;
            }
            let graves = mailbox.graves.iter_mut().map(|grave| &mut grave.row);
            graves.filter(|row| row.uid == *uid).for_each(to_new);
        }
        let buried = account.buried.iter_mut().filter(|buried| buried.id == *mailbox);
        let graves = buried
            .flat_map(|buried| &mut buried.graves)
            .map(|grave| &mut grave.row);
        graves.filter(|row| row.uid == *uid).for_each(to_new);
    }
}

/// The segment of the first of `chunks`, of which there is one at least, and whether others lie in others.
pub fn body_place(chunks: &[ChunkRef]) -> (SegmentId, bool) {
    let first = chunks
        .first()
        .map_or(SegmentId(0), |chunk| chunk.position.segment);
    (first, chunks.iter().any(|chunk| chunk.position.segment != first))
}
