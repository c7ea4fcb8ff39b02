//! Are these credentials right? Passwords are verified off the data cores and remembered for a short time.
//!
//! Invariants: an unknown login costs what a wrong password costs (a dummy hash is verified) and is answered with the
//! same text; no hash is computed on an executor; the cache holds keyed digests, never a password, and only of logins
//! that succeeded.
//! Limits: [`CACHE_ENTRIES_MAX`], [`CACHE_TTL`], [`FAILURE_DELAY`].
//! Failure: when the helper threads cannot answer, the verdict is `Unavailable`, not `Refused`.
//! Standards: RFC 9106 (argon2id), RFC 4616 (the identities a PLAIN exchange carries).
//! Not here: the exchanges themselves (`proto`), who exists (`directory`).

pub mod scheme;
pub mod scram;

use crate::directory::{Directory, LoginRecord, PasswordHash};
use crate::model::{Account, ClientProtocol};
use crate::runtime::{self, Control};
use aws_lc_rs::hmac;
use std::cell::{Cell, RefCell};
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

/// One core's way to check credentials.
pub struct Authenticator {
    directory: Directory,
    control: Control,
    /// What the password of somebody unknown is compared with, so that it takes as long.
    dummy: PasswordHash,
    delay_failures: bool,
    key: hmac::Key,
    verified: RefCell<HashMap<[u8; 32], Instant>>,
    /// The directory's, when `verified` was true.
    generation: Cell<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// `dummy`: the hash of a password nobody has, by the scheme most accounts use. `delay_failures`: make guessing slow
    /// ([`FAILURE_DELAY`]).
    ///
    /// # Errors
    /// When the system gives no entropy for the cache's key.
    pub fn new(
        directory: Directory,
        control: Control,
        dummy: PasswordHash,
        delay_failures: bool,
    ) -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(Self {
            directory,
            control,
            dummy,
            delay_failures,
            key,
            verified: RefCell::default(),
            generation: Cell::default(),
        })
    }

    /// Checks a login and its password, on a helper thread unless they were verified within [`CACHE_TTL`]. The account is
    /// enabled and may use `protocol`.
    pub async fn verify(&self, login: &[u8], password: &[u8], protocol: ClientProtocol) -> Login {
        let record = match std::str::from_utf8(login) {
            Ok(login) => self.directory.login(login).await,
            Err(_) => Ok(None),
        };
        let Ok(record) = record else {
            return Login::Unavailable;
        };
        let digest = self.digest(login, password);
        let record = record.filter(|record| {
            let account = &record.account;
            account.is_enabled && account.protocols.allows(protocol)
        });
        if let Some(record) = record.as_ref().filter(|_| self.was_verified(&digest)) {
            return authenticated(record);
        }
        let hashes = record
            .as_ref()
            .map_or_else(|| vec![self.dummy.clone()], |record| record.hashes.clone());
        let candidate = password.to_vec();
        let is_right = self
            .control
            .compute(move || hashes.iter().any(|hash| scheme::matches(hash, &candidate)))
            .await;
        match (is_right, record) {
            (Err(_), _) => Login::Unavailable,
            (Ok(true), Some(record)) => {
                self.remember(digest);
                authenticated(&record)
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
        // A changed password, or anything else that changed: what was verified before is not believed.
        let generation = self.directory.generation();
        if self.generation.replace(generation) != generation {
            self.verified.borrow_mut().clear();
        }
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

fn authenticated(record: &LoginRecord) -> Login {
    Login::Authenticated(Authenticated {
        account: record.account.clone(),
    })
}
