//! A directory that a tool fills: marked as long as that is not done, so that nobody takes a part for the whole.
//!
//! Invariants: the mark is durable before anything else is in the directory, and goes when all of it is durable.
//! Failure: a mark that stays says that the tool was killed, or failed; the directory is to be removed and filled again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The mark's file.
pub const MARK_NAME: &str = "UNFINISHED";

/// A directory being filled. Dropping it leaves the mark.
#[derive(Debug)]
#[must_use = "what is not finished stays marked"]
pub struct Filling {
    directory: PathBuf,
}

impl Filling {
    /// Marks `directory`, which is there and empty; `tool` is who fills it, for people.
    ///
    /// # Errors
    /// The file system's.
    pub fn begin(directory: &Path, tool: &str) -> io::Result<Self> {
        let mut mark = File::create_new(directory.join(MARK_NAME))?;
        writeln!(
            mark,
            "{tool} has not finished. If it does not run any more, remove this directory and start it again."
        )?;
        mark.sync_all()?;
        File::open(directory)?.sync_all()?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Everything is in it, and durable.
    ///
    /// # Errors
    /// The file system's; it is not finished then.
    pub fn finish(self) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(MARK_NAME))?;
        File::open(&self.directory)?.sync_all()
    }
}

/// Refuses a directory that was not filled to the end.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`], in words for people.
pub fn refuse_unfinished(directory: &Path) -> io::Result<()> {
    if !directory.join(MARK_NAME).exists() {
        return Ok(());
    }
    let why = format!(
        "only a part is in it: what filled it (`ringpost store salvage` or `export`) was interrupted, as the file {MARK_NAME} \
         says; remove the directory and start that again"
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_refused_until_it_is_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        refuse_unfinished(directory.path()).expect("nobody began");
        let filling = Filling::begin(directory.path(), "a test").expect("it is empty");
        refuse_unfinished(directory.path()).expect_err("it is not finished");
        filling.finish().expect("it can be removed");
        refuse_unfinished(directory.path()).expect("it is finished");
        drop(Filling::begin(directory.path(), "a test").expect("it is empty"));
        refuse_unfinished(directory.path()).expect_err("it was given up");
    }
}
