//! What a core's log tells of mail that cannot be read and of a disk that is full, and how often.
//!
//! Invariants: every read that fails is counted; a place that was told is not told again before [`AGAIN_MS`] are over, so a client
//! that asks again and again, or a search through a ruined segment, does not fill the log.
//! Limits: [`LINES_MAX`] lines in [`LINES_MS`], the others are counted and their number is told with the next line;
//! [`PLACES_MAX`] places are remembered.
//! Not here: what sessions answer.

use super::StoreError;
use super::handle::Inner;
use super::types::Owner;
use super::{AccountState, Environment};
use crate::base::clock::Clock;
use crate::disk::Disk;
use crate::model::LogPosition;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// An hour: an admin who reads the log of today finds it, and finds it again tomorrow.
const AGAIN_MS: i64 = 60 * 60 * 1_000;

/// See [`LINES_MAX`].
const LINES_MS: i64 = 60 * 1_000;

/// Lines a minute about unreadable mail: enough to see which accounts it hits; all of it is `ringpost store check`'s to list.
const LINES_MAX: u32 = 20;

/// Some 100 KiB. When there are more, all are forgotten, and told again.
const PLACES_MAX: usize = 4_096;

/// Between two lines about a full disk: each refused message is counted by its reply already.
const FULL_EVERY_MS: i64 = 5 * 60 * 1_000;

/// When a core last told what.
#[derive(Debug)]
pub struct Troubles {
    places: RefCell<HashMap<LogPosition, i64>>,
    /// When the current [`LINES_MS`] began, and how many lines there were since.
    lines: Cell<(i64, u32)>,
    hidden: Cell<u64>,
    full_at_ms: Cell<Option<i64>>,
}

impl Default for Troubles {
    fn default() -> Self {
        Self {
            places: RefCell::default(),
            lines: Cell::new((i64::MIN, 0)),
            hidden: Cell::new(0),
            full_at_ms: Cell::new(None),
        }
    }
}

impl Troubles {
    /// Whether a read that failed at `place` is to be told, and how many others were not since the last that was.
    fn may_tell(&self, place: LogPosition, now_ms: i64) -> Option<u64> {
        let mut places = self.places.borrow_mut();
        if places
            .get(&place)
            .is_some_and(|told| is_within(*told, AGAIN_MS, now_ms))
        {
            return None;
        }
        let (mut began, mut lines) = self.lines.get();
        if !is_within(began, LINES_MS, now_ms) {
            (began, lines) = (now_ms, 0);
        }
        if lines == LINES_MAX {
            self.hidden.set(self.hidden.get() + 1);
            return None;
        }
        self.lines.set((began, lines + 1));
        if places.len() >= PLACES_MAX {
            places.clear();
        }
        places.insert(place, now_ms);
        Some(self.hidden.take())
    }

    fn may_tell_full(&self, now_ms: i64) -> bool {
        if self
            .full_at_ms
            .get()
            .is_some_and(|told| is_within(told, FULL_EVERY_MS, now_ms))
        {
            return false;
        }
        self.full_at_ms.set(Some(now_ms));
        true
    }
}

/// Also false when the clock was set back.
fn is_within(began_ms: i64, span_ms: i64, now_ms: i64) -> bool {
    (0..span_ms).contains(&now_ms.saturating_sub(began_ms))
}

impl<E: Environment> Inner<E> {
    /// Counts and tells a read of `owner`'s message that failed because of the disk or of what is on it.
    pub fn note_read<T>(&self, owner: Option<Owner>, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ (StoreError::Damaged { .. } | StoreError::Disk(_))) = &read {
            self.note_unreadable(owner, error);
        }
        read
    }

    fn note_unreadable(&self, owner: Option<Owner>, error: &StoreError) {
        self.meters.damaged_reads.add(1);
        let Some(owner) = owner else { return };
        let place = match error {
            StoreError::Damaged { position, .. } => *position,
            _ => owner.record,
        };
        let Some(hidden) = self.troubles.may_tell(place, self.env.clock().now().0) else {
            return;
        };
        tracing::error!(
            account = %owner.account,
            mailbox = self.mailbox_of(owner).unwrap_or_else(|| "?".to_owned()),
            uid = owner.uid.value(),
            %place,
            %error,
            others_not_told = hidden,
            "a message cannot be read: `ringpost store check` lists all damage"
        );
    }

    /// `None`: it is not there any more, or not in memory.
    pub fn mailbox_of(&self, owner: Owner) -> Option<String> {
        let state = self.state.borrow();
        let account: &AccountState = state.accounts.get(&owner.account)?;
        let found = account.mailboxes.values().find(|mailbox| {
            let at = mailbox.rows.binary_search_by_key(&owner.uid, |row| row.uid);
            at.is_ok_and(|at| mailbox.rows[at].record == owner.record)
        });
        Some(found?.name.to_string())
    }

    /// Tells that mail is refused because there is no room.
    pub fn note_full(&self, why: &str) {
        if self.troubles.may_tell_full(self.env.clock().now().0) {
            tracing::warn!(
                core = self.core,
                store = self.env.disk().describe(),
                why,
                "no room: new mail is refused until there is; what is there is served, and may be expunged"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SegmentId;

    fn place(offset: u32) -> LogPosition {
        LogPosition {
            segment: SegmentId(1),
            offset,
        }
    }

    #[test]
    fn a_place_is_told_once_an_hour() {
        let troubles = Troubles::default();
        assert_eq!(troubles.may_tell(place(1), 0), Some(0));
        assert_eq!(troubles.may_tell(place(1), AGAIN_MS - 1), None);
        assert_eq!(troubles.may_tell(place(2), AGAIN_MS - 1), Some(0));
        assert_eq!(troubles.may_tell(place(1), AGAIN_MS), Some(0));
    }

    #[test]
    fn a_ruined_segment_does_not_fill_the_log_and_its_extent_is_told() {
        let troubles = Troubles::default();
        let told = (0..1_000).filter(|n| troubles.may_tell(place(*n), 5).is_some());
        assert_eq!(told.count(), LINES_MAX as usize);
        let hidden = 1_000 - u64::from(LINES_MAX);
        assert_eq!(troubles.may_tell(place(2_000), 5 + LINES_MS), Some(hidden));
        assert_eq!(troubles.may_tell(place(2_001), 5 + LINES_MS), Some(0));
    }

    #[test]
    fn places_that_are_remembered_are_limited() {
        let troubles = Troubles::default();
        for n in 0..2 * PLACES_MAX as u32 {
            troubles.may_tell(place(n), i64::from(n) * LINES_MS);
        }
        assert!(troubles.places.borrow().len() <= PLACES_MAX);
    }

    #[test]
    fn a_full_disk_is_told_every_few_minutes_and_a_clock_set_back_hides_nothing() {
        let troubles = Troubles::default();
        assert!(troubles.may_tell_full(1_000_000));
        assert!(!troubles.may_tell_full(1_000_001));
        assert!(troubles.may_tell_full(1_000_000 + FULL_EVERY_MS));
        assert!(troubles.may_tell_full(0));
    }
}
