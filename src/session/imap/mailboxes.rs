//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 §6.3.4–8, §6.3.11; RFC 6154 §3).
//!
//! The rules for names are the store's ([`Change`]); here they become responses.

use super::Services;
use super::naming::Known;
use super::state::{Answered, Session, no};
use crate::mailbox::status::status;
use crate::model::{MailboxName, SpecialUse};
use crate::proto::imap::encode::mailbox::{StatusValue, push_status_data_line};
use crate::proto::imap::types::{NameForm, StatusItem};
use crate::proto::imap::{Code, Completion, Transition};
use crate::store::{AccountChange, AccountState, Change, MailboxState, Outcome};

impl<S: Services> Session<S> {
    pub async fn create(
        &mut self,
        given: MailboxName,
        special_use: &[SpecialUse],
        out: &mut Vec<u8>,
    ) -> Answered {
        if special_use.len() > 1 {
            return Ok(no(Code::UseAttr, "A mailbox has one special use here"));
        }
        let special_use = special_use.first().copied();
        let name = given.clone();
        let outcome = self.change(Change::CreateMailbox { name, special_use }).await?;
        let name = self.called(&given)?;
        self.tell_name(&given, &name, out)?;
        self.note_own_change(AccountChange::Created(name));
        let done = Completion::ok("CREATE completed");
        Ok(match outcome {
            Outcome::Created(id) => done.with_code(Code::MailboxId(id)),
            _ => done,
        })
    }

    /// A session that deletes the mailbox it has selected goes on with none.
    pub async fn delete(&mut self, given: MailboxName, out: &mut Vec<u8>) -> Answered {
        let Known { id, name } = self.find_mailbox(&given, Code::NonExistent)?;
        let has_children = self.with_account(|account| account.names.keys().any(|n| n.is_below(&name)))?;
        // INBOX cannot be deleted whatever is below it: the store says so.
        if has_children && !name.is_inbox() {
            return Ok(no(
                Code::HasChildren,
                "Delete or rename the mailboxes below it first",
            ));
        }
        let own = AccountChange::Deleted(name.clone());
        self.change(Change::DeleteMailbox { name: name.clone() }).await?;
        self.note_own_change(own);
        self.tell_name(&given, &name, out)?;
        let done = Completion::ok("DELETE completed");
        if self.selected.as_ref().is_some_and(|s| s.view.mailbox() == id) {
            self.selected = None;
            return Ok(done.with_transition(Transition::Unselected));
        }
        Ok(done)
    }

    /// RFC 9051 §6.3.6: where either name is another here, the client hears the old one as it gave it and the new one as it is.
    pub async fn rename(&mut self, from: MailboxName, to: MailboxName, out: &mut Vec<u8>) -> Answered {
        let old = self.called(&from)?;
        let rename = Change::RenameMailbox {
            from: from.clone(),
            to: to.clone(),
        };
        self.change(rename).await?;
        let new = self.called(&to)?;
        if from.is_inbox() {
            // It stays: the new mailbox is told of as by CREATE.
            self.tell_name(&to, &new, out)?;
        } else if old != from || new != to {
            self.tell_name(&from, &new, out)?;
        }
        self.note_own_change(AccountChange::Renamed { from: old, to: new });
        Ok(Completion::ok("RENAME completed"))
    }

    /// A name may be subscribed to whether there is such a mailbox or not (RFC 9051 §6.3.7).
    pub async fn subscribe(&mut self, given: MailboxName, subscribed: bool, out: &mut Vec<u8>) -> Answered {
        let subscription = |account: &AccountState| {
            let found = account.subscriptions.find(&given);
            found.map_or_else(|| given.clone(), |(name, ())| name.clone())
        };
        let before = self.with_account(subscription)?;
        let name = given.clone();
        self.change(Change::Subscribe { name, subscribed }).await?;
        let name = if subscribed {
            self.with_account(subscription)?
        } else {
            before
        };
        self.tell_name(&given, &name, out)?;
        self.note_own_change(AccountChange::Subscription(name));
        Ok(Completion::ok(if subscribed {
            "SUBSCRIBE completed"
        } else {
            "UNSUBSCRIBE completed"
        }))
    }

    pub fn status(&mut self, given: &MailboxName, items: &[StatusItem], out: &mut Vec<u8>) -> Answered {
        // RFC 7162 §3.1.2: asking for HIGHESTMODSEQ enables CONDSTORE.
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore(out);
        }
        let limit = self.append_limit();
        let Known { id, name } = self.mailbox(given, Code::NonExistent, out)?;
        let name = self.name_in_response(given, &name);
        self.with_account(|account| {
            if let Some(state) = account.mailboxes.get(&id) {
                push_status_named(name, state, items, self.names, limit, out);
            }
        })?;
        Ok(Completion::ok("STATUS completed"))
    }

    /// Octets of the longest message that APPEND takes, into whatever mailbox.
    pub fn append_limit(&self) -> u64 {
        self.services.config().message_bytes_max
    }
}

/// Writes `* STATUS` of one mailbox.
pub fn push_status_of(
    state: &MailboxState,
    items: &[StatusItem],
    names: NameForm,
    append_limit: u64,
    out: &mut Vec<u8>,
) {
    push_status_named(&state.name, state, items, names, append_limit, out);
}

/// As [`push_status_of`], under this name.
fn push_status_named(
    name: &MailboxName,
    state: &MailboxState,
    items: &[StatusItem],
    names: NameForm,
    append_limit: u64,
    out: &mut Vec<u8>,
) {
    let values: Vec<_> = status(state, items, append_limit)
        .map(|(item, value)| match item {
            StatusItem::MailboxId => (item, StatusValue::Id(state.id)),
            _ => (item, StatusValue::Number(value)),
        })
        .collect();
    push_status_data_line(name, &values, names, out);
}
