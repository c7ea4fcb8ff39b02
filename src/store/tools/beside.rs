//! A store that a server is working on, held still for those who look at it.
//!
//! The server vouches for each of its logs up to a position, and everything before that position is as it is in a stopped
//! store. So nothing of the server is stopped: it tells the positions, once, and never hears of the look again.
//! Invariants: checkpoints and snapshots are taken before the server is asked, so none covers more than it vouches for;
//! segments are taken after that as well, so none is missing; and the list of freed segments is the same before and after, so
//! no message lies in a segment that went in between.
//! Limits: [`ATTEMPTS_MAX`]. Files that the server removes meanwhile keep their space until the look is over.
//! Not here: how the server is asked (`boot`), the look itself (`check`).

use super::segments::Frontiers;
use crate::disk::frozen::FrozenDisk;
use crate::disk::{Disk, DiskError};
use crate::model::LogPosition;
use crate::store::scan::LogName;
use crate::store::segment::segment_of_name;
use std::path::Path;
use std::time::Duration;

/// A checkpoint or a pass of compaction that comes in between costs an attempt; each takes milliseconds.
const ATTEMPTS_MAX: u32 = 200;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);

/// What a server says of one of its logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// Of which start.
    pub incarnation: u32,
    /// Of which core.
    pub log: u16,
    /// Everything before it is durable.
    pub durable_to: LogPosition,
}

/// Why it is not held still.
enum Hindrance<E> {
    /// Something came or went: begin anew.
    Moved(DiskError),
    Other(E),
}

impl<E: From<DiskError>> From<DiskError> for Hindrance<E> {
    fn from(error: DiskError) -> Self {
        match error {
            gone @ DiskError::NotFound { .. } => Self::Moved(gone),
            other => Self::Other(other.into()),
        }
    }
}

/// The store in `root` as of a moment while its server runs; `ask` asks the server. Reads at most `bytes_per_second`.
///
/// # Errors
/// Those of `ask`, and the file system's.
pub async fn hold_still<E: From<DiskError>>(
    root: &Path,
    bytes_per_second: Option<u64>,
    mut ask: impl FnMut() -> Result<Vec<Frontier>, E>,
) -> Result<(FrozenDisk, Frontiers), E> {
    let mut left = ATTEMPTS_MAX;
    loop {
        let disk = FrozenDisk::new(root, bytes_per_second);
        left -= 1;
        match hold(&disk, &mut ask).await {
            Ok(frontiers) => return Ok((disk, frontiers)),
            Err(Hindrance::Moved(_)) if left > 0 => std::thread::sleep(PAUSE),
            Err(Hindrance::Moved(error)) => return Err(error.into()),
            Err(Hindrance::Other(error)) => return Err(error),
        }
    }
}

async fn hold<E: From<DiskError>>(
    disk: &FrozenDisk,
    ask: &mut impl FnMut() -> Result<Vec<Frontier>, E>,
) -> Result<Frontiers, Hindrance<E>> {
    let is_segment = |name: &str| segment_of_name(name).is_some();
    let before = others(disk).await?;
    disk.take(|_| true).await?;
    if others(disk).await? != before {
        return Err(moved(disk, "checkpoints come and go"));
    }
    let told = ask().map_err(Hindrance::Other)?;
    disk.take(is_segment).await?;
    if freed(&others(disk).await?) != freed(&before) {
        return Err(moved(disk, "segments are freed"));
    }
    let of_log = |frontier: Frontier| {
        let log = LogName {
            incarnation: frontier.incarnation,
            log: frontier.log,
        };
        (log, frontier.durable_to)
    };
    Ok(told.into_iter().map(of_log).collect())
}

fn moved<E>(disk: &FrozenDisk, what: &str) -> Hindrance<E> {
    Hindrance::Moved(DiskError::Io {
        operation: "look",
        name: disk.describe(),
        cause: format!("{what} all the time: try again when less is written"),
    })
}

/// What is there beside segments, in order.
async fn others(disk: &FrozenDisk) -> Result<Vec<String>, DiskError> {
    let mut names = disk.names_now().await?;
    names.retain(|name| segment_of_name(name).is_none());
    names.sort_unstable();
    Ok(names)
}

/// Of these, the lists of freed segments.
fn freed(names: &[String]) -> Vec<&String> {
    names.iter().filter(|name| name.ends_with(".freed")).collect()
}
