//! What left a mailbox is remembered: for sessions that synchronise, over restarts, from the log and from checkpoints.

use super::model::{Op, execute};
use super::world::*;
use crate::model::{AccountId, Flags, ModSeq};
use crate::sim::SimDisk;
use crate::store::*;

const ALICE: AccountId = AccountId(1);

fn uids(numbers: &[u32]) -> Option<Vec<u32>> {
    Some(numbers.to_vec())
}

/// What a session that last saw `mod_seq` hears of a mailbox.
fn expunged(store: &Store<SimEnvironment>, mailbox: &str, mod_seq: u64) -> Option<Vec<u32>> {
    let of = |account: &AccountState| {
        let mailbox = account.mailbox_named(&name(mailbox)).expect("it is there");
        let uids = mailbox.expunged_since(ModSeq(mod_seq))?;
        Some(uids.iter().map(|uid| uid.value()).collect())
    };
    store.account(ALICE, of).flatten()
}

fn mod_seq(store: &Store<SimEnvironment>) -> u64 {
    store
        .account(ALICE, |a| a.highest_mod_seq.0)
        .expect("it is there")
}

fn script(world: &mut World, ops: Vec<Op>) {
    let store = world.of(ALICE);
    for op in ops {
        world.run(execute(&store, ALICE, &op)).expect("it commits");
    }
}

#[test]
fn what_left_a_mailbox_since_a_modseq_is_known_also_after_restarts() {
    let disk = SimDisk::new(1);
    let s = str::to_owned;
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    script(
        &mut world,
        (0..6).map(|n| Op::Deliver(vec![b'a' + n; 50])).collect(),
    );
    let store = world.of(ALICE);
    let before = mod_seq(&store);
    script(&mut world, vec![Op::Expunge(s("INBOX"), vec![2, 5], false)]);
    let between = mod_seq(&store);
    script(
        &mut world,
        vec![Op::Transfer(s("INBOX"), vec![3], s("Trash"), true)],
    );
    // Nothing of these is left behind.
    script(
        &mut world,
        vec![
            Op::Expunge(s("INBOX"), vec![1], true),
            Op::Transfer(s("INBOX"), vec![4], s("Trash"), false),
        ],
    );
    let check = |store: &Store<SimEnvironment>| {
        assert_eq!(expunged(store, "INBOX", before), uids(&[2, 3, 5]));
        assert_eq!(expunged(store, "INBOX", between), uids(&[3]));
        assert_eq!(expunged(store, "INBOX", mod_seq(store)), uids(&[]));
        assert_eq!(expunged(store, "Trash", 0), uids(&[]));
    };
    check(&store);
    drop(store);
    world.close();
    for without_checkpoints in [false, true] {
        if without_checkpoints {
            remove_checkpoints(&disk);
        }
        let world = World::open(&disk, 1, small_options())
            .expect("it opens")
            .load_all();
        check(&world.of(ALICE));
        world.close();
    }
}

#[test]
fn a_renamed_inbox_and_a_deleted_mailbox_leave_graves() {
    let disk = SimDisk::new(2);
    let s = str::to_owned;
    let mut world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    script(
        &mut world,
        vec![
            Op::Deliver(b"one".to_vec()),
            Op::Deliver(b"two".to_vec()),
            Op::Rename(s("INBOX"), s("Old")),
            Op::Append(s("Old"), b"three".to_vec(), Flags::SEEN),
            Op::Expunge(s("Old"), vec![1], false),
            Op::Delete(s("Old")),
        ],
    );
    assert_eq!(expunged(&world.of(ALICE), "INBOX", 0), uids(&[1, 2]));
    world.close();
    remove_checkpoints(&disk);
    let world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(ALICE);
    let buried = store.account(ALICE, |a| a.buried.clone()).expect("it is there");
    let [old] = buried.as_slice() else {
        panic!("one mailbox was deleted: {buried:?}");
    };
    assert_eq!(old.name, name("Old"));
    let left: Vec<u32> = old.graves.iter().map(|grave| grave.row.uid.value()).collect();
    assert_eq!(left, [1, 2, 3]);
    assert!(old.graves.iter().all(|grave| !grave.has_moved && grave.at.0 > 0));
    assert_eq!(store.account(ALICE, |a| a.bytes_used), Some(0));
}
