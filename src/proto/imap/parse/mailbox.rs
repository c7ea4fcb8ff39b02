//! Commands on mailboxes by name: SELECT, CREATE, LIST, STATUS, the head of APPEND and their kin.
//!
//! Invariants: names and patterns come out decoded from modified UTF-7; a pattern that is not in it, as it came.
//! Limits: [`FLAGS_MAX`], [`PATTERNS_MAX`].
//! Standards: RFC 9051 §6.3, RFC 5258, 5819, 6154, 7162, 8438.

use super::cursor::{Cursor, Parsed, Upper};
use super::{Fault, Line, ParseError, qresync, take_tag};
use crate::model::{Flag, Flags, Keyword, MailboxName, SpecialUse};
use crate::proto::imap::dates;
use crate::proto::imap::types::{
    Append, AppendMessage, CommandBody, List, NameForm, Replaced, SelectParameters, StatusItem, Tag,
};
use crate::proto::imap::utf7::{self, Utf7Error};
use smallvec::SmallVec;

/// Most flags in one list: a mailbox's keywords (512) and the system flags.
pub const FLAGS_MAX: usize = 520;

/// Most patterns of one LIST; each is matched against every mailbox.
pub const PATTERNS_MAX: usize = 64;

/// Most messages of one line of APPEND; the session takes fewer.
const MESSAGES_MAX: usize = 64;

/// Most options in any parenthesised list of options.
pub(super) const OPTIONS_MAX: usize = 32;

pub(super) fn command(verb: &[u8], cursor: &mut Cursor<'_>) -> Option<Parsed<CommandBody>> {
    Some(match verb {
        b"SELECT" => select(cursor).map(|(mailbox, parameters)| CommandBody::Select { mailbox, parameters }),
        b"EXAMINE" => {
            select(cursor).map(|(mailbox, parameters)| CommandBody::Examine { mailbox, parameters })
        }
        b"CREATE" => create(cursor),
        b"DELETE" => one(cursor).map(CommandBody::Delete),
        b"RENAME" => rename(cursor),
        b"SUBSCRIBE" => one(cursor).map(CommandBody::Subscribe),
        b"UNSUBSCRIBE" => one(cursor).map(CommandBody::Unsubscribe),
        b"LIST" => list(cursor),
        b"LSUB" => lsub(cursor),
        b"STATUS" => status(cursor),
        b"APPEND" => without_literal(cursor, None),
        _ => return None,
    })
}

/// With its literal APPEND is read by [`append_head`]; here it has none, and is of URLs alone (RFC 4469).
fn without_literal(cursor: &mut Cursor<'_>, replaces: Option<Replaced>) -> Parsed<CommandBody> {
    let append = append_arguments(cursor)?;
    if append.last().is_whole() {
        Ok(CommandBody::Append(Append { replaces, ..append }))
    } else {
        Err(Fault::Expected("a literal at the end of the line"))
    }
}

/// The same of REPLACE (RFC 8508 §4.2).
pub(super) fn replace_without_literal(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<CommandBody> {
    let replaces = Some(replaced(cursor, by_uid)?);
    without_literal(cursor, replaces)
}

/// SP mailbox.
pub(super) fn one(cursor: &mut Cursor<'_>) -> Parsed<MailboxName> {
    cursor.space()?;
    name(cursor)
}

/// mailbox.
pub(super) fn name(cursor: &mut Cursor<'_>) -> Parsed<MailboxName> {
    let wire = cursor.astring()?;
    Ok(MailboxName::new(&decode(&wire, cursor.names)?)?)
}

fn decode(wire: &[u8], names: NameForm) -> Parsed<String> {
    match names {
        NameForm::ModifiedUtf7 => Ok(utf7::decode(wire)?),
        NameForm::Utf8 => utf8(wire).map(str::to_owned),
    }
}

/// RFC 6855 §3: what is not UTF-8 is BAD.
fn utf8(wire: &[u8]) -> Parsed<&str> {
    std::str::from_utf8(wire).map_err(|_| Fault::Expected("UTF-8"))
}

fn select(cursor: &mut Cursor<'_>) -> Parsed<(MailboxName, SelectParameters)> {
    let mailbox = one(cursor)?;
    let mut parameters = SelectParameters::default();
    if cursor.eat(b' ') {
        cursor.list(OPTIONS_MAX, false, |cursor| {
            match cursor.word("a SELECT parameter")?.bytes() {
                b"CONDSTORE" => parameters.condstore = true,
                b"QRESYNC" => parameters.qresync = Some(Box::new(qresync::parameter(cursor)?)),
                _ => return Err(Fault::Expected("CONDSTORE or QRESYNC")),
            }
            Ok(())
        })?;
    }
    Ok((mailbox, parameters))
}

fn create(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mailbox = one(cursor)?;
    let mut special_use = Vec::new();
    if cursor.eat(b' ') {
        cursor.list(OPTIONS_MAX, false, |cursor| {
            if !cursor.eat_word(b"USE") {
                return Err(Fault::Expected("USE"));
            }
            cursor.list(OPTIONS_MAX, true, |cursor| {
                special_use.push(special_use_attribute(cursor)?);
                Ok(())
            })
        })?;
    }
    Ok(CommandBody::Create { mailbox, special_use })
}

fn special_use_attribute(cursor: &mut Cursor<'_>) -> Parsed<SpecialUse> {
    let start = cursor.rest();
    cursor.expect(b'\\', "a special use such as \\Sent")?;
    let name = cursor.atom("a special use such as \\Sent")?;
    SpecialUse::of_attribute(&start[..=name.len()]).ok_or(Fault::SpecialUse)
}

fn rename(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let from = one(cursor)?;
    let to = one(cursor)?;
    Ok(CommandBody::Rename { from, to })
}

/// A pattern or reference. It need not be a name, so what is not in modified UTF-7 (a stray `&`, a wildcard inside an
/// encoded run) stands for itself and matches what it can.
fn pattern(wire: &[u8], names: NameForm) -> Parsed<String> {
    match decode(wire, names) {
        Err(Fault::Encoding(error)) if error != Utf7Error::NotUtf8 => {
            Ok(String::from_utf8_lossy(wire).into_owned())
        }
        decoded => decoded,
    }
}

fn lsub(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let reference = pattern(&cursor.astring()?, cursor.names)?;
    cursor.space()?;
    let pattern = pattern(&cursor.list_mailbox()?, cursor.names)?;
    Ok(CommandBody::Lsub { reference, pattern })
}

fn list(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mut list = List::default();
    if cursor.peek() == Some(b'(') {
        list.is_extended = true;
        selection_options(cursor, &mut list)?;
        cursor.space()?;
    }
    list.reference = pattern(&cursor.astring()?, cursor.names)?;
    cursor.space()?;
    if cursor.peek() == Some(b'(') {
        list.is_extended = true;
        cursor.list(PATTERNS_MAX, false, |cursor| {
            list.patterns
                .push(pattern(&cursor.list_mailbox()?, cursor.names)?);
            Ok(())
        })?;
    } else {
        list.patterns
            .push(pattern(&cursor.list_mailbox()?, cursor.names)?);
    }
    if cursor.eat(b' ') {
        list.is_extended = true;
        if !cursor.eat_word(b"RETURN") {
            return Err(Fault::Expected("RETURN"));
        }
        cursor.list(OPTIONS_MAX, true, |cursor| return_option(cursor, &mut list))?;
    }
    Ok(CommandBody::List(list))
}

fn selection_options(cursor: &mut Cursor<'_>, list: &mut List) -> Parsed<()> {
    cursor.list(OPTIONS_MAX, true, |cursor| {
        match cursor.word("a LIST selection option")?.bytes() {
            b"SUBSCRIBED" => list.select_subscribed = true,
            b"SPECIAL-USE" => list.select_special_use = true,
            b"RECURSIVEMATCH" => list.recursive_match = true,
            // Nothing here is remote, so asking for it too changes nothing (RFC 5258 §3.1).
            b"REMOTE" => {}
            _ => return Err(Fault::Expected("a known LIST selection option")),
        }
        Ok(())
    })?;
    // RFC 5258 §3.1: RECURSIVEMATCH needs a base option beside it.
    if list.recursive_match && !list.select_subscribed && !list.select_special_use {
        return Err(Fault::Expected("another option beside RECURSIVEMATCH"));
    }
    Ok(())
}

fn return_option(cursor: &mut Cursor<'_>, list: &mut List) -> Parsed<()> {
    match cursor.word("a LIST return option")?.bytes() {
        b"SUBSCRIBED" => list.return_subscribed = true,
        b"CHILDREN" => list.return_children = true,
        b"SPECIAL-USE" => list.return_special_use = true,
        b"STATUS" => {
            cursor.space()?;
            list.return_status = status_items(cursor)?;
        }
        b"METADATA" => {
            cursor.space()?;
            list.return_metadata = Some(super::metadata::query(cursor)?);
        }
        _ => return Err(Fault::Expected("a known LIST return option")),
    }
    Ok(())
}

fn status(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mailbox = one(cursor)?;
    cursor.space()?;
    let items = status_items(cursor)?;
    Ok(CommandBody::Status { mailbox, items })
}

fn status_items(cursor: &mut Cursor<'_>) -> Parsed<SmallVec<[StatusItem; 6]>> {
    let mut items = SmallVec::new();
    cursor.list(OPTIONS_MAX, false, |cursor| {
        let item = status_item(&cursor.word("a STATUS item")?)?;
        if !items.contains(&item) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

fn status_item(word: &Upper) -> Parsed<StatusItem> {
    Ok(match word.bytes() {
        b"MESSAGES" => StatusItem::Messages,
        b"RECENT" => StatusItem::Recent,
        b"UIDNEXT" => StatusItem::UidNext,
        b"UIDVALIDITY" => StatusItem::UidValidity,
        b"UNSEEN" => StatusItem::Unseen,
        b"DELETED" => StatusItem::Deleted,
        b"SIZE" => StatusItem::Size,
        b"HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        b"MAILBOXID" => StatusItem::MailboxId,
        b"DELETED-STORAGE" => StatusItem::DeletedStorage,
        b"APPENDLIMIT" => StatusItem::AppendLimit,
        _ => return Err(Fault::Expected("a known STATUS item")),
    })
}

/// One flag (RFC 9051 §9, `flag`); unknown `\Flags` are kept as such.
pub(super) fn flag(cursor: &mut Cursor<'_>) -> Parsed<Flag> {
    if cursor.eat(b'\\') {
        let name = cursor.atom("a flag")?;
        let system = Flags::NAMES
            .iter()
            .find(|(_, text)| text.as_bytes()[1..].eq_ignore_ascii_case(name));
        return Ok(system.map_or(Flag::Ignored, |(bits, _)| Flag::System(*bits)));
    }
    keyword(cursor).map(Flag::Keyword)
}

pub(super) fn keyword(cursor: &mut Cursor<'_>) -> Parsed<Keyword> {
    // With `]`, which belongs to no atom: so that the fault is told of the keyword, not of what should follow it.
    let name = cursor.run(super::is_astring_char);
    let name = std::str::from_utf8(name).map_err(|_| Fault::Expected("a keyword"))?;
    Keyword::new(name).map_err(|error| match error {
        crate::model::KeywordError::TooLong => Fault::Limit("a keyword is too long"),
        crate::model::KeywordError::NotAnAtom => Fault::Expected("a keyword"),
    })
}

pub(super) fn flag_list(cursor: &mut Cursor<'_>) -> Parsed<Vec<Flag>> {
    let mut flags = Vec::new();
    cursor.list(FLAGS_MAX, true, |cursor| {
        flags.push(flag(cursor)?);
        Ok(())
    })?;
    Ok(flags)
}

/// What a line that announces a literal is, seen from APPEND.
#[derive(Debug, PartialEq)]
pub enum AppendHead {
    /// Not an APPEND, or an APPEND whose announced literal is its mailbox name.
    Other,
    /// The announced literal is the message. The size is still 0.
    Message(Tag, Append),
}

/// Reads `tag APPEND mailbox [flags] [date-time] ` or `tag [UID] REPLACE number mailbox …` (RFC 8508) before an
/// announced message; `text` ends with `{n}` CRLF.
///
/// # Errors
/// When it is APPEND and something in it is wrong.
pub fn append_head(text: &[u8], names: NameForm) -> Result<AppendHead, ParseError> {
    let mut cursor = Cursor::with_names(text, names);
    let Ok(tag) = take_tag(&mut cursor) else {
        return Ok(AppendHead::Other);
    };
    let by_uid = cursor.eat_keyword(b"UID") && cursor.eat(b' ');
    let is_replace = cursor.eat_keyword(b"REPLACE");
    if !is_replace && (by_uid || !cursor.eat_keyword(b"APPEND")) {
        return Ok(AppendHead::Other);
    }
    let parsed = if is_replace {
        replaced(&mut cursor, by_uid).map(Some)
    } else {
        Ok(None)
    };
    // The literal may be the mailbox name.
    if parsed.is_ok() && is_announcement(cursor.rest().get(1..).unwrap_or_default()) {
        return Ok(AppendHead::Other);
    }
    let parsed = parsed.and_then(|replaces| {
        let append = append_arguments(&mut cursor)?;
        if append.last().is_whole() {
            cursor.end()?;
        }
        Ok(Append { replaces, ..append })
    });
    match parsed {
        // The announced literal is a URL: the command is read again with it.
        Ok(append) if append.last().is_url_announced() => Ok(AppendHead::Other),
        Ok(append) => Ok(AppendHead::Message(tag, append)),
        Err(fault) => Err(ParseError {
            tag: Some(tag),
            fault,
        }),
    }
}

/// SP seq-number.
fn replaced(cursor: &mut Cursor<'_>, by_uid: bool) -> Parsed<Replaced> {
    cursor.space()?;
    let number = super::sets::sequence_number(cursor)?;
    Ok(Replaced { number, by_uid })
}

/// True for `{n}` CRLF and nothing behind it.
pub(super) fn is_announcement(rest: &[u8]) -> bool {
    rest.first() == Some(&b'{') && memchr::memchr(b'\n', rest) == Some(rest.len() - 1)
}

fn append_arguments(cursor: &mut Cursor<'_>) -> Parsed<Append> {
    let mailbox = one(cursor)?;
    cursor.space()?;
    let message = append_message(cursor)?;
    Ok(Append {
        mailbox,
        further: further_messages(cursor, &message)?,
        message,
        replaces: None,
    })
}

/// Reads a further message (RFC 3502) up to its literal, and those behind it if it is whole; `text` is a line, or ends
/// with `{n}` CRLF.
///
/// # Errors
/// When something in it is wrong.
pub fn append_next(text: &[u8], names: NameForm) -> Parsed<Line> {
    let mut cursor = Cursor::with_names(text, names);
    let message = append_message(&mut cursor)?;
    let mut further = further_messages(&mut cursor, &message)?;
    further.insert(0, message);
    Line {
        parts: None,
        messages: further,
    }
    .checked(&cursor)
}

/// `*(SP append-message)` behind a message, as long as they are whole.
pub(super) fn further_messages(
    cursor: &mut Cursor<'_>,
    before: &AppendMessage,
) -> Parsed<Vec<AppendMessage>> {
    if before.is_whole() {
        messages_after_whole(cursor)
    } else {
        Ok(Vec::new())
    }
}

pub(super) fn messages_after_whole(cursor: &mut Cursor<'_>) -> Parsed<Vec<AppendMessage>> {
    let mut messages: Vec<AppendMessage> = Vec::new();
    while messages.last().is_none_or(AppendMessage::is_whole) && cursor.eat(b' ') {
        if messages.len() == MESSAGES_MAX {
            return Err(Fault::Limit("too many messages in a line"));
        }
        messages.push(append_message(cursor)?);
    }
    Ok(messages)
}

fn append_message(cursor: &mut Cursor<'_>) -> Parsed<AppendMessage> {
    let mut flags = Vec::new();
    if cursor.peek() == Some(b'(') {
        flags = flag_list(cursor)?;
        cursor.space()?;
    }
    let mut internal_date = None;
    if cursor.peek() == Some(b'"') {
        let text = cursor.string()?;
        let date = dates::parse_date_time(&text);
        internal_date = Some(date.ok_or(Fault::Expected(
            "a date-time such as \"17-Jul-1996 02:44:25 -0700\"",
        ))?);
        cursor.space()?;
    }
    if cursor.eat_word(b"CATENATE") {
        cursor.expect(b'(', "'('")?;
        let parts = super::catenate::parts(cursor)?;
        return Ok(AppendMessage {
            flags,
            internal_date,
            size: 0,
            is_binary: true,
            is_utf8: false,
            catenate: Some(parts),
        });
    }
    // RFC 6855 §4
    let is_utf8 = cursor.names == NameForm::Utf8 && cursor.eat_word(b"UTF8");
    if is_utf8 {
        cursor.expect(b'(', "'(' and a literal8")?;
    }
    // literal8 of RFC 3516.
    let is_binary = cursor.eat(b'~');
    if is_utf8 && !is_binary {
        return Err(Fault::Expected("a literal8"));
    }
    if !is_announcement(cursor.rest()) {
        return Err(Fault::Expected("flags, a date-time or the message as a literal"));
    }
    Ok(AppendMessage {
        flags,
        internal_date,
        size: 0,
        is_binary,
        is_utf8,
        catenate: None,
    })
}
