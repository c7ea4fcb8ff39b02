//! GETMETADATA, SETMETADATA, and the query of entries that LIST takes too.
//!
//! Invariants: names of entries come out in lower case, begin with `/private/` or `/shared/`, and have no empty level, no
//! `*` and no `%` (RFC 5464 §3.2); the empty mailbox name stands for the server.
//! GETMETADATA's options are taken before the mailbox, where the grammar has them, and behind it, where the examples do.
//! Limits: [`ENTRIES_MAX`], [`ENTRY_BYTES_MAX`].
//! Standards: RFC 5464 §4, §5; RFC 9590 §3, §6.

use super::cursor::{Cursor, Parsed};
use super::{Fault, mailbox};
use crate::model::MailboxName;
use crate::proto::imap::types::{CommandBody, MetadataDepth, MetadataQuery};

/// Most entries of one command.
const ENTRIES_MAX: usize = 128;

/// Longest name of an entry, octets.
const ENTRY_BYTES_MAX: usize = 255;

pub(super) fn get_metadata(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mut query = MetadataQuery {
        entries: Vec::new(),
        max_size: None,
        depth: MetadataDepth::default(),
    };
    if cursor.peek() == Some(b'(') {
        options(cursor, &mut query)?;
        cursor.space()?;
    }
    let mailbox = mailbox_or_server(cursor)?;
    cursor.space()?;
    read_query(cursor, &mut query)?;
    Ok(CommandBody::GetMetadata { mailbox, query })
}

/// `[options SP] entries`, the return option of LIST.
pub(super) fn query(cursor: &mut Cursor<'_>) -> Parsed<MetadataQuery> {
    let mut query = MetadataQuery {
        entries: Vec::new(),
        max_size: None,
        depth: MetadataDepth::default(),
    };
    read_query(cursor, &mut query)?;
    Ok(query)
}

fn read_query(cursor: &mut Cursor<'_>, query: &mut MetadataQuery) -> Parsed<()> {
    // An entry begins with a slash, bare, quoted or behind the head of a literal.
    let is_options = matches!(cursor.rest(), [b'(', first, ..] if first.is_ascii_alphabetic());
    if is_options {
        options(cursor, query)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'(') {
        cursor.list(ENTRIES_MAX, false, |cursor| {
            query.entries.push(entry(cursor)?);
            Ok(())
        })
    } else {
        query.entries.push(entry(cursor)?);
        Ok(())
    }
}

fn options(cursor: &mut Cursor<'_>, query: &mut MetadataQuery) -> Parsed<()> {
    cursor.list(mailbox::OPTIONS_MAX, false, |cursor| {
        let word = cursor.word("MAXSIZE or DEPTH")?;
        cursor.space()?;
        match word.bytes() {
            b"MAXSIZE" => query.max_size = Some(cursor.number64()?),
            b"DEPTH" => {
                query.depth = match cursor.word("0, 1 or infinity")?.bytes() {
                    b"0" => MetadataDepth::Zero,
                    b"1" => MetadataDepth::One,
                    b"INFINITY" => MetadataDepth::Infinity,
                    _ => return Err(Fault::Expected("0, 1 or infinity")),
                }
            }
            _ => return Err(Fault::Expected("MAXSIZE or DEPTH")),
        }
        Ok(())
    })
}

pub(super) fn set_metadata(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mailbox = mailbox_or_server(cursor)?;
    cursor.space()?;
    let mut entries = Vec::new();
    cursor.list(ENTRIES_MAX, false, |cursor| {
        let name = entry(cursor)?;
        if name.matches('/').count() < 2 {
            return Err(Fault::Expected("an entry below /private or /shared"));
        }
        cursor.space()?;
        let value = cursor.nstring8()?.map(|value| value.into_owned());
        entries.push((name, value));
        Ok(())
    })?;
    Ok(CommandBody::SetMetadata { mailbox, entries })
}

fn mailbox_or_server(cursor: &mut Cursor<'_>) -> Parsed<Option<MailboxName>> {
    let start = *cursor;
    if cursor.astring()?.is_empty() {
        return Ok(None);
    }
    *cursor = start;
    mailbox::name(cursor).map(Some)
}

fn entry(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let name = cursor.astring()?;
    if name.len() > ENTRY_BYTES_MAX {
        return Err(Fault::Limit("an entry's name is too long"));
    }
    let is_text = name
        .iter()
        .all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'*' | b'%'));
    let name = String::from_utf8_lossy(&name).to_ascii_lowercase();
    let mut levels = name.split('/');
    let is_rooted = levels.next() == Some("") && matches!(levels.next(), Some("private" | "shared"));
    if is_text && is_rooted && levels.all(|level| !level.is_empty()) {
        Ok(name)
    } else {
        Err(Fault::Expected("an entry such as /private/comment"))
    }
}
