//! `check` and `salvage` on checkpoints: as witnesses of what the log lost, and damaged themselves.

use super::tools::{checked, salvaged, snapshots, used};
use super::world::*;
use super::{compaction_crash, crash};
use crate::disk::Disk;
use crate::model::AccountId;
use crate::sim::{Chance, Fault, SimDisk};
use crate::store::tools::{CheckReport, check};
use futures::executor::block_on;

const ALICE: AccountId = AccountId(1);

/// Every place at which a block begins that holds a group, of one file, ascending.
pub(super) fn groups(disk: &SimDisk, name: &str) -> Vec<usize> {
    let content = disk.content(name).expect("it was listed");
    let blocks = (4096..content.len()).step_by(4096);
    blocks
        .filter(|at| content[*at..].starts_with(b"RPGROUP\x1a"))
        .collect()
}

pub(super) fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".seg")).collect()
}

/// The newest segments with something in them: the end of a log of the newest start.
fn newest_used(disk: &SimDisk) -> String {
    let mut used: Vec<String> = segments(disk);
    used.retain(|name| groups(disk, name).len() > 1);
    used.pop().expect("something was written")
}

pub(super) fn zero_from(disk: &SimDisk, name: &str, from: usize) {
    let mut content = disk.content(name).expect("it was listed");
    content[from..].fill(0);
    disk.put_content(name, content);
}

/// With the end of a log its seal goes, so that the log alone looks cut off.
#[test]
fn the_end_of_a_log_that_only_a_checkpoint_knows_is_missed() {
    let disk = used(4);
    let name = newest_used(&disk);
    let groups = groups(&disk, &name);
    let mut named = 0;
    for at in &groups {
        let damaged = disk.crash(1);
        zero_from(&damaged, &name, *at);
        let report = checked(&damaged);
        assert!(report.damages.count > 0, "{name} from {at}: {:?}", report.notes);
        named += report.damages.kept.iter().filter(|d| d.mail.is_some()).count();
        let (salvage, _) = salvaged(&damaged);
        assert!(!salvage.is_complete(), "{name} from {at}");
        // The log alone cannot know; that there was one, the superblock does.
        remove_checkpoints(&damaged);
        let alone = checked(&damaged);
        let is_whole_log = *at == 4096;
        assert_eq!(
            alone.is_clean(),
            !is_whole_log,
            "{name} from {at}: {:?}",
            alone.damages.kept
        );
    }
    assert!(named > 0, "no lost message has a name");
}

#[test]
fn a_segment_that_only_a_checkpoint_knows_is_missed() {
    let disk = used(4);
    for name in segments(&disk) {
        if groups(&disk, &name).is_empty() {
            continue;
        }
        let damaged = disk.crash(1);
        block_on(damaged.remove(&name)).expect("it is there");
        let report = checked(&damaged);
        assert!(report.damages.count > 0, "{name}: {:?}", report.notes);
    }
}

fn assert_only_derived(report: &CheckReport, file: &str, context: &str) {
    assert_eq!(report.damages.count, 0, "{context}: {:?}", report.damages.kept);
    assert!(report.derived.count > 0, "{context}: {:?}", report.notes);
    let is_named = |damage: &crate::store::tools::Damage| damage.file.as_deref() == Some(file);
    assert!(
        report.derived.kept.iter().all(is_named),
        "{context}: {:?}",
        report.derived.kept
    );
    assert!(!report.is_clean());
}

#[test]
fn a_bit_that_flips_in_a_checkpoint_is_told_and_costs_nothing() {
    let disk = used(4);
    let right = snapshots(&disk.crash(1));
    let mut chance = Chance::new(1);
    for name in checkpoints(&disk) {
        let content = disk.content(&name).expect("it was listed");
        for _ in 0..40 {
            let byte = chance.below(content.len() as u64) as usize;
            // What lies behind the fields of the header block means nothing.
            if (64..4096).contains(&byte) {
                continue;
            }
            let damaged = disk.crash(1);
            damaged.flip_bit(&name, byte, chance.below(8) as u8);
            let context = format!("{name} at {byte}");
            assert_only_derived(&checked(&damaged), &name, &context);
            let (salvage, _) = salvaged(&damaged);
            assert!(salvage.is_complete(), "{context}");
            assert_eq!(snapshots(&damaged), right, "{context}");
        }
    }
}

#[test]
fn a_snapshot_that_is_not_as_it_was_written_is_told_and_costs_nothing() {
    let disk = used(4);
    let right = snapshots(&disk.crash(1));
    let mut told = 0;
    for name in super::world::snapshots(&disk) {
        let len = disk.content(&name).expect("it was listed").len();
        for byte in (0..len).step_by(97) {
            let damaged = disk.crash(1);
            damaged.flip_bit(&name, byte, 5);
            let report = checked(&damaged);
            // Between blobs nothing means anything.
            if report.is_clean() {
                continue;
            }
            told += 1;
            assert_only_derived(&report, &name, &format!("{name} at {byte}"));
            assert_eq!(snapshots(&damaged), right, "{name} at {byte}");
        }
        let damaged = disk.crash(1);
        damaged.put_content(&name, Vec::new());
        assert_only_derived(&checked(&damaged), &name, &format!("{name}, nothing of it"));
    }
    assert!(told > 20, "{told}");
}

/// A cut of the power while a segment is made may leave anything behind the sector with its header.
#[test]
fn garbage_behind_the_header_of_a_segment_that_was_never_used_is_no_damage() {
    let disk = SimDisk::new(7);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("kept"))))
        .expect("it commits");
    drop((store, world));
    let disk = disk.crash(0);
    // As the next segment of this log would be, were it just made.
    let first = segments(&disk).pop().expect("there is one");
    let mut fresh = disk.content(&first).expect("it was listed")[..4096].to_vec();
    let id = u32::from_le_bytes(fresh[20..24].try_into().expect("four bytes")) + 1;
    fresh[20..24].copy_from_slice(&id.to_le_bytes());
    let crc = crate::base::crc32c(&fresh[..60]);
    fresh[60..64].copy_from_slice(&crc.to_le_bytes());
    fresh[512..].fill(0xA5);
    fresh.resize(64 * 1024, 0);
    let name = format!("segments/{id:08x}.seg");
    block_on(async {
        let file = disk.create(&name, fresh.len() as u64).await.expect("it is new");
        disk.put_content(&name, fresh);
        crate::disk::DiskFile::sync(&file).await.expect("nothing fails");
        disk.sync_directory().await.expect("nothing fails");
    });
    let report = checked(&disk);
    assert!(report.is_clean(), "{:?}", report.damages.kept);
    assert!(
        report.notes.iter().any(|note| note.contains("while it was made")),
        "{:?}",
        report.notes
    );
    let after = snapshots(&disk.crash(1));
    assert_eq!(after[&ALICE].0["INBOX"].messages.len(), 1);
    // Behind the header of a segment in use the same is damage.
    disk.flip_bit(&first, 600, 1);
    assert_eq!(checked(&disk).damages.count, 1);
}

/// Cuts the power after every `step`-th operation of `run`. Gives how many of the stores left behind had checkpoints
/// and how many of those one that was never finished.
fn assert_no_false_alarm(seed: u64, step: usize, run: impl Fn(&SimDisk)) -> (u64, u64) {
    let operations = {
        let disk = SimDisk::new(seed);
        run(&disk);
        disk.operations()
    };
    let (mut with, mut unfinished) = (0, 0);
    for cut in (1..=operations).step_by(step) {
        let disk = SimDisk::new(seed);
        disk.inject(Fault::CutAfter(cut));
        run(&disk);
        let after = disk.crash(cut);
        let Ok(report) = block_on(check(after.clone(), &mut |_, _| {})) else {
            // It was not made yet.
            continue;
        };
        assert!(
            report.is_clean(),
            "seed {seed}, cut after {cut} of {operations}: {:?} {:?}",
            report.damages.kept,
            report.derived.kept
        );
        with += u64::from(!checkpoints(&after).is_empty());
        unfinished += u64::from(report.notes.iter().any(|note| note.contains(".ckp")));
    }
    (with, unfinished)
}

#[test]
fn no_cut_of_the_power_looks_like_damage() {
    let run = |disk: &SimDisk| drop(crash::run_scenario(disk, crash::fixed_scripts()));
    let (with, unfinished) = assert_no_false_alarm(7, 3, run);
    assert!(with > 50 && unfinished > 5, "{with}, {unfinished}");
}

#[test]
fn no_cut_of_the_power_beside_a_compaction_looks_like_damage() {
    let run = |disk: &SimDisk| drop(compaction_crash::run(disk, compaction_crash::scripts()));
    let (with, unfinished) = assert_no_false_alarm(8, 17, run);
    assert!(with > 50 && unfinished > 5, "{with}, {unfinished}");
}
