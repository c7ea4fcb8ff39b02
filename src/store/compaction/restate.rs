//! Saying partitions anew: everything a core knows of them, behind what is to be freed.
//!
//! Invariants: an account is said as it is durably, and only when nothing of it is in flight, so that it says what a
//! replay would know at its place; every account that was made before a partition's begin is said before its end; what
//! was served and spooled is said while nothing at all is in flight.
//! Limits: [`BATCH_BYTES`] a commit. LIMITATION: while an account is said that may need more than one commit (more than about
//! 6,000 messages), the core's other commits wait; everything else goes on, because it is encoded piece by piece.
//! Not here: what a replay makes of it (`rebuild`), the bytes of an account (`restated`).

use super::super::turn::Turn;
use crate::base::oneshot;
use crate::base::wait::Pause;
use crate::model::{AccountId, PARTITIONS, Partition, SPOOL_PARTITIONS, SegmentId};
use crate::store::checkpoint_state::{metadata_bytes, spool_payload};
use crate::store::group::Reply;
use crate::store::handle::Inner;
use crate::store::plan::{Chunks, Plan, Planner};
use crate::store::record::Record;
use crate::store::restated::{self, Encoding};
use crate::store::state::AccountState;
use crate::store::{Environment, StoreError};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Bytes of accounts in one commit, at most: it is encoded at once, in less than a millisecond.
const BATCH_BYTES: usize = 512 * 1024;

/// Rows of a long account that are encoded before other tasks get a turn.
const ROWS_AT_ONCE: usize = 2_000;

/// Accounts brought into memory for one commit.
const ACCOUNTS_AT_ONCE: usize = 64;

/// What a record needs beside the account's octets.
const RECORD_BYTES: usize = 64;

/// Rounds in which an account with something in flight is left for later, before the log waits for it.
const PATIENCE: usize = 3;

impl<E: Environment> Inner<E> {
    /// Says those of the core's partitions anew whose records may lie in segments up to `last`. Gives the bytes written.
    pub(super) async fn restate(&self, last: SegmentId, pace: &impl AsyncFn(u64)) -> Result<u64, StoreError> {
        let partitions: Vec<u16> = {
            let log = self.log.borrow();
            let is_ours = |partition: &u16| {
                Partition(*partition).core(self.compaction.cores) == self.core
                    && log.sequences()[usize::from(*partition)] > 0
                    && self.compaction.needs_saying(*partition, last)
            };
            (0..PARTITIONS + SPOOL_PARTITIONS).filter(is_ours).collect()
        };
        if partitions.is_empty() {
            return Ok(0);
        }
        let begun = self.begin(&partitions).await?;
        let of_accounts = |id: &AccountId| begun.contains_key(&id.partition().0);
        // Looked up now: an account made before the begin is durable by now.
        let accounts: VecDeque<AccountId> = self.account_ids().into_iter().filter(of_accounts).collect();
        let bytes = self.say_accounts(accounts, pace).await?;
        let ends = begun
            .into_iter()
            .map(|(partition, begun_at)| Record::PartitionEnds { partition, begun_at });
        self.commit_records(ends.collect()).await?;
        Ok(bytes)
    }

    /// Waits, holding the turn, until nothing is in flight.
    async fn quiet_turn(&self) -> Result<Turn<'_>, StoreError> {
        let turn = self.line.turn().await;
        let mut settled = self.settled.waiter();
        loop {
            self.log.borrow().check_open()?;
            if self.log.borrow().is_quiet() {
                return Ok(turn);
            }
            self.work.notify_all();
            settled.changed().await;
        }
    }

    /// Writes the begins and what partitions have beside accounts. Gives the sequences of the begins; spool partitions
    /// have their ends already.
    async fn begin(&self, partitions: &[u16]) -> Result<BTreeMap<u16, u64>, StoreError> {
        let turn = self.quiet_turn().await?;
        let mut beside = self.beside_accounts();
        let mut begun = BTreeMap::new();
        let mut last = None;
        for partition in partitions {
            let begun_at = self.log.borrow().next_sequence(*partition);
            let mut records = vec![Record::PartitionBegins {
                partition: *partition,
            }];
            records.extend(beside.remove(partition).unwrap_or_default());
            if *partition < PARTITIONS {
                begun.insert(*partition, begun_at);
            } else {
                records.push(Record::PartitionEnds {
                    partition: *partition,
                    begun_at,
                });
            }
            last = self.put_in_turn(records).await?.or(last);
        }
        drop(turn);
        if let Some(last) = last {
            self.answer(last).await?;
        }
        Ok(begun)
    }

    /// By partition, in one walk: the holder of the turn keeps everybody waiting.
    fn beside_accounts(&self) -> HashMap<u16, Vec<Record>> {
        let state = self.state.borrow();
        let mut records: HashMap<u16, Vec<Record>> = HashMap::new();
        for (key, entry) in &state.spool {
            let payload = Bytes::from(spool_payload(entry));
            let record = Record::SpoolRestated { key: *key, payload };
            records.entry(key.partition).or_default().push(record);
        }
        for (key, all) in &state.served {
            for (partition, index) in all {
                let record = Record::ServedRestated {
                    partition: *partition,
                    key: *key,
                    index: *index,
                };
                records.entry(*partition).or_default().push(record);
            }
        }
        records
    }

    /// Encodes records, in as many batches as they need, for the holder of the turn; the last of them answers for all.
    async fn put_in_turn(
        &self,
        records: Vec<Record>,
    ) -> Result<Option<oneshot::Receiver<Reply>>, StoreError> {
        let mut last = None;
        let mut records = VecDeque::from(records);
        while !records.is_empty() {
            let mut bytes = 0;
            let mut batch = Vec::new();
            let most = BATCH_BYTES.min(self.options.batch_bytes_max() / 2);
            while let Some(next) = records.front() {
                let next = record_bytes(next);
                if bytes > 0 && bytes + next > most {
                    break;
                }
                bytes += next;
                batch.extend(records.pop_front());
            }
            let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(plan_of(planner, batch));
            last = Some(self.encode_in_turn(bytes, &[], plan).await?);
        }
        Ok(last)
    }

    pub(super) async fn commit_records(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let last = {
            let _turn = self.line.turn().await;
            self.put_in_turn(records).await?
        };
        match last {
            Some(last) => self.answer(last).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn say_accounts(
        &self,
        mut waiting: VecDeque<AccountId>,
        pace: &impl AsyncFn(u64),
    ) -> Result<u64, StoreError> {
        let mut written = 0;
        for round in 0..=PATIENCE {
            let mut busy = VecDeque::new();
            while let Some(first) = waiting.front().copied() {
                let most = BATCH_BYTES.min(self.options.batch_bytes_max() / 2);
                let _pin = self.load(first).await?;
                let is_long = self
                    .state
                    .borrow()
                    .accounts
                    .get(&first)
                    .is_some_and(|account| restated_bytes_max(account) > most);
                let bytes = if is_long {
                    waiting.pop_front();
                    self.say_account_alone(first).await?
                } else {
                    let is_quiet = round == PATIENCE;
                    self.say_some(&mut waiting, &mut busy, most, is_quiet).await?
                };
                written += bytes;
                pace(bytes).await;
            }
            waiting = busy;
        }
        Ok(written)
    }

    /// As many of the accounts as fit one commit; those with something in flight go to `busy`. `is_quiet`: there are
    /// none, because it waits until nothing is in flight. That is dear, so as many as possible are said for it.
    async fn say_some(
        &self,
        waiting: &mut VecDeque<AccountId>,
        busy: &mut VecDeque<AccountId>,
        most: usize,
        is_quiet: bool,
    ) -> Result<u64, StoreError> {
        let mut bytes = 0;
        let mut pins = Vec::new();
        let mut loaded_bytes = 0;
        for id in waiting.iter().take(ACCOUNTS_AT_ONCE) {
            if loaded_bytes >= self.loaded_at_once_max() && !pins.is_empty() {
                break;
            }
            pins.push(self.load(*id).await?);
            loaded_bytes += self.loaded_bytes_of(*id);
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            let mut records = Vec::new();
            while let Some(id) = waiting.front().copied() {
                let Some(account) = planner.durable.accounts.get(&id) else {
                    break;
                };
                if !planner.pending.is_idle(id) {
                    busy.extend(waiting.pop_front());
                    continue;
                }
                let next = restated_bytes_max(account);
                if bytes > 0 && bytes + next > most || next > most {
                    break;
                }
                let octets = restated::encode(account);
                bytes += octets.len() + RECORD_BYTES;
                waiting.pop_front();
                records.push(Record::AccountRestated {
                    account: id,
                    part: 0,
                    is_last: true,
                    octets: Bytes::from(octets),
                });
            }
            Ok(plan_of(planner, records))
        };
        let last = {
            let _turn = match is_quiet {
                true => self.quiet_turn().await?,
                false => self.line.turn().await,
            };
            self.encode_in_turn(most + RECORD_BYTES, &[], plan).await?
        };
        self.answer(last).await?;
        Ok(bytes as u64)
    }

    /// One account, in as many parts as it needs, while nobody else writes.
    async fn say_account_alone(&self, id: AccountId) -> Result<u64, StoreError> {
        let _pin = self.load(id).await?;
        let turn = self.quiet_turn().await?;
        let part_bytes = BATCH_BYTES.min(self.options.batch_bytes_max() / 2) - RECORD_BYTES;
        // Nothing is in flight and the turn is held, so the account stays as it is.
        let mut encoding = Encoding::default();
        let (mut octets, mut part, mut bytes) = (Vec::new(), 0, 0);
        let last = loop {
            let is_whole = {
                let state = self.state.borrow();
                let account = state.accounts.get(&id).expect("it is pinned");
                encoding.put_some(account, &mut octets, ROWS_AT_ONCE)
            };
            let is_last = is_whole && octets.len() <= part_bytes;
            if !is_last && octets.len() < part_bytes {
                Pause::new().await;
                continue;
            }
            let rest = octets.split_off(octets.len().min(part_bytes));
            bytes += octets.len() as u64;
            let record = Record::AccountRestated {
                account: id,
                part,
                is_last,
                octets: Bytes::from(std::mem::replace(&mut octets, rest)),
            };
            part += 1;
            let put = self.put_in_turn(vec![record]).await?;
            if is_last {
                break put;
            }
        };
        drop(turn);
        self.answer(last.expect("there is one part at least")).await?;
        Ok(bytes)
    }
}

/// Records that take no numbers; their accounts count as changing until they are applied.
fn plan_of(planner: &mut Planner<'_>, records: Vec<Record>) -> Plan {
    let mut plan = Plan::barrier();
    for record in &records {
        planner.touch(record.account(), &mut plan);
    }
    plan.records = records.into();
    plan
}

fn record_bytes(record: &Record) -> usize {
    RECORD_BYTES
        + match record {
            Record::AccountRestated { octets, .. } => octets.len(),
            Record::SpoolRestated { payload, .. } => payload.len(),
            _ => 0,
        }
}

/// Bytes an account takes at most, quickly.
fn restated_bytes_max(account: &AccountState) -> usize {
    /// Of a row: four numbers of at most 10 bytes, seven of at most 5, a zone of 3, two octets; in practice under a half.
    const ROW: usize = 80;
    const GRAVE: usize = ROW + 17;
    let names: usize = account
        .subscriptions
        .keys()
        .map(|name| name.as_str().len() + 4)
        .sum();
    let keywords = |all: &[crate::model::Keyword]| all.iter().map(|k| k.as_str().len() + 4).sum::<usize>();
    let mailboxes = account.mailboxes.values().map(|mailbox| {
        let rows = mailbox.rows.len() * ROW + mailbox.graves.len() * GRAVE;
        80 + mailbox.name.as_str().len()
            + keywords(&mailbox.keywords)
            + rows
            + metadata_bytes(&mailbox.metadata)
    });
    let buried = account.buried.iter().map(|mailbox| {
        40 + mailbox.name.as_str().len() + keywords(&mailbox.keywords) + mailbox.graves.len() * GRAVE
    });
    64 + RECORD_BYTES
        + names
        + mailboxes.sum::<usize>()
        + buried.sum::<usize>()
        + metadata_bytes(&account.metadata)
}
