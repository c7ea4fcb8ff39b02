//! Bugs planted in the real disk, for the crash harness to catch: only in builds with the feature `planted-bugs`.
//!
//! `RINGPOST_PLANTED_BUG` chooses one: `no-sync` acknowledges writes that were never synced; `no-directory-sync` never
//! syncs a directory, on files that were written ahead under another name, because a sync of a *new* file makes ext4
//! write its name too and hides the bug; `written-ahead` makes files that way without a bug, the control for it.
//! Not here: bugs of the store itself, which the simulated disk's tests plant (`store::tests`).

use super::BLOCK_BYTES;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::OnceLock;

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

/// Are files written ahead under another name?
pub fn is_written_ahead() -> bool {
    matches!(bug(), Bug::NoDirectorySync | Bug::WrittenAhead)
}

/// Makes `path`, which is there and empty, a file of `len` zero bytes that were written and synced before it had its name.
pub(super) fn create_written_ahead(path: &Path, len: u64) -> io::Result<()> {
    let other = path.with_extension("ahead");
    let mut file = File::create_new(&other)?;
    let zeros = vec![0; 256 * BLOCK_BYTES];
    let mut left = len as usize;
    while left > 0 {
        let part = left.min(zeros.len());
        file.write_all(&zeros[..part])?;
        left -= part;
    }
    file.sync_all()?;
    std::fs::rename(&other, path)
}
