//! What a hostile or broken SMTP peer can send (RFC 5321, 2920, 3030, 3207), and what it is told.

use crate::common::talk::{Imap, Smtp, Wire, assert_code, assert_one_of, await_inbox, inbox_count};
use crate::common::{Server, wait_until};
use std::time::Duration;

/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(300);

#[test]
fn only_crlf_dot_crlf_ends_a_message_and_what_is_smuggled_is_not_mail() {
    let server = Server::start();
    let false_ends: [&[u8]; 10] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\n.\r",
        b"\r.\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
    ];
    for end in false_ends {
        let mut smtp = Smtp::in_data(&server);
        smtp.wire.send(b"Subject: outer\r\n\r\nouter");
        smtp.wire.send(end);
        smtp.wire.send(
            b"MAIL FROM:<forged@example.org>\r\nRCPT TO:<user2@example.org>\r\nDATA\r\n\
              Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n",
        );
        // One reply for one message; with a bare CR or LF it is a refusal, and nothing behind it is obeyed.
        let reply = smtp.reply();
        let has_bare = end.iter().any(|byte| *byte == b'\n' || *byte == b'\r') && !end.contains(&0);
        assert_one_of(
            &reply,
            if has_bare {
                &["550", "554", "500"]
            } else {
                &["250", "550", "554"]
            },
        );
        smtp.wire.send(b"NOOP\r\n");
        let next = smtp.reply();
        assert_one_of(&next, &["", "250", "421"]);
        assert!(
            smtp.wire.within(SILENCE).is_empty(),
            "{end:?}: more replies than commands"
        );
    }
    assert_eq!(
        inbox_count(&server, "user2"),
        0,
        "a smuggled message was delivered"
    );
}

#[test]
fn bare_line_ends_refuse_the_message_and_close() {
    let server = Server::start();
    for text in ["a\nb\r\n", "a\rb\r\n", "a\r\r\n"] {
        let mut smtp = Smtp::in_data(&server);
        smtp.wire.send(format!("Subject: bare\r\n\r\n{text}.\r\n"));
        let reply = smtp.reply();
        assert_code(&reply, "550");
        assert_eq!(smtp.wire.until_closed(), "", "{text:?}: the session went on");
    }
    assert_eq!(inbox_count(&server, "user1"), 0);
}

#[test]
fn the_end_of_a_message_is_found_wherever_the_packets_are_cut() {
    let server = Server::start();
    let text = b"Subject: cut\r\n\r\n..\r\n..x\r\n.\r\n";
    for cut in 1..text.len() {
        let mut smtp = Smtp::in_data(&server);
        smtp.wire.send(&text[..cut]);
        std::thread::sleep(Duration::from_millis(2));
        smtp.wire.send(&text[cut..]);
        assert_code(&smtp.reply(), "250");
    }
    // At the edges of buffers too.
    for edge in [4_096usize, 16_384, 65_536] {
        for length in edge - 6..=edge + 1 {
            let mut smtp = Smtp::in_data(&server);
            let head = "Subject: edge\r\n\r\n";
            let mut body = String::from(head);
            while body.len() + 72 <= length - 2 {
                body.push_str(&"e".repeat(70));
                body.push_str("\r\n");
            }
            body.push_str(&"f".repeat(length - 2 - body.len()));
            body.push_str("\r\n");
            assert_eq!(body.len(), length);
            smtp.wire.send(format!("{body}.\r\n"));
            assert_code(&smtp.reply(), "250");
        }
    }
    let mut imap = Imap::inbox(&server, "user1");
    let texts = imap
        .command(&format!("FETCH 1:{} BODY.PEEK[TEXT]", text.len() - 1))
        .ok();
    assert_eq!(texts.len(), text.len() - 1);
    assert!(
        texts.iter().all(|text| text.contains("{7}\r\n.\r\n.x\r\n")),
        "{:?}",
        texts.first()
    );
}

#[test]
fn binary_octets_are_stored_as_they_came() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(
        &smtp.command("MAIL FROM:<a@example.net> BODY=BINARYMIME RET=HDRS ENVID=b1"),
        "250",
    );
    assert_code(
        &smtp.command("RCPT TO:<user1@example.org> NOTIFY=SUCCESS,FAILURE"),
        "250",
    );
    assert_code(&smtp.command("DATA"), "503");
    let body = b"a\nb\rc\r\n.\r\nd";
    let message = [&b"Subject: b\r\n\r\n"[..], body].concat();
    smtp.wire.send(format!("BDAT {} LAST\r\n", message.len()));
    smtp.wire.send(&message);
    assert_code(&smtp.reply(), "250 2.0.0 Ok: queued");
    let mut imap = Imap::inbox(&server, "user1");
    let text = imap.command("FETCH 1 BODY.PEEK[TEXT]").ok().concat();
    assert!(text.contains("{11}\r\na\nb\rc\r\n.\r\nd"), "{text:?}");
}

#[test]
fn parameters_of_dsn_cannot_carry_line_ends() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(
        &smtp.command("MAIL FROM:<a@example.net> ENVID=x+0D+0ARCPT"),
        "501",
    );
    assert_code(&smtp.command("MAIL FROM:<a@example.net> ENVID=x"), "250");
    let original = "RCPT TO:<user1@example.org> ORCPT=rfc822;a+0Ab";
    assert_code(&smtp.command(original), "501");
    assert_code(&smtp.command("RCPT TO:<user1@example.org> SIZE=3"), "555");
    assert_code(&smtp.command("DATA"), "503");
}

#[test]
fn plaintext_behind_starttls_is_never_obeyed() {
    let server = Server::start();
    for injected in ["NOOP\r\n", "RSET\r\n", "MAIL FROM:<a@example.net>\r\n"] {
        for is_split in [false, true] {
            let mut smtp = Smtp::hello(&server);
            if is_split {
                smtp.wire.send("START");
                std::thread::sleep(Duration::from_millis(20));
                smtp.wire.send(format!("TLS\r\n{injected}"));
            } else {
                smtp.wire.send(format!("STARTTLS\r\n{injected}"));
            }
            let text = smtp.wire.until_closed();
            assert_one_of(&text, &["501", "554", "220", ""]);
            assert!(
                text.lines().count() <= 1,
                "the injected command was answered: {text}"
            );
        }
    }
}

#[test]
fn starttls_takes_no_argument_and_is_offered_once_ehlo_is_said() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(&smtp.command("STARTTLS now"), "501");
    assert_code(&smtp.command("NOOP"), "250");
}

#[test]
fn commands_out_of_order_are_told_so() {
    let server = Server::start();
    let mut smtp = Smtp::greeted(&server);
    assert_one_of(&smtp.command("HELO"), &["501"]);
    assert_one_of(&smtp.command("RCPT TO:<user1@example.org>"), &["503"]);
    assert_code(&smtp.command("EHLO client.example.net"), "250");
    assert_code(&smtp.command("RCPT TO:<user1@example.org>"), "503");
    assert_code(&smtp.command("DATA"), "503");
    assert_code(&smtp.command("MAIL FROM:<a@example.net>"), "250");
    assert_one_of(&smtp.command("DATA"), &["503", "554"]);
    assert_code(&smtp.command("MAIL FROM:<b@example.net>"), "503");
    assert_code(&smtp.command("RCPT TO:<user1@example.org>"), "250");
    assert_code(&smtp.command("RSET"), "250");
    assert_code(&smtp.command("DATA"), "503");
    assert_code(&smtp.command("MAIL FROM:<a@example.net>"), "250");
    assert_code(&smtp.command("EHLO again.example.net"), "250");
    assert_code(&smtp.command("RCPT TO:<user1@example.org>"), "503");
    assert_code(&smtp.command("QUIT"), "221");
    assert_eq!(smtp.wire.until_closed(), "");
}

#[test]
fn broken_syntax_is_refused_and_the_session_goes_on() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    let broken = [
        "MAIL FROM:",
        "MAIL FROM:a@example.net>",
        "MAIL FROM:<a@example.net",
        "MAIL FROM:<a@@example.net>",
        "MAIL FROM:<a@example..net>",
        "MAIL FROM:<a@example.net> SIZE=x",
        "MAIL FROM:<a@example.net> SIZE=-1",
        "MAIL FROM:<a@example.net> SIZE=1 SIZE=2",
        "MAIL FROM:<a@example.net> BODY=9BIT",
        "MAIL FROM:<a@example.net> UNHEARD=of",
        "FROB",
    ];
    for (number, command) in broken.iter().enumerate() {
        // Few enough faults in one session that it is not taken for an attack.
        if number % 4 == 0 {
            smtp = Smtp::hello(&server);
        }
        let reply = smtp.command(command);
        assert!(reply.starts_with('5'), "{command}: {reply}");
    }
    assert_code(&smtp.command("NOOP"), "250");
}

#[test]
fn zero_and_eight_bit_octets_in_commands_are_refused() {
    let server = Server::start();
    let commands: [&[u8]; 4] = [
        b"MAIL FROM:<a\0b@example.net>\r\n",
        b"NOOP\0\r\n",
        b"MAIL FROM:<\xff\xfe@example.net> SMTPUTF8\r\n",
        "MAIL FROM:<jürgen@example.net>\r\n".as_bytes(),
    ];
    for command in commands {
        let mut smtp = Smtp::hello(&server);
        smtp.wire.send(command);
        let reply = smtp.reply();
        assert!(reply.starts_with('5'), "{command:?}: {reply}");
    }
}

#[test]
fn an_endless_command_line_costs_no_memory() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    let before = server.peak_kib();
    for verb in ["NOOP ", "EHLO ", "MAIL FROM:<"] {
        smtp.wire.send(verb);
        let block = [b'a'; 65_536];
        (0..256).for_each(|_| smtp.wire.send(block));
        smtp.wire.send("\r\n");
        let reply = smtp.reply();
        assert_one_of(&reply, &["500", "501", "421", ""]);
        if reply.is_empty() || reply.starts_with("421") {
            smtp = Smtp::hello(&server);
        }
    }
    assert_code(&smtp.command("NOOP"), "250");
    assert!(
        server.peak_kib() < before + 8_192,
        "memory grew with the line: {before} to {}",
        server.peak_kib()
    );
}

#[test]
fn a_command_of_five_hundred_octets_is_fine() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(&smtp.command(&format!("NOOP {}", "a".repeat(505))), "250");
}

#[test]
fn bdat_that_cannot_be_understood_closes_and_that_can_is_skipped_exactly() {
    let server = Server::start();
    // The size is not known, so where the next command starts is not known either.
    for argument in ["", "x", "-1", "99999999999999999999999", "0x10"] {
        let mut smtp = Smtp::with_envelope(&server);
        let reply = smtp.command(&format!("BDAT {argument}"));
        assert!(
            reply.starts_with("50") || reply.starts_with("55"),
            "{argument}: {reply}"
        );
        smtp.wire.send("NOOP\r\n");
        assert_one_of(&smtp.wire.until_closed(), &[""]);
    }
    // Refused for its moment, but of known size: the chunk is swallowed and the next command understood.
    let mut smtp = Smtp::hello(&server);
    smtp.wire.send("BDAT 22\r\nRCPT TO:<a@b.example>\r");
    assert_code(&smtp.reply(), "503");
    assert_code(&smtp.command("NOOP"), "250");
    smtp.envelope("user1@example.org");
    smtp.wire.send("BDAT 6 LAST MORE\r\nRSET\r\n");
    assert_code(&smtp.reply(), "501");
    assert_code(&smtp.command("RSET"), "250");
    smtp.envelope("user1@example.org");
    smtp.wire.send("BDAT 2\r\nhi");
    assert_code(&smtp.reply(), "250");
    assert_code(&smtp.command("DATA"), "503");
    smtp.wire.send("BDAT 2 LAST\r\n\r\n");
    // After an error inside a transaction of chunks either outcome is sound, a hang is not.
    assert_one_of(&smtp.reply(), &["250", "503"]);
    assert_code(&smtp.command("RSET"), "250");
    smtp.envelope("user1@example.org");
    smtp.wire.send("BDAT 0 LAST\r\n");
    assert_one_of(&smtp.reply(), &["250", "5"]);
    smtp.wire.send("BDAT 3 LAST\r\nabc");
    assert_code(&smtp.reply(), "503");
    assert_code(&smtp.command("QUIT"), "221");
}

#[test]
fn a_message_that_grows_past_the_limit_is_refused_without_being_kept() {
    let server = Server::start();
    let mut smtp = Smtp::greeted(&server);
    let offered = smtp.command("EHLO client.example.net");
    let size = offered
        .lines()
        .find_map(|line| line.get(4..)?.strip_prefix("SIZE "))
        .expect("SIZE is offered");
    let limit: u64 = size.trim().parse().expect("SIZE has a number");
    assert_code(
        &smtp.command(&format!("MAIL FROM:<a@example.net> SIZE={}", limit + 1)),
        "552",
    );
    smtp.envelope("user1@example.org");
    // A chunk announced beyond the limit is refused; the server may close rather than swallow it.
    smtp.wire.send(format!("BDAT {} LAST\r\n", limit + 1));
    smtp.wire.send([b'x'; 1024]);
    smtp.wire.hang_up();
    assert_eq!(inbox_count(&server, "user1"), 0);
}

#[test]
fn a_connection_cut_inside_a_message_leaves_nothing() {
    let server = Server::start();
    let mut smtp = Smtp::in_data(&server);
    smtp.wire.send("Subject: half\r\n\r\nnever finished\r\n");
    smtp.wire.hang_up();
    let mut smtp = Smtp::with_envelope(&server);
    smtp.wire.send("BDAT 100 LAST\r\nSubject: half\r\n\r\n");
    smtp.wire.hang_up();
    let mut smtp = Smtp::with_envelope(&server);
    smtp.wire.send("BDAT 3\r\nabc");
    assert_code(&smtp.reply(), "250");
    smtp.wire.hang_up();
    // One more, whole, shows that the others were dealt with before it.
    crate::common::talk::deliver(&server, "user1@example.org", "Subject: whole\r\n\r\nwhole\r\n");
    assert_eq!(inbox_count(&server, "user1"), 1);
}

#[test]
fn pipelined_commands_are_answered_in_order() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    smtp.wire.send(
        "MAIL FROM:<a@example.net>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<user1@example.org>\r\n\
         RCPT TO:<a@elsewhere.example>\r\nDATA\r\n",
    );
    let codes: Vec<String> = (0..5).map(|_| smtp.reply()[..3].to_owned()).collect();
    assert_eq!(
        (codes[0].as_str(), codes[1].as_str(), codes[2].as_str()),
        ("250", "550", "250")
    );
    assert!(codes[3].starts_with('5') && codes[4] == "354", "{codes:?}");
    smtp.wire
        .send("Subject: one\r\n\r\n.\r\nMAIL FROM:<a@example.net>\r\nNOOP\r\nQUIT\r\n");
    let rest = smtp.wire.until_closed();
    let codes: Vec<&str> = rest.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "221"]);
}

#[test]
fn one_byte_at_a_time_is_the_same_dialogue() {
    let server = Server::start();
    let mut wire = Wire::connect(server.port("smtp"));
    assert!(wire.line().is_some_and(|line| line.starts_with("220")));
    for (text, code) in [
        ("EHLO slow.example.net\r\n", "250"),
        ("MAIL FROM:<a@example.net>\r\n", "250"),
        ("RCPT TO:<user1@example.org>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("Subject: slow\r\n\r\n..\r\n.\r\n", "250"),
    ] {
        for byte in text.bytes() {
            wire.send([byte]);
        }
        let reply = Smtp { wire }.into_reply();
        assert_code(&reply.0, code);
        wire = reply.1;
    }
}

impl Smtp {
    fn into_reply(mut self) -> (String, Wire) {
        (self.reply(), self.wire)
    }
}

#[test]
fn a_thousand_recipients_are_limited_for_now_not_for_good() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(&smtp.command("MAIL FROM:<a@example.net>"), "250");
    let count = 1_001;
    for _ in 0..count {
        smtp.wire.send("RCPT TO:<user1@example.org>\r\n");
    }
    let replies: Vec<String> = (0..count).map(|_| smtp.reply()).collect();
    // RFC 5321 §4.5.3.1.8 asks for a hundred at least; beyond the limit the sender must hear "later".
    assert!(replies[..100].iter().all(|reply| reply.starts_with("250")));
    assert!(
        replies
            .iter()
            .all(|reply| reply.starts_with("250") || reply.starts_with("452"))
    );
    assert_code(&smtp.command("DATA"), "354");
    smtp.wire.send("Subject: once\r\n\r\n.\r\n");
    assert_code(&smtp.reply(), "250");
    assert_eq!(
        inbox_count(&server, "user1"),
        1,
        "the same address many times is one recipient"
    );
}

#[test]
fn nonsense_ends_a_session_before_long() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    for _ in 0..1_000 {
        let reply = smtp.command("XYZZY");
        if reply.is_empty() || reply.starts_with("421") {
            return;
        }
        assert_code(&reply, "50");
    }
    panic!("a thousand unknown commands in a row did not end the session");
}

#[test]
fn a_web_browser_is_hung_up_on() {
    let server = Server::start();
    let mut smtp = Smtp::greeted(&server);
    smtp.wire
        .send("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nMAIL FROM:<a@example.net>\r\n");
    let text = smtp.wire.until_closed();
    assert!(!text.contains("\n250"), "{text}");
}

#[test]
fn a_header_of_many_lines_and_a_long_line_are_taken_whole() {
    let server = Server::start();
    let many = format!("{}\r\nbody\r\n", "To: a@example.net\r\n".repeat(50_000));
    let long = format!("Subject: {}\r\n\r\nbody\r\n", "l".repeat(60_000));
    for message in [&many, &long] {
        let mut smtp = Smtp::in_data(&server);
        smtp.wire.send(format!("{message}.\r\n"));
        assert_one_of(&smtp.reply(), &["250", "552", "500", "554"]);
    }
    let mut imap = Imap::inbox(&server, "user1");
    // What grows with the square of a header is not there within the wait for an answer.
    let told = imap
        .command("FETCH 1:* (ENVELOPE BODYSTRUCTURE RFC822.SIZE)")
        .ok();
    assert_eq!(told.len(), imap.inbox_count());
}

#[test]
fn silence_before_the_greeting_is_not_needed_but_talk_is_no_attack_vector() {
    let server = Server::start();
    let mut wire = Wire::connect(server.port("smtp"));
    wire.send("EHLO early.example.net\r\nMAIL FROM:<a@example.net>\r\n");
    // Either refused outright, or greeted and answered in order; never a reply before the greeting.
    let first = wire.line().unwrap_or_default();
    assert_one_of(&first, &["220", "554", "421"]);
}

#[test]
fn a_message_from_two_is_refused_and_the_session_goes_on() {
    let server = Server::start();
    let mut smtp = Smtp::in_data(&server);
    smtp.wire
        .send("From: a@example.net\r\nSubject: x\r\nfrom: b@example.org\r\n\r\nx\r\n.\r\n");
    assert_code(&smtp.reply(), "550 5.6.0");
    // One field may name several, and a second one below the header is text.
    smtp.deliver(
        "user1@example.org",
        "From: a@example.net, b@example.net\r\n\r\nFrom: c@example.net\r\n",
    );
    assert_eq!(inbox_count(&server, "user1"), 1);
}

#[test]
fn what_a_sender_asks_for_is_kept_with_every_copy() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("store");
    let server = Server::with_data(&data);
    let mut smtp = Smtp::hello(&server);
    // One alone, and eight together, whose copies go through the spool when they live on several cores.
    for recipients in [1..=1, 1..=8] {
        assert_code(
            &smtp.command("MAIL FROM:<a@example.net> BODY=8BITMIME RET=HDRS ENVID=a+20b"),
            "250",
        );
        for n in recipients {
            let asked = format!("RCPT TO:<user{n}@example.org> NOTIFY=DELAY ORCPT=rfc822;x{n}@example.net");
            assert_code(&smtp.command(&asked), "250");
        }
        assert_code(&smtp.command("DATA"), "354");
        smtp.wire.send("Subject: x\r\n\r\nx\r\n.\r\n");
        assert_code(&smtp.reply(), "250");
    }
    for n in 1..=8 {
        let user = format!("user{n}");
        wait_until(&format!("mail for {user}"), || inbox_count(&server, &user) > 0);
    }
    assert!(server.terminate().success());
    let mut dump = std::process::Command::new(crate::common::binary());
    let text = crate::common::succeed(dump.args(["store", "dump"]).arg(&data));
    let text = String::from_utf8_lossy(&text);
    for n in 1..=8 {
        let asked = format!(
            r#" asked=b"BODY=8BITMIME RET=HDRS ENVID=a+20b\r\nNOTIFY=DELAY ORCPT=rfc822;x{n}@example.net""#
        );
        let copies = text
            .lines()
            .filter(|line| line.contains(" message ") && line.contains(&asked))
            .count();
        assert_eq!(copies, if n == 1 { 2 } else { 1 }, "{n}: {text}");
    }
}

#[test]
fn whoever_has_no_room_is_refused_at_rcpt_and_others_get_their_mail() {
    let server = Server::with_arguments(&["--quota", "20000", "--cores", "2"]);
    let text = format!(
        "Subject: x\r\n\r\n{}",
        "0123456789012345678901234567890123456789\r\n".repeat(450)
    );
    for user in 1..=4 {
        Smtp::hello(&server).deliver(&format!("user{user}@example.org"), &text);
        // With the warning that the mailbox is nearly full, which comes a moment later and takes room too.
        await_inbox(&server, &format!("user{user}"), 2);
    }
    let mut smtp = Smtp::hello(&server);
    assert_code(&smtp.command("MAIL FROM:<a@example.net> SIZE=5000"), "250");
    for user in 1..=4 {
        assert_code(
            &smtp.command(&format!("RCPT TO:<user{user}@example.org>")),
            "452 4.2.2",
        );
    }
    assert_code(&smtp.command("RCPT TO:<user5@example.org>"), "250");
    assert_code(&smtp.command("RCPT TO:<postmaster>"), "250");
    assert_code(&smtp.command("RSET"), "250");
    // More than it said: refused at the end.
    smtp.envelope("user1@example.org");
    assert_code(&smtp.command("DATA"), "354");
    smtp.wire.send(format!("{text}.\r\n"));
    assert_code(&smtp.reply(), "452 4.2.2");
    await_inbox(&server, "user1", 2);
}
