//! Password hashes in Dovecot's `{SCHEME}` notation: which are known, how they are verified and made.
//!
//! Invariants: a hash that is broken, or of a scheme that is not known, matches nothing.
//! Standards: RFC 9106 (argon2id, by its recommended parameters for servers without much memory, as the crate has them).

use crate::directory::PasswordHash;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, SaltString};

/// Whether `password` is the one that `hash` was made of. Slow on purpose.
#[must_use]
pub fn matches(hash: &PasswordHash, password: &[u8]) -> bool {
    let Some((scheme, text)) = split(hash.expose()) else {
        return false;
    };
    match scheme.to_ascii_uppercase().as_str() {
        "ARGON2ID" | "ARGON2I" | "ARGON2" => argon2::PasswordHash::new(text)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
        _ => false,
    }
}

/// Hashes a password by the scheme new passwords get.
///
/// # Errors
/// When the system gives no entropy for the salt.
pub fn hash(password: &[u8]) -> Result<PasswordHash, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|e| e.to_string())?;
    let salt = SaltString::encode_b64(&salt).map_err(|e| e.to_string())?;
    let hash = Argon2::default()
        .hash_password(password, &salt)
        .map_err(|e| e.to_string())?;
    Ok(PasswordHash::new(format!("{{ARGON2ID}}{hash}")))
}

/// `{SCHEME}text`.
fn split(hash: &str) -> Option<(&str, &str)> {
    hash.strip_prefix('{')?.split_once('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_matches() {
        let hash = hash(b"ringpost").expect("entropy");
        assert!(matches(&hash, b"ringpost"));
        assert!(!matches(&hash, b"ringpos"));
        assert!(!matches(&hash, b""));
    }
}
