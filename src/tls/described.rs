//! What a certificate says of itself.

use super::error::TlsError;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// A certificate, for the log and for admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The names it is good for.
    pub names: Vec<String>,
    /// The first second of its validity, Unix time.
    pub begins_at: i64,
    /// The last second of its validity, Unix time.
    pub expires_at: i64,
    /// Nobody else vouches for it.
    pub is_self_signed: bool,
}

/// What a certificate (DER) says.
///
/// # Errors
/// [`TlsError::Chain`]: it cannot be read.
pub fn describe(der: &[u8]) -> Result<Described, TlsError> {
    let (_, certificate) = parse_x509_certificate(der).map_err(|error| TlsError::Chain(error.to_string()))?;
    let alternative = certificate
        .subject_alternative_name()
        .map_err(|error| TlsError::Chain(error.to_string()))?;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    };
    let names = alternative.map_or_else(Vec::new, |extension| {
        extension.value.general_names.iter().filter_map(name).collect()
    });
    Ok(Described {
        names,
        begins_at: certificate.validity().not_before.timestamp(),
        expires_at: certificate.validity().not_after.timestamp(),
        is_self_signed: certificate.issuer() == certificate.subject(),
    })
}
