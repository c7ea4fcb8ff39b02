//! Are these credentials right? Passwords are verified off the data cores and remembered for a short time.
//!
//! Invariants: an unknown login costs what a wrong password costs (a dummy hash is verified) and is answered with the
//! same text; no hash is computed on an executor; the cache holds keyed digests, never a password, and only of logins
//! that succeeded.
//! Limits: [`CACHE_ENTRIES_MAX`], [`CACHE_TTL`]; those of `failures`, which makes guessing slow.
//! Failure: when the helper threads cannot answer, or too many wait for them already, the verdict is `Unavailable`, not
//! `Refused`.
//! Standards: RFC 9106 (argon2id), RFC 4616 (the identities a PLAIN exchange carries).
//! Not here: the exchanges themselves (`proto`), who exists (`directory`).

mod argon;
#[cfg(test)]
mod crowd_tests;
pub mod failures;
pub mod oauth;
pub mod scheme;
pub mod scram;

use crate::base::clock::{Clock, SystemClock};
use crate::directory::{Directory, LoginRecord, PasswordHash, Unavailable};
use crate::model::{Account, ClientProtocol, login_key};
use crate::proto::sasl::Token;
use crate::runtime::{self, Control, Share};
use aws_lc_rs::hmac;
use failures::Failures;
use oauth::Issuer;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Verified logins remembered by one core. Beyond it the cache starts anew; 64 bytes an entry.
pub const CACHE_ENTRIES_MAX: usize = 100_000;

/// How long a verified login is believed without hashing again.
pub const CACHE_TTL: Duration = Duration::from_secs(300);

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
    login: Box<str>,
}

impl Authenticated {
    /// Whose credentials they were.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// The name that the directory knows them by.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }
}

/// Who asks, for limits and scopes.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// What they want to log in by.
    pub protocol: ClientProtocol,
    /// Where they are; `None`: on this machine, from where failures are not limited.
    pub peer: Option<IpAddr>,
}

impl Caller {
    /// Whose computations a login is one of.
    fn share(&self) -> Share {
        Share::from(self.peer)
    }
}

impl From<ClientProtocol> for Caller {
    /// One whose failures are not limited.
    fn from(protocol: ClientProtocol) -> Self {
        Self { protocol, peer: None }
    }
}

/// One core's way to check credentials.
pub struct Authenticator {
    directory: Directory,
    control: Control,
    /// What the password of somebody unknown is compared with, so that it takes as long.
    dummy: PasswordHash,
    failures: Arc<Failures>,
    issuer: Option<Arc<Issuer>>,
    key: hmac::Key,
    verified: RefCell<HashMap<[u8; 32], Instant>>,
    /// The directory's, when `verified` was true.
    generation: Cell<u64>,
}

/// What a password turned out to be.
enum Match {
    None,
    /// The account's own, kept by this hash; and a better hash where that one is outdated.
    Own(PasswordHash, Option<PasswordHash>),
    /// The app password of this id.
    App(u64),
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

impl Authenticator {
    /// `dummy`: the hash of a password nobody has, by the scheme most accounts use. `failures`: of the whole process.
    ///
    /// # Errors
    /// When the system gives no entropy for the cache's key.
    pub fn new(
        directory: Directory,
        control: Control,
        dummy: PasswordHash,
        failures: Arc<Failures>,
    ) -> Result<Self, String> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| e.to_string())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(Self {
            directory,
            control,
            dummy,
            failures,
            issuer: None,
            key,
            verified: RefCell::default(),
            generation: Cell::default(),
        })
    }

    /// With an issuer whose tokens open accounts.
    #[must_use]
    pub fn with_issuer(self, issuer: Option<Arc<Issuer>>) -> Self {
        Self { issuer, ..self }
    }

    /// The account that a token of the issuer names, which is the one the client asks for, if it asks for one.
    pub async fn token(&self, token: &Token, caller: impl Into<Caller>) -> Login {
        let caller = caller.into();
        let wanted = token.login.as_deref();
        let refused = wanted.unwrap_or_default().as_bytes();
        let text = String::from_utf8(token.token.expose().to_vec());
        let (Some(issuer), Ok(text)) = (self.issuer.clone(), text) else {
            return self.refuse_caller(refused, caller).await;
        };
        let asking = async move { issuer.owner(&text, SystemClock.now().seconds()).await };
        match self.control.run(asking).await {
            Ok(Ok(Some(owner))) if wanted.is_none_or(|wanted| owner == login_key(wanted)) => {
                self.certified(&owner, caller).await
            }
            Ok(Ok(_)) => self.refuse_caller(refused, caller).await,
            Ok(Err(Unavailable)) | Err(_) => Login::Unavailable,
        }
    }

    /// Checks a login and its password, on a helper thread unless they were verified within [`CACHE_TTL`]. The account is
    /// enabled and may use the caller's protocol.
    pub async fn verify(&self, login: &[u8], password: &[u8], caller: impl Into<Caller>) -> Login {
        let caller = caller.into();
        let keys = caller.peer.map(|peer| self.failures.keys(login, peer));
        if let Some(keys) = keys {
            runtime::sleep_if_any(self.failures.delay_before(keys, Instant::now())).await;
        }
        let outcome = self.check(login, password, caller).await;
        match (&outcome, keys) {
            (Login::Authenticated(_), Some(keys)) => self.failures.succeeded(keys),
            (Login::Refused, _) => return self.refuse(keys).await,
            _ => {}
        }
        outcome
    }

    async fn check(&self, login: &[u8], password: &[u8], caller: Caller) -> Login {
        let protocol = caller.protocol;
        let generation = self.follow_directory();
        let name = std::str::from_utf8(login).ok();
        let record = match name {
            Some(name) => self.directory.login(name).await,
            None => Ok(None),
        };
        let name = name.unwrap_or_default();
        let Ok(record) = record else {
            return Login::Unavailable;
        };
        let record = record.filter(|record| {
            let account = &record.account;
            account.is_enabled && account.protocols.allows(protocol)
        });
        let digest = self.digest(login, password, protocol, record.as_deref());
        if let Some((record, reference)) = record.as_ref().and_then(|r| Some((r, r.checked_by.as_deref()?))) {
            return self
                .check_elsewhere((record, name), reference, password, caller, digest)
                .await;
        }
        if let Some(record) = record.as_ref().filter(|_| self.was_verified(&digest, CACHE_TTL)) {
            return authenticated(record, name);
        }
        let (compared, dummy) = (record.clone(), self.dummy.clone());
        let candidate = password.to_vec();
        let now = SystemClock.now().seconds();
        let found = self.control.compute(caller.share(), move || match compared {
            Some(record) => compare(&record, &candidate, protocol, now, &dummy),
            None => {
                let _ = std::hint::black_box(scheme::matches(&dummy, &candidate));
                Match::None
            }
        });
        match (found.await, record) {
            (Err(_), _) => Login::Unavailable,
            (Ok(found), Some(record)) if !matches!(found, Match::None) => {
                self.tell_directory(name, found, now);
                self.remember(digest, generation);
                authenticated(&record, name)
            }
            _ => Login::Refused,
        }
    }

    /// The back end says whether the password is right, unless it is one that was made for a program.
    async fn check_elsewhere(
        &self,
        (record, name): (&Arc<LoginRecord>, &str),
        reference: &str,
        password: &[u8],
        caller: Caller,
        digest: [u8; 32],
    ) -> Login {
        let Some(source) = self.directory.source() else {
            return Login::Unavailable;
        };
        if self.was_verified(&digest, source.ages().positive) {
            return authenticated(record, name);
        }
        let generation = self.directory.generation();
        let now = SystemClock.now().seconds();
        match self.find_app_password(record, password, caller, now).await {
            Ok(Some(id)) => {
                source.used_app_password(id, now);
                self.remember(digest, generation);
                return authenticated(record, name);
            }
            Ok(None) => {}
            Err(Unavailable) => return Login::Unavailable,
        }
        let checked = match record.totp_secret {
            None => source.check_password(reference, password).await,
            // The back end is not asked: from a mail program this is no password, right or wrong.
            Some(_) => Ok(false),
        };
        match checked {
            Ok(true) => {
                self.remember(digest, generation);
                authenticated(record, name)
            }
            Ok(false) => {
                // Somebody unknown costs this hash; so does a wrong password.
                let (dummy, candidate) = (self.dummy.clone(), password.to_vec());
                let hashing = self
                    .control
                    .compute(caller.share(), move || scheme::matches(&dummy, &candidate));
                // Where there is no place for it, somebody unknown is told the same.
                hashing.await.map_or(Login::Unavailable, |_| Login::Refused)
            }
            Err(_) => Login::Unavailable,
        }
    }

    async fn find_app_password(
        &self,
        record: &Arc<LoginRecord>,
        password: &[u8],
        caller: Caller,
        now: i64,
    ) -> Result<Option<u64>, Unavailable> {
        if record.app_passwords.is_empty() {
            return Ok(None);
        }
        let (record, candidate) = (record.clone(), password.to_vec());
        let finding = self.control.compute(caller.share(), move || {
            app_password(&record, &candidate, caller.protocol, now)
        });
        finding.await.map_err(|_| Unavailable)
    }

    fn tell_directory(&self, login: &str, found: Match, now: i64) {
        let Some(source) = self.directory.source() else {
            return;
        };
        match found {
            Match::Own(old, Some(better)) => source.rehash(login, old, better),
            Match::App(id) => source.used_app_password(id, now),
            _ => {}
        }
    }

    /// An answer that is no, in its time.
    async fn refuse(&self, keys: Option<failures::Keys>) -> Login {
        if let Some(keys) = keys {
            runtime::sleep_if_any(self.failures.failed(keys, Instant::now())).await;
        }
        Login::Refused
    }

    /// The account that somebody has proven to own by other means than its password: a client's certificate, or the word of
    /// an issuer that the operator trusts. A second factor of the account guards its password, not these.
    pub async fn certified(&self, login: &str, caller: impl Into<Caller>) -> Login {
        let caller = caller.into();
        let Ok(record) = self.directory.login(login).await else {
            return Login::Unavailable;
        };
        let is_allowed = |record: &LoginRecord| {
            record.account.is_enabled && record.account.protocols.allows(caller.protocol)
        };
        match record.filter(|record| is_allowed(record)) {
            Some(record) => authenticated(&record, login),
            None => self.refuse_caller(login.as_bytes(), caller).await,
        }
    }

    /// A login that was refused for another reason than its password; counted alike.
    async fn refuse_caller(&self, login: &[u8], caller: Caller) -> Login {
        let keys = caller.peer.map(|peer| self.failures.keys(login, peer));
        self.refuse(keys).await
    }

    /// What is remembered of a login: other hashes, because the password was changed somewhere, make it another one.
    fn digest(
        &self,
        login: &[u8],
        password: &[u8],
        protocol: ClientProtocol,
        record: Option<&LoginRecord>,
    ) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // An app password opens one protocol and not another.
        context.update(&[protocol as u8]);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        context.update(&(login.len() as u64).to_le_bytes());
        context.update(login);
        for hash in record.into_iter().flat_map(|record| &record.hashes) {
            context.update(&(hash.expose().len() as u64).to_le_bytes());
            context.update(hash.expose().as_bytes());
        }
        context.update(password);
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Forgets what was verified before the directory's last change: a password, a state, a scope may be another one now.
    fn follow_directory(&self) -> u64 {
        let generation = self.directory.generation();
        if self.generation.replace(generation) != generation {
            self.verified.borrow_mut().clear();
        }
        generation
    }

    fn was_verified(&self, digest: &[u8; 32], ttl: Duration) -> bool {
        self.follow_directory();
        self.verified
            .borrow()
            .get(digest)
            .is_some_and(|at| at.elapsed() < ttl)
    }

    /// `generation`: the directory's when it was asked. What was verified against an older state is true only once.
    fn remember(&self, digest: [u8; 32], generation: u64) {
        if self.follow_directory() != generation {
            return;
        }
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= CACHE_ENTRIES_MAX {
            verified.clear();
        }
        verified.insert(digest, Instant::now());
    }
}

/// App passwords first, because they are cheap; then the account's own, unless a second factor keeps it from mail programs.
/// An account without a hash costs what one with a hash costs.
fn compare(
    record: &LoginRecord,
    password: &[u8],
    protocol: ClientProtocol,
    now: i64,
    dummy: &PasswordHash,
) -> Match {
    if let Some(id) = app_password(record, password, protocol, now) {
        return Match::App(id);
    }
    let own = record
        .hashes
        .iter()
        .filter(|hash| scheme::is_known(hash.expose()));
    let mut is_any = false;
    for hash in own {
        is_any = true;
        if scheme::matches(hash, password) && record.totp_secret.is_none() {
            let better = scheme::is_outdated(hash)
                .then(|| scheme::hash(password).ok())
                .flatten();
            return Match::Own(hash.clone(), better);
        }
    }
    if !is_any {
        let _ = std::hint::black_box(scheme::matches(dummy, password));
    }
    Match::None
}

/// The app password that this is, if it is one that opens `protocol` at `now`.
fn app_password(record: &LoginRecord, password: &[u8], protocol: ClientProtocol, now: i64) -> Option<u64> {
    let mut usable = record.app_passwords.iter().filter(|app| {
        app.protocols.allows(protocol) && app.expires_at.is_none_or(|expires_at| now < expires_at)
    });
    let found = usable.find(|app| scheme::matches(&app.hash, password));
    found.map(|app| app.id)
}

fn authenticated(record: &LoginRecord, login: &str) -> Login {
    Login::Authenticated(Authenticated {
        account: record.account.clone(),
        login: login.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::AppPassword;
    use crate::model::{AccountId, AddrSpec, Protocols};

    const NOW: i64 = 1_000;

    fn record() -> LoginRecord {
        let address = AddrSpec::parse("alice@example.org").expect("an address");
        let app = |id, text: &str, protocols: &str, expires_at| AppPassword {
            id,
            hash: PasswordHash::new(format!("{{PLAIN}}{text}")),
            protocols: Protocols::parse(protocols).expect("protocols"),
            expires_at,
        };
        LoginRecord {
            account: Arc::new(Account::new(AccountId(1), address)),
            hashes: vec![
                PasswordHash::new("{SCRAM-SHA-256}4096,a,b,c"),
                PasswordHash::new("{PLAIN}own"),
            ],
            app_passwords: vec![
                app(1, "phone", "imap", None),
                app(2, "old", "imap", Some(NOW)),
                app(3, "new", "imap", Some(NOW + 1)),
            ],
            checked_by: None,
            totp_secret: None,
        }
    }

    fn compared(record: &LoginRecord, password: &str, protocol: ClientProtocol) -> Match {
        let dummy = PasswordHash::new("{PLAIN}dummy");
        compare(record, password.as_bytes(), protocol, NOW, &dummy)
    }

    #[test]
    fn app_passwords_have_a_scope_and_an_end() {
        let record = record();
        let app = |password, protocol| match compared(&record, password, protocol) {
            Match::App(id) => Some(id),
            _ => None,
        };
        assert_eq!(app("phone", ClientProtocol::Imap), Some(1));
        assert_eq!(app("phone", ClientProtocol::Pop3), None);
        assert_eq!(app("old", ClientProtocol::Imap), None);
        assert_eq!(app("new", ClientProtocol::Imap), Some(3));
        assert_eq!(app("dummy", ClientProtocol::Imap), None);
    }

    #[test]
    fn a_second_factor_leaves_app_passwords_only() {
        let mut record = record();
        assert!(matches!(
            compared(&record, "own", ClientProtocol::Imap),
            Match::Own(..)
        ));
        record.totp_secret = Some(PasswordHash::new("JBSWY3DPEHPK3PXP"));
        assert!(matches!(
            compared(&record, "own", ClientProtocol::Imap),
            Match::None
        ));
        assert!(matches!(
            compared(&record, "phone", ClientProtocol::Imap),
            Match::App(1)
        ));
        record.hashes.clear();
        assert!(matches!(
            compared(&record, "dummy", ClientProtocol::Imap),
            Match::None
        ));
    }

    #[test]
    fn an_outdated_hash_is_replaced_at_login() {
        let Match::Own(old, Some(better)) = compared(&record(), "own", ClientProtocol::Pop3) else {
            panic!("PLAIN is outdated")
        };
        assert_eq!(old.expose(), "{PLAIN}own");
        assert!(scheme::matches(&better, b"own") && !scheme::is_outdated(&better));
    }
}
