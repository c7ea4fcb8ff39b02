//! `ringpost store check` beside the server that works on the store: it finds what is damaged, and nothing else.

mod common;

use common::talk::{Imap, Smtp};
use common::{PATIENCE, Server, binary, demo};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

/// Looks that are taken while mail comes and goes.
const LOOKS: u64 = 5;

fn check(data: &Path) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["store", "check", "--json", "--rate", "0"])
        .arg(data);
    common::run(&mut command)
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn letter(number: u64, kib: usize) -> String {
    let line = format!("letter {number:>8} abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz\r\n");
    let lines = kib * 1024 / line.len();
    format!("Subject: letter {number}\r\n\r\n{}", line.repeat(lines))
}

/// A server whose segments are short, whose checkpoints come often, and which compacts without a pause.
fn hurried(data: &Path) -> Server {
    let mut command = demo(data);
    command.arg("--hurried-store");
    Server::run(command)
}

/// Delivers to the user until `stop`, and counts what was acknowledged.
fn deliver_until(server: &Server, user: &str, stop: &AtomicBool, acknowledged: &AtomicU64) {
    let mut smtp = Smtp::hello(server);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        smtp.deliver(&format!("{user}@example.org"), &letter(number, 30));
        acknowledged.fetch_add(1, Ordering::Relaxed);
        number += 1;
    }
}

/// Expunges what came to the user, again and again, so that there is something to free.
fn expunge_until(server: &Server, user: &str, stop: &AtomicBool) {
    let mut imap = Imap::inbox(server, user);
    while !stop.load(Ordering::Relaxed) {
        imap.command("UID STORE 1:* +FLAGS.SILENT (\\Deleted)").ok();
        imap.command("EXPUNGE").ok();
    }
}

#[test]
fn a_store_is_whole_while_mail_comes_and_goes_and_is_compacted() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let data = directory.path().join("store");
    let server = hurried(&data);
    let (stop, kept, other) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        // Whatever happens here, the others end.
        let _stops = Stops(&stop);
        scope.spawn(|| deliver_until(&server, "user1", &stop, &kept));
        scope.spawn(|| deliver_until(&server, "user2", &stop, &other));
        scope.spawn(|| expunge_until(&server, "user2", &stop));
        let mut looks = 0;
        let mut progress = (0, Instant::now());
        while looks < LOOKS {
            let before = kept.load(Ordering::Relaxed);
            if before > progress.0 {
                progress = (before, Instant::now());
            }
            // Mail goes on coming, however long it takes until there is enough of it.
            assert!(progress.1.elapsed() < 2 * PATIENCE, "{before} messages");
            let output = check(&data);
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
            let report = report(&output);
            assert_eq!(report["clean"], true, "{report}");
            assert_eq!(report["messages"], report["readable"], "{report}");
            let messages = report["messages"].as_u64().expect("a number");
            assert!(messages >= before, "{messages} of {before}: {report}");
            // A look at next to nothing says nothing.
            if before >= 100 * (looks + 1) {
                looks += 1;
            }
        }
    });
    assert!(server.terminate().success());
    let output = check(&data);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(report(&output)["messages"].as_u64() >= Some(kept.into_inner()));
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The segment with these octets, and where in it they are.
fn find(data: &Path, octets: &[u8]) -> (PathBuf, u64) {
    let entries = fs::read_dir(data.join("segments")).expect("the store is there");
    let mut found = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let content = fs::read(&path).ok()?;
        let at = content
            .windows(octets.len())
            .position(|window| window == octets)?;
        Some((path, at as u64))
    });
    found.next().expect("it was acknowledged")
}

#[test]
fn a_flipped_byte_in_a_finished_segment_is_told_with_mailbox_and_uid_while_mail_comes_in() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
    let data = directory.path().join("store");
    let server = hurried(&data);
    let mut smtp = Smtp::hello(&server);
    for (number, text) in ["one", "two with a needle in it", "three"].iter().enumerate() {
        let text = format!("Subject: {number}\r\n\r\nletter {text}\r\n");
        smtp.deliver("user3@example.org", &text);
    }
    // The needle's segment is finished by then: one is 4 MiB.
    for number in 0..60 {
        smtp.deliver("user3@example.org", &letter(number, 100));
    }
    let (segment, at) = find(&data, b"a needle in it");
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let output = thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| deliver_until(&server, "user3", &stop, &count));
        assert!(check(&data).status.success());
        let file = fs::OpenOptions::new().read(true).write(true).open(&segment);
        let file = file.expect("it is there");
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("it reads");
        file.write_all_at(&[byte[0] ^ 4], at).expect("it is ours");
        check(&data)
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = report(&output);
    assert_eq!(report["damages"], 1, "{report}");
    let told = &report["damage"][0];
    assert_eq!(
        (&told["mailbox"], &told["uid"]),
        (&"INBOX".into(), &2.into()),
        "{told}"
    );
    let number = segment
        .file_stem()
        .and_then(|stem| stem.to_str())
        .expect("a name");
    assert_eq!(
        told["segment"].as_u64(),
        u64::from_str_radix(number, 16).ok(),
        "{told}"
    );
    assert_eq!(
        report["readable"].as_u64().expect("a number") + 1,
        report["messages"].as_u64().expect("a number")
    );
    // For people, too.
    let mut command = Command::new(binary());
    command.args(["store", "check"]).arg(&data);
    let output = common::run(&mut command);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("mailbox \"INBOX\", UID 2"), "{text}");
    // The server serves on, all that is whole.
    let mut imap = Imap::inbox(&server, "user3");
    let others = imap.command("UID FETCH 1,3 BODY.PEEK[TEXT]").ok();
    assert_eq!(others.len(), 2, "{others:?}");
    assert!(server.terminate().success());
}
