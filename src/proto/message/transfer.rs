//! Decoding of transfer encodings, in one piece for BINARY and piece by piece for SEARCH.
//!
//! Invariants: linear; a known encoding never fails and gives at most as many octets as it got: what is outside base64's alphabet
//! is passed over (RFC 2045 §6.8), a `=` of quoted-printable that begins nothing stays (§6.7, note 2).
//! mail-parser decodes base64 faster, strictly and in one piece; SEARCH wants bounded memory and the text of damaged mail too,
//! hence the two small decoders below.
//!
//! Standards: RFC 2045 §6.7, §6.8. Not here: charsets (`search`), which part (`binary`).

use super::mime::Encoding;
use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::quoted_printable::quoted_printable_decode_char;
use std::borrow::Cow;

/// Decodes a whole body; `None` if the encoding is unknown.
#[must_use]
pub fn decode(body: &[u8], encoding: Encoding) -> Option<Cow<'_, [u8]>> {
    Some(match encoding {
        Encoding::Identity => Cow::Borrowed(body),
        Encoding::QuotedPrintable => Cow::Owned(all_of(body, Lenient::new(encoding))),
        Encoding::Base64 => Cow::Owned(base64(body)),
        Encoding::Unknown => return None,
    })
}

fn base64(body: &[u8]) -> Vec<u8> {
    // The one octet that mail-parser takes for an end.
    let strictly = match memchr::memchr(u8::MAX, body) {
        None => base64_decode(body),
        Some(_) => None,
    };
    strictly.unwrap_or_else(|| {
        // What a mailing list has put behind the padding is none of it.
        let to_padding = Lenient {
            ends_at_padding: true,
            ..Lenient::new(Encoding::Base64)
        };
        all_of(body, to_padding)
    })
}

fn all_of(body: &[u8], mut decoder: Lenient) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    decoder.decode(body, &mut out);
    out
}

/// Decodes a body piece by piece and takes what it gets.
#[derive(Clone, Copy, Debug)]
pub struct Lenient {
    encoding: Encoding,
    /// base64: bits not yet given out, and how many.
    bits: u32,
    bit_count: u32,
    /// base64: RFC 2045 §6.8 lets a reader take padding for the end. Else what follows is taken for another encoded piece.
    ends_at_padding: bool,
}

impl Lenient {
    /// A decoder at the start of a body. An unknown encoding is taken for none.
    #[must_use]
    pub fn new(encoding: Encoding) -> Self {
        Self {
            encoding,
            bits: 0,
            bit_count: 0,
            ends_at_padding: false,
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
                b'=' if self.ends_at_padding && self.bit_count > 0 => return,
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

/// Decodes quoted-printable line by line.
fn quoted_printable(piece: &[u8], out: &mut Vec<u8>) {
    let mut rest = piece;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        let (line, behind) = rest.split_at(at + 1);
        rest = behind;
        let (text, end) = line.split_at(at - usize::from(line[..at].ends_with(b"\r")));
        // RFC 2045 §6.7 (3): blanks at the end of a line were added on the way.
        let text = text.trim_ascii_end();
        match text.strip_suffix(b"=") {
            Some(text) => escapes(text, out),
            None => {
                escapes(text, out);
                out.extend_from_slice(end);
            }
        }
    }
    escapes(rest, out);
}

fn escapes(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some(at) = memchr::memchr(b'=', rest) {
        out.extend_from_slice(&rest[..at]);
        let decoded = match &rest[at..] {
            [_, high, low, ..] => quoted_printable_decode_char(*high, *low),
            _ => None,
        };
        out.push(decoded.unwrap_or(b'='));
        rest = &rest[at + if decoded.is_some() { 3 } else { 1 }..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// RFC 2045 §6.7, §6.8.
    #[test]
    fn what_is_not_encoded_is_passed_over_or_stays() {
        let decoded = |body: &str, encoding| {
            let octets = decode(body.as_bytes(), encoding)
                .expect("a known encoding")
                .into_owned();
            String::from_utf8(octets).expect("text")
        };
        for (body, text) in [
            ("Y2Fmw6k=\r\n", "caf\u{e9}"),
            ("aGVs@bG8=", "hello"),
            ("aGVsbG8=\r\n--\r\nlist footer!", "hello"),
            ("aGVsbG8=\r\nIQ==\r\n", "hello!"),
            ("aGVs=bG8=!", "hello"),
            ("aGVsbG8", "hello"),
            ("!", ""),
        ] {
            assert_eq!(decoded(body, Encoding::Base64), text, "{body}");
        }
        for (body, text) in [
            ("a=C3=A9=\r\nb", "a\u{e9}b"),
            ("a=zz b=", "a=zz b="),
            ("a \t\r\nb=  \r\nc=20\r\n", "a\r\nbc \r\n"),
            ("a=3d=3D=\nb\n", "a==b\n"),
        ] {
            assert_eq!(decoded(body, Encoding::QuotedPrintable), text, "{body}");
        }
        assert_eq!(decode(b"x", Encoding::Unknown), None);
    }

    proptest! {
        /// Of what is well encoded both decoders say the same.
        #[test]
        fn the_fast_decoder_and_the_lenient_one_agree(body in prop::collection::vec(
            prop::sample::select(b"AZaz09+/=\r\n \t!\xff".to_vec()), 0..40)
        ) {
            let whole = decode(&body, Encoding::Base64).expect("known").into_owned();
            match base64_decode(&body).filter(|_| !body.contains(&u8::MAX)) {
                Some(_) => prop_assert_eq!(whole, lenient(&body, Encoding::Base64, usize::MAX)),
                None => prop_assert!(lenient(&body, Encoding::Base64, usize::MAX).starts_with(&whole)),
            }
        }
    }
}
