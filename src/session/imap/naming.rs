//! From the name in a command to the mailbox it means (`store::names`), and telling the client what that is called here.
//!
//! A client that has enabled IMAP4rev2 hears it whenever the name it gave is answered under another form: a LIST response with
//! OLDNAME (RFC 9051 §6.3.9.7), before the tagged one. It asks for that in SELECT and EXAMINE, CREATE, RENAME, DELETE and APPEND;
//! here every command that names a mailbox does so. Others cannot know OLDNAME: their responses carry the name that they gave.

use super::Services;
use super::list::push_event_entry;
use super::state::{Session, Stop, no};
use crate::mailbox::list::ListEntry;
use crate::model::{MailboxId, MailboxName};
use crate::proto::imap::Code;
use crate::store::AccountState;

/// A mailbox, as a command names it.
pub struct Known {
    pub id: MailboxId,
    /// What it is called here.
    pub name: MailboxName,
}

impl<S: Services> Session<S> {
    /// The mailbox of this name, or `code`. Says what it is called.
    pub fn mailbox(&self, name: &MailboxName, code: Code, out: &mut Vec<u8>) -> Result<Known, Stop> {
        let known = self.find_mailbox(name, code)?;
        self.tell_name(name, &known.name, out)?;
        Ok(known)
    }

    /// As [`Self::mailbox`], for commands that say what it is called when they are done.
    pub fn find_mailbox(&self, name: &MailboxName, code: Code) -> Result<Known, Stop> {
        let found = self.with_account(|account| known(account, name))?;
        found.ok_or_else(|| no(code, "No such mailbox").into())
    }

    /// What the mailbox of this name is called, if there is one.
    pub fn called(&self, given: &MailboxName) -> Result<MailboxName, Stop> {
        self.with_account(|account| {
            let found = account.names.find(given);
            found.map_or(given, |(name, _)| name).clone()
        })
    }

    /// Says that what was named `given` is called `name` here, if that is another name.
    pub fn tell_name(&self, given: &MailboxName, name: &MailboxName, out: &mut Vec<u8>) -> Result<(), Stop> {
        if !self.is_rev2 || given == name {
            return Ok(());
        }
        self.with_account(|account| {
            push_event_entry(&ListEntry::of(account, name), Some(given), self.names, out);
        })
    }

    /// What a response calls the mailbox that was named `given`.
    pub fn name_in_response<'a>(&self, given: &'a MailboxName, name: &'a MailboxName) -> &'a MailboxName {
        if self.is_rev2 { name } else { given }
    }
}

fn known(account: &AccountState, name: &MailboxName) -> Option<Known> {
    let (name, id) = account.names.find(name)?;
    Some(Known {
        id: *id,
        name: name.clone(),
    })
}
