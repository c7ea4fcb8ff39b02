//! The fields of a header, one after the other, without copying.
//!
//! Invariants: joining `whole` of all fields and the empty line gives the header back, octet for octet; one pass.
//! A line ends with LF (the CR before it belongs to the end); the header ends with the first empty line or the octets.
//! Failure: a line without a colon, or one that continues nothing, is a field with an empty name: kept and never matched.
//!
//! Standards: RFC 5322 §2.2. Not here: what a field means (`mime`, `envelope`, `search`).

use std::borrow::Cow;

/// Fields looked at when a header is digested (ENVELOPE, BODYSTRUCTURE, dates). Real mail has up to some 200; a header
/// of 100,000 is an attack, and what stands behind the first 10,000 is still served byte for byte.
pub const DIGESTED_FIELDS_MAX: usize = 10_000;

/// One field, with its folded lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Before the colon, without white space at its end; empty if the line has no colon.
    pub name: &'a [u8],
    /// After the colon up to the end of line: folds, white space and all, without the last line end.
    pub value: &'a [u8],
    /// Name, colon, value and line end as they stand in the message.
    pub whole: &'a [u8],
}

impl Field<'_> {
    /// True if the field's name is `name`, in any case (RFC 5322 §1.2.2).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The fields of a header, up to its empty line.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// Iterates over the fields of `header`; what stands behind an empty line is not looked at.
#[must_use]
pub fn fields(header: &[u8]) -> Fields<'_> {
    Fields { rest: header }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let mut end = line_end(self.rest, 0);
        if end == 0 || is_blank(&self.rest[..end]) {
            self.rest = &[];
            return None;
        }
        while matches!(self.rest.get(end), Some(b' ' | b'\t')) {
            end = line_end(self.rest, end);
        }
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(split_field(whole))
    }
}

fn split_field(whole: &[u8]) -> Field<'_> {
    let line = without_line_end(whole);
    let (name, value) = match memchr::memchr(b':', line) {
        Some(colon) => (line[..colon].trim_ascii_end(), &line[colon + 1..]),
        None => (&line[..0], line),
    };
    Field { name, value, whole }
}

/// Octets of the header at the start of `message`, its empty line included; all of it if there is no empty line.
#[must_use]
pub fn length(message: &[u8]) -> usize {
    let mut at = 0;
    while at < message.len() {
        let end = line_end(message, at);
        if is_blank(&message[at..end]) {
            return end;
        }
        at = end;
    }
    at
}

/// The first field called `name` among the first [`DIGESTED_FIELDS_MAX`].
#[must_use]
pub fn first<'a>(header: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(header).take(DIGESTED_FIELDS_MAX).find(|f| f.is(name))
}

/// A field's value on one line (RFC 5322 §2.2.3): line ends gone, the white space behind them kept, both ends trimmed.
#[must_use]
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    let value = value.trim_ascii();
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    Cow::Owned(
        value
            .iter()
            .copied()
            .filter(|b| !matches!(b, b'\r' | b'\n'))
            .collect(),
    )
}

/// The position just behind the line that starts at `from`.
pub(super) fn line_end(bytes: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &bytes[from..]).map_or(bytes.len(), |at| from + at + 1)
}

pub(super) fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_every_octet_and_their_folds() {
        let header = b"A: 1\r\nB : two\r\n\tfolded\r\nno colon\nC:\r\n\r\nbody: x\r\n";
        let all: Vec<_> = fields(header).collect();
        let names: Vec<_> = all.iter().map(|f| f.name).collect();
        assert_eq!(names, [&b"A"[..], b"B", b"", b"C"]);
        assert_eq!(unfold(all[1].value).as_ref(), b"two\tfolded");
        let joined: Vec<u8> = all.iter().flat_map(|f| f.whole).copied().collect();
        assert_eq!(joined, &header[..length(header) - 2]);
    }

    #[test]
    fn a_message_without_empty_line_is_all_header() {
        assert_eq!(length(b"A: 1\r\nB: 2"), 10);
        assert_eq!(length(b""), 0);
        assert_eq!(length(b"\r\nA: 1\r\n"), 2);
        assert_eq!(length(b"A: 1\n\nbody"), 6);
    }
}
