//! `ringpost store check`, on a stopped store, or beside the server that runs on it.
//!
//! Invariants: a running server is asked how far its logs are durable and nothing else; everything is read here, at a limited
//! rate and a low priority, and nothing is written.
//! Failure: a server that does not answer within [`socket::ALIVE_TIMEOUT`], or is coming up or ending, is said so; damage is no error.
//! Not here: what is looked for (`store::tools`), printing (`store`).

use super::BootError;
use super::stopped::{LockedStore, refuse};
use crate::admin::LogEnd;
use crate::admin::socket::{self, Answer, Request};
use crate::cli::store::CheckArguments;
use crate::disk::DiskError;
use crate::disk::frozen::FrozenDisk;
use crate::model::{LogPosition, SegmentId};
use crate::runtime::raise_descriptors;
use crate::store::OpenError;
use crate::store::tools::{CheckReport, Frontier, Frontiers, check_up_to, hold_still};
use futures_executor::block_on;
use std::path::Path;

/// MiB read a second beside a server, unless the admin says otherwise: as much as compaction writes on one core, and CRC-32C of
/// that much is a hundredth of a core. Twice as much, of a store that was not in memory, now and then put off the syncs of a busy
/// server on a shared disk by a second; the disk's whole speed (`--rate 0`) halved what it took.
const RATE_MIB: u64 = 32;

/// Niceness beside a server: mail comes first.
const NICENESS: i32 = 10;

type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why there is nothing to report.
enum Trouble {
    Boot(BootError),
    Disk(DiskError),
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Checks the store.
///
/// # Errors
/// See [`BootError`].
pub fn run(arguments: &CheckArguments, progress: Progress<'_>) -> Result<CheckReport, BootError> {
    let data = arguments.data.as_path();
    raise_descriptors();
    let in_bytes = |mib: u64| (mib > 0).then(|| mib.saturating_mul(1024 * 1024));
    let Some(_) = ask(data)? else {
        let _store = LockedStore::open(data)?;
        let disk = FrozenDisk::new(data, in_bytes(arguments.rate.unwrap_or(0)));
        block_on(disk.take(|_| true)).map_err(OpenError::Disk)?;
        return look(disk, Frontiers::new(), progress);
    };
    give_way();
    let rate = in_bytes(arguments.rate.unwrap_or(RATE_MIB));
    let ask_again = || match ask(data) {
        Ok(Some(ends)) => Ok(ends.iter().map(frontier).collect()),
        Ok(None) => Err(Trouble::Boot(refuse(data, &"its server has ended"))),
        Err(error) => Err(Trouble::Boot(error)),
    };
    let held = block_on(hold_still(data, rate, ask_again));
    let (disk, frontiers) = held.map_err(|trouble| match trouble {
        Trouble::Boot(error) => error,
        Trouble::Disk(error) => OpenError::Disk(error).into(),
    })?;
    look(disk, frontiers, progress)
}

fn look(disk: FrozenDisk, frontiers: Frontiers, progress: Progress<'_>) -> Result<CheckReport, BootError> {
    Ok(block_on(check_up_to(disk, frontiers, progress))?)
}

/// `None`: no server runs on it.
fn ask(data: &Path) -> Result<Option<Vec<LogEnd>>, BootError> {
    let answer = socket::ask_within(data, &Request::LogEnds, socket::ALIVE_TIMEOUT)
        .map_err(|error| refuse(data, &format!("its server does not answer: {error}")))?;
    match answer {
        None => Ok(None),
        Some(Answer::LogEnds(ends)) => Ok(Some(ends)),
        Some(Answer::Error(error)) => Err(refuse(data, &error)),
        Some(_) => Err(refuse(data, &"its server answers something else")),
    }
}

fn frontier(end: &LogEnd) -> Frontier {
    Frontier {
        incarnation: end.incarnation,
        log: end.log,
        durable_to: LogPosition {
            segment: SegmentId(end.segment),
            offset: end.offset,
        },
    }
}

/// The server's threads first.
fn give_way() {
    // SAFETY: the call changes this process's priority and touches no memory. If it is refused, the rate is limit enough.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
}
