//! A log whose end is gone without a seal looks cut off; what other logs and checkpoints say of it tells.

use super::tools::{checked, salvaged};
use super::tools_derived::{groups, segments, zero_from};
use super::world::*;
use crate::disk::Disk;
use crate::model::{AccountId, SegmentId};
use crate::sim::{Fault, SimDisk};
use crate::store::checkpoint_load::load;
use crate::store::segment::segment_name;
use crate::store::*;
use futures::executor::block_on;

const CORES: usize = 2;

fn account_of(core: usize) -> AccountId {
    let mut ids = (1..).map(AccountId);
    ids.find(|id| id.partition().core(CORES) == core)
        .expect("every core owns accounts")
}

fn segment_of_log(disk: &SimDisk, log: u16) -> String {
    let is_of = |name: &String| {
        let content = disk.content(name).expect("it was listed");
        content[28..30] == log.to_le_bytes() && !groups(disk, name).is_empty()
    };
    segments(disk).into_iter().rfind(is_of).expect("it has one")
}

fn assert_missed(disk: &SimDisk, context: &str) {
    let before = disk.names();
    let opened = World::open(disk, CORES, small_options());
    assert!(
        matches!(opened, Err(OpenError::Damaged { .. })),
        "{context} is not missed"
    );
    assert_eq!(disk.names(), before, "{context}");
    assert!(checked(disk).damages.count > 0, "{context}");
    assert!(!salvaged(disk).0.is_complete(), "{context}");
}

/// Mail is put into INBOX of core 0's account, and expunged if so; its body lies in the log of core 1.
fn with_body_elsewhere(is_expunged: bool) -> SimDisk {
    let disk = SimDisk::new(3);
    let mut world = World::open(&disk, CORES, small_options()).expect("it opens");
    let (reader, keeper) = (account_of(0), account_of(1));
    let (own, other) = (world.of(reader), world.of(keeper));
    for n in 0..4 {
        let body = memory(format!("of another {n}"));
        world
            .run(other.deliver(delivery(&[keeper], body)))
            .expect("it commits");
    }
    let mut writer = other.body_writer();
    for piece in long_text("mail", 12_000).chunks(1_000) {
        let piece = bytes::Bytes::copy_from_slice(piece);
        world.run(writer.push(piece)).expect("it takes it");
    }
    let body = world.run(writer.finish()).expect("it is durable");
    world
        .run(own.deliver(delivery(&[reader], body)))
        .expect("it commits");
    if is_expunged {
        let expunge = Change::Expunge {
            mailbox: INBOX_ID,
            uids: vec![crate::model::Uid::FIRST],
            only_deleted: false,
        };
        world.run(own.change(reader, expunge)).expect("it commits");
    }
    disk.crash(0)
}

#[test]
fn a_log_that_ends_before_a_body_that_another_log_names_is_missed() {
    for is_expunged in [false, true] {
        let disk = with_body_elsewhere(is_expunged);
        assert!(World::open(&disk.crash(0), CORES, small_options()).is_ok());
        assert!(checked(&disk).is_clean());
        let name = segment_of_log(&disk, 1);
        for at in groups(&disk, &name) {
            let damaged = disk.crash(1);
            zero_from(&damaged, &name, at);
            assert_missed(&damaged, &format!("{name} from {at}, {is_expunged}"));
        }
        let damaged = disk.crash(1);
        block_on(damaged.remove(&name)).expect("it is there");
        assert_missed(&damaged, &format!("{name}, {is_expunged}"));
    }
}

/// The body lies with whom it is for; the spool record alone is gone.
#[test]
fn a_log_that_ends_before_what_was_delivered_from_its_spool_is_missed() {
    let disk = SimDisk::new(4);
    let mut world = World::open(&disk, CORES, small_options()).expect("it opens");
    let account = account_of(1);
    let (spooler, owner) = (world.stores[0].clone(), world.of(account));
    let mut writer = owner.body_writer();
    for piece in long_text("mail", 12_000).chunks(1_000) {
        let piece = bytes::Bytes::copy_from_slice(piece);
        world.run(writer.push(piece)).expect("it takes it");
    }
    let body = world.run(writer.finish()).expect("it is durable");
    let spooled = world.run(spooler.spool(vec![recipient(account)], body, date()));
    let (_, entry) = spooled.expect("it commits");
    let served = Delivery {
        key: Some((entry.key, vec![0])),
        ..delivery(&[account], entry.body.clone())
    };
    world.run(owner.deliver(served)).expect("it commits");
    drop((spooler, owner, world));
    let disk = disk.crash(0);
    assert!(World::open(&disk.crash(0), CORES, small_options()).is_ok());
    assert!(checked(&disk).is_clean());
    let name = segment_of_log(&disk, 0);
    let damaged = disk.crash(1);
    block_on(damaged.remove(&name)).expect("it is there");
    assert_missed(&damaged, &name);
}

/// Accounts that go on getting mail until the power fails, after so many operations of the disk.
fn cut_off_while_busy(cut: u64) -> SimDisk {
    let disk = SimDisk::new(cut);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.stores[0].clone();
    disk.inject(Fault::CutAfter(disk.operations() + cut));
    let busy = (1..300).map(AccountId).map(|id| {
        let store = store.clone();
        async move {
            let deliver = || store.deliver(delivery(&[id], memory(long_text("x", 700))));
            while deliver().await.is_ok() {}
        }
    });
    world.run(futures::future::join_all(busy));
    disk.crash(0)
}

/// Slices of a checkpoint are encoded while the core serves, so that it may hold what was committed in a segment behind the
/// one in which it began.
#[test]
fn a_log_that_ends_before_what_a_checkpoint_holds_is_missed() {
    let mut ahead = 0;
    for cut in (200..2_000).step_by(60) {
        let disk = cut_off_while_busy(cut);
        let files = block_on(disk.list()).expect("nothing fails");
        let store_id = SimEnvironment::new(disk.clone()).random_u64();
        let Some(base) = block_on(load(&disk, store_id, &files)).base else {
            continue;
        };
        let furthest = base.ahead.values().max().copied();
        let begun = base.headers[0].position.segment;
        let Some(furthest) = furthest.filter(|furthest| furthest.segment > begun) else {
            continue;
        };
        ahead += 1;
        if ahead > 3 {
            return;
        }
        assert!(World::open(&disk.crash(0), 1, small_options()).is_ok());
        for id in begun.0 + 1..=furthest.segment.0 {
            let damaged = disk.crash(1);
            for (name, _) in damaged.names() {
                if name.ends_with(".seg") && name >= segment_name(SegmentId(id)) {
                    block_on(damaged.remove(&name)).expect("it is there");
                }
            }
            let opened = World::open(&damaged, 1, small_options());
            assert!(
                matches!(opened, Err(OpenError::Damaged { .. })),
                "cut after {cut}"
            );
            assert!(checked(&damaged).damages.count > 0, "cut after {cut}");
        }
    }
    assert!(ahead > 0, "no checkpoint was ahead of its position");
}
