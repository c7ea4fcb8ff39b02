//! The admin's tools on whole, damaged and salvaged stores.

use super::model::{Model, execute, fixed_script, random_script, snapshot};
use super::world::*;
use crate::model::AccountId;
use crate::sim::SimDisk;
use crate::store::tools::*;
use crate::store::*;
use futures::executor::block_on;
use std::collections::BTreeMap;

pub(super) const ALICE: AccountId = AccountId(1);
pub(super) const BOB: AccountId = AccountId(2);
/// Gets short mail only: several records a group.
pub(super) const CAROL: AccountId = AccountId(3);

pub(super) type Snapshots = BTreeMap<AccountId, Model>;

pub(super) fn checked(disk: &SimDisk) -> CheckReport {
    block_on(check(disk.clone(), &mut |_, _| {})).expect("there is a store")
}

pub(super) fn surveyed(disk: &SimDisk) -> Survey<SimDisk> {
    block_on(Survey::read(disk.clone(), &mut |_, _| {})).expect("there is a store")
}

pub(super) fn snapshots(disk: &SimDisk) -> Snapshots {
    let mut world = World::open(disk, 1, small_options())
        .expect("it opens")
        .load_all();
    [ALICE, BOB, CAROL]
        .into_iter()
        .map(|id| {
            let store = world.of(id);
            (id, world.run(snapshot(&store, id)).expect("it reads"))
        })
        .collect()
}

/// A store with a bit of everything, closed in order, over two starts with different numbers of cores.
pub(super) fn used(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    for (start, cores) in [1, 2].into_iter().enumerate() {
        let mut world = World::open(&disk, cores, small_options())
            .expect("it opens")
            .load_all();
        let (alice, bob, carol) = (world.of(ALICE), world.of(BOB), world.of(CAROL));
        let scripts = if start == 0 {
            [fixed_script("a"), random_script(seed, BOB, 60)]
        } else {
            [Vec::new(), Vec::new()]
        };
        for (store, id, script) in [(&alice, ALICE, &scripts[0]), (&bob, BOB, &scripts[1])] {
            for op in script {
                world.run(execute(store, id, op)).expect("it commits");
            }
        }
        let short = (0..40).map(|n| carol.deliver(delivery(&[CAROL], memory(format!("short {start} {n}")))));
        for done in world.run(futures::future::join_all(short)) {
            done.expect("it commits");
        }
        world.close();
    }
    // The file system keeps everything: what is damaged later is damaged by us.
    disk.crash(0)
}

#[test]
fn a_store_after_heavy_use_is_whole() {
    let mut messages = 0;
    for seed in 0..8 {
        let disk = used(seed);
        let before = disk.operations();
        let report = checked(&disk);
        assert!(report.is_clean(), "seed {seed}: {:?}", report.damages.kept);
        assert_eq!(report.messages, report.readable);
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        messages += report.messages;
        assert!(disk.operations() > before);
        let numbers = block_on(stat(disk.clone(), &mut |_, _| {})).expect("there is a store");
        assert_eq!(numbers.messages, report.messages);
        assert_eq!(numbers.accounts, 3);
        assert!(numbers.live_bytes() > 0 && numbers.live_bytes() < numbers.counts.bytes);
        assert_eq!(numbers.damages, 0);
    }
    assert!(messages > 700, "{messages}");
}

#[test]
fn looking_changes_nothing() {
    let disk = used(1);
    let contents = |disk: &SimDisk| -> Vec<_> {
        let names = disk.names();
        names
            .into_iter()
            .map(|(name, _)| (disk.content(&name), name))
            .collect()
    };
    let before = contents(&disk);
    checked(&disk);
    block_on(stat(disk.clone(), &mut |_, _| {})).expect("there is a store");
    block_on(dump(disk.clone(), None, &mut |_| {
        std::ops::ControlFlow::Continue(())
    }))
    .expect("there is a store");
    assert_eq!(contents(&disk), before);
}

#[test]
fn a_store_that_was_cut_off_is_whole_and_its_torn_tail_is_told() {
    let mut torn = 0;
    for cut in (10..200).step_by(3) {
        let disk = SimDisk::new(cut);
        disk.inject(crate::sim::Fault::CutAfter(cut));
        if let Ok(mut world) = World::open(&disk, 1, small_options()) {
            let store = world.of(ALICE);
            for op in fixed_script("a") {
                if world.run(execute(&store, ALICE, &op)).is_err() {
                    break;
                }
            }
        }
        let disk = disk.crash(cut);
        let Ok(report) = block_on(check(disk.clone(), &mut |_, _| {})) else {
            continue;
        };
        assert!(report.is_clean(), "cut {cut}: {:?}", report.damages.kept);
        torn += u64::from(report.counts.torn_tail_bytes > 0);
        let opened = World::open(&disk, 1, small_options())
            .expect("recovery agrees")
            .load_all();
        assert_eq!(opened.report.messages, report.messages, "cut {cut}");
        assert_eq!(
            opened.report.torn_tail_bytes, report.counts.torn_tail_bytes,
            "cut {cut}"
        );
    }
    assert!(torn > 2, "{torn}");
}

/// Salvages into a new disk; gives what is in it.
pub(super) fn salvaged(damaged: &SimDisk) -> (SalvageReport, SimDisk) {
    let survey = surveyed(damaged);
    let new = SimDisk::new(99);
    let mut world = World::open(&new, 1, small_options())
        .expect("it is made")
        .load_all();
    let store = world.of(ALICE);
    let report = world
        .run(salvage(&survey, &store, &mut |_, _| {}))
        .expect("the new disk works");
    drop(store);
    world.close();
    (report, new)
}

/// UIDVALIDITY, HIGHESTMODSEQ, subscriptions and what a new mailbox would get, of every account.
fn numbers(disk: &SimDisk) -> Vec<AccountImage> {
    let survey = surveyed(disk);
    let ids = survey.accounts();
    ids.into_iter()
        .map(|id| {
            let mut image = AccountImage::of(survey.account(id).expect("it was listed"));
            // An empty mailbox has nothing whose change could raise its number; the account's is kept.
            for mailbox in &mut image.mailboxes {
                let is_empty = survey
                    .account(id)
                    .is_some_and(|a| a.mailboxes[&mailbox.id].rows.is_empty());
                if is_empty {
                    mailbox.highest_mod_seq = crate::model::ModSeq(0);
                }
            }
            image
        })
        .collect()
}

#[test]
fn a_whole_store_comes_over_with_every_number() {
    for seed in 0..8 {
        let disk = used(seed);
        let (report, new) = salvaged(&disk);
        assert!(report.is_complete(), "{:?}", report.damages.kept);
        assert!(checked(&new).is_clean(), "{:?}", checked(&new).damages.kept);
        assert_eq!(snapshots(&new.crash(1)), snapshots(&disk.crash(1)), "seed {seed}");
        assert_eq!(numbers(&new), numbers(&disk), "seed {seed}");
    }
}

#[test]
fn foreign_directories_are_no_stores() {
    let empty = block_on(check(SimDisk::new(1), &mut |_, _| {}));
    assert!(matches!(empty, Err(OpenError::NotAStore(..))));
}

#[test]
fn dump_shows_every_record_on_one_line() {
    let disk = used(3);
    let mut lines = Vec::new();
    let mut line = |text: &str| {
        lines.push(text.to_owned());
        std::ops::ControlFlow::Continue(())
    };
    block_on(dump(disk.clone(), None, &mut line)).expect("there is a store");
    assert!(lines.iter().all(|line| !line.contains(char::is_control)));
    let report = checked(&disk);
    let messages = lines
        .iter()
        .filter(|line| line.contains(" message account="))
        .count();
    assert!(messages as u64 >= report.messages / 2);
    let counts = report.counts;
    let seals = lines.iter().filter(|line| line.contains("Seal")).count() as u64;
    assert_eq!(
        lines.len() as u64,
        counts.groups + counts.records + counts.chunks + seals
    );
    let of_first = |n| {
        let mut count = 0;
        let only = Some(crate::model::SegmentId(n));
        let mut line = |_: &str| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        };
        block_on(dump(disk.clone(), only, &mut line)).expect("there is a store");
        count
    };
    assert!(of_first(1) > 0 && of_first(1) < lines.len());
    let missing = block_on(dump(disk, Some(crate::model::SegmentId(999)), &mut |_| {
        std::ops::ControlFlow::Continue(())
    }));
    assert!(matches!(missing, Err(OpenError::NoSuchSegment(..))));
}
