//! What each record does to the durable state: the one fold that run time and replay share.
//!
//! Invariants: deterministic (no clock, no chance, no order of a hash map); conditional where the state may have moved
//! on since the change was asked for (a missing UID is passed over); afterwards every number lies behind those the
//! record carries, so pending and durable heads meet.
//! Failure: a record that contradicts the state (an unknown mailbox, a UID given twice) is an error that says so. At
//! run time the process ends on it; in recovery it is damage.
//! Not here: mailboxes and messages in detail (`apply_mailboxes`, `apply_messages`), whether a change is allowed (`plan`).

use super::apply_mailboxes::{
    create_mailbox, delete_mailbox, rename_inbox, rename_mailbox, set_metadata, set_special_use,
    set_subscribed,
};
use super::apply_messages::{
    FlagChange, Leaving, add_message, expunge, forget_graves, move_record, open_grave, store_flags, transfer,
};
use super::codec::Malformed;
use super::record::{MessageRecord, Record};
use super::state::{AccountState, CoreState, MailboxState};
use super::{Body, LocalRecipient, Outcome, SpoolEntry, SpoolKey};
use crate::model::{AccountId, LogPosition, MailboxId, ModSeq, Quota, UidValidity};
use std::collections::hash_map::Entry;

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
        } => create_account(state, *account, *uid_validity),
        Record::MailboxCreated {
            account,
            mailbox,
            uid_validity,
            special_use,
            name,
        } => {
            let new = MailboxState::new(*mailbox, name.clone(), UidValidity(*uid_validity), *special_use);
            create_mailbox(account_of(state, *account)?, new)
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
            set_subscribed(account_of(state, *account)?, name, *subscribed);
            Ok(Outcome::Done)
        }
        Record::Metadata {
            account,
            mailbox,
            mod_seq,
            entries,
        } => set_metadata(account_of(state, *account)?, *mailbox, *mod_seq, entries),
        Record::SpecialUseSet {
            account,
            mailbox,
            special_use,
        } => set_special_use(account_of(state, *account)?, *mailbox, *special_use),
        Record::Message(message) => add_message(state, place, message),
        Record::StoreFlags {
            account,
            mailbox,
            mod_seq,
            operation,
            flags,
            keywords,
            unchanged_since,
            rule,
            uids,
        } => {
            let account = account_of(state, *account)?;
            raise(&mut account.highest_mod_seq, *mod_seq);
            let wanted = FlagChange {
                operation: *operation,
                flags: *flags,
                keywords,
                unchanged_since: *unchanged_since,
                rule: *rule,
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
            forget_served(state, *key, *partition);
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
        may_exceed_quota: true,
    });
    Some(SpoolEntry {
        key,
        recipients: recipients.collect(),
        body: Body::stored(chunks.to_vec()).with_line_end_octets(*line_end_octets),
        internal_date: *internal_date,
    })
}

fn create_account(state: &mut CoreState, id: AccountId, uid_validity: u32) -> Result<Outcome, Malformed> {
    let new = AccountState::new(id, uid_validity);
    if state.cold.contains_key(&id) || state.accounts.insert(id, new).is_some() {
        return Err(Malformed("an account is created twice"));
    }
    Ok(Outcome::Done)
}

pub fn account_of(state: &mut CoreState, id: AccountId) -> Result<&mut AccountState, Malformed> {
    state.accounts.get_mut(&id).ok_or(Malformed(
        "an account that was never created, or is not in memory",
    ))
}

pub fn mailbox_of(account: &mut AccountState, id: MailboxId) -> Result<&mut MailboxState, Malformed> {
    account
        .mailboxes
        .get_mut(&id)
        .ok_or(Malformed("a mailbox that does not exist"))
}

pub fn raise(highest: &mut ModSeq, to: ModSeq) {
    *highest = (*highest).max(to);
}

/// What `record` does beside its account's state: for an account that is known as of a later position.
pub fn apply_beside_account(state: &mut CoreState, record: &Record) {
    if let Record::Message(message) = record {
        add_served(state, message);
    }
}

pub fn add_served(state: &mut CoreState, message: &MessageRecord) {
    if let Some((key, index)) = message.key {
        let served = state.served.entry(key).or_default();
        let entry = (message.account.partition().0, index);
        if !served.contains(&entry) {
            served.push(entry);
        }
    }
}

fn forget_served(state: &mut CoreState, key: SpoolKey, partition: u16) {
    if let Entry::Occupied(mut served) = state.served.entry(key) {
        served.get_mut().retain(|(of, _)| *of != partition);
        if served.get().is_empty() {
            served.remove();
        }
    }
}
