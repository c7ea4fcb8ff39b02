//! PostgreSQL as the directory, by the site's own queries.
//!
//! Invariants: whatever a peer sent is a parameter (`query`); a query is a part of one of ours, so that it can only read; TLS
//! is verified wherever a network lies between.
//! Limits: the connections of [`Settings`]; [`Manner::timeout`](super::foreign::Manner) for each question, waiting for a
//! connection included. A connection that did not answer in time is thrown away, because nobody knows what it still does.
//! Failure: see `foreign`; connections that broke are made anew when they are needed.
//! Not here: what the columns mean (`foreign::row`).

pub mod query;

use super::foreign::row::{ACCOUNT, DOMAIN, PASSWORD, TARGET};
use super::foreign::{Failure, Fetching, Row, TARGETS_MAX, Tables};
use crate::disk::small;
use crate::tls;
use deadpool_postgres::{Client, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use query::Query;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Parameters of the query for domains.
pub const DOMAIN_PARAMETERS: &[&str] = &["domain"];

/// Of the queries for accounts and aliases.
pub const ADDRESS_PARAMETERS: &[&str] = &["address", "local_part", "domain"];

/// Of the query for logins; `local_part` is all of it and `domain` empty where it has no at sign.
pub const LOGIN_PARAMETERS: &[&str] = &["login", "local_part", "domain"];

/// Longest value of a column that is read, octets: beyond it somebody selects something else.
const ROW_BYTES_MAX: usize = 64 * 1024;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host=… dbname=… user=…` or `postgresql://…`, without a password.
    pub connect: String,
    pub password_file: Option<PathBuf>,
    /// Whether connections through a network are encrypted.
    pub tls: bool,
    pub ca_file: Option<PathBuf>,
    pub connections: usize,
    pub domain: String,
    pub account: String,
    /// Empty: whoever has the address.
    pub login: String,
    /// Empty: there are no aliases.
    pub alias: String,
}

/// The back end.
pub struct Postgres {
    pool: Pool,
    domain: Query,
    account: Query,
    login: Query,
    alias: Option<Query>,
}

impl Settings {
    /// What is wrong with the text that says where the server is; `None`: nothing.
    #[must_use]
    pub fn connect_problem(&self) -> Option<String> {
        let parsed = match tokio_postgres::Config::from_str(&self.connect) {
            Ok(parsed) => parsed,
            Err(error) => return Some(with_cause(&error)),
        };
        if parsed.get_password().is_some() {
            return Some("a password stands in it: it belongs into postgresql.password_file".to_owned());
        }
        parsed
            .get_hosts()
            .is_empty()
            .then(|| "it names no host".to_owned())
    }
}

impl Postgres {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// What is wrong with the settings or the files they name.
    pub fn new(settings: &Settings, timeout: Duration) -> Result<Self, String> {
        let query = |text: &str, parameters| Query::parse(text, parameters);
        let account = query(&settings.account, ADDRESS_PARAMETERS)?;
        let login = match settings.login.trim() {
            "" => account.clone(),
            text => query(text, LOGIN_PARAMETERS)?,
        };
        let has_aliases = !settings.alias.trim().is_empty();
        let alias = has_aliases.then(|| query(&settings.alias, ADDRESS_PARAMETERS));
        Ok(Self {
            pool: pool(settings, timeout)?,
            domain: query(&settings.domain, DOMAIN_PARAMETERS)?,
            account,
            login,
            alias: alias.transpose()?,
        })
    }

    /// The rows of a query, up to `limit`.
    async fn rows(&self, query: &Query, asked: Key<'_>, limit: usize) -> Result<Vec<Row>, Failure> {
        // PostgreSQL's texts hold any character but this one.
        if asked.whole.contains('\0') {
            return Ok(Vec::new());
        }
        let values: Vec<&str> = query.parameters().iter().map(|name| asked.value(name)).collect();
        let parameters: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let types = vec![Type::TEXT; values.len()];
        let lease = Lease::take(&self.pool).await?;
        let client = lease.client();
        let sql = query.as_json(limit);
        let statement = client.prepare_typed_cached(&sql, &types).await;
        let statement = statement.map_err(|error| failure(&error))?;
        let found = client
            .query(&statement, &parameters)
            .await
            .map_err(|error| failure(&error))?;
        lease.give_back();
        found.iter().map(row).collect()
    }

    async fn one(&self, query: &Query, asked: Key<'_>) -> Result<Option<Row>, Failure> {
        let mut rows = self.rows(query, asked, 2).await?;
        if rows.len() > 1 {
            return Err(Failure::Wrong("it has several rows for one key".to_owned()));
        }
        Ok(rows.pop())
    }

    /// Whether the server understands the query and its columns are what they should be.
    async fn probe_query(&self, query: &Query, name: &str, expected: &Columns) -> Result<(), Failure> {
        let lease = Lease::take(&self.pool).await?;
        let types = vec![Type::TEXT; query.parameters().len()];
        let prepared = lease.client().prepare_typed(query.sql(), &types).await;
        let statement = prepared.map_err(|error| match failure(&error) {
            Failure::Wrong(why) => Failure::Wrong(format!("postgresql.{name}: {why}")),
            down => down,
        })?;
        // That it can be a part of ours too.
        let whole = lease.client().prepare_typed(&query.as_json(1), &types).await;
        whole.map_err(|error| {
            Failure::Wrong(format!("postgresql.{name} is no SELECT: {}", with_cause(&error)))
        })?;
        let columns: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
        let why = expected.problem(&columns);
        lease.give_back();
        why.map_or(Ok(()), |why| {
            Err(Failure::Wrong(format!("postgresql.{name}: {why}")))
        })
    }
}

/// What is asked for, and its parts.
#[derive(Clone, Copy)]
struct Key<'a> {
    whole: &'a str,
    local_part: &'a str,
    domain: &'a str,
}

impl<'a> Key<'a> {
    /// An address or a login.
    fn of(whole: &'a str) -> Self {
        let (local_part, domain) = whole.rsplit_once('@').unwrap_or((whole, ""));
        Self {
            whole,
            local_part,
            domain,
        }
    }

    fn of_domain(domain: &'a str) -> Self {
        Self {
            whole: domain,
            local_part: "",
            domain,
        }
    }

    /// Of a parameter; `address` and `login` are all of it.
    fn value(self, parameter: &str) -> &'a str {
        match parameter {
            "local_part" => self.local_part,
            "domain" => self.domain,
            _ => self.whole,
        }
    }
}

/// The columns of a query.
struct Columns {
    required: &'static [&'static str],
    known: Vec<&'static str>,
}

impl Columns {
    fn problem(&self, columns: &[&str]) -> Option<String> {
        if let Some(missing) = self.required.iter().find(|name| !columns.contains(name)) {
            return Some(format!("it has no column {missing}"));
        }
        let is_known = |name: &&&str| self.known.contains(*name);
        let unknown = columns.iter().find(|name| !is_known(name))?;
        Some(format!(
            "there is nothing called {unknown}; its columns may be {}",
            self.known.join(", ")
        ))
    }
}

/// A connection that goes back to the pool only when it has done what it was taken for.
struct Lease(Option<Client>);

impl Lease {
    async fn take(pool: &Pool) -> Result<Self, Failure> {
        match pool.get().await {
            Ok(client) => Ok(Self(Some(client))),
            Err(PoolError::Backend(error)) => Err(failure_to_connect(&error)),
            Err(error) => Err(Failure::Down(error.to_string())),
        }
    }

    fn client(&self) -> &Client {
        self.0.as_ref().expect("it is there until it is given back")
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

fn pool(settings: &Settings, timeout: Duration) -> Result<Pool, String> {
    if let Some(why) = settings.connect_problem() {
        return Err(format!("postgresql.connect: {why}"));
    }
    let mut config =
        tokio_postgres::Config::from_str(&settings.connect).map_err(|error| with_cause(&error))?;
    if let Some(path) = &settings.password_file {
        let password = small::read_text(path).map_err(|why| format!("postgresql.password_file: {why}"))?;
        config.password(password.trim_end_matches(['\r', '\n']));
    }
    let is_remote = config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
    let is_encrypted = settings.tls && is_remote;
    config.ssl_mode(if is_encrypted {
        SslMode::Require
    } else {
        SslMode::Disable
    });
    config.connect_timeout(timeout).application_name("ringpost");
    let manner = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let manager = if is_encrypted {
        let tls = tls::client_config(settings.ca_file.as_deref()).map_err(|error| error.to_string())?;
        Manager::from_config(config, MakeRustlsConnect::new(tls), manner)
    } else {
        Manager::from_config(config, tokio_postgres::NoTls, manner)
    };
    Pool::builder(manager)
        .max_size(settings.connections)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(timeout))
        .create_timeout(Some(timeout))
        .build()
        .map_err(|error| error.to_string())
}

/// Whose fault an error is: a server that answered with one understood us.
fn failure(error: &tokio_postgres::Error) -> Failure {
    use tokio_postgres::error::SqlState;
    let is_passing = |code: &SqlState| {
        // Classes of SQLSTATE: connection, resources, intervention by the operator, the system's own errors.
        ["08", "53", "57", "58"]
            .iter()
            .any(|class| code.code().starts_with(class))
    };
    match error.code() {
        Some(code) if !is_passing(code) => Failure::Wrong(with_cause(error)),
        _ => Failure::Down(with_cause(error)),
    }
}

/// A refused login is no reason to ask at full speed.
fn failure_to_connect(error: &tokio_postgres::Error) -> Failure {
    Failure::Down(with_cause(error))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// From the JSON that `Query::as_json` asks for.
fn row(found: &tokio_postgres::Row) -> Result<Row, Failure> {
    let text: &str = found
        .try_get(0)
        .map_err(|error| Failure::Wrong(with_cause(&error)))?;
    if text.len() > ROW_BYTES_MAX {
        return Err(Failure::Wrong(format!(
            "a row has more than {ROW_BYTES_MAX} octets"
        )));
    }
    from_json(text)
}

fn from_json(text: &str) -> Result<Row, Failure> {
    let broken = |why: &str| Failure::Wrong(format!("a row that is no row: {why}"));
    let values: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| broken(&error.to_string()))?;
    let mut row = Row::default();
    for (name, value) in values {
        let values = match value {
            serde_json::Value::Array(values) => values.iter().map(shown).collect(),
            serde_json::Value::Null => Vec::new(),
            value => vec![shown(&value)],
        };
        row.add(name, values);
    }
    Ok(row)
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Tables for Postgres {
    fn name(&self) -> &'static str {
        "postgresql"
    }

    fn domain<'a>(&'a self, domain: &'a str) -> Fetching<'a, Option<Row>> {
        Box::pin(self.one(&self.domain, Key::of_domain(domain)))
    }

    fn account<'a>(&'a self, address: &'a str) -> Fetching<'a, Option<Row>> {
        Box::pin(self.one(&self.account, Key::of(address)))
    }

    fn alias<'a>(&'a self, address: &'a str) -> Fetching<'a, Vec<Row>> {
        Box::pin(async move {
            match &self.alias {
                Some(query) => self.rows(query, Key::of(address), TARGETS_MAX + 1).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn login<'a>(&'a self, login: &'a str) -> Fetching<'a, Option<(Row, Option<Arc<str>>)>> {
        Box::pin(async move {
            Ok(self
                .one(&self.login, Key::of(login))
                .await?
                .map(|row| (row, None)))
        })
    }

    fn check_password<'a>(&'a self, _reference: &'a str, _password: &'a [u8]) -> Fetching<'a, bool> {
        Box::pin(std::future::ready(Err(Failure::Wrong(
            "passwords are compared here, not there".to_owned(),
        ))))
    }

    fn probe(&self) -> Fetching<'_, ()> {
        let account = |more: &[&'static str]| [ACCOUNT, more].concat();
        Box::pin(async move {
            // An unnamed column is all that `SELECT 1 FROM domain WHERE …` has. `SELECT EXISTS (…)`, which has a row for
            // every domain of the world, is caught by its name.
            let domain = Columns {
                required: &[],
                known: [DOMAIN, &["?column?"]].concat(),
            };
            self.probe_query(&self.domain, "domain", &domain).await?;
            // One query may serve both questions: the password is then read and dropped.
            let known = account(&[PASSWORD]);
            let of_account = Columns {
                required: &["id"],
                known: known.clone(),
            };
            self.probe_query(&self.account, "account", &of_account).await?;
            let of_login = Columns {
                required: &["id", PASSWORD],
                known,
            };
            self.probe_query(&self.login, "login", &of_login).await?;
            if let Some(alias) = &self.alias {
                let columns = Columns {
                    required: &[TARGET],
                    known: vec![TARGET],
                };
                self.probe_query(alias, "alias", &columns).await?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_column_is_read_as_text() {
        let row = from_json(
            r#"{"id":7,"enabled":false,"forward":["a@b.example","c@d.example"],"address":null,"x":"y"}"#,
        );
        let row = row.expect("a row");
        assert_eq!(row.key(), Ok("7"));
        assert_eq!(row.value("enabled"), Ok(Some("false")));
        assert_eq!(row.values("forward").count(), 2);
        assert_eq!(row.value("address"), Ok(None));
        assert!(from_json("[1]").is_err());
    }

    #[test]
    fn columns_are_known_and_complete() {
        let columns = Columns {
            required: &["id"],
            known: vec!["id", "enabled"],
        };
        assert_eq!(columns.problem(&["enabled", "id"]), None);
        assert!(
            columns
                .problem(&["enabled"])
                .is_some_and(|why| why.contains("no column id"))
        );
        assert!(
            columns
                .problem(&["id", "quota"])
                .is_some_and(|why| why.contains("called quota"))
        );
    }

    #[test]
    fn where_the_server_is_has_a_host_and_no_password() {
        let of = |connect: &str| Settings {
            connect: connect.to_owned(),
            password_file: None,
            tls: true,
            ca_file: None,
            connections: 1,
            domain: String::new(),
            account: String::new(),
            login: String::new(),
            alias: String::new(),
        };
        assert_eq!(
            of("host=/run/postgresql dbname=mail user=ringpost").connect_problem(),
            None
        );
        assert_eq!(
            of("postgresql://ringpost@db.example.org/mail").connect_problem(),
            None
        );
        for (connect, why) in [
            (
                "postgresql://ringpost:secret@db.example.org/mail",
                "password_file",
            ),
            ("dbname=mail", "names no host"),
            ("hosts=x", "hosts"),
        ] {
            let problem = of(connect).connect_problem().expect(connect);
            assert!(problem.contains(why), "{connect}: {problem}");
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
