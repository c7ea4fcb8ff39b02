//! What a hostile or broken IMAP client can send (RFC 3501, 7888, 2595), and what it is told.

use crate::common::talk::{Imap, Wire, deliver, inbox_count};
use crate::common::{PASSWORD, Server};

/// The outcomes that refuse without doing harm.
fn assert_refused(outcome: &str, of: &str) {
    assert!(
        ["NO", "BAD", "BYE"].iter().any(|word| outcome.starts_with(word)),
        "{of}: {outcome}"
    );
}

/// The server still serves, others too.
fn assert_alive(server: &Server) {
    Imap::inbox(server, "user8").command("NOOP").ok();
}

#[test]
fn announced_literals_are_not_believed() {
    let server = Server::start();
    // Checking a password takes memory by design; that is not what is measured.
    drop([Imap::login(&server, "user1"), Imap::login(&server, "user1")]);
    let before = server.peak_kib();
    for size in [
        "100000000000",
        "4294967296",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        for plus in ["", "+"] {
            let mut imap = Imap::login(&server, "user1");
            let outcome = imap.command(&format!("APPEND INBOX {{{size}{plus}}}")).outcome;
            assert_refused(&outcome, &format!("APPEND {{{size}{plus}}}"));
        }
    }
    // Before login nobody is given room.
    for command in [
        "LOGIN {1000000}",
        "LOGIN {100000000+}",
        "AUTHENTICATE PLAIN {5000000+}",
    ] {
        let outcome = Imap::greeted(&server).command(command).outcome;
        assert_refused(&outcome, command);
    }
    assert!(
        server.peak_kib() < before + 16_384,
        "memory grew from {before} to {} KiB",
        server.peak_kib()
    );
    assert_alive(&server);
}

#[test]
fn malformed_literals_are_bad() {
    let server = Server::start();
    for literal in [
        "{}",
        "{-1}",
        "{x}",
        "{1",
        "{ 1}",
        "{1++}",
        "{99999999999999999999999999999}",
    ] {
        let mut imap = Imap::login(&server, "user1");
        let outcome = imap.command(&format!("CREATE {literal}")).outcome;
        assert_refused(&outcome, literal);
    }
    assert_alive(&server);
}

#[test]
fn nesting_and_length_are_limited() {
    let server = Server::start();
    let commands = [
        format!("NOOP {}", "(".repeat(4_000)),
        format!("FETCH 1 {}", "(".repeat(4_000)),
        format!("SEARCH {}ALL", "(".repeat(20_000)),
        format!("SEARCH {}ALL", "NOT ".repeat(50_000)),
        format!("LIST {}", "{".repeat(4_000)),
        format!("STATUS INBOX {}", "(".repeat(10_000)),
        format!("NOOP {}", "x".repeat(1_000_000)),
    ];
    for command in commands {
        let mut imap = Imap::inbox(&server, "user1");
        let outcome = imap.command(&command).outcome;
        assert_refused(&outcome, &command[..20]);
    }
    // Legal, however silly: answered one way or the other.
    let mut imap = Imap::inbox(&server, "user1");
    imap.command(&format!("SEARCH {}ALL", "OR ALL ".repeat(20_000)));
    assert_alive(&server);
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let server = Server::start();
    let before = server.peak_kib();
    let mut wire = Wire::connect(server.port("imap"));
    wire.line();
    wire.send("a1 LOGIN ");
    let block = [b'a'; 65_536];
    (0..256).for_each(|_| wire.send(block));
    wire.send("\r\na2 NOOP\r\n");
    let line = wire.line().unwrap_or_default();
    assert!(
        line.is_empty() || line.contains("BAD") || line.contains("BYE"),
        "{line}"
    );
    assert!(
        server.peak_kib() < before + 8_192,
        "memory grew from {before} to {} KiB",
        server.peak_kib()
    );
    assert_alive(&server);
}

#[test]
fn plaintext_behind_starttls_is_never_obeyed() {
    let server = Server::start();
    for injected in [
        "b NOOP\r\n",
        "b LOGIN user1@example.org ringpost\r\n",
        "b CAPABILITY\r\n",
    ] {
        let mut wire = Wire::connect(server.port("imap"));
        wire.line();
        wire.send(format!("a STARTTLS\r\n{injected}"));
        let text = wire.until_closed();
        assert!(
            !text.contains("b OK") && !text.contains("b NO"),
            "the injected command was answered: {text}"
        );
    }
}

#[test]
fn commands_in_the_wrong_state_are_refused() {
    let server = Server::start();
    let mut imap = Imap::greeted(&server);
    for command in [
        "SELECT INBOX",
        "LIST \"\" *",
        "FETCH 1 FLAGS",
        "APPEND INBOX {5}",
        "IDLE",
        "CREATE x",
    ] {
        let mut outcome = imap.command(command).outcome;
        if outcome == "+" {
            // A small literal may be read before the command is judged.
            imap.wire.send("12345\r\n");
            outcome = imap.rest().outcome;
        }
        assert_refused(&outcome, command);
        imap = Imap::greeted(&server);
    }
    let mut imap = Imap::login(&server, "user1");
    for command in [
        "FETCH 1 FLAGS",
        "STORE 1 FLAGS ()",
        "EXPUNGE",
        "CLOSE",
        "SEARCH ALL",
        "UID COPY 1 INBOX",
    ] {
        assert_refused(&imap.command(command).outcome, command);
    }
    let again = imap.command(&format!("LOGIN user2@example.org {PASSWORD}"));
    assert_refused(&again.outcome, "a second LOGIN");
    assert_alive(&server);
}

#[test]
fn commands_sent_with_the_login_are_all_answered_in_order() {
    let server = Server::start();
    // Of several users, because where an account lives decides what happens to its connection at login.
    for user in 1..=8 {
        deliver(
            &server,
            &format!("user{user}@example.org"),
            "Subject: one\r\n\r\nx\r\n",
        );
        let mut wire = Wire::connect(server.port("imap"));
        wire.line();
        wire.send(format!(
            "a CAPABILITY\r\nb NOOP\r\nc LOGIN user{user}@example.org {PASSWORD}\r\nd SELECT INBOX\r\n\
             e NOOP\r\nf LOGOUT\r\n"
        ));
        let text = wire.until_closed();
        let tagged: Vec<&str> = text.lines().filter(|line| !line.starts_with('*')).collect();
        let answered: Vec<&str> = tagged.iter().map(|line| &line[..4]).collect();
        assert_eq!(
            answered,
            ["a OK", "b OK", "c OK", "d OK", "e OK", "f OK"],
            "user{user}: {text}"
        );
        assert!(text.contains("* 1 EXISTS"), "user{user}: {text}");
    }
}

#[test]
fn wrong_passwords_tell_nothing_and_do_not_lock_out() {
    let server = Server::start();
    let mut imap = Imap::greeted(&server);
    let wrong = imap.command("LOGIN user1@example.org wrong").outcome;
    let unknown = imap.command("LOGIN nobody@example.org wrong").outcome;
    assert!(wrong.starts_with("NO"), "{wrong}");
    assert_eq!(wrong, unknown, "the answer tells whether an account exists");
    for login in ["../../etc/passwd", "user1@example.org\\\"", "*", "%", ""] {
        let quoted = login.replace('"', "");
        assert_refused(
            &Imap::greeted(&server)
                .command(&format!("LOGIN \"{quoted}\" {PASSWORD}"))
                .outcome,
            login,
        );
    }
    imap.command(&format!("LOGIN user1@example.org {PASSWORD}")).ok();
}

#[test]
fn sasl_blobs_and_bad_base64_are_refused() {
    let server = Server::start();
    let commands = [
        "AUTHENTICATE PLAIN !!!!".to_owned(),
        "AUTHENTICATE PLAIN AA==".to_owned(),
        "AUTHENTICATE UNHEARD".to_owned(),
        format!("AUTHENTICATE PLAIN {}", "A".repeat(1_000_000)),
    ];
    for command in commands {
        assert_refused(&Imap::greeted(&server).command(&command).outcome, &command[..20]);
    }
    let mut imap = Imap::greeted(&server);
    assert_eq!(imap.command("AUTHENTICATE PLAIN").outcome, "+");
    imap.wire.send("*\r\n");
    assert!(imap.rest().outcome.starts_with("BAD"));
    imap.command(&format!("LOGIN user1@example.org {PASSWORD}")).ok();
}

#[test]
fn sequence_sets_at_the_edges_are_handled() {
    let server = Server::start();
    let mut imap = Imap::inbox(&server, "user1");
    assert!(imap.command("UID FETCH 1:* FLAGS").ok().is_empty());
    for number in 1..=3 {
        deliver(
            &server,
            "user1@example.org",
            &format!("Subject: {number}\r\n\r\nx\r\n"),
        );
    }
    imap.command("NOOP").ok();
    for set in [
        "0",
        "1:0",
        "4294967296",
        "18446744073709551616",
        "-1",
        "1,,2",
        "1:",
        ":1",
        "1:2:3",
        "",
    ] {
        assert_refused(&imap.command(&format!("FETCH {set} FLAGS")).outcome, set);
    }
    let fetches = |lines: Vec<String>| lines.iter().filter(|line| line.contains("FETCH")).count();
    assert_eq!(fetches(imap.command("UID FETCH 1:4294967295 FLAGS").ok()), 3);
    assert_eq!(fetches(imap.command("FETCH *:1 FLAGS").ok()), 3);
    assert_eq!(fetches(imap.command("UID FETCH 4294967295:* FLAGS").ok()), 1);
    let many = (0..5_000).map(|_| "1:*").collect::<Vec<_>>().join(",");
    // The wait for an answer is bounded, as that for any other.
    imap.command(&format!("UID FETCH {many} FLAGS"));
    assert_alive(&server);
}

#[test]
fn mailbox_names_are_names_and_never_paths() {
    let server = Server::start();
    let mut imap = Imap::login(&server, "user1");
    let names = [
        "../../x",
        "/etc/passwd",
        "a//b",
        "..",
        ".",
        "a/../../b",
        "~root",
        "",
        "/",
        "a/",
        "%",
        "*",
        "a*b",
    ];
    for name in names {
        // Allowed or not, nothing leaves the account and nothing breaks.
        imap.command(&format!("CREATE \"{name}\""));
    }
    for name in ["&", "&AGE", "&AGE-", "&2AA-", "&Jjo", "a&", "&AGEAYg-"] {
        assert_refused(&imap.command(&format!("CREATE \"{name}\"")).outcome, name);
    }
    imap.command_bytes(b"CREATE {3+}\r\na\0b");
    let mut imap = Imap::login(&server, "user1");
    for name in [
        b"CREATE {4+}\r\na\r\nb".as_slice(),
        b"CREATE \"a\xffb\"",
        b"CREATE {2+}\r\n\xc3\x28",
    ] {
        assert_refused(&imap.command_bytes(name).outcome, &String::from_utf8_lossy(name));
    }
    assert_refused(
        &imap.command(&format!("CREATE \"{}\"", "n".repeat(2_000))).outcome,
        "a long name",
    );
    assert_refused(
        &imap
            .command(&format!("CREATE \"{}\"", ["d"; 300].join("/")))
            .outcome,
        "deep nesting",
    );
    // The neighbour sees none of it.
    let mut other = Imap::login(&server, "user2");
    let list = other.command("LIST \"\" *").ok();
    assert!(
        list.iter()
            .all(|line| !line.contains("x\"") && !line.contains("etc")),
        "{list:?}"
    );
    assert_refused(
        &other.command("SELECT \"../user1@example.org/INBOX\"").outcome,
        "a neighbour's mailbox",
    );
}

#[test]
fn special_mailboxes_survive() {
    let server = Server::start();
    deliver(&server, "user1@example.org", "Subject: stays\r\n\r\nx\r\n");
    let mut imap = Imap::login(&server, "user1");
    assert_refused(&imap.command("DELETE INBOX").outcome, "DELETE INBOX");
    assert_refused(&imap.command("CREATE Inbox").outcome, "CREATE Inbox");
    assert_refused(
        &imap.command("RENAME nowhere somewhere").outcome,
        "RENAME of nothing",
    );
    // RENAME INBOX moves its mail and leaves an empty INBOX (RFC 3501 §6.3.5).
    imap.command("RENAME INBOX Old").ok();
    assert_eq!(inbox_count(&server, "user1"), 0);
    deliver(&server, "user1@example.org", "Subject: next\r\n\r\nx\r\n");
    assert_eq!(inbox_count(&server, "user1"), 1);
}

#[test]
fn garbage_is_bad_and_ends_before_long() {
    let server = Server::start();
    let mut imap = Imap::greeted(&server);
    imap.wire.send("\r\n");
    let answer = imap.wire.line().unwrap_or_default();
    assert!(answer.contains("BAD"), "{answer}");
    let mut wire = Wire::connect(server.port("imap"));
    wire.line();
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = wire.line().unwrap_or_default();
    assert!(
        answer.is_empty() || answer.contains("BAD") || answer.contains("BYE"),
        "{answer}"
    );
    let mut imap = Imap::greeted(&server);
    let ended = (0..1_000).any(|_| imap.command("XYZZY").outcome.starts_with("BYE"));
    assert!(
        ended,
        "a thousand unknown commands in a row did not end the session"
    );
}

#[test]
fn idle_with_garbage_ends_and_done_in_any_case_works() {
    let server = Server::start();
    let mut imap = Imap::inbox(&server, "user1");
    assert_eq!(imap.command("IDLE").outcome, "+");
    imap.wire.send("done\r\n");
    assert!(imap.rest().outcome.starts_with("OK"));
    assert_eq!(imap.command("IDLE").outcome, "+");
    imap.wire.send("NONSENSE\r\n");
    assert!(imap.rest().outcome.starts_with("BAD"));
    imap.command("NOOP").ok();
    // DONE may come in one packet with IDLE, and the next command with it.
    imap.wire.send("x IDLE\r\nDONE\r\ny NOOP\r\n");
    let mut seen = Vec::new();
    while let Some(line) = imap.wire.line() {
        let is_last = line.starts_with("y ");
        seen.push(line);
        if is_last {
            break;
        }
    }
    assert!(seen.iter().any(|line| line.starts_with("x OK")), "{seen:?}");
    assert!(
        seen.last().is_some_and(|line| line.starts_with("y OK")),
        "{seen:?}"
    );
}

#[test]
fn deep_mime_and_huge_headers_are_described() {
    let server = Server::start();
    let nested: String = (0..5_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n"))
        .collect();
    let messages = [
        format!("MIME-Version: 1.0\r\n{nested}Content-Type: text/plain\r\n\r\nx\r\n"),
        format!(
            "MIME-Version: 1.0\r\n{}\r\nx\r\n",
            "Content-Type: message/rfc822\r\n\r\n".repeat(5_000)
        ),
        format!("{}\r\nx\r\n", "To: a@example.net\r\n".repeat(20_000)),
        format!("Subject: {}\r\n\r\nx\r\n", "s".repeat(500_000)),
        format!("References: {}\r\n\r\nx\r\n", "<a@b> ".repeat(20_000)),
        "Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n\r\n--\r\n".to_owned(),
        "From: (((((\r\nTo: \"\r\nDate: never\r\nSubject: =?utf-8?q?=\r\n\r\n".to_owned(),
    ];
    for (place, message) in messages.iter().enumerate() {
        let mut imap = Imap::inbox(&server, "user1");
        let append = format!("APPEND INBOX {{{}}}", message.len());
        assert_eq!(imap.command(&append).outcome, "+");
        imap.wire.send(format!("{message}\r\n"));
        let outcome = imap.rest().outcome;
        assert!(
            outcome.starts_with("OK") || outcome.starts_with("NO"),
            "message {place}: {outcome}"
        );
        if outcome.starts_with("NO") {
            continue;
        }
        imap.command("NOOP").ok();
        // `allocations` shows that it costs in proportion; here it comes within the wait for an answer.
        imap.command("FETCH * (ENVELOPE BODYSTRUCTURE)").ok();
        // Whatever it is, it comes back as it is.
        let body = imap.command("FETCH * BODY.PEEK[]").ok();
        assert!(
            body.iter().any(|response| response.contains(message.as_str())),
            "message {place} changed"
        );
    }
}

#[test]
fn partial_fetches_beyond_the_end_are_empty() {
    let server = Server::start();
    deliver(&server, "user1@example.org", "Subject: short\r\n\r\nbody\r\n");
    let mut imap = Imap::inbox(&server, "user1");
    // RFC 9051 §9: 63 bits, whatever a message may have.
    for part in [
        "<4294967295.1>",
        "<4294967296.1>",
        "<100000.4294967295>",
        "<0.9223372036854775807>",
    ] {
        imap.command(&format!("FETCH 1 BODY.PEEK[]{part}")).ok();
    }
    for part in [
        "<0.0>",
        "<-1.5>",
        "<1>",
        "<9223372036854775808.1>",
        "<0.99999999999999999999>",
    ] {
        assert_refused(&imap.command(&format!("FETCH 1 BODY.PEEK[]{part}")).outcome, part);
        imap = Imap::inbox(&server, "user1");
    }
    for section in [
        "0",
        "1.0",
        "99.99.99",
        "HEADER.FIELDS",
        "HEADER.FIELDS ()",
        "TEXT.1",
        "MIME",
    ] {
        imap.command(&format!("FETCH 1 BODY.PEEK[{section}]"));
    }
    assert_alive(&server);
}

#[test]
fn too_many_keywords_are_limited_not_fatal() {
    let server = Server::start();
    deliver(&server, "user1@example.org", "Subject: keywords\r\n\r\nbody\r\n");
    let mut imap = Imap::inbox(&server, "user1");
    let mut outcome = String::new();
    for batch in 0..100 {
        let names: Vec<String> = (0..50).map(|n| format!("k{batch}x{n}")).collect();
        outcome = imap
            .command(&format!("STORE 1 +FLAGS.SILENT ({})", names.join(" ")))
            .outcome;
        if !outcome.starts_with("OK") {
            break;
        }
    }
    assert_refused(&outcome, "five thousand keywords");
    assert_refused(
        &imap
            .command(&format!("STORE 1 +FLAGS ({})", "k".repeat(10_000)))
            .outcome,
        "a long keyword",
    );
    assert_alive(&server);
}

#[test]
fn a_reader_that_stops_reading_does_not_grow_the_server() {
    let server = Server::start();
    let letter = format!(
        "Subject: big\r\n\r\n{}",
        format!("{}\r\n", "z".repeat(76)).repeat(12_000)
    );
    deliver(&server, "user1@example.org", &letter);
    let mut imap = Imap::inbox(&server, "user1");
    imap.command("FETCH 1 BODY.PEEK[]").ok();
    let before = server.peak_kib();
    // A hundred times the message is asked for, and not a byte of it is read.
    for number in 0..100 {
        imap.wire.send(format!("f{number} FETCH 1 BODY.PEEK[]\r\n"));
    }
    let mut other = Imap::inbox(&server, "user1");
    for _ in 0..50 {
        other.command("NOOP").ok();
    }
    assert!(
        server.peak_kib() < before + 32_768,
        "memory grew from {before} to {} KiB",
        server.peak_kib()
    );
    imap.wire.hang_up();
    assert_alive(&server);
}
