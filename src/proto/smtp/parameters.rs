//! Parameters of MAIL: SIZE (RFC 1870), BODY (RFC 6152, 3030), SMTPUTF8 (RFC 6531), REQUIRETLS (RFC 8689), RET and ENVID
//! (RFC 3461). Of RCPT: NOTIFY and ORCPT (RFC 3461, 6533).
//!
//! Invariants: only what EHLO offers is taken, each at most once; only texts to be kept are allocated.
//! Limits: [`ENVELOPE_ID_BYTES_MAX`], [`ORIGINAL_RECIPIENT_BYTES_MAX`].

use super::command::{decimal, split_word, trim_start};
use super::xtext;
use crate::model::{BodyType, DsnReturn, EnvelopeId, Notify, OriginalRecipient, RecipientDsn};

/// Longest value of SIZE: RFC 1870 §5 has twenty digits.
const SIZE_DIGITS_MAX: usize = 20;

/// Longest value of ENVID, encoded (RFC 3461 §4.4).
pub const ENVELOPE_ID_BYTES_MAX: usize = 100;

/// Longest value of ORCPT, encoded: what RFC 3461 §4.2 adds to the length of RCPT.
pub const ORIGINAL_RECIPIENT_BYTES_MAX: usize = 500;

/// What MAIL said besides the reverse-path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailParameters {
    /// `SIZE=`; a value of twenty digits beyond 64 bits is the largest there is.
    pub size: Option<u64>,
    /// `BODY=`
    pub body: Option<BodyType>,
    /// `SMTPUTF8`
    pub is_utf8: bool,
    /// `REQUIRETLS`
    pub requires_tls: bool,
    /// `RET=`
    pub dsn_return: Option<DsnReturn>,
    /// `ENVID=`
    pub envelope_id: Option<EnvelopeId>,
}

/// Why parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// Not offered here.
    Unknown,
    /// Offered, but not with this value, or given twice.
    Value,
}

/// Reads what follows the path of MAIL. REQUIRETLS is offered, and so known, under TLS only, AUTH where there is the command.
///
/// # Errors
/// See [`ParameterError`].
pub fn parse_mail(text: &[u8], is_tls: bool, has_auth: bool) -> Result<MailParameters, ParameterError> {
    let mut is_vouched_for = false;
    let mut parameters = MailParameters::default();
    for (keyword, value) in words(text) {
        let is_keyword = |name: &[u8]| keyword.eq_ignore_ascii_case(name);
        let text = value.unwrap_or_default();
        if is_keyword(b"SIZE") {
            once(parameters.size.replace(parse_size(text)?).is_none())?;
        } else if is_keyword(b"BODY") {
            once(parameters.body.replace(parse_body(text)?).is_none())?;
        } else if is_keyword(b"SMTPUTF8") {
            once(value.is_none() && !parameters.is_utf8)?;
            parameters.is_utf8 = true;
        } else if is_keyword(b"REQUIRETLS") && is_tls {
            once(value.is_none() && !parameters.requires_tls)?;
            parameters.requires_tls = true;
        } else if is_keyword(b"RET") {
            once(parameters.dsn_return.replace(parse_return(text)?).is_none())?;
        } else if is_keyword(b"ENVID") {
            let id = parse_envelope_id(text)?;
            once(parameters.envelope_id.replace(id).is_none())?;
        } else if is_keyword(b"AUTH") && has_auth {
            // Whom the peer says the message is from (RFC 4954 §5). It is believed what AUTH has proven, and no more.
            once(!std::mem::replace(&mut is_vouched_for, true))?;
            xtext::decode(text, false)
                .filter(|name| !name.is_empty() && !name.iter().any(u8::is_ascii_control))
                .ok_or(ParameterError::Value)?;
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(parameters)
}

/// Reads what follows the path of RCPT; `is_utf8` when MAIL said SMTPUTF8.
///
/// # Errors
/// See [`ParameterError`].
pub fn parse_rcpt(text: &[u8], is_utf8: bool) -> Result<RecipientDsn, ParameterError> {
    let mut dsn = RecipientDsn::default();
    for (keyword, value) in words(text) {
        let value = value.unwrap_or_default();
        if keyword.eq_ignore_ascii_case(b"NOTIFY") {
            once(dsn.notify.replace(parse_notify(value)?).is_none())?;
        } else if keyword.eq_ignore_ascii_case(b"ORCPT") {
            let original = parse_original(value, is_utf8)?;
            once(dsn.original.replace(original).is_none())?;
        } else {
            return Err(ParameterError::Unknown);
        }
    }
    Ok(dsn)
}

/// Keywords, each with the value behind its `=`.
fn words(text: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = trim_start(text);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (word, behind) = split_word(rest);
        rest = behind;
        Some(split_value(word))
    })
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
    if value.eq_ignore_ascii_case(b"BINARYMIME") {
        return Ok(BodyType::BinaryMime);
    }
    Err(ParameterError::Value)
}

fn parse_return(value: &[u8]) -> Result<DsnReturn, ParameterError> {
    if value.eq_ignore_ascii_case(b"FULL") {
        return Ok(DsnReturn::Full);
    }
    if value.eq_ignore_ascii_case(b"HDRS") {
        return Ok(DsnReturn::Headers);
    }
    Err(ParameterError::Value)
}

fn parse_envelope_id(value: &[u8]) -> Result<EnvelopeId, ParameterError> {
    Some(value)
        .filter(|value| value.len() <= ENVELOPE_ID_BYTES_MAX)
        .and_then(|value| xtext::decode(value, false))
        .and_then(|octets| EnvelopeId::new(std::str::from_utf8(&octets).ok()?))
        .ok_or(ParameterError::Value)
}

fn parse_notify(value: &[u8]) -> Result<Notify, ParameterError> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(|octet| *octet == b',') {
        let case = match word.to_ascii_uppercase().as_slice() {
            b"SUCCESS" => &mut success,
            b"FAILURE" => &mut failure,
            b"DELAY" => &mut delay,
            _ => return Err(ParameterError::Value),
        };
        *case = true;
    }
    Ok(Notify::When {
        success,
        failure,
        delay,
    })
}

fn parse_original(value: &[u8], is_utf8: bool) -> Result<OriginalRecipient, ParameterError> {
    original(value, is_utf8).ok_or(ParameterError::Value)
}

fn original(value: &[u8], is_utf8: bool) -> Option<OriginalRecipient> {
    if value.len() > ORIGINAL_RECIPIENT_BYTES_MAX {
        return None;
    }
    let at = value.iter().position(|octet| *octet == b';')?;
    let address_type = std::str::from_utf8(&value[..at]).ok()?;
    let address = String::from_utf8(xtext::decode(&value[at + 1..], is_utf8)?).ok()?;
    if address_type.eq_ignore_ascii_case("utf-8") {
        return OriginalRecipient::new(address_type, &xtext::decode_unicode(&address)?);
    }
    OriginalRecipient::new(address_type, &address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_read_in_any_order_and_case() {
        assert_eq!(
            parse_mail(b" body=8bitmime  SIZE=12 SMTPUTF8", false, false),
            Ok(MailParameters {
                size: Some(12),
                body: Some(BodyType::EightBitMime),
                is_utf8: true,
                ..MailParameters::default()
            })
        );
        assert_eq!(parse_mail(b"", false, false), Ok(MailParameters::default()));
        let huge = parse_mail(b" SIZE=99999999999999999999", false, false).map(|parameters| parameters.size);
        assert_eq!(huge, Ok(Some(u64::MAX)));
    }

    #[test]
    fn auth_is_known_where_there_is_the_command() {
        for text in [" AUTH=<>", " AUTH=e+3Dmc2@example.com SIZE=1"] {
            assert!(parse_mail(text.as_bytes(), true, true).is_ok(), "{text}");
        }
        for text in [" AUTH", " AUTH=", " AUTH=a+0D+0Ab", " AUTH=a AUTH=a", " AUTH=a+"] {
            let found = parse_mail(text.as_bytes(), true, true);
            assert_eq!(found, Err(ParameterError::Value), "{text}");
        }
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
            (" BODY=9BIT", ParameterError::Value),
            (" REQUIRETLS", ParameterError::Unknown),
            (" RET", ParameterError::Value),
            (" RET=FULL RET=HDRS", ParameterError::Value),
            (" RET=BODY", ParameterError::Value),
            (" ENVID=", ParameterError::Value),
            (" ENVID=a+0D+0Ab", ParameterError::Value),
            (" ENVID=a+FFb", ParameterError::Value),
            (" ENVID=a+2", ParameterError::Value),
            (" ENVID=a ENVID=a", ParameterError::Value),
            (" NOTIFY=NEVER", ParameterError::Unknown),
            (" MT-PRIORITY=3", ParameterError::Unknown),
            (" SMTPUTF8=yes", ParameterError::Value),
        ] {
            assert_eq!(parse_mail(text.as_bytes(), false, false), Err(error), "{text}");
        }
    }

    #[test]
    fn what_a_sender_wants_to_be_told_is_read() {
        let parameters = parse_mail(
            b" RET=hdrs ENVID=QQ+20+2B1 BODY=BINARYMIME REQUIRETLS",
            true,
            false,
        );
        let parameters = parameters.expect("all are offered");
        assert_eq!(parameters.dsn_return, Some(DsnReturn::Headers));
        assert_eq!(parameters.envelope_id, EnvelopeId::new("QQ +1"));
        assert_eq!(parameters.body, Some(BodyType::BinaryMime));
        assert!(parameters.requires_tls);
        let long = format!(" ENVID={}", "a".repeat(ENVELOPE_ID_BYTES_MAX));
        assert!(parse_mail(long.as_bytes(), false, false).is_ok());
        assert!(parse_mail(format!("{long}a").as_bytes(), false, false).is_err());
    }

    #[test]
    fn recipients_have_parameters_of_their_own() {
        let notify = |success, failure, delay| {
            Some(Notify::When {
                success,
                failure,
                delay,
            })
        };
        for (text, is_utf8, notify, original) in [
            ("", false, None, None),
            (" NOTIFY=never", false, Some(Notify::Never), None),
            (" NOTIFY=SUCCESS,delay", false, notify(true, false, true), None),
            (" NOTIFY=FAILURE", false, notify(false, true, false), None),
            (
                " ORCPT=RFC822;a+2Bb@x.test",
                false,
                None,
                Some(("rfc822", "a+b@x.test")),
            ),
            (
                " ORCPT=utf-8;\\x{FC}@x.test",
                false,
                None,
                Some(("utf-8", "\u{fc}@x.test")),
            ),
            (
                " ORCPT=utf-8;\u{fc}@x.test",
                true,
                None,
                Some(("utf-8", "\u{fc}@x.test")),
            ),
        ] {
            let original = original.and_then(|(kind, address)| OriginalRecipient::new(kind, address));
            assert_eq!(
                parse_rcpt(text.as_bytes(), is_utf8),
                Ok(RecipientDsn { notify, original }),
                "{text}"
            );
        }
    }

    #[test]
    fn a_recipients_bad_values_are_refused() {
        let long = format!(" ORCPT=rfc822;{}", "a".repeat(ORIGINAL_RECIPIENT_BYTES_MAX));
        for text in [
            " NOTIFY",
            " NOTIFY=",
            " NOTIFY=NEVER,SUCCESS",
            " NOTIFY=SUCCESS,",
            " NOTIFY=SOMETIMES",
            " NOTIFY=NEVER NOTIFY=NEVER",
            " ORCPT=",
            " ORCPT=a@x.test",
            " ORCPT=rfc822;",
            " ORCPT=;a@x.test",
            " ORCPT=rfc822;a+0Ab",
            " ORCPT=rfc822;a+0Db",
            " ORCPT=rfc822;a+00b",
            " ORCPT=rfc822;a=b",
            " ORCPT=rfc822;+C3+BC@x.test",
            " ORCPT=utf-8;\u{fc}@x.test",
            " ORCPT=utf-8;\\x{0A}@x.test",
            &long,
        ] {
            assert_eq!(
                parse_rcpt(text.as_bytes(), false),
                Err(ParameterError::Value),
                "{text}"
            );
        }
        assert_eq!(parse_rcpt(b" SIZE=1", false), Err(ParameterError::Unknown));
    }
}
