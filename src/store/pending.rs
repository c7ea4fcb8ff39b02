//! The pending view: numbers given to changes that are on their way to the disk.
//!
//! Invariants: an account is here only while changes of it are in flight; when the last of them is applied, what was
//! pending equals what is durable (checked) and the entry goes. Nothing here is ever shown to a session. Numbers of a
//! failed group stay burnt, because a failed log takes no more commits.
//! Not here: what a change is made into (`plan`).

use super::codec::UidSet;
use super::cold::{Cold, Durable};
use super::names::Names;
use super::state::{AccountState, INBOX_ID, MailboxState};
use super::{SpoolKey, StoreError};
use crate::base::id_map::IdMap;
use crate::model::{AccountId, Keyword, MailboxId, MailboxName, ModSeq, Uid, UidValidity, Usage};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::collections::hash_map::Entry;

/// Accounts with changes in flight.
#[derive(Debug, Default)]
pub struct Pending {
    accounts: IdMap<AccountId, PendingAccount>,
    /// Recipients of spool entries whose copies are in flight.
    pub serving: HashSet<(SpoolKey, u16)>,
}

/// One account as it will be when everything in flight is durable.
#[derive(Debug)]
pub struct PendingAccount {
    in_flight: u32,
    /// Batches that were ever in flight here: the number of the next.
    batches: u64,
    /// What batches in flight take out of mailboxes, if it is there still; the number of the batch with each.
    leaving: Vec<(u64, MailboxId, UidSet)>,
    /// What keywords batches in flight may give to messages of mailboxes; the number of the batch with each.
    keywords: Vec<(u64, MailboxId, Vec<Keyword>)>,
    /// Messages in flight.
    pub added: Usage,
    next_mod_seq: u64,
    next_mailbox: u32,
    next_uid_validity: u32,
    /// Copied from the durable names when the first of them changes.
    names: Option<Names<MailboxId>>,
    deleted: Vec<MailboxId>,
    mailboxes: SmallVec<[PendingMailbox; 1]>,
}

/// One mailbox as it will be.
#[derive(Debug)]
pub struct PendingMailbox {
    id: MailboxId,
    /// Of the mailbox for ever.
    pub uid_validity: UidValidity,
    uid_next: u32,
}

impl Pending {
    /// The account as it will be; starts from what is durable.
    pub fn account(&mut self, durable: &AccountState) -> &mut PendingAccount {
        self.accounts
            .entry(durable.id)
            .or_insert_with(|| PendingAccount::of(durable))
    }

    /// As [`Self::account`], for one that is not in memory: only INBOX is known.
    pub fn cold_account(&mut self, id: AccountId, cold: &Cold) -> &mut PendingAccount {
        self.accounts
            .entry(id)
            .or_insert_with(|| PendingAccount::of_cold(cold))
    }

    /// Also accounts that are not durable yet.
    pub fn get(&mut self, id: AccountId) -> Option<&mut PendingAccount> {
        self.accounts.get_mut(&id)
    }

    /// Is nothing of the account in flight?
    #[must_use]
    pub fn is_idle(&self, id: AccountId) -> bool {
        !self.accounts.contains_key(&id)
    }

    /// Starts an account that does not exist yet.
    pub fn create(&mut self, id: AccountId, uid_validity: u32) -> &mut PendingAccount {
        let new = AccountState::new(id, uid_validity);
        let mut account = PendingAccount::of(&new);
        account.names = Some(new.names.clone());
        account.mailboxes = new.mailboxes.values().map(PendingMailbox::of).collect();
        self.accounts.entry(id).or_insert(account)
    }

    /// Counts a batch in flight that touches the account and adds so much mail at most.
    pub fn begin(&mut self, id: AccountId, added: Usage) {
        let account = self
            .accounts
            .get_mut(&id)
            .expect("a planned change looked at its account");
        account.in_flight += 1;
        account.batches += 1;
        account.added += added;
    }

    /// The batch is applied.
    pub fn end(&mut self, id: AccountId, added: Usage, durable: Durable<'_>) {
        let Entry::Occupied(mut entry) = self.accounts.entry(id) else {
            panic!("a batch in flight keeps its account");
        };
        let account = entry.get_mut();
        account.in_flight -= 1;
        // They end in the order in which they began.
        let oldest = account.batches - u64::from(account.in_flight);
        account.leaving.retain(|(batch, ..)| *batch >= oldest);
        account.keywords.retain(|(batch, ..)| *batch >= oldest);
        account.added.bytes -= added.bytes;
        account.added.messages -= added.messages;
        if account.in_flight == 0 {
            account.check_settled(durable);
            entry.remove();
        }
    }

    /// Forgets an account that a refused change has only looked at.
    pub fn release_unused(&mut self, id: AccountId) {
        if self
            .accounts
            .get(&id)
            .is_some_and(|account| account.in_flight == 0)
        {
            self.accounts.remove(&id);
        }
    }
}

impl PendingAccount {
    fn of(durable: &AccountState) -> Self {
        Self {
            in_flight: 0,
            batches: 0,
            leaving: Vec::new(),
            keywords: Vec::new(),
            added: Usage::NONE,
            next_mod_seq: durable.highest_mod_seq.0 + 1,
            next_mailbox: durable.next_mailbox,
            next_uid_validity: durable.next_uid_validity,
            names: None,
            deleted: Vec::new(),
            mailboxes: SmallVec::new(),
        }
    }

    fn of_cold(cold: &Cold) -> Self {
        let head = &cold.head;
        let inbox = PendingMailbox {
            id: INBOX_ID,
            uid_validity: UidValidity(head.uid_validity),
            uid_next: head.uid_next,
        };
        Self {
            in_flight: 0,
            batches: 0,
            leaving: Vec::new(),
            keywords: Vec::new(),
            added: Usage::NONE,
            next_mod_seq: head.highest_mod_seq.0 + 1,
            next_mailbox: head.next_mailbox,
            next_uid_validity: head.next_uid_validity,
            names: None,
            deleted: Vec::new(),
            mailboxes: smallvec::smallvec![inbox],
        }
    }

    fn check_settled(&self, durable: Durable<'_>) {
        assert_eq!(self.added, Usage::NONE, "no mail is in flight");
        let (mod_seq, next_mailbox, next_uid_validity) = match durable {
            Durable::Loaded(account) => (
                account.highest_mod_seq,
                account.next_mailbox,
                account.next_uid_validity,
            ),
            Durable::Cold(Cold { head, .. }) => {
                (head.highest_mod_seq, head.next_mailbox, head.next_uid_validity)
            }
        };
        assert_eq!(self.next_mod_seq, mod_seq.0 + 1, "MODSEQs have met");
        assert_eq!(self.next_mailbox, next_mailbox, "mailbox ids have met");
        assert_eq!(self.next_uid_validity, next_uid_validity, "UIDVALIDITYs have met");
        let durable = match durable {
            Durable::Loaded(account) => account,
            Durable::Cold(Cold { head, .. }) => {
                let [inbox] = &self.mailboxes[..] else {
                    panic!("what concerns more than INBOX loads the account");
                };
                return assert_eq!(
                    (inbox.id, inbox.uid_next),
                    (INBOX_ID, head.uid_next),
                    "UIDs have met"
                );
            }
        };
        for mailbox in self.mailboxes.iter().filter(|m| !self.deleted.contains(&m.id)) {
            let durable = durable
                .mailboxes
                .get(&mailbox.id)
                .expect("a pending mailbox became durable");
            assert_eq!(mailbox.uid_next, durable.uid_next, "UIDs have met");
        }
    }

    /// Every name as it will be. `durable` may be absent only for an account that is not durable yet.
    pub fn names<'a>(&'a self, durable: Option<&'a AccountState>) -> &'a Names<MailboxId> {
        match (&self.names, durable) {
            (Some(names), _) => names,
            (None, Some(durable)) => &durable.names,
            (None, None) => unreachable!("a new account has its own names, a cold one is loaded for them"),
        }
    }

    fn names_mut(&mut self, durable: Option<&AccountState>) -> &mut Names<MailboxId> {
        if self.names.is_none() {
            self.names = Some(self.names(durable).clone());
        }
        self.names.as_mut().expect("it was just set")
    }

    /// The mailbox as it will be.
    pub fn mailbox(
        &mut self,
        durable: Option<&AccountState>,
        id: MailboxId,
    ) -> Result<&mut PendingMailbox, StoreError> {
        if self.deleted.contains(&id) {
            return Err(StoreError::NoSuchMailbox);
        }
        let index = match self.mailboxes.iter().position(|m| m.id == id) {
            Some(index) => index,
            None => {
                let mailbox = durable
                    .and_then(|d| d.mailboxes.get(&id))
                    .ok_or(StoreError::NoSuchMailbox)?;
                self.mailboxes.push(PendingMailbox::of(mailbox));
                self.mailboxes.len() - 1
            }
        };
        Ok(&mut self.mailboxes[index])
    }

    /// Takes the next MODSEQ.
    pub fn take_mod_seq(&mut self) -> ModSeq {
        self.next_mod_seq += 1;
        ModSeq(self.next_mod_seq - 1)
    }

    /// Takes the next mailbox id and UIDVALIDITY for a mailbox of this name, which must be free.
    pub fn create_mailbox(
        &mut self,
        durable: Option<&AccountState>,
        name: MailboxName,
    ) -> (MailboxId, UidValidity) {
        let id = MailboxId(self.next_mailbox);
        let uid_validity = UidValidity(self.next_uid_validity);
        self.next_mailbox += 1;
        self.next_uid_validity += 1;
        self.names_mut(durable).insert(name, id);
        self.mailboxes.push(PendingMailbox {
            id,
            uid_validity,
            uid_next: 1,
        });
        (id, uid_validity)
    }

    /// The mailbox goes.
    pub fn delete_mailbox(&mut self, durable: Option<&AccountState>, name: &MailboxName, id: MailboxId) {
        self.names_mut(durable).remove(name);
        self.deleted.push(id);
    }

    /// Is its deletion in flight?
    #[must_use]
    pub fn is_deleted(&self, id: MailboxId) -> bool {
        self.deleted.contains(&id)
    }

    /// The batch that is planned may take these messages out of the mailbox.
    pub fn note_leaving(&mut self, mailbox: MailboxId, uids: UidSet) {
        self.leaving.push((self.batches, mailbox, uids));
    }

    /// May a batch in flight, or the one that is planned, take this message out of the mailbox?
    #[must_use]
    pub fn is_leaving(&self, mailbox: MailboxId, uid: Uid) -> bool {
        let mut of_mailbox = self.leaving.iter().filter(|(_, of, _)| *of == mailbox);
        of_mailbox.any(|(_, _, uids)| uids.contains(uid))
    }

    /// The batch that is planned may give these keywords to messages of the mailbox.
    pub fn note_keywords(&mut self, mailbox: MailboxId, keywords: Vec<Keyword>) {
        self.keywords.push((self.batches, mailbox, keywords));
    }

    /// What keywords batches in flight may give to messages of the mailbox.
    pub fn keywords_given(&self, mailbox: MailboxId) -> impl Iterator<Item = &Keyword> {
        let of_mailbox = self.keywords.iter().filter(move |(_, of, _)| *of == mailbox);
        of_mailbox.flat_map(|(_, _, keywords)| keywords)
    }

    /// Is nothing in flight?
    pub fn is_quiet(&self) -> bool {
        self.in_flight == 0
    }

    /// The mailbox keeps everything but its name.
    pub fn rename_mailbox(&mut self, durable: Option<&AccountState>, from: &MailboxName, to: MailboxName) {
        let names = self.names_mut(durable);
        let id = names.remove(from).expect("the plan has found it");
        names.insert(to, id);
    }
}

impl PendingMailbox {
    fn of(durable: &MailboxState) -> Self {
        Self {
            id: durable.id,
            uid_validity: durable.uid_validity,
            uid_next: durable.uid_next,
        }
    }

    /// Are there `count` UIDs left? The highest number stays unused, so that UIDNEXT always has a value.
    pub fn check_uids(&self, count: u64) -> Result<(), StoreError> {
        if u64::from(self.uid_next) + count > u64::from(u32::MAX) {
            return Err(StoreError::Limit("UIDs of a mailbox"));
        }
        Ok(())
    }

    /// Takes `count` UIDs, for which [`Self::check_uids`] has said yes; returns the first.
    pub fn take_uids(&mut self, count: u64) -> Uid {
        let first = Uid::new(self.uid_next).expect("UIDNEXT is never 0");
        self.uid_next += u32::try_from(count).expect("the UIDs were checked");
        first
    }

    /// The next UID to be taken.
    pub fn uid_next(&self) -> u32 {
        self.uid_next
    }

    /// A new mailbox takes over all messages of another with their UIDs.
    pub fn adopt(&mut self, uid_next: u32) {
        self.uid_next = uid_next;
    }
}
