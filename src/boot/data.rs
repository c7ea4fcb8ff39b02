//! The data directory: there, ours, and locked as long as the process lives.

use super::BootError;
use crate::directory::embedded;
use crate::disk::SUPERBLOCK_NAME;
use crate::disk::filling;
use crate::disk::lock::{DirectoryLock, LOCK_NAME};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The data directory, locked as long as this lives.
#[derive(Debug)]
pub struct DataDirectory {
    /// Absolute.
    pub path: PathBuf,
    lock: DirectoryLock,
    temporary: Option<TempDir>,
}

impl DataDirectory {
    /// Opens the directory `given`, made if it is not there; `None`: a temporary one.
    ///
    /// # Errors
    /// [`BootError::DataDirectory`], for example when somebody else's files are in it.
    pub fn open(given: Option<&Path>) -> Result<Self, BootError> {
        let temporary = match given {
            Some(_) => None,
            None => Some(temporary_directory()?),
        };
        let path = temporary
            .as_ref()
            .map_or_else(|| given.unwrap_or(Path::new(".")), TempDir::path);
        let refuse = |cause: String| BootError::DataDirectory {
            path: path.display().to_string(),
            cause,
        };
        std::fs::create_dir_all(path).map_err(|e| refuse(e.to_string()))?;
        let path = path.canonicalize().map_err(|e| refuse(e.to_string()))?;
        filling::refuse_unfinished(&path).map_err(|e| refuse(e.to_string()))?;
        if is_foreign(&path).map_err(|e| refuse(e.to_string()))? {
            let cause = "it is neither empty nor a Ringpost store; name another one".to_owned();
            return Err(BootError::DataDirectory {
                path: path.display().to_string(),
                cause,
            });
        }
        let lock = DirectoryLock::take(&path).map_err(|e| BootError::DataDirectory {
            path: path.display().to_string(),
            cause: e.to_string(),
        })?;
        Ok(Self {
            path,
            lock,
            temporary,
        })
    }

    /// Removes a temporary directory; a given one stays.
    pub fn close(self) {
        drop(self.lock);
        if let Some(Err(error)) = self.temporary.map(TempDir::close) {
            tracing::warn!(path = %self.path.display(), %error, "temporary data directory left behind");
        }
    }
}

/// A directory that was not there before, with a name that nobody can guess, for this user only.
fn temporary_directory() -> Result<TempDir, BootError> {
    let parent = std::env::temp_dir();
    tempfile::Builder::new()
        .prefix("ringpost-demo-")
        .tempdir_in(&parent)
        .map_err(|e| BootError::DataDirectory {
            path: parent.display().to_string(),
            cause: e.to_string(),
        })
}

/// True when somebody else's files are in it.
pub(super) fn is_foreign(path: &Path) -> std::io::Result<bool> {
    let mut has_files = false;
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        // A file system made for the store has this directory from the beginning.
        has_files |= name != "lost+found";
        if name == SUPERBLOCK_NAME || name == LOCK_NAME || name == embedded::FILE_NAME {
            return Ok(false);
        }
    }
    Ok(has_files)
}
