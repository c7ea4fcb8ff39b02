//! What a hostile or broken POP3 client can send (RFC 1939, 2449, 2595), and what it is told.

use crate::common::talk::{Pop3, Smtp, Wire, assert_code, assert_one_of, deliver};
use crate::common::{PASSWORD, Server};

#[test]
fn commands_in_the_wrong_state_are_refused() {
    let server = Server::start();
    let mut pop3 = Pop3::greeted(&server);
    for command in [
        "STAT", "LIST", "RETR 1", "DELE 1", "UIDL", "TOP 1 1", "RSET", "PASS x",
    ] {
        assert_code(&pop3.command(command), "-ERR");
    }
    let mut pop3 = Pop3::login(&server, "user1");
    for command in ["USER user2@example.org", "PASS x", "STLS"] {
        assert_code(&pop3.command(command), "-ERR");
    }
    assert_code(&pop3.command("QUIT"), "+OK");
    assert_eq!(pop3.wire.until_closed(), "");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let server = Server::start();
    deliver(&server, "user1@example.org", "Subject: one\r\n\r\nx\r\n");
    let mut pop3 = Pop3::login(&server, "user1");
    for verb in ["RETR", "DELE", "LIST", "UIDL", "TOP"] {
        for number in ["0", "2", "-1", "4294967297", "99999999999999999999", "x", "1x"] {
            let lines = if verb == "TOP" { " 0" } else { "" };
            let reply = pop3.command(&format!("{verb} {number}{lines}"));
            assert_one_of(&reply, &["-ERR", ""]);
            if reply.is_empty() {
                pop3 = Pop3::login(&server, "user1");
            }
        }
    }
    let mut pop3 = Pop3::login(&server, "user1");
    assert_code(&pop3.command("TOP 1 -1"), "-ERR");
    assert_code(&pop3.command("TOP 1"), "-ERR");
    assert_code(&pop3.command("DELE 1"), "+OK");
    assert_code(&pop3.command("DELE 1"), "-ERR");
    assert_code(&pop3.command("RETR 1"), "-ERR");
    assert_code(&pop3.command("RSET"), "+OK");
    assert_code(&pop3.command("TOP 1 4294967295"), "+OK");
    assert!(pop3.lines().contains(&"Subject: one".to_owned()));
}

#[test]
fn wrong_passwords_tell_nothing_and_do_not_lock_out() {
    let server = Server::start();
    let mut pop3 = Pop3::greeted(&server);
    let mut refuse = |user: &str, password: &str| {
        pop3.command(&format!("USER {user}"));
        pop3.command(&format!("PASS {password}"))
    };
    let wrong = refuse("user1@example.org", "wrong");
    let unknown = refuse("nobody@example.org", "wrong");
    assert_code(&wrong, "-ERR");
    assert_eq!(wrong, unknown, "the answer tells whether an account exists");
    assert_code(&refuse("../../etc/passwd", PASSWORD), "-ERR");
    Pop3::login(&server, "user1");
}

#[test]
fn plaintext_behind_stls_is_never_obeyed() {
    let server = Server::start();
    for injected in [
        "NOOP\r\n",
        "USER user1@example.org\r\nPASS ringpost\r\n",
        "CAPA\r\n",
    ] {
        let mut pop3 = Pop3::greeted(&server);
        pop3.wire.send(format!("STLS\r\n{injected}"));
        let text = pop3.wire.until_closed();
        assert!(
            text.lines().count() <= 1,
            "the injected command was answered: {text}"
        );
    }
}

#[test]
fn endless_lines_cost_no_memory_and_zero_octets_are_refused() {
    let server = Server::start();
    let before = server.peak_kib();
    let mut pop3 = Pop3::greeted(&server);
    let block = [b'a'; 65_536];
    pop3.wire.send("USER ");
    (0..256).for_each(|_| pop3.wire.send(block));
    pop3.wire.send("\r\n");
    assert_one_of(&pop3.reply(), &["-ERR", ""]);
    assert!(
        server.peak_kib() < before + 8_192,
        "memory grew from {before} to {} KiB",
        server.peak_kib()
    );
    let mut pop3 = Pop3::greeted(&server);
    pop3.wire.send(b"USER a\0b\r\n");
    // A login that cannot be is refused now or with its password.
    let reply = pop3.reply();
    assert_one_of(&reply, &["-ERR", "+OK", ""]);
    if reply.starts_with("+OK") {
        assert_one_of(&pop3.command(&format!("PASS {PASSWORD}")), &["-ERR", ""]);
    }
}

#[test]
fn pipelined_commands_are_answered_in_order_and_dots_are_stuffed() {
    let server = Server::start();
    // Of several users, because where an account lives decides what happens to its connection at login.
    for user in 1..=8 {
        let user = format!("user{user}@example.org");
        let mut smtp = Smtp::in_data_to(&server, &user);
        smtp.wire.send("Subject: dots\r\n\r\n..\r\n...two\r\n.\r\n");
        assert_code(&smtp.reply(), "250");
        let mut pop3 = Pop3::greeted(&server);
        pop3.wire.send(format!(
            "USER {user}\r\nPASS {PASSWORD}\r\nSTAT\r\nLIST\r\nRETR 1\r\nNOOP\r\nQUIT\r\n"
        ));
        let text = pop3.wire.until_closed();
        let answers: Vec<&str> = text.lines().filter(|line| line.starts_with("+OK")).collect();
        assert_eq!(answers.len(), 7, "{user}: {text}");
        assert!(answers[2].starts_with("+OK 1 "), "{user}: {text}");
        let (_, letter) = text
            .split_once("\r\n.\r\n+OK ")
            .expect("LIST ends before RETR is answered");
        let (_, letter) = letter.split_once("\r\n").expect("the answer to RETR is a line");
        let (letter, _) = letter
            .split_once("\r\n.\r\n")
            .expect("the letter ends with a dot");
        assert!(letter.ends_with("\r\n\r\n..\r\n...two"), "{letter}");
        // Both stuffed lines are one octet longer on the wire, and the last CRLF is cut off here.
        assert_eq!(
            answers[2],
            format!("+OK 1 {}", letter.len() + 2 - 2),
            "STAT and RETR differ on the size"
        );
    }
}

#[test]
fn a_cut_session_deletes_nothing_and_blocks_nobody() {
    let server = Server::start();
    deliver(&server, "user1@example.org", "Subject: stays\r\n\r\nx\r\n");
    let mut pop3 = Pop3::login(&server, "user1");
    assert_code(&pop3.command("DELE 1"), "+OK");
    pop3.wire.hang_up();
    let mut pop3 = Pop3::login(&server, "user1");
    assert_code(&pop3.command("STAT"), "+OK 1 ");
}

#[test]
fn garbage_is_refused_and_ends_before_long() {
    let server = Server::start();
    let mut pop3 = Pop3::greeted(&server);
    assert_code(&pop3.command(""), "-ERR");
    assert_code(&pop3.command("XYZZY"), "-ERR");
    let ended = (0..1_000).any(|_| !pop3.command("XYZZY").starts_with("-ERR"));
    assert!(
        ended,
        "a thousand unknown commands in a row did not end the session"
    );
    let mut wire = Wire::connect(server.port("pop3"));
    wire.line();
    wire.send("GET / HTTP/1.1\r\n\r\n");
    assert_one_of(&wire.line().unwrap_or_default(), &["-ERR", ""]);
    Pop3::login(&server, "user1");
}
