//! What lives where, as far as one core knows; and graves that are old enough to be forgotten.
//!
//! Live bytes only decide which segments are worth freeing: they are estimated, by whole blocks. A body that several
//! messages share counts once: records of one delivery lie behind its body and one after the other, so every one of them
//! marks the blocks that reach back from its record by its size, and these overlap.
//! Accounts that are not in memory are read one after the other and let go of again; so as not to do that for nothing, a
//! core can say cheaply how much may be dead since it last looked (`Growth`).
//! Limits: one bit for each block of the log, that is a 32,768th of it; one number for each hour in which something was
//! expunged that is still kept.
//! Not here: what is chosen (`choose`).

use super::choose::{Growth, Marks};
use crate::base::clock::Clock;
use crate::disk::BLOCK_BYTES;
use crate::model::{AccountId, MailboxId, ModSeq, SegmentId};
use crate::store::checkpoint_state::CoveredSegment;
use crate::store::checkpointer::Pause;
use crate::store::handle::Inner;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::Record;
use crate::store::state::{AccountState, Grave};
use crate::store::{Environment, MessageRow, StoreError};
use std::collections::{BTreeMap, HashMap};

/// Accounts looked at before other tasks get a turn, and messages of one account beyond which it counts as several.
const ACCOUNTS_AT_ONCE: usize = 64;
/// Graves forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 256;

/// What is to be forgotten is for so long at most, however little there is to free: its rows need memory.
const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

/// What graves are counted by.
const HOUR_MS: i64 = 60 * 60 * 1_000;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Blocks with something alive in them, by segment.
#[derive(Default)]
struct Blocks {
    blocks: HashMap<SegmentId, Vec<u64>>,
    /// Bytes whose place is not known.
    beside: BTreeMap<SegmentId, u64>,
}

impl Blocks {
    fn mark(&mut self, segment: SegmentId, start: u64, end: u64) {
        let bits = self.blocks.entry(segment).or_default();
        for block in start / BLOCK..end.div_ceil(BLOCK) {
            let (word, bit) = ((block / 64) as usize, block % 64);
            if bits.len() <= word {
                bits.resize(word + 1, 0);
            }
            bits[word] |= 1 << bit;
        }
    }

    fn row(&mut self, row: &MessageRow) {
        let start = u64::from(row.record.offset);
        let end = start + u64::from(row.record_bytes);
        let is_beside = row.body_segment == row.record.segment && !row.is_body_scattered;
        if is_beside {
            let start = start.saturating_sub(u64::from(row.size)).max(BLOCK);
            self.mark(row.record.segment, start, end);
        } else {
            self.mark(row.record.segment, start, end);
            *self.beside.entry(row.body_segment).or_default() += u64::from(row.size);
        }
    }

    fn into_bytes(self) -> BTreeMap<SegmentId, u64> {
        let mut bytes = self.beside;
        for (segment, bits) in self.blocks {
            let marked: u32 = bits.iter().map(|word| word.count_ones()).sum();
            *bytes.entry(segment).or_default() += u64::from(marked) * BLOCK;
        }
        bytes
    }
}

/// What one core found when it last looked at everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Looked {
    at_ms: i64,
    /// Bytes that it had logged in this start.
    logged_bytes: u64,
    /// Bytes of what can be brought back, by the hour of its expunging.
    kept: BTreeMap<i64, u64>,
}

/// A mailbox, perhaps a deleted one, with graves to be forgotten.
type Old = (AccountId, MailboxId);

/// One core's look at everything.
struct Look {
    /// What was expunged up to this is not kept any more.
    before_ms: i64,
    blocks: Blocks,
    kept: BTreeMap<i64, u64>,
}

impl Look {
    /// Counts the account. Gives the mailboxes that have old graves.
    fn see(&mut self, account: &AccountState) -> Vec<Old> {
        let mut old = Vec::new();
        let mut ids: Vec<&MailboxId> = account.mailboxes.keys().collect();
        ids.sort_unstable();
        for id in ids {
            let mailbox = &account.mailboxes[id];
            mailbox.rows.iter().for_each(|row| self.blocks.row(row));
            old.extend(self.graves(&mailbox.graves).map(|_| (account.id, *id)));
        }
        for mailbox in &account.buried {
            old.extend(self.graves(&mailbox.graves).map(|_| (account.id, mailbox.id)));
        }
        old
    }

    /// Gives up to which of them all are old.
    fn graves(&mut self, graves: &[Grave]) -> Option<ModSeq> {
        let forgotten = forgotten_up_to(graves, self.before_ms);
        let first = graves.partition_point(|grave| Some(grave.mod_seq) <= forgotten);
        for grave in &graves[first..] {
            // It lives on elsewhere, and takes memory until it is forgotten.
            let mut bytes = 0;
            if !grave.has_moved {
                self.blocks.row(&grave.row);
                bytes = u64::from(grave.row.size) + u64::from(grave.row.record_bytes) + 2 * BLOCK;
            }
            *self.kept.entry(grave.at.0.div_euclid(HOUR_MS)).or_default() += bytes;
        }
        forgotten
    }
}

impl<E: Environment> Inner<E> {
    /// See [`Growth`]. `None`: it has not looked yet, or too long ago.
    pub(super) fn growth(&self) -> Option<Growth> {
        let looked = self.compaction.looked.borrow();
        let looked = looked.as_ref()?;
        let now_ms = self.env.clock().now().0;
        let age_ms = now_ms - looked.at_ms;
        // What was expunged since is not among what was kept then.
        if !(0..self.options.expunged_kept_ms).contains(&age_ms) {
            return None;
        }
        let before_ms = now_ms.saturating_sub(self.options.expunged_kept_ms);
        let old = looked.kept.range(..=before_ms.div_euclid(HOUR_MS));
        let overdue_ms = before_ms.saturating_sub(FORGET_AFTER_MS);
        let mut overdue = looked.kept.range(..overdue_ms.div_euclid(HOUR_MS));
        if overdue.next().is_some() {
            return None;
        }
        Some(Growth {
            logged_bytes: self
                .checkpoints
                .logged_bytes()
                .saturating_sub(looked.logged_bytes),
            old_bytes: old.map(|(_, bytes)| bytes).sum(),
        })
    }

    /// Every account's id, ascending.
    pub(super) fn account_ids(&self) -> Vec<AccountId> {
        self.state.borrow().account_ids()
    }

    /// Bytes in the finished segments of this start's log.
    pub(super) fn written_bytes(&self) -> u64 {
        let log = self.log.borrow();
        log.written.iter().map(|segment| u64::from(segment.end)).sum()
    }

    /// Bytes in the segments of older logs, of all cores.
    pub(super) fn older_bytes(&self) -> u64 {
        let older = self.checkpoints.older.borrow();
        older.iter().map(|segment| u64::from(segment.end)).sum()
    }

    /// See [`Marks`]. `None`: a start would still read logs of earlier starts; not yet.
    pub(super) async fn mark(&self) -> Result<Option<Marks>, StoreError> {
        if self.checkpoints.log_is_read_from().is_none() {
            return Ok(None);
        }
        self.compaction.note_pass();
        let now_ms = self.env.clock().now().0;
        let logged_bytes = self.checkpoints.logged_bytes();
        let mut look = Look {
            before_ms: now_ms.saturating_sub(self.options.expunged_kept_ms),
            blocks: Blocks::default(),
            kept: BTreeMap::new(),
        };
        self.look_at_all(&mut look).await?;
        self.compaction.looked.replace(Some(Looked {
            at_ms: now_ms,
            logged_bytes,
            kept: look.kept,
        }));
        let mut live = look.blocks.into_bytes();
        for said in self.compaction.said_anew.borrow().iter() {
            for (segment, bytes) in said.bytes.iter().chain(&said.next_bytes) {
                *live.entry(*segment).or_default() += bytes;
            }
        }
        let mut pinned = self.compaction.bodies.all();
        let state = self.state.borrow();
        let spooled = state.spool.values();
        let chunks = spooled.flat_map(|entry| entry.body.stored_chunks().unwrap_or_default());
        pinned.extend(chunks.map(|chunk| chunk.position.segment));
        let mut finished = self.checkpoints.older.borrow().clone();
        // Last: what happened meanwhile counts. Void ones are none.
        let Some(read_from) = self.checkpoints.log_is_read_from() else {
            return Ok(None);
        };
        let log = self.log.borrow();
        let (own, behind): (Vec<_>, Vec<_>) = log.written.iter().partition(|segment| segment.id < read_from);
        finished.extend::<Vec<CoveredSegment>>(own);
        Ok(Some(Marks {
            finished,
            behind,
            live,
            pinned,
        }))
    }

    /// Counts every account, and commits that graves older than they are kept are not remembered any more.
    async fn look_at_all(&self, look: &mut Look) -> Result<(), StoreError> {
        let before_ms = look.before_ms;
        let mut old: Vec<Old> = Vec::new();
        let mut looked_at = 0;
        for id in self.account_ids() {
            let seen = self.look(id, |account| look.see(account)).await?;
            old.extend(seen.unwrap_or_default());
            while old.len() >= FORGOTTEN_AT_ONCE {
                let some = old.drain(..FORGOTTEN_AT_ONCE).collect();
                self.forget(some, before_ms).await?;
            }
            looked_at += 1;
            if looked_at % ACCOUNTS_AT_ONCE == 0 {
                Pause::new().await;
            }
        }
        self.forget(old, before_ms).await
    }

    /// Commits that what is old in these mailboxes is forgotten: looked up again when it is committed, because what was
    /// buried since has its time before it, and a mailbox that is deleted buries all it has under one number.
    async fn forget(&self, old: Vec<Old>, before_ms: i64) -> Result<(), StoreError> {
        if old.is_empty() {
            return Ok(());
        }
        // Applying them needs the accounts.
        let mut pins = Vec::new();
        for (id, _) in &old {
            pins.push(self.load(*id).await?);
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            let mut plan = Plan::barrier();
            for (id, mailbox) in old {
                // What is in flight may bury more: the next pass comes.
                let account = planner.durable.accounts.get(&id);
                let account = account.filter(|_| planner.pending.is_idle(id));
                let graves = account.and_then(|account| graves_of(account, mailbox));
                let mod_seq = graves.and_then(|graves| forgotten_up_to(graves, before_ms));
                plan.records
                    .extend(mod_seq.map(|mod_seq| Record::GravesForgotten {
                        account: id,
                        mailbox,
                        mod_seq,
                    }));
            }
            // Afterwards: two mailboxes of an account do not disturb each other.
            let accounts: Vec<_> = plan.records.iter().map(Record::account).collect();
            accounts.into_iter().for_each(|id| planner.touch(id, &mut plan));
            Ok(plan)
        };
        let bytes = FORGOTTEN_AT_ONCE * 64;
        self.commit(bytes, &[], plan).await.map(|_| ())
    }
}

/// The graves of a mailbox, deleted or not.
fn graves_of(account: &AccountState, id: MailboxId) -> Option<&[Grave]> {
    let buried = || account.buried.iter().find(|buried| buried.id == id);
    match account.mailboxes.get(&id) {
        Some(mailbox) => Some(&mailbox.graves),
        None => buried().map(|buried| buried.graves.as_slice()),
    }
}

/// The MODSEQ up to which all graves are old. Those of one change go together.
fn forgotten_up_to(graves: &[Grave], before_ms: i64) -> Option<ModSeq> {
    let young = graves.iter().position(|grave| grave.at.0 > before_ms);
    let (old, first_young) = match young {
        Some(index) => (&graves[..index], Some(graves[index].mod_seq)),
        None => (graves, None),
    };
    let last = old.iter().rev().map(|grave| grave.mod_seq);
    last.into_iter().find(|mod_seq| Some(*mod_seq) != first_young)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::sim::SimDisk;
    use crate::store::tests::model::{Op, execute};
    use crate::store::tests::world::{World, long_text, name, small_options};
    use crate::store::{StoreOptions, Wanted};

    const ALICE: AccountId = AccountId(1);

    #[test]
    fn a_mailbox_deleted_after_it_was_looked_at_can_be_brought_back() {
        let options = StoreOptions {
            expunged_kept_ms: 1_000,
            ..small_options()
        };
        let mut world = World::open(&SimDisk::new(41), 1, options).expect("it opens");
        let store = world.of(ALICE);
        let s = str::to_owned;
        let mut ops = vec![Op::Create(s("Work"))];
        let text = |n: usize| long_text(&format!("{n}"), 300);
        ops.extend((0..3).map(|n| Op::Append(s("Work"), text(n), crate::model::Flags::SEEN)));
        ops.push(Op::Expunge(s("Work"), vec![1], false));
        for op in &ops {
            world.run(execute(&store, ALICE, op)).expect("it commits");
        }
        let later = UnixMillis(1_700_000_005_000);
        world.env.clock.set(later);
        let mut look = Look {
            before_ms: later.0 - 1_000,
            blocks: Blocks::default(),
            kept: BTreeMap::new(),
        };
        let old = store
            .account(ALICE, |account| look.see(account))
            .expect("it is there");
        assert_eq!(old.len(), 1);
        world
            .run(execute(&store, ALICE, &Op::Delete(s("Work"))))
            .expect("it commits");
        world
            .run(store.inner().forget(old, look.before_ms))
            .expect("it commits");
        let wanted = Wanted {
            mailbox: Some(name("Work")),
            since: None,
        };
        assert!(world.run(store.undelete(ALICE, &wanted)).expect("it commits") >= 2);
    }
}
