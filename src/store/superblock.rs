//! The superblock at a start: read, made in a new store, raised when the store is of an older format; told how many logs there are.
//!
//! Invariants: no segment of a format is written before the superblock that says so is durable, so that an older program
//! never takes for torn what it cannot read; a superblock is overwritten only while a durable copy of the new one lies
//! beside the segments.
//! Every log that it counts has had a group, which was durable before.
//! Failure: [`OpenError::NotAStore`], [`OpenError::NewerFormat`]. Interrupted at any point, the next start goes on.
//! Not here: the block's bytes (`segment`).

use super::segment::{FORMAT_VERSION, Superblock, SuperblockError, segment_of_name};
use super::{Environment, OpenError};
use crate::base::clock::Clock;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, SUPERBLOCK_NAME, WriteBuffer};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The copy that stands in while the superblock is overwritten.
const NEXT_NAME: &str = "segments/STORE.next";

/// Reads the superblock; makes it in an empty directory; raises an older one to this format.
pub async fn open_superblock<E: Environment>(
    env: &E,
    files: &[(String, u64)],
) -> Result<Superblock, OpenError> {
    let disk = env.disk();
    let not_a_store = |why: &str| OpenError::NotAStore(disk.describe(), why.to_owned());
    let has_segments = files.iter().any(|(name, _)| is_behind_superblock(name));
    let Some((_, len)) = files.iter().find(|(name, _)| name == SUPERBLOCK_NAME) else {
        if has_segments {
            return Err(not_a_store(
                "it has segments, or files beside them, and no superblock",
            ));
        }
        return create(env).await;
    };
    let copy = if files.iter().any(|(name, _)| name == NEXT_NAME) {
        read(disk, NEXT_NAME).await?.ok()
    } else {
        None
    };
    match read(disk, SUPERBLOCK_NAME).await? {
        Ok(found) if found.version < FORMAT_VERSION => raise(disk, found, copy).await,
        // The rest of the block may be torn while its first sector is right.
        Ok(found) if copy == Some(found) => {
            overwrite(disk, found).await?;
            Ok(found)
        }
        Ok(found) => {
            // A kill between its write and its sync may have left it in a cache.
            disk.open(SUPERBLOCK_NAME).await?.sync().await?;
            forget_copy(disk, files).await?;
            Ok(found)
        }
        Err(SuperblockError::Newer(found)) => Err(OpenError::NewerFormat {
            found,
            supported: FORMAT_VERSION,
        }),
        Err(SuperblockError::Invalid(_)) if copy.is_some() => {
            let next = copy.expect("it was just asked for");
            overwrite(disk, next).await?;
            Ok(next)
        }
        // A crash in the very first start; there was nothing yet that could be lost.
        Err(SuperblockError::Invalid(_)) if !has_segments && (*len == 0 || *len == BLOCK_BYTES as u64) => {
            disk.remove(SUPERBLOCK_NAME).await?;
            create(env).await
        }
        Err(SuperblockError::Invalid(why)) => Err(not_a_store(why)),
    }
}

/// What the cores of one start share about the superblock.
pub struct LogCount {
    /// As the start left it.
    superblock: Superblock,
    cores: u32,
    /// Logs of this start that have their seal.
    sealed: AtomicU32,
}

impl LogCount {
    /// For a start with so many cores.
    pub fn new(superblock: Superblock, cores: usize) -> Self {
        Self {
            superblock,
            cores: u32::try_from(cores).expect("cores were counted"),
            sealed: AtomicU32::new(0),
        }
    }

    /// A log of this start has its seal. The last of them says that there are as many more: there is one superblock, and one
    /// that writes it.
    ///
    /// # Errors
    /// As [`note_logs`].
    pub async fn note_sealed<D: Disk>(&self, disk: &D) -> Result<(), DiskError> {
        if self.sealed.fetch_add(1, Ordering::Relaxed) + 1 == self.cores {
            let logs = self.superblock.logs.saturating_add(self.cores);
            note_logs(disk, self.superblock, logs).await?;
        }
        Ok(())
    }
}

/// A segment, or a file that is not made before the first of them.
fn is_behind_superblock(name: &str) -> bool {
    let beside = [".ckp", ".snp", ".freed"];
    segment_of_name(name).is_some()
        || (name.starts_with("segments/") && beside.iter().any(|end| name.ends_with(end)))
}

async fn read<D: Disk>(disk: &D, name: &str) -> Result<Result<Superblock, SuperblockError>, DiskError> {
    let file = disk.open(name).await?;
    let block = file.read_at(0, BLOCK_BYTES).await?;
    Ok(Superblock::decode(block.as_ref()))
}

async fn create<E: Environment>(env: &E) -> Result<Superblock, OpenError> {
    let superblock = Superblock {
        version: FORMAT_VERSION,
        store_id: env.random_u64(),
        created: env.clock().now().0,
        logs: 0,
    };
    let file = env.disk().create(SUPERBLOCK_NAME, BLOCK_BYTES as u64).await?;
    write(&file, superblock).await?;
    env.disk().sync_directory().await?;
    Ok(superblock)
}

/// Through a copy: the one in place may be torn while it is overwritten.
async fn raise<D: Disk>(
    disk: &D,
    found: Superblock,
    copy: Option<Superblock>,
) -> Result<Superblock, OpenError> {
    let next = Superblock {
        version: FORMAT_VERSION,
        ..found
    };
    if copy != Some(next) {
        write_copy(disk, next).await?;
    }
    disk.open(NEXT_NAME).await?.sync().await?;
    disk.sync_directory().await?;
    overwrite(disk, next).await?;
    Ok(next)
}

async fn write_copy<D: Disk>(disk: &D, next: Superblock) -> Result<(), DiskError> {
    match disk.remove(NEXT_NAME).await {
        Ok(()) | Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let file = disk.create(NEXT_NAME, BLOCK_BYTES as u64).await?;
    write(&file, next).await
}

/// Says durably that at least `logs` logs have had a group; gives the superblock as it is then. On a full disk it says so
/// another time.
///
/// # Errors
/// The disk's. The superblock, or its copy, is right all the same.
pub async fn note_logs<D: Disk>(disk: &D, found: Superblock, logs: u32) -> Result<Superblock, DiskError> {
    if logs <= found.logs {
        return Ok(found);
    }
    let next = Superblock { logs, ..found };
    match write_copy(disk, next).await {
        Err(DiskError::NoSpace { .. }) => return Ok(found),
        written => written?,
    }
    disk.sync_directory().await?;
    overwrite(disk, next).await?;
    Ok(next)
}

/// The copy is durable.
async fn overwrite<D: Disk>(disk: &D, next: Superblock) -> Result<(), DiskError> {
    write(&disk.open(SUPERBLOCK_NAME).await?, next).await?;
    disk.remove(NEXT_NAME).await?;
    disk.sync_directory().await
}

async fn forget_copy<D: Disk>(disk: &D, files: &[(String, u64)]) -> Result<(), DiskError> {
    if files.iter().any(|(name, _)| name == NEXT_NAME) {
        disk.remove(NEXT_NAME).await?;
    }
    Ok(())
}

async fn write<F: DiskFile>(file: &F, superblock: Superblock) -> Result<(), DiskError> {
    let mut block = file.buffer(BLOCK_BYTES);
    block.bytes_mut().copy_from_slice(&superblock.encode());
    file.write_at(Rc::new(block), 0).await?;
    file.sync().await
}
