//! Who is on the line: the requests of a SASL exchange, put to the services of this core. The same for every protocol.
//!
//! Invariants: acting for somebody else is refused, because nobody has been given that right; what a peer may not tell
//! apart comes back as the same [`Judgement::Refused`].
//! Not here: which mechanisms a connection is offered (`proto::sasl`), passwords (`auth`).

use crate::auth::{self, Caller, Login};
use crate::model::Account;
use crate::node::{Node, Settings};
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Mechanisms, Request};
use std::sync::Arc;

/// What came of a request.
pub enum Judgement {
    /// It is this account's owner.
    Account(Arc<Account>),
    /// The exchange goes on with what is kept of the password, and this nonce.
    Verifier(Box<Verifier>, String),
    /// Unknown, wrong, or not allowed; which one is not said.
    Refused,
    /// Nobody can say just now.
    Unavailable,
}

/// The mechanisms that every service for clients has, as the operator's settings have it.
#[must_use]
pub fn mechanisms(settings: &Settings) -> Mechanisms {
    if settings.offers_scram {
        Mechanisms::PASSWORDS.and(Mechanisms::SCRAM)
    } else {
        Mechanisms::PASSWORDS
    }
}

/// Judges a request. Takes its time when the answer is no.
pub async fn judge(node: &Node, request: &Request, caller: impl Into<Caller>) -> Judgement {
    let caller = caller.into();
    let login = match request {
        Request::Password(credentials) if credentials.authorization.is_some() => Login::Refused,
        Request::Password(credentials) => {
            let (login, secret) = (credentials.login.as_bytes(), credentials.secret.expose());
            node.authenticator.verify(login, secret, caller).await
        }
        Request::Verifier { hash, login } => {
            let verifier = node.authenticator.verifier(&node.decoys, *hash, login).await;
            return match (verifier, auth::scram::nonce()) {
                (Ok(verifier), Ok(nonce)) => Judgement::Verifier(Box::new(verifier), nonce),
                _ => Judgement::Unavailable,
            };
        }
        Request::Scram(outcome) if outcome.authorization().is_some() => Login::Refused,
        Request::Scram(outcome) => node.authenticator.proven(outcome, caller).await,
        // Not offered as long as nobody can judge them.
        Request::Token(_) | Request::Certificate { .. } => Login::Refused,
    };
    match login {
        Login::Authenticated(proof) => Judgement::Account(proof.account().clone()),
        Login::Refused => Judgement::Refused,
        Login::Unavailable => Judgement::Unavailable,
    }
}
