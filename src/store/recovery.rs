//! From a directory to the states of all cores: every start is a recovery, of the log behind the newest checkpoints.
//!
//! Invariants: nothing is changed on disk before everything was read and found right; what was found is synced before it
//! is relied on (after a kill the last groups may be in a cache only); every log of an earlier start ends in a seal
//! before a new start writes, so an end without one in an older start is damage; a dropped tail is behind a seal and
//! cannot come back.
//! Limits: [`CORES_MAX`]; memory for the state, none for bodies.
//! Failure: [`OpenError`]. Interrupted at any point, it is done again at the next start with the same result.
//! Not here: the records (`replay`), one log (`scan`), which checkpoints (`checkpoint_load`).

use super::Environment;
use super::checkpoint_load::load;
use super::checkpoint_state::CoveredSegment;
use super::checkpoints::CheckpointBoard;
use super::compaction::{CompactionBoard, Released, Segments};
use super::found::{
    Found, check_covered, count_logs, durable_ends, find_segments, is_outdated, missing_logs,
    missing_of_headers,
};
use super::frame::GroupHeader;
use super::group::{Segment, seal_at_cut};
use super::options::StoreOptions;
use super::replay::Replay;
use super::scan::{LogEnd, LogName, ScanSegment};
use super::segment::segment_name;
use super::snapshot::SnapshotName;
use super::state::CoreState;
use super::summaries::SummariesName;
use super::superblock::{LogCount, note_logs, open_superblock};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::model::{LogPosition, SPOOL_PARTITIONS, SegmentId};
use std::collections::BTreeMap;
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
    pub(super) log_count: Arc<LogCount>,
    pub(super) incarnation: u32,
    pub(super) next_segment: Arc<AtomicU32>,
    /// Segments of older logs that have something in them.
    pub(super) covered: Arc<Vec<CoveredSegment>>,
    pub(super) board: Arc<CheckpointBoard>,
    /// Snapshot files of earlier starts that some core needs, and what of each is this core's.
    pub(super) snapshots: BTreeMap<SnapshotName, u64>,
    pub(super) compaction: Arc<CompactionBoard>,
    /// Files of summaries that are there, and their lengths.
    pub(super) summaries: Arc<Vec<(SummariesName, u64)>>,
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
    #[error("{0} is not a Ringpost store: {1} (if it was one, `ringpost store check DIR` says what is left)")]
    NotAStore(String, String),
    /// A newer program wrote it.
    #[error("the store has format {found}, this version reads up to {supported}: use a newer ringpost")]
    #[allow(missing_docs)]
    NewerFormat { found: u32, supported: u32 },
    /// What was acknowledged is not there any more as it was written.
    #[error(
        "damage in acknowledged data at {position}: {what}; nothing was changed. `ringpost store check DIR` names what is \
         damaged, `ringpost store salvage DIR NEW` copies what is whole into a new store"
    )]
    #[allow(missing_docs)]
    Damaged { position: LogPosition, what: String },
    /// More than `CORES_MAX`.
    #[error("a store serves at most {CORES_MAX} cores, not {0}")]
    TooManyCores(usize),
    /// Asked for by an admin.
    #[error("{0} has no segment {1}")]
    NoSuchSegment(String, SegmentId),
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
pub(super) enum Unopened {
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
    found.last_segment = found.last_segment.max(loaded.last_segment());
    let id = |segment: &ScanSegment<_>| segment.id;
    if let Some(position) = missing_of_headers(&loaded.headers, &found.logs, id, &released).next() {
        let what = "the segment is missing up to which a checkpoint saw its log".to_owned();
        return Err(OpenError::Damaged { position, what }.into());
    }
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
    durable_ends(&loaded.headers, &released).for_each(|end| replay.witnesses.reached(end));
    replay.check_witnesses(&covered, &released)?;
    let logs = count_logs(covered.values().map(|segment| segment.log), &released);
    if let Some(what) = missing_logs(superblock, &released, logs) {
        let position = LogPosition {
            segment: SegmentId(0),
            offset: 0,
        };
        return Err(OpenError::Damaged { position, what }.into());
    }
    replay.named.note_rows(&replay.state);
    found.last_segment = found.last_segment.max(replay.named.highest);
    let there = Segments::new(covered.keys().copied(), found.last_segment);
    replay.named.check(&replay.state, &there)?;
    make_durable(env, store_id, &found, &ends, incarnation).await?;
    let superblock = note_logs(env.disk(), superblock, logs).await?;
    let log_count = Arc::new(LogCount::new(superblock, cores));
    let covered = Arc::new(covered.into_values().collect());
    let compaction = Arc::new(CompactionBoard::new(released, there));
    let snapshots = loaded.snapshots.keys().copied();
    let board = Arc::new(CheckpointBoard::new(cores, loaded.used, snapshots));
    let next_segment = Arc::new(AtomicU32::new(found.last_segment + 1));
    let summaries = files
        .iter()
        .filter_map(|(name, len)| Some((SummariesName::of_file(name)?, *len)));
    let summaries = Arc::new(summaries.collect::<Vec<_>>());
    let shares = Shares::new(&replay.state, cores, &loaded.snapshots);
    let mut recovered = replay.finish(cores, |core, state, sequences| StoreSeed {
        core,
        cores,
        store_id,
        log_count: Arc::clone(&log_count),
        incarnation,
        next_segment: next_segment.clone(),
        covered: Arc::clone(&covered),
        compaction: compaction.clone(),
        board: board.clone(),
        summaries: summaries.clone(),
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
