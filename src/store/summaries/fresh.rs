//! Messages that came lately, in the order they came, for whoever makes their summaries before a client asks.
//!
//! Invariants: a message is in here once, when it is durable. Nothing depends on it: of what is dropped here a summary is made
//! when a client asks first.
//! Limits: [`FRESH_MAX`]; drafts of accounts that have none yet are made as long as [`AHEAD_BYTES_MAX`] are not there.
//! Not here: making summaries (`mailbox::summarize`), when there is time for it (`delivery::summaries`).

use super::pending::PENDING_BYTES_MAX;
use crate::base::wait::Notify;
use crate::model::AccountId;
use crate::store::handle::Store;
use crate::store::{Environment, MessageRow, PartSet};
use std::cell::RefCell;
use std::collections::VecDeque;

/// Messages of a core that wait; the oldest are dropped first. As many short ones as the memory of recent mail holds: others would
/// have to be read from the disk again, and that is soon enough when somebody asks.
pub const FRESH_MAX: usize = 4_096;

/// Bytes of drafts beyond which no more accounts get their first: those that have some get enough for a file, which makes room.
/// Otherwise mail that comes to thousands of accounts in turn would have all of them wait for a file, and none get one.
const AHEAD_BYTES_MAX: usize = PENDING_BYTES_MAX / 2;

/// Messages passed over at once: some hundred microseconds.
const PASSED_MAX: usize = 512;

/// See the module.
#[derive(Default)]
pub struct Fresh {
    queue: RefCell<VecDeque<(AccountId, MessageRow)>>,
    came: Notify,
}

impl Fresh {
    /// A message that is durable now.
    pub fn note(&self, account: AccountId, row: MessageRow) {
        let mut queue = self.queue.borrow_mut();
        if queue.len() == FRESH_MAX {
            queue.pop_front();
        }
        queue.push_back((account, row));
        drop(queue);
        self.notify();
    }

    /// Wakes who makes summaries: there is something to do.
    pub fn notify(&self) {
        self.came.notify_all();
    }
}

impl<E: Environment> Store<E> {
    /// Waits until messages have come of which [`Self::next_fresh`] may give some, or, unless `has_left`, a command has left
    /// summaries to be written.
    pub async fn fresh_came(&self, has_left: bool) {
        let mut came = self.inner().summaries.fresh.came.waiter();
        while !self.has_fresh() && (has_left || !self.has_left_summaries()) {
            came.changed().await;
        }
    }

    /// The next message that came lately, is in memory and has no summary with all of `wanted`: one is worth making now.
    /// `None`: none of some hundred that waited.
    #[must_use]
    pub fn next_fresh(&self, wanted: PartSet) -> Option<(AccountId, MessageRow)> {
        let inner = self.inner();
        let summaries = &inner.summaries;
        for _ in 0..PASSED_MAX {
            let (account, row) = summaries.fresh.queue.borrow_mut().pop_front()?;
            let has_room = summaries.pending.borrow().has_room(account, AHEAD_BYTES_MAX);
            if has_room
                && !summaries.has_given_up()
                && inner.reader.is_in_memory(row.record)
                && !self.has_summary(account, &row, wanted)
            {
                return Some((account, row));
            }
        }
        None
    }

    /// Does anything wait that [`Self::next_fresh`] looks at?
    #[must_use]
    pub fn has_fresh(&self) -> bool {
        !self.inner().summaries.fresh.queue.borrow().is_empty()
    }

    /// All accounts with enough summaries for a file get one soon. What is too little for a file and fills memory is forgotten.
    pub fn settle_all_summaries(&self) {
        let summaries = &self.inner().summaries;
        let mut pending = summaries.pending.borrow_mut();
        pending.settle_all();
        if pending.bytes() > AHEAD_BYTES_MAX {
            pending.forget_few();
        }
        drop(pending);
        summaries.wanted.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::UnixMillis;
    use crate::model::{Flags, LogPosition, ModSeq, SegmentId, Uid};

    fn row(offset: u32) -> MessageRow {
        MessageRow {
            uid: Uid::FIRST,
            flags: Flags::default(),
            keywords: 0,
            size: 1_000,
            internal_date_at: UnixMillis(1),
            internal_date_zone_minutes: 0,
            save_date: UnixMillis(1),
            mod_seq: ModSeq(1),
            record: LogPosition {
                segment: SegmentId(1),
                offset,
            },
            record_bytes: 100,
            body_segment: SegmentId(1),
            is_body_scattered: false,
            line_end_octets: 0,
        }
    }

    #[test]
    fn the_oldest_are_dropped_when_too_many_wait() {
        let fresh = Fresh::default();
        for offset in 0..FRESH_MAX as u32 + 10 {
            fresh.note(AccountId(1), row(offset));
        }
        let queue = fresh.queue.borrow();
        assert_eq!(queue.len(), FRESH_MAX);
        assert_eq!(queue.front().map(|(_, row)| row.record.offset), Some(10));
    }
}
