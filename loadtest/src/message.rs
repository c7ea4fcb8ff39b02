//! The messages that are sent: one prebuilt text a thread, into which each message's id is written in place.
//!
//! Invariants: no two messages of any run are equal; a message's bytes follow from its id and the size alone, so that
//! whoever verifies can tell a damaged one from an invented one. The text holds a line that begins with a dot, so every
//! message also tests dot-stuffing. The id line comes first: what a server puts before the message ends where it begins.
//! Limits: a message has at least `MESSAGE_BYTES_MIN` octets.

use sha2::{Digest, Sha256};

/// The header field that names a message. It is the first line of what is sent.
pub const ID_FIELD: &str = "X-Load-Id: ";
/// Digits of an id: 16 of the run, a hyphen, 16 of the counter.
pub const ID_BYTES: usize = 33;
/// Smallest message: the header and the dot line.
pub const MESSAGE_BYTES_MIN: usize = 320;
const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog and counts 0123456789 sheep.\r\n";

/// A message's name: the run that sent it and its number in that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId {
    pub run: u64,
    pub counter: u64,
}

impl MessageId {
    pub fn to_text(self) -> [u8; ID_BYTES] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; ID_BYTES];
        for place in 0..16 {
            let shift = 60 - 4 * place;
            text[place] = DIGITS[(self.run >> shift) as usize & 15];
            text[17 + place] = DIGITS[(self.counter >> shift) as usize & 15];
        }
        text
    }

    pub fn from_text(text: &[u8]) -> Option<MessageId> {
        if text.len() != ID_BYTES || text[16] != b'-' {
            return None;
        }
        let number = |digits: &[u8]| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        Some(MessageId {
            run: number(&text[..16])?,
            counter: number(&text[17..])?,
        })
    }
}

/// One message's text, on the wire and as it must be read back.
pub struct Template {
    wire: Vec<u8>,
    body: Vec<u8>,
    wire_places: [usize; 2],
}

impl Template {
    /// A message of `size` octets (more if that is too small for a header), as it is read back; on the wire it is four
    /// longer: one stuffed dot, and `.` CRLF.
    pub fn new(size: usize) -> Template {
        let blank = "0".repeat(ID_BYTES);
        let header = format!(
            "{ID_FIELD}{blank}\r\nMessage-ID: <{blank}@load.example.net>\r\nFrom: Load <load@example.net>\r\n\
             To: Everybody <everybody@example.org>\r\nSubject: A message of the load generator\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n"
        );
        let places = [ID_FIELD.len(), header.find('<').map_or(0, |at| at + 1)];
        let mut body = header.into_bytes();
        let dot_line_at = body.len();
        body.extend_from_slice(b". begins with a dot\r\n");
        while body.len() + LINE.len() <= size {
            body.extend_from_slice(LINE);
        }
        if body.len() + 2 <= size {
            body.resize(size - 2, b'=');
            body.extend_from_slice(b"\r\n");
        }
        let mut wire = body.clone();
        wire.insert(dot_line_at, b'.');
        wire.extend_from_slice(b".\r\n");
        Template {
            wire,
            body,
            wire_places: places,
        }
    }

    /// The text to send after 354, ended by a lone dot.
    pub fn wire(&mut self, id: MessageId) -> &[u8] {
        let text = id.to_text();
        for place in self.wire_places {
            self.wire[place..place + ID_BYTES].copy_from_slice(&text);
        }
        &self.wire
    }

    /// The text as the server must give it back.
    pub fn body(&mut self, id: MessageId) -> &[u8] {
        let text = id.to_text();
        for place in self.wire_places {
            self.body[place..place + ID_BYTES].copy_from_slice(&text);
        }
        &self.body
    }

    /// SHA-256 of [`Template::body`].
    pub fn digest(&mut self, id: MessageId) -> [u8; 32] {
        Sha256::digest(self.body(id)).into()
    }

    /// Octets as read back.
    pub fn len(&self) -> usize {
        self.body.len()
    }
}

/// Splits what was read back into its id and the SHA-256 of the message without the prefix. `None` if it is not one of
/// ours, or if anything but trace fields stands in front.
pub fn identify(text: &[u8]) -> Option<(MessageId, [u8; 32])> {
    let start = prefix_length(text)?;
    let at = start + ID_FIELD.len();
    let id = MessageId::from_text(text.get(at..at + ID_BYTES)?)?;
    Some((id, Sha256::digest(&text[start..]).into()))
}

/// The id in a header that holds the id field and perhaps others.
pub fn identify_header(header: &[u8]) -> Option<MessageId> {
    let at = memchr::memmem::find(header, ID_FIELD.as_bytes())? + ID_FIELD.len();
    MessageId::from_text(header.get(at..at + ID_BYTES)?)
}

/// Octets of trace fields and their continuation lines before the id line.
fn prefix_length(text: &[u8]) -> Option<usize> {
    const TRACE_FIELDS: [&[u8]; 5] = [
        b"return-path:",
        b"delivered-to:",
        b"received:",
        b"x-original-to:",
        b"authentication-results:",
    ];
    let mut at = 0;
    loop {
        let line = &text[at..];
        if line.starts_with(ID_FIELD.as_bytes()) {
            return Some(at);
        }
        let is_continuation = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        let is_trace = TRACE_FIELDS.iter().any(|name| {
            line.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
        });
        if !is_continuation && !is_trace {
            return None;
        }
        at += memchr::memchr(b'\n', line)? + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId {
        run: 0x0123_4567_89ab_cdef,
        counter: 0xfedc_ba98_7654_3210,
    };

    #[test]
    fn ids_survive_being_written() {
        assert_eq!(MessageId::from_text(&ID.to_text()), Some(ID));
        assert_eq!(MessageId::from_text(b"0123"), None);
    }

    #[test]
    fn a_message_has_the_size_asked_for() {
        for size in [MESSAGE_BYTES_MIN, 1000, 4096, 4097, 100_000] {
            assert!(size.abs_diff(Template::new(size).len()) <= 1, "{size}");
        }
    }

    #[test]
    fn every_line_is_short_and_ends_in_crlf() {
        let mut template = Template::new(5000);
        let text = template.wire(ID);
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            assert!(line.ends_with(b"\r\n") && line.len() <= 1000);
        }
        assert!(text.ends_with(b"\r\n.\r\n"));
        assert_eq!(memchr::memmem::find(text, b"\r\n.\r\n"), Some(text.len() - 5));
    }

    #[test]
    fn a_message_is_known_again_behind_trace_fields_only() {
        let mut template = Template::new(1000);
        let digest = template.digest(ID);
        let mut text = b"Return-Path: <a@b>\r\nReceived: from x\r\n\tby y; now\r\n".to_vec();
        text.extend_from_slice(template.body(ID));
        assert_eq!(identify(&text), Some((ID, digest)));
        let mut foreign = b"Subject: other\r\n".to_vec();
        foreign.extend_from_slice(template.body(ID));
        assert_eq!(identify(&foreign), None);
        text.pop();
        assert_ne!(identify(&text), Some((ID, digest)));
    }
}
