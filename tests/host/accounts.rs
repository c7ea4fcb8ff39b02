//! Who is on the host: accounts, aliases, app passwords and quotas, changed while the server runs and while it does not.

use crate::common::site::Site;
use crate::common::{has_client, succeed, wait_until};
use crate::users::{PASSWORD, Users as _, assert_done, text};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn accounts_change_in_a_running_server_at_once() {
    if !has_client("curl") {
        return;
    }
    let host = Site::started();
    let bob = "bob@example.org";
    assert!(text(&host.send(bob, "early")).contains("550 5.1.1"));
    host.order(&["account", "add", bob, "--stdin", "--quota", "1G"]);
    assert_done(&host.send(bob, "first"));
    let read = host.read(bob, PASSWORD);
    assert!(text(&read).contains("first"), "{}", text(&read));

    host.order(&["alias", "add", "team@example.org", bob, "admin@example.org"]);
    assert_done(&host.send("team@example.org", "for all"));
    wait_until("the admin has the mail for the team", || {
        text(&host.read("admin@example.org", host.admin_password())).contains("for all")
    });
    assert_done(&host.send("postmaster@example.org", "for the postmaster"));

    let output = host.ask_with(&["account", "password", bob, "--stdin"], "another password\n");
    assert_done(&output);
    assert!(
        !host.read(bob, PASSWORD).status.success(),
        "the old password was remembered"
    );
    assert_done(&host.read(bob, "another password"));

    host.order(&["account", "disable", bob]);
    assert!(text(&host.send(bob, "late")).contains("550 5.2.1"));
    assert!(!host.read(bob, "another password").status.success());
    host.order(&["account", "enable", bob]);
    assert_done(&host.read(bob, "another password"));

    host.order(&["account", "set", bob, "--protocols", "pop3"]);
    assert!(!host.read(bob, "another password").status.success());
    let errors = host.refused(&["account", "delete", bob], 1);
    assert!(errors.contains("the alias team@example.org"), "{errors}");
    host.order(&["alias", "add", "bob.b@example.org", bob]);
    host.order(&["account", "delete", bob, "--force"]);
    assert!(text(&host.send(bob, "too late")).contains("550 5.1.1"));
    assert!(text(&host.send("bob.b@example.org", "too late")).contains("550 5.1.1"));
    assert_done(&host.send("team@example.org", "for who is left"));

    let listed = host.order(&["account", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let shown: serde_json::Value =
        serde_json::from_str(&host.order(&["account", "list", "--json"])).expect("JSON");
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    assert_eq!(shown[0]["address"], "admin@example.org");
}

#[test]
fn an_app_password_opens_what_it_is_for() {
    if !has_client("curl") {
        return;
    }
    let host = Site::started();
    let admin = "admin@example.org";
    assert_done(&host.send(admin, "hello"));
    let password = host.order(&[
        "account",
        "app-password-add",
        admin,
        "phone",
        "--protocols",
        "imap",
    ]);
    assert_done(&host.read(admin, password.trim()));
    let shown = host.order(&["account", "show", admin]);
    assert!(shown.contains("phone (imap)"), "{shown}");
    assert!(!shown.contains(password.trim()));
    let other = host.order(&["account", "app-password-add", admin, "old", "--protocols", "pop3"]);
    assert!(!host.read(admin, other.trim()).status.success());
    host.order(&["account", "app-password-delete", admin, "phone"]);
    assert!(!host.read(admin, password.trim()).status.success());
}

#[test]
fn commands_work_on_a_stopped_server_and_say_what_is_wrong() {
    let host = Site::plain();
    host.order(&["account", "add", "bob@example.org", "--stdin"]);
    for (arguments, reason) in [
        (
            vec!["account", "add", "bob@example.org", "--none"],
            "there already",
        ),
        (
            vec!["account", "add", "x@elsewhere.example", "--none"],
            "ringpost domain add",
        ),
        (
            vec!["alias", "add", "a@example.org", "x@elsewhere.example"],
            "nothing relays",
        ),
        (
            vec!["alias", "add", "a@example.org", "nobody@example.org"],
            "ringpost account add nobody@example.org",
        ),
        (
            vec![
                "domain",
                "set",
                "example.org",
                "--catch-all",
                "nobody@example.org",
            ],
            "ringpost account add nobody@example.org",
        ),
        (
            vec!["account", "delete", "admin@example.org"],
            "still gets the mail",
        ),
        (vec!["account", "show", "nobody@example.org"], "no account"),
        (vec!["domain", "delete", "example.org"], "still has 2 accounts"),
    ] {
        let errors = host.refused(&arguments, 1);
        assert!(errors.contains(reason), "{errors}");
    }
    for (arguments, reason) in [
        (
            vec!["account", "add", "c@example.org", "--hash", "{ROT13}x"],
            "no scheme is known",
        ),
        (
            vec!["account", "add", "c@example.org", "--quota", "much", "--none"],
            "a size such as",
        ),
    ] {
        let errors = host.refused(&arguments, 2);
        assert!(errors.contains(reason), "{errors}");
    }
    let short = host.ask_with(&["account", "password", "bob@example.org", "--stdin"], "short\n");
    assert_eq!(short.status.code(), Some(2));
    let accounts = host.directory.path().join("users");
    fs::write(&accounts, "carol:{PLAIN}secret secret::::::\nbad line\n").expect("a file");
    let import = [
        "account",
        "import",
        accounts.to_str().expect("UTF-8"),
        "--domain",
        "example.org",
    ];
    assert!(
        host.refused(&import, 2).contains("users:2"),
        "every line is looked at"
    );
    fs::write(&accounts, "carol:{PLAIN}secret secret::::::\n").expect("a file");
    assert!(host.order(&import).contains("1 accounts"));
    let errors = host.refused(&["reload"], 2);
    assert!(errors.contains("no server runs"), "{errors}");
}

#[test]
fn an_owner_is_told_once_that_the_mailbox_gets_full_and_again_after_it_was_emptied() {
    if !has_client("curl") {
        return;
    }
    let mut host = Site::started();
    host.ask_with(
        &[
            "account",
            "add",
            "bob@example.org",
            "--stdin",
            "--quota",
            "100 KiB",
        ],
        &format!("{PASSWORD}\n"),
    );
    let curl = |host: &Site, path: &str, command: Option<&str>, upload: Option<&Path>| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "20"]);
        curl.args(["--user", &format!("bob@example.org:{PASSWORD}")]);
        if let Some(command) = command {
            curl.args(["--request", command]);
        }
        if let Some(file) = upload {
            curl.arg("--upload-file").arg(file);
        }
        curl.arg(format!("imaps://127.0.0.1:{}/{path}", host.port("imaps")));
        String::from_utf8_lossy(&succeed(&mut curl)).into_owned()
    };
    let letter = |kib: usize| {
        let path = host.directory.path().join(format!("{kib}"));
        fs::write(&path, format!("Subject: x\r\n\r\n{}\r\n", "x".repeat(kib * 1024))).expect("it is ours");
        path
    };
    let (large, small) = (letter(78), letter(4));
    let told = |host: &Site| {
        let found = curl(host, "INBOX", Some("SEARCH SUBJECT \"full\""), None);
        found
            .split_whitespace()
            .filter(|word| word.parse::<u32>().is_ok())
            .count()
    };
    curl(&host, "INBOX", None, Some(&large));
    assert_eq!(told(&host), 0);
    curl(&host, "INBOX", None, Some(&small));
    wait_until("the owner is told of 80 %", || told(&host) == 1);
    curl(&host, "INBOX", None, Some(&small));
    // Not again, for being above it: not now, and not after a restart.
    assert!(host.take_server().terminate().success());
    host.start();
    curl(&host, "INBOX", None, Some(&small));
    curl(&host, "INBOX", None, Some(&small));
    assert_eq!(told(&host), 1);
    curl(&host, "INBOX", None, Some(&small));
    wait_until("the owner is told of 95 %", || told(&host) == 2);
    curl(&host, "INBOX", Some("STORE 1 +FLAGS.SILENT (\\Deleted)"), None);
    curl(&host, "INBOX", Some("EXPUNGE"), None);
    curl(&host, "INBOX", None, Some(&large));
    wait_until("the owner is told again", || told(&host) == 3);
}
