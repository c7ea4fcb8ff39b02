//! What an address leads to, and a back end that hangs, fails and comes back.

use super::cache::Look;
use super::resolve::{Known, TARGETS_MAX, resolve};
use super::*;
use crate::model::AccountId;
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

fn address(text: &str) -> AddrSpec {
    AddrSpec::parse(text).expect("a test address")
}

fn path(text: &str) -> ForwardPath {
    ForwardPath::Address(address(text))
}

fn main_domain() -> Domain {
    Domain::new("example.org").expect("a domain")
}

fn hash() -> PasswordHash {
    PasswordHash::new("{TEST}")
}

fn account(id: u64, name: &str) -> Recipient {
    Recipient::new(Arc::new(Account::new(AccountId(id), address(name))))
}

/// The demo's accounts and what `more` adds to them.
fn memory(more: impl FnOnce(&mut Memory)) -> Memory {
    let mut memory = demo("example.org", 3, &[hash()], |_| {}).expect("a domain");
    more(&mut memory);
    memory
}

fn verdict(memory: &Memory, text: &str) -> Verdict {
    resolve(memory, &main_domain(), &address(text)).expect("memory knows")
}

fn ids(verdict: Verdict) -> Vec<u64> {
    match verdict {
        Verdict::Local(targets) => {
            let mut ids: Vec<u64> = targets.iter().map(|account| account.id.0).collect();
            ids.sort_unstable();
            ids
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_resolve_by_name_case_detail_and_alias() {
    let memory = memory(|_| {});
    for (text, id) in [
        ("Alice@EXAMPLE.org", 1),
        ("bob+lists@example.org", 2),
        ("user2@example.org", 1002),
        ("postmaster@example.org", 1),
    ] {
        assert_eq!(ids(verdict(&memory, text)), [id], "{text}");
    }
}

#[test]
fn strangers_and_other_domains_are_told_apart() {
    let memory = memory(|_| {});
    assert_eq!(verdict(&memory, "user4@example.org"), Verdict::UnknownUser);
    assert_eq!(verdict(&memory, "alice@elsewhere.example"), Verdict::NotLocal);
}

#[test]
fn an_alias_reaches_each_account_once_whichever_way() {
    let memory = memory(|m| {
        m.add_alias(
            &address("all@example.org"),
            vec![
                address("team@example.org"),
                address("alice@example.org"),
                address("BOB@example.org"),
            ],
        );
        m.add_alias(
            &address("team@example.org"),
            vec![address("bob+team@example.org"), address("all@example.org")],
        );
    });
    assert_eq!(ids(verdict(&memory, "all@example.org")), [1, 2]);
    assert_eq!(ids(verdict(&memory, "team+x@example.org")), [1, 2]);
}

#[test]
fn a_mistake_in_aliases_keeps_the_mail_at_its_sender() {
    let memory = memory(|m| {
        m.add_alias(&address("a@example.org"), vec![address("b@example.org")]);
        m.add_alias(&address("b@example.org"), vec![address("a@example.org")]);
        m.add_alias(&address("out@example.org"), vec![address("x@elsewhere.example")]);
        for n in 0..30 {
            let next = address(&format!("deep{}@example.org", n + 1));
            m.add_alias(&address(&format!("deep{n}@example.org")), vec![next]);
        }
        m.add_alias(&address("deep30@example.org"), vec![address("alice@example.org")]);
        let many = (0..2_000)
            .map(|n| address(&format!("n{n}@example.org")))
            .collect();
        m.add_alias(&address("many@example.org"), many);
        let most = (0..TARGETS_MAX).map(|n| address(&format!("alice+{n}@example.org")));
        m.add_alias(&address("most@example.org"), most.collect());
    });
    assert_eq!(ids(verdict(&memory, "most@example.org")), [1]);
    for text in ["a", "out", "deep0", "many"] {
        let text = format!("{text}@example.org");
        assert_eq!(verdict(&memory, &text), Verdict::Temporary, "{text}");
    }
    assert_eq!(ids(verdict(&memory, "deep11@example.org")), [1]);
}

#[test]
fn what_leads_to_nobody_is_refused_for_good() {
    let second = Domain::new("second.example").expect("a domain");
    let memory = memory(|m| {
        m.add_alias(&address("gone@example.org"), vec![address("nobody@example.org")]);
        m.add_alias(
            &address("team@example.org"),
            vec![address("gone@example.org"), address("team@example.org")],
        );
        let both = vec![address("nobody@example.org"), address("bob@example.org")];
        m.add_alias(&address("half@example.org"), both);
        let facts = DomainFacts {
            catch_all: Some(address("gone@example.org")),
            ..DomainFacts::default()
        };
        m.add_domain(&second, facts);
    });
    for text in ["gone@example.org", "team@example.org", "any@second.example"] {
        assert_eq!(verdict(&memory, text), Verdict::UnknownUser, "{text}");
    }
    assert_eq!(ids(verdict(&memory, "half@example.org")), [2]);
}

#[test]
fn forwarding_keeps_a_copy_where_it_should() {
    let memory = memory(|m| {
        let mut sends_on = account(10, "on@example.org");
        sends_on.forward = vec![address("bob@example.org")];
        sends_on.keeps_copy = false;
        let mut copies = account(11, "copy@example.org");
        copies.forward = vec![address("bob@example.org"), address("on@example.org")];
        let mut own = account(12, "own@example.org");
        own.forward = vec![address("own@example.org"), address("bob@example.org")];
        own.keeps_copy = false;
        for recipient in [sends_on, copies, own] {
            m.add_account(recipient, &[hash()]);
        }
    });
    assert_eq!(ids(verdict(&memory, "on@example.org")), [2]);
    assert_eq!(ids(verdict(&memory, "copy@example.org")), [2, 11]);
    assert_eq!(ids(verdict(&memory, "own@example.org")), [2, 12]);
}

#[test]
fn disabled_accounts_take_nothing_but_do_not_keep_others_from_it() {
    let memory = memory(|m| {
        let off = Account {
            is_enabled: false,
            ..Account::new(AccountId(10), address("off@example.org"))
        };
        m.add_account(Recipient::new(Arc::new(off)), &[hash()]);
        m.add_alias(
            &address("both@example.org"),
            vec![address("off@example.org"), address("bob@example.org")],
        );
        m.add_alias(&address("old@example.org"), vec![address("off@example.org")]);
    });
    assert_eq!(verdict(&memory, "off@example.org"), Verdict::Disabled);
    assert_eq!(verdict(&memory, "old@example.org"), Verdict::Disabled);
    assert_eq!(ids(verdict(&memory, "both@example.org")), [2]);
}

#[test]
fn catch_all_details_and_postmaster_follow_their_domain() {
    let second = Domain::new("second.example").expect("a domain");
    let memory = memory(|m| {
        let facts = DomainFacts {
            catch_all: Some(address("bob@example.org")),
            detail_separator: Some('-'),
        };
        m.add_domain(&second, facts);
        m.add_account(account(20, "c@second.example"), &[hash()]);
        let mut plain = account(21, "plain@example.org");
        plain.takes_details = false;
        m.add_account(plain, &[hash()]);
    });
    assert_eq!(ids(verdict(&memory, "c-x@second.example")), [20]);
    assert_eq!(ids(verdict(&memory, "c+x@second.example")), [2]);
    assert_eq!(ids(verdict(&memory, "anything@second.example")), [2]);
    assert_eq!(ids(verdict(&memory, "Postmaster@second.example")), [1]);
    assert_eq!(verdict(&memory, "plain+x@example.org"), Verdict::UnknownUser);
}

/// A back end whose answers wait until a test lets them go.
#[derive(Default)]
struct Scripted {
    memory: Memory,
    generation: AtomicU64,
    asked: Mutex<Vec<(String, oneshot::Sender<bool>)>>,
}

impl Scripted {
    fn when_let<T: Send + Sync + 'static>(&self, what: &str, found: Option<Arc<T>>) -> Asked<T> {
        let (sender, receiver) = oneshot::channel();
        self.asked.lock().push((what.to_owned(), sender));
        Box::pin(async move {
            match receiver.await {
                Ok(true) => Ok(found),
                _ => Err(Unavailable),
            }
        })
    }

    /// Answers everything that was asked, or fails it, and says what it was.
    fn settle(&self, is_well: bool) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock());
        let settle = |(what, sender): (String, oneshot::Sender<bool>)| {
            let _ = sender.send(is_well);
            what
        };
        asked.into_iter().map(settle).collect()
    }
}

fn known<T>(look: Look<T>) -> Option<Arc<T>> {
    match look {
        Look::Known(found) => found.expect("memory is there"),
        Look::Missing => unreachable!("memory knows"),
    }
}

impl Source for Scripted {
    fn domain(&self, domain: &str) -> Asked<DomainFacts> {
        let found = known(Known::domain(
            &self.memory,
            &Domain::new(domain).expect("a domain"),
        ));
        self.when_let(domain, found)
    }

    fn address(&self, text: &str) -> Asked<Entry> {
        let found = known(Known::address(&self.memory, &address(text)));
        self.when_let(text, found)
    }

    fn login(&self, login: &str) -> Asked<LoginRecord> {
        self.when_let(login, self.memory.login(login))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
}

struct World {
    pool: LocalPool,
    source: Arc<Scripted>,
    directory: Directory,
    heard: Rc<RefCell<Vec<Verdict>>>,
}

impl World {
    fn new() -> Self {
        let source = Arc::new(Scripted {
            memory: memory(|m| {
                m.add_alias(
                    &address("both@example.org"),
                    vec![address("alice@example.org"), address("bob@example.org")],
                );
            }),
            ..Scripted::default()
        });
        Self {
            pool: LocalPool::new(),
            directory: Directory::new(Backend::Source(source.clone()), main_domain()),
            source,
            heard: Rc::default(),
        }
    }

    fn ask(&mut self, text: &str) {
        let (directory, path, heard) = (self.directory.clone(), path(text), self.heard.clone());
        let asking = async move {
            let verdict = directory.resolve(&path).await;
            heard.borrow_mut().push(verdict);
        };
        self.pool
            .spawner()
            .spawn_local(asking)
            .expect("the pool is there");
        self.pool.run_until_stalled();
    }

    /// Lets the back end answer until nobody asks any more; says what was asked, in order.
    fn settle(&mut self, is_well: bool) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let asked = self.source.settle(is_well);
            if asked.is_empty() {
                return all;
            }
            all.extend(asked);
            self.pool.run_until_stalled();
        }
    }

    fn heard(&self) -> Vec<Verdict> {
        std::mem::take(&mut self.heard.borrow_mut())
    }
}

#[test]
fn many_askers_cost_one_question_each_and_none_when_it_is_known() {
    let mut world = World::new();
    for _ in 0..50 {
        world.ask("both@example.org");
    }
    let asked = world.settle(true);
    assert_eq!(asked[..2], ["example.org", "both@example.org"]);
    assert_eq!(asked.len(), 4, "{asked:?}");
    let heard = world.heard();
    assert_eq!(heard.len(), 50);
    assert!(heard.into_iter().all(|verdict| ids(verdict) == [1, 2]));
    world.ask("Both@example.org");
    assert!(world.settle(true).is_empty());
    assert_eq!(world.heard().len(), 1);
}

#[test]
fn a_back_end_that_fails_is_a_451_and_what_was_known_goes_on() {
    let mut world = World::new();
    world.ask("alice@example.org");
    world.settle(true);
    world.ask("bob@example.org");
    world.settle(false);
    world.ask("alice@example.org");
    let heard = world.heard();
    assert_eq!(ids(heard[0].clone()), [1]);
    assert_eq!(heard[1], Verdict::Temporary);
    assert_eq!(ids(heard[2].clone()), [1]);
    world.ask("bob@example.org");
    assert!(world.settle(true).is_empty(), "it is not asked again at once");
    assert_eq!(world.heard(), [Verdict::Temporary]);
}

#[test]
fn a_session_that_ends_in_the_middle_leaves_nobody_waiting() {
    let mut world = World::new();
    let directory = world.directory.clone();
    let alice = path("alice@example.org");
    let mut leaves = Box::pin(async move { directory.resolve(&alice).await });
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(leaves.as_mut().poll(&mut context).is_pending());
    world.ask("alice@example.org");
    assert_eq!(world.source.asked.lock().len(), 1);
    drop(leaves);
    world.pool.run_until_stalled();
    world.settle(true);
    assert_eq!(ids(world.heard().remove(0)), [1]);
}

#[test]
fn a_change_is_seen_at_once() {
    let mut world = World::new();
    world.ask("alice@example.org");
    assert_eq!(world.settle(true).len(), 2);
    world.source.generation.fetch_add(1, Ordering::Relaxed);
    world.ask("alice@example.org");
    assert_eq!(world.settle(true).len(), 2);
    assert_eq!(world.heard().len(), 2);
}

#[test]
fn a_login_is_the_full_main_address() {
    let mut world = World::new();
    let directory = world.directory.clone();
    let login = |name: &'static str| {
        let directory = directory.clone();
        async move {
            directory
                .login(name)
                .await
                .map(|found| found.map(|r| r.account.id.0))
        }
    };
    for (name, expected) in [
        ("ALICE@example.org", Some(1)),
        ("alice", None),
        ("postmaster@example.org", None),
        ("alice+x@example.org", None),
    ] {
        let mut asking = Box::pin(login(name));
        world.pool.run_until(async {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = asking.as_mut().poll(&mut context);
        });
        world.source.settle(true);
        assert_eq!(world.pool.run_until(asking), Ok(expected), "{name}");
    }
}

proptest! {
    /// Whatever aliases point at: it ends, names no account twice, and leads nowhere only where nothing leads to an account.
    #[test]
    fn any_tangle_of_aliases_ends(links in prop::collection::vec((0_usize..12, 0_usize..15), 0..40)) {
        let name = |n: usize| match n {
            12 => address("alice@example.org"),
            13 => address("bob@example.org"),
            14 => address("nobody@example.org"),
            n => address(&format!("t{n}@example.org")),
        };
        let memory = memory(|m| {
            for n in 0..12 {
                let targets = links.iter().filter(|(from, _)| *from == n).map(|(_, to)| name(*to));
                m.add_alias(&name(n), targets.collect());
            }
        });
        let mut reached = vec![0_usize];
        let mut at = 0;
        while at < reached.len() {
            for (from, to) in &links {
                if *from == reached[at] && !reached.contains(to) {
                    reached.push(*to);
                }
            }
            at += 1;
        }
        let mut expected: Vec<u64> = Vec::new();
        expected.extend(reached.contains(&12).then_some(1));
        expected.extend(reached.contains(&13).then_some(2));
        match verdict(&memory, "t0@example.org") {
            Verdict::UnknownUser => prop_assert!(expected.is_empty() && reached.contains(&14)),
            Verdict::Temporary => prop_assert!(expected.is_empty() && !reached.contains(&14)),
            local => prop_assert_eq!(ids(local), expected),
        }
    }
}
