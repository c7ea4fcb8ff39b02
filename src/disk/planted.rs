//! Bugs planted in the real disk, for the crash harness to catch: only in builds with the feature `planted-bugs`.
//!
//! `RINGPOST_PLANTED_BUG` chooses one: `no-sync` acknowledges writes that were never synced; `no-directory-sync` never
//! syncs a directory, on files that were written ahead under another name, because a sync of a *new* file makes ext4
//! write its name too and hides the bug; `written-ahead` makes files that way without a bug, the control for it.
//! Not here: bugs of the store itself, which the simulated disk's tests plant (`store::tests`).

use super::BLOCK_BYTES;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    NoSync,
    NoDirectorySync,
    WrittenAhead,
}

fn bug() -> Bug {
    static BUG: OnceLock<Bug> = OnceLock::new();
    *BUG.get_or_init(|| match std::env::var("RINGPOST_PLANTED_BUG").as_deref() {
        Ok("no-sync") => Bug::NoSync,
        Ok("no-directory-sync") => Bug::NoDirectorySync,
        Ok("written-ahead") => Bug::WrittenAhead,
        Ok(other) => panic!("RINGPOST_PLANTED_BUG={other} is no bug that can be planted"),
        Err(_) => Bug::None,
    })
}

/// What a server of such a build says at its start.
///
/// # Panics
/// When the environment asks for a bug that does not exist.
#[must_use]
pub fn warning() -> String {
    format!(
        "\n**** THIS BUILD LOSES MAIL ON PURPOSE (feature planted-bugs; bug: {:?}). Use it for nothing but tests. ****\n",
        bug()
    )
}

/// Are syncs of files left out?
pub fn skips_sync() -> bool {
    bug() == Bug::NoSync
}

/// Are syncs of directories left out?
pub fn skips_directory_sync() -> bool {
    matches!(bug(), Bug::NoSync | Bug::NoDirectorySync)
}

/// Is a file of this name written ahead under another?
pub(super) fn is_written_ahead(path: &Path) -> bool {
    let is_of_log = path
        .extension()
        .is_some_and(|extension| extension == "seg" || extension == "ckp");
    is_of_log && matches!(bug(), Bug::NoDirectorySync | Bug::WrittenAhead)
}

/// Files that were written ahead when the first was asked for: more than a start needs, so that none is made, and
/// synced, while the names of others wait for a sync that does not come.
const POOL_FILES: u32 = 6;

/// Makes `path`, which is there and empty, a file of `len` zero bytes that were written and synced before it had its name.
/// Checkpoints are refused: they are made anew, and their syncs would hide the bug, too.
pub(super) fn create_written_ahead(path: &Path, len: u64) -> io::Result<()> {
    static POOL: Mutex<Option<Vec<PathBuf>>> = Mutex::new(None);
    if path.extension().is_some_and(|extension| extension == "ckp") {
        std::fs::remove_file(path)?;
        return Err(io::ErrorKind::Unsupported.into());
    }
    let root = path.parent().and_then(Path::parent).unwrap_or(path);
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if pool.is_none() {
        let files = (0..POOL_FILES).map(|number| write_ahead(root.join(format!(".ahead-{number}")), len));
        *pool = Some(files.collect::<io::Result<_>>()?);
    }
    match pool.as_mut().and_then(Vec::pop) {
        Some(ahead) => std::fs::rename(ahead, path),
        None => write_ahead(path.to_owned(), len).map(drop),
    }
}

fn write_ahead(path: PathBuf, len: u64) -> io::Result<PathBuf> {
    let mut file = File::create(&path)?;
    let zeros = vec![0; 256 * BLOCK_BYTES];
    let mut left = len as usize;
    while left > 0 {
        let part = left.min(zeros.len());
        file.write_all(&zeros[..part])?;
        left -= part;
    }
    file.sync_all()?;
    Ok(path)
}
