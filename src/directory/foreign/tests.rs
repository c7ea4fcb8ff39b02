//! What lies between somebody else's directory and ours, with tables of the test's own.

use super::*;
use crate::model::{AccountId, AddrSpec};
use futures::executor::block_on;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Accounts by address, with a key each; `failing` is what all questions hear.
#[derive(Default)]
struct Scripted {
    accounts: HashMap<&'static str, &'static str>,
    aliases: HashMap<&'static str, &'static str>,
    failing: Mutex<Option<Failure>>,
    hangs: std::sync::atomic::AtomicBool,
    asked: AtomicUsize,
}

impl Scripted {
    fn answer<T: Send + 'static>(&self, answer: T) -> Fetching<'static, T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        let failing = self.failing.lock().clone();
        Box::pin(std::future::ready(failing.map_or(Ok(answer), Err)))
    }

    fn row(&self, address: &str) -> Option<Row> {
        let mut row = Row::default();
        row.add("id", vec![(*self.accounts.get(address)?).to_owned()]);
        Some(row)
    }
}

impl Tables for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn domain<'a>(&'a self, _: &'a str) -> Fetching<'a, Option<Row>> {
        self.answer(Some(Row::default()))
    }
    fn account<'a>(&'a self, address: &'a str) -> Fetching<'a, Option<Row>> {
        self.answer(self.row(address))
    }
    fn alias<'a>(&'a self, address: &'a str) -> Fetching<'a, Vec<Row>> {
        let target = self.aliases.get(address).map(|target| {
            let mut row = Row::default();
            row.add(row::TARGET, vec![(*target).to_owned()]);
            row
        });
        self.answer(target.into_iter().collect())
    }
    fn login<'a>(&'a self, login: &'a str) -> Fetching<'a, Option<(Row, Option<Arc<str>>)>> {
        self.answer(self.row(login).map(|row| (row, Some(Arc::from("dn")))))
    }
    fn check_password<'a>(&'a self, _: &'a str, password: &'a [u8]) -> Fetching<'a, bool> {
        self.answer(password != b"wrong")
    }
    fn probe(&self) -> Fetching<'_, ()> {
        self.answer(())
    }
}

struct World {
    tables: Arc<Scripted>,
    foreign: Foreign,
    ids: Embedded,
    control: Control,
    _directory: tempfile::TempDir,
}

fn world(accounts: &[(&'static str, &'static str)]) -> World {
    world_with(accounts, Duration::from_secs(60))
}

fn world_with(accounts: &[(&'static str, &'static str)], timeout: Duration) -> World {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let control = Control::start().expect("threads");
    let ids = Embedded::start(directory.path(), control.clone()).expect("a new directory");
    let tables = Arc::new(Scripted {
        accounts: accounts.iter().copied().collect(),
        aliases: HashMap::from([("team@example.org", "a@example.org, b@example.org")]),
        ..Scripted::default()
    });
    let manner = Manner {
        ages: Ages::default(),
        timeout,
        password_scheme: "CRYPT".to_owned(),
    };
    World {
        foreign: Foreign::new(tables.clone(), ids.clone(), control.clone(), manner).expect("entropy"),
        control,
        tables,
        ids,
        _directory: directory,
    }
}

impl World {
    fn id(&self, address: &str) -> AccountId {
        match block_on(self.foreign.address(address))
            .expect("it answers")
            .as_deref()
        {
            Some(Entry::Account(to)) => to.account.id,
            other => panic!("{address}: {other:?}"),
        }
    }

    fn id_of(&self, backend: &'static str, key: &'static str, address: &'static str) -> AccountId {
        let ids = self.ids.clone();
        let asking = async move { ids.id_of(backend, key, address).await };
        block_on(self.control.run(asking))
            .expect("the thread runs")
            .expect("it answers")
    }

    fn order(&self, order: crate::directory::orders::Order) {
        block_on(self.ids.perform(order)).expect("it is carried out");
    }

    fn fail(&self, failure: Option<Failure>) {
        *self.tables.failing.lock() = failure;
    }
}

fn embedded_account(address: &str) -> crate::directory::orders::Order {
    use crate::directory::orders::{AccountSettings, NewAccount, Order};
    let account = NewAccount {
        address: address.to_owned(),
        hashes: Vec::new(),
        set: AccountSettings::default(),
        id: None,
    };
    Order::AccountAdd { account }
}

fn embedded_domain() -> crate::directory::orders::Order {
    crate::directory::orders::Order::DomainAdd {
        domain: "example.org".to_owned(),
        set: crate::directory::orders::DomainSettings::default(),
    }
}

#[test]
fn a_key_has_one_id_for_ever_and_no_other_has_it() {
    let world = world(&[
        ("a@example.org", "1"),
        ("b@example.org", "2"),
        ("a2@example.org", "1"),
    ]);
    let (a, b) = (world.id("a@example.org"), world.id("b@example.org"));
    assert_ne!(a, b);
    assert_eq!(world.id("a@example.org"), a);
    assert_eq!(
        world.id("a2@example.org"),
        a,
        "another address of the same account"
    );
    // Embedded accounts are counted on behind them.
    world.order(embedded_domain());
    world.order(embedded_account("c@example.org"));
    let views = block_on(world.ids.perform(crate::directory::orders::Order::AccountList {
        domain: None,
        limit: None,
    }));
    let Ok(crate::directory::orders::Outcome::Accounts(views)) = views else {
        panic!("{views:?}")
    };
    assert!(
        views.iter().all(|view| view.id > a.0 && view.id > b.0),
        "{views:?}"
    );
}

#[test]
fn an_account_that_moves_out_takes_its_mail_along_once() {
    let world = world(&[("a@example.org", "x"), ("A2@example.org", "y")]);
    world.order(embedded_domain());
    world.order(embedded_account("z@example.org"));
    world.order(embedded_account("a@example.org"));
    assert_eq!(world.id("a@example.org"), AccountId(2));
    let other = world.id_of("ldap", "x", "a@example.org");
    assert_eq!(other, AccountId(3), "that mail is taken");
    let again = world.id_of("scripted", "x", "new@example.org");
    assert_eq!(again, AccountId(2), "an address may change, a key does not");
}

#[test]
fn aliases_are_asked_for_when_there_is_no_account() {
    let world = world(&[]);
    let found = block_on(world.foreign.address("team@example.org")).expect("it answers");
    let targets = ["a@example.org", "b@example.org"].map(|text| AddrSpec::parse(text).expect("an address"));
    assert_eq!(found.as_deref(), Some(&Entry::Alias(targets.to_vec())));
    assert_eq!(block_on(world.foreign.address("nobody@example.org")), Ok(None));
}

#[test]
fn a_back_end_that_is_down_is_not_asked_by_everybody() {
    let world = world(&[("a@example.org", "1")]);
    world.fail(Some(Failure::Down("gone".to_owned())));
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(block_on(world.foreign.address("a@example.org")), Err(Unavailable));
    }
    let due = 1 + began.elapsed().as_secs() / RETRY_AFTER.as_secs();
    let asked = world.tables.asked.load(Ordering::SeqCst) as u64;
    assert!((1..=due).contains(&asked), "{asked} of {due}");
    // Its next question finds it well.
    world.fail(None);
    world.foreign.0.state.lock().next_try = Some(Instant::now());
    assert!(block_on(world.foreign.domain("example.org")).is_ok());
    assert!(block_on(world.foreign.address("a@example.org")).is_ok());
}

#[test]
fn what_was_said_last_stands_in_on_every_core() {
    let world = world(&[("a@example.org", "1")]);
    let before = block_on(world.foreign.address("a@example.org")).expect("it answers");
    assert_eq!(block_on(world.foreign.check_password("dn", b"right")), Ok(true));
    world.fail(Some(Failure::Down("gone".to_owned())));
    assert_eq!(block_on(world.foreign.address("a@example.org")), Ok(before));
    assert_eq!(block_on(world.foreign.check_password("dn", b"right")), Ok(true));
    assert_eq!(
        block_on(world.foreign.check_password("dn", b"other")),
        Err(Unavailable)
    );
    assert_eq!(block_on(world.foreign.address("b@example.org")), Err(Unavailable));
}

#[test]
fn what_cannot_be_understood_hinders_nobody_else() {
    let world = world(&[("a@example.org", "1")]);
    world.fail(Some(Failure::Wrong("no such table".to_owned())));
    assert_eq!(block_on(world.foreign.address("a@example.org")), Err(Unavailable));
    world.fail(None);
    assert!(block_on(world.foreign.address("a@example.org")).is_ok());
}

#[test]
fn a_back_end_that_hangs_is_given_up() {
    let world = world_with(&[], Duration::from_millis(50));
    world.tables.hangs.store(true, Ordering::SeqCst);
    assert!(matches!(
        block_on(world.foreign.login("a@example.org")),
        Err(Unavailable)
    ));
}

#[test]
fn no_password_is_no_password() {
    let world = world(&[]);
    assert_eq!(block_on(world.foreign.check_password("dn", b"")), Ok(false));
    assert_eq!(
        world.tables.asked.load(Ordering::SeqCst),
        0,
        "it is not even asked"
    );
    assert_eq!(block_on(world.foreign.check_password("dn", b"wrong")), Ok(false));
    assert_eq!(block_on(world.foreign.check_password("dn", b"right")), Ok(true));
}
