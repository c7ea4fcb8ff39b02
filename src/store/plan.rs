//! From a wish to records: checks a change against the pending view, takes its numbers, says what will be answered.
//!
//! Invariants: a refused change has taken no number and leaves no record; a planned one cannot fail any more except
//! with its log; between planning and encoding nothing waits. What is planned first is applied first, so a mailbox that
//! is there by the pending view is there when the record is applied.
//! Limits: [`MAILBOXES_MAX`], [`SUBSCRIPTIONS_MAX`], keywords (`state`), UIDs.
//! Not here: room in the group (`log`), what records do (`apply`).

use super::QuotaCrossing;
use super::apply::rows_between;
use super::codec::UidSet;
use super::cold::Durable;
use super::pending::{Pending, PendingAccount};
use super::plan_account::Scope;
use super::record::{MessageRecord, Record, SpoolRecipient, body_bytes};
use super::state::{AccountState, CoreState, INBOX_ID};
use super::undelete::Opened;
use super::{Change, ChunkRef, LocalRecipient, NewMessage, Outcome, SpoolKey, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, MailboxId, MailboxName, Quota, Uid, Usage};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::collections::HashMap;

/// Mailboxes of one account: about ten times what the busiest users have.
pub const MAILBOXES_MAX: usize = 4_096;
/// Names one account is subscribed to.
pub const SUBSCRIPTIONS_MAX: usize = 2 * MAILBOXES_MAX;

/// A message's chunks.
pub type Chunks = SmallVec<[ChunkRef; 1]>;

/// What will be answered when the batch is durable.
#[derive(Debug)]
pub enum Answer {
    /// This.
    Known(Outcome),
    /// What the application of the last record says.
    OfLastRecord,
}

/// A change, checked and numbered.
#[derive(Debug)]
pub struct Plan {
    /// In the order to be applied.
    pub records: SmallVec<[Record; 2]>,
    /// For the caller.
    pub answer: Answer,
    /// Accounts and the mail they gain at most, as given to [`Pending::begin`].
    pub touched: SmallVec<[(AccountId, Usage); 1]>,
    /// Marks that the accounts cross with it.
    pub crossings: SmallVec<[QuotaCrossing; 0]>,
}

impl Plan {
    /// Nothing to write, but an answer that waits for everything before it.
    #[must_use]
    pub fn barrier() -> Self {
        Self {
            records: SmallVec::new(),
            answer: Answer::Known(Outcome::Done),
            touched: SmallVec::new(),
            crossings: SmallVec::new(),
        }
    }

    /// Records of no account.
    #[must_use]
    pub fn of_record(record: Record) -> Self {
        Self {
            records: smallvec![record],
            ..Self::barrier()
        }
    }
}

/// Plans against one core's state.
pub struct Planner<'a> {
    /// What is durable.
    pub durable: &'a CoreState,
    /// What is in flight.
    pub pending: &'a mut Pending,
    /// For SAVEDATE and the UIDVALIDITY of new accounts.
    pub now: UnixMillis,
}

/// A delivery whose chunks have their places.
pub struct PlannedBody<'a> {
    /// Where the body is.
    pub chunks: &'a Chunks,
    /// INTERNALDATE of the copies.
    pub internal_date: InternalDate,
    /// See [`super::Body::line_end_octets`].
    pub line_end_octets: u32,
}

impl Planner<'_> {
    /// Makes sure the account exists in the pending view; gives the record to write if it does not yet. Without its state
    /// it may be cold: then only INBOX is known, and only a delivery there is planned.
    fn account(&mut self, id: AccountId) -> (&mut PendingAccount, Option<&AccountState>, Option<Record>) {
        match self.durable.durable(id) {
            Some(Durable::Loaded(durable)) => return (self.pending.account(durable), Some(durable), None),
            Some(Durable::Cold(cold)) => return (self.pending.cold_account(id, cold), None, None),
            None => {}
        }
        let is_new = self.pending.get(id).is_none();
        let uid_validity = u32::try_from(self.now.seconds()).unwrap_or(1).max(1);
        let account = self.pending.create(id, uid_validity);
        let record = is_new.then_some(Record::AccountCreated {
            account: id,
            uid_validity,
        });
        (account, None, record)
    }

    /// Counts the account as changing until the plan's records are applied, for records that take no numbers.
    pub fn touch(&mut self, id: Option<AccountId>, plan: &mut Plan) {
        if let Some(durable) = id.and_then(|id| self.durable.accounts.get(&id)) {
            self.pending.account(durable);
            self.pending.begin(durable.id, Usage::NONE);
            plan.touched.push((durable.id, Usage::NONE));
        }
    }

    /// See [`super::Store::ensure_account`].
    pub fn ensure_account(&mut self, id: AccountId) -> Plan {
        let (_, _, record) = self.account(id);
        self.pending.begin(id, Usage::NONE);
        Plan {
            records: record.into_iter().collect(),
            touched: smallvec![(id, Usage::NONE)],
            ..Plan::barrier()
        }
    }

    /// One message to several recipients; `keys[i]` of recipient i when it comes from a spool entry.
    pub fn delivery(
        &mut self,
        recipients: Vec<LocalRecipient>,
        body: &PlannedBody<'_>,
        key: Option<&(SpoolKey, Vec<u16>)>,
    ) -> Result<Plan, StoreError> {
        if key.is_none() {
            self.check_quotas(&recipients, body_bytes(body.chunks))?;
        }
        self.check_uids(&recipients)?;
        let accounts: SmallVec<[AccountId; 2]> = recipients.iter().map(|r| r.account).collect();
        let mut plan = Plan::barrier();
        for (index, recipient) in recipients.into_iter().enumerate() {
            let key = key.and_then(|(key, indexes)| Some((*key, *indexes.get(index)?)));
            if !key.is_some_and(|key| self.is_served(recipient.account, key)) {
                self.deliver_to(recipient, body, key, &mut plan);
            }
        }
        // Those that were served before were only looked at.
        for id in accounts {
            self.pending.release_unused(id);
        }
        Ok(plan)
    }

    fn is_served(&self, account: AccountId, (key, index): (SpoolKey, u16)) -> bool {
        let served = self.durable.served.get(&key);
        self.pending.serving.contains(&(key, index))
            || served.is_some_and(|served| served.contains(&(account.partition().0, index)))
    }

    fn deliver_to(
        &mut self,
        recipient: LocalRecipient,
        body: &PlannedBody<'_>,
        key: Option<(SpoolKey, u16)>,
        plan: &mut Plan,
    ) {
        let save_date = self.now;
        let id = recipient.account;
        let (account, durable, created) = self.account(id);
        plan.records.extend(created);
        let mailbox_id = target_of(account, durable, &recipient.mailbox);
        let mod_seq = account.take_mod_seq();
        let mailbox = account
            .mailbox(durable, mailbox_id)
            .expect("INBOX is always there");
        let record = MessageRecord {
            account: id,
            mailbox: mailbox_id,
            uid: mailbox.take_uids(1),
            mod_seq,
            email_id: email_id(body.chunks),
            flags: Flags::default(),
            keywords: SmallVec::new(),
            internal_date: body.internal_date,
            save_date,
            line_end_octets: body.line_end_octets,
            prefix: Bytes::from(recipient.prefix),
            chunks: body.chunks.clone(),
            key,
            asked: recipient.asked,
        };
        let added = Usage::message(record.size());
        plan.crossings.extend(self.crossing(id, added, recipient.quota));
        self.pending.begin(id, added);
        self.pending.serving.extend(key);
        plan.touched.push((id, added));
        plan.records.push(Record::Message(Box::new(record)));
    }

    /// Does every target mailbox have a UID left for every recipient? (Counted generously: all recipients at once.)
    fn check_uids(&mut self, recipients: &[LocalRecipient]) -> Result<(), StoreError> {
        for recipient in recipients {
            let (account, durable, created) = self.account(recipient.account);
            let target = target_of(account, durable, &recipient.mailbox);
            let checked = account
                .mailbox(durable, target)
                .and_then(|m| m.check_uids(recipients.len() as u64));
            // Looking must not leave an account behind that nobody creates.
            if created.is_some() || checked.is_err() {
                self.pending.release_unused(recipient.account);
            }
            checked?;
        }
        Ok(())
    }

    fn check_quotas(&mut self, recipients: &[LocalRecipient], body_bytes: u64) -> Result<(), StoreError> {
        let mut added: HashMap<AccountId, Usage> = HashMap::new();
        for recipient in recipients {
            let added = added.entry(recipient.account).or_default();
            *added += Usage::message(recipient.prefix.len() as u64 + body_bytes);
            self.check_quota(recipient.account, *added, recipient.quota)?;
        }
        Ok(())
    }

    fn check_quota(&mut self, id: AccountId, added: Usage, quota: Quota) -> Result<(), StoreError> {
        if quota == Quota::NONE {
            return Ok(());
        }
        if quota.admits(self.usage(id) + added) {
            Ok(())
        } else {
            Err(StoreError::OverQuota)
        }
    }

    /// Durable and in flight.
    fn usage(&mut self, id: AccountId) -> Usage {
        let durable = self.durable.durable(id).map_or(Usage::NONE, Durable::usage);
        let in_flight = self.pending.get(id).map_or(Usage::NONE, |account| account.added);
        durable + in_flight
    }

    fn crossing(&mut self, id: AccountId, added: Usage, quota: Quota) -> Option<QuotaCrossing> {
        if quota == Quota::NONE {
            return None;
        }
        let before = self.usage(id);
        QuotaCrossing::of(id, before, before + added, quota)
    }

    /// One record for a message whose recipients live on several cores.
    pub fn spool(&mut self, partition: u16, recipients: &[LocalRecipient], body: &PlannedBody<'_>) -> Plan {
        let recipients = recipients.iter().map(|recipient| SpoolRecipient {
            account: recipient.account,
            mailbox: recipient.mailbox.clone(),
            prefix: Bytes::copy_from_slice(&recipient.prefix),
            asked: recipient.asked.clone(),
        });
        Plan::of_record(Record::Spool {
            partition,
            internal_date: body.internal_date,
            line_end_octets: body.line_end_octets,
            chunks: body.chunks.clone(),
            recipients: recipients.collect(),
        })
    }

    fn usage_of(&self, id: AccountId, mailbox: MailboxId, uid: Uid) -> Usage {
        let account = self.durable.accounts.get(&id);
        let row = account.and_then(|account| account.mailboxes.get(&mailbox)?.row(uid));
        row.map_or(Usage::NONE, |row| Usage::message(u64::from(row.size)))
    }

    /// Of those of the messages that are there, if anybody wants to know.
    fn usage_of_all(&self, id: AccountId, mailbox: MailboxId, uids: &UidSet, quota: Quota) -> Usage {
        let account = self.durable.accounts.get(&id).filter(|_| quota != Quota::NONE);
        let mut usage = Usage::NONE;
        let Some(mailbox) = account.and_then(|account| account.mailboxes.get(&mailbox)) else {
            return usage;
        };
        for (first, last) in uids.ranges() {
            let rows = &mailbox.rows[rows_between(&mailbox.rows, *first, *last)];
            for row in rows {
                usage += Usage::message(u64::from(row.size));
            }
        }
        usage
    }

    /// The record that expunges what was replaced. A mailbox deleted meanwhile took it along: then it expunges nothing
    /// of INBOX.
    fn replaced(&mut self, id: AccountId, mailbox: MailboxId, uid: Uid) -> Record {
        let at = self.now;
        let (account, durable, _) = self.account(id);
        let is_there = account.mailbox(durable, mailbox).is_ok();
        let (mailbox, uids) = if is_there {
            (mailbox, vec![uid])
        } else {
            (INBOX_ID, Vec::new())
        };
        Record::Expunge {
            account: id,
            mailbox,
            mod_seq: account.take_mod_seq(),
            only_deleted: false,
            uids: UidSet::new(uids),
            at: Some(at),
        }
    }

    /// Plans any change. `bodies` are those of an append, in order.
    pub fn change(
        &mut self,
        id: AccountId,
        change: Change,
        uids: UidSet,
        bodies: &[Chunks],
    ) -> Result<Plan, StoreError> {
        let (_, _, created) = self.account(id);
        let is_new = created.is_some();
        let mut plan = Plan::barrier();
        plan.records.extend(created);
        let planned = self.change_into(id, change, uids, bodies, &mut plan);
        match planned {
            Ok(added) => {
                self.pending.begin(id, added);
                plan.touched.push((id, added));
                Ok(plan)
            }
            Err(refused) => {
                assert!(
                    plan.records.len() == usize::from(is_new),
                    "a refused change leaves no record"
                );
                self.pending.release_unused(id);
                Err(refused)
            }
        }
    }

    /// Appends the change's records; gives the mail it adds.
    fn change_into(
        &mut self,
        id: AccountId,
        change: Change,
        uids: UidSet,
        bodies: &[Chunks],
        plan: &mut Plan,
    ) -> Result<Usage, StoreError> {
        if let Change::Append {
            mailbox,
            messages,
            quota,
            replaces,
        } = change
        {
            let freed = replaces.map_or(Usage::NONE, |(mailbox, uid)| self.usage_of(id, mailbox, uid));
            // Net: what goes makes room for what comes (RFC 8508 §3.4).
            let net_quota = Quota {
                bytes: quota.bytes.map(|most| most.saturating_add(freed.bytes)),
                messages: quota.messages.map(|most| most.saturating_add(freed.messages)),
            };
            let added = self.append(id, mailbox, messages, net_quota, bodies, plan)?;
            let net = Usage {
                bytes: added.bytes.saturating_sub(freed.bytes),
                messages: added.messages.saturating_sub(freed.messages),
            };
            plan.crossings.extend(self.crossing(id, net, quota));
            if let Some((mailbox, uid)) = replaces {
                let record = self.replaced(id, mailbox, uid);
                plan.records.push(record);
            }
            return Ok(added);
        }
        let mut added = Usage::NONE;
        if let Change::Copy { from, quota, .. } = &change {
            added = self.usage_of_all(id, *from, &uids, *quota);
            self.check_quota(id, added, *quota)?;
            plan.crossings.extend(self.crossing(id, added, *quota));
        }
        let at = self.now;
        let (account, durable, _) = self.account(id);
        let mut scope = Scope {
            id,
            at,
            account,
            durable,
            plan,
        };
        match change {
            Change::CreateMailbox { name, special_use } => scope.create(&name, special_use)?,
            Change::DeleteMailbox { name } => scope.delete(&name)?,
            Change::RenameMailbox { from, to } if from.is_inbox() => scope.rename_inbox(&to)?,
            Change::RenameMailbox { from, to } => scope.rename(&from, to)?,
            Change::Subscribe { name, subscribed } => scope.subscribe(name, subscribed)?,
            Change::SetMetadata { mailbox, entries } => scope.set_metadata(mailbox, entries)?,
            Change::StoreFlags {
                mailbox,
                operation,
                flags,
                keywords,
                unchanged_since,
                ..
            } => {
                let is_removal = operation == crate::proto::imap::types::StoreOperation::Remove;
                let added: &[Keyword] = if is_removal { &[] } else { &keywords };
                scope.name_keywords(mailbox, added)?;
                let mod_seq = scope.account.take_mod_seq();
                let record = Record::StoreFlags {
                    account: id,
                    mailbox,
                    mod_seq,
                    operation,
                    flags,
                    keywords,
                    unchanged_since,
                    uids,
                };
                scope.finish(record);
            }
            Change::Expunge {
                mailbox,
                only_deleted,
                ..
            } => {
                scope.account.mailbox(scope.durable, mailbox)?;
                let mod_seq = scope.account.take_mod_seq();
                scope.finish(Record::Expunge {
                    account: id,
                    mailbox,
                    mod_seq,
                    only_deleted,
                    uids,
                    at: Some(at),
                });
            }
            Change::Copy { from, to, .. } => scope.transfer(from, to, uids, false)?,
            Change::Move { from, to, .. } => scope.transfer(from, to, uids, true)?,
            Change::Append { .. } => unreachable!("it was planned above"),
        }
        Ok(added)
    }

    fn append(
        &mut self,
        id: AccountId,
        mailbox_id: MailboxId,
        messages: Vec<NewMessage>,
        quota: Quota,
        bodies: &[Chunks],
        plan: &mut Plan,
    ) -> Result<Usage, StoreError> {
        let added = Usage {
            bytes: bodies.iter().map(|chunks| body_bytes(chunks)).sum(),
            messages: bodies.len() as u64,
        };
        self.check_quota(id, added, quota)?;
        let save_date = self.now;
        let (account, durable, _) = self.account(id);
        let durable_mailbox = durable.and_then(|d| d.mailboxes.get(&mailbox_id));
        let mailbox = account.mailbox(durable, mailbox_id)?;
        let keywords: Vec<Keyword> = distinct_keywords(&messages);
        mailbox.check_uids(messages.len() as u64)?;
        mailbox.check_keywords(durable_mailbox, &keywords)?;
        mailbox.add_keywords(durable_mailbox, &keywords);
        let uid_validity = mailbox.uid_validity;
        let mut uids = Vec::with_capacity(messages.len());
        for (message, chunks) in messages.into_iter().zip(bodies) {
            let uid = account.mailbox(durable, mailbox_id)?.take_uids(1);
            uids.push(uid);
            plan.records.push(Record::Message(Box::new(MessageRecord {
                account: id,
                mailbox: mailbox_id,
                uid,
                mod_seq: account.take_mod_seq(),
                email_id: email_id(chunks),
                flags: message.flags,
                keywords: message.keywords,
                internal_date: message.internal_date,
                save_date,
                line_end_octets: message.body.line_end_octets(),
                prefix: Bytes::new(),
                chunks: chunks.clone(),
                key: None,
                asked: Bytes::new(),
            })));
        }
        plan.answer = Answer::Known(Outcome::Appended { uid_validity, uids });
        Ok(added)
    }
}

impl Planner<'_> {
    /// Messages brought back, all of one account.
    pub fn undelete(&mut self, id: AccountId, opened: Vec<Opened>) -> Result<Plan, StoreError> {
        let mut plan = Plan::barrier();
        let planned = self.undelete_into(id, opened, &mut plan);
        match planned {
            Ok(added) => {
                self.pending.begin(id, added);
                plan.touched.push((id, added));
                Ok(plan)
            }
            Err(refused) => {
                self.pending.release_unused(id);
                Err(refused)
            }
        }
    }

    fn undelete_into(
        &mut self,
        id: AccountId,
        opened: Vec<Opened>,
        plan: &mut Plan,
    ) -> Result<Usage, StoreError> {
        let (account, durable, created) = self.account(id);
        assert!(created.is_none(), "who has graves exists");
        let count = opened.len() as u64;
        for opened in &opened {
            let message = &opened.message;
            let known = durable.and_then(|d| d.mailboxes.get(&message.mailbox));
            let mailbox = account.mailbox(durable, message.mailbox)?;
            mailbox.check_uids(count)?;
            mailbox.check_keywords(known, &message.keywords)?;
            mailbox.add_keywords(known, &message.keywords);
        }
        let mut added = Usage::NONE;
        for Opened { from, uid, message } in opened {
            let taken = account.mailbox(durable, message.mailbox)?.take_uids(1);
            added += Usage::message(message.size());
            plan.records.push(Record::Undeleted {
                mailbox: from,
                uid,
                message: Box::new(MessageRecord {
                    uid: taken,
                    mod_seq: account.take_mod_seq(),
                    ..message
                }),
            });
        }
        Ok(added)
    }
}

/// Where a delivery goes. A mailbox that is gone by then gives way to INBOX: the message must go somewhere.
fn target_of(account: &PendingAccount, durable: Option<&AccountState>, name: &MailboxName) -> MailboxId {
    if name.is_inbox() {
        return INBOX_ID;
    }
    account.names(durable).get(name).copied().unwrap_or(INBOX_ID)
}

/// Unique for the life of the store: where the body's first chunk was first written. Copies keep it.
fn email_id(chunks: &Chunks) -> u64 {
    let first = chunks.first().expect("a body has a chunk at least").position;
    u64::from(first.segment.0) << 32 | u64::from(first.offset)
}

fn distinct_keywords(messages: &[NewMessage]) -> Vec<Keyword> {
    let mut distinct: Vec<Keyword> = Vec::new();
    for keyword in messages.iter().flat_map(|m| &m.keywords) {
        if !distinct.contains(keyword) {
            distinct.push(keyword.clone());
        }
    }
    distinct
}

/// Room a change needs at most, without its bodies.
#[must_use]
pub fn change_bytes_max(change: &Change, uids: &UidSet) -> usize {
    /// A record's header and fixed fields, and the creation of the account.
    const RECORD: usize = 256;
    let name_bytes = |name: &MailboxName| {
        let levels = name
            .as_str()
            .split(crate::model::mailbox_name::HIERARCHY_DELIMITER)
            .count();
        levels * (RECORD + name.as_str().len())
    };
    let keywords_bytes = |keywords: &[Keyword]| keywords.iter().map(|k| k.as_str().len() + 2).sum::<usize>();
    2 * RECORD
        + uids.encoded_bytes_max()
        + match change {
            Change::CreateMailbox { name, .. } | Change::Subscribe { name, .. } => name_bytes(name),
            Change::RenameMailbox { to, .. } => 2 * name_bytes(to),
            Change::SetMetadata { entries, .. } => entries
                .iter()
                .map(|(name, value)| 32 + name.len() + value.as_ref().map_or(0, bytes::Bytes::len))
                .sum(),
            Change::StoreFlags { keywords, .. } => keywords_bytes(keywords),
            Change::Append { messages, .. } => messages
                .iter()
                .map(|m| RECORD + keywords_bytes(&m.keywords))
                .sum::<usize>()
                // What is replaced.
                .saturating_add(RECORD),
            _ => 0,
        }
}
