//! The data directory's disk: file system, room, write cache, and how long a sync really takes.

use super::{Finding, Verdict, read};
use crate::disk::BLOCK_BYTES;
use crate::disk::plain::free_bytes;
use crate::store::{RESERVE_BYTES, SEGMENT_BYTES};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes and syncs that are timed, and how long they may take together.
const SYNCS: usize = 200;
const SYNCS_TIME_MAX: Duration = Duration::from_secs(4);

/// A sync that takes longer holds every acknowledgement of its core for as long.
const SYNC_ADVISED: Duration = Duration::from_millis(10);

/// No disk without a battery or capacitors makes 4 KiB durable faster.
const SYNC_TOO_FAST: Duration = Duration::from_micros(15);

pub fn examine(data: &Path) -> Vec<Finding> {
    let Some(directory) = existing(data) else {
        let why = "mail is stored there";
        let finding = Finding::good("data directory", data.display().to_string(), why);
        return vec![finding.but(Verdict::Problem, "name a directory that exists or can be made")];
    };
    vec![
        file_system(&directory),
        room(&directory),
        write_cache(&directory),
        syncs(&directory),
    ]
}

/// The directory, or the nearest above it that exists: that is where it would be made.
fn existing(data: &Path) -> Option<PathBuf> {
    let data = std::path::absolute(data).ok()?;
    data.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

fn file_system(directory: &Path) -> Finding {
    let why = "the log is written with O_DIRECT and synced with fdatasync; tested on ext4 and XFS";
    let mount = std::fs::read_to_string("/proc/self/mountinfo")
        .ok()
        .and_then(|mounts| mount_of(&mounts, directory));
    match mount {
        Some((kind, source)) => {
            let finding = Finding::good("file system", format!("{kind} on {source}"), why);
            match kind.as_str() {
                "ext4" | "xfs" => finding,
                "tmpfs" => finding.but(
                    Verdict::Problem,
                    "a disk: what is stored here is gone with the power",
                ),
                _ => finding.but(Verdict::Advice, "ext4 or XFS"),
            }
        }
        None => Finding::unknown("file system", "not found in /proc/self/mountinfo", why),
    }
}

/// Type and source of the mount with the longest path above `directory` (proc(5), mountinfo).
fn mount_of(mounts: &str, directory: &Path) -> Option<(String, String)> {
    let of_line = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let point = head.split(' ').nth(4)?.replace("\\040", " ");
        let mut tail = tail.split(' ');
        let found = (tail.next()?.to_owned(), tail.next()?.to_owned());
        directory.starts_with(&point).then_some((point.len(), found))
    };
    // Of mounts on one point the last hides the others; `max_by_key` returns it.
    let longest = mounts
        .lines()
        .filter_map(of_line)
        .max_by_key(|(length, _)| *length);
    longest.map(|(_, found)| found)
}

fn room(directory: &Path) -> Finding {
    let why = "below the reserve no mail is taken any more; each core makes segments ahead of need";
    let Ok(free) = free_bytes(directory) else {
        return Finding::unknown("free space", "cannot be asked for", why);
    };
    let least = RESERVE_BYTES + 8 * u64::from(SEGMENT_BYTES);
    let finding = Finding::good("free space", format!("{} MiB", free >> 20), why);
    if free < RESERVE_BYTES {
        finding.but(Verdict::Problem, format!("{} MiB at the very least", least >> 20))
    } else if free < least {
        finding.but(Verdict::Advice, format!("{} MiB or more", least >> 20))
    } else {
        finding
    }
}

fn write_cache(directory: &Path) -> Finding {
    let what = "write cache";
    let why = "with \"write back\" a sync flushes the disk's cache, which is safe if the disk does so when asked; a disk with \
               power-loss protection says \"write through\" or flushes at no cost";
    let cache = directory.metadata().ok().and_then(|metadata| {
        let device = metadata.dev();
        let number = format!("{}:{}", libc::major(device), libc::minor(device));
        let block = PathBuf::from("/sys/dev/block").join(number);
        // Of a partition the queue is the disk's.
        read(block.join("queue/write_cache")).or_else(|| read(block.join("../queue/write_cache")))
    });
    match cache {
        Some(cache) => Finding::good(what, cache, why),
        None => Finding::unknown(
            what,
            "the kernel does not tell (a network or layered file system?)",
            why,
        ),
    }
}

fn syncs(directory: &Path) -> Finding {
    let what = "sync of 4 KiB";
    let why = "every 250 waits for one; messages that come meanwhile share the next";
    let times = match time_syncs(directory) {
        Ok(times) if !times.is_empty() => times,
        Ok(_) => return Finding::unknown(what, "none was finished in time", why),
        Err(error) => {
            let finding = Finding::good(what, error.to_string(), why);
            return finding.but(
                Verdict::Problem,
                "a directory this user may write to, on a file system with O_DIRECT",
            );
        }
    };
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (p50, p99) = (at(0.5), at(0.99));
    let text = format!(
        "p50 {:.2} ms, p99 {:.2} ms ({} times)",
        p50.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3,
        times.len()
    );
    let finding = Finding::good(what, text, why);
    if p50 < SYNC_TOO_FAST {
        finding.but(
            Verdict::Advice,
            "make sure that this disk keeps what it says it has written: it answers faster than one without a battery can",
        )
    } else if p99 > SYNC_ADVISED {
        finding.but(
            Verdict::Advice,
            "a disk of its own, or a faster one, for the store",
        )
    } else {
        finding
    }
}

/// Aligned as O_DIRECT asks.
#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// A file that goes when this does.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// How long writing 4 KiB into written space and syncing it took, sorted.
fn time_syncs(directory: &Path) -> io::Result<Vec<Duration>> {
    let path = directory.join(format!(".ringpost-doctor-{}", std::process::id()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let _scratch = Scratch(path.clone());
    // Written before, as segments in use are: else each sync would be of the file's metadata as well.
    file.write_all_at(&vec![0; SYNCS * BLOCK_BYTES], 0)?;
    file.sync_all()?;
    let direct: File = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)?;
    let block = Block([0x52; BLOCK_BYTES]);
    let until = Instant::now() + SYNCS_TIME_MAX;
    let mut times = Vec::with_capacity(SYNCS);
    for index in 0..SYNCS {
        let began = Instant::now();
        direct.write_all_at(&block.0, (index * BLOCK_BYTES) as u64)?;
        direct.sync_data()?;
        times.push(began.elapsed());
        if Instant::now() >= until {
            break;
        }
    }
    times.sort_unstable();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_is_the_directorys() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      30 22 0:24 / /srv/my\\040mail rw - xfs /dev/vdb rw\n\
                      31 22 0:25 / /srv/other rw - tmpfs tmpfs rw\n";
        let of = |path: &str| mount_of(mounts, Path::new(path));
        assert_eq!(
            of("/srv/my mail/store"),
            Some(("xfs".to_owned(), "/dev/vdb".to_owned()))
        );
        assert_eq!(of("/srv"), Some(("ext4".to_owned(), "/dev/vda".to_owned())));
    }

    #[test]
    fn syncs_are_timed_on_a_real_file() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory on a disk");
        let times = time_syncs(directory.path()).expect("O_DIRECT works here");
        assert!(!times.is_empty() && times.is_sorted());
    }
}
