//! Those who look after a host: what they may, what keeps them from locking themselves out, and what is written down of it.

mod common;

use common::site::Site;

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
