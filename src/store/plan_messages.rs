//! Planning messages that come in: deliveries, spool entries, appends, what is brought back; and whether the quota lets them.
//!
//! Invariants: as in `plan`. Quotas count what is durable and what is in flight, so they are exact whoever comes at once.
//! Not here: changes of what is there (`plan_account`), what the records do (`apply_messages`).

use super::QuotaCrossing;
use super::apply_messages::rows_between;
use super::codec::UidSet;
use super::cold::Durable;
use super::pending::PendingAccount;
use super::plan::{Answer, Chunks, Plan, Planner};
use super::record::{MessageRecord, Record, SpoolRecipient, body_bytes};
use super::state::{AccountState, INBOX_ID};
use super::undelete::Opened;
use super::{LocalRecipient, NewMessage, Outcome, SpoolKey, StoreError};
use crate::base::id_map::IdMap;
use crate::model::{AccountId, Flags, MailboxId, MailboxName, Quota, Uid, Usage};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::SmallVec;

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
        let mut served: SmallVec<[AccountId; 1]> = SmallVec::new();
        let mut plan = Plan::barrier();
        for (index, recipient) in recipients.into_iter().enumerate() {
            let key = key.and_then(|(key, indexes)| Some((*key, *indexes.get(index)?)));
            if key.is_some_and(|key| self.is_served(recipient.account, key)) {
                served.push(recipient.account);
            } else {
                self.deliver_to(recipient, body, key, &mut plan);
            }
        }
        // They were only looked at.
        for id in served {
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
        if recipient.quota != Quota::NONE && !recipient.quota.admits(self.usage(id) + added) {
            plan.over_quota.push(id);
        }
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
        let usage = |recipient: &LocalRecipient| Usage::message(recipient.prefix.len() as u64 + body_bytes);
        // Nearly always there is one: nothing to be summed up, and no map to be made for it.
        if let [only] = recipients {
            let quota = quota_to_keep(only);
            return self.check_quota(only.account, usage(only), quota);
        }
        let mut added: IdMap<AccountId, Usage> = IdMap::default();
        for recipient in recipients {
            let added = added.entry(recipient.account).or_default();
            *added += usage(recipient);
            self.check_quota(recipient.account, *added, quota_to_keep(recipient))?;
        }
        Ok(())
    }

    pub fn check_quota(&mut self, id: AccountId, added: Usage, quota: Quota) -> Result<(), StoreError> {
        if quota == Quota::NONE {
            return Ok(());
        }
        if quota.admits(self.usage(id) + added) {
            Ok(())
        } else if quota.admits(added) {
            Err(StoreError::OverQuota)
        } else {
            Err(StoreError::BeyondQuota)
        }
    }

    /// Durable and in flight.
    fn usage(&mut self, id: AccountId) -> Usage {
        let durable = self.durable.durable(id).map_or(Usage::NONE, Durable::usage);
        let in_flight = self.pending.get(id).map_or(Usage::NONE, |account| account.added);
        durable + in_flight
    }

    pub fn crossing(&mut self, id: AccountId, added: Usage, quota: Quota) -> Option<QuotaCrossing> {
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

    pub fn usage_of(&self, id: AccountId, mailbox: MailboxId, uid: Uid) -> Usage {
        let account = self.durable.accounts.get(&id);
        let row = account.and_then(|account| account.mailboxes.get(&mailbox)?.row(uid));
        row.map_or(Usage::NONE, |row| Usage::message(u64::from(row.size)))
    }

    /// Of those of the messages that are there, if anybody wants to know.
    pub fn usage_of_all(&self, id: AccountId, mailbox: MailboxId, uids: &UidSet, quota: Quota) -> Usage {
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

    /// Is the message there, and will it be when the change is applied (RFC 8508 §3.4: one action)?
    pub fn check_replaced(&mut self, id: AccountId, mailbox: MailboxId, uid: Uid) -> Result<(), StoreError> {
        let (account, durable, _) = self.account(id);
        let known = durable.and_then(|account| account.mailboxes.get(&mailbox)?.row(uid));
        if account.is_deleted(mailbox) || account.is_leaving(mailbox, uid) || known.is_none() {
            return Err(StoreError::NoSuchMessage);
        }
        Ok(())
    }

    /// The record that expunges what was replaced, which [`Self::check_replaced`] has found.
    pub fn replaced(&mut self, id: AccountId, mailbox: MailboxId, uid: Uid) -> Record {
        let at = self.now;
        let (account, _, _) = self.account(id);
        let uids = UidSet::new(vec![uid]);
        account.note_leaving(mailbox, uids.clone());
        Record::Expunge {
            account: id,
            mailbox,
            mod_seq: account.take_mod_seq(),
            only_deleted: false,
            uids,
            at: Some(at),
        }
    }

    /// Messages of a client, with the flags it gave them.
    pub fn append(
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
        let mailbox = account.mailbox(durable, mailbox_id)?;
        mailbox.check_uids(messages.len() as u64)?;
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

    /// Messages brought back, all of one account.
    pub fn undelete(&mut self, id: AccountId, opened: Vec<Opened>) -> Result<Plan, StoreError> {
        assert!(self.durable.durable(id).is_some(), "who has graves exists");
        self.plan_for(id, |planner, plan| planner.undelete_into(id, opened, plan))
    }

    fn undelete_into(
        &mut self,
        id: AccountId,
        opened: Vec<Opened>,
        plan: &mut Plan,
    ) -> Result<Usage, StoreError> {
        let (account, durable, _) = self.account(id);
        let count = opened.len() as u64;
        for opened in &opened {
            account
                .mailbox(durable, opened.message.mailbox)?
                .check_uids(count)?;
        }
        let mut added = Usage::NONE;
        for Opened { from, uid, message } in opened {
            if !message.keywords.is_empty() {
                account.note_keywords(message.mailbox, message.keywords.to_vec());
            }
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

/// What a delivery may be refused for.
fn quota_to_keep(recipient: &LocalRecipient) -> Quota {
    if recipient.may_exceed_quota {
        Quota::NONE
    } else {
        recipient.quota
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
