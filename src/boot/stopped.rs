//! A stopped store in the hands of a command: locked to be read, or open to be written.
//!
//! Invariants: the directory's lock is held as long as the value lives, so that neither a server nor another command is beside it.
//! Neither executors nor io_uring are needed: everything runs on the thread that asks.
//! Failure: what cannot be locked or opened is a [`BootError`] that names the directory.
//! Not here: what the commands do with it (`store`, `exchange`, `undelete`).

use super::BootError;
use crate::base::clock::SystemClock;
use crate::disk::filling;
use crate::disk::lock::DirectoryLock;
use crate::disk::plain::PlainDisk;
use crate::disk::{SUBDIRECTORY, SUPERBLOCK_NAME};
use crate::store::{Environment, OpenError, Store, StoreOptions, recover_with};
use futures_executor::LocalPool;
use futures_util::task::LocalSpawnExt;
use std::path::Path;

/// A store that is there, locked.
pub(super) struct LockedStore {
    pub disk: PlainDisk,
    _lock: DirectoryLock,
}

impl LockedStore {
    pub fn open(data: &Path) -> Result<Self, BootError> {
        filling::refuse_unfinished(data).map_err(|cause| refuse(data, &cause))?;
        let has = |name: &str| data.join(name).exists();
        if !has(SUPERBLOCK_NAME) && !has(SUBDIRECTORY) {
            // Said before the lock, which would leave a file in somebody else's directory.
            let why = "it has neither superblock nor segments".to_owned();
            let cause = OpenError::NotAStore(data.display().to_string(), why);
            // There is nothing to be checked or salvaged, so it is not advised.
            return Err(BootError::Admin(cause.to_string()));
        }
        Ok(Self {
            _lock: DirectoryLock::take_to_read(data).map_err(|cause| refuse(data, &cause))?,
            disk: PlainDisk::for_reading(data),
        })
    }
}

fn lock(data: &Path) -> Result<DirectoryLock, BootError> {
    DirectoryLock::take(data).map_err(|cause| refuse(data, &cause))
}

pub(super) fn refuse(data: &Path, cause: &dyn std::fmt::Display) -> BootError {
    BootError::DataDirectory {
        path: data.display().to_string(),
        cause: cause.to_string(),
    }
}

/// A store's environment outside of executors.
#[derive(Clone)]
pub(super) struct ToolEnvironment {
    disk: PlainDisk,
    clock: SystemClock,
}

impl Environment for ToolEnvironment {
    type Disk = PlainDisk;
    type Clock = SystemClock;

    fn disk(&self) -> &PlainDisk {
        &self.disk
    }

    fn clock(&self) -> &SystemClock {
        &self.clock
    }

    fn random_u64(&self) -> u64 {
        getrandom::u64().expect("the system gives entropy; without it no store may be created")
    }
}

/// A store open for writing, with nobody else on it.
pub(super) struct OpenStore {
    pool: LocalPool,
    pub store: Store<ToolEnvironment>,
    _lock: DirectoryLock,
}

impl OpenStore {
    /// Opens the store in `data`, made if there is none.
    pub fn open(data: &Path) -> Result<Self, BootError> {
        filling::refuse_unfinished(data).map_err(|cause| refuse(data, &cause))?;
        Self::open_unfinished(data)
    }

    /// The same for whoever fills it.
    pub fn open_unfinished(data: &Path) -> Result<Self, BootError> {
        std::fs::create_dir_all(data).map_err(|cause| refuse(data, &cause))?;
        let lock = lock(data)?;
        let disk = PlainDisk::for_writing(data).map_err(|cause| refuse(data, &cause))?;
        let env = ToolEnvironment {
            disk,
            clock: SystemClock,
        };
        let mut pool = LocalPool::new();
        let mut recovered = pool.run_until(recover_with(&env, 1, StoreOptions::default()))?;
        let seed = recovered.seeds.pop().expect("one core was asked for");
        let store = pool.run_until(Store::start(env, seed))?;
        let spawned = pool.spawner().spawn_local(store.clone().run_writer());
        spawned.map_err(|_| BootError::system("store")("its writer does not start"))?;
        // Until it has begun, a shutdown does not wait for it, and a command that had nothing to write would leave a log without
        // its end and a whole segment.
        pool.run_until_stalled();
        Ok(Self {
            pool,
            store,
            _lock: lock,
        })
    }

    pub fn run<T>(&mut self, task: impl Future<Output = T>) -> T {
        self.pool.run_until(task)
    }

    /// Commits what is open and seals the log.
    pub fn close(mut self) -> Result<(), BootError> {
        let store = self.store.clone();
        self.run(store.shutdown());
        match store.failure() {
            Some(error) => Err(crate::store::RestoreError::Store(error).into()),
            None => Ok(()),
        }
    }
}
