//! The admin's tools, and a running store, on stores that were harmed.

use super::model::{Op, fixed_script, random_script, snapshot};
use super::tools::{ALICE, BOB, CAROL, checked, salvaged, snapshots, used};
use super::world::*;
use crate::model::AccountId;
use crate::sim::{Chance, SimDisk};
use crate::store::tools::*;
use crate::store::*;
use futures::executor::block_on;
use std::collections::HashSet;

/// One way to damage a store.
#[derive(Clone, Copy, Debug)]
enum Harm {
    FlipBit,
    ZeroBlock,
    GarbleSector,
    Truncate,
    SwapBlocks,
}

const HARMS: [Harm; 5] = [
    Harm::FlipBit,
    Harm::ZeroBlock,
    Harm::GarbleSector,
    Harm::Truncate,
    Harm::SwapBlocks,
];

/// Damages one place of a segment; false if that changed nothing.
fn harm(disk: &SimDisk, how: Harm, chance: &mut Chance) -> bool {
    let names: Vec<_> = disk.names();
    let (name, len) = &names[chance.below(names.len() as u64) as usize];
    let before = disk.content(name).expect("it was listed");
    let blocks = (*len / 4096) as u64;
    let mut content = before.clone();
    let block = chance.below(blocks) as usize * 4096;
    match how {
        Harm::FlipBit => content[chance.below(*len as u64) as usize] ^= 1 << chance.below(8),
        Harm::ZeroBlock => content[block..block + 4096].fill(0),
        Harm::GarbleSector => {
            let at = chance.below(*len as u64 / 512) as usize * 512;
            content[at..at + 512].fill_with(|| chance.next_u64() as u8);
        }
        Harm::Truncate => content.truncate(block),
        Harm::SwapBlocks => {
            let other = chance.below(blocks) as usize * 4096;
            let kept = content[block..block + 4096].to_vec();
            content.copy_within(other..other + 4096, block);
            content[other..other + 4096].copy_from_slice(&kept);
        }
    }
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    // A file's end that was never used, given back or not, says nothing.
    let is_changed =
        content != before && !(content.len() < before.len() && is_zero(&before[content.len()..]));
    disk.put_content(name, content);
    is_changed
}

/// Everything that was ever sent or appended in [`used`]. A lost expunge brings mail back; nothing brings new mail.
fn ever_sent(seed: u64) -> HashSet<Vec<u8>> {
    let mut sent = HashSet::new();
    for (id, script) in [(ALICE, fixed_script("a")), (BOB, random_script(seed, BOB, 60))] {
        for op in script {
            match op {
                Op::Deliver(body) | Op::DeliverLong(body) => {
                    sent.insert([recipient(id).prefix, body].concat());
                }
                Op::Append(_, body, _) => {
                    sent.insert(body);
                }
                _ => {}
            }
        }
    }
    for n in 0..80 {
        let body = format!("short {} {}", n / 40, n % 40).into_bytes();
        sent.insert([recipient(CAROL).prefix, body].concat());
    }
    sent
}

/// How a store was harmed and what came of it.
#[derive(Default, Debug)]
struct Tally {
    harmed: u64,
    reported: u64,
    unused: u64,
    unwitnessed: u64,
    /// Of those reported: nothing but checkpoints and snapshots.
    derived: u64,
    refused_by_start: u64,
    lost: u64,
    kept: u64,
}

fn campaign(places: u64) -> Tally {
    let (whole, sent) = (used(4), ever_sent(4));
    let right = snapshots(&whole.crash(1));
    let total: u64 = right
        .values()
        .flat_map(|m| m.0.values())
        .map(|m| m.messages.len() as u64)
        .sum();
    let mut tally = Tally::default();
    for seed in 0..places {
        let mut chance = Chance::new(seed);
        let damaged = whole.crash(seed);
        let how = HARMS[seed as usize % HARMS.len()];
        if !harm(&damaged, how, &mut chance) {
            continue;
        }
        tally.harmed += 1;
        let context = format!("seed {seed}, {how:?}");
        let Ok(report) = block_on(check(damaged.clone(), &mut |_, _| {})) else {
            // A superblock that is gone with its only witness.
            tally.reported += 1;
            continue;
        };
        if report.is_clean() {
            println!("{context}: check says clean");
            let found = snapshots(&damaged.crash(1));
            if found == right {
                // A place that nothing uses.
                tally.unused += 1;
                continue;
            }
            // The end of a log of the newest start is gone with everything that could bear witness (FORMAT.md,
            // LIMITATION): it looks cut off, and that is said. What is left is right.
            assert!(!report.notes.is_empty(), "{context}: a loss without a word");
            let mut messages = found
                .values()
                .flat_map(|m| m.0.values())
                .flat_map(|m| &m.messages);
            assert!(messages.all(|message| sent.contains(&message.3)), "{context}");
            tally.unwitnessed += 1;
            continue;
        }
        tally.reported += 1;
        if report.damages.count == 0 {
            // Derived files: the log says everything.
            assert_eq!(snapshots(&damaged.crash(1)), right, "{context}");
            tally.derived += 1;
            continue;
        }
        match World::open(&damaged.crash(1), 1, small_options()) {
            Err(_) => tally.refused_by_start += 1,
            Ok(mut world) => {
                for id in [ALICE, BOB, CAROL] {
                    let store = world.of(id);
                    let found = world.run(snapshot(&store, id));
                    assert!(
                        found.is_err() || found.as_ref() == Ok(&right[&id]),
                        "{context}: served wrong"
                    );
                }
            }
        }
        let (salvage, new) = salvaged(&damaged);
        assert!(!salvage.is_complete(), "{context}");
        let after = checked(&new);
        assert!(after.is_clean(), "{context}: {:?}", after.damages.kept);
        for (id, found) in snapshots(&new) {
            let mut messages = found.0.values().flat_map(|m| &m.messages);
            let is_known = messages.all(|message| sent.contains(&message.3));
            assert!(is_known, "{context}: {id} has a message nobody sent");
        }
        tally.kept += after.messages;
        tally.lost += total.saturating_sub(after.messages);
    }
    tally
}

/// `RINGPOST_CORRUPTIONS` sets how many places; the long form is 10,000.
#[test]
fn corruption_anywhere_is_reported_and_nothing_wrong_is_served() {
    let places = std::env::var("RINGPOST_CORRUPTIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(300);
    let tally = campaign(places);
    println!("{tally:?}");
    assert!(tally.harmed > places / 2, "{tally:?}");
    assert!(
        tally.reported + tally.unused + tally.unwitnessed == tally.harmed,
        "{tally:?}"
    );
}

/// The first segment with mail of ALICE, and its content.
fn mail_of(disk: &SimDisk, account: AccountId) -> Vec<(MailboxState, MessageRow, StoredMessage)> {
    let mut world = World::open(&disk.crash(1), 1, small_options())
        .expect("it opens")
        .load_all();
    let store = world.of(account);
    let rows = store
        .account(account, |a| a.mailboxes[&INBOX_ID].rows.clone())
        .expect("it exists");
    let named = |store: &Store<SimEnvironment>| {
        store.account(account, |a| {
            let inbox = &a.mailboxes[&INBOX_ID];
            MailboxState::new(inbox.id, inbox.name.clone(), inbox.uid_validity, None)
        })
    };
    rows.iter()
        .map(|row| {
            let message = world.run(store.open_message(account, row)).expect("it reads");
            (named(&store).expect("it exists"), *row, message)
        })
        .collect()
}

fn segment_file(position: crate::model::LogPosition) -> String {
    format!("segments/{:08x}.seg", position.segment.0)
}

#[test]
fn a_flipped_bit_in_a_body_names_its_message_and_costs_only_it() {
    let disk = used(2);
    for (_, row, message) in mail_of(&disk, CAROL) {
        let damaged = disk.crash(1);
        let chunk = message.chunks[0].position;
        damaged.flip_bit(&segment_file(chunk), chunk.offset as usize + 40, 2);
        let report = checked(&damaged);
        let [damage] = &report.damages.kept[..] else {
            panic!("{:?}", report.damages.kept);
        };
        assert_eq!(damage.position, Some(chunk));
        let mail = damage.mail.as_ref().expect("it is named");
        assert_eq!((mail.account, mail.mailbox.as_deref()), (CAROL, Some("INBOX")));
        assert_eq!((mail.uid, mail.is_certain), (Some(row.uid.value()), true));
        let (salvage, new) = salvaged(&damaged);
        assert_eq!(salvage.lost, 1);
        let (mut right, found) = (snapshots(&disk.crash(1)), snapshots(&new));
        let inbox = right
            .get_mut(&CAROL)
            .and_then(|m| m.0.get_mut("INBOX"))
            .expect("there");
        inbox.messages.retain(|m| m.0 != row.uid.value());
        assert_eq!(found, right);
    }
}

#[test]
fn a_flipped_bit_in_a_message_record_names_it_as_far_as_it_can_be_read() {
    let disk = used(2);
    for (_, row, _) in mail_of(&disk, CAROL) {
        let damaged = disk.crash(1);
        // In the header's sequence: the payload says whose it is.
        damaged.flip_bit(&segment_file(row.record), row.record.offset as usize + 12, 6);
        let (salvage, new) = salvaged(&damaged);
        assert_eq!(salvage.lost, 1);
        // A checkpoint is sure of it; what is left of the record is not.
        for has_checkpoints in [true, false] {
            if !has_checkpoints {
                remove_checkpoints(&damaged);
            }
            let report = checked(&damaged);
            let damage = report
                .damages
                .kept
                .iter()
                .find(|damage| damage.position == Some(row.record))
                .unwrap_or_else(|| panic!("{:?}", report.damages.kept));
            let mail = damage.mail.as_ref().expect("it is named");
            assert_eq!((mail.account, mail.mailbox.as_deref()), (CAROL, Some("INBOX")));
            assert_eq!(
                (mail.uid, mail.is_certain),
                (Some(row.uid.value()), has_checkpoints)
            );
        }
        assert_eq!(checked(&new).messages, checked(&disk).messages - 1);
    }
}

#[test]
fn a_damaged_group_header_costs_nothing() {
    let disk = used(2);
    let mut headers = 0;
    let mut tried = 0;
    for (name, len) in disk.names() {
        let content = disk.content(&name).expect("it was listed");
        for offset in (4096..len).step_by(4096) {
            if !content[offset..].starts_with(b"RPGROUP\x1a") {
                continue;
            }
            headers += 1;
            if headers % 7 != 1 {
                continue;
            }
            let damaged = disk.crash(1);
            damaged.flip_bit(&name, offset + 30, 1);
            let report = checked(&damaged);
            assert_eq!(report.damages.count, 1, "{:?}", report.damages.kept);
            let position = report.damages.kept[0].position.expect("it has a place");
            assert_eq!(
                (segment_file(position), position.offset as usize),
                (name.clone(), offset)
            );
            let (salvage, new) = salvaged(&damaged);
            assert_eq!(salvage.lost, 0);
            assert_eq!(snapshots(&new), snapshots(&disk.crash(1)));
            tried += 1;
        }
    }
    assert!(tried > 5, "{tried} of {headers}");
}

/// A log that was closed in order ends with its seal, and its file with it: nothing lies behind that could be read in addition.
#[test]
fn a_damaged_header_of_the_last_block_of_a_file_is_told() {
    let disk = used(2);
    let mut tried = 0;
    for (name, len) in disk.names() {
        let content = disk.content(&name).expect("it was listed");
        if !name.ends_with(".seg") || !content[len - 4096..].starts_with(b"RPGROUP\x1a") {
            continue;
        }
        let damaged = disk.crash(1);
        damaged.flip_bit(&name, len - 4096 + 30, 1);
        let report = checked(&damaged);
        assert_eq!(report.damages.count, 1, "{name}: {:?}", report.damages.kept);
        let (salvage, new) = salvaged(&damaged);
        assert_eq!(salvage.lost, 0);
        assert_eq!(snapshots(&new), snapshots(&disk.crash(1)));
        tried += 1;
    }
    assert!(tried > 0, "no log ends with its file");
}

#[test]
fn a_damaged_superblock_or_segment_header_costs_nothing() {
    let disk = used(2);
    // Checkpoints are derived: a start without them reads the log.
    for (name, _) in disk
        .names()
        .into_iter()
        .filter(|(name, _)| !name.ends_with(".ckp") && !name.ends_with(".snp"))
    {
        let damaged = disk.crash(1);
        damaged.flip_bit(&name, 13, 1);
        let report = checked(&damaged);
        assert_eq!(report.damages.count, 1, "{name}: {:?}", report.damages.kept);
        let (salvage, new) = salvaged(&damaged);
        assert_eq!(salvage.lost, 0);
        assert_eq!(snapshots(&new), snapshots(&disk.crash(1)), "{name}");
    }
}

#[test]
fn two_swapped_blocks_are_never_served_for_each_other_by_a_running_store() {
    let disk = used(2);
    let mail = mail_of(&disk, CAROL);
    let mut refused = 0;
    for pair in mail.windows(2) {
        let (first, second) = (pair[0].2.chunks[0], pair[1].2.chunks[0]);
        if first.position.segment != second.position.segment || first.bytes != second.bytes {
            continue;
        }
        let running = disk.crash(1);
        let mut world = World::open(&running, 1, small_options())
            .expect("it opens")
            .load_all();
        let store = world.of(CAROL);
        let name = segment_file(first.position);
        let mut content = running.content(&name).expect("it exists");
        let len = first.bytes as usize + 36;
        let (a, b) = (first.position.offset as usize, second.position.offset as usize);
        for at in 0..len {
            content.swap(a + at, b + at);
        }
        running.put_content(&name, content);
        let message = world
            .run(store.open_message(CAROL, &pair[0].1))
            .expect("its record is whole");
        let read = world.run(store.read_message(&message, 0..message.size));
        assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
        refused += 1;
    }
    assert!(refused > 10, "{refused}");
}
