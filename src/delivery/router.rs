//! Which core owns which accounts, and how it is asked: by a call where it is this one, by a request where it is another.
//!
//! Failure: a core that has gone counts as one whose log failed.

use super::owner;
use super::permits::Permits;
use super::request::{Reply, Request};
use crate::model::{Account, AccountId, Quota, Usage};
use crate::runtime::{Core, Endpoint, MeshMeters};
use crate::store::{CommitReceipt, Delivery, Environment, SpoolKey, Store, StoreError};
use std::rc::Rc;
use std::sync::Arc;

/// One core's end of deliveries. Clones are the same.
pub struct Router<E: Environment>(Rc<Inner<E>>);

struct Inner<E: Environment> {
    core: Core,
    store: Store<E>,
    mesh: Endpoint<Request, Reply>,
    fan_outs: Permits,
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
            fan_outs: Permits::default(),
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

    /// For spool records whose recipients are being served.
    pub(super) fn fan_outs(&self) -> &Permits {
        &self.0.fan_outs
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
            .serve(move |request| owner::answer(store.clone(), request))
            .await;
    }

    /// Ends [`Router::serve`].
    pub fn close(&self) {
        self.0.mesh.close();
    }

    /// Whether an account has room for one more message of `bytes`, as of now.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`], [`StoreError::BeyondQuota`]; [`StoreError::Failed`] when its core has gone.
    pub async fn check_room(&self, account: &Account, bytes: u64) -> Result<(), StoreError> {
        let quota = account.quota();
        if quota == Quota::NONE {
            return Ok(());
        }
        if !quota.admits(Usage::message(bytes)) {
            return Err(StoreError::BeyondQuota);
        }
        let owner = self.owner_of(account.id);
        let has_room = if owner == self.0.core.id {
            owner::has_room(&self.0.store, account.id, bytes, quota)
        } else {
            let request = Request::HasRoom {
                account: account.id,
                bytes,
                quota,
            };
            match self.call(owner, request).await? {
                Reply::Room(has_room) => has_room,
                other => unreachable!("a question for room was answered with {other:?}"),
            }
        };
        has_room.then_some(()).ok_or(StoreError::OverQuota)
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
        match self.call(owner, Request::Deliver(Box::new(delivery))).await? {
            Reply::Delivered(result) => result,
            other => unreachable!("a delivery was answered with {other:?}"),
        }
    }

    /// Tells the owning core that a spool record is finished.
    pub(super) async fn forget_on(&self, owner: usize, key: SpoolKey) -> Result<(), StoreError> {
        match self.call(owner, Request::Forget(key)).await? {
            Reply::Forgotten(result) => result,
            other => unreachable!("a forget was answered with {other:?}"),
        }
    }
}
