//! The parts of a CATENATE message: URLs, and literals by their announcement.
//!
//! Limits: [`URLS_MAX`].
//! Standards: RFC 4469 §5, RFC 6855 §4 (`UTF8`).

use super::cursor::{Cursor, Parsed};
use super::{Fault, mailbox};
use crate::proto::imap::types::{AppendMessage, NameForm};

/// Most URLs of one message, by what names them: as many parts as MIME is parsed to.
pub const URLS_MAX: usize = 1_000;

/// Parts up to a literal, or up to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// In order.
    pub urls: Vec<Vec<u8>>,
    pub end: PartsEnd,
}

impl Parts {
    /// The literal that is announced is a literal8.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        matches!(self.end, PartsEnd::Text { is_binary: true, .. })
    }
}

/// What ends a run of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartsEnd {
    /// A literal of the message is announced; `is_binary`: as a literal8, which may hold NUL.
    Text { is_utf8: bool, is_binary: bool },
    /// A literal is announced that is a URL.
    UrlLiteral,
    /// `)`
    Closed,
}

/// What stands behind a message or behind a part of one, up to a literal or to the end of the line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Of the message that is coming.
    pub parts: Option<Parts>,
    /// Behind it; all but the last are whole.
    pub messages: Vec<AppendMessage>,
}

impl Line {
    /// What the last message of the line ends with here; `None`: with a literal that is all of it.
    #[must_use]
    pub fn end(&self) -> Option<PartsEnd> {
        match self.messages.last() {
            Some(message) => message.catenate.as_ref().map(|parts| parts.end),
            None => self.parts.as_ref().map(|parts| parts.end),
        }
    }

    /// With nothing behind it, if that would be nothing.
    pub(super) fn checked(self, cursor: &Cursor<'_>) -> Parsed<Self> {
        if self.end() == Some(PartsEnd::Closed) {
            cursor.end()?;
        }
        Ok(self)
    }
}

/// Reads what follows a literal of CATENATE: ` URL …`, ` TEXT {n}`, `)`, and behind that further messages.
///
/// # Errors
/// When something in it is wrong.
pub fn catenate_next(text: &[u8], names: NameForm) -> Parsed<Line> {
    let mut cursor = Cursor::with_names(text, names);
    let parts = if cursor.eat(b')') {
        Parts {
            urls: Vec::new(),
            end: PartsEnd::Closed,
        }
    } else {
        cursor.space()?;
        parts(&mut cursor)?
    };
    let messages = match parts.end {
        PartsEnd::Closed => mailbox::messages_after_whole(&mut cursor)?,
        _ => Vec::new(),
    };
    Line {
        parts: Some(parts),
        messages,
    }
    .checked(&cursor)
}

/// `part *(SP part)`, the first of them next.
pub(super) fn parts(cursor: &mut Cursor<'_>) -> Parsed<Parts> {
    let mut urls = Vec::new();
    loop {
        let end = if cursor.eat_word(b"TEXT") {
            // literal8 is taken too, as for APPEND (RFC 3516 §4.4).
            let is_binary = cursor.eat(b'~');
            Some(PartsEnd::Text {
                is_utf8: false,
                is_binary,
            })
        } else if cursor.eat_word(b"UTF8") {
            cursor.expect(b'(', "'(' and a literal8")?;
            cursor.expect(b'~', "a literal8")?;
            Some(PartsEnd::Text {
                is_utf8: true,
                is_binary: true,
            })
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
