//! Mail that is made to be hard to read: it is taken, described, searched, and comes back as it was sent.

use super::messages::ALL;
use crate::common::talk::{Imap, Pop3, Smtp, assert_code, assert_one_of};
use crate::common::{Server, assert_body};

/// Of whatever a message is made of: some 10 to 100 KB.
const COUNT: usize = 2_000;

/// The whole of one message, octet for octet.
fn body_of(imap: &mut Imap, uid: usize) -> String {
    let responses = imap.command(&format!("UID FETCH {uid} (BODY.PEEK[])")).ok();
    let response = responses
        .iter()
        .find(|line| line.contains("BODY[]"))
        .expect("the message");
    let (head, text) = response.split_once("}\r\n").expect("a literal");
    let length: usize = head
        .rsplit('{')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a length");
    text[..length].to_owned()
}

#[test]
fn hostile_mail_is_described_and_served_as_it_came() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    let mut imap = Imap::inbox(&server, "user1");
    let mut taken = Vec::new();
    for hostile in ALL {
        let message = (hostile.make)(COUNT);
        smtp.envelope("user1@example.org");
        assert_code(&smtp.command("DATA"), "354");
        smtp.wire.send(format!("{message}.\r\n"));
        let reply = smtp.reply();
        assert_one_of(&reply, &["250", "550", "552", "554"]);
        if reply.starts_with("250") {
            taken.push((hostile.name, message));
        }
    }
    assert!(
        taken.len() * 10 > ALL.len() * 9,
        "most of it is mail like any other"
    );
    imap.command("NOOP").ok();
    for (uid, (name, message)) in (1..).zip(&taken) {
        let described = imap.command(&format!("UID FETCH {uid} (ENVELOPE BODYSTRUCTURE PREVIEW)"));
        let described = described.ok().concat();
        for item in ["ENVELOPE (", "BODYSTRUCTURE (", "PREVIEW "] {
            assert!(described.contains(item), "{name}: {item}");
        }
        assert_body(body_of(&mut imap, uid).as_bytes(), message.as_bytes());
    }
    // Searches and sorts that read all of it. A core that has to wait for its CPU while it computes may give up.
    for command in [
        "SEARCH OR TEXT nowhere SUBJECT re",
        "SORT (SUBJECT DATE FROM) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
    ] {
        let outcome = imap.command(command).outcome;
        assert_one_of(&outcome, &["OK", "NO [LIMIT]"]);
    }
    let mut pop3 = Pop3::login(&server, "user1");
    for (number, (name, message)) in (1..).zip(&taken) {
        assert_code(&pop3.command(&format!("RETR {number}")), "+OK");
        let text = pop3.lines().join("\r\n") + "\r\n";
        assert!(text.ends_with(message.as_str()), "{name} over POP3");
    }
}

#[test]
fn what_is_appended_comes_back_without_a_change() {
    let server = Server::start();
    let mut imap = Imap::inbox(&server, "user2");
    for (uid, hostile) in (1..).zip(ALL) {
        let message = (hostile.make)(COUNT);
        let outcome = imap
            .command(&format!("APPEND INBOX {{{}+}}\r\n{message}", message.len()))
            .outcome;
        assert!(outcome.starts_with("OK"), "{}: {outcome}", hostile.name);
        imap.command("NOOP").ok();
        assert!(body_of(&mut imap, uid) == message, "{} changed", hostile.name);
    }
}
