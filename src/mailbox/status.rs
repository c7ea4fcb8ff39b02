//! Figures about one mailbox: what SELECT announces and what STATUS answers (RFC 9051 §6.3.2, §6.3.11; RFC 7162, 8438).
//!
//! Invariants: figures come from the durable state only; UNSEEN of SELECT is a sequence number, UNSEEN of STATUS a count.
//! Limits: one pass over the rows, and only when an item needs it.
//! Not here: the wire (`session::imap`).

use crate::model::{Flags, MailboxId, ModSeq, SeqNum, UidValidity};
use crate::proto::imap::types::StatusItem;
use crate::store::MailboxState;

/// What SELECT and EXAMINE announce besides the flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectSummary {
    pub exists: usize,
    pub first_unseen: Option<SeqNum>,
    pub uid_validity: UidValidity,
    pub uid_next: u32,
    pub highest_mod_seq: ModSeq,
    pub mailbox: MailboxId,
}

/// Summarises a mailbox for SELECT.
#[must_use]
pub fn select_summary(state: &MailboxState) -> SelectSummary {
    let is_unseen = |flags: Flags| !flags.contains(Flags::SEEN);
    SelectSummary {
        exists: state.rows.len(),
        first_unseen: state
            .rows
            .iter()
            .position(|row| is_unseen(row.flags))
            .map(SeqNum::from_index),
        uid_validity: state.uid_validity,
        uid_next: state.uid_next,
        highest_mod_seq: shown_mod_seq(state.highest_mod_seq),
        mailbox: state.id,
    }
}

/// The value of each item, in the order asked. `append_limit`: octets of the longest message that APPEND takes.
pub fn status<'a>(
    state: &'a MailboxState,
    items: &'a [StatusItem],
    append_limit: u64,
) -> impl Iterator<Item = (StatusItem, u64)> + 'a {
    let counts = if needs_counts(items) {
        Counts::of(state)
    } else {
        Counts::default()
    };
    items.iter().map(move |item| {
        let value = match item {
            StatusItem::Messages => state.rows.len() as u64,
            StatusItem::Recent => recent(state),
            StatusItem::UidNext => u64::from(state.uid_next),
            StatusItem::UidValidity => u64::from(state.uid_validity.0),
            StatusItem::Unseen => counts.unseen,
            StatusItem::Deleted => counts.deleted,
            StatusItem::Size => counts.size,
            StatusItem::HighestModSeq => shown_mod_seq(state.highest_mod_seq).0,
            StatusItem::DeletedStorage => counts.deleted_size,
            StatusItem::AppendLimit => append_limit,
            StatusItem::MailboxId => u64::from(state.id.0),
        };
        (*item, value)
    })
}

/// Messages that no session has had for `\Recent` yet.
fn recent(state: &MailboxState) -> u64 {
    let from = state.recent_from.get();
    let old = state.rows.partition_point(|row| row.uid.value() < from);
    (state.rows.len() - old) as u64
}

/// HIGHESTMODSEQ is at least 1 on the wire (RFC 7162 §3.1.2.1), also of a mailbox that nothing has happened to.
#[must_use]
pub fn shown_mod_seq(mod_seq: ModSeq) -> ModSeq {
    mod_seq.max(ModSeq(1))
}

#[derive(Default)]
struct Counts {
    unseen: u64,
    deleted: u64,
    deleted_size: u64,
    size: u64,
}

impl Counts {
    fn of(state: &MailboxState) -> Self {
        let mut counts = Self::default();
        for row in &state.rows {
            counts.unseen += u64::from(!row.flags.contains(Flags::SEEN));
            counts.deleted += u64::from(row.flags.contains(Flags::DELETED));
            if row.flags.contains(Flags::DELETED) {
                counts.deleted_size += u64::from(row.size);
            }
            counts.size += u64::from(row.size);
        }
        counts
    }
}

fn needs_counts(items: &[StatusItem]) -> bool {
    items.iter().any(|item| {
        matches!(
            item,
            StatusItem::Unseen | StatusItem::Deleted | StatusItem::DeletedStorage | StatusItem::Size
        )
    })
}
