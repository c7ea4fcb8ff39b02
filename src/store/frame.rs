//! Framing: the header of a group and the header of a record, as bytes.
//!
//! Invariants: a group header is valid only for its store and segment, a record only for its segment, generation and
//! (since format 2) place: their checksums are seeded with them, so nothing left over in a file can pass for something
//! new, and no block for another.
//! Limits: a record's payload is below 2^32 bytes; in practice a batch's limit is far lower.
//! Not here: payloads (`record`), when groups are written (`writer`) and trusted (`recovery`). FORMAT.md has the fields.

use super::codec::{Malformed, Reader, put_u16, put_u32, put_u64};
use crate::base::{crc32c, crc32c_append};
use crate::model::{LogPosition, SegmentId};

/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;
/// Bytes of a record's header.
pub const RECORD_HEADER_BYTES: usize = 24;
const GROUP_MAGIC: [u8; 8] = *b"RPGROUP\x1a";
const GROUP_CRC_AT: usize = 60;
const RECORD_CRC_AT: usize = 20;

/// The partition that chunk and seal records carry: they belong to nobody.
pub const NO_PARTITION: u16 = 0xFFFF;

/// What stands before the records of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// The segment it lies in.
    pub segment: SegmentId,
    /// That segment's generation.
    pub generation: u32,
    /// The log it belongs to.
    pub log: u16,
    /// The start of the server that wrote it.
    pub incarnation: u32,
    /// 1 for a log's first group of an incarnation, then without a gap.
    pub sequence: u64,
    /// Everything of this log and incarnation before this position was synced when the group was written.
    pub durable_to: LogPosition,
    /// Header and records, without the padding.
    pub bytes: u32,
    /// How many records follow.
    pub records: u32,
}

impl GroupHeader {
    /// Writes the header into the first bytes of `out`.
    pub fn encode(&self, store_id: u64, out: &mut [u8]) {
        let mut bytes = GROUP_MAGIC.to_vec();
        put_u32(&mut bytes, self.segment.0);
        put_u32(&mut bytes, self.generation);
        put_u16(&mut bytes, self.log);
        put_u16(&mut bytes, 0);
        put_u32(&mut bytes, self.incarnation);
        put_u64(&mut bytes, self.sequence);
        put_u32(&mut bytes, self.durable_to.segment.0);
        put_u32(&mut bytes, self.durable_to.offset);
        put_u32(&mut bytes, self.bytes);
        put_u32(&mut bytes, self.records);
        bytes.resize(GROUP_CRC_AT, 0);
        let crc = group_crc(store_id, &bytes);
        put_u32(&mut bytes, crc);
        out[..GROUP_HEADER_BYTES].copy_from_slice(&bytes);
    }

    /// Reads a header back; `None` when these bytes are not one of this store.
    #[must_use]
    pub fn decode(store_id: u64, bytes: &[u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_at_checked(GROUP_CRC_AT)?;
        if fields[..8] != GROUP_MAGIC || Reader::new(rest).u32() != Ok(group_crc(store_id, fields)) {
            return None;
        }
        Self::fields(&mut Reader::new(&fields[8..])).ok()
    }

    fn fields(fields: &mut Reader<'_>) -> Result<Self, Malformed> {
        let segment = SegmentId(fields.u32()?);
        let generation = fields.u32()?;
        let log = fields.u16()?;
        fields.u16()?;
        Ok(Self {
            segment,
            generation,
            log,
            incarnation: fields.u32()?,
            sequence: fields.u64()?,
            durable_to: LogPosition {
                segment: SegmentId(fields.u32()?),
                offset: fields.u32()?,
            },
            bytes: fields.u32()?,
            records: fields.u32()?,
        })
    }
}

fn group_crc(store_id: u64, fields: &[u8]) -> u32 {
    crc32c_append(crc32c(&store_id.to_le_bytes()), fields)
}

/// What stands before a record's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of the payload.
    pub payload_bytes: u32,
    /// See `record::kind`.
    pub kind: u8,
    /// None defined in format 1; 0.
    pub flags: u8,
    /// Whose record it is; [`NO_PARTITION`] for chunks and seals.
    pub partition: u16,
    /// The incarnation in which the partition's owner wrote it.
    pub epoch: u32,
    /// Rises with every record of a partition, over all epochs; 0 for chunks and seals.
    pub sequence: u64,
}

impl RecordHeader {
    /// The header's bytes, its checksum still zero.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_HEADER_BYTES] {
        let mut out = [0; RECORD_HEADER_BYTES];
        out[..4].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.flags;
        out[6..8].copy_from_slice(&self.partition.to_le_bytes());
        out[8..12].copy_from_slice(&self.epoch.to_le_bytes());
        out[12..RECORD_CRC_AT].copy_from_slice(&self.sequence.to_le_bytes());
        out
    }

    /// Reads a record off the front of `bytes` and checks it whole.
    pub fn decode(seed: u32, bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let mut reader = Reader::new(bytes);
        let header = Self {
            payload_bytes: reader.u32()?,
            kind: reader.u8()?,
            flags: reader.u8()?,
            partition: reader.u16()?,
            epoch: reader.u32()?,
            sequence: reader.u64()?,
        };
        let crc = reader.u32()?;
        let payload = reader.take(header.payload_bytes as usize)?;
        if crc32c_append(crc32c_append(seed, &bytes[..RECORD_CRC_AT]), payload) != crc {
            return Err(Malformed("its checksum is wrong"));
        }
        Ok((header, payload))
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.payload_bytes as usize
    }
}

/// What the checksums of a segment's records start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSeed {
    of_segment: u32,
    /// Where offsets are counted from; `None` in format 1, whose checksums do not know their place.
    origin: Option<u32>,
}

impl RecordSeed {
    /// Of the records of a segment of this generation and format version.
    #[must_use]
    pub fn new(segment: SegmentId, generation: u32, version: u32) -> Self {
        Self {
            of_segment: crc32c_append(crc32c(&segment.0.to_le_bytes()), &generation.to_le_bytes()),
            origin: (version >= 2).then_some(0),
        }
    }

    /// The same for offsets that are counted from `offset` on.
    #[must_use]
    pub fn behind(self, offset: u32) -> Self {
        Self {
            origin: self.origin.map(|origin| origin.wrapping_add(offset)),
            ..self
        }
    }

    /// What the checksum of the record at `offset` starts from.
    #[must_use]
    pub fn at(self, offset: u32) -> u32 {
        let Some(origin) = self.origin else {
            return self.of_segment;
        };
        crc32c_append(self.of_segment, &origin.wrapping_add(offset).to_le_bytes())
    }
}

/// Copies a record into `out` piece by piece, computing its checksum on the way.
pub struct RecordCopy<'a> {
    out: &'a mut [u8],
    at: usize,
    crc: u32,
}

impl<'a> RecordCopy<'a> {
    /// Starts a record at the front of `out`, which is exactly as long as the record.
    #[must_use]
    pub fn start(seed: u32, header: &RecordHeader, out: &'a mut [u8]) -> Self {
        assert_eq!(out.len(), header.record_bytes());
        let bytes = header.encode();
        out[..RECORD_HEADER_BYTES].copy_from_slice(&bytes);
        let crc = crc32c_append(seed, &bytes[..RECORD_CRC_AT]);
        Self {
            out,
            at: RECORD_HEADER_BYTES,
            crc,
        }
    }

    /// Appends to the payload.
    pub fn put(&mut self, piece: &[u8]) {
        self.out[self.at..self.at + piece.len()].copy_from_slice(piece);
        self.crc = crc32c_append(self.crc, piece);
        self.at += piece.len();
    }

    /// Writes the checksum.
    pub fn finish(self) {
        assert_eq!(self.at, self.out.len(), "a record is as long as its header says");
        self.out[RECORD_CRC_AT..RECORD_HEADER_BYTES].copy_from_slice(&self.crc.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_header_is_valid_in_its_store_only() {
        let header = GroupHeader {
            segment: SegmentId(3),
            generation: 1,
            log: 2,
            incarnation: 5,
            sequence: 77,
            durable_to: LogPosition {
                segment: SegmentId(2),
                offset: 8192,
            },
            bytes: 4000,
            records: 9,
        };
        let mut out = [0; 64];
        header.encode(11, &mut out);
        assert_eq!(GroupHeader::decode(11, &out), Some(header));
        assert_eq!(GroupHeader::decode(12, &out), None);
        out[40] ^= 1;
        assert_eq!(GroupHeader::decode(11, &out), None);
    }

    #[test]
    fn a_record_is_valid_in_its_segment_generation_and_place_only() {
        let header = RecordHeader {
            payload_bytes: 5,
            kind: 1,
            flags: 0,
            partition: 9,
            epoch: 2,
            sequence: 3,
        };
        let seed = RecordSeed::new(SegmentId(1), 1, 2).at(4096);
        let mut out = [0; 29];
        let mut copy = RecordCopy::start(seed, &header, &mut out);
        copy.put(b"he");
        copy.put(b"llo");
        copy.finish();
        assert_eq!(RecordHeader::decode(seed, &out), Ok((header, &b"hello"[..])));
        let others = [(1, 2, 4096), (2, 1, 4096), (1, 1, 8192)];
        for (segment, generation, offset) in others {
            let seed = RecordSeed::new(SegmentId(segment), generation, 2).at(offset);
            assert!(RecordHeader::decode(seed, &out).is_err());
        }
        for len in 0..out.len() {
            assert!(RecordHeader::decode(seed, &out[..len]).is_err());
        }
    }
}
