//! What records do to mailboxes as such: made, deleted, renamed, described, subscribed to.
//!
//! Invariants: as in `apply`. The messages of a mailbox that goes are buried, so that they can be brought back.
//! Not here: messages (`apply_messages`).

use super::apply::{mailbox_of, raise};
use super::codec::Malformed;
use super::state::{AccountState, BuriedMailbox, INBOX_ID, MailboxState};
use super::{AccountChange, MailboxChange, Outcome};
use crate::base::clock::UnixMillis;
use crate::model::{MailboxId, MailboxName, ModSeq, SpecialUse};
use bytes::Bytes;

pub fn create_mailbox(account: &mut AccountState, new: MailboxState) -> Result<Outcome, Malformed> {
    if account.mailboxes.contains_key(&new.id) || account.names.contains_key(&new.name) {
        return Err(Malformed("a mailbox is created twice"));
    }
    let id = new.id;
    account.changes.push(AccountChange::Created(new.name.clone()));
    account.add_mailbox(new);
    Ok(Outcome::Created(id))
}

pub fn set_subscribed(account: &mut AccountState, name: &MailboxName, is_subscribed: bool) {
    let is_change = if is_subscribed {
        account.subscriptions.insert(name.clone(), ()).is_none()
    } else {
        account.subscriptions.remove(name).is_some()
    };
    if is_change {
        account.changes.push(AccountChange::Subscription(name.clone()));
    }
}

pub fn delete_mailbox(
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

pub fn set_metadata(
    account: &mut AccountState,
    mailbox: Option<MailboxId>,
    mod_seq: Option<ModSeq>,
    entries: &[(String, Option<Bytes>)],
) -> Result<Outcome, Malformed> {
    let mod_seq = mod_seq.unwrap_or_default();
    raise(&mut account.highest_mod_seq, mod_seq);
    let (name, metadata) = match mailbox {
        Some(id) => {
            let mailbox = mailbox_of(account, id)?;
            raise(&mut mailbox.highest_mod_seq, mod_seq);
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

/// A special use belongs to one mailbox; what CREATE gave several before is one mailbox's from then on.
pub fn set_special_use(
    account: &mut AccountState,
    mailbox: Option<MailboxId>,
    special_use: Option<SpecialUse>,
) -> Result<Outcome, Malformed> {
    if let Some(id) = mailbox {
        mailbox_of(account, id)?;
    }
    let mut changed = Vec::new();
    for state in account.mailboxes.values_mut() {
        let use_then = if mailbox == Some(state.id) {
            special_use
        } else {
            state.special_use.filter(|held| Some(*held) != special_use)
        };
        if std::mem::replace(&mut state.special_use, use_then) != use_then {
            changed.push(state.name.clone());
        }
    }
    // A map has no order; a log has.
    changed.sort_unstable();
    for name in changed {
        account.changes.push(AccountChange::special_use_of(name));
    }
    Ok(Outcome::Done)
}

/// The mailbox and everything below its name.
pub fn rename_mailbox(
    account: &mut AccountState,
    id: MailboxId,
    to: &MailboxName,
) -> Result<Outcome, Malformed> {
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

pub fn rename_inbox(
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
    let made = target.name.clone();
    let renamed = AccountChange::Renamed {
        from: MailboxName::inbox(),
        to: made.clone(),
    };
    // The mailbox was made by the same change, and has been called something before.
    match account.changes.newest_mut() {
        Some(newest) if *newest == AccountChange::Created(made) => *newest = renamed,
        _ => account.changes.push(renamed),
    }
    Ok(Outcome::Done)
}
