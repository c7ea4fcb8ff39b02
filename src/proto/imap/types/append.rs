//! APPEND, REPLACE and the messages they bring, without their literals.

use super::SequenceNumber;
use crate::base::clock::UnixMillis;
use crate::model::{Flag, MailboxName};
use crate::proto::imap::parse::{Parts, PartsEnd};

/// APPEND up to its first literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    pub mailbox: MailboxName,
    pub message: AppendMessage,
    /// Messages behind it on the same line: all of them but the last have come whole, of URLs alone. The core asks about
    /// them one by one; the session never sees them here.
    pub further: Vec<AppendMessage>,
    /// REPLACE (RFC 8508).
    pub replaces: Option<Replaced>,
}

/// The message of the selected mailbox that goes when the new one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub number: SequenceNumber,
    pub by_uid: bool,
}

/// One message of an APPEND, without its literal.
#[derive(Clone, Debug, PartialEq)]
pub struct AppendMessage {
    pub flags: Vec<Flag>,
    /// The INTERNALDATE to keep; now, if `None`.
    pub internal_date: Option<InternalDate>,
    /// Octets of the literal.
    pub size: u64,
    /// The literal is a literal8 (RFC 3516 §4.4): it may hold NUL.
    pub is_binary: bool,
    /// Given as `UTF8 (~{n} …)` (RFC 6855 §4): a parenthesis closes it.
    pub is_utf8: bool,
    /// CATENATE (RFC 4469): what stands before the literal. Further parts come by `AppendPart`.
    pub catenate: Option<Parts>,
}

impl Append {
    /// The last message of the line.
    #[must_use]
    pub fn last(&self) -> &AppendMessage {
        self.further.last().unwrap_or(&self.message)
    }

    /// As [`Self::last`].
    pub fn last_mut(&mut self) -> &mut AppendMessage {
        self.further.last_mut().unwrap_or(&mut self.message)
    }
}

impl AppendMessage {
    /// It has come whole: of URLs alone (RFC 4469).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ends_with(PartsEnd::Closed)
    }

    /// The literal that is announced is a URL, not octets of the message.
    #[must_use]
    pub fn is_url_announced(&self) -> bool {
        self.ends_with(PartsEnd::UrlLiteral)
    }

    fn ends_with(&self, end: PartsEnd) -> bool {
        self.catenate.as_ref().is_some_and(|parts| parts.end == end)
    }
}

/// A date-time with its zone (RFC 9051 §9 `date-time`).
/// Packed to ten bytes: the store keeps one in memory for every message of an account in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct InternalDate {
    /// The instant.
    pub at: UnixMillis,
    /// Minutes east of UTC, -1439..=1439.
    pub zone_minutes: i16,
}
