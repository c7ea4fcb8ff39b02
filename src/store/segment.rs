//! The superblock of a store and the header of a segment: one block each, written once, before anything refers to it.
//!
//! Invariants: both are synced (and the directory with them) before the first acknowledgement that relies on them;
//! everything that counts lies in the first 512-byte sector, so a torn write leaves either all of it or an invalid one.
//! Failure: `decode` says why a block is not one; what that means for the store is decided by `recovery`.
//! Not here: groups and records behind the header (`frame`). FORMAT.md has the fields.

use super::codec::{Malformed, Reader, put_u16, put_u32, put_u64};
use super::frame::RecordSeed;
use crate::base::crc32c;
use crate::disk::BLOCK_BYTES;
use crate::model::{PARTITIONS, SegmentId};

/// Version of everything on disk. Rises with any change that an older program would misread.
pub const FORMAT_VERSION: u32 = 2;

const SUPERBLOCK_MAGIC: [u8; 8] = *b"RPSTORE\x1a";
const SEGMENT_MAGIC: [u8; 8] = *b"RPSEGMT\x1a";
/// Where the CRC-32C of the fields before it stands, in both blocks, in every format version to come.
const CRC_AT: usize = 60;

/// Identity of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Format version of the whole store.
    pub version: u32,
    /// Random; seeds the checksum of every group header, so that a message that contains group headers cannot pass
    /// for one and a segment of another store is noticed.
    pub store_id: u64,
    /// Milliseconds since the epoch; for people only.
    pub created: i64,
    /// At least so many logs have had a group, so that it shows when they are all gone. Never more than have; 0 where nobody has said so yet.
    pub logs: u32,
}

/// Why a block is not the superblock of a store we can open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuperblockError {
    /// Not one at all, or damaged.
    Invalid(&'static str),
    /// A newer program wrote it.
    Newer(u32),
}

impl Superblock {
    /// The block to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = SUPERBLOCK_MAGIC.to_vec();
        put_u32(&mut out, self.version);
        put_u64(&mut out, self.store_id);
        put_u64(&mut out, self.created.cast_unsigned());
        put_u16(&mut out, PARTITIONS);
        put_u32(&mut out, self.logs);
        seal_block(out)
    }

    /// Reads a block back.
    pub fn decode(block: &[u8]) -> Result<Self, SuperblockError> {
        let mut fields = checked_block(block, SUPERBLOCK_MAGIC).map_err(SuperblockError::Invalid)?;
        let short = |_: Malformed| SuperblockError::Invalid("too short");
        let version = fields.u32().map_err(short)?;
        if version > FORMAT_VERSION {
            return Err(SuperblockError::Newer(version));
        }
        if version == 0 {
            return Err(SuperblockError::Invalid("a format version that never was"));
        }
        let store_id = fields.u64().map_err(short)?;
        let created = fields.u64().map_err(short)?.cast_signed();
        let partitions = fields.u16().map_err(short)?;
        if partitions != PARTITIONS {
            return Err(SuperblockError::Invalid("another number of partitions"));
        }
        let logs = fields.u32().map_err(short)?;
        Ok(Self {
            version,
            store_id,
            created,
            logs,
        })
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Format version of what is in it.
    pub version: u32,
    /// Of the store it belongs to.
    pub store_id: u64,
    /// Its own id, as in its name.
    pub segment: SegmentId,
    /// Rises each time the file is used anew; 1 in a new file.
    pub generation: u32,
    /// The core that wrote it, in its incarnation. Says nothing about who owns what is in it now.
    pub log: u16,
    /// The start of the server that wrote it, counted from 1.
    pub incarnation: u32,
}

impl SegmentHeader {
    /// The block to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = SEGMENT_MAGIC.to_vec();
        put_u32(&mut out, self.version);
        put_u64(&mut out, self.store_id);
        put_u32(&mut out, self.segment.0);
        put_u32(&mut out, self.generation);
        put_u16(&mut out, self.log);
        put_u32(&mut out, self.incarnation);
        seal_block(out)
    }

    /// Reads a block back.
    pub fn decode(block: &[u8]) -> Result<Self, &'static str> {
        let mut fields = checked_block(block, SEGMENT_MAGIC)?;
        let mut read = || -> Result<Self, Malformed> {
            Ok(Self {
                version: fields.u32()?,
                store_id: fields.u64()?,
                segment: SegmentId(fields.u32()?),
                generation: fields.u32()?,
                log: fields.u16()?,
                incarnation: fields.u32()?,
            })
        };
        match read() {
            Ok(header) if (1..=FORMAT_VERSION).contains(&header.version) => Ok(header),
            Ok(_) => Err("a format version this program does not know"),
            Err(_) => Err("too short"),
        }
    }

    /// What the checksums of its records start from.
    #[must_use]
    pub fn record_seed(&self) -> RecordSeed {
        RecordSeed::new(self.segment, self.generation, self.version)
    }
}

/// Fields, zeros up to the checksum, the checksum, zeros up to the block's end.
pub fn seal_block(mut out: Vec<u8>) -> Vec<u8> {
    out.resize(CRC_AT, 0);
    let crc = crc32c(&out);
    put_u32(&mut out, crc);
    out.resize(BLOCK_BYTES, 0);
    out
}

/// The fields behind the magic number of a block that [`seal_block`] made.
pub fn checked_block(block: &[u8], magic: [u8; 8]) -> Result<Reader<'_>, &'static str> {
    let (fields, rest) = block.split_at_checked(CRC_AT).ok_or("too short")?;
    if fields[..8] != magic {
        return Err("another magic number");
    }
    if Reader::new(rest).u32() != Ok(crc32c(fields)) {
        return Err("its checksum is wrong");
    }
    Ok(Reader::new(&fields[8..]))
}

/// A segment's file name: its id in eight hexadecimal digits.
#[must_use]
pub fn segment_name(segment: SegmentId) -> String {
    format!("segments/{:08x}.seg", segment.0)
}

/// The id in a segment's file name; `None` for every other name.
#[must_use]
pub fn segment_of_name(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix("segments/")?.strip_suffix(".seg")?;
    let id = u32::from_str_radix(digits, 16).ok().map(SegmentId)?;
    (segment_name(id) == name).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        version: FORMAT_VERSION,
        store_id: 7,
        segment: SegmentId(0x2a),
        generation: 1,
        log: 3,
        incarnation: 9,
    };

    #[test]
    fn blocks_come_back_as_they_were_and_any_flipped_bit_is_seen() {
        let superblock = Superblock {
            version: 1,
            store_id: 5,
            created: -3,
            logs: 7,
        };
        assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
        let block = HEADER.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(HEADER));
        for bit in 0..64 * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_store_is_told_from_a_broken_one() {
        let newer = Superblock {
            version: FORMAT_VERSION + 1,
            store_id: 5,
            created: 0,
            logs: 0,
        };
        assert_eq!(
            Superblock::decode(&newer.encode()),
            Err(SuperblockError::Newer(FORMAT_VERSION + 1))
        );
        let none = Superblock { version: 0, ..newer };
        assert!(matches!(
            Superblock::decode(&none.encode()),
            Err(SuperblockError::Invalid(_))
        ));
        assert!(matches!(
            Superblock::decode(&[0; 4096]),
            Err(SuperblockError::Invalid(_))
        ));
    }

    #[test]
    fn names_are_ids_in_eight_hexadecimal_digits() {
        assert_eq!(segment_name(SegmentId(42)), "segments/0000002a.seg");
        assert_eq!(segment_of_name("segments/0000002a.seg"), Some(SegmentId(42)));
        assert_eq!(segment_of_name("segments/2a.seg"), None);
        assert_eq!(segment_of_name("STORE"), None);
    }
}
