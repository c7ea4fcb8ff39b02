//! Addresses as RFC 5321 and 5322 write them: local-part@domain.
//!
//! Invariants: an [`AddrSpec`] is at most 320 octets (64 + 1 + 255, RFC 5321 §4.5.3.1), its local part is stored
//! unquoted, its domain in one form: A-labels in lower case (RFC 5890 §2.3.2.1), whichever way it was written. So an
//! international domain compares, is looked up, stored and put into DNS and certificates as one thing; the form that people read
//! is made for showing only ([`shown`]). UTF-8 beyond ASCII only where SMTPUTF8 was agreed (the parser asks).
//! Standards: RFC 5891 in the profile of UTS #46 (non-transitional), as browsers and mail programs have it.
//! Not here: paths with `<>` and source routes (`proto::smtp`).
//! LIMITATION: local parts beyond ASCII compare octet by octet (RFC 6532 §3.1 asks senders for NFC).

use crate::base::text::ShortText;
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// A label of its domain is none by RFC 5891 and UTS #46: a character that no name may have, directions of writing that
    /// do not go together (RFC 5893), or an `xn--` label that stands for nothing.
    #[error("not a valid international domain name (RFC 5891)")]
    International,
}

/// A domain name (A-labels) or an address literal, in lower case, without a trailing dot.
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
    /// Checks a domain (sub-domains of letters, digits, hyphens, or UTF-8; or `[literal]`) and brings it into its one form. An
    /// `xn--` label of somebody else is taken as it is: [`check_international`](Self::check_international) looks into it.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn new(text: &str) -> Result<Self, AddressError> {
        if text.len() > DOMAIN_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let is_valid = inner.strip_suffix(']').is_some_and(is_address_literal);
            return is_valid
                .then(|| Self(lower_case(text)))
                .ok_or(AddressError::Syntax);
        }
        if text.is_ascii() {
            check_labels(text)?;
            return Ok(Self(lower_case(text)));
        }
        // Lengths and letters are looked at in the outcome, where they count.
        let converted = Uts46::new().to_ascii(
            text.as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::CheckFirstLast,
            DnsLength::Ignore,
        );
        let ascii = converted.map_err(|_| AddressError::International)?;
        if ascii.len() > DOMAIN_BYTES_MAX || ascii.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
            return Err(AddressError::TooLong);
        }
        check_labels(&ascii)?;
        Ok(Self(lower_case(&ascii)))
    }

    /// A-labels, lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// What an address literal stands for.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let inner = self.as_str().strip_prefix('[')?.strip_suffix(']')?;
        let address: IpAddr = match inner.strip_prefix("ipv6:") {
            Some(v6) => v6.parse::<Ipv6Addr>().ok()?.into(),
            None => inner.parse::<Ipv4Addr>().ok()?.into(),
        };
        Some(address.to_canonical())
    }

    /// Every `xn--` label stands for a text that becomes this label again: for a domain that is to be ours, which nobody would
    /// reach otherwise.
    ///
    /// # Errors
    /// [`AddressError::International`].
    pub fn check_international(&self) -> Result<(), AddressError> {
        if !has_a_label(self.as_str()) {
            return Ok(());
        }
        let again = Uts46::new().to_ascii(
            self.as_str().as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::CheckFirstLast,
            DnsLength::Ignore,
        );
        let is_same = again.is_ok_and(|again| again == self.as_str());
        is_same.then_some(()).ok_or(AddressError::International)
    }

    /// As people read it: U-labels (RFC 5890 §2.3.2.1), unless a label stands for nothing.
    #[must_use]
    pub fn to_unicode(&self) -> Cow<'_, str> {
        if !has_a_label(self.as_str()) || self.check_international().is_err() {
            return Cow::Borrowed(self.as_str());
        }
        let (text, _) = Uts46::new().to_unicode(
            self.as_str().as_bytes(),
            AsciiDenyList::EMPTY,
            Hyphens::CheckFirstLast,
        );
        Cow::Owned(text.into_owned())
    }
}

fn has_a_label(domain: &str) -> bool {
    domain.split('.').any(|label| label.starts_with("xn--"))
}

/// An address or a domain as people read it; what is neither stays as it is. Never for what programs compare.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains("xn--") {
        return Cow::Borrowed(text);
    }
    let (before, domain) = match text.rfind('@') {
        Some(at) => text.split_at(at + 1),
        None => ("", text),
    };
    match Domain::new(domain) {
        Ok(domain) => Cow::Owned(format!("{before}{}", domain.to_unicode())),
        Err(_) => Cow::Borrowed(text),
    }
}

/// A login in the form by which directories are asked and by which logins compare: ASCII in lower case, its domain, if it has
/// one, with A-labels. What is no address stays what it is otherwise.
#[must_use]
pub fn login_key(text: &str) -> String {
    let key = text.to_ascii_lowercase();
    let converted = key.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii());
    match converted.and_then(|(local, domain)| Some((local, Domain::new(domain).ok()?))) {
        Some((local, domain)) => format!("{local}@{domain}"),
        None => key,
    }
}

fn lower_case(text: &str) -> ShortText {
    let mut domain = ShortText::from(text);
    domain.make_ascii_lowercase();
    domain
}

/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

fn check_labels(ascii: &str) -> Result<(), AddressError> {
    let is_valid = ascii.split('.').all(is_label);
    is_valid.then_some(()).ok_or(AddressError::Syntax)
}

/// `sub-domain` of RFC 5321 §4.1.2; underscores are seen in the wild and harmless.
fn is_label(label: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
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
        || inner.parse::<Ipv4Addr>().is_ok(),
        |ip| ip.parse::<Ipv6Addr>().is_ok(),
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

    /// As people read it.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        format!("{}@{}", self.local_part, self.domain.to_unicode())
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
            "ü@xn--bcher-kva.example",
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

    #[test]
    fn an_international_domain_has_one_form_however_it_is_written() {
        for text in [
            "bücher.example",
            "BÜCHER.Example",
            "bu\u{308}cher.example",
            "xn--bcher-kva.example",
            "XN--BCHER-KVA.EXAMPLE",
            "bücher\u{3002}example",
            "ｂücher.example",
        ] {
            let domain = Domain::new(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(domain.as_str(), "xn--bcher-kva.example", "{text}");
            assert_eq!(domain.to_unicode(), "bücher.example");
            assert_eq!(domain.check_international(), Ok(()));
        }
        // Non-transitional: ß is itself.
        assert_eq!(
            Domain::new("straße.example").map(|d| d.to_string()),
            Ok("xn--strae-oqa.example".to_owned())
        );
        let address = AddrSpec::parse("Jörg@BÜCHER.example").expect("an address");
        assert_eq!(address.to_string(), "Jörg@xn--bcher-kva.example");
        assert_eq!(address.to_unicode(), "Jörg@bücher.example");
        assert_eq!(login_key("Anna@BÜCHER.example"), "anna@xn--bcher-kva.example");
        assert_eq!(
            login_key("Anna@XN--bcher-kva.example"),
            "anna@xn--bcher-kva.example"
        );
        assert_eq!(login_key("Änna"), "Änna");
        assert_eq!(shown("anna@xn--bcher-kva.example"), "anna@bücher.example");
        assert_eq!(shown("xn--bcher-kva.example"), "bücher.example");
    }

    #[test]
    fn hostile_domains_are_refused_by_kind() {
        use AddressError::{International, Syntax, TooLong};
        for (text, why) in [
            ("bücher.example.", Syntax),
            ("bücher..example", Syntax),
            ("-bücher.example", International),
            ("bü cher.example", Syntax),
            ("bü@cher.example", Syntax),
            // Directions that do not go together (RFC 5893), a combining mark in front, a joiner without reason, no character.
            ("\u{5d0}a.example", International),
            ("\u{308}u.example", International),
            ("a\u{200d}b.example", International),
            ("a\u{fffd}.example", International),
            ("ü.xn--a.example", International),
        ] {
            assert_eq!(Domain::new(text), Err(why), "{text}");
        }
        // Short enough as it was written, too long as it is compared.
        assert_eq!(Domain::new(&format!("{}.example", "ü".repeat(55))).err(), None);
        assert_eq!(Domain::new(&format!("{}.example", "üö".repeat(31))), Err(TooLong));
        let name = vec!["üö".repeat(10); 12].join(".");
        assert_eq!(Domain::new(&name), Err(TooLong), "{name}");
        // Somebody else's label that stands for nothing compares as what it is; none of ours may be so.
        for text in ["xn--a.example", "xn--bcher-.example", "xn--a-ecp.example"] {
            let Ok(domain) = Domain::new(text) else { continue };
            assert_eq!(domain.check_international(), Err(International), "{text}");
            assert_eq!(domain.to_unicode(), text);
        }
    }
}
