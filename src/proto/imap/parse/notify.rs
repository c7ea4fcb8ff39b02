//! NOTIFY: which events of which mailboxes.
//!
//! Invariants: what RFC 5465 §5, §6 and §8 forbid is a fault (BAD), but for events of messages that are not together where
//! it does no harm; events that are unknown or not supported are noted, for the answer to them is NO.
//! Limits: [`GROUPS_MAX`], [`NAMES_MAX`], FETCH items as in `fetch`.

use super::cursor::{Cursor, Parsed};
use super::{Fault, fetch, mailbox};
use crate::proto::imap::types::{
    CommandBody, EventGroup, Events, FetchItem, MailboxFilter, Notify, NotifySet,
};

/// Most event groups of one NOTIFY; each is asked about every mailbox that changes.
pub const GROUPS_MAX: usize = 32;

/// Most mailbox names in one group.
pub const NAMES_MAX: usize = 1_000;

/// Most events in one group: more than there are.
const EVENTS_MAX: usize = 32;

pub(super) fn notify(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    cursor.space()?;
    match cursor.word("SET or NONE")?.bytes() {
        b"NONE" => Ok(CommandBody::Notify(Notify::None)),
        b"SET" => set(cursor).map(|set| CommandBody::Notify(Notify::Set(set))),
        _ => Err(Fault::Expected("SET or NONE")),
    }
}

fn set(cursor: &mut Cursor<'_>) -> Parsed<NotifySet> {
    cursor.space()?;
    let gives_status = cursor.eat_word(b"STATUS");
    let mut groups = vec![group(cursor)?];
    while cursor.eat(b' ') {
        if groups.len() == GROUPS_MAX {
            return Err(Fault::Limit("too many event groups"));
        }
        groups.push(group(cursor)?);
    }
    let of_selected = |group: &&EventGroup| group.filter.is_of_selected();
    if groups.iter().filter(of_selected).count() > 1 {
        return Err(Fault::Expected("one group for the selected mailbox"));
    }
    Ok(NotifySet { gives_status, groups })
}

fn group(cursor: &mut Cursor<'_>) -> Parsed<EventGroup> {
    cursor.expect(b'(', "'('")?;
    let filter = filter(cursor)?;
    cursor.space()?;
    let events = if cursor.peek() == Some(b'(') {
        let mut events = Events::default();
        cursor.list(EVENTS_MAX, false, |cursor| event(cursor, &mut events))?;
        events
    } else if cursor.word("events or NONE")?.bytes() == b"NONE" {
        Events::default()
    } else {
        return Err(Fault::Expected("events or NONE"));
    };
    cursor.expect(b')', "')'")?;
    check(&filter, &events)?;
    Ok(EventGroup { filter, events })
}

pub(super) fn filter(cursor: &mut Cursor<'_>) -> Parsed<MailboxFilter> {
    Ok(match cursor.word("a mailbox specifier")?.bytes() {
        b"SELECTED" => MailboxFilter::Selected,
        b"SELECTED-DELAYED" => MailboxFilter::SelectedDelayed,
        b"INBOXES" => MailboxFilter::Inboxes,
        b"PERSONAL" => MailboxFilter::Personal,
        b"SUBSCRIBED" => MailboxFilter::Subscribed,
        b"SUBTREE" => MailboxFilter::Subtree(names(cursor)?),
        b"SUBTREE-ONE" => MailboxFilter::SubtreeOne(names(cursor)?),
        b"MAILBOXES" => MailboxFilter::Mailboxes(names(cursor)?),
        _ => return Err(Fault::Expected("a mailbox specifier")),
    })
}

fn names(cursor: &mut Cursor<'_>) -> Parsed<Vec<crate::model::MailboxName>> {
    let start = *cursor;
    cursor.space()?;
    if cursor.peek() != Some(b'(') {
        *cursor = start;
        return mailbox::one(cursor).map(|name| vec![name]);
    }
    let mut names = Vec::new();
    cursor.list(NAMES_MAX, false, |cursor| {
        names.push(mailbox::name(cursor)?);
        Ok(())
    })?;
    Ok(names)
}

fn event(cursor: &mut Cursor<'_>, events: &mut Events) -> Parsed<()> {
    match cursor.word("an event")?.bytes() {
        b"MESSAGENEW" => {
            events.message_new = true;
            if cursor.rest().starts_with(b" (") {
                cursor.space()?;
                events.fetch = peeking(fetch::items(cursor)?)?;
            }
        }
        b"MESSAGEEXPUNGE" => events.message_expunge = true,
        b"FLAGCHANGE" => events.flag_change = true,
        b"ANNOTATIONCHANGE" => events.is_unsupported = true,
        b"MAILBOXNAME" => events.mailbox_name = true,
        b"SUBSCRIPTIONCHANGE" => events.subscription_change = true,
        b"MAILBOXMETADATACHANGE" => events.mailbox_metadata_change = true,
        b"SERVERMETADATACHANGE" => events.server_metadata_change = true,
        _ => events.is_unsupported = true,
    }
    Ok(())
}

/// A notification marks nothing as read: sections are looked at with PEEK (RFC 5465 §5.2 advises clients to ask so).
pub(super) fn peeking<I>(items: I) -> Parsed<Vec<FetchItem>>
where
    I: IntoIterator<Item = FetchItem>,
{
    let peek = |mut item: FetchItem| match &mut item {
        FetchItem::BodySection { peek, .. } | FetchItem::Binary { peek, .. } => {
            *peek = true;
            Ok(item)
        }
        FetchItem::Rfc822 | FetchItem::Rfc822Text => Err(Fault::Expected("items that do not set \\Seen")),
        _ => Ok(item),
    };
    items.into_iter().map(peek).collect()
}

/// RFC 5465 §5 wants BAD for one of MessageNew and MessageExpunge without the other, and for FlagChange without them:
/// numbers of the selected mailbox would lose their meaning. Of other mailboxes STATUS tells, and each event alone is
/// clear: clients that ask so are served (imaptest's group `notify` does; nothing that keeps to the RFC can notice).
fn check(filter: &MailboxFilter, events: &Events) -> Parsed<()> {
    let are_together = events.message_new == events.message_expunge;
    if filter.is_of_selected() && (!are_together || events.flag_change && !events.message_new) {
        return Err(Fault::Expected("MessageNew and MessageExpunge, both"));
    }
    let is_of_mailboxes = events.mailbox_name
        || events.subscription_change
        || events.mailbox_metadata_change
        || events.server_metadata_change;
    if filter.is_of_selected() && is_of_mailboxes {
        return Err(Fault::Expected("events of messages for the selected mailbox"));
    }
    if !filter.is_of_selected() && !events.fetch.is_empty() {
        return Err(Fault::Expected("FETCH items for the selected mailbox only"));
    }
    Ok(())
}
