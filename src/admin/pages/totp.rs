//! The second factor of the web pages.
//!
//! Standards: RFC 6238 with its usual parameters (SHA-1, six digits, 30 seconds), RFC 4226 §5.3 (truncation), RFC 4648 §6
//! (base32 without padding).

use aws_lc_rs::hmac;

/// Seconds a code is for.
const STEP_SECONDS: i64 = 30;

/// Steps that a clock may be wrong, before and after.
const SKEW_STEPS: i64 = 1;

/// Octets of a secret, as RFC 4226 §4 recommends.
const SECRET_BYTES: usize = 20;

/// Letters of a secret.
const SECRET_CHARS: usize = SECRET_BYTES * 8 / 5;

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A new secret, base32.
///
/// # Errors
/// When the system gives no entropy.
pub fn new_secret() -> Result<String, String> {
    let mut octets = [0; SECRET_BYTES];
    getrandom::fill(&mut octets).map_err(|e| e.to_string())?;
    let mut text = String::with_capacity(SECRET_CHARS);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for octet in octets {
        held = held << 8 | u32::from(octet);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    Ok(text)
}

fn octets(secret: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(secret.len() * 5 / 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in secret.bytes() {
        let value = LETTERS
            .iter()
            .position(|known| *known == letter.to_ascii_uppercase())?;
        held = (held << 5 | value as u32) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            octets.push((held >> bits) as u8);
        }
    }
    Some(octets)
}

fn code(secret: &[u8], step: i64) -> u32 {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[19] & 15);
    let word = [tag[offset], tag[offset + 1], tag[offset + 2], tag[offset + 3]];
    (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000
}

/// The step that `typed` is the code of at `now` (Unix seconds). A code is good once: its step is to be taken, and refused if
/// it or a later one was (§5.2).
#[must_use]
pub fn verify(secret: &str, typed: &str, now: i64) -> Option<i64> {
    let secret = octets(secret)?;
    let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let number: u32 = typed
        .parse()
        .ok()
        .filter(|_| typed.len() == 6 && !typed.starts_with('+'))?;
    let current = now.div_euclid(STEP_SECONDS);
    (current - SKEW_STEPS..=current + SKEW_STEPS).find(|step| code(&secret, *step) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, Appendix B: the secret `12345678901234567890`, its codes cut to six digits.
    const SECRET: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (now, typed) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
            (20_000_000_000, "353130"),
        ] {
            assert!(verify(SECRET, typed, now).is_some(), "{now}");
            assert!(verify(SECRET, typed, now + 90).is_none(), "{now}");
        }
    }

    #[test]
    fn a_code_is_good_with_a_clock_that_is_a_little_wrong() {
        assert_eq!(verify(SECRET, "287 082", 59 + 30), Some(1));
        assert_eq!(verify(SECRET, "287082", 59 - 30), Some(1));
        for typed in ["28708", "+87082", "2870820", "", "abcdef"] {
            assert_eq!(verify(SECRET, typed, 59), None, "{typed}");
        }
    }

    #[test]
    fn a_secret_is_160_bits_in_base32() {
        let secret = new_secret().expect("entropy");
        assert_eq!((secret.len(), octets(&secret).map(|o| o.len())), (32, Some(20)));
        assert_ne!(new_secret().expect("entropy"), secret);
    }
}
