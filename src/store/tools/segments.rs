//! The files of a store, by log, also where their headers are gone.
//!
//! Invariants: nothing is made or removed. A segment without a right header is known by its name and by the first
//! group of this store in it that names it.
//! Failure: [`OpenError::NotAStore`], [`OpenError::NewerFormat`]; everything else is damage and told.

use super::blocks::Blocks;
use super::damage::{Damage, Damages};
use super::derived::Derived;
use super::summaries::summary_files;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, SUPERBLOCK_NAME};
use crate::model::{LogPosition, SegmentId};
use crate::store::OpenError;
use crate::store::compaction::Released;
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
    /// By its name.
    pub id: SegmentId,
    /// By its header, or by its first group.
    pub generation: u32,
    /// By its header; the newest if that is gone.
    pub version: u32,
    /// Its header is not to be trusted.
    pub has_bad_header: bool,
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
    /// Milliseconds since the epoch; 0 if the superblock is gone.
    pub created: i64,
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
            Err(DiskError::NotFound { .. }) => return Err(not_a_store("it has no segments")),
            files => files?,
        };
        let mut named: Vec<(SegmentId, u64)> = files
            .iter()
            .filter_map(|(name, len)| Some((segment_of_name(name)?, *len)))
            .collect();
        named.sort_unstable();
        let mut damages = Damages::default();
        let superblock = read_superblock(&disk, &files).await?;
        let (store_id, created) = match superblock {
            Ok(superblock) => (superblock.store_id, superblock.created),
            Err(why) => {
                let guessed = guess_store_id(&disk, &named).await;
                let store_id = guessed.ok_or_else(|| not_a_store(why))?;
                damages.push(Damage {
                    bytes: BLOCK_BYTES as u64,
                    ..Damage::nowhere(format!("the superblock: {why}"))
                });
                (store_id, 0)
            }
        };
        let released = Released::load(&disk, store_id, &files).await?.released;
        let derived = Derived::load(&disk, store_id, &files).await;
        let mut found = Self {
            disk,
            store_id,
            created,
            logs: BTreeMap::new(),
            frontiers: Frontiers::new(),
            newest: released.incarnation,
            released,
            derived,
            summaries: summary_files(&files),
            unused: Vec::new(),
            unfinished: Vec::new(),
            bytes: named.iter().map(|(_, len)| len).sum(),
            damages,
        };
        for (id, len) in named {
            found.add(id, len).await?;
        }
        Ok(found)
    }

    async fn add(&mut self, id: SegmentId, len: u64) -> Result<(), OpenError> {
        let file = self.disk.open(&segment_name(id)).await?;
        let mut blocks = Blocks::new(file.clone(), len);
        let block = blocks.get(0, BLOCK_BYTES).await.to_vec();
        let why = match SegmentHeader::decode(&block) {
            Ok(header) if header.store_id != self.store_id => "it belongs to another store",
            Ok(header) if header.segment != id => "it is another segment's",
            Ok(header) => {
                let name = LogName {
                    incarnation: header.incarnation,
                    log: header.log,
                };
                self.put(
                    name,
                    SegmentFile {
                        file,
                        len,
                        id,
                        generation: header.generation,
                        version: header.version,
                        has_bad_header: false,
                    },
                );
                if block[GROUP_HEADER_BYTES..].iter().any(|byte| *byte != 0) {
                    // The whole block is durable before the first group is written: without one it was never finished.
                    match first_group(self.store_id, &mut blocks, len, id).await {
                        Some(_) => {
                            self.damaged_header(
                                id,
                                "bytes behind it are not zero; nothing stored is touched",
                            );
                        }
                        None => self.unfinished.push(id),
                    }
                }
                return Ok(());
            }
            Err(why) => why,
        };
        match first_group(self.store_id, &mut blocks, len, id).await {
            Some((group, version)) => {
                let name = LogName {
                    incarnation: group.incarnation,
                    log: group.log,
                };
                self.put(
                    name,
                    SegmentFile {
                        file,
                        len,
                        id,
                        generation: group.generation,
                        version,
                        has_bad_header: true,
                    },
                );
                self.damaged_header(id, why);
            }
            None => self.unused.push(id),
        }
        Ok(())
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
        unused.chain(
            unfinished.map(|id| format!("segment {id} has nothing in it: a crash came while it was made")),
        )
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
        if let Ok(header) = SegmentHeader::decode(blocks.get(0, BLOCK_BYTES).await)
            && header.segment == *id
        {
            *votes.entry(header.store_id).or_default() += 1;
        }
    }
    votes
        .into_iter()
        .max_by_key(|(_, votes)| *votes)
        .map(|(id, _)| id)
}

/// The first group of a segment without a header, and the format version that its first record has.
async fn first_group<F: crate::disk::DiskFile>(
    store_id: u64,
    blocks: &mut Blocks<F>,
    len: u64,
    id: SegmentId,
) -> Option<(GroupHeader, u32)> {
    let mut offset = BLOCK_BYTES as u64;
    while offset + GROUP_HEADER_BYTES as u64 <= len {
        let bytes = blocks.get(offset, GROUP_HEADER_BYTES).await;
        if let Some(header) = GroupHeader::decode(store_id, bytes).filter(|header| header.segment == id) {
            let bytes = blocks.get(offset, header.bytes as usize).await;
            let record = bytes.get(GROUP_HEADER_BYTES..).unwrap_or_default();
            let at = u32::try_from(offset).unwrap_or(u32::MAX) + GROUP_HEADER_BYTES as u32;
            let is_of = |version: &u32| {
                let seed = RecordSeed::new(id, header.generation, *version);
                RecordHeader::decode(seed.at(at), record).is_ok()
            };
            let version = (1..=FORMAT_VERSION).find(is_of).unwrap_or(FORMAT_VERSION);
            return Some((header, version));
        }
        offset += BLOCK_BYTES as u64;
    }
    None
}
