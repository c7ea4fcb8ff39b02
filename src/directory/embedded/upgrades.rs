//! Files of older versions: what is in them is there afterwards, and reached.

use super::tests::{add_account, database, done, show};
use super::*;
use crate::directory::orders::{AliasView, DomainView};
use crate::model::ClientProtocol;
use futures_executor::block_on;

fn opened(sql: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let old = Connection::open(directory.path().join(FILE_NAME)).expect("a new file");
    old.execute_batch(sql).expect("an old one");
    directory
}

fn domains(database: &mut Database) -> Vec<DomainView> {
    match database.perform(Order::DomainList) {
        Ok(Outcome::Domains(views)) => views,
        other => panic!("{other:?}"),
    }
}

fn aliases(database: &mut Database) -> Vec<AliasView> {
    let all = Order::AliasList {
        domain: None,
        limit: None,
    };
    match database.perform(all) {
        Ok(Outcome::Aliases(views)) => views,
        other => panic!("{other:?}"),
    }
}

/// Files as each older version wrote them, with something in every table: nothing of it is lost or means something else.
#[test]
fn a_file_of_every_older_version_is_brought_up_with_all_that_is_in_it() {
    let versions = [
        include_str!("../../../tests/fixtures/directory-v1.sql"),
        include_str!("../../../tests/fixtures/directory-v2.sql"),
        include_str!("../../../tests/fixtures/directory-v3.sql"),
        include_str!("../../../tests/fixtures/directory-v4.sql"),
    ];
    assert_eq!(
        i64::try_from(versions.len()),
        Ok(schema::VERSION - 1),
        "a fixture for the last version"
    );
    for (version, sql) in versions.into_iter().enumerate().map(|(at, sql)| (at + 1, sql)) {
        let directory = opened(sql);
        let mut database = Database::open(directory.path()).expect("it is brought up");
        let admin = show(&mut database, "admin@example.org");
        assert_eq!(admin.name.as_deref(), Some("An Admin"));
        assert!(
            admin.is_admin && admin.is_enabled && admin.has_totp,
            "version {version}"
        );
        let password = &admin.app_passwords[0];
        assert_eq!(
            (password.name.as_str(), password.last_used_at),
            ("phone", Some(1_700_000_009))
        );
        let bob = show(&mut database, "bob@example.org");
        assert!(!bob.is_enabled && !bob.has_totp && !bob.keeps_copy && !bob.takes_details);
        assert_eq!(
            (bob.quota_bytes, bob.retention_days),
            (Some(5_368_709_120), Some(30))
        );
        assert_eq!(
            (bob.forward.as_slice(), bob.administers.as_slice()),
            (
                &["admin@example.org".to_owned()][..],
                &["example.net".to_owned()][..],
            )
        );
        let domains = domains(&mut database);
        assert_eq!(domains.len(), 2);
        assert_eq!(domains[1].catch_all.as_deref(), Some("bob@example.org"));
        assert_eq!((domains[1].accounts, domains[1].keeps_scram), (2, true));
        let aliases = aliases(&mut database);
        assert_eq!(aliases[0].targets, ["admin@example.org", "bob@example.org"]);
        // The highest account that ever was had id 7.
        done(&mut database, add_account("new@example.org"));
        assert_eq!(show(&mut database, "new@example.org").id, 8);
        drop(database);
        let carol = Database::id_at_rest(directory.path(), "carol@example.org").expect("it is at rest");
        assert_eq!(carol, (version >= 3).then_some(AccountId(5)));
        let control = Control::start().expect("threads");
        let embedded = Embedded::start(directory.path(), control).expect("the file is good");
        let record = block_on(embedded.login("admin@example.org"));
        let record = record.expect("it answers").expect("the admin");
        let hashes: Vec<&str> = record.hashes.iter().map(PasswordHash::expose).collect();
        assert_eq!(hashes[0], "{PLAIN}first");
        assert!(hashes[1].starts_with("{SCRAM-SHA-256}"), "{hashes:?}");
        let secret = record.totp_secret.as_ref().map(PasswordHash::expose);
        assert_eq!(secret, Some("JBSWY3DPEHPK3PXP"));
        let app = &record.app_passwords[0];
        assert_eq!((app.id, app.hash.expose()), (3, "{PLAIN}app-one"));
        assert!(
            app.protocols.allows(ClientProtocol::Submission) && !app.protocols.allows(ClientProtocol::Pop3)
        );
    }
}

#[test]
fn a_file_of_a_newer_version_is_not_touched() {
    let (directory, database) = database();
    database
        .connection
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .expect("SQLite takes it");
    drop(database);
    let error = Database::open(directory.path()).expect_err("it is newer");
    assert!(error.to_string().contains("newer ringpost"), "{error}");
}

/// Both forms of one domain, made by a version that kept what was typed.
#[test]
fn international_domains_of_an_older_version_become_one_form_and_nobody_is_lost() {
    let directory = opened(include_str!(
        "../../../tests/fixtures/directory-v4-international.sql"
    ));
    let at_rest = |address: &str| {
        let found = Database::id_at_rest(directory.path(), address).expect("it is at rest");
        found.map(|id| id.0)
    };
    assert_eq!(at_rest("Jörg@Bücher.example"), Some(3), "before the upgrade");
    let mut connection = Connection::open(directory.path().join(FILE_NAME)).expect("the file");
    let told = schema::prepare(&mut connection).expect("it is brought up");
    assert_eq!(told.len(), 4, "{told:#?}");
    for (what, word) in told
        .iter()
        .zip(["same domain", "אa.example", "anna-2@", "aliases team@"])
    {
        assert!(what.contains(word), "{word}: {told:#?}");
    }
    assert_eq!(schema::prepare(&mut connection).expect("once more"), [""; 0]);
    let mut statement = connection
        .prepare("PRAGMA foreign_key_check")
        .expect("SQLite has it");
    assert!(!statement.exists([]).expect("it answers"), "a row leads nowhere");
    drop(statement);
    drop(connection);

    let mut database = Database::open(directory.path()).expect("it opens");
    let all = domains(&mut database);
    let names: Vec<&str> = all.iter().map(|view| view.domain.as_str()).collect();
    let (books, street) = ("xn--bcher-kva.example", "xn--strae-oqa.example");
    assert_eq!(names, ["example.org", books, street, "אa.example"]);
    assert_eq!(all[0].catch_all.as_deref(), Some("jörg@xn--bcher-kva.example"));
    assert_eq!(all[1].catch_all.as_deref(), Some("anna-2@xn--bcher-kva.example"));
    assert_eq!(
        (all[1].accounts, all[1].aliases, all[1].keeps_scram),
        (4, 1, false)
    );
    assert_eq!(all[1].admins, ["bob@example.org", "jörg@xn--bcher-kva.example"]);
    assert!(all[2].keeps_scram && all[2].admins == ["info@xn--strae-oqa.example"]);

    // Who the world reached keeps the address; the other one has another, and what it had.
    for (address, id) in [
        ("anna@xn--bcher-kva.example", 2),
        ("anna@BÜCHER.example", 2),
        ("anna-2@bücher.example", 1),
        ("jörg@bücher.example", 3),
        ("info@straße.example", 4),
        ("eva@xn--bcher-kva.example", 6),
    ] {
        assert_eq!(show(&mut database, address).id, id, "{address}");
    }
    assert_eq!(
        show(&mut database, "anna-2@bücher.example").app_passwords.len(),
        1
    );
    assert_eq!(
        show(&mut database, "bob@example.org").forward,
        ["info@xn--strae-oqa.example"]
    );
    let all: Vec<(String, String)> = aliases(&mut database)
        .into_iter()
        .map(|view| (view.address, view.targets.join(" ")))
        .collect();
    let both = "anna-2@xn--bcher-kva.example anna@xn--bcher-kva.example";
    let team = "anna-2@xn--bcher-kva.example bob@example.org jörg@xn--bcher-kva.example";
    assert_eq!(
        all,
        [
            ("bob2@example.org".to_owned(), both.to_owned()),
            ("team@xn--bcher-kva.example".to_owned(), team.to_owned())
        ]
    );
    drop(database);
    assert_eq!(at_rest("carol@bücher.example"), Some(20));
    let control = Control::start().expect("threads");
    let embedded = Embedded::start(directory.path(), control).expect("the file is good");
    let record = block_on(embedded.login("info@xn--strae-oqa.example"));
    let record = record.expect("it answers").expect("an account");
    assert_eq!(record.hashes.len(), 2, "its verifier is there still");
}
