//! The one file that says how a server is to be.
//!
//! Every option is declared once, in `options`: key, meaning, unit, default, range, and whether a running server takes a new
//! value. From that one table come what the file may say (`read`), the commented file that `init` writes, `config explain`
//! and `config diff` (`show`).
//! Invariants: an unknown key is an error; all problems of a file are reported at once, each with line, key, what was found,
//! what was expected and a hint; a file with a problem changes nothing.
//! Limits: [`read::FILE_BYTES_MAX`].
//! Not here: accounts, aliases and domains' settings (`directory`), what is done with a value (`boot`).

mod acme;
mod directory;
pub mod option;
pub mod options;
mod options_acme;
mod options_directory;
mod options_server;
pub mod problem;
pub mod read;
mod sections;
pub mod show;
#[cfg(test)]
mod tests;
pub mod values;

pub use directory::{Backend, DirectoryOptions};
pub use option::Value;
pub use problem::{Problem, Problems};
pub use sections::{CertificateFiles, Imap, Limits, Oauth, Security, Server, Storage, Tls, Web};
pub use values::Values;

use crate::auth::oauth;
use crate::session::Service;
use std::net::SocketAddr;
use std::path::Path;
use tracing_subscriber::EnvFilter;

/// Where the file is looked for unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/ringpost/ringpost.toml";

/// Least limit of messages for one command, if there is one (RFC 9738 §3).
const MESSAGE_LIMIT_MIN: u32 = 1_000;

/// What a file says, its paths made absolute. Every field is an option of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: Server,
    /// `[log]`
    pub log_filter: String,
    /// Addresses of each service that listens.
    pub listen: Vec<(Service, Vec<SocketAddr>)>,
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub tls: Tls,
    pub limits: Limits,
    pub store: Storage,
    pub security: Security,
    /// `None`: tokens are not taken.
    pub oauth: Option<Oauth>,
    /// `[pop3]`
    pub pop3_login_delay_seconds: u32,
    pub imap: Imap,
    pub web: Web,
    /// `[acme]`; `None`: no issuer is asked.
    pub acme: Option<crate::acme::Settings>,
    pub acme_listen: Vec<SocketAddr>,
    /// `[directory]`, `[postgresql]`, `[ldap]`
    pub directory: DirectoryOptions,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<(Self, Values), Problems> {
        match Self::examine(path) {
            (Some(read), problems) if problems.is_empty() => Ok(read),
            (_, problems) => Err(Problems(problems)),
        }
    }

    /// Reads the file at `path` as far as it goes, with all its problems: what is wrong with single values does not hide what
    /// does not fit together. An option that is wrong has its default here.
    #[must_use]
    pub fn examine(path: &Path) -> (Option<(Self, Values)>, Vec<Problem>) {
        let (values, mut problems) = read::file(path);
        let Some(values) = values else {
            return (None, problems);
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let config = Self::from_values(&values, directory);
        for problem in config.problems(&values, path) {
            if !problems.iter().any(|told| told.key == problem.key) {
                problems.push(problem);
            }
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        (Some((config, values)), problems)
    }

    /// From values that were checked one by one; relative paths are below `directory`.
    #[must_use]
    pub fn from_values(values: &Values, directory: &Path) -> Self {
        let server = Server::from_values(values, directory);
        Self {
            tls: Tls::from_values(values, directory, &server.data),
            server,
            log_filter: values.text("log.filter"),
            listen: listening(values),
            http: values.addresses("listen.http"),
            https: values.addresses("listen.https"),
            limits: Limits::from_values(values),
            store: Storage::from_values(values),
            security: Security::from_values(values),
            oauth: Oauth::from_values(values, directory),
            pop3_login_delay_seconds: values.count("pop3.login_delay"),
            imap: Imap::from_values(values),
            web: Web::from_values(values),
            acme: acme::from_values(values, directory),
            acme_listen: values.addresses("acme.listen"),
            directory: DirectoryOptions::from_values(values, directory),
        }
    }

    /// What does not fit together about tokens.
    fn oauth_problems(&self, values: &Values, path: &Path, problems: &mut Vec<Problem>) {
        let Some(oauth) = &self.oauth else { return };
        let mut add = |key: &str, found: &str, expected: &str, hint: &str| {
            problems.push(
                Problem::of(path, values.line(key), key)
                    .found(found)
                    .expected(expected, hint),
            );
        };
        for (key, url) in [
            ("oauth.issuer", &oauth.issuer),
            ("oauth.keys", &oauth.keys),
            ("oauth.introspection", &oauth.introspection),
        ] {
            if !url.is_empty() && oauth::Url::parse(url).is_err() {
                add(
                    key,
                    url,
                    "a URL with https",
                    "http is taken for this machine only",
                );
            }
        }
        let verifies = oauth.introspection.is_empty() || !oauth.keys.is_empty();
        if verifies && oauth.audience.is_empty() {
            let hint = "tokens for another program of your users would open their mail";
            add("oauth.audience", "\"\"", "whom tokens are for", hint);
        }
        if oauth.login_claim.is_empty() {
            add("oauth.login_claim", "\"\"", "the name of a claim", "email is one");
        }
    }

    /// Addresses that two services want. Sockets of different services could share one, and each would get some of the
    /// other's connections.
    fn address_problems(&self, values: &Values, path: &Path, problems: &mut Vec<Problem>) {
        let mut seen: Vec<(String, SocketAddr)> = Vec::new();
        let services = self.listen.iter().map(|(service, list)| (service.name(), list));
        let web = [("http", &self.http), ("https", &self.https)];
        let named = services
            .chain(web)
            .map(|(name, list)| (format!("listen.{name}"), list));
        for (key, list) in named.chain([("acme.listen".to_owned(), &self.acme_listen)]) {
            for address in list.iter().filter(|address| address.port() != 0) {
                if let Some((other, taken)) = seen.iter().find(|(_, taken)| overlap(*taken, *address)) {
                    problems.push(
                        Problem::of(path, values.line(&key), &key)
                            .found(address)
                            .expected(
                                "an address that no other service has",
                                &format!("{other} has {taken}"),
                            ),
                    );
                }
                seen.push((key.clone(), *address));
            }
        }
    }

    /// What no single option shows.
    fn problems(&self, values: &Values, path: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.listen.is_empty() {
            problems.push(Problem::of(path, None, "listen").expected(
                "at least one service that listens",
                "for example smtp = [\"0.0.0.0:25\", \"[::]:25\"]",
            ));
        }
        if let Err(error) = EnvFilter::try_new(&self.log_filter) {
            problems.push(
                Problem::of(path, values.line("log.filter"), "log.filter")
                    .found(&self.log_filter)
                    .expected(
                        "a level, or levels of parts with commas between",
                        &error.to_string(),
                    ),
            );
        }
        self.oauth_problems(values, path, &mut problems);
        if let Some(limit) = self
            .imap
            .message_limit
            .filter(|limit| limit.get() < MESSAGE_LIMIT_MIN)
        {
            let key = "imap.message_limit";
            problems.push(Problem::of(path, values.line(key), key).found(limit).expected(
                "0, or 1000 and more",
                "RFC 9738 allows no lower limit, and programs count on it",
            ));
        }
        self.address_problems(values, path, &mut problems);
        problems.extend(self.directory.problems(values, path));
        if let Some(settings) = &self.acme {
            problems.extend(acme::problems(settings, values, path));
        }
        problems
    }
}

/// Whether a connection could be for both. IPv6 sockets take IPv6 only.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_either_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || is_either_all)
}

/// Every service that has addresses to listen on.
fn listening(values: &Values) -> Vec<(Service, Vec<SocketAddr>)> {
    let key = |service: Service| format!("listen.{}", service.name());
    Service::ALL
        .into_iter()
        .filter(|service| options::find(&key(*service)).is_some())
        .map(|service| (service, values.addresses(&key(service))))
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect()
}
