//! The rule of `delivery::room`: which full mailbox refuses what, and who gets a copy all the same.

use super::super::Concerned;
use super::{BODY, COPY_BYTES, World, message};
use crate::model::AccountId;
use crate::proto::Receipt;
use crate::store::StoreError;

const FITS: Option<u64> = Some(COPY_BYTES);
/// Full once a copy is in it.
const FULL: Option<u64> = Some(2 * COPY_BYTES - 1);
const TOO_SMALL: Option<u64> = Some(COPY_BYTES - 1);

impl World {
    fn fill(&mut self, account: u64) {
        let filled = self
            .pool
            .run_until(self.router.accept(message(&[(account, None)])));
        assert!(filled.is_ok());
    }

    fn for_one_reply(&mut self, recipients: &[(u64, Option<u64>)]) -> Result<(), StoreError> {
        let outcome = self
            .pool
            .run_until(self.router.accept_for_one_reply(message(recipients)));
        outcome.map(|_| ())
    }

    /// The outcomes of replies about recipients at these places, by the receipts' names.
    fn for_replies(
        &mut self,
        recipients: &[(u64, Option<u64>)],
        replies: &[&[usize]],
    ) -> Vec<Result<String, StoreError>> {
        let replies: Vec<Concerned> = replies.iter().map(|at| at.iter().copied().collect()).collect();
        let outcomes = self
            .pool
            .run_until(self.router.accept_for_replies(message(recipients), &replies));
        let name = |receipt: crate::store::CommitReceipt| receipt.id().to_string();
        outcomes.into_iter().map(|outcome| outcome.map(name)).collect()
    }

    fn copies<const N: usize>(&self, accounts: [u64; N]) -> [u64; N] {
        accounts.map(|account| self.router.store().usage(AccountId(account)).messages)
    }

    fn over_quota(&self) -> u64 {
        self.router.store().meters().over_quota.value()
    }
}

#[test]
fn a_full_member_of_an_alias_makes_no_reply_that_is_retried() {
    let mut world = World::new();
    world.fill(1);
    let outcomes = world.for_replies(&[(1, FULL), (2, None), (3, FITS)], &[&[0, 1, 2]]);
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert_eq!(world.copies([1, 2, 3]), [2, 1, 1]);
    assert_eq!(world.over_quota(), 1);
}

#[test]
fn a_full_account_refuses_its_own_reply_and_no_alias_beside_it() {
    let mut world = World::new();
    for full in [1, 2] {
        world.fill(full);
    }
    let recipients = [(1, FULL), (2, FULL), (3, None), (4, TOO_SMALL)];
    let outcomes = world.for_replies(&recipients, &[&[0], &[1, 2], &[3]]);
    assert_eq!(outcomes[0], Err(StoreError::OverQuota));
    assert!(outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[2], Err(StoreError::BeyondQuota));
    assert_eq!(world.copies([1, 2, 3, 4]), [1, 2, 1, 0]);
    assert_eq!(world.over_quota(), 1);
}

#[test]
fn who_gets_a_copy_by_an_alias_is_not_refused_under_their_own_name() {
    let mut world = World::new();
    world.fill(1);
    let outcomes = world.for_replies(&[(1, FULL), (2, None)], &[&[0], &[0, 1]]);
    assert!(outcomes[0].is_ok() && outcomes[0] == outcomes[1], "{outcomes:?}");
    assert_eq!(world.copies([1, 2]), [2, 1]);
}

#[test]
fn an_alias_whose_accounts_are_all_full_is_refused_and_leaves_nothing() {
    let mut world = World::new();
    for full in [1, 2] {
        world.fill(full);
    }
    let recipients = [(1, FULL), (2, FULL), (3, TOO_SMALL), (4, None), (5, TOO_SMALL)];
    let outcomes = world.for_replies(&recipients, &[&[0, 1, 2], &[3], &[2, 4]]);
    assert_eq!(outcomes[0], Err(StoreError::OverQuota));
    assert!(outcomes[1].is_ok());
    assert_eq!(outcomes[2], Err(StoreError::BeyondQuota));
    assert_eq!(world.copies([1, 2, 3, 4, 5]), [1, 1, 0, 1, 0]);
    assert_eq!(world.over_quota(), 0);
}

#[test]
fn one_reply_for_several_accounts_refuses_only_when_all_are_full() {
    let mut world = World::new();
    for full in [1, 2] {
        world.fill(full);
    }
    assert_eq!(world.for_one_reply(&[(1, FULL)]), Err(StoreError::OverQuota));
    assert_eq!(
        world.for_one_reply(&[(3, TOO_SMALL)]),
        Err(StoreError::BeyondQuota)
    );
    let full = [(1, FULL), (2, FULL), (3, TOO_SMALL)];
    assert_eq!(world.for_one_reply(&full), Err(StoreError::OverQuota));
    assert_eq!(world.for_one_reply(&full[2..]), Err(StoreError::BeyondQuota));
    assert_eq!(world.copies([1, 2, 3]), [1, 1, 0]);
    assert_eq!(
        world.for_one_reply(&[(1, FULL), (3, TOO_SMALL), (4, FITS)]),
        Ok(())
    );
    assert_eq!(world.copies([1, 3, 4]), [2, 1, 1]);
    assert_eq!(world.over_quota(), 2);
}

#[test]
fn the_owner_of_a_mailbox_that_exceeds_its_quota_is_warned() {
    let mut world = World::new();
    let two = Some(2 * BODY.len() as u64);
    assert_eq!(world.for_one_reply(&[(1, two), (2, None)]), Ok(()));
    let store = world.router.store().clone();
    let crossings = world.pool.run_until(store.quota_crossings());
    assert_eq!((crossings.len(), crossings[0].percent), (1, 80));
    assert_eq!(world.for_one_reply(&[(1, two), (2, None)]), Ok(()));
    let crossings = world.pool.run_until(store.quota_crossings());
    assert_eq!((crossings[0].account, crossings[0].percent), (AccountId(1), 95));
    assert!(crossings[0].usage.bytes > 2 * BODY.len() as u64);
}
