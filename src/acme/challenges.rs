//! What an issuer looks for to see that a name is ours: a text at an address over HTTP (RFC 8555 §8.3), or a certificate in a
//! TLS handshake of its own (RFC 8737).
//!
//! Invariants: what is shown is only what was asked for, and only while it is asked for.
//! Limits: [`TOKENS_MAX`].

use crate::tls::Certificates;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Texts shown at a time; one name is asked for at a time.
pub const TOKENS_MAX: usize = 64;

/// Where an issuer looks (RFC 8555 §8.3).
const PATH: &str = "/.well-known/acme-challenge/{token}";

/// What is shown. Clones are the same.
#[derive(Clone, Debug)]
pub struct Challenges {
    tokens: Arc<Mutex<HashMap<String, String>>>,
    certificates: Certificates,
}

/// One challenge that is shown until this is dropped.
#[derive(Debug)]
pub struct Shown {
    challenges: Challenges,
    what: What,
}

#[derive(Debug)]
enum What {
    Token(String),
    Name(String),
}

impl Challenges {
    /// `certificates`: those of HTTPS, which show what is asked for by TLS.
    #[must_use]
    pub fn new(certificates: Certificates) -> Self {
        Self {
            tokens: Arc::default(),
            certificates,
        }
    }

    /// Shows a text over HTTP.
    ///
    /// # Errors
    /// There are too many.
    pub fn show_token(&self, token: &str, text: &str) -> Result<Shown, String> {
        let mut tokens = self.tokens.lock();
        if tokens.len() >= TOKENS_MAX {
            return Err("too many challenges at once".to_owned());
        }
        tokens.insert(token.to_owned(), text.to_owned());
        Ok(Shown {
            challenges: self.clone(),
            what: What::Token(token.to_owned()),
        })
    }

    /// Shows a certificate for `name` with `digest` in it to whoever offers `acme-tls/1`.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn show_certificate(&self, name: &str, digest: &[u8]) -> Result<Shown, String> {
        self.certificates
            .show_challenge(name, digest)
            .map_err(|error| error.to_string())?;
        Ok(Shown {
            challenges: self.clone(),
            what: What::Name(name.to_owned()),
        })
    }

    /// The one page that an issuer asks for; everything else is not found.
    pub fn router(&self) -> Router {
        Router::new().route(PATH, get(answer)).with_state(self.clone())
    }
}

async fn answer(State(challenges): State<Challenges>, Path(token): Path<String>) -> Response {
    match challenges.tokens.lock().get(&token) {
        Some(text) => ([("content-type", "application/octet-stream")], text.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        match &self.what {
            What::Token(token) => {
                self.challenges.tokens.lock().remove(token);
            }
            What::Name(name) => self.challenges.certificates.hide_challenge(name),
        }
    }
}
