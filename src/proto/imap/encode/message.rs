//! Elements of FETCH responses: flags, item heads, sections.
//!
//! Standards: RFC 9051 §7.5.2, RFC 3516 (BINARY), RFC 7162 (MODSEQ), RFC 8474 (EMAILID), RFC 8514 (SAVEDATE).

use super::{push_astring, push_number, push_spaced};
use crate::model::{Flags, Keyword, ModSeq, SeqNum, Uid};
use crate::proto::imap::dates::push_date_time;
use crate::proto::imap::types::{InternalDate, Section, SectionText};

/// Appends `(\Seen $Forwarded …)`: system flags, keywords, and extra names such as `\*` or `\Recent`.
pub fn push_flags<'a>(
    flags: Flags,
    keywords: impl IntoIterator<Item = &'a Keyword>,
    extra: &[&'a str],
    out: &mut Vec<u8>,
) {
    let system = Flags::NAMES
        .iter()
        .filter(|(bits, _)| flags.contains(*bits))
        .map(|(_, name)| *name);
    let keywords = keywords.into_iter().map(Keyword::as_str);
    out.push(b'(');
    push_spaced(
        system.chain(keywords).chain(extra.iter().copied()),
        out,
        |name, out| {
            out.extend_from_slice(name.as_bytes());
        },
    );
    out.push(b')');
}

/// Appends `* n FETCH (`. Items follow with spaces between them, then [`push_fetch_end`].
pub fn push_fetch_head(number: SeqNum, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    push_number(u64::from(number.value()), out);
    out.extend_from_slice(b" FETCH (");
}

/// Appends `* uid UIDFETCH (` (RFC 9586 §3.3), in the place of [`push_fetch_head`].
pub fn push_uid_fetch_head(uid: Uid, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    push_number(u64::from(uid.value()), out);
    out.extend_from_slice(b" UIDFETCH (");
}

/// Appends `)` CRLF.
pub fn push_fetch_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b")\r\n");
}

/// Appends `MODSEQ (n)`.
pub fn push_mod_seq(mod_seq: ModSeq, out: &mut Vec<u8>) {
    out.extend_from_slice(b"MODSEQ (");
    push_number(mod_seq.0, out);
    out.push(b')');
}

/// Appends `BODY[section]<origin> ` with the space behind it; the value follows as a string. Field names are repeated as
/// the client wrote them (RFC 9051 §7.5.2).
pub fn push_body_section_head(section: &Section, origin: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BODY[");
    push_section(section, out);
    push_close(origin, out);
}

/// Appends `BINARY[part]<origin> ` with the space behind it.
pub fn push_binary_head(part: &[u32], origin: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BINARY[");
    push_part(part, out);
    push_close(origin, out);
}

/// Appends `BINARY.SIZE[part] size`.
pub fn push_binary_size(part: &[u32], bytes: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"BINARY.SIZE[");
    push_part(part, out);
    push_close(None, out);
    push_number(bytes, out);
}

fn push_close(origin: Option<u64>, out: &mut Vec<u8>) {
    out.push(b']');
    if let Some(origin) = origin {
        out.push(b'<');
        push_number(origin, out);
        out.push(b'>');
    }
    out.push(b' ');
}

fn push_part(part: &[u32], out: &mut Vec<u8>) {
    for (place, number) in part.iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        push_number(u64::from(*number), out);
    }
}

fn push_section(section: &Section, out: &mut Vec<u8>) {
    push_part(&section.part, out);
    let Some(text) = &section.text else { return };
    if !section.part.is_empty() {
        out.push(b'.');
    }
    match text {
        SectionText::Header => out.extend_from_slice(b"HEADER"),
        SectionText::HeaderFields(names) => push_fields(b"HEADER.FIELDS (", names, out),
        SectionText::HeaderFieldsNot(names) => push_fields(b"HEADER.FIELDS.NOT (", names, out),
        SectionText::Text => out.extend_from_slice(b"TEXT"),
        SectionText::Mime => out.extend_from_slice(b"MIME"),
    }
}

fn push_fields(head: &[u8], names: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    push_spaced(names, out, |name, out| push_astring(name, out));
    out.push(b')');
}

/// Appends `EMAILID (id)`.
pub fn push_email_id(id: &str, out: &mut Vec<u8>) {
    push_object_id(b"EMAILID", Some(id), out);
}

/// Appends `THREADID (id)`, or `THREADID NIL` where it is not known (RFC 8474 §5.2).
pub fn push_thread_id(id: Option<&str>, out: &mut Vec<u8>) {
    push_object_id(b"THREADID", id, out);
}

fn push_object_id(name: &[u8], id: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    match id {
        Some(id) => {
            out.extend_from_slice(b" (");
            out.extend_from_slice(id.as_bytes());
            out.push(b')');
        }
        None => out.extend_from_slice(b" NIL"),
    }
}

/// Appends `SAVEDATE "…"`, or `SAVEDATE NIL`.
pub fn push_save_date(date: Option<InternalDate>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"SAVEDATE ");
    match date {
        Some(date) => push_date_time(date, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends `INTERNALDATE "…"`.
pub fn push_internal_date(date: InternalDate, out: &mut Vec<u8>) {
    out.extend_from_slice(b"INTERNALDATE ");
    push_date_time(date, out);
}
