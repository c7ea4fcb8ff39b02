//! THREAD: found messages as a forest (RFC 5256; THREAD=REFS of draft-ietf-morg-inthread).
//!
//! Owns: what of a message threading looks at, and the algorithms, in slices.
//! Invariants: every message found is in the forest once; time is n log n in messages and references together, however
//! the references are knotted; nothing of the store is held over a wait; a message expunged meanwhile is left out.
//! Limits: [`THREAD_REFERENCES_MAX`]; those of `references`, `subject` and `budget`.
//! Failure: a damaged message stands alone.
//! Not here: base subjects and message ids (`proto::message`), the response (`session::imap::thread`).

mod forest;
mod link_cut;
mod ordered_subject;
mod references;

#[cfg(test)]
mod tests;

pub use forest::{Forest, Part};

use super::budget::{Budget, Pace};
use super::searching::{SEARCH_SLICE_ROWS, SearchError};
use super::sorting::{AHEAD_MESSAGES, headers, rows_of};
use super::view::View;
use crate::model::AccountId;
use crate::proto::imap::types::ThreadAlgorithm;
use crate::proto::message::references::{IdHash, Links, links};
use crate::proto::message::{casemap, date, header, subject, words};
use crate::store::{Environment, Store};

/// References of all messages of one THREAD that are looked at whole; of messages beyond it only the parent counts. Each
/// different one takes some 60 octets; honest mail has some ten a message, most of them messages that are there.
pub const THREAD_REFERENCES_MAX: usize = 1_000_000;

/// What threading knows of a message.
#[derive(Debug, Clone, Default)]
struct Entry {
    /// Its index in the view.
    index: usize,
    /// When it was sent, seconds; else its INTERNALDATE.
    sent: i64,
    /// The base subject as it is compared.
    subject: Box<[u8]>,
    /// It is a reply or was forwarded, by its subject.
    is_reply: bool,
}

/// Threads the messages of `indexes`.
///
/// # Errors
/// As a search.
pub async fn thread<E: Environment, P: Pace>(
    store: &Store<E>,
    account: AccountId,
    view: &View,
    algorithm: ThreadAlgorithm,
    indexes: &[usize],
    pace: &P,
) -> Result<Forest, SearchError> {
    let mut budget = Budget::new(pace);
    let mut entries = Vec::with_capacity(indexes.len());
    let mut linker = references::Linker::default();
    let needs_links = algorithm != ThreadAlgorithm::OrderedSubject;
    for slice in indexes.chunks(SEARCH_SLICE_ROWS) {
        let rows = budget
            .timed(|| rows_of(store, account, view, slice))
            .ok_or(SearchError::MailboxGone)?;
        for group in rows.chunks(AHEAD_MESSAGES) {
            let headers = headers(store, account, group).await?;
            for ((index, row), header) in group.iter().zip(headers) {
                let links = budget.timed(|| {
                    entries.push(entry(*index, row.internal_date_at.0, &header, algorithm));
                    needs_links.then(|| links(&header))
                });
                budget.breathe_if_due().await?;
                if let Some(links) = links {
                    linker.add(&links, &mut budget).await?;
                    budget.steps_done();
                }
            }
        }
    }
    store.leave_summaries(account);
    let forest = match algorithm {
        ThreadAlgorithm::OrderedSubject => ordered_subject::thread(entries, &mut budget).await,
        ThreadAlgorithm::References => linker.references(entries, &mut budget).await,
        ThreadAlgorithm::Refs => linker.refs(entries, &mut budget).await,
    };
    Ok(forest?)
}

fn entry(index: usize, arrived_millis: i64, header: &[u8], algorithm: ThreadAlgorithm) -> Entry {
    let sent = date::sent_at(header).unwrap_or(arrived_millis.div_euclid(1000));
    if algorithm == ThreadAlgorithm::Refs {
        return Entry {
            index,
            sent,
            ..Entry::default()
        };
    }
    let text = header::first(header, "subject").map(|field| words::decode(field.value));
    let (base, is_reply) = subject::base_of(&text.unwrap_or_default());
    Entry {
        index,
        sent,
        subject: casemap::folded(&base).into_boxed_slice(),
        is_reply,
    }
}
