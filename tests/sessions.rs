//! Open sessions of an account that its operator changes; and what becomes of a message on its way through a session.

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::site::Site;
use common::talk::{Imap, Pop3, Smtp, Wire, assert_code};
use common::{PASSWORD, Server};

const SECRET: &str = "correct horse battery";

#[track_caller]
fn order(site: &Site, arguments: &[&str]) {
    let output = site.ask_with(arguments, &format!("{SECRET}\n"));
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// A running host where bob has an account.
fn with_bob() -> Site {
    let mut site = Site::new("");
    site.start();
    order(&site, &["account", "add", "bob@example.org", "--stdin"]);
    site
}

/// A session for submission behind AUTH.
fn submitting(server: &Server, user: &str, password: &str) -> Smtp {
    let mut smtp = Smtp {
        wire: Wire::connect(server.port("submission")),
    };
    assert_code(&smtp.reply(), "220");
    assert_code(&smtp.command("EHLO MY PC"), "250");
    let plain = STANDARD.encode(format!("\0{user}@example.org\0{password}"));
    assert_code(&smtp.command(&format!("AUTH PLAIN {plain}")), "235");
    smtp
}

fn reading(server: &Server, user: &str, password: &str) -> Imap {
    let mut imap = Imap::greeted(server);
    imap.command(&format!("LOGIN {user}@example.org \"{password}\""))
        .ok();
    imap
}

fn fetching(server: &Server, user: &str, password: &str) -> Pop3 {
    let mut pop3 = Pop3::greeted(server);
    assert_code(&pop3.command(&format!("USER {user}@example.org")), "+OK");
    assert_code(&pop3.command(&format!("PASS {password}")), "+OK");
    pop3
}

#[test]
fn sessions_of_an_account_end_when_it_may_not_use_them_any_more() {
    let site = with_bob();
    let orders: [&[&str]; 3] = [
        &["account", "set", "bob@example.org", "--protocols", ""],
        &["account", "disable", "bob@example.org"],
        &["account", "delete", "bob@example.org"],
    ];
    let back: [&[&str]; 2] = [
        &[
            "account",
            "set",
            "bob@example.org",
            "--protocols",
            "imap,pop3,submission",
        ],
        &["account", "enable", "bob@example.org"],
    ];
    for (at, change) in orders.into_iter().enumerate() {
        site.deliver("bob@example.org", "letter");
        site.await_count("bob@example.org", &format!("\"{SECRET}\""), at + 1);
        let mut smtp = submitting(site.server(), "bob", SECRET);
        let mut imap = reading(site.server(), "bob", SECRET);
        let mut pop3 = fetching(site.server(), "bob", SECRET);
        assert_code(&smtp.command("MAIL FROM:<bob@example.org>"), "250");
        assert_code(&smtp.command("RSET"), "250");
        assert_code(&pop3.command("DELE 1"), "+OK");
        order(&site, change);
        assert_code(&smtp.command("MAIL FROM:<bob@example.org>"), "421 4.7.0");
        assert_eq!(smtp.wire.line(), None);
        let answer = imap.command("NOOP");
        assert_eq!(answer.outcome, "BYE");
        assert_eq!(answer.untagged, ["* BYE This account may not be used any more"]);
        assert_code(&pop3.command("QUIT"), "-ERR [AUTH]");
        assert_eq!(pop3.wire.line(), None);
        if let Some(back) = back.get(at) {
            order(&site, back);
        }
    }
}

#[test]
fn an_open_session_has_the_settings_that_the_account_has_now() {
    let site = with_bob();
    site.deliver("bob@example.org", "one");
    site.await_count("bob@example.org", &format!("\"{SECRET}\""), 1);
    // Behind the letter: its delivery would bring a warning along.
    order(
        &site,
        &["account", "set", "bob@example.org", "--quota-messages", "1"],
    );
    let mut imap = reading(site.server(), "bob", SECRET);
    let mut pop3 = fetching(site.server(), "bob", SECRET);
    let append = "APPEND INBOX {6+}\r\na: b\r\n";
    assert!(imap.command(append).outcome.starts_with("NO [OVERQUOTA]"));
    order(
        &site,
        &["account", "set", "bob@example.org", "--quota-messages", "0"],
    );
    imap.command(append).ok();
    order(
        &site,
        &["account", "set", "bob@example.org", "--pop3-deletion", "ignore"],
    );
    assert_code(&pop3.command("DELE 1"), "+OK");
    assert_code(&pop3.command("QUIT"), "+OK");
    site.await_count("bob@example.org", &format!("\"{SECRET}\""), 2);
}

#[test]
fn what_pop3_deletes_finds_a_trash_again() {
    let server = Server::with_arguments(&["--pop3-deletion", "trash"]);
    common::talk::deliver(&server, "user1@example.org", "Subject: a\r\n\r\nb\r\n");
    common::talk::await_inbox(&server, "user1", 1);
    Imap::login(&server, "user1").command("DELETE Trash").ok();
    let mut pop3 = fetching(&server, "user1", PASSWORD);
    assert_code(&pop3.command("DELE 1"), "+OK");
    assert_code(&pop3.command("QUIT"), "+OK");
    let mut imap = Imap::login(&server, "user1");
    assert_eq!(imap.inbox_count(), 0);
    let status = imap.command("STATUS Trash (MESSAGES)").ok().concat();
    assert!(status.contains("MESSAGES 1"), "{status}");
    let list = imap.command("LIST (SPECIAL-USE) \"\" *").ok().concat();
    assert!(list.contains("\\Trash"), "{list}");
}

/// What came into an INBOX as its only message.
fn only_message(server: &Server, user: &str) -> String {
    common::talk::await_inbox(server, user, 1);
    let mut imap = Imap::inbox(server, user);
    imap.command("FETCH 1 BODY.PEEK[]").ok().concat()
}

#[test]
fn fields_that_nobody_may_see_do_not_come_through() {
    let server = Server::start();
    let mut smtp = submitting(&server, "user1", PASSWORD);
    assert_code(&smtp.command("MAIL FROM:<user1@example.org>"), "250");
    for to in ["user2", "user3"] {
        assert_code(&smtp.command(&format!("RCPT TO:<{to}@example.org>")), "250");
    }
    assert_code(&smtp.command("DATA"), "354");
    smtp.wire
        .send("Return-Path: <forged@example.org>\r\nFrom: user1@example.org\r\nTo: user2@example.org\r\nBc");
    smtp.wire
        .send("c: user3@example.org,\r\n\tuser4@example.org\r\nSubject: s\r\n\r\nBcc: body\r\n.\r\n");
    assert_code(&smtp.reply(), "250");
    for user in ["user2", "user3"] {
        let message = only_message(&server, user);
        assert!(
            !message.contains("user4") && !message.contains("forged"),
            "{message}"
        );
        assert!(
            message.contains("To: user2@example.org\r\nSubject: s\r\n\r\nBcc: body\r\n"),
            "{message}"
        );
        assert!(message.contains("from MY?PC "), "{message}");
    }
    let foreign =
        "Received: x\r\nReturn-Path: <forged@x.test>\r\nFrom: a@x.test\r\nBcc: b@x.test\r\n\r\nx\r\n";
    common::talk::deliver(&server, "user5@example.org", foreign);
    let message = only_message(&server, "user5");
    assert_eq!(message.matches("Return-Path:").count(), 1, "{message}");
    assert!(
        message.contains("From: a@x.test\r\nBcc: b@x.test\r\n\r\nx\r\n"),
        "{message}"
    );
}

#[test]
fn a_message_is_sent_again_in_the_name_of_who_does_it() {
    let server = Server::start();
    let mut smtp = submitting(&server, "user1", PASSWORD);
    for (again, reply) in [("user1", "250"), ("user3", "550 5.7.1")] {
        assert_code(&smtp.command("MAIL FROM:<user1@example.org>"), "250");
        assert_code(&smtp.command("RCPT TO:<user2@example.org>"), "250");
        assert_code(&smtp.command("DATA"), "354");
        let head = format!("Resent-From: {again}@example.org\r\nResent-Date: x\r\nFrom: a@x.test\r\n");
        smtp.wire.send(format!("{head}\r\nx\r\n.\r\n"));
        assert_code(&smtp.reply(), reply);
    }
}

#[test]
fn the_postmaster_is_reached_at_the_servers_address() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(&smtp.command("MAIL FROM:<a@x.test>"), "250");
    assert_code(&smtp.command("RCPT TO:<Postmaster@[127.0.0.1]>"), "250");
    assert_code(&smtp.command("RCPT TO:<postmaster@[127.0.0.2]>"), "554");
    assert_code(&smtp.command("RCPT TO:<alice@[127.0.0.1]>"), "554");
    assert_code(&smtp.command("DATA"), "354");
    smtp.wire.send("Subject: help\r\n\r\nx\r\n.\r\n");
    assert_code(&smtp.reply(), "250");
    let message = only_message(&server, "alice");
    assert!(message.contains("Subject: help"), "{message}");
}
