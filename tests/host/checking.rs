//! `ringpost check` tells everything at once, and changes nothing.

use crate::common::site::Site;
use crate::users::Users as _;
use std::fs;

#[test]
fn a_bad_configuration_is_told_whole_and_starts_nothing() {
    let host = Site::plain();
    assert!(host.order(&["check"]).contains("good"));
    host.edit(
        "hostname = \"mail.example.org\"",
        "hostnme = \"mail.example.org\"",
    );
    host.edit("# cores = 0", "cores = \"many\"");
    for command in ["check", "serve"] {
        let errors = host.refused(&[command], 2);
        assert!(errors.starts_with("ringpost: 3 problems"), "{errors}");
        for part in [
            "ringpost.toml:",
            "did you mean server.hostname?",
            "server.cores: found \"many\"",
            "server.hostname: found nothing",
        ] {
            assert!(errors.contains(part), "{part} in {errors}");
        }
    }
    fs::write(host.config(), [0xff, 0xfe, 0]).expect("a file");
    assert!(host.refused(&["check"], 2).contains("not UTF-8"));
    fs::remove_file(host.config()).expect("it is ours");
    assert!(host.refused(&["serve"], 2).contains("ringpost init"));
}

#[test]
fn check_looks_at_what_the_file_names() {
    let host = Site::plain();
    fs::write(host.data().join("tls/default.key"), "no key").expect("it is ours");
    let errors = host.refused(&["check"], 2);
    assert!(
        errors.contains("default.crt") && errors.contains("private key"),
        "{errors}"
    );
    let errors = host.refused(&["serve"], 2);
    assert!(errors.contains("private key"), "{errors}");
}

#[test]
fn check_tells_every_problem_of_what_the_file_names_with_its_line() {
    let host = Site::plain();
    let mut text = fs::read_to_string(host.config()).expect("init wrote it");
    text.push_str(
        "\n[tls.certificate.endless]\nchain = \"/dev/zero\"\nkey = \"/dev/zero\"\n\
         [tls.certificate.other]\nchain = \"data/tls/default.crt\"\nkey = \"data/dkim/example.org.rsa1.key\"\n",
    );
    let text = text
        .replace("# issuer = \"\"", "issuer = \"https://login.example.org\"")
        .replace("# audience = \"\"", "audience = \"us\"")
        .replace("# client_secret_file = \"\"", "client_secret_file = \"nowhere\"")
        .replace("domain = \"example.org\"", "domain = \"example.net\"")
        .replace("# message_limit = 0", "message_limit = -1");
    fs::write(host.config(), &text).expect("it is ours");
    let errors = host.refused(&["check"], 2);
    assert!(errors.starts_with("ringpost: 5 problems"), "{errors}");
    for (key, line, why) in [
        (
            "server.domain",
            "domain = \"example.net\"",
            "not a domain of this server",
        ),
        (
            "oauth.client_secret_file",
            "client_secret_file = \"nowhere\"",
            "No such file",
        ),
        ("imap.message_limit", "message_limit = -1", "a number from 0"),
        (
            "tls.certificate.endless.chain",
            "chain = \"/dev/zero\"",
            "not a regular file",
        ),
        (
            "tls.certificate.other.chain",
            "chain = \"data/tls/default.crt\"",
            "belongs to another certificate",
        ),
    ] {
        let at = 1 + text.lines().position(|one| one == line).expect("it stands there");
        let start = format!("ringpost.toml:{at}: {key}: found ");
        let told = errors.lines().find(|told| told.contains(&start));
        assert!(told.is_some_and(|told| told.contains(why)), "{start} in {errors}");
    }
}

#[test]
fn check_leaves_a_directory_of_an_older_version_as_it_is() {
    let host = Site::plain();
    let file = host.data().join("directory.sqlite");
    let database = || rusqlite::Connection::open(&file).expect("init made it");
    let version = |database: &rusqlite::Connection| -> i64 {
        let asked = database.pragma_query_value(None, "user_version", |row| row.get(0));
        asked.expect("it says its version")
    };
    let older = database();
    let newest = version(&older);
    older
        .pragma_update(None, "user_version", newest - 1)
        .expect("it is ours");
    let told = |is_open: bool| {
        let told = host.order(&["check"]);
        assert!(
            told.contains("note: ") && told.contains("`ringpost serve`"),
            "{is_open} {told}"
        );
        assert!(told.contains(": good"), "{is_open} {told}");
    };
    // While another has it open, as an older server would, and at rest.
    told(true);
    drop(older);
    told(false);
    assert_eq!(version(&database()), newest - 1);
    // Whoever serves makes it the newest.
    let mut host = host;
    host.start();
    drop(host.take_server());
    assert_eq!(version(&database()), newest);
    assert!(!host.order(&["check"]).contains("note: "));
}
