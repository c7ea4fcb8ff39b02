//! Recipients of several cores: here all on one executor, each with its store and its end of the mesh.

use super::super::permits::FAN_OUTS_MAX;
use super::{BODY, COPY_BYTES, Router, TestEnvironment, environment, message};
use crate::model::AccountId;
use crate::runtime::{self, Core};
use crate::store::{BODY_IN_MEMORY_BYTES_MAX, Body, Store, StoreError, recover};
use bytes::Bytes;
use smallvec::smallvec;

const CORES: usize = 3;

/// A router for each core. `gone` has a store but answers nobody.
async fn routers(gone: Option<usize>) -> Vec<Router<TestEnvironment>> {
    let environment = environment();
    let recovered = recover(&environment, CORES).await.expect("an empty disk");
    let mut routers = Vec::new();
    for (id, (seed, mesh)) in recovered.seeds.into_iter().zip(runtime::mesh(CORES)).enumerate() {
        let store = Store::start(environment.clone(), seed).await.expect("a log");
        let writing = store.clone().run_writer();
        runtime::spawn_detached("writer", async move {
            let _ = writing.await;
        });
        let router = Router::new(Core { id, count: CORES }, store, mesh);
        if gone == Some(id) {
            router.close();
        } else {
            let router = router.clone();
            runtime::spawn_detached("requests", async move { router.serve().await });
        }
        routers.push(router);
    }
    routers
}

/// An account that `owner` owns.
fn account_of(router: &Router<TestEnvironment>, owner: usize) -> u64 {
    let mut numbers = 1..10_000;
    let owned = numbers.find(|number| router.owner_of(AccountId(*number)) == owner);
    owned.expect("each core owns some")
}

/// Waits until no spool record is being served any more.
async fn all_served(router: &Router<TestEnvironment>) {
    let mut permits = Vec::new();
    for _ in 0..FAN_OUTS_MAX {
        permits.push(router.fan_outs().take().await);
    }
}

/// Runs `test` on an executor.
fn on_core<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    let ended = runtime::run_cores(1, move |_| test());
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
}

#[test]
fn an_owner_that_cannot_be_served_keeps_no_other_waiting() {
    on_core(|| async {
        let routers = routers(Some(1)).await;
        let [lost, served] = [1, 2].map(|owner| account_of(&routers[0], owner));
        let accepted = routers[0].accept(message(&[(lost, None), (served, None)])).await;
        assert!(accepted.is_ok(), "the spool record is the receipt");
        all_served(&routers[0]).await;
        assert_eq!(routers[2].store().bytes_used(AccountId(served)), COPY_BYTES);
    });
}

#[test]
fn trace_fields_take_room_in_a_copy_from_the_spool_too() {
    on_core(|| async {
        let routers = routers(None).await;
        let [first, second] = [1, 2].map(|owner| account_of(&routers[0], owner));
        let body_only = Some(BODY.len() as u64);
        let refused = routers[0]
            .accept(message(&[(first, None), (second, body_only)]))
            .await;
        assert_eq!(refused.err(), Some(StoreError::BeyondQuota));
        let exactly = Some(COPY_BYTES);
        let taken = routers[0]
            .accept(message(&[(first, None), (second, exactly)]))
            .await;
        assert!(taken.is_ok());
        all_served(&routers[0]).await;
        for (core, account) in [(1, first), (2, second)] {
            assert_eq!(routers[core].store().bytes_used(AccountId(account)), COPY_BYTES);
        }
    });
}

#[test]
fn more_accounts_of_a_core_than_one_commit_takes_get_a_long_message_too() {
    const BODY_BYTES: usize = 20 << 20;
    const ACCOUNTS: usize = 2_400;
    on_core(|| async {
        let routers = routers(None).await;
        let owned = (1..100_000).filter(|number| routers[0].owner_of(AccountId(*number)) == 1);
        let recipients: Vec<(u64, Option<u64>)> = owned.take(ACCOUNTS).map(|number| (number, None)).collect();
        let mut long = message(&recipients);
        long.body = Body::from_memory(smallvec![Bytes::from(vec![b'x'; BODY_BYTES])]);
        let store = routers[0].store();
        let octets = ACCOUNTS * long.recipients[0].prefix.len();
        assert!(
            !store.is_one_delivery(ACCOUNTS, octets, &long.body)
                && store.is_one_spool_record(ACCOUNTS, octets)
        );
        let taken = routers[0].accept(long).await;
        assert!(taken.is_ok(), "{taken:?}");
        all_served(&routers[0]).await;
        let has_one = |(number, _): &(u64, _)| routers[1].store().usage(AccountId(*number)).messages == 1;
        assert!(recipients.iter().all(has_one));
    });
}

#[test]
fn a_thousand_accounts_of_a_core_get_what_is_still_in_memory_in_one_commit() {
    on_core(|| async {
        let routers = routers(None).await;
        let owned = (1..100_000).filter(|number| routers[0].owner_of(AccountId(*number)) == 1);
        let recipients: Vec<(u64, Option<u64>)> = owned.take(1_000).map(|number| (number, None)).collect();
        let mut message = message(&recipients);
        message.body = Body::from_memory(smallvec![Bytes::from(vec![b'x'; BODY_IN_MEMORY_BYTES_MAX])]);
        let taken = routers[0].accept(message).await;
        assert!(taken.is_ok(), "{taken:?}");
    });
}
