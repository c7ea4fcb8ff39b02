//! Checkpoints are derived: with them, without them, with damaged ones and cut at any point of writing them, a start
//! comes to the same state; and what they cover must still be there.

use super::world::*;
use crate::model::AccountId;
use crate::sim::{Chance, Fault, SimDisk};
use crate::store::*;
use std::cell::RefCell;

const CORES: usize = 2;

/// Every commit makes a checkpoint due, and nearly every account has a slice of its own.
fn restless_options() -> StoreOptions {
    StoreOptions {
        checkpoint_log_bytes: 1,
        checkpoint_slice_bytes: 200,
        ..small_options()
    }
}

/// Delivers in rounds to `accounts` accounts; gives how many messages each was told that it has.
fn deliver_rounds(
    disk: &SimDisk,
    accounts: u64,
    rounds: usize,
    options: StoreOptions,
    closes: bool,
) -> Vec<usize> {
    let told = RefCell::new(vec![0; usize::try_from(accounts).expect("few")]);
    let Ok(mut world) = World::open(disk, CORES, options) else {
        return told.into_inner();
    };
    let stores = world.stores.clone();
    let one = |id: u64| {
        let store = stores[AccountId(id).partition().core(CORES)].clone();
        let told = &told;
        async move {
            for round in 0..rounds {
                let body = memory(long_text(&format!("{id}/{round}"), 300));
                if store.deliver(delivery(&[AccountId(id)], body)).await.is_err() {
                    return;
                }
                told.borrow_mut()[id as usize] += 1;
            }
        }
    };
    world.run(futures::future::join_all((0..accounts).map(one)));
    if closes {
        world.close();
    }
    told.into_inner()
}

fn check_told(seeds: &[StoreSeed], told: &[usize]) -> Result<(), String> {
    for (id, count) in told.iter().enumerate().filter(|(_, count)| **count > 0) {
        let id = AccountId(id as u64);
        let account = seeds[id.partition().core(seeds.len())].state.accounts.get(&id);
        let found = account.map_or(0, |account| account.mailboxes[&INBOX_ID].rows.len());
        if found < *count {
            return Err(format!("{id}: {found} of {count} messages"));
        }
    }
    Ok(())
}

fn closed_store() -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new(3);
    let told = deliver_rounds(&disk, 20, 6, small_options(), true);
    (disk.crash(0), told)
}

#[test]
fn a_start_after_a_shutdown_reads_no_record_with_any_number_of_cores() {
    let (disk, told) = closed_store();
    assert_eq!(checkpoints(&disk).len(), CORES);
    for cores in 1..5 {
        let (seeds, report) = states(&disk.crash(0), cores).expect("it opens");
        assert_eq!((report.checkpoint, report.records, report.messages), (1, 0, 120));
        check_told(&seeds, &told).expect("all is there");
        compare_with_the_log(&disk, cores).expect("they are equal");
    }
}

#[test]
fn starts_with_other_numbers_of_cores_follow_each_other() {
    let (disk, _) = closed_store();
    for cores in [1, 3, 2, 4, 1] {
        let mut world = World::open(&disk, cores, restless_options()).expect("it opens");
        for id in 0..30 {
            let store = world.of(AccountId(id));
            let body = memory(format!("with {cores} cores"));
            world
                .run(store.deliver(delivery(&[AccountId(id)], body)))
                .expect("it commits");
        }
        world.pool.run_until_stalled();
        let report = compare_with_the_log(&disk.crash(1), cores + 1).expect("they are equal");
        assert_eq!(report.checkpoint, world.report.incarnation);
        world.close();
        assert_eq!(
            checkpoints(&disk).len(),
            cores,
            "those of earlier starts are gone"
        );
    }
}

#[test]
fn a_cut_at_any_operation_while_checkpoints_are_written_leaves_a_state_equal_to_the_log() {
    let whole = SimDisk::new(9);
    deliver_rounds(&whole, 8, 12, restless_options(), true);
    let (mut starts, mut tails) = (0, 0);
    for cut in 1..=whole.operations() {
        let disk = SimDisk::new(9);
        disk.inject(Fault::CutAfter(cut));
        let told = deliver_rounds(&disk, 8, 12, restless_options(), true);
        for survivor in 0..3 {
            let after = disk.crash(cut << 8 | survivor);
            let cores = [2, 1, 3][survivor as usize];
            let report = compare_with_the_log(&after, cores)
                .unwrap_or_else(|why| panic!("cut after {cut}, survivor {survivor}: {why}"));
            starts += u64::from(report.checkpoint > 0);
            tails += u64::from(report.checkpoint > 0 && report.records > 0);
            let (seeds, _) = states(&after, cores).expect("it opens again");
            check_told(&seeds, &told).unwrap_or_else(|why| panic!("cut after {cut}, {survivor}: {why}"));
        }
    }
    assert!(
        starts > 100 && tails > 50,
        "{starts} starts from checkpoints, {tails} with a tail"
    );
}

#[test]
fn an_error_at_any_operation_of_a_checkpoint_fails_no_commit_and_leaves_the_state_equal() {
    let whole = SimDisk::new(9);
    deliver_rounds(&whole, 6, 2, restless_options(), true);
    for at in 1..=whole.operations() {
        for fault in [Fault::ErrorAt(at), Fault::NoSpaceAt(at)] {
            let disk = SimDisk::new(9);
            disk.inject(fault);
            let told = deliver_rounds(&disk, 6, 2, restless_options(), true);
            let after = disk.crash(at);
            compare_with_the_log(&after, CORES).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
            let (seeds, _) = states(&after, CORES).expect("it opens");
            check_told(&seeds, &told).unwrap_or_else(|why| panic!("{fault:?}: {why}"));
        }
    }
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_noticed_and_the_log_read_instead() {
    let (disk, told) = closed_store();
    let names: Vec<_> = disk
        .names()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".ckp"))
        .collect();
    let mut chance = Chance::new(5);
    let mut ignored = 0;
    for _ in 0..200 {
        let damaged = disk.crash(0);
        let (name, len) = &names[chance.below(names.len() as u64) as usize];
        damaged.flip_bit(name, chance.below(*len as u64) as usize, chance.below(8) as u8);
        let report = compare_with_the_log(&damaged, CORES).expect("they are equal");
        assert_eq!(report.ignored_checkpoints > 0, report.checkpoint == 0);
        ignored += report.ignored_checkpoints;
        let (seeds, _) = states(&damaged, CORES).expect("it opens");
        check_told(&seeds, &told).expect("all is there");
    }
    // The first block has 64 bytes that count; slices count to their last byte.
    assert!(ignored > 50, "{ignored} of 200");
}

#[test]
fn a_checkpoint_of_one_core_alone_is_none() {
    let (disk, _) = closed_store();
    let first = checkpoints(&disk).remove(0);
    futures::executor::block_on(crate::disk::Disk::remove(&disk, &first)).expect("it is there");
    let report = compare_with_the_log(&disk, CORES).expect("they are equal");
    assert_eq!(report.checkpoint, 0);
    assert_eq!(report.messages, 120);
}

#[test]
fn a_covered_segment_that_is_gone_damaged_or_shorter_is_damage() {
    let (disk, _) = closed_store();
    let (seeds, _) = states(&disk.crash(0), CORES).expect("it opens");
    for segment in seeds[0].covered.iter() {
        let name = crate::store::segment::segment_name(segment.id);
        let gone = disk.crash(0);
        futures::executor::block_on(crate::disk::Disk::remove(&gone, &name)).expect("it is there");
        assert!(
            matches!(states(&gone, CORES), Err(OpenError::Damaged { .. })),
            "{name} is gone"
        );
        let flipped = disk.crash(0);
        flipped.flip_bit(&name, 22, 1);
        assert!(
            matches!(states(&flipped, CORES), Err(OpenError::Damaged { .. })),
            "{name} is flipped"
        );
        let shorter = disk.crash(0);
        let len = u64::from(segment.end) - 4096;
        futures::executor::block_on(crate::disk::Disk::shrink(&shorter, &name, len)).expect("it is there");
        assert!(
            matches!(states(&shorter, CORES), Err(OpenError::Damaged { .. })),
            "{name} is shorter"
        );
    }
}

#[test]
fn damage_behind_a_checkpoint_is_told_from_a_torn_tail() {
    let disk = SimDisk::new(3);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(AccountId(1));
    world.pool.run_until_stalled();
    for n in 0..4 {
        let body = memory(long_text(&n.to_string(), 1_000));
        world
            .run(store.deliver(delivery(&[AccountId(1)], body)))
            .expect("it commits");
    }
    drop(world);
    let after = disk.crash(0);
    let report = compare_with_the_log(&after, 1).expect("they are equal");
    assert_eq!((report.checkpoint, report.messages), (1, 4));
    // The checkpoint covers nothing, then come four groups of a block each; the third is acknowledged by the fourth.
    let name = "segments/00000001.seg";
    let name = if after.content(name).is_some() {
        name
    } else {
        "segments/00000000.seg"
    };
    let (third, fourth) = (after.crash(0), after.crash(0));
    third.flip_bit(name, 3 * 4096 + 100, 0);
    assert!(matches!(states(&third, 1), Err(OpenError::Damaged { .. })));
    fourth.flip_bit(name, 4 * 4096 + 100, 0);
    assert_eq!(states(&fourth, 1).expect("a torn tail").1.messages, 3);
}
