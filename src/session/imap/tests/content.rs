//! FETCH of what is in messages.

use super::transcript::play;
use super::world::{NOW, World};
use crate::base::clock::UnixMillis;
use crate::session::imap::{Services, link};

const MIME: &str = "From: a@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\n\
    Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n--b--\r\n";

#[test]
fn rows_are_shown_without_reading_messages() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.ok(
        &mut world,
        "APPEND INBOX (\\Flagged) \"02-Jan-2026 04:04:05 +0100\" {14+}\r\nSubject: x\r\n\r\n",
    );
    let fetch = a.ok(&mut world, "FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE SAVEDATE)");
    assert_eq!(
        fetch.lines(),
        [
            "* 1 FETCH (FLAGS (\\Flagged) INTERNALDATE \" 2-Jan-2026 04:04:05 +0100\" RFC822.SIZE 14 \
          SAVEDATE \" 2-Jan-2026 03:04:05 +0000\")"
        ]
    );
}

#[test]
fn body_sets_seen_and_shows_it_and_peek_does_not() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    let peek = a.ok(&mut world, "FETCH 1 BODY.PEEK[TEXT]");
    assert_eq!(
        peek.untagged,
        "* 1 FETCH (UID 1 BODY[TEXT] {8}\r\nbody 1\r\n)\r\n"
    );
    let body = a.ok(&mut world, "FETCH 1 BODY[]");
    assert_eq!(
        body.untagged,
        "* 1 FETCH (FLAGS (\\Seen) BODY[] {22}\r\nSubject: 1\r\n\r\nbody 1\r\n)\r\n"
    );
    assert_eq!(
        a.ok(&mut world, "FETCH 1 FLAGS").lines(),
        ["* 1 FETCH (FLAGS (\\Seen))"]
    );
    a.ok(&mut world, "EXAMINE INBOX");
    a.ok(&mut world, "FETCH 2 RFC822.TEXT");
    assert_eq!(
        a.ok(&mut world, "FETCH 2 FLAGS").lines(),
        ["* 2 FETCH (FLAGS ())"]
    );
}

#[test]
fn what_is_kept_for_the_next_time_is_of_the_message_and_the_items_asked_for() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(&mut world, "INBOX", "", MIME);
    a.fill(&mut world, "INBOX", 2);
    let asked = [
        "FETCH 1:3 (FLAGS ENVELOPE)",
        "FETCH 1:3 (ENVELOPE BODYSTRUCTURE)",
        "FETCH 1:3 BODY.PEEK[HEADER.FIELDS (Subject)]",
        "FETCH 1:3 BODY.PEEK[HEADER.FIELDS.NOT (Subject)]",
        "FETCH 1:3 (UID BODY.PEEK[HEADER.FIELDS (Subject)] ENVELOPE)",
    ];
    let first: Vec<String> = asked.iter().map(|ask| a.ok(&mut world, ask).untagged).collect();
    let opened = |world: &World| world.services.store().meters().messages_opened.value();
    let before = opened(&world);
    let again: Vec<String> = asked.iter().map(|ask| a.ok(&mut world, ask).untagged).collect();
    assert_eq!(first, again);
    assert_eq!(opened(&world), before, "all was kept");
    let texts = world.services.digests().borrow().len();
    assert_eq!(texts, 3, "of what no summary says");

    a.ok(&mut world, "STORE 2 +FLAGS.SILENT (\\Flagged)");
    a.ok(&mut world, "COPY 1 INBOX");
    a.ok(&mut world, "STORE 1 +FLAGS.SILENT (\\Deleted)");
    a.ok(&mut world, "EXPUNGE");
    let now = a.ok(&mut world, asked[0]).untagged;
    assert!(
        now.contains("* 1 FETCH (FLAGS (\\Flagged) ENVELOPE (NIL \"1\""),
        "{now}"
    );
    let envelope = first[0]
        .lines()
        .next()
        .and_then(|line| line.split_once("ENVELOPE"));
    let (_, envelope) = envelope.expect("the first message had one");
    assert!(
        now.lines()
            .any(|line| line.starts_with("* 3 ") && line.ends_with(envelope)),
        "{now}"
    );
}

#[test]
fn sections_partials_and_binary() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(&mut world, "INBOX", "", MIME);
    for (item, value) in [
        ("BODY.PEEK[1]", "BODY[1] {3}\r\none"),
        (
            "BODY.PEEK[1.MIME]",
            "BODY[1.MIME] {28}\r\nContent-Type: text/plain\r\n\r\n",
        ),
        ("BODY.PEEK[2]<1.2>", "BODY[2]<1> {2}\r\nAE"),
        ("BODY.PEEK[]<100000.5>", "BODY[]<100000> {0}\r\n"),
        ("BODY.PEEK[9]", "BODY[9] NIL"),
        ("BINARY.PEEK[2]", "BINARY[2] ~{3}\r\n\u{0}\u{1}\u{2}"),
        ("BINARY.SIZE[2]", "BINARY.SIZE[2] 3"),
        ("BINARY.PEEK[1]<0.2>", "BINARY[1]<0> {2}\r\non"),
        (
            "BODY.PEEK[HEADER.FIELDS (from)]",
            "BODY[HEADER.FIELDS (from)] {23}\r\nFrom: a@example.org\r\n\r\n",
        ),
    ] {
        let fetch = a.ok(&mut world, &format!("FETCH 1 {item}"));
        assert_eq!(fetch.untagged, format!("* 1 FETCH (UID 1 {value})\r\n"), "{item}");
    }
    let digest = a.ok(&mut world, "FETCH 1 (ENVELOPE BODYSTRUCTURE)");
    assert!(
        digest
            .untagged
            .contains("ENVELOPE (NIL \"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" ((NIL NIL \"a\" \"example.org\"))")
    );
    assert!(
        digest.untagged.contains("\"mixed\" (\"boundary\" \"b\")"),
        "{digest:?}"
    );
    let id = a.ok(&mut world, "FETCH 1 (EMAILID THREADID)").untagged;
    a.ok(&mut world, "COPY 1 INBOX");
    let copy = a.ok(&mut world, "FETCH 2 (EMAILID THREADID)").untagged;
    assert_eq!(copy, id.replace("* 1 ", "* 2 ").replace("UID 1", "UID 2"));
}

#[test]
fn nul_leaves_in_a_literal8_only() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let head = "Content-Transfer-Encoding: binary\r\n\r\n";
    let whole = |nul: &str| format!("{head}a{nul}b\r\n");
    let size = whole("0").len();
    a.ok(
        &mut world,
        &format!("APPEND INBOX ~{{{size}+}}\r\n{}", whole("\0")),
    );
    for (item, value) in [
        ("BODY.PEEK[]", format!("BODY[] {{{size}}}\r\n{}", whole("\u{80}"))),
        ("RFC822", format!("RFC822 {{{size}}}\r\n{}", whole("\u{80}"))),
        ("BODY.PEEK[TEXT]", "BODY[TEXT] {5}\r\na\u{80}b\r\n".to_owned()),
        ("BODY.PEEK[1]<1.1>", "BODY[1]<1> {1}\r\n\u{80}".to_owned()),
        (
            "BINARY.PEEK[]",
            format!("BINARY[] ~{{{size}}}\r\n{}", whole("\0")),
        ),
        ("BINARY.PEEK[1]", "BINARY[1] ~{5}\r\na\0b\r\n".to_owned()),
        ("BINARY.PEEK[]<0.7>", "BINARY[]<0> {7}\r\nContent".to_owned()),
    ] {
        let fetch = a.ok(&mut world, &format!("FETCH 1 {item}"));
        assert!(
            fetch.untagged.ends_with(&format!(" {value})\r\n")),
            "{item}: {fetch:?}"
        );
    }
}

#[test]
fn nul_in_the_middle_of_a_stream_is_seen() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let message = format!(
        "Subject: large\r\n\r\n{}\0{}\r\n",
        "x".repeat(300_000),
        "y".repeat(9)
    );
    let size = message.len();
    a.ok(&mut world, &format!("APPEND INBOX ~{{{size}+}}\r\n{message}"));
    let body = a.ok(&mut world, "FETCH 1 BODY.PEEK[]").untagged;
    assert!(body.contains(&format!("BODY[] {{{size}}}\r\n")) && body.contains("xx\u{80}yy"));
    let binary = a.ok(&mut world, "FETCH 1 BINARY.PEEK[]").untagged;
    assert!(binary.contains(&format!("BINARY[] ~{{{size}}}\r\n")) && binary.contains("xx\0yy"));
}

#[test]
fn several_messages_are_appended_at_once() {
    let mut world = World::new();
    let mut a = world.selected(3);
    let message = |number: usize| format!("Subject: {number}\r\n\r\n");
    let more = |from: usize, to: usize| -> String {
        (from..=to)
            .map(|n| format!(" {{{}+}}\r\n{}", message(n).len(), message(n)))
            .collect()
    };
    let append = a.ok(
        &mut world,
        &format!("APPEND INBOX (\\Seen){} ($x){}", more(1, 1), more(2, 9)),
    );
    assert!(append.tagged.contains(" 1:9]"), "{append:?}");
    let fetch = a.ok(&mut world, "FETCH 1:3 (FLAGS RFC822.SIZE)");
    assert_eq!(
        fetch.lines()[1],
        "* 2 FETCH (FLAGS ($x) RFC822.SIZE 14)",
        "{fetch:?}"
    );
    assert!(
        a.ok(&mut world, "FETCH 9 BODY.PEEK[]")
            .untagged
            .contains("Subject: 9")
    );
    for (rest, end) in [
        (more(1, 33), "NO [LIMIT]"),
        (
            format!("{} {{900+}}\r\n{}", more(1, 1), "x".repeat(900)),
            "NO [OVERQUOTA]",
        ),
        (
            format!("{} {{3+}}\r\na\0b{}", more(1, 1), more(1, 2)),
            "NO [CANNOT]",
        ),
        (format!("{} {{0+}}\r\n", more(1, 1)), "NO "),
    ] {
        let tagged = a.tagged(&mut world, &format!("APPEND INBOX{rest}"));
        assert!(tagged.starts_with(end), "{end}: {tagged}");
    }
    assert!(
        a.ok(&mut world, "STATUS INBOX (MESSAGES)")
            .untagged
            .contains("MESSAGES 9)")
    );
}

#[test]
fn nul_in_an_ordinary_literal_is_refused() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let append = a.tagged(&mut world, "APPEND INBOX {17+}\r\nSubject: x\r\n\r\na\0b");
    assert!(append.starts_with("NO [CANNOT]"), "{append}");
    assert_eq!(a.ok(&mut world, "NOOP").untagged, "");
}

#[test]
fn an_unknown_encoding_is_refused_and_bad_base64_decoded() {
    // RFC 3516 §4.3, RFC 2045 §6.8
    let mut world = World::new();
    let mut a = world.selected(1);
    for (encoding, body) in [
        ("x-other", "x"),
        ("base64", "aGVsbG8=\r\n--\r\nlist footer!"),
        ("base64", "!!!!"),
        ("base64", "A"),
        ("base64", " \r\n"),
        ("base64", "aGVs!\r\nbG8"),
    ] {
        let message = format!("Content-Transfer-Encoding: {encoding}\r\n\r\n{body}\r\n");
        a.append(&mut world, "INBOX", "", &message);
    }
    let fetch = a.command(&mut world, "FETCH 1 BINARY.PEEK[1]");
    assert!(fetch.tagged.starts_with("NO [UNKNOWN-CTE]"), "{fetch:?}");
    let fetch = a.ok(&mut world, "FETCH 2 (BINARY.PEEK[1] BINARY.SIZE[1])");
    assert!(
        fetch.untagged.contains("BINARY[1] {5}\r\nhello BINARY.SIZE[1] 5"),
        "{fetch:?}"
    );
    // What is not base64 at all; nothing; without padding and with noise.
    for (number, end) in [
        (3, "NO [UNKNOWN-CTE]"),
        (4, "NO [UNKNOWN-CTE]"),
        (5, "OK"),
        (6, "OK"),
    ] {
        for item in ["BINARY.PEEK[1]", "BINARY.SIZE[1]"] {
            let tagged = a.tagged(&mut world, &format!("FETCH {number} {item}"));
            assert!(tagged.starts_with(end), "{number} {item}: {tagged}");
        }
    }
    let fetch = a.ok(&mut world, "FETCH 6 BINARY.PEEK[1]");
    assert!(fetch.untagged.contains("BINARY[1] {5}\r\nhello"), "{fetch:?}");
    // RFC 9051 §9: section-binary
    for part in ["1.HEADER", "TEXT", "1."] {
        let tagged = a.tagged(&mut world, &format!("FETCH 1 BINARY[{part}]"));
        assert!(tagged.starts_with("BAD Expected part numbers alone"), "{tagged}");
    }
}

#[test]
fn a_large_message_streams_in_bounded_pieces() {
    let mut world = World::new();
    let mut a = world.selected(1);
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n";
    let message = format!("Subject: large\r\n\r\n{}", line.repeat(20_000));
    a.append(&mut world, "INBOX", "", &message);
    let fetch = a.ok(&mut world, "FETCH 1 BODY.PEEK[]");
    assert_eq!(
        fetch.untagged,
        format!("* 1 FETCH (UID 1 BODY[] {{{}}}\r\n{message})\r\n", message.len())
    );
    let part = a.ok(&mut world, "FETCH 1 BODY.PEEK[TEXT]<600000.300000>");
    let body = &message["Subject: large\r\n\r\n".len()..];
    assert!(part.untagged.contains(&body[600_000..900_000]));
    let structure = a.ok(&mut world, "FETCH 1 (BODYSTRUCTURE BODY.PEEK[1]<1000000.64>)");
    assert!(structure.untagged.contains(&body[1_000_000..1_000_064]));
    let longest = a.wire().longest_send;
    assert!(
        longest <= link::QUICK_SEND_BUFFER_BYTES + link::SEND_BUFFER_BYTES,
        "{longest}"
    );
}

#[test]
fn many_messages_come_in_order_and_each_once() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 150);
    let fetch = a.ok(&mut world, "FETCH 3:*,1:10 BODY[HEADER.FIELDS (SUBJECT)]");
    let subjects: Vec<_> = fetch
        .lines()
        .into_iter()
        .filter(|l| l.starts_with("Subject"))
        .collect();
    let expected: Vec<_> = (1..=150).map(|n| format!("Subject: {n}")).collect();
    assert_eq!(subjects, expected);
    assert_eq!(fetch.untagged.matches("FLAGS (\\Seen)").count(), 150);
    assert_eq!(a.ok(&mut world, "NOOP").untagged, "");
}

#[test]
fn numbers_beyond_the_view_are_bad_but_in_searches_and_uids_are_passed_over() {
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 1);
    assert_eq!(a.ok(&mut world, "FETCH 7:* UID").lines(), ["* 1 FETCH (UID 1)"]);
    assert!(a.tagged(&mut world, "FETCH 2 FLAGS").starts_with("BAD"));
    assert_eq!(a.ok(&mut world, "UID FETCH 2:4294967295 FLAGS").untagged, "");
    a.fill(&mut world, "INBOX", 9);
    play(
        &mut world,
        &mut a,
        r"
        C: A01 FETCH 9:11 UID
        S: A01 BAD There is no message 11
        C: A02 FETCH 1,4294967295:11 UID
        S: A02 BAD There is no message 4294967295
        C: A03 FETCH 11:* UID
        S: * 10 FETCH (UID 10)
        S: A03 OK FETCH completed
        C: A04 STORE 11:10 +FLAGS (\Seen)
        S: A04 BAD There is no message 11
        C: A05 COPY 10:99 Trash
        S: A05 BAD There is no message 99
        C: A06 SEARCH 9:99
        S: * SEARCH 9 10
        S: A06 OK SEARCH completed
        C: A07 SEARCH NOT 3:99
        S: * SEARCH 1 2
        S: A07 OK SEARCH completed
        C: A08 SEARCH 11
        S: * SEARCH
        S: A08 OK SEARCH completed
        C: A09 SORT (REVERSE ARRIVAL) UTF-8 9:99
        S: * SORT ~
        S: A09 OK SORT completed
        C: A10 THREAD REFERENCES UTF-8 10:99
        S: * THREAD (10)
        S: A10 OK THREAD completed
        C: A11 STORE 11 +FLAGS (\Seen)
        S: A11 BAD There is no message 11
        C: A12 COPY 11 Trash
        S: A12 BAD There is no message 11
        ",
    );
}

#[test]
fn parts_are_asked_for_in_64_bits() {
    // RFC 9051 §9, `partial`
    let mut world = World::new();
    let mut a = world.selected(1);
    a.append(&mut world, "INBOX", "", "Subject: x\r\n\r\nhello");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 UID FETCH 1 BODY.PEEK[TEXT]<1.9223372036854775807>
        S: * 1 FETCH (UID 1 BODY[TEXT]<1> {4}
        S: ello)
        S: A1 OK FETCH completed
        C: A2 UID FETCH 1 BINARY.PEEK[1]<3.4294967296>
        S: * 1 FETCH (UID 1 BINARY[1]<3> {2}
        S: lo)
        S: A2 OK FETCH completed
        C: A3 UID FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]<9223372036854775807.1>
        S: * 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)]<9223372036854775807> {0}
        S: )
        S: A3 OK FETCH completed
        C: A4 UID FETCH 1 BODY.PEEK[TEXT]<0.9223372036854775808>
        S: A4 BAD ~
        C: A5 UID FETCH 1 BODY.PEEK[TEXT]<0.0>
        S: A5 BAD ~
        "#,
    );
}

#[test]
fn a_copy_is_saved_when_it_is_made() {
    // RFC 8514 §3
    let mut world = World::new();
    let mut a = world.selected(1);
    a.fill(&mut world, "INBOX", 2);
    let later = UnixMillis(NOW.0 + 86_400_000);
    world.services.clock.set(later);
    a.ok(&mut world, "COPY 1 Trash");
    a.ok(&mut world, "MOVE 2 Trash");
    play(
        &mut world,
        &mut a,
        r#"
        C: A1 FETCH 1 SAVEDATE
        S: * 1 FETCH (SAVEDATE " 2-Jan-2026 03:04:05 +0000")
        S: A1 OK FETCH completed
        C: A2 SEARCH SAVEDON 2-Jan-2026
        S: * SEARCH 1
        S: A2 OK SEARCH completed
        "#,
    );
    a.ok(&mut world, "SELECT Trash");
    play(
        &mut world,
        &mut a,
        r#"
        C: A3 FETCH 1:2 (SAVEDATE INTERNALDATE BODY.PEEK[HEADER])
        S: * 1 FETCH (SAVEDATE " 3-Jan-2026 03:04:05 +0000" INTERNALDATE " 2-Jan-2026 03:04:05 +0000" BODY[HEADER] {14}
        S: Subject: 1
        S:
        S: )
        S: * 2 FETCH (SAVEDATE " 3-Jan-2026 03:04:05 +0000" INTERNALDATE " 2-Jan-2026 03:04:05 +0000" BODY[HEADER] {14}
        S: Subject: 2
        S:
        S: )
        S: A3 OK FETCH completed
        C: A4 SEARCH SAVEDSINCE 3-Jan-2026
        S: * SEARCH 1 2
        S: A4 OK SEARCH completed
        "#,
    );
}
