//! Summaries are derived: whatever happens to their files, what is told of a message is right or nothing.

use super::compaction::run_pass;
use super::model::{Op, execute};
use super::world::*;
use crate::base::wait::Pause;
use crate::disk::{Disk, DiskFile};
use crate::model::AccountId;
use crate::sim::{Chance, Fault, SimDisk};
use crate::store::tools::{check, stat};
use crate::store::*;
use futures::executor::block_on;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
const MESSAGES: usize = 80;

fn rows(world: &mut World, account: AccountId) -> Vec<MessageRow> {
    let store = world.of(account);
    let _pin = world.run(store.load(account)).expect("it loads");
    let all = |state: &AccountState| {
        let mailboxes = state.mailboxes.values();
        mailboxes.flat_map(|mailbox| mailbox.rows.clone()).collect()
    };
    store.account(account, all).unwrap_or_default()
}

/// What the tests say of a message: something that no other has.
fn text(row: &MessageRow, part: Part) -> Vec<u8> {
    let row = (row.size, row.internal_date_at, row.line_end_octets);
    format!("{part:?} of {row:?}; {}", "x".repeat(row.0 as usize % 300)).into_bytes()
}

fn keep(world: &World, account: AccountId, rows: &[MessageRow], parts: &[Part]) {
    let store = world.of(account);
    for row in rows {
        let texts: Vec<Vec<u8>> = parts.iter().map(|part| text(row, *part)).collect();
        let mut summary = Summary::new(u64::from(row.size));
        for (part, text) in parts.iter().zip(&texts) {
            summary.put(*part, text);
        }
        store.keep_summary(account, row, &summary);
    }
    store.leave_summaries(account);
    store.settle_left_summaries();
}

/// Lets the writer of summaries do what it can.
fn settle(world: &mut World) {
    world.run(async {
        for _ in 0..400 {
            Pause::new().await;
        }
    });
}

fn set(parts: &[Part]) -> PartSet {
    parts.iter().copied().fold(PartSet::NONE, PartSet::with)
}

/// How many of the rows something is told of; all of it must be right.
fn told(world: &mut World, account: AccountId, rows: &[MessageRow], parts: &[Part]) -> usize {
    let store = world.of(account);
    let mut seen = vec![0; rows.len()];
    world.run(store.recall(account, rows, set(parts), |number, summary| {
        assert_eq!(summary.email_id, u64::from(rows[number].size));
        for part in Part::ALL {
            if let Some(octets) = summary.part(part) {
                assert_eq!(octets, text(&rows[number], part), "row {number}");
            }
        }
        assert!(summary.parts().has_all(set(parts)));
        seen[number] += 1;
    }));
    assert!(seen.iter().all(|times| *times < 2), "each at most once");
    seen.iter().sum()
}

fn files(disk: &SimDisk) -> Vec<(String, usize)> {
    let names = disk.names().into_iter();
    names.filter(|(name, _)| name.ends_with(".sum")).collect()
}

/// The disk as it is, also what nobody has synced: a server was stopped and the power stayed on.
fn stopped(disk: &SimDisk) -> SimDisk {
    block_on(async {
        for (name, _) in files(disk) {
            disk.open(&name)
                .await
                .expect("it opens")
                .sync()
                .await
                .expect("it syncs");
        }
        disk.sync_directory().await.expect("it syncs");
    });
    disk.crash(0)
}

/// Another file with these bytes.
fn put_file(disk: &SimDisk, name: &str, content: Vec<u8>) {
    block_on(disk.create(name, content.len() as u64)).expect("it is new");
    disk.put_content(name, content);
}

fn deliver(world: &mut World, account: AccountId, from: usize, count: usize) {
    let store = world.of(account);
    for number in from..from + count {
        let body = memory(long_text(&format!("{account}/{number}"), 200 + number));
        world
            .run(store.deliver(delivery(&[account], body)))
            .expect("it commits");
    }
}

/// A store in which every message of Alice and Bob has an envelope on disk.
fn summarised(disk: &SimDisk, cores: usize) -> World {
    let mut world = World::open(disk, cores, small_options()).expect("it opens");
    for account in [ALICE, BOB] {
        deliver(&mut world, account, 0, MESSAGES);
        let rows = rows(&mut world, account);
        keep(&world, account, &rows, &[Part::Envelope]);
    }
    settle(&mut world);
    world
}

#[test]
fn what_was_kept_is_there_after_a_restart_with_another_number_of_cores() {
    let disk = SimDisk::new(11);
    summarised(&disk, 2).close();
    for cores in [1, 2, 3] {
        let disk = stopped(&disk);
        let mut world = World::open(&disk, cores, small_options()).expect("it opens");
        for account in [ALICE, BOB] {
            let rows = rows(&mut world, account);
            assert_eq!(told(&mut world, account, &rows, &[Part::Envelope]), MESSAGES);
            assert_eq!(
                told(&mut world, account, &rows, &[Part::Fields]),
                0,
                "never asked for"
            );
        }
        let other = rows(&mut world, BOB);
        assert_eq!(
            told(&mut world, ALICE, &other, &[Part::Envelope]),
            0,
            "Bob's mail"
        );
        world.close();
    }
}

#[test]
fn what_a_command_left_is_written_when_there_is_time_and_told_before() {
    let disk = SimDisk::new(15);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    deliver(&mut world, ALICE, 0, MESSAGES);
    let rows = rows(&mut world, ALICE);
    let store = world.of(ALICE);
    for row in &rows {
        let envelope = text(row, Part::Envelope);
        let mut summary = Summary::new(u64::from(row.size));
        summary.put(Part::Envelope, &envelope);
        assert!(store.keep_summary(ALICE, row, &summary));
        assert!(store.keep_summary(ALICE, row, &summary), "it is there");
    }
    let mut too_long = Summary::new(u64::from(rows[0].size));
    let octets = vec![b'x'; PART_BYTES_MAX + 1];
    too_long.put(Part::Preview, &octets);
    assert!(!too_long.parts().has_all(set(&[Part::Preview])));
    assert!(!store.has_left_summaries());
    store.leave_summaries(ALICE);
    settle(&mut world);
    assert!(store.has_left_summaries());
    assert_eq!(files(&disk).len(), 0, "not yet");
    assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), MESSAGES);
    store.settle_left_summaries();
    assert!(!store.has_left_summaries());
    settle(&mut world);
    assert_eq!(files(&disk).len(), 1);
    assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), MESSAGES);
}

#[test]
fn parts_come_together_and_few_files_hold_them() {
    let disk = SimDisk::new(12);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    for round in 0..30 {
        deliver(&mut world, ALICE, round * 40, 40);
        let rows = rows(&mut world, ALICE);
        let newest = &rows[rows.len() - 40..];
        keep(&world, ALICE, newest, &[Part::Envelope]);
        settle(&mut world);
        let count = files(&disk).len();
        assert!(count <= 9, "{count} files after {round} rounds");
    }
    let rows = rows(&mut world, ALICE);
    assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), 1_200);
    let meters = world.of(ALICE).meters();
    let written = meters.summaries_written.value();
    assert!(written < 10 * 1_200, "each was written {written} / 1,200 times");

    let before = meters.summary_files_written.value();
    keep(&world, ALICE, &rows, &[Part::Envelope]);
    settle(&mut world);
    assert_eq!(meters.summary_files_written.value(), before, "all of it is there");
    keep(&world, ALICE, &rows[..100], &[Part::Fields, Part::Preview]);
    assert_eq!(
        told(&mut world, ALICE, &rows, &[Part::Preview]),
        100,
        "not written yet"
    );
    settle(&mut world);
    let all = [Part::Envelope, Part::Fields, Part::Preview];
    assert_eq!(told(&mut world, ALICE, &rows, &all), 100);
    assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), 1_200);
    world.close();
    let mut world = World::open(&stopped(&disk), 1, crowded_options()).expect("it opens");
    assert_eq!(
        told(&mut world, ALICE, &rows, &all),
        100,
        "without any memory for indexes"
    );
}

#[test]
fn moved_mail_keeps_its_summaries_and_those_of_expunged_mail_go() {
    let disk = SimDisk::new(13);
    let mut world = summarised(&disk, 1);
    let store = world.of(ALICE);
    let (some, gone) = ((1..=10).collect(), (11..=50).collect());
    let inbox = || "INBOX".to_owned();
    for op in [
        Op::Transfer(inbox(), some, "Archive".to_owned(), true),
        Op::Transfer(inbox(), vec![70, 71], "INBOX".to_owned(), false),
        Op::Expunge(inbox(), gone, false),
    ] {
        world.run(execute(&store, ALICE, &op)).expect("it commits");
    }
    let left = rows(&mut world, ALICE);
    assert_eq!(left.len(), MESSAGES - 40 + 2);
    assert_eq!(told(&mut world, ALICE, &left, &[Part::Envelope]), left.len());
    let before: usize = files(&disk).iter().map(|(_, bytes)| bytes).sum();
    // Something new, so that there is a reason to write.
    keep(&world, ALICE, &left, &[Part::Fields]);
    settle(&mut world);
    assert_eq!(
        told(&mut world, ALICE, &left, &[Part::Envelope, Part::Fields]),
        left.len()
    );
    let after: usize = files(&disk).iter().map(|(_, bytes)| bytes).sum();
    assert!(
        after <= before,
        "{before} bytes of 160 summaries, {after} of 120 with twice as much in each"
    );

    let pass = world.stores.clone();
    deliver(&mut world, ALICE, 1_000, 60);
    let report = world.run(run_pass(pass)).expect("it runs");
    assert!(report.freed > 0);
    let moved = rows(&mut world, ALICE);
    let known = told(&mut world, ALICE, &moved, &[Part::Envelope]);
    assert!(
        known < left.len(),
        "what compaction moved is opened once more, {known} known"
    );
    keep(&world, ALICE, &moved, &[Part::Envelope]);
    settle(&mut world);
    assert_eq!(told(&mut world, ALICE, &moved, &[Part::Envelope]), moved.len());
}

#[test]
fn after_a_cut_of_the_power_at_any_moment_what_is_told_is_right() {
    let prepared = SimDisk::new(14);
    summarised(&prepared, 1).close();
    let prepared = stopped(&prepared);
    let work = |disk: &SimDisk| {
        let Ok(mut world) = World::open(disk, 1, small_options()) else {
            return;
        };
        if world.run(world.of(ALICE).load(ALICE)).is_err() {
            return;
        }
        let rows = rows(&mut world, ALICE);
        keep(&world, ALICE, &rows, &[Part::Fields]);
        settle(&mut world);
    };
    let whole = prepared.crash(0);
    let first = whole.operations();
    work(&whole);
    let last = whole.operations();
    assert!(last > first + 5, "there is something to cut");
    let mut with_fields = 0;
    for cut in first..=last {
        for seed in 1..4 {
            let disk = prepared.crash(0);
            disk.inject(Fault::CutAfter(cut));
            work(&disk);
            let mut world = World::open(&disk.crash(seed), 2, small_options()).expect("it opens");
            let rows = rows(&mut world, ALICE);
            assert_eq!(rows.len(), MESSAGES);
            let envelopes = told(&mut world, ALICE, &rows, &[Part::Envelope]);
            with_fields += told(&mut world, ALICE, &rows, &[Part::Envelope, Part::Fields]);
            // The old file goes only when the new one is durable, but for its name.
            assert!(
                envelopes == MESSAGES || envelopes == 0,
                "cut {cut}, seed {seed}: {envelopes}"
            );
            // And they are made anew, beside whatever is left.
            keep(&world, ALICE, &rows, &[Part::Envelope, Part::Fields]);
            settle(&mut world);
            assert_eq!(
                told(&mut world, ALICE, &rows, &[Part::Envelope, Part::Fields]),
                MESSAGES,
                "cut {cut}, seed {seed}"
            );
        }
    }
    assert!(with_fields > 0, "some cuts came after the file was whole");
}

#[test]
fn no_flipped_bit_and_no_lost_block_makes_anything_wrong_told() {
    let prepared = SimDisk::new(15);
    summarised(&prepared, 1).close();
    let prepared = stopped(&prepared);
    let mut chance = Chance::new(15);
    let mut some_lost = 0;
    for round in 0..300 {
        let disk = prepared.crash(0);
        for (name, bytes) in files(&disk) {
            match round % 3 {
                0 => disk.flip_bit(&name, chance.below(bytes as u64) as usize, 3),
                1 => {
                    let mut content = disk.content(&name).expect("it is there");
                    let block = chance.below(bytes as u64 / 4096) as usize * 4096;
                    content[block..block + 4096].fill(0);
                    disk.put_content(&name, content);
                }
                _ => {
                    let mut content = disk.content(&name).expect("it is there");
                    content.truncate(chance.below(bytes as u64) as usize);
                    disk.put_content(&name, content);
                }
            }
        }
        let mut world = World::open(&disk, 1, small_options()).expect("it opens");
        for account in [ALICE, BOB] {
            let rows = rows(&mut world, account);
            let found = told(&mut world, account, &rows, &[Part::Envelope]);
            some_lost += usize::from(found < MESSAGES);
            keep(&world, account, &rows, &[Part::Envelope]);
            settle(&mut world);
            assert_eq!(told(&mut world, account, &rows, &[Part::Envelope]), MESSAGES);
        }
    }
    assert!(
        some_lost > 200,
        "the damage was where it counts, {some_lost} times"
    );
}

#[test]
fn a_full_disk_and_errors_cost_summaries_only() {
    for fault in ["capacity", "write", "everything"] {
        let disk = SimDisk::new(16);
        let mut world = World::open(&disk, 1, small_options()).expect("it opens");
        deliver(&mut world, ALICE, 0, MESSAGES);
        let rows = rows(&mut world, ALICE);
        let now = disk.operations();
        match fault {
            "capacity" => disk.set_capacity(disk.names().iter().map(|(_, bytes)| *bytes as u64).sum()),
            "write" => disk.inject(Fault::ErrorAt(now + 2)),
            _ => disk.inject(Fault::ErrorFrom(now + 1)),
        }
        keep(&world, ALICE, &rows, &[Part::Envelope]);
        settle(&mut world);
        let meters = world.of(ALICE).meters();
        assert!(meters.summary_failures.value() >= 1, "{fault}");
        assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), 0, "{fault}");
        assert!(world.of(ALICE).failure().is_none(), "{fault}: the log goes on");
        if fault == "write" {
            deliver(&mut world, ALICE, MESSAGES, 1);
            keep(&world, ALICE, &rows, &[Part::Envelope]);
            settle(&mut world);
            assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), MESSAGES);
        }
    }
}

#[test]
fn files_of_a_start_that_never_was_and_of_no_account_are_removed() {
    let prepared = SimDisk::new(17);
    summarised(&prepared, 1).close();
    let prepared = stopped(&prepared);
    let disk = prepared.crash(0);
    let of_alice = files(&disk)
        .into_iter()
        .find(|(name, _)| name.contains("0001-0000"));
    let content = disk
        .content(&of_alice.expect("it is there").0)
        .expect("it is there");
    // The log is an older copy than these.
    for (name, _) in files(&disk) {
        let content = disk.content(&name).expect("it is there");
        put_file(&disk, &name.replace("-00000001-", "-00000009-"), content);
    }
    put_file(&disk, "segments/00000000000000ff-00000001-00000001.sum", content);
    assert_eq!(files(&disk).len(), 5);
    let mut world = World::open(&disk, 2, small_options()).expect("it opens");
    settle(&mut world);
    assert_eq!(files(&disk).len(), 2);
    let rows = rows(&mut world, ALICE);
    assert_eq!(told(&mut world, ALICE, &rows, &[Part::Envelope]), MESSAGES);
}

#[test]
fn check_notes_what_is_wrong_and_stat_counts_the_bytes() {
    let disk = SimDisk::new(18);
    summarised(&disk, 1).close();
    let disk = stopped(&disk);
    let report = block_on(check(disk.clone(), &mut |_, _| {})).expect("it is a store");
    assert!(report.is_clean() && report.notes.is_empty(), "{:?}", report.notes);
    let bytes: usize = files(&disk).iter().map(|(_, bytes)| bytes).sum();
    let told = block_on(stat(disk.clone(), &mut |_, _| {})).expect("it is a store");
    assert_eq!((told.summary_files, told.summary_bytes), (2, bytes as u64));
    let (first, len) = files(&disk)[0].clone();
    let (second, _) = files(&disk)[1].clone();
    disk.flip_bit(&first, len - 5_000, 1);
    disk.flip_bit(&second, 70, 1);
    disk.flip_bit(&second, 4_100, 1);
    let report = block_on(check(disk.clone(), &mut |_, _| {})).expect("it is a store");
    assert!(report.is_clean(), "no mail is lost");
    assert!(
        report.notes.iter().any(|note| note.contains(&first)),
        "{:?}",
        report.notes
    );
    assert!(
        report.notes.iter().any(|note| note.contains(&second)),
        "{:?}",
        report.notes
    );
}
