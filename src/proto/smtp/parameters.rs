//! Parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531).
//!
//! Invariants: only what EHLO offers is taken, each at most once; parsing allocates nothing.
//! LIMITATION: RCPT takes no parameter; NOTIFY and ORCPT (RFC 3461) hear `555` because DSN is not offered.

use super::command::{decimal, split_word, trim_start};
use crate::model::BodyType;

/// Longest value of SIZE: RFC 1870 §5 has twenty digits.
const SIZE_DIGITS_MAX: usize = 20;

/// What MAIL said besides the reverse-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`; a value of twenty digits beyond 64 bits is the largest there is.
    pub size: Option<u64>,
    /// `BODY=`
    pub body: Option<BodyType>,
    /// `SMTPUTF8`
    pub is_utf8: bool,
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// Not offered here.
    Unknown,
    /// Offered, but not with this value, or given twice.
    Value,
}

/// Reads what follows the path of MAIL.
///
/// # Errors
/// See [`ParameterError`].
pub fn parse_mail(text: &[u8]) -> Result<MailParameters, ParameterError> {
    let mut parameters = MailParameters::default();
    let mut rest = trim_start(text);
    while !rest.is_empty() {
        let (word, behind) = split_word(rest);
        rest = behind;
        let (keyword, value) = split_value(word);
        if keyword.eq_ignore_ascii_case(b"SIZE") {
            let size = parse_size(value.unwrap_or_default())?;
            once(parameters.size.replace(size).is_none())?;
        } else if keyword.eq_ignore_ascii_case(b"BODY") {
            let body = parse_body(value.unwrap_or_default())?;
            once(parameters.body.replace(body).is_none())?;
        } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") {
            once(value.is_none() && !parameters.is_utf8)?;
            parameters.is_utf8 = true;
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

fn once(is_first: bool) -> Result<(), ParameterError> {
    is_first.then_some(()).ok_or(ParameterError::Value)
}

fn split_value(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|octet| *octet == b'=') {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    }
}

fn parse_size(value: &[u8]) -> Result<u64, ParameterError> {
    let is_number = (1..=SIZE_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    // Too big for 64 bits is too big for any limit: the caller compares and answers 552.
    is_number
        .then(|| decimal(value).unwrap_or(u64::MAX))
        .ok_or(ParameterError::Value)
}

fn parse_body(value: &[u8]) -> Result<BodyType, ParameterError> {
    if value.eq_ignore_ascii_case(b"7BIT") {
        return Ok(BodyType::SevenBit);
    }
    if value.eq_ignore_ascii_case(b"8BITMIME") {
        return Ok(BodyType::EightBitMime);
    }
    Err(ParameterError::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_order_and_case() {
        assert_eq!(
            parse_mail(b" body=8bitmime  SIZE=12 SMTPUTF8"),
            Ok(MailParameters {
                size: Some(12),
                body: Some(BodyType::EightBitMime),
                is_utf8: true,
            })
        );
        assert_eq!(parse_mail(b""), Ok(MailParameters::default()));
        let huge = parse_mail(b" SIZE=99999999999999999999").map(|parameters| parameters.size);
        assert_eq!(huge, Ok(Some(u64::MAX)));
    }

    #[test]
    fn unknown_ones_and_bad_values_are_told_apart() {
        for (text, error) in [
            (" FOO=bar", ParameterError::Unknown),
            (" AUTH=<>", ParameterError::Unknown),
            (" =", ParameterError::Unknown),
            (" SIZE=", ParameterError::Value),
            (" SIZE", ParameterError::Value),
            (" SIZE=-1", ParameterError::Value),
            (" SIZE=1 SIZE=1", ParameterError::Value),
            (" SIZE=000000000000000000001", ParameterError::Value),
            (" BODY=BINARYMIME", ParameterError::Value),
            (" SMTPUTF8=yes", ParameterError::Value),
        ] {
            assert_eq!(parse_mail(text.as_bytes()), Err(error), "{text}");
        }
    }
}
