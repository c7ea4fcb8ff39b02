//! A commit of one core's store: in turn, with room, planned, encoded, durable.
//!
//! Invariants: planning and encoding happen in one step without waiting, in the order callers came; a caller that goes
//! away after that step has committed all the same.
//! Limits: room is asked for with upper bounds ([`RECIPIENT_BYTES_MAX`] and its like), so that an encoded batch always fits.
//! Failure: a step that panics ends the process (`AbortOnUnwind`): half a plan may not live on.
//! Not here: whether it may be, and under which numbers (`plan`); what waits, is written and answered (`log`, `writer`).

use super::body::store_body;
use super::group::Reply;
use super::handle::{Inner, Store};
use super::log::{Next, Room, bodies_bytes, chunk_lens};
use super::pins::Pin;
use super::plan::{Chunks, Plan, Planner, change_bytes_max};
use super::plan_messages::PlannedBody;
use super::record::Record;
use super::state::AccountState;
use super::{
    Body, Change, CommitReceipt, Delivery, Environment, LocalRecipient, Outcome, SpoolEntry, SpoolKey,
    StoreError,
};
use crate::base::clock::Clock;
use crate::base::guard::AbortOnUnwind;
use crate::base::oneshot;
use crate::model::{AccountId, MailboxName};
use crate::proto::imap::types::InternalDate;
use std::collections::BTreeSet;
use std::slice::from_ref;

/// Room for a recipient's records beside its prefix and mailbox name, the creation of its account included.
const RECIPIENT_BYTES_MAX: usize = 384;

impl<E: Environment> Inner<E> {
    /// Waits until a batch of `bytes` can be encoded. Only the holder of the turn may call this.
    pub async fn wait_for_room(&self, bytes: usize) -> Result<(), StoreError> {
        let refused_before = self.log.borrow().refused_segments.0;
        loop {
            let made = self.log.borrow_mut().make_room(bytes)?;
            match made {
                Room::Ready => return Ok(()),
                Room::Wait => {}
                Room::NeedsSegment => self.want_segment(refused_before)?,
            }
            self.work.notify_all();
            // Nothing else runs between the look and the wait.
            self.room.waiter().changed().await;
        }
    }

    fn want_segment(&self, refused_before: u64) -> Result<(), StoreError> {
        let mut log = self.log.borrow_mut();
        if let (refused, Some(why)) = &log.refused_segments
            && *refused > refused_before
        {
            return Err(why.clone());
        }
        if matches!(log.next, Next::None) {
            log.next = Next::Wanted;
            self.aside.notify_all();
        }
        Ok(())
    }

    /// One commit: in turn, with room, planned, encoded, durable.
    pub async fn commit(
        &self,
        bytes: usize,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Reply {
        let receiver = {
            let _turn = self.line.turn().await;
            self.encode_in_turn(bytes, bodies, plan).await?
        };
        self.answer(receiver).await
    }

    /// The first half of a commit, for the holder of the turn.
    pub async fn encode_in_turn(
        &self,
        bytes: usize,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Result<oneshot::Receiver<Reply>, StoreError> {
        self.wait_for_room(bytes + bodies_bytes(bodies, &self.options))
            .await?;
        let receiver = self.encode(bodies, plan)?;
        self.work.notify_all();
        Ok(receiver)
    }

    /// The second half of a commit.
    pub async fn answer(&self, receiver: oneshot::Receiver<Reply>) -> Reply {
        // The writer is gone without an answer: the server is stopping.
        receiver.await.unwrap_or(Err(StoreError::ShuttingDown))
    }

    fn encode(
        &self,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Result<oneshot::Receiver<Reply>, StoreError> {
        let _guard = AbortOnUnwind::over("the open group");
        let mut log = self.log.borrow_mut();
        let chunks = log.place_bodies(bodies);
        let mut planned = {
            let durable = &*self.state.borrow();
            let pending = &mut *self.pending.borrow_mut();
            let mut planner = Planner {
                durable,
                pending,
                now: self.env.clock().now(),
            };
            plan(&mut planner, &chunks, log.sequences())?
        };
        let put = log.put_bodies(bodies);
        assert_eq!(put, chunks, "bodies lie where they were planned");
        self.crossings.keep(std::mem::take(&mut planned.crossings));
        self.note_over_quota(&planned.over_quota);
        let (sender, receiver) = oneshot::channel();
        log.put_batch(planned, sender);
        Ok(receiver)
    }

    /// Said of every copy that is taken beyond a quota: nobody else sees that the quota was not kept.
    fn note_over_quota(&self, accounts: &[AccountId]) {
        for account in accounts {
            self.meters.over_quota.add(1);
            tracing::info!(%account, "mail taken beyond the quota");
        }
    }

    /// A body that does not fit a batch is written ahead.
    pub async fn ready_body(&self, body: Body) -> Result<Body, StoreError> {
        if bodies_bytes(from_ref(&body), &self.options) > self.options.inline_bytes_max() {
            // Boxed: it is rare, and its state would be room in that of every delivery.
            return Box::pin(store_body(self, body)).await;
        }
        Ok(body)
    }

    /// Bodies that do not fit a batch together are written ahead.
    async fn ready_bodies(&self, bodies: Vec<Body>) -> Result<Vec<Body>, StoreError> {
        if bodies_bytes(&bodies, &self.options) > self.options.inline_bytes_max() {
            let mut stored = Vec::with_capacity(bodies.len());
            for body in bodies {
                stored.push(store_body(self, body).await?);
            }
            return Ok(stored);
        }
        Ok(bodies)
    }

    /// For references to the chunks of these bodies: twelve bytes for each, whether it has been written or is going to be.
    fn refs_bytes(&self, bodies: &[Body]) -> usize {
        let chunks = |body: &Body| match body.stored_chunks() {
            Some(stored) => stored.len(),
            None => chunk_lens(body.len(), &self.options).count(),
        };
        12 * bodies.iter().map(chunks).sum::<usize>()
    }

    /// Those of the recipients whose copy does not go to INBOX, by which alone no account is loaded.
    async fn load_for(&self, recipients: &[LocalRecipient]) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for recipient in recipients
            .iter()
            .filter(|recipient| !recipient.mailbox.is_inbox())
        {
            pins.push(Box::pin(self.load(recipient.account)).await?);
        }
        Ok(pins)
    }
}

/// Room for the records of so many recipients, whose prefixes, wishes and mailbox names have `octets` together, with `refs`
/// bytes of references to the body for each.
fn recipients_bytes(recipients: usize, octets: usize, refs: usize) -> usize {
    recipients
        .saturating_mul(RECIPIENT_BYTES_MAX + refs)
        .saturating_add(RECIPIENT_BYTES_MAX + octets)
}

impl<E: Environment> Store<E> {
    /// Whether [`Self::deliver`] can take so many recipients at once, whose prefixes and wishes have `octets` together. Each
    /// copy refers to every chunk of the body, so a long message goes to fewer.
    #[must_use]
    pub fn is_one_delivery(&self, recipients: usize, octets: usize, body: &Body) -> bool {
        let inner = self.inner();
        let in_memory = bodies_bytes(from_ref(body), &inner.options);
        // What is longer is written ahead.
        let inline = Some(in_memory).filter(|bytes| *bytes <= inner.options.inline_bytes_max());
        let names = recipients * MailboxName::inbox().as_str().len();
        let refs = inner.refs_bytes(from_ref(body));
        recipients_bytes(recipients, octets + names, refs) + inline.unwrap_or(0)
            <= inner.options.batch_bytes_max()
    }

    /// A delivery as several, each of which [`Self::deliver`] can take at once.
    #[must_use]
    pub fn in_parts(&self, delivery: Delivery) -> Vec<Delivery> {
        let octets = recipients_octets(&delivery.recipients);
        let count = delivery.recipients.len();
        if count <= 1 || self.is_one_delivery(count, octets, &delivery.body) {
            return vec![delivery];
        }
        let mut first = delivery;
        let half = count / 2;
        let second = Delivery {
            recipients: first.recipients.split_off(half),
            body: first.body.clone(),
            internal_date: first.internal_date,
            key: (first.key.as_mut()).map(|(key, indexes)| (*key, indexes.split_off(half))),
        };
        let mut parts = self.in_parts(first);
        parts.extend(self.in_parts(second));
        parts
    }

    /// Whether [`Self::spool`] can take so many recipients, whose prefixes and wishes have `octets` together, whatever the body.
    #[must_use]
    pub fn is_one_spool_record(&self, recipients: usize, octets: usize) -> bool {
        let names = recipients * MailboxName::inbox().as_str().len();
        // The rest is for the body that lies beside it, an eighth at most, or for its references.
        let most = self.options().batch_bytes_max() / 4 * 3;
        recipients_bytes(recipients, octets + names, 0) <= most
    }

    /// Commits one message to recipients of this core. Durable on return. With a spool key neither quota nor reserve
    /// is asked: what was accepted is delivered.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] or [`StoreError::BeyondQuota`] when one recipient that may not exceed its quota would (nobody
    /// gets a copy then), [`StoreError::NoSpace`],
    /// [`StoreError::Failed`], [`StoreError::Limit`].
    pub async fn deliver(&self, delivery: Delivery) -> Result<CommitReceipt, StoreError> {
        let Delivery {
            recipients,
            body,
            internal_date,
            key,
        } = delivery;
        if key.is_none() {
            self.inner().check_space(body.len()).await?;
        }
        let line_end_octets = body.line_end_octets();
        let body = self.inner().ready_body(body).await?;
        let refs = self.inner().refs_bytes(from_ref(&body));
        let bytes = recipients_bytes(recipients.len(), recipients_octets(&recipients), refs);
        let _pins = self.inner().load_for(&recipients).await?;
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            let body = PlannedBody {
                chunks: &chunks[0],
                internal_date,
                line_end_octets,
            };
            planner.delivery(recipients, &body, key.as_ref())
        };
        self.inner()
            .commit(bytes, from_ref(&body), plan)
            .await
            .map(|(receipt, _)| receipt)
    }

    /// Commits a message whose recipients live on several cores, as one record. Durable on return; then fan out.
    ///
    /// # Errors
    /// As [`Self::deliver`], but for quotas, which the owners were asked for.
    pub async fn spool(
        &self,
        recipients: Vec<LocalRecipient>,
        body: Body,
        internal_date: InternalDate,
    ) -> Result<(CommitReceipt, SpoolEntry), StoreError> {
        self.inner().check_space(body.len()).await?;
        let line_end_octets = body.line_end_octets();
        let body = self.inner().ready_body(body).await?;
        // The body is named once for all of them.
        let bytes = recipients_bytes(recipients.len(), recipients_octets(&recipients), 0)
            + self.inner().refs_bytes(from_ref(&body));
        let partition = self.inner().spool_partition;
        let mut entry = None;
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], sequences: &[u64]| {
            let sequence = sequences[usize::from(partition)] + 1;
            let body = PlannedBody {
                chunks: &chunks[0],
                internal_date,
                line_end_octets,
            };
            let planned = planner.spool(partition, &recipients, &body);
            let body = Body::stored(chunks[0].to_vec()).with_line_end_octets(line_end_octets);
            let key = SpoolKey { partition, sequence };
            entry = Some(SpoolEntry {
                key,
                recipients,
                body,
                internal_date,
            });
            Ok(planned)
        };
        let (receipt, _) = self.inner().commit(bytes, from_ref(&body), plan).await?;
        Ok((receipt, entry.expect("a commit was planned")))
    }

    /// Every recipient of the entry has its copy: forget it. Durable on return; nobody needs to wait for it, and if a
    /// crash takes it the fan-out is done again and changes nothing.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn spool_done(&self, key: SpoolKey) -> Result<(), StoreError> {
        let plan =
            |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(Plan::of_record(Record::SpoolDone { key }));
        self.inner()
            .commit(RECIPIENT_BYTES_MAX, &[], plan)
            .await
            .map(|_| ())
    }

    /// Forgets which recipients of this core were served from `key`. Ask every owner for it after
    /// [`Self::spool_done`] has returned, never before: until then a crash may bring the fan-out back.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn spool_forget(&self, key: SpoolKey) -> Result<(), StoreError> {
        let partitions: BTreeSet<u16> = {
            let state = self.inner().state.borrow();
            state
                .served
                .get(&key)
                .into_iter()
                .flatten()
                .map(|(partition, _)| *partition)
                .collect()
        };
        if partitions.is_empty() {
            return Ok(());
        }
        let bytes = partitions.len() * RECIPIENT_BYTES_MAX;
        let records = partitions
            .into_iter()
            .map(|partition| Record::SpoolForget { partition, key });
        let plan = |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            Ok(Plan {
                records: records.collect(),
                ..Plan::barrier()
            })
        };
        self.inner().commit(bytes, &[], plan).await.map(|_| ())
    }

    /// Spool entries that recovery found unfinished. Empty after the first call.
    #[must_use]
    pub fn unfinished_spool(&self) -> Vec<SpoolEntry> {
        self.inner().unfinished.take()
    }

    /// Commits one change to one account of this core. Durable on return.
    ///
    /// # Errors
    /// Why the change cannot be ([`StoreError::NoSuchMailbox`] and its like), or why the log cannot take it.
    pub async fn change(
        &self,
        account: AccountId,
        mut change: Change,
    ) -> Result<(CommitReceipt, Outcome), StoreError> {
        let bodies = self.bodies_of(&change).await?;
        let _pin = self.load(account).await?;
        let uids = super::codec::UidSet::new(take_uids(&mut change));
        let is_normalized = self.account(account, AccountState::has_normalized_names);
        let bytes = change_bytes_max(&change, &uids, is_normalized.unwrap_or(true))
            + self.inner().refs_bytes(&bodies);
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            planner.change(account, change, uids, chunks)
        };
        self.inner().commit(bytes, &bodies, plan).await
    }

    async fn bodies_of(&self, change: &Change) -> Result<Vec<Body>, StoreError> {
        let Change::Append { messages, .. } = change else {
            return Ok(Vec::new());
        };
        let bodies: Vec<Body> = messages.iter().map(|message| message.body.clone()).collect();
        self.inner()
            .check_space(bodies.iter().map(Body::len).sum())
            .await?;
        self.inner().ready_bodies(bodies).await
    }

    /// Makes sure the account exists, with INBOX and the standard mailboxes. Durable on return.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn ensure_account(&self, account: AccountId) -> Result<(), StoreError> {
        if self.inner().state.borrow().durable(account).is_some() {
            return Ok(());
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(planner.ensure_account(account));
        self.inner()
            .commit(RECIPIENT_BYTES_MAX, &[], plan)
            .await
            .map(|_| ())
    }
}

fn recipients_octets(recipients: &[LocalRecipient]) -> usize {
    let octets = |r: &LocalRecipient| r.prefix.len() + r.asked.len() + r.mailbox.as_str().len();
    recipients.iter().map(octets).sum()
}

/// Sets travel as ranges; the list in the change is not needed any more.
fn take_uids(change: &mut Change) -> Vec<crate::model::Uid> {
    match change {
        Change::StoreFlags { uids, .. }
        | Change::Expunge { uids, .. }
        | Change::Copy { uids, .. }
        | Change::Move { uids, .. } => std::mem::take(uids),
        _ => Vec::new(),
    }
}
