//! Mail that another server kept, brought in by `ringpost store import`: what POP3 called it there it is called here, for ever.

mod common;

use common::talk::{Imap, Pop3, Smtp};
use common::{Server, binary, demo, succeed};
use std::fs;
use std::path::Path;
use std::process::Command;

const ALICE: &str = "alice@example.org";
const VALIDITY: u32 = 1_600_000_000;

/// A Maildir as Dovecot keeps it: of four messages one has a UIDL of its own, one has one in our form, one none, and one no UID.
fn maildir(root: &Path) {
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(root.join(directory)).expect("room");
    }
    for name in ["1.a", "2.b", "3.c", "4.d"] {
        let text = format!("Subject: {name}\r\n\r\nold\r\n");
        fs::write(root.join(format!("cur/{name}:2,S")), text).expect("room");
    }
    let list = format!(
        "3 V{VALIDITY} N10 G0123456789abcdef\n3 PUID1-1234!~ W30 :1.a\n7 :2.b\n8 P{VALIDITY}.8 S28 :3.c:2,S\n9 Pgone :5.e\n"
    );
    fs::write(root.join("dovecot-uidlist"), list).expect("room");
}

fn import(data: &Path, from: &Path, more: &[&str]) -> String {
    let mut import = Command::new(binary());
    import.args(["store", "import"]).arg(data).arg("--from").arg(from);
    String::from_utf8(succeed(import.args(["--account", ALICE]).args(more))).expect("UTF-8")
}

fn uidls(server: &Server) -> Vec<String> {
    let mut pop3 = Pop3::login(server, "alice");
    let reply = pop3.command("UIDL");
    assert!(reply.starts_with("+OK"), "{reply}");
    let lines = pop3.lines();
    let of = |line: &String| line.split_once(' ').expect("a number before it").1.to_owned();
    lines.iter().map(of).collect()
}

fn start(data: &Path) -> Server {
    Server::run(demo(data))
}

#[test]
fn uidls_of_a_maildir_stay_and_are_never_given_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mail, data) = (directory.path().join("mail"), directory.path().join("data"));
    maildir(&mail);
    import(&data, &mail, &["--format", "maildir", "--uidl", "dovecot"]);
    let mut server = start(&data);
    let dovecot = |uid: u32| format!("{uid:08x}{VALIDITY:08x}");
    let mut known = vec![
        "UID1-1234!~".to_owned(),
        dovecot(7),
        format!("{VALIDITY}.8"),
        dovecot(10),
    ];
    assert_eq!(uidls(&server), known);
    let mut pop3 = Pop3::login(&server, "alice");
    assert_eq!(pop3.command("UIDL 1").trim_end(), "+OK 1 UID1-1234!~");
    // The last one and the first one go; others come, before and after a stop and a kill.
    for gone in [4, 1] {
        assert!(pop3.command(&format!("DELE {gone}")).starts_with("+OK"));
    }
    assert!(pop3.command("QUIT").starts_with("+OK"));
    for round in 0..3 {
        Smtp::hello(&server).deliver(ALICE, "Subject: new\r\n\r\nnew\r\n");
        known.push(format!("{VALIDITY}.{}", 11 + round));
        let expected: Vec<&String> = known[1..3].iter().chain(&known[4..]).collect();
        assert_eq!(uidls(&server).iter().collect::<Vec<_>>(), expected);
        match round {
            0 => assert!(server.terminate().success()),
            _ => server.kill(),
        }
        server = start(&data);
    }
    // They are nobody's business in IMAP, and of nobody's room there.
    let mut imap = Imap::login(&server, "alice");
    let told = imap
        .command("GETMETADATA (DEPTH infinity) INBOX (/private /shared)")
        .ok();
    assert!(!told.concat().to_ascii_lowercase().contains("uidl"), "{told:?}");
    for entry in ["pop3-uidl/dovecot", "/pop3-uidl/dovecot"] {
        let refused = imap.command(&format!("GETMETADATA INBOX {entry}"));
        assert!(refused.outcome.starts_with("BAD"), "{}", refused.outcome);
    }
}

#[test]
fn uidls_go_out_and_come_in_again_with_and_without_what_lies_beside() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name);
    maildir(&path("mail"));
    import(&path("data"), &path("mail"), &["--format", "maildir"]);
    let server = start(&path("data"));
    let known = uidls(&server);
    let own = |uid: u32| format!("{VALIDITY}.{uid}");
    assert_eq!(known, ["UID1-1234!~".to_owned(), own(7), own(8), own(10)]);
    assert!(server.terminate().success());
    for format in ["maildir", "mbox"] {
        let out = path(format);
        let mut export = Command::new(binary());
        export.args(["store", "export"]).arg(path("data"));
        succeed(
            export
                .args(["--account", ALICE, "--format", format, "--to"])
                .arg(&out),
        );
        for beside in ["with", "without"] {
            if beside == "without" {
                fs::remove_file(out.join("ringpost.json")).expect("it was beside");
            }
            let data = path(&format!("{format}-{beside}"));
            import(&data, &out, &["--format", format]);
            let server = start(&data);
            assert_eq!(uidls(&server), known, "{format} {beside}");
            assert!(server.terminate().success());
        }
    }
}

#[test]
fn a_uidl_that_could_name_two_messages_is_not_taken() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (mail, data) = (directory.path().join("mail"), directory.path().join("data"));
    fs::create_dir(&mail).expect("room");
    let long = "x".repeat(71);
    let mut text = String::new();
    // The third says what a later message will be called.
    for (uid, uidl) in [
        (1, "same"),
        (2, "same"),
        (3, "77.9"),
        (4, "two words"),
        (5, long.as_str()),
        (6, "fine"),
    ] {
        let base = if uid == 1 {
            "X-IMAPbase: 77 0000000008\n"
        } else {
            ""
        };
        text += &format!(
            "From a@b Thu Jan  1 00:00:00 1970\n{base}X-UID: {uid}\nFrom: a@b\nX-UIDL: {uidl}\n\nold\n\n"
        );
    }
    fs::write(mail.join("INBOX.mbox"), text).expect("room");
    let told = import(&data, &mail, &["--format", "mbox"]);
    assert!(told.contains("4 UIDLs cannot be kept"), "{told}");
    let server = start(&data);
    Smtp::hello(&server).deliver(ALICE, "Subject: new\r\n\r\nnew\r\n");
    assert_eq!(
        uidls(&server),
        ["same", "77.2", "77.3", "77.4", "77.5", "fine", "77.9"]
    );
}
