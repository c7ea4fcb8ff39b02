//! The door of one core's store: a commit from planning to receipt, and looks at what is durable.
//!
//! Invariants: planning and encoding happen in one step without waiting, in the order callers came; a caller that goes
//! away after that step has committed all the same.
//! Failure: a step that panics ends the process (`AbortOnUnwind`): half a plan may not live on.
//! Not here: what waits, is written and answered (`log`, `writer`).

use super::body::store_bodies;
use super::checkpointer::Checkpoints;
use super::compaction::Compaction;
use super::group::Reply;
use super::log::{Log, LogStart, Next, Room, bodies_bytes};
use super::meters::StoreMeters;
use super::options::{FREE_BYTES_AGE_MS, SMALL_SEGMENT_BYTES};
use super::pending::Pending;
use super::pins::{Pin, Pins};
use super::plan::{Chunks, Plan, PlannedBody, Planner, change_bytes_max};
use super::quota::{Crossings, QuotaCrossing};
use super::reader::LogReader;
use super::record::Record;
use super::segment::{FORMAT_VERSION, SegmentHeader};
use super::state::{AccountState, CoreState, MessageRow};
use super::turn::Line;
use super::writer::create_segment;
use super::{
    Body, BodyWriter, Change, CommitReceipt, Delivery, Environment, LocalRecipient, OpenError, Outcome,
    SpoolEntry, SpoolKey, StoreError, StoreOptions, StoreSeed, StoredMessage,
};
use crate::base::clock::Clock;
use crate::base::guard::AbortOnUnwind;
use crate::base::oneshot;
use crate::base::wait::{Notify, Waiter};
use crate::disk::{Disk, DiskError};
use crate::model::{AccountId, PARTITIONS, Partition, SPOOL_PARTITIONS, SegmentId};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::smallvec;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Room for a recipient's records beside its prefix and mailbox name, the creation of its account included.
const RECIPIENT_BYTES_MAX: usize = 384;

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// One core's store. Clones are the same store.
#[derive(Clone)]
pub struct Store<E: Environment>(Rc<Inner<E>>);

/// What the parts of one core's store share.
pub(super) struct Inner<E: Environment> {
    pub env: E,
    pub options: StoreOptions,
    pub core: usize,
    pub next_segment: Arc<AtomicU32>,
    pub state: RefCell<CoreState>,
    pub pending: RefCell<Pending>,
    pub pins: Pins,
    pub log: RefCell<Log<FileOf<E>>>,
    pub reader: LogReader<E::Disk>,
    /// Callers in the order they came.
    pub line: Line,
    /// There may be a group to write.
    pub work: Notify,
    /// There may be room now.
    pub room: Notify,
    /// There is something to do beside writing groups.
    pub aside: Notify,
    /// Somebody saw an old number of free bytes.
    pub wants_free_bytes: Cell<bool>,
    pub checkpoints: Checkpoints,
    pub compaction: Compaction,
    /// Batches were applied, or never will be.
    pub settled: Notify,
    pub meters: Arc<StoreMeters>,
    pub ended: Notify,
    pub has_ended: Cell<bool>,
    has_started: Cell<bool>,
    watchers: RefCell<HashMap<AccountId, Notify>>,
    crossings: Crossings,
    unfinished: RefCell<Vec<SpoolEntry>>,
    spool_partition: u16,
    free_bytes: Cell<u64>,
    free_bytes_at_ms: Cell<i64>,
}

impl<E: Environment> Inner<E> {
    /// Waits until a batch of `bytes` can be encoded. Only the holder of the turn may call this.
    pub async fn wait_for_room(&self, bytes: usize) -> Result<(), StoreError> {
        let mut room = self.room.waiter();
        let refused_before = self.log.borrow().refused_segments.0;
        loop {
            let made = self.log.borrow_mut().make_room(bytes)?;
            self.work.notify_all();
            match made {
                Room::Ready => return Ok(()),
                Room::Wait => {}
                Room::NeedsSegment => self.want_segment(refused_before)?,
            }
            room.changed().await;
        }
    }

    fn want_segment(&self, refused_before: u64) -> Result<(), StoreError> {
        let mut log = self.log.borrow_mut();
        if let (refused, Some(why)) = &log.refused_segments
            && *refused > refused_before
        {
            return Err(why.clone());
        }
        if matches!(log.next, Next::None) {
            log.next = Next::Wanted;
            self.aside.notify_all();
        }
        Ok(())
    }

    /// One commit: in turn, with room, planned, encoded, durable.
    pub async fn commit(
        &self,
        bytes: usize,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Reply {
        let receiver = {
            let _turn = self.line.turn().await;
            self.encode_in_turn(bytes, bodies, plan).await?
        };
        self.answer(receiver).await
    }

    /// The first half of a commit, for the holder of the turn.
    pub async fn encode_in_turn(
        &self,
        bytes: usize,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Result<oneshot::Receiver<Reply>, StoreError> {
        self.wait_for_room(bytes + bodies_bytes(bodies, &self.options))
            .await?;
        let receiver = self.encode(bodies, plan)?;
        self.work.notify_all();
        Ok(receiver)
    }

    /// The second half of a commit.
    pub async fn answer(&self, receiver: oneshot::Receiver<Reply>) -> Reply {
        // The writer is gone without an answer: the server is stopping.
        receiver.await.unwrap_or(Err(StoreError::ShuttingDown))
    }

    fn encode(
        &self,
        bodies: &[Body],
        plan: impl FnOnce(&mut Planner<'_>, &[Chunks], &[u64]) -> Result<Plan, StoreError>,
    ) -> Result<oneshot::Receiver<Reply>, StoreError> {
        let _guard = AbortOnUnwind::over("the open group");
        let mut log = self.log.borrow_mut();
        let chunks = log.place_bodies(bodies);
        let mut planned = {
            let durable = &*self.state.borrow();
            let pending = &mut *self.pending.borrow_mut();
            let mut planner = Planner {
                durable,
                pending,
                now: self.env.clock().now(),
            };
            plan(&mut planner, &chunks, log.sequences())?
        };
        let put = log.put_bodies(bodies);
        assert_eq!(put, chunks, "bodies lie where they were planned");
        self.crossings.keep(std::mem::take(&mut planned.crossings));
        let (sender, receiver) = oneshot::channel();
        log.put_batch(planned, sender);
        Ok(receiver)
    }

    /// Bodies that do not fit a batch together are written ahead.
    async fn ready_bodies(&self, bodies: Vec<Body>) -> Result<Vec<Body>, StoreError> {
        if bodies_bytes(&bodies, &self.options) > self.options.inline_bytes_max() {
            return store_bodies(self, bodies).await;
        }
        Ok(bodies)
    }

    /// Asks for the free bytes if what is known is old, then refuses mail below the reserve.
    pub async fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        if self.is_free_bytes_old() {
            self.refresh_free_bytes().await;
        }
        self.check_reserve(bytes)
    }

    pub fn is_free_bytes_old(&self) -> bool {
        let age_ms = self.env.clock().now().0 - self.free_bytes_at_ms.get();
        !(0..FREE_BYTES_AGE_MS).contains(&age_ms)
    }

    pub async fn refresh_free_bytes(&self) {
        // Set before the answer is there: others use the old value meanwhile instead of asking as well.
        self.free_bytes_at_ms.set(self.env.clock().now().0);
        if let Ok(free) = self.env.disk().free_bytes().await {
            self.free_bytes.set(free);
            self.meters
                .free_bytes
                .set(i64::try_from(free).unwrap_or(i64::MAX));
        }
    }

    fn check_reserve(&self, bytes: u64) -> Result<(), StoreError> {
        self.log.borrow().check_open()?;
        let (free, reserve) = (self.free_bytes.get(), self.options.reserve_bytes);
        if free < reserve.saturating_add(bytes) {
            return Err(StoreError::NoSpace(format!(
                "{free} bytes are free, {reserve} are kept"
            )));
        }
        Ok(())
    }

    /// Those of the recipients whose copy does not go to INBOX, by which alone no account is loaded.
    async fn load_for(&self, recipients: &[LocalRecipient]) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for recipient in recipients
            .iter()
            .filter(|recipient| !recipient.mailbox.is_inbox())
        {
            pins.push(self.load(recipient.account).await?);
        }
        Ok(pins)
    }

    /// `None`: it lies in a segment that is freed.
    async fn open_pinned(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<Option<StoredMessage>, StoreError> {
        let is_leaving = |segment: SegmentId| self.compaction.leaving.borrow().contains(&segment);
        let own = row.record.segment;
        // Pinned first: whoever removes segments says so before looking for pins.
        let mut pins = smallvec![self.compaction.reads.pin(own)];
        if is_leaving(own) {
            return Ok(None);
        }
        let mut message = match self.reader.open_message(account, row).await {
            Err(StoreError::Disk(DiskError::NotFound { .. })) => return Ok(None),
            opened => opened?,
        };
        let mut last = own;
        for chunk in &message.chunks {
            let segment = chunk.position.segment;
            if segment == last || segment == own {
                continue;
            }
            last = segment;
            pins.push(self.compaction.reads.pin(segment));
            if is_leaving(segment) || !self.reader.is_there(segment).await? {
                return Ok(None);
            }
        }
        message.pins = pins;
        Ok(Some(message))
    }

    pub fn notify_watchers(&self, accounts: &BTreeSet<AccountId>) {
        let mut watchers = self.watchers.borrow_mut();
        for account in accounts {
            if let Some(watcher) = watchers.get(account) {
                watcher.notify_all();
                if !watcher.is_shared() {
                    watchers.remove(account);
                }
            }
        }
    }
}

impl<E: Environment> Store<E> {
    pub(super) fn inner(&self) -> &Inner<E> {
        &self.0
    }

    /// Starts the log of core `seed.core()`: creates its first segment durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn start(env: E, seed: StoreSeed) -> Result<Self, OpenError> {
        let number = u16::try_from(seed.core).expect("cores were counted");
        let (store_id, incarnation) = (seed.store_id, seed.incarnation);
        let header = |segment| SegmentHeader {
            version: FORMAT_VERSION,
            store_id,
            segment,
            generation: 1,
            log: number,
            incarnation,
        };
        let (disk, options) = (env.disk(), seed.options);
        let segment = match create_segment(disk, &seed.next_segment, options.segment_bytes, header).await {
            // A full disk must not keep anybody from reading, or from expunging, which is how it gets less full.
            Err(DiskError::NoSpace { .. }) => {
                let bytes = options.segment_bytes.min(SMALL_SEGMENT_BYTES);
                create_segment(disk, &seed.next_segment, bytes, header).await?
            }
            made => made?,
        };
        let free_bytes = env.disk().free_bytes().await?;
        let reader = LogReader::new(env.disk().clone(), store_id);
        reader.know(segment.id, segment.record_seed(), segment.file.clone());
        let checkpoints = Checkpoints::new(&seed);
        let compaction = Compaction::new(&seed);
        let mut state = seed.state;
        begin(&mut state);
        let unfinished = state.spool.values().cloned().collect();
        let free_bytes_at_ms = env.clock().now().0;
        let log = Log::new(LogStart {
            number,
            incarnation,
            store_id,
            segment,
            sequences: seed.sequences,
            options: seed.options,
        });
        let meters = meters_at_start(free_bytes, &log);
        Ok(Self(Rc::new(Inner {
            env,
            options: seed.options,
            core: seed.core,
            next_segment: seed.next_segment,
            state: RefCell::new(state),
            pending: RefCell::default(),
            pins: Pins::default(),
            log: RefCell::new(log),
            reader,
            line: Line::default(),
            work: Notify::new(),
            room: Notify::new(),
            aside: Notify::new(),
            wants_free_bytes: Cell::new(false),
            checkpoints,
            compaction,
            settled: Notify::new(),
            meters,
            ended: Notify::new(),
            has_ended: Cell::new(false),
            has_started: Cell::new(false),
            watchers: RefCell::default(),
            crossings: Crossings::default(),
            unfinished: RefCell::new(unfinished),
            spool_partition: spool_partition_of(seed.core, seed.cores),
            free_bytes: Cell::new(free_bytes),
            free_bytes_at_ms: Cell::new(free_bytes_at_ms),
        })))
    }

    /// Writes and syncs groups until shutdown or failure. Spawn it once on the core's executor; nothing commits
    /// without it.
    pub async fn run_writer(self) {
        assert!(!self.0.has_started.replace(true), "a log has one writer");
        self.0.write().await;
    }

    /// Commits what is open, refuses what comes later, seals the log, writes a checkpoint, ends `run_writer`.
    pub async fn shutdown(&self) {
        let mut ended = self.0.ended.waiter();
        self.0.log.borrow_mut().is_stopping = true;
        self.0.work.notify_all();
        self.0.room.notify_all();
        while self.0.has_started.get() && !self.0.has_ended.get() {
            ended.changed().await;
        }
    }

    /// Its limits.
    #[must_use]
    pub fn options(&self) -> &StoreOptions {
        &self.0.options
    }

    /// What this core's store did so far.
    #[must_use]
    pub fn meters(&self) -> Arc<StoreMeters> {
        self.0.meters.clone()
    }

    /// True after a write or sync has failed: commits are refused, reads go on.
    #[must_use]
    pub fn failure(&self) -> Option<StoreError> {
        self.0.log.borrow().failed.clone()
    }

    /// Is there room for a message of `bytes`? Ask before 354. Does not wait: if what is known of the free space is
    /// old, the writer is told to ask, and the next caller has the answer.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] below the reserve; [`StoreError::Failed`], [`StoreError::ShuttingDown`].
    pub fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        if self.0.is_free_bytes_old() && !self.0.wants_free_bytes.replace(true) {
            self.0.aside.notify_all();
        }
        self.0.check_reserve(bytes)
    }

    /// A writer for one body; its chunks go to this core's log if it gets long.
    #[must_use]
    pub fn body_writer(&self) -> BodyWriter<E> {
        BodyWriter::new(self.clone())
    }

    /// Commits one message to recipients of this core. Durable on return. With a spool key neither quota nor reserve
    /// is asked: what was accepted is delivered.
    ///
    /// # Errors
    /// [`StoreError::OverQuota`] when one recipient is (nobody gets a copy then), [`StoreError::NoSpace`],
    /// [`StoreError::Failed`], [`StoreError::Limit`].
    pub async fn deliver(&self, delivery: Delivery) -> Result<CommitReceipt, StoreError> {
        let Delivery {
            recipients,
            body,
            internal_date,
            key,
        } = delivery;
        if key.is_none() {
            self.0.check_space(body.len()).await?;
        }
        let line_end_octets = body.line_end_octets();
        let bodies = self.0.ready_bodies(vec![body]).await?;
        let bytes = recipients_bytes(&recipients, bodies.first());
        let _pins = self.0.load_for(&recipients).await?;
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            let body = PlannedBody {
                chunks: &chunks[0],
                internal_date,
                line_end_octets,
            };
            planner.delivery(recipients, &body, key.as_ref())
        };
        self.0
            .commit(bytes, &bodies, plan)
            .await
            .map(|(receipt, _)| receipt)
    }

    /// Commits a message whose recipients live on several cores, as one record. Durable on return; then fan out.
    ///
    /// # Errors
    /// As [`Self::deliver`], but for quotas, which the owners were asked for.
    pub async fn spool(
        &self,
        recipients: Vec<LocalRecipient>,
        body: Body,
        internal_date: InternalDate,
    ) -> Result<(CommitReceipt, SpoolEntry), StoreError> {
        self.0.check_space(body.len()).await?;
        let line_end_octets = body.line_end_octets();
        let bodies = self.0.ready_bodies(vec![body]).await?;
        let bytes = recipients_bytes(&recipients, bodies.first());
        let partition = self.0.spool_partition;
        let mut entry = None;
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], sequences: &[u64]| {
            let sequence = sequences[usize::from(partition)] + 1;
            let body = PlannedBody {
                chunks: &chunks[0],
                internal_date,
                line_end_octets,
            };
            let planned = planner.spool(partition, &recipients, &body);
            let body = Body::stored(chunks[0].to_vec()).with_line_end_octets(line_end_octets);
            let key = SpoolKey { partition, sequence };
            entry = Some(SpoolEntry {
                key,
                recipients,
                body,
                internal_date,
            });
            Ok(planned)
        };
        let (receipt, _) = self.0.commit(bytes, &bodies, plan).await?;
        Ok((receipt, entry.expect("a commit was planned")))
    }

    /// Every recipient of the entry has its copy: forget it. Durable on return; nobody needs to wait for it, and if a
    /// crash takes it the fan-out is done again and changes nothing.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn spool_done(&self, key: SpoolKey) -> Result<(), StoreError> {
        let plan =
            |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(Plan::of_record(Record::SpoolDone { key }));
        self.0.commit(RECIPIENT_BYTES_MAX, &[], plan).await.map(|_| ())
    }

    /// Forgets which recipients of this core were served from `key`. Ask every owner for it after
    /// [`Self::spool_done`] has returned, never before: until then a crash may bring the fan-out back.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn spool_forget(&self, key: SpoolKey) -> Result<(), StoreError> {
        let partitions: BTreeSet<u16> = {
            let state = self.0.state.borrow();
            state
                .served
                .get(&key)
                .into_iter()
                .flatten()
                .map(|(partition, _)| *partition)
                .collect()
        };
        if partitions.is_empty() {
            return Ok(());
        }
        let bytes = partitions.len() * RECIPIENT_BYTES_MAX;
        let records = partitions
            .into_iter()
            .map(|partition| Record::SpoolForget { partition, key });
        let plan = |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            Ok(Plan {
                records: records.collect(),
                ..Plan::barrier()
            })
        };
        self.0.commit(bytes, &[], plan).await.map(|_| ())
    }

    /// Spool entries that recovery found unfinished. Empty after the first call.
    #[must_use]
    pub fn unfinished_spool(&self) -> Vec<SpoolEntry> {
        self.0.unfinished.take()
    }

    /// Commits one change to one account of this core. Durable on return.
    ///
    /// # Errors
    /// Why the change cannot be ([`StoreError::NoSuchMailbox`] and its like), or why the log cannot take it.
    pub async fn change(
        &self,
        account: AccountId,
        mut change: Change,
    ) -> Result<(CommitReceipt, Outcome), StoreError> {
        let bodies = self.bodies_of(&change).await?;
        let _pin = self.load(account).await?;
        let uids = super::codec::UidSet::new(take_uids(&mut change));
        let bytes = change_bytes_max(&change, &uids) + stored_refs_bytes(&bodies);
        let plan = |planner: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            planner.change(account, change, uids, chunks)
        };
        self.0.commit(bytes, &bodies, plan).await
    }

    async fn bodies_of(&self, change: &Change) -> Result<Vec<Body>, StoreError> {
        let Change::Append { messages, .. } = change else {
            return Ok(Vec::new());
        };
        let bodies: Vec<Body> = messages.iter().map(|message| message.body.clone()).collect();
        self.0.check_space(bodies.iter().map(Body::len).sum()).await?;
        self.0.ready_bodies(bodies).await
    }

    /// Makes sure the account exists, with INBOX and the standard mailboxes. Durable on return.
    ///
    /// # Errors
    /// As for every commit.
    pub async fn ensure_account(&self, account: AccountId) -> Result<(), StoreError> {
        if self.0.state.borrow().durable(account).is_some() {
            return Ok(());
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| Ok(planner.ensure_account(account));
        self.0.commit(RECIPIENT_BYTES_MAX, &[], plan).await.map(|_| ())
    }

    /// Looks at the durable state, for holders of a pin ([`Self::load`]); `f` must not wait. `None`: the account was
    /// never touched.
    pub fn account<R>(&self, account: AccountId, f: impl FnOnce(&AccountState) -> R) -> Option<R> {
        let state = self.0.state.borrow();
        debug_assert!(
            !state.cold.contains_key(&account),
            "who looks at an account has loaded it"
        );
        state.accounts.get(&account).map(f)
    }

    /// The marks that accounts have crossed since the last time; waits until there are some.
    pub async fn quota_crossings(&self) -> Vec<QuotaCrossing> {
        self.0.crossings.next().await
    }

    /// Signalled after every durable change of the account.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> Waiter {
        self.0.watchers.borrow_mut().entry(account).or_default().waiter()
    }

    /// Whether the record of this row's message needs no read.
    #[must_use]
    pub fn is_at_hand(&self, row: &MessageRow) -> bool {
        self.0.reader.is_in_memory(row.record)
    }

    /// Reads the messages of these rows ahead, with as few reads as will do, for whoever opens them next. At most a few
    /// hundred KiB of messages at a time: what is read ahead stays in memory for a short while only.
    pub async fn read_ahead(&self, rows: impl Iterator<Item = &MessageRow>) {
        self.0.reader.read_ahead(rows).await;
    }

    /// Reads a message's record. `row` may be out of date: if compaction has moved the message since, it is found where
    /// it is now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Disk`]; [`StoreError::Cannot`] when it was expunged and is not kept any more.
    pub async fn open_message(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<StoredMessage, StoreError> {
        let mut row = *row;
        loop {
            if let Some(message) = self.0.open_pinned(account, &row).await? {
                return Ok(message);
            }
            row = self
                .0
                .compaction
                .moved_row(account, &row)
                .ok_or(StoreError::Cannot("the message is not kept any more"))?;
        }
    }

    /// Octets of `range` of prefix + body, each piece checked against its CRC before it is returned. Ask for at most
    /// 256 KiB at a time.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Disk`]: then nothing is returned.
    pub async fn read_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.0.reader.read_message(message, range).await
    }

    /// As [`Self::read_message`], appended to `out`; after an error nothing was appended.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub async fn append_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.0.reader.append_message(message, range, out).await
    }
}

/// Nothing that was there before the start is recent; all that is in memory is counted.
fn begin(state: &mut CoreState) {
    let accounts = state.accounts.values();
    for mailbox in accounts.flat_map(|account| account.mailboxes.values()) {
        mailbox.recent_from.set(mailbox.uid_next);
    }
    for cold in state.cold.values_mut() {
        cold.head.recent_from = cold.head.uid_next;
    }
    state.kept.values_mut().for_each(|kept| kept.bytes = 0);
    state.loaded_bytes = 0;
    let loaded: Vec<AccountId> = state.accounts.keys().copied().collect();
    for id in loaded {
        state.measure(id);
    }
}

fn meters_at_start<F: crate::disk::DiskFile>(free_bytes: u64, log: &Log<F>) -> Arc<StoreMeters> {
    let meters = StoreMeters::default();
    meters.incarnation.set(i64::from(log.incarnation));
    meters.note_durable(log.durable_to);
    meters
        .free_bytes
        .set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
    meters.segments_made.add(1);
    Arc::new(meters)
}

/// The first spool partition that a core owns.
fn spool_partition_of(core: usize, cores: usize) -> u16 {
    let own = (PARTITIONS..PARTITIONS + SPOOL_PARTITIONS).find(|p| Partition(*p).core(cores) == core);
    own.expect("recovery admits at most as many cores as there are spool partitions")
}

fn stored_refs_bytes(bodies: &[Body]) -> usize {
    // In memory or not, a reference is twelve bytes for each chunk; chunks are at least 1 KiB but for tests.
    bodies.iter().map(refs_bytes).sum()
}

fn refs_bytes(body: &Body) -> usize {
    const SMALLEST_CHUNK: u64 = 256;
    let chunks = body
        .stored_chunks()
        .map_or(body.len() / SMALLEST_CHUNK + 1, |chunks| chunks.len() as u64);
    12 * usize::try_from(chunks).unwrap_or(usize::MAX / 16)
}

fn recipients_bytes(recipients: &[LocalRecipient], body: Option<&Body>) -> usize {
    let refs = body.map_or(0, refs_bytes);
    let recipient = |r: &LocalRecipient| {
        RECIPIENT_BYTES_MAX + r.prefix.len() + r.asked.len() + r.mailbox.as_str().len() + refs
    };
    RECIPIENT_BYTES_MAX + recipients.iter().map(recipient).sum::<usize>()
}

/// Sets travel as ranges; the list in the change is not needed any more.
fn take_uids(change: &mut Change) -> Vec<crate::model::Uid> {
    match change {
        Change::StoreFlags { uids, .. }
        | Change::Expunge { uids, .. }
        | Change::Copy { uids, .. }
        | Change::Move { uids, .. } => std::mem::take(uids),
        _ => Vec::new(),
    }
}
