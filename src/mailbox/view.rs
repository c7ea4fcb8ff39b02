//! What one session has been shown of one mailbox, and how it is brought up to date.
//!
//! Owns: the map from sequence numbers to UIDs (RFC 9051 §2.3.1.2) and the session's place in the mailbox's change log.
//! Invariants: UIDs ascend; a sequence number changes its meaning only by an EXPUNGE that [`View::sync`] has handed out;
//! a message expunged by anybody stays in the view until the session may be told (RFC 9051 §7.5.1: not during FETCH,
//! STORE or SEARCH by number); an announced EXISTS is never taken back except by EXPUNGE.
//! `\Recent` (RFC 3501 §2.3.2): a message is recent in the first session that has the mailbox selected read-write when
//! it is told of it, and in no later one; a session that looks only (EXAMINE) sees it and leaves it to others. What is
//! recent is not durable, see [`MailboxState::recent_from`].
//! Flags changed by others that the client does not want to hear now (NOTIFY without FlagChange) are kept until it asks, and
//! [`View::highest_mod_seq`] stays below them: no change is lost to a client that resynchronises.
//! Limits: 4 octets for each message whose change is kept; 8 octets for each run of messages without a gap, and for each run of recent ones; the log of changes is bounded by the store, whole mailboxes are compared beyond it.
//! Not here: the wire (`session::imap`), the durable state itself (`store`).

use crate::model::{MailboxId, ModSeq, SeqNum, Uid, Uids};
use crate::store::{MailboxChange, MailboxState, MessageRow};
use smallvec::SmallVec;
use std::cell::Cell;
use std::ops::Range;

/// A session's view of the selected mailbox.
#[derive(Debug, Clone)]
pub struct View {
    mailbox: MailboxId,
    /// Place `i` is sequence number `i + 1`.
    uids: Uids,
    /// Boxed: a session that waits has none, nearly always.
    waiting: Option<Box<Waiting>>,
    /// Every row with a smaller UID has been shown or is gone.
    uid_next: u32,
    /// Where the change log was read up to.
    cursor: u64,
    /// Rows changed later than this were changed since the last sync.
    mod_seq: ModSeq,
    /// Everything up to this change has been told, or was there when the view was made.
    complete: ModSeq,
    /// The highest MODSEQ in a FETCH response since the last look by [`View::correction`].
    shown: Cell<ModSeq>,
    /// The client has been told to go back to `complete`, and not yet to go on.
    was_corrected: bool,
    /// [`MailboxState::keywords_version`] when FLAGS was last sent.
    keywords: Cell<u64>,
    /// UIDs that are `\Recent` here: first and behind the last, ascending, not touching.
    recent: SmallVec<[Range<u32>; 1]>,
}

/// What the client has to be told, in this order: EXPUNGE, EXISTS, FETCH.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ViewChanges {
    /// Descending, so that each is right when the ones before it have been applied.
    pub expunged: Vec<SeqNum>,
    /// The UIDs of the same messages, ascending: for clients that are told by VANISHED (RFC 7162 §3.2.10).
    pub vanished: Vec<Uid>,
    /// The number of messages, when there are new ones.
    pub exists: Option<usize>,
    /// Messages shown before whose flags others have changed, ascending. Their flags are read when they are sent.
    pub flags: Vec<Uid>,
}

impl ViewChanges {
    /// Nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expunged.is_empty() && self.exists.is_none() && self.flags.is_empty()
    }
}

/// What the client has not been told yet.
#[derive(Debug, Clone, Default)]
struct Waiting {
    /// Ascending: in the view, no longer in the mailbox.
    gone: Vec<Uid>,
    /// Ascending: messages of the view whose flags others have changed.
    flags: Vec<Uid>,
}

/// What a sync may tell now; the rest is told by a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// Numbers may change their meaning.
    pub expunges: bool,
    /// The client wants to hear of flags.
    pub flags: bool,
}

/// Flag changes this session made itself, which its client knows of already.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnChanges<'a> {
    /// The MODSEQs of the session's own changes since the last sync.
    pub mod_seqs: &'a [ModSeq],
    /// The flags have been sent, not merely asked for with `.SILENT`.
    pub were_told: bool,
}

/// The part of a mailbox that a sync reads; the change log already looked up.
struct Seen<'a, I> {
    rows: &'a [MessageRow],
    /// `None`: the log no longer reaches back to the cursor.
    changes: Option<I>,
    end: u64,
    mod_seq: ModSeq,
    uid_next: u32,
}

impl View {
    /// The view of a session that selects the mailbox now.
    #[must_use]
    pub fn new(state: &MailboxState) -> Self {
        Self {
            mailbox: state.id,
            uids: Uids::of_ascending(state.rows.len(), |index| state.rows[index].uid),
            waiting: None,
            uid_next: state.uid_next,
            cursor: state.changes.end(),
            mod_seq: state.highest_mod_seq,
            complete: state.highest_mod_seq,
            shown: Cell::default(),
            was_corrected: false,
            keywords: Cell::new(state.keywords_version()),
            recent: SmallVec::new(),
        }
    }

    /// Makes what no session has had for recent yet recent here; with `keeps_it` it is so in no other session.
    pub fn take_recent(&mut self, state: &MailboxState, keeps_it: bool) {
        let new = state.recent_from.get()..self.uid_next;
        if keeps_it {
            state.recent_from.set(new.start.max(new.end));
        }
        match self.recent.last_mut() {
            Some(last) if new.start <= last.end => last.end = last.end.max(new.end),
            _ if new.is_empty() => {}
            _ => self.recent.push(new),
        }
    }

    /// True for a message that is `\Recent` in this session.
    #[must_use]
    pub fn is_recent(&self, uid: Uid) -> bool {
        let run = self.recent.partition_point(|run| run.end <= uid.value());
        self.recent.get(run).is_some_and(|run| run.start <= uid.value())
    }

    /// The `\Recent` messages of the view, as index ranges.
    #[must_use]
    pub fn recent(&self) -> SmallVec<[Range<usize>; 4]> {
        let index = |uid: u32| Uid::new(uid).map_or(0, |uid| self.uids.below(uid));
        let ranges = self.recent.iter().map(|run| index(run.start)..index(run.end));
        ranges.filter(|range| !range.is_empty()).collect()
    }

    /// How many messages are `\Recent` in this session.
    #[must_use]
    pub fn recent_count(&self) -> usize {
        self.recent().iter().map(ExactSizeIterator::len).sum()
    }

    /// Which mailbox.
    #[must_use]
    pub fn mailbox(&self) -> MailboxId {
        self.mailbox
    }

    /// Every change up to this one has been told, or was there when the view was made: expunges too, and flags that the
    /// client does not want to hear of now, so that it stays where it is while one waits.
    #[must_use]
    pub fn highest_mod_seq(&self) -> ModSeq {
        self.complete
    }

    /// Notes that a FETCH response with this MODSEQ is on its way to the client.
    pub fn note_shown(&self, mod_seq: ModSeq) {
        self.shown.set(self.shown.get().max(mod_seq));
    }

    /// The HIGHESTMODSEQ that a client with QRESYNC must be told at the end of a command, if any. It takes the highest
    /// MODSEQ of FETCH responses for how far it is (RFC 7162 §3.2.5); while changes below are still to be told, such as
    /// an expunge during FETCH by number, it would never hear of them after a reconnect. So it is told the state it has
    /// wholly, and when all is told, to go on from there.
    pub fn correction(&mut self, state: &MailboxState) -> Option<ModSeq> {
        let shown = self.shown.take();
        if self.is_current(state) {
            return std::mem::take(&mut self.was_corrected).then_some(self.complete);
        }
        let is_ahead = shown > self.complete;
        self.was_corrected |= is_ahead;
        is_ahead.then_some(self.complete)
    }

    /// Messages as last announced by EXISTS and EXPUNGE.
    #[must_use]
    pub fn len(&self) -> usize {
        self.uids.len()
    }

    /// True for no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// UIDs in the order of their sequence numbers.
    #[must_use]
    pub fn uids(&self) -> &Uids {
        &self.uids
    }

    /// The message with this UID, by index.
    #[must_use]
    pub fn index_of(&self, uid: Uid) -> Option<usize> {
        self.uids.index_of(uid)
    }

    /// The UIDs of some index ranges, ascending when the ranges are.
    #[must_use]
    pub fn uids_in(&self, ranges: &[Range<usize>]) -> Vec<Uid> {
        ranges
            .iter()
            .flat_map(|range| self.uids.range(range.clone()))
            .collect()
    }

    /// True once for every time the mailbox has got keywords that no FLAGS response has named: send one before any
    /// flags that may have them (RFC 9051 §7.2.6).
    pub fn takes_new_keywords(&self, state: &MailboxState) -> bool {
        let version = state.keywords_version();
        self.keywords.replace(version) != version
    }

    /// True when [`Self::sync`] would find nothing, known without looking at a message.
    #[must_use]
    pub fn is_current(&self, state: &MailboxState) -> bool {
        self.waiting.is_none() && self.cursor == state.changes.end()
    }

    /// Messages that came or whose flags changed since the last sync, by whomever; ascending. `None`: the log does not
    /// reach back so far.
    #[must_use]
    pub fn touched(&self, state: &MailboxState) -> Option<Vec<Uid>> {
        let changes = state.changes.since(self.cursor)?;
        let touched = changes.filter_map(|change| match change {
            MailboxChange::Added(uid) | MailboxChange::FlagsChanged(uid) => Some(*uid),
            MailboxChange::Expunged(_) => None,
        });
        let mut touched: Vec<Uid> = touched.collect();
        touched.sort_unstable();
        touched.dedup();
        Some(touched)
    }

    /// Brings the view up to `state` and returns what the client must be told for it. What `may` leaves out waits for a
    /// later call; until then expunged messages keep their numbers.
    pub fn sync(&mut self, state: &MailboxState, may: Telling, own: OwnChanges<'_>) -> ViewChanges {
        if self.is_current(state) {
            // What is said of a mailbox as such (METADATA) raises its MODSEQ without a change of a message.
            self.mod_seq = self.mod_seq.max(state.highest_mod_seq);
            self.complete = self.mod_seq;
            return ViewChanges::default();
        }
        let seen = Seen {
            rows: &state.rows,
            changes: state.changes.since(self.cursor),
            end: state.changes.end(),
            mod_seq: state.highest_mod_seq,
            uid_next: state.uid_next,
        };
        self.sync_with(seen, may, own)
    }

    fn sync_with<'a, I>(&mut self, seen: Seen<'a, I>, may: Telling, own: OwnChanges<'_>) -> ViewChanges
    where
        I: Iterator<Item = &'a MailboxChange>,
    {
        let rows = seen.rows;
        let (newly_gone, newly_changed) = match seen.changes {
            Some(changes) => self.read_changes(rows, changes, own),
            None => self.compare(rows, own),
        };
        let mut waiting = self
            .waiting
            .take()
            .map_or_else(Waiting::default, |waiting| *waiting);
        add_ascending(&mut waiting.gone, newly_gone);
        add_ascending(&mut waiting.flags, newly_changed);
        waiting.flags.retain(|uid| row_of(rows, *uid).is_some());

        let (vanished, expunged) = if may.expunges {
            self.forget(std::mem::take(&mut waiting.gone))
        } else {
            Default::default()
        };
        let flags = if may.flags {
            std::mem::take(&mut waiting.flags)
        } else {
            Vec::new()
        };
        let is_waiting = !waiting.gone.is_empty() || !waiting.flags.is_empty();
        self.waiting = is_waiting.then(|| Box::new(waiting));
        let first_new = rows.partition_point(|row| row.uid.value() < self.uid_next);
        let new = &rows[first_new..];
        self.uids.append_ascending(new.len(), |index| new[index].uid);
        let exists = (first_new < rows.len()).then_some(self.uids.len());

        self.cursor = seen.end;
        self.mod_seq = self.mod_seq.max(seen.mod_seq);
        self.uid_next = self.uid_next.max(seen.uid_next);
        if self.waiting.is_none() {
            self.complete = self.mod_seq;
        }
        ViewChanges {
            expunged,
            vanished,
            exists,
            flags,
        }
    }

    /// What the change log says of messages in the view: gone, and changed by others.
    fn read_changes<'a>(
        &self,
        rows: &[MessageRow],
        changes: impl Iterator<Item = &'a MailboxChange>,
        own: OwnChanges<'_>,
    ) -> (Vec<Uid>, Vec<Uid>) {
        let mut gone = Vec::new();
        let mut changed = Vec::new();
        for change in changes {
            match change {
                MailboxChange::Added(_) => {}
                MailboxChange::Expunged(uid) => gone.push(*uid),
                MailboxChange::FlagsChanged(uid) => changed.push(*uid),
            }
        }
        // A message that came and went between two syncs was never shown.
        gone.retain(|uid| self.index_of(*uid).is_some());
        changed.sort_unstable();
        let mut flags = Vec::new();
        for same in changed.chunk_by(|a, b| a == b) {
            let uid = same[0];
            let Some(row) = row_of(rows, uid) else { continue };
            if uid.value() >= self.uid_next || self.index_of(uid).is_none() {
                continue;
            }
            let is_own = own.mod_seqs.contains(&row.mod_seq);
            // With .SILENT somebody else's change may lie below the session's own: then the log names the message twice.
            if is_own && (own.were_told || same.len() == 1) {
                continue;
            }
            flags.push(uid);
        }
        (gone, flags)
    }

    /// The same by comparing the view with all rows: both ascend by UID.
    fn compare(&self, rows: &[MessageRow], own: OwnChanges<'_>) -> (Vec<Uid>, Vec<Uid>) {
        let mut gone = Vec::new();
        let mut flags = Vec::new();
        let mut rows = rows.iter().peekable();
        for uid in self.uids.iter() {
            while rows.next_if(|row| row.uid < uid).is_some() {}
            match rows.next_if(|row| row.uid == uid) {
                None => gone.push(uid),
                Some(row) => {
                    let was_told = own.were_told && own.mod_seqs.contains(&row.mod_seq);
                    if row.mod_seq > self.mod_seq && !was_told {
                        flags.push(uid);
                    }
                }
            }
        }
        (gone, flags)
    }

    /// Takes `gone`, ascending, out of the view; the UIDs again, and their sequence numbers, descending.
    fn forget(&mut self, gone: Vec<Uid>) -> (Vec<Uid>, Vec<SeqNum>) {
        let places = self.uids.remove_all(&gone);
        let numbers = places.into_iter().rev().map(SeqNum::from_index);
        (gone, numbers.collect())
    }
}

fn add_ascending(uids: &mut Vec<Uid>, more: Vec<Uid>) {
    uids.extend(more);
    uids.sort_unstable();
    uids.dedup();
}

/// The row of one message; rows ascend by UID.
#[must_use]
pub fn row_of(rows: &[MessageRow], uid: Uid) -> Option<&MessageRow> {
    rows.binary_search_by_key(&uid, |row| row.uid)
        .ok()
        .map(|index| &rows[index])
}

/// The same where it is most likely at `near`: the row behind the one before it, or where it was a moment ago.
#[must_use]
pub fn row_near(rows: &[MessageRow], uid: Uid, near: usize) -> Option<usize> {
    if rows.get(near).is_some_and(|row| row.uid == uid) {
        return Some(near);
    }
    rows.binary_search_by_key(&uid, |row| row.uid).ok()
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
