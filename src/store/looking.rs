//! Looks at what is durable in one core's store: accounts, changes of them, messages.
//!
//! Invariants: nothing of the pending view is seen; a message is opened with its segments pinned, so none of them is
//! freed before the last octet was read; a row out of date leads to where compaction has put its message.
//! Not here: loading accounts (`paging`), reads of the log (`reader`).

use super::handle::{Inner, Store};
use super::quota::QuotaCrossing;
use super::state::{AccountState, MessageRow};
use super::types::Owner;
use super::{Environment, StoreError, StoredMessage};
use crate::base::wait::Waiter;
use crate::disk::DiskError;
use crate::model::{AccountId, LogPosition, SegmentId};
use bytes::Bytes;
use smallvec::smallvec;
use std::ops::Range;

/// What was found where a row says that its message lies.
enum Found {
    Message(StoredMessage),
    /// This segment, in which it or its body lies, is freed, or not there for another reason.
    Gone(SegmentId),
}

impl<E: Environment> Inner<E> {
    async fn open_pinned(&self, account: AccountId, row: &MessageRow) -> Result<Found, StoreError> {
        let is_leaving = |segment: SegmentId| self.compaction.leaving.borrow().contains(&segment);
        let own = row.record.segment;
        // Pinned first: whoever removes segments says so before looking for pins.
        let mut pins = smallvec![self.compaction.reads.pin(own)];
        if is_leaving(own) {
            return Ok(Found::Gone(own));
        }
        let mut message = match self.reader.open_message(account, row).await {
            Err(StoreError::Disk(DiskError::NotFound { .. })) => return Ok(Found::Gone(own)),
            opened => opened?,
        };
        let mut last = own;
        for chunk in &message.chunks {
            let segment = chunk.position.segment;
            if segment == last || segment == own {
                continue;
            }
            last = segment;
            pins.push(self.compaction.reads.pin(segment));
            if is_leaving(segment) || !self.reader.is_there(segment).await? {
                return Ok(Found::Gone(segment));
            }
        }
        message.pins = pins;
        Ok(Found::Message(message))
    }

    /// Why a message is not where its row says, and nowhere else: it was expunged, or a segment is lost. That one has a place
    /// of its own, so that all it has taken with it is told once.
    fn why_gone(&self, owner: Owner, segment: SegmentId) -> StoreError {
        if self.mailbox_of(owner).is_none() {
            return StoreError::Cannot("the message is not kept any more");
        }
        StoreError::Damaged {
            position: LogPosition { segment, offset: 0 },
            what: "the segment is missing".to_owned(),
        }
    }

    /// An account may be named more than once.
    pub fn notify_watchers(&self, accounts: impl Iterator<Item = AccountId>) {
        let mut watchers = self.watchers.borrow_mut();
        for account in accounts {
            if let Some(watcher) = watchers.get(&account) {
                watcher.notify_all();
                if !watcher.is_shared() {
                    watchers.remove(&account);
                }
            }
        }
    }
}

impl<E: Environment> Store<E> {
    /// Looks at the durable state, for holders of a pin ([`Self::load`]); `f` must not wait. `None`: the account was
    /// never touched.
    pub fn account<R>(&self, account: AccountId, f: impl FnOnce(&AccountState) -> R) -> Option<R> {
        let state = self.inner().state.borrow();
        debug_assert!(
            !state.cold.contains_key(&account),
            "who looks at an account has loaded it"
        );
        state.accounts.get(&account).map(f)
    }

    /// The marks that accounts have crossed since the last time; waits until there are some.
    pub async fn quota_crossings(&self) -> Vec<QuotaCrossing> {
        self.inner().crossings.next().await
    }

    /// Signalled after every durable change of the account.
    #[must_use]
    pub fn watch(&self, account: AccountId) -> Waiter {
        self.inner()
            .watchers
            .borrow_mut()
            .entry(account)
            .or_default()
            .waiter()
    }

    /// Whether the record of this row's message needs no read.
    #[must_use]
    pub fn is_at_hand(&self, row: &MessageRow) -> bool {
        self.inner().reader.is_in_memory(row.record)
    }

    /// Whether the record of this row's message and, of a short one, its body most likely need no read.
    #[must_use]
    pub fn is_ahead(&self, row: &MessageRow) -> bool {
        self.inner().reader.is_ahead(row)
    }

    /// Reads the messages of these rows ahead, with as few reads as will do, for whoever opens them next. At most a few
    /// hundred KiB of messages at a time: what is read ahead stays in memory for a short while only.
    pub async fn read_ahead(&self, rows: impl Iterator<Item = &MessageRow>) {
        self.inner().reader.read_ahead(rows).await;
    }

    /// Reads a message's record. `row` may be out of date: if compaction has moved the message since, it is found where
    /// it is now.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also where the segment is not there; [`StoreError::Disk`]; [`StoreError::Cannot`] when it was
    /// expunged and is not kept any more.
    pub async fn open_message(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<StoredMessage, StoreError> {
        self.inner().meters.messages_opened.add(1);
        let mut row = *row;
        loop {
            let opened = self.inner().open_pinned(account, &row).await;
            let owner = Owner {
                account,
                uid: row.uid,
                record: row.record,
            };
            let segment = match self.inner().note_read(Some(owner), opened)? {
                Found::Message(message) => return Ok(message),
                Found::Gone(segment) => segment,
            };
            let Some(moved) = self.inner().compaction.moved_row(account, &row) else {
                let why = self.inner().why_gone(owner, segment);
                return self.inner().note_read(Some(owner), Err(why));
            };
            row = moved;
        }
    }

    /// Octets of `range` of prefix + body, each piece checked against its CRC before it is returned. Ask for at most
    /// 256 KiB at a time.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Disk`]: then nothing is returned.
    pub async fn read_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
    ) -> Result<Vec<Bytes>, StoreError> {
        let read = self.inner().reader.read_message(message, range).await;
        self.inner().note_read(message.owner, read)
    }

    /// As [`Self::read_message`], appended to `out`; after an error nothing was appended.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub async fn append_message(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.append_message_while(message, range, <[u8]>::len, out).await
    }

    /// As [`Self::append_message`], up to and with the first piece of which `take` does not want all: it is shown each, and
    /// says how many of its first octets are wanted.
    ///
    /// # Errors
    /// As [`Self::read_message`].
    pub async fn append_message_while(
        &self,
        message: &StoredMessage,
        range: Range<u64>,
        take: impl FnMut(&[u8]) -> usize,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let reader = &self.inner().reader;
        let appended = reader.append_message(message, range, take, out).await;
        self.inner().note_read(message.owner, appended)
    }
}
