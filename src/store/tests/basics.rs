//! One change at a time, without failures.

use super::world::*;
use crate::model::{AccountId, Flags, Keyword, MailboxId, SpecialUse, Uid};
use crate::proto::imap::types::StoreOperation;
use crate::sim::SimDisk;
use crate::store::*;
use bytes::Bytes;
use smallvec::smallvec;

const ALICE: AccountId = AccountId(1);
const BOB: AccountId = AccountId(2);

fn open(disk: &SimDisk) -> World {
    World::open(disk, 1, small_options())
        .expect("it opens")
        .load_all()
}

fn uid(value: u32) -> Uid {
    Uid::new(value).expect("not zero")
}

fn inbox(world: &mut World, account: AccountId) -> Vec<(u32, Vec<u8>)> {
    let store = world.of(account);
    world.run(messages(&store, account, INBOX_ID)).expect("it reads")
}

#[test]
fn a_delivered_message_is_there_at_once_and_after_a_restart() {
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE, BOB], memory("hello"))))
        .expect("it commits");
    let alice = vec![(1, b"Delivered-To: 1\r\nhello".to_vec())];
    assert_eq!(inbox(&mut world, ALICE), alice);
    assert_eq!(
        inbox(&mut world, BOB),
        [(1, b"Delivered-To: 2\r\nhello".to_vec())]
    );
    world.close();
    let mut world = open(&disk);
    assert_eq!(world.report.messages, 2);
    assert_eq!(inbox(&mut world, ALICE), alice);
}

#[test]
fn recipients_of_one_delivery_share_the_body() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE, BOB], memory("hello"))))
        .expect("it commits");
    let mut opened = Vec::new();
    for account in [ALICE, BOB] {
        let row = store
            .account(account, |a| a.mailboxes[&INBOX_ID].rows[0])
            .expect("it is there");
        opened.push(world.run(store.open_message(account, &row)).expect("it reads"));
    }
    assert_eq!(opened[0].chunks, opened[1].chunks);
    assert_eq!(opened[0].email_id, opened[1].email_id);
}

#[test]
fn a_new_account_has_inbox_and_the_standard_mailboxes() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    world.run(store.ensure_account(ALICE)).expect("it commits");
    world.run(store.ensure_account(ALICE)).expect("nothing to do");
    let (names, sent) = store
        .account(ALICE, |a| {
            let names: Vec<String> = a.names.keys().map(ToString::to_string).collect();
            (names, a.mailbox_named(&name("Sent")).and_then(|m| m.special_use))
        })
        .expect("it exists");
    assert_eq!(names, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]);
    assert_eq!(sent, Some(SpecialUse::Sent));
}

#[test]
fn mailboxes_are_created_renamed_with_their_children_and_deleted() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    let create = |text: &str| Change::CreateMailbox {
        name: name(text),
        special_use: None,
    };
    world
        .run(store.change(ALICE, create("a/b/c")))
        .expect("it commits");
    assert_eq!(
        world.run(store.change(ALICE, create("a/b"))).map(|_| ()),
        Err(StoreError::MailboxExists)
    );
    let rename = |from: &str, to: &str| Change::RenameMailbox {
        from: name(from),
        to: name(to),
    };
    world
        .run(store.change(ALICE, rename("a", "x/y")))
        .expect("it commits");
    let refused = world.run(store.change(ALICE, rename("x", "x/y/z")));
    assert!(matches!(refused, Err(StoreError::Cannot(_))));
    let delete = |text: &str| Change::DeleteMailbox { name: name(text) };
    world.run(store.change(ALICE, delete("x/y"))).expect("it commits");
    assert_eq!(
        world.run(store.change(ALICE, delete("a"))).map(|_| ()),
        Err(StoreError::NoSuchMailbox)
    );
    assert!(world.run(store.change(ALICE, delete("INBOX"))).is_err());
    let own = |a: &AccountState| {
        a.names
            .keys()
            .filter(|n| n.as_str().starts_with(['a', 'x']))
            .cloned()
            .collect()
    };
    let names: Vec<_> = store.account(ALICE, own).expect("it exists");
    assert_eq!(names, [name("x"), name("x/y/b"), name("x/y/b/c")]);
}

#[test]
fn renaming_inbox_moves_its_messages_and_leaves_it_empty() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    for body in ["one", "two"] {
        world
            .run(store.deliver(delivery(&[ALICE], memory(body))))
            .expect("it commits");
    }
    let rename = Change::RenameMailbox {
        from: name("inbox"),
        to: name("old"),
    };
    world.run(store.change(ALICE, rename)).expect("it commits");
    assert!(inbox(&mut world, ALICE).is_empty());
    let old = store
        .account(ALICE, |a| a.names[&name("old")])
        .expect("it exists");
    assert_eq!(
        world.run(messages(&store, ALICE, old)).expect("it reads").len(),
        2
    );
    world
        .run(store.deliver(delivery(&[ALICE], memory("three"))))
        .expect("it commits");
    assert_eq!(inbox(&mut world, ALICE)[0].0, 3);
}

#[test]
fn flags_and_keywords_change_and_unchanged_messages_are_not_named() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    for body in ["one", "two"] {
        world
            .run(store.deliver(delivery(&[ALICE], memory(body))))
            .expect("it commits");
    }
    let seen = |uids| Change::StoreFlags {
        mailbox: INBOX_ID,
        uids,
        operation: StoreOperation::Add,
        flags: Flags::SEEN,
        keywords: smallvec![Keyword::new("$Work").expect("an atom")],
        unchanged_since: None,
    };
    let (_, outcome) = world
        .run(store.change(ALICE, seen(vec![uid(1), uid(9)])))
        .expect("it commits");
    assert!(matches!(outcome, Outcome::Flags { changed, .. } if changed == [uid(1)]));
    let (_, outcome) = world
        .run(store.change(ALICE, seen(vec![uid(1), uid(2)])))
        .expect("it commits");
    assert!(matches!(outcome, Outcome::Flags { changed, .. } if changed == [uid(2)]));
    let (row, keywords) = store
        .account(ALICE, |a| {
            (
                a.mailboxes[&INBOX_ID].rows[0],
                a.mailboxes[&INBOX_ID].keywords.clone(),
            )
        })
        .expect("it exists");
    assert_eq!((row.flags, row.keywords, keywords.len()), (Flags::SEEN, 1, 1));
}

#[test]
fn copies_burn_a_uid_for_every_source_uid_and_moves_leave_nothing_behind() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    for body in ["one", "two", "three"] {
        world
            .run(store.deliver(delivery(&[ALICE], memory(body))))
            .expect("it commits");
    }
    let trash = store
        .account(ALICE, |a| a.names[&name("Trash")])
        .expect("it exists");
    let gone = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![uid(2)],
        only_deleted: false,
    };
    world.run(store.change(ALICE, gone)).expect("it commits");
    let copy = Change::Copy {
        from: INBOX_ID,
        uids: vec![uid(1), uid(2), uid(3)],
        to: trash,
        quota: crate::model::Quota::NONE,
    };
    let (_, outcome) = world.run(store.change(ALICE, copy)).expect("it commits");
    assert!(matches!(outcome, Outcome::Copied { uids, .. } if uids == [(uid(1), uid(1)), (uid(3), uid(3))]));
    let all = Change::Move {
        from: INBOX_ID,
        uids: vec![uid(1), uid(3)],
        to: trash,
    };
    let (_, outcome) = world.run(store.change(ALICE, all)).expect("it commits");
    assert!(matches!(outcome, Outcome::Copied { uids, .. } if uids == [(uid(1), uid(4)), (uid(3), uid(5))]));
    assert!(inbox(&mut world, ALICE).is_empty());
    assert_eq!(
        world.run(messages(&store, ALICE, trash)).expect("it reads").len(),
        4
    );
}

#[test]
fn a_long_body_is_written_while_it_comes_and_read_in_parts() {
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    let text = long_text("long", 50_000);
    let body = world.run(async {
        let mut writer = store.body_writer();
        for piece in text.chunks(3_000) {
            writer
                .push(Bytes::copy_from_slice(piece))
                .await
                .expect("it takes it");
        }
        writer.finish().await.expect("it is durable")
    });
    assert_eq!(body.len(), 50_000);
    world
        .run(store.deliver(delivery(&[ALICE], body)))
        .expect("it commits");
    world.close();
    let mut world = open(&disk);
    let store = world.of(ALICE);
    let row = store
        .account(ALICE, |a| a.mailboxes[&INBOX_ID].rows[0])
        .expect("it is there");
    let message = world.run(store.open_message(ALICE, &row)).expect("it reads");
    let part = world
        .run(store.read_message(&message, 10_000..30_000))
        .expect("it reads");
    let part: Vec<u8> = part.concat();
    let prefix = message.prefix.len();
    assert_eq!(part, text[10_000 - prefix..30_000 - prefix]);
}

#[test]
fn appends_answer_with_uids_and_obey_the_quota() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    let message = |text: &str| NewMessage {
        flags: Flags::DRAFT,
        keywords: smallvec![],
        internal_date: date(),
        body: memory(text),
    };
    let append = |messages| Change::Append {
        mailbox: INBOX_ID,
        messages,
        quota: crate::model::Quota {
            bytes: Some(10),
            messages: None,
        },
        replaces: None,
    };
    let (_, outcome) = world
        .run(store.change(ALICE, append(vec![message("four"), message("")])))
        .expect("it commits");
    assert!(matches!(outcome, Outcome::Appended { uids, .. } if uids == [uid(1), uid(2)]));
    let refused = world.run(store.change(ALICE, append(vec![message("1234567")])));
    assert_eq!(refused.map(|_| ()), Err(StoreError::OverQuota));
    let nowhere = Change::Append {
        mailbox: MailboxId(99),
        messages: vec![message("x")],
        quota: crate::model::Quota::NONE,
        replaces: None,
    };
    assert_eq!(
        world.run(store.change(ALICE, nowhere)).map(|_| ()),
        Err(StoreError::NoSuchMailbox)
    );
    assert_eq!(inbox(&mut world, ALICE), [(1, b"four".to_vec()), (2, Vec::new())]);
}

#[test]
fn a_quota_of_messages_is_exact_however_many_come_at_once() {
    let disk = SimDisk::new(1);
    let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
    let store = world.of(ALICE);
    let quota = crate::model::Quota {
        bytes: None,
        messages: Some(7),
    };
    let wanted = |count: usize| -> Vec<Delivery> {
        (0..count)
            .map(|n| {
                let mut delivery = delivery(&[ALICE], memory(n.to_string()));
                delivery.recipients[0].quota = quota;
                delivery
            })
            .collect()
    };
    let mut arrive = |count: usize| {
        let all = wanted(count).into_iter().map(|delivery| store.deliver(delivery));
        let done = world.run(futures::future::join_all(all));
        let refused = done.iter().filter(|done| **done == Err(StoreError::OverQuota));
        assert!(
            done.iter()
                .all(|done| done.is_ok() || *done == Err(StoreError::OverQuota))
        );
        count - refused.count()
    };
    assert_eq!((arrive(3), arrive(9), arrive(2)), (3, 4, 0));
    // A message to somebody twice counts twice, and a copy does, also while others are on their way.
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![uid(1), uid(2), uid(3)],
        only_deleted: false,
    };
    world.run(store.change(ALICE, expunge)).expect("it commits");
    let trash = store
        .account(ALICE, |a| a.names[&name("Trash")])
        .expect("it exists");
    let copy = |uids| Change::Copy {
        from: INBOX_ID,
        uids,
        to: trash,
        quota,
    };
    let (first, second, third) = world.run(async {
        futures::join!(
            store.change(ALICE, copy(vec![uid(4), uid(5)])),
            store.change(ALICE, copy(vec![uid(6), uid(7)])),
            store.change(ALICE, copy(vec![uid(6)])),
        )
    });
    assert!(first.is_ok() && third.is_ok());
    assert_eq!(second.map(|_| ()), Err(StoreError::OverQuota));
    assert_eq!(store.usage(ALICE).messages, 7);
    world.close();
    // Nobody needs the account in memory for that.
    let mut world = World::open(&disk, 1, crowded_options()).expect("it opens");
    let store = world.of(ALICE);
    let one = wanted(1).remove(0);
    assert_eq!(
        world.run(store.deliver(one)).map(|_| ()),
        Err(StoreError::OverQuota)
    );
    assert_eq!(store.meters().account_loads.value(), 0);
}

#[test]
fn many_at_once_share_groups_and_segments_roll() {
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    let all = (0..300).map(|i| store.deliver(delivery(&[ALICE], memory(long_text(&i.to_string(), 1_000)))));
    let before = disk.operations();
    let done = world.run(futures::future::join_all(all));
    assert!(done.iter().all(Result::is_ok));
    assert!(
        disk.operations() - before < 300,
        "{} operations",
        disk.operations() - before
    );
    let found = inbox(&mut world, ALICE);
    assert_eq!(found.len(), 300);
    assert!(disk.names().len() > 5);
    world.close();
    let mut world = open(&disk);
    assert_eq!(inbox(&mut world, ALICE), found);
}

#[test]
fn a_spooled_message_is_fanned_out_once_however_often_it_is_tried() {
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    let recipients = vec![recipient(ALICE), recipient(BOB)];
    let (_, entry) = world
        .run(store.spool(recipients, memory("spooled"), date()))
        .expect("it commits");
    let fan_out = |entry: &SpoolEntry| Delivery {
        recipients: entry.recipients.clone(),
        body: entry.body.clone(),
        internal_date: entry.internal_date,
        key: Some((entry.key, vec![0, 1])),
    };
    world.run(store.deliver(fan_out(&entry))).expect("it commits");
    world.run(store.deliver(fan_out(&entry))).expect("nothing to do");
    world.close();
    let mut world = World::open(&disk, 3, small_options())
        .expect("it opens")
        .load_all();
    let found: Vec<SpoolEntry> = world.stores.iter().flat_map(Store::unfinished_spool).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, entry.key);
    for index in 0..2 {
        let again = Delivery {
            recipients: vec![entry.recipients[index].clone()],
            key: Some((entry.key, vec![index as u16])),
            ..fan_out(&found[0])
        };
        let store = world.of(entry.recipients[index].account);
        world.run(store.deliver(again)).expect("nothing to do");
    }
    assert_eq!(inbox(&mut world, ALICE).len() + inbox(&mut world, BOB).len(), 2);
    let spooler = world.stores[usize::from(entry.key.partition) % 3].clone();
    world.run(spooler.spool_done(entry.key)).expect("it commits");
    for store in world.stores.clone() {
        world.run(store.spool_forget(entry.key)).expect("it commits");
    }
    world.close();
    let world = World::open(&disk, 1, small_options())
        .expect("it opens")
        .load_all();
    assert!(world.stores[0].unfinished_spool().is_empty());
}

#[test]
fn a_store_of_two_cores_opens_with_one_and_with_four() {
    let disk = SimDisk::new(1);
    let accounts: Vec<AccountId> = (1..20).map(AccountId).collect();
    for (round, cores) in [2, 1, 4, 2].into_iter().enumerate() {
        let mut world = World::open(&disk, cores, small_options())
            .expect("it opens")
            .load_all();
        for id in &accounts {
            let store = world.of(*id);
            world
                .run(store.deliver(delivery(&[*id], memory("again"))))
                .expect("it commits");
            assert_eq!(inbox(&mut world, *id).len(), round + 1);
        }
        world.close();
    }
}

#[test]
fn sessions_are_told_of_changes_and_catch_up_by_cursor() {
    let mut world = open(&SimDisk::new(1));
    let store = world.of(ALICE);
    world.run(store.ensure_account(ALICE)).expect("it commits");
    let cursor = store
        .account(ALICE, |a| a.mailboxes[&INBOX_ID].changes.end())
        .expect("it exists");
    let mut waiter = store.watch(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("news"))))
        .expect("it commits");
    world.run(waiter.changed());
    let changes: Vec<MailboxChange> = store
        .account(ALICE, |a| {
            a.mailboxes[&INBOX_ID]
                .changes
                .since(cursor)
                .expect("kept")
                .cloned()
                .collect()
        })
        .expect("it exists");
    assert_eq!(changes, [MailboxChange::Added(uid(1))]);
}

#[test]
fn a_refused_change_does_not_keep_the_log_from_being_sealed() {
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    world.run(store.ensure_account(ALICE)).expect("it commits");
    let create = Change::CreateMailbox {
        name: name("INBOX"),
        special_use: None,
    };
    let refused = world.run(store.change(ALICE, create)).err();
    assert_eq!(refused, Some(StoreError::MailboxExists));
    world.close();
    let mut world = open(&disk);
    assert!(inbox(&mut world, ALICE).is_empty());
    world.close();
}

#[test]
fn a_full_disk_is_opened_for_reading_and_expunging() {
    let options = StoreOptions {
        segment_bytes: 1024 * 1024,
        ..small_options()
    };
    let disk = SimDisk::new(1);
    let mut world = World::open(&disk, 1, options).expect("it opens");
    let store = world.of(ALICE);
    world
        .run(store.deliver(delivery(&[ALICE], memory("kept"))))
        .expect("it commits");
    world.close();
    // Every start gives the end of the segment before it back; then less than a segment is left, more than a small one.
    World::open(&disk, 1, options).expect("it opens").close();
    let used: usize = disk.names().iter().map(|(_, bytes)| bytes).sum();
    disk.set_capacity(used as u64 - 600 * 1024);
    let mut world = World::open(&disk, 1, options).expect("it opens with a small segment");
    let store = world.of(ALICE);
    assert_eq!(inbox(&mut world, ALICE).len(), 1);
    let expunge = Change::Expunge {
        mailbox: INBOX_ID,
        uids: vec![uid(1)],
        only_deleted: false,
    };
    let (_, outcome) = world
        .run(store.change(ALICE, expunge))
        .expect("an expunge commits");
    assert_eq!(outcome, Outcome::Expunged(vec![uid(1)]));
    let long = memory(vec![b'x'; 300 * 1024]);
    let refused = world.run(store.deliver(delivery(&[ALICE], long)));
    assert!(matches!(refused, Err(StoreError::NoSpace(_))), "{refused:?}");
    world.close();
}

#[test]
fn copies_and_moves_are_saved_when_they_are_made() {
    // RFC 8514 §3
    use crate::base::clock::UnixMillis;
    let disk = SimDisk::new(1);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    world.env.clock.set(UnixMillis(1_000));
    for body in ["one", "two"] {
        world
            .run(store.deliver(delivery(&[ALICE], memory(body))))
            .expect("it commits");
    }
    let trash = store
        .account(ALICE, |a| a.names[&name("Trash")])
        .expect("it exists");
    let quota = crate::model::Quota::NONE;
    let copy = Change::Copy {
        from: INBOX_ID,
        uids: vec![uid(1)],
        to: trash,
        quota,
    };
    let back = Change::Move {
        from: trash,
        uids: vec![uid(1)],
        to: INBOX_ID,
    };
    world.env.clock.set(UnixMillis(2_000));
    world.run(store.change(ALICE, copy.clone())).expect("it commits");
    world.env.clock.set(UnixMillis(3_000));
    world.run(store.change(ALICE, back)).expect("it commits");
    // A clock that was set back.
    world.env.clock.set(UnixMillis(500));
    world.run(store.change(ALICE, copy)).expect("it commits");
    let dates = |world: &mut World, mailbox| {
        let store = world.of(ALICE);
        let rows = store.account(ALICE, |a| a.mailboxes[&mailbox].rows.clone());
        let rows = rows.expect("it is there");
        // Each can be read: its record has the date of its arrival.
        for row in &rows {
            world
                .run(store.open_message(ALICE, row))
                .expect("it is this row's");
        }
        rows.iter().map(|row| row.save_date.0).collect::<Vec<_>>()
    };
    let as_they_are = |world: &mut World| (dates(world, INBOX_ID), dates(world, trash));
    assert_eq!(as_they_are(&mut world), (vec![1_000, 1_000, 3_000], vec![1_000]));
    drop(store);
    let mut world = open(&disk);
    let store = world.of(ALICE);
    let _pin = world.run(store.load(ALICE)).expect("it loads");
    assert_eq!(as_they_are(&mut world), (vec![1_000, 1_000, 3_000], vec![1_000]));
}
