//! Who is logged in to the pages.
//!
//! Invariants: a session is found by the digest of its cookie, so that the table opens nothing; the cookie never leaves TLS,
//! is not for scripts and not for requests from other sites; each form has a token of its session.
//! Limits: [`SESSIONS_MAX`], [`IDLE_MAX`], [`AGE_MAX`].

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The cookie's name; `__Host-` makes browsers insist on TLS, this host and the whole path.
pub const COOKIE: &str = "__Host-ringpost";

/// Sessions at once; beyond it the one that was not used for the longest time ends. Some 300 octets each.
pub const SESSIONS_MAX: usize = 10_000;

/// Sessions of one account; beyond it its own oldest ends, so that nobody ends those of others.
pub const SESSIONS_OF_ACCOUNT_MAX: usize = 16;

/// Without a request.
pub const IDLE_MAX: Duration = Duration::from_secs(1_800);

/// In all.
pub const AGE_MAX: Duration = Duration::from_secs(12 * 3_600);

type Key = [u8; 32];

/// Tells the password a session began with from a later one.
pub type Stamp = [u8; 32];

/// The stamp of a password's hash.
#[must_use]
pub fn stamp(hash: &str) -> Stamp {
    key(hash)
}

#[derive(Debug)]
struct Session {
    address: String,
    login: String,
    stamp: Stamp,
    token: String,
    /// Of a second factor that is being switched on: kept here, so that only the one that was shown behind the password can be.
    offered: Option<String>,
    began: Instant,
    used: Instant,
}

/// What a request is allowed to know of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whose it is.
    pub address: String,
    /// By what they logged in.
    pub login: String,
    /// Of the password it began with.
    pub stamp: Stamp,
    /// What its forms carry.
    pub token: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Key, Session>>);

fn random_text() -> Result<String, String> {
    let mut octets = [0; 32];
    getrandom::fill(&mut octets).map_err(|e| e.to_string())?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

fn key(cookie: &str) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, cookie.as_bytes()).as_ref());
    key
}

impl Sessions {
    /// Begins one; its cookie.
    ///
    /// # Errors
    /// When the system gives no entropy.
    pub fn begin(&self, address: &str, login: &str, stamp: Stamp, now: Instant) -> Result<String, String> {
        let (cookie, token) = (random_text()?, random_text()?);
        let mut sessions = self.0.lock();
        sessions.retain(|_, session| is_alive(session, now));
        let own = sessions
            .values()
            .filter(|session| session.address == address)
            .count();
        if own >= SESSIONS_OF_ACCOUNT_MAX {
            end_oldest(&mut sessions, |session| session.address == address);
        } else if sessions.len() >= SESSIONS_MAX {
            end_oldest(&mut sessions, |_| true);
        }
        sessions.insert(
            key(&cookie),
            Session {
                address: address.to_owned(),
                login: login.to_owned(),
                stamp,
                token,
                offered: None,
                began: now,
                used: now,
            },
        );
        Ok(cookie)
    }

    /// The session of a cookie.
    #[must_use]
    pub fn find(&self, cookie: &str, now: Instant) -> Option<Known> {
        let mut sessions = self.0.lock();
        let session = sessions
            .get_mut(&key(cookie))
            .filter(|session| is_alive(session, now))?;
        session.used = now;
        Some(Known {
            address: session.address.clone(),
            login: session.login.clone(),
            stamp: session.stamp,
            token: session.token.clone(),
        })
    }

    /// Keeps the secret of a second factor until its first code comes.
    pub fn offer(&self, cookie: &str, secret: &str) {
        if let Some(session) = self.0.lock().get_mut(&key(cookie)) {
            session.offered = Some(secret.to_owned());
        }
    }

    /// The secret that was kept.
    #[must_use]
    pub fn offered(&self, cookie: &str) -> Option<String> {
        self.0
            .lock()
            .get(&key(cookie))
            .and_then(|session| session.offered.clone())
    }

    /// Ends one.
    pub fn end(&self, cookie: &str) {
        self.0.lock().remove(&key(cookie));
    }

    /// Ends all of an account: its password or its rights have changed.
    pub fn end_all_of(&self, address: &str) {
        self.0.lock().retain(|_, session| session.address != address);
    }
}

fn end_oldest(sessions: &mut HashMap<Key, Session>, is_meant: impl Fn(&Session) -> bool) {
    let meant = sessions.iter().filter(|(_, session)| is_meant(session));
    let oldest = meant.min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
    oldest.and_then(|oldest| sessions.remove(&oldest));
}

fn is_alive(session: &Session, now: Instant) -> bool {
    now.saturating_duration_since(session.used) < IDLE_MAX
        && now.saturating_duration_since(session.began) < AGE_MAX
}

impl Known {
    /// Whether a form came from a page of this session.
    #[must_use]
    pub fn is_own(&self, token: &str) -> bool {
        verify_slices_are_equal(self.token.as_bytes(), token.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_by_time_by_request_and_with_the_password() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let cookie = sessions
            .begin("a@x.test", "a@x.test", [0; 32], now)
            .expect("entropy");
        let other = sessions
            .begin("b@x.test", "b@x.test", [0; 32], now)
            .expect("entropy");
        let known = sessions.find(&cookie, now).expect("it began");
        assert!(known.is_own(&known.token) && !known.is_own("") && known.address == "a@x.test");
        assert_eq!(sessions.find("x", now), None);
        assert!(sessions.find(&cookie, now + IDLE_MAX).is_none());
        let mut at = now;
        while at < now + AGE_MAX - IDLE_MAX {
            assert!(sessions.find(&other, at).is_some());
            at += IDLE_MAX / 2;
        }
        assert!(sessions.find(&other, now + AGE_MAX).is_none());
        sessions.end_all_of("a@x.test");
        assert!(sessions.find(&cookie, now).is_none());
        let third = sessions
            .begin("c@x.test", "c@x.test", [0; 32], now)
            .expect("entropy");
        sessions.end(&third);
        assert!(sessions.find(&third, now).is_none());
    }

    #[test]
    fn there_are_so_many_and_the_oldest_goes() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions
            .begin("a@x.test", "a@x.test", [0; 32], now)
            .expect("entropy");
        for n in 0..SESSIONS_MAX {
            let later = now + Duration::from_millis(1 + n as u64 / 100);
            let address = format!("{}@x.test", n / SESSIONS_OF_ACCOUNT_MAX);
            let _ = sessions
                .begin(&address, &address, [0; 32], later)
                .expect("entropy");
        }
        assert!(sessions.find(&first, now).is_none());
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
    }

    #[test]
    fn one_account_ends_its_own_and_nobody_elses() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let other = sessions
            .begin("a@x.test", "a@x.test", [0; 32], now)
            .expect("entropy");
        let cookies: Vec<String> = (0..=SESSIONS_OF_ACCOUNT_MAX as u64)
            .map(|n| {
                sessions
                    .begin("b@x.test", "b@x.test", [0; 32], now + Duration::from_millis(n))
                    .expect("entropy")
            })
            .collect();
        assert!(sessions.find(&other, now).is_some() && sessions.find(&cookies[0], now).is_none());
        assert!(
            cookies[1..]
                .iter()
                .all(|cookie| sessions.find(cookie, now).is_some())
        );
    }
}
