//! Numbers that must not be mixed up, each its own type.

use std::fmt;
use std::num::NonZeroU32;

/// A message's unique identifier in its mailbox (RFC 9051 §2.3.1.1): rises, is never reused, 1..=2^32-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub NonZeroU32);

/// A message's place in a session's view (RFC 9051 §2.3.1.2): 1-based, changes with every expunge the session is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNum(pub NonZeroU32);

/// Says whether UIDs of an earlier session still mean the same messages (RFC 9051 §2.3.1.1).
/// A per-account counter that starts at the account's creation second and rises with every mailbox created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UidValidity(pub u32);

/// Modification sequence (RFC 7162 §3.1): one counter per account, 1..=2^63-1. Zero means "before any change".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ModSeq(pub u64);

/// A mailbox for as long as it lives, whatever it is renamed to (RFC 8474 §4); unique within its account, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxId(pub u32);

/// A segment of the store; ids are store-wide, rise, and are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// A place in the log: the byte `offset` in `segment`. Logical: compaction may move what lies there and then says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes from the segment's start.
    pub offset: u32,
}

impl Uid {
    /// The first UID of a mailbox.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// `None` for 0, which is not a UID.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The bare number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

impl SeqNum {
    /// `None` for 0, which is not a sequence number.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The number of the message at `index` (0-based) of a view.
    ///
    /// # Panics
    /// When `index` does not fit: a view holds fewer than 2^32-1 messages.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        let value = u32::try_from(index + 1).expect("a view holds fewer than 2^32 messages");
        Self(NonZeroU32::new(value).expect("index + 1 is not zero"))
    }

    /// The bare number.
    #[must_use]
    pub fn value(self) -> u32 {
        self.0.get()
    }
}

macro_rules! display_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
display_as_number!(Uid, SeqNum, UidValidity, ModSeq, MailboxId, SegmentId);

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment.0, self.offset)
    }
}
