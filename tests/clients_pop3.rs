//! Other people's POP3 clients, each at a real job: mail is fetched whole, each message once, and what the operator says
//! of deletions holds whatever the client believes.

mod common;

use common::talk::{Imap, Pop3, assert_code, deliver, get, inbox_count, sum};
use common::{PASSWORD, PATIENCE, Server, has_client, succeed};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that begin with dots, a long one, an empty end.
fn letter(number: usize) -> String {
    format!(
        "From: me@example.net\r\nSubject: number {number}\r\n\r\n.\r\n..two dots\r\n{}\r\nlast of {number}\r\n\r\n",
        "long ".repeat(180)
    )
}

fn with_letters(arguments: &[&str], user: &str, count: usize) -> Server {
    let server = Server::with_arguments(arguments);
    for number in 1..=count {
        send(&server, user, number);
    }
    server
}

fn send(server: &Server, user: &str, number: usize) {
    let stuffed = letter(number).replace("\r\n.", "\r\n..");
    deliver(server, &format!("{user}@example.org"), &stuffed);
}

/// A configuration file that only its owner may read, as these programs ask for.
fn configuration(directory: &Path, text: &str) -> PathBuf {
    let path = directory.join("rc");
    fs::write(&path, text).expect("a file of the test's own");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    path
}

/// What was delivered into a Maildir, each as text with CRLF.
fn maildir(directory: &Path) -> Vec<String> {
    let new = fs::read_dir(directory.join("new")).expect("a Maildir");
    let mut messages: Vec<String> = new
        .flatten()
        .map(|entry| fs::read_to_string(entry.path()).expect("a message"))
        .map(|text| text.replace("\r\n", "\n").replace('\n', "\r\n"))
        .collect();
    messages.sort();
    messages
}

#[track_caller]
fn assert_fetched(messages: &[String], numbers: impl Iterator<Item = usize>) {
    let numbers: Vec<usize> = numbers.collect();
    assert_eq!(messages.len(), numbers.len(), "{messages:?}");
    for number in numbers {
        let letter = letter(number);
        let found = messages.iter().filter(|text| text.ends_with(&letter)).count();
        assert_eq!(found, 1, "letter {number} in {messages:?}");
    }
}

fn make_maildir(directory: &Path) -> PathBuf {
    let path = directory.join("Maildir");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(path.join(part)).expect("a directory of the test's own");
    }
    path
}

fn fetchmail(server: &Server, directory: &Path, options: &str) -> Command {
    let mailbox = directory.join("mailbox");
    let rc = configuration(
        directory,
        &format!(
            "poll 127.0.0.1 service {} protocol pop3 uidl user \"user1@example.org\" password \"{PASSWORD}\" {options} \
             mda \"cat >>'{}'; echo '=====' >>'{}'\"\n",
            server.port(if options.contains("ssl ") { "pop3s" } else { "pop3" }),
            mailbox.display(),
            mailbox.display(),
        ),
    );
    let mut command = Command::new("fetchmail");
    command
        .arg("--fetchmailrc")
        .arg(rc)
        .arg("--idfile")
        .arg(directory.join("ids"));
    command
        .args(["--nodetach", "--nosyslog", "--silent"])
        .env("FETCHMAILHOME", directory);
    command
}

#[test]
fn fetchmail_fetches_and_deletes_and_fetches_only_what_is_new() {
    if !has_client("fetchmail") {
        return;
    }
    let server = with_letters(&[], "user1", 3);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let fetched = || {
        let text = fs::read_to_string(directory.path().join("mailbox")).unwrap_or_default();
        let text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        text.split_terminator("=====\r\n")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Kept on the server, and known by its UIDL the next time.
    let keep = "keep sslproto \"\"";
    succeed(&mut fetchmail(&server, directory.path(), keep));
    assert_fetched(&fetched(), 1..=3);
    send(&server, "user1", 4);
    succeed(&mut fetchmail(&server, directory.path(), keep));
    assert_fetched(&fetched(), 1..=4);
    assert_eq!(inbox_count(&server, "user1"), 4);
    // Fetched again and deleted, over TLS from the first octet.
    fs::remove_file(directory.path().join("mailbox")).expect("it is there");
    succeed(&mut fetchmail(
        &server,
        directory.path(),
        "nokeep fetchall ssl no sslcertck",
    ));
    assert_fetched(&fetched(), 1..=4);
    assert_eq!(inbox_count(&server, "user1"), 0);
}

#[test]
fn getmail_fills_a_maildir() {
    if !has_client("getmail") {
        return;
    }
    let server = with_letters(&[], "user2", 3);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mail = make_maildir(directory.path());
    for (retriever, port) in [
        ("SimplePOP3Retriever", "pop3"),
        ("SimplePOP3SSLRetriever", "pop3s"),
    ] {
        let rc = configuration(
            directory.path(),
            &format!(
                "[retriever]\ntype = {retriever}\nserver = 127.0.0.1\nport = {}\nusername = user2@example.org\n\
                 password = {PASSWORD}\n[destination]\ntype = MDA_external\npath = /bin/sh\n\
                 arguments = (\"-c\", \"cat >{}/new/$$\")\nallow_root_commands = true\n\
                 [options]\nread_all = false\ndelete = false\ndelivered_to = false\nreceived = false\n",
                server.port(port),
                mail.display()
            ),
        );
        let mut command = Command::new("getmail");
        command
            .arg("--getmaildir")
            .arg(directory.path())
            .arg("--rcfile")
            .arg(rc);
        succeed(command.arg("--quiet"));
    }
    // The second run, over TLS, keeps its own account of what it has seen: it is another port.
    let messages = maildir(&mail);
    let distinct: Vec<String> = messages.iter().step_by(2).cloned().collect();
    assert_eq!(messages.len(), 6);
    assert_fetched(&distinct, 1..=3);
}

#[test]
fn mpop_logs_in_by_every_mechanism_it_shares_with_us() {
    if !has_client("mpop") {
        return;
    }
    let server = with_letters(&[], "user3", 2);
    for (auth, tls) in [
        ("user", "tls off"),
        ("plain", "tls on\ntls_starttls on\ntls_certcheck off"),
        ("login", "tls on\ntls_starttls on\ntls_certcheck off"),
        ("scram-sha-1", "tls off"),
        ("scram-sha-256", "tls on\ntls_starttls off\ntls_certcheck off"),
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mail = make_maildir(directory.path());
        let port = server.port(if tls.contains("tls_starttls off") {
            "pop3s"
        } else {
            "pop3"
        });
        let rc = configuration(
            directory.path(),
            &format!(
                "account default\nhost 127.0.0.1\nport {port}\nuser user3@example.org\npassword {PASSWORD}\n\
                 auth {auth}\n{tls}\nkeep on\npipelining auto\nreceived_header off\nuidls_file {}\ndelivery maildir {}\n",
                directory.path().join("uidls").display(),
                mail.display()
            ),
        );
        let mut command = Command::new("mpop");
        succeed(command.arg("--quiet").arg("--file").arg(rc));
        assert_fetched(&maildir(&mail), 1..=2);
    }
    // A wrong password is refused by the mechanism that does not show it, too.
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rc = configuration(
        directory.path(),
        &format!(
            "account default\nhost 127.0.0.1\nport {}\nuser user3@example.org\npassword wrong\nauth scram-sha-256\n\
             tls off\ndelivery maildir {}\n",
            server.port("pop3"),
            make_maildir(directory.path()).display()
        ),
    );
    let mut command = Command::new("mpop");
    assert!(!common::run(command.arg("--file").arg(rc)).status.success());
}

#[test]
fn curl_lists_reads_and_deletes() {
    if !has_client("curl") {
        return;
    }
    let server = with_letters(&[], "user4", 2);
    let user = format!("user4@example.org:{PASSWORD}");
    let curl = |path: &str, options: &[&str]| {
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "30",
            "--user",
            &user,
        ]);
        command
            .args(options)
            .arg(format!("pop3://127.0.0.1:{}{path}", server.port("pop3")));
        String::from_utf8(succeed(&mut command)).expect("UTF-8")
    };
    let list = curl("/", &[]);
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(curl("/2", &["--ssl-reqd"]).ends_with(&letter(2)));
    let uidls = curl("/", &["--request", "UIDL"]);
    assert!(
        uidls.lines().all(|line| line.contains('.')) && uidls.lines().count() == 2,
        "{uidls}"
    );
    curl("/1", &["--request", "DELE", "--head"]);
    assert_eq!(inbox_count(&server, "user4"), 1);
}

#[test]
fn what_a_client_deletes_goes_where_the_operator_says() {
    let count_in = |server: &Server, mailbox: &str| {
        let mut imap = Imap::login(server, "user1");
        let status = imap
            .command(&format!("STATUS {mailbox} (MESSAGES)"))
            .ok()
            .concat();
        let digits: String = status.chars().filter(char::is_ascii_digit).collect();
        digits.parse::<usize>().expect("a number")
    };
    for (deletion, inbox, trash) in [("delete", 1, 0), ("trash", 1, 1), ("ignore", 2, 0)] {
        let server = with_letters(&["--pop3-deletion", deletion], "user1", 2);
        let mut pop3 = Pop3::login(&server, "user1");
        assert_code(&pop3.command("DELE 1"), "+OK");
        assert_code(&pop3.command("STAT"), "+OK 1 ");
        assert_code(&pop3.command("QUIT"), "+OK");
        assert_eq!(count_in(&server, "INBOX"), inbox, "{deletion}");
        assert_eq!(count_in(&server, "Trash"), trash, "{deletion}");
    }
}

/// An announcement, a message and its dot that leave apart cost a client three packets for each message.
#[test]
fn a_short_message_comes_in_one_packet_with_its_announcement() {
    let server = with_letters(&[], "user1", 1);
    let mut pop3 = Pop3::login(&server, "user1");
    let stuffed = letter(1).replace("\r\n.", "\r\n..");
    for _ in 0..10 {
        pop3.wire.send("RETR 1\r\n");
        let packet = String::from_utf8(pop3.wire.within(PATIENCE)).expect("ASCII");
        assert!(packet.starts_with("+OK"), "{packet}");
        assert!(packet.ends_with(&format!("{stuffed}.\r\n")), "{packet}");
    }
}

#[test]
fn messages_asked_for_in_one_go_come_in_order_and_from_a_cold_store_by_few_reads() {
    const COUNT: usize = 60;
    let data = tempfile::tempdir().expect("a directory");
    let before = Server::with_data(data.path());
    (1..=COUNT).for_each(|number| send(&before, "user1", number));
    assert!(before.terminate().success());
    let server = Server::with_data(data.path());
    let mut pop3 = Pop3::login(&server, "user1");
    let reads = || {
        let metrics = get(&server, "/metrics").1;
        sum(&metrics, "ringpost_disk_read_seconds_count", "")
            + sum(&metrics, "ringpost_page_cache_read_seconds_count", "")
    };
    let reads_before = reads();
    let all: String = (1..=COUNT).map(|number| format!("RETR {number}\r\n")).collect();
    pop3.wire.send(all);
    for number in 1..=COUNT {
        assert_code(&pop3.reply(), "+OK");
        let lines = pop3.lines();
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        assert!(text.ends_with(&letter(number)), "{number}: {text}");
    }
    let reads = reads() - reads_before;
    assert!(reads > 0.0 && reads <= 8.0, "{reads} reads for {COUNT} messages");
    // Backwards, here and there, and one that is not there.
    for number in [60, 3, 4, 5, 60, 1] {
        assert_code(&pop3.command(&format!("RETR {number}")), "+OK");
        assert!(pop3.lines().contains(&format!("last of {number}")), "{number}");
    }
    assert_code(&pop3.command("RETR 61"), "-ERR");
}

#[test]
fn capabilities_say_what_the_operator_decided_and_a_second_login_too_soon_is_refused() {
    let server = Server::with_arguments(&["--pop3-retention-days", "30", "--pop3-login-delay", "3600"]);
    let mut pop3 = Pop3::login(&server, "user5");
    assert_code(&pop3.command("CAPA"), "+OK");
    let capabilities = pop3.lines();
    for wanted in ["EXPIRE 30", "LOGIN-DELAY 3600", "UTF8 USER", "LANG"] {
        assert!(
            capabilities.contains(&wanted.to_owned()),
            "{wanted}: {capabilities:?}"
        );
    }
    let sasl = "SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN";
    assert!(capabilities.contains(&sasl.to_owned()), "{capabilities:?}");
    assert_code(&pop3.command("QUIT"), "+OK");
    let mut pop3 = Pop3::greeted(&server);
    assert_code(&pop3.command("USER user5@example.org"), "+OK");
    assert_code(&pop3.command(&format!("PASS {PASSWORD}")), "-ERR [LOGIN-DELAY]");
    Pop3::login(&server, "user6");
}
