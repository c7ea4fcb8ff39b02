//! A directory as it was at one moment, for a tool that looks at a store while a server works on it.
//!
//! Invariants: every file is open from then on, so what the server removes meanwhile is still there to be read, its space with
//! it; files that come later are not seen; every change is refused. What a file says is as of the moment of the read: the log
//! is written behind what is there, so its reader must know how far to read.
//! Limits: a descriptor a file; bytes read a second, if somebody else needs the disk as well.
//! Failure: a file that goes between being listed and being opened is [`DiskError::NotFound`]: begin anew.
//! Not here: which files belong together, how far to read (`store::tools::beside`).

use super::plain::{PlainBuffer, PlainDisk, PlainFile};
use super::{Disk, DiskError, DiskFile};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Reading ahead of the allowed rate by less than this is not worth a sleep.
const SLEEP_MIN: Duration = Duration::from_millis(2);

/// The directory. Clones are the same.
#[derive(Clone, Debug)]
pub struct FrozenDisk {
    plain: PlainDisk,
    files: Rc<RefCell<BTreeMap<String, (FrozenFile, u64)>>>,
    pace: Rc<Pace>,
}

/// Time in which nothing was read is made up for by no more than this: a burst after a second of reckoning would take the disk
/// from whoever writes just then.
const BEHIND_MAX: Duration = Duration::from_millis(20);

/// Sleeps for as long as reading is ahead of its rate.
#[derive(Debug)]
struct Pace {
    /// `None`: as fast as it goes.
    bytes_per_second: Option<u64>,
    /// When what was read so far should have taken until.
    due: Cell<Instant>,
}

impl Pace {
    fn take(&self, bytes: usize) {
        let early = self.early(Instant::now(), bytes);
        if early >= SLEEP_MIN {
            std::thread::sleep(early);
        }
    }

    /// How far ahead of its rate reading is `now`, with `bytes` more.
    fn early(&self, now: Instant, bytes: usize) -> Duration {
        let Some(rate) = self.bytes_per_second else {
            return Duration::ZERO;
        };
        let earliest = now.checked_sub(BEHIND_MAX).unwrap_or(now);
        let takes = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        let due = self.due.get().max(earliest) + takes;
        self.due.set(due);
        due.saturating_duration_since(now)
    }
}

impl FrozenDisk {
    /// Nothing of `root` yet; see [`Self::take`].
    #[must_use]
    pub fn new(root: &Path, bytes_per_second: Option<u64>) -> Self {
        Self {
            plain: PlainDisk::for_reading(root),
            files: Rc::default(),
            pace: Rc::new(Pace {
                bytes_per_second,
                due: Cell::new(Instant::now()),
            }),
        }
    }

    /// Opens every file that is there now, that is `wanted` and not open yet.
    ///
    /// # Errors
    /// The file system's; [`DiskError::NotFound`] when a file goes meanwhile.
    pub async fn take(&self, wanted: impl Fn(&str) -> bool) -> Result<(), DiskError> {
        for (name, len) in self.plain.list().await? {
            if !wanted(&name) || self.files.borrow().contains_key(&name) {
                continue;
            }
            let file = FrozenFile {
                plain: self.plain.open(&name).await?,
                pace: self.pace.clone(),
            };
            self.files.borrow_mut().insert(name, (file, len));
        }
        Ok(())
    }

    /// What is there now, whether taken or not.
    ///
    /// # Errors
    /// The file system's.
    pub async fn names_now(&self) -> Result<Vec<String>, DiskError> {
        let listed = self.plain.list().await?;
        Ok(listed.into_iter().map(|(name, _)| name).collect())
    }
}

impl Disk for FrozenDisk {
    type File = FrozenFile;

    async fn create(&self, name: &str, len: u64) -> Result<FrozenFile, DiskError> {
        let plain = self.plain.create(name, len).await?;
        let pace = self.pace.clone();
        Ok(FrozenFile { plain, pace })
    }

    async fn open(&self, name: &str) -> Result<FrozenFile, DiskError> {
        let files = self.files.borrow();
        let found = files.get(name).map(|(file, _)| file.clone());
        found.ok_or_else(|| DiskError::NotFound {
            name: name.to_owned(),
        })
    }

    async fn list(&self) -> Result<Vec<(String, u64)>, DiskError> {
        let files = self.files.borrow();
        Ok(files
            .iter()
            .map(|(name, (_, len))| (name.clone(), *len))
            .collect())
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.plain.remove(name).await
    }

    async fn shrink(&self, name: &str, len: u64) -> Result<(), DiskError> {
        self.plain.shrink(name, len).await
    }

    async fn sync_directory(&self) -> Result<(), DiskError> {
        self.plain.sync_directory().await
    }

    async fn free_bytes(&self) -> Result<u64, DiskError> {
        self.plain.free_bytes().await
    }

    fn describe(&self) -> String {
        self.plain.describe()
    }
}

/// An open file. Clones are the same open file.
#[derive(Clone, Debug)]
pub struct FrozenFile {
    plain: PlainFile,
    pace: Rc<Pace>,
}

impl DiskFile for FrozenFile {
    type Buffer = PlainBuffer;
    type ReadBuffer = Vec<u8>;

    fn buffer(&self, len: usize) -> PlainBuffer {
        self.plain.buffer(len)
    }

    async fn write_at(&self, buffer: Rc<PlainBuffer>, position: u64) -> Result<(), DiskError> {
        self.plain.write_at(buffer, position).await
    }

    async fn read_at(&self, position: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        let bytes = self.plain.read_at(position, len).await?;
        self.pace.take(bytes.len());
        Ok(bytes)
    }

    async fn sync(&self) -> Result<(), DiskError> {
        self.plain.sync().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_executor::block_on;
    use std::fs;

    #[test]
    fn what_was_there_stays_and_what_comes_later_is_not_seen() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let segments = directory.path().join(super::super::SUBDIRECTORY);
        fs::create_dir(&segments).expect("it can be made");
        fs::write(segments.join("a"), b"first").expect("it is written");
        fs::write(segments.join("b"), b"other").expect("it is written");
        let disk = FrozenDisk::new(directory.path(), None);
        block_on(disk.take(|name| name == "segments/a")).expect("it opens");
        fs::remove_file(segments.join("a")).expect("it goes");
        let listed = block_on(disk.list()).expect("it lists");
        assert_eq!(listed, [("segments/a".to_owned(), 5)]);
        let file = block_on(disk.open("segments/a")).expect("it is still there");
        assert_eq!(block_on(file.read_at(1, 3)).expect("it reads"), b"irs");
        assert!(block_on(disk.open("segments/b")).is_err());
        block_on(disk.take(|_| true)).expect("it opens");
        assert!(block_on(disk.open("segments/b")).is_ok());
        assert!(block_on(disk.remove("segments/b")).is_err());
        assert!(segments.join("b").exists());
    }

    #[test]
    fn what_was_not_read_in_time_is_not_made_up_for() {
        let began = Instant::now();
        let pace = Pace {
            bytes_per_second: Some(1_000),
            due: Cell::new(began),
        };
        assert_eq!(pace.early(began, 100), Duration::from_millis(100));
        let late = began + Duration::from_secs(60);
        assert_eq!(pace.early(late, 100), Duration::from_millis(100) - BEHIND_MAX);
        assert_eq!(pace.early(late, 100), Duration::from_millis(200) - BEHIND_MAX);
        let unlimited = Pace {
            bytes_per_second: None,
            due: Cell::new(began),
        };
        assert_eq!(unlimited.early(late, 100), Duration::ZERO);
    }

    #[test]
    fn reading_keeps_to_its_rate() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let segments = directory.path().join(super::super::SUBDIRECTORY);
        fs::create_dir(&segments).expect("it can be made");
        fs::write(segments.join("a"), [7; 4096]).expect("it is written");
        let disk = FrozenDisk::new(directory.path(), Some(4096 * 50));
        block_on(disk.take(|_| true)).expect("it opens");
        let file = block_on(disk.open("segments/a")).expect("it is there");
        let began = Instant::now();
        for _ in 0..5 {
            block_on(file.read_at(0, 4096)).expect("it reads");
        }
        assert!(began.elapsed() >= Duration::from_millis(70));
    }
}
