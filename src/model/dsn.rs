//! What a sender asks to be told about a delivery (DSN, RFC 3461): RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT.
//!
//! Invariants: texts hold no control characters, so that they can go into a report's header field as they are.
//! Not here: their form on the wire, xtext (`proto::smtp`); writing reports.

/// RET: how much of the message a report of failure brings back (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DsnReturn {
    /// `FULL`
    Full,
    /// `HDRS`: the header only.
    Headers,
}

/// ENVID: the sender's name for the mail transaction, repeated in reports (§4.4). Printable ASCII, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeId(Box<str>);

impl EnvelopeId {
    /// `None` when `text` is empty or holds anything but printable ASCII and spaces.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let is_printable = |octet: u8| matches!(octet, b' '..=b'~');
        (!text.is_empty() && text.bytes().all(is_printable)).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// NOTIFY: when to report on a recipient (§4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Not even of a failure.
    Never,
    /// In these cases; at least one.
    When {
        /// It was delivered.
        success: bool,
        /// It never will be.
        failure: bool,
        /// It takes longer than usual.
        delay: bool,
    },
}

/// ORCPT: the recipient as the sender named it first (§4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    address_type: Box<str>,
    address: Box<str>,
}

impl OriginalRecipient {
    /// `address_type` is an atom such as `rfc822`, kept in lower case; `address` is printable, beyond ASCII only for the
    /// type `utf-8` (RFC 6533 §3).
    #[must_use]
    pub fn new(address_type: &str, address: &str) -> Option<Self> {
        let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&octet);
        let address_type = address_type.to_ascii_lowercase();
        let is_valid = !address_type.is_empty()
            && address_type.bytes().all(is_atom)
            && !address.is_empty()
            && !address.chars().any(char::is_control)
            && (address_type == "utf-8" || address.is_ascii());
        is_valid.then(|| Self {
            address_type: address_type.into(),
            address: address.into(),
        })
    }

    /// `rfc822`, `utf-8`, …
    #[must_use]
    pub fn address_type(&self) -> &str {
        &self.address_type
    }

    /// The address, decoded; of any form, and nobody has checked that it is one.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// What RCPT asked for its recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipientDsn {
    /// `NOTIFY=`; without it failures are reported, and delays perhaps.
    pub notify: Option<Notify>,
    /// `ORCPT=`
    pub original: Option<OriginalRecipient>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_break_a_field() {
        assert!(EnvelopeId::new("QQ 314159").is_some());
        assert!(EnvelopeId::new("").is_none());
        assert!(EnvelopeId::new("a\r\nb").is_none());
        assert!(EnvelopeId::new("\u{fc}").is_none());
        let original = OriginalRecipient::new("RFC822", "a@x.test").expect("valid");
        assert_eq!(
            (original.address_type(), original.address()),
            ("rfc822", "a@x.test")
        );
        assert!(OriginalRecipient::new("utf-8", "\u{fc}@x.test").is_some());
        assert!(OriginalRecipient::new("rfc822", "\u{fc}@x.test").is_none());
        assert!(OriginalRecipient::new("rfc822", "a\nb").is_none());
        assert!(OriginalRecipient::new("utf-8", "a\u{85}b").is_none());
        assert!(OriginalRecipient::new("rfc 822", "a").is_none());
        assert!(OriginalRecipient::new("", "a").is_none());
    }
}
