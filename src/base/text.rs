//! Short texts kept without an allocation: most addresses fit where a pointer, a length and a capacity would stand twice.

use smallvec::SmallVec;
use std::fmt;

/// Octets kept inline; longer texts go to the heap. Covers the local parts and domains of nearly all mail.
pub const INLINE_BYTES: usize = 32;

/// UTF-8 text, inline up to [`INLINE_BYTES`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ShortText(SmallVec<[u8; INLINE_BYTES]>);

impl ShortText {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only `From<&str>` and `make_ascii_lowercase` write here, so this is always UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Lowers A–Z in place.
    pub fn make_ascii_lowercase(&mut self) {
        self.0.make_ascii_lowercase();
    }
}

impl From<&str> for ShortText {
    fn from(text: &str) -> Self {
        Self(SmallVec::from_slice(text.as_bytes()))
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}
