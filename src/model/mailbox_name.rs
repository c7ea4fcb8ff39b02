//! Names of mailboxes: UTF-8 keys with `/` between levels, never paths of a file system.
//!
//! Invariants: 1 to [`MAILBOX_NAME_BYTES_MAX`] octets, at most [`MAILBOX_DEPTH_MAX`] levels, none of them empty, no
//! control character; `INBOX` in any case is the one INBOX (RFC 9051 §5.1), also as the first level of a longer name.
//! Any Unicode normalization is kept, so that names of old stay what they are; which of an account's names one in another
//! normalization means, its `store::names` say.
//! Not here: modified UTF-7 (`proto::imap::utf7`), which maps wire names to these.

use std::borrow::{Borrow, Cow};
use std::fmt;
use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Longest name, octets of UTF-8. RFC 9051 sets none; Dovecot and Cyrus stand at about the same.
pub const MAILBOX_NAME_BYTES_MAX: usize = 1_000;

/// Most levels of one name.
pub const MAILBOX_DEPTH_MAX: usize = 100;

/// Between the levels of a name.
pub const HIERARCHY_DELIMITER: char = '/';

/// A mailbox's name in its account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Box<str>);

/// Why a text is not a mailbox name. Each is the peer's fault and answered `NO [CANNOT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    /// No text at all.
    #[error("a mailbox name cannot be empty")]
    Empty,
    /// Beyond [`MAILBOX_NAME_BYTES_MAX`].
    #[error("a mailbox name has at most {MAILBOX_NAME_BYTES_MAX} octets")]
    TooLong,
    /// Beyond [`MAILBOX_DEPTH_MAX`].
    #[error("a mailbox name has at most {MAILBOX_DEPTH_MAX} levels")]
    TooDeep,
    /// Two delimiters in a row, or one at the start.
    #[error("a mailbox name has no empty level")]
    EmptyLevel,
    /// C0, DEL, C1, or U+2028/2029 (RFC 9051 §5.1 forbids what RFC 5198 does).
    #[error("a mailbox name has no control characters")]
    Control,
}

impl MailboxName {
    /// Checks a name. One trailing delimiter is taken off, as CREATE allows (RFC 9051 §6.3.4).
    ///
    /// # Errors
    /// See [`MailboxNameError`].
    pub fn new(text: &str) -> Result<Self, MailboxNameError> {
        let text = text.strip_suffix(HIERARCHY_DELIMITER).unwrap_or(text);
        if text.is_empty() {
            return Err(MailboxNameError::Empty);
        }
        if text.len() > MAILBOX_NAME_BYTES_MAX {
            return Err(MailboxNameError::TooLong);
        }
        if text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
        {
            return Err(MailboxNameError::Control);
        }
        if text.split(HIERARCHY_DELIMITER).any(str::is_empty) {
            return Err(MailboxNameError::EmptyLevel);
        }
        if text.split(HIERARCHY_DELIMITER).count() > MAILBOX_DEPTH_MAX {
            return Err(MailboxNameError::TooDeep);
        }
        Ok(Self(with_canonical_inbox(text).into()))
    }

    /// The name of the mailbox that deliveries go to.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// True for INBOX itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// A name that no other comes before.
    #[must_use]
    pub fn least() -> Self {
        Self(" ".into())
    }

    /// The name in NFC ([`normalized`]); it may be longer than a name can be.
    #[must_use]
    pub fn normalized(&self) -> Cow<'_, str> {
        normalized(&self.0)
    }

    /// The name in NFC, where that is a name; else as it is.
    #[must_use]
    pub fn into_normalized(self) -> Self {
        let normal = match self.normalized() {
            Cow::Owned(normal) => Self::new(&normal).ok(),
            Cow::Borrowed(_) => None,
        };
        normal.unwrap_or(self)
    }

    /// UTF-8, levels separated by [`HIERARCHY_DELIMITER`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name one level up, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0
            .rsplit_once(HIERARCHY_DELIMITER)
            .map(|(parent, _)| Self(parent.into()))
    }

    /// True when `self` lies somewhere below `ancestor`.
    #[must_use]
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0
            .strip_prefix(&*ancestor.0)
            .is_some_and(|rest| rest.starts_with(HIERARCHY_DELIMITER))
    }
}

/// A text in Unicode's normalization form C, as Net-Unicode has it (RFC 5198 §3). Borrowed: it is in that form already, which
/// of ASCII is seen at once. The delimiter stands for itself and is composed with nothing, so that each level is normalized alone.
#[must_use]
pub fn normalized(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc(text) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

fn with_canonical_inbox(text: &str) -> String {
    let first = text.split(HIERARCHY_DELIMITER).next().unwrap_or_default();
    if first.eq_ignore_ascii_case("INBOX") {
        format!("INBOX{}", &text[first.len()..])
    } else {
        text.to_owned()
    }
}

/// A name is ordered and compared as its text.
impl Borrow<str> for MailboxName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A mailbox's role (RFC 6154 §2). The numbers are part of the disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpecialUse {
    /// `\Sent`
    Sent = 1,
    /// `\Drafts`
    Drafts = 2,
    /// `\Trash`
    Trash = 3,
    /// `\Junk`
    Junk = 4,
    /// `\Archive`
    Archive = 5,
}

impl SpecialUse {
    /// Every role, each with the name its mailbox has in a new account.
    pub const STANDARD: [(Self, &'static str); 5] = [
        (Self::Sent, "Sent"),
        (Self::Drafts, "Drafts"),
        (Self::Trash, "Trash"),
        (Self::Junk, "Junk"),
        (Self::Archive, "Archive"),
    ];

    /// The entry of a mailbox's metadata that says it (RFC 6154 §4).
    pub const ENTRY: &'static str = "/private/specialuse";

    /// The role that an attribute names, in any case.
    #[must_use]
    pub fn of_attribute(attribute: &[u8]) -> Option<Self> {
        let mut roles = Self::STANDARD.iter().map(|(role, _)| *role);
        roles.find(|role| role.attribute().as_bytes().eq_ignore_ascii_case(attribute))
    }

    /// The attribute as LIST shows it.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Sent => "\\Sent",
            Self::Drafts => "\\Drafts",
            Self::Trash => "\\Trash",
            Self::Junk => "\\Junk",
            Self::Archive => "\\Archive",
        }
    }

    /// The role with this number on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::STANDARD
            .iter()
            .map(|(role, _)| *role)
            .find(|role| *role as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_is_one_mailbox_in_any_case() {
        assert!(MailboxName::new("inBox").is_ok_and(|n| n.is_inbox()));
        assert_eq!(
            MailboxName::new("inbox/a").map(|n| n.to_string()),
            Ok("INBOX/a".to_owned())
        );
        assert_eq!(
            MailboxName::new("inboxes").map(|n| n.to_string()),
            Ok("inboxes".to_owned())
        );
    }

    #[test]
    fn names_are_keys_and_bad_ones_are_refused_whole() {
        assert_eq!(MailboxName::new("a//b"), Err(MailboxNameError::EmptyLevel));
        assert_eq!(MailboxName::new("/etc"), Err(MailboxNameError::EmptyLevel));
        assert_eq!(MailboxName::new("a\0b"), Err(MailboxNameError::Control));
        assert_eq!(MailboxName::new(""), Err(MailboxNameError::Empty));
        assert_eq!(
            MailboxName::new(&"n".repeat(1001)),
            Err(MailboxNameError::TooLong)
        );
        assert_eq!(
            MailboxName::new(&vec!["d"; 101].join("/")),
            Err(MailboxNameError::TooDeep)
        );
        assert!(MailboxName::new("../../etc/passwd").is_ok());
    }

    #[test]
    fn each_level_is_normalized_alone() {
        let normal = |text: &str| MailboxName::new(text).unwrap().into_normalized().to_string();
        assert_eq!(normal("u\u{308}/\u{301}a"), "\u{fc}/\u{301}a");
        assert_eq!(normal("Sent"), "Sent");
        let long = "\u{958}".repeat(300);
        assert_eq!(normal(&long), long, "what cannot be in NFC stays");
        assert!(MailboxName::least() < MailboxName::new("!").unwrap());
    }
}
