//! Serving the recipients of a spool record from it, once each, until every owner has answered.
//!
//! Invariants: the record is marked done only after every owner's copy is durable; the owners forget their keys only
//! after the mark is durable, so that a crash at any point leads to a repeat that changes nothing, never to a second copy.
//! Failure: an owner that has no room is asked again after [`RETRY_DELAY`]; an owner that fails keeps no other waiting, and is
//! served at the next start, because the record is still there.

use super::permits::Permit;
use super::router::Router;
use crate::base::oneshot;
use crate::runtime;
use crate::store::{Delivery, Environment, SpoolEntry, StoreError};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// Between two tries to serve an owner that had no room.
pub const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Serves the entry's recipients in the background. The permit is held until they all have been.
pub fn start<E: Environment>(router: Router<E>, entry: SpoolEntry, permit: Permit) {
    runtime::spawn_detached("spool fan-out", async move {
        let _permit = permit;
        run(router, entry).await;
    });
}

/// Takes up what a crash or a shutdown left undone, one entry after the other, in the background. What it gives back
/// resolves when all is done: a client that is greeted after that finds all mail that was acknowledged before.
pub fn resume<E: Environment>(router: &Router<E>) -> impl Future<Output = ()> + use<E> {
    let (router, (done, is_done)) = (router.clone(), oneshot::channel());
    runtime::spawn_detached("spool resume", async move {
        for entry in router.store().unfinished_spool() {
            run(router.clone(), entry).await;
        }
        done.send(());
    });
    async {
        // A panic in it is as much of an end.
        let _ = is_done.await;
    }
}

async fn run<E: Environment>(router: Router<E>, entry: SpoolEntry) {
    let shares = split_by_owner(&router, &entry);
    let owners: Vec<usize> = shares.keys().copied().collect();
    let mut is_served = true;
    for (owner, delivery) in shares {
        // Each recipient has its own key, so they need not be served in one commit.
        for part in router.store().in_parts(delivery) {
            is_served &= serve_owner(&router, owner, part).await;
        }
    }
    if !is_served {
        return;
    }
    if router.store().spool_done(entry.key).await.is_err() {
        return;
    }
    for owner in owners {
        // A lost forget costs a few bytes until the next start, which drops keys of finished records.
        let _ = router.forget_on(owner, entry.key).await;
    }
}

/// True once the owner's copy is durable; false when this process cannot serve it any more.
async fn serve_owner<E: Environment>(router: &Router<E>, owner: usize, delivery: Delivery) -> bool {
    loop {
        match router.deliver_on(owner, delivery.clone()).await {
            Ok(_) => return true,
            Err(StoreError::NoSpace(_)) => runtime::sleep(RETRY_DELAY).await,
            Err(error) => {
                tracing::warn!(owner, %error, "spooled mail stays in the spool until the next start");
                return false;
            }
        }
    }
}

fn split_by_owner<E: Environment>(router: &Router<E>, entry: &SpoolEntry) -> BTreeMap<usize, Delivery> {
    let mut shares = BTreeMap::new();
    for (index, recipient) in entry.recipients.iter().enumerate() {
        let share = shares
            .entry(router.owner_of(recipient.account))
            .or_insert_with(|| Delivery {
                recipients: Vec::new(),
                body: entry.body.clone(),
                internal_date: entry.internal_date,
                key: Some((entry.key, Vec::new())),
            });
        // Room was checked before the record was written; from there on a delivery is never refused for it (one with a key is
        // not). The quota goes with it nevertheless: the owner is told when the mailbox gets near.
        share.recipients.push(recipient.clone());
        if let Some((_, indexes)) = &mut share.key {
            indexes.push(u16::try_from(index).unwrap_or(u16::MAX));
        }
    }
    shares
}
