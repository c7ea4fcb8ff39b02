//! SEARCH, SORT and THREAD.

use super::{FetchItem, SequenceSet};
use crate::model::{Keyword, ModSeq};
use smallvec::SmallVec;
use std::num::NonZeroU32;

/// What SORT compares (RFC 5256 §3, RFC 5957).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortKey {
    Arrival,
    Cc,
    Date,
    DisplayFrom,
    DisplayTo,
    From,
    /// RFC 6203 §5.
    Relevancy,
    Size,
    Subject,
    To,
}

/// A key and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortCriterion {
    pub key: SortKey,
    /// REVERSE
    pub is_reversed: bool,
}

/// How THREAD threads (RFC 5256 §3; REFS: draft-ietf-morg-inthread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    OrderedSubject,
    References,
    Refs,
}

/// SEARCH, UID SEARCH, SORT, UID SORT.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub by_uid: bool,
    /// The order of the result; empty for SEARCH.
    pub sort: SmallVec<[SortCriterion; 4]>,
    /// RFC 4731; `None`: the old untagged SEARCH response is wanted.
    pub return_options: Option<ReturnOptions>,
    /// What messages that come and match are sent with, if UPDATE names it (RFC 5465 §7); nothing that sets `\Seen`.
    pub fetched: Vec<FetchItem>,
    /// As named; `None`: US-ASCII/UTF-8.
    pub charset: Option<String>,
    /// All must match.
    pub keys: Vec<SearchKey>,
}

/// RETURN (…) of RFC 4731, RFC 5182 and RFC 5267. All false (an empty list) means ALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReturnOptions {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    pub save: bool,
    /// RFC 6203 §4.
    pub relevancy: bool,
    /// RFC 5267 §4.3: tell of what enters the result or leaves it.
    pub update: bool,
    /// RFC 5267 §4.2: a hint that the same will be asked again; it changes nothing here.
    pub context: bool,
    /// RFC 9394 §3.1.
    pub partial: Option<PartialRange>,
}

/// A part of a result: the `first`th to the `last`th, counted from its end if `is_from_end` (RFC 9394 §3.1). The parser
/// puts the two in order, in which they are repeated in the response: `500:400` is the same as `400:500` (§4), and imaptest
/// expects the latter for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialRange {
    pub first: std::num::NonZeroU32,
    pub last: std::num::NonZeroU32,
    pub is_from_end: bool,
}

impl PartialRange {
    /// Which of `count` results are meant.
    #[must_use]
    pub fn of(self, count: usize) -> std::ops::Range<usize> {
        let least = self.first.get() as usize - 1;
        let most = (self.last.get() as usize).min(count);
        let range = least.min(most)..most;
        if self.is_from_end {
            count - range.end..count - range.start
        } else {
            range
        }
    }
}

/// SEARCH criteria (RFC 9051 §6.4.4, RFC 3501's OLD/NEW/RECENT, RFC 5032, RFC 7162, RFC 8474). Texts are octets in the
/// command's charset, as sent.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchKey {
    All,
    Flag(crate::model::Flags),
    NotFlag(crate::model::Flags),
    Keyword(Keyword),
    NotKeyword(Keyword),
    New,
    Old,
    Recent,
    /// Days: dates without time and zone, as (year, month, day) turned into days since the epoch.
    Before(i32),
    On(i32),
    Since(i32),
    SentBefore(i32),
    SentOn(i32),
    SentSince(i32),
    Larger(u64),
    Smaller(u64),
    Older(u32),
    Younger(u32),
    Header {
        field: Vec<u8>,
        text: Vec<u8>,
    },
    From(Vec<u8>),
    To(Vec<u8>),
    Cc(Vec<u8>),
    Bcc(Vec<u8>),
    Subject(Vec<u8>),
    Body(Vec<u8>),
    Text(Vec<u8>),
    Sequence(SequenceSet),
    Uid(SequenceSet),
    /// RFC 9738: UIDs above this one; unlike `UID n:*` never the last message for want of others.
    UidAfter(NonZeroU32),
    /// RFC 9738: UIDs below this one.
    UidBefore(NonZeroU32),
    ModSeq(ModSeq),
    /// RFC 8474 §4.3.
    EmailId(Vec<u8>),
    /// RFC 8474 §4.3.
    ThreadId(Vec<u8>),
    /// RFC 8514 §4.3; days as above.
    SavedBefore(i32),
    SavedOn(i32),
    SavedSince(i32),
    /// RFC 8514: all messages where the mailbox keeps save dates.
    SaveDateSupported,
    /// RFC 6203: what the key says, or nearly.
    Fuzzy(Box<SearchKey>),
    Not(Box<SearchKey>),
    Or(Box<SearchKey>, Box<SearchKey>),
    And(Vec<SearchKey>),
}

impl SearchKey {
    /// True when a message number stands in it, somewhere (`$` is none).
    #[must_use]
    pub fn names_numbers(&self) -> bool {
        self.has(&|key| matches!(key, Self::Sequence(set) if *set != SequenceSet::Saved))
    }

    /// True when MODSEQ stands in it, somewhere.
    #[must_use]
    pub fn names_mod_seq(&self) -> bool {
        self.has(&|key| matches!(key, Self::ModSeq(_)))
    }

    fn has(&self, is_wanted: &impl Fn(&Self) -> bool) -> bool {
        match self {
            Self::Not(key) | Self::Fuzzy(key) => key.has(is_wanted),
            Self::Or(a, b) => a.has(is_wanted) || b.has(is_wanted),
            Self::And(keys) => keys.iter().any(|key| key.has(is_wanted)),
            key => is_wanted(key),
        }
    }
}
