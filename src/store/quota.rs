//! Accounts that come near their quota.
//!
//! Invariants: a mark is crossed when mail is planned, one change after the other, by what is durable and in flight together;
//! so each crossing is seen once, whatever else is on its way. Nothing is remembered: below the mark again, it can be crossed
//! again, and a restart repeats nothing.
//! Limits: [`CROSSINGS_MAX`].
//! LIMITATION: a quota that is made smaller crosses nothing; the next mail that does is told of.
//! Not here: telling the owner (`delivery::warnings`), refusing (`plan`).

use crate::base::wait::Notify;
use crate::model::{AccountId, Quota, Usage};
use std::cell::RefCell;

/// Per cent of the quota at which an owner is told.
pub const MARKS_PERCENT: [u8; 2] = [80, 95];

/// Crossings nobody has taken yet; beyond it further ones are not kept.
pub const CROSSINGS_MAX: usize = 1_024;

/// An account has crossed a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaCrossing {
    /// Whose.
    pub account: AccountId,
    /// The mark.
    pub percent: u8,
    /// With what is in flight.
    pub usage: Usage,
    /// What it may keep.
    pub quota: Quota,
}

impl QuotaCrossing {
    /// The highest mark of octets or of messages that an account crosses when it goes from `before` to `after`.
    #[must_use]
    pub fn of(account: AccountId, before: Usage, after: Usage, quota: Quota) -> Option<Self> {
        let of_bytes = quota
            .bytes
            .and_then(|most| crossed(before.bytes, after.bytes, most));
        let of_messages = quota
            .messages
            .and_then(|most| crossed(before.messages, after.messages, most));
        Some(Self {
            account,
            percent: of_bytes.max(of_messages)?,
            usage: after,
            quota,
        })
    }
}

fn crossed(before: u64, after: u64, most: u64) -> Option<u8> {
    let share = |amount: u64| u128::from(amount) * 100;
    let mark = |percent: u8| u128::from(most) * u128::from(percent);
    let is_crossed = |percent: &u8| share(before) < mark(*percent) && share(after) >= mark(*percent);
    MARKS_PERCENT.into_iter().rev().find(is_crossed)
}

/// Crossings that nobody has taken yet.
#[derive(Debug, Default)]
pub(super) struct Crossings {
    kept: RefCell<Vec<QuotaCrossing>>,
    news: Notify,
}

impl Crossings {
    pub fn keep(&self, crossings: impl IntoIterator<Item = QuotaCrossing>) {
        let mut kept = self.kept.borrow_mut();
        let before = kept.len();
        kept.extend(crossings.into_iter().take(CROSSINGS_MAX - before));
        if kept.len() > before {
            self.news.notify_all();
        }
    }

    /// Those since the last time; waits until there are some.
    pub async fn next(&self) -> Vec<QuotaCrossing> {
        let mut news = self.news.waiter();
        loop {
            let crossings = self.kept.take();
            if !crossings.is_empty() {
                return crossings;
            }
            news.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: AccountId = AccountId(1);

    fn of_bytes(before: u64, after: u64, most: u64) -> Option<u8> {
        let usage = |bytes| Usage { bytes, messages: 1 };
        let quota = Quota {
            bytes: Some(most),
            messages: None,
        };
        QuotaCrossing::of(ACCOUNT, usage(before), usage(after), quota).map(|crossing| crossing.percent)
    }

    #[test]
    fn a_mark_is_crossed_upwards_and_the_highest_counts() {
        let of = |before, after| of_bytes(before, after, 1_000);
        assert_eq!((of(0, 799), of(799, 800), of(0, 949)), (None, Some(80), Some(80)));
        assert_eq!(
            (of(800, 949), of(800, 950), of(0, 1_000)),
            (None, Some(95), Some(95))
        );
        assert_eq!((of(950, 1_000), of(1_000, 800), of(900, 700)), (None, None, None));
        assert_eq!(of_bytes(0, 5, 0), None);
        assert_eq!(of_bytes(0, u64::MAX, u64::MAX), Some(95));
    }

    #[test]
    fn messages_have_marks_of_their_own() {
        let usage = |messages| Usage { bytes: 9, messages };
        let quota = Quota {
            bytes: Some(10),
            messages: Some(10),
        };
        let of = |before, after| QuotaCrossing::of(ACCOUNT, usage(before), usage(after), quota);
        assert_eq!(of(7, 8).map(|crossing| crossing.percent), Some(80));
        assert_eq!(of(8, 9), None);
    }

    #[test]
    fn crossings_that_nobody_takes_are_bounded() {
        let crossings = Crossings::default();
        let crossing = QuotaCrossing {
            account: ACCOUNT,
            percent: 80,
            usage: Usage::NONE,
            quota: Quota::NONE,
        };
        for _ in 0..3 {
            crossings.keep([crossing; CROSSINGS_MAX / 2]);
        }
        let taken = futures::FutureExt::now_or_never(crossings.next()).expect("there are some");
        assert_eq!(taken.len(), CROSSINGS_MAX);
        assert!(futures::FutureExt::now_or_never(crossings.next()).is_none());
    }
}
