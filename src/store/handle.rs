//! The door of one core's store: what its parts share, its start and its end.
//!
//! Invariants: a log has one writer; nothing of an earlier start is recent.
//! Failure: a full disk makes the first segment a small one, so that reading and expunging go on.
//! Not here: commits (`commit`), looks at what is durable (`looking`), what waits, is written and answered (`log`,
//! `writer`).

use super::checkpoints::Checkpoints;
use super::compaction::Compaction;
use super::log::{Log, LogStart};
use super::meters::StoreMeters;
use super::options::{FREE_BYTES_AGE_MS, SMALL_SEGMENT_BYTES};
use super::pending::Pending;
use super::pins::Pins;
use super::quota::Crossings;
use super::reader::LogReader;
use super::segment::{FORMAT_VERSION, SegmentHeader};
use super::state::CoreState;
use super::summaries::Summaries;
use super::superblock::LogCount;
use super::troubles::Troubles;
use super::turn::Line;
use super::writer::create_segment;
use super::{BodyWriter, Environment, OpenError, SpoolEntry, StoreError, StoreOptions, StoreSeed};
use crate::base::clock::Clock;
use crate::base::id_map::IdMap;
use crate::base::wait::Notify;
use crate::disk::{Disk, DiskError};
use crate::model::{AccountId, PARTITIONS, Partition, SPOOL_PARTITIONS};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

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
    pub log_count: Arc<LogCount>,
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
    pub summaries: Summaries<E::Disk>,
    /// Batches were applied, or never will be.
    pub settled: Notify,
    pub meters: Arc<StoreMeters>,
    pub ended: Notify,
    pub has_ended: Cell<bool>,
    has_started: Cell<bool>,
    pub watchers: RefCell<IdMap<AccountId, Notify>>,
    pub crossings: Crossings,
    pub unfinished: RefCell<Vec<SpoolEntry>>,
    pub spool_partition: u16,
    free_bytes: Cell<u64>,
    free_bytes_at_ms: Cell<i64>,
    pub troubles: Troubles,
}

impl<E: Environment> Inner<E> {
    /// Asks for the free bytes if what is known is old, then refuses mail below the reserve.
    pub async fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        if self.is_free_bytes_old() {
            // Boxed: it is rare, and its state would be room in that of every delivery.
            Box::pin(self.refresh_free_bytes()).await;
        }
        self.check_reserve(bytes)
    }

    /// When they were last asked for.
    pub fn free_bytes_known(&self) -> u64 {
        self.free_bytes.get()
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

    pub fn check_reserve(&self, bytes: u64) -> Result<(), StoreError> {
        self.log.borrow().check_open()?;
        let (free, reserve) = (self.free_bytes.get(), self.options.reserve_bytes);
        if free < reserve.saturating_add(bytes) {
            let why = format!("{free} bytes are free, {reserve} are kept");
            self.note_full(&why);
            return Err(StoreError::NoSpace(why));
        }
        Ok(())
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
        let summaries = Summaries::new(&seed);
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
        meters.summary_bytes.set(summaries.file_bytes());
        Ok(Self(Rc::new(Inner {
            env,
            options: seed.options,
            core: seed.core,
            next_segment: seed.next_segment,
            log_count: seed.log_count,
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
            summaries,
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
            troubles: Troubles::default(),
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
