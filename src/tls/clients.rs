//! Certificates of clients: who vouches for them, and which accounts they name.
//!
//! Invariants: a certificate that none of the authorities vouches for ends the handshake; to show none is no fault.
//! LIMITATION: revocation lists are not looked at: an authority that takes a certificate back needs short lifetimes, or the
//! account disabled here.
//! Standards: RFC 5280 §4.2.1.6 (rfc822Name), RFC 4422 appendix A (EXTERNAL).
//! Not here: whether a named account may log in (`auth`).

use super::error::TlsError;
use crate::model::login_key;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Where a certificate says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountField {
    /// Its alternative names that are mail addresses.
    Email,
    /// The common name of its subject.
    CommonName,
}

/// Takes certificates of the authorities in a PEM text, and clients without one.
///
/// # Errors
/// [`TlsError::Chain`] when there is no authority in it.
pub fn verifier(authorities: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(authorities) {
        let der = der.map_err(|error| TlsError::Chain(error.to_string()))?;
        roots.add(der).map_err(TlsError::Unusable)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Chain(error.to_string()))
}

/// The accounts that a certificate (DER) names, as logins compare (`model::login_key`).
#[must_use]
pub fn accounts(der: &[u8], field: AccountField) -> Vec<String> {
    let Ok((_, certificate)) = parse_x509_certificate(der) else {
        return Vec::new();
    };
    let found: Vec<&str> = match field {
        AccountField::Email => {
            let names = certificate.subject_alternative_name().ok().flatten();
            let names = names.map_or(&[][..], |names| &names.value.general_names);
            let address = |name: &GeneralName<'_>| match name {
                GeneralName::RFC822Name(address) => Some(login_key(address)),
                _ => None,
            };
            return names.iter().filter_map(address).collect();
        }
        AccountField::CommonName => certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .collect(),
    };
    found.into_iter().map(login_key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    #[test]
    fn the_accounts_of_a_certificate_are_where_the_operator_says() {
        let mut params = CertificateParams::default();
        let address = |text: &str| SanType::Rfc822Name(text.try_into().expect("ASCII"));
        params.subject_alt_names = vec![address("Alice@Example.org"), address("info@example.org")];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "alice");
        let key = KeyPair::generate().expect("entropy");
        let made = params.self_signed(&key).expect("a certificate");
        let of = |field| accounts(made.der(), field);
        assert_eq!(of(AccountField::Email), ["alice@example.org", "info@example.org"]);
        assert_eq!(of(AccountField::CommonName), ["alice"]);
        assert!(accounts(b"no certificate", AccountField::Email).is_empty());
        assert!(verifier(b"").is_err() && verifier(made.pem().as_bytes()).is_ok());
    }
}
