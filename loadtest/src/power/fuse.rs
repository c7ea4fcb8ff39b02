//! The kernel's way to [`Disk`]: a FUSE file system that holds one file, `disk`.
//!
//! Invariants: the file is opened for direct I/O, so that no page cache of this file system stands between the loop
//! device and the disk; only FUSE_FSYNC flushes. After a cut every request is answered with EIO.
//! Not here: loop devices and mounts above it (`mount`).

use super::disk::Disk;
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};
use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

const FILE: INodeNo = INodeNo(2);
pub const FILE_NAME: &str = "disk";
/// Attributes never change: the kernel may keep them.
const TTL: Duration = Duration::from_secs(3600);
/// Largest request. The loop device's own are at most this long.
const WRITE_BYTES_MAX: u32 = 1 << 20;

/// The disk, and those who wait for its power to go.
#[derive(Clone)]
pub struct SharedDisk(Arc<(Mutex<Disk>, Condvar)>);

impl SharedDisk {
    pub fn new(disk: Disk) -> SharedDisk {
        SharedDisk(Arc::new((Mutex::new(disk), Condvar::new())))
    }

    pub fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does `work` and wakes those who wait if the power went with it.
    fn with<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        let mut disk = self.lock();
        let outcome = work(&mut disk);
        if disk.is_cut() {
            self.0.1.notify_all();
        }
        outcome
    }

    /// Waits until the power is gone, at most `limit`; then cuts it.
    pub fn wait_for_cut(&self, limit: Duration, seed: u64) {
        let disk = self.lock();
        let waited = self.0.1.wait_timeout_while(disk, limit, |disk| !disk.is_cut());
        let mut disk = match waited {
            Ok((disk, _)) => disk,
            Err(poisoned) => poisoned.into_inner().0,
        };
        disk.cut(seed);
    }
}

/// Mounts the disk at `directory`, served by a thread until the returned session is dropped.
pub fn mount(disk: SharedDisk, directory: &Path) -> io::Result<fuser::BackgroundSession> {
    let mut config = Config::default();
    config.mount_options = vec![MountOption::FSName("loadtest-disk".to_owned())];
    fuser::spawn_mount(OneFile(disk), directory, &config)
}

struct OneFile(SharedDisk);

impl OneFile {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let is_file = inode == FILE;
        let size = if is_file { self.0.lock().bytes() } else { 0 };
        FileAttr {
            ino: inode,
            size,
            blocks: size / 512,
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for OneFile {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // An error tells the nearest value that is possible; any will do.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE_NAME {
            reply.entry(&TTL, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(inode));
    }

    fn open(&self, _request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.with(|disk| disk.read(offset, size as usize)) {
            Ok(data) => reply.data(&data),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.with(|disk| disk.write(offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Sent at close(2): it promises nothing.
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        match self.0.with(Disk::flush) {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
