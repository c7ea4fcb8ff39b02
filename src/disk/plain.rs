//! A directory through ordinary blocking calls: for tools that work on a stopped store, without executors and io_uring.
//!
//! Invariants: a disk opened for reading changes nothing, not even a date of a directory; every future is ready at once.
//! Failure: as [`Disk`] says; every change of a disk opened for reading is refused.
//! Not here: the server's own disk (`file`).

use super::file::{create_written, disk_error, free_bytes_at, list_in, make_directories, sync_directory_at};
use super::{Disk, DiskError, DiskFile, SUBDIRECTORY, WriteBuffer};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Free bytes of the file system that `path` lies on.
///
/// # Errors
/// Those of `statvfs`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    free_bytes_at(path)
}

/// A store's directory. Clones are the same directory.
#[derive(Clone, Debug)]
pub struct PlainDisk {
    root: Rc<PathBuf>,
    may_write: bool,
}

impl PlainDisk {
    /// Uses `root`, which exists, and changes nothing.
    #[must_use]
    pub fn for_reading(root: &Path) -> Self {
        Self {
            root: Rc::new(root.to_owned()),
            may_write: false,
        }
    }

    /// Uses `root`, made if it is not there.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn for_writing(root: &Path) -> io::Result<Self> {
        let root = make_directories(root)?;
        Ok(Self {
            root: Rc::new(root),
            may_write: true,
        })
    }

    fn change<T>(
        &self,
        operation: &'static str,
        name: &str,
        change: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let done = if self.may_write {
            change()
        } else {
            Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the store is open for reading only",
            ))
        };
        done.map_err(|error| disk_error(operation, name, &error))
    }
}

impl Disk for PlainDisk {
    type File = PlainFile;

    async fn create(&self, name: &str, len: u64) -> Result<PlainFile, DiskError> {
        let path = self.root.join(name);
        self.change("create", name, || create_written(&path, len))?;
        self.open(name).await
    }

    async fn open(&self, name: &str) -> Result<PlainFile, DiskError> {
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(self.may_write)
            .open(self.root.join(name));
        Ok(PlainFile {
            file: Rc::new(opened.map_err(|error| disk_error("open", name, &error))?),
            disk: self.clone(),
            name: name.into(),
        })
    }

    async fn list(&self) -> Result<Vec<(String, u64)>, DiskError> {
        list_in(&self.root).map_err(|error| disk_error("list", SUBDIRECTORY, &error))
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.root.join(name);
        self.change("remove", name, || std::fs::remove_file(path))
    }

    async fn shrink(&self, name: &str, len: u64) -> Result<(), DiskError> {
        let path = self.root.join(name);
        self.change("shrink", name, || {
            std::fs::OpenOptions::new().write(true).open(path)?.set_len(len)
        })
    }

    async fn sync_directory(&self) -> Result<(), DiskError> {
        self.change("sync", SUBDIRECTORY, || {
            sync_directory_at(&self.root.join(SUBDIRECTORY))?;
            sync_directory_at(&self.root)
        })
    }

    async fn free_bytes(&self) -> Result<u64, DiskError> {
        free_bytes_at(&self.root).map_err(|error| disk_error("statvfs", "", &error))
    }

    fn describe(&self) -> String {
        self.root.display().to_string()
    }
}

/// An open file. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct PlainFile {
    file: Rc<File>,
    disk: PlainDisk,
    name: Rc<str>,
}

/// Ordinary memory.
#[derive(Debug)]
pub struct PlainBuffer(Vec<u8>);

impl WriteBuffer for PlainBuffer {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
}

impl DiskFile for PlainFile {
    type Buffer = PlainBuffer;
    type ReadBuffer = Vec<u8>;

    fn buffer(&self, len: usize) -> PlainBuffer {
        PlainBuffer(vec![0; len])
    }

    async fn write_at(&self, buffer: Rc<PlainBuffer>, position: u64) -> Result<(), DiskError> {
        self.disk.change("write", &self.name, || {
            self.file.write_all_at(&buffer.0, position)
        })
    }

    async fn read_at(&self, position: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.file.read_at(&mut bytes[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(disk_error("read", &self.name, &error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    async fn sync(&self) -> Result<(), DiskError> {
        self.disk.change("sync", &self.name, || self.file.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::BLOCK_BYTES;
    use futures_executor::block_on;

    #[test]
    fn a_disk_for_reading_reads_and_refuses_every_change() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let disk = PlainDisk::for_writing(directory.path()).expect("it can be made");
        let file = block_on(disk.create("STORE", BLOCK_BYTES as u64)).expect("it is created");
        let mut buffer = file.buffer(BLOCK_BYTES);
        buffer.bytes_mut().fill(7);
        block_on(file.write_at(Rc::new(buffer), 0)).expect("it is written");
        block_on(file.sync()).expect("it is synced");
        let disk = PlainDisk::for_reading(directory.path());
        assert_eq!(
            block_on(disk.list()).expect("it lists"),
            vec![("STORE".to_owned(), 4096)]
        );
        let file = block_on(disk.open("STORE")).expect("it opens");
        assert_eq!(block_on(file.read_at(4090, 10)).expect("it reads"), vec![7; 6]);
        assert!(block_on(file.write_at(Rc::new(file.buffer(BLOCK_BYTES)), 0)).is_err());
        assert!(block_on(disk.create("segments/x", 4096)).is_err());
        assert!(block_on(disk.remove("STORE")).is_err());
        assert!(block_on(disk.shrink("STORE", 0)).is_err());
    }
}
