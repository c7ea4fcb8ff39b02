//! What salvage is to bring over besides mail: what senders asked for, of messages and of the spool; METADATA.

use super::tools::{checked, salvaged};
use super::world::*;
use crate::disk::Disk;
use crate::model::{AccountId, MailboxId, ModSeq};
use crate::sim::SimDisk;
use crate::store::tools::Survey;
use crate::store::*;
use bytes::Bytes;
use futures::executor::block_on;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);
const ASKED: &[u8] =
    b"BODY=8BITMIME RET=FULL ENVID=q\r\nNOTIFY=SUCCESS,FAILURE ORCPT=rfc822;alice@example.org";

fn asking(accounts: &[AccountId], text: &str) -> Delivery {
    let mut delivery = delivery(accounts, memory(text));
    for recipient in &mut delivery.recipients {
        recipient.asked = Bytes::from_static(ASKED);
    }
    delivery
}

/// Octets and what was asked for, of every message in INBOX.
fn inbox(disk: &SimDisk, account: AccountId) -> Vec<(Vec<u8>, Bytes)> {
    let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
    let rows = &survey.account(account).expect("it is there").mailboxes[&INBOX_ID].rows;
    let read = |row| block_on(survey.whole(account, row)).expect("it is whole");
    rows.iter().map(read).collect()
}

#[test]
fn what_the_sender_asked_for_comes_over() {
    let disk = SimDisk::new(5);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(asking(&[ALICE, BOB], "both")))
        .expect("it commits");
    let plain = delivery(&[ALICE], memory("plain"));
    world.run(store.deliver(plain)).expect("it commits");
    world.close();
    let (report, new) = salvaged(&disk);
    assert!(report.is_complete(), "{:?}", report.damages.kept);
    assert!(checked(&new).is_clean());
    for account in [ALICE, BOB] {
        let found = inbox(&new, account);
        assert_eq!(found, inbox(&disk, account));
        assert_eq!(found[0].1, ASKED);
    }
    assert!(inbox(&new, ALICE)[1].1.is_empty());
}

#[test]
fn what_the_sender_of_spooled_mail_asked_for_comes_over() {
    let disk = SimDisk::new(6);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let waiting = asking(&[ALICE, BOB], "waits");
    world
        .run(store.spool(waiting.recipients, waiting.body, waiting.internal_date))
        .expect("it commits");
    world.close();
    let (report, new) = salvaged(&disk);
    assert!(report.is_complete(), "{:?}", report.damages.kept);
    assert_eq!(report.spooled, 2);
    for account in [ALICE, BOB] {
        assert_eq!(inbox(&new, account)[0].1, ASKED);
    }
}

#[test]
fn metadata_comes_over() {
    let disk = SimDisk::new(7);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(asking(&[ALICE], "x")))
        .expect("it commits");
    let entries = |value: &[u8]| vec![("/private/comment".to_owned(), Some(Bytes::copy_from_slice(value)))];
    for (mailbox, value) in [
        (None, &b"of all"[..]),
        (Some(INBOX_ID), b"of \x00\xff"),
        (Some(INBOX_ID), b"last"),
    ] {
        let entries = entries(value);
        world
            .run(store.change(
                ALICE,
                Change::SetMetadata {
                    mailbox,
                    entries,
                    special_use: None,
                },
            ))
            .expect("it commits");
    }
    world.close();
    let (report, new) = salvaged(&disk);
    assert!(report.is_complete(), "{:?}", report.damages.kept);
    let survey = block_on(Survey::read(new.crash(0), &mut |_, _| {})).expect("it is a store");
    let account = survey.account(ALICE).expect("it came over");
    assert_eq!(account.metadata["/private/comment"], "of all");
    assert_eq!(account.mailboxes[&INBOX_ID].metadata["/private/comment"], "last");
}

/// What is not in the new store is counted, also where only a checkpoint knows that it ever was.
#[test]
fn messages_that_went_with_their_segment_are_counted() {
    let disk = SimDisk::new(8);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    for n in 0..40 {
        let body = memory(long_text(&n.to_string(), 3_000));
        world
            .run(store.deliver(delivery(&[ALICE], body)))
            .expect("it commits");
    }
    drop(store);
    world.close();
    let mut names: Vec<String> = disk.names().into_iter().map(|(name, _)| name).collect();
    let is_used = |name: &String| {
        let content = disk.content(name).expect("it was listed");
        name.ends_with(".seg") && content[4096..].starts_with(b"RPGROUP")
    };
    names.retain(is_used);
    let mut lost = 0;
    for name in &names {
        let damaged = disk.crash(0);
        block_on(damaged.remove(name)).expect("it is there");
        let (report, _) = salvaged(&damaged);
        assert!(!report.is_complete(), "{name}");
        assert_eq!(
            report.messages + report.lost,
            40,
            "{name}: {:?}",
            report.damages.kept
        );
        lost += report.lost;
    }
    assert_eq!(lost, 40, "every message lies in one of them");
}

/// Mail that came by twos and threes to a group, closed in order: the newest checkpoint knows all of it.
fn in_long_groups() -> SimDisk {
    let disk = SimDisk::new(9);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    for round in 0..8 {
        let together = (0..5).map(|n| {
            let to = if n % 2 == 0 { ALICE } else { BOB };
            let body = memory(long_text(&format!("{round} {n}"), 1_000 + 400 * n));
            store.deliver(delivery(&[to], body))
        });
        for done in world.run(futures::future::join_all(together)) {
            done.expect("it commits");
        }
    }
    let flags = Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: (1..=24).filter_map(crate::model::Uid::new).collect(),
        operation: crate::proto::imap::types::StoreOperation::Add,
        flags: crate::model::Flags::SEEN,
        keywords: smallvec::smallvec![crate::model::Keyword::new("work").expect("it is one")],
        unchanged_since: None,
    };
    world.run(store.change(ALICE, flags)).expect("it commits");
    drop(store);
    world.close();
    disk.crash(0)
}

const IN_LONG_GROUPS: u64 = 40;

/// Where group headers lie.
fn all_groups(disk: &SimDisk) -> Vec<(String, usize)> {
    let names = super::tools_derived::segments(disk);
    let of = |name: String| {
        let groups = super::tools_derived::groups(disk, &name).into_iter();
        groups.map(move |at| (name.clone(), at))
    };
    names.into_iter().flat_map(of).collect()
}

fn zero(disk: &SimDisk, name: &str, at: usize, bytes: usize) {
    let mut content = disk.content(name).expect("it was listed");
    let end = content.len().min(at + bytes);
    content[at..end].fill(0);
    disk.put_content(name, content);
}

/// What somebody's mailbox is made of.
type Rows = Vec<(u32, crate::model::Flags, Vec<String>, Vec<u8>)>;

fn mailbox_of(disk: &SimDisk, account: AccountId) -> (u32, u32, Rows) {
    let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
    let inbox = &survey.account(account).expect("it is there").mailboxes[&INBOX_ID];
    let row = |row: &MessageRow| {
        let (octets, _) = block_on(survey.whole(account, row)).expect("it is whole");
        let keywords = inbox
            .keywords_of(row.keywords)
            .map(|k| k.as_str().to_owned())
            .collect();
        (row.uid.value(), row.flags, keywords, octets)
    };
    (
        inbox.uid_validity.0,
        inbox.uid_next,
        inbox.rows.iter().map(row).collect(),
    )
}

/// The walk comes to a record from the one before it; a row of a snapshot knows where it lies.
#[test]
fn messages_behind_a_lost_group_header_come_over_by_the_checkpoint() {
    let disk = in_long_groups();
    assert!(checked(&disk).is_clean());
    let right = [mailbox_of(&disk, ALICE), mailbox_of(&disk, BOB)];
    let mut regained = 0;
    for (name, at) in all_groups(&disk) {
        let damaged = disk.crash(0);
        zero(&damaged, &name, at, 200);
        let (report, new) = salvaged(&damaged);
        let context = format!("{name} at {at}: {:?}", report.damages.kept);
        assert!(!report.is_complete(), "{context}");
        assert_eq!(report.messages + report.lost, IN_LONG_GROUPS, "{context}");
        let named = report
            .damages
            .kept
            .iter()
            .filter_map(|damage| damage.mail.as_ref());
        let named = named.filter(|mail| mail.is_certain && mail.mailbox.is_some() && mail.uid.is_some());
        assert_eq!(named.count() as u64, report.lost, "{context}");
        assert!(report.lost <= 1, "{context}");
        regained += report.regained;
        assert!(checked(&new).is_clean());
        for (id, right) in [ALICE, BOB].into_iter().zip(&right) {
            let (validity, next, rows) = mailbox_of(&new, id);
            assert_eq!((validity, next), (right.0, right.1), "{context}");
            // Flags whose record is lost did not come over; those of the checkpoint did.
            let is_right = |row: &(u32, _, _, Vec<u8>)| {
                let of_right = right.2.iter().find(|other| other.0 == row.0);
                of_right.is_some_and(|other| other == row || report.regained == 0 && other.3 == row.3)
            };
            assert!(rows.iter().all(is_right), "{context}");
        }
    }
    assert!(regained > 20, "{regained}");
}

/// With it go the messages in it; what else there is keeps its UIDVALIDITY also where the account's own record is gone.
#[test]
fn mail_beside_a_lost_segment_keeps_what_the_checkpoint_knows_of_it() {
    let disk = in_long_groups();
    let right = [mailbox_of(&disk, ALICE), mailbox_of(&disk, BOB)];
    for name in super::tools_derived::segments(&disk) {
        let damaged = disk.crash(0);
        block_on(damaged.remove(&name)).expect("it is there");
        let (report, new) = salvaged(&damaged);
        let context = format!("{name}: {:?}", report.damages.kept);
        if report.is_complete() {
            continue;
        }
        assert_eq!(report.messages + report.lost, IN_LONG_GROUPS, "{context}");
        for (id, right) in [ALICE, BOB].into_iter().zip(&right) {
            let survey = block_on(Survey::read(new.crash(0), &mut |_, _| {})).expect("it is a store");
            if survey.account(id).is_none_or(|account| account.messages() == 0) {
                continue;
            }
            let (validity, _, rows) = mailbox_of(&new, id);
            let has_uid = |row: &(u32, _, _, Vec<u8>)| {
                let mut of_right = right.2.iter();
                of_right.any(|(uid, _, _, octets)| *uid == row.0 && *octets == row.3)
            };
            assert!(rows.iter().all(has_uid), "{context}");
            if report.regained > 0 {
                assert_eq!(validity, right.0, "{context}");
            }
        }
    }
}

#[test]
fn spooled_mail_behind_a_lost_group_header_is_delivered_once() {
    let disk = SimDisk::new(10);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let waits = |text: &str| store.spool(vec![recipient(BOB)], memory(text), date());
    let first = store.deliver(delivery(&[ALICE], memory("goes")));
    let (gone, waiting, done) = world.run(futures::future::join3(first, waits("waits"), waits("is done")));
    gone.expect("it commits");
    waiting.expect("it commits");
    let (_, entry) = done.expect("it commits");
    let served = Delivery {
        key: Some((entry.key, vec![0])),
        ..delivery(&[BOB], entry.body.clone())
    };
    world.run(store.deliver(served)).expect("it commits");
    world.run(store.spool_done(entry.key)).expect("it commits");
    drop(store);
    world.close();
    let disk = disk.crash(0);
    let (name, at) = all_groups(&disk).swap_remove(0);
    let damaged = disk.crash(0);
    zero(&damaged, &name, at, 100);
    let (report, new) = salvaged(&damaged);
    assert_eq!(report.spooled, 1, "{:?}", report.damages.kept);
    let texts: Vec<Vec<u8>> = mailbox_of(&new, BOB).2.into_iter().map(|row| row.3).collect();
    assert_eq!(texts.len(), 2);
    for text in ["waits", "is done"] {
        let is_it = |octets: &&Vec<u8>| octets.ends_with(text.as_bytes());
        assert_eq!(texts.iter().filter(is_it).count(), 1, "{text}");
    }
}

/// No change of a message is made up for it: each keeps its own.
#[test]
fn every_modseq_stays_what_it_was() {
    let disk = SimDisk::new(11);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    for n in 0..3 {
        world
            .run(store.deliver(delivery(&[ALICE], memory(format!("{n}")))))
            .expect("it commits");
    }
    // The highest is of a message that is not there any more, in a mailbox with others and in an empty one.
    let one = |mailbox| Change::Expunge {
        mailbox,
        uids: vec![crate::model::Uid::FIRST],
        only_deleted: false,
    };
    let sent = MailboxId(2);
    let copy = Change::Copy {
        from: INBOX_ID,
        uids: vec![crate::model::Uid::FIRST],
        to: sent,
        quota: crate::model::Quota::NONE,
    };
    for change in [copy, one(sent), one(INBOX_ID)] {
        world.run(store.change(ALICE, change)).expect("it commits");
    }
    drop(store);
    world.close();
    let (report, new) = salvaged(&disk);
    assert!(report.is_complete(), "{:?}", report.damages.kept);
    let numbers = |disk: &SimDisk| {
        let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
        let account = survey.account(ALICE).expect("it is there");
        let of = |id: MailboxId| {
            let mailbox = &account.mailboxes[&id];
            let rows: Vec<ModSeq> = mailbox.rows.iter().map(|row| row.mod_seq).collect();
            (rows, mailbox.uid_next)
        };
        let highest = account.mailboxes[&INBOX_ID].highest_mod_seq;
        (of(INBOX_ID), of(sent), highest, account.highest_mod_seq)
    };
    assert_eq!(numbers(&new), numbers(&disk));
}

/// As mail programs do that know no MOVE. The original's expunge counts, so the copy must be found.
#[test]
fn a_copy_of_which_the_record_is_lost_comes_over_where_the_original_was_expunged() {
    let disk = SimDisk::new(12);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    let mut deliver = |text: &str| {
        let delivered = store.deliver(delivery(&[ALICE], memory(text)));
        world.run(delivered).expect("it commits");
    };
    deliver("goes to the archive");
    deliver("is expunged");
    let first = crate::model::Uid::FIRST;
    let archive = MailboxId(6);
    let copy = Change::Copy {
        from: INBOX_ID,
        uids: vec![first],
        to: archive,
        quota: crate::model::Quota::NONE,
    };
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![first, crate::model::Uid::new(2).expect("it is one")],
        only_deleted: false,
    };
    for change in [copy, expunge] {
        world.run(store.change(ALICE, change)).expect("it commits");
    }
    drop(store);
    world.close();
    let disk = disk.crash(0);
    let mut texts = Vec::new();
    for (name, at) in all_groups(&disk) {
        let damaged = disk.crash(0);
        zero(&damaged, &name, at, 100);
        let (report, new) = salvaged(&damaged);
        let survey = block_on(Survey::read(new.crash(0), &mut |_, _| {})).expect("it is a store");
        let rows = |id: MailboxId| {
            survey.account(ALICE).expect("it came over").mailboxes[&id]
                .rows
                .clone()
        };
        let found = rows(archive);
        assert_eq!(
            found.len() as u64 + report.lost,
            1,
            "{name} at {at}: {:?}",
            report.damages.kept
        );
        for row in &found {
            texts.push(block_on(survey.whole(ALICE, row)).expect("it is whole").0);
        }
    }
    assert!(texts.len() >= 3, "{}", texts.len());
    assert!(texts.iter().all(|text| text.ends_with(b"goes to the archive")));
}
