//! Power cuts and errors among the writes of zeros ahead of the log.

use super::compaction_crash::turns;
use super::crash::{CORES, Journal, assert_none, check, fixed_scripts, run_scenario_beside};
use super::world::*;
use crate::model::AccountId;
use crate::sim::{Fault, SimDisk};
use crate::store::fill::FILL_BYTES_PER_SECOND;
use crate::store::*;
use std::rc::Rc;

/// As in the other scenarios of cuts. The time of these tests stands still: each start fills its first megabyte, many segments.
pub(super) fn filling_options() -> StoreOptions {
    StoreOptions {
        fill_bytes_per_second: FILL_BYTES_PER_SECOND,
        ..crowded_options()
    }
}

/// What was told, and how many bytes were filled.
fn run(disk: &SimDisk) -> (Rc<Journal>, u64) {
    let mut meters = Vec::new();
    let journal = run_scenario_beside(disk, filling_options(), fixed_scripts(), |stores, _| {
        meters = stores.iter().map(Store::meters).collect();
        std::future::ready(())
    });
    (journal, meters.iter().map(|core| core.filled_bytes.value()).sum())
}

/// `RINGPOST_CRASH_EXHAUSTIVE=1` has every fault at every operation, instead of one of them.
fn is_exhaustive() -> bool {
    std::env::var_os("RINGPOST_CRASH_EXHAUSTIVE").is_some()
}

#[test]
fn a_cut_or_an_error_at_any_operation_loses_nothing_acknowledged() {
    let disk = SimDisk::new(7);
    let (journal, filled) = run(&disk);
    check(&disk.crash(1), CORES, &journal).expect("without a cut everything is there");
    let segment = u64::from(filling_options().segment_bytes);
    assert!(filled > 4 * segment, "{filled} bytes filled");
    let mut failures = Vec::new();
    for at in 1..=disk.operations() {
        let faults = [Fault::CutAfter(at), Fault::ErrorAt(at), Fault::ErrorFrom(at)];
        let chosen = if is_exhaustive() {
            0..3
        } else {
            at as usize % 3..at as usize % 3 + 1
        };
        for fault in &faults[chosen] {
            let disk = SimDisk::new(7);
            disk.inject(*fault);
            let (journal, _) = run(&disk);
            let cores = [1, 2, 3][at as usize % 3];
            if let Err(why) = check(&disk.crash(at), cores, &journal) {
                failures.push(format!("{fault:?}: {why}"));
            }
        }
    }
    assert_none(&failures);
}

#[test]
fn a_start_that_writes_nothing_fills_nothing_and_one_that_writes_little_fills_little() {
    let disk = SimDisk::new(1);
    let options = StoreOptions {
        segment_bytes: StoreOptions::default().segment_bytes,
        ..filling_options()
    };
    let mut world = World::open(&disk, 1, options).unwrap();
    let filled = |world: &World| world.stores[0].meters().filled_bytes.value();
    world.run(turns(50));
    assert_eq!(filled(&world), 0);
    let store = world.stores[0].clone();
    let sent = world.run(store.deliver(delivery(&[AccountId(1)], memory("one"))));
    assert!(sent.is_ok());
    world.run(turns(50));
    assert_eq!(filled(&world), 1024 * 1024);
    world.close();
}
