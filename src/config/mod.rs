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
pub mod show;
#[cfg(test)]
mod tests;
pub mod values;

pub use directory::{Backend, DirectoryOptions};
pub use option::Value;
pub use problem::{Problem, Problems};
pub use values::Values;

use crate::auth::oauth;
use crate::base::network::Network;
use crate::discovery::MtaStsMode;
use crate::model::Domain;
use crate::session::Service;
use crate::tls::clients::AccountField;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
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

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub hostname: Domain,
    pub domain: Domain,
    pub data: PathBuf,
    pub user: String,
    /// 0: all.
    pub cores: u16,
    pub network: String,
}

/// `[tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    pub default: CertificateFiles,
    /// The default is the one that `init` made.
    pub is_default_made: bool,
    pub certificates: Vec<CertificateFiles>,
    /// Seconds between two looks at the files.
    pub watch_seconds: u64,
    /// Who vouches for clients' certificates, and where these name accounts; `None`: nobody logs in by one.
    pub clients: Option<(PathBuf, AccountField)>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub chain: PathBuf,
    pub key: PathBuf,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub submission_messages_per_hour: u32,
    pub submission_recipients_per_day: u32,
    pub message_bytes: u64,
    pub loopback: bool,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq)]
pub struct Storage {
    pub expunged_kept_seconds: u64,
    pub compaction: bool,
    pub compaction_pause_seconds: u64,
    pub compaction_bytes_per_second: u64,
    pub compaction_dead_bytes: u64,
    pub segment_bytes: u32,
}

/// `[security]`
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    pub plaintext_login_on_loopback: bool,
    pub trusted_proxies: Vec<Network>,
    pub xclient_from: Vec<Network>,
    pub scram: bool,
}

/// `[imap]`
#[derive(Clone, Debug, PartialEq)]
pub struct Imap {
    pub hidden_capabilities: Vec<String>,
    pub literal_plus: bool,
    pub compress: bool,
    pub message_limit: Option<NonZeroU32>,
}

/// `[oauth]`
#[derive(Clone, Debug, PartialEq)]
pub struct Oauth {
    pub issuer: String,
    pub audience: String,
    /// Empty: by the issuer's metadata.
    pub keys: String,
    /// Empty: nowhere.
    pub introspection: String,
    pub client_id: String,
    pub client_secret_file: Option<PathBuf>,
    pub login_claim: String,
    pub scope: String,
    pub ca: Option<PathBuf>,
}

/// `[web]`
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    pub mta_sts: Option<MtaStsMode>,
    pub mta_sts_max_age_seconds: u32,
    pub metrics_from: Vec<Network>,
}

impl Oauth {
    fn from_values(values: &Values, directory: &Path) -> Option<Self> {
        let path = |key: &str| {
            let text = values.text(key);
            (!text.is_empty()).then(|| directory.join(text))
        };
        let oauth = Self {
            issuer: values.text("oauth.issuer"),
            audience: values.text("oauth.audience"),
            keys: values.text("oauth.keys"),
            introspection: values.text("oauth.introspection"),
            client_id: values.text("oauth.client_id"),
            client_secret_file: path("oauth.client_secret_file"),
            login_claim: values.text("oauth.login_claim"),
            scope: values.text("oauth.scope"),
            ca: path("oauth.ca"),
        };
        (!oauth.issuer.is_empty()).then_some(oauth)
    }
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
        let path = |key: &str| directory.join(values.text(key));
        let files = |label: &str| CertificateFiles {
            chain: path(&format!("tls.certificate.{label}.chain")),
            key: path(&format!("tls.certificate.{label}.key")),
        };
        let labels = values.labels("tls.certificate");
        let data = path("server.data");
        let default = CertificateFiles {
            chain: data.join("tls/default.crt"),
            key: data.join("tls/default.key"),
        };
        let count = |key: &str| u32::try_from(values.number(key)).unwrap_or(u32::MAX);
        let listening = |service: Service| (service, values.addresses(&format!("listen.{}", service.name())));
        Self {
            server: Server {
                hostname: values.domain("server.hostname"),
                domain: values.domain("server.domain"),
                user: values.text("server.user"),
                cores: u16::try_from(values.number("server.cores")).unwrap_or_default(),
                network: values.text("server.network"),
                data,
            },
            log_filter: values.text("log.filter"),
            listen: Service::ALL
                .into_iter()
                .filter(|service| options::find(&format!("listen.{}", service.name())).is_some())
                .map(listening)
                .filter(|(_, addresses)| !addresses.is_empty())
                .collect(),
            http: values.addresses("listen.http"),
            https: values.addresses("listen.https"),
            tls: Tls {
                default: if labels.iter().any(|label| label == "default") {
                    files("default")
                } else {
                    default
                },
                is_default_made: !labels.iter().any(|label| label == "default"),
                certificates: labels
                    .iter()
                    .filter(|label| *label != "default")
                    .map(|label| files(label))
                    .collect(),
                watch_seconds: values.number("tls.watch"),
                clients: {
                    let field = match values.text("tls.client_account").as_str() {
                        "common_name" => AccountField::CommonName,
                        _ => AccountField::Email,
                    };
                    (!values.text("tls.client_ca").is_empty()).then(|| (path("tls.client_ca"), field))
                },
            },
            limits: Limits {
                submission_messages_per_hour: count("limits.submission_messages_per_hour"),
                submission_recipients_per_day: count("limits.submission_recipients_per_day"),
                message_bytes: values.number("limits.message_bytes"),
                loopback: values.flag("limits.loopback"),
            },
            store: Storage {
                expunged_kept_seconds: values.number("store.expunged_kept"),
                compaction: values.flag("store.compaction"),
                compaction_pause_seconds: values.number("store.compaction_pause"),
                compaction_bytes_per_second: values.number("store.compaction_bytes_per_second"),
                compaction_dead_bytes: values.number("store.compaction_dead_bytes"),
                segment_bytes: count("store.segment_bytes"),
            },
            security: Security {
                plaintext_login_on_loopback: values.flag("security.plaintext_login_on_loopback"),
                trusted_proxies: values.networks("security.trusted_proxies"),
                xclient_from: values.networks("security.xclient_from"),
                scram: values.flag("security.scram"),
            },
            oauth: Oauth::from_values(values, directory),
            pop3_login_delay_seconds: count("pop3.login_delay"),
            imap: Imap {
                hidden_capabilities: values.list("imap.hidden_capabilities"),
                literal_plus: values.flag("imap.literal_plus"),
                compress: values.flag("imap.compress"),
                message_limit: NonZeroU32::new(count("imap.message_limit")),
            },
            web: Web {
                mta_sts: match values.text("web.mta_sts").as_str() {
                    "enforce" => Some(MtaStsMode::Enforce),
                    "testing" => Some(MtaStsMode::Testing),
                    "none" => Some(MtaStsMode::None),
                    _ => None,
                },
                mta_sts_max_age_seconds: count("web.mta_sts_max_age"),
                metrics_from: values.networks("web.metrics_from"),
            },
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
