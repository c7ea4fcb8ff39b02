//! How much mail each account has submitted lately: a stolen password must not make a site a source of junk.
//!
//! Invariants: an account is served by one core, so its mail is counted there and nowhere else; a limit is passed by
//! nothing while its account is remembered, and hit for now only (450).
//! Limits: [`SubmissionLimits`]; [`ACCOUNTS_MAX`] accounts are remembered, beyond it those without recent mail are forgotten,
//! and if all have some, all. A restart forgets all.

use crate::model::AccountId;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Accounts remembered by one core; 56 octets each.
pub const ACCOUNTS_MAX: usize = 100_000;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What one account may submit. Counted from its first message on, anew when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubmissionLimits {
    /// Messages. Above what a person writes, and a small mailing by hand.
    pub messages_per_hour: u32,
    /// Recipients, each message's counted.
    pub recipients_per_day: u32,
}

impl Default for SubmissionLimits {
    fn default() -> Self {
        Self {
            messages_per_hour: 500,
            recipients_per_day: 5_000,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    hour_began: Instant,
    messages: u32,
    day_began: Instant,
    recipients: u32,
}

impl Usage {
    fn new(now: Instant) -> Self {
        Self {
            hour_began: now,
            messages: 0,
            day_began: now,
            recipients: 0,
        }
    }

    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.hour_began) >= HOUR {
            (self.hour_began, self.messages) = (now, 0);
        }
        if now.saturating_duration_since(self.day_began) >= DAY {
            (self.day_began, self.recipients) = (now, 0);
        }
    }
}

/// One core's accounts.
#[derive(Debug, Default)]
pub struct Submitters(RefCell<HashMap<AccountId, Usage>>);

impl Submitters {
    /// Whether `account` may send a message more, as things stand; it counts when it comes.
    #[must_use]
    pub fn may_begin(&self, account: AccountId, limits: SubmissionLimits, now: Instant) -> bool {
        self.with(account, now, |usage| usage.messages < limits.messages_per_hour)
    }

    /// Counts a message; false, and not counted, when there were as many as there may be: sessions that began theirs side
    /// by side have all been told that they may.
    #[must_use]
    pub fn note_message(&self, account: AccountId, limits: SubmissionLimits, now: Instant) -> bool {
        self.with(account, now, |usage| {
            let is_within = usage.messages < limits.messages_per_hour;
            usage.messages += u32::from(is_within);
            is_within
        })
    }

    /// Counts a recipient; false, and not counted, when there were as many as there may be.
    #[must_use]
    pub fn note_recipient(&self, account: AccountId, limits: SubmissionLimits, now: Instant) -> bool {
        self.with(account, now, |usage| {
            let is_within = usage.recipients < limits.recipients_per_day;
            usage.recipients += u32::from(is_within);
            is_within
        })
    }

    fn with<T>(&self, account: AccountId, now: Instant, change: impl FnOnce(&mut Usage) -> T) -> T {
        let mut all = self.0.borrow_mut();
        if all.len() >= ACCOUNTS_MAX && !all.contains_key(&account) {
            all.retain(|_, usage| {
                usage.turn(now);
                usage.recipients > 0 || usage.messages > 0
            });
            if all.len() >= ACCOUNTS_MAX {
                all.clear();
            }
        }
        let usage = all.entry(account).or_insert_with(|| Usage::new(now));
        usage.turn(now);
        change(usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_for_their_time_and_for_their_account() {
        let submitters = Submitters::default();
        let limits = SubmissionLimits {
            messages_per_hour: 1,
            recipients_per_day: 2,
        };
        let start = Instant::now();
        let recipient = |id, at| submitters.note_recipient(AccountId(id), limits, at);
        assert!(submitters.may_begin(AccountId(1), limits, start));
        assert!(recipient(1, start) && recipient(1, start) && !recipient(1, start));
        assert!(submitters.note_message(AccountId(1), limits, start));
        assert!(
            !submitters.note_message(AccountId(1), limits, start),
            "begun beside the first"
        );
        assert!(!submitters.may_begin(AccountId(1), limits, start + HOUR - Duration::from_secs(1)));
        assert!(submitters.may_begin(AccountId(2), limits, start) && recipient(2, start));
        assert!(submitters.may_begin(AccountId(1), limits, start + HOUR));
        assert!(!recipient(1, start + HOUR) && recipient(1, start + DAY));
    }
    #[test]
    fn whoever_has_sent_within_the_hour_is_not_forgotten_for_want_of_room() {
        let submitters = Submitters::default();
        let limits = SubmissionLimits {
            messages_per_hour: 1,
            recipients_per_day: 9,
        };
        let (first, start) = (AccountId(0), Instant::now());
        assert!(submitters.note_recipient(first, limits, start));
        // Its day is over soon, and with it the count of recipients; its hour has just begun.
        let late = start + DAY - Duration::from_secs(1);
        assert!(submitters.note_message(first, limits, late));
        let next_day = start + DAY;
        for id in 1..=ACCOUNTS_MAX as u64 {
            assert!(submitters.may_begin(AccountId(id), limits, next_day));
        }
        assert!(!submitters.may_begin(first, limits, next_day));
    }
}
