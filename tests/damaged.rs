//! Damage as whoever runs the server meets it: POP3's in the log, the tools' exit codes and sums, directories that are no stores.

mod common;

use common::talk::{Imap, Pop3, Smtp, get, sum};
use common::{PATIENCE, Server, binary, demo, run, succeed};
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

fn store(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("store").args(arguments).arg(data);
    command
}

fn start(data: &Path) -> Server {
    Server::run(demo(data))
}

/// Not on a tmpfs, which has no direct I/O.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory")
}

/// A stopped store with three messages of user1.
fn filled(data: &Path) {
    let server = start(data);
    let mut smtp = Smtp::hello(&server);
    for text in ["first", "second", "third"] {
        let letter = format!("Subject: {text}\r\n\r\nThis is the {text} letter.\r\n");
        smtp.deliver("user1@example.org", &letter);
    }
    drop(smtp);
    assert!(server.terminate().success());
}

/// Other octets where these lie.
fn spoil(data: &Path, octets: &[u8]) {
    for entry in fs::read_dir(data.join("segments")).expect("the store is there") {
        let path = entry.expect("it can be listed").path();
        let content = fs::read(&path).expect("it can be read");
        let places = content.windows(octets.len()).enumerate();
        for (at, _) in places.filter(|(_, window)| *window == octets) {
            let file = fs::File::options().write(true).open(&path).expect("it is ours");
            file.write_all_at(b"#", at as u64).expect("room");
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn damage_that_pop3_meets_is_logged_once_and_counted_each_time() {
    let root = directory();
    let data = root.path().join("store");
    filled(&data);
    spoil(&data, b"This is the second letter");
    let server = start(&data);
    let counted = || {
        sum(
            &get(&server, "/metrics").1,
            "ringpost_store_damaged_reads_total",
            "",
        )
    };
    for attempt in 0..2 {
        let before = counted();
        // The body is found damaged when it is to be sent; nothing of it may be, so the connection ends.
        Pop3::login(&server, "user1").command("RETR 2");
        let begun = Instant::now();
        while counted() <= before {
            assert!(begun.elapsed() < PATIENCE, "attempt {attempt}");
        }
    }
    let mut pop3 = Pop3::login(&server, "user1");
    assert!(pop3.command("RETR 3").starts_with("+OK"));
    drop(pop3);
    let log = server.terminate_for_log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("cannot be read"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for part in ["INBOX", "uid", "2", "store check"] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
}

#[test]
fn salvage_says_by_its_exit_code_whether_all_came_over_something_was_damaged_or_it_could_not_be_done() {
    let root = directory();
    let data = root.path().join("store");
    filled(&data);
    let salvage = |new: &str| {
        let mut command = store(&["salvage"], &data);
        command.arg(root.path().join(new));
        command
    };
    succeed(&mut salvage("whole"));
    spoil(&data, b"This is the second letter");
    let output = run(&mut salvage("part"));
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        text(&output).contains("known to be lost: 1 message"),
        "{}",
        text(&output)
    );
    // Into a directory with something in it; and where files may not become as long as a segment.
    let output = run(&mut salvage("part"));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("empty directory"), "{}", text(&output));
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(binary())
        .args(["store", "salvage"])
        .arg(&data)
        .arg(root.path().join("full"));
    let output = run(&mut limited);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("it is not finished"), "{}", text(&output));
    assert!(root.path().join("full/UNFINISHED").exists());
}

#[test]
fn the_sums_of_stat_and_salvage_say_how_much_could_be_brought_back() {
    let root = directory();
    let data = root.path().join("store");
    filled(&data);
    let server = start(&data);
    let mut imap = Imap::inbox(&server, "user1");
    imap.command("UID STORE 1:2 +FLAGS.SILENT (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    drop(imap);
    assert!(server.terminate().success());
    let json = |command: &mut Command| -> serde_json::Value {
        serde_json::from_slice(&succeed(command)).expect("one JSON object")
    };
    assert_eq!(json(&mut store(&["stat", "--json"], &data))["graves"], 2);
    let new = root.path().join("new");
    let report = json(store(&["salvage", "--json"], &data).arg(&new));
    assert_eq!(report["restorable"], 2, "{report}");
    assert_eq!(report["messages"], 1, "{report}");
    let other = root.path().join("other");
    let told = succeed(store(&["salvage"], &data).arg(&other));
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(
        told.contains("2 expunged messages that `undelete` could still bring back"),
        "{told}"
    );
}

#[test]
fn a_file_and_a_store_that_may_not_be_read_are_named_with_what_to_do() {
    let root = directory();
    let data = root.path().join("store");
    filled(&data);
    let output = run(&mut store(&["check"], &data.join("STORE")));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(
        text(&output).contains("not a directory: give the store's data directory"),
        "{}",
        text(&output)
    );
    // Root may read everything, until it has become whoever the store belongs to.
    if nobody_but_root() {
        for path in ["", "STORE", "segments", "LOCK"] {
            std::os::unix::fs::chown(data.join(path), Some(4_711), Some(4_711)).expect("root may");
        }
    }
    for path in ["STORE", "segments", ""] {
        let path = data.join(path);
        let before = fs::metadata(&path).expect("it is there").permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("it is ours");
        let output = run(&mut store(&["check"], &data));
        fs::set_permissions(&path, before).expect("it is ours");
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(
            text(&output).contains("may not read it"),
            "{}: {}",
            path.display(),
            text(&output)
        );
    }
}

fn nobody_but_root() -> bool {
    // SAFETY: the call reads a number of this process.
    unsafe { libc::geteuid() == 0 }
}
