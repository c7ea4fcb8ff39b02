//! One FETCH item that is answered from the message itself.
//!
//! Invariants: a literal's head is written only when its first octets are at hand; once written, its octets follow
//! exactly, or the connection ends. A section that does not exist is NIL, a partial beyond the end is empty.
//! No literal but a literal8 holds NUL (RFC 9051 §4.3): a message that came with NUL in it, over SMTP or by a literal8, is
//! shown as it is by BINARY only; BODY and RFC822 show each NUL as [`NUL_SHOWN_AS`], so that sizes and offsets stay true.
//! Limits: a body streams in pieces of [`READ_BYTES_MAX`]; items that need the message's structure hold the message once
//! ([`crate::mailbox::reader::PARSE_BYTES_MAX`]); a decoded BINARY part is held beside it.
//! Not here: reading (`mailbox::reader`), MIME (`proto::message`).

use super::Services;
use super::fetch::Trouble;
use super::link::{Link, Lost};
use crate::mailbox::budget::{Budget, Pace, Spent};
use crate::mailbox::reader::{FIRST_READ_BYTES, MessageReader, READ_BYTES_MAX, ReadError};
use crate::mailbox::search::{email_id_text, thread_id_text};
use crate::proto::imap::encode::{message, push_literal_head, push_literal8_head, push_string};
use crate::proto::imap::types::{FetchItem, Partial, Section, SectionText};
use crate::proto::message::section::{self, SectionBytes};
use crate::proto::message::{binary, bodystructure, envelope, preview};
use crate::session::pipe::Pipe;
use crate::store::{Environment, MessageRow, Store, StoreError, StoredMessage};
use memchr::memchr;
use std::ops::Range;

/// What BODY and RFC822 show for NUL: an octet that no UTF-8 text begins a character with; Dovecot's choice too.
const NUL_SHOWN_AS: u8 = 0x80;

/// How much of a message is read before its response is begun, so that what fails, fails there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warmth {
    /// The message record.
    Record,
    /// The header and nothing else.
    HeaderAlone,
    /// The first octets; all of a short message.
    Start,
    /// Both.
    Header,
    /// The MIME structure; of a message taken apart before not even the octets.
    Structure,
    Whole,
}

impl Warmth {
    /// What two items need together.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::HeaderAlone, Self::Start) | (Self::Start, Self::HeaderAlone) => Self::Header,
            _ => self.max(other),
        }
    }
}

/// True when the row does not answer it.
pub fn is_of_content(item: &FetchItem) -> bool {
    !matches!(
        item,
        FetchItem::Uid
            | FetchItem::Flags
            | FetchItem::InternalDate
            | FetchItem::Rfc822Size
            | FetchItem::ModSeq
            | FetchItem::SaveDate
    )
}

/// True when the answer is short, is made from octets that never change, and does not stream: it may be kept.
pub fn is_digest(item: &FetchItem) -> bool {
    match item {
        FetchItem::Envelope | FetchItem::BodyStructure | FetchItem::Body => true,
        FetchItem::EmailId | FetchItem::ThreadId | FetchItem::Preview { .. } => true,
        FetchItem::BodySection { section, partial, .. } => {
            let fields = matches!(
                section.text,
                Some(SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_))
            );
            fields && section.part.is_empty() && partial.is_none()
        }
        _ => false,
    }
}

/// True for all octets of the message, from its first to its last.
pub fn is_whole_message(item: &FetchItem) -> bool {
    match item {
        FetchItem::Rfc822 => true,
        FetchItem::BodySection { section, partial, .. } => {
            section.part.is_empty() && section.text.is_none() && partial.is_none()
        }
        _ => false,
    }
}

/// True for a message that is read ahead whole and written by one piece of a response.
pub fn is_short(row: &MessageRow) -> bool {
    u64::from(row.size) <= FIRST_READ_BYTES
}

/// Writes an item that is the whole of a short message. After an error some of it may be in `out`.
pub async fn write_short<E: Environment>(
    store: &Store<E>,
    message: &StoredMessage,
    item: &FetchItem,
    out: &mut Vec<u8>,
) -> Result<(), StoreError> {
    push_name(item, out);
    push_literal_head(message.size, out);
    let start = out.len();
    store.append_message(message, 0..message.size, out).await?;
    hide_nul(&mut out[start..]);
    Ok(())
}

/// What an item needs.
pub fn warmth(item: &FetchItem) -> Warmth {
    match item {
        FetchItem::Envelope | FetchItem::ThreadId | FetchItem::Rfc822Header => Warmth::HeaderAlone,
        FetchItem::Rfc822Text => Warmth::Header,
        FetchItem::BodyStructure | FetchItem::Body => Warmth::Whole,
        FetchItem::Binary { part, .. } | FetchItem::BinarySize { part } if part.is_empty() => Warmth::Start,
        FetchItem::Binary { .. } | FetchItem::BinarySize { .. } => Warmth::Whole,
        FetchItem::Rfc822 => Warmth::Start,
        FetchItem::BodySection { section, .. } => match (&section.text, section.part.is_empty()) {
            (None, true) => Warmth::Start,
            (Some(SectionText::Text), true) => Warmth::Header,
            (_, true) => Warmth::HeaderAlone,
            (Some(SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_)), false) => Warmth::Whole,
            (_, false) => Warmth::Structure,
        },
        FetchItem::Preview { .. } => Warmth::Start,
        _ => Warmth::Record,
    }
}

/// Reads what `warmth` says; others get their turns while a long message is taken apart.
pub async fn warm<E: Environment>(
    reader: &mut MessageReader<E>,
    warmth: Warmth,
    pace: &impl Pace,
) -> Result<(), ReadError> {
    match warmth {
        Warmth::Record => {}
        Warmth::HeaderAlone => {
            reader.header().await?;
        }
        Warmth::Start => reader.start().await?,
        Warmth::Header => {
            reader.start().await?;
            reader.header().await?;
        }
        Warmth::Structure => take_apart(reader, pace).await?,
        Warmth::Whole => {
            reader.whole().await?;
            take_apart(reader, pace).await?;
        }
    }
    Ok(())
}

async fn take_apart<E: Environment>(
    reader: &mut MessageReader<E>,
    pace: &impl Pace,
) -> Result<(), ReadError> {
    match reader.structure_within(&mut Budget::new(pace)).await {
        Ok(scanned) => scanned.map(drop),
        // The longest message takes a small part of a command's time; if this one did, the rest is done at once.
        Err(Spent) => reader.structure().await.map(drop),
    }
}

/// RFC 8970 §3.1: a preview is made by reading the message, so a lazy client gets that of a short one only, NIL of others.
async fn write_preview<E: Environment>(
    out: &mut Vec<u8>,
    reader: &mut MessageReader<E>,
    is_lazy: bool,
    pace: &impl Pace,
    trouble: &mut Trouble,
) {
    out.extend_from_slice(b"PREVIEW ");
    if is_lazy && reader.size() > FIRST_READ_BYTES {
        return out.extend_from_slice(no_preview(is_lazy));
    }
    let scanned = match take_apart(reader, pace).await {
        Ok(()) => reader.structure().await,
        Err(error) => Err(error),
    };
    let structure = match scanned {
        Ok(structure) => structure,
        // Too long to be taken apart: no preview, and no failure (RFC 8970 §3.2).
        Err(ReadError::TooLong) => return out.extend_from_slice(no_preview(is_lazy)),
        Err(error) => {
            trouble.read(error);
            return out.extend_from_slice(no_preview(is_lazy));
        }
    };
    match reader.whole().await {
        Ok(message) => push_string(preview::of(&structure, message).as_bytes(), out),
        Err(error) => {
            trouble.read(error);
            out.extend_from_slice(no_preview(is_lazy));
        }
    }
}

/// RFC 8970 §3.2: NIL says that asking again without LAZY may help; who did not say LAZY never gets it.
fn no_preview(is_lazy: bool) -> &'static [u8] {
    if is_lazy { b"NIL" } else { b"\"\"" }
}

/// What an item's value is.
pub enum Value {
    Nil,
    Range(Range<u64>),
    Owned(Vec<u8>),
}

/// Writes one item, name and value.
pub async fn write<P: Pipe, S: Services>(
    link: &mut Link<P>,
    services: &S,
    reader: &mut MessageReader<S::Environment>,
    item: &FetchItem,
    trouble: &mut Trouble,
) -> Result<(), Lost> {
    match item {
        FetchItem::Envelope | FetchItem::BodyStructure | FetchItem::Body => {
            write_digest(link.out(), reader, item, trouble).await;
            reader.forget_whole();
            return Ok(());
        }
        FetchItem::EmailId => {
            message::push_email_id(&email_id_text(reader.email_id()), link.out());
            return Ok(());
        }
        FetchItem::ThreadId => {
            let email_id = reader.email_id();
            match reader.header().await {
                Ok(header) => {
                    let id = thread_id_text(header, email_id);
                    message::push_thread_id(Some(&id), link.out());
                }
                Err(error) => {
                    trouble.read(error.into());
                    message::push_thread_id(None, link.out());
                }
            }
            return Ok(());
        }
        FetchItem::Preview { is_lazy } => {
            write_preview(link.out(), reader, *is_lazy, services, trouble).await;
            reader.forget_whole();
            return Ok(());
        }
        FetchItem::BinarySize { part } => {
            let size = match binary_value(reader, part, trouble).await {
                Value::Owned(bytes) => bytes.len() as u64,
                Value::Range(range) => range.end - range.start,
                Value::Nil => 0,
            };
            message::push_binary_size(part, size, link.out());
            return Ok(());
        }
        _ => {}
    }
    push_name(item, link.out());
    let value = match item {
        FetchItem::Binary { part, .. } => binary_value(reader, part, trouble).await,
        _ => match section_value(reader, &section_of(item)).await {
            Ok(value) => value,
            Err(error) => {
                trouble.read(error);
                Value::Nil
            }
        },
    };
    // What is sent from here on is read again, piece by piece. A decoded part is sent whole, and its message's share of
    // the core's memory is kept as long.
    if !matches!(value, Value::Owned(_)) {
        reader.forget_whole();
    }
    match cut(value, partial_of(item)) {
        Value::Nil => link.out().extend_from_slice(b"NIL"),
        Value::Owned(bytes) => Form::of(item).push_whole(&bytes, link.out()),
        Value::Range(range) => write_range(link, services, reader, range, Form::of(item), trouble).await?,
    }
    Ok(())
}

/// Appends octets of text that are all at hand, as a section's value.
pub fn push_text(octets: &[u8], out: &mut Vec<u8>) {
    Form::Text.push_whole(octets, out);
}

/// What an item's octets may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without NUL.
    Text,
    /// Any octets.
    Binary,
}

impl Form {
    fn of(item: &FetchItem) -> Self {
        if matches!(item, FetchItem::Binary { .. }) {
            Self::Binary
        } else {
            Self::Text
        }
    }

    /// Appends octets that are all at hand. Clients that know only literals get one wherever it will do.
    fn push_whole(self, octets: &[u8], out: &mut Vec<u8>) {
        let needs_literal8 = self == Self::Binary && memchr(0, octets).is_some();
        if needs_literal8 {
            push_literal8_head(octets.len() as u64, out);
        } else {
            push_literal_head(octets.len() as u64, out);
        }
        self.push_piece(octets, out);
    }

    /// Appends the head of octets that come in pieces: whether NUL is among them is not known yet.
    fn push_head(self, bytes: u64, out: &mut Vec<u8>) {
        match self {
            Self::Text => push_literal_head(bytes, out),
            Self::Binary => push_literal8_head(bytes, out),
        }
    }

    fn push_piece(self, octets: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(octets);
        if self == Self::Text {
            hide_nul(&mut out[start..]);
        }
    }
}

fn hide_nul(mut text: &mut [u8]) {
    while let Some(at) = memchr(0, text) {
        text[at] = NUL_SHOWN_AS;
        text = &mut text[at + 1..];
    }
}

fn push_name(item: &FetchItem, out: &mut Vec<u8>) {
    match item {
        FetchItem::Rfc822 => out.extend_from_slice(b"RFC822 "),
        FetchItem::Rfc822Header => out.extend_from_slice(b"RFC822.HEADER "),
        FetchItem::Rfc822Text => out.extend_from_slice(b"RFC822.TEXT "),
        FetchItem::BodySection { section, partial, .. } => {
            message::push_body_section_head(section, partial.map(|p| p.offset), out);
        }
        FetchItem::Binary { part, partial, .. } => {
            message::push_binary_head(part, partial.map(|p| p.offset), out);
        }
        _ => {}
    }
}

fn section_of(item: &FetchItem) -> Section {
    match item {
        FetchItem::BodySection { section, .. } => section.clone(),
        FetchItem::Rfc822Header => Section {
            text: Some(SectionText::Header),
            ..Section::default()
        },
        FetchItem::Rfc822Text => Section {
            text: Some(SectionText::Text),
            ..Section::default()
        },
        _ => Section::default(),
    }
}

fn partial_of(item: &FetchItem) -> Option<Partial> {
    match item {
        FetchItem::BodySection { partial, .. } | FetchItem::Binary { partial, .. } => *partial,
        _ => None,
    }
}

/// ENVELOPE, BODY, BODYSTRUCTURE. One that cannot be made is left as NIL, and the command ends with NO.
async fn write_digest<E: Environment>(
    out: &mut Vec<u8>,
    reader: &mut MessageReader<E>,
    item: &FetchItem,
    trouble: &mut Trouble,
) {
    let is_extended = *item == FetchItem::BodyStructure;
    let result = if *item == FetchItem::Envelope {
        out.extend_from_slice(b"ENVELOPE ");
        reader
            .header()
            .await
            .map(|header| envelope::write(header, out))
            .map_err(ReadError::from)
    } else {
        out.extend_from_slice(if is_extended { b"BODYSTRUCTURE " } else { b"BODY " });
        write_structure(reader, is_extended, out).await
    };
    if let Err(error) = result {
        trouble.read(error);
        out.extend_from_slice(b"NIL");
    }
}

async fn write_structure<E: Environment>(
    reader: &mut MessageReader<E>,
    is_extended: bool,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let structure = reader.structure().await?;
    bodystructure::write(&structure, reader.whole().await?, is_extended, out);
    Ok(())
}

pub async fn section_value<E: Environment>(
    reader: &mut MessageReader<E>,
    section: &Section,
) -> Result<Value, ReadError> {
    if section.part.is_empty() {
        return Ok(match &section.text {
            None => Value::Range(0..reader.size()),
            Some(SectionText::Header) => Value::Range(0..reader.header_bytes().await?),
            Some(SectionText::Text) => Value::Range(reader.header_bytes().await?..reader.size()),
            Some(SectionText::HeaderFields(names)) => {
                Value::Owned(section::header_fields(reader.header().await?, names, true))
            }
            Some(SectionText::HeaderFieldsNot(names)) => {
                Value::Owned(section::header_fields(reader.header().await?, names, false))
            }
            Some(SectionText::Mime) => Value::Nil,
        });
    }
    let structure = reader.structure().await?;
    let needs_octets = matches!(
        section.text,
        Some(SectionText::HeaderFields(_) | SectionText::HeaderFieldsNot(_))
    );
    // Ranges come from the structure alone, so a part of a message taken apart before is read by itself.
    let octets = if needs_octets { reader.whole().await? } else { &[] };
    Ok(match section::find(&structure, octets, section) {
        Some(SectionBytes::Range(range)) => Value::Range(range.start as u64..range.end as u64),
        Some(SectionBytes::Owned(bytes)) => Value::Owned(bytes),
        None => Value::Nil,
    })
}

async fn binary_value<E: Environment>(
    reader: &mut MessageReader<E>,
    part: &[u32],
    trouble: &mut Trouble,
) -> Value {
    if part.is_empty() {
        return Value::Range(0..reader.size());
    }
    let structure = match reader.structure().await {
        Ok(structure) => structure,
        Err(error) => {
            trouble.read(error);
            return Value::Nil;
        }
    };
    let octets = match reader.whole().await {
        Ok(octets) => octets,
        Err(error) => {
            trouble.read(error);
            return Value::Nil;
        }
    };
    match binary::find(&structure, octets, part) {
        None => Value::Nil,
        Some(Ok(bytes)) => Value::Owned(bytes.into_owned()),
        Some(Err(_)) => {
            trouble.unknown_encoding();
            Value::Nil
        }
    }
}

fn cut(value: Value, partial: Option<Partial>) -> Value {
    let Some(partial) = partial else { return value };
    match value {
        Value::Nil => Value::Nil,
        Value::Range(range) => Value::Range(partial.of(range)),
        Value::Owned(mut bytes) => {
            let range = partial.of(0..bytes.len() as u64);
            bytes.truncate(range.end as usize);
            bytes.drain(..range.start as usize);
            Value::Owned(bytes)
        }
    }
}

/// Streams octets of the message as a literal.
async fn write_range<P: Pipe, S: Services>(
    link: &mut Link<P>,
    services: &S,
    reader: &mut MessageReader<S::Environment>,
    range: Range<u64>,
    form: Form,
    trouble: &mut Trouble,
) -> Result<(), Lost> {
    let length = range.end - range.start;
    if let Some(kept) = reader.kept(range.clone()) {
        form.push_whole(kept, link.out());
        return Ok(());
    }
    let mut at = range.start;
    while at < range.end {
        let next = range.end.min(at + READ_BYTES_MAX);
        let pieces = match reader.read(at..next).await {
            Ok(pieces) => pieces,
            Err(error) => {
                trouble.read(error.into());
                if at > range.start {
                    // The literal is promised and cannot be kept.
                    return Err(Lost);
                }
                link.out().extend_from_slice(b"NIL");
                return Ok(());
            }
        };
        if at == range.start {
            form.push_head(length, link.out());
        }
        for piece in pieces {
            form.push_piece(&piece, link.out());
            link.part_done(services).await?;
        }
        at = next;
    }
    if length == 0 {
        push_literal_head(0, link.out());
    }
    Ok(())
}
