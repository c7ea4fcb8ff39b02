//! What BINARY and BINARY.SIZE give: a part's body without its transfer encoding.
//!
//! Invariants: identity encodings are not copied. Limits: the result is never longer than the body.
//! Failure: [`UnknownCte`] for an encoding that is not known (RFC 3516 §4.3), and for base64 of which nothing can be decoded though
//! there is something; the response is `NO [UNKNOWN-CTE]`. What does not keep to a known one is decoded as far as it goes, as
//! RFC 2045 §6.7 and §6.8 have it: without padding, with octets between that are none of it, with a list's footer behind it.
//!
//! Standards: RFC 3516 §4. Not here: part numbers (`section::find_part`), partials.

use super::mime::Encoding;
use super::structure::{Kind, Part, Structure};
use super::{section, transfer};
use std::borrow::Cow;

/// The transfer encoding is unknown, or the body is not in it at all. The sender's fault, for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the part's transfer encoding cannot be decoded")]
pub struct UnknownCte;

/// The decoded body of the part with these numbers; the message whole without numbers; `None` if there is no such part.
///
/// # Errors
/// [`UnknownCte`], see there.
pub fn find<'a>(
    structure: &Structure,
    message: &'a [u8],
    numbers: &[u32],
) -> Option<Result<Cow<'a, [u8]>, UnknownCte>> {
    if numbers.is_empty() {
        return Some(Ok(Cow::Borrowed(message)));
    }
    section::find_part(structure, numbers).map(|part| decode(part, message))
}

/// The decoded body of `part`.
///
/// # Errors
/// [`UnknownCte`], see there.
pub fn decode<'a>(part: &Part, message: &'a [u8]) -> Result<Cow<'a, [u8]>, UnknownCte> {
    // RFC 2045 §6.4: multiparts and messages are not encoded; what their header claims is passed over. An opaque part
    // is shown as a text with its encoding, so it is decoded like one.
    let encoding = match part.kind {
        Kind::Leaf | Kind::Opaque => part.fields(message).encoding(),
        Kind::Multipart | Kind::Message => Encoding::Identity,
    };
    let body = part.body_of(message);
    let decoded = transfer::decode(body, encoding).ok_or(UnknownCte)?;
    if encoding == Encoding::Base64 && decoded.is_empty() && !body.trim_ascii().is_empty() {
        return Err(UnknownCte);
    }
    Ok(decoded)
}
