//! What an operator sees of the running server: metrics, health, and the log.

mod common;

use common::talk::{Imap, Smtp, Wire, deliver, get, sum};
use common::{Server, binary, demo, run, signal, wait_until};
use std::path::Path;
use std::process::Command;

#[test]
fn metrics_say_what_was_accepted_refused_and_synced() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    for _ in 0..3 {
        smtp.deliver("user1@example.org", "Subject: counted\r\n\r\nbody\r\n");
    }
    smtp.command("MAIL FROM:<a@example.net>");
    assert!(
        smtp.command("RCPT TO:<nobody@example.org>")
            .starts_with("550 5.1.1")
    );
    let mut imap = Imap::inbox(&server, "user1");
    imap.command("NOOP").ok();
    let (status, metrics) = get(&server, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let expect = |name: &str, label: &str, wanted: f64| {
        assert_eq!(sum(&metrics, name, label), wanted, "{name} {label} in\n{metrics}");
    };
    expect("ringpost_mail_accepted_total", "protocol=\"smtp\"", 3.0);
    expect("ringpost_mail_commit_seconds_count", "smtp", 3.0);
    expect(
        "ringpost_mail_refused_total",
        "reply=\"550\",status=\"5.1.1\"",
        1.0,
    );
    expect("ringpost_connections", "service=\"smtp\",state=\"serving\"", 1.0);
    expect("ringpost_sessions_total", "service=\"imap\"", 1.0);
    let imap_open = sum(&metrics, "ringpost_connections", "service=\"imap\"");
    assert_eq!(imap_open, 1.0, "here, or where its account is");
    let groups = sum(&metrics, "ringpost_store_group_commits_count", "");
    let syncs = sum(&metrics, "ringpost_disk_sync_seconds_count", "");
    assert!(groups >= 3.0 && syncs >= groups, "{groups} groups, {syncs} syncs");
    assert!(sum(&metrics, "ringpost_disk_written_bytes_total", "") >= groups * 4096.0);
}

#[test]
fn ready_ends_when_the_server_is_asked_to_stop_and_live_does_not() {
    let server = Server::start();
    assert_eq!(get(&server, "/health/live").0, "HTTP/1.1 200 OK");
    assert_eq!(
        get(&server, "/health/ready"),
        ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned())
    );
    assert_eq!(get(&server, "/elsewhere").0, "HTTP/1.1 404 Not Found");
    // A message under way keeps the server draining.
    let mut smtp = Smtp::in_data(&server);
    signal(server.pid(), "TERM");
    wait_until("it is not ready any more", || {
        let (status, body) = get(&server, "/health/ready");
        status == "HTTP/1.1 503 Service Unavailable" && body.starts_with("draining")
    });
    assert_eq!(get(&server, "/health/live").0, "HTTP/1.1 200 OK");
    smtp.wire.send("Subject: last\r\n\r\nbody\r\n.\r\n");
    assert!(smtp.reply().starts_with("250"));
}

#[test]
fn a_slow_header_is_no_reason_to_keep_others_waiting() {
    let server = Server::start();
    let slow: Vec<Wire> = (0..50).map(|_| Wire::connect(server.port("http"))).collect();
    assert_eq!(get(&server, "/health/ready").0, "HTTP/1.1 200 OK");
    drop(slow);
}

#[test]
fn one_id_leads_from_the_connection_to_the_mailbox() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = demo(&directory.path().join("store"));
    command
        .args(["--log-format", "json"])
        .env("RINGPOST_LOG", "info,mail=info,ringpost::session=debug");
    let server = Server::run(command);
    deliver(&server, "user2@example.org", "Subject: traced\r\n\r\nbody\r\n");
    let mut imap = Imap::inbox(&server, "user2");
    let header = imap
        .command("FETCH 1 BODY.PEEK[HEADER.FIELDS (RECEIVED)]")
        .ok()
        .join("\n");
    drop(imap);
    let log = server.terminate_for_log();
    let events: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect();
    let mail = events.iter().find(|event| event["target"] == "mail");
    let mail = mail.unwrap_or_else(|| panic!("no line for the mail in\n{log}"));
    let id = mail["id"].as_str().expect("an id");
    assert!(header.contains(&format!("id {id}")), "{id} in {header}");
    assert!(!mail["receipt"].as_str().expect("a receipt").is_empty());
    let (session, _) = id.rsplit_once('.').expect("a session and a number");
    let connection = events
        .iter()
        .find(|event| event["message"] == "connection" && event["id"] == session);
    assert!(
        connection.is_some_and(|event| event["service"] == "smtp"),
        "{session} in\n{log}"
    );
}

#[test]
fn doctor_and_check_say_the_same_of_the_kernel_and_leave_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut doctor = Command::new(binary());
    doctor.args(["doctor", "--json", "--data"]).arg(directory.path());
    let doctor = run(&mut doctor);
    // Where the tests pass, the server starts; but a temporary directory may be in memory.
    assert!(matches!(doctor.status.code(), Some(0..=2)), "{:?}", doctor.status);
    let findings: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let finding = |what: &str| {
        let findings = findings.as_array().expect("an array");
        let found = findings.iter().find(|finding| finding["what"] == what);
        found.unwrap_or_else(|| panic!("nothing of {what}")).clone()
    };
    assert_eq!(finding("io_uring")["verdict"], "good");
    assert!(finding("sync of 4 KiB")["found"].is_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/check.sh");
    let check = run(Command::new("sh").arg(script).arg(directory.path()));
    assert!(
        matches!(check.status.code(), Some(0..=2)) && check.stderr.is_empty(),
        "{check:?}"
    );
    let kernel = finding("kernel")["found"].as_str().expect("text").to_owned();
    assert!(String::from_utf8_lossy(&check.stdout).contains(&kernel));
    let left = std::fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(left, 0);
}

/// How many messages the server has opened.
fn opened(server: &Server) -> f64 {
    sum(
        &get(server, "/metrics").1,
        "ringpost_store_messages_opened_total",
        "",
    )
}

#[test]
fn after_a_restart_lists_are_made_without_opening_a_message() {
    const LISTS: [&str; 3] = [
        "FETCH 1:* (UID RFC822.SIZE INTERNALDATE ENVELOPE BODYSTRUCTURE PREVIEW)",
        "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID References List-Id)])",
        "SORT (SUBJECT REVERSE DATE) UTF-8 ALL",
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::with_data(directory.path());
    let mut smtp = Smtp::hello(&server);
    for number in 0..50 {
        let letter = format!(
            "From: Sender {number} <s@example.net>\r\nSubject: letter {}\r\nMessage-ID: <{number}@example.net>\r\n\r\nHello {number}\r\n",
            number % 7
        );
        smtp.deliver("user1@example.org", &letter);
    }
    let lists = |server: &Server| {
        let mut imap = Imap::inbox(server, "user1");
        LISTS.map(|list| imap.command(list).ok())
    };
    let before = lists(&server);
    assert_eq!(before[0].len(), 50);
    assert!(
        before[0][3].contains("\"Sender 3\"") && before[0][3].contains("Hello 3"),
        "{}",
        before[0][3]
    );
    assert!(opened(&server) >= 50.0);
    assert!(server.terminate().success());

    let server = Server::with_data(directory.path());
    assert!(lists(&server) == before, "the answers differ");
    assert_eq!(opened(&server), 0.0);
}
