//! From a directory to the states of all cores: every start is a recovery, of the log behind the newest checkpoints.
//!
//! Invariants: nothing is changed on disk before everything was read and found right; what was found is synced before it
//! is relied on (after a kill the last groups may be in a cache only); every log of an earlier start ends in a seal
//! before a new start writes, so an end without one in an older start is damage; a dropped tail is behind a seal and
//! cannot come back.
//! Limits: [`CORES_MAX`]; memory for the state, none for bodies.
//! Failure: [`OpenError`]. Interrupted at any point, it is done again at the next start with the same result.
//! Not here: one log (`scan`), what records do (`apply`), which checkpoints (`checkpoint_load`).

use super::Environment;
use super::apply::{Place, apply, apply_beside_account};
use super::checkpoint::CheckpointHeader;
use super::checkpoint_load::{Base, load};
use super::checkpoint_state::CoveredSegment;
use super::checkpoints::CheckpointBoard;
use super::codec::Malformed;
use super::cold::Cold;
use super::compaction::{CompactionBoard, Released, Segments};
use super::found::{Found, check_covered, find_segments, is_outdated};
use super::frame::{GroupHeader, RecordHeader};
use super::group::{Segment, seal_at_cut};
use super::options::StoreOptions;
use super::rebuild::Rebuild;
use super::record::Record;
use super::scan::{LogEnd, LogName, ScanFrom, ScanSegment, scan_log};
use super::segment::segment_name;
use super::snapshot::{SnapshotName, read_cold};
use super::state::{AccountState, CoreState};
use super::superblock::open_superblock;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::model::{AccountId, LogPosition, PARTITIONS, Partition, SPOOL_PARTITIONS, SegmentId};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Cores one store serves: each needs a spool partition of its own.
pub const CORES_MAX: usize = SPOOL_PARTITIONS as usize;

/// What recovery found, cut into one seed per core.
pub struct Recovered {
    /// Seed i is for core i.
    pub seeds: Vec<StoreSeed>,
    /// For the log and for people.
    pub report: RecoveryReport,
}

/// Everything a core needs to serve its partitions. Travels to the core's thread.
pub struct StoreSeed {
    pub(super) core: usize,
    pub(super) cores: usize,
    pub(super) store_id: u64,
    pub(super) incarnation: u32,
    pub(super) next_segment: Arc<AtomicU32>,
    /// Segments of older logs that have something in them.
    pub(super) covered: Arc<Vec<CoveredSegment>>,
    pub(super) board: Arc<CheckpointBoard>,
    /// Snapshot files of earlier starts that some core needs, and what of each is this core's.
    pub(super) snapshots: BTreeMap<SnapshotName, u64>,
    pub(super) compaction: Arc<CompactionBoard>,
    pub(super) state: CoreState,
    /// The last sequence of every partition.
    pub(super) sequences: Vec<u64>,
    pub(super) options: StoreOptions,
}

impl StoreSeed {
    /// Which core it is for.
    #[must_use]
    pub fn core(&self) -> usize {
        self.core
    }
}

/// What recovery read and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Segments with something in them.
    pub segments: u64,
    /// The start whose checkpoints this one began with; 0: all of the log was read.
    pub checkpoint: u32,
    /// Checkpoints that were not whole, or not finished.
    pub ignored_checkpoints: u64,
    /// Records replayed, chunks not counted.
    pub records: u64,
    /// Messages in all mailboxes.
    pub messages: u64,
    /// Bytes of groups that were never acknowledged and are dropped.
    pub torn_tail_bytes: u64,
    /// Of this start, counted from 1.
    pub incarnation: u32,
}

/// Why a data directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The environment's.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something else lies there.
    #[error("{0} is not a Ringpost store: {1}")]
    NotAStore(String, String),
    /// A newer program wrote it.
    #[error("the store has format {found}, this version reads up to {supported}: use a newer ringpost")]
    #[allow(missing_docs)]
    NewerFormat { found: u32, supported: u32 },
    /// What was acknowledged is not there any more as it was written.
    #[error("damage in acknowledged data at {position}: {what}; nothing was changed")]
    #[allow(missing_docs)]
    Damaged { position: LogPosition, what: String },
    /// More than `CORES_MAX`.
    #[error("a store serves at most {CORES_MAX} cores, not {0}")]
    TooManyCores(usize),
}

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// Builds the stores of all cores with the default options: recovery runs once, on one executor.
///
/// # Errors
/// See [`OpenError`].
pub async fn recover<E: Environment>(env: &E, cores: usize) -> Result<Recovered, OpenError> {
    recover_with(env, cores, StoreOptions::default()).await
}

/// As [`recover`], with limits of one's own.
///
/// # Errors
/// See [`OpenError`].
pub async fn recover_with<E: Environment>(
    env: &E,
    cores: usize,
    options: StoreOptions,
) -> Result<Recovered, OpenError> {
    let options = options.checked();
    if cores == 0 || cores > CORES_MAX {
        return Err(OpenError::TooManyCores(cores));
    }
    match attempt(env, cores, options, true).await {
        Err(Unopened::Checkpoints(why)) => {
            tracing::error!(why, "checkpoints are void: the whole log is read");
            match attempt(env, cores, options, false).await {
                Err(Unopened::Checkpoints(why)) => {
                    unreachable!("without checkpoints nothing is wrong with them: {why}")
                }
                Err(Unopened::Open(error)) => Err(error),
                Ok(mut recovered) => {
                    recovered.report.ignored_checkpoints += 1;
                    Ok(recovered)
                }
            }
        }
        Err(Unopened::Open(error)) => Err(error),
        Ok(recovered) => Ok(recovered),
    }
}

/// Why an attempt did not come to states.
enum Unopened {
    /// For good.
    Open(OpenError),
    /// A snapshot is not as it was written, or what was freed is not covered: without checkpoints it may be better.
    Checkpoints(String),
}

impl From<OpenError> for Unopened {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<DiskError> for Unopened {
    fn from(error: DiskError) -> Self {
        Self::Open(error.into())
    }
}

/// One recovery. Nothing on disk is changed before it is certain to succeed.
async fn attempt<E: Environment>(
    env: &E,
    cores: usize,
    options: StoreOptions,
    uses_checkpoints: bool,
) -> Result<Recovered, Unopened> {
    let files = env.disk().list().await?;
    let superblock = open_superblock(env, &files).await?;
    let store_id = superblock.store_id;
    let lists = Released::load(env.disk(), store_id, &files).await?;
    if let Some(name) = lists.damaged {
        return Err(bad_list(&name).into());
    }
    let (released, mut old_lists) = (lists.released, lists.junk);
    released.sync(env.disk()).await?;
    let mut found = find_segments(env, store_id, &files, &released).await?;
    let mut loaded = load(env.disk(), store_id, &files).await;
    found.incarnation = found.incarnation.max(loaded.incarnation);
    if !uses_checkpoints {
        loaded.give_up();
    }
    let base = loaded.base.take().filter(|base| !is_outdated(base, &released));
    let mut covered = BTreeMap::new();
    if let Some(base) = &base {
        check_covered(base, &found, &released)?;
        covered.clone_from(&base.segments);
        covered.retain(|id, segment: &mut CoveredSegment| !released.has(segment.log, *id));
        found.leave_out_covered(base);
    } else {
        loaded.give_up();
    }
    let mut replay = Replay::new(base);
    replay.report.ignored_checkpoints = loaded.bad.len() as u64;
    let ends = replay.logs(store_id, &found, &released).await;
    if replay.is_outdated {
        return Err(Unopened::Checkpoints(
            "segments were freed behind them".to_owned(),
        ));
    }
    let ends = ends?;
    replay.check_explained()?;
    replay.load_deferred(env.disk(), store_id).await?;
    let incarnation = found.incarnation + 1;
    found.useless.append(&mut loaded.junk);
    found.useless.append(&mut old_lists);
    for ((name, segments), end) in found.logs.iter().zip(&ends) {
        cover(&mut covered, *name, segments, end);
    }
    replay.report.segments = covered.len() as u64;
    let there = Segments::new(covered.keys().copied(), found.last_segment);
    check_rows(&replay.state, &there)?;
    make_durable(env, store_id, &found, &ends, incarnation).await?;
    let covered = Arc::new(covered.into_values().collect());
    let compaction = Arc::new(CompactionBoard::new(released, there));
    let snapshots = loaded.snapshots.keys().copied();
    let board = Arc::new(CheckpointBoard::new(cores, loaded.used, snapshots));
    let next_segment = Arc::new(AtomicU32::new(found.last_segment + 1));
    let shares = Shares::new(&replay.state, cores, &loaded.snapshots);
    let mut recovered = replay.finish(cores, |core, state, sequences| StoreSeed {
        core,
        cores,
        store_id,
        incarnation,
        next_segment: next_segment.clone(),
        covered: Arc::clone(&covered),
        compaction: compaction.clone(),
        board: board.clone(),
        snapshots: shares.of(core),
        state,
        sequences,
        options,
    });
    recovered.report.incarnation = incarnation;
    Ok(recovered)
}

/// Without the list a freed segment cannot be told from one that was lost.
fn bad_list(name: &str) -> OpenError {
    OpenError::Damaged {
        position: LogPosition {
            segment: SegmentId(0),
            offset: 0,
        },
        what: format!("{name}, which says what compaction has freed, is not as it was written"),
    }
}

/// Notes the segments that a log has something in, with the seal that it has or gets.
fn cover<F>(
    covered: &mut BTreeMap<SegmentId, CoveredSegment>,
    log: LogName,
    segments: &[ScanSegment<F>],
    end: &LogEnd,
) {
    if end.cut.is_none() {
        return;
    }
    let last = end.ends.len() - 1;
    for (index, (segment, behind)) in segments.iter().zip(&end.ends).enumerate() {
        let seal_bytes = if index == last && !end.is_sealed {
            BLOCK_BYTES as u32
        } else {
            0
        };
        let segment = CoveredSegment {
            id: segment.id,
            generation: segment.generation,
            log,
            end: behind + seal_bytes,
        };
        covered.insert(segment.id, segment);
    }
}

/// No message may lie in a segment that is not there. What snapshots say is looked at when they are read (`paging`).
fn check_rows(state: &CoreState, there: &Segments) -> Result<(), OpenError> {
    let loaded = state.accounts.values().flat_map(AccountState::rows_and_graves);
    let deltas = state.cold.values().flat_map(|cold| &cold.delta);
    match there.first_missing(loaded.chain(deltas)) {
        None => Ok(()),
        Some(position) => Err(OpenError::Damaged {
            position,
            what: "a message lies in a segment that is not there".to_owned(),
        }),
    }
}

/// An older start's log was sealed by the recovery before the next start: without a seal its end is gone.
fn check_sealed(name: LogName, end: &LogEnd, newest: u32) -> Result<(), OpenError> {
    match end.cut {
        Some(position) if !end.is_sealed && name.incarnation < newest => Err(OpenError::Damaged {
            position,
            what: "the end of this log is gone".to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Seals what ends without a seal and takes away what was never used. What is sealed must be synced *before* the seal
/// is written: a seal that survives says that everything before it did.
async fn make_durable<E: Environment>(
    env: &E,
    store_id: u64,
    found: &Found<FileOf<E>>,
    ends: &[LogEnd],
    incarnation: u32,
) -> Result<(), OpenError> {
    let mut useless = found.useless.clone();
    for ((name, segments), end) in found.logs.iter().zip(ends) {
        let Some(cut) = end.cut else {
            useless.extend(segments.iter().map(|segment| segment_name(segment.id)));
            continue;
        };
        useless.extend(
            segments[end.segment_index + 1..]
                .iter()
                .map(|segment| segment_name(segment.id)),
        );
        if !end.is_sealed {
            write_seal(
                store_id,
                *name,
                &segments[end.segment_index],
                cut,
                end.sequence,
                incarnation,
            )
            .await?;
        }
        let last = &segments[end.segment_index];
        let seal_bytes = if end.is_sealed { 0 } else { BLOCK_BYTES as u64 };
        let end_of_log = u64::from(cut.offset) + seal_bytes;
        if last.len > end_of_log {
            // Nothing comes behind a seal: a start costs what was written, not a whole segment.
            env.disk().shrink(&segment_name(last.id), end_of_log).await?;
        }
    }
    if !useless.is_empty() {
        for name in &useless {
            env.disk().remove(name).await?;
        }
        env.disk().sync_directory().await?;
    }
    Ok(())
}

async fn write_seal<F: DiskFile>(
    store_id: u64,
    name: LogName,
    segment: &ScanSegment<F>,
    cut: LogPosition,
    sequence: u64,
    by: u32,
) -> Result<(), DiskError> {
    segment.file.sync().await?;
    let to = Segment {
        file: segment.file.clone(),
        id: segment.id,
        generation: segment.generation,
        version: segment.version,
        bytes: u32::try_from(segment.len).unwrap_or(u32::MAX),
    };
    let group = seal_at_cut(to, cut.offset, sequence + 1, name.incarnation, by);
    let header = |bytes, records| GroupHeader {
        segment: segment.id,
        generation: segment.generation,
        log: name.log,
        incarnation: name.incarnation,
        sequence: sequence + 1,
        durable_to: cut,
        bytes,
        records,
    };
    let sealed = group.into_parts(header, store_id);
    segment
        .file
        .write_at(Rc::new(sealed.buffer), u64::from(cut.offset))
        .await?;
    segment.file.sync().await
}

/// What of each snapshot file is whose: its own live bytes, and an equal part of what is dead.
struct Shares {
    cores: usize,
    live: Vec<BTreeMap<SnapshotName, u64>>,
    dead: BTreeMap<SnapshotName, u64>,
}

impl Shares {
    fn new(state: &CoreState, cores: usize, files: &BTreeMap<SnapshotName, u64>) -> Self {
        let mut this = Self {
            cores,
            live: (0..cores).map(|_| BTreeMap::new()).collect(),
            dead: files.clone(),
        };
        let cold = state.cold.iter().map(|(id, cold)| (id, &cold.chain));
        let kept = state.kept.iter().map(|(id, kept)| (id, &kept.chain));
        for (id, blob) in cold
            .chain(kept)
            .flat_map(|(id, chain)| chain.iter().map(move |blob| (id, blob)))
        {
            *this.live[id.partition().core(cores)]
                .entry(blob.file)
                .or_default() += blob.space();
            if let Some(dead) = this.dead.get_mut(&blob.file) {
                *dead = dead.saturating_sub(blob.space());
            }
        }
        this
    }

    fn of(&self, core: usize) -> BTreeMap<SnapshotName, u64> {
        let own = |name: &SnapshotName| self.live[core].get(name).copied().unwrap_or(0);
        let share = |(name, dead): (&SnapshotName, &u64)| (*name, own(name) + dead / self.cores as u64);
        self.dead.iter().map(share).collect()
    }
}

/// The state while records come in.
struct Replay {
    /// Records of accounts that have to be read first, which waits until the log is read.
    deferred: HashMap<AccountId, Vec<(Place, Record)>>,
    state: CoreState,
    sequences: Vec<u64>,
    report: RecoveryReport,
    /// How far the checkpoint covers each log of its incarnation.
    headers: Vec<CheckpointHeader>,
    /// See [`Base::ahead`].
    ahead: HashMap<AccountId, LogPosition>,
    /// Of partitions whose records are not all there any more.
    rebuild: Rebuild,
    /// Records behind the checkpoint are missing: it is older than the one by which they were freed.
    is_outdated: bool,
}

impl Replay {
    /// Behind a checkpoint, or from nothing.
    fn new(base: Option<Base>) -> Self {
        let partitions = usize::from(PARTITIONS + SPOOL_PARTITIONS);
        let base = base.unwrap_or(Base {
            incarnation: 0,
            headers: Vec::new(),
            state: CoreState::default(),
            sequences: vec![0; partitions],
            ahead: HashMap::new(),
            segments: BTreeMap::new(),
        });
        Self {
            deferred: HashMap::new(),
            state: base.state,
            sequences: base.sequences,
            report: RecoveryReport {
                checkpoint: base.incarnation,
                ..RecoveryReport::default()
            },
            headers: base.headers,
            ahead: base.ahead,
            rebuild: Rebuild::default(),
            is_outdated: false,
        }
    }

    /// All logs, in the order they were written. Gives where each ends.
    async fn logs<F: DiskFile>(
        &mut self,
        store_id: u64,
        found: &Found<F>,
        released: &Released,
    ) -> Result<Vec<LogEnd>, OpenError> {
        let mut ends = Vec::new();
        for (name, segments) in &found.logs {
            let end = self.log(store_id, *name, segments, released).await?;
            self.report.torn_tail_bytes += end.torn_bytes;
            check_sealed(*name, &end, found.incarnation)?;
            ends.push(end);
        }
        Ok(ends)
    }

    /// Everything of a log that the checkpoint does not cover.
    async fn log<F: DiskFile>(
        &mut self,
        store_id: u64,
        name: LogName,
        segments: &[ScanSegment<F>],
        released: &Released,
    ) -> Result<LogEnd, OpenError> {
        if name.incarnation > self.report.checkpoint {
            // Later logs lie behind all that any account was taken from.
            self.ahead = HashMap::new();
        }
        let header = self.headers.get(usize::from(name.log)).copied();
        let header =
            header.filter(|header| header.name.incarnation == name.incarnation && header.sequence > 0);
        let from = header.map_or(ScanFrom::BEGINNING, |header| ScanFrom {
            offset: header.position.offset,
            sequence: header.sequence,
        });
        if let Some(header) = header.filter(|header| header.is_sealed) {
            return Ok(LogEnd {
                cut: Some(header.position),
                segment_index: 0,
                sequence: header.sequence,
                is_sealed: true,
                torn_bytes: 0,
                ends: vec![header.position.offset],
            });
        }
        let each = |position, header, payload: &[u8]| self.record(position, header, payload);
        scan_log(store_id, name, segments, released, from, each).await
    }

    /// Records come by incarnation, log and place: for each partition that is the order of (epoch, sequence), because
    /// in one incarnation a partition has one owner, who writes one log.
    fn record(
        &mut self,
        position: LogPosition,
        header: RecordHeader,
        payload: &[u8],
    ) -> Result<(), Malformed> {
        let last = self
            .sequences
            .get_mut(usize::from(header.partition))
            .ok_or(Malformed("an unknown partition"))?;
        let missing = header
            .sequence
            .checked_sub(*last + 1)
            .ok_or(Malformed("a record that was there before"))?;
        *last = header.sequence;
        if missing > 0 && self.report.checkpoint > 0 {
            self.is_outdated = true;
            return Err(Malformed("records behind the checkpoints are missing"));
        }
        if missing > 0 {
            self.rebuild.gap(header.partition, position, missing);
        }
        let record = Record::decode(header.kind, header.partition, payload)?;
        let bytes = u32::try_from(header.record_bytes()).map_err(|_| Malformed("it is too long"))?;
        let place = Place {
            position,
            bytes,
            sequence: header.sequence,
        };
        let as_of = record.account().and_then(|account| self.ahead.get(&account));
        if as_of.is_some_and(|as_of| position < *as_of) {
            apply_beside_account(&mut self.state, &record);
        } else if let Some(account) = self.waits_for_account(&record) {
            apply_beside_account(&mut self.state, &record);
            self.deferred.entry(account).or_default().push((place, record));
        } else {
            self.rebuild.record(&mut self.state, place, &record)?;
        }
        self.report.records += 1;
        Ok(())
    }

    /// Records that are missing must have been said anew.
    fn check_explained(&self) -> Result<(), OpenError> {
        match self.rebuild.unexplained().next() {
            None => Ok(()),
            Some(gap) => Err(OpenError::Damaged {
                position: gap.position,
                what: format!(
                    "{} records of partition {} before it are missing",
                    gap.missing, gap.partition
                ),
            }),
        }
    }

    /// The account that `record` needs in memory, if it is not.
    fn waits_for_account(&self, record: &Record) -> Option<AccountId> {
        let account = record
            .account()
            .filter(|account| self.state.cold.contains_key(account))?;
        let is_plain = match record {
            Record::Message(message) => Cold::takes(message.mailbox, !message.keywords.is_empty()),
            Record::AccountRestated { .. } => return None,
            _ => false,
        };
        (!is_plain || self.deferred.contains_key(&account)).then_some(account)
    }

    /// Reads the accounts that records of the tail need, and applies these.
    async fn load_deferred<D: Disk>(&mut self, disk: &D, store_id: u64) -> Result<(), Unopened> {
        let mut ids: Vec<AccountId> = self.deferred.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let read = read_cold(disk, store_id, id, &self.state.cold[&id]).await;
            self.state
                .admit(read.map_err(|why| Unopened::Checkpoints(why.to_string()))?);
            for (place, record) in self.deferred.remove(&id).expect("it was listed") {
                // What it does beside its account was done in its turn, and is not done twice.
                apply(&mut self.state, place, &record).map_err(|why| OpenError::Damaged {
                    position: place.position,
                    what: why.0.to_owned(),
                })?;
            }
        }
        Ok(())
    }

    fn finish(mut self, cores: usize, seed: impl Fn(usize, CoreState, Vec<u64>) -> StoreSeed) -> Recovered {
        let mut states: Vec<CoreState> = (0..cores).map(|_| CoreState::default()).collect();
        for (id, mut account) in std::mem::take(&mut self.state.accounts) {
            account.changes.forget();
            for mailbox in account.mailboxes.values_mut() {
                mailbox.changes.forget();
                self.report.messages += mailbox.rows.len() as u64;
            }
            let state = &mut states[id.partition().core(cores)];
            let kept = self.state.kept.remove(&id);
            state.kept.insert(id, kept.unwrap_or_default());
            state.accounts.insert(id, account);
        }
        for (id, cold) in std::mem::take(&mut self.state.cold) {
            self.report.messages += u64::from(cold.head.messages);
            states[id.partition().core(cores)].cold.insert(id, cold);
        }
        for (key, served) in std::mem::take(&mut self.state.served) {
            // An entry that is done is never fanned out again: its keys have served.
            if !self.state.spool.contains_key(&key) {
                continue;
            }
            for entry in served {
                let core = Partition(entry.0).core(cores);
                states[core].served.entry(key).or_default().push(entry);
            }
        }
        for (key, entry) in std::mem::take(&mut self.state.spool) {
            states[Partition(key.partition).core(cores)]
                .spool
                .insert(key, entry);
        }
        // The order in which several logs were read says nothing.
        for state in &mut states {
            state
                .served
                .values_mut()
                .for_each(|served| served.sort_unstable());
        }
        let sequences = self.sequences;
        let seeds = states
            .into_iter()
            .enumerate()
            .map(|(core, state)| seed(core, state, sequences.clone()))
            .collect();
        Recovered {
            seeds,
            report: self.report,
        }
    }
}
