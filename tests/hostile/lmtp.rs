//! LMTP against a running server: replies per recipient, and what port 25 refuses as well.

use crate::common::Server;
use crate::common::talk::{Imap, Smtp, Wire, assert_code, await_inbox, inbox_count};

/// Connected, and LHLO said.
fn hello(server: &Server) -> Smtp {
    let mut lmtp = Smtp {
        wire: Wire::connect(server.port("lmtp")),
    };
    assert!(lmtp.reply().contains(" LMTP "));
    assert_code(&lmtp.command("LHLO mta.example.net"), "250");
    lmtp
}

#[test]
fn every_recipient_has_a_reply_and_every_account_one_copy() {
    let server = Server::start();
    let mut lmtp = hello(&server);
    assert_code(&lmtp.command("MAIL FROM:<a@example.net>"), "250");
    let names = [
        "user1",
        "user2",
        "nobody",
        "user1",
        "user3",
        "user4",
        "postmaster",
    ];
    for name in names {
        let reply = lmtp.command(&format!("RCPT TO:<{name}@example.org>"));
        assert_code(&reply, if name == "nobody" { "550" } else { "250" });
    }
    assert_code(&lmtp.command("DATA"), "354");
    lmtp.wire.send("Subject: to many\r\n\r\nx\r\n.\r\n");
    let replies: Vec<String> = (1..names.len()).map(|_| lmtp.reply()).collect();
    assert!(
        replies.iter().all(|reply| reply.starts_with("250 2.0.0")),
        "{replies:?}"
    );
    assert_code(&lmtp.command("NOOP"), "250 2.0.0 Ok");
    for name in ["user1", "user2", "user3", "user4", "alice"] {
        await_inbox(&server, name, 1);
    }
    let mut imap = Imap::inbox(&server, "user2");
    let header = imap.command("FETCH 1 BODY.PEEK[HEADER]").ok().concat();
    assert!(header.contains(" with LMTP id "), "{header}");
    assert!(header.contains("Delivered-To: user2@example.org\r\n"), "{header}");
}

#[test]
fn a_group_sent_at_once_is_answered_in_order() {
    let server = Server::start();
    let mut lmtp = hello(&server);
    lmtp.wire.send(
        "MAIL FROM:<>\r\nRCPT TO:<user1@example.org>\r\nRCPT TO:<nobody@example.org>\r\n\
         RCPT TO:<user2@example.org>\r\nBDAT 2\r\nx\rBDAT 1 LAST\r\n\nRSET\r\nQUIT\r\n",
    );
    let text = lmtp.wire.until_closed();
    let codes: Vec<&str> = text.lines().map(|line| &line[..3]).collect();
    assert_eq!(
        codes,
        ["250", "250", "550", "250", "250", "250", "250", "250", "221"]
    );
}

#[test]
fn smtp_is_not_spoken_here_and_smuggling_no_more_than_there() {
    let server = Server::start();
    let mut lmtp = hello(&server);
    assert_code(&lmtp.command("EHLO mta.example.net"), "500");
    assert_code(&lmtp.command("HELO mta.example.net"), "500");
    lmtp.envelope("user1@example.org");
    assert_code(&lmtp.command("RCPT TO:<user2@example.org>"), "250");
    assert_code(&lmtp.command("DATA"), "354");
    lmtp.wire
        .send("Subject: x\r\n\r\nx\n.\r\nMAIL FROM:<>\r\n.\r\nNOOP\r\n");
    let text = lmtp.wire.until_closed();
    assert_eq!(text.matches("550 5.5.2").count(), 2, "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(inbox_count(&server, "user1"), 0);
}

#[test]
fn a_message_that_was_delivered_here_before_is_not_delivered_again() {
    let server = Server::start();
    let message = "delivered-to:\r\n USER1@example.org\r\nSubject: round\r\n\r\nDelivered-To: user2@example.org\r\n.\r\n";
    let mut smtp = Smtp::in_data(&server);
    smtp.wire.send(message);
    assert_code(&smtp.reply(), "554 5.4.6 Mail loop");
    // Whom it does not go round with gets it, also where there is one reply for all.
    smtp.envelope("user1@example.org");
    assert_code(&smtp.command("RCPT TO:<user3@example.org>"), "250");
    assert_code(&smtp.command("DATA"), "354");
    smtp.wire.send(message);
    assert_code(&smtp.reply(), "250");
    assert_eq!(inbox_count(&server, "user3"), 1);
    // Over LMTP only the recipient it goes round with is refused; a body tells nothing of the way.
    let mut lmtp = hello(&server);
    lmtp.envelope("user1@example.org");
    assert_code(&lmtp.command("RCPT TO:<user2@example.org>"), "250");
    assert_code(&lmtp.command("DATA"), "354");
    lmtp.wire.send(message);
    assert_code(&lmtp.reply(), "554 5.4.6");
    assert_code(&lmtp.reply(), "250");
    lmtp.envelope("user1@example.org");
    assert_code(&lmtp.command("DATA"), "354");
    lmtp.wire.send(message);
    assert_code(&lmtp.reply(), "554 5.4.6");
    assert_code(&lmtp.command("NOOP"), "250");
    assert_eq!(inbox_count(&server, "user1"), 0);
    assert_eq!(inbox_count(&server, "user2"), 1);
}
