//! What the tests stand on: an environment, small limits, stores of all cores on one thread.

use crate::base::clock::{ManualClock, UnixMillis};
use crate::disk::Disk;
use crate::model::{AccountId, MailboxId, MailboxName};
use crate::proto::imap::types::InternalDate;
use crate::sim::SimDisk;
use crate::store::*;
use bytes::Bytes;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt;
use smallvec::smallvec;
use std::future::Future;

#[derive(Clone)]
pub struct SimEnvironment {
    pub disk: SimDisk,
    pub clock: ManualClock,
}

impl SimEnvironment {
    pub fn new(disk: SimDisk) -> Self {
        Self {
            disk,
            clock: ManualClock::at(UnixMillis(1_700_000_000_000)),
        }
    }
}

impl Environment for SimEnvironment {
    type Disk = SimDisk;
    type Clock = ManualClock;
    fn disk(&self) -> &SimDisk {
        &self.disk
    }
    fn clock(&self) -> &ManualClock {
        &self.clock
    }
    fn random_u64(&self) -> u64 {
        0x5EED_0F57_0E1D
    }
}

/// Small segments roll often, small chunks and bodies take every path.
pub fn small_options() -> StoreOptions {
    StoreOptions {
        segment_bytes: 64 * 1024,
        group_bytes_max: 16 * 1024,
        chunk_bytes_max: 4 * 1024,
        body_in_memory_bytes_max: 8 * 1024,
        reserve_bytes: 0,
        checkpoint_log_bytes: 32 * 1024,
        checkpoint_log_factor: 4,
        checkpoint_slice_bytes: 1024,
        loaded_bytes_max: 1024 * 1024,
        expunged_kept_ms: 0,
        compaction_dead_bytes_min: 0,
        compaction_pass_bytes: 1 << 30,
        compaction_bytes_per_second: 1 << 30,
    }
}

/// No account stays in memory that nobody uses and that a checkpoint has.
pub fn crowded_options() -> StoreOptions {
    StoreOptions {
        loaded_bytes_max: 0,
        checkpoint_log_bytes: 16 * 1024,
        checkpoint_log_factor: 0,
        ..small_options()
    }
}

pub struct World {
    pub pool: LocalPool,
    pub env: SimEnvironment,
    pub stores: Vec<Store<SimEnvironment>>,
    pub report: RecoveryReport,
}

impl World {
    /// Recovers what is on the disk and starts a store per core, with its writer.
    pub fn open(disk: &SimDisk, cores: usize, options: StoreOptions) -> Result<Self, OpenError> {
        let mut pool = LocalPool::new();
        let env = SimEnvironment::new(disk.clone());
        let recovered = pool.run_until(recover_with(&env, cores, options))?;
        let mut stores = Vec::new();
        for seed in recovered.seeds {
            let store = pool.run_until(Store::start(env.clone(), seed))?;
            pool.spawner()
                .spawn_local(store.clone().run_writer())
                .expect("the pool runs");
            stores.push(store);
        }
        Ok(Self {
            pool,
            env,
            stores,
            report: recovered.report,
        })
    }

    pub fn run<T>(&mut self, task: impl Future<Output = T>) -> T {
        self.pool.run_until(task)
    }

    /// Every account in memory, for those who look at accounts without pins; small limits evict none. What a damaged
    /// snapshot makes unavailable is there after another start.
    pub fn load_all(mut self) -> Self {
        if self.try_load_all().is_ok() {
            return self;
        }
        let (disk, cores) = (self.env.disk.clone(), self.stores.len());
        self.close();
        let mut again = Self::open(&disk, cores, small_options()).expect("it opens again");
        again.try_load_all().expect("the log says the same");
        again
    }

    fn try_load_all(&mut self) -> Result<(), StoreError> {
        for store in self.stores.clone() {
            for id in store.account_ids() {
                let _pin = self.run(store.load(id))?;
            }
        }
        Ok(())
    }

    pub fn of(&self, account: AccountId) -> Store<SimEnvironment> {
        self.stores[account.partition().core(self.stores.len())].clone()
    }

    pub fn close(mut self) {
        for store in self.stores.clone() {
            self.run(store.shutdown());
        }
    }
}

/// Everything a start begins with: of each core, and what the start says of it.
pub fn states(disk: &SimDisk, cores: usize) -> Result<(Vec<StoreSeed>, RecoveryReport), OpenError> {
    let mut pool = LocalPool::new();
    let env = SimEnvironment::new(disk.clone());
    let mut recovered = pool.run_until(recover_with(&env, cores, small_options()))?;
    for seed in &mut recovered.seeds {
        pool.run_until(load_all(disk, seed));
    }
    Ok((recovered.seeds, recovered.report))
}

/// Brings every account into memory. Nothing is recent, as for sessions after a start.
async fn load_all(disk: &SimDisk, seed: &mut StoreSeed) {
    let ids: Vec<AccountId> = seed.state.cold.keys().copied().collect();
    for id in ids {
        let read = super::super::snapshot::read_cold(disk, seed.store_id, id, &seed.state.cold[&id]).await;
        seed.state
            .admit(read.expect("snapshots are as they were written"));
    }
    for mailbox in seed
        .state
        .accounts
        .values()
        .flat_map(|account| account.mailboxes.values())
    {
        mailbox.recent_from.set(mailbox.uid_next);
    }
}

/// Waits for another checkpoint, for as long as one can be expected: on a broken disk there is none.
pub async fn another_checkpoint(store: &Store<SimEnvironment>) {
    let checkpoints = || store.meters().checkpoints.value();
    let before = checkpoints();
    store.inner().checkpoints.want_early(0);
    for _ in 0..100 {
        if checkpoints() > before {
            return;
        }
        crate::base::wait::Pause::new().await;
    }
}

/// The account's highest MODSEQ, without loading it.
pub fn mod_seq(store: &Store<SimEnvironment>, id: AccountId) -> u64 {
    use super::super::cold::Durable;
    let state = store.inner().state.borrow();
    match state.durable(id) {
        None => 0,
        Some(Durable::Loaded(account)) => account.highest_mod_seq.0,
        Some(Durable::Cold(cold)) => cold.head.highest_mod_seq.0,
    }
}

/// Names of the snapshot files on the disk.
pub fn snapshots(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".snp")).collect()
}

/// Names of the checkpoints on the disk.
pub fn checkpoints(disk: &SimDisk) -> Vec<String> {
    let names = disk.names().into_iter().map(|(name, _)| name);
    names.filter(|name| name.ends_with(".ckp")).collect()
}

pub fn remove_checkpoints(disk: &SimDisk) {
    for name in checkpoints(disk).into_iter().chain(snapshots(disk)) {
        futures::executor::block_on(disk.remove(&name)).expect("it is there");
    }
}

/// Says in which core the states differ.
pub fn compare(one: &[StoreSeed], other: &[StoreSeed]) -> Result<(), String> {
    for (core, (a, b)) in one.iter().zip(other).enumerate() {
        for (id, account) in &a.state.accounts {
            if b.state.accounts.get(id) != Some(account) {
                return Err(format!(
                    "core {core}, account {id}: {account:?}\n{:?}",
                    b.state.accounts.get(id)
                ));
            }
        }
        let is_equal = a.state.accounts.len() == b.state.accounts.len()
            && a.state.served == b.state.served
            && format!("{:?}", a.state.spool) == format!("{:?}", b.state.spool)
            && a.sequences == b.sequences;
        if !is_equal {
            return Err(format!("core {core}:\n{:?}\n{:?}", a.state, b.state));
        }
    }
    Ok(())
}

/// Does a start from what checkpoints there are come to the same state as one that reads all of the log? `disk` is as
/// after a crash, and is not changed. Gives the report of the start from checkpoints.
pub fn compare_with_the_log(disk: &SimDisk, cores: usize) -> Result<RecoveryReport, String> {
    let (with, without) = (disk.crash(0), disk.crash(0));
    remove_checkpoints(&without);
    let (with, report) = states(&with, cores).map_err(|e| format!("with checkpoints: {e}"))?;
    let (without, of_log) = states(&without, cores).map_err(|e| format!("without checkpoints: {e}"))?;
    assert_eq!(of_log.checkpoint, 0);
    compare(&with, &without)?;
    Ok(report)
}

pub fn date() -> InternalDate {
    InternalDate {
        at: UnixMillis(1_600_000_000_000),
        zone_minutes: 120,
    }
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("tests use valid names")
}

pub fn memory(text: impl Into<Vec<u8>>) -> Body {
    Body::from_memory(smallvec![Bytes::from(text.into())])
}

/// A body of `len` octets that no other `tag` has.
pub fn long_text(tag: &str, len: usize) -> Vec<u8> {
    format!("<{tag}>").bytes().cycle().take(len).collect()
}

pub fn recipient(account: AccountId) -> LocalRecipient {
    LocalRecipient {
        account,
        mailbox: MailboxName::inbox(),
        prefix: format!("Delivered-To: {account}\r\n").into_bytes(),
        asked: Bytes::new(),
        quota: crate::model::Quota::NONE,
        may_exceed_quota: false,
    }
}

pub fn delivery(accounts: &[AccountId], body: Body) -> Delivery {
    Delivery {
        recipients: accounts.iter().map(|id| recipient(*id)).collect(),
        body,
        internal_date: date(),
        key: None,
    }
}

/// Every message of a mailbox as (UID, octets).
pub async fn messages(
    store: &Store<SimEnvironment>,
    account: AccountId,
    mailbox: MailboxId,
) -> Result<Vec<(u32, Vec<u8>)>, StoreError> {
    let _pin = store.load(account).await?;
    let rows = store.account(account, |a| a.mailboxes.get(&mailbox).map(|m| m.rows.clone()));
    let mut found = Vec::new();
    for row in rows.flatten().unwrap_or_default() {
        let message = store.open_message(account, &row).await?;
        let pieces = store.read_message(&message, 0..message.size).await?;
        let octets: Vec<u8> = pieces.iter().flatten().copied().collect();
        assert_eq!(octets.len() as u64, message.size);
        found.push((row.uid.value(), octets));
    }
    Ok(found)
}
