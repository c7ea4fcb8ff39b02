//! What is dead is given back, and nothing else: over restarts, with and without checkpoints, under cuts and errors.

use super::model::{Model, Op, execute, snapshot};
use super::world::*;
use crate::disk::Disk;
use crate::model::{AccountId, Flags, MailboxId, Uid};
use crate::sim::SimDisk;
use crate::store::compaction::{PLANTED, PassReport, PlantedBug, compact};
use crate::store::tools::{check, stat};
use crate::store::*;
use bytes::Bytes;
use futures::executor::block_on;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

impl World {
    /// One pass over all cores.
    pub fn compact(&mut self) -> Result<PassReport, StoreError> {
        let stores = self.stores.clone();
        self.run(run_pass(stores))
    }
}

pub async fn run_pass(stores: Vec<Store<SimEnvironment>>) -> Result<PassReport, StoreError> {
    let ask = async |core: usize, step| stores[core].compact_step(step, &async |_| {}).await;
    compact(&stores[0], stores.len(), &ask).await
}

fn segments(disk: &SimDisk) -> usize {
    let names = disk.names();
    names.iter().filter(|(name, _)| name.ends_with(".seg")).count()
}

pub fn models(world: &mut World) -> Vec<Model> {
    [ALICE, BOB]
        .into_iter()
        .map(|id| {
            let store = world.of(id);
            world.run(snapshot(&store, id)).expect("it reads")
        })
        .collect()
}

/// Mail of which most is expunged, and enough behind it that the log of the deliveries is finished.
pub fn churn(world: &mut World, tag: &str) {
    let s = str::to_owned;
    for id in [ALICE, BOB] {
        let store = world.of(id);
        let _pin = world.run(store.load(id)).expect("it is read");
        let first = store.account(id, |a| {
            a.mailbox_named(&name("INBOX")).expect("it is there").uid_next
        });
        let first = first.unwrap_or(1);
        for n in 0..30 {
            let op = Op::Deliver(long_text(&format!("{tag}{id}-{n}"), 200 + 613 * n % 6_000));
            world.run(execute(&store, id, &op)).expect("it commits");
        }
        let both = delivery(&[id], memory(long_text(&format!("{tag}long{id}"), 3_000)));
        world.run(store.deliver(both)).expect("it commits");
        let gone = (first..first + 30)
            .filter(|uid: &u32| !uid.is_multiple_of(5))
            .collect();
        let ops = [
            Op::Transfer(s("INBOX"), vec![first + 4, first + 9], s("Archive"), false),
            Op::Expunge(s("INBOX"), gone, false),
            Op::Annotate(s("INBOX"), "/private/comment", Some(tag.as_bytes().to_vec())),
            Op::DeliverLong(long_text(&format!("{tag}{id}"), 21_000)),
        ];
        for op in ops {
            world.run(execute(&store, id, &op)).expect("it commits");
        }
    }
}

#[test]
fn dead_bytes_are_given_back_and_everything_else_stays() {
    for cores in [1, 2] {
        let disk = SimDisk::new(7);
        let mut world = World::open(&disk, cores, small_options()).expect("it opens");
        for round in 0..6 {
            churn(&mut world, &format!("r{round}-"));
        }
        let before = models(&mut world);
        let segments_before = segments(&disk);
        let report = world.compact().expect("it runs");
        assert!(report.freed > 5, "{report:?}");
        assert!(
            report.moved_messages > 0 && report.restated_bytes > 0,
            "{report:?}"
        );
        assert!(segments(&disk) < segments_before, "{report:?}");
        assert_eq!(models(&mut world), before);
        world.close();
        compare_with_the_log(&disk, cores).expect("the log says the same");
        let mut world = World::open(&disk, 3 - cores, small_options()).expect("it opens");
        assert_eq!(models(&mut world), before);
    }
}

#[test]
fn a_store_that_is_compacted_again_and_again_does_not_grow() {
    let disk = SimDisk::new(8);
    let mut world = World::open(&disk, 2, small_options()).expect("it opens");
    let mut most = 0;
    for round in 0..12 {
        churn(&mut world, &format!("r{round}-"));
        let s = str::to_owned;
        for id in [ALICE, BOB] {
            let store = world.of(id);
            for mailbox in ["INBOX", "Archive"] {
                let op = Op::Expunge(s(mailbox), (1..2_000).collect(), false);
                world.run(execute(&store, id, &op)).expect("it commits");
            }
        }
        world.compact().expect("it runs");
        if round == 3 {
            most = segments(&disk);
        }
        if round % 4 == 3 {
            let before = models(&mut world);
            world.close();
            compare_with_the_log(&disk, 2).expect("the log says the same");
            world = World::open(&disk, 2, small_options()).expect("it opens");
            assert_eq!(models(&mut world), before);
        }
    }
    assert!(segments(&disk) <= most + 4, "{} after {most}", segments(&disk));
}

/// The rows of a mailbox.
fn rows(store: &Store<SimEnvironment>, id: AccountId, mailbox: MailboxId) -> Vec<MessageRow> {
    let rows = store.account(id, |a| a.mailboxes[&mailbox].rows.clone());
    rows.expect("it is there")
}

fn octets(world: &mut World, store: &Store<SimEnvironment>, message: &StoredMessage) -> Vec<u8> {
    let pieces = world.run(store.read_message(message, 0..message.size));
    pieces.expect("it reads").concat()
}

#[test]
fn a_row_from_before_and_a_message_being_read_stay_good_and_keep_their_email_id() {
    let disk = SimDisk::new(9);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    churn(&mut world, "one");
    churn(&mut world, "two");
    let store = world.of(ALICE);
    let old = rows(&store, ALICE, INBOX_ID);
    let opened: Vec<StoredMessage> = old
        .iter()
        .map(|row| world.run(store.open_message(ALICE, row)).expect("it opens"))
        .collect();
    let before: Vec<Vec<u8>> = opened.iter().map(|m| octets(&mut world, &store, m)).collect();
    let files = segments(&disk);
    let report = world.compact().expect("it runs");
    assert!(report.freed > 2, "{report:?}");
    let while_read = segments(&disk);
    for ((row, message), before) in old.iter().zip(&opened).zip(&before) {
        assert_eq!(octets(&mut world, &store, message), *before);
        let again = world.run(store.open_message(ALICE, row)).expect("it is found");
        assert_eq!(again.email_id, message.email_id);
        assert_eq!(octets(&mut world, &store, &again), *before);
    }
    let moved = old
        .iter()
        .zip(rows(&store, ALICE, INBOX_ID))
        .filter(|(a, b)| a.record != b.record);
    assert!(moved.count() > 5);
    drop(opened);
    world.compact().expect("it runs");
    assert!(
        segments(&disk) < while_read,
        "{files} files, then {while_read}, then {}",
        segments(&disk)
    );
}

/// Delivers what was on its way in while its first chunks' segment was finished and nearly all dead.
fn slow_body(bug: Option<PlantedBug>) -> Result<Vec<u8>, StoreError> {
    PLANTED.set(bug);
    let disk = SimDisk::new(10);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    churn(&mut world, "one");
    let store = world.of(BOB);
    let text = long_text("slow", 30_000);
    let mut writer = store.body_writer();
    world
        .run(writer.push(Bytes::from(text[..12_000].to_vec())))
        .expect("it fits");
    churn(&mut world, "two");
    churn(&mut world, "three");
    assert!(world.compact().expect("it runs").freed > 2);
    world
        .run(writer.push(Bytes::from(text[12_000..].to_vec())))
        .expect("it fits");
    let body = world.run(writer.finish()).expect("it is whole");
    world
        .run(store.deliver(delivery(&[BOB], body)))
        .expect("it commits");
    PLANTED.set(None);
    let row = *rows(&store, BOB, INBOX_ID).last().expect("it was just delivered");
    let message = world.run(store.open_message(BOB, &row))?;
    let pieces = world.run(store.read_message(&message, 0..message.size))?;
    assert!(pieces.concat().ends_with(&text));
    // And it can be moved like any other.
    churn(&mut world, "four");
    churn(&mut world, "five");
    world.compact()?;
    let message = world.run(store.open_message(BOB, &row))?;
    let pieces = world.run(store.read_message(&message, 0..message.size))?;
    Ok(pieces.concat())
}

#[test]
fn the_segments_of_a_body_on_its_way_in_are_left_alone() {
    let read = slow_body(None).expect("it is all there");
    assert!(read.ends_with(&long_text("slow", 30_000)));
    slow_body(Some(PlantedBug::ForgetBodiesOnTheirWay)).expect_err("its chunks are gone");
}

#[test]
fn recipients_that_share_a_body_share_it_still() {
    let disk = SimDisk::new(11);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let body = memory(long_text("shared", 3_500));
    world
        .run(store.deliver(delivery(&[ALICE, BOB], body)))
        .expect("it commits");
    churn(&mut world, "one");
    churn(&mut world, "two");
    let first_chunk = |world: &mut World, id| {
        let row = rows(&store, id, INBOX_ID)[0];
        let message = world.run(store.open_message(id, &row)).expect("it opens");
        message.chunks[0].position
    };
    let before = first_chunk(&mut world, ALICE);
    world.compact().expect("it runs");
    assert_ne!(first_chunk(&mut world, ALICE), before);
    assert_eq!(first_chunk(&mut world, ALICE), first_chunk(&mut world, BOB));
}

#[test]
fn the_tools_know_a_compacted_store_and_a_missing_file_is_damage() {
    let disk = SimDisk::new(12);
    let mut world = World::open(&disk, 2, small_options()).expect("it opens");
    for round in 0..4 {
        churn(&mut world, &format!("r{round}-"));
        world.compact().expect("it runs");
    }
    churn(&mut world, "last");
    let before = models(&mut world);
    world.close();
    let report = block_on(check(disk.clone(), &mut |_, _| {})).expect("it is a store");
    assert!(report.is_clean(), "{:?}", report.damages.kept);
    let stat = block_on(stat(disk.clone(), &mut |_, _| {})).expect("it is a store");
    assert_eq!(stat.damages, 0);
    assert!(stat.live_bytes() > 0 && stat.graves > 0, "{stat:?}");
    for segment in &stat.segments {
        let mut behind = stat
            .segments
            .iter()
            .filter(|s| s.log == segment.log && s.id > segment.id);
        if behind.all(|s| s.live_bytes == 0) {
            // Nothing behind it says that it was there: the next one may have been made and never used.
            continue;
        }
        let name = &format!("segments/{:08x}.seg", segment.id);
        let damaged = disk.crash(1);
        block_on(damaged.remove(name)).expect("it is there");
        remove_checkpoints(&damaged);
        let opened = World::open(&damaged, 2, small_options());
        // A segment behind whose groups everything was said anew is missed by its log.
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "{name}");
        let report = block_on(check(damaged, &mut |_, _| {})).expect("it is a store");
        assert!(!report.is_clean(), "{name}");
    }
    let listless = disk.crash(1);
    let lists = disk
        .names()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".freed"));
    let lists: Vec<String> = lists.map(|(name, _)| name).collect();
    assert_eq!(lists.len(), 1, "{lists:?}");
    block_on(listless.remove(&lists[0])).expect("it is there");
    remove_checkpoints(&listless);
    let opened = World::open(&listless, 2, small_options());
    assert!(matches!(opened, Err(OpenError::Damaged { .. })));
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    assert_eq!(models(&mut world), before);
}

#[test]
fn what_was_expunged_comes_back_whole_also_after_compaction_and_only_once() {
    let disk = SimDisk::new(13);
    let options = StoreOptions {
        expunged_kept_ms: 1_000,
        ..small_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let s = str::to_owned;
    let store = world.of(ALICE);
    // These go for good.
    for round in 0..3 {
        churn(&mut world, &format!("old{round}-"));
    }
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_002_000));
    let first = store
        .account(ALICE, |a| a.mailboxes[&INBOX_ID].uid_next)
        .expect("it is there");
    let text = |n: usize| long_text(&format!("kept{n}"), 700 + n * 900);
    let mut ops: Vec<Op> = vec![Op::Create(s("Work"))];
    ops.extend((0..6).map(|n| Op::Append(s("Work"), text(n), Flags::FLAGGED)));
    ops.extend((6..9).map(|n| Op::Append(s("INBOX"), text(n), Flags::SEEN)));
    ops.extend([
        Op::StoreFlags(
            s("INBOX"),
            vec![first, first + 1],
            crate::proto::imap::types::StoreOperation::Add,
            Flags::DELETED,
            vec![s("kept")],
        ),
        Op::Expunge(s("INBOX"), vec![first, first + 1], true),
        Op::Transfer(s("Work"), vec![6], s("Archive"), true),
        Op::Delete(s("Work")),
    ]);
    for op in &ops {
        world.run(execute(&store, ALICE, op)).expect("it commits");
    }
    for round in 0..2 {
        churn(&mut world, &format!("r{round}-"));
    }
    assert!(world.compact().expect("it runs").freed > 0);
    world.close();
    remove_checkpoints(&disk);
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    let wanted = Wanted {
        mailbox: Some(name("Work")),
        since: None,
    };
    assert_eq!(world.run(store.undelete(ALICE, &wanted)), Ok(5));
    let inbox = Wanted {
        mailbox: Some(name("INBOX")),
        since: Some(crate::base::clock::UnixMillis(0)),
    };
    let count = world.run(store.undelete(ALICE, &inbox)).expect("it commits");
    assert_eq!(count, 2 + 2 * 24);
    assert_eq!(world.run(store.undelete(ALICE, &Wanted::default())), Ok(0));
    let model = world.run(snapshot(&store, ALICE)).expect("it reads");
    let back: Vec<_> = model.0[RESTORED]
        .messages
        .iter()
        .map(|m| (m.1, m.3.clone()))
        .collect();
    let expected: Vec<_> = (0..5).map(|n| (Flags::FLAGGED.0, text(n))).collect();
    assert_eq!(back, expected);
    for n in [6, 7] {
        let found = model.0["INBOX"].messages.iter().filter(|m| m.3 == text(n));
        let found: Vec<_> = found.map(|m| (m.1, m.2.contains("kept"))).collect();
        assert_eq!(found, [(Flags::SEEN.0, true)]);
    }
    let used = store.account(ALICE, |a| a.bytes_used).expect("it is there");
    let sum: usize = model
        .0
        .values()
        .flat_map(|m| &m.messages)
        .map(|m| m.3.len())
        .sum();
    assert_eq!(used, sum as u64);
    drop(store);
    world.close();
    compare_with_the_log(&disk, 2).expect("the log says the same");
    // A thousandth of a second too late.
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(BOB);
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_003_001));
    world.run(another_checkpoint(&store));
    world.compact().expect("it runs");
    assert_eq!(world.run(store.undelete(BOB, &Wanted::default())), Ok(0));
}

#[test]
fn a_copy_comes_back_with_the_date_it_was_saved_at() {
    // RFC 8514 §4.1: when it came into its mailbox, not when what it was copied from did.
    let options = StoreOptions {
        expunged_kept_ms: 1 << 40,
        ..small_options()
    };
    let mut world = World::open(&SimDisk::new(15), 1, options).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("text"))))
        .expect("it commits");
    let later = crate::base::clock::UnixMillis(1_700_000_100_000);
    world.env.clock.set(later);
    let uids = vec![Uid::new(1).expect("above 0")];
    let change = |change| store.change(ALICE, change);
    let trash = |account: &AccountState| account.names[&name("Trash")];
    let _pin = world.run(store.load(ALICE)).expect("it loads");
    let to = store.account(ALICE, trash).expect("it is there");
    let copy = Change::Copy {
        from: INBOX_ID,
        uids: uids.clone(),
        to,
        quota: crate::model::Quota::NONE,
    };
    world.run(change(copy)).expect("it commits");
    let expunge = Change::Expunge {
        mailbox: to,
        uids,
        only_deleted: false,
    };
    world.run(change(expunge)).expect("it commits");
    world
        .env
        .clock
        .set(crate::base::clock::UnixMillis(1_700_000_200_000));
    assert_eq!(world.run(store.undelete(ALICE, &Wanted::default())), Ok(1));
    let saved = |account: &AccountState| account.mailboxes[&to].rows[0].save_date;
    assert_eq!(store.account(ALICE, saved), Some(later));
}

#[test]
fn an_account_is_said_anew_the_same_piece_by_piece() {
    use crate::store::restated::{Encoding, decode, encode};
    let disk = SimDisk::new(14);
    let options = StoreOptions {
        expunged_kept_ms: 1 << 40,
        ..small_options()
    };
    let mut world = World::open(&disk, 1, options).expect("it opens");
    churn(&mut world, "one");
    let store = world.of(ALICE);
    let s = str::to_owned;
    let ops = [
        Op::Create(s("Work")),
        Op::Transfer(s("INBOX"), (1..40).collect(), s("Work"), false),
        Op::Delete(s("Work")),
    ];
    for op in &ops {
        world.run(execute(&store, ALICE, op)).expect("it commits");
    }
    let same = |account: &AccountState| {
        let whole = encode(account);
        for most in 1..30 {
            let mut pieces = Vec::new();
            let mut encoding = Encoding::default();
            let mut before = 0;
            while !encoding.put_some(account, &mut pieces, most) {
                assert!(pieces.len() - before < 1_000 + most * 120);
                before = pieces.len();
            }
            assert_eq!(pieces, whole, "{most}");
        }
        assert_eq!(encode(&decode(ALICE, &whole).expect("it is right")), whole);
    };
    store.account(ALICE, same).expect("it is there");
}

#[test]
fn an_account_of_many_parts_is_said_anew_and_found_again() {
    let disk = SimDisk::new(15);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    churn(&mut world, "one");
    let s = str::to_owned;
    for n in 0..10 {
        let copy = Op::Transfer(s("Archive"), (1..=2 << n).collect(), s("Archive"), false);
        world.run(execute(&store, ALICE, &copy)).expect("it commits");
    }
    churn(&mut world, "two");
    churn(&mut world, "three");
    let report = world.compact().expect("it runs");
    // Parts are no longer than half a segment.
    assert!(
        report.freed > 2 && report.restated_bytes > 32 * 1024,
        "{report:?}"
    );
    let before = models(&mut world);
    drop(store);
    world.close();
    remove_checkpoints(&disk);
    let mut world = World::open(&disk, 2, small_options()).expect("it opens");
    assert_eq!(models(&mut world), before);
}
