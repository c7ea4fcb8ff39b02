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
        hold(&mut file, directory)?;
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }

    /// Locks `directory` for somebody who only reads, also where nothing can be written: on a file system that is mounted
    /// read-only, as the kernel does with a failing disk, or in somebody else's directory. Where there is no lock's file
    /// either, no server was ever there, and the directory itself is locked.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take_to_read(directory: &Path) -> Result<Self, LockError> {
        use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let refused = match Self::take(directory) {
            Err(LockError::Io { path, cause })
                if matches!(cause.kind(), PermissionDenied | ReadOnlyFilesystem) =>
            {
                LockError::Io { path, cause }
            }
            taken => return taken,
        };
        let there = File::open(directory.join(LOCK_NAME)).or_else(|_| File::open(directory));
        let Ok(mut file) = there else {
            return Err(refused);
        };
        hold(&mut file, directory)?;
        Ok(Self { _file: file })
    }
}

/// Locks an open file of `directory`.
fn hold(file: &mut File, directory: &Path) -> Result<(), LockError> {
    // SAFETY: the descriptor is open for as long as `file` lives; flock touches no memory.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    if locked == 0 {
        return Ok(());
    }
    let cause = std::io::Error::last_os_error();
    if cause.kind() != std::io::ErrorKind::WouldBlock {
        let path = directory.join(LOCK_NAME);
        return Err(LockError::Io { path, cause });
    }
    let mut pid = String::new();
    let _ = file.read_to_string(&mut pid);
    let pid = match pid.trim() {
        "" => "?".to_owned(),
        pid => pid.to_owned(),
    };
    Err(LockError::InUse {
        directory: directory.to_owned(),
        pid,
    })
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

    /// Nobody writes where there is no lock's file to write.
    #[test]
    fn whoever_reads_needs_to_write_nothing_and_is_kept_out_by_a_server() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = DirectoryLock::take(directory.path()).expect("it is free");
        DirectoryLock::take_to_read(directory.path()).expect_err("a server is there");
        drop(server);
        let (mounted, data) = (directory.path().join("mounted"), directory.path().join("data"));
        for path in [&mounted, &data] {
            std::fs::create_dir(path).expect("it is new");
        }
        if !mount(&["--bind"], &data, &mounted) || !mount(&["-o", "remount,ro,bind"], &data, &mounted) {
            eprintln!("SKIPPED: mounting needs root");
            let _ = unmount(&mounted);
            return;
        }
        let without_a_file = DirectoryLock::take_to_read(&mounted).map(drop);
        let elsewhere = DirectoryLock::take(&data).expect("the way without the mount can be written");
        let beside = DirectoryLock::take_to_read(&mounted).map(drop);
        drop(elsewhere);
        let after = DirectoryLock::take_to_read(&mounted).map(drop);
        let to_write = DirectoryLock::take(&mounted).map(drop);
        assert!(unmount(&mounted));
        without_a_file.expect("nothing was ever locked there");
        beside.expect_err("its holder is told");
        after.expect("it is free");
        to_write.expect_err("a server would write");
    }

    fn mount(options: &[&str], from: &Path, to: &Path) -> bool {
        let mut mount = std::process::Command::new("mount");
        mount.args(options).arg(from).arg(to);
        mount.output().is_ok_and(|output| output.status.success())
    }

    fn unmount(at: &Path) -> bool {
        let mut unmount = std::process::Command::new("umount");
        unmount
            .arg(at)
            .output()
            .is_ok_and(|output| output.status.success())
    }
}
