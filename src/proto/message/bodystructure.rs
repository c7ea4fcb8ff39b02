//! IMAP's BODY and BODYSTRUCTURE: a [`Structure`] as nested lists.
//!
//! Invariants: what is written is one valid `body` (RFC 9051 §9) for every input; written with a stack of its own, not
//! by recursion; time is linear in the message.
//! Limits: [`BODYSTRUCTURE_BYTES_MAX`] and, per part, those of `mime` and `envelope`.
//! Defaults: text/plain in US-ASCII, 7bit, also for what could not be taken apart; `charset` "us-ascii" is added to any
//! text without one (as Dovecot does), message/rfc822 in a digest.
//!
//! Standards: RFC 9051 §7.5.2 (RFC 3501 §7.4.2). Not here: the part tree (`structure`).

use super::envelope;
use super::mime::{ContentType, MimeFields};
use super::nstring;
use super::parameter::Parameter;
use super::structure::{Kind, Part, Structure};

/// Octets of output after which parts are written without what their headers say of them beyond the type: at most one
/// more envelope and `PARTS_MAX` short parts follow. Honest structures are a few kilobytes.
pub const BODYSTRUCTURE_BYTES_MAX: usize = 1024 * 1024;
/// Octets shown of a description, an id, a location or a checksum.
pub const BODY_TEXT_BYTES_MAX: usize = 4_096;
/// Octets shown of a media type, a subtype, a transfer encoding or a disposition. RFC 6838 §4.2 ends names at 127.
pub const BODY_TOKEN_BYTES_MAX: usize = 127;

/// Appends the structure of `message`, parentheses included: BODYSTRUCTURE if `is_extended`, else BODY.
pub fn write(structure: &Structure, message: &[u8], is_extended: bool, out: &mut Vec<u8>) {
    let mut writer = Writer {
        structure,
        message,
        is_extended,
        end: out.len() + BODYSTRUCTURE_BYTES_MAX,
        out,
    };
    let mut steps = vec![Step::Open(0)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Open(index) => writer.open(index, &mut steps),
            Step::Close(index) => writer.close(index),
        }
    }
}

enum Step {
    Open(u32),
    Close(u32),
}

struct Writer<'a> {
    structure: &'a Structure,
    message: &'a [u8],
    is_extended: bool,
    end: usize,
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes what stands before a part's children; all of it if there are none.
    fn open(&mut self, index: u32, steps: &mut Vec<Step>) {
        let part = &self.structure.parts()[index as usize];
        self.out.push(b'(');
        if part.kind != Kind::Multipart {
            self.single(part);
        }
        if part.children.is_empty() {
            self.extension(part, None);
            self.out.push(b')');
            return;
        }
        steps.push(Step::Close(index));
        steps.extend(part.children.iter().rev().map(|&child| Step::Open(child)));
    }

    /// Writes what stands behind a part's children.
    fn close(&mut self, index: u32) {
        let part = &self.structure.parts()[index as usize];
        if part.kind == Kind::Multipart {
            let content_type = self.content_type(part);
            let subtype = content_type.as_ref().map_or(&b"mixed"[..], |t| &t.subtype);
            self.out.push(b' ');
            self.token(subtype);
            self.extension(part, content_type.as_ref());
        } else {
            self.number(part.lines);
            self.extension(part, None);
        }
        self.out.push(b')');
    }

    /// Writes type, parameters, id, description, encoding, octets, and what text and messages have besides.
    fn single(&mut self, part: &Part) {
        let content_type = self.content_type(part);
        let (media_type, subtype): (&[u8], &[u8]) = match &content_type {
            Some(t) if part.kind == Kind::Message && t.is("message", "global") => (b"message", b"global"),
            _ if part.kind == Kind::Message => (b"message", b"rfc822"),
            Some(t) => (&t.media_type, &t.subtype),
            None => (b"text", b"plain"),
        };
        let is_text = media_type.eq_ignore_ascii_case(b"text");
        let fields = self.fields(part);
        self.token(media_type);
        self.out.push(b' ');
        self.token(subtype);
        self.out.push(b' ');
        let parameters = content_type.as_ref().map_or(&[][..], |t| &t.parameters);
        self.parameters(parameters, is_text);
        self.text(fields.id);
        self.text(fields.description);
        self.out.push(b' ');
        self.token(fields.encoding_name().as_deref().unwrap_or(b"7bit"));
        self.number(part.body.len() as u64);
        match part.children.first() {
            Some(&child) if part.kind == Kind::Message => self.message_inside(child),
            _ if is_text => self.number(part.lines),
            _ => (),
        }
    }

    fn message_inside(&mut self, child: u32) {
        let child = &self.structure.parts()[child as usize];
        let header: &[u8] = if self.is_room() {
            child.header_of(self.message)
        } else {
            b""
        };
        self.out.push(b' ');
        envelope::write(header, self.out);
        self.out.push(b' ');
    }

    /// Writes the extension data, which a multipart begins with its parameters and the others with the checksum.
    fn extension(&mut self, part: &Part, multipart: Option<&ContentType>) {
        if !self.is_extended {
            return;
        }
        let fields = self.fields(part);
        if part.kind == Kind::Multipart {
            self.out.push(b' ');
            self.parameters(multipart.map_or(&[][..], |t| &t.parameters), false);
        } else {
            self.text(fields.md5);
        }
        match fields.disposition() {
            Some(disposition) => {
                self.out.extend_from_slice(b" (");
                self.token(&disposition.kind);
                self.out.push(b' ');
                self.parameters(&disposition.parameters, false);
                self.out.push(b')');
            }
            None => self.out.extend_from_slice(b" NIL"),
        }
        self.languages(&fields.languages());
        self.text(fields.location);
    }

    fn languages(&mut self, tags: &[Vec<u8>]) {
        self.out.push(b' ');
        if tags.is_empty() {
            self.out.extend_from_slice(b"NIL");
            return;
        }
        for (at, tag) in tags.iter().enumerate() {
            self.out.push(if at == 0 { b'(' } else { b' ' });
            self.token(tag);
        }
        self.out.push(b')');
    }

    fn parameters(&mut self, parameters: &[Parameter], is_text: bool) {
        let has_charset = parameters.iter().any(|p| p.name.eq_ignore_ascii_case(b"charset"));
        let needs_charset = is_text && !has_charset;
        if parameters.is_empty() && !needs_charset {
            self.out.extend_from_slice(b"NIL");
            return;
        }
        self.out.push(b'(');
        for (at, parameter) in parameters.iter().enumerate() {
            if at > 0 {
                self.out.push(b' ');
            }
            nstring::write_string(&parameter.name, self.out);
            self.out.push(b' ');
            nstring::write_string(&parameter.value, self.out);
        }
        if needs_charset {
            let separator: &[u8] = if parameters.is_empty() { b"" } else { b" " };
            self.out.extend_from_slice(separator);
            self.out.extend_from_slice(b"\"charset\" \"us-ascii\"");
        }
        self.out.push(b')');
    }

    fn text(&mut self, value: Option<&[u8]>) {
        self.out.push(b' ');
        envelope::write_text(value, BODY_TEXT_BYTES_MAX, self.out);
    }

    fn token(&mut self, token: &[u8]) {
        nstring::write_string(nstring::clip(token, BODY_TOKEN_BYTES_MAX), self.out);
    }

    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(format!(" {number}").as_bytes());
    }

    fn is_room(&self) -> bool {
        self.out.len() < self.end
    }

    fn fields(&self, part: &Part) -> MimeFields<'a> {
        if !self.is_room() {
            return MimeFields::default();
        }
        let fields = part.fields(self.message);
        match part.kind {
            // Shown as text/plain: the disposition and the rest still stand.
            Kind::Opaque => MimeFields {
                content_type: None,
                ..fields
            },
            _ => fields,
        }
    }

    fn content_type(&self, part: &Part) -> Option<ContentType> {
        let mut content_type = part.content_type(self.message)?;
        if !self.is_room() {
            content_type.parameters.clear();
        }
        Some(content_type)
    }
}
