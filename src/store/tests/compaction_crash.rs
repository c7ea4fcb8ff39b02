//! Power cuts and errors in every phase of compaction, with changes going on beside it.

use super::compaction::run_pass;
use super::crash::*;
use super::model::{Op, random_script};
use super::world::*;
use crate::sim::{Chance, Fault, SimDisk};
use crate::store::StoreOptions;
use crate::store::compaction::{PHASES, PLANTED, PlantedBug};
use std::rc::Rc;

/// Turns that other tasks get between two passes.
const TURNS_BETWEEN: usize = 150;

/// Smaller still: segments are finished soon, and accounts are in memory only while somebody needs them.
fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 32 * 1024,
        checkpoint_log_bytes: 12 * 1024,
        ..crowded_options()
    }
}

/// Lets other tasks run.
async fn turns(count: usize) {
    for _ in 0..count {
        let mut has_waited = false;
        futures::future::poll_fn(|cx| {
            if std::mem::replace(&mut has_waited, true) {
                return std::task::Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}

/// Changes that leave much behind.
pub(super) fn scripts() -> [Vec<Op>; 2] {
    [wasteful_script("a"), wasteful_script("b")]
}

fn wasteful_script(tag: &str) -> Vec<Op> {
    let s = str::to_owned;
    let mut script = Vec::new();
    for round in 0..5u32 {
        let first = 1 + round * 6;
        for n in 0..6 {
            let len = 900 + 1_733 * n % 7_000;
            script.push(Op::Deliver(long_text(&format!("{tag}{round}-{n}"), len)));
        }
        script.push(Op::StoreFlags(
            s("INBOX"),
            vec![first, first + 1],
            crate::proto::imap::types::StoreOperation::Add,
            crate::model::Flags::FLAGGED,
            vec![format!("k{round}")],
        ));
        script.push(Op::Transfer(
            s("INBOX"),
            vec![first + 1],
            s("Archive"),
            round.is_multiple_of(2),
        ));
        script.push(Op::Expunge(
            s("INBOX"),
            vec![first + 2, first + 3, first + 4],
            false,
        ));
        if round == 2 {
            script.push(Op::Create(s("Work")));
            script.push(Op::Transfer(s("INBOX"), vec![first], s("Work"), true));
        }
        if round == 3 {
            script.push(Op::DeliverLong(long_text(&format!("{tag}long"), 13_000)));
            script.push(Op::Expunge(s("INBOX"), vec![1, 7, first + 6], false));
            script.push(Op::Delete(s("Work")));
            script.push(Op::Transfer(s("INBOX"), vec![12], s("Trash"), false));
            // Burns a UID, so that the rounds go on counting.
        }
    }
    script
}

pub(super) fn run(disk: &SimDisk, scripts: [Vec<Op>; 2]) -> Rc<Journal> {
    run_scenario_beside(disk, options(), scripts, |stores, is_done| async move {
        while !is_done.get() {
            turns(TURNS_BETWEEN).await;
            // What ends a pass (a cut, an error) ends commits as well, and the scripts say so.
            let _ = run_pass(stores.clone()).await;
        }
        for _ in 0..2 {
            let _ = run_pass(stores.clone()).await;
        }
    })
}

fn operations_of(seed: u64) -> u64 {
    let disk = SimDisk::new(seed);
    PHASES.set([0; 5]);
    let journal = run(&disk, scripts());
    let phases = PHASES.get();
    assert!(phases[4] >= 3, "too few passes free anything: {phases:?}");
    check(&disk.crash(1), CORES, &journal).expect("without a cut everything is there");
    disk.operations()
}

/// Cuts after every `step`-th operation. Gives failures.
fn cut(seed: u64, step: usize, survivors: u64) -> Vec<String> {
    let operations = operations_of(seed);
    let mut failures = Vec::new();
    for cut in (1..=operations).step_by(step) {
        let disk = SimDisk::new(seed);
        disk.inject(Fault::CutAfter(cut));
        let journal = run(&disk, scripts());
        for survivor in 0..survivors {
            let after = disk.crash(cut << 8 | survivor);
            if let Err(why) = check(&after, [1, 2, 3][(cut + survivor) as usize % 3], &journal) {
                failures.push(format!(
                    "cut after {cut} of {operations}, survivor {survivor}: {why}"
                ));
            }
        }
    }
    failures
}

/// `RINGPOST_CRASH_EXHAUSTIVE=1` takes every one.
fn step(otherwise: usize) -> usize {
    match std::env::var_os("RINGPOST_CRASH_EXHAUSTIVE") {
        Some(_) => 1,
        None => otherwise,
    }
}

#[test]
fn a_cut_after_any_operation_of_a_compaction_loses_nothing_and_brings_nothing_back() {
    PHASES.set([0; 5]);
    assert_none(&cut(7, step(5), 1));
    let phases = PHASES.get();
    assert!(phases.iter().all(|count| *count > 40), "{phases:?}");
}

#[test]
fn an_error_at_any_operation_of_a_compaction_loses_nothing() {
    let operations = operations_of(9);
    let mut failures = Vec::new();
    for at in (1..=operations).step_by(step(7)) {
        let fault = [Fault::ErrorAt(at), Fault::ErrorFrom(at), Fault::NoSpaceAt(at)][at as usize % 3];
        let disk = SimDisk::new(9);
        disk.inject(fault);
        let journal = run(&disk, scripts());
        if let Err(why) = check(&disk.crash(at), CORES, &journal) {
            failures.push(format!("{fault:?}: {why}"));
        }
    }
    assert_none(&failures);
}

#[test]
fn random_changes_beside_compaction_cut_anywhere_equal_the_naive_model() {
    let runs = std::env::var("RINGPOST_CRASH_RUNS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60);
    for seed in 0..runs {
        let [alice, bob] = scripted();
        let scripts = [
            random_script(2 * seed, alice, 70),
            random_script(2 * seed + 1, bob, 70),
        ];
        let disk = SimDisk::new(seed);
        disk.inject(Fault::CutAfter(Chance::new(seed).below(900)));
        let journal = run(&disk, scripts);
        for survivor in 0..3 {
            let after = disk.crash(seed << 8 | survivor);
            let checked = check(&after, 1 + survivor as usize, &journal);
            checked.unwrap_or_else(|why| panic!("seed {seed}, survivor {survivor}: {why}"));
            let again = check(&after.crash(seed), 2, &journal);
            again.unwrap_or_else(|why| panic!("seed {seed}, survivor {survivor}, opened again: {why}"));
        }
    }
}

fn failures_with(bug: PlantedBug) -> Vec<String> {
    PLANTED.set(Some(bug));
    let found = std::panic::catch_unwind(|| {
        let disk = SimDisk::new(7);
        let journal = run(&disk, scripts());
        let mut failures: Vec<String> = check(&disk.crash(1), CORES, &journal).err().into_iter().collect();
        let operations = disk.operations();
        for cut in (1..=operations).step_by(7) {
            let disk = SimDisk::new(7);
            disk.inject(Fault::CutAfter(cut));
            let journal = run(&disk, scripts());
            failures.extend(check(&disk.crash(cut), CORES, &journal).err());
        }
        failures
    });
    PLANTED.set(None);
    // A store that ends itself over what it finds has noticed, too.
    found.unwrap_or_else(|_| vec!["it panicked".to_owned()])
}

#[test]
fn planted_bugs_are_caught() {
    for bug in [
        PlantedBug::FreeBeforeMoving,
        PlantedBug::FreeBeforeTheList,
        PlantedBug::ForgetTheTombstones,
    ] {
        assert!(!failures_with(bug).is_empty(), "{bug:?} was not noticed");
    }
}
