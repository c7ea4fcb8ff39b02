//! SASL (RFC 4422), the server's side: PLAIN, LOGIN, SCRAM, EXTERNAL, OAUTHBEARER and XOAUTH2, for every protocol alike.
//!
//! Owns the messages of the mechanisms and what they ask of the services; the lines they travel in (initial response, `+`,
//! `334`, `*`) are each protocol's.
//! Invariants: base64 is strict (RFC 4648 §4, padding included); texts are UTF-8 without NUL; a [`Secret`] is never shown
//! and is wiped when dropped, as are the buffers it was decoded in.
//! Limits: [`RESPONSE_BYTES_MAX`].
//! Standards: RFC 4422, 4616 (PLAIN), 5802 and 7677 (SCRAM), 5929 (tls-server-end-point), 9266 (tls-exporter), 7628 (OAUTHBEARER).
//! Not here: whether a password, a token or a certificate is good (`auth`).

mod exchange;
mod mechanism;
mod oauth;
pub mod scram;

pub use exchange::{Exchange, Request, ScramOutcome, Step};
pub use mechanism::{Channel, Mechanism, Mechanisms};
pub use oauth::{Token, TokenRefusal};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest line of a SASL response, octets (RFC 4954 §4).
pub const RESPONSE_BYTES_MAX: usize = 12_288;

/// What the TLS channel of a connection is called, for mechanisms that bind to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-server-end-point` (RFC 5929 §4): the hash of our certificate, which is the same on every connection.
    pub end_point: Option<Box<[u8]>>,
    /// `tls-exporter` (RFC 9266): this connection's alone.
    pub exporter: Option<Box<[u8]>>,
}

impl Bindings {
    /// Whether there is a name at all.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.end_point.is_some() || self.exporter.is_some()
    }

    /// For the protocol's keeping: as long as nobody is logged in, and only where a mechanism needs it.
    #[must_use]
    pub fn kept(self, mechanisms: Mechanisms) -> Option<Box<Self>> {
        let is_needed =
            mechanisms.has(Mechanism::ScramSha256Plus) || mechanisms.has(Mechanism::ScramSha1Plus);
        (is_needed && self.is_any()).then(|| Box::new(self))
    }
}

/// A password. It has no `Debug` and is overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps a copy of `octets`.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.into())
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(octets: &mut [u8]) {
    octets.fill(0);
    // Keeps the compiler from dropping the writes because nobody reads them.
    std::hint::black_box(octets);
}

/// What a peer says to prove who it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Authorization identity: whom to act as, if that is somebody else than `login`.
    pub authorization: Option<Box<str>>,
    /// Authentication identity.
    pub login: Box<str>,
    /// The password.
    pub secret: Secret,
}

/// Why a response is not one. The peer's fault: 501, BAD or -ERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Not base64.
    #[error("not valid base64")]
    Base64,
    /// Base64, but not what the mechanism says.
    #[error("not a valid response of this mechanism")]
    Syntax,
    /// The client binds to another channel than this one, or was made to believe that it cannot.
    #[error("channel binding does not match")]
    Binding,
    /// The client said `*`.
    #[error("cancelled")]
    Cancelled,
    /// The client has acknowledged that its token was refused.
    #[error("refused")]
    Refused,
}

/// `[authzid] NUL authcid NUL passwd`.
fn parse_plain(message: &[u8]) -> Result<Credentials, SaslError> {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(authorization), Some(login), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Syntax);
    };
    if secret.is_empty() {
        return Err(SaslError::Syntax);
    }
    let authorization = parse_name(authorization)?;
    let login = parse_name(login)?.ok_or(SaslError::Syntax)?;
    Ok(Credentials {
        // Acting as oneself is no delegation.
        authorization: authorization.filter(|name| *name != login),
        login,
        secret: Secret::new(secret),
    })
}

/// The second response of LOGIN.
fn parse_login_secret(message: &[u8]) -> Result<Secret, SaslError> {
    let is_secret = !message.is_empty() && !message.contains(&0);
    is_secret.then(|| Secret::new(message)).ok_or(SaslError::Syntax)
}

fn decode(response: &[u8]) -> Result<Vec<u8>, SaslError> {
    if response.len() > RESPONSE_BYTES_MAX {
        return Err(SaslError::Base64);
    }
    STANDARD.decode(response).map_err(|_| SaslError::Base64)
}

/// A name: UTF-8 without NUL and other controls; `None` when empty.
fn parse_name(octets: &[u8]) -> Result<Option<Box<str>>, SaslError> {
    let name = std::str::from_utf8(octets).map_err(|_| SaslError::Syntax)?;
    if name.chars().any(char::is_control) {
        return Err(SaslError::Syntax);
    }
    Ok((!name.is_empty()).then(|| name.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(message: &[u8]) -> Result<Credentials, SaslError> {
        parse_plain(message)
    }

    #[test]
    fn plain_is_three_parts() {
        for (message, authorization, secret) in [
            (&b"\0tim@x.test\0tanstaaf"[..], None, &b"tanstaaf"[..]),
            (b"tim@x.test\0tim@x.test\0p q", None, b"p q"),
            (b"ursel\0tim@x.test\0p", Some("ursel"), b"p"),
        ] {
            let credentials = plain(message).unwrap_or_else(|error| panic!("{message:?}: {error}"));
            assert_eq!(credentials.authorization.as_deref(), authorization);
            assert_eq!(&*credentials.login, "tim@x.test");
            assert_eq!(credentials.secret.expose(), secret);
        }
    }

    #[test]
    fn what_is_not_plain_is_refused() {
        for message in [
            &b""[..],
            b"a",
            b"\0a",
            b"\0a\0",
            b"\0\0p",
            b"\0a\0p\0",
            b"\0a\nb\0p",
            b"\0\xff\0p",
        ] {
            assert_eq!(plain(message).err(), Some(SaslError::Syntax), "{message:?}");
        }
        for response in [&b"AGEAcA"[..], b"AGEAcA=", b"AG EAcA==", b"*", b"AGEAcB=="] {
            assert_eq!(decode(response).err(), Some(SaslError::Base64), "{response:?}");
        }
        for secret in [&b""[..], b"a\0b"] {
            assert_eq!(parse_login_secret(secret).err(), Some(SaslError::Syntax));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            authorization in proptest::option::of("[a-zü@.]{1,20}"),
            login in "[a-zü@.]{1,20}",
            secret in "[^\0]{1,20}",
        ) {
            let message = format!("{}\0{login}\0{secret}", authorization.as_deref().unwrap_or_default());
            let credentials = plain(message.as_bytes()).expect("valid");
            let expected = authorization.filter(|name| *name != login);
            proptest::prop_assert_eq!(credentials.authorization.as_deref(), expected.as_deref());
            proptest::prop_assert_eq!(&*credentials.login, login.as_str());
            proptest::prop_assert_eq!(credentials.secret.expose(), secret.as_bytes());
        }
    }
}
