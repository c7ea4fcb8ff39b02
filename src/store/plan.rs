//! From a wish to records: checks a change against the pending view, takes its numbers, says what will be answered.
//!
//! Invariants: a refused change has taken no number and leaves no record; a planned one cannot fail any more except
//! with its log; between planning and encoding nothing waits. What is planned first is applied first, so a mailbox that
//! is there by the pending view is there when the record is applied.
//! Limits: [`MAILBOXES_MAX`], [`SUBSCRIPTIONS_MAX`], UIDs, keywords of a mailbox.
//! Not here: messages that come in (`plan_messages`), changes of mailboxes (`plan_account`), room for keywords (`plan_keywords`), room in the group (`log`), what records do (`apply`).

use super::QuotaCrossing;
use super::codec::UidSet;
use super::cold::Durable;
use super::pending::{Pending, PendingAccount};
use super::plan_account::Scope;
use super::record::{Record, StoreRule};
use super::state::{AccountState, CoreState};
use super::{Change, ChunkRef, Outcome, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::mailbox_name::{HIERARCHY_DELIMITER, MAILBOX_NAME_BYTES_MAX};
use crate::model::{AccountId, Keyword, MailboxName, Usage};
use smallvec::{SmallVec, smallvec};

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
    /// In the order to be applied. One, nearly always: room for more would be copied with every commit.
    pub records: SmallVec<[Record; 1]>,
    /// For the caller.
    pub answer: Answer,
    /// Accounts and the mail they gain at most, as given to [`Pending::begin`].
    pub touched: SmallVec<[(AccountId, Usage); 1]>,
    /// Marks that the accounts cross with it.
    pub crossings: SmallVec<[QuotaCrossing; 0]>,
    /// Accounts that take a copy for which they have no room.
    pub over_quota: SmallVec<[AccountId; 0]>,
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
            over_quota: SmallVec::new(),
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

impl Planner<'_> {
    /// Makes sure the account exists in the pending view; gives the record to write if it does not yet. Without its state
    /// it may be cold: then only INBOX is known, and only a delivery there is planned.
    pub fn account(&mut self, id: AccountId) -> (&mut PendingAccount, Option<&AccountState>, Option<Record>) {
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

    /// Plans any change. `bodies` are those of an append, in order.
    pub fn change(
        &mut self,
        id: AccountId,
        change: Change,
        uids: UidSet,
        bodies: &[Chunks],
    ) -> Result<Plan, StoreError> {
        self.plan_for(id, |planner, plan| {
            let given = planner.keywords_given(id, &change, &uids);
            if let Some(given) = &given {
                planner.check_keywords(id, given)?;
            }
            let added = planner.change_into(id, change, uids, bodies, plan)?;
            if let Some(given) = given {
                planner.note_given(id, given);
            }
            Ok(added)
        })
    }

    /// A plan for one account. `fill` appends the records and says how much mail they add, which is in flight from then on; or
    /// why not, and has left none.
    pub fn plan_for(
        &mut self,
        id: AccountId,
        fill: impl FnOnce(&mut Self, &mut Plan) -> Result<Usage, StoreError>,
    ) -> Result<Plan, StoreError> {
        let (_, _, created) = self.account(id);
        let is_new = created.is_some();
        let mut plan = Plan::barrier();
        plan.records.extend(created);
        match fill(self, &mut plan) {
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
            let net_quota = quota.with_room_of(freed);
            if let Some((mailbox, uid)) = replaces {
                self.check_replaced(id, mailbox, uid)?;
            }
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
            Change::RenameMailbox { from, to } => scope.rename(&from, &to)?,
            Change::Subscribe { name, subscribed } => scope.subscribe(&name, subscribed)?,
            Change::SetMetadata {
                mailbox,
                entries,
                special_use,
            } => {
                if let Some(special_use) = special_use {
                    scope.set_special_use(mailbox, special_use)?;
                }
                if !entries.is_empty() {
                    scope.set_metadata(mailbox, entries)?;
                }
            }
            Change::StoreFlags {
                mailbox,
                operation,
                flags,
                keywords,
                unchanged_since,
                ..
            } => {
                scope.account.mailbox(scope.durable, mailbox)?;
                let mod_seq = scope.account.take_mod_seq();
                let record = Record::StoreFlags {
                    account: id,
                    mailbox,
                    mod_seq,
                    operation,
                    flags,
                    keywords,
                    unchanged_since,
                    rule: StoreRule::OfChanged,
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
                scope.account.note_leaving(mailbox, uids.clone());
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
}

/// Room a change needs at most, without its bodies. `is_normalized`: all names of the account are in NFC.
#[must_use]
pub fn change_bytes_max(change: &Change, uids: &UidSet, is_normalized: bool) -> usize {
    /// A record's header and fixed fields, and the creation of the account.
    const RECORD: usize = 256;
    let name_bytes = |name: &MailboxName| {
        // What it is called here may be longer, in one of the forms that are here or in NFC.
        let octets = if is_normalized {
            name.normalized().len()
        } else {
            MAILBOX_NAME_BYTES_MAX
        };
        let levels = name.as_str().split(HIERARCHY_DELIMITER).count();
        levels * (RECORD + octets.min(MAILBOX_NAME_BYTES_MAX))
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
