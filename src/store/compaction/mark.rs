//! What lives where, as far as one core knows; and graves that are old enough to be forgotten.
//!
//! Live bytes only decide which segments are worth freeing: they are estimated, by whole blocks. A body that several
//! messages share counts once: records of one delivery lie behind its body and one after the other, so every one of them
//! marks the blocks that reach back from its record by its size, and these overlap.
//! Limits: one bit for each block of the log, that is a 32,768th of it.
//! Not here: what is chosen (`choose`).

use super::choose::Marks;
use crate::base::clock::Clock;
use crate::disk::BLOCK_BYTES;
use crate::model::{AccountId, MailboxId, ModSeq, SegmentId};
use crate::store::checkpointer::Pause;
use crate::store::handle::Inner;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::Record;
use crate::store::state::{AccountState, Grave};
use crate::store::{Environment, MessageRow, StoreError};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};

/// Accounts looked at before other tasks get a turn, and messages of one account beyond which it counts as several.
const ACCOUNTS_AT_ONCE: usize = 64;
/// Graves forgotten by one commit.
const FORGOTTEN_AT_ONCE: usize = 256;

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

impl<E: Environment> Inner<E> {
    /// Every account's id, ascending.
    pub(super) fn account_ids(&self) -> Vec<AccountId> {
        self.state.borrow().account_ids()
    }

    /// See [`Marks`]. `None`: a start would still read logs of earlier starts; not yet.
    pub(super) async fn mark(&self) -> Result<Option<Marks>, StoreError> {
        self.compaction.note_pass();
        self.forget_graves().await?;
        let Some(read_from) = self.checkpoints.log_is_read_from() else {
            return Ok(None);
        };
        let mut blocks = Blocks::default();
        for ids in self.account_ids().chunks(ACCOUNTS_AT_ONCE) {
            for id in ids {
                let _pin = self.load(*id).await?;
                let state = self.state.borrow();
                let account = state.accounts.get(id).into_iter();
                account
                    .flat_map(AccountState::rows_and_graves)
                    .for_each(|row| blocks.row(row));
            }
            Pause::new().await;
        }
        let mut live = blocks.into_bytes();
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
        let log = self.log.borrow();
        finished.extend(log.written.iter().filter(|segment| segment.id < read_from));
        Ok(Some(Marks {
            finished,
            live,
            pinned,
        }))
    }

    /// Commits that graves older than they are kept are not remembered any more.
    async fn forget_graves(&self) -> Result<(), StoreError> {
        let before_ms = self
            .env
            .clock()
            .now()
            .0
            .saturating_sub(self.options.expunged_kept_ms);
        let mut records: Vec<Record> = Vec::new();
        // Of those that have records waiting.
        let mut pins = Vec::new();
        for ids in self.account_ids().chunks(ACCOUNTS_AT_ONCE) {
            for id in ids {
                let pin = self.load(*id).await?;
                let state = self.state.borrow();
                let old = state.accounts.get(id).map(|account| old_graves(account, before_ms));
                if let Some(old) = old.filter(|old| !old.is_empty()) {
                    records.extend(old);
                    pins.push(pin);
                }
            }
            while records.len() >= FORGOTTEN_AT_ONCE {
                let some = records.drain(..FORGOTTEN_AT_ONCE).collect();
                self.commit_beside(some).await?;
            }
            if records.is_empty() {
                pins.clear();
            }
            Pause::new().await;
        }
        self.commit_beside(records).await
    }

    /// Commits records about accounts that take no numbers.
    async fn commit_beside(&self, records: Vec<Record>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            let mut plan = Plan::barrier();
            for record in records {
                planner.touch(record.account(), &mut plan);
                plan.records.push(record);
            }
            Ok(plan)
        };
        let bytes = FORGOTTEN_AT_ONCE * 64;
        self.commit(bytes, &[], plan).await.map(|_| ())
    }
}

fn old_graves(account: &AccountState, before_ms: i64) -> SmallVec<[Record; 1]> {
    let record = |mailbox: MailboxId, graves: &[Grave]| {
        let mod_seq = forgotten_up_to(graves, before_ms)?;
        Some(Record::GravesForgotten {
            account: account.id,
            mailbox,
            mod_seq,
        })
    };
    let mut ids: Vec<&MailboxId> = account.mailboxes.keys().collect();
    ids.sort_unstable();
    let own = ids
        .into_iter()
        .filter_map(|id| record(*id, &account.mailboxes[id].graves));
    let buried = account
        .buried
        .iter()
        .filter_map(|mailbox| record(mailbox.id, &mailbox.graves));
    own.chain(buried).collect()
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
