//! IMAP commands as values (RFC 3501 §6, §9 and the extensions named at each). They own their text; the literal of an
//! APPEND is not among them, it is streamed.
//!
//! Invariants: a value is what the grammar allows; names of mailboxes are checked [`MailboxName`]s already decoded from
//! modified UTF-7 unless the grammar asks for a pattern.

use super::parse::{Parts, PartsEnd};
use crate::base::clock::UnixMillis;
use crate::model::{Flag, Keyword, MailboxName, ModSeq, UidValidity};
use smallvec::SmallVec;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

/// A command's tag (RFC 9051 §2.2.1): any ASTRING-CHAR but `+`; short.
pub type Tag = SmallVec<[u8; 16]>;

/// A tagged command, complete.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Repeated in the tagged response.
    pub tag: Tag,
    /// What is asked.
    pub body: CommandBody,
}

/// What a client asks. LOGIN, AUTHENTICATE, STARTTLS, CAPABILITY, NOOP before login, LOGOUT and IDLE's DONE are
/// handled by the protocol core; everything else is for the session.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and FETCH, the largest, is the most frequent"
)]
pub enum CommandBody {
    /// §6.1.1
    Capability,
    /// §6.1.2
    Noop,
    /// §6.1.3
    Logout,
    /// RFC 2971. `None` is `NIL`.
    Id(Option<IdFields>),
    /// §6.2.1
    StartTls,
    /// §6.2.2, with RFC 4959's initial response (still base64; `=` alone is the empty one).
    Authenticate {
        mechanism: String,
        initial_response: Option<Vec<u8>>,
    },
    /// §6.2.3
    Login { login: Vec<u8>, password: Secret },
    /// RFC 5161.
    Enable(Vec<String>),
    /// §6.3.1
    Select {
        mailbox: MailboxName,
        parameters: SelectParameters,
    },
    /// §6.3.2
    Examine {
        mailbox: MailboxName,
        parameters: SelectParameters,
    },
    /// §6.3.3 with RFC 6154's USE.
    Create {
        mailbox: MailboxName,
        special_use: Vec<crate::model::SpecialUse>,
    },
    /// §6.3.4
    Delete(MailboxName),
    /// §6.3.5
    Rename { from: MailboxName, to: MailboxName },
    /// §6.3.6
    Subscribe(MailboxName),
    /// §6.3.7
    Unsubscribe(MailboxName),
    /// §6.3.8 with the selection and return options of RFC 5258, 5819, 6154.
    List(List),
    /// RFC 3501 §6.3.9.
    Lsub { reference: String, pattern: String },
    /// RFC 2342.
    Namespace,
    /// §6.3.10
    Status {
        mailbox: MailboxName,
        items: SmallVec<[StatusItem; 6]>,
    },
    /// §6.3.11: the message is streamed as body bytes; its size is known beforehand.
    Append(Append),
    /// RFC 2177.
    Idle,
    /// §6.4.1
    Check,
    /// §6.4.2
    Close,
    /// RFC 3691.
    Unselect,
    /// RFC 8437.
    Unauthenticate,
    /// RFC 4978, DEFLATE.
    Compress,
    /// §6.4.3; with a set it is UIDPLUS' UID EXPUNGE (RFC 4315).
    Expunge { uids: Option<SequenceSet> },
    /// §6.4.4
    Search(Search),
    /// ESEARCH (RFC 7377): by UID, in the mailboxes that the filters name; in the selected one if there are none.
    MultiSearch {
        sources: Vec<MailboxFilter>,
        search: Search,
    },
    /// RFC 5267 §4.3.5: tags of searches that are not to be updated any more.
    CancelUpdate(Vec<Tag>),
    /// RFC 5256 §3: the keys in a [`Search`] without order and result options.
    Thread {
        algorithm: ThreadAlgorithm,
        search: Search,
    },
    /// §6.4.5
    Fetch(Fetch),
    /// §6.4.6
    Store(Store),
    /// §6.4.7
    Copy {
        set: SequenceSet,
        mailbox: MailboxName,
        by_uid: bool,
    },
    /// RFC 6851.
    Move {
        set: SequenceSet,
        mailbox: MailboxName,
        by_uid: bool,
    },
    /// RFC 5464 §4.2.
    GetMetadata {
        /// `None`: the server.
        mailbox: Option<MailboxName>,
        query: MetadataQuery,
    },
    /// RFC 5464 §4.3: entries and their new values; without one an entry is removed.
    SetMetadata {
        mailbox: Option<MailboxName>,
        entries: Vec<(String, Option<Vec<u8>>)>,
    },
    /// RFC 5465.
    Notify(Notify),
    /// RFC 2087/9208.
    GetQuota(String),
    /// RFC 2087/9208.
    GetQuotaRoot(MailboxName),
}

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

/// NOTIFY (RFC 5465 §3.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Notify {
    None,
    Set(NotifySet),
}

/// NOTIFY SET.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifySet {
    /// STATUS responses of the mailboxes first.
    pub gives_status: bool,
    /// One at least; of the selected mailbox one at most.
    pub groups: Vec<EventGroup>,
}

/// Events of some mailboxes (RFC 5465 §8).
#[derive(Clone, Debug, PartialEq)]
pub struct EventGroup {
    pub filter: MailboxFilter,
    pub events: Events,
}

/// RFC 5465 §6.
#[derive(Clone, Debug, PartialEq)]
pub enum MailboxFilter {
    Selected,
    SelectedDelayed,
    Inboxes,
    Personal,
    Subscribed,
    Subtree(Vec<MailboxName>),
    /// The mailboxes and their direct children (RFC 7377 §2.2).
    SubtreeOne(Vec<MailboxName>),
    Mailboxes(Vec<MailboxName>),
}

impl MailboxFilter {
    /// True for a mailbox of this name; never for SELECTED and SELECTED-DELAYED, which name none.
    #[must_use]
    pub fn takes(&self, name: &MailboxName, is_subscribed: bool) -> bool {
        match self {
            Self::Selected | Self::SelectedDelayed => false,
            // Mail may be delivered to any mailbox (RFC 5465 §6.3).
            Self::Inboxes | Self::Personal => true,
            Self::Subscribed => is_subscribed,
            Self::Subtree(roots) => roots.iter().any(|root| name == root || name.is_below(root)),
            Self::SubtreeOne(roots) => {
                let parent = name.parent();
                roots
                    .iter()
                    .any(|root| name == root || parent.as_ref() == Some(root))
            }
            Self::Mailboxes(names) => names.contains(name),
        }
    }

    /// SELECTED and SELECTED-DELAYED.
    #[must_use]
    pub fn is_of_selected(&self) -> bool {
        matches!(self, Self::Selected | Self::SelectedDelayed)
    }
}

/// RFC 5465 §5. None of them is NONE.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Events {
    pub message_new: bool,
    /// Sent of new messages; of the selected mailbox only, and nothing that sets `\Seen`.
    pub fetch: Vec<FetchItem>,
    pub message_expunge: bool,
    pub flag_change: bool,
    pub mailbox_name: bool,
    pub subscription_change: bool,
    pub mailbox_metadata_change: bool,
    pub server_metadata_change: bool,
    /// An event that is not known here was named too.
    pub is_unsupported: bool,
}

/// Field-value pairs of ID (RFC 2971 §3.3); a value of `None` is `NIL`.
pub type IdFields = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Bytes that must not be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
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

/// APPEND up to its first literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    pub mailbox: MailboxName,
    pub message: AppendMessage,
    /// Messages behind it on the same line: all of them but the last have come whole, of URLs alone. The core asks about
    /// them one by one; the session never sees them here.
    pub further: Vec<AppendMessage>,
    /// REPLACE (RFC 8508).
    pub replaces: Option<Replaced>,
}

/// The message of the selected mailbox that goes when the new one comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    pub number: SequenceNumber,
    pub by_uid: bool,
}

/// One message of an APPEND, without its literal.
#[derive(Clone, Debug, PartialEq)]
pub struct AppendMessage {
    pub flags: Vec<Flag>,
    /// The INTERNALDATE to keep; now, if `None`.
    pub internal_date: Option<InternalDate>,
    /// Octets of the literal.
    pub size: u64,
    /// The literal is a literal8 (RFC 3516 §4.4): it may hold NUL.
    pub is_binary: bool,
    /// Given as `UTF8 (~{n} …)` (RFC 6855 §4): a parenthesis closes it.
    pub is_utf8: bool,
    /// CATENATE (RFC 4469): what stands before the literal. Further parts come by `AppendPart`.
    pub catenate: Option<Parts>,
}

impl Append {
    /// The last message of the line.
    #[must_use]
    pub fn last(&self) -> &AppendMessage {
        self.further.last().unwrap_or(&self.message)
    }

    /// As [`Self::last`].
    pub fn last_mut(&mut self) -> &mut AppendMessage {
        self.further.last_mut().unwrap_or(&mut self.message)
    }
}

impl AppendMessage {
    /// It has come whole: of URLs alone (RFC 4469).
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ends_with(PartsEnd::Closed)
    }

    /// The literal that is announced is a URL, not octets of the message.
    #[must_use]
    pub fn is_url_announced(&self) -> bool {
        self.ends_with(PartsEnd::UrlLiteral)
    }

    fn ends_with(&self, end: PartsEnd) -> bool {
        self.catenate.as_ref().is_some_and(|parts| parts.end == end)
    }
}

/// A date-time with its zone (RFC 9051 §9 `date-time`).
/// Packed to ten bytes: the store keeps one in memory for every message of an account in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, packed(2))]
pub struct InternalDate {
    /// The instant.
    pub at: UnixMillis,
    /// Minutes east of UTC, -1439..=1439.
    pub zone_minutes: i16,
}

/// A sequence set (RFC 9051 §9): what was written, not yet resolved against a mailbox. 1 to `SEQUENCE_RANGES_MAX` ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// Ranges in the order written.
    Ranges(SmallVec<[SequenceRange; 4]>),
    /// `$` (RFC 5182): what the last SEARCH saved.
    Saved,
}

impl SequenceSet {
    /// The set of `uids`, which ascend.
    #[must_use]
    pub fn of(uids: impl IntoIterator<Item = crate::model::Uid>) -> Self {
        let mut ranges: SmallVec<[SequenceRange; 4]> = SmallVec::new();
        for uid in uids {
            let number = SequenceNumber::Number(uid.0);
            match ranges.last_mut() {
                Some(SequenceRange {
                    last: SequenceNumber::Number(last),
                    ..
                }) if last.get().checked_add(1) == Some(uid.value()) => *last = uid.0,
                _ => ranges.push(SequenceRange {
                    first: number,
                    last: number,
                }),
            }
        }
        Self::Ranges(ranges)
    }
}

/// `a:b`; either end may be `*`. A single number is `a:a`. The ends may be in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    pub first: SequenceNumber,
    pub last: SequenceNumber,
}

/// One end of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceNumber {
    /// 1..=2^32-1
    Number(std::num::NonZeroU32),
    /// `*`: the largest in the mailbox.
    Largest,
}

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
