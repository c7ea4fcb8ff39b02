//! What a client sees of a disk that fails or lies.

use super::world::{NOW, World};
use crate::base::clock::UnixMillis;
use crate::disk::Disk;
use crate::session::imap::Services;
use crate::sim::Fault;
use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use tracing_subscriber::fmt::MakeWriter;

/// `body 1` to `body 3` in INBOX, none of it in memory any more.
fn restarted_with_three() -> World {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 3);
    world.restarted()
}

#[test]
fn a_failed_log_refuses_changes_and_still_shows_mail() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    world.disk.inject(Fault::ErrorAt(world.disk.operations() + 1));
    let refused = a.command(&mut world, "STORE 1 +FLAGS (\\Flagged)");
    assert!(refused.tagged.starts_with("NO [UNAVAILABLE]"), "{refused:?}");
    assert_eq!(refused.untagged, "", "nothing is shown of what did not happen");
    let body = a.ok(&mut world, "FETCH 1 (FLAGS BODY[TEXT])");
    assert_eq!(
        body.untagged,
        "* 1 FETCH (FLAGS () BODY[TEXT] {8}\r\nbody 1\r\n)\r\n"
    );
    let append = a.tagged(&mut world, "APPEND INBOX {3+}\r\nabc");
    assert!(append.starts_with("NO [UNAVAILABLE]"), "{append}");
    for change in ["EXPUNGE", "CREATE x", "COPY 1 Trash", "SUBSCRIBE x"] {
        a.command(&mut world, change);
    }
    assert_eq!(
        a.ok(&mut world, "FETCH 1:* FLAGS").lines(),
        ["* 1 FETCH (FLAGS ())", "* 2 FETCH (FLAGS ())"]
    );
}

#[test]
fn a_failed_append_leaves_nothing_to_be_seen() {
    let mut world = World::new();
    let mut a = world.selected(1);
    world.disk.inject(Fault::ErrorAt(world.disk.operations() + 1));
    let append = a.command(&mut world, "APPEND INBOX {3+}\r\nabc");
    assert!(append.tagged.starts_with("NO [UNAVAILABLE]"), "{append:?}");
    assert_eq!(append.untagged, "");
    let status = a.ok(&mut world, "STATUS INBOX (MESSAGES UIDNEXT)");
    assert!(status.has("* STATUS INBOX (MESSAGES 0 UIDNEXT 1)"), "{status:?}");
}

#[test]
fn an_append_of_too_many_messages_says_how_many_it_takes() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let append = |count: usize| format!("APPEND INBOX{}", " {3+}\r\nabc".repeat(count));
    assert!(a.tagged(&mut world, &append(32)).starts_with("OK [APPENDUID "));
    let refused = a.tagged(&mut world, &append(33));
    assert_eq!(refused, "NO [LIMIT] An APPEND takes at most 32 messages");
    let status = a.ok(&mut world, "STATUS INBOX (MESSAGES)");
    assert!(status.has("* STATUS INBOX (MESSAGES 32)"), "{status:?}");
}

#[test]
fn a_damaged_message_is_left_out_and_the_others_come() {
    let mut world = restarted_with_three();
    let (name, place) = find(&world, b"body 2\r\n");
    world.disk.flip_bit(&name, place, 1);
    let mut a = world.selected(1);
    let fetch = a.command(&mut world, "FETCH 1:3 BODY.PEEK[TEXT]");
    assert!(fetch.tagged.starts_with("NO [CORRUPTION]"), "{fetch:?}");
    assert_eq!(
        fetch.untagged,
        "* 1 FETCH (UID 1 BODY[TEXT] {8}\r\nbody 1\r\n)\r\n* 3 FETCH (UID 3 BODY[TEXT] {8}\r\nbody 3\r\n)\r\n"
    );
    let search = a.ok(&mut world, "SEARCH BODY body");
    assert_eq!(search.lines(), ["* SEARCH 1 3"]);
    a.ok(&mut world, "FETCH 2 (FLAGS RFC822.SIZE)");
}

/// A second subscriber, which nobody uses. While there is one alone, a place that logs for the first time asks that of its own
/// thread whether anybody is interested; in a test that captures nothing the answer is no, and it is kept for all threads.
static UNUSED: OnceLock<tracing::Dispatch> = OnceLock::new();

/// What this thread logs from here on.
fn captured_log() -> (Lines, tracing::subscriber::DefaultGuard) {
    UNUSED.get_or_init(|| {
        let unused = tracing_subscriber::fmt().with_writer(std::io::sink);
        tracing::Dispatch::new(unused.finish())
    });
    let lines = Lines::default();
    let log = tracing_subscriber::fmt()
        .with_writer(lines.clone())
        .with_ansi(false)
        .finish();
    (lines, tracing::subscriber::set_default(log))
}

/// A dialogue ends and is forgotten; who runs the server must hear of it, from IMAP and POP3 alike, which read by the same call.
#[test]
fn a_damaged_message_is_logged_once_with_its_place_and_counted_each_time() {
    let (lines, _here) = captured_log();
    let mut world = restarted_with_three();
    let (name, place) = find(&world, b"body 2\r\n");
    world.disk.flip_bit(&name, place, 1);
    let mut a = world.selected(1);
    for _ in 0..3 {
        a.command(&mut world, "FETCH 1:3 BODY.PEEK[TEXT]");
    }
    let log = lines.text();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("cannot be read"))
        .collect();
    assert_eq!(told.len(), 1, "{log}");
    for part in [
        "ERROR",
        "account=1",
        "mailbox=\"INBOX\"",
        "uid=2",
        "place=",
        "store check",
    ] {
        assert!(told[0].contains(part), "{part}: {}", told[0]);
    }
    assert!(world.services.store().meters().damaged_reads.value() >= 3);
}

/// Nobody expunged anything; to a client a lost segment is damage like any other.
#[test]
fn a_segment_that_is_lost_while_the_server_runs_is_logged_once_and_its_messages_are_counted() {
    let (lines, _here) = captured_log();
    let mut world = restarted_with_three();
    let (name, _) = find(&world, b"body 2\r\n");
    futures::executor::block_on(world.disk.remove(&name)).expect("it is there");
    let mut a = world.selected(1);
    for _ in 0..2 {
        let fetch = a.command(&mut world, "FETCH 1:3 BODY.PEEK[TEXT]");
        assert!(fetch.tagged.starts_with("NO [CORRUPTION]"), "{fetch:?}");
    }
    let counted = || world.services.store().meters().damaged_reads.value();
    assert!(counted() >= 6, "{}", counted());
    let log = lines.text();
    let told = log.lines().filter(|line| line.contains("cannot be read"));
    let told: Vec<&str> = told.collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("the segment is missing"), "{}", told[0]);
}

#[test]
fn a_full_disk_is_logged_once_for_many_refusals() {
    let (lines, _here) = captured_log();
    let mut world = World::new();
    let mut a = world.selected(1);
    world.disk.set_capacity(1 << 20);
    world.services.clock.set(UnixMillis(NOW.0 + 3_600_000));
    for _ in 0..3 {
        let append = a.command(&mut world, "APPEND INBOX {3+}\r\nabc");
        assert!(append.tagged.starts_with("NO [UNAVAILABLE]"), "{append:?}");
    }
    let log = lines.text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("no room")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("WARN"), "{}", told[0]);
}

/// What the log got.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked")).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").extend_from_slice(octets);
        Ok(octets.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn a_body_that_turns_out_damaged_on_the_way_ends_the_connection() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let message = format!(
        "Subject: x\r\n\r\n{}end of it\r\n",
        "line of text\r\n".repeat(50_000)
    );
    a.append(&mut world, "INBOX", "", &message);
    let mut world = world.restarted();
    let (name, place) = find(&world, b"end of it\r\n");
    world.disk.flip_bit(&name, place, 1);
    let mut a = world.selected(1);
    a.send("a FETCH 1 BODY.PEEK[]\r\n");
    world.run();
    let got = a.read();
    let (head, rest) = got.split_once("}\r\n").unwrap();
    assert!(head.ends_with(&format!("{{{}", message.len())));
    assert!(message.starts_with(rest) && rest.len() < message.len());
    assert!(a.is_closed());
}

/// Where on the disk some octets are.
fn find(world: &World, octets: &[u8]) -> (String, usize) {
    for (name, _) in world.disk.names() {
        let content = world.disk.content(&name).unwrap_or_default();
        if let Some(place) = memchr::memmem::find(&content, octets) {
            return (name, place);
        }
    }
    panic!("not on the disk");
}
