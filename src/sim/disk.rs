//! A disk with a volatile write cache, in memory.
//!
//! The fault model. A write goes to the cache and can be read back at once. A sync of a file makes durable what was
//! written to it before the sync began. At a cut of the power every 512-byte sector that is not durable is, each on its
//! own: kept, dropped, torn (its first bytes new, the rest old) or garbled. A created name may be lost, and a removed
//! one may be back, until the directory is synced; the length of a file that was never synced may be 0. An injected
//! error is returned once or from then on; a failed write leaves any part of itself in the cache; a failed sync leaves
//! each sector durable or not, and marks all of them clean, as Linux does: a second sync would succeed and lie.
//! Lying disks: [`Lie`] (planted bugs), [`SimDisk::flip_bit`] (corruption).
//! Every operation waits for 0 to 3 polls, so that other tasks run meanwhile. Short reads and writes are finished below
//! this interface and do not exist here; neither do misdirected writes, which a flip of bits stands for.

use super::Chance;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What a disk keeps or loses as one.
const SECTOR_BYTES: usize = 512;

/// What goes wrong, and at which operation (the first is 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From after this operation on, nothing works: the power is off.
    CutAfter(u64),
    /// This operation fails with EIO.
    ErrorAt(u64),
    /// This operation and all after it fail with EIO.
    ErrorFrom(u64),
    /// This operation fails for lack of space if it could.
    NoSpaceAt(u64),
    /// This operation and all after it fail for lack of space if they could.
    NoSpaceFrom(u64),
}

/// A disk that says yes and does something else: bugs planted between the store and its disk, which the tests of the
/// store must catch, or they are blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Syncs of files do nothing.
    IgnoreSyncs,
    /// Syncs of the directory do nothing.
    IgnoreDirectorySyncs,
    /// A sync says yes at once, and is done during the operation after it: an acknowledgement before the sync.
    SyncLate,
    /// A sync of a file is one of the file that was opened before it.
    SyncWrongFile,
    /// A sync that failed says yes.
    IgnoreSyncErrors,
    /// A sync that failed is tried again; the second says yes, because the kernel forgot what was dirty.
    RetrySyncs,
}

#[derive(Clone, Debug)]
struct SimFile {
    content: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    was_synced: bool,
    name_is_durable: bool,
    /// Shrunk, which a cut may undo until the directory is synced.
    length_before: Option<usize>,
}

#[derive(Debug)]
struct World {
    files: BTreeMap<String, Rc<RefCell<SimFile>>>,
    removed: BTreeMap<String, Rc<RefCell<SimFile>>>,
    chance: Chance,
    operations: u64,
    faults: Vec<Fault>,
    capacity: u64,
    lie: Option<Lie>,
    /// Sectors that a late sync still owes.
    owed: Vec<(Rc<RefCell<SimFile>>, Begun)>,
    /// In the order in which they were opened.
    opened: Vec<Rc<RefCell<SimFile>>>,
    /// Bytes that cannot be read: of which file, and how often.
    unreadable: Vec<(String, u64, u64)>,
}

/// Sectors as they were when a sync began.
type Begun = Vec<(usize, Vec<u8>)>;

/// The disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Rc<RefCell<World>>);

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(RefCell::new(World {
            files: BTreeMap::new(),
            removed: BTreeMap::new(),
            chance: Chance::new(seed),
            operations: 0,
            faults: Vec::new(),
            capacity: 1 << 40,
            lie: None,
            owed: Vec::new(),
            opened: Vec::new(),
            unreadable: Vec::new(),
        })))
    }

    /// Adds a fault to come.
    pub fn inject(&self, fault: Fault) {
        self.0.borrow_mut().faults.push(fault);
    }

    /// Bytes that all files together may have.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.borrow_mut().capacity = bytes;
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// From now on the disk lies like that.
    pub fn lie(&self, lie: Lie) {
        self.0.borrow_mut().lie = Some(lie);
    }

    /// The next `times` reads of this byte fail.
    pub fn fail_reads(&self, name: &str, byte: u64, times: u64) {
        let bad = (name.to_owned(), byte, times);
        self.0.borrow_mut().unreadable.push(bad);
    }

    /// Is there a byte in these that cannot be read now?
    fn takes_bad_read(&self, name: &str, start: usize, end: usize) -> bool {
        let mut world = self.0.borrow_mut();
        let is_hit = |(file, byte, times): &&mut (String, u64, u64)| {
            file == name && *times > 0 && (start as u64..end as u64).contains(byte)
        };
        let hit = world.unreadable.iter_mut().find(is_hit);
        hit.map(|(_, _, times)| *times -= 1).is_some()
    }

    /// Flips one bit of a file, durably.
    ///
    /// # Panics
    /// When there is no such file or byte: the test is wrong.
    pub fn flip_bit(&self, name: &str, byte: usize, bit: u8) {
        let world = self.0.borrow();
        let mut file = world
            .files
            .get(name)
            .expect("the test knows its files")
            .borrow_mut();
        file.content[byte] ^= 1 << (bit % 8);
        file.durable[byte] ^= 1 << (bit % 8);
    }

    /// Every file's name and length.
    #[must_use]
    pub fn names(&self) -> Vec<(String, usize)> {
        let world = self.0.borrow();
        world
            .files
            .iter()
            .map(|(name, file)| (name.clone(), file.borrow().content.len()))
            .collect()
    }

    /// The bytes of a file.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        self.0
            .borrow()
            .files
            .get(name)
            .map(|file| file.borrow().content.clone())
    }

    /// Replaces the bytes of a file, durably; its length may change.
    ///
    /// # Panics
    /// When there is no such file: the test is wrong.
    pub fn put_content(&self, name: &str, content: Vec<u8>) {
        let world = self.0.borrow();
        let mut file = world
            .files
            .get(name)
            .expect("the test knows its files")
            .borrow_mut();
        file.durable = content.clone();
        file.content = content;
    }

    /// What the disk holds when the power comes back. Nothing of this disk is changed.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let next = Self::new(seed);
        let world = self.0.borrow();
        {
            let mut target = next.0.borrow_mut();
            target.capacity = world.capacity;
            for (name, file) in &world.files {
                let file = file.borrow();
                if file.name_is_durable || chance.below(2) == 0 {
                    target
                        .files
                        .insert(name.clone(), Rc::new(RefCell::new(file.after_cut(&mut chance))));
                }
            }
            for (name, file) in &world.removed {
                if !world.files.contains_key(name) && chance.below(2) == 0 {
                    let file = file.borrow().after_cut(&mut chance);
                    target.files.insert(name.clone(), Rc::new(RefCell::new(file)));
                }
            }
        }
        next
    }

    /// Waits a little, counts the operation, and fails it if that is its fate.
    async fn operation(&self, operation: &'static str, name: &str) -> Result<(), DiskError> {
        let polls = self.0.borrow_mut().chance.below(4);
        Polls(polls).await;
        let mut world = self.0.borrow_mut();
        let is_off = |fault: &Fault| matches!(fault, Fault::CutAfter(at) if world.operations >= *at);
        if world.faults.iter().any(is_off) {
            let cause = "the power is off".to_owned();
            return Err(DiskError::Io {
                operation,
                name: name.to_owned(),
                cause,
            });
        }
        for (file, begun) in std::mem::take(&mut world.owed) {
            file.borrow_mut().finish_sync(begun, |_| true);
        }
        world.operations += 1;
        let now = world.operations;
        let may_lack_space = matches!(operation, "create" | "write");
        for fault in &world.faults {
            match fault {
                Fault::ErrorAt(at) if *at == now => {}
                Fault::ErrorFrom(at) if *at <= now => {}
                Fault::NoSpaceAt(at) if *at == now && may_lack_space => return no_space(name),
                Fault::NoSpaceFrom(at) if *at <= now && may_lack_space => return no_space(name),
                _ => continue,
            }
            let cause = "an injected error".to_owned();
            return Err(DiskError::Io {
                operation,
                name: name.to_owned(),
                cause,
            });
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Option<Rc<RefCell<SimFile>>> {
        self.0.borrow().files.get(name).cloned()
    }

    fn handle(&self, name: &str, file: Rc<RefCell<SimFile>>) -> SimFileHandle {
        self.0.borrow_mut().opened.push(file.clone());
        SimFileHandle {
            disk: self.clone(),
            name: name.into(),
            file,
        }
    }

    /// The file that a sync of `file` is one of.
    fn synced_for(&self, file: &Rc<RefCell<SimFile>>) -> Rc<RefCell<SimFile>> {
        let world = self.0.borrow();
        if world.lie != Some(Lie::SyncWrongFile) {
            return file.clone();
        }
        let at = world.opened.iter().rposition(|other| Rc::ptr_eq(other, file));
        let before = at
            .and_then(|at| at.checked_sub(1))
            .map(|at| world.opened[at].clone());
        before.unwrap_or_else(|| file.clone())
    }

    fn used_bytes(&self) -> u64 {
        self.0
            .borrow()
            .files
            .values()
            .map(|file| file.borrow().content.len() as u64)
            .sum()
    }
}

fn no_space(name: &str) -> Result<(), DiskError> {
    Err(DiskError::NoSpace {
        what: name.to_owned(),
    })
}

impl SimFile {
    /// What is not durable, as it is now.
    fn begin_sync(&self) -> Begun {
        let sector = |s: &usize| {
            (
                *s,
                self.content[s * SECTOR_BYTES..(s + 1) * SECTOR_BYTES].to_vec(),
            )
        };
        self.dirty.iter().map(sector).collect()
    }

    /// Makes durable what `survives` says of what was written before the sync began; all of it counts as clean.
    fn finish_sync(&mut self, begun: Begun, mut survives: impl FnMut(usize) -> bool) {
        for (sector, bytes) in begun {
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            // Shrunk meanwhile.
            if range.end > self.content.len() {
                continue;
            }
            if survives(sector) {
                self.durable[range.clone()].copy_from_slice(&bytes);
            }
            if self.content[range] == bytes[..] {
                self.dirty.remove(&sector);
            }
        }
    }

    fn after_cut(&self, chance: &mut Chance) -> Self {
        let mut content = self.durable.clone();
        for sector in &self.dirty {
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            let new = &self.content[range.clone()];
            match chance.below(8) {
                0..3 => content[range].copy_from_slice(new),
                3..6 => {}
                6 => {
                    let torn_at = chance.below(SECTOR_BYTES as u64) as usize;
                    content[range][..torn_at].copy_from_slice(&new[..torn_at]);
                }
                _ => content[range].fill_with(|| chance.next_u64() as u8),
            }
        }
        if let Some(len) = self.length_before
            && chance.below(2) == 0
        {
            content.resize(len, 0);
        }
        if !self.was_synced && chance.below(3) == 0 {
            content.clear();
        }
        Self {
            durable: content.clone(),
            content,
            dirty: BTreeSet::new(),
            was_synced: true,
            name_is_durable: true,
            length_before: None,
        }
    }

    fn write(&mut self, bytes: &[u8], position: usize) {
        self.content[position..position + bytes.len()].copy_from_slice(bytes);
        self.dirty
            .extend(position / SECTOR_BYTES..(position + bytes.len()) / SECTOR_BYTES);
    }
}

impl Disk for SimDisk {
    type File = SimFileHandle;

    async fn create(&self, name: &str, len: u64) -> Result<SimFileHandle, DiskError> {
        self.operation("create", name).await?;
        if self.file(name).is_some() {
            return Err(DiskError::AlreadyExists {
                name: name.to_owned(),
            });
        }
        if self.used_bytes() + len > self.0.borrow().capacity {
            return Err(DiskError::NoSpace {
                what: name.to_owned(),
            });
        }
        let len = usize::try_from(len).expect("simulated files fit memory");
        let file = Rc::new(RefCell::new(SimFile {
            content: vec![0; len],
            durable: vec![0; len],
            dirty: BTreeSet::new(),
            was_synced: false,
            name_is_durable: false,
            length_before: None,
        }));
        self.0.borrow_mut().files.insert(name.to_owned(), file.clone());
        Ok(self.handle(name, file))
    }

    async fn open(&self, name: &str) -> Result<SimFileHandle, DiskError> {
        self.operation("open", name).await?;
        let file = self.file(name).ok_or_else(|| DiskError::NotFound {
            name: name.to_owned(),
        })?;
        Ok(self.handle(name, file))
    }

    async fn list(&self) -> Result<Vec<(String, u64)>, DiskError> {
        self.operation("list", "").await?;
        Ok(self
            .names()
            .into_iter()
            .map(|(name, len)| (name, len as u64))
            .collect())
    }

    async fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.operation("remove", name).await?;
        let mut world = self.0.borrow_mut();
        let removed = world.files.remove(name);
        let file = removed.ok_or_else(|| DiskError::NotFound {
            name: name.to_owned(),
        })?;
        world.removed.insert(name.to_owned(), file);
        Ok(())
    }

    async fn shrink(&self, name: &str, len: u64) -> Result<(), DiskError> {
        self.operation("shrink", name).await?;
        let file = self.file(name).ok_or_else(|| DiskError::NotFound {
            name: name.to_owned(),
        })?;
        let mut file = file.borrow_mut();
        let len = usize::try_from(len).expect("simulated files fit memory");
        assert!(
            file.dirty.range(len / SECTOR_BYTES..).next().is_none(),
            "what is given back is unused"
        );
        file.content.truncate(len);
        file.length_before = file.length_before.or(Some(file.durable.len()));
        file.durable.truncate(len);
        Ok(())
    }

    async fn sync_directory(&self) -> Result<(), DiskError> {
        self.operation("sync directory", "").await?;
        let mut world = self.0.borrow_mut();
        if world.lie != Some(Lie::IgnoreDirectorySyncs) {
            world.removed.clear();
            for file in world.files.values() {
                let mut file = file.borrow_mut();
                file.name_is_durable = true;
                file.length_before = None;
            }
        }
        Ok(())
    }

    async fn free_bytes(&self) -> Result<u64, DiskError> {
        self.operation("statvfs", "").await?;
        let capacity = self.0.borrow().capacity;
        Ok(capacity.saturating_sub(self.used_bytes()))
    }

    fn describe(&self) -> String {
        "the simulated disk".to_owned()
    }
}

/// An open file of a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimFileHandle {
    disk: SimDisk,
    name: Rc<str>,
    file: Rc<RefCell<SimFile>>,
}

/// Memory for a simulated write, full of what must not be relied on.
#[derive(Debug)]
pub struct SimBuffer(Vec<u8>);

impl WriteBuffer for SimBuffer {
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

impl DiskFile for SimFileHandle {
    type Buffer = SimBuffer;
    type ReadBuffer = Vec<u8>;

    fn buffer(&self, len: usize) -> SimBuffer {
        assert!(len.is_multiple_of(BLOCK_BYTES));
        SimBuffer(vec![0xA5; len])
    }

    async fn write_at(&self, buffer: Rc<SimBuffer>, position: u64) -> Result<(), DiskError> {
        let bytes = &buffer.0;
        let position = usize::try_from(position).expect("simulated files fit memory");
        assert!(position.is_multiple_of(BLOCK_BYTES) && bytes.len().is_multiple_of(BLOCK_BYTES));
        assert!(
            position + bytes.len() <= self.file.borrow().content.len(),
            "a file's length is fixed"
        );
        let done = self.disk.operation("write", &self.name).await;
        let count = match done {
            Ok(()) => bytes.len(),
            // Any number of its first sectors got through.
            Err(_) => {
                let sectors = (bytes.len() / SECTOR_BYTES) as u64;
                self.disk.0.borrow_mut().chance.below(sectors + 1) as usize * SECTOR_BYTES
            }
        };
        self.file.borrow_mut().write(&bytes[..count], position);
        done
    }

    async fn read_at(&self, position: u64, len: usize) -> Result<Vec<u8>, DiskError> {
        self.disk.operation("read", &self.name).await?;
        let file = self.file.borrow();
        let start = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(file.content.len());
        let end = start.saturating_add(len).min(file.content.len());
        if self.disk.takes_bad_read(&self.name, start, end) {
            let cause = "an unreadable sector".to_owned();
            return Err(DiskError::Io {
                operation: "read",
                name: self.name.to_string(),
                cause,
            });
        }
        Ok(file.content[start..end].to_vec())
    }

    async fn sync(&self) -> Result<(), DiskError> {
        let target = self.disk.synced_for(&self.file);
        let begun = target.borrow().begin_sync();
        let lie = self.disk.0.borrow().lie;
        if lie == Some(Lie::SyncLate) {
            self.file.borrow_mut().was_synced = true;
            self.disk.0.borrow_mut().owed.push((target, begun));
            return Ok(());
        }
        let done = self.disk.operation("sync", &self.name).await;
        if done.is_ok() && lie == Some(Lie::IgnoreSyncs) {
            return Ok(());
        }
        let mut file = target.borrow_mut();
        file.was_synced |= done.is_ok();
        let mut world = self.disk.0.borrow_mut();
        file.finish_sync(begun, |_| done.is_ok() || world.chance.below(2) == 0);
        match lie {
            Some(Lie::IgnoreSyncErrors) => Ok(()),
            // What is dirty for the kernel is what was written since; the rest it believes to be clean.
            Some(Lie::RetrySyncs) => {
                let again = file.begin_sync();
                file.finish_sync(again, |_| true);
                Ok(())
            }
            _ => done,
        }
    }
}

/// Pending this many times, waking itself.
struct Polls(u64);

impl Future for Polls {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
