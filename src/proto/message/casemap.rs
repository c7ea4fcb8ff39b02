//! i;unicode-casemap: how texts are compared without case (RFC 5051), for SEARCH, SORT and THREAD (I18NLEVEL=1, RFC 5255 §4).
//!
//! Each character becomes its titlecase, then its full compatibility decomposition; the octets of the result in UTF-8 are
//! what is compared. So `é` written as one character and as two are the same, and a needle `e` is found in it, as the RFC
//! has it. Combining marks are not put in canonical order: the RFC's steps name characters one by one.
//! Invariants: pure; folding a text in pieces that end between characters gives the same octets; ASCII stays as long as it is.
//! Limits: a character becomes at most 18 (U+FDFA), so the result is bounded by the input.
//! Standards: RFC 5051 §2 and §3, with the tables of the Unicode version that the standard library has.

use unicode_normalization::char::decompose_compatible;

/// Appends `text` as it is compared.
pub fn push(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while !rest.is_empty() {
        // Runs of ASCII, which most text consists of, are mapped in one go.
        let ascii = ascii_length(rest.as_bytes());
        push_ascii(&rest.as_bytes()[..ascii], out);
        rest = &rest[ascii..];
        let other = rest.bytes().position(|b| b.is_ascii()).unwrap_or(rest.len());
        rest[..other].chars().for_each(|c| push_char(c, out));
        rest = &rest[other..];
    }
}

/// Appends ASCII as it is compared.
pub fn push_ascii(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(text);
    out[start..].make_ascii_uppercase();
}

/// Octets of ASCII that `text` begins with.
fn ascii_length(text: &[u8]) -> usize {
    /// Looked at together, which takes as long as one octet.
    const STRIDE: usize = 64;
    let whole = text.chunks(STRIDE).take_while(|chunk| chunk.is_ascii());
    let passed: usize = whole.map(<[u8]>::len).sum();
    let rest = text[passed..].iter().position(|b| !b.is_ascii());
    rest.map_or(text.len(), |at| passed + at)
}

/// `text` as it is compared.
#[must_use]
pub fn folded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    push(text, &mut out);
    out
}

fn push_char(c: char, out: &mut Vec<u8>) {
    let mut utf8 = [0; 4];
    decompose_compatible(title(c), |part| {
        out.extend_from_slice(part.encode_utf8(&mut utf8).as_bytes());
    });
}

/// The simple titlecase mapping of UnicodeData.txt. The standard library has the full upper case: where that is several
/// characters there is no simple mapping, but for the Greek letters with an iota below; where titlecase is not upper case
/// the character is one of the four digraphs.
fn title(c: char) -> char {
    let code = c as u32;
    let mapped = match code {
        0x01C4..=0x01C6 => 0x01C5,
        0x01C7..=0x01C9 => 0x01C8,
        0x01CA..=0x01CC => 0x01CB,
        0x01F1..=0x01F3 => 0x01F2,
        // Georgian: upper case exists, titlecase is the letter itself.
        0x10D0..=0x10FF => code,
        0x1F80..=0x1F87 | 0x1F90..=0x1F97 | 0x1FA0..=0x1FA7 => code + 8,
        0x1FB3 | 0x1FC3 | 0x1FF3 => code + 9,
        _ => {
            let mut upper = c.to_uppercase();
            return match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            };
        }
    };
    char::from_u32(mapped).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> String {
        String::from_utf8(folded(text)).expect("UTF-8 in, UTF-8 out")
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        // §2: U+01C4 becomes U+01C5, which is D, U+017E, which is z and U+030C.
        assert_eq!(text("\u{1C4}"), "Dz\u{30C}");
        assert_eq!(text("\u{1C6}"), "Dz\u{30C}");
        // Accents do not hide a letter, whichever way they are written.
        assert_eq!(text("\u{e9}"), "E\u{301}");
        assert_eq!(text("e\u{301}"), "E\u{301}");
        // No simple titlecase, no decomposition.
        assert_eq!(text("stra\u{df}e"), "STRA\u{df}E");
        assert_eq!(text("\u{1f80}"), text("\u{1f88}"));
        assert_eq!(text("\u{3c2}\u{3c3}"), "\u{3a3}\u{3a3}");
        assert_eq!(text("\u{fb01}x"), "fiX");
        assert_eq!(text("\u{212b}"), "A\u{30a}");
    }

    proptest! {
        #[test]
        fn pieces_fold_to_the_whole(text in "\\PC{0,20}", cut in 0..20_usize) {
            let at = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            let mut pieces = folded(&text[..at]);
            push(&text[at..], &mut pieces);
            prop_assert_eq!(pieces, folded(&text));
        }
    }
}
