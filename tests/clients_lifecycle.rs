//! Starting, stopping, and refusing to start: what the person at the keyboard and the service manager see.

mod common;

use common::talk::{Imap, Pop3, Smtp, Wire, assert_one_of, deliver, inbox_count, without_recent};
use common::{Server, demo, has_client, port, run, succeed};
use std::process::Command;

#[test]
fn sigterm_exits_with_0_and_all_mail_is_there_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("store");
    let server = Server::with_data(&data);
    let letters: Vec<String> = (0..20)
        .map(|n| format!("Subject: letter {n}\r\n\r\n{}\r\n", "x".repeat(100 * n)))
        .collect();
    let mut smtp = Smtp::hello(&server);
    letters
        .iter()
        .for_each(|letter| smtp.deliver("user1@example.org", letter));
    let mut imap = Imap::inbox(&server, "user1");
    imap.command("STORE 3 +FLAGS (\\Flagged $Mine)").ok();
    imap.command("CREATE Kept/Deep").ok();
    imap.command("COPY 1:5 Kept/Deep").ok();
    imap.command("STORE 1 +FLAGS (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    let all = "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])";
    let before = without_recent(imap.command(all).ok());
    let status = "STATUS INBOX (UIDVALIDITY UIDNEXT MESSAGES)";
    let status_before = imap.command(status).ok();
    let exit = server.terminate();
    assert_eq!(exit.code(), Some(0));

    for _ in 0..2 {
        let server = Server::with_data(&data);
        let mut imap = Imap::inbox(&server, "user1");
        assert!(
            without_recent(imap.command(all).ok()) == before,
            "the mailbox has changed"
        );
        assert_eq!(imap.command(status).ok(), status_before);
        imap.command("SELECT Kept/Deep").ok();
        assert_eq!(imap.command("FETCH 1:* (FLAGS)").ok().len(), 5);
        assert_eq!(server.terminate().code(), Some(0));
    }
}

#[test]
fn sigterm_says_goodbye_to_idle_sessions() {
    let server = Server::start();
    let mut smtp = Smtp::hello(&server);
    let mut imap = Imap::inbox(&server, "user1");
    assert_eq!(imap.command("IDLE").outcome, "+");
    let mut pop3 = Pop3::login(&server, "user2");
    assert_eq!(server.terminate().code(), Some(0));
    assert_one_of(&smtp.wire.until_closed(), &["421", ""]);
    assert_one_of(&imap.wire.until_closed(), &["* BYE", ""]);
    assert_one_of(&pop3.wire.until_closed(), &["-ERR", ""]);
}

#[test]
fn a_second_server_on_the_same_store_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("store");
    let first = Server::with_data(&data);
    deliver(&first, "user1@example.org", "Subject: one\r\n\r\nx\r\n");
    let second = run(&mut demo(&data));
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    let message = String::from_utf8_lossy(&second.stderr);
    assert!(
        message.contains(&*data.to_string_lossy()),
        "the message does not name the directory: {message}"
    );
    assert!(
        !String::from_utf8_lossy(&second.stdout).contains("ready "),
        "it started all the same"
    );
    // The first one is none the worse.
    assert_eq!(inbox_count(&first, "user1"), 1);
}

#[test]
fn a_taken_port_is_named_and_nothing_is_left_half_started() {
    // Ports with a fixed offset, the first of which (SMTP's) is held by the test; others may be anybody's.
    let port = port::reserve();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", port)).expect("nobody else has it");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(common::binary());
    command.args([
        "demo",
        "--accounts",
        "1",
        "--port-offset",
        &(port - 25).to_string(),
        "--data",
    ]);
    let output = run(command.arg(directory.path().join("store")));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        message.contains(&port.to_string()),
        "the message does not name port {port}: {message}"
    );
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ready "));
}

#[test]
fn a_kernel_without_io_uring_is_named_as_the_cause() {
    if !has_client("strace") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let traces = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .output();
    if !traces.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: this machine does not allow tracing processes");
        return;
    }
    for error in ["ENOSYS", "EPERM"] {
        let store = directory.path().join(error);
        let server = demo(&store);
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=io_uring_setup", "-o", "/dev/null", "-e"]);
        command.arg(format!("inject=io_uring_setup:error={error}"));
        let output = run(command.arg(server.get_program()).args(server.get_args()));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            message.contains("io_uring"),
            "the message does not name io_uring: {message}"
        );
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[test]
fn wrong_arguments_exit_with_2_and_help_with_0() {
    for arguments in [
        &["frobnicate"][..],
        &["demo", "--accounts", "x"],
        &["demo", "--frob"],
    ] {
        let output = run(Command::new(common::binary()).args(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    let help = succeed(Command::new(common::binary()).args(["demo", "--help"]));
    let help = String::from_utf8_lossy(&help);
    assert!(
        ["--data", "--port-offset", "--accounts"]
            .iter()
            .all(|option| help.contains(option)),
        "{help}"
    );
}

#[test]
fn many_connections_that_come_and_go_leave_the_server_well() {
    let server = Server::start();
    let open = |count: usize| {
        (0..count)
            .map(|_| Wire::connect(server.port("smtp")))
            .collect::<Vec<_>>()
    };
    for _ in 0..5 {
        let mut wires = open(200);
        assert!(
            wires
                .iter_mut()
                .all(|wire| wire.line().is_some_and(|line| line.starts_with("220")))
        );
    }
    let mut imap = Imap::inbox(&server, "user1");
    deliver(&server, "user1@example.org", "Subject: after\r\n\r\nx\r\n");
    imap.command("NOOP").ok();
    assert_eq!(imap.inbox_count(), 1);
}
