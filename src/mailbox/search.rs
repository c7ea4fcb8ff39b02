//! SEARCH criteria compiled against a session's view and evaluated message by message (RFC 9051 §6.4.4, RFC 5032, 7162).
//!
//! Owns: what each key means for a row; which messages must be opened at all.
//! Invariants: evaluation is three-valued, so that flags, dates, sizes and sets decide before anything is read, then the
//! header, then the body; a key that the header cannot decide never makes a message be read when the row decides already.
//! Dates compare days in the zone the date was given in (RFC 9051 §6.4.4: "disregarding time and timezone").
//! Limits: the depth and number of keys are the parser's (`proto::imap`).
//! Not here: matching of texts (`proto::message`), reading and budgets (`searching`), the response (`session::imap`).

use super::view::View;
use crate::base::clock::UnixMillis;
use crate::model::{Flags, Keyword, ModSeq, Uid};
use crate::proto::imap::types::{InternalDate, SearchKey, SequenceSet};
use crate::proto::message::search::Matcher;
use crate::proto::message::{date, references};
use crate::store::MessageRow;
use smallvec::SmallVec;
use std::ops::Range;

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// A key that the message itself decides.
#[derive(Debug)]
pub enum TextKey {
    /// A field of this name, in any case, contains the text; the empty text asks only for the field.
    Header {
        field: Vec<u8>,
        text: Matcher,
    },
    /// A field of this name contains the text as it stands, or one of its addresses does as `name <mailbox@host>`.
    Address {
        field: &'static [u8],
        text: Matcher,
    },
    /// The message's EMAILID.
    EmailId(u64),
    /// The message's THREADID.
    ThreadId(Vec<u8>),
    /// The Date field's day: days since the epoch.
    SentBefore(i32),
    SentOn(i32),
    SentSince(i32),
    Body(Matcher),
    /// Header or body.
    Text(Matcher),
}

impl TextKey {
    fn cost(&self) -> Cost {
        match self {
            Self::EmailId(_) => Cost::Record,
            Self::Body(_) | Self::Text(_) => Cost::Body,
            _ => Cost::Header,
        }
    }

    /// May a summary decide it?
    #[must_use]
    pub fn is_in_summaries(&self) -> bool {
        !matches!(self, Self::Body(_) | Self::Text(_))
    }

    /// Decides a key of the header.
    #[must_use]
    pub fn is_in_header(&self, header: &[u8]) -> bool {
        let sent = || date::sent_date(header);
        match self {
            Self::Header { field, text } => text.is_in_field(header, field),
            Self::Address { field, text } => {
                text.is_in_field(header, field) || text.is_in_addresses(header, field)
            }
            Self::SentBefore(day) => sent().is_some_and(|sent| sent < *day),
            Self::SentOn(day) => sent() == Some(*day),
            Self::SentSince(day) => sent().is_some_and(|sent| sent >= *day),
            Self::EmailId(_) | Self::ThreadId(_) | Self::Body(_) | Self::Text(_) => false,
        }
    }
}

/// Why a SEARCH cannot be compiled: the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompileError {
    /// `NO [BADCHARSET]`
    BadCharset,
}

/// What is known of a message after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Decided(bool),
    /// Decide this one of [`Query::texts`] and ask again.
    Wants(usize),
}

/// One criterion, sets resolved and keywords numbered.
#[derive(Debug)]
enum Criterion {
    Constant(bool),
    Flag(Flags),
    Keyword(u64),
    /// Ascending, disjoint.
    Indexes(SmallVec<[Range<usize>; 4]>),
    UidAfter(u32),
    UidBefore(u32),
    SavedBefore(i32),
    SavedOn(i32),
    SavedSince(i32),
    Before(i32),
    On(i32),
    Since(i32),
    Larger(u64),
    Smaller(u64),
    /// INTERNALDATE at or after this.
    Younger(UnixMillis),
    /// INTERNALDATE at or before this.
    Older(UnixMillis),
    ModSeq(ModSeq),
    /// An index into [`Query::texts`] and its cost.
    Text(usize, Cost),
    Not(Box<Criterion>),
    Or(Box<Criterion>, Box<Criterion>),
    All(Vec<Criterion>),
}

/// What deciding takes, cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cost {
    Row,
    Record,
    Header,
    Body,
}

/// A SEARCH ready to be evaluated.
#[derive(Debug)]
pub struct Query {
    root: Criterion,
    texts: Vec<TextKey>,
    /// What the bits of its keywords meant when it was compiled.
    keywords: SmallVec<[(u32, Keyword); 1]>,
    has_mod_seq: bool,
}

/// What compiling needs besides the keys.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub view: &'a View,
    /// What `$` stands for.
    pub saved: &'a [Uid],
    /// The mailbox's keywords, by bit.
    pub keywords: &'a [Keyword],
    /// Of the texts; UTF-8 if `None`.
    pub charset: Option<&'a str>,
    pub now: UnixMillis,
}

impl Query {
    /// Compiles keys that must all match.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(keys: &[SearchKey], context: Context<'_>) -> Result<Self, CompileError> {
        // A charset must be known even if no key has a text (RFC 9051 §6.4.4).
        Matcher::new(context.charset, b"").map_err(|_| CompileError::BadCharset)?;
        let mut compiler = Compiler {
            context,
            texts: Vec::new(),
            keywords: SmallVec::new(),
            has_mod_seq: false,
        };
        let root = compiler.all(keys)?;
        Ok(Self {
            root,
            texts: compiler.texts,
            keywords: compiler.keywords,
            has_mod_seq: compiler.has_mod_seq,
        })
    }

    /// The keys that messages themselves decide.
    #[must_use]
    pub fn texts(&self) -> &[TextKey] {
        &self.texts
    }

    /// MODSEQ is among the keys: the response must give the highest one found (RFC 7162 §3.1.5).
    #[must_use]
    pub fn has_mod_seq(&self) -> bool {
        self.has_mod_seq
    }

    /// The bits of its keywords that mean others by now (`keywords`, by bit): a search waits, and meanwhile a mailbox may
    /// give the bit of a keyword that no message has to another. No message has the one that was searched for.
    #[must_use]
    pub fn stale_bits(&self, keywords: &[Keyword]) -> u64 {
        let stale = self
            .keywords
            .iter()
            .filter(|(bit, keyword)| keywords.get(*bit as usize) != Some(keyword));
        stale.fold(0, |bits, (bit, _)| bits | 1 << bit)
    }

    /// Judges one message with what is known of its texts so far: `answers[i]` decides `texts()[i]`.
    #[must_use]
    pub fn judge(&self, index: usize, row: &MessageRow, answers: &[Option<bool>]) -> Verdict {
        let mut wanted = None;
        match self.root.evaluate(index, row, answers, &mut wanted) {
            Some(decided) => Verdict::Decided(decided),
            None => wanted.map_or(Verdict::Decided(false), |(_, text)| Verdict::Wants(text)),
        }
    }
}

/// The cheapest undecided text met so far.
type Wanted = Option<(Cost, usize)>;

struct Compiler<'a> {
    context: Context<'a>,
    texts: Vec<TextKey>,
    keywords: SmallVec<[(u32, Keyword); 1]>,
    has_mod_seq: bool,
}

impl Compiler<'_> {
    fn all(&mut self, keys: &[SearchKey]) -> Result<Criterion, CompileError> {
        let mut criteria = Vec::with_capacity(keys.len());
        for key in keys {
            criteria.push(self.one(key)?);
        }
        // What a row decides comes first, so that most messages are decided early.
        criteria.sort_by_key(Criterion::cost);
        Ok(Criterion::All(criteria))
    }

    fn one(&mut self, key: &SearchKey) -> Result<Criterion, CompileError> {
        let now = self.context.now;
        let seconds_ago = |seconds: u32| UnixMillis(now.0 - i64::from(seconds) * 1000);
        Ok(match key {
            SearchKey::All => Criterion::Constant(true),
            SearchKey::Flag(flags) => Criterion::Flag(*flags),
            SearchKey::NotFlag(flags) => not(Criterion::Flag(*flags)),
            SearchKey::Keyword(keyword) => self.keyword(keyword),
            SearchKey::NotKeyword(keyword) => not(self.keyword(keyword)),
            SearchKey::Recent => self.recent(),
            SearchKey::Old => not(self.recent()),
            SearchKey::New => Criterion::All(vec![self.recent(), not(Criterion::Flag(Flags::SEEN))]),
            SearchKey::Before(day) => Criterion::Before(*day),
            SearchKey::On(day) => Criterion::On(*day),
            SearchKey::Since(day) => Criterion::Since(*day),
            SearchKey::SentBefore(day) => self.text(TextKey::SentBefore(*day)),
            SearchKey::SentOn(day) => self.text(TextKey::SentOn(*day)),
            SearchKey::SentSince(day) => self.text(TextKey::SentSince(*day)),
            SearchKey::Larger(size) => Criterion::Larger(*size),
            SearchKey::Smaller(size) => Criterion::Smaller(*size),
            SearchKey::Older(seconds) => Criterion::Older(seconds_ago(*seconds)),
            SearchKey::Younger(seconds) => Criterion::Younger(seconds_ago(*seconds)),
            SearchKey::Header { field, text } => self.header(field, text)?,
            SearchKey::From(text) => self.address(b"From", text)?,
            SearchKey::To(text) => self.address(b"To", text)?,
            SearchKey::Cc(text) => self.address(b"Cc", text)?,
            SearchKey::Bcc(text) => self.address(b"Bcc", text)?,
            SearchKey::Subject(text) => self.header(b"Subject", text)?,
            SearchKey::Body(text) => {
                let text = self.matcher(text)?;
                self.text(TextKey::Body(text))
            }
            SearchKey::Text(text) => {
                let text = self.matcher(text)?;
                self.text(TextKey::Text(text))
            }
            SearchKey::Sequence(set) => self.indexes(set, false),
            SearchKey::Uid(set) => self.indexes(set, true),
            SearchKey::UidAfter(uid) => Criterion::UidAfter(uid.get()),
            SearchKey::UidBefore(uid) => Criterion::UidBefore(uid.get()),
            SearchKey::ModSeq(mod_seq) => {
                self.has_mod_seq = true;
                Criterion::ModSeq(*mod_seq)
            }
            SearchKey::EmailId(text) => match parse_email_id(text) {
                Some(id) => self.text(TextKey::EmailId(id)),
                None => Criterion::Constant(false),
            },
            SearchKey::ThreadId(text) => self.text(TextKey::ThreadId(text.clone())),
            SearchKey::SavedBefore(day) => Criterion::SavedBefore(*day),
            SearchKey::SavedOn(day) => Criterion::SavedOn(*day),
            SearchKey::SavedSince(day) => Criterion::SavedSince(*day),
            SearchKey::SaveDateSupported => Criterion::Constant(true),
            // Taken apart before by `fuzzy`; what is left of it means what it says.
            SearchKey::Fuzzy(key) => self.one(key)?,
            SearchKey::Not(key) => not(self.one(key)?),
            SearchKey::Or(a, b) => {
                let mut sides = [self.one(a)?, self.one(b)?];
                sides.sort_by_key(Criterion::cost);
                let [cheap, dear] = sides;
                Criterion::Or(Box::new(cheap), Box::new(dear))
            }
            SearchKey::And(keys) => self.all(keys)?,
        })
    }

    fn recent(&self) -> Criterion {
        Criterion::Indexes(self.context.view.recent())
    }

    fn matcher(&self, text: &[u8]) -> Result<Matcher, CompileError> {
        Matcher::new(self.context.charset, text).map_err(|_| CompileError::BadCharset)
    }

    fn header(&mut self, field: &[u8], text: &[u8]) -> Result<Criterion, CompileError> {
        let text = self.matcher(text)?;
        let field = field.to_vec();
        Ok(self.text(TextKey::Header { field, text }))
    }

    fn address(&mut self, field: &'static [u8], text: &[u8]) -> Result<Criterion, CompileError> {
        let text = self.matcher(text)?;
        Ok(self.text(TextKey::Address { field, text }))
    }

    fn text(&mut self, key: TextKey) -> Criterion {
        let cost = key.cost();
        self.texts.push(key);
        Criterion::Text(self.texts.len() - 1, cost)
    }

    fn keyword(&mut self, keyword: &Keyword) -> Criterion {
        let mut known = self.context.keywords.iter().zip(0_u32..);
        match known.find(|(known, _)| *known == keyword) {
            Some((_, bit)) => {
                self.keywords.push((bit, keyword.clone()));
                Criterion::Keyword(1 << bit)
            }
            None => Criterion::Constant(false),
        }
    }

    /// A number that no message has matches none, as any other criterion that nothing meets.
    fn indexes(&self, set: &SequenceSet, by_uid: bool) -> Criterion {
        let resolved = set.resolve(self.context.view.uids(), self.context.saved, by_uid);
        Criterion::Indexes(resolved.ranges)
    }
}

fn not(criterion: Criterion) -> Criterion {
    Criterion::Not(Box::new(criterion))
}

impl Criterion {
    fn cost(&self) -> Cost {
        match self {
            Self::Text(_, cost) => *cost,
            Self::Not(inner) => inner.cost(),
            Self::Or(a, b) => a.cost().max(b.cost()),
            Self::All(all) => all.iter().map(Self::cost).max().unwrap_or(Cost::Row),
            _ => Cost::Row,
        }
    }

    fn evaluate(
        &self,
        index: usize,
        row: &MessageRow,
        answers: &[Option<bool>],
        wanted: &mut Wanted,
    ) -> Option<bool> {
        let arrived = row.internal_date_at;
        Some(match self {
            Self::Constant(value) => *value,
            Self::Flag(flags) => row.flags.contains(*flags),
            Self::Keyword(bit) => row.keywords & bit != 0,
            Self::Indexes(ranges) => contains(ranges, index),
            Self::UidAfter(uid) => row.uid.value() > *uid,
            Self::UidBefore(uid) => row.uid.value() < *uid,
            Self::SavedBefore(day) => saved_day(row) < *day,
            Self::SavedOn(day) => saved_day(row) == *day,
            Self::SavedSince(day) => saved_day(row) >= *day,
            Self::Before(day) => day_of(row.internal_date()) < *day,
            Self::On(day) => day_of(row.internal_date()) == *day,
            Self::Since(day) => day_of(row.internal_date()) >= *day,
            Self::Larger(size) => u64::from(row.size) > *size,
            Self::Smaller(size) => u64::from(row.size) < *size,
            Self::Younger(since) => arrived >= *since,
            Self::Older(until) => arrived <= *until,
            Self::ModSeq(mod_seq) => row.mod_seq >= *mod_seq,
            Self::Text(text, cost) => {
                let answer = answers.get(*text).copied().flatten();
                if answer.is_none() && wanted.is_none_or(|(least, _)| *cost < least) {
                    *wanted = Some((*cost, *text));
                }
                return answer;
            }
            Self::Not(inner) => return inner.evaluate(index, row, answers, wanted).map(|found| !found),
            Self::Or(a, b) => match a.evaluate(index, row, answers, wanted) {
                Some(true) => true,
                Some(false) => return b.evaluate(index, row, answers, wanted),
                None => return (b.evaluate(index, row, answers, wanted) == Some(true)).then_some(true),
            },
            Self::All(criteria) => {
                let mut is_known = true;
                for criterion in criteria {
                    match criterion.evaluate(index, row, answers, wanted) {
                        Some(true) => {}
                        Some(false) => return Some(false),
                        None => is_known = false,
                    }
                }
                return is_known.then_some(true);
            }
        })
    }
}

/// True when `index` lies in one of the ranges.
fn contains(ranges: &[Range<usize>], index: usize) -> bool {
    let at = ranges.partition_point(|range| range.end <= index);
    ranges.get(at).is_some_and(|range| range.start <= index)
}

/// SAVEDATE has no zone of its own: days are those of UTC.
fn saved_day(row: &MessageRow) -> i32 {
    day_of(InternalDate {
        at: row.save_date,
        zone_minutes: 0,
    })
}

/// The number in an EMAILID as FETCH shows it: `E` and 16 hexadecimal digits.
#[must_use]
pub fn parse_email_id(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text.strip_prefix(b"E")?).ok()?;
    let is_canonical = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_canonical.then(|| u64::from_str_radix(digits, 16).ok())?
}

/// An EMAILID (RFC 8474 §5.1), which must begin with a letter or digit and stay an atom.
#[must_use]
pub fn email_id_text(email_id: u64) -> String {
    format!("E{email_id:016x}")
}

/// A THREADID (RFC 8474 §5.2): made from the message id that the thread began with; from the EMAILID of a message that
/// has and names none, for which it is a thread of its own.
#[must_use]
pub fn thread_id_text(header: &[u8], email_id: u64) -> String {
    match references::root(header) {
        Some(id) => format!("T{id:032x}"),
        None => format!("T{}", email_id_text(email_id)),
    }
}

/// The day a date names where it was written, as days since the epoch.
#[must_use]
pub fn day_of(date: InternalDate) -> i32 {
    let local = date.at.0.saturating_add(i64::from(date.zone_minutes) * 60_000);
    let day = local.div_euclid(DAY_MILLIS);
    i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX })
}
