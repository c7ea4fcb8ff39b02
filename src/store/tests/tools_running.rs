//! Looks at a store while its server works on: what the server vouches for is verified, what lies behind is nobody's business.

use super::model::{execute, fixed_script, random_script};
use super::tools::checked;
use super::world::*;
use crate::disk::BLOCK_BYTES;
use crate::model::{AccountId, LogPosition};
use crate::sim::SimDisk;
use crate::store::scan::LogName;
use crate::store::segment::segment_name;
use crate::store::tools::*;
use crate::store::*;
use futures::executor::block_on;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// Checkpoints come when they are asked for: a look takes them before it asks how far the log is.
fn options() -> StoreOptions {
    StoreOptions {
        checkpoint_log_bytes: u64::MAX,
        ..small_options()
    }
}

/// A running server, and how many messages it had when it was asked how far its logs are.
struct Running {
    world: World,
    disk: SimDisk,
    frontiers: Frontiers,
    messages: u64,
}

fn frontiers(world: &World) -> Frontiers {
    let of = |store: &Store<SimEnvironment>| {
        let meters = store.meters();
        let log = store.inner().log.borrow();
        assert_eq!(meters.durable_to(), log.durable_to);
        assert_eq!(meters.incarnation.value(), i64::from(log.incarnation));
        let name = LogName {
            incarnation: log.incarnation,
            log: log.number,
        };
        (name, meters.durable_to())
    };
    world.stores.iter().map(of).collect()
}

fn message_count(world: &World) -> u64 {
    let accounts = [ALICE, BOB].map(|id| {
        let count = |account: &AccountState| -> usize {
            account.mailboxes.values().map(|mailbox| mailbox.rows.len()).sum()
        };
        world.of(id).account(id, count).unwrap_or(0) as u64
    });
    accounts.iter().sum()
}

/// A server in its second start, that goes on after it was asked.
fn running(seed: u64) -> Running {
    let disk = SimDisk::new(seed);
    let mut world = World::open(&disk, 1, options()).expect("it opens").load_all();
    let alice = world.of(ALICE);
    for op in fixed_script("a") {
        world.run(execute(&alice, ALICE, &op)).expect("it commits");
    }
    world.close();
    let mut world = World::open(&disk, 2, options()).expect("it opens").load_all();
    let bob = world.of(BOB);
    for op in random_script(seed, BOB, 60) {
        world.run(execute(&bob, BOB, &op)).expect("it commits");
    }
    world.run(another_checkpoint(&bob));
    world
        .run(bob.deliver(delivery(&[BOB], memory(long_text("last", 9_000)))))
        .expect("it commits");
    let (frontiers, messages) = (frontiers(&world), message_count(&world));
    for number in 0..30 {
        let store = world.of(ALICE);
        let later = delivery(&[ALICE], memory(long_text(&format!("later {number}"), 3_000)));
        world.run(store.deliver(later)).expect("it commits");
        let later = delivery(&[BOB], memory(long_text(&format!("later {number}"), 5_000)));
        world.run(bob.deliver(later)).expect("it commits");
    }
    let disk = disk.crash(0);
    Running {
        world,
        disk,
        frontiers,
        messages,
    }
}

impl Running {
    fn check(&self, disk: &SimDisk) -> CheckReport {
        let progress = &mut |_, _| {};
        let checked = check_up_to(disk.clone(), self.frontiers.clone(), progress);
        block_on(checked).expect("there is a store")
    }

    /// Behind the newest message that counts, a block at least before the frontier.
    fn newest(&self) -> LogPosition {
        *self.frontiers.values().max().expect("there are two logs")
    }
}

#[test]
fn what_was_durable_when_the_server_was_asked_is_whole_and_nothing_else_counts() {
    for seed in 0..6 {
        let running = running(seed);
        let report = running.check(&running.disk);
        assert!(
            report.is_clean(),
            "seed {seed}: {:?} {:?}",
            report.damages.kept,
            report.derived.kept
        );
        assert_eq!(report.messages, running.messages, "seed {seed}");
        assert_eq!(report.readable, report.messages);
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        running.world.close();
    }
}

#[test]
fn a_log_without_a_group_yet_is_whole() {
    let disk = SimDisk::new(1);
    let world = World::open(&disk, 2, options()).expect("it opens");
    let report = block_on(check_up_to(disk.clone(), frontiers(&world), &mut |_, _| {}));
    let report = report.expect("there is a store");
    assert!(report.is_clean(), "{:?}", report.damages.kept);
    assert_eq!((report.messages, report.counts.groups), (0, 0));
}

/// Without a server's word the last acknowledged group has no witness: its damage looks like a torn tail.
#[test]
fn damage_in_the_last_durable_group_is_told_with_its_message() {
    let running = running(3);
    let newest = running.newest();
    let name = segment_name(newest.segment);
    let harmed = running.disk.crash(0);
    // In the second chunk of a body of three.
    harmed.flip_bit(&name, newest.offset as usize - BLOCK_BYTES, 3);
    let report = running.check(&harmed);
    let told = report
        .damages
        .kept
        .iter()
        .filter_map(|damage| damage.mail.as_ref());
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{:?}", report.damages.kept);
    assert_eq!(
        (told[0].account, told[0].mailbox.as_deref()),
        (BOB, Some("INBOX"))
    );
    assert!(told[0].uid.is_some());
    assert_eq!(report.readable + 1, report.messages);
    running.world.close();
}

#[test]
fn every_block_before_the_frontier_counts_and_none_behind_it() {
    let running = running(4);
    for (log, frontier) in &running.frontiers {
        let name = segment_name(frontier.segment);
        let len = running.disk.content(&name).expect("it is there").len();
        for block in (0..len).step_by(BLOCK_BYTES) {
            let harmed = running.disk.crash(0);
            harmed.flip_bit(&name, block + 70, 5);
            let is_clean = running.check(&harmed).is_clean();
            let counts = block < frontier.offset as usize;
            assert_eq!(is_clean, !counts, "{log:?}, block at {block} of {frontier}");
        }
    }
    running.world.close();
}

#[test]
fn an_end_that_is_gone_is_damage_though_nothing_behind_it_says_so() {
    let running = running(5);
    let frontiers = running.frontiers.values();
    // A log without a group has no end to lose.
    let used = frontiers.filter(|frontier| frontier.offset as usize > BLOCK_BYTES);
    let used: Vec<_> = used.collect();
    assert!(!used.is_empty());
    for frontier in used {
        let name = segment_name(frontier.segment);
        let harmed = running.disk.crash(0);
        let mut content = harmed.content(&name).expect("it is there");
        content[frontier.offset as usize - BLOCK_BYTES..].fill(0);
        harmed.put_content(&name, content);
        assert!(!running.check(&harmed).is_clean(), "{frontier}");
    }
    running.world.close();
}

/// The same store is whole for those who come when the server has ended.
#[test]
fn the_server_ends_in_order_all_the_same() {
    let disk = SimDisk::new(9);
    let world = World::open(&disk, 2, options()).expect("it opens");
    let frontiers = frontiers(&world);
    block_on(check_up_to(disk.clone(), frontiers, &mut |_, _| {})).expect("there is a store");
    world.close();
    assert!(checked(&disk.crash(0)).is_clean());
}
