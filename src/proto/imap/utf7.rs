//! Modified UTF-7 (RFC 3501 §5.1.3): how mailbox names that are not ASCII travel.
//!
//! Invariants: each name has one encoding, and only that one is accepted: no encoded printable ASCII, no adjacent shifts,
//! no loose bits, no lone surrogate. [`encode`] after [`decode`] gives back any pure-ASCII input that was accepted.
//! Raw UTF-8 (RFC 6855's habit, sent by clients that never heard of either) is accepted beside it, if it is valid.
//! Not here: what a name may be ([`crate::model::MailboxName`]).

/// Why a name on the wire is not one. All are the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Utf7Error {
    /// `&` without the `-` that ends it.
    #[error("'&' begins an encoded run that '-' must end; '&-' is the ampersand")]
    Unterminated,
    /// A character outside the modified base64 alphabet.
    #[error("an encoded run has only A-Z, a-z, 0-9, '+' and ','")]
    Base64,
    /// Bits left over that are not padding.
    #[error("an encoded run ends in bits that belong to no character")]
    LooseBits,
    /// Half a surrogate pair.
    #[error("an encoded run has half of a surrogate pair")]
    Surrogate,
    /// Something that must not be encoded, or is encoded in two runs.
    #[error("the name is not in its only form: printable ASCII stands for itself, and runs do not touch")]
    NotCanonical,
    /// 8-bit octets that are not UTF-8.
    #[error("the name has 8-bit octets that are not UTF-8")]
    NotUtf8,
}

/// Decodes a name or a pattern; wildcards are ASCII and stay what they are.
///
/// # Errors
/// See [`Utf7Error`].
pub fn decode(wire: &[u8]) -> Result<String, Utf7Error> {
    let text = std::str::from_utf8(wire).map_err(|_| Utf7Error::NotUtf8)?;
    // Only printable ASCII stands for itself; what else there is of it is encoded or no name.
    if wire.iter().any(u8::is_ascii_control) {
        return Err(Utf7Error::NotCanonical);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_behind_run = false;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        let (run, behind) = rest[at + 1..].split_once('-').ok_or(Utf7Error::Unterminated)?;
        if run.is_empty() {
            decoded.push('&');
            is_behind_run = false;
        } else if is_behind_run && at == 0 {
            return Err(Utf7Error::NotCanonical);
        } else {
            decode_run(run.as_bytes(), &mut decoded)?;
            is_behind_run = true;
        }
        rest = behind;
    }
    decoded.push_str(rest);
    Ok(decoded)
}

fn decode_run(run: &[u8], decoded: &mut String) -> Result<(), Utf7Error> {
    let mut bits = 0_u32;
    let mut bit_count = 0_u32;
    let mut units = Vec::with_capacity(run.len() * 6 / 16);
    for &byte in run {
        bits = (bits << 6) | u32::from(base64_value(byte).ok_or(Utf7Error::Base64)?);
        bit_count += 6;
        if bit_count >= 16 {
            bit_count -= 16;
            units.push((bits >> bit_count) as u16);
            bits &= (1 << bit_count) - 1;
        }
    }
    if bits != 0 || bit_count >= 6 {
        return Err(Utf7Error::LooseBits);
    }
    for unit in char::decode_utf16(units) {
        let c = unit.map_err(|_| Utf7Error::Surrogate)?;
        if matches!(c, ' '..='~') {
            return Err(Utf7Error::NotCanonical);
        }
        decoded.push(c);
    }
    Ok(())
}

fn base64_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b',' => Some(63),
        _ => None,
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Appends `text` in its only encoding: printable ASCII as itself, `&` as `&-`, runs of everything else in base64.
pub fn encode(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let run_end = rest.find(|c| matches!(c, ' '..='~')).unwrap_or(rest.len());
        if run_end > 0 {
            encode_run(&rest[..run_end], out);
            rest = &rest[run_end..];
            continue;
        }
        out.push(c as u8);
        if c == '&' {
            out.push(b'-');
        }
        rest = &rest[1..];
    }
}

fn encode_run(run: &str, out: &mut Vec<u8>) {
    out.push(b'&');
    let mut bits = 0_u32;
    let mut bit_count = 0;
    for unit in run.encode_utf16() {
        bits = (bits << 16) | u32::from(unit);
        bit_count += 16;
        while bit_count >= 6 {
            bit_count -= 6;
            out.push(ALPHABET[(bits >> bit_count) as usize & 63]);
        }
        bits &= (1 << bit_count) - 1;
    }
    if bit_count > 0 {
        out.push(ALPHABET[(bits << (6 - bit_count)) as usize & 63]);
    }
    out.push(b'-');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_rfc_decode() {
        assert_eq!(
            decode(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").as_deref(),
            Ok("~peter/mail/台北/日本語")
        );
        assert_eq!(decode(b"R&-D").as_deref(), Ok("R&D"));
        assert_eq!(decode(b"&2D3eAA-").as_deref(), Ok("😀"));
        assert_eq!(decode("Entwürfe".as_bytes()).as_deref(), Ok("Entwürfe"));
    }

    #[test]
    fn every_form_but_the_canonical_is_refused() {
        assert_eq!(decode(b"&"), Err(Utf7Error::Unterminated));
        assert_eq!(decode(b"&AGE"), Err(Utf7Error::Unterminated));
        assert_eq!(decode(b"&AGEA-"), Err(Utf7Error::LooseBits));
        assert_eq!(decode(b"&AGE-"), Err(Utf7Error::NotCanonical));
        assert_eq!(decode(b"&2AA-"), Err(Utf7Error::Surrogate));
        assert_eq!(decode(b"&AOk-&AOk-"), Err(Utf7Error::NotCanonical));
        assert_eq!(decode(b"&A-"), Err(Utf7Error::LooseBits));
        assert_eq!(decode(b"&AOl-"), Err(Utf7Error::LooseBits));
        assert_eq!(decode(b"&A/k-"), Err(Utf7Error::Base64));
        assert_eq!(decode(b"\xff"), Err(Utf7Error::NotUtf8));
        assert_eq!(decode(b"a\x08b"), Err(Utf7Error::NotCanonical));
        assert_eq!(decode(b"&AOk-&-&AOk-").as_deref(), Ok("é&é"));
    }

    proptest! {
        #[test]
        fn decode_of_encode_is_the_identity(text in "\\PC{0,40}|[ -~&é😀]{0,30}") {
            let mut wire = Vec::new();
            encode(&text, &mut wire);
            prop_assert!(wire.is_ascii());
            prop_assert_eq!(decode(&wire), Ok(text));
        }

        #[test]
        fn an_accepted_ascii_name_is_the_only_encoding(wire in "[&A-Ca,0+ \\x08\\x7f-]{0,12}") {
            if let Ok(text) = decode(wire.as_bytes()) {
                let mut again = Vec::new();
                encode(&text, &mut again);
                prop_assert_eq!(again, wire.as_bytes());
            }
        }
    }
}
