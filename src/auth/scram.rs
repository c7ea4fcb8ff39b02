//! SCRAM: what is kept of a password so that it can be proven, and the account of a proof.
//!
//! A verifier stands beside the password's hash, in Dovecot's notation: `{SCRAM-SHA-256}iterations,salt,StoredKey,ServerKey`,
//! the last three in base64.
//! Invariants: a name that nobody has, or whose account has no verifier, is told a salt like any other, the same each time
//! and from every core, and can prove nothing.
//! Not here: the exchange (`proto::sasl::scram`), for which domains verifiers are kept (`directory`).

use super::{Authenticator, Caller, Login, authenticated};
use crate::directory::{LoginRecord, PasswordHash, Unavailable};
use crate::model::login_key;
use crate::proto::sasl::ScramOutcome;
use crate::proto::sasl::scram::{Hash, ITERATIONS, Verifier};
use crate::runtime;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use std::num::NonZeroU32;
use std::time::Instant;

/// Octets of this side's nonce: as many as a 128-bit key, and some.
const NONCE_BYTES: usize = 18;

/// Makes verifiers for names that nobody has. Clones are alike: all cores have one.
#[derive(Clone, Debug)]
pub struct Decoys(hmac::Key);

fn iterations() -> NonZeroU32 {
    NonZeroU32::new(ITERATIONS).expect("not zero")
}

impl Decoys {
    /// With a key that nobody knows.
    ///
    /// # Errors
    /// When the system gives no entropy.
    pub fn new() -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &secret)))
    }

    fn verifier(&self, hash: Hash, login: &str) -> Verifier {
        // Real verifiers of one account have a salt for each hash.
        let name = format!("{}{}", prefix(hash), login_key(login));
        let digest = hmac::sign(&self.0, name.as_bytes());
        let mut seed = [0; 32];
        seed.copy_from_slice(digest.as_ref());
        Verifier::of_nobody(hash, &seed, iterations())
    }
}

impl Authenticator {
    /// What `login` is to prove that it knows.
    ///
    /// # Errors
    /// When the directory cannot say.
    pub async fn verifier(&self, decoys: &Decoys, hash: Hash, login: &str) -> Result<Verifier, Unavailable> {
        let record = self.directory.login(login).await?;
        let kept = record.and_then(|record| kept(&record, hash));
        Ok(kept.unwrap_or_else(|| decoys.verifier(hash, login)))
    }

    /// Whether a password was proven, and by somebody who may log in: the account is enabled and may use the caller's
    /// protocol. To be asked before the client is told that its proof was right, so that guessing is slowed and counted here
    /// too. A no takes as long as any refusal.
    pub async fn proven(&self, outcome: &ScramOutcome, caller: impl Into<Caller>) -> Login {
        let caller = caller.into();
        let keys = caller
            .peer
            .map(|peer| self.failures.keys(outcome.login().as_bytes(), peer));
        if let Some(keys) = keys {
            runtime::sleep_if_any(self.failures.delay_before(keys, Instant::now())).await;
        }
        let login = self.completed(outcome, caller).await;
        if let (Login::Authenticated(_), Some(keys)) = (&login, keys) {
            self.failures.succeeded(keys);
        }
        login
    }

    /// The account of whoever has proven its password, as it is when the client has accepted our proof too.
    pub async fn completed(&self, outcome: &ScramOutcome, caller: impl Into<Caller>) -> Login {
        let caller = caller.into();
        let Ok(record) = self.directory.login(outcome.login()).await else {
            return Login::Unavailable;
        };
        let is_allowed = |record: &LoginRecord| {
            let account = &record.account;
            // Where there is a second factor, programs have passwords of their own.
            outcome.is_proven()
                && account.is_enabled
                && account.protocols.allows(caller.protocol)
                && record.totp_secret.is_none()
        };
        match record.filter(|record| is_allowed(record)) {
            Some(record) => authenticated(&record, outcome.login()),
            None => self.refuse_caller(outcome.login().as_bytes(), caller).await,
        }
    }
}

fn prefix(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha1 => "{SCRAM-SHA-1}",
        Hash::Sha256 => "{SCRAM-SHA-256}",
    }
}

fn kept(record: &LoginRecord, hash: Hash) -> Option<Verifier> {
    let text = record
        .hashes
        .iter()
        .find_map(|kept| kept.expose().strip_prefix(prefix(hash)))?;
    let mut parts = text.split(',');
    let iterations = parts.next()?.parse().ok()?;
    let mut octets = || STANDARD.decode(parts.next()?).ok();
    Some(Verifier {
        hash,
        iterations,
        salt: octets()?,
        stored_key: octets()?,
        server_key: octets()?,
    })
}

/// The verifiers of a new password, to be kept beside its hash. Slow on purpose.
///
/// # Errors
/// When the system gives no entropy, or the password has characters that SASLprep forbids.
pub fn hashes(password: &str) -> Result<[PasswordHash; 2], String> {
    let of = |hash| {
        let mut salt = vec![0; 16];
        getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
        let verifier = Verifier::of_password(hash, password, salt, iterations())
            .ok_or_else(|| "the password has characters that SASLprep forbids".to_owned())?;
        let [salt, stored_key, server_key] =
            [verifier.salt, verifier.stored_key, verifier.server_key].map(|octets| STANDARD.encode(octets));
        let text = format!("{}{ITERATIONS},{salt},{stored_key},{server_key}", prefix(hash));
        Ok::<_, String>(PasswordHash::new(text))
    };
    Ok([of(Hash::Sha256)?, of(Hash::Sha1)?])
}

/// A nonce of this side.
///
/// # Errors
/// When the system gives no entropy.
pub fn nonce() -> Result<String, String> {
    let mut octets = [0; NONCE_BYTES];
    getrandom::fill(&mut octets).map_err(|e| e.to_string())?;
    Ok(STANDARD_NO_PAD.encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Account, AccountId, AddrSpec};
    use std::sync::Arc;

    #[test]
    fn a_verifier_is_read_as_it_was_written() {
        let address = AddrSpec::parse("a@x.test").expect("an address");
        let record = LoginRecord {
            account: Arc::new(Account::new(AccountId(1), address)),
            hashes: hashes("pencil").expect("entropy").to_vec(),
            app_passwords: Vec::new(),
            checked_by: None,
            totp_secret: None,
        };
        for hash in [Hash::Sha1, Hash::Sha256] {
            let found = kept(&record, hash).expect("it was written");
            let again = Verifier::of_password(hash, "pencil", found.salt.clone(), found.iterations);
            assert!(again == Some(found));
        }
        let without = LoginRecord {
            hashes: vec![
                PasswordHash::new("{SCRAM-SHA-1}x,y"),
                PasswordHash::new("{ARGON2ID}z"),
            ],
            ..record
        };
        assert!(kept(&without, Hash::Sha1).is_none() && kept(&without, Hash::Sha256).is_none());
    }

    #[test]
    fn names_that_nobody_has_are_told_the_same_each_time() {
        let decoys = Decoys::new().expect("entropy");
        let of = |login| decoys.clone().verifier(Hash::Sha256, login);
        assert!(of("B@x") == of("b@x") && of("c@x").salt != of("b@x").salt);
        assert_eq!((of("b@x").salt.len(), of("b@x").iterations), (16, iterations()));
        let other = decoys.clone().verifier(Hash::Sha1, "b@x");
        assert_ne!(of("b@x").salt, other.salt, "as with somebody who is here");
        assert_ne!(nonce(), nonce());
    }
}
