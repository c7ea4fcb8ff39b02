//! IMAP's strings as a server writes them: `NIL`, quoted, or a literal where a quoted string cannot hold the octets.
//!
//! Invariants: what is written is a valid `nstring` (RFC 3501 §9) for every input. A quoted string holds only 7-bit
//! octets without CR and LF; everything else goes into a literal, where NUL, which no literal may hold, becomes `?`.
//! Limits: the caller's; see [`clip`].

use memchr::memchr2;

/// Writes `text`, or `NIL`.
pub fn write(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => write_string(text, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Writes `text` as a quoted string, or as a literal if it needs one.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    // Without a way out of the loop, so that it takes many octets at once: texts are short, and lists have thousands.
    let needs_literal = |b: &u8| matches!(b, 0 | b'\r' | b'\n' | 0x80..);
    if text.iter().fold(false, |found, b| found | needs_literal(b)) {
        out.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
        out.extend(text.iter().map(|&b| if b == 0 { b'?' } else { b }));
        return;
    }
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The first `max` octets of `text`, or fewer so that no UTF-8 character is cut in two.
#[must_use]
pub fn clip(text: &[u8], max: usize) -> &[u8] {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while end > max.saturating_sub(4) && end > 0 && text[end] & 0xC0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_where_they_can_be() {
        for (text, wire) in [
            (&b""[..], &b"\"\""[..]),
            (b"a\"b\\c", b"\"a\\\"b\\\\c\""),
            ("é".as_bytes(), "{2}\r\né".as_bytes()),
            (b"a\0b", b"{3}\r\na?b"),
            (b"a\nb", b"{3}\r\na\nb"),
        ] {
            let mut out = Vec::new();
            write(Some(text), &mut out);
            assert_eq!(out, wire);
        }
    }

    #[test]
    fn clipping_leaves_whole_characters() {
        assert_eq!(clip("aé".as_bytes(), 2), b"a");
        assert_eq!(clip("aé".as_bytes(), 3), "aé".as_bytes());
        assert_eq!(clip(b"", 0), b"");
        assert_eq!(clip(&[0x80; 9], 0), b"");
    }
}
