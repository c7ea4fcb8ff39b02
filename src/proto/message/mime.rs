//! The fields MIME adds to a header: content type, disposition, encoding and their kin, with their parameters.
//!
//! Invariants: one pass over the header; the first field of a name counts; a value is parsed only when asked for.
//! Limits: [`PARAMETERS_MAX`], [`PARAMETER_BYTES_MAX`]; comments nest by a counter, not by recursion.
//! Failure: a content type that does not parse is as good as none (RFC 2045 §5.2 says text/plain then); a parameter
//! that does not parse is skipped up to the next semicolon.
//!
//! Standards: RFC 2045 §5 and §6, 2183, 3282, 1864, 2557 §4.
//! Not here: the parts themselves (`structure`), decoding a body (`transfer`), joining parameters that came in pieces
//! (`continuations`).

use super::header::{self, DIGESTED_FIELDS_MAX};
use super::parameter::{PARAMETER_BYTES_MAX, Parameter};
use super::{continuations, nstring};

/// Parameters kept of one field; the rest is not shown. Honest mail has at most some 10, and RFC 2231 continuations of
/// a long file name some more.
pub const PARAMETERS_MAX: usize = 100;

/// The values of a header's MIME fields, raw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MimeFields<'a> {
    /// Content-Type
    pub content_type: Option<&'a [u8]>,
    /// Content-Transfer-Encoding
    pub encoding: Option<&'a [u8]>,
    /// Content-Disposition
    pub disposition: Option<&'a [u8]>,
    /// Content-ID
    pub id: Option<&'a [u8]>,
    /// Content-Description
    pub description: Option<&'a [u8]>,
    /// Content-MD5
    pub md5: Option<&'a [u8]>,
    /// Content-Language
    pub language: Option<&'a [u8]>,
    /// Content-Location
    pub location: Option<&'a [u8]>,
}

/// `type/subtype; parameters` as written; compare without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    /// Before the slash.
    pub media_type: Vec<u8>,
    /// Behind it.
    pub subtype: Vec<u8>,
    /// In the order written; each joined and decoded (RFC 2231).
    pub parameters: Vec<Parameter>,
}

/// `attachment; parameters` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disposition {
    /// `inline`, `attachment` or another token.
    pub kind: Vec<u8>,
    /// In the order written; each joined and decoded (RFC 2231).
    pub parameters: Vec<Parameter>,
}

/// How a body is encoded for transfer (RFC 2045 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// 7bit, 8bit, binary, or nothing said: the octets are the content.
    Identity,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// RFC 2045 §6.8.
    Base64,
    /// Something else: cannot be decoded.
    Unknown,
}

impl<'a> MimeFields<'a> {
    /// Collects the MIME fields of `header`.
    #[must_use]
    pub fn of(header: &'a [u8]) -> Self {
        let mut found = Self::default();
        for field in header::fields(header).take(DIGESTED_FIELDS_MAX) {
            let is_content = field
                .name
                .get(..8)
                .is_some_and(|n| n.eq_ignore_ascii_case(b"content-"));
            if !is_content {
                continue;
            }
            let slot = match field.name[8..].to_ascii_lowercase().as_slice() {
                b"type" => &mut found.content_type,
                b"transfer-encoding" => &mut found.encoding,
                b"disposition" => &mut found.disposition,
                b"id" => &mut found.id,
                b"description" => &mut found.description,
                b"md5" => &mut found.md5,
                b"language" => &mut found.language,
                b"location" => &mut found.location,
                _ => continue,
            };
            slot.get_or_insert(field.value);
        }
        found
    }

    /// The content type, if one is given and valid.
    #[must_use]
    pub fn content_type(&self) -> Option<ContentType> {
        let mut lexer = Lexer::new(self.content_type?);
        let media_type = lexer.token()?;
        lexer.skip_cfws();
        lexer.take(b'/')?;
        let subtype = lexer.token()?;
        Some(ContentType {
            media_type,
            subtype,
            parameters: lexer.parameters(),
        })
    }

    /// The disposition, if one is given and valid.
    #[must_use]
    pub fn disposition(&self) -> Option<Disposition> {
        let mut lexer = Lexer::new(self.disposition?);
        Some(Disposition {
            kind: lexer.token()?,
            parameters: lexer.parameters(),
        })
    }

    /// The transfer encoding's name as written, without comments; `None` if absent or empty.
    #[must_use]
    pub fn encoding_name(&self) -> Option<Vec<u8>> {
        Lexer::new(self.encoding?).token()
    }

    /// The transfer encoding.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        let Some(name) = self.encoding_name() else {
            return Encoding::Identity;
        };
        match name.to_ascii_lowercase().as_slice() {
            b"7bit" | b"8bit" | b"binary" => Encoding::Identity,
            b"quoted-printable" => Encoding::QuotedPrintable,
            b"base64" => Encoding::Base64,
            _ => Encoding::Unknown,
        }
    }

    /// The language tags, at most [`PARAMETERS_MAX`].
    #[must_use]
    pub fn languages(&self) -> Vec<Vec<u8>> {
        let Some(value) = self.language else {
            return Vec::new();
        };
        let mut lexer = Lexer::new(value);
        let mut tags = Vec::new();
        while tags.len() < PARAMETERS_MAX {
            tags.extend(lexer.token());
            if !lexer.skip_behind(b',') {
                break;
            }
        }
        tags
    }
}

impl ContentType {
    /// True for the types whose body is a message (RFC 2046 §5.2.1, RFC 6532 §3.7).
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.is("message", "rfc822") || self.is("message", "global")
    }

    /// True for `media_type/subtype`, in any case.
    #[must_use]
    pub fn is(&self, media_type: &str, subtype: &str) -> bool {
        self.media_type.eq_ignore_ascii_case(media_type.as_bytes())
            && self.subtype.eq_ignore_ascii_case(subtype.as_bytes())
    }

    /// The first parameter called `name`, in any case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        let is_it = |p: &&Parameter| p.name.eq_ignore_ascii_case(name.as_bytes());
        self.parameters.iter().find(is_it).map(|p| p.value.as_slice())
    }
}

/// Reads tokens, quoted strings and comments; only moves forward.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        let (&first, rest) = self.rest.split_first()?;
        (first == wanted).then(|| self.rest = rest)
    }

    /// Skips white space, line ends and nested comments.
    fn skip_cfws(&mut self) {
        while let Some(&first) = self.rest.first() {
            match first {
                b' ' | b'\t' | b'\r' | b'\n' => self.rest = &self.rest[1..],
                b'(' => self.rest = &self.rest[comment_length(self.rest)..],
                _ => break,
            }
        }
    }

    /// A token (RFC 2045 §5.1), with 8-bit octets let through; `None` if there is none.
    fn token(&mut self) -> Option<Vec<u8>> {
        self.skip_cfws();
        let is_end = |b: &u8| b.is_ascii_control() || b" ()<>@,;:\\\"/[]?=".contains(b);
        self.take_until(is_end)
    }

    fn take_until(&mut self, is_end: impl Fn(&u8) -> bool) -> Option<Vec<u8>> {
        let end = self.rest.iter().position(is_end).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!token.is_empty()).then(|| nstring::clip(token, PARAMETER_BYTES_MAX).to_vec())
    }

    fn quoted_string(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let length = read_quoted(self.rest, |b| {
            if text.len() < PARAMETER_BYTES_MAX {
                text.push(b);
            }
        });
        self.rest = &self.rest[length..];
        text
    }

    /// A parameter's value: quoted, or anything up to white space or a semicolon (unquoted `=` and `/` are common).
    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_cfws();
        if self.rest.first() == Some(&b'"') {
            return Some(self.quoted_string());
        }
        self.take_until(|b| b.is_ascii_whitespace() || *b == b';')
    }

    /// Moves behind the next `separator` outside quotes and comments; false if there is none.
    fn skip_behind(&mut self, separator: u8) -> bool {
        while let Some(&first) = self.rest.first() {
            match first {
                b'"' => self.rest = &self.rest[read_quoted(self.rest, |_| ())..],
                b'(' => self.rest = &self.rest[comment_length(self.rest)..],
                _ => self.rest = &self.rest[1..],
            }
            if first == separator {
                return true;
            }
        }
        false
    }

    fn parameter(&mut self) -> Option<Parameter> {
        let name = self.token()?;
        self.skip_cfws();
        self.take(b'=')?;
        let value = self.value()?;
        Some(Parameter { name, value })
    }

    fn parameters(&mut self) -> Vec<Parameter> {
        let mut parameters = Vec::new();
        while parameters.len() < PARAMETERS_MAX && self.skip_behind(b';') {
            parameters.extend(self.parameter());
        }
        continuations::join(parameters)
    }
}

/// Octets of the comment at the start of `text`, which begins with `(`; to the end if it is not closed.
pub(super) fn comment_length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => (),
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at.min(text.len())
}

/// Gives each octet of the quoted string at the start of `text` (which begins with `"`) to `take`, without quotes,
/// backslashes and line ends; returns its length, to the end if it is not closed.
pub(super) fn read_quoted(text: &[u8], mut take: impl FnMut(u8)) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\r' | b'\n' => (),
            b'\\' if at + 1 < text.len() => {
                at += 1;
                if !matches!(text[at], b'\r' | b'\n') {
                    take(text[at]);
                }
            }
            other => take(other),
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(value: &str) -> Option<ContentType> {
        MimeFields {
            content_type: Some(value.as_bytes()),
            ..MimeFields::default()
        }
        .content_type()
    }

    #[test]
    fn parameters_are_read_through_comments_folds_and_quotes() {
        let parsed = content_type(
            " text (a (b\\)) c) / plain; charset=\"us\\-ascii\" (x);\r\n\tname*0*=utf-8''a%20; bad; b=a=b/c;;d = e",
        )
        .expect("valid");
        assert!(parsed.is("TEXT", "Plain"));
        assert_eq!(parsed.parameter("CHARSET"), Some(&b"us-ascii"[..]));
        assert_eq!(parsed.parameter("name*"), Some(&b"a "[..]));
        assert_eq!(parsed.parameter("b"), Some(&b"a=b/c"[..]));
        assert_eq!(parsed.parameter("d"), Some(&b"e"[..]));
        assert_eq!(parsed.parameters.len(), 4);
    }

    #[test]
    fn an_invalid_content_type_is_none() {
        for value in ["", "text", "/plain", "text/", ";;", "(", "\"text/plain\""] {
            assert_eq!(content_type(value), None, "{value:?}");
        }
    }

    #[test]
    fn encodings_and_languages_are_read() {
        let fields =
            MimeFields::of(b"Content-Transfer-Encoding: Base64 (really)\r\nContent-Language: en, de\r\n");
        assert_eq!(fields.encoding(), Encoding::Base64);
        assert_eq!(fields.languages(), [b"en", b"de"]);
        assert_eq!(MimeFields::of(b"").encoding(), Encoding::Identity);
        assert_eq!(
            MimeFields::of(b"Content-Transfer-Encoding: x-uue\r\n").encoding(),
            Encoding::Unknown
        );
    }
}
