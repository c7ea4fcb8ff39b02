//! Dialogues of small extensions: REPLACE (RFC 8508), UNAUTHENTICATE (RFC 8437), UTF8=ACCEPT (RFC 6855).

use super::transcript::play;
use super::world::{Client, World};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Quota};
use crate::proto::imap::types::InternalDate;
use crate::session::imap::Services;
use crate::store::{Body, Change, INBOX_ID, NewMessage};
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

fn replace(world: &mut World, client: &mut Client, head: &str, message: &str) -> super::world::Reply {
    client.command(world, &format!("{head} {{{}+}}\r\n{message}", message.len()))
}

#[test]
fn replace_puts_one_message_in_the_place_of_another() {
    // RFC 8508 §3.2, §3.3
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 4);
    let mut b = world.selected(1);
    let reply = replace(
        &mut world,
        &mut a,
        "REPLACE 4 INBOX (\\Draft)",
        "Subject: new\r\n\r\nx\r\n",
    );
    let lines = reply.lines();
    assert!(
        lines[0].starts_with("* OK [APPENDUID ") && lines[0].contains(" 5] "),
        "{lines:?}"
    );
    assert_eq!(lines[1..4], ["* 4 EXPUNGE", "* 4 EXISTS", "* 4 RECENT"]);
    assert_eq!(reply.tagged, "OK REPLACE completed");
    assert!(b.ok(&mut world, "NOOP").has("* 4 EXPUNGE"));
    // Into another mailbox, by UID: of the two nothing is left between.
    let reply = replace(
        &mut world,
        &mut a,
        "UID REPLACE 5 Sent (\\Seen)",
        "Subject: sent\r\n\r\nx\r\n",
    );
    assert_eq!(reply.lines()[1..], ["* 4 EXPUNGE"]);
    assert!(
        a.ok(&mut world, "STATUS Sent (MESSAGES)")
            .has("* STATUS Sent (MESSAGES 1)")
    );
    let mut world = world.restarted();
    let mut c = world.selected(1);
    assert!(c.ok(&mut world, "UID SEARCH ALL").has("* SEARCH 1 2 3"));
}

#[test]
fn replace_takes_what_catenate_makes() {
    // RFC 8508 §4.2, with and without a literal of the message.
    let mut world = World::new();
    let mut a = world.login(1);
    a.append(&mut world, "Drafts", "", "Subject: one\r\n\r\nx\r\n");
    let of_urls = "REPLACE 1 Drafts (\\Draft) CATENATE (URL /Drafts/;UID=1/;SECTION=HEADER)";
    assert!(
        a.tagged(&mut world, of_urls).starts_with("BAD"),
        "nothing is selected"
    );
    a.ok(&mut world, "SELECT Drafts");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 REPLACE 1 Drafts (\Draft) CATENATE (URL "/Drafts/;UID=1/;SECTION=HEADER")
        S: * OK [APPENDUID ~ 2] ~
        S: * 1 EXPUNGE
        S: * 1 EXISTS
        S: * 1 RECENT
        S: A1 OK REPLACE completed
        C: A2 UID REPLACE 2 Drafts CATENATE (URL {14+}
        C: /Drafts/;UID=2 URL "/Drafts/;UID=2")
        S: * OK [APPENDUID ~ 3] ~
        S: * 1 EXPUNGE
        S: * 1 EXISTS
        S: * 1 RECENT
        S: A2 OK REPLACE completed
        C: A3 UID REPLACE 3 Drafts CATENATE (TEXT {4+}
        C: X:
        C:  URL "/Drafts/;UID=3")
        S: * OK [APPENDUID ~ 4] ~
        S: * 1 EXPUNGE
        S: * 1 EXISTS
        S: * 1 RECENT
        S: A3 OK REPLACE completed
        C: A4 FETCH 1 RFC822.SIZE
        S: * 1 FETCH (RFC822.SIZE 36)
        S: A4 OK FETCH completed
        C: A5 UID REPLACE 4 Drafts CATENATE (URL "/Drafts/;UID=9")
        S: A5 NO [BADURL /Drafts/;UID=9] ~
        C: A6 REPLACE 1 Drafts CATENATE (URL "/Drafts/;UID=4") CATENATE (URL "/Drafts/;UID=4")
        S: A6 NO [CANNOT] ~
        C: A7 REPLACE 1 Drafts
        S: A7 BAD ~
        "#,
    );
}

#[test]
fn a_resynchronising_client_hears_how_far_it_is_after_replace() {
    // RFC 8508 §4.5, RFC 7162 §3.2.9
    let mut world = World::new();
    let mut a = world.login(1);
    a.ok(&mut world, "ENABLE QRESYNC");
    a.ok(&mut world, "SELECT INBOX");
    a.fill(&mut world, "INBOX", 2);
    let reply = replace(&mut world, &mut a, "UID REPLACE 2 INBOX", "Subject: x\r\n\r\n");
    assert!(reply.has("* VANISHED 2"), "{reply:?}");
    assert!(reply.tagged.starts_with("OK [HIGHESTMODSEQ "), "{reply:?}");
    let now = a.ok(&mut world, "STATUS INBOX (HIGHESTMODSEQ)").untagged;
    let told = reply.tagged.trim_start_matches("OK [HIGHESTMODSEQ ");
    let told = told.split(']').next().unwrap();
    assert!(now.contains(&format!("HIGHESTMODSEQ {told})")), "{now} {told}");
    // Of a message that was not its mailbox's any more nothing is expunged.
    let mut b = world.selected(1);
    b.ok(&mut world, "STORE 1:* +FLAGS.SILENT (\\Deleted)");
    b.ok(&mut world, "EXPUNGE");
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", "Subject: x\r\n\r\n");
    assert!(reply.tagged.starts_with("NO [NONEXISTENT]"), "{reply:?}");
}

#[test]
fn replace_is_refused_whole() {
    // RFC 8508 §3.4, §3.5, and what APPEND is refused for
    let mut world = World::new();
    let mut a = world.login(1);
    let answer = |world: &mut World, client: &mut Client, head: &str| {
        replace(world, client, head, "Subject: x\r\n\r\n").tagged
    };
    assert!(
        answer(&mut world, &mut a, "REPLACE 1 INBOX").starts_with("BAD"),
        "not selected"
    );
    a.fill(&mut world, "INBOX", 2);
    a.ok(&mut world, "SELECT INBOX");
    for (head, code) in [
        ("REPLACE 1 nowhere", "NO [TRYCREATE]"),
        ("REPLACE 9 INBOX", "NO [NONEXISTENT]"),
        ("UID REPLACE 9 INBOX", "NO [NONEXISTENT]"),
        ("REPLACE 0 INBOX", "BAD"),
        ("REPLACE 1:2 INBOX", "BAD"),
    ] {
        let answer = answer(&mut world, &mut a, head);
        assert!(answer.starts_with(code), "{head}: {answer}");
    }
    let mut b = world.login(1);
    b.ok(&mut world, "ENABLE UIDONLY");
    b.ok(&mut world, "SELECT INBOX");
    // RFC 9586 §3
    for command in [
        "REPLACE 1 INBOX {12+}\r\nSubject: x\r\n",
        "REPLACE 1 INBOX CATENATE (URL /INBOX/;UID=1)",
        "REPLACE 1 INBOX CATENATE (URL /INBOX/;UID=1 TEXT {1+}\r\nx)",
    ] {
        let answer = b.tagged(&mut world, command);
        assert!(answer.starts_with("BAD [UIDREQUIRED]"), "{command}: {answer}");
    }
    let two = "REPLACE 1 INBOX {12+}\r\nSubject: x\r\n {12+}\r\nSubject: y\r\n";
    assert!(a.tagged(&mut world, two).starts_with("NO [CANNOT]"));
    a.ok(&mut world, "EXAMINE INBOX");
    assert!(answer(&mut world, &mut a, "REPLACE 1 INBOX").starts_with("NO [READ-ONLY]"));
    assert!(a.ok(&mut world, "UID SEARCH ALL").has("* SEARCH 1 2"));
}

#[test]
fn replace_counts_the_difference_against_the_quota() {
    // RFC 8508 §3.4; account 3 may have 1,000 octets.
    let mut world = World::new();
    let mut a = world.selected(3);
    let message = |octets: usize| format!("Subject: x\r\n\r\n{}", "y".repeat(octets - 14));
    a.append(&mut world, "INBOX", "", &message(900));
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", &message(1_000));
    assert!(reply.tagged.starts_with("OK"), "{reply:?}");
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", &message(1_001));
    assert!(reply.tagged.starts_with("NO [OVERQUOTA]"), "{reply:?}");
    assert!(
        a.ok(&mut world, "FETCH 1 RFC822.SIZE")
            .has("* 1 FETCH (RFC822.SIZE 1000)")
    );
    // It has more than it may have by now.
    let over = Change::Append {
        mailbox: INBOX_ID,
        messages: vec![NewMessage {
            flags: Flags::default(),
            keywords: SmallVec::new(),
            internal_date: InternalDate {
                at: UnixMillis(0),
                zone_minutes: 0,
            },
            body: Body::from_memory(smallvec![Bytes::from(message(100))]),
        }],
        quota: Quota::NONE,
        replaces: None,
    };
    let store = world.services.store().clone();
    world.wait(store.change(AccountId(3), over)).unwrap();
    a.ok(&mut world, "NOOP");
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", &message(901));
    assert!(reply.tagged.starts_with("NO [OVERQUOTA]"), "{reply:?}");
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", &message(900));
    assert!(reply.tagged.starts_with("OK"), "{reply:?}");
}

#[test]
fn replace_of_one_by_one_needs_no_room_for_another_message() {
    // RFC 8508 §3.4; account 30 may have 2 messages.
    let mut world = World::new();
    let mut a = world.selected(30);
    a.fill(&mut world, "INBOX", 2);
    let reply = replace(&mut world, &mut a, "REPLACE 1 INBOX", "Subject: x\r\n\r\n");
    assert!(reply.tagged.starts_with("OK"), "{reply:?}");
    let parts = "UID REPLACE 3 INBOX CATENATE (URL /INBOX/;UID=3 TEXT {1+}\r\nx)";
    assert!(a.tagged(&mut world, parts).starts_with("OK"));
    let two = "APPEND INBOX {1+}\r\nx {1+}\r\nx";
    assert!(a.tagged(&mut world, two).starts_with("NO [OVERQUOTA]"));
}

#[test]
fn catenate_makes_a_message_of_parts_of_others() {
    // RFC 4469 §3
    let mut world = World::new();
    let mut a = world.login(1);
    a.append(
        &mut world,
        "Drafts",
        "",
        "Subject: draft\r\nX: y\r\n\r\nbody of the draft\r\n",
    );
    let parts = "URL \"/Drafts/;UID=1/;SECTION=HEADER\" TEXT {7+}\r\nbefore\r URL {28+}\r\n/Drafts/;UID=1/;SECTION=TEXT TEXT {5+}\r\nafter";
    let reply = a.ok(&mut world, &format!("APPEND INBOX (\\Seen) CATENATE ({parts})"));
    assert!(reply.tagged.starts_with("OK [APPENDUID "), "{reply:?}");
    // Of URLs alone, relative to the selected mailbox, and a part of a part.
    a.ok(&mut world, "SELECT INBOX");
    let reply = a.ok(
        &mut world,
        "APPEND INBOX CATENATE (URL Drafts/;UID=1/;SECTION=HEADER URL ;UID=1/;SECTION=TEXT/;PARTIAL=7.4)",
    );
    assert!(reply.has("* 2 EXISTS"), "{reply:?}");
    let fetched = a.ok(&mut world, "FETCH 1:2 BODY.PEEK[]").untagged;
    let head = "Subject: draft\r\nX: y\r\n\r\n";
    assert!(
        fetched.contains(&format!("{head}before\rbody of the draft\r\nafter)")),
        "{fetched:?}"
    );
    assert!(fetched.contains(&format!("{head}body)")), "{fetched:?}");
    a.ok(&mut world, "SELECT Drafts");
    assert!(
        a.ok(&mut world, "SEARCH UNSEEN").has("* SEARCH 1"),
        "a part is no reading"
    );
}

#[test]
fn several_messages_may_each_be_made_of_parts() {
    // RFC 4469 §5 and RFC 3502: CATENATE may stand wherever a message may.
    let mut world = World::new();
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 APPEND Drafts CATENATE (TEXT {14+}
        C: From: a
        C:
        C: x
        C: ) CATENATE (TEXT {14+}
        C: From: b
        C:
        C: y
        C: )
        S: A1 OK [APPENDUID ~ 1:2] APPEND completed
        C: A2 APPEND Drafts CATENATE (URL "/Drafts/;UID=1") CATENATE (URL "/Drafts/;UID=2/;SECTION=HEADER" TEXT {3+}
        C: z
        C: ) (\Answered) CATENATE (URL "/Drafts/;UID=2") (\Seen) {11+}
        C: From: c
        C:
        C:  CATENATE (URL "/Drafts/;UID=1")
        S: A2 OK [APPENDUID ~ 3:7] APPEND completed
        "#,
    );
    a.ok(&mut world, "SELECT Drafts");
    play(
        &mut world,
        &mut a,
        r#"
        C: A4 FETCH 3:7 (FLAGS RFC822.SIZE)
        S: * 3 FETCH (FLAGS () RFC822.SIZE 14)
        S: * 4 FETCH (FLAGS () RFC822.SIZE 14)
        S: * 5 FETCH (FLAGS (\Answered) RFC822.SIZE 14)
        S: * 6 FETCH (FLAGS (\Seen) RFC822.SIZE 11)
        S: * 7 FETCH (FLAGS () RFC822.SIZE 14)
        S: A4 OK FETCH completed
        C: A4 FETCH 4 BODY.PEEK[]
        S: * 4 FETCH (UID 4 BODY[] {14}
        S: From: b
        S:
        S: z
        S: )
        S: A4 OK FETCH completed
        -- all are refused with one
        C: A5 APPEND Drafts CATENATE (URL "/Drafts/;UID=9") CATENATE (URL "/Drafts/;UID=1")
        S: A5 NO [BADURL /Drafts/;UID=9] There is no such message
        C: A6 APPEND Drafts CATENATE (URL "/Drafts/;UID=1") CATENATE (URL "/Drafts/;UID=9") {3+}
        C: abc
        S: A6 NO [BADURL /Drafts/;UID=9] There is no such message
        C: A7 STATUS Drafts (MESSAGES)
        S: * STATUS Drafts (MESSAGES 7)
        S: A7 OK STATUS completed
        "#,
    );
}

#[test]
fn catenate_is_refused_whole() {
    // RFC 4469 §4
    let mut world = World::new();
    let mut a = world.login(3);
    a.append(
        &mut world,
        "Drafts",
        "",
        &format!("Subject: x\r\n\r\n{}", "y".repeat(400)),
    );
    for (parts, code) in [
        ("URL /nowhere/;UID=1", "NO [BADURL /nowhere/;UID=1] "),
        ("TEXT {1+}\r\nx URL /Drafts/;UID=2", "NO [BADURL /Drafts/;UID=2] "),
        (
            "URL /Drafts/;UID=1/;SECTION=2 TEXT {1+}\r\nx",
            "NO [BADURL /Drafts/;UID=1/;SECTION=2] ",
        ),
        ("URL /Drafts;UIDVALIDITY=7/;UID=1", "NO [BADURL "),
        ("URL imap://example.org/Drafts/;UID=1", "NO [BADURL "),
        ("URL ;UID=1", "NO [BADURL "),
        ("TEXT {1+}\r\nx TEXT", "BAD"),
        ("TEXT {1+}\r\nx) {1+}\r\n(", "BAD"),
        ("TEXT {0+}\r\n", "NO [CANNOT]"),
        // RFC 9051 §4.3: as in an APPEND that is one literal.
        ("TEXT {3+}\r\na\0b", "NO [CANNOT]"),
        ("TEXT ~{3+}\r\na\0b TEXT {3+}\r\na\0b", "NO [CANNOT]"),
        ("FILE x", "BAD"),
        ("URL /Drafts/;UID=1 URL /Drafts/;UID=1", "NO [OVERQUOTA]"),
    ] {
        let answer = a.tagged(&mut world, &format!("APPEND INBOX CATENATE ({parts})"));
        assert!(answer.starts_with(code), "{parts}: {answer}");
    }
    // Where the room ends is found out there, and not when all of it was read, written and sent.
    let parts = "URL /Drafts/;UID=1 URL /Drafts/;UID=1 TEXT {1}";
    let answer = a.tagged(&mut world, &format!("APPEND INBOX CATENATE ({parts}"));
    assert!(answer.starts_with("NO [OVERQUOTA]"), "{answer}");
    assert!(
        a.ok(&mut world, "STATUS INBOX (MESSAGES)")
            .has("* STATUS INBOX (MESSAGES 0)")
    );
    a.ok(
        &mut world,
        "APPEND Drafts CATENATE (TEXT {1+}\r\na TEXT ~{3+}\r\na\0b)",
    );
    a.ok(
        &mut world,
        "APPEND Drafts CATENATE (URL /Drafts/;UID=2 TEXT {1+}\r\na)",
    );
    assert!(
        a.ok(
            &mut world,
            "APPEND INBOX CATENATE (TEXT {0+}\r\n URL /Drafts/;UID=1/;SECTION=HEADER)"
        )
        .tagged
        .contains("APPENDUID")
    );
}

#[test]
fn unauthenticate_forgets_everything_of_the_login() {
    // RFC 8437 §3
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(&mut world, "INBOX", "\\Deleted", "Subject: x\r\n\r\n");
    a.ok(&mut world, "ENABLE QRESYNC UTF8=ACCEPT UIDONLY");
    // Pipelined with the next login.
    a.send("u UNAUTHENTICATE\r\nl LOGIN 2 secret\r\n");
    world.run();
    let told = a.read();
    assert!(
        told.starts_with("u OK UNAUTHENTICATE completed\r\nl OK [CAPABILITY "),
        "{told}"
    );
    assert!(
        a.tagged(&mut world, "UID FETCH 1 FLAGS").starts_with("BAD"),
        "nothing is selected"
    );
    assert!(
        a.ok(&mut world, "SELECT INBOX").has("* 0 EXISTS"),
        "it is the other account"
    );
    a.fill(&mut world, "INBOX", 1);
    assert!(
        a.ok(&mut world, "FETCH 1 UID").has("* 1 FETCH (UID 1)"),
        "UIDONLY is off"
    );
    a.ok(&mut world, "UNAUTHENTICATE");
    assert!(a.tagged(&mut world, "UNAUTHENTICATE").starts_with("BAD"));
    assert!(a.tagged(&mut world, "SELECT INBOX").starts_with("BAD"));
    // Nothing was expunged.
    assert!(world.selected(1).ok(&mut world, "SEARCH ALL").has("* SEARCH 1"));
}

#[test]
fn compress_deflates_both_ways() {
    // RFC 4978 §3; octets read as Latin-1 by the test's client.
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
    let mut world = World::new();
    let mut a = world.login(1);
    assert!(a.tagged(&mut world, "COMPRESS LZW").starts_with("BAD"));
    assert_eq!(a.tagged(&mut world, "COMPRESS DEFLATE"), "OK DEFLATE is active");
    let (mut deflate, mut inflate) = (Compress::new(Compression::best(), false), Decompress::new(false));
    let mut exchange = |world: &mut World, text: &[u8]| {
        let mut sent = Vec::with_capacity(text.len() + 1_000);
        deflate
            .compress_vec(text, &mut sent, FlushCompress::Sync)
            .unwrap();
        a.send(sent);
        world.run();
        let octets: Vec<u8> = a.read().chars().map(|c| c as u8).collect();
        let mut told = Vec::with_capacity(4_000_000);
        inflate
            .decompress_vec(&octets, &mut told, FlushDecompress::Sync)
            .unwrap();
        (String::from_utf8(told).unwrap(), octets.len())
    };
    let (told, _) = exchange(&mut world, b"x COMPRESS DEFLATE\r\n");
    assert_eq!(told, "x NO [COMPRESSIONACTIVE] DEFLATE is active already\r\n");
    let message = format!("Subject: x\r\n\r\n{}", "a line of text\r\n".repeat(100_000));
    let append = format!(
        "y APPEND INBOX {{{}+}}\r\n{message}\r\nz SELECT INBOX\r\n",
        message.len()
    );
    let (told, _) = exchange(&mut world, append.as_bytes());
    assert!(
        told.starts_with("y OK [APPENDUID ") && told.contains("* 1 EXISTS"),
        "{told}"
    );
    let (told, octets) = exchange(&mut world, b"f FETCH 1 BODY[]\r\n");
    assert!(told.contains(&message) && told.contains("f OK FETCH completed"));
    assert!(
        octets * 20 < message.len(),
        "{octets} octets for {}",
        message.len()
    );
    // What follows UNAUTHENTICATE is not compressed (RFC 8437 §4.1).
    let (told, _) = exchange(&mut world, b"u UNAUTHENTICATE\r\nl LOGIN 2 secret\r\n");
    assert!(told.starts_with("* BYE "), "{told}");
}

#[test]
fn a_thread_has_an_id() {
    // RFC 8474 §5.2, §6
    let mut world = World::new();
    let mut a = world.selected(1);
    for header in [
        "Message-ID: <a@x>",
        "Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\nReferences: <a@x>",
        "Message-ID: <c@x>\r\nReferences: <a@x> <b@x>",
        "Message-ID: <d@x>",
        "Subject: nameless",
        "Subject: nameless",
    ] {
        a.append(&mut world, "INBOX", "", &format!("{header}\r\n\r\nx\r\n"));
    }
    let ids = |world: &mut World, client: &mut Client| -> Vec<String> {
        let reply = client.ok(world, "FETCH 1:6 (THREADID)");
        let id = |line: &&str| {
            line.split_once("THREADID (")
                .unwrap()
                .1
                .trim_end_matches("))")
                .to_owned()
        };
        reply.lines().iter().map(id).collect()
    };
    let first = ids(&mut world, &mut a);
    assert_eq!(first.len(), 6);
    assert!(
        first
            .iter()
            .all(|id| id.starts_with('T') && id.bytes().all(|b| b.is_ascii_alphanumeric()))
    );
    assert!(first[0] == first[1] && first[1] == first[2], "{first:?}");
    let others: std::collections::BTreeSet<&String> = first.iter().collect();
    assert_eq!(others.len(), 4, "{first:?}");
    let search = |id: &str| format!("SEARCH THREADID {id}");
    assert_eq!(a.ok(&mut world, &search(&first[0])).lines(), ["* SEARCH 1 2 3"]);
    assert_eq!(a.ok(&mut world, &search(&first[4])).lines(), ["* SEARCH 5"]);
    assert_eq!(a.ok(&mut world, "SEARCH THREADID T123").lines(), ["* SEARCH"]);
    // Copies keep it, and it is the same after a restart.
    a.ok(&mut world, "COPY 2 Archive");
    // Neither a move nor a second APPEND of the same message makes another of it.
    a.append(
        &mut world,
        "Drafts",
        "",
        "Message-ID: <c@x>\r\nReferences: <a@x> <b@x>\r\n\r\nx\r\n",
    );
    a.ok(&mut world, "SELECT Drafts");
    a.ok(&mut world, "UID MOVE 1 Archive");
    a.ok(&mut world, "SELECT INBOX");
    let mut world = world.restarted();
    let mut a = world.selected(1);
    assert_eq!(ids(&mut world, &mut a), first);
    a.ok(&mut world, "SELECT Archive");
    let copy = a.ok(&mut world, "FETCH 1:2 THREADID");
    let of_first = |n: u32| format!("* {n} FETCH (UID {n} THREADID ({}))", first[0]);
    assert_eq!(copy.lines(), [of_first(1), of_first(2)]);
}

#[test]
fn nothing_may_follow_compress_before_its_answer() {
    // RFC 4978 §3
    let mut world = World::new();
    let mut a = world.login(1);
    a.send("c COMPRESS DEFLATE\r\nn NOOP\r\n");
    world.run();
    let told = a.read();
    assert!(told.starts_with("c BAD ") && told.contains("\r\nn OK "), "{told}");
    assert_eq!(a.tagged(&mut world, "COMPRESS DEFLATE"), "OK DEFLATE is active");
    // Not deflated: the session ends alone.
    a.send("n NOOP\r\n");
    world.run();
    assert!(a.is_closed());
}

#[test]
fn status_gives_the_octets_that_expunge_would_free() {
    // RFC 9208 §4.1.4
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(&mut world, "INBOX", "\\Deleted", "Subject: x\r\n\r\n");
    a.append(&mut world, "INBOX", "", "Subject: y\r\n\r\n");
    let status = a.ok(&mut world, "STATUS INBOX (DELETED DELETED-STORAGE)");
    assert!(
        status.has("* STATUS INBOX (DELETED 1 DELETED-STORAGE 14)"),
        "{status:?}"
    );
    let quota = a.ok(&mut world, "GETQUOTA \"\"");
    assert!(quota.has("* QUOTA \"\" (MAILBOX 6 4096)"), "{quota:?}");
}

#[test]
fn status_gives_the_longest_message_that_may_be_appended() {
    // RFC 7889 §3.1, §3.2
    let mut world = World::new();
    let mut a = world.login(1);
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 STATUS INBOX (APPENDLIMIT)
        S: * STATUS INBOX (APPENDLIMIT 52428800)
        S: A1 OK STATUS completed
        C: A2 LIST "" INBOX RETURN (STATUS (APPENDLIMIT))
        S: * LIST (\HasNoChildren) "/" INBOX
        S: * STATUS INBOX (APPENDLIMIT 52428800)
        S: A2 OK LIST completed
        "#,
    );
}

#[test]
fn names_are_utf8_once_it_is_accepted() {
    // RFC 6855 §3; octets read as Latin-1 by the test's client.
    let latin = |text: &str| text.bytes().map(char::from).collect::<String>();
    let mut world = World::new();
    let mut a = world.login(1);
    let mut old = world.login(1);
    assert!(
        a.ok(&mut world, "ENABLE UTF8=ACCEPT")
            .has("* ENABLED UTF8=ACCEPT")
    );
    a.ok(&mut world, "CREATE \"Entwürfe\"");
    a.ok(&mut world, "CREATE a&b");
    a.ok(&mut world, "APPEND \"Entwürfe\" {12+}\r\nSubject: x\r\n");
    let listed = a.ok(&mut world, "LIST \"\" (\"Entw*\" a&b)");
    assert!(
        listed.has(&latin("* LIST (\\HasNoChildren) \"/\" \"Entwürfe\"")),
        "{listed:?}"
    );
    assert!(listed.has("* LIST (\\HasNoChildren) \"/\" \"a&b\""), "{listed:?}");
    let status = a.ok(&mut world, "STATUS \"Entwürfe\" (MESSAGES)");
    assert!(
        status.has(&latin("* STATUS \"Entwürfe\" (MESSAGES 1)")),
        "{status:?}"
    );
    let listed = old.ok(&mut world, "LIST \"\" (Entw* a*)");
    assert!(
        listed.has("* LIST (\\HasNoChildren) \"/\" \"Entw&APw-rfe\""),
        "{listed:?}"
    );
    assert!(
        listed.has("* LIST (\\HasNoChildren) \"/\" \"a&-b\""),
        "{listed:?}"
    );
    a.send(b"x SELECT \"Entw\xfcrfe\"\r\n");
    world.run();
    assert!(a.read().starts_with("x BAD"), "not UTF-8");
}

#[test]
fn append_takes_utf8_messages() {
    // RFC 6855 §4
    let mut world = World::new();
    let mut a = world.login(1);
    let utf8 = "APPEND INBOX (\\Seen) UTF8 (~{15+}\r\nSubject: \u{fc}\r\n\r\n)";
    // Before it is enabled the extension is not understood, and the message is skipped to its end.
    assert!(a.tagged(&mut world, utf8).starts_with("BAD"));
    a.ok(&mut world, "ENABLE UTF8=ACCEPT");
    assert!(a.tagged(&mut world, utf8).starts_with("OK [APPENDUID"));
    assert!(
        a.tagged(&mut world, &utf8.replace("\r\n\r\n)", "\r\n\r\n"))
            .starts_with("BAD"),
        "not closed"
    );
    assert!(
        a.tagged(&mut world, &utf8.replace('~', "")).starts_with("BAD"),
        "no literal8"
    );
    a.ok(&mut world, "SELECT INBOX");
    assert!(a.ok(&mut world, "SEARCH ALL").has("* SEARCH 1"));
}
