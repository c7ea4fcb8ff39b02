//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 §6.3.4–8, §6.3.11; RFC 6154 §3).
//!
//! The rules for names are the store's ([`Change`]); here they become responses.

use super::Services;
use super::state::{Answered, Session, no};
use crate::mailbox::status::status;
use crate::model::{MailboxName, SpecialUse};
use crate::proto::imap::encode::mailbox::{StatusValue, push_status_data_line};
use crate::proto::imap::types::{NameForm, StatusItem};
use crate::proto::imap::{Code, Completion, Transition};
use crate::store::{AccountChange, Change, MailboxState, Outcome};

impl<S: Services> Session<S> {
    pub async fn create(&mut self, name: MailboxName, special_use: &[SpecialUse]) -> Answered {
        if special_use.len() > 1 {
            return Ok(no(Code::UseAttr, "A mailbox has one special use here"));
        }
        let special_use = special_use.first().copied();
        let own = AccountChange::Created(name.clone());
        let outcome = self.change(Change::CreateMailbox { name, special_use }).await?;
        self.note_own_change(own);
        let done = Completion::ok("CREATE completed");
        Ok(match outcome {
            Outcome::Created(id) => done.with_code(Code::MailboxId(id)),
            _ => done,
        })
    }

    /// A session that deletes the mailbox it has selected goes on with none.
    pub async fn delete(&mut self, name: MailboxName) -> Answered {
        let id = self.mailbox_id(&name, Code::NonExistent)?;
        let has_children = self.with_account(|account| account.names.keys().any(|n| n.is_below(&name)))?;
        if has_children {
            return Ok(no(
                Code::HasChildren,
                "Delete or rename the mailboxes below it first",
            ));
        }
        let own = AccountChange::Deleted(name.clone());
        self.change(Change::DeleteMailbox { name }).await?;
        self.note_own_change(own);
        let done = Completion::ok("DELETE completed");
        if self.selected.as_ref().is_some_and(|s| s.view.mailbox() == id) {
            self.selected = None;
            return Ok(done.with_transition(Transition::Unselected));
        }
        Ok(done)
    }

    pub async fn rename(&mut self, from: MailboxName, to: MailboxName) -> Answered {
        let own = AccountChange::Renamed {
            from: from.clone(),
            to: to.clone(),
        };
        self.change(Change::RenameMailbox { from, to }).await?;
        self.note_own_change(own);
        Ok(Completion::ok("RENAME completed"))
    }

    /// A name may be subscribed to whether there is such a mailbox or not (RFC 9051 §6.3.7).
    pub async fn subscribe(&mut self, name: MailboxName, subscribed: bool) -> Answered {
        let own = AccountChange::Subscription(name.clone());
        self.change(Change::Subscribe { name, subscribed }).await?;
        self.note_own_change(own);
        Ok(Completion::ok(if subscribed {
            "SUBSCRIBE completed"
        } else {
            "UNSUBSCRIBE completed"
        }))
    }

    pub fn status(&mut self, name: &MailboxName, items: &[StatusItem], out: &mut Vec<u8>) -> Answered {
        // RFC 7162 §3.1.2: asking for HIGHESTMODSEQ enables CONDSTORE.
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore(out);
        }
        let limit = self.append_limit();
        let found = self.with_account(|account| {
            let state = account.mailboxes.get(account.names.get(name)?)?;
            push_status_of(state, items, self.names, limit, out);
            Some(())
        })?;
        Ok(match found {
            Some(()) => Completion::ok("STATUS completed"),
            None => no(Code::NonExistent, "No such mailbox"),
        })
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
    let values: Vec<_> = status(state, items, append_limit)
        .map(|(item, value)| match item {
            StatusItem::MailboxId => (item, StatusValue::Id(state.id)),
            _ => (item, StatusValue::Number(value)),
        })
        .collect();
    push_status_data_line(&state.name, &values, names, out);
}
