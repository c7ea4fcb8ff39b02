//! One message's summary as bytes.
//!
//! Invariants: what [`encode`] wrote is what [`decode`] gives; every other string of bytes is refused or is such a summary,
//! and none makes it panic or allocate. The checksum starts from the store's id and the account, and a summary names its
//! message, so one that passes is right wherever it lies: the bytes of a message never change.
//! Limits: [`PART_BYTES_MAX`], [`ENTRY_BYTES_MAX`]: what does not fit is not kept, and comes from the message. Long ones come
//! from few messages, and hostile ones are among those.
//! Not here: what a part's octets mean (`mailbox::summary`), files of summaries (`file`). FORMAT.md has the fields.

use crate::base::{crc32c, crc32c_append};
use crate::model::{AccountId, LogPosition, SegmentId};
use crate::store::MessageRow;
use crate::store::codec::{Malformed, Reader, put_bytes, put_u8, put_u32, put_u64};

/// Octets of one part.
pub const PART_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a summary with all its parts.
pub const ENTRY_BYTES_MAX: usize = 16 * 1024;

/// Bytes before the parts.
const HEAD_BYTES: usize = 33;

/// Bytes of a part's length: a varint of at most [`PART_BYTES_MAX`].
const LENGTH_BYTES_MAX: usize = 3;

const _: () = assert!(
    ENTRY_BYTES_MAX <= u16::MAX as usize,
    "an index has two bytes for it"
);

/// What a summary can hold, each on its own. The numbers are in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The text of ENVELOPE.
    Envelope = 0,
    /// Header fields that clients ask for, and which others there are.
    Fields = 1,
    /// The text of BODYSTRUCTURE.
    BodyStructure = 2,
    /// The text of BODY without a section.
    Body = 3,
    /// The text of PREVIEW.
    Preview = 4,
}

impl Part {
    /// All, by number.
    pub const ALL: [Self; 5] = [
        Self::Envelope,
        Self::Fields,
        Self::BodyStructure,
        Self::Body,
        Self::Preview,
    ];
}

/// Some parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartSet(u8);

impl PartSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub fn with(self, part: Part) -> Self {
        Self(self.0 | 1 << part as u8)
    }

    /// Are all of `others` among these?
    #[must_use]
    pub fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// As in files.
    pub(super) fn bits(self) -> u8 {
        self.0
    }

    /// `None`: bits that no part has.
    pub(super) fn of_bits(bits: u8) -> Option<Self> {
        (bits >> Part::ALL.len() == 0).then_some(Self(bits))
    }
}

/// Which message a summary is of, as every row of that message knows it: the place of its record, which is never used
/// again, its size and INTERNALDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its record.
    pub record: LogPosition,
    /// Octets.
    pub size: u32,
    /// INTERNALDATE, ms since the epoch.
    pub internal_date_ms: i64,
}

impl Identity {
    /// Of the message of this row.
    #[must_use]
    pub fn of(row: &MessageRow) -> Self {
        Self {
            record: row.record,
            size: row.size,
            internal_date_ms: row.internal_date_at.0,
        }
    }
}

/// What is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// Of its body (RFC 8474 EMAILID).
    pub email_id: u64,
    parts: [Option<&'a [u8]>; Part::ALL.len()],
}

impl<'a> Summary<'a> {
    /// Nothing but the email id.
    #[must_use]
    pub fn new(email_id: u64) -> Self {
        Self {
            email_id,
            parts: [None; Part::ALL.len()],
        }
    }

    /// A part's octets.
    #[must_use]
    pub fn part(&self, part: Part) -> Option<&'a [u8]> {
        self.parts[part as usize]
    }

    /// Adds a part that is not too long.
    pub fn put(&mut self, part: Part, octets: &'a [u8]) {
        if octets.len() <= PART_BYTES_MAX {
            self.parts[part as usize] = Some(octets);
        }
    }

    /// Adds what another summary of the same message has and this one has not.
    pub fn complete_from(&mut self, other: &Summary<'a>) {
        for part in Part::ALL {
            if let (None, Some(octets)) = (self.part(part), other.part(part)) {
                self.put(part, octets);
            }
        }
    }

    /// Bytes that [`encode`] writes if all parts fit.
    pub(super) fn encoded_bytes(&self) -> usize {
        let length_bytes = |octets: &[u8]| if octets.len() < 1 << 7 { 1 } else { 2 };
        let parts = self.parts.iter().flatten();
        HEAD_BYTES
            + parts
                .map(|octets| length_bytes(octets) + octets.len())
                .sum::<usize>()
    }

    /// Which parts it has.
    #[must_use]
    pub fn parts(&self) -> PartSet {
        let there = Part::ALL.into_iter().filter(|part| self.part(*part).is_some());
        there.fold(PartSet::NONE, PartSet::with)
    }
}

/// What checksums of an account's summaries start from.
#[must_use]
pub fn seed(store_id: u64, account: AccountId) -> u32 {
    crc32c_append(crc32c(&store_id.to_le_bytes()), &account.0.to_le_bytes())
}

/// Writes a summary to `out`, which is empty, and says which parts are in it: later ones that do not fit are left out.
pub fn encode(seed: u32, message: &Identity, summary: &Summary<'_>, out: &mut Vec<u8>) -> PartSet {
    assert!(out.is_empty(), "a summary stands alone until it is whole");
    put_u32(out, 0);
    put_u32(out, message.record.segment.0);
    put_u32(out, message.record.offset);
    put_u32(out, message.size);
    put_u64(out, message.internal_date_ms.cast_unsigned());
    put_u64(out, summary.email_id);
    put_u8(out, 0);
    debug_assert_eq!(out.len(), HEAD_BYTES);
    let mut kept = PartSet::NONE;
    for part in Part::ALL {
        let Some(octets) = summary.part(part) else {
            continue;
        };
        if out.len() + LENGTH_BYTES_MAX + octets.len() <= ENTRY_BYTES_MAX {
            put_bytes(out, octets);
            kept = kept.with(part);
        }
    }
    out[HEAD_BYTES - 1] = kept.bits();
    let crc = crc32c_append(seed, &out[4..]);
    out[..4].copy_from_slice(&crc.to_le_bytes());
    kept
}

/// Reads a summary that is all of `bytes`.
///
/// # Errors
/// When it is not as it was written, or of another store or account.
pub fn decode(seed: u32, bytes: &[u8]) -> Result<(Identity, Summary<'_>), Malformed> {
    let mut input = Reader::new(bytes);
    if bytes.len() > ENTRY_BYTES_MAX {
        return Err(Malformed("a summary too long"));
    }
    if input.u32()? != crc32c_append(seed, &bytes[4..]) {
        return Err(Malformed("a summary's checksum is wrong"));
    }
    let message = Identity {
        record: LogPosition {
            segment: SegmentId(input.u32()?),
            offset: input.u32()?,
        },
        size: input.u32()?,
        internal_date_ms: input.u64()?.cast_signed(),
    };
    let mut summary = Summary::new(input.u64()?);
    let parts = PartSet::of_bits(input.u8()?).ok_or(Malformed("an unknown part of a summary"))?;
    for part in Part::ALL {
        if parts.has_all(PartSet::NONE.with(part)) {
            let octets = input.bytes()?;
            if octets.len() > PART_BYTES_MAX {
                return Err(Malformed("a part of a summary too long"));
            }
            summary.put(part, octets);
        }
    }
    input.finish()?;
    Ok((message, summary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: u32 = 77;

    fn identity() -> impl Strategy<Value = Identity> {
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<i64>()).prop_map(|(segment, offset, size, date)| {
            Identity {
                record: LogPosition {
                    segment: SegmentId(segment),
                    offset,
                },
                size,
                internal_date_ms: date,
            }
        })
    }

    fn parts() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
        let octets = prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..300),
            1 => prop::collection::vec(any::<u8>(), PART_BYTES_MAX - 2..PART_BYTES_MAX + 2),
        ];
        prop::collection::vec(prop::option::of(octets), Part::ALL.len())
    }

    fn summary(email_id: u64, parts: &[Option<Vec<u8>>]) -> Summary<'_> {
        let mut summary = Summary::new(email_id);
        for (part, octets) in Part::ALL.into_iter().zip(parts) {
            if let Some(octets) = octets {
                summary.put(part, octets);
            }
        }
        summary
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_is_too_long(
            message in identity(), email_id: u64, parts in parts(),
        ) {
            let wanted = summary(email_id, &parts);
            let mut bytes = Vec::new();
            let kept = encode(SEED, &message, &wanted, &mut bytes);
            prop_assert!(bytes.len() <= ENTRY_BYTES_MAX);
            let (found, read) = decode(SEED, &bytes).expect("it was just written");
            prop_assert_eq!(found, message);
            prop_assert_eq!(read.email_id, email_id);
            prop_assert_eq!(read.parts(), kept);
            for part in Part::ALL {
                if let Some(octets) = read.part(part) {
                    prop_assert_eq!(Some(octets), wanted.part(part));
                }
            }
            let bytes_of_all: usize = parts.iter().flatten().map(Vec::len).sum();
            if bytes_of_all < PART_BYTES_MAX {
                prop_assert_eq!(kept, wanted.parts());
            }
            prop_assert!(decode(SEED + 1, &bytes).is_err(), "of another account");
        }

        #[test]
        fn any_changed_bit_is_noticed(
            message in identity(), parts in parts(), bit: prop::sample::Index,
        ) {
            let mut bytes = Vec::new();
            encode(SEED, &message, &summary(5, &parts), &mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(SEED, &bytes).is_err());
        }

        #[test]
        fn arbitrary_bytes_behind_a_right_checksum_do_no_harm(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = decode(SEED, &bytes);
            if bytes.len() > 4 {
                let crc = crc32c_append(SEED, &bytes[4..]);
                bytes[..4].copy_from_slice(&crc.to_le_bytes());
                let _ = decode(SEED, &bytes);
            }
        }
    }
}
