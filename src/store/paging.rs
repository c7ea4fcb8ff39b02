//! Which accounts are in memory: loaded when somebody touches them, evicted when too much is loaded.
//!
//! Invariants: an account is loaded or cold, never both; it is evicted only when its snapshot is durable and says all of
//! it, nothing of it is in flight and nobody has pinned it; what was delivered while it was cold is there when it is loaded.
//! Limits: `StoreOptions::loaded_bytes_max`, beyond which the least recently asked for goes. What is pinned or not in a
//! snapshot yet may exceed it; in the second case a checkpoint is made early ([`EARLY_CHECKPOINT_LOG_BYTES`]).
//! Failure: a snapshot that is damaged or cannot be read voids all checkpoints: the account cannot be served until the next start, which reads the
//! whole log instead; other accounts go on, and what is delivered to this one is kept. Nothing wrong is served.
//! \Recent of an evicted account is remembered for INBOX only.
//! Not here: what keeps an account in memory (`pins`), files (`snapshot`), making snapshots (`checkpoint_accounts`).

use super::cold::{Chain, Cold, Durable, Head, Kept};
use super::handle::{Inner, Store};
use super::pins::Pin;
use super::snapshot::{damaged, read_chain};
use super::state::{AccountState, BuriedMailbox, CoreState, Grave, MailboxState};
use super::{Environment, MessageRow, StoreError};
use crate::disk::{Disk, DiskError};
use crate::model::{AccountId, Keyword, MailboxName, Usage};

/// Bytes of log before a checkpoint is made only because what is loaded and not in a snapshot needs too much memory: it
/// bounds what such checkpoints write by what the heads of all accounts need.
pub const EARLY_CHECKPOINT_LOG_BYTES: u64 = 4 * 1024 * 1024;

/// Checkpoints awaited before loading goes on: one may have been begun before what is to go was changed.
const CHECKPOINTS_AWAITED_MAX: usize = 3;

impl<E: Environment> Store<E> {
    /// Brings an account's state into memory and keeps it there until the pin is dropped. Everything but a delivery to
    /// INBOX needs that first: [`Store::account`] finds only what is in memory. An account that was never touched is
    /// none the less pinned: it stays in memory when it comes to be.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Disk`]: the account cannot be served now.
    pub async fn load(&self, account: AccountId) -> Result<Pin, StoreError> {
        self.inner().load(account).await
    }

    /// Every account of this core, ascending, in memory or not.
    #[must_use]
    pub fn account_ids(&self) -> Vec<AccountId> {
        self.inner().state.borrow().account_ids()
    }

    /// Octets of mail the account has, in memory or not. 0: also one that was never touched.
    #[must_use]
    pub fn bytes_used(&self, account: AccountId) -> u64 {
        let state = self.inner().state.borrow();
        state.durable(account).map_or(0, Durable::bytes_used)
    }
}

impl<E: Environment> Store<E> {
    /// How much mail the account has, in memory or not. Nothing: also one that was never touched.
    #[must_use]
    pub fn usage(&self, account: AccountId) -> Usage {
        let state = self.inner().state.borrow();
        state.durable(account).map_or(Usage::NONE, Durable::usage)
    }
}

impl CoreState {
    /// See [`Store::account_ids`].
    pub fn account_ids(&self) -> Vec<AccountId> {
        let mut ids: Vec<AccountId> = self.accounts.keys().chain(self.cold.keys()).copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The account's numbers. `None`: it was never touched.
    pub fn durable(&self, id: AccountId) -> Option<Durable<'_>> {
        let loaded = self.accounts.get(&id).map(Durable::Loaded);
        loaded.or_else(|| self.cold.get(&id).map(Durable::Cold))
    }

    /// INBOX of an account in memory has one row more.
    pub fn note_appended(&mut self, id: AccountId) {
        let kept = self.kept.entry(id).or_default();
        kept.appended += 1;
        kept.bytes += size_of::<MessageRow>();
        self.loaded_bytes += size_of::<MessageRow>();
    }

    /// Something else of an account in memory changed.
    pub fn note_changed(&mut self, id: AccountId) {
        self.kept.entry(id).or_default().is_changed = true;
    }

    /// A cold account is in memory from now on.
    pub fn admit(&mut self, account: AccountState) {
        let id = account.id;
        let cold = self.cold.remove(&id).expect("it was cold until now");
        let bytes = memory_bytes(&account);
        let kept = Kept {
            chain: cold.chain,
            appended: u32::try_from(cold.delta.len()).expect("a row has a UID of its own"),
            bytes,
            ..Kept::default()
        };
        self.loaded_bytes += bytes;
        self.kept.insert(id, kept);
        self.accounts.insert(id, account);
    }

    fn evict(&mut self, id: AccountId) {
        let account = self.accounts.remove(&id).expect("what is kept is loaded");
        let kept = self.kept.remove(&id).expect("the caller has looked");
        self.loaded_bytes -= kept.bytes;
        let cold = Cold {
            head: Head::of(&account),
            chain: kept.chain,
            delta: Vec::new(),
        };
        self.cold.insert(id, cold);
    }

    /// Measures an account in memory anew.
    pub fn measure(&mut self, id: AccountId) {
        let Some(account) = self.accounts.get(&id) else {
            return;
        };
        let bytes = memory_bytes(account);
        let kept = self.kept.entry(id).or_default();
        self.loaded_bytes = self.loaded_bytes - kept.bytes + bytes;
        kept.bytes = bytes;
    }
}

/// About what an account takes in memory: what its vectors have room for, and a bit for every name and mailbox.
fn memory_bytes(account: &AccountState) -> usize {
    /// A map's entry beside key and value, and what an allocation takes beside its bytes.
    const ENTRY: usize = 32;
    let name = |name: &MailboxName| name.as_str().len() + size_of::<MailboxName>() + ENTRY;
    let keywords = |all: &Vec<Keyword>| {
        let texts: usize = all.iter().map(|keyword| keyword.as_str().len() + ENTRY).sum();
        texts + all.capacity() * size_of::<Keyword>()
    };
    let graves = |all: &Vec<Grave>| all.capacity() * size_of::<Grave>();
    let mailboxes = account.mailboxes.values().map(|mailbox| {
        // Its name is in `names` as well.
        size_of::<MailboxState>()
            + 2 * name(&mailbox.name)
            + mailbox.rows.capacity() * size_of::<MessageRow>()
            + graves(&mailbox.graves)
            + keywords(&mailbox.keywords)
            + mailbox.changes.memory_bytes()
    });
    let buried = account.buried.iter().map(|mailbox| {
        size_of::<BuriedMailbox>()
            + name(&mailbox.name)
            + graves(&mailbox.graves)
            + keywords(&mailbox.keywords)
    });
    let subscriptions = account.subscriptions.keys().map(name);
    size_of::<AccountState>()
        + mailboxes.sum::<usize>()
        + buried.sum::<usize>()
        + subscriptions.sum::<usize>()
        + account.names.denormalized_bytes()
        + account.subscriptions.denormalized_bytes()
        + account.changes.memory_bytes()
}

impl<E: Environment> Inner<E> {
    /// See [`Store::load`].
    pub async fn load(&self, id: AccountId) -> Result<Pin, StoreError> {
        let pin = self.pins.pin(id);
        let mut was_cold = false;
        while let Some(chain) = self.chain_of_cold(id) {
            let read = read_chain(self.env.disk(), self.checkpoints.store_id(), id, &chain).await;
            if let Err(error) = self.admit(id, &chain, read) {
                self.void_if_damaged(id, &error).await;
                return Err(error);
            }
            was_cold = true;
        }
        // A look at every account that is loaded: not for every change of one that was there.
        if was_cold {
            self.evict();
        }
        Ok(pin)
    }

    /// `None`: it need not be read. It was asked for now.
    fn chain_of_cold(&self, id: AccountId) -> Option<Chain> {
        let mut state = self.state.borrow_mut();
        if let Some(cold) = state.cold.get(&id) {
            return Some(cold.chain.clone());
        }
        state.loads += 1;
        let now = state.loads;
        if let Some(kept) = state.kept.get_mut(&id) {
            kept.last_used = now;
        }
        None
    }

    /// Takes in what was read, unless somebody was faster or a checkpoint has put it elsewhere meanwhile.
    fn admit(
        &self,
        id: AccountId,
        chain: &Chain,
        read: Result<AccountState, StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(account) = self.bring_up(id, chain, read)? {
            self.state.borrow_mut().admit(account);
            self.meters.account_loads.add(1);
        }
        Ok(())
    }

    /// A snapshot may be older than what compaction has freed only if the log behind it says where its messages went.
    fn check_segments(&self, account: &AccountState) -> Result<(), StoreError> {
        let there = &self.compaction.board.there;
        match there.first_missing(account.rows_and_graves()) {
            None => Ok(()),
            Some(position) => Err(StoreError::Damaged {
                position,
                what: "a message lies in a segment that is not there".to_owned(),
            }),
        }
    }

    /// An account that is not in memory, as it is now, for those who look at all of them, which must not drive out those in
    /// use. `None`: it is in memory, or was never touched.
    pub async fn read_cold(&self, id: AccountId) -> Result<Option<AccountState>, StoreError> {
        loop {
            let chain = {
                let state = self.state.borrow();
                match state.cold.get(&id) {
                    Some(cold) => cold.chain.clone(),
                    None => return Ok(None),
                }
            };
            let read = read_chain(self.env.disk(), self.checkpoints.store_id(), id, &chain).await;
            match self.bring_up(id, &chain, read) {
                Ok(Some(account)) => return Ok(Some(account)),
                // Meanwhile it was loaded, or a checkpoint has put it elsewhere.
                Ok(None) => {}
                Err(error) => {
                    self.void_if_damaged(id, &error).await;
                    return Err(error);
                }
            }
        }
    }

    fn bring_up(
        &self,
        id: AccountId,
        chain: &Chain,
        read: Result<AccountState, StoreError>,
    ) -> Result<Option<AccountState>, StoreError> {
        let state = self.state.borrow();
        let Some(cold) = state.cold.get(&id).filter(|cold| cold.chain == *chain) else {
            return Ok(None);
        };
        let last = chain.last().expect("a cold account has a snapshot");
        let account = cold.bring_up(read?).map_err(|why| damaged(id, last, &why))?;
        self.check_segments(&account)?;
        Ok(Some(account))
    }

    /// What is not as it was written must not be relied on at the next start either.
    pub async fn void_if_damaged(&self, id: AccountId, error: &StoreError) {
        // Too many open files, for example, say nothing about the snapshot; what the device cannot read does.
        let is_lost = matches!(
            error,
            StoreError::Damaged { .. }
                | StoreError::Disk(
                    DiskError::NotFound { .. }
                        | DiskError::Io {
                            operation: "read",
                            ..
                        }
                )
        );
        if !is_lost || !self.checkpoints.set_void() {
            return;
        }
        tracing::error!(
            core = self.core,
            account = %id,
            %error,
            "a snapshot is damaged: the account is unavailable until the next start, which reads the whole log"
        );
        self.remove_void().await;
    }

    /// Takes away what a start would rely on. Done again at the end: whoever did it first may have been stopped.
    pub async fn remove_void(&self) {
        let disk = self.env.disk();
        let Ok(files) = disk.list().await else { return };
        for (name, _) in files.iter().filter(|(name, _)| name.ends_with(".ckp")) {
            // What stays is found out again when it is used.
            let _ = disk.remove(name).await;
        }
        let _ = disk.sync_directory().await;
    }

    /// Bytes of accounts that one who goes through many of them may load and change before it waits
    /// ([`Self::wait_for_memory`]).
    pub fn loaded_at_once_max(&self) -> usize {
        self.options.loaded_bytes_max / 4
    }

    /// About as many bytes the account takes in memory; 0: it is not there.
    pub fn loaded_bytes_of(&self, id: AccountId) -> usize {
        self.state.borrow().kept.get(&id).map_or(0, |kept| kept.bytes)
    }

    /// For those who load one account after the other and change them: waits for a checkpoint as long as more is loaded
    /// than should be and only that can make room. Hold no pins, what is pinned stays.
    ///
    /// # Errors
    /// When there will be no checkpoint.
    pub async fn wait_for_memory(&self) -> Result<(), StoreError> {
        let mut attempted = self.checkpoints.attempted.waiter();
        let written = self.meters.checkpoints.value();
        for _ in 0..CHECKPOINTS_AWAITED_MAX {
            if !self.evict() {
                return Ok(());
            }
            self.log.borrow().check_open()?;
            if !self.checkpoints.want_early(0) {
                return Err(StoreError::Cannot("checkpoints are void since"));
            }
            attempted.changed().await;
        }
        // What sessions use in turn is never as a checkpoint has it: no reason to stop.
        if self.evict() && self.meters.checkpoints.value() == written {
            return Err(StoreError::Cannot(
                "no checkpoint is written, and too much is loaded",
            ));
        }
        Ok(())
    }

    /// Makes room, if more is loaded than should be and some of it can go. True: more could if a checkpoint had it.
    pub fn evict(&self) -> bool {
        let budget = self.options.loaded_bytes_max;
        let budget = budget.saturating_sub(self.summaries.memory_bytes());
        let mut state = self.state.borrow_mut();
        if state.loaded_bytes <= budget {
            return false;
        }
        let pending = self.pending.borrow();
        let is_unused = |id: &AccountId| !self.pins.is_pinned(*id) && pending.is_idle(*id);
        let evictable = state.kept.iter();
        let evictable = evictable.filter(|(id, kept)| kept.is_clean() && is_unused(id));
        let mut evictable: Vec<(u64, AccountId)> =
            evictable.map(|(id, kept)| (kept.last_used, *id)).collect();
        evictable.sort_unstable();
        // A little below, so that the next load does not have to look at all of them again.
        for (_, id) in evictable {
            if state.loaded_bytes <= budget - budget / 8 {
                break;
            }
            state.evict(id);
            self.meters.account_evictions.add(1);
        }
        // What sessions hold stays whether it is written or not: a checkpoint for its sake would come again and again.
        let mut unwritten = state.kept.iter().filter(|(_, kept)| !kept.is_clean());
        let is_waiting = state.loaded_bytes > budget && unwritten.any(|(id, _)| is_unused(id));
        if is_waiting {
            self.checkpoints.want_early(EARLY_CHECKPOINT_LOG_BYTES);
        }
        is_waiting
    }
}
