//! Any octets as a POP3 multi-line response: CRLF line ends, dots stuffed (RFC 1939 §3), and how many octets that is.
//!
//! Invariants: every LF without CR and every CR without LF becomes CRLF; the last line ends in CRLF; what is sent is the
//! same for every split of the same octets. The closing `.` belongs to the protocol core.
//! Not here: reading the message (`session`).

use memchr::memchr2;

/// Turns a message into lines of a multi-line response, piece by piece; for TOP only so many lines of its body.
#[derive(Clone, Debug)]
pub struct DotStuffer {
    is_after_cr: bool,
    is_line_start: bool,
    lines: LineLimit,
}

/// How much of the body TOP wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineLimit {
    /// All of it (RETR).
    None,
    /// In the header; then this many lines.
    AfterHeader(u32),
    /// In the body; this many lines are left.
    Left(u32),
}

impl DotStuffer {
    /// `lines`: of the body, after the header and the empty line behind it; `None` for the whole message.
    #[must_use]
    pub fn new(lines: Option<u32>) -> Self {
        Self {
            is_after_cr: false,
            is_line_start: true,
            lines: lines.map_or(LineLimit::None, LineLimit::AfterHeader),
        }
    }

    /// Nothing more is wanted: the rest of the message need not be read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.lines == LineLimit::Left(0)
    }

    /// Appends the next octets of the message to `wire`.
    pub fn push(&mut self, mut input: &[u8], wire: &mut Vec<u8>) {
        // A CRLF cut in two by the read: its line is ended already.
        if std::mem::take(&mut self.is_after_cr) {
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while !input.is_empty() && !self.is_done() {
            if self.is_line_start && input[0] == b'.' {
                wire.push(b'.');
            }
            let Some(at) = memchr2(b'\r', b'\n', input) else {
                wire.extend_from_slice(input);
                self.is_line_start = false;
                return;
            };
            wire.extend_from_slice(&input[..at]);
            let is_empty = self.is_line_start && at == 0;
            self.end_line(is_empty, wire);
            let is_cr = input[at] == b'\r';
            self.is_after_cr = is_cr && at + 1 == input.len();
            input = &input[at + 1..];
            if is_cr {
                input = input.strip_prefix(b"\n").unwrap_or(input);
            }
        }
    }

    /// Ends the last line if the message did not.
    pub fn finish(&mut self, wire: &mut Vec<u8>) {
        if !self.is_line_start && !self.is_done() {
            self.end_line(false, wire);
        }
    }

    fn end_line(&mut self, is_empty: bool, wire: &mut Vec<u8>) {
        wire.extend_from_slice(b"\r\n");
        self.is_line_start = true;
        self.lines = match self.lines {
            LineLimit::AfterHeader(lines) if is_empty => LineLimit::Left(lines),
            LineLimit::Left(lines) => LineLimit::Left(lines.saturating_sub(1)),
            other => other,
        };
    }
}

/// Counts the octets LIST announces: line ends as [`DotStuffer`] sends them, dots not stuffed (RFC 1939 §11).
#[derive(Clone, Copy, Debug, Default)]
pub struct OctetCount {
    octets: u64,
    is_after_cr: bool,
    is_in_line: bool,
}

impl OctetCount {
    /// Counts the next octets of the message.
    pub fn push(&mut self, mut input: &[u8]) {
        if std::mem::take(&mut self.is_after_cr) {
            input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        while let Some(at) = memchr2(b'\r', b'\n', input) {
            self.octets += at as u64 + 2;
            self.is_in_line = false;
            let is_cr = input[at] == b'\r';
            self.is_after_cr = is_cr && at + 1 == input.len();
            input = &input[at + 1..];
            if is_cr {
                input = input.strip_prefix(b"\n").unwrap_or(input);
            }
        }
        self.octets += input.len() as u64;
        self.is_in_line |= !input.is_empty();
    }

    /// The count, with the CRLF that a message without one gets.
    #[must_use]
    pub fn finish(self) -> u64 {
        self.octets + if self.is_in_line { 2 } else { 0 }
    }
}

/// [`OctetCount`] over a whole message at once.
#[must_use]
pub fn octets_as_sent(message: &[u8]) -> u64 {
    let mut count = OctetCount::default();
    count.push(message);
    count.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]], lines: Option<u32>) -> Vec<u8> {
        let mut stuffer = DotStuffer::new(lines);
        let mut wire = Vec::new();
        for piece in pieces {
            stuffer.push(piece, &mut wire);
        }
        stuffer.finish(&mut wire);
        wire
    }

    #[test]
    fn dots_are_stuffed_and_line_ends_mended() {
        assert_eq!(stuffed(&[b".a\n..\r\n.\rb"], None), b"..a\r\n...\r\n..\r\nb\r\n");
        assert_eq!(stuffed(&[b""], None), b"");
        assert_eq!(stuffed(&[b"a\r", b"\n", b".\r\n"], None), b"a\r\n..\r\n");
    }

    #[test]
    fn top_gives_the_header_and_so_many_lines() {
        let message = b"A: b\r\n\r\n.one\r\ntwo\r\nthree\r\n";
        assert_eq!(stuffed(&[message], Some(0)), b"A: b\r\n\r\n");
        assert_eq!(stuffed(&[message], Some(2)), b"A: b\r\n\r\n..one\r\ntwo\r\n");
        assert_eq!(stuffed(&[message], Some(9)), stuffed(&[message], None));
        assert_eq!(stuffed(&[b"A: b\r\n"], Some(0)), b"A: b\r\n");
    }

    proptest! {
        #[test]
        fn any_split_is_sent_and_counted_alike_and_decodes_to_the_message(
            message in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')], 0..40),
            cut in 0usize..40,
            lines in proptest::option::of(0u32..4),
        ) {
            let (front, back) = message.split_at(cut.min(message.len()));
            prop_assert_eq!(stuffed(&[&message], lines), stuffed(&[front, back], lines));
            let mut wire = stuffed(&[&message], None);
            wire.extend_from_slice(b".\r\n");
            // The decoder of DATA undoes what the stuffer did (encode, then decode).
            let mut body = Vec::new();
            let mut decoder = crate::proto::line::body::DataDecoder::new(u64::MAX);
            let progress = decoder.decode(&wire, |range| { body.extend_from_slice(&wire[range]); true });
            prop_assert!(progress.is_end && progress.taken == wire.len() && !decoder.faults().any());
            prop_assert_eq!(body.len() as u64, octets_as_sent(&message));
            let mut count = OctetCount::default();
            count.push(front);
            count.push(back);
            prop_assert_eq!(count.finish(), octets_as_sent(&message));
            let text = String::from_utf8(message).expect("ASCII");
            let mended = text.replace("\r\n", "\n").replace('\r', "\n").replace('\n', "\r\n");
            let body = String::from_utf8(body).expect("ASCII");
            prop_assert_eq!(body.trim_end_matches("\r\n"), mended.trim_end_matches("\r\n"));
        }
    }
}
