//! Untagged responses on mailboxes: LIST, LSUB, STATUS, NAMESPACE, SEARCH, ESEARCH, counts, quota.
//!
//! Standards: RFC 9051 §7.3, RFC 4731, 5267, 7377 (ESEARCH), 5258 (LIST), 8474 §4 (MAILBOXID), 9208 (QUOTA), 2342 (NAMESPACE).

use super::{
    push_astring, push_literal8_head, push_mailbox, push_nstring, push_number, push_number_set, push_spaced,
    push_string,
};
use crate::model::{Flags, Keyword, MailboxId, MailboxName, ModSeq, UidValidity};
use crate::proto::imap::types::{NameForm, PartialRange, StatusItem};

/// Appends a mailbox's object id: `M` and its number (RFC 8474 §7 wants a letter first, where ids are counters).
pub fn push_mailbox_id(id: MailboxId, out: &mut Vec<u8>) {
    out.push(b'M');
    push_number(u64::from(id.0), out);
}

/// Appends `* n WORD` CRLF: EXISTS, RECENT, EXPUNGE.
pub fn push_count_line(count: u32, word: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    push_number(u64::from(count), out);
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends `* LIST (attributes) "/" name` without line end, so that extended data may follow. `word`: LIST or LSUB.
pub fn push_list(word: &str, attributes: &[&str], name: &MailboxName, form: NameForm, out: &mut Vec<u8>) {
    push_list_head(word, attributes, out);
    push_mailbox(name, form, out);
}

/// Appends `* LIST (\Noselect) "/" ""` CRLF: the answer to LIST "" "" (RFC 9051 §6.3.9).
pub fn push_list_delimiter_line(word: &str, out: &mut Vec<u8>) {
    push_list_head(word, &["\\Noselect"], out);
    out.extend_from_slice(b"\"\"\r\n");
}

fn push_list_head(word: &str, attributes: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b" (");
    out.extend_from_slice(attributes.join(" ").as_bytes());
    out.extend_from_slice(b") \"/\" ");
}

/// The value of a STATUS item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusValue {
    /// All items but MAILBOXID.
    Number(u64),
    /// MAILBOXID.
    Id(MailboxId),
}

/// Appends `* STATUS name (ITEM value …)` CRLF.
pub fn push_status_data_line(
    name: &MailboxName,
    items: &[(StatusItem, StatusValue)],
    form: NameForm,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"* STATUS ");
    push_mailbox(name, form, out);
    out.extend_from_slice(b" (");
    push_spaced(items, out, |(item, value), out| {
        out.extend_from_slice(status_item_name(*item).as_bytes());
        out.push(b' ');
        match value {
            StatusValue::Number(number) => push_number(*number, out),
            StatusValue::Id(id) => {
                out.push(b'(');
                push_mailbox_id(*id, out);
                out.push(b')');
            }
        }
    });
    out.extend_from_slice(b")\r\n");
}

/// A STATUS item's name on the wire.
#[must_use]
pub fn status_item_name(item: StatusItem) -> &'static str {
    match item {
        StatusItem::Messages => "MESSAGES",
        StatusItem::Recent => "RECENT",
        StatusItem::UidNext => "UIDNEXT",
        StatusItem::UidValidity => "UIDVALIDITY",
        StatusItem::Unseen => "UNSEEN",
        StatusItem::Deleted => "DELETED",
        StatusItem::Size => "SIZE",
        StatusItem::HighestModSeq => "HIGHESTMODSEQ",
        StatusItem::MailboxId => "MAILBOXID",
        StatusItem::DeletedStorage => "DELETED-STORAGE",
        StatusItem::AppendLimit => "APPENDLIMIT",
    }
}

/// What an ESEARCH response says; `None` and empty parts are left out (RFC 4731 §3.1).
#[derive(Clone, Debug, Default)]
pub struct ExtendedSearch<'a> {
    /// The command's tag.
    pub tag: &'a [u8],
    /// Where it was searched, its name as the session writes it, and its UIDVALIDITY (RFC 7377 §2.1).
    pub mailbox: Option<(&'a MailboxName, NameForm, UidValidity)>,
    /// Numbers are UIDs.
    pub by_uid: bool,
    /// Smallest match.
    pub min: Option<u32>,
    /// Largest match.
    pub max: Option<u32>,
    /// How many match.
    pub count: Option<u32>,
    /// All that match, ascending; left out when empty, as the RFC asks.
    pub all: Option<&'a [u32]>,
    /// RFC 7162 §3.1.10.
    pub mod_seq: Option<ModSeq>,
    /// What was asked for, and what of the result that is (RFC 9394 §3.1).
    pub partial: Option<(PartialRange, &'a [u32])>,
    /// Scores of the messages shown, in the same order (RFC 6203 §4).
    pub relevancy: &'a [u8],
}

fn push_correlator(
    tag: &[u8],
    mailbox: Option<(&MailboxName, NameForm, UidValidity)>,
    by_uid: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"* ESEARCH (TAG ");
    push_string(tag, out);
    if let Some((name, form, uid_validity)) = mailbox {
        out.extend_from_slice(b" MAILBOX ");
        push_mailbox(name, form, out);
        out.extend_from_slice(b" UIDVALIDITY ");
        push_number(u64::from(uid_validity.0), out);
    }
    out.push(b')');
    if by_uid {
        out.extend_from_slice(b" UID");
    }
}

/// What entered a search's result or left it, by the place in the result (RFC 5267 §4.3.2); place 0 where it has no order.
#[derive(Clone, Copy, Debug)]
pub struct ContextUpdate<'a> {
    /// Of the search.
    pub tag: &'a [u8],
    /// Of a search by ESEARCH (RFC 7377 §2.1).
    pub mailbox: Option<(&'a MailboxName, NameForm, UidValidity)>,
    pub by_uid: bool,
    /// ADDTO or REMOVEFROM.
    pub word: &'static str,
    /// Each applies after those before it; numbers stand one behind the other from their place on.
    pub places: &'a [(u32, Vec<u32>)],
}

/// Appends `* ESEARCH (TAG "…") ADDTO (place set …)` CRLF.
pub fn push_context_line(update: &ContextUpdate<'_>, out: &mut Vec<u8>) {
    push_correlator(update.tag, update.mailbox, update.by_uid, out);
    out.push(b' ');
    out.extend_from_slice(update.word.as_bytes());
    out.extend_from_slice(b" (");
    push_spaced(update.places, out, |(place, numbers), out| {
        push_number(u64::from(*place), out);
        out.push(b' ');
        push_number_set(numbers.iter().copied(), out);
    });
    out.extend_from_slice(b")\r\n");
}

/// Appends `* ESEARCH (TAG "…") …` CRLF.
pub fn push_extended_search_line(result: &ExtendedSearch<'_>, out: &mut Vec<u8>) {
    push_correlator(result.tag, result.mailbox, result.by_uid, out);
    for (name, value) in [
        (" MIN ", result.min),
        (" MAX ", result.max),
        (" COUNT ", result.count),
    ] {
        if let Some(value) = value {
            out.extend_from_slice(name.as_bytes());
            push_number(u64::from(value), out);
        }
    }
    if let Some(all) = result.all.filter(|all| !all.is_empty()) {
        out.extend_from_slice(b" ALL ");
        push_number_set(all.iter().copied(), out);
    }
    if let Some((range, numbers)) = result.partial {
        push_partial(range, numbers, out);
    }
    if !result.relevancy.is_empty() {
        out.extend_from_slice(b" RELEVANCY (");
        push_spaced(result.relevancy, out, |score, out| {
            push_number(u64::from(*score), out)
        });
        out.push(b')');
    }
    if let Some(mod_seq) = result.mod_seq {
        out.extend_from_slice(b" MODSEQ ");
        push_number(mod_seq.0, out);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends ` PARTIAL (range set)`, NIL for an empty set.
fn push_partial(range: PartialRange, numbers: &[u32], out: &mut Vec<u8>) {
    let sign: &[u8] = if range.is_from_end { b"-" } else { b"" };
    out.extend_from_slice(b" PARTIAL (");
    out.extend_from_slice(sign);
    push_number(u64::from(range.first.get()), out);
    out.push(b':');
    out.extend_from_slice(sign);
    push_number(u64::from(range.last.get()), out);
    out.push(b' ');
    if numbers.is_empty() {
        out.extend_from_slice(b"NIL");
    }
    push_number_set(numbers.iter().copied(), out);
    out.push(b')');
}

fn push_metadata_head(mailbox: Option<&MailboxName>, form: NameForm, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* METADATA ");
    match mailbox {
        Some(name) => push_mailbox(name, form, out),
        None => out.extend_from_slice(b"\"\""),
    }
    out.push(b' ');
}

/// Appends `* METADATA mailbox (entry value …)` CRLF (RFC 5464 §4.4.1); without a mailbox they are the server's.
pub fn push_metadata_line<V: AsRef<[u8]>>(
    mailbox: Option<&MailboxName>,
    entries: &[(String, Option<V>)],
    form: NameForm,
    out: &mut Vec<u8>,
) {
    push_metadata_head(mailbox, form, out);
    out.push(b'(');
    push_spaced(entries, out, |(name, value), out| {
        push_astring(name.as_bytes(), out);
        out.push(b' ');
        match value.as_ref().map(AsRef::as_ref) {
            // Only a literal8 may hold NUL.
            Some(value) if memchr::memchr(0, value).is_some() => {
                push_literal8_head(value.len() as u64, out);
                out.extend_from_slice(value);
            }
            value => push_nstring(value, out),
        }
    });
    out.extend_from_slice(b")\r\n");
}

/// Appends `* METADATA mailbox entry …` CRLF: these have changed (RFC 5464 §4.4.2).
pub fn push_metadata_change_line(
    mailbox: Option<&MailboxName>,
    entries: &[String],
    form: NameForm,
    out: &mut Vec<u8>,
) {
    push_metadata_head(mailbox, form, out);
    push_spaced(entries, out, |name, out| push_astring(name.as_bytes(), out));
    out.extend_from_slice(b"\r\n");
}

/// Appends `* NAMESPACE (("" "/")) NIL NIL` CRLF: one personal namespace, without a prefix.
pub fn push_namespace_line(out: &mut Vec<u8>) {
    out.extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
}

/// One resource of a quota root (RFC 9208 §5): its name, what is used, what there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    pub name: &'static str,
    pub used: u64,
    pub limit: u64,
}

impl Resource {
    /// STORAGE, in KiB: use is rounded up, the limit down.
    #[must_use]
    pub fn storage(used_bytes: u64, limit_bytes: u64) -> Self {
        Self {
            name: "STORAGE",
            used: used_bytes.div_ceil(1024),
            limit: limit_bytes / 1024,
        }
    }
}

/// Appends `* QUOTA root (NAME used limit …)` CRLF; resources without a limit are left out.
pub fn push_quota_line(root: &str, resources: &[Resource], out: &mut Vec<u8>) {
    out.extend_from_slice(b"* QUOTA ");
    push_string(root.as_bytes(), out);
    out.extend_from_slice(b" (");
    push_spaced(resources, out, |resource, out| {
        out.extend_from_slice(resource.name.as_bytes());
        out.push(b' ');
        push_number(resource.used, out);
        out.push(b' ');
        push_number(resource.limit, out);
    });
    out.extend_from_slice(b")\r\n");
}

/// Appends `* QUOTAROOT mailbox root` CRLF.
pub fn push_quota_root_line(name: &MailboxName, root: &str, form: NameForm, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* QUOTAROOT ");
    push_mailbox(name, form, out);
    out.push(b' ');
    push_string(root.as_bytes(), out);
    out.extend_from_slice(b"\r\n");
}

/// Appends ` ("CHILDINFO" ("SUBSCRIBED"))`, the extended data of a LIST response for RECURSIVEMATCH (RFC 5258 §3.5).
pub fn push_child_info_subscribed(out: &mut Vec<u8>) {
    out.extend_from_slice(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
}

/// Appends ` ("OLDNAME" ("name"))`, what the mailbox was called before (RFC 5465 §5.4).
pub fn push_old_name(name: &MailboxName, form: NameForm, out: &mut Vec<u8>) {
    out.extend_from_slice(b" (\"OLDNAME\" (");
    push_mailbox(name, form, out);
    out.extend_from_slice(b"))");
}

/// Appends `* FLAGS (…)` CRLF.
pub fn push_flags_line<'a>(keywords: impl IntoIterator<Item = &'a Keyword>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* FLAGS ");
    super::message::push_flags(Flags::ALL, keywords, &[], out);
    out.extend_from_slice(b"\r\n");
}

/// Appends `* ENABLED name …` CRLF (RFC 5161 §3.2); without names the line stands alone.
pub fn push_enabled_line(names: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ENABLED");
    for name in names {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
