//! What each record does to the durable state: the one fold that run time and replay share.
//!
//! Invariants: deterministic (no clock, no chance, no order of a hash map); conditional where the state may have moved
//! on since the change was asked for (a missing UID is passed over); afterwards every number lies behind those the
//! record carries, so pending and durable heads meet.
//! Failure: a record that contradicts the state (an unknown mailbox, a UID given twice) is an error that says so. At
//! run time the process ends on it; in recovery it is damage.
//! Not here: whether a change is allowed (`plan`).

use super::codec::{Malformed, UidSet};
use super::cold::Cold;
use super::record::{MessageRecord, MovedRecord, Record, Transferred, body_bytes};
use super::state::{AccountState, BuriedMailbox, CoreState, Grave, INBOX_ID, MailboxState, MessageRow};
use super::{AccountChange, Body, ChunkRef, LocalRecipient, MailboxChange, Outcome, SpoolEntry, SpoolKey};
use crate::base::clock::UnixMillis;
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, Quota, SegmentId, Uid,
    UidValidity,
};
use crate::proto::imap::types::StoreOperation;
use bytes::Bytes;
use std::collections::HashMap;

/// Where a record lies and which one of its partition it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Of the record's header.
    pub position: LogPosition,
    /// Header and payload.
    pub bytes: u32,
    /// Rises within the partition.
    pub sequence: u64,
}

/// Applies one record. An error leaves the state half changed: nobody may use it any more.
pub fn apply(state: &mut CoreState, place: Place, record: &Record) -> Result<Outcome, Malformed> {
    if !matches!(record, Record::Message(_) | Record::AccountRestated { .. })
        && let Some(account) = record.account()
    {
        state.note_changed(account);
    }
    match record {
        Record::AccountCreated {
            account,
            uid_validity,
        } => {
            let new = AccountState::new(*account, *uid_validity);
            if state.cold.contains_key(account) || state.accounts.insert(*account, new).is_some() {
                return Err(Malformed("an account is created twice"));
            }
            Ok(Outcome::Done)
        }
        Record::MailboxCreated {
            account,
            mailbox,
            uid_validity,
            special_use,
            name,
        } => {
            let account = account_of(state, *account)?;
            if account.mailboxes.contains_key(mailbox) || account.names.contains_key(name) {
                return Err(Malformed("a mailbox is created twice"));
            }
            let validity = UidValidity(*uid_validity);
            account.changes.push(AccountChange::Created(name.clone()));
            account.add_mailbox(MailboxState::new(*mailbox, name.clone(), validity, *special_use));
            Ok(Outcome::Created(*mailbox))
        }
        Record::MailboxDeleted { account, mailbox, at } => {
            delete_mailbox(account_of(state, *account)?, *mailbox, *at)
        }
        Record::MailboxRenamed {
            account,
            mailbox,
            name,
        } => rename_mailbox(account_of(state, *account)?, *mailbox, name),
        Record::InboxRenamed {
            account,
            to,
            mod_seq,
            at,
        } => rename_inbox(account_of(state, *account)?, *to, *mod_seq, *at),
        Record::Subscription {
            account,
            name,
            subscribed,
        } => {
            let account = account_of(state, *account)?;
            let is_change = if *subscribed {
                account.subscriptions.insert(name.clone())
            } else {
                account.subscriptions.remove(name)
            };
            if is_change {
                account.changes.push(AccountChange::Subscription(name.clone()));
            }
            Ok(Outcome::Done)
        }
        Record::Metadata {
            account,
            mailbox,
            entries,
        } => set_metadata(account_of(state, *account)?, *mailbox, entries),
        Record::Message(message) => add_message(state, place, message),
        Record::StoreFlags {
            account,
            mailbox,
            mod_seq,
            operation,
            flags,
            keywords,
            unchanged_since,
            uids,
        } => {
            let account = account_of(state, *account)?;
            raise(&mut account.highest_mod_seq, *mod_seq);
            let wanted = FlagChange {
                operation: *operation,
                flags: *flags,
                keywords,
                unchanged_since: *unchanged_since,
            };
            store_flags(mailbox_of(account, *mailbox)?, *mod_seq, &wanted, uids)
        }
        Record::Expunge {
            account,
            mailbox,
            mod_seq,
            only_deleted,
            uids,
            at,
        } => {
            let left = Leaving {
                mod_seq: *mod_seq,
                at: *at,
            };
            expunge(account_of(state, *account)?, *mailbox, left, *only_deleted, uids)
        }
        Record::Transfer {
            account,
            from,
            to,
            mod_seq,
            moves,
            first_uid,
            uids,
            when,
        } => {
            let account = account_of(state, *account)?;
            transfer(account, (*from, *to), (*mod_seq, *when), *moves, *first_uid, uids)
        }
        Record::GravesForgotten {
            account,
            mailbox,
            mod_seq,
        } => {
            forget_graves(account_of(state, *account)?, *mailbox, *mod_seq);
            Ok(Outcome::Done)
        }
        Record::MessageMoved(moved) => {
            move_record(account_of(state, moved.message.account)?, place, moved);
            Ok(Outcome::Done)
        }
        Record::Undeleted {
            mailbox,
            uid,
            message,
        } => {
            open_grave(account_of(state, message.account)?, *mailbox, *uid);
            add_message(state, place, message)
        }
        // They say what is there; who lacks what came before them is `rebuild`'s concern.
        Record::PartitionBegins { .. }
        | Record::AccountRestated { .. }
        | Record::ServedRestated { .. }
        | Record::SpoolRestated { .. }
        | Record::PartitionEnds { .. } => Ok(Outcome::Done),
        Record::Spool { partition, .. } => {
            let key = SpoolKey {
                partition: *partition,
                sequence: place.sequence,
            };
            let entry = spool_entry(key, record).expect("it is a spool record");
            state.spool.insert(key, entry);
            Ok(Outcome::Done)
        }
        Record::SpoolDone { key } => {
            state.spool.remove(key);
            Ok(Outcome::Done)
        }
        Record::SpoolForget { partition, key } => {
            if let Some(served) = state.served.get_mut(key) {
                served.retain(|(of, _)| of != partition);
                if served.is_empty() {
                    state.served.remove(key);
                }
            }
            Ok(Outcome::Done)
        }
        Record::Seal { .. } => Ok(Outcome::Done),
    }
}

/// The entry that a spool record makes.
#[must_use]
pub fn spool_entry(key: SpoolKey, record: &Record) -> Option<SpoolEntry> {
    let Record::Spool {
        internal_date,
        line_end_octets,
        chunks,
        recipients,
        ..
    } = record
    else {
        return None;
    };
    let recipients = recipients.iter().map(|recipient| LocalRecipient {
        account: recipient.account,
        mailbox: recipient.mailbox.clone(),
        prefix: recipient.prefix.to_vec(),
        asked: recipient.asked.clone(),
        // What was accepted is delivered: room was asked for before.
        quota: Quota::NONE,
    });
    Some(SpoolEntry {
        key,
        recipients: recipients.collect(),
        body: Body::stored(chunks.to_vec()).with_line_end_octets(*line_end_octets),
        internal_date: *internal_date,
    })
}

fn account_of(state: &mut CoreState, id: AccountId) -> Result<&mut AccountState, Malformed> {
    state.accounts.get_mut(&id).ok_or(Malformed(
        "an account that was never created, or is not in memory",
    ))
}

fn mailbox_of(account: &mut AccountState, id: MailboxId) -> Result<&mut MailboxState, Malformed> {
    account
        .mailboxes
        .get_mut(&id)
        .ok_or(Malformed("a mailbox that does not exist"))
}

fn raise(highest: &mut ModSeq, to: ModSeq) {
    *highest = (*highest).max(to);
}

fn delete_mailbox(
    account: &mut AccountState,
    id: MailboxId,
    at: Option<UnixMillis>,
) -> Result<Outcome, Malformed> {
    let mut mailbox = account
        .mailboxes
        .remove(&id)
        .ok_or(Malformed("a mailbox that does not exist"))?;
    account.names.remove(&mailbox.name);
    account.changes.push(AccountChange::Deleted(mailbox.name.clone()));
    account.bytes_used -= mailbox.rows.iter().map(|row| u64::from(row.size)).sum::<u64>();
    let rows = std::mem::take(&mut mailbox.rows);
    mailbox.bury(&rows, mailbox.highest_mod_seq, at, false);
    // Nobody synchronises with it any more: only what can be brought back counts.
    mailbox.graves.retain(|grave| !grave.has_moved);
    if !mailbox.graves.is_empty() {
        account.buried.push(BuriedMailbox {
            id,
            name: mailbox.name,
            keywords: mailbox.keywords,
            graves: mailbox.graves,
        });
    }
    Ok(Outcome::Done)
}

fn set_metadata(
    account: &mut AccountState,
    mailbox: Option<MailboxId>,
    entries: &[(String, Option<Bytes>)],
) -> Result<Outcome, Malformed> {
    let (name, metadata) = match mailbox {
        Some(id) => {
            let mailbox = mailbox_of(account, id)?;
            (Some(mailbox.name.clone()), &mut mailbox.metadata)
        }
        None => (None, &mut account.metadata),
    };
    for (entry, value) in entries {
        match value {
            Some(value) => metadata.insert(entry.clone(), value.clone()),
            None => metadata.remove(entry),
        };
    }
    account.changes.push(AccountChange::Metadata {
        mailbox: name,
        entries: entries.iter().map(|(entry, _)| entry.clone()).collect(),
    });
    Ok(Outcome::Done)
}

fn forget_graves(account: &mut AccountState, id: MailboxId, up_to: ModSeq) {
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
fn open_grave(account: &mut AccountState, id: MailboxId, uid: Uid) {
    if let Some(mailbox) = account.mailboxes.get_mut(&id) {
        let graves = mailbox.graves.iter_mut().filter(|grave| grave.row.uid == uid);
        graves.for_each(|grave| grave.has_moved = true);
    } else if let Some(buried) = account.buried.iter_mut().find(|buried| buried.id == id) {
        buried.graves.retain(|grave| grave.row.uid != uid);
        account.buried.retain(|buried| !buried.graves.is_empty());
    }
}

/// Points everything that referred to a message's old record to its new one. What is gone meanwhile is passed over.
fn move_record(account: &mut AccountState, place: Place, moved: &MovedRecord) {
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
fn body_place(chunks: &[ChunkRef]) -> (SegmentId, bool) {
    let first = chunks
        .first()
        .map_or(SegmentId(0), |chunk| chunk.position.segment);
    (first, chunks.iter().any(|chunk| chunk.position.segment != first))
}

/// A change by which messages leave a mailbox.
#[derive(Clone, Copy)]
struct Leaving {
    mod_seq: ModSeq,
    at: Option<UnixMillis>,
}

/// The mailbox and everything below its name.
fn rename_mailbox(account: &mut AccountState, id: MailboxId, to: &MailboxName) -> Result<Outcome, Malformed> {
    let from = mailbox_of(account, id)?.name.clone();
    let moving: Vec<_> = account
        .names
        .iter()
        .filter(|(name, _)| **name == from || name.is_below(&from))
        .map(|(name, id)| (name.clone(), *id))
        .collect();
    for (name, _) in &moving {
        account.names.remove(name);
    }
    for (name, id) in moving {
        let name = renamed(&name, &from, to).ok_or(Malformed("a renamed mailbox has no valid name"))?;
        if account.names.insert(name.clone(), id).is_some() {
            return Err(Malformed("a mailbox gets a name that is taken"));
        }
        mailbox_of(account, id)?.name = name;
    }
    account
        .changes
        .push(AccountChange::Renamed { from, to: to.clone() });
    Ok(Outcome::Done)
}

/// What `name`, which is `from` or below it, is called when `from` becomes `to`.
#[must_use]
pub fn renamed(name: &MailboxName, from: &MailboxName, to: &MailboxName) -> Option<MailboxName> {
    let rest = name.as_str().strip_prefix(from.as_str())?;
    MailboxName::new(&format!("{to}{rest}")).ok()
}

fn rename_inbox(
    account: &mut AccountState,
    to: MailboxId,
    mod_seq: ModSeq,
    at: Option<UnixMillis>,
) -> Result<Outcome, Malformed> {
    raise(&mut account.highest_mod_seq, mod_seq);
    let inbox = mailbox_of(account, INBOX_ID)?;
    let mut rows = std::mem::take(&mut inbox.rows);
    inbox.bury(&rows, mod_seq, at, true);
    for row in &mut rows {
        inbox.changes.push(MailboxChange::Expunged(row.uid));
        row.mod_seq = mod_seq;
    }
    if !rows.is_empty() {
        inbox.highest_mod_seq = mod_seq;
    }
    let (uid_next, keywords) = (inbox.uid_next, inbox.keywords.clone());
    let recent_from = inbox.recent_from.get();
    // INBOX stays and keeps what is said about it; the new mailbox begins with the same.
    let metadata = inbox.metadata.clone();
    let target = mailbox_of(account, to)?;
    if !target.rows.is_empty() || target.uid_next != 1 {
        return Err(Malformed("INBOX is renamed to a mailbox that is not new"));
    }
    target.highest_mod_seq = if rows.is_empty() {
        target.highest_mod_seq
    } else {
        mod_seq
    };
    for row in &rows {
        target.changes.push(MailboxChange::Added(row.uid));
    }
    (target.rows, target.uid_next, target.keywords) = (rows, uid_next, keywords);
    target.recent_from.set(recent_from);
    target.metadata = metadata;
    Ok(Outcome::Done)
}

/// What `record` does beside its account's state: for an account that is known as of a later position.
pub fn apply_beside_account(state: &mut CoreState, record: &Record) {
    if let Record::Message(message) = record {
        add_served(state, message);
    }
}

fn add_served(state: &mut CoreState, message: &MessageRecord) {
    if let Some((key, index)) = message.key {
        let served = state.served.entry(key).or_default();
        let entry = (message.account.partition().0, index);
        if !served.contains(&entry) {
            served.push(entry);
        }
    }
}

fn add_message(state: &mut CoreState, place: Place, message: &MessageRecord) -> Result<Outcome, Malformed> {
    add_served(state, message);
    let size = u32::try_from(message.size()).map_err(|_| Malformed("a message beyond 4 GiB"))?;
    if message.chunks.is_empty() || body_bytes(&message.chunks) > u64::from(u32::MAX) {
        return Err(Malformed("a message without a body"));
    }
    let goes_to_delta = Cold::takes(message.mailbox, !message.keywords.is_empty());
    let (body_segment, is_body_scattered) = body_place(&message.chunks);
    let mut row = MessageRow {
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
    };
    let uids = vec![message.uid];
    if goes_to_delta && let Some(cold) = state.cold.get_mut(&message.account) {
        let uid_validity = cold.deliver(row)?;
        return Ok(Outcome::Appended { uid_validity, uids });
    }
    if goes_to_delta {
        state.note_appended(message.account);
    } else {
        state.note_changed(message.account);
    }
    let account = account_of(state, message.account)?;
    raise(&mut account.highest_mod_seq, message.mod_seq);
    account.bytes_used += u64::from(size);
    let mailbox = mailbox_of(account, message.mailbox)?;
    row.keywords = mailbox
        .keyword_bits(&message.keywords)
        .ok_or(Malformed("too many keywords"))?;
    append_row(mailbox, row)?;
    let uid_validity = mailbox.uid_validity;
    Ok(Outcome::Appended { uid_validity, uids })
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
struct FlagChange<'a> {
    operation: StoreOperation,
    flags: Flags,
    keywords: &'a [Keyword],
    unchanged_since: Option<ModSeq>,
}

fn store_flags(
    mailbox: &mut MailboxState,
    mod_seq: ModSeq,
    wanted: &FlagChange<'_>,
    uids: &UidSet,
) -> Result<Outcome, Malformed> {
    let flags = wanted.flags;
    let bits = match wanted.operation {
        StoreOperation::Remove => mailbox.known_keyword_bits(wanted.keywords),
        _ => mailbox
            .keyword_bits(wanted.keywords)
            .ok_or(Malformed("too many keywords"))?,
    };
    let mut changed = Vec::new();
    let mut modified = Vec::new();
    for (first, last) in uids.ranges() {
        let range = rows_between(&mailbox.rows, *first, *last);
        for row in &mut mailbox.rows[range] {
            // Decided here, not where the change was asked for: what was committed meanwhile counts.
            if wanted.unchanged_since.is_some_and(|since| row.mod_seq > since) {
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

fn expunge(
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

fn transfer(
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
        row.keywords = bits
            .translate(row.keywords, target)
            .ok_or(Malformed("too many keywords"))?;
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
}

impl<'a> KeywordMap<'a> {
    fn new(names: &'a [Keyword]) -> Self {
        Self {
            names,
            known: HashMap::new(),
        }
    }

    fn translate(&mut self, bits: u64, target: &mut MailboxState) -> Option<u64> {
        if bits == 0 {
            return Some(0);
        }
        if let Some(known) = self.known.get(&bits) {
            return Some(*known);
        }
        let names = self
            .names
            .iter()
            .enumerate()
            .filter(|(index, _)| bits >> index & 1 == 1);
        let names: Vec<Keyword> = names.map(|(_, name)| name.clone()).collect();
        let translated = target.keyword_bits(&names)?;
        self.known.insert(bits, translated);
        Some(translated)
    }
}
