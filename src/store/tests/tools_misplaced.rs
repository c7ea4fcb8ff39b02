//! The admin's tools where something whole lies in another's place: a block, a group, a segment.

use super::tools::{CAROL, checked, salvaged, snapshots};
use super::tools_derived::{groups, segments};
use super::world::*;
use crate::disk::Disk;
use crate::model::LogPosition;
use crate::sim::SimDisk;
use crate::store::*;
use futures::executor::block_on;

const MESSAGES: u64 = 60;

/// A store whose server was cut off: its last segment goes on, empty, behind the log.
fn cut_off(options: &StoreOptions) -> SimDisk {
    let disk = SimDisk::new(11);
    let mut world = World::open(&disk, 1, *options).expect("it opens").load_all();
    let carol = world.of(CAROL);
    for n in 0..MESSAGES {
        let body = memory(long_text(&n.to_string(), 200 + 100 * (n as usize % 9)));
        world
            .run(carol.deliver(delivery(&[CAROL], body)))
            .expect("it commits");
    }
    disk.crash(0)
}

fn swap(disk: &SimDisk, name: &str, one: usize, other: usize) {
    let mut content = disk.content(name).expect("it was listed");
    for at in 0..4096 {
        content.swap(one + at, other + at);
    }
    disk.put_content(name, content);
}

/// Of each message where its record and the pieces of its body lie.
fn places(disk: &SimDisk) -> Vec<Vec<LogPosition>> {
    let mut world = World::open(&disk.crash(1), 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(CAROL);
    let rows = store.account(CAROL, |account| account.mailboxes[&INBOX_ID].rows.clone());
    let rows = rows.expect("it exists");
    let of_row = |row: &MessageRow| {
        let message = world.run(store.open_message(CAROL, row)).expect("it reads");
        let chunks = message.chunks.iter().map(|chunk| chunk.position);
        chunks.chain([row.record]).collect()
    };
    rows.iter().map(of_row).collect()
}

/// How many messages have something in `from..to` of the segment.
fn touched(places: &[Vec<LogPosition>], name: &str, from: usize, to: usize) -> u64 {
    let is_in = |at: &LogPosition| {
        segment::segment_name(at.segment) == name && (from..to).contains(&(at.offset as usize))
    };
    places.iter().filter(|message| message.iter().any(is_in)).count() as u64
}

/// A write that went to another place: what lies where the group belongs is what lay where it went.
#[test]
fn a_block_far_from_its_place_costs_what_was_in_it() {
    let disk = cut_off(&small_options());
    let places = places(&disk);
    let mut tried = 0;
    for name in segments(&disk) {
        let content = disk.content(&name).expect("it was listed");
        let far = content.len() - 4096;
        if content[far..].iter().any(|byte| *byte != 0) {
            continue;
        }
        let groups = groups(&disk, &name);
        for pair in groups.windows(2) {
            let damaged = disk.crash(1);
            swap(&damaged, &name, pair[0], far);
            let cost = touched(&places, &name, pair[0], pair[1]);
            let report = checked(&damaged);
            let few = 4 + 2 * cost;
            assert!(
                (1..=few).contains(&report.damages.count),
                "{name} {pair:?}: {:?}",
                report.damages.kept
            );
            let (salvage, new) = salvaged(&damaged);
            assert_eq!(salvage.messages, MESSAGES - cost, "{name} {pair:?}");
            assert!(checked(&new).is_clean());
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn two_swapped_groups_cost_what_was_in_them() {
    let disk = cut_off(&small_options());
    let places = places(&disk);
    let mut tried = 0;
    for name in segments(&disk) {
        let groups = groups(&disk, &name);
        for apart in [1, 2, 7] {
            for index in 0..groups.len().saturating_sub(apart + 1) {
                let (one, other) = (index, index + apart);
                let damaged = disk.crash(1);
                swap(&damaged, &name, groups[one], groups[other]);
                let cost = touched(&places, &name, groups[one], groups[one + 1])
                    + touched(&places, &name, groups[other], groups[other + 1]);
                let (salvage, new) = salvaged(&damaged);
                assert_eq!(salvage.messages, MESSAGES - cost, "{name} {one} and {other}");
                assert!(checked(&new).is_clean());
                tried += 1;
            }
        }
    }
    assert!(tried > 30, "{tried}");
}

/// What is read does not grow with how much is damaged.
#[test]
fn many_damaged_headers_are_read_once_and_not_each_with_all_behind_it() {
    let options = StoreOptions {
        segment_bytes: 8 * 1024 * 1024,
        ..small_options()
    };
    let disk = cut_off(&options);
    let reads = |disk: &SimDisk| {
        let before = disk.operations();
        checked(disk);
        disk.operations() - before
    };
    let damaged = disk.crash(1);
    let mut headers = 0;
    for name in segments(&damaged) {
        for at in groups(&damaged, &name) {
            damaged.flip_bit(&name, at + 30, 1);
            headers += 1;
        }
    }
    assert!(headers >= MESSAGES, "{headers}");
    let (whole, damaged) = (reads(&disk), reads(&damaged));
    assert!(damaged <= whole, "{damaged} reads, {whole} of the whole store");
}

/// A file with these bytes under a name that was free.
fn put_file(disk: &SimDisk, name: &str, content: Vec<u8>) {
    block_on(disk.create(name, content.len() as u64)).expect("the name is free");
    disk.put_content(name, content);
    block_on(disk.sync_directory()).expect("the name is durable");
}

/// A start refuses, and so does `check`; all mail comes over.
fn assert_told_and_salvaged(damaged: &SimDisk, of: &SimDisk, context: &str) {
    let refused = World::open(&damaged.crash(1), 1, small_options());
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{context}");
    let report = checked(damaged);
    assert!(report.damages.count > 0, "{context}: {:?}", report.notes);
    assert_eq!(report.readable, MESSAGES, "{context}: {:?}", report.damages.kept);
    let (salvage, new) = salvaged(damaged);
    assert_eq!((salvage.messages, salvage.lost), (MESSAGES, 0), "{context}");
    assert_eq!(snapshots(&new), snapshots(&of.crash(1)), "{context}");
}

/// Those with something in them.
fn used_segments(disk: &SimDisk) -> Vec<String> {
    let mut names = segments(disk);
    names.retain(|name| !groups(disk, name).is_empty());
    names
}

#[test]
fn a_copy_of_a_segment_is_told_and_counts_for_nothing() {
    let disk = cut_off(&small_options());
    for name in used_segments(&disk) {
        let damaged = disk.crash(1);
        put_file(
            &damaged,
            "segments/00000099.seg",
            disk.content(&name).expect("it is there"),
        );
        assert_told_and_salvaged(&damaged, &disk, &name);
    }
}

#[test]
fn a_segment_under_another_name_is_told_and_read() {
    let disk = cut_off(&small_options());
    for name in used_segments(&disk) {
        let content = disk.content(&name).expect("it is there");
        for has_header in [true, false] {
            let damaged = disk.crash(1);
            block_on(damaged.remove(&name)).expect("it is there");
            put_file(&damaged, "segments/00000099.seg", content.clone());
            if !has_header {
                damaged.flip_bit("segments/00000099.seg", 13, 1);
            }
            assert_told_and_salvaged(&damaged, &disk, &format!("{name}, its header {has_header}"));
        }
    }
}

#[test]
fn two_segments_with_each_others_names_are_told_and_read() {
    let disk = cut_off(&small_options());
    let names = used_segments(&disk);
    assert!(names.len() > 2, "{names:?}");
    for pair in names.windows(2) {
        let damaged = disk.crash(1);
        let [one, other] = [&pair[0], &pair[1]].map(|name| disk.content(name).expect("it is there"));
        damaged.put_content(&pair[0], other);
        damaged.put_content(&pair[1], one);
        assert_told_and_salvaged(&damaged, &disk, &format!("{pair:?}"));
    }
}

#[test]
fn a_segment_of_another_store_is_told_by_both() {
    let disk = cut_off(&small_options());
    let header = segment::SegmentHeader {
        version: segment::FORMAT_VERSION,
        store_id: 1,
        segment: crate::model::SegmentId(0x99),
        generation: 1,
        log: 0,
        incarnation: 1,
    };
    put_file(&disk, "segments/00000099.seg", header.encode());
    let refused = World::open(&disk.crash(1), 1, small_options());
    assert!(matches!(refused, Err(OpenError::Damaged { .. })));
    assert_eq!(checked(&disk).damages.count, 1);
}
