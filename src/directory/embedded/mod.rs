//! The directory that comes with the server: one SQLite file in the data directory.
//!
//! [`Database`] is the file, for one thread. [`Embedded`] is the running server's: two threads of their own, one that answers
//! look-ups and one that carries orders out, so that a sync of the disk keeps no login waiting (WAL lets both work at once).
//! Invariants: a change is on the disk (`synchronous=FULL`) and the generation has risen when an order is answered, so that
//! whoever asks afterwards, on whatever core, gets the new state.
//! Limits: [`BACKLOG_MAX`] jobs wait; a look-up waits [`LOOKUP_TIMEOUT`].
//! Failure: a file that cannot be read or is damaged answers [`Unavailable`], and the log says why, once a minute at most.
//! Not here: other back ends.

mod canonical;
mod credentials;
mod foreign;
mod look;
mod lookup;
mod perform;
mod reach;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrades;
mod views;
mod worded;

pub use credentials::{CredentialView, Credentials};
pub use schema::SchemaError;
pub use worded::not_ours;

use super::orders::{Order, OrderError, Outcome};
use super::source::{Asked, DomainFacts, Entry, Found, LoginRecord, PasswordHash, Source, Unavailable};
use crate::base::clock::{Clock, SystemClock};
use crate::model::{AccountId, login_key};
use crate::runtime::Control;
use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The file's name in the data directory.
pub const FILE_NAME: &str = "directory.sqlite";

/// Jobs that wait for a thread. One takes some 20 µs; beyond this the disk has stopped and more would only wait.
pub const BACKLOG_MAX: usize = 4_096;

/// What a look-up may take before the peer hears 451.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two lines of the log about the same trouble.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// How exactly the last use of an app password is known, seconds: a write to the disk is not worth more.
const LAST_USE_SECONDS: i64 = 60;

/// The file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error("the directory {path}: {cause}")]
pub struct OpenError {
    /// Where it lies.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: SchemaError,
}

/// An open file.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
}

impl Database {
    /// Opens the directory in `data`, made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(data: &Path) -> Result<Self, OpenError> {
        let path = data.join(FILE_NAME);
        let open = || -> Result<Self, SchemaError> {
            private(&path);
            let mut connection = Connection::open(&path)?;
            connection.busy_timeout(LOOKUP_TIMEOUT)?;
            schema::prepare(&mut connection)?
                .iter()
                .for_each(|what| tell(what));
            Ok(Self { connection })
        };
        let opened = open();
        opened.map_err(|cause| OpenError { path, cause })
    }

    /// The other directory that the server with this file had its accounts in when it ran last.
    ///
    /// # Errors
    /// [`OrderError::Failed`].
    pub fn left_to(&self) -> Result<Option<String>, OrderError> {
        let sql = "SELECT backend FROM left_to";
        let found = self.connection.query_row(sql, [], |row| row.get(0));
        Ok(found.optional()?)
    }

    /// Writes down that the accounts are in another directory from now on; `None`: they are here.
    ///
    /// # Errors
    /// [`OrderError::Failed`].
    pub fn leave_to(&mut self, backend: Option<&str>) -> Result<(), OrderError> {
        if self.left_to()?.as_deref() == backend {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        transaction.execute("DELETE FROM left_to", [])?;
        if let Some(backend) = backend {
            transaction.execute("INSERT INTO left_to (backend) VALUES (?1)", [backend])?;
        }
        Ok(transaction.commit()?)
    }

    /// The id of the account of this address, here or in another directory when it was first seen, by a file that nobody has
    /// open. It may be of an older version, with domains as they were typed.
    ///
    /// # Errors
    /// SQLite's.
    pub fn id_at_rest(data: &Path, address: &str) -> rusqlite::Result<Option<AccountId>> {
        let connection = look::open_at_rest(data)?;
        let spellings = [login_key(address), address.to_lowercase()];
        for table in ["account", "foreign_account"] {
            let sql = format!("SELECT id FROM {table} WHERE address IN (?1, ?2) ORDER BY address <> ?1");
            let id = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
            if let Some(id) = connection
                .query_row(&sql, [&spellings[0], &spellings[1]], id)
                .optional()?
            {
                return Ok(Some(AccountId(id.cast_unsigned())));
            }
        }
        Ok(None)
    }

    /// Carries one order out.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub fn perform(&mut self, order: Order) -> Result<Outcome, OrderError> {
        perform::perform(&mut self.connection, order, SystemClock.now().seconds())
    }

    fn reader(data: &Path) -> Result<Connection, OpenError> {
        let path = data.join(FILE_NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(LOOKUP_TIMEOUT)?;
            Ok(connection)
        };
        open().map_err(|cause: rusqlite::Error| OpenError {
            path: path.clone(),
            cause: cause.into(),
        })
    }
}

/// What came of an upgrade is said once: in the log, or to whoever gave the command that made it.
fn tell(what: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::warn!(what, "the directory's file is of this version now");
    } else {
        eprintln!("ringpost: the directory's file is of this version now: {what}");
    }
}

/// Password hashes are in it: made for its owner only. SQLite gives its WAL the same mode.
fn private(path: &Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    // If it is there already its mode is the admin's; if it cannot be made SQLite says why.
    drop(made);
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The running server's directory. Clones are the same.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    reader: Sender<Job>,
    writer: Sender<Job>,
    control: Control,
    generation: Arc<AtomicU64>,
    complained: Arc<Mutex<Option<Instant>>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Embedded")
    }
}

impl Embedded {
    /// Opens the directory in `data` and starts its threads, which end with the last clone.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn start(data: &Path, control: Control) -> Result<Self, OpenError> {
        let writer = Database::open(data)?.connection;
        let reader = Database::reader(data)?;
        let thread = |name, connection| {
            worker(name, connection).map_err(|error| OpenError {
                path: data.join(FILE_NAME),
                cause: rusqlite::Error::ToSqlConversionFailure(error.into()).into(),
            })
        };
        Ok(Self(Arc::new(Inner {
            reader: thread("directory-read", reader)?,
            writer: thread("directory-write", writer)?,
            control,
            generation: Arc::new(AtomicU64::new(1)),
            complained: Arc::default(),
        })))
    }

    /// Carries one order out. May be awaited on any executor.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub async fn perform(&self, order: Order) -> Result<Outcome, OrderError> {
        let changes = order.changes();
        self.carry_out(changes, move |connection| {
            perform::perform(connection, order, SystemClock.now().seconds())
        })
        .await
    }

    /// Carries out an order about the credentials of `account`, which another directory has. May be awaited on any executor.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub async fn perform_for(&self, account: AccountId, order: Order) -> Result<Outcome, OrderError> {
        self.carry_out(true, move |connection| {
            let now = SystemClock.now().seconds();
            perform::perform_for(connection, account.0.cast_signed(), &order, now)
        })
        .await
    }

    async fn carry_out(
        &self,
        changes: bool,
        work: impl FnOnce(&mut Connection) -> Result<Outcome, OrderError> + Send + 'static,
    ) -> Result<Outcome, OrderError> {
        let failed = || OrderError::Failed("the directory does not answer".to_owned());
        let (answer, answered) = oneshot::channel();
        let generation = self.0.generation.clone();
        let job = Box::new(move |connection: &mut Connection| {
            let outcome = work(connection);
            if changes && outcome.is_ok() {
                generation.fetch_add(1, Ordering::SeqCst);
            }
            let _ = answer.send(outcome);
        });
        let worker = if changes { &self.0.writer } else { &self.0.reader };
        worker.try_send(job).map_err(|_| failed())?;
        answered.await.map_err(|_| failed())?
    }

    /// What an account of another directory logs in by beside what that one knows. Only on the control thread.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn credentials(&self, account: AccountId) -> Result<Credentials, Unavailable> {
        self.job(&self.0.reader, move |connection| {
            credentials::read(connection, account)
        })
        .await
    }

    /// The same, as it is shown. Only on the control thread.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn credential_view(&self, account: AccountId) -> Result<CredentialView, Unavailable> {
        self.job(&self.0.reader, move |connection| {
            credentials::view(connection, account.0.cast_signed())
        })
        .await
    }

    /// Takes the step of a code of RFC 6238 for the account `id`; false when that one or a later one was taken before. It is
    /// on the disk when the answer comes.
    ///
    /// # Errors
    /// [`OrderError::Failed`].
    pub async fn take_totp_step(&self, id: u64, step: i64) -> Result<bool, OrderError> {
        let failed = || OrderError::Failed("the directory does not answer".to_owned());
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |connection: &mut Connection| {
            let _ = answer.send(credentials::take_step(connection, id.cast_signed(), step));
        });
        self.0.writer.try_send(job).map_err(|_| failed())?;
        Ok(answered.await.map_err(|_| failed())??)
    }

    /// The id of an account that another directory keeps under `key`; a new one for a new key. `address`: the account's, in
    /// lower case. Only on the control thread.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn id_of(
        &self,
        backend: &'static str,
        key: &str,
        address: &str,
    ) -> Result<AccountId, Unavailable> {
        let known = key.to_owned();
        let reading = self.job(&self.0.reader, move |connection| {
            foreign::find(connection, backend, &known)
        });
        if let Some(id) = reading.await? {
            return Ok(id);
        }
        let (key, address, now) = (key.to_owned(), address.to_owned(), SystemClock.now().seconds());
        let giving = self.job(&self.0.writer, move |connection| {
            foreign::find_or_give(connection, backend, &key, &address, now)
        });
        giving.await
    }

    async fn job<T: Send + 'static>(
        &self,
        worker: &Sender<Job>,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let complained = self.0.complained.clone();
        let job = move |connection: &mut Connection| {
            let done = work(connection).map_err(|error| {
                complain(&complained, &error);
                Unavailable
            });
            let _ = answer.send(done);
        };
        worker.try_send(Box::new(job)).map_err(|_| Unavailable)?;
        match tokio::time::timeout(LOOKUP_TIMEOUT, answered).await {
            Ok(Ok(done)) => done,
            _ => Err(Unavailable),
        }
    }

    /// Changes that nobody waits for and that make nothing known wrong.
    fn write_soon(&self, job: impl FnOnce(&mut Connection) -> rusqlite::Result<()> + Send + 'static) {
        let complained = self.0.complained.clone();
        let job = move |connection: &mut Connection| {
            if let Err(error) = job(connection) {
                complain(&complained, &error);
            }
        };
        // A full backlog: what is lost is the time of a use, or a hash that is made again at the next login.
        let _ = self.0.writer.try_send(Box::new(job));
    }

    fn ask<T: Send + Sync + 'static>(
        &self,
        key: &str,
        find: fn(&Connection, &str) -> rusqlite::Result<Option<T>>,
    ) -> Asked<T> {
        let (answer, answered) = oneshot::channel::<Found<T>>();
        let (key, complained) = (key.to_owned(), self.0.complained.clone());
        let job = move |connection: &mut Connection| {
            let found = find(connection, &key).map_err(|error| {
                complain(&complained, &error);
                Unavailable
            });
            let _ = answer.send(found.map(|found| found.map(Arc::new)));
        };
        let is_taken = self.0.reader.try_send(Box::new(job)).is_ok();
        let control = self.0.control.clone();
        Box::pin(async move {
            if !is_taken {
                return Err(Unavailable);
            }
            // On the control thread, because only there are timers that anybody may wait for.
            let waiting = async { tokio::time::timeout(LOOKUP_TIMEOUT, answered).await };
            match control.run(waiting).await {
                Ok(Ok(Ok(found))) => found,
                _ => Err(Unavailable),
            }
        })
    }
}

fn complain(last: &Mutex<Option<Instant>>, error: &rusqlite::Error) {
    let mut last = last.lock();
    if last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
        *last = Some(Instant::now());
        tracing::warn!(%error, "the embedded directory does not work; its clients hear temporary failures");
    }
}

fn worker(name: &str, mut connection: Connection) -> std::io::Result<Sender<Job>> {
    let (sender, jobs) = bounded::<Job>(BACKLOG_MAX);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        for job in jobs {
            crate::runtime::contained("directory", || job(&mut connection));
        }
    })?;
    Ok(sender)
}

impl Source for Embedded {
    fn domain(&self, domain: &str) -> Asked<DomainFacts> {
        self.ask(domain, lookup::domain)
    }

    fn address(&self, address: &str) -> Asked<Entry> {
        self.ask(address, lookup::address)
    }

    fn login(&self, login: &str) -> Asked<LoginRecord> {
        self.ask(login, lookup::login)
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::SeqCst)
    }

    fn rehash(&self, login: &str, old: PasswordHash, hash: PasswordHash) {
        let login = login_key(login);
        self.write_soon(move |connection| {
            let sql = "UPDATE account SET hash = ?3 WHERE address = ?1 AND hash = ?2";
            let parameters = [login.as_str(), old.expose(), hash.expose()];
            connection.execute(sql, parameters).map(|_| ())
        });
    }

    fn used_app_password(&self, id: u64, now: i64) {
        self.write_soon(move |connection| {
            let sql = "UPDATE app_password SET last_used_at = ?2
                WHERE id = ?1 AND coalesce(last_used_at, 0) + ?3 <= ?2";
            let parameters = rusqlite::params![id.cast_signed(), now, LAST_USE_SECONDS];
            connection.execute(sql, parameters).map(|_| ())
        });
    }
}
