//! Corruption is named and not served; a full disk is no failure; a failed log keeps reading.

use super::world::*;
use crate::model::{AccountId, Flags, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::{Chance, Fault, SimDisk};
use crate::store::*;
use smallvec::smallvec;

const ALICE: AccountId = AccountId(1);

fn filled(disk: &SimDisk) {
    let mut world = World::open(disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    for n in 0..30 {
        let body = memory(long_text(&n.to_string(), 3_000));
        world
            .run(store.deliver(delivery(&[ALICE], body)))
            .expect("it commits");
    }
    world.close();
}

/// Every flipped bit in what the log covers is reported at the next start, or changes nothing that is ever read.
#[test]
fn a_flipped_bit_is_reported_and_never_served() {
    let disk = SimDisk::new(3);
    filled(&disk);
    let mut world = World::open(&disk.crash(0), 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    let right = world.run(messages(&store, ALICE, INBOX_ID)).expect("it reads");
    let mut chance = Chance::new(5);
    let mut reported = 0;
    for seed in 0..400 {
        let damaged = disk.crash(seed);
        let names = damaged.names();
        let (name, len) = &names[chance.below(names.len() as u64) as usize];
        damaged.flip_bit(name, chance.below(*len as u64) as usize, chance.below(8) as u8);
        match World::open(&damaged, 1, small_options()) {
            Err(OpenError::Damaged { .. } | OpenError::NotAStore(..)) => reported += 1,
            Err(other) => panic!("another error: {other}"),
            Ok(mut world) => {
                let store = world.of(ALICE);
                match world.run(messages(&store, ALICE, INBOX_ID)) {
                    // Behind a checkpoint nothing is read at the start.
                    Err(StoreError::Damaged { .. }) => reported += 1,
                    found => assert_eq!(found.expect("padding is not read"), right),
                }
            }
        }
    }
    assert!(reported > 100, "{reported} of 400");
}

#[test]
fn damage_that_comes_while_the_server_runs_is_not_served_and_the_rest_is() {
    let disk = SimDisk::new(3);
    filled(&disk);
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    let rows = store
        .account(ALICE, |a| a.mailboxes[&INBOX_ID].rows.clone())
        .expect("it exists");
    let message = world.run(store.open_message(ALICE, &rows[0])).expect("it reads");
    // Another store has nothing of it in memory.
    world.close();
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    let chunk = message.chunks[0];
    let name = format!("segments/{:08x}.seg", chunk.position.segment.0);
    disk.flip_bit(&name, chunk.position.offset as usize + 100, 3);
    let message = world
        .run(store.open_message(ALICE, &rows[0]))
        .expect("its record is whole");
    let read = world.run(store.read_message(&message, 0..message.size));
    assert!(matches!(read, Err(StoreError::Damaged { position, .. }) if position == chunk.position));
    let message = world.run(store.open_message(ALICE, &rows[1])).expect("it reads");
    world
        .run(store.read_message(&message, 0..message.size))
        .expect("it reads");
}

#[test]
fn a_failed_sync_ends_commits_and_not_reading() {
    let disk = SimDisk::new(3);
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("kept"))))
        .expect("it commits");
    // The checkpoint after the start is done.
    world.pool.run_until_stalled();
    // The next operation is the group's write, the one after its sync.
    disk.inject(Fault::ErrorAt(disk.operations() + 2));
    let all = (0..5).map(|_| store.deliver(delivery(&[ALICE], memory("lost"))));
    for done in world.run(futures::future::join_all(all)) {
        assert!(matches!(done, Err(StoreError::Failed(_))));
    }
    assert!(matches!(store.failure(), Some(StoreError::Failed(_))));
    assert!(store.check_room(1).is_err());
    assert_eq!(
        world
            .run(messages(&store, ALICE, INBOX_ID))
            .expect("it reads")
            .len(),
        1
    );
    assert!(
        world
            .run(store.deliver(delivery(&[ALICE], memory("refused"))))
            .is_err()
    );
    world.run(store.shutdown());
}

#[test]
fn a_full_disk_refuses_mail_keeps_flags_and_recovers_by_itself() {
    let disk = SimDisk::new(3);
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    disk.set_capacity(4096 + 2 * 64 * 1024);
    let mut delivered = 0;
    let refused = loop {
        let body = memory(long_text("x", 3_000));
        match world.run(store.deliver(delivery(&[ALICE], body))) {
            Ok(_) => delivered += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, StoreError::NoSpace(_)));
    assert!(store.failure().is_none());
    assert_eq!(
        world
            .run(messages(&store, ALICE, INBOX_ID))
            .expect("it reads")
            .len(),
        delivered
    );
    disk.set_capacity(1 << 30);
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_005_000));
    world
        .run(store.deliver(delivery(&[ALICE], memory("again"))))
        .expect("there is room again");
    world.close();
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    assert_eq!(
        world
            .run(messages(&store, ALICE, INBOX_ID))
            .expect("it reads")
            .len(),
        delivered + 1
    );
}

#[test]
fn below_the_reserve_mail_is_refused_and_flags_are_not() {
    let disk = SimDisk::new(3);
    let options = StoreOptions {
        reserve_bytes: 1 << 20,
        ..small_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("kept"))))
        .expect("it commits");
    disk.set_capacity(1 << 20);
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_005_000));
    let refused = world.run(store.deliver(delivery(&[ALICE], memory("refused"))));
    assert!(matches!(refused, Err(StoreError::NoSpace(_))));
    assert!(matches!(store.check_room(1), Err(StoreError::NoSpace(_))));
    let flags = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::FIRST],
        operation: StoreOperation::Add,
        flags: Flags::SEEN,
        keywords: smallvec![],
        unchanged_since: None,
    };
    world.run(store.change(ALICE, flags)).expect("it commits");
    disk.set_capacity(1 << 30);
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_010_000));
    // The first who asks makes the writer look; the next one is told.
    let _ = store.check_room(1);
    world.pool.run_until_stalled();
    assert_eq!(store.check_room(1), Ok(()));
    world
        .run(store.deliver(delivery(&[ALICE], memory("taken"))))
        .expect("there is room again");
}

#[test]
fn foreign_and_newer_directories_are_told_apart() {
    let disk = SimDisk::new(3);
    filled(&disk);
    for byte in 0..60 {
        let damaged = disk.crash(1);
        damaged.flip_bit("STORE", byte, 0);
        let opened = World::open(&damaged, 1, small_options());
        assert!(matches!(opened, Err(OpenError::NotAStore(..))), "byte {byte}");
    }
}

#[test]
fn a_delivery_to_a_mailbox_that_is_gone_goes_to_inbox() {
    let mut world = World::open(&SimDisk::new(3), 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    let mut to_nowhere = delivery(&[ALICE], memory("lost?"));
    to_nowhere.recipients[0].mailbox = name("Nowhere");
    world.run(store.deliver(to_nowhere)).expect("it commits");
    assert_eq!(
        world
            .run(messages(&store, ALICE, INBOX_ID))
            .expect("it reads")
            .len(),
        1
    );
}
