//! What a configuration means to those who run by it: sessions, the store, TLS, mail programs that ask.
//!
//! Invariants: nothing is started or changed here; a start and a reload ask the same functions, so that they cannot differ.
//! Failure: a file of `tls.client_ca` that cannot be used.
//! Not here: what the file may say (`config`), who is told when it changes (`reload`).

use super::{BootError, cluster};
use crate::config::{Backend, Config};
use crate::discovery::{Endpoint, MtaSts, Protocol, Security};
use crate::disk::{BLOCK_BYTES, small};
use crate::node::submitters::SubmissionLimits;
use crate::node::{LiveSettings, Settings};
use crate::store::StoreOptions;
use crate::tls::{Certificates, Offers, clients};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What sessions are told of a configuration at the start.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    Settings {
        hostname: config.server.hostname.as_str().to_owned(),
        message_bytes_max: config.limits.message_bytes,
        offers_scram: config.security.scram,
        certificate_field: config.tls.clients.as_ref().map(|(_, field)| *field),
        token_refusal: None,
        // Each account may have its own.
        retention: None,
        relays_later: false,
        imap: crate::proto::imap::Config {
            hidden_capabilities: config.imap.hidden_capabilities.clone(),
            is_literal_plus: config.imap.literal_plus,
            is_compress_offered: config.imap.compress,
            message_limit: config.imap.message_limit,
            is_quota_settable: config.directory.backend == Backend::Embedded,
            ..crate::proto::imap::Config::default()
        },
        pop3_login_delay_seconds: config.pop3_login_delay_seconds,
        limit_peers: config.limits.loopback,
        live: Arc::default(),
        discard: None,
    }
}

/// What the store is told of a configuration.
#[must_use]
pub fn store_options(config: &Config) -> StoreOptions {
    let store = &config.store;
    StoreOptions {
        // Whole blocks.
        segment_bytes: store.segment_bytes / BLOCK_BYTES as u32 * BLOCK_BYTES as u32,
        expunged_kept_ms: i64::try_from(store.expunged_kept_seconds.saturating_mul(1_000))
            .unwrap_or(i64::MAX),
        compaction_dead_bytes_min: store.compaction_dead_bytes,
        compaction_bytes_per_second: store.compaction_bytes_per_second,
        ..StoreOptions::default()
    }
}

/// What sessions are told of a configuration, as long as it lasts. `started`: the settings at the start; our name, limits on
/// loopback, and who vouches for certificates and tokens are theirs until a restart.
#[must_use]
pub fn live_settings(config: &Config, started: &Settings) -> LiveSettings {
    let settings = Settings {
        hostname: started.hostname.clone(),
        certificate_field: started.certificate_field,
        token_refusal: started.token_refusal.clone(),
        limit_peers: started.limit_peers,
        ..settings(config)
    };
    LiveSettings {
        protocols: cluster::protocols(&settings),
        allow_plaintext_on_loopback: config.security.plaintext_login_on_loopback,
        submission: SubmissionLimits {
            messages_per_hour: config.limits.submission_messages_per_hour,
            recipients_per_day: config.limits.submission_recipients_per_day,
        },
        trusted_proxies: config.security.trusted_proxies.clone(),
        xclient_from: config.security.xclient_from.clone(),
    }
}

/// The MTA-STS policy that a configuration asks for.
#[must_use]
pub fn mta_sts(config: &Config) -> Option<MtaSts> {
    Some(MtaSts {
        mode: config.web.mta_sts?,
        mx: vec![config.server.hostname.clone()],
        max_age_seconds: config.web.mta_sts_max_age_seconds,
    })
}

/// How TLS is offered: with which certificates, and whether clients may show theirs.
///
/// # Errors
/// [`BootError::Admin`] that names the file.
pub fn offers(config: &Config, certificates: &Certificates) -> Result<Offers, BootError> {
    let Some((path, _)) = &config.tls.clients else {
        return Offers::new(certificates).map_err(|error| BootError::Admin(error.to_string()));
    };
    let wrong = |cause: String| BootError::Admin(format!("tls.client_ca {}: {cause}", path.display()));
    let authorities = small::read(path).map_err(|why| BootError::Admin(format!("tls.client_ca: {why}")))?;
    let clients = clients::verifier(&authorities).map_err(|error| wrong(error.to_string()))?;
    Offers::with_clients(certificates, &clients).map_err(|error| wrong(error.to_string()))
}

/// What mail programs are told of the ports that listen, the best first.
#[must_use]
pub fn endpoints(ports: &BTreeMap<&'static str, u16>) -> Vec<Endpoint> {
    let known = [
        ("imaps", Protocol::Imap, Security::Tls),
        ("imap", Protocol::Imap, Security::StartTls),
        ("pop3s", Protocol::Pop3, Security::Tls),
        ("pop3", Protocol::Pop3, Security::StartTls),
        ("submissions", Protocol::Submission, Security::Tls),
        ("submission", Protocol::Submission, Security::StartTls),
    ];
    let endpoint = |(name, protocol, security)| {
        Some(Endpoint {
            protocol,
            port: *ports.get(name)?,
            security,
        })
    };
    known.into_iter().filter_map(endpoint).collect()
}
