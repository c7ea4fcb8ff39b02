//! A checkpoint file: the state of one core's partitions as of a position in that core's log, as bytes.
//!
//! Invariants: derived data, every byte of it under a checksum: a file that is not whole is ignored and the log read
//! instead; a file is written once, under a name never used before, and its header block is right only if all slices
//! in front of its sync were.
//! Limits: `options` says what is encoded at once. LIMITATION: one account's snapshot is encoded at once however many
//! messages it has (64 bytes each); the other tasks of the core wait for that long.
//! Not here: when one is written (`checkpointer`), what recovery makes of it (`checkpoint_load`), payloads
//! (`checkpoint_state`). FORMAT.md has the fields.

use super::codec::{Malformed, Reader, put_u8, put_u16, put_u32, put_u64};
use super::segment::{checked_block, seal_block};
use crate::base::{crc32c, crc32c_append};
use crate::disk::BLOCK_BYTES;
use crate::model::{LogPosition, SegmentId};

/// Version of checkpoint files. One of another version is ignored: the log says the same.
pub const CHECKPOINT_VERSION: u32 = 6;

/// Bytes of a slice's header.
pub const SLICE_HEADER_BYTES: usize = 32;

const MAGIC: [u8; 8] = *b"RPCHECK\x1a";
const SLICE_CRC_AT: usize = 28;

/// Which checkpoint; all of it is in the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointName {
    /// Of the start that wrote it.
    pub incarnation: u32,
    /// The core, and log, that wrote it.
    pub core: u16,
    /// Rises with every checkpoint of that core in that incarnation, from 1.
    pub number: u32,
}

impl CheckpointName {
    /// Beside the segments, so that one directory is synced for both.
    #[must_use]
    pub fn file(&self) -> String {
        format!(
            "segments/{:08x}-{:04x}-{:08x}.ckp",
            self.incarnation, self.core, self.number
        )
    }

    /// `None`: not the name of a checkpoint.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("segments/")?.strip_suffix(".ckp")?;
        let mut parts = digits.split('-');
        let found = Self {
            incarnation: u32::from_str_radix(parts.next()?, 16).ok()?,
            core: u16::from_str_radix(parts.next()?, 16).ok()?,
            number: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        (found.file() == name).then_some(found)
    }

    /// What the checksums of its slices start from: a slice of another checkpoint or store cannot pass for one of it.
    fn seed(&self, store_id: u64) -> u32 {
        let mut crc = crc32c(&store_id.to_le_bytes());
        crc = crc32c_append(crc, &self.incarnation.to_le_bytes());
        crc = crc32c_append(crc, &self.core.to_le_bytes());
        crc32c_append(crc, &self.number.to_le_bytes())
    }
}

/// The first block of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// Of the store it belongs to.
    pub store_id: u64,
    /// As in the file's name.
    pub name: CheckpointName,
    /// Cores in that incarnation: the checkpoints of as many cores are the whole store.
    pub cores: u16,
    /// Covers its core's log up to here, and every log of an older incarnation.
    pub position: LogPosition,
    /// The sequence of the last group before `position`; 0: there is none.
    pub sequence: u64,
    /// That group is the log's seal.
    pub is_sealed: bool,
    /// How many slices follow.
    pub slices: u32,
    /// Blocks of the file, this one included.
    pub blocks: u32,
}

impl CheckpointHeader {
    /// The block to write.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, CHECKPOINT_VERSION);
        put_u64(&mut out, self.store_id);
        put_u32(&mut out, self.name.incarnation);
        put_u16(&mut out, self.name.core);
        put_u16(&mut out, self.cores);
        put_u32(&mut out, self.name.number);
        put_u32(&mut out, self.position.segment.0);
        put_u32(&mut out, self.position.offset);
        put_u64(&mut out, self.sequence);
        put_u32(&mut out, self.slices);
        // Blocks take 31 bits: 8 TiB.
        put_u32(&mut out, self.blocks << 1 | u32::from(self.is_sealed));
        seal_block(out)
    }

    /// Reads a block back.
    pub fn decode(block: &[u8]) -> Result<Self, &'static str> {
        let mut fields = checked_block(block, MAGIC)?;
        let mut read = || -> Result<(u32, Self), Malformed> {
            let version = fields.u32()?;
            let store_id = fields.u64()?;
            let incarnation = fields.u32()?;
            let core = fields.u16()?;
            let cores = fields.u16()?;
            let number = fields.u32()?;
            let name = CheckpointName {
                incarnation,
                core,
                number,
            };
            let position = LogPosition {
                segment: SegmentId(fields.u32()?),
                offset: fields.u32()?,
            };
            let sequence = fields.u64()?;
            let slices = fields.u32()?;
            let last = fields.u32()?;
            let header = Self {
                store_id,
                name,
                cores,
                position,
                sequence,
                is_sealed: last & 1 == 1,
                slices,
                blocks: last >> 1,
            };
            Ok((version, header))
        };
        match read() {
            Ok((CHECKPOINT_VERSION, header)) if header.name.core < header.cores => Ok(header),
            Ok((CHECKPOINT_VERSION, _)) => Err("a core beyond its cores"),
            Ok(_) => Err("another version"),
            Err(_) => Err("too short"),
        }
    }
}

/// What a slice holds.
pub mod slice_kind {
    /// The last sequence of each partition that has any.
    pub const PARTITIONS: u8 = 1;
    /// The segments with groups that the checkpoint covers.
    pub const SEGMENTS: u8 = 2;
    /// Spool entries not done.
    pub const SPOOL: u8 = 3;
    /// Recipients served from spool entries.
    pub const SERVED: u8 = 4;
    /// Heads of accounts, and where their snapshots lie. (5 was accounts with everything in them, up to version 3.)
    pub const HEADS: u8 = 6;
}

/// What stands before a slice's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceHeader {
    /// Without the padding.
    pub payload_bytes: u32,
    /// See [`slice_kind`].
    pub kind: u8,
    /// Its place among the slices, from 0.
    pub index: u32,
    /// The position in the log as of which it was encoded: the header's or a later one.
    pub as_of: LogPosition,
    /// Things in the payload.
    pub items: u32,
}

impl SliceHeader {
    /// Bytes it occupies in the file.
    #[must_use]
    pub fn slice_bytes(&self) -> usize {
        (SLICE_HEADER_BYTES + self.payload_bytes as usize).next_multiple_of(BLOCK_BYTES)
    }

    /// Header and payload into `out`, which has [`Self::slice_bytes`] bytes; the rest is zeros.
    pub fn encode(&self, store_id: u64, name: &CheckpointName, payload: &[u8], out: &mut [u8]) {
        let mut header = Vec::with_capacity(SLICE_HEADER_BYTES);
        put_u32(&mut header, self.payload_bytes);
        put_u8(&mut header, self.kind);
        header.extend_from_slice(&[0; 3]);
        put_u32(&mut header, self.index);
        put_u32(&mut header, self.as_of.segment.0);
        put_u32(&mut header, self.as_of.offset);
        put_u32(&mut header, self.items);
        put_u32(&mut header, 0);
        let crc = crc32c_append(crc32c_append(name.seed(store_id), &header), payload);
        put_u32(&mut header, crc);
        let end = SLICE_HEADER_BYTES + payload.len();
        out[..SLICE_HEADER_BYTES].copy_from_slice(&header);
        out[SLICE_HEADER_BYTES..end].copy_from_slice(payload);
        out[end..].fill(0);
    }

    /// The fields, not checked yet: they say how much has to be read for [`Self::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Reader::new(bytes);
        let payload_bytes = fields.u32()?;
        let kind = fields.u8()?;
        fields.take(3)?;
        Ok(Self {
            payload_bytes,
            kind,
            index: fields.u32()?,
            as_of: LogPosition {
                segment: SegmentId(fields.u32()?),
                offset: fields.u32()?,
            },
            items: fields.u32()?,
        })
    }

    /// The payload of a whole slice (as many bytes as [`Self::slice_bytes`]) whose checksum is right and whose padding
    /// is zeros.
    pub fn check<'a>(
        &self,
        store_id: u64,
        name: &CheckpointName,
        slice: &'a [u8],
    ) -> Result<&'a [u8], Malformed> {
        let end = SLICE_HEADER_BYTES + self.payload_bytes as usize;
        let payload = slice
            .get(SLICE_HEADER_BYTES..end)
            .ok_or(Malformed("a slice ends too early"))?;
        let crc = crc32c_append(
            crc32c_append(name.seed(store_id), &slice[..SLICE_CRC_AT]),
            payload,
        );
        if Reader::new(&slice[SLICE_CRC_AT..]).u32()? != crc || slice[end..].iter().any(|byte| *byte != 0) {
            return Err(Malformed("a slice's checksum is wrong"));
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: CheckpointName = CheckpointName {
        incarnation: 7,
        core: 1,
        number: 3,
    };

    #[test]
    fn names_and_headers_come_back_and_any_flipped_bit_is_seen() {
        assert_eq!(NAME.file(), "segments/00000007-0001-00000003.ckp");
        assert_eq!(CheckpointName::of_file(&NAME.file()), Some(NAME));
        assert_eq!(CheckpointName::of_file("segments/0000002a.seg"), None);
        let header = CheckpointHeader {
            store_id: 5,
            name: NAME,
            cores: 2,
            position: LogPosition {
                segment: SegmentId(9),
                offset: 4096,
            },
            sequence: 11,
            is_sealed: true,
            slices: 4,
            blocks: 12,
        };
        let block = header.encode();
        assert_eq!(CheckpointHeader::decode(&block), Ok(header));
        for bit in 0..64 * 8 {
            let mut bad = block.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(CheckpointHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_slice_of_another_checkpoint_or_with_a_flipped_bit_is_none() {
        let header = SliceHeader {
            payload_bytes: 5,
            kind: slice_kind::SPOOL,
            index: 2,
            as_of: LogPosition {
                segment: SegmentId(9),
                offset: 4096,
            },
            items: 1,
        };
        let mut slice = vec![0xA5; header.slice_bytes()];
        header.encode(5, &NAME, b"hello", &mut slice);
        let checked = |slice: &[u8], name| {
            let header = SliceHeader::decode(slice)?;
            header.check(5, name, slice).map(<[u8]>::to_vec)
        };
        assert_eq!(SliceHeader::decode(&slice), Ok(header));
        assert_eq!(checked(&slice, &NAME), Ok(b"hello".to_vec()));
        assert!(checked(&slice, &CheckpointName { number: 4, ..NAME }).is_err());
        for bit in 0..slice.len() * 8 {
            let mut bad = slice.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(checked(&bad, &NAME).is_err(), "bit {bit}");
        }
    }
}
