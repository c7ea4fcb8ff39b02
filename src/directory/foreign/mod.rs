//! A directory that the site has already, asked by its own queries or filters: what is alike whatever it is (`postgres`, `ldap`).
//!
//! A back end is a [`Tables`]: it fetches rows. Here they become answers, within a time and with ids that are ours.
//! App passwords and second factors are kept here, by that id (`embedded`); everything else about an account is changed there.
//! Invariants: an account's id is this server's (`embedded` keeps it beside the key that names the account there), so that
//! nothing on disk depends on the other directory; nothing there is ever written.
//! Limits: a question takes its time-out at most; a back end that was down is asked again by one question in
//! [`RETRY_AFTER`], so that a queue of peers does not wait for it one time-out after the other.
//! Failure: what keeps it from answering, or an answer that cannot be understood, is [`Unavailable`] to whoever asks (451)
//! and one line a minute in the log; until then what was said last is said again (`last`), to all cores.
//! Not here: what a core remembers (`cache`), what follows from the answers (`resolve`).

mod failure;
mod last;
mod orders;
pub mod row;

pub use failure::Failure;
pub use row::Row;

use super::cache::RETRY_AFTER;
use super::embedded::{Credentials, Embedded};
use super::source::Ages;
use super::source::{Asked, Checked, DomainFacts, Entry, LoginRecord, Source, Unavailable};
use super::{key, key_text};
use crate::runtime::Control;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use last::Last;
use parking_lot::Mutex;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Targets of one alias that are read.
pub const TARGETS_MAX: usize = super::resolve::TARGETS_MAX;

/// Between two lines of the log about the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A row under way, on the control thread.
pub type Fetching<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// What fetches rows. All keys are in ASCII lower case, domains with A-labels, and come from peers: they are parameters, never text of a query.
pub trait Tables: Send + Sync + 'static {
    /// Names the back end in the log and its keys in the table of ids.
    fn name(&self) -> &'static str;

    /// Whether a domain is ours.
    fn domain<'a>(&'a self, domain: &'a str) -> Fetching<'a, Option<Row>>;

    /// The account whose address this is.
    fn account<'a>(&'a self, address: &'a str) -> Fetching<'a, Option<Row>>;

    /// The rows that say where an alias leads; none: it is no alias.
    fn alias<'a>(&'a self, address: &'a str) -> Fetching<'a, Vec<Row>>;

    /// Whoever logs in by this name, and what the back end itself checks the password by, if it does.
    fn login<'a>(&'a self, login: &'a str) -> Fetching<'a, Option<(Row, Option<Arc<str>>)>>;

    /// Whether `password`, which is not empty, is that of whom `reference` names.
    fn check_password<'a>(&'a self, reference: &'a str, password: &'a [u8]) -> Fetching<'a, bool>;

    /// Looks whether it answers and whether its queries are good.
    fn probe(&self) -> Fetching<'_, ()>;
}

/// How a back end is asked, whichever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    pub ages: Ages,
    /// Of one question.
    pub timeout: Duration,
    /// Of hashes that name none.
    pub password_scheme: String,
}

/// A [`Source`] over somebody else's directory. Clones are the same.
#[derive(Clone)]
pub struct Foreign(Arc<Inner>);

struct Inner {
    tables: Arc<dyn Tables>,
    ids: Embedded,
    control: Control,
    manner: Manner,
    state: Mutex<State>,
    domains: Mutex<Last<DomainFacts>>,
    entries: Mutex<Last<Entry>>,
    logins: Mutex<Last<LoginRecord>>,
    /// By a keyed digest of whom and what: no password is kept.
    passwords: Mutex<Last<()>>,
    key: hmac::Key,
}

/// How the back end does.
#[derive(Debug, Default)]
struct State {
    /// It is down; before this nobody asks.
    next_try: Option<Instant>,
    complained: Option<Instant>,
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Foreign({})", self.0.tables.name())
    }
}

impl Foreign {
    /// `ids`: where the ids of its accounts are kept.
    ///
    /// # Errors
    /// The system gives no entropy.
    pub fn new(
        tables: Arc<dyn Tables>,
        ids: Embedded,
        control: Control,
        manner: Manner,
    ) -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Inner {
            tables,
            ids,
            control,
            manner,
            state: Mutex::default(),
            domains: Mutex::default(),
            entries: Mutex::default(),
            logins: Mutex::default(),
            passwords: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
        })))
    }

    /// Asks, or says what was said last.
    fn ask_or_recall<T, F>(
        &self,
        last: fn(&Inner) -> &Mutex<Last<T>>,
        key: String,
        question: impl FnOnce(Arc<Inner>) -> F + Send + 'static,
    ) -> Asked<T>
    where
        T: Send + Sync + 'static,
        F: Future<Output = Result<Option<Arc<T>>, Failure>> + Send + 'static,
    {
        let inner = self.0.clone();
        let asking = self.ask(question);
        Box::pin(async move {
            let answer = asking.await;
            let (mut last, now) = (last(&inner).lock(), Instant::now());
            let ages = inner.manner.ages;
            match answer {
                Ok(found) => {
                    last.settle(&key, found.as_ref(), now);
                    Ok(found)
                }
                Err(Unavailable) => last
                    .find(&key, ages.positive + ages.stale, now)
                    .map(Some)
                    .ok_or(Unavailable),
            }
        })
    }

    fn ask<T, F>(&self, question: impl FnOnce(Arc<Inner>) -> F + Send + 'static) -> Asking<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let inner = self.0.clone();
        Box::pin(async move {
            if !inner.state.lock().admits(Instant::now(), inner.manner.timeout) {
                return Err(Unavailable);
            }
            let control = inner.control.clone();
            let asking = async move {
                let timeout = inner.manner.timeout;
                let asked = tokio::time::timeout(timeout, question(inner.clone())).await;
                let late = || Err(Failure::Down(format!("nothing came within {timeout:?}")));
                inner.take(asked.unwrap_or_else(|_| late()))
            };
            control.run(asking).await.unwrap_or(Err(Unavailable))
        })
    }
}

type Asking<T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send>>;

impl State {
    /// Whether a question may be asked at `now`. Of a back end that is down, one is let through to see whether it is back.
    fn admits(&mut self, now: Instant, timeout: Duration) -> bool {
        match self.next_try {
            Some(at) if now < at => false,
            Some(_) => {
                self.next_try = Some(now + timeout + RETRY_AFTER);
                true
            }
            None => true,
        }
    }

    /// It is down as of `now`; true when the log should say so.
    fn goes_down(&mut self, now: Instant) -> bool {
        let was_up = self.next_try.replace(now + RETRY_AFTER).is_none();
        self.complains(now) || was_up
    }

    fn complains(&mut self, now: Instant) -> bool {
        let is_time = self.complained.is_none_or(|last| now - last >= COMPLAIN_EVERY);
        if is_time {
            self.complained = Some(now);
        }
        is_time
    }
}

impl Inner {
    fn digest(&self, reference: &str, password: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(reference.len() as u64).to_le_bytes());
        context.update(reference.as_bytes());
        context.update(password);
        STANDARD.encode(context.sign().as_ref())
    }

    fn take<T>(&self, answer: Result<T, Failure>) -> Result<T, Unavailable> {
        let mut state = self.state.lock();
        let backend = self.tables.name();
        match answer {
            Ok(answer) => {
                if state.next_try.take().is_some() {
                    state.complained = None;
                    tracing::info!(backend, "the directory answers again");
                }
                Ok(answer)
            }
            Err(Failure::Down(cause)) => {
                if state.goes_down(Instant::now()) {
                    tracing::warn!(
                        backend,
                        cause,
                        "the directory does not answer; what is remembered is used, the rest hears temporary failures"
                    );
                }
                Err(Unavailable)
            }
            Err(Failure::Wrong(cause)) => {
                // It is there, or it could not have said that.
                state.next_try = None;
                if state.complains(Instant::now()) {
                    tracing::error!(
                        backend,
                        cause,
                        "the directory's answer cannot be used; it has to be mended"
                    );
                }
                Err(Unavailable)
            }
        }
    }

    /// The account's id and address.
    async fn identify(
        &self,
        row: &Row,
        asked: &str,
    ) -> Result<(crate::model::AccountId, crate::model::AddrSpec), Failure> {
        let address = row.address(asked)?;
        let text = key(&address);
        let id = self
            .ids
            .id_of(self.tables.name(), row.key()?, key_text(&text))
            .await;
        let id = id.map_err(|error| Failure::Wrong(format!("its id: {error}")))?;
        Ok((id, address))
    }

    async fn entry(&self, asked: &str) -> Result<Option<Arc<Entry>>, Failure> {
        if let Some(row) = self.tables.account(asked).await? {
            let (id, address) = self.identify(&row, asked).await?;
            return Ok(Some(Arc::new(Entry::Account(row.recipient(id, address)?))));
        }
        let rows = self.tables.alias(asked).await?;
        if rows.len() > TARGETS_MAX {
            return Err(Failure::Wrong(format!(
                "{asked} has more than {TARGETS_MAX} targets"
            )));
        }
        let mut targets = Vec::new();
        for row in &rows {
            targets.extend(row.addresses(row::TARGET)?);
        }
        // An alias without targets is one that somebody has begun to remove.
        Ok((!targets.is_empty()).then(|| Arc::new(Entry::Alias(targets))))
    }
}

fn with_credentials(record: Arc<LoginRecord>, own: Credentials) -> Arc<LoginRecord> {
    if own.app_passwords.is_empty() && own.totp_secret.is_none() {
        return record;
    }
    Arc::new(LoginRecord {
        app_passwords: own.app_passwords,
        totp_secret: own.totp_secret,
        ..(*record).clone()
    })
}

impl Source for Foreign {
    fn domain(&self, domain: &str) -> Asked<DomainFacts> {
        let domain = domain.to_owned();
        self.ask_or_recall(
            |inner| &inner.domains,
            domain.clone(),
            |inner| async move {
                let row = inner.tables.domain(&domain).await?;
                row.map(|row| row.domain().map(Arc::new)).transpose()
            },
        )
    }

    fn address(&self, address: &str) -> Asked<Entry> {
        let address = address.to_owned();
        self.ask_or_recall(
            |inner| &inner.entries,
            address.clone(),
            |inner| async move { inner.entry(&address).await },
        )
    }

    fn login(&self, login: &str) -> Asked<LoginRecord> {
        let login = login.to_owned();
        let asking = self.ask_or_recall(
            |inner| &inner.logins,
            login.clone(),
            |inner| async move {
                let Some((row, checked_by)) = inner.tables.login(&login).await? else {
                    return Ok(None);
                };
                let (id, address) = inner.identify(&row, &login).await?;
                let scheme = &inner.manner.password_scheme;
                Ok(Some(Arc::new(row.login(id, address, scheme, checked_by)?)))
            },
        );
        let inner = self.0.clone();
        Box::pin(async move {
            let Some(record) = asking.await? else {
                return Ok(None);
            };
            let control = inner.control.clone();
            // Never those of before, as the rest of the record may be: a password that was taken back opens nothing.
            let reading = async move {
                inner
                    .ids
                    .credentials(record.account.id)
                    .await
                    .map(|c| (record, c))
            };
            let (record, own) = control.run(reading).await.unwrap_or(Err(Unavailable))?;
            Ok(Some(with_credentials(record, own)))
        })
    }

    fn check_password(&self, reference: &str, password: &[u8]) -> Checked {
        // To LDAP a bind without a password is one as nobody, and succeeds (RFC 4513 §5.1.2).
        if password.is_empty() {
            return Box::pin(std::future::ready(Ok(false)));
        }
        let digest = self.0.digest(reference, password);
        let (reference, password) = (reference.to_owned(), password.to_owned());
        let asking = self.ask_or_recall(
            |inner| &inner.passwords,
            digest,
            |inner| async move {
                let is_right = inner.tables.check_password(&reference, &password).await?;
                Ok(is_right.then(|| Arc::new(())))
            },
        );
        Box::pin(async move { Ok(asking.await?.is_some()) })
    }

    /// It rises with the credentials that are kept here.
    fn generation(&self) -> u64 {
        self.0.ids.generation()
    }

    fn used_app_password(&self, id: u64, now: i64) {
        self.0.ids.used_app_password(id, now);
    }

    /// What is old is said here, to all cores; a core keeps nothing beyond its time.
    fn ages(&self) -> Ages {
        Ages {
            stale: Duration::ZERO,
            ..self.0.manner.ages
        }
    }
}

#[cfg(test)]
mod tests;
