//! Which octets `BODY[section]` means.
//!
//! Invariants: a range lies inside the message; only filtered headers are copied; time is linear in what is looked at.
//! Numbering (RFC 9051 §6.4.5): the message and those inside message/rfc822 or message/global number their parts from 1; one that is no
//! multipart has part 1, its body. HEADER, TEXT and HEADER.FIELDS behind a number need such a message there.
//! Failure: a section that does not exist is `None`; the response is NIL (RFC 9051 §6.4.5.1).
//!
//! Not here: partials (`<offset.length>`), decoding (`binary`), the response's text.

use super::header;
use super::structure::{Kind, Part, Structure};
use crate::proto::imap::types::{Section, SectionText};
use std::collections::HashSet;
use std::ops::Range;

/// The octets of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionBytes {
    /// They stand in the message.
    Range(Range<usize>),
    /// They were put together: HEADER.FIELDS and HEADER.FIELDS.NOT.
    Owned(Vec<u8>),
}

impl SectionBytes {
    /// The octets; empty if `message` is not the one the section was found in.
    #[must_use]
    pub fn of<'a>(&'a self, message: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Range(range) => message.get(range.clone()).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
        }
    }
}

/// Finds `section` in `message`, which `structure` was made from.
#[must_use]
pub fn find(structure: &Structure, message: &[u8], section: &Section) -> Option<SectionBytes> {
    let root = structure.root();
    if section.part.is_empty() {
        return of_message(
            message,
            root.header.clone(),
            root.body.clone(),
            section.text.as_ref(),
        );
    }
    let part = find_part(structure, &section.part)?;
    match &section.text {
        None => Some(SectionBytes::Range(part.body.clone())),
        Some(SectionText::Mime) => Some(SectionBytes::Range(part.header.clone())),
        text => {
            let inner = inner_message(structure, part)?;
            of_message(message, inner.header.clone(), inner.body.clone(), text.as_ref())
        }
    }
}

/// The part with these numbers. `None` if there is none; no numbers are the message itself.
#[must_use]
pub fn find_part<'a>(structure: &'a Structure, numbers: &[u32]) -> Option<&'a Part> {
    let mut numbers = numbers.iter();
    let Some(&first) = numbers.next() else {
        return Some(structure.root());
    };
    let mut part = part_of_message(structure, structure.root(), first)?;
    for &number in numbers {
        part = match part.kind {
            Kind::Multipart => structure.child(part, number)?,
            Kind::Message => part_of_message(structure, inner_message(structure, part)?, number)?,
            Kind::Leaf | Kind::Opaque => return None,
        };
    }
    Some(part)
}

fn part_of_message<'a>(structure: &'a Structure, message: &'a Part, number: u32) -> Option<&'a Part> {
    match message.kind {
        Kind::Multipart => structure.child(message, number),
        _ => (number == 1).then_some(message),
    }
}

fn inner_message<'a>(structure: &'a Structure, part: &Part) -> Option<&'a Part> {
    (part.kind == Kind::Message).then(|| structure.child(part, 1))?
}

fn of_message(
    message: &[u8],
    header: Range<usize>,
    body: Range<usize>,
    text: Option<&SectionText>,
) -> Option<SectionBytes> {
    let header_bytes = message.get(header.clone()).unwrap_or_default();
    match text {
        None => Some(SectionBytes::Range(header.start..body.end)),
        Some(SectionText::Header) => Some(SectionBytes::Range(header)),
        Some(SectionText::Text) => Some(SectionBytes::Range(body)),
        Some(SectionText::HeaderFields(names)) => {
            Some(SectionBytes::Owned(header_fields(header_bytes, names, true)))
        }
        Some(SectionText::HeaderFieldsNot(names)) => {
            Some(SectionBytes::Owned(header_fields(header_bytes, names, false)))
        }
        Some(SectionText::Mime) => None,
    }
}

/// The fields of `header` whose name is among `names` (or is not, if not `is_wanted`), in their order, with their
/// folds, and an empty line behind them (RFC 9051 §6.4.5 asks for it always).
#[must_use]
pub fn header_fields(header: &[u8], names: &[Vec<u8>], is_wanted: bool) -> Vec<u8> {
    let names: HashSet<Vec<u8>> = names.iter().map(|n| n.to_ascii_lowercase()).collect();
    let mut out = Vec::new();
    for field in header::fields(header) {
        if names.contains(field.name.to_ascii_lowercase().as_slice()) == is_wanted {
            out.extend_from_slice(field.whole);
        }
    }
    // The last field of a header without an empty line may lack its line end.
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
