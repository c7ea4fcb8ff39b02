//! Password hashes in Dovecot's `{SCHEME}` notation: which are known, how they are verified and made.
//!
//! New passwords get argon2id. The other schemes are here to take an existing user base over: what is verified by one of
//! them is hashed anew ([`is_outdated`]).
//! Invariants: a hash that is broken, of a scheme that is not known, or dearer than the limits matches nothing; comparing
//! takes the same time wherever two digests differ.
//! Limits: [`ARGON2_KIB_MAX`], [`ARGON2_PASSES_MAX`], [`BCRYPT_COST_MAX`], [`ROUNDS_MAX`]: a hash in the directory must not
//! stop the machine at each login.
//! Standards: RFC 9106 (argon2id, by its recommended parameters for servers without much memory, as the crate has them),
//! RFC 8018 (PBKDF2), crypt(5) for `$2?$`, `$5$`, `$6$`; RFC 2307 for `{SSHA}`.

use super::argon;
use crate::directory::PasswordHash;
use argon2::password_hash::SaltString;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;

/// Schemes that are known, for messages.
pub const NAMES: [&str; 14] = [
    "ARGON2ID",
    "ARGON2I",
    "BLF-CRYPT",
    "SHA512-CRYPT",
    "SHA256-CRYPT",
    "CRYPT",
    "PBKDF2",
    "SSHA",
    "SSHA256",
    "SSHA512",
    "SHA",
    "SHA256",
    "SHA512",
    "PLAIN",
];

/// Memory of one argon2 computation.
pub const ARGON2_KIB_MAX: u32 = 256 * 1024;

/// Passes of argon2.
pub const ARGON2_PASSES_MAX: u32 = 16;

/// Of bcrypt: 2^14 rounds take about a second.
pub const BCRYPT_COST_MAX: u32 = 14;

/// Of PBKDF2 and sha-crypt.
pub const ROUNDS_MAX: u32 = 2_000_000;

/// One hash, taken apart.
enum Scheme<'a> {
    Argon2(argon2::PasswordHash<'a>),
    Bcrypt(&'a str),
    Sha512Crypt(&'a str),
    Sha256Crypt(&'a str),
    Pbkdf2 {
        salt: &'a [u8],
        rounds: NonZeroU32,
        derived: Vec<u8>,
    },
    Digest {
        algorithm: &'static digest::Algorithm,
        digest: Vec<u8>,
        salt: Vec<u8>,
    },
    Plain(&'a str),
}

/// Whether passwords can be compared with this hash.
#[must_use]
pub fn is_known(hash: &str) -> bool {
    parse(hash).is_some()
}

/// Whether a password that was right by this hash should be hashed anew.
#[must_use]
pub fn is_outdated(hash: &PasswordHash) -> bool {
    let Some(Scheme::Argon2(hash)) = parse(hash.expose()) else {
        return true;
    };
    let wanted = argon2::Params::default();
    let is_weaker = argon2::Params::try_from(&hash)
        .is_ok_and(|found| found.m_cost() < wanted.m_cost() || found.t_cost() < wanted.t_cost());
    hash.algorithm.as_str() != "argon2id" || is_weaker
}

/// Whether `password` is the one that `hash` was made of. Slow on purpose.
#[must_use]
pub fn matches(hash: &PasswordHash, password: &[u8]) -> bool {
    let text = || std::str::from_utf8(password);
    match parse(hash.expose()) {
        None => false,
        Some(Scheme::Argon2(hash)) => argon::matches(&hash, password),
        // A password beyond bcrypt's 72 octets was cut when it was hashed, so it is when it is compared.
        Some(Scheme::Bcrypt(hash)) => bcrypt::verify(password, hash).unwrap_or(false),
        Some(Scheme::Sha512Crypt(hash)) => {
            text().is_ok_and(|text| sha_crypt::sha512_check(text, hash).is_ok())
        }
        Some(Scheme::Sha256Crypt(hash)) => {
            text().is_ok_and(|text| sha_crypt::sha256_check(text, hash).is_ok())
        }
        Some(Scheme::Pbkdf2 {
            salt,
            rounds,
            derived,
        }) => pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA1, rounds, salt, password, &derived).is_ok(),
        Some(Scheme::Digest {
            algorithm,
            digest,
            salt,
        }) => verify_slices_are_equal(salted(algorithm, password, &salt).as_ref(), &digest).is_ok(),
        Some(Scheme::Plain(plain)) => {
            // Digests, so that not even the length is told by the time.
            let of = |octets: &[u8]| digest::digest(&digest::SHA256, octets);
            verify_slices_are_equal(of(plain.as_bytes()).as_ref(), of(password).as_ref()).is_ok()
        }
    }
}

fn salted(algorithm: &'static digest::Algorithm, password: &[u8], salt: &[u8]) -> digest::Digest {
    let mut context = digest::Context::new(algorithm);
    context.update(password);
    context.update(salt);
    context.finish()
}

fn parse(hash: &str) -> Option<Scheme<'_>> {
    let (scheme, text) = hash.strip_prefix('{')?.split_once('}')?;
    let scheme = scheme.to_ascii_uppercase();
    // Dovecot's encodings; without one the digests are base64 unless they have the length of hexadecimal ones.
    let (name, encoding) = scheme.split_once('.').unwrap_or((&scheme, ""));
    let digest = |algorithm, is_salted| digest_scheme(algorithm, text, encoding, is_salted);
    match name {
        "ARGON2ID" | "ARGON2I" | "ARGON2" => argon2_scheme(text),
        "BLF-CRYPT" | "BCRYPT" => bcrypt_scheme(text),
        "SHA512-CRYPT" => sha_crypt_scheme(text, "$6$"),
        "SHA256-CRYPT" => sha_crypt_scheme(text, "$5$"),
        "CRYPT" if text.starts_with("$6$") => sha_crypt_scheme(text, "$6$"),
        "CRYPT" if text.starts_with("$5$") => sha_crypt_scheme(text, "$5$"),
        "CRYPT" => bcrypt_scheme(text),
        "PBKDF2" => pbkdf2_scheme(text),
        "SHA" | "SHA1" => digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, false),
        "SSHA" => digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, true),
        "SHA256" => digest(&digest::SHA256, false),
        "SSHA256" => digest(&digest::SHA256, true),
        "SHA512" => digest(&digest::SHA512, false),
        "SSHA512" => digest(&digest::SHA512, true),
        "PLAIN" | "CLEAR" | "CLEARTEXT" if !text.is_empty() => Some(Scheme::Plain(text)),
        _ => None,
    }
}

fn argon2_scheme(text: &str) -> Option<Scheme<'_>> {
    let hash = argon2::PasswordHash::new(text).ok()?;
    let parameters = argon2::Params::try_from(&hash).ok()?;
    let is_bearable = parameters.m_cost() <= ARGON2_KIB_MAX && parameters.t_cost() <= ARGON2_PASSES_MAX;
    (is_bearable && hash.hash.is_some()).then_some(Scheme::Argon2(hash))
}

fn bcrypt_scheme(text: &str) -> Option<Scheme<'_>> {
    // `$2y$10$…`, 60 octets.
    let rest = text.strip_prefix("$2")?;
    let (_, rest) = rest.split_once('$')?;
    let cost: u32 = rest.split_once('$')?.0.parse().ok()?;
    (cost <= BCRYPT_COST_MAX && text.len() == 60 && text.is_ascii()).then_some(Scheme::Bcrypt(text))
}

fn sha_crypt_scheme<'a>(text: &'a str, prefix: &str) -> Option<Scheme<'a>> {
    let rest = text.strip_prefix(prefix)?;
    if let Some(rounds) = rest.strip_prefix("rounds=") {
        let rounds: u32 = rounds.split_once('$')?.0.parse().ok()?;
        if rounds > ROUNDS_MAX {
            return None;
        }
    }
    let is_whole = rest
        .rsplit_once('$')
        .is_some_and(|(_, digest)| digest.len() >= 43);
    is_whole.then_some(if prefix == "$6$" {
        Scheme::Sha512Crypt(text)
    } else {
        Scheme::Sha256Crypt(text)
    })
}

/// `$1$salt$rounds$hexadecimal`, SHA-1: Dovecot's.
fn pbkdf2_scheme(text: &str) -> Option<Scheme<'_>> {
    let mut parts = text.strip_prefix("$1$")?.splitn(3, '$');
    let (salt, rounds, derived) = (parts.next()?, parts.next()?, parts.next()?);
    let rounds: NonZeroU32 = rounds.parse().ok()?;
    let derived = hexadecimal(derived).filter(|derived| derived.len() == 20)?;
    (rounds.get() <= ROUNDS_MAX).then_some(Scheme::Pbkdf2 {
        salt: salt.as_bytes(),
        rounds,
        derived,
    })
}

fn digest_scheme<'a>(
    algorithm: &'static digest::Algorithm,
    text: &str,
    encoding: &str,
    is_salted: bool,
) -> Option<Scheme<'a>> {
    let length = algorithm.output_len;
    let mut octets = match encoding {
        "HEX" => hexadecimal(text),
        "" if !is_salted && text.len() == 2 * length => hexadecimal(text),
        "" | "B64" | "BASE64" => STANDARD.decode(text).ok(),
        _ => None,
    }?;
    let is_whole = if is_salted {
        octets.len() > length
    } else {
        octets.len() == length
    };
    if !is_whole {
        return None;
    }
    let salt = octets.split_off(length);
    Some(Scheme::Digest {
        algorithm,
        digest: octets,
        salt,
    })
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks_exact(2);
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(octet).collect()
}

/// Shortest password that is taken for an account.
pub const PASSWORD_CHARS_MIN: usize = 8;

/// Longest: argon2 takes more, but nobody types it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Checks a password that somebody has chosen, and hashes it.
///
/// # Errors
/// What is wrong with it, in words; or that the system gives no entropy.
pub fn new_hash(password: &str) -> Result<PasswordHash, String> {
    check_new(password)?;
    hash(password.as_bytes())
}

/// Whether a new password is one.
///
/// # Errors
/// In words.
pub fn check_new(password: &str) -> Result<(), String> {
    if password.chars().count() < PASSWORD_CHARS_MIN || password.len() > PASSWORD_BYTES_MAX {
        return Err(format!(
            "a password has {PASSWORD_CHARS_MIN} characters or more, up to {PASSWORD_BYTES_MAX} octets"
        ));
    }
    Ok(())
}

/// Hashes a password by the scheme new passwords get.
///
/// # Errors
/// When the system gives no entropy for the salt.
pub fn hash(password: &[u8]) -> Result<PasswordHash, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
    let salt = SaltString::encode_b64(&salt).map_err(|e| e.to_string())?;
    let hash = argon::hash(password, &salt).map_err(|e| e.to_string())?;
    Ok(PasswordHash::new(format!("{{ARGON2ID}}{hash}")))
}

/// Hashes a password that nobody can guess, because it is [`random_password`]: a salted digest is enough, and a client with
/// such a password costs no core of a helper thread.
///
/// # Errors
/// When the system gives no entropy for the salt.
pub fn fast_hash(password: &[u8]) -> Result<PasswordHash, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
    let mut octets = salted(&digest::SHA256, password, &salt).as_ref().to_vec();
    octets.extend_from_slice(&salt);
    Ok(PasswordHash::new(format!(
        "{{SSHA256}}{}",
        STANDARD.encode(octets)
    )))
}

/// Letters of a random password: no two that are read alike.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A password of 100 bits, in five groups of four letters, that a person can type.
///
/// # Errors
/// When the system gives no entropy.
pub fn random_password() -> Result<String, String> {
    let mut octets = [0; 20];
    getrandom::fill(&mut octets).map_err(|e| e.to_string())?;
    let mut password = String::with_capacity(24);
    for (at, octet) in octets.iter().enumerate() {
        if at > 0 && at.is_multiple_of(4) {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(octet % 32)]));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by other programs: openssl passwd, Python's hashlib, libcrypt.
    const FOREIGN: [&str; 13] = [
        "{SHA512-CRYPT}$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        "{CRYPT}$6$abc$IdWKNKTJEb8LxY7CGg8YBXlvtfZzFw7Mp/r6niK9YB2mdvgY..TKjv1T..8RadRt2qvUHYRLr/TsVArtr91iR1",
        "{SHA256-CRYPT}$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
        "{PLAIN}secret",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4",
        "{SHA256}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        "{SHA512.B64}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
        "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
        "{SSHA256}+E+iFJ27Yu1ODPH1UNKUmzOmUT06dwfghQJRHHnMsO5zYWx0",
        "{SSHA512}E491yrR9AdCoE7rbOPYS3EZgSuZpVE65AD9xko08s6floNesY/Zpe9zMVvLix4S2FiQSJ99RIkNvhHomNO9uL3NhbHQ=",
        "{PBKDF2}$1$saltsaltsaltsalt$1000$1a5de175888a46acde808eef2c6bc51be03cf4dd",
        "{BLF-CRYPT}$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
    ];

    fn of(text: &str) -> PasswordHash {
        PasswordHash::new(text)
    }

    #[test]
    fn only_the_right_password_matches() {
        let hash = hash(b"ringpost").expect("entropy");
        assert!(matches(&hash, b"ringpost"));
        assert!(!matches(&hash, b"ringpos"));
        assert!(!matches(&hash, b""));
        assert!(!is_outdated(&hash));
    }

    #[test]
    fn an_app_password_is_long_enough_for_a_fast_hash() {
        let password = random_password().expect("entropy");
        assert_eq!((password.len(), password.split('-').count()), (24, 5));
        let hash = fast_hash(password.as_bytes()).expect("entropy");
        assert!(matches(&hash, password.as_bytes()));
        assert!(!matches(&hash, b"x"));
        assert_ne!(password, random_password().expect("entropy"));
    }

    #[test]
    fn hashes_of_other_programs_are_verified() {
        for hash in FOREIGN {
            assert!(matches(&of(hash), b"secret"), "{hash}");
            assert!(!matches(&of(hash), b"Secret"), "{hash}");
            assert!(is_outdated(&of(hash)), "{hash}");
        }
    }

    #[test]
    fn a_hash_that_would_stop_the_machine_is_not_known() {
        for hash in [
            "{ARGON2ID}$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "{ARGON2ID}$argon2id$v=19$m=64,t=1000000,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "{BLF-CRYPT}$2y$31$abcdefghijklmnopqrstuuKqVqRLGQqGrn2Fjs3YgYxN0Mz0fGQ6e",
            "{SHA512-CRYPT}$6$rounds=999999999$saltsalt$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "{PBKDF2}$1$salt$4000000000$0000000000000000000000000000000000000000",
            "{MD5}x",
            "{PLAIN}",
            "plain",
            "{}",
            "{SSHA}AAAA",
            "{SHA}zz",
            "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        ] {
            assert!(!is_known(hash), "{hash}");
            assert!(!matches(&of(hash), b"secret"), "{hash}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_hash_or_none(text in "\\{(ARGON2ID|SSHA|SHA|BLF-CRYPT|CRYPT|PBKDF2|SHA512-CRYPT)(\\.HEX)?\\}[$a-zA-Z0-9/+=.]{0,80}") {
            let _ = is_known(&text);
        }
    }
}
