//! What FETCH and STORE ask of messages.

use super::{PartialRange, SequenceSet};
use crate::model::{Flag, ModSeq};
use smallvec::SmallVec;

/// FETCH or UID FETCH.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    pub set: SequenceSet,
    pub by_uid: bool,
    /// Macros (ALL, FAST, FULL) are already spelt out. UID is not added here for UID FETCH.
    pub items: SmallVec<[FetchItem; 4]>,
    /// RFC 7162 §3.1.4.1.
    pub changed_since: Option<ModSeq>,
    /// RFC 7162 §3.2.6: tell of expunged messages first. Only with `by_uid` and `changed_since`.
    pub vanished: bool,
    /// RFC 9394 §3.3: only these of the messages that are there and changed since `changed_since`.
    pub partial: Option<PartialRange>,
}

/// FETCH data items (RFC 9051 §6.4.5 and RFC 3501's RFC822 forms; RFC 7162; RFC 8474; RFC 8514).
#[derive(Clone, Debug, PartialEq)]
pub enum FetchItem {
    Uid,
    Flags,
    InternalDate,
    Rfc822Size,
    Envelope,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `BODY` without a section: BODYSTRUCTURE without the extension data.
    Body,
    ModSeq,
    EmailId,
    ThreadId,
    SaveDate,
    /// RFC 8970.
    Preview {
        is_lazy: bool,
    },
    /// `BODY[…]<…>` and `BODY.PEEK[…]<…>`
    BodySection {
        section: Section,
        partial: Option<Partial>,
        peek: bool,
    },
    /// `RFC822` (as BODY[])
    Rfc822,
    /// `RFC822.HEADER` (as `BODY.PEEK[HEADER]`)
    Rfc822Header,
    /// `RFC822.TEXT` (as `BODY[TEXT]`)
    Rfc822Text,
    /// RFC 3516: `BINARY[…]<…>`, `BINARY.PEEK[…]<…>`
    Binary {
        part: SmallVec<[u32; 4]>,
        partial: Option<Partial>,
        peek: bool,
    },
    /// RFC 3516: `BINARY.SIZE[…]`
    BinarySize {
        part: SmallVec<[u32; 4]>,
    },
}

/// A section specification (RFC 9051 §6.4.5).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Section {
    /// Part numbers, each 1 or more; empty for the message itself.
    pub part: SmallVec<[u32; 4]>,
    /// What of the part; `None` the part whole.
    pub text: Option<SectionText>,
}

/// What of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionText {
    Header,
    /// Field names as the client wrote them (the response repeats them).
    HeaderFields(Vec<Vec<u8>>),
    HeaderFieldsNot(Vec<Vec<u8>>),
    Text,
    /// Only below a part number.
    Mime,
}

/// `<offset.length>`, 64 bits since RFC 9051; length is at least 1 in the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    pub offset: u64,
    pub length: u64,
}

impl Partial {
    /// What of `whole` is meant: nothing beyond its end.
    #[must_use]
    pub fn of(self, whole: std::ops::Range<u64>) -> std::ops::Range<u64> {
        let start = whole.end.min(whole.start.saturating_add(self.offset));
        start..whole.end.min(start.saturating_add(self.length))
    }
}

/// STORE or UID STORE.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub set: SequenceSet,
    pub by_uid: bool,
    pub operation: StoreOperation,
    pub flags: Vec<Flag>,
    /// `.SILENT`
    pub silent: bool,
    /// RFC 7162 §3.1.3.
    pub unchanged_since: Option<ModSeq>,
}

/// What STORE does with the flags it lists. The numbers are part of the disk format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StoreOperation {
    Replace = 0,
    Add = 1,
    Remove = 2,
}
