//! A SEARCH over a whole view, in slices.
//!
//! Owns: the order of work (rows, then summaries, then messages one by one, headers before bodies) and the budget.
//! Invariants: nothing of the store is held over a wait; the result ascends; a message expunged meanwhile is not found; a summary
//! decides as the message itself would.
//! Limits: [`SEARCH_SLICE_ROWS`] rows between breaths, `RECALLED_ROWS` of which summaries are read together; [`reader::ahead`] of messages read at the same time, and as many of the
//! next ones while those are searched; those of `budget`.
//! Failure: a damaged message is not found. A message too long to be taken apart ([`super::reader::PARSE_BYTES_MAX`]) has no body to be found.
//! Not here: what keys mean (`search`), the response (`session::imap`).

pub use super::budget::Pace;
use super::budget::{Budget, Spent};
use super::reader::{self, MessageReader, ReadError};
use super::search::{Query, TextKey, Verdict, thread_id_text};
use super::summary;
use super::view::View;
use crate::model::{AccountId, ModSeq, Uid};
use crate::proto::message::search::{MessageSearch, Progress, Scope};
use crate::store::{AccountState, Environment, MessageRow, Part, PartSet, Store, StoreError, Summary};
use futures_util::future::join;
use smallvec::{SmallVec, smallvec};
use std::collections::VecDeque;
use std::ops::Range;

/// Rows looked at before others may get a turn; some hundred microseconds with a handful of keys.
pub const SEARCH_SLICE_ROWS: usize = 4_096;

/// Messages whose summaries are read together.
const RECALLED_ROWS: usize = 512;

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
    #[error("too many long messages are searched at once")]
    Busy,
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

/// A search through the messages of a view. Make it, and take steps until the last.
pub struct Run<'a, E: Environment, P> {
    store: &'a Store<E>,
    account: AccountId,
    view: &'a View,
    query: &'a Query,
    budget: Budget<'a, P>,
    found: Found,
    slices: VecDeque<Range<usize>>,
    /// Of the slice in work: what summaries may decide.
    unrecalled: VecDeque<(usize, MessageRow)>,
    /// Of the slice in work: what must be read yet.
    undecided: VecDeque<(usize, MessageRow)>,
    /// How many of these were read ahead.
    are_ahead: usize,
    matched: Vec<(usize, ModSeq)>,
}

impl<'a, E: Environment, P: Pace> Run<'a, E, P> {
    /// A run of `query`, compiled against `view`, over its messages.
    pub fn new(
        store: &'a Store<E>,
        account: AccountId,
        view: &'a View,
        query: &'a Query,
        pace: &'a P,
    ) -> Self {
        Self {
            store,
            account,
            view,
            query,
            budget: Budget::new(pace),
            found: Found::default(),
            slices: slices(0..view.len()).collect(),
            unrecalled: VecDeque::new(),
            undecided: VecDeque::new(),
            are_ahead: 0,
            matched: Vec::new(),
        }
    }

    /// Looks at the messages of these indexes only, which ascend.
    #[must_use]
    pub fn among(mut self, indexes: &[usize]) -> Self {
        let runs = indexes.chunk_by(|a, b| a + 1 == *b);
        let runs = runs.map(|run| run[0]..run[run.len() - 1] + 1);
        self.slices = runs.flat_map(slices).collect();
        self
    }

    /// Messages judged so far.
    #[must_use]
    pub fn done(&self) -> usize {
        let rest = self.slices.front().map_or(self.view.len(), |slice| slice.start);
        rest - self.unrecalled.len() - self.undecided.len()
    }

    /// What was found, after the last step.
    #[must_use]
    pub fn into_found(self) -> Found {
        self.found
    }

    /// Takes a step; false after the last.
    ///
    /// # Errors
    /// See [`SearchError`].
    pub async fn step(&mut self) -> Result<bool, SearchError> {
        if self.unrecalled.is_empty() && self.undecided.is_empty() {
            let Some(slice) = self.slices.pop_front() else {
                self.store.leave_summaries(self.account);
                return Ok(false);
            };
            self.judge(slice)?;
        }
        self.budget.breathe_if_due().await?;
        if !self.unrecalled.is_empty() {
            self.recall_group().await?;
        } else if !self.undecided.is_empty() {
            self.search_group().await?;
        }
        if self.unrecalled.is_empty() && self.undecided.is_empty() {
            self.slice_done();
        }
        Ok(true)
    }

    /// Looks into summaries of the next messages.
    async fn recall_group(&mut self) -> Result<(), SearchError> {
        let count = self.unrecalled.len().min(RECALLED_ROWS);
        let group: Vec<(usize, MessageRow)> = self.unrecalled.drain(..count).collect();
        let rows: Vec<MessageRow> = group.iter().map(|(_, row)| *row).collect();
        let mut fields: Vec<u8> = Vec::new();
        let mut known: Vec<Option<(u64, Range<usize>)>> = vec![None; count];
        // Only copied here: a read brings hundreds, and nobody else gets a turn while they are shown.
        let tell = |number: usize, told: &Summary<'_>| {
            if let Some(part) = told.part(Part::Fields) {
                let start = fields.len();
                fields.extend_from_slice(part);
                known[number] = Some((told.email_id, start..fields.len()));
            }
        };
        let wanted = PartSet::NONE.with(Part::Fields);
        self.store.recall(self.account, &rows, wanted, tell).await;
        for ((index, row), known) in group.into_iter().zip(known) {
            let verdict = known.map(|(email_id, range)| {
                let part = &fields[range];
                let query = self.query;
                self.budget
                    .timed(|| decided_by(query, index, &row, (part, email_id)))
            });
            match verdict.flatten() {
                Some(true) => self.matched.push((index, row.mod_seq)),
                Some(false) => {}
                None => self.undecided.push_back((index, row)),
            }
            self.budget.breathe_if_due().await?;
        }
        Ok(())
    }

    /// Looks into the next messages that are read together, while the disk reads those behind them.
    async fn search_group(&mut self) -> Result<(), SearchError> {
        let store = self.store;
        let group: Vec<(usize, MessageRow)> = self.undecided.drain(..self.ahead()).collect();
        if self.are_ahead < group.len() {
            store.read_ahead(group.iter().map(|(_, row)| row)).await;
        }
        let next = self.undecided.iter().take(self.ahead());
        let next: Vec<MessageRow> = next.map(|(_, row)| *row).collect();
        self.are_ahead = next.len();
        let (judged, ()) = join(self.judge_messages(&group), store.read_ahead(next.iter())).await;
        judged
    }

    fn ahead(&self) -> usize {
        let sizes = self.undecided.iter().map(|(_, row)| row.size);
        reader::ahead(sizes).min(self.undecided.len())
    }

    async fn judge_messages(&mut self, group: &[(usize, MessageRow)]) -> Result<(), SearchError> {
        let (store, account, query) = (self.store, self.account, self.query);
        for (index, row) in group {
            match is_match(store, account, query, *index, row, &mut self.budget).await {
                Ok(true) => self.matched.push((*index, row.mod_seq)),
                // One damaged message must not make every search fail; the store has reported it.
                Ok(false) | Err(SearchError::Store(StoreError::Damaged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn judge(&mut self, slice: Range<usize>) -> Result<(), SearchError> {
        let Self {
            store, view, query, ..
        } = self;
        let judged = self
            .budget
            .timed(|| store.account(self.account, |state| judge_rows(state, view, query, slice)));
        let judged = judged.flatten().ok_or(SearchError::MailboxGone)?;
        self.found.has_gone |= judged.has_gone;
        self.matched = judged.found;
        if self.query.texts().iter().any(TextKey::is_in_summaries) {
            self.unrecalled = judged.undecided.into();
        } else {
            self.undecided = judged.undecided.into();
        }
        Ok(())
    }

    fn slice_done(&mut self) {
        self.matched.sort_unstable_by_key(|(index, _)| *index);
        for (index, mod_seq) in self.matched.drain(..) {
            if self.found.indexes.is_empty() {
                self.found.mod_seq_of_ends.0 = mod_seq;
            }
            self.found.indexes.push(index);
            self.found.mod_seq = self.found.mod_seq.max(mod_seq);
            self.found.mod_seq_of_ends.1 = mod_seq;
        }
    }
}

fn slices(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range
        .step_by(SEARCH_SLICE_ROWS)
        .map(move |start| start..end.min(start + SEARCH_SLICE_ROWS))
}

#[derive(Default)]
struct Judged {
    found: Vec<(usize, ModSeq)>,
    undecided: Vec<(usize, MessageRow)>,
    has_gone: bool,
}

/// What the rows of some messages of the view decide. `None`: the mailbox is gone.
fn judge_rows(state: &AccountState, view: &View, query: &Query, slice: Range<usize>) -> Option<Judged> {
    let mailbox = state.mailboxes.get(&view.mailbox())?;
    let (rows, stale_bits) = (&mailbox.rows, query.stale_bits(&mailbox.keywords));
    let mut judged = Judged::default();
    let mut uids = view.uids().range(slice.clone()).peekable();
    let first = uids.peek().copied().unwrap_or(Uid::FIRST);
    // View and rows both ascend, so one walk through the rows serves the slice.
    let mut rows = rows[rows.partition_point(|row| row.uid < first)..]
        .iter()
        .peekable();
    for (index, uid) in slice.zip(uids) {
        while rows.next_if(|row| row.uid < uid).is_some() {}
        let Some(row) = rows.next_if(|row| row.uid == uid) else {
            judged.has_gone = true;
            continue;
        };
        let mut row = *row;
        row.keywords &= !stale_bits;
        match query.judge(index, &row, &[]) {
            Verdict::Decided(true) => judged.found.push((index, row.mod_seq)),
            Verdict::Decided(false) => {}
            Verdict::Wants(_) => judged.undecided.push((index, row)),
        }
    }
    Some(judged)
}

/// What is known of a message without opening it: the fields in its summary and its email id.
fn decided_by(query: &Query, index: usize, row: &MessageRow, known: (&[u8], u64)) -> Option<bool> {
    let (part, email_id) = known;
    let mut answers: SmallVec<[Option<bool>; 8]> = smallvec![None; query.texts().len()];
    loop {
        match query.judge(index, row, &answers) {
            Verdict::Decided(decided) => return Some(decided),
            Verdict::Wants(wanted) => {
                answers[wanted] = Some(summary::decide(&query.texts()[wanted], part, email_id)?);
            }
        }
    }
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
    let mut answers: SmallVec<[Option<bool>; 8]> = smallvec![None; query.texts().len()];
    loop {
        let wanted = match budget.timed(|| query.judge(index, row, &answers)) {
            Verdict::Decided(decided) => return Ok(decided),
            Verdict::Wants(wanted) => wanted,
        };
        let key = &query.texts()[wanted];
        answers[wanted] = Some(decide(key, &mut reader, budget).await?);
        if key.is_in_summaries() && !matches!(key, TextKey::EmailId(_)) {
            let email_id = reader.email_id();
            let header = reader.header().await?;
            budget.timed(|| summary::keep_fields(store, account, row, (email_id, header)));
        }
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
        TextKey::ThreadId(id) => {
            let email_id = reader.email_id();
            let header = reader.header().await?;
            return Ok(budget.timed(|| thread_id_text(header, email_id).as_bytes() == id.as_slice()));
        }
        TextKey::Body(matcher) => (matcher, Scope::Body),
        TextKey::Text(matcher) => (matcher, Scope::Text),
        _ => {
            let header = reader.header().await?;
            return Ok(budget.timed(|| key.is_in_header(header)));
        }
    };
    let structure = match reader.structure_within(budget).await? {
        Ok(structure) => structure,
        Err(ReadError::TooLong) => return Ok(false),
        Err(ReadError::Busy) => return Err(SearchError::Busy),
        Err(ReadError::Store(error)) => return Err(error.into()),
    };
    let message = match reader.whole().await {
        Ok(message) => message,
        Err(ReadError::TooLong) => return Ok(false),
        Err(ReadError::Busy) => return Err(SearchError::Busy),
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
