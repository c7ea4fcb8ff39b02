//! One exchange, from the mechanism's name to what is to be asked about it.
//!
//! Every protocol carries the same messages, each in its own lines: `334`, `+ `, or `+`, then base64 (RFC 4954, 5034,
//! 9051). Here they are decoded and answered.
//! Invariants: nothing is asked before the client's part is whole; a failed or cancelled exchange leaves nothing behind;
//! the same text for every cause of a refusal is the protocol's to give.
//! Not here: who may use a mechanism when (`mechanism`), the answers (`auth`).

use super::mechanism::Mechanism;
use super::oauth::{self, Token, TokenRefusal};
use super::scram::{self, Hash, Verifier};
use super::{Bindings, Credentials, SaslError, decode, parse_login_secret, parse_name, parse_plain, wipe};

/// What the services are asked about an exchange.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// Is this password right?
    Password(Credentials),
    /// Is this token good, and whose is it?
    Token(Token),
    /// Does the client's certificate name an account, and may it act as this one?
    Certificate {
        /// Authorization identity, if one was given.
        authorization: Option<Box<str>>,
    },
    /// What is kept of this account's password, and a fresh nonce? Answered by [`Exchange::verifier`].
    Verifier {
        /// Of which mechanism.
        hash: Hash,
        /// Authentication identity.
        login: Box<str>,
    },
    /// The password of this account was proven, or not: may its owner log in? Answered by [`Exchange::proven`], before
    /// anything is said of it: the server's signature tells that the proof was right.
    Proof(ScramOutcome),
    /// The client has accepted our proof too: the login of this account is complete.
    Scram(ScramOutcome),
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

/// How an exchange of SCRAM came out. Made here and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramOutcome {
    login: Box<str>,
    authorization: Option<Box<str>>,
    is_proven: bool,
}

impl ScramOutcome {
    /// Authentication identity.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// Authorization identity, if that is somebody else.
    #[must_use]
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// The client knows the password.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_proven
    }
}

/// What comes next.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, in base64, and wait for a line.
    Challenge(Vec<u8>),
    /// Ask this.
    Ask(Request),
    /// The client did not keep to the mechanism, or gave up.
    Failed(SaslError),
}

/// An exchange under way.
pub struct Exchange {
    state: State,
    /// The names of the TLS channel, where they are known; only for SCRAM.
    bindings: Option<Box<Bindings>>,
}

enum State {
    /// The client's first message is due.
    First(Mechanism),
    /// LOGIN's password is due.
    LoginSecret { login: Box<str> },
    /// [`Request::Verifier`] is open.
    Verifier(scram::ClientFirst),
    /// SCRAM's proof is due.
    Proof(Box<scram::Server>),
    /// [`Request::Proof`] is open; what a yes is told with.
    Proven(ScramOutcome, Vec<u8>),
    /// The client acknowledges the server's signature.
    Signature(ScramOutcome),
    /// [`Request::Token`] is open.
    Token,
    /// The client acknowledges that its token was refused.
    Refused,
    /// Nothing more is due.
    Over,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange")
    }
}

impl Exchange {
    /// Begins with `initial`, the initial response if there was one; `=` stands for an empty one.
    #[must_use]
    pub fn begin(mechanism: Mechanism, initial: Option<&[u8]>, bindings: Option<&Bindings>) -> (Self, Step) {
        let mut exchange = Self {
            state: State::First(mechanism),
            bindings: bindings.filter(|_| mechanism.is_scram()).cloned().map(Box::new),
        };
        let step = match (initial, mechanism) {
            (Some(b"="), _) => exchange.decoded(Vec::new()),
            (Some(response), _) => exchange.respond(response),
            // As every server says it; the mechanism has no specification.
            (None, Mechanism::Login) => Step::Challenge(b"Username:".to_vec()),
            (None, _) => Step::Challenge(Vec::new()),
        };
        (exchange, step)
    }

    /// The client's next line, without its CRLF.
    pub fn respond(&mut self, line: &[u8]) -> Step {
        if line == b"*" {
            self.state = State::Over;
            return Step::Failed(SaslError::Cancelled);
        }
        match decode(line) {
            Ok(message) => self.decoded(message),
            Err(error) => self.fail(error),
        }
    }

    /// The answer to [`Request::Verifier`]. `nonce`: printable ASCII without commas, never used before.
    pub fn verifier(&mut self, verifier: Verifier, nonce: &str) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Verifier(first) => {
                let server = scram::Server::new(first, verifier, nonce);
                let challenge = server.challenge();
                self.state = State::Proof(Box::new(server));
                Step::Challenge(challenge)
            }
            _ => Step::Failed(SaslError::Syntax),
        }
    }

    /// The answer to [`Request::Proof`] that is yes.
    pub fn proven(&mut self) -> Step {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Proven(outcome, signature) => {
                self.state = State::Signature(outcome);
                Step::Challenge(signature)
            }
            _ => Step::Failed(SaslError::Syntax),
        }
    }

    /// The request was refused. What the client is to be told and to acknowledge before it is: tokens only, by `told` (JSON,
    /// RFC 7628 §3.2.2).
    pub fn refused(&mut self, told: &TokenRefusal) -> Option<Vec<u8>> {
        if !matches!(self.state, State::Token) {
            return None;
        }
        self.state = State::Refused;
        Some(told.0.to_vec())
    }

    fn fail(&mut self, error: SaslError) -> Step {
        self.state = State::Over;
        Step::Failed(error)
    }

    fn decoded(&mut self, mut message: Vec<u8>) -> Step {
        let step = match std::mem::replace(&mut self.state, State::Over) {
            State::First(mechanism) => self.first(mechanism, &message),
            State::LoginSecret { login } => parse_login_secret(&message).map(|secret| {
                Step::Ask(Request::Password(Credentials {
                    authorization: None,
                    login,
                    secret,
                }))
            }),
            State::Proof(server) => self.prove(*server, &message),
            State::Signature(outcome) if message.is_empty() => Ok(Step::Ask(Request::Scram(outcome))),
            State::Refused if message == oauth::DUMMY || message.is_empty() => Err(SaslError::Refused),
            _ => Err(SaslError::Syntax),
        };
        wipe(&mut message);
        step.unwrap_or_else(|error| self.fail(error))
    }

    fn first(&mut self, mechanism: Mechanism, message: &[u8]) -> Result<Step, SaslError> {
        let request = match mechanism {
            Mechanism::Plain => Request::Password(parse_plain(message)?),
            Mechanism::Login => {
                let login = parse_name(message)?.ok_or(SaslError::Syntax)?;
                self.state = State::LoginSecret { login };
                return Ok(Step::Challenge(b"Password:".to_vec()));
            }
            Mechanism::External => Request::Certificate {
                authorization: parse_name(message)?,
            },
            Mechanism::OauthBearer => self.token(oauth::parse_bearer(message)?),
            Mechanism::Xoauth2 => self.token(oauth::parse_xoauth2(message)?),
            Mechanism::ScramSha1 | Mechanism::ScramSha1Plus => self.scram(mechanism, Hash::Sha1, message)?,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                self.scram(mechanism, Hash::Sha256, message)?
            }
        };
        Ok(Step::Ask(request))
    }

    fn token(&mut self, token: Token) -> Request {
        self.state = State::Token;
        Request::Token(token)
    }

    fn scram(&mut self, mechanism: Mechanism, hash: Hash, message: &[u8]) -> Result<Request, SaslError> {
        let none = Bindings::default();
        let bindings = self.bindings.as_deref().unwrap_or(&none);
        let first = scram::ClientFirst::parse(message, mechanism.is_bound(), bindings)?;
        let login = first.login.clone();
        self.state = State::Verifier(first);
        Ok(Request::Verifier { hash, login })
    }

    fn prove(&mut self, server: scram::Server, message: &[u8]) -> Result<Step, SaslError> {
        let none = Bindings::default();
        let signature = server.prove(message, self.bindings.as_deref().unwrap_or(&none))?;
        let (login, authorization) = server.into_names();
        let outcome = ScramOutcome {
            login,
            authorization,
            is_proven: signature.is_some(),
        };
        if let Some(signature) = signature {
            self.state = State::Proven(outcome.clone(), signature);
        }
        Ok(Step::Ask(Request::Proof(outcome)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn begin(mechanism: Mechanism, initial: &str) -> (Exchange, Step) {
        Exchange::begin(mechanism, Some(STANDARD.encode(initial).as_bytes()), None)
    }

    fn respond(exchange: &mut Exchange, message: &str) -> Step {
        exchange.respond(STANDARD.encode(message).as_bytes())
    }

    fn is_password(step: &Step, login: &str, secret: &str) -> bool {
        matches!(step, Step::Ask(Request::Password(c)) if &*c.login == login && c.secret.expose() == secret.as_bytes())
    }

    #[test]
    fn passwords_come_with_and_without_an_initial_response() {
        assert!(is_password(&begin(Mechanism::Plain, "\0tim\0p").1, "tim", "p"));
        let (mut exchange, step) = Exchange::begin(Mechanism::Plain, None, None);
        assert!(step == Step::Challenge(Vec::new()));
        assert!(is_password(&respond(&mut exchange, "\0tim\0p"), "tim", "p"));
        let (mut exchange, step) = Exchange::begin(Mechanism::Login, None, None);
        assert!(step == Step::Challenge(b"Username:".to_vec()));
        assert!(respond(&mut exchange, "tim") == Step::Challenge(b"Password:".to_vec()));
        assert!(is_password(&respond(&mut exchange, "p"), "tim", "p"));
        let (mut exchange, step) = begin(Mechanism::Login, "tim");
        assert!(step == Step::Challenge(b"Password:".to_vec()));
        assert!(is_password(&respond(&mut exchange, "p"), "tim", "p"));
    }

    #[test]
    fn a_certificate_comes_with_an_empty_message_or_a_name() {
        let certificate = |authorization: Option<&str>| {
            Step::Ask(Request::Certificate {
                authorization: authorization.map(Into::into),
            })
        };
        assert!(Exchange::begin(Mechanism::External, Some(b"="), None).1 == certificate(None));
        assert!(begin(Mechanism::External, "tim").1 == certificate(Some("tim")));
    }

    #[test]
    fn whoever_gives_up_or_talks_nonsense_is_told_and_nothing_goes_on() {
        let (mut exchange, _) = Exchange::begin(Mechanism::Login, None, None);
        assert!(exchange.respond(b"*") == Step::Failed(SaslError::Cancelled));
        assert!(respond(&mut exchange, "tim") == Step::Failed(SaslError::Syntax));
        let (mut exchange, _) = Exchange::begin(Mechanism::Plain, None, None);
        assert!(exchange.respond(b"not base64!") == Step::Failed(SaslError::Base64));
        assert!(begin(Mechanism::Plain, "x").1 == Step::Failed(SaslError::Syntax));
    }

    #[test]
    fn a_refused_token_is_acknowledged_before_the_end() {
        let (mut exchange, step) = begin(Mechanism::Xoauth2, "user=tim\x01auth=Bearer x\x01\x01");
        assert!(matches!(step, Step::Ask(Request::Token(_))));
        let told = exchange.refused(&TokenRefusal::default()).expect("tokens only");
        assert!(
            serde_json::from_slice::<serde_json::Value>(&told)
                .is_ok_and(|json| json["status"] == "invalid_token")
        );
        assert!(respond(&mut exchange, "\x01") == Step::Failed(SaslError::Refused));
        assert_eq!(
            begin(Mechanism::Plain, "\0tim\0p")
                .0
                .refused(&TokenRefusal::default()),
            None
        );
    }

    #[test]
    fn scram_asks_for_the_verifier_then_about_the_outcome() {
        let (mut exchange, step) = begin(Mechanism::ScramSha1, "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let wanted = Request::Verifier {
            hash: Hash::Sha1,
            login: "user".into(),
        };
        assert!(step == Step::Ask(wanted));
        let salt = STANDARD.decode("QSXCR+Q6sek8bf92").expect("base64");
        let iterations = std::num::NonZeroU32::new(4096).expect("not zero");
        let verifier = Verifier::of_password(Hash::Sha1, "pencil", salt, iterations).expect("letters");
        let step = exchange.verifier(verifier, "3rfcNHYJY1ZVvWVs7j");
        assert!(matches!(step, Step::Challenge(text) if text.ends_with(b"i=4096")));
        let last = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        // Nothing says that the proof was right before somebody has said that this account may log in.
        let step = respond(&mut exchange, last);
        assert!(matches!(step, Step::Ask(Request::Proof(outcome)) if outcome.is_proven()));
        assert!(exchange.proven() == Step::Challenge(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=".to_vec()));
        let step = exchange.respond(b"");
        assert!(
            matches!(step, Step::Ask(Request::Scram(outcome)) if outcome.is_proven() && outcome.login() == "user")
        );
    }

    #[test]
    fn a_wrong_proof_is_an_outcome_too() {
        let (mut exchange, _) = begin(Mechanism::ScramSha256, "n,,n=user,r=abc");
        let iterations = std::num::NonZeroU32::new(4096).expect("not zero");
        exchange.verifier(Verifier::of_nobody(Hash::Sha256, &[7; 32], iterations), "xyz");
        let proof = STANDARD.encode([0; 32]);
        let step = respond(&mut exchange, &format!("c=biws,r=abcxyz,p={proof}"));
        assert!(matches!(step, Step::Ask(Request::Proof(outcome)) if !outcome.is_proven()));
        assert!(exchange.proven() == Step::Failed(SaslError::Syntax));
    }
}
