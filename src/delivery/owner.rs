//! What the core that owns an account does for deliveries, whoever asks: itself by a call, another by a request.
//!
//! Not here: who asks and when (`router`, `compaction`, `undelete`).

use super::request::{Reply, Request, Restored};
use crate::model::{AccountId, Quota, Usage};
use crate::runtime;
use crate::store::{CompactionAnswer, CompactionStep, Environment, Store, StoreError, Wanted};
use std::time::Duration;

/// Answers another core.
pub(super) async fn answer<E: Environment>(store: Store<E>, request: Request) -> Reply {
    match request {
        Request::Deliver(delivery) => Reply::Delivered(store.deliver(*delivery).await),
        Request::HasRoom {
            account,
            bytes,
            quota,
        } => Reply::Room(has_room(&store, account, bytes, quota)),
        Request::Forget(key) => Reply::Forgotten(store.spool_forget(key).await),
        Request::Undelete { account, wanted } => Reply::Undeleted(restore(&store, account, &wanted).await),
        Request::Compact(step) => Reply::Compacted(Box::new(step_on(&store, step).await)),
    }
}

/// Whether there is room for one more message of `bytes`.
pub(super) fn has_room<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    bytes: u64,
    quota: Quota,
) -> bool {
    quota.admits(store.usage(account) + Usage::message(bytes))
}

/// One core's part of a pass of compaction, so slowly that mail has the rest of the disk.
///
/// # Errors
/// The store's.
pub async fn step_on<E: Environment>(
    store: &Store<E>,
    step: CompactionStep,
) -> Result<CompactionAnswer, StoreError> {
    let rate = store.options().compaction_bytes_per_second.max(1);
    let pace = async |bytes: u64| {
        // At least a breath: other tasks and their I/O come first.
        let micros = bytes.saturating_mul(1_000_000) / rate;
        runtime::sleep(Duration::from_micros(micros.max(2))).await;
    };
    store.compact_step(step, &pace).await
}

/// Brings an account's expunged messages back.
///
/// # Errors
/// The store's.
pub async fn restore<E: Environment>(store: &Store<E>, account: AccountId, wanted: &Wanted) -> Restored {
    if !store.account_ids().contains(&account) {
        return Ok(None);
    }
    store.undelete(account, wanted).await.map(Some)
}
