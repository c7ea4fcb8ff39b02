//! Which core owns which recipients, and the commit that answers for all of them.

use super::{compaction, fan_out, undelete};
use crate::model::{Account, AccountId, MailboxName, Quota, Usage};
use crate::proto::imap::types::InternalDate;
use crate::runtime::{Core, Endpoint, MeshMeters};
use crate::store::{
    Body, CommitReceipt, CompactionAnswer, CompactionStep, Delivery, Environment, LocalRecipient, SpoolKey,
    Store, StoreError, Wanted,
};
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;

/// What one core asks of another for deliveries.
#[derive(Debug)]
pub enum Request {
    /// Commit this message to recipients the other core owns.
    Deliver(Box<Delivery>),
    /// Has this account room for one more message of `bytes`? Asked before a spool record is written.
    HasRoom {
        account: AccountId,
        bytes: u64,
        quota: Quota,
    },
    /// Every recipient of this spool record has its copy: the keys may be forgotten.
    Forget(SpoolKey),
    /// Take part in a pass of compaction.
    Compact(CompactionStep),
    /// Bring expunged messages back.
    Undelete { account: AccountId, wanted: Wanted },
}

/// The answers, in the order of the requests.
#[derive(Debug)]
pub enum Reply {
    /// To [`Request::Deliver`].
    Delivered(Result<CommitReceipt, StoreError>),
    /// To [`Request::HasRoom`].
    Room(bool),
    /// To [`Request::Forget`].
    Forgotten(Result<(), StoreError>),
    /// To [`Request::Compact`].
    Compacted(Box<Result<CompactionAnswer, StoreError>>),
    /// To [`Request::Undelete`].
    Undeleted(undelete::Restored),
}

/// One recipient of an accepted message.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Who gets it.
    pub account: Arc<Account>,
    /// The trace fields put before this recipient's copy, each line ending in CRLF.
    pub prefix: Vec<u8>,
    /// What the sender asked for besides, see [`asked`](crate::proto::smtp::asked).
    pub asked: Bytes,
}

/// A message whose end of data has been received.
#[derive(Clone, Debug)]
pub struct AcceptedMessage {
    /// At least one, each account once.
    pub recipients: Vec<Recipient>,
    /// What the peer sent, dot-stuffing undone.
    pub body: Body,
    /// When it was received.
    pub internal_date: InternalDate,
}

/// One core's end of deliveries. Clones are the same.
pub struct Router<E: Environment>(Rc<Inner<E>>);

struct Inner<E: Environment> {
    core: Core,
    store: Store<E>,
    mesh: Endpoint<Request, Reply>,
    fan_outs: fan_out::Permits,
}

impl<E: Environment> Clone for Router<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E: Environment> Router<E> {
    /// Joins this core's store to the mesh.
    #[must_use]
    pub fn new(core: Core, store: Store<E>, mesh: Endpoint<Request, Reply>) -> Self {
        Self(Rc::new(Inner {
            core,
            store,
            mesh,
            fan_outs: fan_out::Permits::default(),
        }))
    }

    /// This core's store.
    #[must_use]
    pub fn store(&self) -> &Store<E> {
        &self.0.store
    }

    /// What went between this core and others for deliveries.
    #[must_use]
    pub fn meters(&self) -> Arc<MeshMeters> {
        self.0.mesh.meters().clone()
    }

    pub(super) fn core(&self) -> usize {
        self.0.core.id
    }

    pub(super) fn cores(&self) -> usize {
        self.0.core.count
    }

    /// Asks another core.
    pub(super) async fn call(&self, core: usize, request: Request) -> Result<Reply, StoreError> {
        let reply = self.0.mesh.call(core, request).await;
        reply.map_err(|gone| StoreError::Failed(gone.to_string()))
    }

    /// The core that owns `account`.
    #[must_use]
    pub fn owner_of(&self, account: AccountId) -> usize {
        account.partition().core(self.0.core.count)
    }

    /// Serves other cores' requests until [`Router::close`].
    pub async fn serve(&self) {
        let store = self.0.store.clone();
        self.0
            .mesh
            .serve(move |request| answer(store.clone(), request))
            .await;
    }

    /// Ends [`Router::serve`].
    pub fn close(&self) {
        self.0.mesh.close();
    }

    /// Commits a message to all its recipients. Durable on return; an error means that nobody got it.
    ///
    /// # Errors
    /// Those of the store; a core that has gone counts as a failed log.
    pub async fn accept(&self, message: AcceptedMessage) -> Result<CommitReceipt, StoreError> {
        let first_owner = self.owner_of(message.recipients[0].account.id);
        let has_one_owner = message
            .recipients
            .iter()
            .all(|r| self.owner_of(r.account.id) == first_owner);
        if has_one_owner {
            let recipients = message.recipients.into_iter().map(local_recipient).collect();
            let delivery = Delivery {
                recipients,
                body: message.body,
                internal_date: message.internal_date,
                key: None,
            };
            return self.deliver_on(first_owner, delivery).await;
        }
        self.spool(message).await
    }

    /// Commits a message to as many of its recipients as take it; one outcome for each, in order. If all of them do, it
    /// is one commit, as with [`Self::accept`]. Durable on return for those with a receipt.
    pub async fn accept_each(&self, message: AcceptedMessage) -> Vec<Result<CommitReceipt, StoreError>> {
        let count = message.recipients.len();
        match count {
            0 => return Vec::new(),
            1 => return vec![self.accept(message).await],
            _ => {}
        }
        let whole = self.accept(message.clone()).await;
        if !whole.as_ref().is_err_and(concerns_one_recipient) {
            return vec![whole; count];
        }
        // Somebody has no room. Those that say so are left out, so that the others are one commit again.
        let mut outcomes = vec![Err(StoreError::OverQuota); count];
        let mut group = Vec::with_capacity(count);
        for (at, recipient) in message.recipients.iter().enumerate() {
            let bytes = message.body.len() + recipient.prefix.len() as u64;
            match self.check_room(&recipient.account, bytes).await {
                Ok(()) => group.push(at),
                Err(error) => outcomes[at] = Err(error),
            }
        }
        // What is in flight takes room too, and some refusals are not about room: then halves find out who it is.
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop().filter(|group| !group.is_empty()) {
            let part = AcceptedMessage {
                recipients: group.iter().map(|at| message.recipients[*at].clone()).collect(),
                ..message.clone()
            };
            let outcome = self.accept(part).await;
            if group.len() > 1 && outcome.as_ref().is_err_and(concerns_one_recipient) {
                let other_half = group.split_off(group.len() / 2);
                groups.extend([other_half, group]);
                continue;
            }
            for at in group {
                outcomes[at] = outcome.clone();
            }
        }
        outcomes
    }

    async fn spool(&self, message: AcceptedMessage) -> Result<CommitReceipt, StoreError> {
        let permit = self.0.fan_outs.take().await;
        for recipient in &message.recipients {
            self.check_room(&recipient.account, message.body.len()).await?;
        }
        let recipients = message.recipients.into_iter().map(local_recipient).collect();
        let (receipt, entry) = self
            .0
            .store
            .spool(recipients, message.body, message.internal_date)
            .await?;
        fan_out::start(self.clone(), entry, permit);
        Ok(receipt)
    }

    /// Whether an account has room for one more message of `bytes`, as of now.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`]; [`StoreError::Failed`] when its core has gone.
    pub async fn check_room(&self, account: &Account, bytes: u64) -> Result<(), StoreError> {
        let quota = account.quota();
        if quota == Quota::NONE {
            return Ok(());
        }
        let owner = self.owner_of(account.id);
        if owner == self.0.core.id {
            let has_room = has_room(&self.0.store, account.id, bytes, quota);
            return has_room.then_some(()).ok_or(StoreError::OverQuota);
        }
        let request = Request::HasRoom {
            account: account.id,
            bytes,
            quota,
        };
        match self.0.mesh.call(owner, request).await {
            Ok(Reply::Room(true)) => Ok(()),
            Ok(_) => Err(StoreError::OverQuota),
            Err(gone) => Err(StoreError::Failed(gone.to_string())),
        }
    }

    /// Commits on the owning core: a call on this one, a request to another.
    pub(super) async fn deliver_on(
        &self,
        owner: usize,
        delivery: Delivery,
    ) -> Result<CommitReceipt, StoreError> {
        if owner == self.0.core.id {
            return self.0.store.deliver(delivery).await;
        }
        match self
            .0
            .mesh
            .call(owner, Request::Deliver(Box::new(delivery)))
            .await
        {
            Ok(Reply::Delivered(result)) => result,
            Ok(other) => unreachable!("a delivery was answered with {other:?}"),
            Err(gone) => Err(StoreError::Failed(gone.to_string())),
        }
    }

    /// Tells the owning core that a spool record is finished.
    pub(super) async fn forget_on(&self, owner: usize, key: SpoolKey) -> Result<(), StoreError> {
        match self.0.mesh.call(owner, Request::Forget(key)).await {
            Ok(Reply::Forgotten(result)) => result,
            Ok(other) => unreachable!("a forget was answered with {other:?}"),
            Err(gone) => Err(StoreError::Failed(gone.to_string())),
        }
    }
}

/// Whether a refusal is one recipient's, so that others might be served. Nothing was written then; after any other error
/// that is not known, and trying again might make a second copy.
fn concerns_one_recipient(error: &StoreError) -> bool {
    matches!(error, StoreError::OverQuota | StoreError::Limit(_))
}

fn local_recipient(recipient: Recipient) -> LocalRecipient {
    LocalRecipient {
        account: recipient.account.id,
        mailbox: MailboxName::inbox(),
        prefix: recipient.prefix,
        asked: recipient.asked,
        quota: recipient.account.quota(),
    }
}

fn has_room<E: Environment>(store: &Store<E>, account: AccountId, bytes: u64, quota: Quota) -> bool {
    quota.admits(store.usage(account) + Usage::message(bytes))
}

async fn answer<E: Environment>(store: Store<E>, request: Request) -> Reply {
    match request {
        Request::Deliver(delivery) => Reply::Delivered(store.deliver(*delivery).await),
        Request::HasRoom {
            account,
            bytes,
            quota,
        } => Reply::Room(has_room(&store, account, bytes, quota)),
        Request::Forget(key) => Reply::Forgotten(store.spool_forget(key).await),
        Request::Undelete { account, wanted } => {
            Reply::Undeleted(undelete::restore(&store, account, &wanted).await)
        }
        Request::Compact(step) => Reply::Compacted(Box::new(compaction::step_on(&store, step).await)),
    }
}
