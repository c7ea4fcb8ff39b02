//! Encoded-words of header values turned into text.
//!
//! Invariants: linear (an attempt at a word ends at the third `?`, and each `=?` holds one); never fails: what is not
//! a valid encoded-word stays as it is. White space between two encoded-words is dropped (RFC 2047 §6.2); the octets of
//! neighbours in one charset are joined before they are decoded, since senders split characters between words.
//! A tab counts as a space: where a sender folds with tabs, the text is meant to go on. 8-bit text outside of words is
//! UTF-8 (RFC 6532), else replaced octet by octet.
//!
//! Standards: RFC 2047, 2231 §5 (language tags). Not here: ENVELOPE, which keeps the words encoded (`envelope`).

use super::header;
use super::mime::Encoding;
use super::transfer::Lenient;
use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes the encoded-words in a field's value, folds and all.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    let mut value = header::unfold(value);
    if value.contains(&b'\t') {
        let tabs = value.to_mut().iter_mut().filter(|b| **b == b'\t');
        tabs.for_each(|b| *b = b' ');
    }
    let mut text = String::with_capacity(value.len());
    let mut pending = Pending::default();
    let mut rest: &[u8] = &value;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (plain, tail) = rest.split_at(at);
        let Some(word) = word(tail) else {
            pending.flush(&mut text);
            text.push_str(&String::from_utf8_lossy(&rest[..at + 2]));
            rest = &tail[2..];
            continue;
        };
        if !pending.is_open || !plain.trim_ascii().is_empty() {
            pending.flush(&mut text);
            text.push_str(&String::from_utf8_lossy(plain));
        }
        pending.add(&word, &mut text);
        rest = &tail[word.length..];
    }
    pending.flush(&mut text);
    text.push_str(&String::from_utf8_lossy(rest));
    text
}

/// Appends what [`decode`] makes of a value that is plain ASCII without the beginning of an encoded-word, which most are;
/// false, and nothing appended, for others.
pub fn push_plain(value: &[u8], out: &mut Vec<u8>) -> bool {
    if !value.is_ascii() || memchr::memmem::find(value, b"=?").is_some() {
        return false;
    }
    let mut rest = value.trim_ascii();
    while let Some(at) = memchr::memchr3(b'\r', b'\n', b'\t', rest) {
        out.extend_from_slice(&rest[..at]);
        if rest[at] == b'\t' {
            out.push(b' ');
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    true
}

/// True if octets of ASCII stand for themselves in this charset, each by itself.
#[must_use]
pub fn is_ascii_superset(charset: &[u8]) -> bool {
    let is_like = |prefix: &[u8]| {
        let start = charset.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_unicode_or_ascii = charset.is_empty()
        || charset.eq_ignore_ascii_case(b"utf-8")
        || charset.eq_ignore_ascii_case(b"us-ascii");
    is_unicode_or_ascii || is_like(b"iso-8859-") || is_like(b"windows-125")
}

/// `=?charset*language?encoding?text?=`
struct Word<'a> {
    charset: &'a [u8],
    encoding: Encoding,
    text: &'a [u8],
    length: usize,
}

/// The encoded-word at the start of `value`, which begins with `=?`.
fn word(value: &[u8]) -> Option<Word<'_>> {
    let charset_end = 2 + memchr::memchr(b'?', &value[2..])?;
    let charset = value[2..charset_end].split(|b| *b == b'*').next()?;
    let encoding = match value.get(charset_end + 1)? {
        b'q' | b'Q' => Encoding::QuotedPrintable,
        b'b' | b'B' => Encoding::Base64,
        _ => return None,
    };
    let text_start = charset_end + 3;
    let is_well_formed = !charset.is_empty() && value.get(charset_end + 2) == Some(&b'?');
    let text_end = text_start + memchr::memchr(b'?', value.get(text_start..)?)?;
    (is_well_formed && value.get(text_end + 1) == Some(&b'=')).then(|| Word {
        charset,
        encoding,
        text: &value[text_start..text_end],
        length: text_end + 2,
    })
}

/// Octets of encoded-words in one charset, not yet made text.
#[derive(Default)]
struct Pending {
    charset: Vec<u8>,
    octets: Vec<u8>,
    /// The last thing seen was an encoded-word.
    is_open: bool,
}

impl Pending {
    fn add(&mut self, word: &Word<'_>, text: &mut String) {
        if !self.charset.eq_ignore_ascii_case(word.charset) {
            self.flush(text);
            self.charset = word.charset.to_vec();
        }
        self.is_open = true;
        let mut decoder = Lenient::new(word.encoding);
        if word.encoding == Encoding::QuotedPrintable && word.text.contains(&b'_') {
            // RFC 2047 §4.2: the underscore is a space.
            let spaced: Vec<u8> = word
                .text
                .iter()
                .map(|&b| if b == b'_' { b' ' } else { b })
                .collect();
            decoder.decode(&spaced, &mut self.octets);
        } else {
            decoder.decode(word.text, &mut self.octets);
        }
    }

    fn flush(&mut self, text: &mut String) {
        if !self.octets.is_empty() {
            text.push_str(&to_text(&self.charset, &self.octets));
            self.octets.clear();
        }
        self.is_open = false;
    }
}

/// `octets` in `charset` as text. US-ASCII and unknown charsets are tried as UTF-8 first, which they mostly are.
#[must_use]
pub fn to_text(charset: &[u8], octets: &[u8]) -> String {
    let is_utf8 = charset.is_empty() || charset.eq_ignore_ascii_case(b"utf-8");
    let is_ascii = charset.eq_ignore_ascii_case(b"us-ascii");
    let decoder = if is_utf8 { None } else { charset_decoder(charset) };
    match decoder {
        Some(decoder) if !is_ascii || std::str::from_utf8(octets).is_err() => decoder(octets),
        _ => String::from_utf8_lossy(octets).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_of_rfc_2047_are_decoded() {
        for (value, expected) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("x =?ISO-8859-1?Q?a?= b", "x a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=", "ab"),
            ("a\r\n\tb", "a b"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?iso-8859-1*de?q?Gr=FC=DFe?=", "Grüße"),
            ("=?utf-8?B?w6k=?=, é", "é, é"),
            // A character split between two words.
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
        ] {
            assert_eq!(decode(value.as_bytes()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_value_is_what_decoding_makes_of_it(value in "[a=?\\r\\n\\t é]{0,12}") {
            let mut plain = b"x".to_vec();
            let expected = if push_plain(value.as_bytes(), &mut plain) {
                format!("x{}", decode(value.as_bytes()))
            } else {
                "x".to_owned()
            };
            prop_assert_eq!(plain, expected.into_bytes());
        }
    }

    #[test]
    fn ascii_stands_for_itself_where_it_is_said_to() {
        let ascii: Vec<u8> = (0..128).collect();
        let parts = (1..=16).map(|n| format!("ISO-8859-{n}"));
        let pages = (0..=8).map(|n| format!("windows-125{n}"));
        let others = ["", "UTF-8", "us-ascii"].map(str::to_owned);
        for charset in parts.chain(pages).chain(others) {
            assert!(is_ascii_superset(charset.as_bytes()), "{charset}");
            assert_eq!(to_text(charset.as_bytes(), &ascii).as_bytes(), ascii, "{charset}");
        }
        for charset in ["utf-16", "utf-7", "iso-2022-jp", "x-unknown", "shift_jis"] {
            assert!(!is_ascii_superset(charset.as_bytes()), "{charset}");
        }
    }

    #[test]
    fn what_is_no_word_stays() {
        for value in [
            "",
            "=?",
            "=?=?=?",
            "=?a?q?b",
            "=?a?x?b?=",
            "=??q?a?=",
            "a =?= b",
            "=?a?q",
        ] {
            assert_eq!(decode(value.as_bytes()), value);
        }
    }
}
