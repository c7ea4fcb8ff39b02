//! Why TLS cannot be offered. Whose fault it is: the admin's, whose file it was.

/// Why a certificate or configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate chain cannot be read: {0}")]
    Chain(String),
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// For example a key that does not belong to the certificate.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
    #[error("no self-signed certificate could be made: {0}")]
    SelfSigned(rcgen::Error),
}
