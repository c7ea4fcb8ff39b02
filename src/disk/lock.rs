//! The lock on a data directory: one server at a time.
//!
//! Invariants: held by an open file description (`flock`), so it goes with the process, however that ends; the file
//! stays and names the last holder.
//! Not here: the lock on a port (`net`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the lock of a holder that has ended is tried for: two seconds. The kernel closes what a killed process had open a
/// little after nobody sees the process any more, and whoever starts a server anew at once should not be told of another one.
const ENDED_HOLDER_TRIES: u32 = 200;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

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
        hold(&mut file, directory, || std::thread::sleep(PAUSE))?;
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
        hold(&mut file, directory, || std::thread::sleep(PAUSE))?;
        Ok(Self { _file: file })
    }
}

/// Locks an open file of `directory`.
fn hold(file: &mut File, directory: &Path, mut pause: impl FnMut()) -> Result<(), LockError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let path = || directory.join(LOCK_NAME);
        if try_hold(file).map_err(|cause| LockError::Io { path: path(), cause })? {
            return Ok(());
        }
        let pid = holder(file);
        let has_ended = pid.parse().is_ok_and(has_ended);
        if !has_ended || tries >= ENDED_HOLDER_TRIES {
            let directory = directory.to_owned();
            return Err(LockError::InUse { directory, pid });
        }
        pause();
    }
}

/// False: another holds it.
fn try_hold(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open for as long as `file` lives; flock touches no memory.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        cause if cause.kind() == io::ErrorKind::WouldBlock => Ok(false),
        cause => Err(cause),
    }
}

/// As the holder wrote it; `?` if it has not yet.
fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut pid));
    match pid.trim() {
        pid if read.is_ok() && !pid.is_empty() => pid.to_owned(),
        _ => "?".to_owned(),
    }
}

fn has_ended(pid: libc::pid_t) -> bool {
    // SAFETY: signal 0 is none: it only asks whether there is such a process.
    let failed = pid > 0 && unsafe { libc::kill(pid, 0) } != 0;
    failed && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
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

    #[test]
    fn the_lock_of_a_holder_that_has_ended_is_waited_for() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let held = DirectoryLock::take(directory.path()).expect("it is free");
        let mut child = std::process::Command::new("true").spawn().expect("it is there");
        child.wait().expect("it is our child");
        let ended = child.id().to_string();
        std::fs::write(directory.path().join(LOCK_NAME), ended).expect("it can be written");
        let open = || {
            File::options()
                .read(true)
                .write(true)
                .open(directory.path().join(LOCK_NAME))
        };
        let mut held = Some(held);
        let mut second = open().expect("it is there");
        hold(&mut second, directory.path(), || drop(held.take())).expect("it was waited for");
        assert!(held.is_none());
        let mut third = open().expect("it is there");
        hold(&mut third, directory.path(), || ()).expect_err("it is never free");
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
