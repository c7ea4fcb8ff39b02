//! The real server gives the space of expunged mail back to the file system, loses nothing over kills, and what was
//! expunged comes back for as long as it is kept.

mod common;

use common::site::{Plan, Site};
use common::talk::{Imap, Smtp, Wire, deliver};
use common::{PATIENCE, Server, binary, demo, succeed, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// Messages of a MiB each: three segments of the smallest size there is.
const MESSAGES: usize = 44;

/// Every eleventh stays.
fn stays(message: usize) -> bool {
    message.is_multiple_of(11)
}

/// A host with one core whose store forgets at once and compacts often.
fn frugal_host() -> Site {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let site = Site::within(directory, &Plan::default());
    for (key, value) in [
        ("cores", "1"),
        ("plaintext_login_on_loopback", "true"),
        ("expunged_kept", "0"),
        ("compaction_pause", "1"),
        ("compaction_dead_bytes", "\"1 MiB\""),
        ("segment_bytes", "\"16 MiB\""),
    ] {
        site.set(key, value);
    }
    site
}

fn serve(site: &mut Site) -> Server {
    site.start();
    site.take_server()
}

fn letter(number: usize) -> String {
    let line = format!("{number:>8} abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz\r\n");
    let lines = MIB as usize / line.len();
    format!("Subject: letter {number}\r\n\r\n{}", line.repeat(lines))
}

/// Bytes that the log takes on the disk.
fn allocated(data: &Path) -> u64 {
    let entries = fs::read_dir(data.join("segments")).expect("the store is there");
    let segments = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == "seg");
        // It may go between the two looks.
        is_segment.then(|| fs::metadata(&path).ok()).flatten()
    });
    segments.map(|metadata| metadata.blocks() * 512).sum()
}

fn inbox(server: &Server, password: &str) -> Imap {
    let mut imap = Imap::greeted(server);
    imap.command(&format!("LOGIN admin@example.org {password}")).ok();
    imap.command("SELECT INBOX").ok();
    imap
}

/// Every message of the mailbox, by UID.
fn texts(imap: &mut Imap) -> Vec<String> {
    imap.command("UID FETCH 1:* BODY.PEEK[TEXT]").ok()
}

fn metric(server: &Server, name: &str) -> f64 {
    let mut wire = Wire::connect(server.port("http"));
    wire.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = wire.until_closed();
    let samples = answer.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
    });
    samples
        .map(|line| {
            line.rsplit(' ')
                .next()
                .and_then(|value| value.parse::<f64>().ok())
        })
        .map(|value| value.expect("a number"))
        .sum()
}

fn tool(arguments: &[&str], data: &Path) -> String {
    let mut command = Command::new(binary());
    command.arg("store").args(arguments).arg(data);
    String::from_utf8(succeed(&mut command)).expect("UTF-8")
}

#[test]
fn the_space_of_expunged_mail_comes_back_and_nothing_is_lost_over_kills() {
    let mut site = frugal_host();
    let (data, password) = (site.data(), site.admin_password().to_owned());
    let server = serve(&mut site);
    let mut smtp = Smtp::hello(&server);
    for number in 0..MESSAGES {
        smtp.deliver("admin@example.org", &letter(number));
    }
    let mut imap = inbox(&server, &password);
    let first = imap.command("UID SEARCH SUBJECT \"letter 0\"").ok();
    let first: usize = first[0]
        .rsplit(' ')
        .next()
        .and_then(|uid| uid.parse().ok())
        .expect("a UID");
    for number in (0..MESSAGES).filter(|number| !stays(*number)) {
        let uid = first + number;
        imap.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))
            .ok();
    }
    imap.command("EXPUNGE").ok();
    let before = texts(&mut imap);
    let full = allocated(&data);
    assert!(full >= 44 * MIB, "{full}");
    server.kill();

    // A start covers what the one before has written: now it can be given back.
    let server = serve(&mut site);
    let mut last = (allocated(&data), Instant::now());
    while last.0 > full - 24 * MIB {
        // Progress within the wait, however long all of it takes.
        assert!(
            last.1.elapsed() < PATIENCE,
            "{} of {full} bytes are still there",
            last.0
        );
        std::thread::sleep(Duration::from_millis(20));
        let now = allocated(&data);
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    assert_eq!(texts(&mut inbox(&server, &password)), before);
    wait_until("the space and the pass are counted", || {
        metric(&server, "ringpost_store_freed_bytes_total") >= 16e6
            && metric(&server, "ringpost_store_compactions_total") >= 1.0
    });
    server.kill();

    let server = serve(&mut site);
    assert_eq!(texts(&mut inbox(&server, &password)), before);
    assert!(server.terminate().success());
    tool(&["check"], &data);
    let stat: serde_json::Value = serde_json::from_str(&tool(&["stat", "--json"], &data)).expect("JSON");
    assert!(stat["freed_bytes"].as_u64() >= Some(16 * MIB), "{stat}");
    assert!(stat["dead_bytes"].as_u64() < Some(8 * MIB), "{stat}");
    assert_eq!(stat["graves"], 0, "{stat}");
}

#[test]
fn what_was_expunged_lately_comes_back_by_undelete_and_only_once() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let data = directory.path().join("store");
    let server = Server::run(demo(&data));
    for number in 0..3 {
        deliver(
            &server,
            "user1@example.org",
            &format!("Subject: {number}\r\n\r\nletter {number}\r\n"),
        );
    }
    let mut imap = Imap::inbox(&server, "user1");
    let before = imap.command("FETCH 1:* BODY.PEEK[]").ok();
    imap.command("STORE 1,3 +FLAGS.SILENT (\\Deleted \\Flagged)").ok();
    imap.command("EXPUNGE").ok();
    assert!(server.terminate().success());
    let undelete = || tool(&["undelete", "--account", "user1@example.org"], &data);
    assert_eq!(undelete(), "2 messages are back\n");
    assert_eq!(undelete(), "0 messages are back\n");
    let server = Server::run(demo(&data));
    let mut imap = Imap::inbox(&server, "user1");
    let after = imap.command("UID FETCH 1:* (FLAGS BODY.PEEK[])").ok();
    // Under new UIDs, behind what stayed.
    for (answer, (uid, was)) in after.iter().zip([(2, 1), (4, 0), (5, 2)]) {
        assert!(answer.contains(&format!("UID {uid} ")), "{answer}");
        assert!(!answer.contains("\\Deleted"), "{answer}");
        let text = before[was]
            .split_once('}')
            .expect("a literal")
            .1
            .trim_end_matches(')');
        assert!(answer.contains(text), "{answer} instead of {text}");
    }
    assert_eq!(after.len(), 3);
}

#[test]
fn undelete_reaches_a_running_server_by_address_and_sessions_see_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let data = directory.path().join("store");
    let server = Server::run(demo(&data));
    // Of both cores, whichever hears the orders.
    for user in ["user1", "user2", "user3", "user4"] {
        for number in 0..3 {
            let text = format!("Subject: {number}\r\n\r\nletter {number}\r\n");
            deliver(&server, &format!("{user}@example.org"), &text);
        }
        let mut imap = Imap::inbox(&server, user);
        let before = imap.command("FETCH 1:* BODY.PEEK[]").ok();
        imap.command("STORE 1,3 +FLAGS.SILENT (\\Deleted)").ok();
        imap.command("EXPUNGE").ok();
        let account = format!("{}@Example.org", user.to_uppercase());
        let undelete = || tool(&["undelete", "--account", &account], &data);
        assert_eq!(undelete(), "2 messages are back\n");
        let told = imap.command("NOOP").ok().join("\n");
        assert!(told.contains("* 3 EXISTS"), "{told}");
        assert_eq!(undelete(), "0 messages are back\n");
        let after = imap.command("UID FETCH 1:* (FLAGS BODY.PEEK[])").ok();
        for (answer, (uid, was)) in after.iter().zip([(2, 1), (4, 0), (5, 2)]) {
            assert!(answer.contains(&format!("UID {uid} ")), "{answer}");
            let text = before[was].split_once('}').expect("a literal").1;
            assert!(
                answer.contains(text.trim_end_matches(')')),
                "{answer} instead of {text}"
            );
        }
    }
    assert!(server.terminate().success());
    tool(&["check"], &data);
}

/// A host's accounts are found by address whether it runs or not, beside a store that compacts without a pause.
#[test]
fn undelete_finds_a_hosts_account_by_address_while_it_runs_and_when_it_does_not() {
    let mut site = frugal_host();
    let (data, password) = (site.data(), site.admin_password().to_owned());
    site.edit("\nexpunged_kept = 0\n", "\nexpunged_kept = \"7 days\"\n");
    let server = serve(&mut site);
    for number in 0..3 {
        let text = format!("Subject: {number}\r\n\r\nletter {number}\r\n");
        deliver(&server, "admin@example.org", &text);
    }
    let mut imap = inbox(&server, &password);
    let before = texts(&mut imap).len();
    let expunge = |imap: &mut Imap| {
        imap.command("STORE 1:2 +FLAGS.SILENT (\\Deleted)").ok();
        imap.command("EXPUNGE").ok();
    };
    let undelete = || tool(&["undelete", "--account", "admin@example.org"], &data);
    expunge(&mut imap);
    assert_eq!(undelete(), "2 messages are back\n");
    imap.command("NOOP").ok();
    assert_eq!(texts(&mut imap).len(), before);
    expunge(&mut imap);
    let refused = |account: &str| {
        let mut command = Command::new(binary());
        command
            .args(["store", "undelete", "--account", account])
            .arg(&data);
        let output = command.output().expect("it runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for account in ["nobody@example.org", "4711"] {
        assert!(refused(account).contains("account"), "{}", refused(account));
    }
    assert!(server.terminate().success());
    assert!(refused("nobody@example.org").contains("nobody@example.org"));
    assert_eq!(undelete(), "2 messages are back\n");
    tool(&["check"], &data);
}
