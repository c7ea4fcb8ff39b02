//! What the store needs of a disk, as a trait, so that it cannot tell simulation from production.
//!
//! Invariants: positions and lengths of writes are multiples of [`BLOCK_BYTES`]; a file's length is fixed when it is
//! created, but that what is known to be unused at its end may be given back; names are relative to the store's directory: a plain file name, or one below the one subdirectory
//! `segments/` (see [`SUBDIRECTORY`]).
//! Failure: every completion is checked, a short read or write is finished or an error, and no error is retried here.
//! Not here: what is written (`store`), the simulated disk (`sim`).

pub mod file;
pub mod filling;
pub mod frozen;
pub mod lock;
pub mod meters;
pub mod plain;
#[cfg(feature = "planted-bugs")]
pub mod planted;
mod scribe;
pub mod small;

use std::future::Future;
use std::rc::Rc;

/// Unit of direct I/O and of group padding. The alignment glommio reports can be wrong (512 on a 4K-sector disk), so
/// it is fixed here.
pub const BLOCK_BYTES: usize = 4096;

/// The one directory below the root; made when the disk is opened.
pub const SUBDIRECTORY: &str = "segments";

/// The one file in the root that belongs to the store.
pub const SUPERBLOCK_NAME: &str = "STORE";

/// Why a disk operation failed. All are the environment's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// The file system has no room.
    #[error("no space left for {what}")]
    NoSpace {
        /// The file that did not fit.
        what: String,
    },
    /// The file to open is not there.
    #[error("{name} does not exist")]
    NotFound {
        /// As asked for.
        name: String,
    },
    /// The file to create is there already.
    #[error("{name} exists already")]
    AlreadyExists {
        /// As asked for.
        name: String,
    },
    /// Anything else the device or the kernel answered. After a failed write or sync the content is unknown.
    #[error("{operation} on {name}: {cause}")]
    Io {
        /// Which of the trait's operations.
        operation: &'static str,
        /// The file.
        name: String,
        /// As the kernel says it.
        cause: String,
    },
}

/// A directory of fixed-length files with explicit syncs.
pub trait Disk: Clone + 'static {
    /// An open file.
    type File: DiskFile;

    /// Creates a file of `len` bytes, its space allocated and its length durable after the first sync of the file.
    /// The name is durable only after [`Disk::sync_directory`]. On [`DiskError::NoSpace`] nothing is left behind.
    fn create(&self, name: &str, len: u64) -> impl Future<Output = Result<Self::File, DiskError>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> impl Future<Output = Result<Self::File, DiskError>>;

    /// Every file's name and length, in any order. Files of other owners in the root are not listed.
    fn list(&self) -> impl Future<Output = Result<Vec<(String, u64)>, DiskError>>;

    /// Removes a file; gone for good only after [`Disk::sync_directory`].
    fn remove(&self, name: &str) -> impl Future<Output = Result<(), DiskError>>;

    /// Gives back the space of a file beyond `len` bytes. May be undone by a crash, which then shows zeros there.
    fn shrink(&self, name: &str, len: u64) -> impl Future<Output = Result<(), DiskError>>;

    /// Makes every create and remove so far durable.
    fn sync_directory(&self) -> impl Future<Output = Result<(), DiskError>>;

    /// Bytes the file system still has for this store.
    fn free_bytes(&self) -> impl Future<Output = Result<u64, DiskError>>;

    /// For messages to people: where the store is.
    fn describe(&self) -> String;
}

/// One open file. Clones are the same open file.
pub trait DiskFile: Clone + 'static {
    /// Memory that the device can take as it is.
    type Buffer: WriteBuffer;
    /// Memory a read came back in.
    type ReadBuffer: AsRef<[u8]> + 'static;

    /// A buffer of `len` bytes (a multiple of [`BLOCK_BYTES`]) for [`DiskFile::write_at`]. Its content is arbitrary.
    fn buffer(&self, len: usize) -> Self::Buffer;

    /// Writes the whole buffer at `position`. Done is not durable: see [`DiskFile::sync`]. The buffer is shared with
    /// the kernel until the write is over, also when the future is dropped before.
    fn write_at(
        &self,
        buffer: Rc<Self::Buffer>,
        position: u64,
    ) -> impl Future<Output = Result<(), DiskError>>;

    /// [`DiskFile::write_at`] and, if that went well, [`DiskFile::sync`]: when it returns `Ok`, the buffer is durable, and so is
    /// every write completed before this call began. It may begin before the future waits for the first time.
    fn write_durably(
        &self,
        buffer: Rc<Self::Buffer>,
        position: u64,
    ) -> impl Future<Output = Result<(), DiskError>> {
        async move {
            self.write_at(buffer, position).await?;
            self.sync().await
        }
    }

    /// Reads `len` bytes at `position`, neither of them aligned; fewer only at the end of the file.
    fn read_at(&self, position: u64, len: usize)
    -> impl Future<Output = Result<Self::ReadBuffer, DiskError>>;

    /// As [`DiskFile::read_at`], from the system's cache where that has it. What comes may be older than the last write that
    /// is over: whoever reads so checks what he gets, and asks [`DiskFile::read_at`] for what is not right.
    fn read_cached_at(
        &self,
        position: u64,
        len: usize,
    ) -> impl Future<Output = Result<Self::ReadBuffer, DiskError>> {
        self.read_at(position, len)
    }

    /// `fdatasync`: every write completed before this call began is durable when it returns `Ok`. After an error
    /// nothing is known of them and the sync must not be tried again.
    fn sync(&self) -> impl Future<Output = Result<(), DiskError>>;
}

/// Memory to be written.
pub trait WriteBuffer: 'static {
    /// All of it.
    fn bytes(&self) -> &[u8];
    /// All of it.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Gives up everything beyond `len` bytes.
    fn truncate(&mut self, len: usize);
}
