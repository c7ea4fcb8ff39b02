//! What salvage is to bring over besides mail: what senders asked for, of messages and of the spool; METADATA.

use super::tools::{checked, salvaged};
use super::world::*;
use crate::disk::Disk;
use crate::model::AccountId;
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
