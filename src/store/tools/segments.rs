//! The files of a store, by log, also where their headers are gone.
//!
//! Invariants: nothing is made or removed. A segment is the one that its header says, or, where that is not right, its first
//! group of this store, whatever its file's name says; of two that say the same, the one whose name says it too counts.
//! Failure: [`OpenError::NotAStore`], [`OpenError::NewerFormat`]; everything else is damage and told.

use super::blocks::Blocks;
use super::damage::{Damage, Damages};
use super::derived::Derived;
use super::summaries::summary_files;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, SUPERBLOCK_NAME};
use crate::model::{LogPosition, SegmentId};
use crate::store::OpenError;
use crate::store::compaction::Released;
use crate::store::found::{count_logs, missing_logs};
use crate::store::frame::{GROUP_HEADER_BYTES, GroupHeader, RecordHeader, RecordSeed};
use crate::store::scan::LogName;
use crate::store::segment::{
    FORMAT_VERSION, SegmentHeader, Superblock, SuperblockError, segment_name, segment_of_name,
};
use crate::store::summaries::SummariesName;
use std::collections::BTreeMap;

/// One segment of a log.
#[derive(Clone)]
pub struct SegmentFile<F> {
    /// Open for reading.
    pub file: F,
    /// Bytes of the file.
    pub len: u64,
    /// By its header, or by its first group.
    pub id: SegmentId,
    /// By its header, or by its first group.
    pub generation: u32,
    /// By its header; the newest if that is gone.
    pub version: u32,
    /// The store's own reader would not find it: its header is not to be trusted, or its name is another's.
    pub is_unreachable: bool,
    /// It was used.
    pub has_groups: bool,
}

/// A segment that was looked at, not yet in a log.
struct Looked<F> {
    log: LogName,
    file: SegmentFile<F>,
    /// By its file's name.
    named: SegmentId,
}

impl<F> SegmentFile<F> {
    /// What the checksums of its records start from.
    pub fn record_seed(&self) -> RecordSeed {
        RecordSeed::new(self.id, self.generation, self.version)
    }

    /// The same for the records of the group at `offset`, counted from there.
    pub fn group_seed(&self, offset: u64) -> RecordSeed {
        self.record_seed()
            .behind(u32::try_from(offset).unwrap_or(u32::MAX))
    }
}

/// Up to where the logs that are being written count.
pub type Frontiers = BTreeMap<LogName, LogPosition>;

/// A store's files.
pub struct Segments<D: Disk> {
    /// Where they lie.
    pub disk: D,
    /// Of the superblock, or of the segments if that is gone.
    pub store_id: u64,
    /// Its numbers are 0 if it is gone.
    pub superblock: Superblock,
    /// Every log, its segments ascending.
    pub logs: BTreeMap<LogName, Vec<SegmentFile<D::File>>>,
    /// Nothing behind these counts, everything before them does. None in a stopped store.
    pub frontiers: Frontiers,
    /// The highest incarnation.
    pub newest: u32,
    /// Segments without a header and without a group: a crash while they were made; and freed ones that are still there.
    pub unused: Vec<SegmentId>,
    /// Segments with a right header that was not durable as a whole: a crash while they were made.
    pub unfinished: Vec<SegmentId>,
    /// Files of summaries and their lengths.
    pub summaries: Vec<(SummariesName, u64)>,
    /// What compaction has freed.
    pub released: Released,
    /// For people: what is wrong with the list that says so, if it counts all the same.
    half: Option<String>,
    /// What the checkpoints say.
    pub derived: Derived,
    /// Of all files.
    pub bytes: u64,
    /// What is wrong with superblock and headers.
    pub damages: Damages,
}

impl<D: Disk> Segments<D> {
    /// Opens every file of the store.
    ///
    /// # Errors
    /// When there is no store, a newer one, or the directory cannot be listed.
    pub async fn open(disk: D) -> Result<Self, OpenError> {
        let not_a_store = |why: &str| OpenError::NotAStore(disk.describe(), why.to_owned());
        let files = match disk.list().await {
            Err(DiskError::NotFound { .. }) => {
                return Err(not_a_store(
                    "it has no directory segments (is a file system not mounted?)",
                ));
            }
            files => files?,
        };
        let mut named: Vec<(SegmentId, u64)> = files
            .iter()
            .filter_map(|(name, len)| Some((segment_of_name(name)?, *len)))
            .collect();
        named.sort_unstable();
        let mut damages = Damages::default();
        let superblock = read_superblock(&disk, &files).await?;
        let superblock = match superblock {
            Ok(superblock) => superblock,
            Err(why) => {
                let guessed = guess_store_id(&disk, &named).await;
                let store_id = guessed.ok_or_else(|| not_a_store(why))?;
                damages.push(Damage {
                    bytes: BLOCK_BYTES as u64,
                    ..Damage::nowhere(format!("the superblock: {why}"))
                });
                Superblock {
                    version: FORMAT_VERSION,
                    store_id,
                    created: 0,
                    logs: 0,
                }
            }
        };
        let store_id = superblock.store_id;
        let lists = Released::load(&disk, store_id, &files).await?;
        if let Some(name) = lists.damaged {
            let what =
                "this list of what compaction has freed is not as it was written: freed segments look lost";
            damages.push(Damage::in_file(name, what));
        }
        // A file of the first version that wrote them has one copy; a crash while one is written leaves one, too.
        let half = lists
            .half
            .map(|(name, why)| format!("one of the two copies in {name} is not right: {why}"));
        let released = lists.released;
        let derived = Derived::load(&disk, store_id, &files).await;
        let mut found = Self {
            disk,
            store_id,
            superblock,
            logs: BTreeMap::new(),
            frontiers: Frontiers::new(),
            newest: released.incarnation,
            released,
            half,
            derived,
            summaries: summary_files(&files),
            unused: Vec::new(),
            unfinished: Vec::new(),
            bytes: named.iter().map(|(_, len)| len).sum(),
            damages,
        };
        let mut misnamed = Vec::new();
        for (named, len) in named {
            match found.look(named, len).await? {
                Some(looked) if looked.file.id == named => found.put(looked.log, looked.file),
                Some(looked) => misnamed.push(looked),
                None => {}
            }
        }
        misnamed.into_iter().for_each(|looked| found.put_misnamed(looked));
        found.tell_missing_logs();
        for files in found.logs.values_mut() {
            files.sort_unstable_by_key(|file| file.id);
        }
        Ok(found)
    }

    /// What the file that is named after segment `named` is; `None`: it was never used, or is of another store.
    async fn look(&mut self, named: SegmentId, len: u64) -> Result<Option<Looked<D::File>>, OpenError> {
        let file = self.disk.open(&segment_name(named)).await?;
        let mut blocks = Blocks::new(file.clone(), len);
        let block = blocks.get(0, BLOCK_BYTES).await.to_vec();
        let header = SegmentHeader::decode(&block);
        let of_store = header.ok().filter(|header| header.store_id == self.store_id);
        let group = match &of_store {
            Some(header) => first_group(self.store_id, &mut blocks, len, Some(header.segment)).await,
            None => first_group(self.store_id, &mut blocks, len, None).await,
        };
        let (log, file) = match (of_store, group) {
            (Some(header), group) => {
                if block[GROUP_HEADER_BYTES..].iter().any(|byte| *byte != 0) {
                    // The whole block is durable before the first group is written: without one it was never finished.
                    match group {
                        Some(_) => self
                            .damaged_header(named, "bytes behind it are not zero; nothing stored is touched"),
                        None => self.unfinished.push(named),
                    }
                }
                let log = LogName {
                    incarnation: header.incarnation,
                    log: header.log,
                };
                let file = SegmentFile {
                    file,
                    len,
                    id: header.segment,
                    generation: header.generation,
                    version: header.version,
                    is_unreachable: header.segment != named,
                    has_groups: group.is_some(),
                };
                (log, file)
            }
            (None, Some((group, version))) => {
                self.damaged_header(named, header.err().unwrap_or("it is another store's"));
                let log = LogName {
                    incarnation: group.incarnation,
                    log: group.log,
                };
                let file = SegmentFile {
                    file,
                    len,
                    id: group.segment,
                    generation: group.generation,
                    version,
                    is_unreachable: true,
                    has_groups: true,
                };
                (log, file)
            }
            (None, None) => {
                match header {
                    Ok(_) => self.damaged_header(named, "it is another store's"),
                    Err(_) => self.unused.push(named),
                }
                return Ok(None);
            }
        };
        Ok(Some(Looked { log, file, named }))
    }

    /// What nothing in the logs that are left can tell. As a start does it.
    fn tell_missing_logs(&mut self) {
        let used = self
            .logs
            .iter()
            .filter(|(_, files)| files.iter().any(|file| file.has_groups));
        let logs = count_logs(used.map(|(log, _)| *log), &self.released);
        if let Some(what) = missing_logs(self.superblock, &self.released, logs) {
            self.damages.push(Damage::nowhere(what));
        }
    }

    /// The names of two segments may have been swapped, or one lost; a copy counts for nothing.
    fn put_misnamed(&mut self, looked: Looked<D::File>) {
        let id = looked.file.id;
        let is_there = self.logs.values().flatten().any(|file| file.id == id);
        let what = if is_there {
            format!("this is a copy of segment {id}; the server does not start beside it")
        } else {
            format!("this is segment {id} under another name")
        };
        let position = LogPosition {
            segment: looked.named,
            offset: 0,
        };
        self.damages.push(Damage::at(position, 0, what));
        if !is_there {
            self.put(looked.log, looked.file);
        }
    }

    fn put(&mut self, name: LogName, file: SegmentFile<D::File>) {
        if self.released.has(name, file.id) {
            self.unused.push(file.id);
            return;
        }
        self.newest = self.newest.max(name.incarnation);
        self.logs.entry(name).or_default().push(file);
    }

    /// What is there and in no log, for people.
    pub fn unneeded(&self) -> impl Iterator<Item = String> {
        let unused = self.unused.iter().map(|id| {
            format!("segment {id} is not used: a crash came while it was made, or before it was removed")
        });
        let unfinished = self.unfinished.iter();
        unused.chain(self.half.clone()).chain(
            unfinished.map(|id| format!("segment {id} has nothing in it: a crash came while it was made")),
        )
    }

    /// Is there a file of this segment, used or not?
    pub fn has(&self, id: SegmentId) -> bool {
        let mut files = self.logs.values().flatten();
        files.any(|file| file.id == id) || self.unused.contains(&id) || self.unfinished.contains(&id)
    }

    fn damaged_header(&mut self, segment: SegmentId, why: &str) {
        let position = LogPosition { segment, offset: 0 };
        let what = format!("the segment's header: {why}");
        self.damages.push(Damage::at(position, BLOCK_BYTES as u64, what));
    }
}

/// The inner error: why it is not a superblock.
async fn read_superblock<D: Disk>(
    disk: &D,
    files: &[(String, u64)],
) -> Result<Result<Superblock, &'static str>, OpenError> {
    let Some((_, len)) = files.iter().find(|(name, _)| name == SUPERBLOCK_NAME) else {
        return Ok(Err("it has no superblock"));
    };
    let file = disk.open(SUPERBLOCK_NAME).await?;
    let mut blocks = Blocks::new(file, *len);
    let block = blocks.get(0, BLOCK_BYTES).await;
    match Superblock::decode(block) {
        Ok(_) if block[GROUP_HEADER_BYTES..].iter().any(|byte| *byte != 0) => {
            Ok(Err("bytes behind it are not zero"))
        }
        Ok(superblock) => Ok(Ok(superblock)),
        Err(SuperblockError::Newer(found)) => Err(OpenError::NewerFormat {
            found,
            supported: FORMAT_VERSION,
        }),
        Err(SuperblockError::Invalid(why)) => Ok(Err(why)),
    }
}

/// The store id that most segments name.
async fn guess_store_id<D: Disk>(disk: &D, named: &[(SegmentId, u64)]) -> Option<u64> {
    let mut votes: BTreeMap<u64, u64> = BTreeMap::new();
    for (id, len) in named {
        let Ok(file) = disk.open(&segment_name(*id)).await else {
            continue;
        };
        let mut blocks = Blocks::new(file, *len);
        if let Ok(header) = SegmentHeader::decode(blocks.get(0, BLOCK_BYTES).await) {
            *votes.entry(header.store_id).or_default() += 1;
        }
    }
    votes
        .into_iter()
        .max_by_key(|(_, votes)| *votes)
        .map(|(id, _)| id)
}

/// The first group of a segment, of this one if it is known which it is, and the format version that its first record has.
async fn first_group<F: crate::disk::DiskFile>(
    store_id: u64,
    blocks: &mut Blocks<F>,
    len: u64,
    id: Option<SegmentId>,
) -> Option<(GroupHeader, u32)> {
    let mut offset = BLOCK_BYTES as u64;
    while offset + GROUP_HEADER_BYTES as u64 <= len {
        let bytes = blocks.get(offset, GROUP_HEADER_BYTES).await;
        let group = GroupHeader::decode(store_id, bytes);
        if let Some(header) = group.filter(|header| id.is_none_or(|id| header.segment == id)) {
            let bytes = blocks.get(offset, header.bytes as usize).await;
            let record = bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default();
            let at = u32::try_from(offset).unwrap_or(u32::MAX) + GROUP_HEADER_BYTES as u32;
            let is_of = |version: &u32| {
                let seed = RecordSeed::new(header.segment, header.generation, *version);
                RecordHeader::decode(seed.at(at), record).is_ok()
            };
            let version = (1..=FORMAT_VERSION).find(is_of).unwrap_or(FORMAT_VERSION);
            return Some((header, version));
        }
        offset += BLOCK_BYTES as u64;
    }
    None
}
