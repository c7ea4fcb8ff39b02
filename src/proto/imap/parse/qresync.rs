//! The parameter QRESYNC of SELECT and EXAMINE.
//!
//! Invariants: no set here has `*` or `$` in it; the two sets of a sample ascend and name equally many numbers.
//! Standards: RFC 7162 §3.2.5, §7 (`select-param`, `seq-match-data`).

use super::cursor::{Cursor, Parsed};
use super::{Fault, sets};
use crate::model::{ModSeq, UidValidity};
use crate::proto::imap::types::{QResync, SequenceNumber, SequenceSet, UidSample};
use std::ops::RangeInclusive;

const PLAIN_SET: Fault = Fault::Expected("a set without '*' and '$'");

/// ` (uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data])`
pub(super) fn parameter(cursor: &mut Cursor<'_>) -> Parsed<QResync> {
    cursor.space()?;
    cursor.expect(b'(', "'('")?;
    let uid_validity = UidValidity(cursor.nz_number()?.get());
    cursor.space()?;
    let mod_seq = ModSeq(cursor.number64()?);
    let mut known = None;
    let mut sample = None;
    while cursor.eat(b' ') {
        if cursor.peek() == Some(b'(') {
            sample = Some(uid_sample(cursor)?);
            break;
        }
        if known.is_some() {
            return Err(Fault::Expected("'(' or ')'"));
        }
        known = Some(known_uids(cursor)?);
    }
    cursor.expect(b')', "')'")?;
    Ok(QResync {
        uid_validity,
        mod_seq,
        known,
        sample,
    })
}

fn known_uids(cursor: &mut Cursor<'_>) -> Parsed<Vec<RangeInclusive<u32>>> {
    let SequenceSet::Ranges(ranges) = sets::sequence_set(cursor)? else {
        return Err(PLAIN_SET);
    };
    let number = |number| match number {
        SequenceNumber::Number(number) => Ok(number.get()),
        SequenceNumber::Largest => Err(PLAIN_SET),
    };
    ranges
        .iter()
        .map(|range| {
            let (a, b) = (number(range.first)?, number(range.last)?);
            Ok(a.min(b)..=a.max(b))
        })
        .collect()
}

fn uid_sample(cursor: &mut Cursor<'_>) -> Parsed<UidSample> {
    cursor.expect(b'(', "'('")?;
    let numbers = known_uids(cursor)?;
    cursor.space()?;
    let uids = known_uids(cursor)?;
    cursor.expect(b')', "')'")?;
    let ascends = |set: &[RangeInclusive<u32>]| set.windows(2).all(|pair| pair[0].end() < pair[1].start());
    let count = |set: &[RangeInclusive<u32>]| -> u64 {
        set.iter()
            .map(|range| u64::from(range.end() - range.start()) + 1)
            .sum()
    };
    if !ascends(&numbers) || !ascends(&uids) || count(&numbers) != count(&uids) {
        return Err(Fault::Expected("two ascending sets of equal length"));
    }
    Ok(UidSample { numbers, uids })
}
