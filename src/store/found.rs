//! The segments that a start finds, by log, and whether they are those that must be there.
//!
//! Invariants: a segment counts by its header, never by what lies behind it; one that was freed counts no more, whether
//! its file is there or not.
//! Failure: [`OpenError::Damaged`]; nothing has been changed then.
//! Not here: what is in them (`scan`), what follows from it (`recovery`).

use super::checkpoint::CheckpointHeader;
use super::checkpoint_load::Base;
use super::compaction::Released;
use super::scan::{LogName, ScanSegment, has_groups};
use super::segment::Superblock;
use super::segment::{SegmentHeader, segment_name, segment_of_name};
use super::{Environment, OpenError};
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::model::{LogPosition, SegmentId};
use std::collections::{BTreeMap, BTreeSet, HashMap};

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// The segments of a store, by log.
pub struct Found<F> {
    /// Every log, its segments ascending.
    pub logs: BTreeMap<LogName, Vec<ScanSegment<F>>>,
    /// Files that never held a group, or whose groups were freed.
    pub useless: Vec<String>,
    /// The highest of any header; 0 in a new store.
    pub incarnation: u32,
    /// The highest id ever given.
    pub last_segment: u32,
}

/// Opens every segment and reads its header.
pub async fn find_segments<E: Environment>(
    env: &E,
    store_id: u64,
    files: &[(String, u64)],
    released: &Released,
) -> Result<Found<FileOf<E>>, OpenError> {
    let mut named: Vec<(SegmentId, u64)> = files
        .iter()
        .filter_map(|(name, len)| Some((segment_of_name(name)?, *len)))
        .collect();
    named.sort_unstable();
    let mut found = Found {
        logs: BTreeMap::new(),
        useless: Vec::new(),
        incarnation: released.incarnation,
        last_segment: released.last_segment,
    };
    for (id, len) in named {
        found.last_segment = found.last_segment.max(id.0);
        let file = env.disk().open(&segment_name(id)).await?;
        let block = file.read_at(0, BLOCK_BYTES).await?;
        let header = SegmentHeader::decode(block.as_ref());
        let start = LogPosition {
            segment: id,
            offset: 0,
        };
        match header {
            Ok(header) if header.store_id != store_id || header.segment != id => {
                let what = if header.store_id == store_id {
                    format!(
                        "this is segment {} under another name, or a copy of it",
                        header.segment
                    )
                } else {
                    "the segment belongs to another store".to_owned()
                };
                return Err(OpenError::Damaged {
                    position: start,
                    what,
                });
            }
            Ok(header) => {
                found.incarnation = found.incarnation.max(header.incarnation);
                let name = LogName {
                    incarnation: header.incarnation,
                    log: header.log,
                };
                if released.has(name, id) {
                    // A crash came before it was removed, or brought it back.
                    found.useless.push(segment_name(id));
                    continue;
                }
                let segment = ScanSegment {
                    file,
                    len,
                    id,
                    generation: header.generation,
                    version: header.version,
                };
                found.logs.entry(name).or_default().push(segment);
            }
            // The header is durable before the first group is written: with a group behind it, it was right once.
            Err(why) if has_groups(store_id, &file, len).await? => {
                let what = format!("the segment's header: {why}");
                return Err(OpenError::Damaged {
                    position: start,
                    what,
                });
            }
            Err(_) => found.useless.push(segment_name(id)),
        }
    }
    Ok(found)
}

impl<F> Found<F> {
    /// Leaves of the logs what is behind the checkpoints. Those of older starts were sealed before it.
    pub fn leave_out_covered(&mut self, base: &Base) {
        self.logs.retain(|name, segments| {
            if let Some(header) = base.header(*name).filter(|header| header.sequence > 0) {
                segments.retain(|segment| segment.id >= header.position.segment);
            }
            name.incarnation >= base.incarnation
        });
    }
}

/// Does a log go on, behind a checkpoint, in a segment that was freed since? Then more of the logs is read instead.
#[must_use]
pub fn is_outdated(base: &Base, released: &Released) -> bool {
    base.headers.iter().any(|header| {
        let log = LogName {
            incarnation: base.incarnation,
            log: header.name.core,
        };
        header.sequence > 0 && released.has(log, header.position.segment)
    })
}

/// What a checkpoint covers is not read again, but it must be there, unless it was freed since: messages lie in it.
pub fn check_covered<F>(base: &Base, found: &Found<F>, released: &Released) -> Result<(), OpenError> {
    let mut there = HashMap::new();
    for (name, segments) in &found.logs {
        there.extend(segments.iter().map(|s| (s.id, (*name, s.generation, s.len))));
    }
    for (id, segment) in &base.segments {
        let what = match there.get(id) {
            None if released.has(segment.log, *id) => continue,
            None => "the segment is missing",
            Some((log, generation, _)) if *log != segment.log || *generation != segment.generation => {
                "the segment is another than was written"
            }
            Some((_, _, len)) if *len < u64::from(segment.end) => "the end of the segment is gone",
            Some(_) => continue,
        };
        let position = LogPosition {
            segment: *id,
            offset: 0,
        };
        return Err(OpenError::Damaged {
            position,
            what: what.to_owned(),
        });
    }
    for header in base.headers.iter().filter(|header| header.sequence > 0) {
        if !base.segments.contains_key(&header.position.segment) {
            let what = "the checkpoint ends in a segment it does not name".to_owned();
            return Err(OpenError::Damaged {
                position: header.position,
                what,
            });
        }
    }
    Ok(())
}

/// How many logs have had a group: these, which are there, and those of which all was freed.
#[must_use]
pub fn count_logs(there: impl Iterator<Item = LogName>, released: &Released) -> u32 {
    let logs: BTreeSet<LogName> = there.chain(released.whole_logs()).collect();
    u32::try_from(logs.len()).unwrap_or(u32::MAX)
}

/// Why so many logs are too few, if they are: of a log that is gone with its last segment nothing else is left that says so.
#[must_use]
pub fn missing_logs(superblock: Superblock, released: &Released, logs: u32) -> Option<String> {
    // Nothing is freed before there is something.
    let wanted = superblock.logs.max(u32::from(released.number > 0));
    (logs < wanted).then(|| {
        format!(
            "this store has had {wanted} logs at least, {logs} of them are there: segments are missing (is a file system \
             not mounted?)"
        )
    })
}

/// Up to where right checkpoints saw their logs, what was freed since left out.
pub fn durable_ends<'a>(
    headers: &'a [CheckpointHeader],
    released: &'a Released,
) -> impl Iterator<Item = LogPosition> + 'a {
    let is_to_be_there = |header: &&CheckpointHeader| {
        let log = LogName {
            incarnation: header.name.incarnation,
            log: header.name.core,
        };
        header.sequence > 0 && !released.has(log, header.position.segment)
    };
    headers
        .iter()
        .filter(is_to_be_there)
        .map(|header| header.position)
}

/// The place up to which a right checkpoint saw a log whose segment there is not there, and was not freed.
pub fn missing_of_headers<'a, F: 'a>(
    headers: &'a [CheckpointHeader],
    logs: &'a BTreeMap<LogName, Vec<F>>,
    id: impl Fn(&F) -> SegmentId + 'a,
    released: &'a Released,
) -> impl Iterator<Item = LogPosition> + 'a {
    let is_missing = move |header: &&CheckpointHeader| {
        let log = LogName {
            incarnation: header.name.incarnation,
            log: header.name.core,
        };
        let segment = header.position.segment;
        let is_there = logs
            .get(&log)
            .is_some_and(|files| files.iter().any(|file| id(file) == segment));
        header.sequence > 0 && !is_there && !released.has(log, segment)
    };
    headers.iter().filter(is_missing).map(|header| header.position)
}
