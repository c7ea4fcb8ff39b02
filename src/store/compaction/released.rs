//! The list of segments that compaction has freed: why they are not there.
//!
//! A freed segment leaves a gap in its log's groups; the list says which groups those were, so that a missing file is
//! told from a freed one. It is no derived data: it is written anew, under a name never used before, and durable before
//! the first file goes.
//! Invariants: entries of one log that follow each other are joined, so the list is as long as there are holes in logs;
//! ids and incarnations in it are never given again.
//! A list lies twice in its file, and the first one of a store, which names nothing, comes before any segment is freed.
//! Failure: one bad copy costs nothing. A list of which neither copy is right is passed over for the one before it, which
//! goes only when its successor is durable: it was torn. If there is none before it, it was right once: the store does not
//! open, and the file stays.
//! Not here: what may be freed (`pass`), partitions' sequences (`rebuild`). FORMAT.md has the fields.

use crate::base::{crc32c, crc32c_append};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use crate::model::SegmentId;
use crate::store::codec::{Malformed, Reader, put_u8, put_u16, put_u32, put_u64};
use crate::store::scan::LogName;
use crate::store::segment::{checked_block, seal_block};
use std::rc::Rc;

/// Version of these files; one of another version is not understood, and then files are missing.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"RPFREED\x1a";
const RUN_BYTES: usize = 31;

/// Freed segments of one log that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Whose.
    pub log: LogName,
    /// The first freed group.
    pub first_group: u64,
    /// The last freed group.
    pub last_group: u64,
    /// The segment of the first.
    pub first_segment: SegmentId,
    /// The segment of the last.
    pub last_segment: SegmentId,
    /// The last group is the log's seal.
    pub has_seal: bool,
}

/// Everything that was freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Of the file that says so; 0: there is none yet.
    pub number: u32,
    /// The highest segment id ever seen when it was written.
    pub last_segment: u32,
    /// The incarnation that wrote it.
    pub incarnation: u32,
    /// Bytes of all that was freed since the store was made, for people.
    pub freed_bytes: u64,
    /// Ascending, joined.
    pub runs: Vec<Run>,
}

/// The name of list `number`.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("segments/{number:08x}.freed")
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("segments/")?.strip_suffix(".freed")?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (file_name(number) == name).then_some(number)
}

impl Released {
    /// Is this segment of this log one of them?
    #[must_use]
    pub fn has(&self, log: LogName, segment: SegmentId) -> bool {
        let is_in = |run: &Run| run.first_segment <= segment && segment <= run.last_segment;
        self.of(log).any(is_in)
    }

    /// May it be one of them? Also said of one of another log between two that were freed.
    #[must_use]
    pub fn spans(&self, segment: SegmentId) -> bool {
        let is_in = |run: &Run| run.first_segment <= segment && segment <= run.last_segment;
        self.runs.iter().any(is_in)
    }

    fn of(&self, log: LogName) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.log == log)
    }

    /// The freed groups of the log that begin with number `group`.
    #[must_use]
    pub fn at(&self, log: LogName, group: u64) -> Option<&Run> {
        self.of(log).find(|run| run.first_group == group)
    }

    /// Logs of which every group was freed.
    pub fn whole_logs(&self) -> impl Iterator<Item = LogName> + '_ {
        let whole = self
            .runs
            .iter()
            .filter(|run| run.first_group == 1 && run.has_seal);
        whole.map(|run| run.log)
    }

    /// The first freed groups of the log behind `segment`.
    #[must_use]
    pub fn next_behind(&self, log: LogName, segment: SegmentId) -> Option<&Run> {
        self.of(log)
            .filter(|run| run.first_segment > segment)
            .min_by_key(|run| run.first_segment)
    }

    /// Adds a freed segment and joins what follows each other.
    pub fn add(&mut self, run: Run) {
        self.runs.push(run);
        self.runs.sort_unstable();
        let mut joined: Vec<Run> = Vec::with_capacity(self.runs.len());
        for run in self.runs.drain(..) {
            match joined.last_mut() {
                Some(last) if last.log == run.log && last.last_group + 1 == run.first_group => {
                    last.last_group = run.last_group;
                    last.last_segment = run.last_segment;
                    last.has_seal = run.has_seal;
                }
                _ => joined.push(run),
            }
        }
        self.runs = joined;
    }

    fn encode(&self, store_id: u64) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.runs.len() * RUN_BYTES);
        for run in &self.runs {
            put_u32(&mut payload, run.log.incarnation);
            put_u16(&mut payload, run.log.log);
            put_u64(&mut payload, run.first_group);
            put_u64(&mut payload, run.last_group);
            put_u32(&mut payload, run.first_segment.0);
            put_u32(&mut payload, run.last_segment.0);
            put_u8(&mut payload, u8::from(run.has_seal));
        }
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, VERSION);
        put_u64(&mut out, store_id);
        put_u32(&mut out, self.number);
        put_u32(&mut out, self.last_segment);
        put_u32(&mut out, self.incarnation);
        put_u64(&mut out, self.freed_bytes);
        put_u32(
            &mut out,
            u32::try_from(self.runs.len()).expect("fewer runs than segments"),
        );
        put_u32(&mut out, crc32c_append(crc32c(&store_id.to_le_bytes()), &payload));
        let mut out = seal_block(out);
        out.extend_from_slice(&payload);
        out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
        out
    }

    fn decode(store_id: u64, number: u32, bytes: &[u8]) -> Result<Self, &'static str> {
        let mut fields = checked_block(bytes, MAGIC)?;
        let mut read = || -> Result<(Self, u32), Malformed> {
            if fields.u32()? != VERSION || fields.u64()? != store_id || fields.u32()? != number {
                return Err(Malformed("another version, store or number"));
            }
            let mut list = Self {
                number,
                last_segment: fields.u32()?,
                incarnation: fields.u32()?,
                freed_bytes: fields.u64()?,
                runs: Vec::new(),
            };
            let count = fields.u32()? as usize;
            let crc = fields.u32()?;
            let mut payload = Reader::new(bytes.get(BLOCK_BYTES..).unwrap_or_default());
            let payload = payload.take(count.saturating_mul(RUN_BYTES))?;
            if crc32c_append(crc32c(&store_id.to_le_bytes()), payload) != crc {
                return Err(Malformed("its checksum is wrong"));
            }
            let mut payload = Reader::new(payload);
            for _ in 0..count {
                list.runs.push(run(&mut payload)?);
            }
            Ok((list, crc))
        };
        read().map(|(list, _)| list).map_err(|why| why.0)
    }

    /// From either of its two copies, and what is wrong with one of them.
    fn decode_file(
        store_id: u64,
        number: u32,
        bytes: &[u8],
    ) -> Result<(Self, Option<&'static str>), &'static str> {
        let second = Self::decode(store_id, number, &bytes[bytes.len() / 2..]);
        match Self::decode(store_id, number, bytes) {
            Ok(list) => Ok((list, second.err())),
            Err(why) => {
                let list = second.map_err(|_| why)?;
                tracing::warn!(number, why, "one copy of the list of freed segments is damaged");
                Ok((list, Some(why)))
            }
        }
    }

    /// The newest list in the directory that is right, and what else there is.
    ///
    /// # Errors
    /// The disk's.
    pub async fn load<D: Disk>(
        disk: &D,
        store_id: u64,
        files: &[(String, u64)],
    ) -> Result<LoadedLists, DiskError> {
        let mut numbers: Vec<(u32, u64)> = files
            .iter()
            .filter_map(|(name, len)| Some((number_of(name)?, *len)))
            .collect();
        numbers.sort_unstable();
        let mut newest = None;
        let mut half = None;
        let mut junk = Vec::new();
        for (number, len) in numbers.iter().rev() {
            let name = file_name(*number);
            if newest.is_none() {
                let file = disk.open(&name).await?;
                let len = usize::try_from(*len).unwrap_or(usize::MAX).min(1 << 28);
                let bytes = file.read_at(0, len).await?;
                match Self::decode_file(store_id, *number, bytes.as_ref()) {
                    Ok((list, trouble)) => {
                        newest = Some(list);
                        half = trouble.map(|why| (name, why));
                        continue;
                    }
                    Err(why) => tracing::warn!(file = name, why, "a list of freed segments is not usable"),
                }
            }
            junk.push(name);
        }
        let highest = numbers.last().map_or(0, |(number, _)| *number);
        let damaged = (newest.is_none() && highest > 1).then(|| file_name(highest));
        Ok(LoadedLists {
            released: newest.unwrap_or_default(),
            junk,
            damaged,
            half,
        })
    }

    /// Makes certain that what was loaded is durable: a kill between its write and its sync may have left it in a cache.
    ///
    /// # Errors
    /// The disk's.
    pub async fn sync<D: Disk>(&self, disk: &D) -> Result<(), DiskError> {
        if self.number == 0 {
            return Ok(());
        }
        disk.open(&file_name(self.number)).await?.sync().await?;
        disk.sync_directory().await
    }

    /// Writes it as a new file, durable on return.
    ///
    /// # Errors
    /// The disk's: then nothing may be freed that the list before did not name.
    pub async fn write<D: Disk>(&self, disk: &D, store_id: u64) -> Result<(), DiskError> {
        let bytes = self.encode(store_id).repeat(2);
        let file = disk.create(&file_name(self.number), bytes.len() as u64).await?;
        let mut buffer = file.buffer(bytes.len());
        buffer.bytes_mut().copy_from_slice(&bytes);
        file.write_at(Rc::new(buffer), 0).await?;
        file.sync().await?;
        disk.sync_directory().await
    }
}

/// The lists in a directory.
pub struct LoadedLists {
    /// The newest that is right.
    pub released: Released,
    /// The files of all others.
    pub junk: Vec<String>,
    /// The newest, if it was right once and is no more: nothing says what was freed.
    pub damaged: Option<String>,
    /// The newest that is right, if one of its copies is not, and why.
    pub half: Option<(String, &'static str)>,
}

fn run(input: &mut Reader<'_>) -> Result<Run, Malformed> {
    let log = LogName {
        incarnation: input.u32()?,
        log: input.u16()?,
    };
    Ok(Run {
        log,
        first_group: input.u64()?,
        last_group: input.u64()?,
        first_segment: SegmentId(input.u32()?),
        last_segment: SegmentId(input.u32()?),
        has_seal: input.u8()? != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_run(log: u16, groups: (u64, u64), segments: (u32, u32), has_seal: bool) -> Run {
        Run {
            log: LogName { incarnation: 3, log },
            first_group: groups.0,
            last_group: groups.1,
            first_segment: SegmentId(segments.0),
            last_segment: SegmentId(segments.1),
            has_seal,
        }
    }

    #[test]
    fn what_follows_each_other_is_joined_and_comes_back_from_its_bytes() {
        let mut list = Released {
            number: 4,
            last_segment: 99,
            incarnation: 7,
            freed_bytes: 1 << 40,
            runs: Vec::new(),
        };
        list.add(a_run(0, (11, 20), (5, 5), false));
        list.add(a_run(0, (31, 40), (9, 9), true));
        list.add(a_run(0, (1, 10), (2, 2), false));
        list.add(a_run(1, (21, 30), (6, 6), false));
        assert_eq!(
            list.runs,
            [
                a_run(0, (1, 20), (2, 5), false),
                a_run(0, (31, 40), (9, 9), true),
                a_run(1, (21, 30), (6, 6), false)
            ]
        );
        list.add(a_run(0, (21, 30), (7, 7), false));
        assert_eq!(list.runs[0], a_run(0, (1, 40), (2, 9), true));
        let bytes = list.encode(5);
        assert_eq!(Released::decode(5, 4, &bytes), Ok(list.clone()));
        assert!(Released::decode(6, 4, &bytes).is_err());
        for byte in (0..64).chain(BLOCK_BYTES..BLOCK_BYTES + 2 * RUN_BYTES) {
            let mut bad = bytes.clone();
            bad[byte] ^= 4;
            assert!(Released::decode(5, 4, &bad).is_err(), "byte {byte}");
        }
    }
}
