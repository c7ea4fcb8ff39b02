//! The lock on a data directory: one server at a time.
//!
//! Invariants: held by an open file description (`flock`), so it goes with the process, however that ends; the file
//! stays and names the last holder.
//! Not here: the lock on a port (`net`).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// The lock's file in the data directory.
pub const LOCK_NAME: &str = "LOCK";

/// Why the directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The admin started two.
    #[error("{directory} is in use by another ringpost (pid {pid}): stop it first, or use another directory")]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// As the holder wrote it; `?` if it has not yet.
        pid: String,
    },
    /// The environment's.
    #[error("cannot lock {path}: {cause}")]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// As the kernel says it.
        cause: std::io::Error,
    },
}

/// The held lock; dropping it frees the directory.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Locks `directory`, which exists. Blocks on the file system: call it before executors run.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_NAME);
        let io = |cause| LockError::Io {
            path: path.clone(),
            cause,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        // SAFETY: the descriptor is open for as long as `file` lives; flock touches no memory.
        let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        if locked != 0 {
            let cause = std::io::Error::last_os_error();
            if cause.kind() != std::io::ErrorKind::WouldBlock {
                return Err(io(cause));
            }
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim();
            let pid = if pid.is_empty() {
                "?".to_owned()
            } else {
                pid.to_owned()
            };
            return Err(LockError::InUse {
                directory: directory.to_owned(),
                pid,
            });
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_naming_the_holder_and_a_dropped_one_is_free() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = DirectoryLock::take(directory.path()).expect("it is free");
        let refused = DirectoryLock::take(directory.path()).expect_err("it is taken");
        assert!(
            refused
                .to_string()
                .contains(&format!("pid {}", std::process::id()))
        );
        drop(held);
        DirectoryLock::take(directory.path()).expect("it is free again");
    }
}
