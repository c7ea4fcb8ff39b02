//! A disk with a volatile write cache, in memory: what was not flushed may be lost, kept, or kept in part, when the
//! power goes.
//!
//! Owns: the durable image, and of every 512-byte sector written since the last flush all versions, in order.
//! Invariants: only `flush` moves versions to the image; after a cut everything fails until `reset`.
//! What a cut does to each pending sector follows from its seed: see [`Fate`]. A sector is whole in one version: disks
//! promise that, and the file systems under test rely on it. So is the first block of 4 KiB: ext4's superblock fills two
//! sectors of it, and nothing mends a torn one.
//! Not here: how a kernel reaches it (`fuse`).

use crate::random::Random;
use std::collections::BTreeMap;

pub const SECTOR_BYTES: usize = 512;
/// Sectors of a block of a disk with long sectors.
const LONG_SECTORS: u64 = 8;

/// The power is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPower;

/// What becomes of the sectors that were not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// All are lost: the cache never wrote anything by itself.
    Lost,
    /// All are kept, as after a kill.
    Kept,
    /// Each has any of its versions, or the durable one.
    Mixed,
    /// Nearly all are kept: one in sixteen is not.
    Holes,
    /// Nearly all are lost: one in sixteen is kept.
    Specks,
}

pub struct Disk {
    image: Vec<u8>,
    pending: BTreeMap<u64, Vec<[u8; SECTOR_BYTES]>>,
    /// Writes and flushes left until the power goes by itself.
    countdown: Option<u64>,
    seed: u64,
    /// A cut leaves aligned blocks of 4 KiB whole, as disks with sectors of that length do.
    has_long_sectors: bool,
    is_cut: bool,
    cut_sectors: usize,
    /// A disk that lies: it says "flushed" and did nothing. The negative control.
    ignores_flushes: bool,
}

impl Disk {
    /// A disk of zeros. Its memory is only used where it is written.
    pub fn new(bytes: usize, ignores_flushes: bool) -> Disk {
        assert!(bytes.is_multiple_of(SECTOR_BYTES));
        Disk {
            image: vec![0; bytes],
            pending: BTreeMap::new(),
            countdown: None,
            seed: 0,
            has_long_sectors: false,
            is_cut: false,
            cut_sectors: 0,
            ignores_flushes,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.image.len() as u64
    }

    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Sectors written and not flushed when the power went last.
    pub fn cut_sectors(&self) -> usize {
        self.cut_sectors
    }

    /// The power goes with the n-th write or flush from now; what survives follows from `seed`.
    pub fn cut_after(&mut self, operations: u64, seed: u64) {
        self.countdown = Some(operations);
        self.seed = seed;
    }

    /// See the field.
    pub fn set_long_sectors(&mut self, has_long_sectors: bool) {
        self.has_long_sectors = has_long_sectors;
    }

    /// The power goes now.
    pub fn cut(&mut self, seed: u64) {
        if self.is_cut {
            return;
        }
        self.is_cut = true;
        self.cut_sectors = self.pending.len();
        self.countdown = None;
        let mut random = Random(seed);
        let fate = match random.below(8) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 => Fate::Holes,
            3 => Fate::Specks,
            _ => Fate::Mixed,
        };
        let mut block = (u64::MAX, random.clone());
        for (sector, versions) in std::mem::take(&mut self.pending) {
            let newest = versions.len();
            // Every sector of a block draws the same numbers.
            let is_whole = self.has_long_sectors || sector < LONG_SECTORS;
            if is_whole && sector / LONG_SECTORS == block.0 {
                random = block.1.clone();
            } else {
                block = (sector / LONG_SECTORS, random.clone());
            }
            let keep = match fate {
                Fate::Lost => 0,
                Fate::Kept => newest,
                Fate::Mixed => random.below(newest as u64 + 1) as usize,
                Fate::Holes if random.one_in(16) => 0,
                Fate::Holes => newest,
                Fate::Specks if random.one_in(16) => newest,
                Fate::Specks => 0,
            };
            if keep > 0 {
                self.sector_mut(sector).copy_from_slice(&versions[keep - 1]);
            }
        }
    }

    /// The power is back; the cache is empty.
    pub fn reset(&mut self) {
        self.is_cut = false;
        self.countdown = None;
    }

    fn sector_mut(&mut self, sector: u64) -> &mut [u8] {
        let start = sector as usize * SECTOR_BYTES;
        &mut self.image[start..start + SECTOR_BYTES]
    }

    fn tick(&mut self) -> Result<(), NoPower> {
        if let Some(left) = &mut self.countdown {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.cut(self.seed);
            }
        }
        if self.is_cut { Err(NoPower) } else { Ok(()) }
    }

    pub fn read(&self, position: u64, bytes: usize) -> Result<Vec<u8>, NoPower> {
        if self.is_cut {
            return Err(NoPower);
        }
        let start = (position as usize).min(self.image.len());
        let end = (start + bytes).min(self.image.len());
        let mut data = self.image[start..end].to_vec();
        let first = start as u64 / SECTOR_BYTES as u64;
        for (sector, versions) in self
            .pending
            .range(first..(end as u64).div_ceil(SECTOR_BYTES as u64))
        {
            let Some(newest) = versions.last() else { continue };
            // A read may begin and end within a sector.
            let at = *sector as usize * SECTOR_BYTES;
            let (from, to) = (at.max(start), (at + SECTOR_BYTES).min(end));
            data[from - start..to - start].copy_from_slice(&newest[from - at..to - at]);
        }
        Ok(data)
    }

    /// Writes whole sectors into the cache. A cut that falls on this write keeps any part of it.
    pub fn write(&mut self, position: u64, data: &[u8]) -> Result<(), NoPower> {
        let aligned =
            (position as usize).is_multiple_of(SECTOR_BYTES) && data.len().is_multiple_of(SECTOR_BYTES);
        assert!(
            aligned && position as usize + data.len() <= self.image.len(),
            "a block device writes whole sectors of its own: {position}, {}",
            data.len()
        );
        if self.is_cut {
            return Err(NoPower);
        }
        let first = position / SECTOR_BYTES as u64;
        for (sector, bytes) in (first..).zip(data.as_chunks::<SECTOR_BYTES>().0) {
            self.pending.entry(sector).or_default().push(*bytes);
        }
        self.tick()
    }

    /// Everything written is durable; unless the power goes with it.
    pub fn flush(&mut self) -> Result<(), NoPower> {
        self.tick()?;
        if self.ignores_flushes {
            return Ok(());
        }
        for (sector, versions) in std::mem::take(&mut self.pending) {
            if let Some(newest) = versions.last() {
                self.sector_mut(sector).copy_from_slice(newest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(byte: u8) -> [u8; SECTOR_BYTES] {
        [byte; SECTOR_BYTES]
    }

    fn byte_at(disk: &Disk, sector: u64) -> u8 {
        disk.read(sector * SECTOR_BYTES as u64, 1).expect("it has power")[0]
    }

    #[test]
    fn what_was_flushed_survives_every_cut_and_the_rest_has_a_version_it_had() {
        let mut seen = [false; 4];
        for seed in 0..200 {
            let mut disk = Disk::new(8 * SECTOR_BYTES, false);
            disk.write(0, &sector(1)).expect("power");
            disk.flush().expect("power");
            for version in [2, 3] {
                disk.write(0, &sector(version)).expect("power");
            }
            disk.write(512, &sector(9)).expect("power");
            disk.cut(seed);
            assert_eq!(disk.read(0, 1), Err(NoPower));
            assert_eq!(disk.write(0, &sector(7)), Err(NoPower));
            assert_eq!(disk.flush(), Err(NoPower));
            disk.reset();
            seen[usize::from(byte_at(&disk, 0))] = true;
            assert!([0, 9].contains(&byte_at(&disk, 1)));
            assert_eq!(byte_at(&disk, 2), 0);
        }
        assert_eq!(seen, [false, true, true, true]);
    }

    #[test]
    fn long_sectors_are_whole_or_not_there() {
        for seed in 0..100 {
            let mut disk = Disk::new(64 * SECTOR_BYTES, false);
            disk.set_long_sectors(true);
            disk.write(0, &[1; 64 * SECTOR_BYTES]).expect("power");
            disk.cut(seed);
            disk.reset();
            let kept: Vec<u8> = (0..64).map(|sector| byte_at(&disk, sector)).collect();
            assert!(
                kept.chunks(8)
                    .all(|block| block.iter().all(|byte| *byte == block[0]))
            );
        }
    }

    #[test]
    fn a_flush_that_the_power_fails_in_promises_nothing() {
        let mut lost = 0;
        for seed in 0..50 {
            let mut disk = Disk::new(SECTOR_BYTES, false);
            disk.cut_after(2, seed);
            disk.write(0, &sector(1)).expect("the first operation");
            assert_eq!(disk.flush(), Err(NoPower));
            disk.reset();
            lost += u32::from(byte_at(&disk, 0) == 0);
        }
        assert!(lost > 5);
    }

    #[test]
    fn reads_see_what_was_written_last_at_any_offset() {
        let mut disk = Disk::new(4 * SECTOR_BYTES, false);
        disk.write(512, &sector(5)).expect("power");
        let read = disk.read(500, 600).expect("power");
        assert!(read[..12].iter().chain(&read[524..]).all(|byte| *byte == 0));
        assert!(read[12..524].iter().all(|byte| *byte == 5));
    }

    #[test]
    fn a_disk_that_ignores_flushes_loses_what_was_flushed() {
        let lost = (0..50).filter(|seed| {
            let mut disk = Disk::new(SECTOR_BYTES, true);
            disk.write(0, &sector(1)).expect("power");
            disk.flush().expect("power");
            disk.cut(*seed);
            disk.reset();
            byte_at(&disk, 0) == 0
        });
        assert!(lost.count() > 5);
    }
}
