//! What SELECT, LIST, STATUS and GETMETADATA ask of mailboxes.

use crate::model::{ModSeq, UidValidity};
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// Longest value of an entry of metadata, octets. Comments, colours and the settings of programs are far shorter; RFC 5464 §4.1
/// asks for 1,024 at least.
pub const METADATA_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Which entries of metadata are asked for (RFC 5464 §4.2). Names in lower case, since they have no case (§3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataQuery {
    pub entries: Vec<String>,
    /// Longer values are not given, octets.
    pub max_size: Option<u64>,
    pub depth: MetadataDepth,
}

/// How far below an entry others are meant with it (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MetadataDepth {
    #[default]
    Zero,
    One,
    Infinity,
}

/// RFC 4466's select-params.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SelectParameters {
    /// RFC 7162 §3.1.8.
    pub condstore: bool,
    /// RFC 7162 §3.2.5.
    pub qresync: Option<Box<QResync>>,
}

/// What a client knows of a mailbox from before (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq)]
pub struct QResync {
    pub uid_validity: UidValidity,
    pub mod_seq: ModSeq,
    /// The UIDs it knows; all there ever were, if `None`. In any order.
    pub known: Option<Vec<RangeInclusive<u32>>>,
    /// §3.2.5.2
    pub sample: Option<UidSample>,
}

/// Sequence numbers and the UIDs that had them, as two ascending sets of equal length (RFC 7162 §3.2.5.2).
#[derive(Clone, Debug, PartialEq)]
pub struct UidSample {
    pub numbers: Vec<RangeInclusive<u32>>,
    pub uids: Vec<RangeInclusive<u32>>,
}

/// LIST (RFC 9051 §6.3.9, RFC 5258).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct List {
    /// Joined before each pattern.
    pub reference: String,
    /// UTF-8 patterns with `*` and `%`.
    pub patterns: SmallVec<[String; 1]>,
    /// True when the extended form was used (parenthesised options or patterns, or RETURN).
    pub is_extended: bool,
    /// SUBSCRIBED as a selection option.
    pub select_subscribed: bool,
    /// SPECIAL-USE as a selection option.
    pub select_special_use: bool,
    /// RECURSIVEMATCH.
    pub recursive_match: bool,
    /// RETURN (SUBSCRIBED)
    pub return_subscribed: bool,
    /// RETURN (CHILDREN)
    pub return_children: bool,
    /// RETURN (SPECIAL-USE)
    pub return_special_use: bool,
    /// RETURN (STATUS (…)), RFC 5819.
    pub return_status: SmallVec<[StatusItem; 6]>,
    /// RETURN (METADATA …), RFC 9590.
    pub return_metadata: Option<MetadataQuery>,
}

/// How names of mailboxes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NameForm {
    /// RFC 3501 §5.1.3.
    #[default]
    ModifiedUtf7,
    /// RFC 9051 §5.1, RFC 6855 §3: `&` stands for itself.
    Utf8,
}

impl NameForm {
    /// The form after ENABLE with these names.
    #[must_use]
    pub fn after_enable(self, capabilities: &[String]) -> Self {
        let is_utf8 = |name: &String| {
            name.eq_ignore_ascii_case("IMAP4rev2") || name.eq_ignore_ascii_case("UTF8=ACCEPT")
        };
        if capabilities.iter().any(is_utf8) {
            Self::Utf8
        } else {
            self
        }
    }
}

/// STATUS items (RFC 9051 §6.3.11, RFC 7162, RFC 8438, RFC 8474).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
    MailboxId,
    /// RFC 9208 §4.1.4, octets.
    DeletedStorage,
    /// RFC 7889 §3.1, octets: the same for every mailbox.
    AppendLimit,
}
