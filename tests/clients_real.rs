//! Other people's clients against the whole program: what they send comes back, and what they do shows.
//!
//! Python's own mail libraries are driven by the scripts in `clients/`; each test names the claim, the script holds it.

mod common;

use common::scripts::{has_node_module, has_python_module, run_node, run_python};
use common::talk::{self, await_inbox, without_recent};
use common::{PASSWORD, Server, assert_body, has_client, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn what_smtplib_sends_is_read_back_byte_for_byte() {
    run_python("smtp_roundtrip", &Server::start());
}

#[test]
fn mail_goes_in_and_out_over_starttls_and_implicit_tls() {
    run_python("tls", &Server::start());
}

#[test]
fn imaplib_finds_every_command_working() {
    run_python("imap_tour", &Server::start());
}

#[test]
fn two_clients_see_each_others_changes_and_idle_is_told_of_mail() {
    run_python("imap_two_clients", &Server::start());
}

#[test]
fn imapclient_does_a_days_work() {
    if has_python_module("imapclient") {
        run_python("imapclient_job", &Server::start());
    }
}

#[test]
fn aioimaplib_is_pushed_new_mail() {
    if has_python_module("aioimaplib") {
        run_python("aioimaplib_job", &Server::start());
    }
}

#[test]
fn offlineimap_keeps_a_maildir_in_step_both_ways() {
    if has_client("offlineimap") {
        run_python("offlineimap", &Server::start());
    }
}

#[test]
fn poplib_deletes_only_at_quit_and_for_imap_too() {
    run_python("pop3_tour", &Server::start());
}

#[test]
fn mutt_reads_a_mailbox() {
    if has_client("mutt") {
        run_python("mutt", &Server::start());
    }
}

const LETTER: &str =
    "From: me@example.net\r\nSubject: by curl\r\n\r\nFirst line.\r\n.dotted\r\nLast line.\r\n";

fn curl() -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "30"]);
    command
}

#[test]
fn curl_sends_over_smtp_and_fetches_over_imap_and_pop3() {
    if !has_client("curl") {
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let letter = directory.path().join("letter");
    fs::write(&letter, LETTER).expect("a file of the test's own");
    for tls in [&[][..], &["--ssl-reqd"]] {
        let mut command = curl();
        command.args(tls).arg(format!(
            "smtp://127.0.0.1:{}/client.example.net",
            server.port("smtp")
        ));
        command.args([
            "--mail-from",
            "me@example.net",
            "--mail-rcpt",
            "alice@example.org",
            "--upload-file",
        ]);
        succeed(command.arg(&letter));
    }
    let user = format!("alice@example.org:{PASSWORD}");
    let places = [
        ("imap", "/INBOX;MAILINDEX=1", ""),
        ("imap", "/INBOX;MAILINDEX=2", "--ssl-reqd"),
        ("imaps", "/INBOX;MAILINDEX=2", ""),
        ("pop3", "/1", ""),
        ("pop3", "/2", "--ssl-reqd"),
        ("pop3s", "/2", ""),
    ];
    for (scheme, path, option) in places {
        let url = format!("{scheme}://127.0.0.1:{}{path}", server.port(scheme));
        let mut command = curl();
        command
            .args(["--user", &user])
            .arg(&url)
            .args(Some(option).filter(|option| !option.is_empty()));
        assert_body(&succeed(&mut command), LETTER.as_bytes());
    }
}

#[test]
fn curl_appends_and_searches_over_imap() {
    if !has_client("curl") {
        return;
    }
    let server = Server::start();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let letter = directory.path().join("letter");
    fs::write(&letter, LETTER).expect("a file of the test's own");
    let base = format!("imap://127.0.0.1:{}", server.port("imap"));
    let user = format!("bob@example.org:{PASSWORD}");
    succeed(
        curl()
            .args(["--user", &user, "--upload-file"])
            .arg(&letter)
            .arg(format!("{base}/INBOX")),
    );
    let found = succeed(
        curl()
            .args(["--user", &user])
            .arg(format!("{base}/INBOX?SUBJECT%20curl")),
    );
    assert_eq!(String::from_utf8_lossy(&found).trim(), "* SEARCH 1");
    let text = succeed(
        curl()
            .args(["--user", &user])
            .arg(format!("{base}/INBOX;MAILINDEX=1")),
    );
    assert_eq!(String::from_utf8_lossy(&text), LETTER);
}

#[test]
fn swaks_delivers_in_clear_and_over_starttls() {
    if !has_client("swaks") {
        return;
    }
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port("smtp"));
    for tls in [None, Some("--tls")] {
        let mut command = Command::new("swaks");
        command.args([
            "--server",
            &address,
            "--from",
            "me@example.net",
            "--body",
            "hello",
        ]);
        command.args([
            "--to",
            "user2@example.org,user3@example.org",
            "--timeout",
            "30",
            "--pipeline",
        ]);
        succeed(command.args(tls));
    }
    // One address of several is unknown: the others get it, and swaks says which was refused.
    let mut command = Command::new("swaks");
    command.args([
        "--server",
        &address,
        "--from",
        "me@example.net",
        "--timeout",
        "30",
    ]);
    let output = common::run(command.args(["--to", "user2@example.org,nobody@example.org"]));
    assert!(String::from_utf8_lossy(&output.stdout).contains("<** 550"));
    await_inbox(&server, "user2", 3);
    await_inbox(&server, "user3", 2);
}

#[test]
fn neomutt_flags_moves_deletes_and_comes_back_by_qresync() {
    if has_client("neomutt") {
        run_python("neomutt", &Server::start());
    }
}

#[test]
fn thunderbirds_dialogue_works_from_login_to_logout() {
    run_python("thunderbird", &Server::start());
}

#[test]
fn imapflow_does_a_days_work_and_is_pushed_changes() {
    if has_node_module("imapflow") {
        run_node("imapflow_job", &Server::start());
    }
}

/// A Maildir that mbsync keeps in step with an account.
struct Mirror {
    directory: tempfile::TempDir,
}

impl Mirror {
    fn new(server: &Server, user: &str) -> Mirror {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path().display();
        let settings = format!(
            "IMAPAccount server\nHost 127.0.0.1\nPort {}\nUser {user}@example.org\nPass {PASSWORD}\n\
             SSLType None\nAuthMechs LOGIN\n\nIMAPStore far\nAccount server\n\n\
             MaildirStore near\nPath {root}/mail/\nInbox {root}/mail/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
            server.port("imap")
        );
        fs::create_dir(directory.path().join("mail")).expect("a directory of the test's own");
        fs::write(directory.path().join("mbsyncrc"), settings).expect("a file of the test's own");
        Mirror { directory }
    }

    fn sync(&self) {
        let settings = self.directory.path().join("mbsyncrc");
        succeed(Command::new("mbsync").arg("--config").arg(settings).arg("--all"));
    }

    fn mailbox(&self, name: &str) -> PathBuf {
        self.directory.path().join("mail").join(name)
    }

    /// The message whose text contains `part`.
    fn find(&self, mailbox: &str, part: &str) -> Option<PathBuf> {
        let files = ["cur", "new"]
            .iter()
            .flat_map(|place| entries(&self.mailbox(mailbox).join(place)));
        let mut matching =
            files.filter(|file| String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).contains(part));
        matching.next()
    }

    /// Gives a message Maildir flags (letters in order), moving it to `cur`.
    fn flag(&self, mailbox: &str, part: &str, flags: &str) {
        let file = self
            .find(mailbox, part)
            .unwrap_or_else(|| panic!("no message with {part}"));
        let name = file.file_name().expect("a file").to_string_lossy().into_owned();
        let base = name.split(":2,").next().unwrap_or_default();
        let to = self
            .mailbox(mailbox)
            .join("cur")
            .join(format!("{base}:2,{flags}"));
        fs::rename(file, to).expect("a rename inside the mirror");
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn mbsync_keeps_a_maildir_in_step_both_ways() {
    if !has_client("mbsync") {
        return;
    }
    let server = Server::start();
    for number in 1..=4 {
        talk::deliver(
            &server,
            "user1@example.org",
            &format!("Subject: number {number}\r\n\r\ntext {number}\r\n"),
        );
    }
    let mirror = Mirror::new(&server, "user1");
    mirror.sync();
    assert!((1..=4).all(|number| mirror.find("INBOX", &format!("text {number}")).is_some()));

    // Changes on both sides at once.
    let mut imap = talk::Imap::inbox(&server, "user1");
    imap.command("STORE 1 +FLAGS (\\Flagged)").ok();
    imap.command("CREATE Kept").ok();
    imap.command("COPY 2 Kept").ok();
    imap.command("STORE 2 +FLAGS (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    talk::deliver(
        &server,
        "user1@example.org",
        "Subject: number 5\r\n\r\ntext 5\r\n",
    );
    mirror.flag("INBOX", "text 3", "RS");
    mirror.flag("INBOX", "text 4", "ST");
    let draft = mirror.mailbox("INBOX").join("cur/1700000000.here.example:2,S");
    fs::write(draft, "Subject: written here\n\ntext of mine\n").expect("a file in the mirror");
    mirror.sync();

    let flagged = mirror.find("INBOX", "text 1").expect("message 1");
    assert!(flagged.to_string_lossy().ends_with(":2,F"), "{flagged:?}");
    assert_eq!(mirror.find("INBOX", "text 2"), None);
    assert!(mirror.find("Kept", "text 2").is_some());
    assert!(mirror.find("INBOX", "text 5").is_some());
    assert_eq!(mirror.find("INBOX", "text 4"), None);
    imap.command("NOOP").ok();
    let seen = imap.command("SEARCH ANSWERED SEEN BODY \"text 3\"").ok();
    assert!(seen.contains(&"* SEARCH 2".to_owned()), "{seen:?}");
    let gone = imap.command("SEARCH BODY \"text 4\"").ok();
    assert!(gone.contains(&"* SEARCH".to_owned()), "{gone:?}");
    let mine = imap.command("SEARCH SEEN BODY \"text of mine\"").ok();
    assert!(mine.iter().any(|line| line.starts_with("* SEARCH ")), "{mine:?}");
    assert_eq!(imap.inbox_count(), 4);

    // Nothing is left to do: a third run changes neither side.
    let before: Vec<PathBuf> = entries(&mirror.mailbox("INBOX").join("cur"));
    mirror.sync();
    assert_eq!(entries(&mirror.mailbox("INBOX").join("cur")).len(), before.len());
    assert_eq!(imap.inbox_count(), 4);
}

#[test]
fn mbsync_carries_folders_with_utf8_names_both_ways_and_deletes_them() {
    if !has_client("mbsync") {
        return;
    }
    // "Entwürfe" and "日本" as IMAP4rev1 writes them (RFC 3501 §5.1.3); mbsync keeps names as they come.
    const FAR: &str = "Entw&APw-rfe";
    const NEAR: &str = "&ZeVnLA-";
    let server = Server::start();
    let mut imap = talk::Imap::login(&server, "user2");
    imap.command(&format!("CREATE {FAR}")).ok();
    imap.command(&format!(
        "APPEND {FAR} (\\Draft) {{21+}}\r\nSubject: far\r\n\r\nfar\r\n"
    ))
    .ok();
    let mirror = Mirror::new(&server, "user2");
    let made = mirror.mailbox(NEAR);
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(made.join(part)).expect("a directory in the mirror");
    }
    fs::write(made.join("cur/1700000000.1.here:2,FS"), "Subject: near\n\nnear\n")
        .expect("a file in the mirror");
    mirror.sync();

    let far = mirror.find(FAR, "far").expect("the folder came with its message");
    assert!(far.to_string_lossy().ends_with(":2,D"), "{far:?}");
    imap.command(&format!("SELECT {NEAR}")).ok();
    let flags = without_recent(imap.command("FETCH 1 (FLAGS BODY.PEEK[TEXT])").ok());
    assert_eq!(flags.len(), 1, "{flags:?}");
    assert!(flags[0].contains("\\Flagged") && flags[0].contains("\\Seen") && flags[0].contains("near\r\n"));
    // As text it is what its maker meant.
    imap.command("ENABLE UTF8=ACCEPT").ok();
    let listed = imap.command("LIST \"\" \"*\"").ok().join("\n");
    assert!(listed.contains("Entwürfe") && listed.contains("日本"), "{listed}");

    // Deleted on one side each, mail at the same time on the other folder.
    imap.command("STORE 1 +FLAGS (\\Deleted)").ok();
    imap.command("EXPUNGE").ok();
    mirror.flag(FAR, "far", "DST");
    mirror.sync();
    assert_eq!(mirror.find(NEAR, "near"), None);
    assert_eq!(mirror.find(FAR, "far"), None);
    let status = imap.command("STATUS \"Entwürfe\" (MESSAGES)").ok();
    assert_eq!(status, ["* STATUS \"Entwürfe\" (MESSAGES 0)"]);
}
