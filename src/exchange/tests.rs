//! An account that was exported and imported is equal: octets, flags, keywords, dates, UIDs, UIDVALIDITYs, UIDNEXTs.

mod repeated;

use super::export::export;
use super::import::UidlForm;
use super::import::{ImportReport, import};
use super::{Sink, Source, maildir, mbox, names};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, MailboxName, Uid};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use crate::sim::SimDisk;
use crate::store::tests::world::{World, delivery, memory, name, small_options};
use crate::store::tools::Survey;
use crate::store::{AccountImage, Change, INBOX_ID, NewMessage, Restorer};
use futures::executor::block_on;
use smallvec::smallvec;
use std::path::Path;

const ALICE: AccountId = AccountId(1);
const NEW: AccountId = AccountId(77);

/// Bodies that are hard for the formats.
fn bodies() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        "Subject: plain\r\n\r\nText.\r\n",
        "",
        "From the start\r\n",
        "Subject: quoted\r\n\r\nFrom here\r\n>From there\r\n>>From >From\r\nfrom\r\n",
        "X-UID: 7\r\nStatus: RO\r\nContent-Length: 3\r\n\r\nabc\r\n\r\nFrom me\r\n",
        "no line end",
        "bare\nline ends\n\nFrom x\n",
        "\r\n",
        "ends in empty lines\r\n\r\n\r\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    bodies.push(
        (0..=255)
            .cycle()
            .skip(1)
            .take(20_000)
            .filter(|byte| *byte != 0)
            .collect(),
    );
    bodies
}

fn filled() -> SimDisk {
    let disk = SimDisk::new(11);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    let store = world.of(ALICE);
    world.run(store.ensure_account(ALICE)).expect("it commits");
    let mut change = |change| world.run(store.change(ALICE, change)).expect("it commits");
    for text in ["Work/2024", "a.b/c", "Entwürfe", "empty"] {
        change(Change::CreateMailbox {
            name: name(text),
            special_use: None,
        });
    }
    for (place, mailbox) in ["INBOX", "Work/2024", "a.b/c", "Entwürfe", "Archive"]
        .into_iter()
        .enumerate()
    {
        let mailbox = store
            .account(ALICE, |a| a.names[&name(mailbox)])
            .expect("it was just made");
        for (number, body) in bodies().into_iter().enumerate() {
            let keywords = (0..number % 4)
                .map(|n| Keyword::new(&format!("k{}-{n}", place * 10 + number)).expect("valid"));
            change(Change::Append {
                mailbox,
                messages: vec![NewMessage {
                    flags: Flags(((number * 7 + place) % 32) as u8),
                    keywords: keywords.collect(),
                    internal_date: InternalDate {
                        at: UnixMillis(1_600_000_000_123 + 86_400_000 * number as i64),
                        zone_minutes: 90 - 30 * place as i16,
                    },
                    body: memory(body),
                }],
                quota: crate::model::Quota::NONE,
                replaces: None,
            });
        }
        change(Change::Expunge {
            mailbox,
            uids: vec![Uid::new(3).expect("it is one"), Uid::new(10).expect("it is one")],
            only_deleted: false,
        });
    }
    change(Change::StoreFlags {
        mailbox: INBOX_ID,
        uids: vec![Uid::new(1).expect("it is one")],
        operation: StoreOperation::Add,
        flags: Flags::SEEN,
        keywords: smallvec![Keyword::new("$Forwarded").expect("valid")],
        unchanged_since: None,
    });
    let value = |text: &'static [u8]| Some(bytes::Bytes::from_static(text));
    change(Change::SetMetadata {
        mailbox: Some(INBOX_ID),
        entries: vec![("/private/comment".to_owned(), value(b"mine\x00\xff"))],
        special_use: None,
    });
    change(Change::SetMetadata {
        mailbox: None,
        entries: vec![("/private/vendor/x".to_owned(), value(b"all"))],
        special_use: None,
    });
    let mut asking = delivery(&[ALICE], memory("Subject: asked\r\n\r\n"));
    asking.recipients[0].asked = bytes::Bytes::from_static(ASKED);
    world.run(store.deliver(asking)).expect("it commits");
    world.close();
    disk
}

/// Of a delivery: parameters of MAIL and of RCPT.
const ASKED: &[u8] = b"RET=HDRS ENVID=x\r\nNOTIFY=FAILURE ORCPT=rfc822;a@b";

/// A message: its UID, flags, keywords sorted, INTERNALDATE, SAVEDATE, octets, what was asked for.
type Row = (u32, u8, Vec<String>, InternalDate, i64, Vec<u8>, Vec<u8>);

fn outline(disk: &SimDisk, id: AccountId) -> (AccountImage, Vec<(MailboxName, Vec<Row>)>) {
    let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
    let account = survey.account(id).expect("it is there");
    let mut image = AccountImage::of(account);
    image.id = ALICE;
    let mut mailboxes = Vec::new();
    for mailbox in &mut image.mailboxes {
        let state = &account.mailboxes[&mailbox.id];
        let row = |row: &crate::store::MessageRow| {
            let mut keywords: Vec<String> = state
                .keywords_of(row.keywords)
                .map(|k| k.as_str().to_owned())
                .collect();
            keywords.sort();
            let (octets, asked) = block_on(survey.whole(id, row)).expect("it is whole");
            (
                row.uid.value(),
                row.flags.0,
                keywords,
                row.internal_date(),
                row.save_date.0,
                octets,
                asked.to_vec(),
            )
        };
        mailboxes.push((mailbox.name.clone(), state.rows.iter().map(row).collect()));
    }
    (image, mailboxes)
}

fn out(disk: &SimDisk, sink: &mut dyn Sink, root: &Path, file_of: fn(&str) -> String) {
    let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
    let report =
        block_on(export(&survey, ALICE, sink, root, file_of, &mut |_, _| {})).expect("it is written");
    assert_eq!((report.mailboxes, report.lost.len()), (12, 0));
}

fn back(source: &dyn Source, root: &Path) -> (ImportReport, SimDisk) {
    tried(source, root).expect("it comes in")
}

/// What is easily forgotten, because most accounts have none of it.
fn assert_extras(disk: &SimDisk) {
    let (image, mailboxes) = outline(disk, NEW);
    assert_eq!(image.metadata["/private/vendor/x"], "all");
    assert_eq!(
        image.mailboxes[0].metadata["/private/comment"],
        b"mine\x00\xff"[..]
    );
    assert_eq!(mailboxes[0].1.last().expect("it came last").6, ASKED);
}

#[test]
fn an_account_comes_back_equal_from_a_maildir() {
    let (disk, root) = (filled(), tempfile::tempdir().expect("a directory"));
    out(
        &disk,
        &mut maildir::Writer::new(root.path()),
        root.path(),
        names::directory,
    );
    let (report, new) = back(&maildir::Reader::new(root.path()), root.path());
    assert_eq!(report.messages, 5 * 8 + 1);
    assert_eq!(outline(&new, NEW), outline(&disk, ALICE));
    assert_extras(&new);
}

#[test]
fn an_account_comes_back_equal_from_mbox_files() {
    let (disk, root) = (filled(), tempfile::tempdir().expect("a directory"));
    out(
        &disk,
        &mut mbox::Writer::new(root.path()),
        root.path(),
        names::mbox_file,
    );
    let (report, new) = back(&mbox::Reader::new(root.path()), root.path());
    assert_eq!(report.messages, 5 * 8 + 1);
    assert_eq!(outline(&new, NEW), outline(&disk, ALICE));
    assert_extras(&new);
}

/// Without the sidecar only what the formats themselves have a place for: all but roles, MODSEQs, SAVEDATEs, zones.
#[test]
fn uids_flags_keywords_and_dates_come_back_from_the_files_alone() {
    let (disk, root) = (filled(), tempfile::tempdir().expect("a directory"));
    let other = tempfile::tempdir().expect("a directory");
    out(
        &disk,
        &mut maildir::Writer::new(root.path()),
        root.path(),
        names::directory,
    );
    out(
        &disk,
        &mut mbox::Writer::new(other.path()),
        other.path(),
        names::mbox_file,
    );
    for directory in [root.path(), other.path()] {
        std::fs::remove_file(directory.join(super::SIDECAR_NAME)).expect("it was written");
    }
    let sources: [(&dyn Source, &Path); 2] = [
        (&maildir::Reader::new(root.path()), root.path()),
        (&mbox::Reader::new(other.path()), other.path()),
    ];
    let (image, right) = outline(&disk, ALICE);
    for (source, root) in sources {
        let (_, new) = back(source, root);
        let (found_image, mut found) = outline(&new, NEW);
        let mut right = right.clone();
        for mailboxes in [&mut found, &mut right] {
            mailboxes.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
            for row in mailboxes.iter_mut().flat_map(|(_, rows)| rows) {
                row.3.zone_minutes = 0;
                row.4 = 0;
                row.6 = Vec::new();
            }
        }
        assert_eq!(found, right);
        for mailbox in &image.mailboxes {
            let same = found_image
                .mailboxes
                .iter()
                .find(|other| other.name == mailbox.name);
            let same = same.expect("it came back");
            assert_eq!(
                (same.uid_validity, same.uid_next),
                (mailbox.uid_validity, mailbox.uid_next)
            );
        }
    }
}

#[test]
fn a_foreign_maildir_and_mbox_get_new_numbers() {
    let root = tempfile::tempdir().expect("a directory");
    for directory in ["cur", "new", "tmp"] {
        std::fs::create_dir(root.path().join(directory)).expect("it is new");
    }
    std::fs::write(root.path().join("cur/1.a:2,FS"), "Subject: a\n\nA\n").expect("it is new");
    std::fs::write(root.path().join("new/2.b"), "Subject: b\n\nB\n").expect("it is new");
    let (report, new) = back(&maildir::Reader::new(root.path()), root.path());
    assert_eq!(report.messages, 2);
    let rows = &outline(&new, NEW).1[0].1;
    assert_eq!(rows[0].0, 1);
    assert_eq!(rows[0].1, Flags::FLAGGED.with(Flags::SEEN).0);
    assert_eq!(rows[1].5, b"Subject: b\n\nB\n");

    let root = tempfile::tempdir().expect("a directory");
    let text = "From a@b Thu Jan  1 00:00:00 1970\nStatus: RO\nSubject: a\n\n>From x\n\nFrom c@d Thu Jan  1 00:00:00 1970\nSubject: b\n\nB\n";
    std::fs::write(root.path().join("INBOX.mbox"), text).expect("it is new");
    let (report, new) = back(&mbox::Reader::new(root.path()), root.path());
    assert_eq!(report.messages, 2);
    let rows = &outline(&new, NEW).1[0].1;
    assert_eq!(
        (rows[0].1, &rows[0].5[..]),
        (Flags::SEEN.0, &b"Subject: a\n\nFrom x\n"[..])
    );
    assert_eq!(rows[1].5, b"Subject: b\n\nB\n");
}

#[test]
fn keywords_that_a_mailbox_has_no_room_for_are_told() {
    let root = tempfile::tempdir().expect("a directory");
    let all: Vec<String> = (0..64).map(|n| format!("k{n}")).collect();
    let mut text = String::new();
    for keywords in [
        all.join(" "),
        "k1 extra K2 more".to_owned(),
        "k3".to_owned(),
        "(bad k4".to_owned(),
    ] {
        text += &format!("From a@b Thu Jan  1 00:00:00 1970\nX-Keywords: {keywords}\nSubject: a\n\nA\n\n");
    }
    std::fs::write(root.path().join("INBOX.mbox"), text).expect("it is new");
    let (report, new) = back(&mbox::Reader::new(root.path()), root.path());
    assert_eq!(report.messages, 4);
    let place = root.path().join("INBOX.mbox").display().to_string();
    assert_eq!(
        report.keywords_lost.first,
        [
            format!("{place}: the message with UID 2 came without extra more"),
            format!("{place}: the message with UID 4 came without (bad"),
        ]
    );
    assert_eq!(report.keywords_lost.count, 2);
    let rows = &outline(&new, NEW).1[0].1;
    let kept: Vec<&[String]> = rows[1..].iter().map(|row| &row.2[..]).collect();
    assert_eq!(kept, [&["k1", "k2"][..], &["k3"], &["k4"]]);
    assert_eq!(rows[0].2.len(), 64);
}

fn tried(source: &dyn Source, root: &Path) -> Result<(ImportReport, SimDisk), String> {
    let new = SimDisk::new(13);
    let mut world = World::open(&new, 1, small_options()).expect("it opens");
    let mut restorer = Restorer::new(world.of(NEW));
    let now = UnixMillis(1_750_000_000_000);
    let mut progress = |_| {};
    let coming = import(
        &mut restorer,
        NEW,
        source,
        root,
        now,
        UidlForm::Own,
        &mut progress,
    );
    let outcome = world.run(coming);
    drop(restorer);
    world.close();
    World::open(&new, 1, small_options()).expect("whatever came in, the store opens");
    outcome
        .map(|report| (report, new))
        .map_err(|error| error.to_string())
}

fn maildir_with_list(list: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for directory in ["cur", "new", "tmp"] {
        std::fs::create_dir(root.path().join(directory)).expect("it is new");
    }
    for name in ["1.a", "2.a"] {
        std::fs::write(root.path().join(format!("cur/{name}:2,S")), "Subject: a\n\nA\n").expect("it is new");
    }
    std::fs::write(root.path().join("dovecot-uidlist"), list).expect("it is new");
    root
}

/// A list that a program, or somebody with an editor, has spoilt: nothing of it may reach the log, which would be refused at
/// every start.
#[test]
fn a_list_of_uids_that_cannot_be_is_refused_by_its_line() {
    for (list, told) in [
        (
            "3 V5 N6\n5 :1.a\n5 :2.a\n",
            "dovecot-uidlist:3: UID 5 is in line 2, too",
        ),
        (
            "3 V5 N6\n4294967295 :1.a\n",
            "dovecot-uidlist:2: UID 4294967295 is none",
        ),
        ("3 V5 N6\n0 :1.a\n", "dovecot-uidlist:2: UID 0 is none"),
        (
            "3 V4294967295 N6\n1 :1.a\n",
            "UIDVALIDITY 4294967295 leaves no room",
        ),
    ] {
        let root = maildir_with_list(list);
        let why = tried(&maildir::Reader::new(root.path()), root.path()).expect_err("it is refused");
        assert!(why.contains(told), "{why}");
    }
}

#[test]
fn a_file_that_is_there_twice_has_its_uid_once() {
    let root = maildir_with_list("3 V5 N6\n5 :1.a\n4 :2.a\n");
    std::fs::write(root.path().join("new/1.a"), "Subject: again\n\nA\n").expect("it is new");
    let (report, new) = tried(&maildir::Reader::new(root.path()), root.path()).expect("it comes in");
    assert_eq!((report.messages, report.uids_lost), (3, 0));
    let uids: Vec<u32> = outline(&new, NEW).1[0].1.iter().map(|row| row.0).collect();
    assert_eq!(uids, [4, 5, 6]);
}

#[test]
fn uids_of_an_mbox_that_do_not_rise_are_none() {
    let root = tempfile::tempdir().expect("a directory");
    let message = |uid: &str| format!("From a@b Thu Jan  1 00:00:00 1970\nX-UID: {uid}\n\n{uid}\n\n");
    let text: String = ["7", "7", "3", "4294967295", "0", "9"]
        .into_iter()
        .map(message)
        .collect();
    std::fs::write(root.path().join("INBOX.mbox"), text).expect("it is new");
    let (report, new) = tried(&mbox::Reader::new(root.path()), root.path()).expect("it comes in");
    assert_eq!((report.messages, report.uids_lost), (6, 4));
    let rows = &outline(&new, NEW).1[0].1;
    let uids: Vec<u32> = rows.iter().map(|row| row.0).collect();
    assert_eq!(uids, [7, 9, 10, 11, 12, 13]);
    assert!(rows[2].5.starts_with(b"\n7"), "in their order");
}

#[test]
fn a_mailbox_with_a_name_too_long_for_a_file_comes_back() {
    let long = "L".repeat(200) + "/\u{e4}".repeat(60).as_str();
    let disk = SimDisk::new(14);
    let mut world = World::open(&disk, 1, small_options()).expect("it opens");
    world
        .run(world.of(ALICE).ensure_account(ALICE))
        .expect("it commits");
    let create = Change::CreateMailbox {
        name: name(&long),
        special_use: None,
    };
    world
        .run(world.of(ALICE).change(ALICE, create))
        .expect("it commits");
    world.close();
    let survey = block_on(Survey::read(disk.crash(0), &mut |_, _| {})).expect("it is a store");
    for is_maildir in [true, false] {
        let root = tempfile::tempdir().expect("a directory");
        let (mut maildir, mut mbox) = (maildir::Writer::new(root.path()), mbox::Writer::new(root.path()));
        let (sink, file_of): (&mut dyn Sink, fn(&str) -> String) = if is_maildir {
            (&mut maildir, names::directory)
        } else {
            (&mut mbox, names::mbox_file)
        };
        block_on(export(&survey, ALICE, sink, root.path(), file_of, &mut |_, _| {})).expect("it is written");
        let (from_maildir, from_mbox) = (maildir::Reader::new(root.path()), mbox::Reader::new(root.path()));
        let source: &dyn Source = if is_maildir { &from_maildir } else { &from_mbox };
        let (_, new) = tried(source, root.path()).expect("it comes in");
        assert_eq!(outline(&new, NEW), outline(&disk, ALICE));
    }
}
