//! What LIST and UIDL say of each message (RFC 1939 §5, §7), and how far a list is written.

use super::maildrop::{Maildrop, MaildropEntry};
use super::reply::put;

/// A list that is written piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    pub column: Column,
    /// The first message not yet written.
    pub next: u32,
}

/// What a list says of each message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    Size,
    Uidl,
}

impl Column {
    pub fn put(self, index: u32, entry: MaildropEntry, maildrop: &Maildrop, wire: &mut Vec<u8>) {
        let number = u64::from(index) + 1;
        match self {
            Self::Size => put(wire, format_args!("{number} {}\r\n", entry.size)),
            Self::Uidl => match maildrop.uidl(entry.uid) {
                Some(uidl) => put(wire, format_args!("{number} {uidl}\r\n")),
                None => put(
                    wire,
                    format_args!("{number} {}.{}\r\n", maildrop.uid_validity(), entry.uid),
                ),
            },
        }
    }
}
