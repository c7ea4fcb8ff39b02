//! The special use of a mailbox as an entry of its metadata (RFC 6154 §4).
//!
//! Invariants: the entry is NIL, or the attribute that LIST shows; what CREATE does not take (RFC 6154 §3), SETMETADATA does not
//! take either, and nothing of its other entries then: `NO [USEATTR]`. A use belongs to one mailbox: it moves from the one that
//! has it, and the client hears that, as in RFC 6154 §5.4. INBOX has none.
//! Not here: CREATE (`mailboxes`), the other entries (`metadata`).

use super::Services;
use super::state::{Session, Stop, no};
use crate::model::{MailboxId, MailboxName, SpecialUse};
use crate::proto::imap::Code;
use crate::proto::imap::encode::mailbox::push_metadata_line;
use crate::store::{AccountChange, AccountState, INBOX_ID};

/// A mailbox whose special use changes.
pub struct ChangedUse {
    id: MailboxId,
    name: MailboxName,
}

/// Takes the special use out of the entries that SETMETADATA names; the last one counts.
pub fn taken_from(entries: &mut Vec<(String, Option<Vec<u8>>)>) -> Result<Option<Option<SpecialUse>>, Stop> {
    let mut taken = None;
    for (_, value) in entries.extract_if(.., |(name, _)| name == SpecialUse::ENTRY) {
        taken = Some(value.map(|value| special_use(&value)).transpose()?);
    }
    Ok(taken)
}

fn special_use(value: &[u8]) -> Result<SpecialUse, Stop> {
    let text = value.trim_ascii();
    let refused = if text.contains(&b' ') {
        "A mailbox has one special use here"
    } else {
        "No such special use here"
    };
    SpecialUse::of_attribute(text).ok_or_else(|| no(Code::UseAttr, refused).into())
}

impl<S: Services> Session<S> {
    /// The mailboxes whose use changes when `mailbox` gets this one, by name.
    pub fn uses_changed_by(
        &self,
        mailbox: MailboxId,
        special_use: Option<SpecialUse>,
    ) -> Result<Vec<ChangedUse>, Stop> {
        if mailbox == INBOX_ID && special_use.is_some() {
            return Err(no(Code::UseAttr, "INBOX has no special use").into());
        }
        self.with_account(|account| changed_by(account, mailbox, special_use))
    }

    /// What the client did not name it hears; what it did itself NOTIFY does not tell it.
    pub fn tell_changed_uses(
        &mut self,
        named: Option<MailboxId>,
        changed: Vec<ChangedUse>,
        out: &mut Vec<u8>,
    ) {
        for ChangedUse { id, name } in changed {
            if named != Some(id) {
                let lost = [(SpecialUse::ENTRY.to_owned(), None::<&[u8]>)];
                push_metadata_line(Some(&name), &lost, self.names, out);
            }
            self.note_own_change(AccountChange::special_use_of(name));
        }
    }
}

fn changed_by(
    account: &AccountState,
    mailbox: MailboxId,
    special_use: Option<SpecialUse>,
) -> Vec<ChangedUse> {
    let is_changed = |(_, id): &(&MailboxName, &MailboxId)| {
        let held = account.mailboxes.get(id).and_then(|state| state.special_use);
        if **id == mailbox {
            held != special_use
        } else {
            held.is_some() && held == special_use
        }
    };
    let changed = account.names.iter().filter(is_changed);
    let changed = changed.map(|(name, id)| ChangedUse {
        id: *id,
        name: name.clone(),
    });
    changed.collect()
}
