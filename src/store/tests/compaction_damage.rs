//! Compaction on a disk that has gone bad in places: what can still be read is never given up for it.

use super::compaction::{churn, models};
use super::world::*;
use crate::model::{AccountId, SegmentId};
use crate::sim::{Fault, SimDisk};
use crate::store::checkpoint_state::CoveredSegment;
use crate::store::compaction::{Answer, Step};
use crate::store::frame::GroupHeader;
use crate::store::scan::LogName;
use crate::store::segment::{SegmentHeader, segment_name};
use crate::store::*;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;

const ALICE: AccountId = AccountId(1);

/// Where a segment's first group begins.
const FIRST_GROUP: u64 = 4096;

/// Every segment that the store knows, by id.
fn known(world: &World) -> Vec<CoveredSegment> {
    let inner = world.stores[0].inner();
    let mut known = inner.checkpoints.older.borrow().clone();
    known.extend(inner.log.borrow().written.iter());
    known.sort_unstable_by_key(|segment| segment.id);
    known
}

/// Mail of two starts or of one, some of it freed already.
fn partly_compacted(disk: &SimDisk, reopens: bool) -> World {
    let mut world = World::open(disk, 1, small_options()).expect("it opens");
    for round in 0..2 {
        churn(&mut world, &format!("r{round}-"));
    }
    world.compact().expect("it runs");
    for round in 2..5 {
        churn(&mut world, &format!("r{round}-"));
    }
    if reopens {
        world.close();
        world = World::open(disk, 1, small_options()).expect("it opens");
        let store = world.of(ALICE);
        world.run(another_checkpoint(&store));
    }
    world
}

/// The first group of a segment.
fn first_group(disk: &SimDisk, store_id: u64, id: SegmentId) -> u64 {
    let content = disk.content(&segment_name(id)).expect("it is there");
    let header = GroupHeader::decode(store_id, &content[FIRST_GROUP as usize..]);
    header.expect("it has a group").sequence
}

/// How the start of a segment's first group is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Flipped,
    Unreadable,
}

/// Passes over a store one of whose segments lost its first group's header. Gives segments freed.
fn compact_beside(index: usize, reopens: bool, harm: Harm) -> Option<u64> {
    let disk = SimDisk::new(31);
    let mut world = partly_compacted(&disk, reopens);
    let bad = *known(&world).get(index)?;
    let context = format!("{:?} of {reopens}, {harm:?}", bad.id);
    let store_id = world.stores[0].inner().compaction.store_id;
    let group = first_group(&disk, store_id, bad.id);
    let before = models(&mut world);
    match harm {
        Harm::Flipped => disk.flip_bit(&segment_name(bad.id), FIRST_GROUP as usize + 8, 3),
        Harm::Unreadable => disk.fail_reads(&segment_name(bad.id), FIRST_GROUP + 8, 1 << 40),
    }
    let mut freed = 0;
    for round in 0..3 {
        let report = world.compact().expect("the others can be compacted");
        freed += report.freed;
        let released = world.stores[0].inner().compaction.board.released.lock().clone();
        assert!(
            !released.has(bad.log, bad.id),
            "{context}, pass {round}: it is freed"
        );
        for run in released.runs.iter().filter(|run| run.log == bad.log) {
            let claims = run.first_group <= group && group <= run.last_group;
            assert!(!claims, "{context}, pass {round}: {run:?} claims its groups");
            let ends_before = run.has_seal && run.last_segment < bad.id;
            assert!(
                !ends_before,
                "{context}, pass {round}: {run:?} ends the log before it"
            );
        }
        assert!(disk.content(&segment_name(bad.id)).is_some(), "{context}");
        if harm == Harm::Flipped {
            assert_eq!(models(&mut world), before, "{context}");
        }
        // More of what was alive is dead in the next pass, and what lies behind is finished.
        let store = world.of(ALICE);
        world.run(another_checkpoint(&store));
    }
    Some(freed)
}

#[test]
fn a_segment_whose_first_group_is_damaged_is_never_taken_for_freed() {
    for reopens in [false, true] {
        for harm in [Harm::Flipped, Harm::Unreadable] {
            let freed: Vec<u64> = (0..)
                .map_while(|index| compact_beside(index, reopens, harm))
                .collect();
            assert!(freed.len() > 5 && freed.iter().sum::<u64>() > 10, "{freed:?}");
        }
    }
}

/// A message of ALICE whose chunks lie in many segments, and everything not in any memory.
fn scattered(disk: &SimDisk) -> (World, MessageRow, StoredMessage) {
    let mut world = World::open(disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let text = long_text("scattered", 30_000);
    let mut writer = store.body_writer();
    for (n, piece) in text.chunks(10_000).enumerate() {
        world
            .run(writer.push(Bytes::copy_from_slice(piece)))
            .expect("it fits");
        churn(&mut world, &format!("r{n}-"));
    }
    let body = world.run(writer.finish()).expect("it is whole");
    world
        .run(store.deliver(delivery(&[ALICE], body)))
        .expect("it commits");
    drop(store);
    world.close();
    let mut world = World::open(disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let _pin = world.run(store.load(ALICE)).expect("it is read");
    let rows = store.account(ALICE, |a| a.mailboxes[&INBOX_ID].rows.clone());
    let row = *rows.expect("it is there").last().expect("it was delivered");
    let record = world.run(store.open_message(ALICE, &row)).expect("it opens");
    // Whoever looks later has nothing of it in memory.
    world.close();
    let mut world = World::open(disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    (world, row, record)
}

#[test]
fn a_record_that_cannot_be_read_once_keeps_whatever_may_belong_to_it() {
    for times in [1, 1 << 40] {
        let disk = SimDisk::new(32);
        let (mut world, row, message) = scattered(&disk);
        let segments: BTreeSet<SegmentId> = message.chunks.iter().map(|c| c.position.segment).collect();
        let inside = |id: &&SegmentId| **id != row.record.segment && **id != row.body_segment;
        let victim = *segments.iter().find(inside).expect("it is scattered widely");
        disk.fail_reads(
            &segment_name(row.record.segment),
            u64::from(row.record.offset) + 8,
            times,
        );
        let store = world.of(ALICE);
        let step = Step::Move(Arc::new(BTreeSet::from([victim])));
        let answer = world.run(store.compact_step(step, &async |_| {}));
        match answer.expect("it is nobody else's trouble") {
            Answer::Moved(moved) => assert!(moved.kept.contains(&victim), "{moved:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_chunk_that_cannot_be_read_keeps_all_of_its_body() {
    let disk = SimDisk::new(33);
    let (mut world, row, message) = scattered(&disk);
    let segments: BTreeSet<SegmentId> = message.chunks.iter().map(|c| c.position.segment).collect();
    let bad = message.chunks[message.chunks.len() / 2].position;
    disk.flip_bit(&segment_name(bad.segment), bad.offset as usize + 60, 3);
    let store = world.of(ALICE);
    let mut victims = segments.clone();
    victims.insert(row.record.segment);
    let step = Step::Move(Arc::new(victims));
    let answer = world.run(store.compact_step(step, &async |_| {}));
    match answer.expect("it is nobody else's trouble") {
        Answer::Moved(moved) => assert!(moved.kept.is_superset(&segments), "{moved:?} of {segments:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unreadable_message_does_not_stop_compaction() {
    let disk = SimDisk::new(34);
    let mut world = partly_compacted(&disk, true);
    let store = world.of(ALICE);
    let _pin = world.run(store.load(ALICE)).expect("it is read");
    let rows = store.account(ALICE, |a| a.mailboxes[&INBOX_ID].rows.clone());
    let rows = rows.expect("it is there");
    let lonely = rows.iter().find(|row| !row.is_body_scattered).expect("most are");
    let name = segment_name(lonely.record.segment);
    disk.fail_reads(&name, u64::from(lonely.record.offset) + 8, 1 << 40);
    let report = world.compact().expect("it runs");
    assert!(report.freed > 2, "{report:?}");
    assert!(disk.content(&name).is_some());
}

/// The lists of freed segments.
fn lists(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".freed")).collect()
}

#[test]
fn a_list_of_freed_segments_has_a_second_copy_and_is_never_given_up() {
    let disk = SimDisk::new(35);
    let mut world = partly_compacted(&disk, true);
    world.compact().expect("it runs");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let before = models(&mut world);
    let released = world.stores[0].inner().compaction.board.released.lock().clone();
    assert!(released.number > 1 && !released.runs.is_empty());
    drop(store);
    world.close();
    let list = lists(&disk).pop().expect("there is one");
    let second = disk.content(&list).expect("it is there").len() / 2;
    for copy in [0, second] {
        for byte in [9, FIRST_GROUP as usize + 3] {
            let disk = disk.crash(1);
            disk.flip_bit(&list, copy + byte, 2);
            let mut world = World::open(&disk, 1, small_options()).expect("one copy is right");
            assert_eq!(
                *world.stores[0].inner().compaction.board.released.lock(),
                released
            );
            assert_eq!(models(&mut world), before);
        }
    }
    disk.flip_bit(&list, 9, 2);
    disk.flip_bit(&list, second + 9, 2);
    let opened = World::open(&disk, 1, small_options());
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    assert_eq!(lists(&disk), [list]);
}

/// Freed segments whose files are there.
fn left_over(world: &World, disk: &SimDisk) -> Vec<String> {
    let released = world.stores[0].inner().compaction.board.released.lock().clone();
    let is_freed = |name: &String| {
        let content = disk.content(name).unwrap_or_default();
        let header = SegmentHeader::decode(content.get(..4096).unwrap_or_default());
        header.is_ok_and(|header| {
            let log = LogName {
                incarnation: header.incarnation,
                log: header.log,
            };
            released.has(log, header.segment)
        })
    };
    let names = disk.names().into_iter().map(|(name, _)| name);
    names
        .filter(|name| name.ends_with(".seg"))
        .filter(is_freed)
        .collect()
}

#[test]
fn what_could_not_be_removed_is_removed_by_the_next_pass() {
    let operations = {
        let disk = SimDisk::new(36);
        let mut world = partly_compacted(&disk, true);
        let before = disk.operations();
        world.compact().expect("it runs");
        before..=disk.operations()
    };
    let mut failed_late = 0;
    // What comes last in a pass is the removing.
    for at in operations.rev().take(24) {
        let disk = SimDisk::new(36);
        let mut world = partly_compacted(&disk, true);
        disk.inject(Fault::ErrorAt(at));
        let failed = world.compact().is_err();
        if world.stores[0].failure().is_some() {
            continue;
        }
        failed_late += u32::from(failed && !left_over(&world, &disk).is_empty());
        world.compact().expect("nothing is in its way");
        assert_eq!(left_over(&world, &disk), [] as [String; 0], "an error at {at}");
    }
    assert!(failed_late > 2, "{failed_late}");
}
