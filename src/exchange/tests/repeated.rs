//! An import that did not come to its end and is made again; files that are no messages.

use super::super::{FiledMessage, MailboxHead, PassedOver, invalid};
use super::*;
use crate::sim::Fault;
use crate::store::RestoreError;
use std::cell::Cell;
use std::io;
use std::path::PathBuf;

const NOW: i64 = 1_750_000_000_000;

/// One attempt of a store's own, at `now`; what is on the disk then is as after a cut of the power.
fn attempt(disk: &SimDisk, source: &dyn Source, root: &Path, now: i64) -> Result<ImportReport, String> {
    let mut world = World::open(disk, 1, small_options()).map_err(|error| error.to_string())?;
    let mut restorer = Restorer::new(world.of(NEW));
    let mut progress = |_| {};
    let coming = import(
        &mut restorer,
        NEW,
        source,
        root,
        UnixMillis(now),
        UidlForm::Dovecot,
        &mut progress,
    );
    let outcome = world.run(coming).map_err(|error| error.to_string());
    drop(restorer);
    if outcome.is_ok() {
        world.close();
    }
    outcome
}

fn exported() -> (SimDisk, tempfile::TempDir) {
    let (disk, root) = (filled(), tempfile::tempdir().expect("a directory"));
    out(
        &disk,
        &mut maildir::Writer::new(root.path()),
        root.path(),
        names::directory,
    );
    (disk, root)
}

#[test]
fn an_import_cut_off_anywhere_comes_to_the_same_account_when_it_is_made_again() {
    let (disk, root) = exported();
    let source = maildir::Reader::new(root.path());
    let right = outline(&disk, ALICE);
    let operations = {
        let new = SimDisk::new(13);
        attempt(&new, &source, root.path(), NOW).expect("it comes in");
        new.operations()
    };
    let (mut begun, mut already) = (0, 0);
    for cut in (1..operations).step_by(3) {
        let new = SimDisk::new(cut);
        new.inject(Fault::CutAfter(cut));
        let first = attempt(&new, &source, root.path(), NOW);
        let new = new.crash(cut);
        match attempt(&new, &source, root.path(), NOW + 5_000) {
            Ok(report) => {
                begun += u64::from(first.is_err());
                already += report.already;
                assert_eq!((report.messages, report.gone), (5 * 8 + 1, 0), "cut after {cut}");
            }
            // Only the end of the store's log was cut.
            Err(why) => assert_eq!(why, RestoreError::Exists(NEW).to_string(), "cut after {cut}"),
        }
        assert_eq!(outline(&new, NEW), right, "cut after {cut} of {operations}");
        let again = attempt(&new, &source, root.path(), NOW).expect_err("it is whole");
        assert_eq!(again, RestoreError::Exists(NEW).to_string());
    }
    assert!(begun > 5 && already > 50, "{begun}, {already}");
}

/// Gives a number of messages, then fails.
struct Failing<'a> {
    source: &'a dyn Source,
    left: Cell<u64>,
}

impl Source for Failing<'_> {
    fn mailboxes(&self) -> io::Result<Vec<(MailboxHead, PathBuf)>> {
        self.source.mailboxes()
    }

    fn messages(
        &self,
        place: &Path,
        passed_over: &mut PassedOver,
        each: &mut dyn FnMut(FiledMessage) -> io::Result<()>,
    ) -> io::Result<()> {
        self.source.messages(place, passed_over, &mut |message| {
            let left = self.left.get().checked_sub(1);
            self.left.set(left.ok_or_else(|| invalid("no more"))?);
            each(message)
        })
    }
}

fn foreign() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for folder in ["", ".Work", ".Work.Old"] {
        for half in ["cur", "new", "tmp"] {
            std::fs::create_dir_all(root.path().join(folder).join(half)).expect("it is new");
        }
        for n in 0..30 {
            let path = root.path().join(folder).join(format!("cur/{n}.a:2,S"));
            std::fs::write(path, format!("Subject: {n}\n\n{}\n", "text ".repeat(300))).expect("it is new");
        }
    }
    root
}

/// Nothing says UIDs or UIDVALIDITYs: they are those of the first attempt.
#[test]
fn an_import_that_failed_after_any_message_goes_on_with_the_same_numbers() {
    let root = foreign();
    let source = maildir::Reader::new(root.path());
    let whole = SimDisk::new(1);
    attempt(&whole, &source, root.path(), NOW).expect("it comes in");
    let right = outline(&whole, NEW);
    let mut already = 0;
    for left in (0..90).step_by(7) {
        let new = SimDisk::new(left);
        for (failure, now) in [(left / 2, NOW), (left, NOW + 5_000)] {
            let failing = Failing {
                source: &source,
                left: Cell::new(failure),
            };
            let why = attempt(&new, &failing, root.path(), now).expect_err("it fails");
            assert_eq!(why, "no more");
        }
        let report = attempt(&new, &source, root.path(), NOW + 9_000).expect("it comes in");
        assert_eq!(report.messages, 90);
        already += report.already;
        assert_eq!(outline(&new, NEW), right, "after {left} messages");
    }
    assert!(already > 0);
}

#[test]
fn other_files_than_before_are_refused() {
    let root = foreign();
    let source = maildir::Reader::new(root.path());
    let begun = || {
        let new = SimDisk::new(2);
        let failing = Failing {
            source: &source,
            left: Cell::new(75),
        };
        attempt(&new, &failing, root.path(), NOW).expect_err("it fails");
        new
    };
    let new = begun();
    std::fs::write(root.path().join(".Work/cur/1.a:2,S"), "Subject: other\n\n").expect("it is there");
    let why = attempt(&new, &source, root.path(), NOW).expect_err("it is refused");
    assert!(why.contains("UID") && why.contains(".Work"), "{why}");
    let new = begun();
    for half in ["cur", "new"] {
        std::fs::create_dir_all(root.path().join(".Added").join(half)).expect("it is new");
    }
    let why = attempt(&new, &source, root.path(), NOW).expect_err("it is refused");
    assert!(why.contains("not the mailboxes"), "{why}");
}

#[test]
fn what_is_no_file_is_passed_over_and_named() {
    let root = foreign();
    let cur = root.path().join(".Work/cur");
    std::os::unix::fs::symlink("1.a:2,S", cur.join("link")).expect("it is new");
    std::fs::create_dir(cur.join("directory")).expect("it is new");
    let fifo = std::ffi::CString::new(cur.join("fifo").to_str().expect("UTF-8")).expect("no zero");
    // SAFETY: the path is a string that ends in a zero and lives until the call is over.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    for n in 0..super::super::PASSED_OVER_TOLD_MAX {
        std::os::unix::fs::symlink("nowhere", cur.join(format!("more{n}"))).expect("it is new");
    }
    let report = attempt(
        &SimDisk::new(1),
        &maildir::Reader::new(root.path()),
        root.path(),
        NOW,
    );
    let report = report.expect("the others come in");
    assert_eq!(report.messages, 90);
    let told = &report.passed_over;
    assert_eq!(told.count as usize, 3 + super::super::PASSED_OVER_TOLD_MAX);
    assert_eq!(told.first.len(), super::super::PASSED_OVER_TOLD_MAX);
    assert!(
        told.first.iter().all(|line| line.contains(".Work/cur/")),
        "{told:?}"
    );
}

#[test]
fn a_name_that_is_not_utf_8_is_a_message_like_others() {
    use std::os::unix::ffi::OsStrExt;
    let root = foreign();
    let name = std::ffi::OsStr::from_bytes(b"9.\xff:2,FS");
    std::fs::write(root.path().join("new").join(name), "Subject: x\n\n").expect("it is new");
    let new = SimDisk::new(1);
    let report = attempt(&new, &maildir::Reader::new(root.path()), root.path(), NOW);
    assert_eq!(report.expect("it comes in").messages, 91);
}

#[test]
fn a_maildir_that_is_none_is_named() {
    for (half, folder) in [("new", ""), ("cur", ""), ("new", ".Work"), ("cur", ".Work")] {
        let root = foreign();
        let missing = root.path().join(folder).join(half);
        std::fs::remove_dir_all(&missing).expect("it is there");
        let why = tried(&maildir::Reader::new(root.path()), root.path()).expect_err("it is refused");
        let place = root.path().join(folder).display().to_string();
        let told = format!("{} is no Maildir", place.trim_end_matches('/'));
        assert!(why.contains(&told) && why.contains(half), "{why}");
    }
}

#[test]
fn a_message_of_any_size_comes_in_and_one_beyond_the_format_is_named() {
    let root = foreign();
    let long = "long line of text\n".repeat(20_000);
    std::fs::write(root.path().join("cur/long"), &long).expect("it is new");
    let (_, new) = tried(&maildir::Reader::new(root.path()), root.path()).expect("it comes in");
    let rows = &outline(&new, NEW).1[0].1;
    assert!(rows.iter().any(|row| row.5 == long.as_bytes()));
    let file = std::fs::File::create(root.path().join(".Work/cur/huge")).expect("it is new");
    file.set_len(super::super::MESSAGE_BYTES_MAX + 1)
        .expect("it takes no space");
    let why = tried(&maildir::Reader::new(root.path()), root.path()).expect_err("it is refused");
    assert!(
        why.contains(".Work/cur/huge") && why.contains("too large"),
        "{why}"
    );
}
