//! The records of one group, also those behind a damaged one.
//!
//! A body may contain bytes that look like records: a record's checksum starts from its segment's number and
//! generation (since format 2 its place, too), which a peer can guess. So a place counts as the start of a record only when it follows from what is
//! known: it is where the length of the damaged record points, or the records from there fill the group to its end
//! and are as many as its header says are left. Where records were lost altogether and only the first of these two
//! holds, the rest is [`Trust::Weak`].
//! Not here: what records say (`survey`).

use crate::store::codec::Malformed;
use crate::store::frame::{GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, RecordSeed};
use std::ops::Range;

/// How sure it is that this is a record of the store's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It lies where a record must lie.
    Sure,
    /// Its checksum is right; that a record begins here is likely.
    Weak,
}

/// One record of a group, or a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A record whose checksum is right. `payload` is a range of the group's bytes.
    Record {
        /// From the group's start.
        at: usize,
        header: RecordHeader,
        payload: Range<usize>,
        trust: Trust,
    },
    /// Bytes that are no record.
    Bad {
        /// Of the group.
        range: Range<usize>,
        /// Does a record begin where it begins?
        is_start: bool,
    },
}

/// The record at `at` in a group's bytes.
fn decode(seed: RecordSeed, bytes: &[u8], at: usize) -> Result<(RecordHeader, &[u8]), Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    RecordHeader::decode(seed.at(u32::try_from(at).unwrap_or(u32::MAX)), rest)
}

/// Takes a group apart: `seed` counts offsets from its start; `bytes` from its header to its end, of which `records` are expected.
#[must_use]
pub fn pieces(seed: RecordSeed, bytes: &[u8], records: u32) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = GROUP_HEADER_BYTES.min(bytes.len());
    let mut left = u64::from(records);
    let mut trust = Trust::Sure;
    while at < bytes.len() {
        let (next, piece) = match decode(seed, bytes, at) {
            Ok((header, payload)) => {
                let start = at + RECORD_HEADER_BYTES;
                let payload = start..start + payload.len();
                let next = payload.end;
                let piece = Piece::Record {
                    at,
                    header,
                    payload,
                    trust,
                };
                (next, piece)
            }
            Err(_) => {
                let (next, lost) = resume(seed, bytes, at, left);
                if lost != Some(1) {
                    trust = Trust::Weak;
                }
                left = left.saturating_sub(lost.unwrap_or(1) - 1);
                let range = at..next;
                (
                    next,
                    Piece::Bad {
                        range,
                        is_start: true,
                    },
                )
            }
        };
        left = left.saturating_sub(1);
        found.push(piece);
        at = next;
    }
    found
}

/// Where the records go on behind the bad one at `at`, and how many were lost in between if that is known.
fn resume(seed: RecordSeed, bytes: &[u8], at: usize, left: u64) -> (usize, Option<u64>) {
    let claimed = bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map(u32::from_le_bytes);
    let by_length = claimed.map(|claimed| at + RECORD_HEADER_BYTES + claimed as usize);
    if let Some(next) = by_length.filter(|next| *next <= bytes.len()) {
        let is_end = next == bytes.len() && left == 1;
        if is_end || decode(seed, bytes, next).is_ok() {
            return (next, Some(1));
        }
    }
    for next in at + 1..bytes.len() {
        if decode(seed, bytes, next).is_err() {
            continue;
        }
        match chain(seed, bytes, next) {
            Some(count) if count < left => return (next, Some(left - count)),
            _ => {}
        }
    }
    (bytes.len(), None)
}

/// How many records lie between `at` and the end, if nothing else does.
fn chain(seed: RecordSeed, bytes: &[u8], mut at: usize) -> Option<u64> {
    let mut count = 0;
    while at < bytes.len() {
        let (header, _) = decode(seed, bytes, at).ok()?;
        at += header.record_bytes();
        count += 1;
    }
    Some(count)
}

/// Records from behind where a group's header must be, as far as they are right: for a group whose header is gone.
#[must_use]
pub fn headless(seed: RecordSeed, bytes: &[u8]) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut at = GROUP_HEADER_BYTES;
    while let Ok((header, payload)) = decode(seed, bytes, at) {
        let start = at + RECORD_HEADER_BYTES;
        let payload = start..start + payload.len();
        let next = payload.end;
        found.push(Piece::Record {
            at,
            header,
            payload,
            trust: Trust::Sure,
        });
        at = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentId;
    use crate::store::frame::RecordCopy;

    fn record(seed: RecordSeed, payload: &[u8], out: &mut Vec<u8>) {
        let header = RecordHeader {
            payload_bytes: payload.len() as u32,
            kind: 1,
            flags: 0,
            partition: 0,
            epoch: 1,
            sequence: 1,
        };
        let mut bytes = vec![0; header.record_bytes()];
        let at = u32::try_from(out.len()).expect("a group is short");
        let mut copy = RecordCopy::start(seed.at(at), &header, &mut bytes);
        copy.put(payload);
        copy.finish();
        out.extend(bytes);
    }

    fn group(seed: RecordSeed, payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; GROUP_HEADER_BYTES];
        payloads
            .iter()
            .for_each(|payload| record(seed, payload, &mut bytes));
        bytes
    }

    /// In format 1 a record at any place is one; what is said of forgeries must hold there, too.
    fn seed() -> RecordSeed {
        RecordSeed::new(SegmentId(1), 1, 1)
    }

    fn outline(found: &[Piece]) -> Vec<(bool, bool)> {
        let of = |piece: &Piece| match piece {
            Piece::Record { trust, .. } => (true, *trust == Trust::Sure),
            Piece::Bad { .. } => (false, false),
        };
        found.iter().map(of).collect()
    }

    #[test]
    fn records_behind_any_flipped_bit_are_found_again() {
        let whole = group(seed(), &[b"first", b"second one", b"third"]);
        for byte in GROUP_HEADER_BYTES..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[byte] ^= 1 << bit;
                let found = pieces(seed(), &bytes, 3);
                assert_eq!(found.len(), 3, "byte {byte} bit {bit}");
                let good = outline(&found).iter().filter(|p| **p == (true, true)).count();
                assert_eq!(good, 2, "byte {byte} bit {bit}: {found:?}");
            }
        }
    }

    #[test]
    fn records_inside_a_damaged_body_are_not_taken_for_records() {
        let seed = seed();
        let mut forged = Vec::new();
        record(seed, b"forged", &mut forged);
        let body = [b"some text ".as_slice(), &forged].concat();
        let whole = group(seed, &[b"before", &body, b"behind"]);
        for byte in GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + 6..whole.len() {
            let mut bytes = whole.clone();
            bytes[byte] ^= 0x10;
            let found = pieces(seed, &bytes, 3);
            let forgeries = found.iter().filter(
                |piece| matches!(piece, Piece::Record { payload, .. } if &bytes[payload.clone()] == b"forged"),
            );
            assert_eq!(forgeries.count(), 0, "byte {byte}");
        }
    }

    #[test]
    fn a_zeroed_stretch_costs_what_it_covers_and_makes_the_rest_less_sure() {
        let mut bytes = group(seed(), &[b"first", b"second one", b"third", b"fourth"]);
        let start = GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + 5 + 2;
        bytes[start..start + RECORD_HEADER_BYTES + 10 + 20].fill(0);
        let found = outline(&pieces(seed(), &bytes, 4));
        assert_eq!(found, [(true, true), (false, false), (true, false)]);
    }
}
