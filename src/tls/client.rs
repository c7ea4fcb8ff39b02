//! TLS as a client: to directories and issuers of certificates.
//!
//! Invariants: a server's certificate is always verified, by the roots that the machine trusts or by those of one file.
//! Not here: TLS to other MTAs.

use super::error::TlsError;
use crate::disk::small;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// A configuration that trusts the issuers in the PEM file `roots`; without one, those that the machine trusts.
///
/// # Errors
/// [`TlsError`]: there are none, or they cannot be read.
pub fn client_config(roots: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let certificates = match roots {
        Some(path) => from_file(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        let place = roots.map_or_else(
            || "this machine (is ca-certificates installed?)".to_owned(),
            |path| path.display().to_string(),
        );
        return Err(TlsError::Chain(format!("{place} has no certificates of issuers")));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?;
    Ok(builder.with_root_certificates(store).with_no_client_auth())
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unreadable = |error: &dyn std::fmt::Display| TlsError::Chain(format!("{}: {error}", path.display()));
    let text = small::read(path).map_err(TlsError::Chain)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    found.map_err(|error| unreadable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = client_config(Some(file.path())).expect_err("it is empty");
        let name = file.path().display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
        let missing = client_config(Some(Path::new("/nonexistent/ca.pem"))).expect_err("it is not there");
        assert!(missing.to_string().contains("/nonexistent/ca.pem"), "{missing}");
    }
}
