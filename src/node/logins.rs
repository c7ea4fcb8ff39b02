//! When accounts logged in last: LOGIN-DELAY of POP3 (RFC 2449 §6.5).
//!
//! Invariants: an account is served by one core, so its logins are known there and nowhere else.
//! Limits: [`ACCOUNTS_MAX`]; beyond it those whose delay is over are forgotten, and if all are within it, all: a client
//! may then come sooner than it was asked to.

use crate::model::AccountId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Accounts remembered by one core; 24 octets each.
pub const ACCOUNTS_MAX: usize = 100_000;

/// The last login of each account.
#[derive(Debug, Default)]
pub struct Logins(RefCell<HashMap<AccountId, Instant>>);

impl Logins {
    /// Notes a login of `account`; false, and nothing noted, when the last one was less than `delay` ago.
    #[must_use]
    pub fn note(&self, account: AccountId, delay: Duration, now: Instant) -> bool {
        if delay.is_zero() {
            return true;
        }
        let mut logins = self.0.borrow_mut();
        let is_within = |at: &Instant| now.saturating_duration_since(*at) < delay;
        if logins.get(&account).is_some_and(is_within) {
            return false;
        }
        if logins.len() >= ACCOUNTS_MAX {
            logins.retain(|_, at| is_within(at));
        }
        if logins.len() >= ACCOUNTS_MAX {
            logins.clear();
        }
        logins.insert(account, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_too_soon_is_refused_and_does_not_count() {
        let logins = Logins::default();
        let (start, delay) = (Instant::now(), Duration::from_secs(60));
        let note = |id, seconds| logins.note(AccountId(id), delay, start + Duration::from_secs(seconds));
        assert!(note(1, 0) && note(2, 1));
        assert!(!note(1, 59), "too soon");
        assert!(note(1, 60), "a refused one does not begin the delay anew");
        assert!(!note(1, 61));
        assert!(logins.note(AccountId(1), Duration::ZERO, start));
    }

    #[test]
    fn memory_is_bounded() {
        let logins = Logins::default();
        let start = Instant::now();
        for id in 0..=ACCOUNTS_MAX as u64 {
            assert!(logins.note(AccountId(id), Duration::from_secs(9), start));
        }
        assert!(logins.0.borrow().len() <= ACCOUNTS_MAX);
    }
}
