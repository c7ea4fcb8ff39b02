//! LDAP as the directory, by the site's own filters (RFC 4511, RFC 4513).
//!
//! Searches share one connection, which is bound as the site's reader; passwords are checked by binds on others, because a
//! bind changes who a connection is.
//! Invariants: whatever a peer sent is an escaped value (`filter`); an empty password is never sent; TLS is verified, and
//! begins before anything else is said.
//! Limits: [`Settings::connections`] binds at a time; the time-out of each question (`foreign`).
//! Failure: see `foreign`; a connection on which anything failed or was given up is thrown away and made anew.
//! Not here: what the attributes mean (`foreign::row`).

pub mod filter;

use super::foreign::{Failure, Fetching, Row, TARGETS_MAX, Tables};
use crate::disk::small;
use crate::model::Domain;
use crate::tls;
use filter::Filter;
use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope, SearchEntry, SearchOptions,
};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

/// Placeholders of the filter for domains.
pub const DOMAIN_PLACEHOLDERS: &[&str] = &["domain"];

/// Of the filters for accounts and aliases.
pub const ADDRESS_PLACEHOLDERS: &[&str] = &["address", "local_part", "domain"];

/// Of the filter for logins; `local_part` is all of it and `domain` empty where it has no at sign.
pub const LOGIN_PLACEHOLDERS: &[&str] = &["login", "local_part", "domain"];

/// Facts that an attribute can be named for: names of `foreign::row`.
pub const ATTRIBUTES: &[&str] = &[
    "id",
    "address",
    "password",
    "enabled",
    "protocols",
    "quota_bytes",
    "quota_messages",
    "forward",
    "target",
    "catch_all",
];

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub url: String,
    /// StartTLS on `ldap://`.
    pub tls: bool,
    pub ca_file: Option<PathBuf>,
    /// Empty: anonymous.
    pub bind_dn: String,
    pub password_file: Option<PathBuf>,
    pub base: String,
    /// For binds.
    pub connections: usize,
    /// Domains that have no entries.
    pub domains: Vec<Domain>,
    /// Empty: only those of `domains`.
    pub domain: String,
    pub account: String,
    /// Empty: whoever has the address.
    pub login: String,
    /// Empty: there are no aliases.
    pub alias: String,
    pub checks_by_bind: bool,
    /// Of each of [`ATTRIBUTES`], the attribute; empty: none.
    pub attributes: Vec<(&'static str, String)>,
}

impl Settings {
    /// What is wrong with the URL; `None`: nothing.
    #[must_use]
    pub fn url_problem(&self) -> Option<String> {
        let known = ["ldap://", "ldaps://", "ldapi://"];
        let host = known.iter().find_map(|scheme| self.url.strip_prefix(scheme));
        match host {
            None => Some(format!("it begins with none of {}", known.join(", "))),
            Some(host) if host.is_empty() || host.contains(['@', ' ']) => Some("it names no host".to_owned()),
            Some(_) => None,
        }
    }
}

/// The back end.
pub struct Directory {
    settings: Settings,
    password: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
    domain: Option<Filter>,
    account: Filter,
    login: Filter,
    alias: Option<Filter>,
    searching: AsyncMutex<Option<Ldap>>,
    binding: Semaphore,
    idle: Mutex<Vec<Ldap>>,
}

impl Directory {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// What is wrong with the settings or the files they name.
    pub fn new(settings: &Settings, timeout: Duration) -> Result<Self, String> {
        if let Some(why) = settings.url_problem() {
            return Err(format!("ldap.url: {why}"));
        }
        let optional = |text: &str, names| match text.trim() {
            "" => Ok(None),
            text => Filter::parse(text, names).map(Some),
        };
        let account = Filter::parse(&settings.account, ADDRESS_PLACEHOLDERS)?;
        let password = match &settings.password_file {
            Some(path) => small::read_text(path).map_err(|why| format!("ldap.password_file: {why}"))?,
            None => String::new(),
        };
        let is_encrypted =
            settings.url.starts_with("ldaps://") || settings.url.starts_with("ldap://") && settings.tls;
        let tls = is_encrypted.then(|| tls::client_config(settings.ca_file.as_deref()));
        let tls = tls.transpose().map_err(|error| error.to_string())?;
        Ok(Self {
            password: password.trim_end_matches(['\r', '\n']).to_owned(),
            tls: tls.map(Arc::new),
            timeout,
            domain: optional(&settings.domain, DOMAIN_PLACEHOLDERS)?,
            login: optional(&settings.login, LOGIN_PLACEHOLDERS)?.unwrap_or_else(|| account.clone()),
            account,
            alias: optional(&settings.alias, ADDRESS_PLACEHOLDERS)?,
            searching: AsyncMutex::default(),
            binding: Semaphore::new(settings.connections),
            idle: Mutex::default(),
            settings: settings.clone(),
        })
    }

    async fn connect(&self) -> Result<Ldap, Failure> {
        let mut settings = LdapConnSettings::new().set_conn_timeout(self.timeout);
        if let Some(tls) = &self.tls {
            let starts = self.settings.url.starts_with("ldap://");
            settings = settings.set_config(tls.clone()).set_starttls(starts);
        }
        let connected = LdapConnAsync::with_settings(settings, &self.settings.url).await;
        let (connection, ldap) = connected.map_err(|error| Failure::Down(error.to_string()))?;
        tokio::spawn(async move {
            // Its end is seen by whoever asks next.
            let _ = connection.drive().await;
        });
        Ok(ldap)
    }

    /// The connection for searches, bound.
    async fn reader(&self) -> Result<Ldap, Failure> {
        let mut searching = self.searching.lock().await;
        if let Some(ldap) = searching.as_mut()
            && !ldap.is_closed()
        {
            return Ok(ldap.clone());
        }
        *searching = None;
        let mut ldap = self.connect().await?;
        if !self.settings.bind_dn.is_empty() {
            let bound = ldap.simple_bind(&self.settings.bind_dn, &self.password).await;
            let bound = bound.map_err(|error| Failure::Down(error.to_string()))?;
            if bound.rc != 0 {
                // Not at full speed again: too many wrong binds lock an entry.
                return Err(Failure::Down(format!(
                    "{} may not bind: {}",
                    self.settings.bind_dn,
                    told(&bound)
                )));
            }
        }
        *searching = Some(ldap.clone());
        Ok(ldap)
    }

    /// Entries below the base that a filter finds.
    async fn search(&self, filter: &Filter, asked: &str, limit: usize) -> Result<Vec<SearchEntry>, Failure> {
        let (local_part, domain) = asked.rsplit_once('@').unwrap_or((asked, ""));
        let filter = filter.with(|name| match name {
            "local_part" => local_part,
            "domain" if asked.contains('@') => domain,
            _ => asked,
        });
        let attributes: Vec<&str> = self.attributes().map(|(_, attribute)| attribute).collect();
        let sizelimit = i32::try_from(limit).unwrap_or(i32::MAX);
        let ldap3::SearchResult(entries, result) =
            self.ask(Scope::Subtree, &filter, attributes, sizelimit).await?;
        match result.rc {
            0 => {}
            SIZE_LIMIT_EXCEEDED => {
                return Err(Failure::Wrong(
                    "it has more entries for one key than there may be".to_owned(),
                ));
            }
            NO_SUCH_OBJECT => return Ok(Vec::new()),
            _ => return Err(refused(&result)),
        }
        let is_entry = |entry: &ldap3::ResultEntry| !entry.is_ref() && !entry.is_intermediate();
        Ok(entries
            .into_iter()
            .filter(is_entry)
            .map(SearchEntry::construct)
            .collect())
    }

    /// By the connection for searches.
    async fn ask(
        &self,
        scope: Scope,
        filter: &str,
        attributes: Vec<&str>,
        sizelimit: i32,
    ) -> Result<ldap3::SearchResult, Failure> {
        let mut ldap = self.reader().await?;
        let unanswered = Unanswered(&self.searching);
        ldap.with_search_options(SearchOptions::new().sizelimit(sizelimit));
        let found = ldap.search(&self.settings.base, scope, filter, attributes).await;
        let found = found.map_err(|error| broken(&error))?;
        unanswered.settle();
        Ok(found)
    }

    async fn one(&self, filter: &Filter, asked: &str) -> Result<Option<SearchEntry>, Failure> {
        let mut entries = self.search(filter, asked, 2).await?;
        if entries.len() > 1 {
            return Err(Failure::Wrong("it has several entries for one key".to_owned()));
        }
        Ok(entries.pop())
    }

    fn attributes(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let reads_hashes = !self.settings.checks_by_bind;
        let named = self
            .settings
            .attributes
            .iter()
            .filter(|(_, attribute)| !attribute.is_empty());
        named
            .filter(move |(name, _)| reads_hashes || *name != "password")
            .map(|(name, attribute)| (*name, attribute.as_str()))
    }

    fn row(&self, entry: &SearchEntry) -> Row {
        let mut row = Row::default();
        for (name, attribute) in self.attributes() {
            let is_it = |key: &&String| key.eq_ignore_ascii_case(attribute);
            let texts = entry
                .attrs
                .iter()
                .filter(|(key, _)| is_it(key))
                .flat_map(|(_, values)| values.clone());
            // An objectGUID, for example.
            let octets = entry
                .bin_attrs
                .iter()
                .filter(|(key, _)| is_it(key))
                .flat_map(|(_, values)| values);
            let values: Vec<String> = texts.chain(octets.map(|octets| hexadecimal(octets))).collect();
            if !values.is_empty() {
                row.add(name, values);
            }
        }
        row
    }

    async fn bind(&self, dn: &str, password: &str) -> Result<bool, Failure> {
        let _turn = self
            .binding
            .acquire()
            .await
            .map_err(|error| Failure::Down(error.to_string()))?;
        let idle = self.idle.lock().pop();
        let mut ldap = match idle.and_then(|mut ldap| (!ldap.is_closed()).then_some(ldap)) {
            Some(ldap) => ldap,
            None => self.connect().await?,
        };
        let bound = ldap
            .simple_bind(dn, password)
            .await
            .map_err(|error| broken(&error))?;
        match bound.rc {
            0 => {
                self.idle.lock().push(ldap);
                Ok(true)
            }
            INVALID_CREDENTIALS => {
                self.idle.lock().push(ldap);
                Ok(false)
            }
            // The entry is locked, has no password or may not bind: none of it is a temporary failure of ours.
            INAPPROPRIATE_AUTHENTICATION
            | CONSTRAINT_VIOLATION
            | INSUFFICIENT_ACCESS
            | UNWILLING_TO_PERFORM => Ok(false),
            _ => Err(refused(&bound)),
        }
    }
}

/// A search under way on the connection kept there. Unless it is answered, because of an error or because nobody waits any
/// more, the connection is given up: one that a firewall has forgotten would be asked for as long as the kernel hopes.
struct Unanswered<'a>(&'a AsyncMutex<Option<Ldap>>);

impl Unanswered<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        // Locked: it is being made anew.
        if let Ok(mut searching) = self.0.try_lock() {
            *searching = None;
        }
    }
}

/// Result codes of RFC 4511, appendix A.
const TIME_LIMIT_EXCEEDED: u32 = 3;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const CONSTRAINT_VIOLATION: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS: u32 = 50;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const UNWILLING_TO_PERFORM: u32 = 53;

fn refused(result: &LdapResult) -> Failure {
    match result.rc {
        TIME_LIMIT_EXCEEDED | BUSY | UNAVAILABLE => Failure::Down(told(result)),
        _ => Failure::Wrong(told(result)),
    }
}

fn told(result: &LdapResult) -> String {
    format!("{result}")
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

fn broken(error: &LdapError) -> Failure {
    match error {
        LdapError::FilterParsing => Failure::Wrong(error.to_string()),
        _ => Failure::Down(error.to_string()),
    }
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

impl Tables for Directory {
    fn name(&self) -> &'static str {
        "ldap"
    }

    fn domain<'a>(&'a self, domain: &'a str) -> Fetching<'a, Option<Row>> {
        Box::pin(async move {
            if self.settings.domains.iter().any(|own| own.as_str() == domain) {
                return Ok(Some(Row::default()));
            }
            let Some(filter) = &self.domain else {
                return Ok(None);
            };
            let found = self.search(filter, domain, 2).await?;
            Ok(found.first().map(|entry| self.row(entry)))
        })
    }

    fn account<'a>(&'a self, address: &'a str) -> Fetching<'a, Option<Row>> {
        Box::pin(async move {
            Ok(self
                .one(&self.account, address)
                .await?
                .map(|entry| self.row(&entry)))
        })
    }

    fn alias<'a>(&'a self, address: &'a str) -> Fetching<'a, Vec<Row>> {
        Box::pin(async move {
            let Some(filter) = &self.alias else {
                return Ok(Vec::new());
            };
            let entries = self.search(filter, address, TARGETS_MAX).await?;
            Ok(entries.iter().map(|entry| self.row(entry)).collect())
        })
    }

    fn login<'a>(&'a self, login: &'a str) -> Fetching<'a, Option<(Row, Option<Arc<str>>)>> {
        Box::pin(async move {
            let found = self.one(&self.login, login).await?;
            Ok(found.map(|entry| {
                let checked_by = self.settings.checks_by_bind.then(|| Arc::from(entry.dn.as_str()));
                (self.row(&entry), checked_by)
            }))
        })
    }

    fn check_password<'a>(&'a self, reference: &'a str, password: &'a [u8]) -> Fetching<'a, bool> {
        Box::pin(async move {
            match std::str::from_utf8(password) {
                Ok(password) if !password.is_empty() && !reference.is_empty() => {
                    self.bind(reference, password).await
                }
                _ => Ok(false),
            }
        })
    }

    fn probe(&self) -> Fetching<'_, ()> {
        Box::pin(async move {
            // Nobody has this name; what is looked at is whether the server takes the filter and the base.
            let filters = [Some(&self.account), Some(&self.login), self.alias.as_ref()];
            for filter in filters.into_iter().flatten() {
                self.search(filter, "ringpost-probe@invalid", 2).await?;
            }
            let found = self.ask(Scope::Base, "(objectClass=*)", vec!["1.1"], 2).await?;
            match found.1 {
                result if result.rc == 0 => Ok(()),
                result => Err(Failure::Wrong(format!(
                    "ldap.base {}: {}",
                    self.settings.base,
                    told(&result)
                ))),
            }
        })
    }
}

#[cfg(test)]
mod tests;
