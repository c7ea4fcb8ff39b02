//! A frozen store of format 2 with a record of every kind, which this and every later version opens.

use super::compaction::run_pass;
use super::model::{Model, Op, execute, snapshot};
use super::world::*;
use crate::disk::{Disk, DiskFile};
use crate::model::{AccountId, Flags, ModSeq, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::SimDisk;
use crate::store::tools::{check, dump};
use crate::store::*;
use bytes::Bytes;
use futures::executor::block_on;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-v2");

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

/// As `ringpost store dump` names them.
const KINDS: [&str; 25] = [
    "chunk 0 ",
    " message ",
    "AccountCreated",
    "MailboxCreated",
    "MailboxDeleted",
    "MailboxRenamed",
    "InboxRenamed",
    "Subscription",
    "StoreFlags",
    "unchanged_since: Some",
    "Expunge",
    "Transfer",
    " Spool {",
    "SpoolDone",
    "SpoolForget",
    "Seal",
    "GravesForgotten",
    "MessageMoved",
    "PartitionBegins",
    "AccountRestated",
    "ServedRestated",
    "SpoolRestated",
    "PartitionEnds",
    "Undeleted",
    " asked=",
];

/// Nothing is forgotten but by the pass that is to forget.
fn options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 32 * 1024,
        expunged_kept_ms: 1_000,
        ..small_options()
    }
}

fn run(world: &mut World, id: AccountId, ops: &[Op]) {
    let store = world.of(id);
    for op in ops {
        world.run(execute(&store, id, op)).expect("it commits");
    }
}

/// A little mail of which most goes.
fn churn(world: &mut World, id: AccountId, tag: &str) {
    let s = str::to_owned;
    let store = world.of(id);
    let _pin = world.run(store.load(id)).expect("it is read");
    let first = store
        .account(id, |account| account.mailboxes[&INBOX_ID].uid_next)
        .unwrap_or(1);
    let mut ops: Vec<Op> = (0..10)
        .map(|n| Op::Deliver(long_text(&format!("{tag}{n}"), 500 + 700 * n)))
        .collect();
    ops.extend([
        Op::StoreFlags(
            s("INBOX"),
            vec![first],
            StoreOperation::Add,
            Flags::SEEN,
            vec![s("kept")],
        ),
        Op::Transfer(s("INBOX"), vec![first, first + 1], s("Archive"), false),
        Op::Transfer(s("INBOX"), vec![first + 2], s("Archive"), true),
        Op::Expunge(s("INBOX"), (first + 3..first + 9).collect(), false),
    ]);
    run(world, id, &ops);
}

/// A spooled message of which one recipient of two has its copy.
fn half_served(world: &mut World) -> SpoolEntry {
    let store = world.stores[0].clone();
    let mut recipients = vec![recipient(ALICE), recipient(BOB)];
    recipients[1].asked = Bytes::from_static(b"RET=HDRS\r\nNOTIFY=FAILURE");
    let spooled = world.run(store.spool(recipients, memory(long_text("spooled", 900)), date()));
    let (_, entry) = spooled.expect("it commits");
    serve(world, &entry, 0);
    entry
}

fn serve(world: &mut World, entry: &SpoolEntry, index: u16) {
    let recipient = entry.recipients[usize::from(index)].clone();
    let store = world.of(recipient.account);
    let delivery = Delivery {
        recipients: vec![recipient],
        body: entry.body.clone(),
        internal_date: entry.internal_date,
        key: Some((entry.key, vec![index])),
    };
    world.run(store.deliver(delivery)).expect("it commits");
}

/// The store, with something of every kind that compaction has not freed.
fn every_kind() -> SimDisk {
    let s = str::to_owned;
    let disk = SimDisk::new(6);
    let mut world = World::open(&disk, 2, options()).expect("it opens");
    for round in 0..3 {
        for id in [ALICE, BOB] {
            churn(&mut world, id, &format!("r{round}-"));
        }
    }
    half_served(&mut world);
    world.close();
    let mut world = World::open(&disk, 2, options()).expect("it opens");
    let stores = world.stores.clone();
    for store in &stores {
        world.run(another_checkpoint(store));
    }
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_002_000));
    assert!(world.run(run_pass(stores)).expect("it runs").freed > 2);
    // What comes now stays.
    churn(&mut world, AccountId(7), "new");
    let first = |world: &mut World| {
        let store = world.of(BOB);
        let _pin = world.run(store.load(BOB)).expect("it is read");
        store
            .account(BOB, |account| account.mailboxes[&INBOX_ID].uid_next)
            .expect("it is there")
    };
    let uid = first(&mut world);
    churn(&mut world, BOB, "late");
    let ops = [
        Op::Create(s("Work/Deep")),
        Op::Append(s("Work/Deep"), long_text("work", 400), Flags::DRAFT),
        Op::Rename(s("Work"), s("Play")),
        Op::Create(s("Gone")),
        Op::Append(s("Gone"), long_text("gone", 300), Flags::FLAGGED),
        Op::Delete(s("Gone")),
        Op::DeliverLong(long_text("long", 9_000)),
    ];
    run(&mut world, BOB, &ops);
    run(&mut world, AccountId(7), &[Op::Rename(s("INBOX"), s("Old"))]);
    let store = world.of(BOB);
    let subscribe = Change::Subscribe {
        name: name("Play"),
        subscribed: true,
    };
    world.run(store.change(BOB, subscribe)).expect("it commits");
    let change = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::new(uid).expect("not 0")],
        operation: StoreOperation::Replace,
        flags: Flags::ANSWERED,
        keywords: smallvec::smallvec![],
        unchanged_since: Some(ModSeq(u64::MAX >> 1)),
    };
    world.run(store.change(BOB, change)).expect("it commits");
    let wanted = Wanted {
        mailbox: Some(name("INBOX")),
        since: None,
    };
    assert_eq!(world.run(store.undelete(BOB, &wanted)), Ok(6));
    let entry = half_served(&mut world);
    serve(&mut world, &entry, 1);
    world
        .run(world.stores[0].clone().spool_done(entry.key))
        .expect("it commits");
    for store in world.stores.clone() {
        world.run(store.spool_forget(entry.key)).expect("it commits");
    }
    half_served(&mut world);
    drop(store);
    world.close();
    // Gives back what was never used.
    let env = SimEnvironment::new(disk.clone());
    block_on(recover_with(&env, 1, options())).expect("it opens");
    disk
}

fn dumped(disk: &SimDisk) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
        ControlFlow::Continue(())
    };
    block_on(dump(disk.clone(), None, &mut line)).expect("there is a store");
    text
}

/// What is to be read: mailboxes, then what is spooled, then the same after everything expunged is brought back.
fn outline(disk: &SimDisk) -> String {
    let mut world = World::open(disk, 1, options()).expect("it opens").load_all();
    let store = world.of(ALICE);
    let mut text = mailboxes(&mut world);
    for entry in store.unfinished_spool() {
        let octets = entry.body.len();
        let names = entry.recipients.iter().map(|r| (r.account, r.asked.clone()));
        text += &format!("spooled {octets} octets for {:?}\n", names.collect::<Vec<_>>());
    }
    for id in store.account_ids() {
        let count = world
            .run(store.undelete(id, &Wanted::default()))
            .expect("it reads");
        text += &format!("account {id}: {count} brought back\n");
    }
    text + &mailboxes(&mut world)
}

fn mailboxes(world: &mut World) -> String {
    let store = world.of(ALICE);
    let mut text = String::new();
    for id in store.account_ids() {
        let model: Model = world.run(snapshot(&store, id)).expect("it reads");
        for (name, mailbox) in &model.0 {
            text += &format!("account {id} {name:?} uidnext {}\n", mailbox.uid_next);
            for (uid, flags, keywords, octets) in &mailbox.messages {
                let (len, crc) = (octets.len(), crate::base::crc32c(octets));
                text += &format!("  {uid} flags {flags} {keywords:?} {len} octets {crc:08x}\n");
            }
        }
    }
    text
}

fn assert_has_every_kind(disk: &SimDisk) {
    let text = dumped(disk);
    let missing: Vec<_> = KINDS.iter().filter(|kind| !text.contains(**kind)).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
}

/// Writes the fixture, too, if `RINGPOST_WRITE_FIXTURE` is set. Only ever with the program that first writes a format
/// version; a fixture is never renewed.
#[test]
fn a_store_with_a_record_of_every_kind_is_read_the_same_from_its_log() {
    let disk = every_kind();
    assert_has_every_kind(&disk);
    compare_with_the_log(&disk, 2).expect("the log says the same");
    let expected = outline(&disk.crash(0));
    if std::env::var_os("RINGPOST_WRITE_FIXTURE").is_none() {
        return;
    }
    std::fs::create_dir_all(format!("{FIXTURE}/segments")).expect("it can be made");
    let is_derived = |name: &str| name.ends_with(".ckp") || name.ends_with(".snp");
    for (name, _) in disk.names().iter().filter(|(name, _)| !is_derived(name)) {
        let content = disk.content(name).expect("it was listed");
        std::fs::write(format!("{FIXTURE}/{name}"), content).expect("it is written");
    }
    std::fs::write(format!("{FIXTURE}/expected.txt"), expected).expect("it is written");
}

fn fixture() -> (SimDisk, String) {
    let disk = SimDisk::new(1);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let read = |name: &str| std::fs::read(Path::new(FIXTURE).join(name)).expect("the fixture is there");
    files.insert("STORE".to_owned(), read("STORE"));
    for entry in std::fs::read_dir(format!("{FIXTURE}/segments")).expect("the fixture is there") {
        let name = entry.expect("it is listed").file_name();
        let name = format!("segments/{}", name.to_str().expect("it is ASCII"));
        files.insert(name.clone(), read(&name));
    }
    for (name, content) in files {
        let file = block_on(disk.create(&name, content.len() as u64)).expect("it is new");
        disk.put_content(&name, content);
        block_on(file.sync()).expect("nothing fails");
    }
    block_on(disk.sync_directory()).expect("nothing fails");
    (disk, String::from_utf8(read("expected.txt")).expect("UTF-8"))
}

#[test]
fn a_store_of_format_2_opens_and_reads_as_it_was_written() {
    let (disk, expected) = fixture();
    assert_has_every_kind(&disk);
    let report = block_on(check(disk.clone(), &mut |_, _| {})).expect("there is a store");
    assert!(report.is_clean(), "{:?}", report.damages.kept);
    assert_eq!(outline(&disk), expected);
}
