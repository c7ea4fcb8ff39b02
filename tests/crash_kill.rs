//! kill -9 at any moment loses nothing acknowledged: the smallest form of the crash test, run with every test run.
//! The long form, with a journal, IMAP clients and hundreds of kills, is `loadtest crash`.

mod common;

use common::talk::{Imap, Smtp, without_recent};
use common::{PATIENCE, Server};
use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

const SENDERS: usize = 8;
const ROUNDS: usize = 6;

/// What was sent, and whether it was acknowledged, by subject.
type Journal = Mutex<HashMap<String, bool>>;

/// Sends one message after another until the server is gone.
fn send_until_cut(mut smtp: Smtp, name: &str, journal: &Journal) {
    for number in 0.. {
        let subject = format!("{name}-{number}");
        let recipient = format!("user{}@example.org", number % 4 + 1);
        let length = 50 + (number * 977) % 6_000;
        smtp.wire.send(format!(
            "MAIL FROM:<a@example.net>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n"
        ));
        if (0..3).any(|_| smtp.reply().is_empty()) {
            return;
        }
        journal
            .lock()
            .expect("no sender panicked")
            .insert(subject.clone(), false);
        smtp.wire.send(letter(&subject, length) + ".\r\n");
        if !smtp.reply().starts_with("250") {
            return;
        }
        journal.lock().expect("no sender panicked").insert(subject, true);
    }
}

fn acknowledged_in(journal: &Journal) -> usize {
    let journal = journal.lock().expect("no sender panicked");
    journal
        .values()
        .filter(|is_acknowledged| **is_acknowledged)
        .count()
}

/// However fast the machine is, so many are acknowledged when the kill comes. `false`: not within [`PATIENCE`].
fn await_acknowledged(journal: &Journal, wanted: usize) -> bool {
    let until = Instant::now() + PATIENCE;
    while acknowledged_in(journal) < wanted {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// A letter that shows whether it is whole: its length is in it.
fn letter(subject: &str, length: usize) -> String {
    let lines = (0..length / 60)
        .map(|line| format!("{subject} line {line:>40}\r\n"))
        .collect::<String>();
    format!("Subject: {subject}\r\nX-Lines: {}\r\n\r\n{lines}", length / 60)
}

/// Every subject in the four mailboxes and how often it is there; each letter is checked to be whole.
fn read_back(server: &Server) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    for user in 1..=4 {
        let mut imap = Imap::inbox(server, &format!("user{user}"));
        for response in imap.command("UID FETCH 1:* BODY.PEEK[]").ok() {
            let Some((_, text)) = response.split_once("Subject: ") else {
                continue;
            };
            let subject = text.lines().next().unwrap_or_default().to_owned();
            let lines = text
                .split_once("X-Lines: ")
                .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            let lines: usize = lines.unwrap_or_else(|| panic!("{subject} has lost its header"));
            assert!(
                response.contains(&letter(&subject, lines * 60)),
                "{subject} is not what was sent: {response}"
            );
            *found.entry(subject).or_default() += 1;
        }
    }
    found
}

#[test]
fn kill_9_under_load_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("store");
    let journal = Journal::default();
    let mut server = Server::with_data(&data);
    for round in 0..ROUNDS {
        let (journal, before) = (&journal, acknowledged_in(&journal));
        let was_loaded = thread::scope(|scope| {
            for sender in 0..SENDERS {
                let smtp = Smtp::hello(&server);
                scope.spawn(move || send_until_cut(smtp, &format!("r{round}s{sender}"), journal));
            }
            let was_loaded = await_acknowledged(journal, before + SENDERS * (2 + 7 * round % 12));
            common::signal(server.pid(), "KILL");
            was_loaded
        });
        assert!(was_loaded, "round {round}: hardly anything was acknowledged");
        // Until it is over, it holds its directory.
        server.kill();
        server = Server::with_data(&data);
        let found = read_back(&server);
        let journal = journal.lock().expect("no sender panicked");
        for (subject, is_acknowledged) in journal.iter() {
            let count = found.get(subject).copied().unwrap_or(0);
            assert!(count <= 1, "{subject} is there {count} times");
            assert!(
                count == 1 || !is_acknowledged,
                "{subject} was acknowledged and is lost"
            );
        }
        assert!(
            found.keys().all(|subject| journal.contains_key(subject)),
            "something was invented"
        );
    }
}

#[test]
fn uids_and_flags_hold_over_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("store");
    let server = Server::with_data(&data);
    for number in 0..10 {
        common::talk::deliver(
            &server,
            "user1@example.org",
            &format!("Subject: {number}\r\n\r\nx\r\n"),
        );
    }
    let mut imap = Imap::inbox(&server, "user1");
    imap.command("STORE 2:4 +FLAGS (\\Seen $Kept)").ok();
    imap.command("CREATE Moved").ok();
    imap.command("MOVE 9:10 Moved").ok();
    imap.command("STORE 1 +FLAGS.SILENT (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    let ask = |imap: &mut Imap| {
        let mut all = without_recent(imap.command("FETCH 1:* (UID FLAGS RFC822.SIZE)").ok());
        all.extend(imap.command("STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY)").ok());
        all.extend(imap.command("STATUS Moved (MESSAGES UIDNEXT UIDVALIDITY)").ok());
        all
    };
    let before = ask(&mut imap);
    server.kill();
    for _ in 0..3 {
        let server = Server::with_data(&data);
        assert_eq!(ask(&mut Imap::inbox(&server, "user1")), before);
        server.kill();
    }
}
