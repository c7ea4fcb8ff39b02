//! SORT: putting found messages in order (RFC 5256, RFC 5957).
//!
//! Owns: what of a message each criterion compares, and the sorting in slices.
//! Invariants: equal messages stay in the order of their sequence numbers, also under REVERSE (RFC 5256 §3); nothing of
//! the store is held over a wait; a message expunged meanwhile is left out. Texts compare by i;unicode-casemap (RFC 5051).
//! Limits: [`SORT_TEXT_BYTES_MAX`] of each text; the budget and slices of `searching`.
//! Failure: a damaged message is sorted as one without a header.
//! Not here: base subjects (`proto::message::subject`), the response (`session::imap`).

use super::budget::{Budget, Pace};
use super::fuzzy::Scores;
use super::searching::{SEARCH_SLICE_ROWS, SearchError};
use super::summary;
use super::view::{View, row_of};
use crate::model::AccountId;
use crate::proto::imap::types::{SortCriterion, SortKey};
use crate::proto::message::address::{self, Item};
use crate::proto::message::{casemap, date, header, subject, words};
use crate::store::{Environment, MessageRow, Store};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// Octets of a text that are compared; texts that agree so far are equal.
pub const SORT_TEXT_BYTES_MAX: usize = 255;

/// Messages whose headers are read together, here and for THREAD.
pub(super) const AHEAD_MESSAGES: usize = 64;

/// What one criterion compares.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Number(i64),
    Text(Box<[u8]>),
}

/// A message and its values, in the order of the criteria.
#[derive(Debug)]
struct Entry {
    index: usize,
    values: SmallVec<[Value; 2]>,
}

/// What messages are sorted by.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    pub criteria: &'a [SortCriterion],
    /// For RELEVANCY.
    pub scores: &'a Scores,
}

/// The messages of `indexes` that are still there, sorted.
///
/// # Errors
/// As a search.
pub async fn sort<E: Environment, P: Pace>(
    store: &Store<E>,
    account: AccountId,
    view: &View,
    order: Order<'_>,
    indexes: &[usize],
    pace: &P,
) -> Result<Vec<usize>, SearchError> {
    let Order { criteria, scores } = order;
    let mut budget = Budget::new(pace);
    let needs_header = criteria.iter().any(|criterion| needs_header(criterion.key));
    let mut entries = Vec::with_capacity(indexes.len());
    for slice in indexes.chunks(SEARCH_SLICE_ROWS) {
        let rows = budget
            .timed(|| rows_of(store, account, view, slice))
            .ok_or(SearchError::MailboxGone)?;
        for group in rows.chunks(AHEAD_MESSAGES) {
            let headers = if needs_header {
                headers(store, account, group).await?
            } else {
                vec![Vec::new(); group.len()]
            };
            for ((index, row), header) in group.iter().zip(headers) {
                let values = budget.timed(|| {
                    let value = |by: &SortCriterion| match by.key {
                        // RFC 6203 §5: the most relevant first.
                        SortKey::Relevancy => Value::Number(-i64::from(scores.of(*index))),
                        key => value(key, row, &header),
                    };
                    criteria.iter().map(value).collect()
                });
                entries.push(Entry {
                    index: *index,
                    values,
                });
                budget.breathe_if_due().await?;
            }
        }
    }
    store.leave_summaries(account);
    let sorted = budget.sort(entries, |a, b| compare(criteria, a, b)).await?;
    Ok(sorted.into_iter().map(|entry| entry.index).collect())
}

pub(super) fn rows_of<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    view: &View,
    indexes: &[usize],
) -> Option<Vec<(usize, MessageRow)>> {
    let rows = store.account(account, |state| {
        let rows = &state.mailboxes.get(&view.mailbox())?.rows;
        let row = |index: &usize| Some((*index, *row_of(rows, view.uids().at(*index))?));
        Some(indexes.iter().filter_map(row).collect())
    });
    rows.flatten()
}

/// Headers of these messages, or what summaries have of them.
pub(super) async fn headers<E: Environment>(
    store: &Store<E>,
    account: AccountId,
    group: &[(usize, MessageRow)],
) -> Result<Vec<Vec<u8>>, SearchError> {
    let rows: Vec<MessageRow> = group.iter().map(|(_, row)| *row).collect();
    summary::headers(store, account, &rows).await
}

fn needs_header(key: SortKey) -> bool {
    !matches!(key, SortKey::Arrival | SortKey::Size | SortKey::Relevancy)
}

fn value(key: SortKey, row: &MessageRow, header: &[u8]) -> Value {
    match key {
        SortKey::Arrival => Value::Number(row.internal_date_at.0),
        SortKey::Size => Value::Number(i64::from(row.size)),
        // RFC 5256 §2.2: without a sent date it is the internal one.
        SortKey::Date => {
            let sent = date::sent_at(header).map(|seconds| seconds.saturating_mul(1000));
            Value::Number(sent.unwrap_or(row.internal_date_at.0))
        }
        SortKey::Subject => {
            let subject = header::first(header, "subject").map(|field| words::decode(field.value));
            text(&subject::base(&subject.unwrap_or_default()))
        }
        SortKey::From => text(&first_mailbox(header, "from")),
        SortKey::To => text(&first_mailbox(header, "to")),
        SortKey::Cc => text(&first_mailbox(header, "cc")),
        SortKey::DisplayFrom => text(&first_display(header, "from")),
        SortKey::DisplayTo => text(&first_display(header, "to")),
        // Not in the message: see the caller.
        SortKey::Relevancy => Value::Number(0),
    }
}

fn text(text: &str) -> Value {
    let mut folded = casemap::folded(text);
    folded.truncate(SORT_TEXT_BYTES_MAX);
    Value::Text(folded.into_boxed_slice())
}

fn first_item(header: &[u8], field: &str) -> Option<Item> {
    address::items(header::first(header, field)?.value).next()
}

/// The local part of the first address, as ENVELOPE has it: of a group its name.
fn first_mailbox(header: &[u8], field: &str) -> String {
    match first_item(header, field) {
        Some(Item::Address(address)) if address.mailbox != address::MISSING_MAILBOX => {
            String::from_utf8_lossy(&address.mailbox).into_owned()
        }
        Some(Item::GroupStart(name)) => String::from_utf8_lossy(&name).into_owned(),
        _ => String::new(),
    }
}

/// RFC 5957: the display name of the first address, else the address.
fn first_display(header: &[u8], field: &str) -> String {
    match first_item(header, field) {
        Some(Item::Address(address)) => match &address.name {
            Some(name) => words::decode(name),
            None => {
                let [mailbox, host] =
                    [&address.mailbox, &address.host].map(|part| String::from_utf8_lossy(part));
                format!("{mailbox}@{host}")
            }
        },
        Some(Item::GroupStart(name)) => words::decode(&name),
        _ => String::new(),
    }
}

fn compare(criteria: &[SortCriterion], a: &Entry, b: &Entry) -> Ordering {
    for (criterion, (a, b)) in criteria.iter().zip(a.values.iter().zip(&b.values)) {
        let order = if criterion.is_reversed { b.cmp(a) } else { a.cmp(b) };
        if order != Ordering::Equal {
            return order;
        }
    }
    a.index.cmp(&b.index)
}
