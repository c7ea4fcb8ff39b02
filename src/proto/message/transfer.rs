//! Decoding of transfer encodings, strictly for BINARY and leniently, piece by piece, for SEARCH.
//!
//! Invariants: linear; a lenient decoder never fails and gives at most as many octets as it got.
//! mail-parser decodes strictly and in one piece; SEARCH wants bounded memory and the text of damaged mail too, hence
//! the two small decoders below.
//!
//! Standards: RFC 2045 §6.7, §6.8. Not here: charsets (`search`), which part (`binary`).

use super::mime::Encoding;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::{quoted_printable_decode, quoted_printable_decode_char};
use std::borrow::Cow;

/// Decodes a whole body; `None` if it is not validly encoded or the encoding is unknown.
#[must_use]
pub fn decode(body: &[u8], encoding: Encoding) -> Option<Cow<'_, [u8]>> {
    match encoding {
        Encoding::Identity => Some(Cow::Borrowed(body)),
        Encoding::QuotedPrintable => quoted_printable_decode(body).map(Cow::Owned),
        Encoding::Base64 => base64_decode(body).map(Cow::Owned),
        Encoding::Unknown => None,
    }
}

/// Decodes a body piece by piece and takes what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Lenient {
    encoding: Encoding,
    /// base64: bits not yet given out, and how many.
    bits: u32,
    bit_count: u32,
}

impl Lenient {
    /// A decoder at the start of a body. An unknown encoding is taken for none.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            bits: 0,
            bit_count: 0,
        }
    }

    /// True if what is decoded is what is given.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        matches!(self.encoding, Encoding::Identity | Encoding::Unknown)
    }

    /// How much of `rest`, the body not yet decoded, to give next: up to `bytes_max`, up to a line end if there is one,
    /// so that no `=XX` is cut.
    #[must_use]
    pub fn piece(rest: &[u8], bytes_max: usize) -> usize {
        if rest.len() <= bytes_max {
            return rest.len();
        }
        let window = &rest[..bytes_max];
        if let Some(at) = memchr::memrchr(b'\n', window) {
            return at + 1;
        }
        let tail = bytes_max.saturating_sub(2);
        match memchr::memchr(b'=', &window[tail..]) {
            Some(at) if tail + at > 0 => tail + at,
            _ => bytes_max,
        }
    }

    /// Appends the decoded `piece` to `out`.
    pub fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Identity | Encoding::Unknown => out.extend_from_slice(piece),
            Encoding::Base64 => self.base64(piece, out),
            Encoding::QuotedPrintable => quoted_printable(piece, out),
        }
    }

    fn base64(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &b in piece {
            let value = match b {
                b'A'..=b'Z' => b - b'A',
                b'a'..=b'z' => b - b'a' + 26,
                b'0'..=b'9' => b - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'=' => {
                    self.bit_count = 0;
                    continue;
                }
                _ => continue,
            };
            self.bits = (self.bits << 6) | u32::from(value);
            self.bit_count += 6;
            if self.bit_count >= 8 {
                self.bit_count -= 8;
                out.push((self.bits >> self.bit_count).to_le_bytes()[0]);
            }
        }
    }
}

/// Decodes quoted-printable; a `=` that begins nothing stays (RFC 2045 §6.7, note 2).
fn quoted_printable(piece: &[u8], out: &mut Vec<u8>) {
    let mut rest = piece;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let decoded = match rest {
            [_, high, low, ..] => quoted_printable_decode_char(*high, *low),
            _ => None,
        };
        let taken = if let Some(b) = decoded {
            out.push(b);
            3
        } else if let Some(length) = soft_line_break(rest) {
            length
        } else {
            out.push(b'=');
            1
        };
        rest = &rest[taken..];
    }
    out.extend_from_slice(rest);
}

/// Octets of the soft line break `=`, blanks, line end, at the start of `text`.
fn soft_line_break(text: &[u8]) -> Option<usize> {
    /// Blanks looked over; quoted-printable lines end at 76.
    const BLANKS_MAX: usize = 76;
    let window = &text[1..text.len().min(BLANKS_MAX)];
    let at = window.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r'))?;
    (window[at] == b'\n').then_some(at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lenient(body: &[u8], encoding: Encoding, bytes_max: usize) -> Vec<u8> {
        let mut decoder = Lenient::new(encoding);
        let (mut out, mut rest) = (Vec::new(), body);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(Lenient::piece(rest, bytes_max));
            decoder.decode(piece, &mut out);
            rest = after;
        }
        out
    }

    #[test]
    fn pieces_of_any_size_decode_to_the_same() {
        let text = b"caf=C3=A9 =3D 100=\r\n% a=b =\nend=";
        for size in 3..40 {
            assert_eq!(
                lenient(text, Encoding::QuotedPrintable, size),
                "café = 100% a=b end=".as_bytes()
            );
            assert_eq!(
                lenient(b"Y2Fm\r\nw6k=\r\n!!", Encoding::Base64, size),
                "café".as_bytes()
            );
        }
    }

    #[test]
    fn strict_decoding_refuses_what_is_not_encoded() {
        assert_eq!(
            decode(b"Y2Fmw6k=\r\n", Encoding::Base64).as_deref(),
            Some("café".as_bytes())
        );
        assert_eq!(decode(b"Y2F!", Encoding::Base64), None);
        assert_eq!(
            decode(b"a=C3=A9=\r\nb", Encoding::QuotedPrintable).as_deref(),
            Some("aéb".as_bytes())
        );
        assert_eq!(decode(b"x", Encoding::Unknown), None);
    }
}
