//! Sequence sets, and the commands that are a set and little more: STORE, COPY, MOVE, UID EXPUNGE.
//!
//! Limits: [`SEQUENCE_RANGES_MAX`].
//! Standards: RFC 9051 §9 (`sequence-set`), RFC 5182 (`$`), RFC 4315, 6851, 7162 §3.1.3.

use super::cursor::{Cursor, Parsed};
use super::{Fault, mailbox};
use crate::model::{MailboxName, ModSeq};
use crate::proto::imap::types::{
    CommandBody, SequenceNumber, SequenceRange, SequenceSet, Store, StoreOperation,
};
use smallvec::SmallVec;

/// Most ranges in one set; a full command line of single numbers has about as many.
pub const SEQUENCE_RANGES_MAX: usize = 10_000;

pub(super) fn sequence_set(cursor: &mut Cursor<'_>) -> Parsed<SequenceSet> {
    if cursor.eat(b'$') {
        return Ok(SequenceSet::Saved);
    }
    let mut ranges = SmallVec::new();
    loop {
        if ranges.len() == SEQUENCE_RANGES_MAX {
            return Err(Fault::Limit("too many ranges in a sequence set"));
        }
        let first = sequence_number(cursor)?;
        let last = if cursor.eat(b':') {
            sequence_number(cursor)?
        } else {
            first
        };
        ranges.push(SequenceRange { first, last });
        if !cursor.eat(b',') {
            return Ok(SequenceSet::Ranges(ranges));
        }
    }
}

pub(super) fn sequence_number(cursor: &mut Cursor<'_>) -> Parsed<SequenceNumber> {
    if cursor.eat(b'*') {
        return Ok(SequenceNumber::Largest);
    }
    cursor.nz_number().map(SequenceNumber::Number)
}

pub(super) fn copy_or_move(cursor: &mut Cursor<'_>) -> Parsed<(SequenceSet, MailboxName)> {
    cursor.space()?;
    let set = sequence_set(cursor)?;
    let mailbox = mailbox::one(cursor)?;
    Ok((set, mailbox))
}

pub(super) fn uid_expunge(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let uids = Some(sequence_set(cursor)?);
    Ok(CommandBody::Expunge { uids })
}

pub(super) fn store(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    cursor.space()?;
    let set = sequence_set(cursor)?;
    cursor.space()?;
    let mut unchanged_since = None;
    if cursor.peek() == Some(b'(') {
        cursor.list(mailbox::OPTIONS_MAX, false, |cursor| {
            if !cursor.eat_word(b"UNCHANGEDSINCE") {
                return Err(Fault::Expected("UNCHANGEDSINCE"));
            }
            unchanged_since = Some(ModSeq(cursor.number64()?));
            Ok(())
        })?;
        cursor.space()?;
    }
    let (operation, silent) = match cursor.word("FLAGS")?.bytes() {
        b"FLAGS" => (StoreOperation::Replace, false),
        b"FLAGS.SILENT" => (StoreOperation::Replace, true),
        b"+FLAGS" => (StoreOperation::Add, false),
        b"+FLAGS.SILENT" => (StoreOperation::Add, true),
        b"-FLAGS" => (StoreOperation::Remove, false),
        b"-FLAGS.SILENT" => (StoreOperation::Remove, true),
        _ => return Err(Fault::Expected("[+-]FLAGS[.SILENT]")),
    };
    cursor.space()?;
    let flags = if cursor.peek() == Some(b'(') {
        mailbox::flag_list(cursor)?
    } else {
        bare_flags(cursor)?
    };
    Ok(CommandBody::Store(Store {
        set,
        by_uid,
        operation,
        flags,
        silent,
        unchanged_since,
    }))
}

/// Flags without parentheses, as STORE alone allows.
fn bare_flags(cursor: &mut Cursor<'_>) -> Parsed<Vec<crate::model::Flag>> {
    let mut flags = vec![mailbox::flag(cursor)?];
    while cursor.eat(b' ') {
        if flags.len() == mailbox::FLAGS_MAX {
            return Err(Fault::Limit("too many flags"));
        }
        flags.push(mailbox::flag(cursor)?);
    }
    Ok(flags)
}
