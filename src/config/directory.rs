//! `[directory]`, `[postgresql]` and `[ldap]` as the back ends take them.

use super::problem::Problem;
use super::values::Values;
use crate::directory::Ages;
use crate::directory::foreign::Manner;
use crate::directory::{ldap, postgres};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where accounts are, and how they are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryOptions {
    pub backend: Backend,
    pub manner: Manner,
}

/// `directory.backend`, with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Embedded,
    Postgres(postgres::Settings),
    Ldap(ldap::Settings),
}

impl Backend {
    /// As the file names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Postgres(_) => "postgresql",
            Self::Ldap(_) => "ldap",
        }
    }
}

impl DirectoryOptions {
    /// Relative paths are below `directory`.
    pub(super) fn from_values(values: &Values, directory: &Path) -> Self {
        let seconds = |key: &str| Duration::from_secs(values.number(key));
        let postgresql = postgresql(values, directory);
        let ldap = ldap(values, directory);
        Self {
            backend: match values.text("directory.backend").as_str() {
                "postgresql" => Backend::Postgres(postgresql),
                "ldap" => Backend::Ldap(ldap),
                _ => Backend::Embedded,
            },
            manner: Manner {
                ages: Ages {
                    positive: seconds("directory.cache"),
                    negative: seconds("directory.negative_cache"),
                    stale: seconds("directory.stale"),
                },
                timeout: seconds("directory.timeout"),
                password_scheme: values.text("directory.password_scheme"),
            },
        }
    }

    /// What the chosen back end misses.
    pub(super) fn problems(&self, values: &Values, path: &Path) -> Vec<Problem> {
        let needed = |key: &str, hint: &str| {
            let is_there = !values.text(key).trim().is_empty();
            let problem = Problem::of(path, values.line(key), key).found("nothing");
            let why = format!("a value, because directory.backend is {}", self.backend.name());
            (!is_there).then(|| problem.expected(&why, hint))
        };
        match &self.backend {
            Backend::Embedded => Vec::new(),
            Backend::Postgres(settings) => {
                let connect = needed(
                    "postgresql.connect",
                    "host=/run/postgresql dbname=mail user=ringpost",
                );
                let bad = || {
                    let why = settings.connect_problem()?;
                    let key = "postgresql.connect";
                    let expected = "where the server is, without a password";
                    Some(Problem::of(path, values.line(key), key).expected(expected, &why))
                };
                let queries = [
                    needed("postgresql.domain", "SELECT 1 FROM domains WHERE name = :domain"),
                    needed(
                        "postgresql.account",
                        "SELECT id FROM accounts WHERE address = :address",
                    ),
                ];
                let connect = connect.or_else(bad);
                connect.into_iter().chain(queries.into_iter().flatten()).collect()
            }
            Backend::Ldap(settings) => {
                let url = needed("ldap.url", "ldap://ldap.example.com");
                let bad = || {
                    let why = settings.url_problem()?;
                    let key = "ldap.url";
                    Some(Problem::of(path, values.line(key), key).expected("ldap:// or ldaps://", &why))
                };
                let domains = settings
                    .domains
                    .is_empty()
                    .then(|| needed("ldap.domain", "or ldap.domains = [\"example.com\"]"));
                let account = needed("ldap.account", "(mail={address})");
                let target = (!settings.alias.trim().is_empty()).then(|| {
                    needed(
                        "ldap.attributes.target",
                        "the attribute that ldap.alias' entries have",
                    )
                });
                let all = [url.or_else(bad), domains.flatten(), account, target.flatten()];
                all.into_iter().flatten().collect()
            }
        }
    }
}

fn file(values: &Values, key: &str, directory: &Path) -> Option<PathBuf> {
    let text = values.text(key);
    (!text.is_empty()).then(|| directory.join(text))
}

fn connections(values: &Values) -> usize {
    usize::try_from(values.number("directory.connections")).unwrap_or(1)
}

fn postgresql(values: &Values, directory: &Path) -> postgres::Settings {
    let text = |name: &str| values.text(&format!("postgresql.{name}"));
    postgres::Settings {
        connect: text("connect"),
        password_file: file(values, "postgresql.password_file", directory),
        tls: values.flag("postgresql.tls"),
        ca_file: file(values, "postgresql.ca_file", directory),
        connections: connections(values),
        domain: text("domain"),
        account: text("account"),
        login: text("login"),
        alias: text("alias"),
    }
}

fn ldap(values: &Values, directory: &Path) -> ldap::Settings {
    let text = |name: &str| values.text(&format!("ldap.{name}"));
    let attribute = |name: &'static str| (name, values.text(&format!("ldap.attributes.{name}")));
    ldap::Settings {
        url: text("url"),
        tls: values.flag("ldap.tls"),
        ca_file: file(values, "ldap.ca_file", directory),
        bind_dn: text("bind_dn"),
        password_file: file(values, "ldap.password_file", directory),
        base: text("base"),
        connections: connections(values),
        domains: values.domains("ldap.domains"),
        domain: text("domain"),
        account: text("account"),
        login: text("login"),
        alias: text("alias"),
        checks_by_bind: text("check_password") == "bind",
        attributes: ldap::ATTRIBUTES.iter().map(|name| attribute(name)).collect(),
    }
}
