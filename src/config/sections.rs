//! The sections of the file, each from values that were checked one by one.
//!
//! Invariants: a section's fields are its options, of the same names; relative paths are below the directory of the file.
//! Not here: what does not fit together (the module above), accounts' (`directory`) and the issuer's (`acme`) sections.

use super::Values;
use crate::base::network::Network;
use crate::discovery::MtaStsMode;
use crate::model::Domain;
use crate::tls::clients::AccountField;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

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

impl Server {
    pub(super) fn from_values(values: &Values, directory: &Path) -> Self {
        Self {
            hostname: values.domain("server.hostname"),
            domain: values.domain("server.domain"),
            user: values.text("server.user"),
            cores: u16::try_from(values.number("server.cores")).unwrap_or_default(),
            network: values.text("server.network"),
            data: directory.join(values.text("server.data")),
        }
    }
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

impl Tls {
    /// `data`: where the certificate is that `init` made.
    pub(super) fn from_values(values: &Values, directory: &Path, data: &Path) -> Self {
        let path = |key: &str| directory.join(values.text(key));
        let files = |label: &String| CertificateFiles {
            chain: path(&format!("tls.certificate.{label}.chain")),
            key: path(&format!("tls.certificate.{label}.key")),
        };
        let labels = values.labels("tls.certificate");
        let (default, others): (Vec<&String>, Vec<&String>) =
            labels.iter().partition(|label| *label == "default");
        let made = || CertificateFiles {
            chain: data.join("tls/default.crt"),
            key: data.join("tls/default.key"),
        };
        let field = match values.text("tls.client_account").as_str() {
            "common_name" => AccountField::CommonName,
            _ => AccountField::Email,
        };
        Self {
            default: default.first().copied().map_or_else(made, files),
            is_default_made: default.is_empty(),
            certificates: others.into_iter().map(files).collect(),
            watch_seconds: values.number("tls.watch"),
            clients: (!values.text("tls.client_ca").is_empty()).then(|| (path("tls.client_ca"), field)),
        }
    }
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

impl Limits {
    pub(super) fn from_values(values: &Values) -> Self {
        Self {
            submission_messages_per_hour: values.count("limits.submission_messages_per_hour"),
            submission_recipients_per_day: values.count("limits.submission_recipients_per_day"),
            message_bytes: values.number("limits.message_bytes"),
            loopback: values.flag("limits.loopback"),
        }
    }
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

impl Storage {
    pub(super) fn from_values(values: &Values) -> Self {
        Self {
            expunged_kept_seconds: values.number("store.expunged_kept"),
            compaction: values.flag("store.compaction"),
            compaction_pause_seconds: values.number("store.compaction_pause"),
            compaction_bytes_per_second: values.number("store.compaction_bytes_per_second"),
            compaction_dead_bytes: values.number("store.compaction_dead_bytes"),
            segment_bytes: values.count("store.segment_bytes"),
        }
    }
}

/// `[security]`
#[derive(Clone, Debug, PartialEq)]
pub struct Security {
    pub plaintext_login_on_loopback: bool,
    pub trusted_proxies: Vec<Network>,
    pub xclient_from: Vec<Network>,
    pub scram: bool,
}

impl Security {
    pub(super) fn from_values(values: &Values) -> Self {
        Self {
            plaintext_login_on_loopback: values.flag("security.plaintext_login_on_loopback"),
            trusted_proxies: values.networks("security.trusted_proxies"),
            xclient_from: values.networks("security.xclient_from"),
            scram: values.flag("security.scram"),
        }
    }
}

/// `[imap]`
#[derive(Clone, Debug, PartialEq)]
pub struct Imap {
    pub hidden_capabilities: Vec<String>,
    pub literal_plus: bool,
    pub compress: bool,
    pub message_limit: Option<NonZeroU32>,
}

impl Imap {
    pub(super) fn from_values(values: &Values) -> Self {
        Self {
            hidden_capabilities: values.list("imap.hidden_capabilities"),
            literal_plus: values.flag("imap.literal_plus"),
            compress: values.flag("imap.compress"),
            message_limit: NonZeroU32::new(values.count("imap.message_limit")),
        }
    }
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

impl Oauth {
    pub(super) fn from_values(values: &Values, directory: &Path) -> Option<Self> {
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

/// `[web]`
#[derive(Clone, Debug, PartialEq)]
pub struct Web {
    pub mta_sts: Option<MtaStsMode>,
    pub mta_sts_max_age_seconds: u32,
    pub metrics_from: Vec<Network>,
}

impl Web {
    pub(super) fn from_values(values: &Values) -> Self {
        Self {
            mta_sts: match values.text("web.mta_sts").as_str() {
                "enforce" => Some(MtaStsMode::Enforce),
                "testing" => Some(MtaStsMode::Testing),
                "none" => Some(MtaStsMode::None),
                _ => None,
            },
            mta_sts_max_age_seconds: values.count("web.mta_sts_max_age"),
            metrics_from: values.networks("web.metrics_from"),
        }
    }
}
