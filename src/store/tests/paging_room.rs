//! What is in memory is counted and goes when it may; what cannot be read voids checkpoints; what failed leaves nothing.

use super::world::*;
use crate::model::{AccountId, Flags, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::{Fault, SimDisk};
use crate::store::*;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

async fn deliver(store: &Store<SimEnvironment>, id: AccountId, len: usize) {
    let body = memory(long_text("mail", len));
    store
        .deliver(delivery(&[id], body))
        .await
        .expect("the disk takes it");
}

async fn flag(store: &Store<SimEnvironment>, id: AccountId, operation: StoreOperation) {
    let change = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::FIRST],
        operation,
        flags: Flags::SEEN,
        keywords: smallvec::smallvec![],
        unchanged_since: None,
    };
    store.change(id, change).await.expect("the disk takes it");
}

/// Alice and Bob with a few messages each, closed in order.
fn filled() -> SimDisk {
    let disk = SimDisk::new(31);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    for id in [ALICE, BOB, ALICE, BOB] {
        world.run(deliver(&store, id, 300));
    }
    world.close();
    disk
}

#[test]
fn a_snapshot_that_cannot_be_read_voids_checkpoints_and_the_next_start_reads_the_log() {
    let mut failed = 0;
    for after in 1..=4 {
        let disk = filled().crash(0);
        let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
        let store = world.of(ALICE);
        world.run(another_checkpoint(&store));
        disk.inject(Fault::ErrorAt(disk.operations() + after));
        let loaded = world.run(store.load(ALICE));
        let is_read = matches!(
            &loaded,
            Err(StoreError::Disk(crate::disk::DiskError::Io {
                operation: "read",
                ..
            }))
        );
        drop((loaded, store));
        world.close();
        assert_eq!(checkpoints(&disk).is_empty(), is_read, "after {after}");
        failed += usize::from(is_read);
        let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
        assert_eq!(world.report.checkpoint == 0, is_read);
        let store = world.of(ALICE);
        assert_eq!(
            world
                .run(messages(&store, ALICE, INBOX_ID))
                .expect("it reads")
                .len(),
            2
        );
    }
    assert_eq!(failed, 1);
}

#[test]
fn a_fan_out_that_is_tried_again_leaves_no_account_behind_that_cannot_go() {
    let disk = SimDisk::new(32);
    let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
    let store = world.of(ALICE);
    let recipients = vec![recipient(ALICE), recipient(BOB)];
    let spooled = world.run(store.spool(recipients, memory("one"), date()));
    let (_, entry) = spooled.expect("it commits");
    for _ in 0..2 {
        let delivery = Delivery {
            recipients: entry.recipients.clone(),
            body: entry.body.clone(),
            internal_date: entry.internal_date,
            key: Some((entry.key, vec![0, 1])),
        };
        world.run(store.deliver(delivery)).expect("it commits");
        for id in [ALICE, BOB] {
            assert!(store.inner().pending.borrow().is_idle(id), "{id}");
        }
    }
    assert_eq!(
        world
            .run(messages(&store, ALICE, INBOX_ID))
            .expect("it reads")
            .len(),
        1
    );
}

/// What the vectors of an account take, counted from outside.
fn vectors(account: &AccountState) -> usize {
    let mailboxes = account.mailboxes.values();
    mailboxes
        .map(|mailbox| {
            mailbox.rows.capacity() * size_of::<MessageRow>()
                + mailbox.graves.capacity() * size_of::<super::super::state::Grave>()
        })
        .sum()
}

#[test]
fn what_an_account_takes_in_memory_is_counted_with_its_graves_changes_and_spare_room() {
    let disk = SimDisk::new(33);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    for _ in 0..300 {
        world.run(deliver(&store, ALICE, 40));
    }
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: (1..=200).filter_map(Uid::new).collect(),
        only_deleted: false,
    };
    world.run(store.change(ALICE, expunge)).expect("it commits");
    world.run(another_checkpoint(&store));
    let of_vectors = store.account(ALICE, vectors).expect("it is there");
    let counted = store.inner().state.borrow().loaded_bytes;
    // Each of 500 changes takes eight bytes, and each of seven mailboxes something.
    assert!(
        counted >= of_vectors + 500 * 8 + 6 * 200,
        "{counted} for {of_vectors}"
    );
    assert!(counted < 2 * of_vectors + 16 * 1024, "{counted} for {of_vectors}");
}

/// Nothing but memory makes a checkpoint: the log alone would not for long.
fn patient_options() -> StoreOptions {
    StoreOptions {
        checkpoint_log_bytes: 1 << 40,
        segment_bytes: 1024 * 1024,
        ..crowded_options()
    }
}

#[test]
fn a_change_of_one_account_looks_for_no_room_and_a_load_does() {
    let disk = filled();
    let mut world = World::open(&disk, 1, patient_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let evictions = || store.meters().account_evictions.value();
    let pin = world.run(store.load(ALICE)).expect("it is read");
    // Bob is there while Alice's account changes: nobody needs room.
    drop(world.run(store.load(BOB)).expect("it is read"));
    let before = evictions();
    for _ in 0..3 {
        world.run(flag(&store, ALICE, StoreOperation::Add));
        drop(world.run(store.load(BOB)).expect("it is there"));
    }
    assert_eq!(evictions(), before);
    drop(pin);
    world.run(another_checkpoint(&store));
    world.pool.run_until_stalled();
    assert_eq!(
        store.inner().state.borrow().accounts.len(),
        0,
        "a checkpoint makes room"
    );
    assert_eq!(evictions(), before + 2);
}

#[test]
fn a_checkpoint_for_the_sake_of_memory_is_made_only_where_something_can_go() {
    let disk = filled();
    let mut world = World::open(&disk, 1, patient_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let checkpoints = || store.meters().checkpoints.value();
    let first = checkpoints();
    let pin = world.run(store.load(ALICE)).expect("it is read");
    let mib = 1024 * 1024;
    let fill = async |bytes: usize| {
        for _ in 0..bytes / 60_000 {
            deliver(&store, ALICE, 60_000).await;
        }
    };
    world.run(fill(6 * mib));
    // Another account comes, and finds no room: Alice's is in use.
    drop(world.run(store.load(BOB)).expect("it is read"));
    world.pool.run_until_stalled();
    assert_eq!(checkpoints(), first);
    drop(pin);
    drop(world.run(store.load(BOB)).expect("it is there"));
    world.run(async {
        flag(&store, BOB, StoreOperation::Add).await;
    });
    assert!(store.inner().state.borrow().loaded_bytes > 0);
    store.inner().evict();
    world.pool.run_until_stalled();
    assert_eq!(checkpoints(), first + 1);
    assert_eq!(store.inner().state.borrow().accounts.len(), 0);
}

#[test]
fn a_checkpoint_that_fails_gives_its_files_back_at_once() {
    let mut failed = 0;
    for after in 1..12 {
        let disk = filled();
        let mut world = World::open(&disk, 1, patient_options()).expect("it opens");
        let store = world.of(ALICE);
        world.run(another_checkpoint(&store));
        world.run(flag(&store, ALICE, StoreOperation::Add));
        world.pool.run_until_stalled();
        let derived = |disk: &SimDisk| checkpoints(disk).len() + snapshots(disk).len();
        let before = (store.meters().checkpoints.value(), derived(&disk));
        disk.inject(Fault::ErrorAt(disk.operations() + after));
        store.inner().checkpoints.want_early(0);
        world.pool.run_until_stalled();
        // Without any it was a snapshot that could not be read: then they are void.
        if store.meters().checkpoints.value() == before.0 && !checkpoints(&disk).is_empty() {
            assert_eq!(derived(&disk), before.1, "after {after}");
            failed += 1;
        }
    }
    assert!(failed > 3, "{failed}");
}
