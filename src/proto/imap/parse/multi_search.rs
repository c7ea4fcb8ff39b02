//! ESEARCH over several mailboxes, and CANCELUPDATE.
//!
//! Invariants: what makes sense for the selected mailbox only (message numbers, SAVE) is a fault beside other sources.
//! Limits: [`SOURCES_MAX`], [`TAGS_MAX`], names as in `notify`.
//! Standards: RFC 7377 §2, §3; RFC 5267 §4.3.5.

use super::cursor::{Cursor, Parsed};
use super::{Fault, TAG_BYTES_MAX, notify, search};
use crate::proto::imap::types::{CommandBody, MailboxFilter, Search, SearchKey, Tag};

/// Most source specifications of one ESEARCH. There are seven kinds.
const SOURCES_MAX: usize = 32;

/// Most tags of one CANCELUPDATE; a session has far fewer searches to update.
const TAGS_MAX: usize = 64;

pub(super) fn multi_search(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    let mut sources = Vec::new();
    if cursor.eat_word(b"IN") {
        cursor.list(SOURCES_MAX, false, |cursor| {
            sources.push(source(cursor)?);
            Ok(())
        })?;
        cursor.space()?;
    }
    let search = search::program(cursor, true)?;
    check(&sources, &search)?;
    Ok(CommandBody::MultiSearch { sources, search })
}

fn source(cursor: &mut Cursor<'_>) -> Parsed<MailboxFilter> {
    match notify::filter(cursor)? {
        // RFC 7377 §2.2: of no use to a search.
        MailboxFilter::SelectedDelayed => Err(Fault::Expected("a source other than SELECTED-DELAYED")),
        filter => Ok(filter),
    }
}

fn check(sources: &[MailboxFilter], search: &Search) -> Parsed<()> {
    if sources.iter().all(MailboxFilter::is_of_selected) {
        return Ok(());
    }
    if search.keys.iter().any(SearchKey::names_numbers) {
        return Err(Fault::Expected("no message numbers in other mailboxes"));
    }
    if search.return_options.is_some_and(|options| options.save) {
        return Err(Fault::Expected("SAVE for the selected mailbox only"));
    }
    Ok(())
}

pub(super) fn cancel_update(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let mut tags = Vec::new();
    while !cursor.is_at_end() || tags.is_empty() {
        if tags.len() == TAGS_MAX {
            return Err(Fault::Limit("too many tags"));
        }
        cursor.space()?;
        let tag = cursor.string()?;
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
            return Err(Fault::Expected("a tag"));
        }
        tags.push(Tag::from_slice(&tag));
    }
    Ok(CommandBody::CancelUpdate(tags))
}
