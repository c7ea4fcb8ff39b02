//! Deliveries over one core's store on a simulated disk; over several cores' in `spool`.

mod room;
mod spool;

use super::{AcceptedMessage, Recipient, Router};
use crate::base::clock::{ManualClock, UnixMillis};
use crate::model::{Account, AccountId, AddrSpec};
use crate::proto::Receipt;
use crate::proto::imap::types::InternalDate;
use crate::runtime::{self, Core};
use crate::sim::SimDisk;
use crate::store::{Body, Environment, Store, StoreError, recover};
use bytes::Bytes;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use smallvec::smallvec;
use std::sync::Arc;

#[derive(Clone)]
struct TestEnvironment(SimDisk, ManualClock);

impl Environment for TestEnvironment {
    type Disk = SimDisk;
    type Clock = ManualClock;

    fn disk(&self) -> &SimDisk {
        &self.0
    }
    fn clock(&self) -> &ManualClock {
        &self.1
    }
    fn random_u64(&self) -> u64 {
        7
    }
}

fn environment() -> TestEnvironment {
    TestEnvironment(SimDisk::new(1), ManualClock::at(UnixMillis(1_700_000_000_000)))
}

struct World {
    pool: LocalPool,
    router: Router<TestEnvironment>,
}

impl World {
    fn new() -> Self {
        let environment = environment();
        let mut pool = LocalPool::new();
        let store = pool.run_until(async {
            let recovered = recover(&environment, 1).await.expect("an empty disk");
            let seed = recovered.seeds.into_iter().next().expect("one core");
            Store::start(environment.clone(), seed).await.expect("a log")
        });
        pool.spawner()
            .spawn_local(store.clone().run_writer())
            .expect("the pool runs");
        let mesh = runtime::mesh(1).pop().expect("one core");
        let router = Router::new(Core { id: 0, count: 1 }, store, mesh);
        Self { pool, router }
    }

    fn accept_each(&mut self, message: AcceptedMessage) -> Vec<Result<String, StoreError>> {
        let outcomes = self.pool.run_until(self.router.accept_each(message));
        let name = |outcome: Result<_, _>| {
            outcome.map(|receipt: crate::store::CommitReceipt| receipt.id().to_string())
        };
        outcomes.into_iter().map(name).collect()
    }

    fn bytes_used(&self, account: u64) -> u64 {
        let store = self.router.store();
        store.bytes_used(AccountId(account))
    }
}

const BODY: &[u8] = b"Subject: x\r\n\r\nbody\r\n";
const PREFIX: &[u8] = b"Return-Path: <>\r\n";

/// To accounts of these numbers, with these quotas.
fn message(recipients: &[(u64, Option<u64>)]) -> AcceptedMessage {
    let recipient = |(id, quota_bytes): &(u64, Option<u64>)| Recipient {
        account: Arc::new(Account {
            quota_bytes: *quota_bytes,
            ..Account::new(
                AccountId(*id),
                AddrSpec::parse("someone@example.org").expect("an address"),
            )
        }),
        prefix: PREFIX.to_vec(),
        asked: bytes::Bytes::new(),
        may_exceed_quota: false,
    };
    AcceptedMessage {
        recipients: recipients.iter().map(recipient).collect(),
        body: Body::from_memory(smallvec![Bytes::from_static(BODY)]),
        internal_date: InternalDate {
            at: UnixMillis(1_600_000_000_000),
            zone_minutes: 0,
        },
    }
}

const COPY_BYTES: u64 = (BODY.len() + PREFIX.len()) as u64;

#[test]
fn recipients_that_all_have_room_are_one_commit() {
    let mut world = World::new();
    let outcomes = world.accept_each(message(&[(1, None), (2, Some(COPY_BYTES)), (3, None)]));
    let first = outcomes[0].clone().expect("stored");
    assert_eq!(outcomes, vec![Ok(first.clone()), Ok(first.clone()), Ok(first)]);
}

#[test]
fn a_recipient_without_room_keeps_no_other_from_getting_its_copy() {
    let mut world = World::new();
    let full = Some(COPY_BYTES - 1);
    let outcomes = world.accept_each(message(&[(1, full), (2, None), (3, full), (4, Some(COPY_BYTES))]));
    assert_eq!(outcomes[0], Err(StoreError::BeyondQuota));
    assert_eq!(outcomes[2], Err(StoreError::BeyondQuota));
    assert!(outcomes[1].is_ok() && outcomes[1] == outcomes[3], "{outcomes:?}");
    let used: Vec<u64> = (1..=4).map(|account| world.bytes_used(account)).collect();
    assert_eq!(used, [0, COPY_BYTES, 0, COPY_BYTES]);
    // The same again: account 4 is full by now.
    let outcomes = world.accept_each(message(&[(2, None), (4, Some(COPY_BYTES))]));
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1], Err(StoreError::OverQuota));
}

#[test]
fn nobody_having_room_stores_nothing() {
    let mut world = World::new();
    let outcomes = world.accept_each(message(&[(1, Some(1)), (2, Some(1))]));
    assert_eq!(
        outcomes,
        vec![Err(StoreError::BeyondQuota), Err(StoreError::BeyondQuota)]
    );
    assert_eq!(world.bytes_used(1) + world.bytes_used(2), 0);
}
