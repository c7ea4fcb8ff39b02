//! A file of summaries: its name, header block and index as bytes.
//!
//! Invariants: a file is written once, under a name never used before. An index is believed only when the checksums of header
//! and index are right, which start from what is in the name; it ascends, and every entry lies in the file. No sync is
//! relied on: what a cut of the power leaves of a file is told from what was written by checksums alone.
//! Limits: [`ENTRIES_MAX`].
//! Not here: summaries themselves (`entry`), when files are written (`keep`). FORMAT.md has the fields.

use super::entry::{ENTRY_BYTES_MAX, PartSet};
use crate::base::{crc32c, crc32c_append};
use crate::disk::BLOCK_BYTES;
use crate::model::{AccountId, LogPosition, SegmentId};
use crate::store::codec::{Malformed, Reader, put_u8, put_u16, put_u32, put_u64};

/// Version of these files. Any other is ignored and removed, and summaries are made anew; so it rises with every change of the
/// fields here and in `entry`, and with every change of what a part says of the same message.
pub const SUMMARIES_VERSION: u32 = 2;

/// Summaries of one file, and of one account: sorting as many takes about a millisecond.
pub const ENTRIES_MAX: usize = 128 * 1024;

/// Bytes of one entry of an index.
pub const INDEX_ENTRY_BYTES: usize = 16;

const MAGIC: &[u8; 8] = b"RPSUMRY\x1a";

/// Which file; all of it is in the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SummariesName {
    /// Whose.
    pub account: AccountId,
    /// Of the start that wrote it.
    pub incarnation: u32,
    /// Rises with every file of that start.
    pub number: u32,
}

impl SummariesName {
    /// Beside the segments.
    #[must_use]
    pub fn file(&self) -> String {
        format!(
            "segments/{:016x}-{:08x}-{:08x}.sum",
            self.account.0, self.incarnation, self.number
        )
    }

    /// `None`: not the name of a file of summaries.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("segments/")?.strip_suffix(".sum")?;
        let mut parts = digits.split('-');
        let account = u64::from_str_radix(parts.next()?, 16).ok()?;
        let incarnation = u32::from_str_radix(parts.next()?, 16).ok()?;
        let number = u32::from_str_radix(parts.next()?, 16).ok()?;
        let found = Self {
            account: AccountId(account),
            incarnation,
            number,
        };
        (found.file() == name).then_some(found)
    }
}

/// Where a summary lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The record of its message.
    pub record: LogPosition,
    /// Of its first byte in the file.
    pub at: u32,
    /// Its length.
    pub bytes: u16,
    /// What is in it.
    pub parts: PartSet,
}

/// What the header block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SummariesHeader {
    /// As in the index, which begins at the second block.
    pub entries: u32,
    /// Blocks of the whole file.
    pub blocks: u32,
    /// Of the index.
    index_crc: u32,
}

impl SummariesHeader {
    /// Of the index.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.entries as usize * INDEX_ENTRY_BYTES
    }

    /// Of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        u64::from(self.blocks) * BLOCK_BYTES as u64
    }
}

/// Header block and index, without padding.
#[must_use]
pub fn encode_head(store_id: u64, name: &SummariesName, blocks: u32, index: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK_BYTES + index.len() * INDEX_ENTRY_BYTES);
    out.resize(BLOCK_BYTES, 0);
    for entry in index {
        put_u32(&mut out, entry.record.segment.0);
        put_u32(&mut out, entry.record.offset);
        put_u32(&mut out, entry.at);
        put_u16(&mut out, entry.bytes);
        put_u8(&mut out, entry.parts.bits());
        put_u8(&mut out, 0);
    }
    seal_head(store_id, name, blocks, &mut out);
    out
}

/// Writes the header into the first block of `head`, whose rest is the index.
pub fn seal_head(store_id: u64, name: &SummariesName, blocks: u32, head: &mut [u8]) {
    let index = &head[BLOCK_BYTES..];
    let entries = u32::try_from(index.len() / INDEX_ENTRY_BYTES).expect("a file has few summaries");
    let index_crc = index_crc(store_id, name, index);
    let mut header = Vec::with_capacity(64);
    header.extend_from_slice(MAGIC);
    put_u32(&mut header, SUMMARIES_VERSION);
    put_u64(&mut header, store_id);
    put_u64(&mut header, name.account.0);
    put_u32(&mut header, name.incarnation);
    put_u32(&mut header, name.number);
    put_u32(&mut header, entries);
    put_u32(&mut header, blocks);
    put_u32(&mut header, index_crc);
    header.resize(60, 0);
    let crc = crc32c(&header);
    put_u32(&mut header, crc);
    head[..header.len()].copy_from_slice(&header);
}

fn index_crc(store_id: u64, name: &SummariesName, index: &[u8]) -> u32 {
    let mut crc = crc32c(&store_id.to_le_bytes());
    crc = crc32c_append(crc, &name.account.0.to_le_bytes());
    crc = crc32c_append(crc, &name.incarnation.to_le_bytes());
    crc = crc32c_append(crc, &name.number.to_le_bytes());
    crc32c_append(crc, index)
}

/// Reads a header block.
///
/// # Errors
/// When it is none of this file and version.
pub fn decode_header(
    store_id: u64,
    name: &SummariesName,
    block: &[u8],
) -> Result<SummariesHeader, Malformed> {
    let mut input = Reader::new(block);
    if input.take(MAGIC.len())? != MAGIC {
        return Err(Malformed("no file of summaries"));
    }
    if input.u32()? != SUMMARIES_VERSION {
        return Err(Malformed("another version of summaries"));
    }
    let crc = Reader::new(block.get(60..).unwrap_or_default()).u32()?;
    if crc != crc32c(&block[..60]) {
        return Err(Malformed("the checksum of its header is wrong"));
    }
    let is_named = input.u64()? == store_id
        && input.u64()? == name.account.0
        && input.u32()? == name.incarnation
        && input.u32()? == name.number;
    if !is_named {
        return Err(Malformed("it is another file's"));
    }
    let header = SummariesHeader {
        entries: input.u32()?,
        blocks: input.u32()?,
        index_crc: input.u32()?,
    };
    if header.entries as usize > ENTRIES_MAX {
        return Err(Malformed("more summaries than a file has"));
    }
    Ok(header)
}

/// Reads an index, which is all of `bytes`.
///
/// # Errors
/// When it is not as it was written.
pub fn decode_index(
    store_id: u64,
    name: &SummariesName,
    header: &SummariesHeader,
    bytes: &[u8],
) -> Result<Vec<IndexEntry>, Malformed> {
    if bytes.len() != header.index_bytes() || index_crc(store_id, name, bytes) != header.index_crc {
        return Err(Malformed("the checksum of its index is wrong"));
    }
    let mut index: Vec<IndexEntry> = Vec::with_capacity(header.entries as usize);
    for bytes in bytes.chunks_exact(INDEX_ENTRY_BYTES) {
        let entry = decode_entry(bytes)?;
        let first = (BLOCK_BYTES + header.index_bytes()) as u64;
        let (at, end) = (u64::from(entry.at), u64::from(entry.at) + u64::from(entry.bytes));
        if at < first || end > header.file_bytes() || usize::from(entry.bytes) > ENTRY_BYTES_MAX {
            return Err(Malformed("a summary beyond its file"));
        }
        if index.last().is_some_and(|last| last.record >= entry.record) {
            return Err(Malformed("summaries that do not ascend"));
        }
        index.push(entry);
    }
    Ok(index)
}

fn decode_entry(bytes: &[u8]) -> Result<IndexEntry, Malformed> {
    let mut input = Reader::new(bytes);
    let entry = IndexEntry {
        record: LogPosition {
            segment: SegmentId(input.u32()?),
            offset: input.u32()?,
        },
        at: input.u32()?,
        bytes: input.u16()?,
        parts: PartSet::of_bits(input.u8()?).ok_or(Malformed("an unknown part of a summary"))?,
    };
    if input.u8()? != 0 {
        return Err(Malformed("a byte that should be zero"));
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::super::entry::Part;
    use super::*;
    use proptest::prelude::*;

    const NAME: SummariesName = SummariesName {
        account: AccountId(0xABC),
        incarnation: 7,
        number: 3,
    };

    fn index(count: u32) -> Vec<IndexEntry> {
        let entry = |number: u32| IndexEntry {
            record: LogPosition {
                segment: SegmentId(1 + number / 4),
                offset: 4096 + number,
            },
            at: BLOCK_BYTES as u32 + count * INDEX_ENTRY_BYTES as u32 + number * 40,
            bytes: 40,
            parts: PartSet::NONE.with(Part::ALL[number as usize % Part::ALL.len()]),
        };
        (0..count).map(entry).collect()
    }

    fn read(store_id: u64, name: &SummariesName, bytes: &[u8]) -> Result<Vec<IndexEntry>, Malformed> {
        let header = decode_header(store_id, name, bytes)?;
        let end = BLOCK_BYTES + header.index_bytes();
        let bytes = bytes
            .get(BLOCK_BYTES..end)
            .ok_or(Malformed("it ends too early"))?;
        decode_index(store_id, name, &header, bytes)
    }

    #[test]
    fn names_come_back() {
        assert_eq!(NAME.file(), "segments/0000000000000abc-00000007-00000003.sum");
        assert_eq!(SummariesName::of_file(&NAME.file()), Some(NAME));
        for other in ["segments/abc-7-3.sum", "segments/0000002a.seg", "STORE"] {
            assert_eq!(SummariesName::of_file(other), None);
        }
    }

    #[test]
    fn an_index_is_read_in_its_own_file_and_version_only() {
        let written = index(9);
        let bytes = encode_head(5, &NAME, 3, &written);
        assert_eq!(read(5, &NAME, &bytes), Ok(written));
        assert!(read(6, &NAME, &bytes).is_err(), "another store");
        for other in [
            SummariesName {
                account: AccountId(1),
                ..NAME
            },
            SummariesName {
                incarnation: 8,
                ..NAME
            },
            SummariesName { number: 4, ..NAME },
        ] {
            assert!(read(5, &other, &bytes).is_err());
        }
        let mut newer = bytes.clone();
        newer[8] += 1;
        let crc = crc32c(&newer[..60]);
        newer[60..64].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(
            decode_header(5, &NAME, &newer),
            Err(Malformed("another version of summaries"))
        );
        assert!(decode_header(5, &NAME, &[0; BLOCK_BYTES]).is_err());
        assert!(decode_header(5, &NAME, &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_changed_bit_of_header_or_index_is_noticed(count in 1..40_u32, bit: prop::sample::Index) {
            let mut bytes = encode_head(5, &NAME, 3, &index(count));
            // What lies between the header's fields and the index is not looked at.
            let bit = bit.index((64 + bytes.len() - BLOCK_BYTES) * 8);
            let at = if bit / 8 < 64 { bit / 8 } else { BLOCK_BYTES + bit / 8 - 64 };
            bytes[at] ^= 1 << (bit % 8);
            prop_assert!(read(5, &NAME, &bytes).is_err());
        }
    }
}
