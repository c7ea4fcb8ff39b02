//! The snapshot of a mailbox that a session numbers its messages by (RFC 1939 §3).

use crate::model::{Uid, UidValidity};
use std::collections::HashMap;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaildropEntry {
    /// Names the message for ever, together with the maildrop's UIDVALIDITY.
    pub uid: Uid,
    /// Octets as POP3 sends them: every line end as CRLF, dots not stuffed (see `octets_as_sent`).
    pub size: u32,
}

/// How long messages are kept, whether they were fetched or not (EXPIRE, RFC 2449 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// `EXPIRE NEVER`
    #[default]
    Forever,
    /// So many days from their arrival.
    Days(u32),
}

/// What a session sees of its mailbox, from login to QUIT.
#[derive(Clone, Debug)]
pub struct Maildrop {
    uid_validity: UidValidity,
    entries: Vec<MaildropEntry>,
    /// By UID, of messages that were known by another name before they came here.
    uidls: HashMap<Uid, Box<str>>,
    retention: Retention,
    /// One bit a message.
    deleted: Vec<u64>,
    /// Of all messages, deleted ones too.
    all_octets: u64,
    /// Kept beside the bits, because a peer may ask STAT as often as it likes.
    deleted_messages: u32,
    deleted_octets: u64,
}

impl Maildrop {
    /// A snapshot without deletion marks. Message `n` is `entries[n - 1]`.
    #[must_use]
    pub fn new(uid_validity: UidValidity, entries: Vec<MaildropEntry>) -> Self {
        let deleted = vec![0; entries.len().div_ceil(64)];
        let all_octets = entries.iter().map(|entry| u64::from(entry.size)).sum();
        Self {
            uid_validity,
            entries,
            uidls: HashMap::new(),
            retention: Retention::default(),
            deleted,
            all_octets,
            deleted_messages: 0,
            deleted_octets: 0,
        }
    }

    /// The same, whose messages are kept so long.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The same, some of whose messages have UIDLs of another form than here. No UIDL is another's.
    #[must_use]
    pub fn with_uidls(mut self, uidls: HashMap<Uid, Box<str>>) -> Self {
        self.uidls = uidls;
        self
    }

    /// The UIDL of a message that had one before it came here.
    #[must_use]
    pub fn uidl(&self, uid: Uid) -> Option<&str> {
        self.uidls.get(&uid).map(|uidl| &**uidl)
    }

    /// How long its messages are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }

    /// The mailbox's UIDVALIDITY: a UIDL is `UIDVALIDITY.UID`, unique and stable for ever.
    #[must_use]
    pub fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    /// Every message, deleted ones too.
    #[must_use]
    pub fn entries(&self) -> &[MaildropEntry] {
        &self.entries
    }

    /// Whether the message at `index` (0-based) is marked as deleted.
    #[must_use]
    pub fn is_deleted(&self, index: u32) -> bool {
        let word = self.deleted.get(index as usize / 64).copied().unwrap_or(0);
        word >> (index % 64) & 1 == 1
    }

    /// The entry at `index` unless it is deleted or there is none.
    pub(super) fn present(&self, index: u32) -> Option<MaildropEntry> {
        let entry = self.entries.get(index as usize).copied()?;
        (!self.is_deleted(index)).then_some(entry)
    }

    /// Messages that are there, each with its index, from `first` on.
    pub(super) fn present_from(&self, first: u32) -> impl Iterator<Item = (u32, MaildropEntry)> + '_ {
        let entries = (first..).zip(self.entries.iter().copied().skip(first as usize));
        entries.filter(|(index, _)| !self.is_deleted(*index))
    }

    /// Number and octets of the messages that are there.
    pub(super) fn totals(&self) -> (u64, u64) {
        let messages = self.entries.len() as u64 - u64::from(self.deleted_messages);
        (messages, self.all_octets - self.deleted_octets)
    }

    /// Marks the message at `index`; false if it is not there.
    pub(super) fn delete(&mut self, index: u32) -> bool {
        let Some(entry) = self.present(index) else {
            return false;
        };
        self.deleted[index as usize / 64] |= 1 << (index % 64);
        self.deleted_messages += 1;
        self.deleted_octets += u64::from(entry.size);
        true
    }

    /// Takes all marks off.
    pub(super) fn undelete_all(&mut self) {
        self.deleted.fill(0);
        self.deleted_messages = 0;
        self.deleted_octets = 0;
    }

    /// Indices of marked messages, ascending.
    pub(super) fn deleted(&self) -> Vec<u32> {
        let indices = (0..).zip(&self.entries).map(|(index, _)| index);
        indices.filter(|index| self.is_deleted(*index)).collect()
    }
}
