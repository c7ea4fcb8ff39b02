//! xtext: text in a parameter's value, whatever is no plain graphic character as `+` and two hexadecimal digits (RFC 3461
//! §4), and the `\\x{…}` form of addresses beyond ASCII (RFC 6533 §3).
//!
//! Not here: which texts a parameter allows once decoded (`model::dsn`).

/// Undoes xtext. `None`: not xtext. With `is_utf8`, octets beyond ASCII stand for themselves (RFC 6533 §3, unitext).
#[must_use]
pub fn decode(text: &[u8], is_utf8: bool) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match first {
            b'+' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                decoded.push(hexadecimal(digits)? as u8);
                rest = behind;
            }
            b'=' => return None,
            b'!'..=b'~' => decoded.push(first),
            0x80.. if is_utf8 => decoded.push(first),
            _ => return None,
        }
    }
    Some(decoded)
}

/// Makes xtext of `text`. With `is_utf8`, octets beyond ASCII stay as they are.
#[must_use]
pub fn encode(text: &[u8], is_utf8: bool) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(text.len());
    for &octet in text {
        let is_plain = matches!(octet, b'!'..=b'~') && !matches!(octet, b'+' | b'=');
        if is_plain || (is_utf8 && octet >= 0x80) {
            encoded.push(octet);
        } else {
            let digit = |value: u8| DIGITS[usize::from(value)];
            encoded.extend_from_slice(&[b'+', digit(octet >> 4), digit(octet & 15)]);
        }
    }
    encoded
}

/// Undoes `\\x{HEX}`; another backslash is not allowed in such an address.
#[must_use]
pub fn decode_unicode(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        let (digits, behind) = rest[at..].strip_prefix("\\x{")?.split_once('}')?;
        if !(2..=6).contains(&digits.len()) {
            return None;
        }
        decoded.push(char::from_u32(hexadecimal(digits.as_bytes())?)?);
        rest = behind;
    }
    decoded.push_str(rest);
    Some(decoded)
}

/// At most six digits.
fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        char::from(*digit).to_digit(16).map(|digit| value * 16 + digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_xtext_is_refused() {
        for text in ["+", "+4", "+4G", "+-1", "a=b", "a b", "\u{fc}", "\t"] {
            assert_eq!(decode(text.as_bytes(), false), None, "{text}");
        }
        assert_eq!(decode("\u{fc}+3d".as_bytes(), true), Some("\u{fc}=".into()));
    }

    #[test]
    fn unicode_is_written_with_braces() {
        assert_eq!(decode_unicode("\\x{FC}@x.test").as_deref(), Some("\u{fc}@x.test"));
        assert_eq!(decode_unicode("\\x{1F600}").as_deref(), Some("\u{1f600}"));
        for text in [
            "\\",
            "\\x{}",
            "\\x{F}",
            "\\x{FC",
            "\\x{D800}",
            "\\x{110000}",
            "\\x{0000FC}1\\",
            "\\x{+C}",
        ] {
            assert_eq!(decode_unicode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(decode(&encode(&octets, false), false), Some(octets));
        }

        #[test]
        fn no_input_panics(octets in proptest::collection::vec(any::<u8>(), 0..60), text in ".{0,40}", is_utf8 in any::<bool>()) {
            let _ = (decode(&octets, is_utf8), decode_unicode(&text));
        }
    }
}
