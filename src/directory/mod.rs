//! Who is here: accounts, aliases and domains, and which forward-path reaches whom.
//!
//! One [`Directory`] a core, over a back end that all cores share ([`Source`]) or over [`Memory`]. Sessions ask it; it
//! remembers what it heard (`cache`) and puts together what follows (`resolve`).
//! Invariants: local parts compare without regard to ASCII case, international domains are asked for and kept with A-labels; an alias leads to accounts, whichever way.
//! Failure: a directory that cannot tell says so ([`Verdict::Temporary`], [`Unavailable`]) and the peer hears 451; it never
//! guesses.
//! Standards: RFC 5321 §4.5.1 (postmaster is always accepted), RFC 5233 (`+detail`).
//! Not here: whether a password is right (`auth`), what is delivered (`delivery`).

pub mod accounts;
pub mod cache;
pub mod embedded;
pub mod foreign;
pub mod ldap;
pub mod memory;
pub mod orders;
mod owners;
pub mod postgres;
pub mod resolve;
pub mod source;
#[cfg(test)]
mod tests;

pub use accounts::Accounts;
pub use memory::{DEMO_DOMAIN, Memory, demo};
pub use source::{
    Ages, AppPassword, Checked, DomainFacts, Entry, Found, LoginRecord, PasswordHash, Recipient, Source,
    Unavailable,
};

use crate::model::{Account, AddrSpec, Domain, ForwardPath, LocalPart, login_key};
use cache::{Cache, Look, Turn};
use futures_util::stream::{FuturesUnordered, StreamExt};
use resolve::{Known, Missing, NotYet};
use smallvec::SmallVec;
use source::Asked;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Accounts that get the mail of one forward-path: at least one, each once.
pub type Targets = SmallVec<[Arc<Account>; 1]>;

/// What the directory says of a forward-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Mail for it goes to these accounts.
    Local(Targets),
    /// The domain is ours, nobody there has this name: 550 5.1.1.
    UnknownUser,
    /// Whoever it is for takes no mail: 550 5.2.1.
    Disabled,
    /// The domain is not ours: relaying, 550 5.7.1.
    NotLocal,
    /// Nobody can say just now: 451 4.3.0.
    Temporary,
}

/// Rounds of fetching for one forward-path: each level of aliases may need its domains, then its addresses, then those
/// without detail, then a stand-in.
const ROUNDS_MAX: usize = 4 * (resolve::DEPTH_MAX + 1);

/// Where a core's answers come from.
#[derive(Clone)]
pub enum Backend {
    /// Known at once, nothing to remember.
    Memory(Arc<Memory>),
    /// To be asked.
    Source(Arc<dyn Source>),
}

/// One core's directory. Clones are the same.
#[derive(Clone)]
pub struct Directory(Rc<Inner>);

struct Inner {
    backend: Backend,
    /// Whose postmaster is `<postmaster>`.
    main: Domain,
    domains: RefCell<Cache<DomainFacts>>,
    addresses: RefCell<Cache<Entry>>,
    logins: RefCell<Cache<LoginRecord>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Directory")
    }
}

impl Directory {
    /// Over `backend`; `main` is the domain whose postmaster `RCPT TO:<postmaster>` reaches.
    #[must_use]
    pub fn new(backend: Backend, main: Domain) -> Self {
        let ages = match &backend {
            Backend::Memory(_) => Ages::default(),
            Backend::Source(source) => source.ages(),
        };
        Self(Rc::new(Inner {
            backend,
            main,
            domains: RefCell::new(Cache::new(cache::ENTRIES_MAX, ages)),
            addresses: RefCell::new(Cache::new(cache::ENTRIES_MAX, ages)),
            logins: RefCell::new(Cache::new(cache::ENTRIES_MAX, ages)),
        }))
    }

    /// Where mail for `path` goes. At once when everything is known.
    pub async fn resolve(&self, path: &ForwardPath) -> Verdict {
        let now = Instant::now();
        match self.attempt(path, now) {
            Ok(verdict) => verdict,
            Err(NotYet::Unavailable) => Verdict::Temporary,
            // On the heap: it is rare, and every session would hold room for it.
            Err(NotYet::Missing(missing)) => Box::pin(self.fetch_and_resolve(path, missing, now)).await,
        }
    }

    async fn fetch_and_resolve(&self, path: &ForwardPath, missing: Vec<Missing>, now: Instant) -> Verdict {
        let mut missing = missing;
        for _ in 0..ROUNDS_MAX {
            let fetching: FuturesUnordered<_> = missing.iter().map(|missing| self.load(missing)).collect();
            fetching.collect::<()>().await;
            // By the time of the beginning, so that nothing fetched since has become too old meanwhile.
            match self.attempt(path, now) {
                Ok(verdict) => return verdict,
                Err(NotYet::Unavailable) => return Verdict::Temporary,
                Err(NotYet::Missing(more)) => missing = more,
            }
        }
        tracing::warn!("the directory changes faster than an address can be looked up");
        Verdict::Temporary
    }

    fn attempt(&self, path: &ForwardPath, now: Instant) -> Result<Verdict, NotYet> {
        let postmaster;
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => {
                postmaster = self.postmaster();
                &postmaster
            }
        };
        match &self.0.backend {
            Backend::Memory(memory) => resolve::resolve(&**memory, &self.0.main, address),
            Backend::Source(source) => {
                let generation = source.generation();
                self.0.domains.borrow_mut().follow(generation);
                self.0.addresses.borrow_mut().follow(generation);
                resolve::resolve(&Remembered { of: &self.0, now }, &self.0.main, address)
            }
        }
    }

    /// Of the main domain.
    #[must_use]
    pub fn postmaster(&self) -> AddrSpec {
        AddrSpec {
            local_part: LocalPart::new("postmaster").expect("an atom is a local part"),
            domain: self.0.main.clone(),
        }
    }

    async fn load(&self, missing: &Missing) {
        let Backend::Source(source) = &self.0.backend else {
            return;
        };
        // The answers are looked at in the cache.
        match missing {
            Missing::Domain(domain) => {
                let name = domain.as_str();
                let _ = fetch(&self.0.domains, &**source, name, || source.domain(name)).await;
            }
            Missing::Address(address) => {
                let key = key(address);
                let name = key_text(&key);
                let _ = fetch(&self.0.addresses, &**source, name, || source.address(name)).await;
            }
        }
    }

    /// Who logs in as `login`, which compares without regard to ASCII case and in either form of an international domain.
    ///
    /// # Errors
    /// [`Unavailable`] when the back end cannot say and nothing is remembered.
    pub async fn login(&self, login: &str) -> Found<LoginRecord> {
        let login = login_key(login);
        match &self.0.backend {
            Backend::Memory(memory) => Ok(memory.login(&login)),
            Backend::Source(source) => {
                let generation = source.generation();
                self.0.logins.borrow_mut().follow(generation);
                fetch(&self.0.logins, &**source, &login, || source.login(&login)).await
            }
        }
    }

    /// Rises when something in the directory changed: what was concluded from it before is void.
    #[must_use]
    pub fn generation(&self) -> u64 {
        match &self.0.backend {
            Backend::Memory(_) => 0,
            Backend::Source(source) => source.generation(),
        }
    }

    /// How long an answer is believed that no change of the generation makes void.
    #[must_use]
    pub fn believed_for(&self) -> Duration {
        match &self.0.backend {
            Backend::Memory(_) => Ages::default().positive,
            Backend::Source(source) => source.ages().positive,
        }
    }

    /// The back end, for what is told to it.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<dyn Source>> {
        match &self.0.backend {
            Backend::Memory(_) => None,
            Backend::Source(source) => Some(source),
        }
    }
}

/// What a core remembers, as of one moment.
struct Remembered<'a> {
    of: &'a Inner,
    now: Instant,
}

impl Known for Remembered<'_> {
    fn domain(&self, domain: &Domain) -> Look<DomainFacts> {
        self.of.domains.borrow_mut().look(domain.as_str(), self.now)
    }

    fn address(&self, address: &AddrSpec) -> Look<Entry> {
        self.of
            .addresses
            .borrow_mut()
            .look(key_text(&key(address)), self.now)
    }
}

/// Whoever asks; if the asking session ends in the middle, the next one asks.
struct Asking<'a, T> {
    cache: &'a RefCell<Cache<T>>,
    key: &'a str,
}

impl<T> Drop for Asking<'_, T> {
    fn drop(&mut self) {
        self.cache.borrow_mut().abandon(self.key);
    }
}

async fn fetch<T>(
    cache: &RefCell<Cache<T>>,
    source: &dyn Source,
    key: &str,
    ask: impl Fn() -> Asked<T>,
) -> Found<T> {
    loop {
        if let Look::Known(found) = cache.borrow_mut().look(key, Instant::now()) {
            return found;
        }
        let turn = cache.borrow_mut().turn(key);
        match turn {
            Turn::Wait(settled) => {
                // Woken by the answer, or because whoever asked has gone.
                let _ = settled.await;
            }
            Turn::Ask => {
                let asking = Asking { cache, key };
                let generation = source.generation();
                cache.borrow_mut().follow(generation);
                let answer = ask().await;
                drop(asking);
                return cache.borrow_mut().settle(key, generation, answer, Instant::now());
            }
        }
    }
}

/// `local-part@domain`, unquoted, in ASCII lower case and with A-labels; on the stack, because every RCPT looks one up.
pub(crate) fn key(address: &AddrSpec) -> SmallVec<[u8; 96]> {
    let mut key = SmallVec::from_slice(address.local_part.as_str().as_bytes());
    key.push(b'@');
    key.extend_from_slice(address.domain.as_str().as_bytes());
    key.make_ascii_lowercase();
    key
}

pub(crate) fn key_text(key: &[u8]) -> &str {
    // Made of two texts and an at sign: always UTF-8.
    std::str::from_utf8(key).unwrap_or_default()
}
