//! Planning changes of one account: its mailboxes, subscriptions, flags, copies and moves.
//!
//! Invariants: as in `plan`: everything is checked before the first number is taken, so a refused change leaves nothing.
//! Names come as clients give them and go into records as `names` has them.
//! Not here: messages that come in (`plan`), what the records do (`apply`).

use super::StoreError;
use super::apply_mailboxes::renamed;
use super::codec::UidSet;
use super::names::Names;
use super::pending::PendingAccount;
use super::plan::{Answer, MAILBOXES_MAX, Plan, SUBSCRIPTIONS_MAX};
use super::record::{Record, Transferred};
use super::state::{AccountState, INBOX_ID};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, MailboxId, MailboxName, SpecialUse, Uid, UidValidity};
use bytes::Bytes;

/// One change to one account being planned.
pub struct Scope<'a> {
    /// Whose.
    pub id: AccountId,
    /// Dates what becomes a grave.
    pub at: UnixMillis,
    /// As it will be.
    pub account: &'a mut PendingAccount,
    /// As it is; `None`: it is not durable yet.
    pub durable: Option<&'a AccountState>,
    /// To be filled.
    pub plan: &'a mut Plan,
}

impl Scope<'_> {
    /// The record whose application is the answer.
    pub fn finish(&mut self, record: Record) {
        self.plan.records.push(record);
        self.plan.answer = Answer::OfLastRecord;
    }

    fn names(&self) -> &Names<MailboxId> {
        self.account.names(self.durable)
    }

    fn has(&self, name: &MailboxName) -> bool {
        self.names().find(name).is_some()
    }

    /// A mailbox, and what it is called.
    fn find(&self, name: &MailboxName) -> Result<(MailboxName, MailboxId), StoreError> {
        let (name, id) = self.names().find(name).ok_or(StoreError::NoSuchMailbox)?;
        Ok((name.clone(), *id))
    }

    /// What a new mailbox is called.
    fn name_of_new(&self, name: &MailboxName) -> Result<MailboxName, StoreError> {
        let new = self.names().name_of_new(name);
        new.map_err(|_| StoreError::Cannot("the name would be too long in Unicode's normal form"))
    }

    /// The levels above `name` that are missing, the topmost first.
    fn missing_parents(&self, name: &MailboxName) -> Vec<MailboxName> {
        let mut missing: Vec<MailboxName> = std::iter::successors(name.parent(), MailboxName::parent)
            .filter(|parent| !self.has(parent))
            .collect();
        missing.reverse();
        missing
    }

    fn check_mailboxes(&self, added: usize) -> Result<(), StoreError> {
        if self.names().len() + added > MAILBOXES_MAX {
            return Err(StoreError::Limit("mailboxes of an account"));
        }
        Ok(())
    }

    fn create_one(&mut self, name: MailboxName, special_use: Option<SpecialUse>) -> MailboxId {
        let (mailbox, UidValidity(uid_validity)) = self.account.create_mailbox(self.durable, name.clone());
        self.plan.records.push(Record::MailboxCreated {
            account: self.id,
            mailbox,
            uid_validity,
            special_use,
            name,
        });
        mailbox
    }

    /// Missing parents come with it (RFC 9051 §6.3.4).
    pub fn create(&mut self, name: &MailboxName, special_use: Option<SpecialUse>) -> Result<(), StoreError> {
        if self.has(name) {
            return Err(StoreError::MailboxExists);
        }
        let name = self.name_of_new(name)?;
        let parents = self.missing_parents(&name);
        self.check_mailboxes(parents.len() + 1)?;
        if special_use.is_some() {
            // RFC 6154 §3: it moves from the mailbox that has it, if one does.
            self.set_special_use(None, special_use)?;
        }
        for parent in parents {
            self.create_one(parent, None);
        }
        self.create_one(name, special_use);
        self.plan.answer = Answer::OfLastRecord;
        Ok(())
    }

    /// What lies below stays: LIST shows its parent as `\\NonExistent` (RFC 9051 §6.3.5).
    pub fn delete(&mut self, name: &MailboxName) -> Result<(), StoreError> {
        if name.is_inbox() {
            return Err(StoreError::Cannot("INBOX cannot be deleted"));
        }
        let (name, mailbox) = self.find(name)?;
        self.account.delete_mailbox(self.durable, &name, mailbox);
        self.finish(Record::MailboxDeleted {
            account: self.id,
            mailbox,
            at: Some(self.at),
        });
        Ok(())
    }

    /// What lies below moves along; missing parents of the new name come with it (RFC 9051 §6.3.6). A name that is not in NFC
    /// can be given up for the one that is.
    pub fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<(), StoreError> {
        let is_same = from == to;
        let (from, mailbox) = self.find(from)?;
        let to = self.name_of_new(to)?;
        if is_same || to == from {
            return Err(StoreError::MailboxExists);
        }
        if to.is_below(&from) {
            return Err(StoreError::Cannot("a mailbox cannot be moved below itself"));
        }
        let moving: Vec<MailboxName> = self
            .names()
            .keys()
            .filter(|name| **name == from || name.is_below(&from))
            .cloned()
            .collect();
        let mut targets = Vec::with_capacity(moving.len());
        for name in &moving {
            let target =
                renamed(name, &from, &to).ok_or(StoreError::Cannot("a name below it would be too long"))?;
            // A name that moves away itself frees its place only if nothing else takes it first.
            if self.is_taken(&target, name) {
                return Err(StoreError::MailboxExists);
            }
            targets.push(target);
        }
        let parents = self.missing_parents(&to);
        self.check_mailboxes(parents.len())?;
        for parent in parents {
            self.create_one(parent, None);
        }
        for (name, target) in moving.iter().zip(targets) {
            self.account.rename_mailbox(self.durable, name, target);
        }
        self.finish(Record::MailboxRenamed {
            account: self.id,
            mailbox,
            name: to,
        });
        Ok(())
    }

    /// Does another mailbox than `name`, which is to be called so, stand in the way?
    fn is_taken(&self, target: &MailboxName, name: &MailboxName) -> bool {
        let found = self.names().find(target);
        found.is_some_and(|(found, _)| found == target || found != name)
    }

    /// RFC 9051 §6.3.6: a new mailbox takes the messages, INBOX stays; what lies below INBOX does too.
    pub fn rename_inbox(&mut self, to: &MailboxName) -> Result<(), StoreError> {
        self.create(to, None)?;
        let (_, to) = self.find(to)?;
        let uid_next = self.account.mailbox(self.durable, INBOX_ID)?.uid_next();
        self.account.mailbox(self.durable, to)?.adopt(uid_next);
        let mod_seq = self.account.take_mod_seq();
        self.account.note_leaving(INBOX_ID, UidSet::up_to(uid_next));
        self.finish(Record::InboxRenamed {
            account: self.id,
            to,
            mod_seq,
            at: Some(self.at),
        });
        Ok(())
    }

    /// The name need not exist (RFC 9051 §6.3.7). A mailbox is subscribed to as it is called.
    pub fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Result<(), StoreError> {
        // Counted in the durable state: what is in flight may exceed the limit by a few.
        if subscribed
            && self
                .durable
                .is_some_and(|d| d.subscriptions.len() >= SUBSCRIPTIONS_MAX)
        {
            return Err(StoreError::Limit("subscriptions of an account"));
        }
        let known = self.durable.and_then(|durable| durable.subscriptions.find(name));
        let known = known.map(|(name, ())| name);
        let mailbox = self.names().find(name).map(|(name, _)| name);
        let here = if subscribed {
            mailbox.or(known)
        } else {
            known.or(mailbox)
        };
        let name = here.cloned().map_or_else(|| self.name_of_new(name), Ok)?;
        self.finish(Record::Subscription {
            account: self.id,
            name,
            subscribed,
        });
        Ok(())
    }

    /// With no mailbox: nobody has it.
    pub fn set_special_use(
        &mut self,
        mailbox: Option<MailboxId>,
        special_use: Option<SpecialUse>,
    ) -> Result<(), StoreError> {
        if let Some(mailbox) = mailbox {
            self.account.mailbox(self.durable, mailbox)?;
        }
        self.finish(Record::SpecialUseSet {
            account: self.id,
            mailbox,
            special_use,
        });
        Ok(())
    }

    /// Limits are whoever asks': what is in flight may exceed them by a few.
    pub fn set_metadata(
        &mut self,
        mailbox: Option<MailboxId>,
        entries: Vec<(String, Option<Bytes>)>,
    ) -> Result<(), StoreError> {
        if let Some(mailbox) = mailbox {
            self.account.mailbox(self.durable, mailbox)?;
        }
        // RFC 7162: what is said of a mailbox is a part of its state.
        let mod_seq = mailbox.map(|_| self.account.take_mod_seq());
        self.finish(Record::Metadata {
            account: self.id,
            mailbox,
            mod_seq,
            entries,
        });
        Ok(())
    }

    /// COPY and MOVE.
    pub fn transfer(
        &mut self,
        from: MailboxId,
        to: MailboxId,
        uids: UidSet,
        moves: bool,
    ) -> Result<(), StoreError> {
        let count = uids.count();
        self.account.mailbox(self.durable, from)?;
        self.account.mailbox(self.durable, to)?.check_uids(count)?;
        let first_uid: Uid = self.account.mailbox(self.durable, to)?.take_uids(count);
        let mod_seq = self.account.take_mod_seq();
        if moves {
            self.account.note_leaving(from, uids.clone());
        }
        self.finish(Record::Transfer {
            account: self.id,
            from,
            to,
            mod_seq,
            moves,
            first_uid,
            uids,
            when: Transferred::Saved(self.at),
        });
        Ok(())
    }
}
