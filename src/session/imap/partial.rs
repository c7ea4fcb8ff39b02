//! FETCH's modifier PARTIAL (RFC 9394 §3.3), and its limit (RFC 9738): which messages of the set are meant.
//!
//! PARTIAL counts the messages of the set that are there, and CHANGEDSINCE then lets some of those through (§3.4); the
//! limit counts what is let through. What others have expunged counts for nothing, as in SEARCH.
//! Not here: SEARCH RETURN (PARTIAL …) (`search`).

use super::Services;
use super::fetch::{Plan, Trouble, is_wanted, slices};
use super::link::Link;
use super::message_limit::Reached;
use super::state::{Session, Stop};
use crate::mailbox::view::row_of;
use crate::proto::imap::types::PartialRange;
use crate::session::pipe::Pipe;
use smallvec::SmallVec;
use std::ops::Range;

/// Messages looked at before others may get a turn.
const ROWS_SLICE: usize = 4_096;

/// Places in the view, ascending, not touching.
type Ranges = SmallVec<[Range<usize>; 4]>;

impl<S: Services> Session<S> {
    /// The messages of `ranges` that `partial` means, as many as one command may have.
    pub(super) async fn part_of<P: Pipe>(
        &self,
        link: &mut Link<P>,
        ranges: &Ranges,
        partial: Option<PartialRange>,
        plan: &Plan,
        trouble: &mut Trouble,
    ) -> Result<(Ranges, Option<Reached>), Stop> {
        let mut counted = Vec::new();
        for slice in ranges
            .iter()
            .flat_map(|range| slices(range.clone(), ROWS_SLICE, false))
        {
            self.with_selected(|state, selected| {
                let uids = selected.view.uids();
                counted.extend(slice.filter(|index| {
                    let row = row_of(&state.rows, uids.at(*index));
                    trouble.note(row);
                    row.is_some_and(|row| partial.is_some() || is_wanted(plan, row))
                }));
            })?;
            link.part_done(&*self.services).await?;
        }
        if let Some(partial) = partial {
            let part = partial.of(counted.len());
            self.check_message_limit(part.len())?;
            return Ok((joined(&counted[part]), None));
        }
        let reached = self.cut_places(&mut counted, self.selected()?.view.uids());
        Ok((joined(&counted), reached))
    }
}

/// Ascending places as ranges.
fn joined(places: &[usize]) -> Ranges {
    let runs = places.chunk_by(|a, b| a + 1 == *b);
    runs.map(|run| run[0]..run[run.len() - 1] + 1).collect()
}
