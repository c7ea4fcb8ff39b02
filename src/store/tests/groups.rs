//! How the changes of callers who come back together are cut into groups.

use super::world::memory;
use crate::base::oneshot;
use crate::model::{PARTITIONS, SPOOL_PARTITIONS};
use crate::sim::disk::{SimDisk, SimFileHandle};
use crate::store::group::Group;
use crate::store::log::{Log, LogStart, Room};
use crate::store::plan::Plan;
use crate::store::record::Record;
use crate::store::segment::{FORMAT_VERSION, SegmentHeader};
use crate::store::writer::create_segment;
use crate::store::{SpoolKey, StoreOptions};
use futures::executor::block_on;
use std::sync::atomic::AtomicU32;

type SimLog = Log<SimFileHandle>;

fn empty_log(group_bytes_max: usize) -> SimLog {
    let disk = SimDisk::new(1);
    let header = |segment| SegmentHeader {
        version: FORMAT_VERSION,
        store_id: 1,
        segment,
        generation: 1,
        log: 0,
        incarnation: 1,
    };
    let next = AtomicU32::new(1);
    let made = create_segment(&disk, &next, 32 * 1024 * 1024, header);
    Log::new(LogStart {
        number: 0,
        incarnation: 1,
        store_id: 1,
        segment: block_on(made).expect("the disk takes it"),
        sequences: vec![0; usize::from(PARTITIONS + SPOOL_PARTITIONS)],
        options: StoreOptions {
            group_bytes_max,
            ..StoreOptions::default()
        },
    })
}

/// Octets that each caller brings.
const OCTETS: usize = 4 * 1024;

fn commit(log: &mut SimLog, callers: usize) {
    let bodies = [memory(vec![b'x'; OCTETS])];
    for sequence in 0..callers as u64 {
        let made = log.make_room(OCTETS + 128).expect("the log is open");
        assert!(matches!(made, Room::Ready), "nobody waits for so little");
        log.put_bodies(&bodies);
        let key = SpoolKey {
            partition: PARTITIONS,
            sequence,
        };
        let (waiter, _) = oneshot::channel();
        log.put_batch(Plan::of_record(Record::SpoolDone { key }), waiter);
    }
}

/// Callers come back when the group behind theirs is being written, as `writer` answers them. Gives how many were in each of
/// `rounds` groups.
fn groups_of(log: &mut SimLog, cohorts: [usize; 2], rounds: usize) -> Vec<usize> {
    let take = |log: &mut SimLog| {
        let group: Option<Group<SimFileHandle>> = log.take_group();
        group.expect("somebody came back").batches.len()
    };
    commit(log, cohorts[0]);
    let mut sizes = vec![take(log)];
    let mut back = cohorts[1];
    for _ in 1..rounds {
        commit(log, back);
        back = sizes[sizes.len() - 1];
        sizes.push(take(log));
    }
    sizes
}

#[test]
fn a_long_and_a_short_group_become_equal_and_no_more_than_two() {
    let mut log = empty_log(4 * 1024 * 1024);
    let sizes = groups_of(&mut log, [180, 76], 40);
    let last = &sizes[30..];
    assert!(last.iter().all(|size| (108..=148).contains(size)), "{sizes:?}");
    // Every sync carries as many changes as before: half of what waits.
    let mean = last.iter().sum::<usize>() / last.len();
    assert!((118..=138).contains(&mean), "{sizes:?}");
}

#[test]
fn a_group_behind_one_that_waits_grows_to_the_limit() {
    let mut log = empty_log(1024 * 1024);
    commit(&mut log, 10);
    log.take_group().expect("ten came");
    // The first ends early, and nothing is taken meanwhile: what comes then is one group, up to the limit.
    commit(&mut log, 150);
    let sizes: Vec<usize> = std::iter::from_fn(|| log.take_group())
        .map(|group| group.batches.len())
        .collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 150);
    assert!(sizes[0] < sizes[1], "{sizes:?}");
}
