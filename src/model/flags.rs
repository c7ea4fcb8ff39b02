//! Message flags (RFC 9051 §2.3.2): system flags as bits, keywords as names that a mailbox numbers.

use smallvec::SmallVec;
use std::fmt;

/// Longest keyword accepted, in octets; clients use short ones and every mailbox stores its names.
pub const KEYWORD_BYTES_MAX: usize = 128;

/// A set of system flags. The bits are part of the disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`
    pub const DELETED: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// Every system flag a client may set.
    pub const ALL: Self = Self(31);

    /// The flags with their names on the wire, in the order they are listed.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// True when every flag of `other` is set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set less `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Why a text is not a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeywordError {
    /// Not an IMAP atom.
    #[error(
        "a keyword is an atom: no spaces, parentheses, brackets that close, quotes, wildcards or controls"
    )]
    NotAnAtom,
    /// Longer than [`KEYWORD_BYTES_MAX`].
    #[error("a keyword has at most {KEYWORD_BYTES_MAX} octets")]
    TooLong,
}

/// A user flag, such as `$Forwarded`. Compared without regard to ASCII case (RFC 9051 §2.3.2), kept as first written.
#[derive(Clone)]
pub struct Keyword(Box<str>);

impl Keyword {
    /// Checks `text` against the grammar of an atom (RFC 9051 §9, `flag-keyword`).
    ///
    /// # Errors
    /// See [`KeywordError`].
    pub fn new(text: &str) -> Result<Self, KeywordError> {
        let keyword = Self::of_old(text)?;
        if text.contains(']') {
            return Err(KeywordError::NotAnAtom);
        }
        Ok(keyword)
    }

    /// A keyword that is kept already: earlier versions took `]` as well, which is in no atom.
    ///
    /// # Errors
    /// See [`KeywordError`].
    pub fn of_old(text: &str) -> Result<Self, KeywordError> {
        if text.len() > KEYWORD_BYTES_MAX {
            return Err(KeywordError::TooLong);
        }
        let is_atom = !text.is_empty() && text.bytes().all(is_atom_char_or_bracket);
        is_atom.then(|| Self(text.into())).ok_or(KeywordError::NotAnAtom)
    }

    /// As first written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// ATOM-CHAR of RFC 9051 §9, and `]`.
fn is_atom_char_or_bracket(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Keyword {}

impl fmt::Debug for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One flag as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    /// One of the five system flags.
    System(Flags),
    /// A user flag.
    Keyword(Keyword),
    /// `\Recent` or an unknown `\Flag`: accepted in a list where RFC 9051 §2.3.2 says so, stored nowhere.
    Ignored,
}

/// Splits what a client listed into system flags and keywords.
#[must_use]
pub fn partition_flags(flags: &[Flag]) -> (Flags, SmallVec<[Keyword; 2]>) {
    let mut system = Flags::default();
    let mut keywords = SmallVec::new();
    for flag in flags {
        match flag {
            Flag::System(bits) => system = system.with(*bits),
            Flag::Keyword(keyword) if !keywords.contains(keyword) => keywords.push(keyword.clone()),
            Flag::Keyword(_) | Flag::Ignored => {}
        }
    }
    (system, keywords)
}
