//! Who is on the line: the requests of a SASL exchange, put to the services of this core. The same for every protocol.
//!
//! Invariants: acting for somebody else is refused, because nobody has been given that right; what a peer may not tell
//! apart comes back as the same [`Judgement::Refused`]; who has proven a password hears so only when the account may log in.
//! Not here: which mechanisms a connection is offered (`proto::sasl`), passwords (`auth`).

use super::owner::Owner;
use crate::auth::{self, Caller, Login};
use crate::model::login_key;
use crate::node::{Node, Settings};
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Mechanisms, Request};
use crate::tls::clients;

/// What came of a request.
pub enum Judgement {
    /// It is this account's owner.
    Account(Box<Owner>),
    /// The exchange goes on with what is kept of the password, and this nonce.
    Verifier(Box<Verifier>, String),
    /// The password was proven, and its owner may log in.
    Proven,
    /// Unknown, wrong, or not allowed; which one is not said.
    Refused,
    /// Nobody can say just now.
    Unavailable,
}

/// The mechanisms that every service for clients has, as the operator's settings have it.
#[must_use]
pub fn mechanisms(settings: &Settings) -> Mechanisms {
    let optional = [
        (settings.offers_scram, Mechanisms::SCRAM),
        (settings.certificate_field.is_some(), Mechanisms::CERTIFICATES),
        (settings.token_refusal.is_some(), Mechanisms::TOKENS),
    ];
    let offered = optional.into_iter().filter(|(is_offered, _)| *is_offered);
    offered.fold(Mechanisms::PASSWORDS, |all, (_, some)| all.and(some))
}

/// Judges a request. Takes its time when the answer is no. `certificate`: the peer's (DER), if it showed one.
pub async fn judge(
    node: &Node,
    request: &Request,
    caller: impl Into<Caller>,
    certificate: Option<&[u8]>,
) -> Judgement {
    let caller = caller.into();
    // From before anything is looked up: what changes meanwhile is looked at again.
    let generation = node.directory.generation();
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
        Request::Proof(outcome) | Request::Scram(outcome) if outcome.authorization().is_some() => {
            Login::Refused
        }
        Request::Proof(outcome) => {
            return match node.authenticator.proven(outcome, caller).await {
                Login::Authenticated(_) => Judgement::Proven,
                Login::Refused => Judgement::Refused,
                Login::Unavailable => Judgement::Unavailable,
            };
        }
        Request::Scram(outcome) => node.authenticator.completed(outcome, caller).await,
        Request::Certificate { authorization } => {
            let field = node.settings.certificate_field;
            let named = certificate
                .zip(field)
                .map(|(der, field)| clients::accounts(der, field));
            match chosen(named.unwrap_or_default(), authorization.as_deref()) {
                Some(login) => node.authenticator.certified(&login, caller).await,
                None => Login::Refused,
            }
        }
        Request::Token(token) => node.authenticator.token(token, caller).await,
    };
    match login {
        Login::Authenticated(proof) => {
            let directory = &node.directory;
            let owner = Owner::of(&proof, caller.protocol, directory, generation);
            Judgement::Account(Box::new(owner))
        }
        Login::Refused => Judgement::Refused,
        Login::Unavailable => Judgement::Unavailable,
    }
}

/// Whom a certificate that names these accounts logs in: the one that was asked for, or the only one.
fn chosen(named: Vec<String>, wanted: Option<&str>) -> Option<String> {
    match (wanted, &named[..]) {
        (Some(wanted), _) => named.into_iter().find(|name| *name == login_key(wanted)),
        (None, [only]) => Some(only.clone()),
        (None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_opens_what_it_names_and_is_not_guessed_at() {
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(chosen(named(&["a@x"]), None).as_deref(), Some("a@x"));
        assert_eq!(
            chosen(named(&["a@x", "b@x"]), Some("B@x")).as_deref(),
            Some("b@x")
        );
        for (names, wanted) in [
            (&["a@x", "b@x"][..], None),
            (&["a@x"], Some("b@x")),
            (&[], Some("a@x")),
            (&[], None),
        ] {
            assert_eq!(chosen(named(names), wanted), None);
        }
    }
}
