//! The parts of a CATENATE message: URLs, and literals by their announcement.
//!
//! Limits: [`URLS_MAX`].
//! Standards: RFC 4469 §5, RFC 6855 §4 (`UTF8`).

use super::Fault;
use super::cursor::{Cursor, Parsed};

/// Most URLs of one message, by what names them: as many parts as MIME is parsed to.
pub const URLS_MAX: usize = 1_000;

/// Parts up to a literal, or up to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// In order.
    pub urls: Vec<Vec<u8>>,
    pub end: PartsEnd,
}

/// What ends a run of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartsEnd {
    /// A literal of the message is announced.
    Text { is_utf8: bool },
    /// A literal is announced that is a URL.
    UrlLiteral,
    /// `)`
    Closed,
}

/// Reads what follows a literal: ` URL …`, ` TEXT {n}`, `)`.
///
/// # Errors
/// When something in it is wrong.
pub fn catenate_next(text: &[u8]) -> Parsed<Parts> {
    let mut cursor = Cursor::new(text);
    if cursor.eat(b')') {
        cursor.end()?;
        return Ok(Parts {
            urls: Vec::new(),
            end: PartsEnd::Closed,
        });
    }
    cursor.space()?;
    let parts = parts(&mut cursor)?;
    if parts.end == PartsEnd::Closed {
        cursor.end()?;
    }
    Ok(parts)
}

/// `part *(SP part)`, the first of them next.
pub(super) fn parts(cursor: &mut Cursor<'_>) -> Parsed<Parts> {
    let mut urls = Vec::new();
    loop {
        let end = if cursor.eat_word(b"TEXT") {
            // literal8 is taken too, as for APPEND (RFC 3516 §4.4).
            let _ = cursor.eat(b'~');
            Some(PartsEnd::Text { is_utf8: false })
        } else if cursor.eat_word(b"UTF8") {
            cursor.expect(b'(', "'(' and a literal8")?;
            cursor.expect(b'~', "a literal8")?;
            Some(PartsEnd::Text { is_utf8: true })
        } else if !cursor.eat_word(b"URL") {
            return Err(Fault::Expected("URL, TEXT or UTF8"));
        } else if super::mailbox::is_announcement(cursor.rest()) {
            Some(PartsEnd::UrlLiteral)
        } else {
            None
        };
        if let Some(end) = end {
            return if super::mailbox::is_announcement(cursor.rest()) {
                Ok(Parts { urls, end })
            } else {
                Err(Fault::Expected("a literal at the end of the line"))
            };
        }
        if urls.len() == URLS_MAX {
            return Err(Fault::Limit("too many URLs"));
        }
        urls.push(cursor.astring()?.into_owned());
        if cursor.eat(b')') {
            return Ok(Parts {
                urls,
                end: PartsEnd::Closed,
            });
        }
        cursor.space()?;
    }
}
