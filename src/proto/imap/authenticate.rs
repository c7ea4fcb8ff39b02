//! The SASL exchange of AUTHENTICATE: PLAIN (RFC 4616) and LOGIN, with RFC 4959's initial response.
//!
//! Invariants: nothing is decoded before its whole line is there and within [`SASL_RESPONSE_BYTES_MAX`]; a failed or
//! cancelled exchange leaves nothing behind.
//! Not here: whether credentials are right (a question), and when AUTHENTICATE is allowed (`core`).

use super::types::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Longest line of a client's response, octets of base64 and CRLF (RFC 4954 §4 sets this for SMTP; one rule for all).
pub const SASL_RESPONSE_BYTES_MAX: usize = 12_288;

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum Exchange {
    /// PLAIN: its one message is due.
    Plain,
    /// LOGIN: the name is due.
    LoginName,
    /// LOGIN: the password is due.
    LoginPassword { login: Vec<u8> },
}

/// Credentials as the client gave them.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) login: Vec<u8>,
    pub(super) secret: Secret,
    pub(super) authorization: Option<Vec<u8>>,
}

/// What a response led to.
#[derive(Debug)]
pub(super) enum Step {
    /// Send the challenge and wait.
    Challenge(Exchange),
    /// Ask whether they are right.
    Complete(Credentials),
    /// BAD, with this text.
    Failed(&'static str),
}

impl Exchange {
    /// `None`: no such mechanism. The name is in upper case.
    pub(super) fn new(mechanism: &str) -> Option<Self> {
        match mechanism {
            "PLAIN" => Some(Self::Plain),
            "LOGIN" => Some(Self::LoginName),
            _ => None,
        }
    }

    /// The challenge in base64.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Plain => "",
            // "Username:" and "Password:", as every server sends them; the mechanism has no specification.
            Self::LoginName => "VXNlcm5hbWU6",
            Self::LoginPassword { .. } => "UGFzc3dvcmQ6",
        }
    }

    /// RFC 4959 §3: `=` is the empty response.
    pub(super) fn initial(self, response: &[u8]) -> Step {
        if response == b"=" {
            self.decoded(Vec::new())
        } else {
            self.respond(response)
        }
    }

    /// A line of the client, without CRLF.
    pub(super) fn respond(self, line: &[u8]) -> Step {
        if line == b"*" {
            return Step::Failed("Authentication cancelled");
        }
        match STANDARD.decode(line) {
            Ok(message) => self.decoded(message),
            Err(_) => Step::Failed("Not base64"),
        }
    }

    fn decoded(self, message: Vec<u8>) -> Step {
        match self {
            Self::Plain => plain(&message).map_or(Step::Failed("Not a PLAIN message"), Step::Complete),
            Self::LoginName if message.is_empty() || message.contains(&0) => Step::Failed("Not a user name"),
            Self::LoginName => Step::Challenge(Self::LoginPassword { login: message }),
            Self::LoginPassword { .. } if message.contains(&0) => Step::Failed("Not a password"),
            Self::LoginPassword { login } => Step::Complete(Credentials {
                login,
                secret: Secret(message),
                authorization: None,
            }),
        }
    }
}

/// `[authzid] NUL authcid NUL passwd` (RFC 4616 §2): exactly two NULs, neither name nor password empty.
fn plain(message: &[u8]) -> Option<Credentials> {
    let mut parts = message.split(|b| *b == 0);
    let (authorization, login, password) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || login.is_empty() || password.is_empty() {
        return None;
    }
    Some(Credentials {
        login: login.to_vec(),
        secret: Secret(password.to_vec()),
        authorization: (!authorization.is_empty()).then(|| authorization.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_has_exactly_two_nuls_and_no_empty_name() {
        let good = plain(b"\0alice\0secret").expect("valid");
        assert_eq!((good.login.as_slice(), good.authorization), (&b"alice"[..], None));
        let good = plain(b"bob\0alice\0secret").expect("valid");
        assert_eq!(good.authorization.as_deref(), Some(&b"bob"[..]));
        for bad in [
            &b""[..],
            b"alice",
            b"\0alice",
            b"\0\0secret",
            b"\0alice\0",
            b"\0a\0b\0c",
        ] {
            assert!(plain(bad).is_none(), "{bad:?}");
        }
    }
}
