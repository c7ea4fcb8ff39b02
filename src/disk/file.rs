//! The real disk: O_DIRECT files through glommio, read through the page cache where that is asked for, metadata through blocking calls on its helper threads.
//!
//! Invariants: no file is opened for direct I/O before its first block was written and synced, because glommio finds
//! out what a device can do by reading the first block of the first file a thread opens on it (GLOMMIO.md); every
//! position and length given to the kernel is a multiple of [`BLOCK_BYTES`]; paths are absolute.
//! Failure: a short write is an error; a short read in the middle of a file is read on; EINTR does not reach us.
//! Not here: executors (`runtime`).

use super::meters::DiskMeters;
use super::scribe::Scribe;
use super::{BLOCK_BYTES, Disk, DiskError, DiskFile, SUBDIRECTORY, WriteBuffer};
use crate::runtime::at_reactor;
use glommio::io::{BufferedFile, DmaBuffer, DmaFile, OpenOptions, ReadResult};
use std::cell::{Cell, OnceCell};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Numbers the files that [`FileDisk`] tries a device with.
static TRIALS: AtomicU64 = AtomicU64::new(0);

/// A store's directory on a file system. Clones are the same directory. Make one per executor.
#[derive(Clone, Debug)]
pub struct FileDisk {
    root: Rc<PathBuf>,
    is_tried: Rc<Cell<bool>>,
    meters: Arc<DiskMeters>,
    scribe: LazyScribe,
}

/// Started by the first that needs it; `None`: the machine refused.
type LazyScribe = Rc<OnceCell<Option<Scribe>>>;

impl FileDisk {
    /// Uses `root`, made if it is not there. Blocks on the file system; may be called outside an executor.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = make_directories(root)?;
        Ok(Self {
            root: Rc::new(root),
            is_tried: Rc::new(Cell::new(false)),
            meters: DiskMeters::of_this_core(),
            scribe: LazyScribe::default(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Opens a file with a written first block before any other, so that glommio learns the right thing.
    async fn try_device(&self) -> Result<(), DiskError> {
        if self.is_tried.replace(true) {
            return Ok(());
        }
        let trial = TRIALS.fetch_add(1, Ordering::Relaxed);
        let name = format!(".trial-{}-{trial}", std::process::id());
        let path = self.path(&name);
        let made = {
            let path = path.clone();
            blocking(move || create_written(&path, BLOCK_BYTES as u64)).await
        };
        let opened = match made {
            Ok(()) => open_dma(&path).await,
            Err(error) => Err(error),
        };
        let removed = blocking(move || std::fs::remove_file(path)).await;
        let file = opened.map_err(|error| disk_error("open", &name, &error))?;
        let read = at_reactor(file.read_at_aligned(0, BLOCK_BYTES)).await;
        read.map_err(|error| disk_error("read", &name, &error.into()))?;
        removed.map_err(|error| disk_error("remove", &name, &error))
    }

    async fn open_file(&self, name: &str) -> Result<FileOnDisk, DiskError> {
        let file = open_dma(&self.path(name))
            .await
            .map_err(|error| disk_error("open", name, &error))?;
        Ok(FileOnDisk {
            file: Rc::new(file),
            cached: Rc::default(),
            path: self.path(name).into(),
            name: name.into(),
            meters: self.meters.clone(),
            scribe: self.scribe.clone(),
        })
    }
}

/// Runs `work` on one of glommio's helper threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    at_reactor(glommio::executor().spawn_blocking(work)).await
}

async fn open_dma(path: &Path) -> io::Result<DmaFile> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    at_reactor(options.dma_open(path)).await.map_err(io::Error::from)
}

/// A new file of `len` bytes, allocated, its first block written with zeros, all of it synced.
pub(super) fn create_written(path: &Path, len: u64) -> io::Result<()> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    #[cfg(feature = "planted-bugs")]
    if super::planted::is_written_ahead(path) {
        drop(file);
        return super::planted::create_written_ahead(path, len);
    }
    let filled = fill_new(&file, len);
    if filled.is_err() {
        // What was allocated so far must not keep the rest of the system from recovering.
        let _ = std::fs::remove_file(path);
    }
    filled
}

fn fill_new(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open for as long as `file` lives; the call touches no memory.
    let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    file.write_all_at(&[0; BLOCK_BYTES], 0)?;
    file.sync_all()
}

pub(super) fn sync_directory_at(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(super) fn free_bytes_at(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid `statvfs`, which has only integers.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends in a zero byte and `stat` is ours; both live until the call returns.
    if unsafe { libc::statvfs(path.as_ptr(), &mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Makes what of a store's directories is not there; durable on return. The superblock comes after that: where it is there
/// and its segments' directory is not, that one is lost, and an empty one in its place would look like a new store.
pub(super) fn make_directories(root: &Path) -> io::Result<PathBuf> {
    let segments = root.join(SUBDIRECTORY);
    if root.join(super::SUPERBLOCK_NAME).exists() && !segments.exists() {
        let (superblock, segments) = (super::SUPERBLOCK_NAME, segments.display());
        let why = format!("{superblock} is there and {segments} is not: is a file system not mounted?");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    std::fs::create_dir_all(segments)?;
    let root = root.canonicalize()?;
    // The names of the directories themselves must survive, too.
    sync_directory_at(&root)?;
    if let Some(parent) = root.parent() {
        sync_directory_at(parent)?;
    }
    Ok(root)
}

pub(super) fn list_in(root: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for directory in ["", SUBDIRECTORY] {
        for entry in std::fs::read_dir(root.join(directory))? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = entry.metadata()?;
            let is_ours = !directory.is_empty() || name == super::SUPERBLOCK_NAME;
            if is_ours && metadata.is_file() {
                let name = if directory.is_empty() {
                    name
                } else {
                    format!("{directory}/{name}")
                };
                found.push((name, metadata.len()));
            }
        }
    }
    Ok(found)
}

pub(super) fn disk_error(operation: &'static str, name: &str, error: &io::Error) -> DiskError {
    let name = name.to_owned();
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => DiskError::NoSpace { what: name },
        Some(libc::ENOENT) => DiskError::NotFound { name },
        Some(libc::EEXIST) => DiskError::AlreadyExists { name },
        _ => match error.kind() {
            io::ErrorKind::NotFound => DiskError::NotFound { name },
            _ => DiskError::Io {
                operation,
                name,
                cause: error.to_string(),
            },
        },
    }
}

impl Disk for FileDisk {
    type File = FileOnDisk;

    async fn create(&self, name: &str, len: u64) -> Result<FileOnDisk, DiskError> {
        self.try_device().await?;
        let path = self.path(name);
        let created = blocking(move || create_written(&path, len)).await;
        created.map_err(|error| disk_error("create", name, &error))?;
        self.meters.other_syncs.add(1);
        self.open_file(name).await
    }

    async fn open(&self, name: &str) -> Result<FileOnDisk, DiskError> {
        self.try_device().await?;
        self.open_file(name).await
    }

    async fn list(&self) -> Result<Vec<(String, u64)>, DiskError> {
        let root = self.root.to_path_buf();
        blocking(move || list_in(&root))
            .await
            .map_err(|error| disk_error("list", SUBDIRECTORY, &error))
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path(name);
        let removed = blocking(move || std::fs::remove_file(path)).await;
        removed.map_err(|error| disk_error("remove", name, &error))
    }

    async fn shrink(&self, name: &str, len: u64) -> Result<(), DiskError> {
        let path = self.path(name);
        let shrunk = blocking(move || std::fs::OpenOptions::new().write(true).open(path)?.set_len(len)).await;
        shrunk.map_err(|error| disk_error("shrink", name, &error))
    }

    async fn sync_directory(&self) -> Result<(), DiskError> {
        #[cfg(feature = "planted-bugs")]
        if super::planted::skips_directory_sync() {
            return Ok(());
        }
        self.meters.other_syncs.add(2);
        let root = self.root.to_path_buf();
        let synced = blocking(move || {
            sync_directory_at(&root.join(SUBDIRECTORY))?;
            sync_directory_at(&root)
        });
        synced
            .await
            .map_err(|error| disk_error("sync", SUBDIRECTORY, &error))
    }

    async fn free_bytes(&self) -> Result<u64, DiskError> {
        let root = self.root.to_path_buf();
        blocking(move || free_bytes_at(&root))
            .await
            .map_err(|error| disk_error("statvfs", "", &error))
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// An open file. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct FileOnDisk {
    file: Rc<DmaFile>,
    /// The same file through the page cache, once it was read so.
    cached: Rc<OnceCell<BufferedFile>>,
    path: Rc<Path>,
    name: Rc<str>,
    meters: Arc<DiskMeters>,
    scribe: LazyScribe,
}

impl WriteBuffer for DmaBuffer {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }
    fn truncate(&mut self, len: usize) {
        self.trim_to_size(len);
    }
}

/// What a read brought, less the alignment around it.
pub struct DirectRead {
    /// One read, nearly always.
    whole: Option<(ReadResult, std::ops::Range<usize>)>,
    /// Put together from several short ones.
    pieced: Vec<u8>,
}

impl AsRef<[u8]> for DirectRead {
    fn as_ref(&self) -> &[u8] {
        match &self.whole {
            Some((read, range)) => &read[range.clone()],
            None => &self.pieced,
        }
    }
}

const BLOCK: u64 = BLOCK_BYTES as u64;

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl FileOnDisk {
    /// A short write is an error.
    fn whole(&self, written: io::Result<usize>, len: usize) -> Result<(), DiskError> {
        match written.map_err(|error| disk_error("write", &self.name, &error))? {
            n if n == len => Ok(()),
            n => Err(DiskError::Io {
                operation: "write",
                name: self.name.to_string(),
                cause: format!("{n} of {len} bytes written"),
            }),
        }
    }

    async fn read_aligned(&self, position: u64, len: usize) -> Result<ReadResult, DiskError> {
        let began = Instant::now();
        let read = at_reactor(self.file.read_at_aligned(position, len)).await;
        self.meters.read_time.record_since(began);
        self.meters.read_bytes.add(len as u64);
        read.map_err(|error| disk_error("read", &self.name, &error.into()))
    }

    async fn cached(&self) -> Result<&BufferedFile, DiskError> {
        if self.cached.get().is_none() {
            let opened = at_reactor(BufferedFile::open(&*self.path)).await;
            let file = opened.map_err(|error| disk_error("open", &self.name, &error.into()))?;
            // Another reader may have been faster; its file is as good.
            if let Err(file) = self.cached.set(file) {
                file.close()
                    .await
                    .map_err(|error| disk_error("close", &self.name, &error.into()))?;
            }
        }
        Ok(self.cached.get().expect("it was set"))
    }

    /// Reads on after a short read, until `len` bytes are there or the file ends.
    async fn read_on(&self, position: u64, len: usize, first: &[u8]) -> Result<Vec<u8>, DiskError> {
        let mut bytes = first.to_vec();
        while bytes.len() < len {
            // Only whole blocks count: the next read must start at one.
            bytes.truncate(bytes.len() - bytes.len() % BLOCK_BYTES);
            let read = self
                .read_aligned(position + bytes.len() as u64, len - bytes.len())
                .await?;
            let got = read.len();
            bytes.extend_from_slice(&read);
            if got < BLOCK_BYTES {
                break;
            }
        }
        Ok(bytes)
    }
}

impl DiskFile for FileOnDisk {
    type Buffer = DmaBuffer;
    type ReadBuffer = DirectRead;

    fn buffer(&self, len: usize) -> DmaBuffer {
        assert!(len.is_multiple_of(BLOCK_BYTES));
        self.file.alloc_dma_buffer(len)
    }

    async fn write_at(&self, buffer: Rc<DmaBuffer>, position: u64) -> Result<(), DiskError> {
        let len = buffer.len();
        assert!(len.is_multiple_of(BLOCK_BYTES) && position.is_multiple_of(BLOCK));
        // The kernel reads this memory until the completion; glommio keeps its own reference for as long.
        let began = Instant::now();
        let written = at_reactor(self.file.write_rc_at(buffer, position)).await;
        self.meters.write_time.record_since(began);
        self.meters.written_bytes.add(len as u64);
        self.whole(written.map_err(io::Error::from), len)
    }

    async fn write_durably(&self, buffer: Rc<DmaBuffer>, position: u64) -> Result<(), DiskError> {
        let len = buffer.len();
        assert!(len.is_multiple_of(BLOCK_BYTES) && position.is_multiple_of(BLOCK));
        let scribe = self.scribe.get_or_init(|| Scribe::start().ok());
        let Some(scribe) = scribe else {
            self.write_at(buffer, position).await?;
            return self.sync().await;
        };
        let done = scribe.write_and_sync(self.file.clone(), buffer, position).await;
        let done = done.map_err(|error| disk_error("write", &self.name, &error))?;
        self.meters.write_time.record(micros(done.write_time));
        self.meters.written_bytes.add(len as u64);
        self.whole(done.write, len)?;
        self.meters.sync_time.record(micros(done.sync_time));
        match done.sync {
            Some(synced) => synced.map_err(|error| disk_error("sync", &self.name, &error)),
            None => unreachable!("a whole write is followed by a sync"),
        }
    }

    async fn read_at(&self, position: u64, len: usize) -> Result<DirectRead, DiskError> {
        let start = position - position % BLOCK;
        let skip = (position - start) as usize;
        let aligned = (skip + len).next_multiple_of(BLOCK_BYTES);
        let read = self.read_aligned(start, aligned).await?;
        if read.len() >= skip + len {
            return Ok(DirectRead {
                whole: Some((read, skip..skip + len)),
                pieced: Vec::new(),
            });
        }
        let bytes = self.read_on(start, aligned, &read).await?;
        let pieced = bytes
            .get(skip..bytes.len().min(skip + len))
            .unwrap_or_default()
            .to_vec();
        Ok(DirectRead { whole: None, pieced })
    }

    /// Mail is fetched and searched again and again, by the devices of one person, and the page cache has room for more of it
    /// than any cache of ours. A read of it costs one copy more than one with O_DIRECT and no turn of the device.
    async fn read_cached_at(&self, position: u64, len: usize) -> Result<DirectRead, DiskError> {
        let file = self.cached().await?;
        let began = Instant::now();
        let read = at_reactor(file.read_at(position, len)).await;
        self.meters.cached_read_time.record_since(began);
        self.meters.cached_read_bytes.add(len as u64);
        let read = read.map_err(|error| disk_error("read", &self.name, &error.into()))?;
        if read.len() < len {
            return self.read_at(position, len).await;
        }
        Ok(DirectRead {
            whole: Some((read, 0..len)),
            pieced: Vec::new(),
        })
    }

    async fn sync(&self) -> Result<(), DiskError> {
        #[cfg(feature = "planted-bugs")]
        if super::planted::skips_sync() {
            return Ok(());
        }
        let began = Instant::now();
        let synced = at_reactor(self.file.fdatasync()).await;
        self.meters.sync_time.record_since(began);
        synced.map_err(|error| disk_error("sync", &self.name, &error.into()))
    }
}
