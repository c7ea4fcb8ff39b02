//! FETCH: its items, sections, partials and modifiers.
//!
//! Limits: [`FETCH_ITEMS_MAX`], [`HEADER_FIELDS_MAX`], [`PART_DEPTH_MAX`].
//! Standards: RFC 9051 §6.4.5, RFC 3501 (macros, RFC822), RFC 3516 (BINARY), RFC 7162 (CHANGEDSINCE, VANISHED), RFC 8474,
//! 8514, 9394 (PARTIAL).

use super::cursor::{Cursor, Parsed, Upper};
use super::{Fault, search, sets};
use crate::model::ModSeq;
use crate::proto::imap::types::{CommandBody, Fetch, FetchItem, Partial, Section, SectionText};
use smallvec::{SmallVec, smallvec};

/// Most items of one FETCH. Each may send the message whole, for each message of the set.
pub const FETCH_ITEMS_MAX: usize = 100;

/// Most field names of one HEADER.FIELDS; clients ask for at most some thirty.
pub const HEADER_FIELDS_MAX: usize = 500;

/// Most levels of a part number: as deep as MIME is parsed.
pub const PART_DEPTH_MAX: usize = 100;

type Items = SmallVec<[FetchItem; 4]>;

pub(super) fn fetch(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    cursor.space()?;
    let set = sets::sequence_set(cursor)?;
    cursor.space()?;
    let items = items(cursor)?;
    let mut changed_since = None;
    let mut vanished = false;
    let mut partial = None;
    if cursor.eat(b' ') {
        cursor.list(super::mailbox::OPTIONS_MAX, false, |cursor| {
            match cursor.word("a FETCH modifier")?.bytes() {
                b"CHANGEDSINCE" => {
                    cursor.space()?;
                    changed_since = Some(ModSeq(cursor.number64()?));
                }
                b"VANISHED" if by_uid => vanished = true,
                b"PARTIAL" if partial.is_none() => {
                    cursor.space()?;
                    partial = Some(search::partial_range(cursor)?);
                }
                _ => {
                    return Err(Fault::Expected(
                        "CHANGEDSINCE, PARTIAL, or VANISHED with UID FETCH",
                    ));
                }
            }
            Ok(())
        })?;
    }
    if vanished && changed_since.is_none() {
        return Err(Fault::Expected("CHANGEDSINCE beside VANISHED"));
    }
    Ok(CommandBody::Fetch(Fetch {
        set,
        by_uid,
        items,
        changed_since,
        vanished,
        partial,
    }))
}

pub(super) fn items(cursor: &mut Cursor<'_>) -> Parsed<Items> {
    if cursor.peek() == Some(b'(') {
        let mut items = Items::new();
        cursor.list(FETCH_ITEMS_MAX, false, |cursor| {
            let word = item_word(cursor);
            items.push(item(&word, cursor)?);
            Ok(())
        })?;
        return Ok(items);
    }
    let word = item_word(cursor);
    let fast = || smallvec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    Ok(match word.bytes() {
        b"FAST" => fast(),
        b"ALL" => {
            let mut items: Items = fast();
            items.push(FetchItem::Envelope);
            items
        }
        b"FULL" => {
            let mut items: Items = fast();
            items.extend([FetchItem::Envelope, FetchItem::Body]);
            items
        }
        _ => smallvec![item(&word, cursor)?],
    })
}

/// `[` is an ATOM-CHAR, so an item's name is not read as an atom.
fn item_word(cursor: &mut Cursor<'_>) -> Upper {
    Upper::of(cursor.run(|b| b.is_ascii_alphanumeric() || b == b'.'))
}

fn item(word: &Upper, cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
    Ok(match word.bytes() {
        b"UID" => FetchItem::Uid,
        b"FLAGS" => FetchItem::Flags,
        b"INTERNALDATE" => FetchItem::InternalDate,
        b"ENVELOPE" => FetchItem::Envelope,
        b"BODYSTRUCTURE" => FetchItem::BodyStructure,
        b"BODY" if cursor.peek() != Some(b'[') => FetchItem::Body,
        b"BODY" => body_section(cursor, false)?,
        b"BODY.PEEK" => body_section(cursor, true)?,
        b"RFC822" => FetchItem::Rfc822,
        b"RFC822.SIZE" => FetchItem::Rfc822Size,
        b"RFC822.HEADER" => FetchItem::Rfc822Header,
        b"RFC822.TEXT" => FetchItem::Rfc822Text,
        b"BINARY" => binary(cursor, false)?,
        b"BINARY.PEEK" => binary(cursor, true)?,
        b"BINARY.SIZE" => FetchItem::BinarySize {
            part: bracketed_part(cursor)?,
        },
        b"MODSEQ" => FetchItem::ModSeq,
        b"EMAILID" => FetchItem::EmailId,
        b"THREADID" => FetchItem::ThreadId,
        b"SAVEDATE" => FetchItem::SaveDate,
        b"PREVIEW" => preview(cursor)?,
        _ => return Err(Fault::Expected("a known FETCH item")),
    })
}

fn body_section(cursor: &mut Cursor<'_>, peek: bool) -> Parsed<FetchItem> {
    let section = section(cursor)?;
    let partial = partial(cursor)?;
    Ok(FetchItem::BodySection {
        section,
        partial,
        peek,
    })
}

/// `PREVIEW` or `PREVIEW (LAZY)` (RFC 8970 §6). In a list a space before `(` cannot belong to another item.
fn preview(cursor: &mut Cursor<'_>) -> Parsed<FetchItem> {
    let is_lazy = cursor.rest().len() >= 7 && cursor.rest()[..7].eq_ignore_ascii_case(b" (LAZY)");
    if is_lazy {
        cursor.space()?;
        cursor.list(1, false, |cursor| cursor.atom("LAZY").map(|_| ()))?;
    }
    Ok(FetchItem::Preview { is_lazy })
}

fn binary(cursor: &mut Cursor<'_>, peek: bool) -> Parsed<FetchItem> {
    let part = bracketed_part(cursor)?;
    let partial = partial(cursor)?;
    Ok(FetchItem::Binary { part, partial, peek })
}

fn bracketed_part(cursor: &mut Cursor<'_>) -> Parsed<SmallVec<[u32; 4]>> {
    cursor.expect(b'[', "'['")?;
    let mut part = SmallVec::new();
    if cursor.eat(b']') {
        return Ok(part);
    }
    loop {
        // RFC 9051 §9: section-binary
        if !cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(Fault::Expected(
                "part numbers alone between '[' and ']' of BINARY",
            ));
        }
        push_part_number(cursor, &mut part)?;
        if cursor.eat(b']') {
            return Ok(part);
        }
        cursor.expect(b'.', "'.' or ']'")?;
    }
}

fn push_part_number(cursor: &mut Cursor<'_>, part: &mut SmallVec<[u32; 4]>) -> Parsed<()> {
    if part.len() == PART_DEPTH_MAX {
        return Err(Fault::Limit("a part number has too many levels"));
    }
    part.push(cursor.nz_number()?.get());
    Ok(())
}

fn section(cursor: &mut Cursor<'_>) -> Parsed<Section> {
    cursor.expect(b'[', "'['")?;
    let mut section = Section::default();
    if cursor.eat(b']') {
        return Ok(section);
    }
    while cursor.peek().is_some_and(|b| b.is_ascii_digit()) {
        push_part_number(cursor, &mut section.part)?;
        if cursor.eat(b']') {
            return Ok(section);
        }
        cursor.expect(b'.', "'.' or ']'")?;
    }
    section.text = Some(section_text(cursor, !section.part.is_empty())?);
    cursor.expect(b']', "']'")?;
    Ok(section)
}

/// What stands between the brackets of `BODY[…]`, by itself. `None`: nothing that can stand there, or nothing at all.
#[must_use]
pub fn section_text_of(text: &[u8]) -> Option<Section> {
    let bracketed = [b"[", text, b"]"].concat();
    let mut bracketed = Cursor::new(&bracketed);
    let section = section(&mut bracketed).ok()?;
    (!text.is_empty() && bracketed.is_at_end()).then_some(section)
}

fn section_text(cursor: &mut Cursor<'_>, has_part: bool) -> Parsed<SectionText> {
    let word = item_word(cursor);
    Ok(match word.bytes() {
        b"HEADER" => SectionText::Header,
        b"HEADER.FIELDS" => SectionText::HeaderFields(field_names(cursor)?),
        b"HEADER.FIELDS.NOT" => SectionText::HeaderFieldsNot(field_names(cursor)?),
        b"TEXT" => SectionText::Text,
        b"MIME" if has_part => SectionText::Mime,
        _ => {
            return Err(Fault::Expected(
                "a section: part numbers, HEADER, TEXT or MIME below a part",
            ));
        }
    })
}

fn field_names(cursor: &mut Cursor<'_>) -> Parsed<Vec<Vec<u8>>> {
    cursor.space()?;
    let mut names = Vec::new();
    cursor.list(HEADER_FIELDS_MAX, false, |cursor| {
        names.push(cursor.astring()?.into_owned());
        Ok(())
    })?;
    Ok(names)
}

/// `<offset.length>`, if it is there.
fn partial(cursor: &mut Cursor<'_>) -> Parsed<Option<Partial>> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let offset = cursor.number64()?;
    cursor.expect(b'.', "'.'")?;
    let length = cursor.number64()?;
    if length == 0 {
        return Err(Fault::Expected("a length of 1 or more"));
    }
    cursor.expect(b'>', "'>'")?;
    Ok(Some(Partial { offset, length }))
}
