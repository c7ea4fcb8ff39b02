//! Submission: other people's programs log in and send, and what an account may not do it does not.

mod common;

use common::scripts::run_python;
use common::talk::{Imap, Smtp, Wire, assert_code, deliver, inbox_count};
use common::{PASSWORD, Server, has_client, succeed};
use std::fs;
use std::process::Command;

#[test]
fn smtplib_submits_in_its_own_name_only() {
    run_python("submission", &Server::start());
}

fn swaks(server: &Server, service: &str, options: &[&str]) -> Command {
    let mut command = Command::new("swaks");
    command.args([
        "--server",
        "127.0.0.1",
        "--port",
        &server.port(service).to_string(),
    ]);
    command.args([
        "--to",
        "user2@example.org",
        "--from",
        "user1@example.org",
        "--timeout",
        "30",
    ]);
    command.args(["--auth-user", "user1@example.org", "--auth-password", PASSWORD]);
    command.args(options);
    command
}

#[test]
fn swaks_submits_over_starttls_and_tls() {
    if !has_client("swaks") {
        return;
    }
    let server = Server::start();
    succeed(&mut swaks(&server, "submission", &["--tls", "--auth", "PLAIN"]));
    succeed(&mut swaks(
        &server,
        "submission-2525",
        &["--tls", "--auth", "LOGIN"],
    ));
    succeed(&mut swaks(
        &server,
        "submissions",
        &["--tls-on-connect", "--auth", "PLAIN"],
    ));
    assert_eq!(inbox_count(&server, "user2"), 3);
    let refused = common::run(&mut swaks(
        &server,
        "submission",
        &["--tls", "--auth", "PLAIN", "--to", "a@elsewhere.example"],
    ));
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(!refused.status.success() && said.contains("550 5.7.1"), "{said}");
}

#[test]
fn curl_submits() {
    if !has_client("curl") {
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let letter = directory.path().join("letter");
    fs::write(
        &letter,
        "From: user1@example.org\r\nSubject: by curl\r\n\r\nx\r\n",
    )
    .expect("a file of the test's own");
    for (scheme, service, option) in [
        ("smtp", "submission", "--ssl-reqd"),
        ("smtps", "submissions", "--silent"),
    ] {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "30",
            option,
        ]);
        command.args(["--user", &format!("user1@example.org:{PASSWORD}")]);
        command.args([
            "--mail-from",
            "user1@example.org",
            "--mail-rcpt",
            "user2@example.org",
            "--upload-file",
        ]);
        command.arg(&letter).arg(format!(
            "{scheme}://127.0.0.1:{}/client.example.net",
            server.port(service)
        ));
        succeed(&mut command);
    }
    assert_eq!(inbox_count(&server, "user2"), 2);
}

/// A session behind AUTH, in plaintext as loopback may in the demo.
fn logged_in(server: &Server, user: &str) -> Smtp {
    let mut smtp = Smtp {
        wire: Wire::connect(server.port("submission")),
    };
    assert_code(&smtp.reply(), "220");
    assert!(
        smtp.command("EHLO client.example.net")
            .contains("AUTH SCRAM-SHA-256")
    );
    assert_code(&smtp.command("AUTH LOGIN"), "334");
    let encode = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    assert_code(&smtp.command(&encode(&format!("{user}@example.org"))), "334");
    assert_code(&smtp.command(&encode(PASSWORD)), "235");
    smtp
}

#[test]
fn an_account_sends_so_much_and_no_more_on_whatever_connection() {
    let server = Server::with_arguments(&[
        "--submission-messages-per-hour",
        "2",
        "--submission-recipients-per-day",
        "3",
    ]);
    let letter = "From: user1@example.org\r\n\r\nx\r\n";
    for (count, code) in [(2, "250"), (1, "250"), (1, "450 4.7.1")] {
        let mut smtp = logged_in(&server, "user1");
        let reply = smtp.command("MAIL FROM:<user1@example.org>");
        assert_code(&reply, code);
        if code != "250" {
            continue;
        }
        for _ in 0..count {
            assert_code(&smtp.command("RCPT TO:<user2@example.org>"), "250");
        }
        assert_code(&smtp.command("DATA"), "354");
        smtp.wire.send(format!("{letter}.\r\n"));
        assert_code(&smtp.reply(), "250");
    }
    // Another account is another's account; its fourth recipient is one too many.
    let mut smtp = logged_in(&server, "user3");
    assert_code(&smtp.command("MAIL FROM:<user3@example.org>"), "250");
    for _ in 0..3 {
        assert_code(&smtp.command("RCPT TO:<user2@example.org>"), "250");
    }
    assert_code(&smtp.command("RCPT TO:<user2@example.org>"), "450 4.7.1");
}

#[test]
fn several_authors_have_a_sender_and_what_is_there_is_left_alone() {
    let server = Server::start();
    let mut smtp = logged_in(&server, "alice");
    // Both names are alice's: postmaster is her alias.
    for letter in [
        "From: alice@example.org, postmaster@example.org\r\n\r\nx\r\n",
        "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <1@x>\r\nFrom: postmaster@example.org\r\n\r\nx\r\n",
    ] {
        assert_code(&smtp.command("MAIL FROM:<postmaster@example.org>"), "250");
        assert_code(&smtp.command("RCPT TO:<user2@example.org>"), "250");
        assert_code(&smtp.command("DATA"), "354");
        smtp.wire.send(format!("{letter}.\r\n"));
        assert_code(&smtp.reply(), "250");
    }
    let mut imap = Imap::inbox(&server, "user2");
    let mut header = |number| {
        imap.command(&format!("FETCH {number} BODY.PEEK[HEADER]"))
            .ok()
            .concat()
    };
    assert!(
        header(1).contains("\r\nSender: <alice@example.org>\r\n"),
        "{}",
        header(1)
    );
    let second = header(2);
    assert!(
        !second.contains("Sender:") && second.matches("Date:").count() == 1,
        "{second}"
    );
    assert_eq!(second.matches("Message-ID:").count(), 1, "{second}");
}

#[test]
fn port_25_takes_no_login_and_submission_no_strangers() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    assert_code(
        &smtp.command("AUTH PLAIN AHVzZXIxQGV4YW1wbGUub3JnAHJpbmdwb3N0"),
        "502",
    );
    deliver(&server, "user1@example.org", "Subject: x\r\n\r\nx\r\n");
    let mut smtp = Smtp {
        wire: Wire::connect(server.port("submission")),
    };
    assert_code(&smtp.reply(), "220");
    assert_code(&smtp.command("EHLO a.example"), "250");
    assert_code(&smtp.command("MAIL FROM:<a@example.net>"), "530 5.7.0");
    smtp.wire.send("BDAT 5 LAST\r\nhello");
    assert_code(&smtp.reply(), "503");
    assert_code(&smtp.command("QUIT"), "221");
}
