//! Addresses as RFC 5321 and 5322 write them: local-part@domain.
//!
//! Invariants: an [`AddrSpec`] is at most 320 octets (64 + 1 + 255, RFC 5321 §4.5.3.1), its local part is stored
//! unquoted, its domain in lower case; UTF-8 beyond ASCII only where SMTPUTF8 was agreed (the parser asks).
//! Not here: paths with `<>` and source routes (`proto::smtp`).

use crate::base::text::ShortText;
use std::borrow::Cow;
use std::fmt;

/// RFC 5321 §4.5.3.1.1.
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2.
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Why a text is not an address. All are the peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `local-part@domain` by the grammar of RFC 5321 §4.1.2.
    #[error("not a valid address")]
    Syntax,
    /// A part longer than RFC 5321 §4.5.3.1 allows.
    #[error("address too long")]
    TooLong,
    /// Octets beyond ASCII without SMTPUTF8, or not UTF-8 (RFC 6531 §3.3).
    #[error("address needs SMTPUTF8")]
    NeedsUtf8,
}

/// A domain name or an address literal, in lower case, without a trailing dot.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Domain(ShortText);

/// What stands before the `@`, unquoted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalPart(ShortText);

/// `local-part@domain` (RFC 5322 §3.4.1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddrSpec {
    /// Before the `@`.
    pub local_part: LocalPart,
    /// After it.
    pub domain: Domain,
}

impl Domain {
    /// Checks and lower-cases a domain (sub-domains of letters, digits, hyphens, UTF-8; or `[literal]`).
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn new(text: &str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let is_valid = if let Some(inner) = text.strip_prefix('[') {
            inner.strip_suffix(']').is_some_and(is_address_literal)
        } else {
            text.split('.').all(is_label)
        };
        is_valid
            .then(|| Self(lower_case(text)))
            .ok_or(AddressError::Syntax)
    }

    /// Lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

fn lower_case(text: &str) -> ShortText {
    if !text.is_ascii() {
        return text.to_lowercase().as_str().into();
    }
    let mut domain = ShortText::from(text);
    domain.make_ascii_lowercase();
    domain
}

/// `sub-domain` of RFC 5321 §4.1.2, widened by RFC 6531 §3.3 to UTF-8; underscores are seen in the wild and harmless.
fn is_label(label: &str) -> bool {
    let is_inner =
        |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control());
    !label.is_empty()
        && label.len() <= 63
        && label.chars().all(is_inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_address_literal(inner: &str) -> bool {
    let v6 = inner
        .get(..5)
        .filter(|tag| tag.eq_ignore_ascii_case("IPv6:"))
        .map(|_| &inner[5..]);
    v6.map_or_else(
        || inner.parse::<std::net::Ipv4Addr>().is_ok(),
        |ip| ip.parse::<std::net::Ipv6Addr>().is_ok(),
    )
}

impl LocalPart {
    /// Takes a local part that is already unquoted.
    ///
    /// # Errors
    /// [`AddressError::TooLong`] beyond 64 octets, [`AddressError::Syntax`] when empty or with controls in it.
    pub fn new(text: &str) -> Result<Self, AddressError> {
        if text.len() > LOCAL_PART_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let is_valid = !text.is_empty() && !text.chars().any(char::is_control);
        is_valid.then(|| Self(text.into())).ok_or(AddressError::Syntax)
    }

    /// As the peer wrote it, without quoting.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl AddrSpec {
    /// Parses `local-part@domain`, with a quoted local part too.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = text.rsplit_once('@').ok_or(AddressError::Syntax)?;
        Ok(Self {
            local_part: parse_local_part(local)?,
            domain: Domain::new(domain)?,
        })
    }
}

/// A dot-string or a quoted string (RFC 5321 §4.1.2).
pub(crate) fn parse_local_part(text: &str) -> Result<LocalPart, AddressError> {
    match text.strip_prefix('"') {
        Some(rest) => LocalPart::new(&unquote(rest.strip_suffix('"').ok_or(AddressError::Syntax)?)?),
        None if text.split('.').all(is_atom) => LocalPart::new(text),
        None => Err(AddressError::Syntax),
    }
}

fn is_atom(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || !b.is_ascii() || b"!#$%&'*+-/=?^_`{|}~".contains(&b))
}

fn unquote(quoted: &str) -> Result<Cow<'_, str>, AddressError> {
    if !quoted.contains(['\\', '"']) {
        return Ok(Cow::Borrowed(quoted));
    }
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().ok_or(AddressError::Syntax)?),
            '"' => return Err(AddressError::Syntax),
            _ => text.push(c),
        }
    }
    Ok(Cow::Owned(text))
}

impl fmt::Display for LocalPart {
    /// Quoted where the grammar needs it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.as_str().split('.').all(is_atom) {
            return f.write_str(self.as_str());
        }
        f.write_str("\"")?;
        for c in self.as_str().chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for AddrSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.domain)
    }
}

macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(LocalPart, Domain, AddrSpec);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_display_are_inverse() {
        for text in [
            "a@x.test",
            "\"a b\"@x.test",
            "a.b+c@[127.0.0.1]",
            "ü@bücher.example",
            "\"a\\\"b\"@x.test",
        ] {
            let address = AddrSpec::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "a",
            "@x",
            "a@",
            "a b@x.test",
            "a@-x.test",
            "a..b@x.test",
            "a@[1.2.3]",
            "a\u{0}b@x.test",
        ] {
            assert!(AddrSpec::parse(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(
            AddrSpec::parse(&format!("{}@x.test", "a".repeat(65))),
            Err(AddressError::TooLong)
        );
    }
}
