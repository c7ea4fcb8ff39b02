//! Accounts that are not in memory: delivered to without being loaded, snapshots written as little as possible, damaged
//! ones never served.

use super::world::*;
use crate::model::{AccountId, Flags};
use crate::proto::imap::types::StoreOperation;
use crate::sim::{Chance, SimDisk};
use crate::store::*;

type TestStore = Store<SimEnvironment>;

async fn deliver(store: &TestStore, id: AccountId, tag: &str) {
    let body = memory(long_text(tag, 120));
    store
        .deliver(delivery(&[id], body))
        .await
        .expect("the disk takes it");
}

async fn flag(store: &TestStore, id: AccountId, uid: u32) {
    let change = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![crate::model::Uid::new(uid).expect("not 0")],
        operation: StoreOperation::Add,
        flags: Flags::SEEN,
        keywords: smallvec::smallvec![],
        unchanged_since: None,
    };
    store.change(id, change).await.expect("the disk takes it");
}

/// `accounts` accounts with `each` messages, on one core, closed in order.
fn filled(accounts: u64, each: usize) -> SimDisk {
    let disk = SimDisk::new(11);
    let options = StoreOptions {
        checkpoint_log_bytes: u64::MAX,
        // Pages are padded to blocks: small ones would be mostly padding, and their file wasteful.
        checkpoint_slice_bytes: 64 * 1024,
        ..crowded_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(AccountId(0));
    world.run(async {
        for n in 0..each {
            for id in (0..accounts).map(AccountId) {
                deliver(&store, id, &format!("{id}/{n}")).await;
            }
        }
    });
    world.close();
    disk
}

#[test]
fn a_delivery_loads_no_account_and_is_there_when_it_is_loaded() {
    let disk = filled(30, 3);
    let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
    let store = world.of(AccountId(0));
    let meters = store.meters();
    world.run(async {
        for id in (0..30).map(AccountId) {
            deliver(&store, id, &format!("{id}/new")).await;
        }
    });
    assert_eq!(
        (meters.account_loads.value(), meters.cold_deliveries.value()),
        (0, 30)
    );
    assert_eq!((meters.accounts.value(), meters.loaded_accounts.value()), (30, 0));
    for id in (0..30).map(AccountId) {
        let found = world.run(messages(&store, id, INBOX_ID)).expect("it is read");
        assert_eq!(
            found.iter().map(|(uid, _)| *uid).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert!(found[3].1.ends_with(&long_text(&format!("{id}/new"), 120)));
        let _pin = world.run(store.load(id)).expect("it is loaded");
        // The last one came after the start.
        let recent_from = store.account(id, |a| a.mailboxes[&INBOX_ID].recent_from.get());
        assert_eq!(recent_from, Some(4));
        let used: u64 = found.iter().map(|(_, octets)| octets.len() as u64).sum();
        assert_eq!(store.bytes_used(id), used);
    }
    world.close();
    compare_with_the_log(&disk.crash(0), 1).expect("they are equal");
}

#[test]
fn a_checkpoint_writes_what_changed_and_not_what_is_there() {
    let disk = filled(100, 10);
    let options = StoreOptions {
        checkpoint_slice_bytes: 64 * 1024,
        ..small_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(AccountId(0));
    world.pool.run_until_stalled();
    let meters = store.meters();
    let first = meters.checkpoint_bytes.value();
    // Nothing had changed since the one of the shutdown: heads of a hundred accounts, and no snapshot.
    assert!(first < 24 * 1024, "{first} bytes");
    world.run(async {
        deliver(&store, AccountId(7), "one").await;
        flag(&store, AccountId(8), 1).await;
    });
    store.inner().checkpoints.want_early(0);
    world.pool.run_until_stalled();
    assert_eq!(meters.checkpoints.value(), 2);
    let second = meters.checkpoint_bytes.value();
    assert!(second <= first + 2 * 4096, "{second} bytes after {first}");
    drop(world);
    let report = compare_with_the_log(&disk.crash(0), 1).expect("they are equal");
    assert_eq!((report.records, report.messages), (0, 1001));
}

#[test]
fn snapshots_stay_short_and_few_however_long_mail_comes_in() {
    let disk = SimDisk::new(5);
    let options = StoreOptions {
        checkpoint_log_bytes: 1,
        ..crowded_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(AccountId(0));
    let mut chance = Chance::new(8);
    for round in 0..600 {
        let id = AccountId(chance.below(12));
        let flags = round > 100 && chance.below(8) == 0;
        world.run(async {
            deliver(&store, id, &format!("r{round}")).await;
            if flags {
                flag(&store, id, 1).await;
            }
        });
        world.pool.run_until_stalled();
        let longest = {
            let state = store.inner().state.borrow();
            let cold = state.cold.values().map(|cold| cold.chain.len());
            cold.chain(state.kept.values().map(|kept| kept.chain.len())).max()
        };
        assert!(longest <= Some(8), "{longest:?} blobs");
    }
    let meters = store.meters();
    assert!(meters.snapshot_files_removed.value() > 100);
    let (live, files) = (store.inner().live_snapshots(), snapshots(&disk));
    assert_eq!(live.len(), files.len(), "every file is needed");
    let on_disk: u64 = disk
        .names()
        .iter()
        .filter(|(name, _)| name.ends_with(".snp"))
        .map(|(_, len)| *len as u64)
        .sum();
    // Half of a file may be dead, and each is padded to a block, and one more is as the newest checkpoint left it.
    let bound = 2 * live.values().sum::<u64>() + 2 * 4096 * (files.len() as u64 + 1);
    assert!(on_disk <= bound, "{on_disk} bytes on disk, {live:?}");
    drop(world);
    compare_with_the_log(&disk.crash(0), 1).expect("they are equal");
}

#[test]
fn a_checkpoint_has_every_account_that_is_made_while_it_is_written() {
    let disk = SimDisk::new(6);
    let options = StoreOptions {
        checkpoint_log_bytes: 1,
        ..crowded_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(AccountId(0));
    for n in 0..100 {
        world.run(deliver(&store, AccountId(n), "first"));
        compare_with_the_log(&disk.crash(n), 1).unwrap_or_else(|why| panic!("after {n}: {why}"));
    }
}

#[test]
fn a_flipped_bit_in_a_snapshot_is_never_served_and_healed_by_the_log() {
    let disk = filled(6, 5);
    let files: Vec<(String, usize)> = disk
        .names()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".snp"))
        .collect();
    let mut chance = Chance::new(3);
    let mut refused = 0;
    for _ in 0..60 {
        let damaged = disk.crash(0);
        let (name, len) = &files[chance.below(files.len() as u64) as usize];
        damaged.flip_bit(name, chance.below(*len as u64) as usize, chance.below(8) as u8);
        let mut world = World::open(&damaged, 1, crowded_options()).expect("it opens");
        let store = world.of(AccountId(0));
        let mut refused_now = 0;
        for id in (0..6).map(AccountId) {
            world.run(deliver(&store, id, "late"));
            match world.run(messages(&store, id, INBOX_ID)) {
                Ok(found) => assert_eq!(found.len(), 6, "{id}"),
                Err(StoreError::Damaged { .. }) => refused_now += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused_now <= 1, "one account is damaged at most");
        refused += refused_now;
        world.close();
        assert_eq!(
            checkpoints(&damaged).is_empty(),
            refused_now == 1,
            "they are void"
        );
        let mut world = World::open(&damaged, 1, crowded_options()).expect("it opens");
        let store = world.of(AccountId(0));
        for id in (0..6).map(AccountId) {
            let found = world.run(messages(&store, id, INBOX_ID)).expect("it is read");
            assert_eq!(found.len(), 6, "{id} of {name}");
        }
    }
    assert!(refused > 20, "{refused} of 60");
}

#[test]
fn a_tail_that_needs_a_damaged_snapshot_is_read_with_the_whole_log() {
    let disk = filled(3, 4);
    let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
    let store = world.of(AccountId(0));
    world.pool.run_until_stalled();
    world.run(flag(&store, AccountId(1), 2));
    drop(world);
    let (name, len) = disk
        .names()
        .into_iter()
        .find(|(name, _)| name.ends_with(".snp"))
        .expect("there is one");
    let mut from_log = 0;
    for byte in (0..len).step_by(61) {
        let damaged = disk.crash(0);
        damaged.flip_bit(&name, byte, 3);
        let env = SimEnvironment::new(damaged.clone());
        let recovered = futures::executor::block_on(recover_with(&env, 1, crowded_options()));
        let report = recovered.expect("it opens").report;
        assert_eq!(
            (report.messages, report.checkpoint == 0),
            (12, report.ignored_checkpoints > 0)
        );
        from_log += u64::from(report.checkpoint == 0);
    }
    assert!(from_log > 5, "{from_log} starts read the whole log");
}

#[test]
fn a_snapshot_file_that_is_gone_or_short_makes_the_checkpoint_none() {
    let disk = filled(3, 4);
    for name in snapshots(&disk) {
        let (gone, short) = (disk.crash(0), disk.crash(0));
        futures::executor::block_on(crate::disk::Disk::remove(&gone, &name)).expect("it is there");
        futures::executor::block_on(crate::disk::Disk::shrink(&short, &name, 0)).expect("it is there");
        for damaged in [gone, short] {
            let report = compare_with_the_log(&damaged, 1).expect("they are equal");
            assert_eq!((report.checkpoint, report.messages), (0, 12));
        }
    }
}
