//! What reading ahead spares the disk.

use super::world::*;
use crate::model::{AccountId, Flags};
use crate::sim::SimDisk;
use crate::store::*;
use smallvec::smallvec;

const ALICE: AccountId = AccountId(1);
const MESSAGES: usize = 12;
const COMMANDS: usize = 3;

/// All of a command's bodies lie before all of its records, so no body lies right before its own.
fn appended_by_one_command() -> Change {
    let message = |number: usize| NewMessage {
        flags: Flags::default(),
        keywords: smallvec![],
        internal_date: date(),
        body: memory(long_text(&number.to_string(), 3_000)),
    };
    Change::Append {
        mailbox: INBOX_ID,
        messages: (0..MESSAGES).map(message).collect(),
        quota: crate::model::Quota::NONE,
        replaces: None,
    }
}

#[test]
fn messages_of_one_append_are_read_ahead_with_few_reads() {
    let options = StoreOptions {
        segment_bytes: 512 * 1024,
        group_bytes_max: 256 * 1024,
        body_in_memory_bytes_max: 128 * 1024,
        ..small_options()
    };
    let disk = SimDisk::new(1);
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    world.run(store.ensure_account(ALICE)).expect("it is made");
    for _ in 0..COMMANDS {
        world
            .run(store.change(ALICE, appended_by_one_command()))
            .expect("it commits");
    }
    world.close();

    // Nothing of them is in memory now.
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    world.run(another_checkpoint(&store));
    let _pin = world.run(store.load(ALICE)).expect("it loads");
    let rows = store.account(ALICE, |a| a.mailboxes[&INBOX_ID].rows.clone());
    let rows = rows.expect("it is loaded");
    let before = disk.operations();
    world.run(store.read_ahead(rows.iter()));
    let ahead = disk.operations() - before;
    let count = rows.len() as u64;
    assert!(
        ahead < count / 2,
        "{ahead} operations for {count} messages that lie together"
    );
    let read = world.run(messages(&store, ALICE, INBOX_ID)).expect("it reads");
    assert_eq!(read.len(), MESSAGES * COMMANDS);
    assert_eq!(disk.operations() - before, ahead, "everything was there already");
}
