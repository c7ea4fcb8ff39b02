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
use super::walk::{self, Piece};
use crate::base::clock::Clock;
use crate::base::wait::Pause;
use crate::disk::{BLOCK_BYTES, Disk};
use crate::model::{AccountId, MailboxId, ModSeq, Partition, SegmentId};
use crate::store::checkpoint_state::CoveredSegment;
use crate::store::handle::Inner;
use crate::store::log::Log;
use crate::store::pending::PendingAccount;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::Record;
use crate::store::state::{AccountState, Grave};
use crate::store::{Environment, MessageRow, StoreError};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Accounts looked at before other tasks get a turn.
const ACCOUNTS_AT_ONCE: usize = 64;
/// Mailboxes whose graves are forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 64;
/// Rows and graves looked at before other tasks get a turn.
const ROWS_AT_ONCE: usize = walk::ROWS_AT_ONCE;
/// Bytes that a record of that takes, its group's share included.
const FORGOTTEN_BYTES: u64 = 64;

/// What is to be forgotten is for so long at most, however little there is to free: its rows need memory.
const FORGET_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

/// What graves are counted by.
const HOUR_MS: i64 = 60 * 60 * 1_000;

/// Bytes that a row takes when its account is said anew, about, a grave beside its row, and a mailbox or an account without
/// rows.
const RESTATED_ROW_BYTES: u64 = 32;
const RESTATED_GRAVE_BYTES: u64 = RESTATED_ROW_BYTES + 17;
const RESTATED_MAILBOX_BYTES: u64 = 160;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// Segments that a scattered body is taken to be spread over, at most: a message has no more than two, usually; beyond this
/// it came in so slowly that nothing is known.
const SPREAD_MAX: u32 = 256;

/// Bodies far from their records that are remembered as counted: a few MiB. Those whose recipients are further apart count
/// more than once.
const COUNTED_MAX: usize = 64 * 1024;

/// Blocks with something alive in them, by segment.
#[derive(Default)]
struct Blocks {
    blocks: HashMap<SegmentId, Vec<u64>>,
    /// Bytes whose place is not known.
    beside: BTreeMap<SegmentId, u64>,
    /// Bodies that lie far from their records and were counted: several recipients share one. By segment, size and
    /// INTERNALDATE.
    counted: HashSet<(SegmentId, u32, i64)>,
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
            self.body_elsewhere(row);
        }
    }

    /// A scattered body lies between its first chunk and its record, in equal parts as far as is known here; one of another
    /// core's log where its first chunk is.
    fn body_elsewhere(&mut self, row: &MessageRow) {
        if self.counted.len() >= COUNTED_MAX {
            self.counted.clear();
        }
        let body = (row.body_segment, row.size, row.internal_date_at.0);
        if !self.counted.insert(body) {
            return;
        }
        let (first, last) = (row.body_segment.0, row.record.segment.0);
        let is_spread = row.is_body_scattered && (first..first.saturating_add(SPREAD_MAX)).contains(&last);
        let last = if is_spread { last } else { first };
        let share = u64::from(row.size).div_ceil(u64::from(last - first) + 1);
        for segment in first..=last {
            *self.beside.entry(SegmentId(segment)).or_default() += share;
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
#[derive(Default)]
struct Look {
    /// What was expunged up to this is not kept any more.
    before_ms: i64,
    /// Records of graves forgotten that there is space for.
    room: u64,
    blocks: Blocks,
    kept: BTreeMap<i64, u64>,
    /// Rows and graves seen since other tasks had a turn.
    rows: usize,
    /// Bytes that saying all accounts anew would take, about.
    restated_bytes: u64,
}

/// What was seen of one account.
#[derive(Default)]
struct Seen {
    /// Mailboxes that have old graves.
    old: Vec<MailboxId>,
    kept: BTreeMap<i64, u64>,
    rows: usize,
    restated_bytes: u64,
}

impl Look {
    fn see(&mut self, piece: &Piece<'_>, seen: &mut Seen) {
        match *piece {
            Piece::Begins => {
                *seen = Seen::default();
                seen.restated_bytes = RESTATED_MAILBOX_BYTES;
            }
            Piece::Rows(_, rows) => {
                rows.iter().for_each(|row| self.blocks.row(row));
                seen.rows += rows.len();
                seen.restated_bytes += RESTATED_ROW_BYTES * rows.len() as u64;
            }
            Piece::Graves(mailbox, graves) => {
                let forgotten = self.graves(graves, seen);
                seen.old.extend(forgotten.map(|_| mailbox));
                seen.rows += graves.len();
                seen.restated_bytes += RESTATED_MAILBOX_BYTES + RESTATED_GRAVE_BYTES * graves.len() as u64;
            }
        }
    }

    /// Gives up to which of them all are old and can be forgotten.
    fn graves(&mut self, graves: &[Grave], seen: &mut Seen) -> Option<ModSeq> {
        let has_room = self.room > seen.old.len() as u64;
        let forgotten = forgotten_up_to(graves, self.before_ms).filter(|_| has_room);
        let first = graves.partition_point(|grave| Some(grave.mod_seq) <= forgotten);
        for grave in &graves[first..] {
            // It lives on elsewhere, and takes memory until it is forgotten.
            let mut bytes = 0;
            if !grave.has_moved {
                self.blocks.row(&grave.row);
                bytes = u64::from(grave.row.size) + u64::from(grave.row.record_bytes) + 2 * BLOCK;
            }
            *seen.kept.entry(grave.at.0.div_euclid(HOUR_MS)).or_default() += bytes;
        }
        forgotten
    }

    /// An account was seen whole.
    fn add(&mut self, seen: &Seen) {
        for (hour, bytes) in &seen.kept {
            *self.kept.entry(*hour).or_default() += bytes;
        }
        self.room = self.room.saturating_sub(seen.old.len() as u64);
        self.rows += seen.rows;
        self.restated_bytes += seen.restated_bytes;
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
        // As expunging may go on below the reserve, so may this: without it nothing becomes free. But it leaves a half.
        let free_bytes = self.env.disk().free_bytes().await?;
        let mut look = Look {
            before_ms: now_ms.saturating_sub(self.options.expunged_kept_ms),
            room: free_bytes.saturating_sub(self.options.reserve_bytes / 2) / FORGOTTEN_BYTES,
            ..Look::default()
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
            restated_bytes: look.restated_bytes,
            said_from: self.said_from(&log),
        }))
    }

    /// Segments before it can go without anything being said anew.
    fn said_from(&self, log: &Log<<E::Disk as Disk>::File>) -> SegmentId {
        let all = self.compaction.said_anew.borrow();
        let is_ours = |partition: u16| {
            Partition(partition).core(self.compaction.cores) == self.core
                && log.sequences()[usize::from(partition)] > 0
        };
        let said = (0u16..)
            .zip(all.iter())
            .filter(|(partition, _)| is_ours(*partition));
        let from = said.map(|(_, said)| said.from.unwrap_or(SegmentId(0))).min();
        from.unwrap_or(SegmentId(u32::MAX))
    }

    /// Counts every account, and commits that graves older than they are kept are not remembered any more.
    async fn look_at_all(&self, look: &mut Look) -> Result<(), StoreError> {
        let before_ms = look.before_ms;
        let mut old: Vec<Old> = Vec::new();
        let mut looked_at = 0;
        for id in self.account_ids() {
            old.extend(self.look_at(id, look).await?);
            while old.len() >= FORGOTTEN_AT_ONCE {
                let some = old.drain(..FORGOTTEN_AT_ONCE).collect();
                self.forget(some, before_ms).await?;
            }
            looked_at += 1;
            if looked_at >= ACCOUNTS_AT_ONCE || look.rows >= ROWS_AT_ONCE {
                Pause::new().await;
                (looked_at, look.rows) = (0, 0);
            }
        }
        self.forget(old, before_ms).await
    }

    /// Counts one account. Gives its mailboxes that have old graves.
    async fn look_at(&self, id: AccountId, look: &mut Look) -> Result<Vec<Old>, StoreError> {
        let mut seen = Seen::default();
        self.walk(id, |piece| look.see(&piece, &mut seen)).await?;
        look.add(&seen);
        Ok(seen.old.into_iter().map(|mailbox| (id, mailbox)).collect())
    }

    /// Commits that what is old in these mailboxes is forgotten: looked up again when it is committed, because what was
    /// buried since has its time before it, and a mailbox that is deleted buries all it has under one number.
    async fn forget(&self, old: Vec<Old>, before_ms: i64) -> Result<(), StoreError> {
        let mut old = old.into_iter().peekable();
        while old.peek().is_some() {
            // Applying them needs the accounts.
            let (mut some, mut pins, mut loaded_bytes) = (Vec::new(), Vec::new(), 0);
            while (some.is_empty() || loaded_bytes < self.loaded_at_once_max())
                && let Some((id, mailbox)) = old.next()
            {
                pins.push(self.load(id).await?);
                loaded_bytes += self.loaded_bytes_of(id);
                some.push((id, mailbox));
            }
            self.forget_some(some, before_ms).await?;
            drop(pins);
            self.wait_for_memory().await?;
        }
        Ok(())
    }

    /// The accounts are in memory.
    async fn forget_some(&self, old: Vec<Old>, before_ms: i64) -> Result<(), StoreError> {
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            let mut plan = Plan::barrier();
            for (id, mailbox) in old {
                // What is in flight buries under higher numbers, but for a deletion, which has none: the next pass comes.
                let is_going = |account: &mut PendingAccount| account.is_deleted(mailbox);
                if planner.pending.get(id).is_some_and(is_going) {
                    continue;
                }
                let account = planner.durable.accounts.get(&id);
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
        let bytes = FORGOTTEN_AT_ONCE * FORGOTTEN_BYTES as usize;
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

    fn far_row(record: u32, body: u32, is_body_scattered: bool) -> MessageRow {
        MessageRow {
            uid: crate::model::Uid::new(1).expect("it is not 0"),
            flags: crate::model::Flags::SEEN,
            keywords: 0,
            size: 3_000,
            internal_date_at: UnixMillis(7),
            internal_date_zone_minutes: 0,
            save_date: UnixMillis(8),
            mod_seq: ModSeq(1),
            record: crate::model::LogPosition {
                segment: SegmentId(record),
                offset: 8_192,
            },
            record_bytes: 100,
            body_segment: SegmentId(body),
            is_body_scattered,
            line_end_octets: 0,
        }
    }

    #[test]
    fn a_scattered_body_counts_where_it_may_lie_and_a_shared_one_once() {
        let bytes = |rows: &[MessageRow]| {
            let mut blocks = Blocks::default();
            rows.iter().for_each(|row| blocks.row(row));
            blocks.into_bytes().into_iter().collect::<Vec<_>>()
        };
        let at = |id, bytes| (SegmentId(id), bytes);
        let scattered = far_row(12, 10, true);
        assert_eq!(
            bytes(&[scattered]),
            [at(10, 1_000), at(11, 1_000), at(12, 1_000 + BLOCK)]
        );
        // Of another core's log: nothing is known but its beginning.
        assert_eq!(bytes(&[far_row(5, 10, true)]), [at(5, BLOCK), at(10, 3_000)]);
        let shared = [far_row(12, 10, false), far_row(13, 10, false)];
        assert_eq!(bytes(&shared), [at(10, 3_000), at(12, BLOCK), at(13, BLOCK)]);
    }

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
            room: 1,
            ..Look::default()
        };
        let old = world
            .run(store.inner().look_at(ALICE, &mut look))
            .expect("it reads");
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
