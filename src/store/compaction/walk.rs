//! One account looked at piece by piece, so that one with many messages keeps no other task waiting.
//!
//! Invariants: what was visited since the last [`Piece::Begins`] holds every message that the account refers to at the end
//! of the walk, but for those that came from outside it meanwhile. Whatever takes a message from a part that is still to
//! be visited to one that was is noticed ([`takes_elsewhere`]), and the walk begins again; a mailbox's deletion takes it
//! behind everything.
//! Limits: [`ROWS_AT_ONCE`]; the graves of one mailbox come together. An account that changes so in every walk is visited at
//! once after [`AGAIN_MAX`]. One walk at a time.
//! Not here: what is looked for (`mark`, `relocate`), reading accounts that are not in memory (`paging`).

use crate::base::wait::Pause;
use crate::model::{AccountId, MailboxId};
use crate::store::handle::Inner;
use crate::store::record::Record;
use crate::store::state::{AccountState, Grave};
use crate::store::{Environment, MessageRow, StoreError};

/// Rows visited before other tasks get a turn: about a third of a millisecond.
pub(super) const ROWS_AT_ONCE: usize = 5_000;

/// Times that a walk begins again because messages were taken elsewhere meanwhile.
const AGAIN_MAX: usize = 3;

/// What a walk comes to.
pub(super) enum Piece<'a> {
    /// The walk begins, or begins again: what was seen so far may be outdated.
    Begins,
    /// Some of a mailbox.
    Rows(MailboxId, &'a [MessageRow]),
    /// All of a mailbox, deleted or not.
    Graves(MailboxId, &'a [Grave]),
}

/// Where a walk goes on.
#[derive(Default)]
struct Cursor {
    mailbox: u32,
    uid: u32,
    buried: usize,
}

/// Can the record put a message of its account where a walk was already?
pub(super) fn takes_elsewhere(record: &Record) -> bool {
    matches!(
        record,
        Record::Transfer { .. } | Record::InboxRenamed { .. } | Record::Undeleted { .. }
    )
}

impl Cursor {
    /// Visits about `most` rows; true: nothing is left.
    fn advance(&mut self, account: &AccountState, most: usize, visit: &mut impl FnMut(Piece<'_>)) -> bool {
        let mut left = most;
        let ids = account.mailboxes.keys().filter(|id| id.0 >= self.mailbox);
        let mut ids: Vec<MailboxId> = ids.copied().collect();
        ids.sort_unstable();
        for id in ids {
            if id.0 != self.mailbox {
                (self.mailbox, self.uid) = (id.0, 0);
            }
            let mailbox = &account.mailboxes[&id];
            let first = mailbox.rows.partition_point(|row| row.uid.value() < self.uid);
            let rows = &mailbox.rows[first..];
            let some = &rows[..rows.len().min(left)];
            visit(Piece::Rows(id, some));
            if some.len() < rows.len() {
                self.uid = rows[some.len()].uid.value();
                return false;
            }
            visit(Piece::Graves(id, &mailbox.graves));
            left = left.saturating_sub(some.len() + mailbox.graves.len());
            (self.mailbox, self.uid) = (id.0 + 1, 0);
        }
        for mailbox in account.buried.iter().skip(self.buried) {
            if left == 0 {
                return false;
            }
            visit(Piece::Graves(mailbox.id, &mailbox.graves));
            left = left.saturating_sub(mailbox.graves.len());
            self.buried += 1;
        }
        true
    }
}

impl<E: Environment> Inner<E> {
    /// Visits all rows and graves of an account, in memory or not. Nothing: it was never touched.
    pub(super) async fn walk(
        &self,
        id: AccountId,
        mut visit: impl FnMut(Piece<'_>),
    ) -> Result<(), StoreError> {
        for _ in 0..AGAIN_MAX {
            if self.walk_once(id, ROWS_AT_ONCE, &mut visit).await? {
                return Ok(());
            }
        }
        while !self.walk_once(id, usize::MAX, &mut visit).await? {}
        Ok(())
    }

    /// False: it has to begin again.
    async fn walk_once(
        &self,
        id: AccountId,
        most: usize,
        visit: &mut impl FnMut(Piece<'_>),
    ) -> Result<bool, StoreError> {
        visit(Piece::Begins);
        let mut cursor = Cursor::default();
        if let Some(account) = self.read_cold(id).await? {
            // As of the moment when it was read.
            while !cursor.advance(&account, ROWS_AT_ONCE.min(most), visit) {
                Pause::new().await;
            }
            return Ok(true);
        }
        self.compaction.walked.set(Some(id));
        loop {
            {
                let state = self.state.borrow();
                let Some(account) = state.accounts.get(&id) else {
                    // Evicted in the middle of it: read then.
                    return Ok(!state.cold.contains_key(&id));
                };
                if self.compaction.walked.get() != Some(id) {
                    return Ok(false);
                }
                if cursor.advance(account, most, visit) {
                    return Ok(true);
                }
            }
            Pause::new().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uid;
    use crate::sim::SimDisk;
    use crate::store::tests::model::{Op, execute};
    use crate::store::tests::world::{World, small_options};
    use crate::store::{Change, INBOX_ID, Store, tests::world::SimEnvironment};
    use std::collections::BTreeSet;

    const ALICE: AccountId = AccountId(1);

    /// INBOX with `2^doublings` copies of one message.
    fn many(world: &mut World, doublings: u32) -> Store<SimEnvironment> {
        let store = world.of(ALICE);
        let inbox = || "INBOX".to_owned();
        world
            .run(execute(&store, ALICE, &Op::Deliver(b"one".to_vec())))
            .expect("it commits");
        for n in 0..doublings {
            let copy = Op::Transfer(inbox(), (1..=1 << n).collect(), inbox(), false);
            world.run(execute(&store, ALICE, &copy)).expect("it commits");
        }
        store
    }

    fn seen(pieces: &mut BTreeSet<(bool, MailboxId, Uid)>, piece: &Piece<'_>) {
        match *piece {
            Piece::Begins => {}
            Piece::Rows(id, rows) => pieces.extend(rows.iter().map(|row| (false, id, row.uid))),
            Piece::Graves(id, graves) => pieces.extend(graves.iter().map(|grave| (true, id, grave.row.uid))),
        }
    }

    #[test]
    fn pieces_of_any_length_make_the_whole_account() {
        let mut world = World::open(&SimDisk::new(51), 1, small_options()).expect("it opens");
        let store = many(&mut world, 4);
        let s = str::to_owned;
        let ops = [
            Op::Transfer(s("INBOX"), (1..=9).collect(), s("Archive"), false),
            Op::Transfer(s("INBOX"), (1..=5).collect(), s("Sent"), true),
            Op::Expunge(s("INBOX"), vec![7, 9], false),
            Op::Create(s("Work")),
            Op::Transfer(s("INBOX"), vec![8, 10], s("Work"), false),
            Op::Delete(s("Work")),
        ];
        for op in &ops {
            world.run(execute(&store, ALICE, op)).expect("it commits");
        }
        let of = |most: usize| {
            let mut all = BTreeSet::new();
            let mut cursor = Cursor::default();
            store
                .account(ALICE, |account| {
                    while !cursor.advance(account, most, &mut |piece| {
                        if let Piece::Rows(_, rows) = &piece {
                            assert!(rows.len() <= most);
                        }
                        seen(&mut all, &piece);
                    }) {}
                })
                .expect("it is there");
            all
        };
        let whole = of(usize::MAX);
        assert_eq!(whole.len(), (16 - 7) + 7 + 9 + 5 + 2);
        for most in 1..20 {
            assert_eq!(of(most), whole, "{most}");
        }
    }

    #[test]
    fn a_message_that_is_moved_to_where_a_walk_was_is_seen_there() {
        let mut world = World::open(&SimDisk::new(52), 1, small_options()).expect("it opens");
        let store = many(&mut world, 13);
        let of_sent = store.account(ALICE, |account| {
            account
                .mailbox_named(&crate::store::tests::world::name("Archive"))
                .map(|m| m.id)
        });
        let archive = of_sent.flatten().expect("it is there");
        let last = vec![Uid::new(1 << 13).expect("it is not 0")];
        // From the last mailbox into the first, as soon as the walk has left that.
        let fill = Change::Move {
            from: INBOX_ID,
            to: archive,
            uids: last,
        };
        world.run(store.change(ALICE, fill)).expect("it commits");
        let mut all = BTreeSet::new();
        let mut begun = 0;
        let back = async {
            Pause::new().await;
            let back = Change::Move {
                from: archive,
                to: INBOX_ID,
                uids: vec![Uid::FIRST],
            };
            store.change(ALICE, back).await.expect("it commits");
        };
        let walk = store.inner().walk(ALICE, |piece| {
            if let Piece::Begins = piece {
                begun += 1;
                all.clear();
            }
            seen(&mut all, &piece);
        });
        let (walked, ()) = world.run(futures::future::join(walk, back));
        walked.expect("it reads");
        let uid_next = Uid::new((1 << 13) + 1).expect("it is not 0");
        let is_seen =
            all.contains(&(false, INBOX_ID, uid_next)) || all.contains(&(false, archive, Uid::FIRST));
        assert!(is_seen, "begun {begun} times");
    }
}
