//! SEARCH, SORT and THREAD: result options, criteria, charset and keys.
//!
//! Invariants: keys nest at most [`DEPTH_MAX`] deep, so neither reading nor dropping them can exhaust a stack.
//! Limits: [`SEARCH_KEYS_MAX`], [`SORT_CRITERIA_MAX`].
//! Standards: RFC 9051 §6.4.4, RFC 3501 (NEW, OLD, RECENT), RFC 4731, 5182, 5256, 5267 (ESORT, CONTEXT), 5957, 5032, 6203, 9394, 7162
//! §3.1.5, 8474 §4.3, 8514, 9738 (UIDAFTER, UIDBEFORE).

use super::cursor::{Cursor, Parsed};
use super::{DEPTH_MAX, Fault, fetch, mailbox, notify, sets};
use crate::model::{Flags, ModSeq};
use crate::proto::imap::dates;
use crate::proto::imap::types::{
    CommandBody, FetchItem, PartialRange, ReturnOptions, Search, SearchKey, SortCriterion, SortKey,
    ThreadAlgorithm,
};
use smallvec::SmallVec;

/// Most keys of one SEARCH, at all depths; each is tried on every message.
pub const SEARCH_KEYS_MAX: usize = 2_000;

/// Most criteria of a SORT. There are nine.
const SORT_CRITERIA_MAX: usize = 32;

pub(super) fn sort(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    cursor.space()?;
    let (return_options, fetched) = result_options(cursor)?;
    let mut sort = SmallVec::new();
    cursor.list(SORT_CRITERIA_MAX, false, |cursor| {
        let is_reversed = cursor.eat_word(b"REVERSE");
        let key = sort_key(cursor.word("a sort criterion")?.bytes())?;
        sort.push(SortCriterion { key, is_reversed });
        Ok(())
    })?;
    cursor.space()?;
    let charset = Some(String::from_utf8_lossy(&cursor.astring()?).into_owned());
    cursor.space()?;
    Ok(CommandBody::Search(Search {
        by_uid,
        sort,
        return_options,
        fetched,
        charset,
        keys: keys(cursor)?,
    }))
}

pub(super) fn thread(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    cursor.space()?;
    let algorithm = match cursor.word("a threading algorithm")?.bytes() {
        b"ORDEREDSUBJECT" => ThreadAlgorithm::OrderedSubject,
        b"REFERENCES" => ThreadAlgorithm::References,
        b"REFS" => ThreadAlgorithm::Refs,
        _ => return Err(Fault::Expected("ORDEREDSUBJECT, REFERENCES or REFS")),
    };
    cursor.space()?;
    let charset = Some(String::from_utf8_lossy(&cursor.astring()?).into_owned());
    cursor.space()?;
    let search = Search {
        by_uid,
        sort: SmallVec::new(),
        return_options: None,
        fetched: Vec::new(),
        charset,
        keys: keys(cursor)?,
    };
    Ok(CommandBody::Thread { algorithm, search })
}

fn sort_key(word: &[u8]) -> Parsed<SortKey> {
    Ok(match word {
        b"ARRIVAL" => SortKey::Arrival,
        b"CC" => SortKey::Cc,
        b"DATE" => SortKey::Date,
        b"DISPLAYFROM" => SortKey::DisplayFrom,
        b"DISPLAYTO" => SortKey::DisplayTo,
        b"FROM" => SortKey::From,
        b"RELEVANCY" => SortKey::Relevancy,
        b"SIZE" => SortKey::Size,
        b"SUBJECT" => SortKey::Subject,
        b"TO" => SortKey::To,
        _ => return Err(Fault::Expected("a known sort criterion")),
    })
}

/// With what UPDATE names.
fn result_options(cursor: &mut Cursor<'_>) -> Parsed<(Option<ReturnOptions>, Vec<FetchItem>)> {
    if !cursor.eat_word(b"RETURN") {
        return Ok((None, Vec::new()));
    }
    let (options, fetched) = return_options(cursor)?;
    cursor.space()?;
    Ok((Some(options), fetched))
}

pub(super) fn search(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    cursor.space()?;
    program(cursor, by_uid).map(CommandBody::Search)
}

/// `[RETURN (…)] [CHARSET …] key …`
pub(super) fn program(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<Search> {
    let (return_options, fetched) = result_options(cursor)?;
    let mut charset = None;
    if cursor.eat_word(b"CHARSET") {
        charset = Some(String::from_utf8_lossy(&cursor.astring()?).into_owned());
        cursor.space()?;
    }
    Ok(Search {
        by_uid,
        sort: SmallVec::new(),
        return_options,
        fetched,
        charset,
        keys: keys(cursor)?,
    })
}

fn keys(cursor: &mut Cursor<'_>) -> Parsed<Vec<SearchKey>> {
    let mut reader = Keys {
        cursor,
        left: SEARCH_KEYS_MAX,
    };
    let mut keys = vec![reader.key(0)?];
    while reader.cursor.eat(b' ') {
        keys.push(reader.key(0)?);
    }
    Ok(keys)
}

fn return_options(cursor: &mut Cursor<'_>) -> Parsed<(ReturnOptions, Vec<FetchItem>)> {
    let mut options = ReturnOptions::default();
    let mut fetched = Vec::new();
    cursor.list(mailbox::OPTIONS_MAX, true, |cursor| {
        match cursor.word("a SEARCH return option")?.bytes() {
            b"MIN" => options.min = true,
            b"MAX" => options.max = true,
            b"ALL" => options.all = true,
            b"COUNT" => options.count = true,
            b"SAVE" => options.save = true,
            b"RELEVANCY" => options.relevancy = true,
            b"UPDATE" => {
                options.update = true;
                // RFC 5465 §8 has no space there, the example of its §7 has one.
                if cursor.peek() == Some(b'(') || cursor.rest().starts_with(b" (") {
                    let _ = cursor.eat(b' ');
                    fetched = notify::peeking(fetch::items(cursor)?)?;
                }
            }
            b"CONTEXT" => options.context = true,
            b"PARTIAL" if options.partial.is_none() => {
                cursor.space()?;
                options.partial = Some(partial_range(cursor)?);
            }
            _ => {
                return Err(Fault::Expected(
                    "MIN, MAX, ALL, COUNT, SAVE, RELEVANCY, UPDATE, CONTEXT or PARTIAL",
                ));
            }
        }
        Ok(())
    })?;
    // RFC 9394 §3.1.
    if options.all && options.partial.is_some() {
        return Err(Fault::Expected("one of ALL and PARTIAL"));
    }
    Ok((options, fetched))
}

/// `1:100`, or `-1:-100` from the end; `100:1` means the same as `1:100` (RFC 9394 §4).
pub(super) fn partial_range(cursor: &mut Cursor<'_>) -> Parsed<PartialRange> {
    let is_from_end = cursor.eat(b'-');
    let first = cursor.nz_number()?;
    cursor.expect(b':', "':'")?;
    if cursor.eat(b'-') != is_from_end {
        return Err(Fault::Expected("both ends counted from the same side"));
    }
    let last = cursor.nz_number()?;
    Ok(PartialRange {
        first: first.min(last),
        last: first.max(last),
        is_from_end,
    })
}

struct Keys<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    left: usize,
}

impl Keys<'_, '_> {
    fn key(&mut self, depth: usize) -> Parsed<SearchKey> {
        if depth == DEPTH_MAX {
            return Err(Fault::TooDeep);
        }
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(Fault::Limit("too many search keys"))?;
        match self.cursor.peek() {
            Some(b'0'..=b'9' | b'*' | b'$') => {
                return sets::sequence_set(self.cursor).map(SearchKey::Sequence);
            }
            Some(b'(') => return self.group(depth),
            _ => {}
        }
        let word = self.cursor.word("a search key")?;
        if let Some(key) = key_without_argument(word.bytes()) {
            return Ok(key);
        }
        match word.bytes() {
            b"NOT" => {
                self.cursor.space()?;
                Ok(SearchKey::Not(Box::new(self.key(depth + 1)?)))
            }
            b"FUZZY" => {
                self.cursor.space()?;
                Ok(SearchKey::Fuzzy(Box::new(self.key(depth + 1)?)))
            }
            b"OR" => {
                self.cursor.space()?;
                let left = Box::new(self.key(depth + 1)?);
                self.cursor.space()?;
                let right = Box::new(self.key(depth + 1)?);
                Ok(SearchKey::Or(left, right))
            }
            word => key_with_argument(word, self.cursor),
        }
    }

    fn group(&mut self, depth: usize) -> Parsed<SearchKey> {
        self.cursor.expect(b'(', "'('")?;
        let mut keys = vec![self.key(depth + 1)?];
        while !self.cursor.eat(b')') {
            self.cursor.expect(b' ', "a space or ')'")?;
            keys.push(self.key(depth + 1)?);
        }
        Ok(SearchKey::And(keys))
    }
}

fn key_without_argument(word: &[u8]) -> Option<SearchKey> {
    Some(match word {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Flag(Flags::ANSWERED),
        b"DELETED" => SearchKey::Flag(Flags::DELETED),
        b"DRAFT" => SearchKey::Flag(Flags::DRAFT),
        b"FLAGGED" => SearchKey::Flag(Flags::FLAGGED),
        b"SEEN" => SearchKey::Flag(Flags::SEEN),
        b"UNANSWERED" => SearchKey::NotFlag(Flags::ANSWERED),
        b"UNDELETED" => SearchKey::NotFlag(Flags::DELETED),
        b"UNDRAFT" => SearchKey::NotFlag(Flags::DRAFT),
        b"UNFLAGGED" => SearchKey::NotFlag(Flags::FLAGGED),
        b"UNSEEN" => SearchKey::NotFlag(Flags::SEEN),
        b"NEW" => SearchKey::New,
        b"OLD" => SearchKey::Old,
        b"RECENT" => SearchKey::Recent,
        b"SAVEDATESUPPORTED" => SearchKey::SaveDateSupported,
        _ => return None,
    })
}

fn key_with_argument(word: &[u8], cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let make: fn(&mut Cursor<'_>) -> Parsed<SearchKey> = match word {
        b"BEFORE" => |c| date(c).map(SearchKey::Before),
        b"ON" => |c| date(c).map(SearchKey::On),
        b"SINCE" => |c| date(c).map(SearchKey::Since),
        b"SENTBEFORE" => |c| date(c).map(SearchKey::SentBefore),
        b"SENTON" => |c| date(c).map(SearchKey::SentOn),
        b"SENTSINCE" => |c| date(c).map(SearchKey::SentSince),
        b"SAVEDBEFORE" => |c| date(c).map(SearchKey::SavedBefore),
        b"SAVEDON" => |c| date(c).map(SearchKey::SavedOn),
        b"SAVEDSINCE" => |c| date(c).map(SearchKey::SavedSince),
        b"LARGER" => |c| c.number64().map(SearchKey::Larger),
        b"SMALLER" => |c| c.number64().map(SearchKey::Smaller),
        b"OLDER" => |c| c.nz_number().map(|seconds| SearchKey::Older(seconds.get())),
        b"YOUNGER" => |c| c.nz_number().map(|seconds| SearchKey::Younger(seconds.get())),
        b"HEADER" => header,
        b"FROM" => |c| text(c).map(SearchKey::From),
        b"TO" => |c| text(c).map(SearchKey::To),
        b"CC" => |c| text(c).map(SearchKey::Cc),
        b"BCC" => |c| text(c).map(SearchKey::Bcc),
        b"SUBJECT" => |c| text(c).map(SearchKey::Subject),
        b"BODY" => |c| text(c).map(SearchKey::Body),
        b"TEXT" => |c| text(c).map(SearchKey::Text),
        b"KEYWORD" => |c| mailbox::keyword(c).map(SearchKey::Keyword),
        b"UNKEYWORD" => |c| mailbox::keyword(c).map(SearchKey::NotKeyword),
        b"UID" => |c| sets::sequence_set(c).map(SearchKey::Uid),
        b"UIDAFTER" => |c| c.nz_number().map(SearchKey::UidAfter),
        b"UIDBEFORE" => |c| c.nz_number().map(SearchKey::UidBefore),
        b"MODSEQ" => mod_seq,
        b"EMAILID" => |c| object_id(c).map(SearchKey::EmailId),
        b"THREADID" => |c| object_id(c).map(SearchKey::ThreadId),
        _ => return Err(Fault::Expected("a known search key")),
    };
    cursor.space()?;
    make(cursor)
}

fn text(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    cursor.astring().map(|text| text.into_owned())
}

fn header(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    let field = text(cursor)?;
    cursor.space()?;
    let text = text(cursor)?;
    Ok(SearchKey::Header { field, text })
}

fn date(cursor: &mut Cursor<'_>) -> Parsed<i32> {
    let text = cursor.astring()?;
    dates::parse_date(&text).ok_or(Fault::Expected("a date such as 1-Feb-1994"))
}

/// RFC 8474 §7: 1 to 255 of ALPHA, DIGIT, `_`, `-`.
fn object_id(cursor: &mut Cursor<'_>) -> Parsed<Vec<u8>> {
    let id = cursor.run(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if (1..=255).contains(&id.len()) {
        Ok(id.to_vec())
    } else {
        Err(Fault::Expected("an object id"))
    }
}

/// `MODSEQ ["/flags/\Seen" all|priv|shared] n`: MODSEQs here are of the message, so the entry changes nothing.
fn mod_seq(cursor: &mut Cursor<'_>) -> Parsed<SearchKey> {
    if cursor.peek() == Some(b'"') {
        let entry = cursor.string()?;
        if !entry.to_ascii_lowercase().starts_with(b"/flags/") {
            return Err(Fault::Expected("an entry such as \"/flags/\\\\Seen\""));
        }
        cursor.space()?;
        if !matches!(
            cursor.word("all, priv or shared")?.bytes(),
            b"ALL" | b"PRIV" | b"SHARED"
        ) {
            return Err(Fault::Expected("all, priv or shared"));
        }
        cursor.space()?;
    }
    cursor.number64().map(|value| SearchKey::ModSeq(ModSeq(value)))
}
