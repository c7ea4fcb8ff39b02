//! Certificates and server configurations.
//!
//! Invariants: a configuration is immutable and shared by all cores; a reload makes a new one.
//! Failure: an unusable certificate or key is the admin's, and says which of them and why.
//! Not here: choosing a certificate by name (a `ResolvesServerCert` given to [`server_config_with`]).

use super::described::{Described, describe};
use super::error::TlsError;
use super::names::Witness;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::sync::Arc;

/// A certificate for `name` that has `digest` in it (RFC 8737 §3); good for nothing else.
pub(super) fn challenge_certificate(name: &str, digest: &[u8]) -> Result<Certificate, TlsError> {
    if digest.len() != 32 {
        return Err(TlsError::Chain("a challenge's digest has 32 octets".to_owned()));
    }
    let key = rcgen::KeyPair::generate().map_err(TlsError::SelfSigned)?;
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).map_err(TlsError::SelfSigned)?;
    parameters.custom_extensions = vec![rcgen::CustomExtension::new_acme_identifier(digest)];
    let made = parameters.self_signed(&key).map_err(TlsError::SelfSigned)?;
    Ok(Certificate {
        chain: vec![made.der().clone()],
        key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    })
}

/// A chain, the server's own certificate first, and its key. No `Debug`: the key is a secret.
pub struct Certificate {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Certificate {
    /// From PEM texts; other sections in them are skipped.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::Chain(error.to_string()))?;
        if chain.is_empty() {
            return Err(TlsError::Chain("no CERTIFICATE section".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TlsError::Key(error.to_string()))?;
        Ok(Self { chain, key })
    }

    /// What its first certificate says.
    ///
    /// # Errors
    /// [`TlsError::Chain`].
    pub fn describe(&self) -> Result<Described, TlsError> {
        describe(self.chain.first().map_or(&[][..], |first| first.as_ref()))
    }
}

/// Days from the first to the last of a certificate that nobody vouches for. Apple's programs refuse what lasts longer than 825,
/// whoever has signed it, and count both ends.
pub const SELF_SIGNED_DAYS: i64 = 820;

/// A new P-256 key and a certificate for `names` (DNS names or addresses) that nobody vouches for.
pub fn self_signed(names: &[String]) -> Result<Certificate, TlsError> {
    let key = rcgen::KeyPair::generate().map_err(TlsError::SelfSigned)?;
    signed_by_itself(names, &key)
}

/// Another certificate for `names`, of a key that is there.
pub fn self_signed_with(names: &[String], key: &PrivateKeyDer<'_>) -> Result<Certificate, TlsError> {
    let key = rcgen::KeyPair::try_from(key).map_err(TlsError::SelfSigned)?;
    signed_by_itself(names, &key)
}

fn signed_by_itself(names: &[String], key: &rcgen::KeyPair) -> Result<Certificate, TlsError> {
    let mut parameters = rcgen::CertificateParams::new(names).map_err(TlsError::SelfSigned)?;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |days: i64| {
        let date = today.saturating_add(jiff::Span::new().days(days));
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(date.year().into(), month, day)
    };
    // From yesterday on: clocks differ.
    parameters.not_before = day(-1);
    parameters.not_after = day(SELF_SIGNED_DAYS - 1);
    // Apple's programs ask for it.
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let made = parameters.self_signed(key).map_err(TlsError::SelfSigned)?;
    Ok(Certificate {
        chain: vec![made.der().clone()],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

/// A configuration with one certificate. `alpn`: the protocols served, most preferred first (`imap`, `pop3`); a client that
/// offers others only is refused, one that offers none is served (RFC 7301 §3.2). Empty: ALPN is ignored.
pub fn server_config(certificate: Certificate, alpn: &[&str]) -> Result<Arc<ServerConfig>, TlsError> {
    let key = CertifiedKey::from_der(certificate.chain, certificate.key, &aws_lc_rs::default_provider())
        .map_err(TlsError::Unusable)?;
    server_config_with(Arc::new(SingleCertAndKey::from(key)), alpn)
}

/// A configuration whose certificate is chosen by `resolver` for each handshake.
pub fn server_config_with(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&str],
) -> Result<Arc<ServerConfig>, TlsError> {
    Ok(Arc::new(any_config(
        resolver,
        alpn,
        WebPkiClientVerifier::no_client_auth(),
    )?))
}

/// The same for a protocol with logins: its connections know their names, and `clients` says whose certificates are taken.
pub(super) fn login_config(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&str],
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    let mut config = any_config(resolver, alpn, clients)?;
    config.key_log = Arc::new(Witness);
    Ok(config)
}

fn any_config(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&str],
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Tickets hold the session at the client, under keys that rotate; nothing is remembered here.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Unusable)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // 0-RTT data can be replayed by anybody who saw it; an APPEND or MAIL must not be (RFC 8446 §8).
    config.max_early_data_size = 0;
    Ok(config)
}
