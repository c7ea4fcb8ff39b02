//! Who needs an account's state in memory.
//!
//! Invariants: a pinned account stays loaded; the last pin that goes leaves the account to be evicted, not evicted.
//! Limits: one entry per pinned account.
//! Not here: loading and evicting (`paging`).

use crate::base::id_map::IdMap;
use crate::model::AccountId;
use std::cell::RefCell;
use std::rc::Rc;

/// The pins of one core.
#[derive(Clone, Debug, Default)]
pub struct Pins(Rc<RefCell<IdMap<AccountId, u32>>>);

impl Pins {
    /// From now on the account stays as loaded as it is.
    pub fn pin(&self, account: AccountId) -> Pin {
        *self.0.borrow_mut().entry(account).or_default() += 1;
        Pin {
            pins: self.clone(),
            account,
        }
    }

    /// Does anybody need it?
    pub fn is_pinned(&self, account: AccountId) -> bool {
        self.0.borrow().contains_key(&account)
    }
}

/// Keeps one account's state in memory until it is dropped. Hold it for as long as `Store::account` must find the
/// account, across waits too.
#[derive(Debug)]
#[must_use = "the account may be evicted when the pin is dropped"]
pub struct Pin {
    pins: Pins,
    account: AccountId,
}

impl Pin {
    /// Whose.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.borrow_mut();
        let Some(count) = pins.get_mut(&self.account) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            pins.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_pinned_until_its_last_pin_is_dropped() {
        let pins = Pins::default();
        let (first, second) = (pins.pin(AccountId(1)), pins.pin(AccountId(1)));
        drop(first);
        assert!(pins.is_pinned(AccountId(1)));
        assert!(!pins.is_pinned(AccountId(2)));
        drop(second);
        assert!(!pins.is_pinned(AccountId(1)));
    }
}
