//! Orders and what they make of the tables, and the running server's view of them.

use super::*;
use crate::directory::orders::{
    AccountSettings, AccountView, DomainSettings, Hash, NewAccount, NewAppPassword,
};
use crate::directory::{Backend, Directory, Verdict};
use crate::model::{AddrSpec, ClientProtocol, Domain, ForwardPath};
use futures_executor::block_on;

pub(super) fn database() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut database = Database::open(directory.path()).expect("a new file");
    done(&mut database, add_domain("example.org"));
    (directory, database)
}

pub(super) fn add_domain(domain: &str) -> Order {
    Order::DomainAdd {
        domain: domain.to_owned(),
        set: DomainSettings::default(),
    }
}

pub(super) fn add_account(address: &str) -> Order {
    Order::AccountAdd {
        account: new_account(address, AccountSettings::default()),
    }
}

pub(super) fn new_account(address: &str, set: AccountSettings) -> NewAccount {
    NewAccount {
        address: address.to_owned(),
        hashes: vec![Hash("{PLAIN}x".to_owned())],
        set,
        id: None,
    }
}

pub(super) fn add_alias(address: &str, targets: &[&str]) -> Order {
    Order::AliasAdd {
        address: address.to_owned(),
        targets: targets.iter().map(|&text| text.to_owned()).collect(),
    }
}

fn delete(address: &str, is_forced: bool) -> Order {
    Order::AccountDelete {
        address: address.to_owned(),
        is_forced,
    }
}

fn set_catch_all(domain: &str, address: &str) -> Order {
    Order::DomainSet {
        domain: domain.to_owned(),
        set: DomainSettings {
            catch_all: Some(address.to_owned()),
            ..DomainSettings::default()
        },
    }
}

pub(super) fn done(database: &mut Database, order: Order) {
    let outcome = database.perform(order.clone());
    assert_eq!(outcome, Ok(Outcome::Done), "{order:?}");
}

pub(super) fn refused(database: &mut Database, order: Order) -> String {
    match database.perform(order.clone()) {
        Err(OrderError::Refused(why)) => why,
        other => panic!("{order:?}: {other:?}"),
    }
}

pub(super) fn show(database: &mut Database, address: &str) -> AccountView {
    let order = Order::AccountShow {
        address: address.to_owned(),
    };
    match database.perform(order) {
        Ok(Outcome::Accounts(mut views)) if views.len() == 1 => views.remove(0),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_id_is_never_given_again() {
    let (_keep, mut database) = database();
    done(&mut database, add_account("a@example.org"));
    done(&mut database, add_account("b@example.org"));
    let last = show(&mut database, "b@example.org").id;
    done(&mut database, delete("B@example.org", false));
    done(&mut database, add_account("b@example.org"));
    assert_eq!(show(&mut database, "b@example.org").id, last + 1);
    let mut kept = new_account("c@example.org", AccountSettings::default());
    kept.id = Some(last);
    let why = refused(
        &mut database,
        Order::AccountAdd {
            account: kept.clone(),
        },
    );
    assert!(why.contains("given before"), "{why}");
    kept.id = Some(500);
    done(&mut database, Order::AccountAdd { account: kept });
    done(&mut database, add_account("d@example.org"));
    assert_eq!(show(&mut database, "d@example.org").id, 501);
}

#[test]
fn settings_are_kept_and_0_is_no_limit() {
    let (_keep, mut database) = database();
    done(&mut database, add_account("bob@example.org"));
    let set = AccountSettings {
        name: Some("Bob".to_owned()),
        is_enabled: Some(false),
        protocols: Some("imap".to_owned()),
        quota_bytes: Some(5 << 30),
        quota_messages: Some(10),
        pop3_deletion: Some("trash".to_owned()),
        retention_days: Some(30),
        keeps_copy: Some(false),
        takes_details: Some(false),
        forward: Some(vec!["bob@example.org".to_owned(), "X@Example.org".to_owned()]),
        is_admin: Some(true),
    };
    done(&mut database, add_account("alice@Example.ORG"));
    let order = Order::AccountSet {
        address: "alice@example.org".to_owned(),
        set,
        is_forced: false,
    };
    done(&mut database, order);
    let view = show(&mut database, "ALICE@example.org");
    assert_eq!(view.forward, ["bob@example.org", "x@example.org"]);
    assert_eq!((view.quota_bytes, view.quota_messages), (Some(5 << 30), Some(10)));
    assert_eq!(
        (view.pop3_deletion.as_str(), view.protocols.as_str()),
        ("trash", "imap")
    );
    assert!(!view.is_enabled && view.is_admin && !view.keeps_copy && !view.takes_details);
    let unlimited = AccountSettings {
        quota_bytes: Some(0),
        retention_days: Some(0),
        forward: Some(Vec::new()),
        ..AccountSettings::default()
    };
    let order = Order::AccountSet {
        address: "alice@example.org".to_owned(),
        set: unlimited,
        is_forced: false,
    };
    done(&mut database, order);
    let view = show(&mut database, "alice@example.org");
    assert_eq!((view.quota_bytes, view.retention_days), (None, None));
    assert_eq!(view.quota_messages, Some(10), "what is not said stays");
    assert!(view.forward.is_empty());
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (_keep, mut database) = database();
    done(&mut database, add_account("a@example.org"));
    done(&mut database, add_alias("team@example.org", &["a@example.org"]));
    let order = |address: &str, set| Order::AccountSet {
        address: address.to_owned(),
        set,
        is_forced: false,
    };
    let bad = |change: fn(&mut AccountSettings)| {
        let mut set = AccountSettings {
            name: Some("changed".to_owned()),
            ..AccountSettings::default()
        };
        change(&mut set);
        set
    };
    for (order, reason) in [
        (add_account("A@example.org"), "there already"),
        (add_account("team@example.org"), "there already"),
        (add_account("x@other.example"), "not a domain of this server"),
        (add_account("x"), "not a valid address"),
        (add_alias("a@example.org", &["a@example.org"]), "there already"),
        (add_alias("b@example.org", &[]), "at least one"),
        (add_alias("b@example.org", &["x@other.example"]), "nothing relays"),
        (add_alias("b@example.org", &["B@example.org"]), "itself"),
        (add_domain("example.org"), "there already"),
        (add_domain("[127.0.0.1]"), "literal"),
        (
            Order::DomainDelete {
                domain: "example.org".to_owned(),
            },
            "still has 1 accounts",
        ),
        (
            order(
                "a@example.org",
                bad(|s| s.protocols = Some("imap,smtp".to_owned())),
            ),
            "smtp",
        ),
        (
            order("a@example.org", bad(|s| s.pop3_deletion = Some("x".to_owned()))),
            "trash",
        ),
        (
            order("a@example.org", bad(|s| s.quota_bytes = Some(u64::MAX))),
            "2^63",
        ),
        (
            order(
                "a@example.org",
                bad(|s| s.forward = Some(vec!["x@other.example".to_owned()])),
            ),
            "nothing relays",
        ),
        (
            Order::AccountPassword {
                address: "a@example.org".to_owned(),
                hashes: vec![Hash("secret".to_owned())],
                is_forced: false,
            },
            "{SCHEME}",
        ),
        (
            order("nobody@example.org", AccountSettings::default()),
            "no account",
        ),
    ] {
        let why = refused(&mut database, order);
        assert!(why.contains(reason), "{why}");
    }
    assert_eq!(show(&mut database, "a@example.org").name, None);
}

#[test]
fn an_alias_or_a_catch_all_leads_to_somebody() {
    let (_keep, mut database) = database();
    done(&mut database, add_account("a@example.org"));
    let absent = "nobody at nobody@example.org: make it first";
    for targets in [
        &["a@example.org", "Nobody@example.org"][..],
        &["nobody@example.org"],
    ] {
        let why = refused(&mut database, add_alias("team@example.org", targets));
        assert!(why.contains(absent), "{why}");
    }
    done(
        &mut database,
        add_alias("team@example.org", &["A+lists@example.org"]),
    );
    done(
        &mut database,
        add_alias("all@example.org", &["team@example.org", "team+x@example.org"]),
    );
    let why = refused(
        &mut database,
        Order::AliasSet {
            address: "all@example.org".to_owned(),
            targets: vec!["nobody@example.org".to_owned()],
        },
    );
    assert!(why.contains(absent), "{why}");
    for target in ["nobody@example.org", "a+x@example.org"] {
        let why = refused(&mut database, set_catch_all("example.org", target));
        assert!(why.contains(&format!("nobody at {target}")), "{why}");
    }
    done(&mut database, set_catch_all("example.org", "all@example.org"));
    // Who is nobody by name gets mail by the catch-all now.
    done(&mut database, add_alias("x@example.org", &["nobody@example.org"]));
}

#[test]
fn what_others_lead_to_is_deleted_only_by_who_insists() {
    let (_keep, mut database) = database();
    done(&mut database, add_domain("second.example"));
    for address in ["a@example.org", "b@example.org", "c@example.org"] {
        done(&mut database, add_account(address));
    }
    done(&mut database, add_alias("team@example.org", &["a@example.org"]));
    done(&mut database, set_catch_all("second.example", "team@example.org"));
    let forward = |address: &str, target: &str| Order::AccountSet {
        address: address.to_owned(),
        set: AccountSettings {
            forward: Some(vec![target.to_owned()]),
            ..AccountSettings::default()
        },
        is_forced: false,
    };
    done(&mut database, forward("b@example.org", "a@example.org"));
    // To themselves: nobody misses it.
    done(&mut database, forward("c@example.org", "c@example.org"));
    let why = refused(&mut database, delete("A@example.org", false));
    assert!(
        why.contains("the alias team@example.org, the forwarding of b@example.org: ")
            && why.contains("--force"),
        "{why}"
    );
    let remove = |is_forced| Order::AliasDelete {
        address: "team@example.org".to_owned(),
        is_forced,
    };
    let why = refused(&mut database, remove(false));
    assert!(why.contains("the catch-all of second.example: "), "{why}");
    done(&mut database, delete("c@example.org", false));
    done(&mut database, delete("a@example.org", true));
    done(&mut database, remove(true));
}

#[test]
fn the_last_admin_goes_only_if_somebody_insists() {
    let (_keep, mut database) = database();
    let admin = |is_enabled| AccountSettings {
        is_admin: Some(true),
        is_enabled: Some(is_enabled),
        ..AccountSettings::default()
    };
    for (address, is_enabled) in [("a@example.org", true), ("off@example.org", false)] {
        let account = new_account(address, admin(is_enabled));
        done(&mut database, Order::AccountAdd { account });
    }
    done(&mut database, add_account("b@example.org"));
    let why = refused(&mut database, delete("a@example.org", false));
    assert!(why.contains("the last admin") && why.contains("--force"), "{why}");
    done(&mut database, delete("off@example.org", false));
    let set = |address: &str, set, is_forced| Order::AccountSet {
        address: address.to_owned(),
        set,
        is_forced,
    };
    let no_admin = AccountSettings {
        is_admin: Some(false),
        ..AccountSettings::default()
    };
    for lesser in [no_admin.clone(), admin(false)] {
        let why = refused(&mut database, set("a@example.org", lesser.clone(), false));
        assert!(why.contains("the last admin") && why.contains("--force"), "{why}");
        assert!(
            show(&mut database, "a@example.org").is_admin && show(&mut database, "a@example.org").is_enabled
        );
        done(&mut database, set("a@example.org", lesser, true));
        // Who is none cannot be the last one.
        done(&mut database, set("a@example.org", no_admin.clone(), false));
        done(&mut database, set("a@example.org", admin(true), false));
    }
    let password = |hashes: &[&str], is_forced| Order::AccountPassword {
        address: "a@example.org".to_owned(),
        hashes: hashes.iter().map(|&hash| Hash(hash.to_owned())).collect(),
        is_forced,
    };
    let why = refused(&mut database, password(&[], false));
    assert!(why.contains("the last admin") && why.contains("--force"), "{why}");
    done(&mut database, password(&["{PLAIN}another"], false));
    // One who cannot log in looks after nothing.
    let mut locked = new_account("locked@example.org", admin(true));
    locked.hashes.clear();
    done(&mut database, Order::AccountAdd { account: locked });
    refused(&mut database, password(&[], false));
    refused(&mut database, delete("a@example.org", false));
    done(&mut database, password(&[], true));
    done(&mut database, password(&["{PLAIN}another"], false));
    done(&mut database, set("b@example.org", admin(true), false));
    done(&mut database, password(&[], false));
    done(&mut database, password(&["{PLAIN}another"], false));
    done(&mut database, set("a@example.org", no_admin, false));
    done(&mut database, set("a@example.org", admin(true), false));
    done(&mut database, delete("a@example.org", false));
    done(&mut database, delete("b@example.org", true));
}

#[test]
fn a_domain_tells_how_many_are_in_it() {
    let (_directory, mut database) = database();
    done(&mut database, add_domain("example.net"));
    done(&mut database, add_account("alice@example.org"));
    let set = AccountSettings {
        name: Some("example.org".to_owned()),
        ..AccountSettings::default()
    };
    let account = new_account("bob@example.org", set);
    done(&mut database, Order::AccountAdd { account });
    done(&mut database, add_alias("team@example.org", &["bob@example.org"]));
    let Ok(Outcome::Domains(views)) = database.perform(Order::DomainList) else {
        panic!("a list of domains")
    };
    let counts: Vec<_> = views
        .iter()
        .map(|view| (view.domain.as_str(), view.accounts, view.aliases))
        .collect();
    assert_eq!(counts, [("example.net", 0, 0), ("example.org", 2, 1)]);
}

#[test]
fn an_import_is_all_or_nothing_and_tells_everything() {
    let (_keep, mut database) = database();
    done(&mut database, add_account("a@example.org"));
    let account = |address: &str| new_account(address, AccountSettings::default());
    let accounts = vec![
        account("b@example.org"),
        account("a@example.org"),
        account("c@elsewhere.example"),
    ];
    let why = refused(&mut database, Order::AccountImport { accounts });
    assert!(
        why.contains("a@example.org: ") && why.contains("c@elsewhere.example: "),
        "{why}"
    );
    let accounts = vec![account("b@example.org"), account("c@example.org")];
    let outcome = database.perform(Order::AccountImport { accounts });
    assert_eq!(outcome, Ok(Outcome::Imported(2)));
}

#[test]
fn a_name_is_short_and_shows_nothing_but_itself() {
    let (_keep, mut database) = database();
    for name in [
        "x".repeat(257),
        "Eve\u{1b}[2J".to_owned(),
        "two\nlines".to_owned(),
    ] {
        let set = AccountSettings {
            name: Some(name),
            ..AccountSettings::default()
        };
        let account = new_account("eve@example.org", set);
        let why = refused(&mut database, Order::AccountAdd { account });
        assert!(why.contains("256 octets"), "{why}");
    }
}

#[test]
fn the_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, _database) = database();
    let mode = |name: &str| {
        let metadata = std::fs::metadata(directory.path().join(name)).expect("it is there");
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(FILE_NAME), 0o600);
    assert_eq!(mode(&format!("{FILE_NAME}-wal")), 0o600);
}

fn path(text: &str) -> ForwardPath {
    ForwardPath::Address(AddrSpec::parse(text).expect("an address"))
}

#[test]
fn a_running_server_sees_a_change_when_the_order_is_answered() {
    let (directory, mut database) = database();
    done(&mut database, add_account("alice@example.org"));
    drop(database);
    let control = Control::start().expect("threads");
    let embedded = Embedded::start(directory.path(), control).expect("the file is good");
    let main = Domain::new("example.org").expect("a domain");
    let of_core = Directory::new(Backend::Source(Arc::new(embedded.clone())), main);
    let resolve = |text: &str| block_on(of_core.resolve(&path(text)));
    assert!(matches!(resolve("alice+x@example.org"), Verdict::Local(_)));
    assert_eq!(resolve("bob@example.org"), Verdict::UnknownUser);
    assert_eq!(resolve("bob@second.example"), Verdict::NotLocal);
    let order = |order| block_on(embedded.perform(order)).expect("it is carried out");
    order(add_account("bob@example.org"));
    assert!(matches!(resolve("bob@example.org"), Verdict::Local(_)));
    order(add_alias(
        "both@example.org",
        &["alice@example.org", "bob@example.org"],
    ));
    assert!(matches!(resolve("both@example.org"), Verdict::Local(both) if both.len() == 2));
    order(Order::AccountSet {
        address: "bob@example.org".to_owned(),
        set: AccountSettings {
            is_enabled: Some(false),
            ..AccountSettings::default()
        },
        is_forced: false,
    });
    assert_eq!(resolve("bob@example.org"), Verdict::Disabled);
    assert!(matches!(resolve("both@example.org"), Verdict::Local(both) if both.len() == 1));
    order(Order::DomainSet {
        domain: "example.org".to_owned(),
        set: DomainSettings {
            catch_all: Some("alice@example.org".to_owned()),
            ..DomainSettings::default()
        },
    });
    assert!(matches!(resolve("anybody@example.org"), Verdict::Local(_)));
}

#[test]
fn a_login_has_its_passwords_and_their_scopes() {
    let (directory, mut database) = database();
    done(&mut database, add_account("alice@example.org"));
    let password = NewAppPassword {
        name: "phone".to_owned(),
        hash: Hash("{PLAIN}y".to_owned()),
        protocols: "imap".to_owned(),
        expires_at: Some(7),
    };
    let order = Order::AppPasswordAdd {
        address: "alice@example.org".to_owned(),
        password,
    };
    done(&mut database, order.clone());
    assert!(refused(&mut database, order).contains("already"));
    let control = Control::start().expect("threads");
    let embedded = Embedded::start(directory.path(), control).expect("the file is good");
    let record = || {
        block_on(embedded.login("alice@example.org"))
            .expect("it answers")
            .expect("alice")
    };
    let app = record().app_passwords[0].clone();
    assert!(app.protocols.allows(ClientProtocol::Imap) && !app.protocols.allows(ClientProtocol::Pop3));
    assert_eq!(app.expires_at, Some(7));
    embedded.used_app_password(app.id, 1_000);
    embedded.rehash(
        "Alice@example.org",
        PasswordHash::new("{PLAIN}x"),
        PasswordHash::new("{NEW}z"),
    );
    // Behind them in the writer's queue.
    let nothing = AccountSettings::default();
    let order = Order::AccountSet {
        address: "alice@example.org".to_owned(),
        set: nothing,
        is_forced: false,
    };
    assert_eq!(block_on(embedded.perform(order)), Ok(Outcome::Done));
    let shown = block_on(embedded.perform(Order::AccountShow {
        address: "alice@example.org".to_owned(),
    }));
    let Ok(Outcome::Accounts(views)) = shown else {
        panic!("{shown:?}")
    };
    assert_eq!(views[0].app_passwords[0].last_used_at, Some(1_000));
    assert_eq!(views[0].password_scheme.as_deref(), Some("NEW"));
}

#[test]
fn a_damaged_file_is_unavailable_and_no_answer() {
    let (directory, mut database) = database();
    done(&mut database, add_account("alice@example.org"));
    database
        .connection
        .execute("UPDATE account SET protocols = 'telnet'", [])
        .expect("SQLite takes it");
    drop(database);
    let control = Control::start().expect("threads");
    let embedded = Embedded::start(directory.path(), control).expect("the file opens");
    assert_eq!(block_on(embedded.address("alice@example.org")), Err(Unavailable));
    assert!(matches!(block_on(embedded.address("bob@example.org")), Ok(None)));
}
