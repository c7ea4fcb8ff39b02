//! Compaction beside checkpoints: accounts that are not in memory, void and outdated checkpoints, looks that are spared.

use super::compaction::{churn, models};
use super::world::*;
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, LogPosition, SegmentId};
use crate::sim::SimDisk;
use crate::store::checkpoint_load::load;
use crate::store::compaction::Segments;
use crate::store::segment::segment_name;
use crate::store::superblock::open_superblock;
use crate::store::*;
use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// Churned, closed, and opened again: nobody is in memory, and everything old is finished.
fn reopened(disk: &SimDisk, options: StoreOptions) -> World {
    let mut world = World::open(disk, 1, small_options()).expect("it opens");
    for round in 0..4 {
        churn(&mut world, &format!("r{round}-"));
    }
    world.close();
    let mut world = World::open(disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    world
}

#[test]
fn accounts_that_are_not_in_memory_are_compacted_and_stay_out_of_it() {
    let disk = SimDisk::new(21);
    let mut world = reopened(&disk, crowded_options());
    let before = models(&mut world);
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let meters = store.meters();
    let report = world.compact().expect("it runs");
    assert!(report.freed > 2 && report.moved_messages > 10, "{report:?}");
    world.run(another_checkpoint(&store));
    world.run(another_checkpoint(&store));
    assert_eq!(store.inner().state.borrow().accounts.len(), 0);
    assert!(meters.account_loads.value() > 0);
    assert_eq!(models(&mut world), before);
    world.close();
    compare_with_the_log(&disk, 2).expect("the log says the same");
}

#[test]
fn nothing_is_freed_while_checkpoints_are_void() {
    let disk = SimDisk::new(22);
    let mut world = reopened(&disk, crowded_options());
    let files = segments_of(&disk);
    assert!(world.of(ALICE).inner().checkpoints.set_void());
    let report = world.compact().expect("it runs");
    assert_eq!((report.freed, segments_of(&disk)), (0, files));
}

fn segments_of(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".seg")).collect()
}

/// Checkpoints and snapshots with their contents.
fn derived_files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let names = checkpoints(disk).into_iter().chain(snapshots(disk));
    names
        .map(|name| (name.clone(), disk.content(&name).expect("it is there")))
        .collect()
}

/// Are there checkpoints that a start would use, if nothing had been freed?
fn has_base(disk: &SimDisk) -> bool {
    use crate::disk::Disk;
    futures::executor::block_on(async {
        let files = disk.list().await.expect("it lists");
        let env = SimEnvironment::new(disk.clone());
        let superblock = open_superblock(&env, &files).await.expect("it is a store");
        load(disk, superblock.store_id, &files).await.base.is_some()
    })
}

#[test]
fn checkpoints_older_than_what_was_freed_behind_them_are_passed_over() {
    let disk = SimDisk::new(23);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let mut old = Vec::new();
    let mut slow = store.body_writer();
    for round in 0..5 {
        churn(&mut world, &format!("r{round}-"));
        if round == 2 {
            // What has a body on its way in it stays.
            let piece = Bytes::from(vec![b'x'; 12_000]);
            world.run(slow.push(piece)).expect("it fits");
        }
        world.run(another_checkpoint(&store));
        let end = store.inner().log.borrow().durable_to;
        old.push((end.segment, derived_files(&disk)));
    }
    assert!(world.compact().expect("it runs").freed > 5);
    let before = models(&mut world);
    drop((store, slow));
    drop(world);
    let mut ends_left = 0;
    for (end, files) in &old[..4] {
        let disk = disk.crash(0);
        ends_left += usize::from(disk.names().iter().any(|(name, _)| *name == segment_name(*end)));
        remove_checkpoints(&disk);
        for (name, content) in files {
            let create = crate::disk::Disk::create(&disk, name, content.len() as u64);
            futures::executor::block_on(create).expect("it was removed");
            disk.put_content(name, content.clone());
        }
        futures::executor::block_on(crate::disk::Disk::sync_directory(&disk)).expect("it is honest");
        assert!(has_base(&disk), "they are whole");
        let report = compare_with_the_log(&disk, 1).expect("the log says the same");
        assert_eq!(report.checkpoint, 0);
        let mut world = World::open(&disk, 1, small_options()).expect("it opens");
        assert_eq!(models(&mut world), before);
    }
    assert_eq!(ends_left, 1, "checkpoints end in what was not freed");
}

#[test]
fn nobody_looks_for_dead_bytes_where_there_can_be_too_few() {
    let disk = SimDisk::new(24);
    let hour_ms = 60 * 60 * 1_000;
    let options = StoreOptions {
        expunged_kept_ms: 5 * hour_ms,
        compaction_dead_bytes_min: 16 * 1024,
        ..crowded_options()
    };
    let mut world = reopened(&disk, options);
    let start = 1_700_000_000_000;
    let store = world.of(ALICE);
    let look = |world: &mut World, at_ms: i64| {
        world.env.clock.set(UnixMillis(start + at_ms));
        world.run(another_checkpoint(&store));
        world.compact().expect("it runs")
    };
    // The first look finds everything alive: what was expunged is kept.
    let first = look(&mut world, 0);
    assert!(first.has_looked && first.freed == 0, "{first:?}");
    let reads = |disk: &SimDisk| disk.operations();
    world.env.clock.set(UnixMillis(start + hour_ms));
    let before = reads(&disk);
    assert!(!world.compact().expect("it runs").has_looked);
    assert_eq!(reads(&disk), before, "it costs nothing");
    // A little more: still too few.
    world
        .run(store.deliver(delivery(&[BOB], memory("little"))))
        .expect("it commits");
    assert!(!look(&mut world, 2 * hour_ms).has_looked);
    // Old enough to be forgotten.
    let late = look(&mut world, 5 * hour_ms + 1);
    assert!(late.has_looked && late.freed > 2, "{late:?}");
}

#[test]
fn what_the_sender_asked_for_stays_with_a_message_that_is_moved_and_one_that_comes_back() {
    let disk = SimDisk::new(25);
    let options = StoreOptions {
        expunged_kept_ms: 1 << 40,
        ..small_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let asked = Bytes::from_static(b"RET=HDRS ENVID=abc\r\nNOTIFY=SUCCESS");
    for id in [ALICE, BOB] {
        let mut wanted = delivery(&[id], memory(long_text("asked", 3_000)));
        wanted.recipients[0].asked = asked.clone();
        let store = world.of(id);
        world.run(store.deliver(wanted)).expect("it commits");
    }
    for round in 0..3 {
        churn(&mut world, &format!("r{round}-"));
    }
    let store = world.of(ALICE);
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![crate::model::Uid::FIRST],
        only_deleted: false,
    };
    world.run(store.change(BOB, expunge)).expect("it commits");
    drop(store);
    world.close();
    // From now on what was expunged is not kept any more, but for Bob's one, which is back by then.
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(BOB);
    assert!(
        world
            .run(store.undelete(BOB, &Wanted::default()))
            .expect("it commits")
            > 0
    );
    drop(store);
    world.close();
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    assert!(world.compact().expect("it runs").moved_messages > 2);
    for id in [ALICE, BOB] {
        let _pin = world.run(store.load(id)).expect("it is read");
        let rows = store.account(id, |a| a.mailboxes[&INBOX_ID].rows.clone());
        let mut found = 0;
        for row in rows.expect("it is there") {
            let record = world.run(store.inner().reader.message_record(id, &row));
            let record = record.expect("it reads");
            assert!(record.asked.is_empty() || record.asked == asked);
            found += usize::from(record.asked == asked);
        }
        assert_eq!(found, 1, "{id}");
    }
}

#[test]
fn a_message_in_a_segment_that_was_not_there_is_noticed() {
    let there = Segments::new([3, 4, 5, 9].map(SegmentId).into_iter(), 12);
    let row = |record, body| {
        let at = LogPosition {
            segment: SegmentId(record),
            offset: 4_096,
        };
        let bytes = [1, 0, 0, 0].into_iter().chain([0; 60]).collect::<Vec<u8>>();
        let mut row = super::super::checkpoint_state::row_of(&bytes).expect("a row");
        (row.record, row.body_segment) = (at, SegmentId(body));
        row
    };
    let missing = |rows: &[MessageRow]| there.first_missing(rows.iter()).map(|at| at.segment.0);
    assert_eq!(missing(&[row(3, 5), row(9, 9), row(13, 4)]), None);
    for (record, body) in [(2, 3), (6, 6), (8, 9), (10, 9), (12, 3)] {
        assert_eq!(missing(&[row(3, 3), row(record, body)]), Some(record));
    }
    for body in [1, 7, 11] {
        assert_eq!(missing(&[row(4, 3), row(5, body), row(1, 1)]), Some(5));
    }
}

/// Mail for each of `ids`, one after the other, until `is_over`: something of each of them is always in flight.
async fn keep_busy(store: Store<SimEnvironment>, ids: Vec<AccountId>, is_over: Rc<Cell<bool>>) {
    while !is_over.get() {
        let one = |id: &AccountId| store.deliver(delivery(&[*id], memory("little")));
        for receipt in futures::future::join_all(ids.iter().map(one)).await {
            receipt.expect("it commits");
        }
    }
}

#[test]
fn accounts_that_are_never_idle_are_compacted_like_others() {
    let disk = SimDisk::new(26);
    let mut world = reopened(&disk, small_options());
    let store = world.of(ALICE);
    let is_over = Rc::new(Cell::new(false));
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let busy = keep_busy(store.clone(), vec![ALICE, BOB], is_over.clone());
            let spawner = world.pool.spawner();
            futures::task::LocalSpawnExt::spawn_local_with_handle(&spawner, busy).expect("the pool runs")
        })
        .collect();
    let report = world.compact().expect("it runs");
    is_over.set(true);
    world.run(futures::future::join_all(busy));
    // Eight of 32 messages of each account and round stay, and two copies; what was expunged is forgotten, not moved.
    assert!(
        report.freed > 2 && report.moved_messages <= 2 * 4 * 10,
        "{report:?}"
    );
    let before = models(&mut world);
    drop(store);
    world.close();
    compare_with_the_log(&disk, 2).expect("the log says the same");
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    assert_eq!(models(&mut world), before);
}

/// Many accounts with a little mail each, of which most is expunged.
fn crowd(disk: &SimDisk, options: StoreOptions) -> (World, Vec<AccountId>) {
    let mut world = World::open(disk, 1, options).expect("it opens");
    let ids: Vec<AccountId> = (1..=60).map(AccountId).collect();
    let store = world.of(ALICE);
    for round in 0..6 {
        for id in &ids {
            let text = long_text(&format!("{round}-{id}"), 2_500);
            world
                .run(store.deliver(delivery(&[*id], memory(text))))
                .expect("it commits");
        }
    }
    for id in &ids {
        // Two of each, everywhere.
        let uids = (1..=6).filter(|uid| (id.0 + u64::from(*uid)) % 3 != 0);
        let expunge = Change::Expunge {
            mailbox: INBOX_ID,
            uids: uids.filter_map(crate::model::Uid::new).collect(),
            only_deleted: false,
        };
        world.run(store.change(*id, expunge)).expect("it commits");
    }
    world.run(another_checkpoint(&store));
    // What it replaced is removed, and who need not be in memory is not.
    world.run(async {
        for _ in 0..50 {
            crate::base::wait::Pause::new().await;
        }
    });
    (world, ids)
}

#[test]
fn a_pass_over_many_accounts_keeps_within_its_memory() {
    let disk = SimDisk::new(27);
    let options = StoreOptions {
        // About eight of them.
        loaded_bytes_max: 20 * 1024,
        checkpoint_log_bytes: 1 << 30,
        ..small_options()
    };
    let (mut world, ids) = crowd(&disk, options);
    let store = world.of(ALICE);
    let most = Rc::new(Cell::new(0));
    let is_over = Rc::new(Cell::new(false));
    let watch = {
        let (store, most, is_over) = (store.clone(), most.clone(), is_over.clone());
        async move {
            while !is_over.get() {
                let loaded = store.inner().state.borrow().loaded_bytes;
                most.set(loaded.max(most.get()));
                crate::base::wait::Pause::new().await;
            }
        }
    };
    futures::task::LocalSpawnExt::spawn_local(&world.pool.spawner(), watch).expect("the pool runs");
    let checkpoints = store.meters().checkpoints.value();
    let report = world.compact().expect("it runs");
    is_over.set(true);
    assert!(
        report.freed > 2 && report.moved_messages as usize > ids.len(),
        "{report:?}"
    );
    assert!(
        store.meters().checkpoints.value() > checkpoints + 2,
        "it waited for them"
    );
    assert!(
        most.get() > 0 && most.get() <= 2 * options.loaded_bytes_max,
        "{} bytes",
        most.get()
    );
    drop(store);
    world.close();
    compare_with_the_log(&disk, 2).expect("the log says the same");
}

#[test]
fn graves_are_not_forgotten_into_the_last_of_the_space() {
    let disk = SimDisk::new(28);
    let options = StoreOptions {
        reserve_bytes: 1 << 20,
        ..small_options()
    };
    let (mut world, ids) = crowd(&disk, options);
    let store = world.of(ALICE);
    let graves = |world: &mut World| {
        let mut all = 0;
        for id in &ids {
            let _pin = world.run(store.load(*id)).expect("it is read");
            all += store
                .account(*id, |a| a.mailboxes[&INBOX_ID].graves.len())
                .expect("it is there");
        }
        all
    };
    let before = graves(&mut world);
    let free = futures::executor::block_on(crate::disk::Disk::free_bytes(&disk)).expect("it says");
    // Half of the reserve, and room for three records.
    disk.set_capacity((1 << 40) - free + (1 << 19) + 3 * 64);
    world.compact().expect("it runs");
    assert_eq!((before, graves(&mut world)), (60 * 4, 57 * 4));
}
