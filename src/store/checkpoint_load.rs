//! Which checkpoints a start uses, and what they say.
//!
//! Invariants: only the checkpoints of *all* cores of one incarnation are a whole store; the newest incarnation that has
//! them is used; every byte of them was checked before anything of them counts.
//! Failure: none. What is not right or not whole is passed over with a warning, and more of the log is read instead.
//! Not here: the log behind them, segments they name and that are not there (`recovery`).

use super::checkpoint::{CheckpointHeader, CheckpointName, SLICE_HEADER_BYTES, SliceHeader, slice_kind};
use super::checkpoint_state::{CoveredSegment, segment, served, spool};
use super::codec::{Malformed, Reader};
use super::scan::{LogName, Window};
use super::snapshot::{SnapshotName, head};
use super::state::CoreState;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::model::{AccountId, LogPosition, PARTITIONS, Partition, SPOOL_PARTITIONS, SegmentId};
use std::collections::{BTreeMap, HashMap};

/// A whole store as the checkpoints of one incarnation have it.
pub struct Base {
    /// That incarnation. Every older log is covered.
    pub incarnation: u32,
    /// Header i is of core i: how far its log is covered.
    pub headers: Vec<CheckpointHeader>,
    /// Of all cores together.
    pub state: CoreState,
    /// The last sequence of every partition, as of the headers' positions.
    pub sequences: Vec<u64>,
    /// Accounts that are further than their core's header: records before this position are in them.
    pub ahead: HashMap<AccountId, LogPosition>,
    /// Segments that must be there.
    pub segments: BTreeMap<SegmentId, CoveredSegment>,
}

impl Base {
    /// Places up to which accounts hold what this log said.
    pub fn ahead_in(&self, log: LogName) -> impl Iterator<Item = LogPosition> + '_ {
        let cores = self.headers.len();
        let is_owner = move |id: &AccountId| id.partition().core(cores) == usize::from(log.log);
        let is_of_log = move |id: &AccountId| log.incarnation == self.incarnation && is_owner(id);
        let of_log = self.ahead.iter().filter(move |(id, _)| is_of_log(id));
        of_log.map(|(_, position)| *position)
    }

    /// How far the log is covered; `None`: not at all, or by being older.
    pub fn header(&self, log: LogName) -> Option<&CheckpointHeader> {
        let header = self.headers.get(usize::from(log.log))?;
        (log.incarnation == self.incarnation).then_some(header)
    }
}

/// What the directory has in checkpoints.
#[derive(Default)]
pub struct Loaded {
    /// What the start begins with.
    pub base: Option<Base>,
    /// Their files.
    pub used: Vec<String>,
    /// Snapshot files that these need, with their lengths.
    pub snapshots: BTreeMap<SnapshotName, u64>,
    /// All other checkpoint files.
    pub junk: Vec<String>,
    /// The highest incarnation of any whole header.
    pub incarnation: u32,
    /// Every header that is right: what it covers was durable when it was written, whatever became of its slices.
    pub headers: Vec<CheckpointHeader>,
    /// Files that are not what was written, or were never finished.
    pub bad: Vec<Bad>,
}

/// A checkpoint that was passed over.
#[derive(Clone, Debug)]
pub struct Bad {
    /// Its file.
    pub name: CheckpointName,
    /// Its header, if that is right.
    pub header: Option<CheckpointHeader>,
    /// What of it is not right.
    pub why: Unusable,
}

/// Why a checkpoint does not count.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not what was written.
    #[error("{0}")]
    Malformed(&'static str),
    /// It is right, and what it refers to is not there.
    #[error("the snapshot file {} is missing, or too short", .0.file())]
    Snapshot(SnapshotName),
}

impl From<Malformed> for Unusable {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why.0)
    }
}

/// Reads the newest whole set of checkpoints among `files`.
pub async fn load<D: Disk>(disk: &D, store_id: u64, files: &[(String, u64)]) -> Loaded {
    let mut loaded = Loaded::default();
    let there: HashMap<SnapshotName, u64> = files
        .iter()
        .filter_map(|(name, len)| Some((SnapshotName::of_file(name)?, *len)))
        .collect();
    let mut sets: BTreeMap<u32, Vec<CheckpointHeader>> = BTreeMap::new();
    let mut names: Vec<CheckpointName> = files
        .iter()
        .filter_map(|(name, _)| CheckpointName::of_file(name))
        .collect();
    names.sort_unstable();
    for name in &names {
        match header(disk, store_id, name).await {
            Ok(header) => {
                loaded.incarnation = loaded.incarnation.max(name.incarnation);
                loaded.headers.push(header);
                sets.entry(name.incarnation).or_default().push(header);
            }
            Err(why) => loaded.pass_over(*name, None, why),
        }
    }
    for (incarnation, headers) in sets.into_iter().rev() {
        if let Some(base) = loaded.set(disk, store_id, incarnation, &headers, &there).await {
            loaded.used = base.headers.iter().map(|header| header.name.file()).collect();
            let blobs = base.state.cold.values().flat_map(|cold| &cold.chain);
            let needed = blobs.filter_map(|blob| Some((blob.file, *there.get(&blob.file)?)));
            loaded.snapshots = needed.collect();
            loaded.base = Some(base);
            break;
        }
    }
    let junk = names.iter().map(CheckpointName::file);
    loaded.junk = junk.filter(|name| !loaded.used.contains(name)).collect();
    let unused = there.keys().filter(|name| !loaded.snapshots.contains_key(name));
    loaded.junk.extend(unused.map(SnapshotName::file));
    // In one order for every start: the files of a hash map have none.
    loaded.junk.sort_unstable();
    loaded
}

impl Loaded {
    /// The highest segment that anything right in them names.
    pub fn last_segment(&self) -> u32 {
        let headers = self.headers.iter().map(|header| header.position);
        let ahead = self.base.iter().flat_map(|base| base.ahead.values().copied());
        let covered = self.base.iter().flat_map(|base| base.segments.keys().copied());
        let positions = headers.chain(ahead).map(|position| position.segment);
        positions
            .chain(covered)
            .map(|segment| segment.0)
            .max()
            .unwrap_or(0)
    }

    /// Nothing of them is to be used.
    pub fn give_up(&mut self) {
        self.base = None;
        self.junk.append(&mut self.used);
        let snapshots = std::mem::take(&mut self.snapshots);
        self.junk.extend(snapshots.keys().map(SnapshotName::file));
    }

    fn pass_over(&mut self, name: CheckpointName, header: Option<CheckpointHeader>, why: Unusable) {
        tracing::warn!(file = name.file(), %why, "a checkpoint is not usable: the log is read instead");
        self.bad.push(Bad { name, header, why });
    }

    /// The newest usable checkpoint of every core, if every core has one.
    async fn set<D: Disk>(
        &mut self,
        disk: &D,
        store_id: u64,
        incarnation: u32,
        headers: &[CheckpointHeader],
        there: &HashMap<SnapshotName, u64>,
    ) -> Option<Base> {
        let cores = headers.first()?.cores;
        let mut base = Base {
            incarnation,
            headers: Vec::new(),
            state: CoreState::default(),
            sequences: vec![0; usize::from(PARTITIONS + SPOOL_PARTITIONS)],
            ahead: HashMap::new(),
            segments: BTreeMap::new(),
        };
        let has_all = |core| headers.iter().any(|header| header.name.core == core);
        if !(0..cores).all(has_all) || headers.iter().any(|header| header.cores != cores) {
            return None;
        }
        for core in 0..cores {
            let mut part = None;
            // They ascend by number.
            for header in headers.iter().rev().filter(|header| header.name.core == core) {
                match Part::read(disk, store_id, header, there).await {
                    Ok(read) => {
                        part = Some((header, read));
                        break;
                    }
                    Err(why) => self.pass_over(header.name, Some(*header), why),
                }
            }
            let (header, part) = part?;
            base.headers.push(*header);
            part.join(&mut base);
        }
        Some(base)
    }
}

async fn header<D: Disk>(
    disk: &D,
    store_id: u64,
    name: &CheckpointName,
) -> Result<CheckpointHeader, Unusable> {
    let file = disk.open(&name.file()).await?;
    let block = file.read_at(0, BLOCK_BYTES).await?;
    let header = CheckpointHeader::decode(block.as_ref()).map_err(Unusable::Malformed)?;
    if header.store_id != store_id || header.name != *name {
        return Err(Unusable::Malformed("it belongs elsewhere"));
    }
    Ok(header)
}

/// One core's checkpoint.
#[derive(Default)]
struct Part {
    state: CoreState,
    sequences: Vec<(u16, u64)>,
    ahead: Vec<(AccountId, LogPosition)>,
    segments: Vec<CoveredSegment>,
}

impl Part {
    async fn read<D: Disk>(
        disk: &D,
        store_id: u64,
        header: &CheckpointHeader,
        there: &HashMap<SnapshotName, u64>,
    ) -> Result<Self, Unusable> {
        let file = disk.open(&header.name.file()).await?;
        let mut window = Window::empty();
        let mut part = Self::default();
        let mut offset = BLOCK_BYTES as u64;
        for index in 0..header.slices {
            let bytes = window.load(&file, offset, SLICE_HEADER_BYTES).await?;
            let slice = SliceHeader::decode(bytes)?;
            let end = offset + slice.slice_bytes() as u64;
            if slice.index != index || end > u64::from(header.blocks) * BLOCK_BYTES as u64 {
                return Err(Unusable::Malformed("a slice that does not follow"));
            }
            let bytes = window.load(&file, offset, slice.slice_bytes()).await?;
            let payload = slice.check(store_id, &header.name, bytes)?;
            part.slice(header, &slice, payload)?;
            offset = end;
        }
        if offset != u64::from(header.blocks) * BLOCK_BYTES as u64 {
            return Err(Unusable::Malformed("slices are missing"));
        }
        let mut blobs = part.state.cold.values().flat_map(|cold| &cold.chain);
        match blobs.find(|blob| there.get(&blob.file).is_none_or(|len| *len < blob.end())) {
            Some(blob) => Err(Unusable::Snapshot(blob.file)),
            None => Ok(part),
        }
    }

    fn slice(
        &mut self,
        header: &CheckpointHeader,
        slice: &SliceHeader,
        payload: &[u8],
    ) -> Result<(), Malformed> {
        let mut input = Reader::new(payload);
        for _ in 0..slice.items {
            match slice.kind {
                slice_kind::PARTITIONS => self.sequence(header, input.u16()?, input.u64()?)?,
                slice_kind::SEGMENTS => self.segments.push(segment(&mut input)?),
                slice_kind::SPOOL => {
                    let entry = spool(&mut input)?;
                    self.state.spool.insert(entry.key, entry);
                }
                slice_kind::SERVED => {
                    let (key, entries) = served(&mut input)?;
                    self.state.served.insert(key, entries);
                }
                slice_kind::HEADS => {
                    let (id, cold) = head(&mut input)?;
                    check_owner(header, id.partition())?;
                    if slice.as_of > header.position {
                        self.ahead.push((id, slice.as_of));
                    }
                    self.state.cold.insert(id, cold);
                }
                _ => return Err(Malformed("an unknown kind of slice")),
            }
        }
        input.finish()
    }

    fn sequence(
        &mut self,
        header: &CheckpointHeader,
        partition: u16,
        sequence: u64,
    ) -> Result<(), Malformed> {
        if partition >= PARTITIONS + SPOOL_PARTITIONS {
            return Err(Malformed("an unknown partition"));
        }
        check_owner(header, Partition(partition))?;
        self.sequences.push((partition, sequence));
        Ok(())
    }

    fn join(self, base: &mut Base) {
        if base.state.cold.is_empty() {
            base.state.cold = self.state.cold;
        } else {
            base.state.cold.extend(self.state.cold);
        }
        base.state.spool.extend(self.state.spool);
        for (key, entries) in self.state.served {
            base.state.served.entry(key).or_default().extend(entries);
        }
        for (partition, sequence) in self.sequences {
            base.sequences[usize::from(partition)] = sequence;
        }
        base.ahead.extend(self.ahead);
        for segment in self.segments {
            base.segments.insert(segment.id, segment);
        }
    }
}

fn check_owner(header: &CheckpointHeader, partition: Partition) -> Result<(), Malformed> {
    if partition.core(usize::from(header.cores)) == usize::from(header.name.core) {
        Ok(())
    } else {
        Err(Malformed("something of another core"))
    }
}
