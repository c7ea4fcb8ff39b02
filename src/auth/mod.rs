//! Are these credentials right? Passwords are verified off the data cores and remembered for a short time.
//!
//! Invariants: an unknown login costs what a wrong password costs (a dummy hash is verified) and is answered with the
//! same text; no hash is computed on an executor; the cache holds keyed digests, never a password, and only of logins
//! that succeeded.
//! Limits: [`CACHE_ENTRIES_MAX`], [`CACHE_TTL`], [`FAILURE_DELAY`].
//! Failure: when the helper threads cannot answer, the verdict is `Unavailable`, not `Refused`.
//! Standards: RFC 9106 (argon2id), RFC 4616 (the identities a PLAIN exchange carries).
//! Not here: the exchanges themselves (`proto`), who exists (`directory`).

use crate::directory::Directory;
use crate::model::Account;
use crate::runtime::{self, Control};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use aws_lc_rs::hmac;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Verified logins remembered by one core. Beyond it the cache starts anew; 64 bytes an entry.
pub const CACHE_ENTRIES_MAX: usize = 100_000;

/// How long a verified login is believed without hashing again.
pub const CACHE_TTL: Duration = Duration::from_secs(300);

/// A refused login is answered no sooner than this, so that guessing is slow; off for the demo's loopback peers.
pub const FAILURE_DELAY: Duration = Duration::from_secs(2);

/// What the session is told.
#[derive(Clone, Debug)]
pub enum Login {
    /// The proof that this account's owner is on the line.
    Authenticated(Authenticated),
    /// Unknown login or wrong password; which one is not said.
    Refused,
    /// Nobody can say just now.
    Unavailable,
}

/// An account whose credentials were verified. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Authenticated {
    account: Arc<Account>,
}

impl Authenticated {
    /// Whose credentials they were.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }
}

/// Passwords as PHC strings (argon2id). The demo gives every account the same.
#[derive(Debug, Clone)]
pub struct Passwords(Arc<str>);

impl Passwords {
    /// Hashes the one password that all accounts share.
    ///
    /// # Errors
    /// When the system gives no entropy for the salt.
    pub fn same_for_all(password: &str) -> Result<Self, String> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
        let salt = SaltString::encode_b64(&salt).map_err(|e| e.to_string())?;
        let hash = Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map_err(|e| e.to_string())?;
        Ok(Self(hash.to_string().into()))
    }
}

/// One core's way to check credentials.
pub struct Authenticator {
    directory: Arc<Directory>,
    passwords: Passwords,
    control: Control,
    delay_failures: bool,
    key: hmac::Key,
    verified: RefCell<HashMap<[u8; 32], Instant>>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// `delay_failures`: make guessing slow ([`FAILURE_DELAY`]).
    ///
    /// # Errors
    /// When the system gives no entropy for the cache's key.
    pub fn new(
        directory: Arc<Directory>,
        passwords: Passwords,
        control: Control,
        delay_failures: bool,
    ) -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(Self {
            directory,
            passwords,
            control,
            delay_failures,
            key,
            verified: RefCell::default(),
        })
    }

    /// Checks a login and its password, on a helper thread unless they were verified within [`CACHE_TTL`].
    pub async fn verify(&self, login: &[u8], password: &[u8]) -> Login {
        let account = std::str::from_utf8(login)
            .ok()
            .and_then(|login| self.directory.account_by_login(login));
        let digest = self.digest(login, password);
        if let Some(account) = account.as_ref().filter(|_| self.was_verified(&digest)) {
            return Login::Authenticated(Authenticated {
                account: account.clone(),
            });
        }
        let hash = self.passwords.0.clone();
        let candidate = password.to_vec();
        let is_right = self
            .control
            .compute(move || password_matches(&hash, &candidate))
            .await;
        match (is_right, account) {
            (Err(_), _) => Login::Unavailable,
            (Ok(true), Some(account)) => {
                self.remember(digest);
                Login::Authenticated(Authenticated { account })
            }
            (Ok(_), _) => self.refuse().await,
        }
    }

    async fn refuse(&self) -> Login {
        if self.delay_failures {
            runtime::sleep(FAILURE_DELAY).await;
        }
        Login::Refused
    }

    fn digest(&self, login: &[u8], password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        context.update(&(login.len() as u64).to_le_bytes());
        context.update(login);
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    fn was_verified(&self, digest: &[u8; 32]) -> bool {
        self.verified
            .borrow()
            .get(digest)
            .is_some_and(|at| at.elapsed() < CACHE_TTL)
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= CACHE_ENTRIES_MAX {
            verified.clear();
        }
        verified.insert(digest, Instant::now());
    }
}

fn password_matches(hash: &str, password: &[u8]) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_matches() {
        let passwords = Passwords::same_for_all("ringpost").expect("entropy");
        assert!(password_matches(&passwords.0, b"ringpost"));
        assert!(!password_matches(&passwords.0, b"ringpos"));
        assert!(!password_matches(&passwords.0, b""));
    }
}
