//! Segments that are gone: told by a start and by `check`, and nobody else's mail comes in their place.

use super::tools::{checked, salvaged};
use super::world::*;
use crate::disk::Disk;
use crate::model::AccountId;
use crate::sim::SimDisk;
use crate::store::*;
use futures::executor::block_on;

const CORES: usize = 2;

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    let is_used = |name: &String| {
        let content = disk.content(name).expect("it was listed");
        name.ends_with(".seg")
            && content
                .get(4096..)
                .is_some_and(|groups| groups.starts_with(b"RPGROUP"))
    };
    names.filter(is_used).collect()
}

/// The account with the lowest id that `core` owns.
fn account_of(core: usize) -> AccountId {
    let ids = (1..).map(AccountId);
    let mut own = ids.filter(|id| id.partition().core(CORES) == core);
    own.next().expect("every core owns accounts")
}

/// Mail of an account of core 0, the bodies in the log of core 1 behind as many octets of that one's own.
fn with_bodies_elsewhere(octets_before: usize, octets: usize) -> SimDisk {
    let disk = SimDisk::new(3);
    let mut world = World::open(&disk, CORES, small_options()).expect("it opens");
    let (reader, keeper) = (account_of(0), account_of(1));
    let mut put = |to: AccountId, tag: &str, octets: usize| {
        let (own, other) = (world.of(to), world.of(keeper));
        let mut writer = other.body_writer();
        for piece in long_text(tag, octets).chunks(1_000) {
            let piece = bytes::Bytes::copy_from_slice(piece);
            world.run(writer.push(piece)).expect("it takes it");
        }
        let body = world.run(writer.finish()).expect("it is durable");
        world.run(own.deliver(delivery(&[to], body))).expect("it commits");
    };
    put(keeper, "own", octets_before);
    put(reader, "mail", octets);
    world.close();
    remove_checkpoints(&disk);
    disk.crash(0)
}

fn assert_missed(disk: &SimDisk, name: &str) {
    let damaged = disk.crash(1);
    block_on(damaged.remove(name)).expect("it is there");
    let before = damaged.names();
    match World::open(&damaged, CORES, small_options()) {
        Err(OpenError::Damaged { .. }) => assert_eq!(damaged.names(), before, "{name}"),
        Err(other) => panic!("{name}: {other}"),
        Ok(mut world) => {
            // Whoever comes now must not be given what the other had.
            let reader = account_of(0);
            let store = world.of(reader);
            let read = world.run(messages(&store, reader, INBOX_ID));
            panic!("{name} is not missed: {read:?}");
        }
    }
    assert!(checked(&damaged).damages.count > 0, "{name}");
    assert!(!salvaged(&damaged).0.is_complete(), "{name}");
}

/// No segment with a higher number is left that could keep the number from being given again.
#[test]
fn a_segment_with_nothing_but_bodies_is_missed() {
    let disk = with_bodies_elsewhere(9_000, 12_000);
    let names = segments(&disk);
    assert_eq!(names.len(), CORES, "{names:?}");
    for name in names {
        assert_missed(&disk, &name);
    }
}

/// The row says where a body begins, not where it goes on.
#[test]
fn a_segment_in_which_a_body_goes_on_is_missed() {
    let disk = with_bodies_elsewhere(40_000, 30_000);
    let names = segments(&disk);
    assert!(names.len() > CORES, "{names:?}");
    for name in names {
        assert_missed(&disk, &name);
    }
}

fn used(starts: usize) -> SimDisk {
    let disk = SimDisk::new(5);
    for start in 0..starts {
        let mut world = World::open(&disk, 1, small_options()).expect("it opens");
        // Each in a partition of its own, or later records there would miss the earlier ones.
        let account = AccountId(1 + start as u64);
        let store = world.of(account);
        let body = memory(long_text("x", 3_000));
        world
            .run(store.deliver(delivery(&[account], body)))
            .expect("it commits");
        drop(store);
        world.close();
    }
    disk.crash(0)
}

fn remove_all_but_superblock(disk: &SimDisk) {
    for (name, _) in disk.names().into_iter().filter(|(name, _)| name != "STORE") {
        block_on(disk.remove(&name)).expect("it is there");
    }
}

/// The server ended in order, or was started again since.
#[test]
fn a_store_of_which_only_the_superblock_is_left_is_damaged() {
    for starts in 1..4 {
        let disk = used(starts);
        remove_all_but_superblock(&disk);
        let opened = World::open(&disk.crash(0), 1, small_options());
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{starts}");
        assert_eq!(checked(&disk).damages.count, 1);
        assert!(!salvaged(&disk).0.is_complete());
    }
}

#[test]
fn a_whole_log_that_nothing_else_speaks_of_is_missed() {
    let disk = used(3);
    remove_checkpoints(&disk);
    assert!(checked(&disk).is_clean());
    for name in segments(&disk) {
        let damaged = disk.crash(0);
        block_on(damaged.remove(&name)).expect("it is there");
        let opened = World::open(&damaged.crash(0), 1, small_options());
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{name}");
        assert!(checked(&damaged).damages.count > 0, "{name}");
    }
}

#[test]
fn checkpoints_without_their_log_are_damage() {
    let disk = used(2);
    for name in segments(&disk) {
        block_on(disk.remove(&name)).expect("it is there");
    }
    let opened = World::open(&disk.crash(0), 1, small_options());
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    block_on(disk.remove("STORE")).expect("it is there");
    let opened = World::open(&disk.crash(0), 1, small_options());
    assert!(matches!(opened, Err(OpenError::NotAStore(..))));
}

/// Nothing was lost: there was nothing yet.
#[test]
fn a_store_that_was_cut_off_while_it_was_made_is_whole() {
    let mut empty = 0;
    for cut in 0..40 {
        let disk = SimDisk::new(cut);
        disk.inject(crate::sim::Fault::CutAfter(cut));
        drop(World::open(&disk, 2, small_options()));
        for seed in 0..4 {
            let disk = disk.crash(seed);
            empty += u64::from(segments(&disk).is_empty());
            let mut world = World::open(&disk, 2, small_options()).expect("a crash is no damage");
            let account = account_of(0);
            let store = world.of(account);
            world
                .run(store.deliver(delivery(&[account], memory("x"))))
                .expect("it commits");
            drop(store);
            world.close();
            assert!(checked(&disk).is_clean());
        }
    }
    assert!(empty > 10, "{empty}");
}
