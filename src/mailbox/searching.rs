//! A SEARCH over a whole view, in slices.
//!
//! Owns: the order of work (rows, then headers, then bodies, message by message) and the budget.
//! Invariants: nothing of the store is held over a wait; the result ascends; a message expunged meanwhile is not found.
//! Limits: [`SEARCH_SLICE_ROWS`] rows between breaths; those of `budget`.
//! Failure: a damaged message is not found. A message too long to be taken apart ([`super::reader::PARSE_BYTES_MAX`]) has no body to be found.
//! Not here: what keys mean (`search`), the response (`session::imap`).

pub use super::budget::Pace;
use super::budget::{Budget, Spent};
use super::reader::{MessageReader, ReadError};
use super::search::{Query, TextKey, Verdict};
use super::view::View;
use crate::model::{AccountId, ModSeq, Uid};
use crate::proto::message::search::{MessageSearch, Progress, Scope};
use crate::store::{AccountState, Environment, MessageRow, Store, StoreError};
use std::ops::Range;

/// Rows looked at before others may get a turn; some hundred microseconds with a handful of keys.
pub const SEARCH_SLICE_ROWS: usize = 4_096;

/// Messages read ahead together when a search has to look into them. Of long ones only the ends are.
const AHEAD_MESSAGES: usize = 64;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Indexes of the view, ascending.
    pub indexes: Vec<usize>,
    /// The highest MODSEQ of what was found.
    pub mod_seq: ModSeq,
    /// Of the first and the last of `indexes`.
    pub mod_seq_of_ends: (ModSeq, ModSeq),
    /// Messages of the view are expunged and could not be judged.
    pub has_gone: bool,
}

/// Why a SEARCH was not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    #[error("the search takes too long")]
    BudgetSpent,
    #[error("the mailbox is gone")]
    MailboxGone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Spent> for SearchError {
    fn from(_: Spent) -> Self {
        Self::BudgetSpent
    }
}

/// Runs `query`, compiled against `view`, over the messages of `view`.
///
/// # Errors
/// See [`SearchError`].
pub async fn run<E: Environment, P: Pace>(
    store: &Store<E>,
    account: AccountId,
    view: &View,
    query: &Query,
    pace: &P,
) -> Result<Found, SearchError> {
    let mut budget = Budget::new(pace);
    let mut found = Found::default();
    for slice in slices(view.len()) {
        let judged =
            budget.timed(|| store.account(account, |state| judge_rows(state, view, query, slice.clone())));
        let mut judged = judged.flatten().ok_or(SearchError::MailboxGone)?;
        budget.breathe_if_due().await?;
        let undecided = std::mem::take(&mut judged.undecided);
        for (at, (index, row)) in undecided.iter().enumerate() {
            if at % AHEAD_MESSAGES == 0 {
                let ahead = undecided[at..].iter().take(AHEAD_MESSAGES);
                store.read_ahead(ahead.map(|(_, row)| row)).await;
            }
            let (index, row) = (*index, *row);
            match is_match(store, account, query, index, &row, &mut budget).await {
                Ok(true) => judged.found.push((index, row.mod_seq)),
                // One damaged message must not make every search fail; the store has reported it.
                Ok(false) | Err(SearchError::Store(StoreError::Damaged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        judged.found.sort_unstable_by_key(|(index, _)| *index);
        found.has_gone |= judged.has_gone;
        for (index, mod_seq) in judged.found {
            if found.indexes.is_empty() {
                found.mod_seq_of_ends.0 = mod_seq;
            }
            found.indexes.push(index);
            found.mod_seq = found.mod_seq.max(mod_seq);
            found.mod_seq_of_ends.1 = mod_seq;
        }
    }
    Ok(found)
}

fn slices(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len)
        .step_by(SEARCH_SLICE_ROWS)
        .map(move |start| start..len.min(start + SEARCH_SLICE_ROWS))
}

#[derive(Default)]
struct Judged {
    found: Vec<(usize, ModSeq)>,
    undecided: Vec<(usize, MessageRow)>,
    has_gone: bool,
}

/// What the rows of some messages of the view decide. `None`: the mailbox is gone.
fn judge_rows(state: &AccountState, view: &View, query: &Query, slice: Range<usize>) -> Option<Judged> {
    let rows = &state.mailboxes.get(&view.mailbox())?.rows;
    let mut judged = Judged::default();
    let uids: &[Uid] = &view.uids()[slice.clone()];
    let first = uids.first().copied().unwrap_or(Uid::FIRST);
    // View and rows both ascend, so one walk through the rows serves the slice.
    let mut rows = rows[rows.partition_point(|row| row.uid < first)..]
        .iter()
        .peekable();
    for (index, uid) in slice.zip(uids) {
        while rows.next_if(|row| row.uid < *uid).is_some() {}
        let Some(row) = rows.next_if(|row| row.uid == *uid) else {
            judged.has_gone = true;
            continue;
        };
        match query.judge(index, row, &[]) {
            Verdict::Decided(true) => judged.found.push((index, row.mod_seq)),
            Verdict::Decided(false) => {}
            Verdict::Wants(_) => judged.undecided.push((index, *row)),
        }
    }
    Some(judged)
}

/// Decides one message by reading as little of it as will do.
async fn is_match<E: Environment, P: Pace>(
    store: &Store<E>,
    account: AccountId,
    query: &Query,
    index: usize,
    row: &MessageRow,
    budget: &mut Budget<'_, P>,
) -> Result<bool, SearchError> {
    let mut reader = MessageReader::open(store, account, row).await?;
    let mut answers = vec![None; query.texts().len()];
    loop {
        let wanted = match budget.timed(|| query.judge(index, row, &answers)) {
            Verdict::Decided(decided) => return Ok(decided),
            Verdict::Wants(wanted) => wanted,
        };
        answers[wanted] = Some(decide(&query.texts()[wanted], &mut reader, budget).await?);
        budget.breathe_if_due().await?;
    }
}

async fn decide<E: Environment, P: Pace>(
    key: &TextKey,
    reader: &mut MessageReader<E>,
    budget: &mut Budget<'_, P>,
) -> Result<bool, SearchError> {
    let (matcher, scope) = match key {
        TextKey::EmailId(id) => return Ok(reader.email_id() == *id),
        TextKey::Body(matcher) => (matcher, Scope::Body),
        TextKey::Text(matcher) => (matcher, Scope::Text),
        _ => {
            let header = reader.header().await?;
            return Ok(budget.timed(|| key.is_in_header(header)));
        }
    };
    let structure = match reader.structure().await {
        Ok(structure) => structure,
        Err(ReadError::TooLong) => return Ok(false),
        Err(ReadError::Store(error)) => return Err(error.into()),
    };
    let message = match reader.whole().await {
        Ok(message) => message,
        Err(ReadError::TooLong) => return Ok(false),
        Err(ReadError::Store(error)) => return Err(error.into()),
    };
    let mut search = MessageSearch::new(&structure, message, scope, matcher);
    loop {
        match budget.timed(|| search.step()) {
            Progress::Found => return Ok(true),
            Progress::Absent => return Ok(false),
            Progress::More => budget.breathe_if_due().await?,
        }
    }
}
