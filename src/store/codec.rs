//! Bytes in, values out: little-endian integers, varints, length-prefixed bytes, sets of UIDs.
//!
//! Invariants: a [`Reader`] never reads beyond its slice and never panics, whatever the bytes are; every `put_x` is
//! undone by the `x` of the reader.
//! Not here: which fields a record has (`record`), checksums of whole records (`frame`).

use crate::model::Uid;

/// Why bytes are not the value they should be. The position is added by whoever knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Ranges of UIDs, both ends included, ascending, not touching each other.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UidSet(Vec<(u32, u32)>);

impl UidSet {
    /// The set of `uids`, in any order.
    #[must_use]
    pub fn new(mut uids: Vec<Uid>) -> Self {
        uids.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for uid in uids.iter().map(|u| u.value()) {
            match ranges.last_mut() {
                Some((_, last)) if uid == *last => {}
                Some((_, last)) if uid - 1 == *last => *last = uid,
                _ => ranges.push((uid, uid)),
            }
        }
        Self(ranges)
    }

    /// Every UID below `uid_next`.
    #[must_use]
    pub fn up_to(uid_next: u32) -> Self {
        Self(if uid_next > 1 {
            vec![(1, uid_next - 1)]
        } else {
            Vec::new()
        })
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    /// Is it one of them?
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < uid.value());
        self.0.get(at).is_some_and(|(first, _)| *first <= uid.value())
    }

    /// How many UIDs the ranges hold.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(a, b)| u64::from(b - a) + 1).sum()
    }

    /// Bytes that [`put_uids`] needs at most.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        10 + 10 * self.0.len()
    }
}

/// Appends a `u8`.
pub fn put_u8(out: &mut Vec<u8>, value: u8) {
    out.push(value);
}
/// Appends a `u16`.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}
/// Appends a `u32`.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}
/// Appends a `u64`.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}
/// Appends seven bits a byte, the low ones first, the high bit saying that more follow.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}
/// Appends a varint of the length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
/// Appends the number of ranges, then for each the gap to the end of the one before and its length less one.
pub fn put_uids(out: &mut Vec<u8>, uids: &UidSet) {
    put_varint(out, uids.0.len() as u64);
    let mut end = 0;
    for (first, last) in &uids.0 {
        put_varint(out, u64::from(first - end));
        put_varint(out, u64::from(last - first));
        end = *last;
    }
}

/// Takes values off the front of a slice.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes` from its start.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Malformed("ends too early"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed("ends too early"))
    }

    /// See [`put_u8`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_le_bytes)
    }
    /// See [`put_u16`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }
    /// See [`put_u32`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }
    /// See [`put_u64`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }
    /// See [`put_varint`].
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed("a varint beyond 64 bits"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed("a varint without end"))
    }
    /// A count of things of which each takes at least `bytes_each`, so that no count makes us allocate more than was
    /// read.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed("a count too large"))?;
        if count.saturating_mul(bytes_each) > self.remaining() {
            return Err(Malformed("a count beyond the record"));
        }
        Ok(count)
    }
    /// See [`put_bytes`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count(1)?;
        self.take(len)
    }
    /// Bytes that must be UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text is not UTF-8"))
    }
    /// See [`put_uids`].
    pub fn uids(&mut self) -> Result<UidSet, Malformed> {
        let count = self.count(2)?;
        let mut ranges = Vec::with_capacity(count);
        let mut end = 0u32;
        for index in 0..count {
            let gap = self.varint()?;
            let first =
                u32::try_from(u64::from(end) + gap.min(1 << 32)).map_err(|_| Malformed("a UID too large"))?;
            let touches = if index == 0 { gap == 0 } else { gap < 2 };
            let last = u32::try_from(u64::from(first) + self.varint()?.min(1 << 32))
                .map_err(|_| Malformed("a UID too large"))?;
            if touches {
                return Err(Malformed("UID ranges that touch"));
            }
            ranges.push((first, last));
            end = last;
        }
        Ok(UidSet(ranges))
    }
    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Everything was read.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes behind the last field"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn uid_sets_come_back_as_they_were(mut uids in proptest::collection::vec(1u32.., 0..50)) {
            let set = UidSet::new(uids.iter().filter_map(|u| Uid::new(*u)).collect());
            uids.sort_unstable();
            uids.dedup();
            prop_assert_eq!(set.count(), uids.len() as u64);
            let mut out = Vec::new();
            put_uids(&mut out, &set);
            prop_assert!(out.len() <= set.encoded_bytes_max());
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.uids(), Ok(set));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn varints_come_back_and_no_bytes_make_the_reader_panic(value: u64, noise: Vec<u8>) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(Reader::new(&out).varint(), Ok(value));
            let _ = Reader::new(&noise).varint();
            let _ = Reader::new(&noise).uids();
            let _ = Reader::new(&noise).text();
        }
    }
}
