//! Those who look after a host: what they may, what keeps them from locking themselves out, and what is written down of it.

mod common;

use common::site::Site;
use common::talk::Imap;

const ADMIN: &str = "admin@example.org";

fn done(site: &Site, arguments: &[&str]) -> String {
    let output = site.ask(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn refused(site: &Site, arguments: &[&str]) -> String {
    let output = site.ask(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn the_last_admin_is_not_disabled_nor_made_a_user_by_mistake() {
    let mut site = Site::new("");
    site.start();
    for arguments in [
        &["account", "disable", ADMIN][..],
        &["account", "set", ADMIN, "--admin", "false"],
        &["account", "delete", ADMIN],
        &["account", "password", ADMIN, "--none"],
    ] {
        let errors = refused(&site, arguments);
        // Aliases lead there too, which is said first of a deletion.
        assert!(errors.contains("--force"), "{arguments:?}: {errors}");
    }
    assert!(done(&site, &["account", "show", ADMIN]).contains("admin            true"));
    done(&site, &["account", "set", ADMIN, "--quota", "1G"]);
    done(&site, &["account", "disable", ADMIN, "--force"]);
    done(&site, &["account", "enable", ADMIN]);
    let other = "other@example.org";
    done(&site, &["account", "add", other, "--none", "--admin"]);
    // Who has no password cannot use the pages for admins.
    for arguments in [
        &["account", "set", ADMIN, "--admin", "false"][..],
        &["account", "password", ADMIN, "--none"],
    ] {
        let errors = refused(&site, arguments);
        assert!(errors.contains("the last admin"), "{arguments:?}: {errors}");
    }
    done(&site, &["account", "password", ADMIN, "--none", "--force"]);
    done(
        &site,
        &["account", "password", other, "--hash", "{PLAIN}swordfish"],
    );
    done(&site, &["account", "set", ADMIN, "--admin", "false"]);
}

#[test]
fn the_log_tells_who_changed_what_and_no_secret() {
    let mut site = Site::new("");
    site.start();
    done(
        &site,
        &[
            "account",
            "add",
            "bob@example.org",
            "--hash",
            "{PLAIN}swordfish",
            "--name",
            "Robert",
        ],
    );
    done(&site, &["account", "set", "bob@example.org", "--quota", "1G"]);
    done(&site, &["account", "list"]);
    refused(&site, &["account", "delete", "eve\n@example.org"]);
    let log = site.stop_for_log();
    let line = |words: &str| {
        let found = log.lines().find(|line| line.contains(words));
        found.unwrap_or_else(|| panic!("{words} is not in {log}"))
    };
    for words in [
        "order=\"account add bob@example.org: name\"",
        "order=\"account set bob@example.org: quota\"",
    ] {
        assert!(
            line(words).contains("carried out") && line(words).contains("by=\"uid "),
            "{log}"
        );
    }
    let told = line("account delete eve");
    assert!(
        told.contains("refused") && told.contains("why=") && told.contains("@example.org"),
        "{told}"
    );
    for secret in ["swordfish", "Robert", "account list"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

/// RFC 9208 §4.1.3, §3.1.1.
#[test]
fn setquota_is_for_those_who_may_set_limits_elsewhere_too() {
    let mut site = Site::new("");
    site.start();
    let add = |address: &str, more: &[&str]| {
        let arguments = [
            "account",
            "add",
            address,
            "--hash",
            "{PLAIN}swordfish",
            "--quota",
            "1G",
        ];
        done(&site, &[&arguments[..], more].concat());
    };
    add("root@example.org", &["--admin"]);
    add("keeper@example.org", &[]);
    add("bob@example.org", &[]);
    done(&site, &["domain", "admin", "example.org", "keeper@example.org"]);
    let login = |user: &str| {
        let mut imap = Imap::greeted(site.server());
        imap.command(&format!("LOGIN {user}@example.org swordfish")).ok();
        imap
    };
    for user in ["root", "keeper"] {
        let mut imap = login(user);
        let announced = imap.command("CAPABILITY").ok();
        assert!(
            announced[0].split(' ').any(|word| word == "QUOTASET"),
            "{announced:?}"
        );
        let set = imap.command("SETQUOTA \"\" (STORAGE 2048 MESSAGE 7)").ok();
        assert_eq!(set, ["* QUOTA \"\" (STORAGE 0 2048 MESSAGE 0 7 MAILBOX 6 4096)"]);
        // The directory has it: for a login to come, and for whoever looks there.
        let seen = login(user).command("GETQUOTA \"\"").ok();
        assert_eq!(seen, set);
        let shown = done(&site, &["account", "show", &format!("{user}@example.org")]);
        assert!(shown.contains("2097152") || shown.contains("2 MiB"), "{shown}");
        imap.command("SETQUOTA \"\" ()").ok();
        let seen = login(user).command("GETQUOTA \"\"").ok();
        assert_eq!(seen, ["* QUOTA \"\" (MAILBOX 6 4096)"]);
    }
    let mut bob = login("bob");
    let refused = bob.command("SETQUOTA \"\" (STORAGE 9999999)").outcome;
    assert!(refused.starts_with("NO [NOPERM]"), "{refused}");
    let seen = bob.command("GETQUOTA \"\"").ok();
    assert_eq!(seen, ["* QUOTA \"\" (STORAGE 0 1048576 MAILBOX 6 4096)"]);
    // Who may no more may no more, logged in or not.
    let mut keeper = login("keeper");
    done(
        &site,
        &["domain", "admin", "example.org", "keeper@example.org", "--remove"],
    );
    let refused = keeper.command("SETQUOTA \"\" (STORAGE 1)").outcome;
    assert!(refused.starts_with("NO [NOPERM]"), "{refused}");
    drop((login, bob, keeper));
    let log = site.stop_for_log();
    assert!(
        log.contains("order=\"account set keeper@example.org: quota\""),
        "{log}"
    );
    assert!(log.contains("keeper@example.org by IMAP"), "{log}");
}
