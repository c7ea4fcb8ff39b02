//! Bearer tokens: OAUTHBEARER (RFC 7628) and XOAUTH2, its older form.
//!
//! Not here: whether a token is good (a question), and for whom.

use super::{SaslError, Secret, parse_name};
use std::sync::Arc;

/// A token and whom it is to log in.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Whom to act as: with OAUTHBEARER it may be left to the token.
    pub login: Option<Box<str>>,
    /// What the issuer gave out.
    pub token: Secret,
}

/// Pairs are separated by this octet and end with two.
const SEPARATOR: u8 = 1;

/// What a client says to a challenge that told it about a refusal (RFC 7628 §3.2.3).
pub(super) const DUMMY: &[u8] = b"\x01";

/// What a refused client is told (JSON, RFC 7628 §3.2.2): of the token no detail, so that it cannot be used to try tokens
/// out; of the site where good ones come from, if there is such a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal(pub Arc<[u8]>);

impl Default for TokenRefusal {
    fn default() -> Self {
        Self(Arc::from(
            &br#"{"status":"invalid_token","schemes":"bearer"}"#[..],
        ))
    }
}

/// `n,a=user@example.com,^Ahost=…^Aport=…^Aauth=Bearer …^A^A`
pub(super) fn parse_bearer(message: &[u8]) -> Result<Token, SaslError> {
    let at = message
        .iter()
        .position(|octet| *octet == SEPARATOR)
        .ok_or(SaslError::Syntax)?;
    let header = std::str::from_utf8(&message[..at]).map_err(|_| SaslError::Syntax)?;
    let mut parts = header.split(',');
    let (Some("n" | "y"), Some(authorization), Some(""), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Syntax);
    };
    let login = match authorization {
        "" => None,
        named => parse_name(named.strip_prefix("a=").ok_or(SaslError::Syntax)?.as_bytes())?,
    };
    Ok(Token {
        login,
        token: parse_pairs(&message[at + 1..])?,
    })
}

/// `user=someuser@example.com^Aauth=Bearer …^A^A`
pub(super) fn parse_xoauth2(message: &[u8]) -> Result<Token, SaslError> {
    let at = message
        .iter()
        .position(|octet| *octet == SEPARATOR)
        .ok_or(SaslError::Syntax)?;
    let login = message[..at].strip_prefix(b"user=").ok_or(SaslError::Syntax)?;
    Ok(Token {
        login: Some(parse_name(login)?.ok_or(SaslError::Syntax)?),
        token: parse_pairs(&message[at + 1..])?,
    })
}

/// The token among `key=value` pairs; host, port and others say nothing that we do not know.
fn parse_pairs(pairs: &[u8]) -> Result<Secret, SaslError> {
    let pairs = pairs
        .strip_suffix(&[SEPARATOR, SEPARATOR])
        .ok_or(SaslError::Syntax)?;
    let mut token = None;
    for pair in pairs.split(|octet| *octet == SEPARATOR) {
        let Some(value) = pair.strip_prefix(b"auth=") else {
            continue;
        };
        let (scheme, value) = value.split_at_checked(7).ok_or(SaslError::Syntax)?;
        // b64token of RFC 6750 §2.1.
        let is_token = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(octet);
        if !scheme.eq_ignore_ascii_case(b"Bearer ") || value.is_empty() || !value.iter().all(is_token) {
            return Err(SaslError::Syntax);
        }
        if token.replace(Secret::new(value)).is_some() {
            return Err(SaslError::Syntax);
        }
    }
    token.ok_or(SaslError::Syntax)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_both_forms() {
        let bearer = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let token = parse_bearer(bearer).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(token.login.as_deref(), Some("user@example.com"));
        assert_eq!(
            token.token.expose(),
            b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
        );
        let token = parse_bearer(b"n,,\x01auth=bearer a\x01\x01").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(token.login, None);
        let token = parse_xoauth2(b"user=a@b.test\x01auth=Bearer ya29.x\x01\x01")
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (token.login.as_deref(), token.token.expose()),
            (Some("a@b.test"), &b"ya29.x"[..])
        );
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for message in [
            &b""[..],
            b"n,,",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Basic abc\x01\x01",
            b"n,,\x01auth=Bearer a b\x01\x01",
            b"n,,\x01auth=Bearer a\x01",
            b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            b"p=tls-unique,,\x01auth=Bearer a\x01\x01",
            b"n,b,\x01auth=Bearer a\x01\x01",
        ] {
            assert_eq!(
                parse_bearer(message).err(),
                Some(SaslError::Syntax),
                "{message:?}"
            );
        }
        for message in [
            &b"user=\x01auth=Bearer a\x01\x01"[..],
            b"a\x01auth=Bearer a\x01\x01",
            b"user=a\x01\x01",
        ] {
            assert_eq!(
                parse_xoauth2(message).err(),
                Some(SaslError::Syntax),
                "{message:?}"
            );
        }
    }
}
