//! One stored message, read as far as is asked for.
//!
//! Owns: how much of a message is in memory. A short message is read whole at once; of a longer one the header is read
//! when a header is asked for, all of it only when its MIME structure must be scanned, and a body streams through in
//! pieces.
//! Invariants: every octet handed out was checked against its CRC by the store; nothing is read twice while it is kept.
//! Limits: [`WHOLE_BYTES_MAX`] a core for messages held whole; [`READ_BYTES_MAX`] a read, [`ahead`] of reading ahead, [`HEADER_BYTES_MAX`] of a header, [`PARSE_BYTES_MAX`] of a message to be scanned.
//! Failure: the store's ([`StoreError`]); a message too long to be scanned is [`ReadError::TooLong`], its octets stream.
//! Not here: what a section is (`proto::message`), which message is meant (`view`).

use super::budget::{Budget, Pace, Spent};
use crate::model::AccountId;
use crate::proto::message::structure::{self, Scan, Structure};
use crate::store::{Environment, MessageRow, Store, StoreError, StoredMessage};
use bytes::Bytes;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

/// Most octets asked of the store at a time (its own contract), and so the memory of a streaming body.
pub const READ_BYTES_MAX: u64 = 256 * 1024;

/// First read of a message: one chunk of the store. Most mail is shorter and is then in memory whole.
pub const FIRST_READ_BYTES: u64 = 64 * 1024;

/// Of a longer header only this much is digested or filtered; `BODY[HEADER]` streams all of it.
pub const HEADER_BYTES_MAX: u64 = 1024 * 1024;

/// Longest message whose MIME structure is scanned; above the largest message accepted by default (50 MiB).
pub const PARSE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Octets of messages held whole on one core, all sessions together; those up to [`READ_BYTES_MAX`] are not counted. Four
/// of the longest, or some hundred of the size of a photograph.
pub const WHOLE_BYTES_MAX: u64 = 4 * PARSE_BYTES_MAX;

/// Messages read ahead together, so that many small ones come with few reads.
pub const AHEAD_MESSAGES: usize = 128;

/// Octets of all messages read ahead together, except that one always is. While they are used the next ones are read, and
/// the store keeps what is read ahead for all sessions of a core (8 MiB).
const AHEAD_BYTES: u64 = 512 * 1024;

/// How many of the next messages, of these sizes, are read ahead together.
pub fn ahead(sizes: impl Iterator<Item = u32>) -> usize {
    let mut bytes = 0;
    let fits = sizes.take(AHEAD_MESSAGES).take_while(|size| {
        bytes += u64::from(*size);
        bytes <= AHEAD_BYTES
    });
    fits.count().max(1)
}

thread_local! {
    /// What is held of [`WHOLE_BYTES_MAX`]: one executor is one thread.
    static WHOLE_BYTES: Cell<u64> = const { Cell::new(0) };
}

/// A share of [`WHOLE_BYTES_MAX`].
#[derive(Debug, Default)]
struct Share(u64);

impl Share {
    /// Grows to `bytes`.
    fn grow(&mut self, bytes: u64) -> Result<(), ReadError> {
        if bytes <= READ_BYTES_MAX.max(self.0) {
            return Ok(());
        }
        let held = WHOLE_BYTES.get() - self.0 + bytes;
        if held > WHOLE_BYTES_MAX {
            return Err(ReadError::Busy);
        }
        WHOLE_BYTES.set(held);
        self.0 = bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        WHOLE_BYTES.set(WHOLE_BYTES.get() - self.0);
    }
}

/// Why octets cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Beyond [`PARSE_BYTES_MAX`].
    #[error("the message is too long to be taken apart")]
    TooLong,
    /// Beyond [`WHOLE_BYTES_MAX`] with the others of this core: try again.
    #[error("too many long messages are taken apart at once")]
    Busy,
}

/// An opened message and what has been read of it.
pub struct MessageReader<E: Environment> {
    store: Store<E>,
    stored: StoredMessage,
    /// The message from its start on.
    start: Vec<u8>,
    share: Share,
    header_bytes: Option<u64>,
    structure: Option<Rc<Structure>>,
}

impl<E: Environment> MessageReader<E> {
    /// Opens a message: one read of its record.
    ///
    /// # Errors
    /// The store's.
    pub async fn open(store: &Store<E>, account: AccountId, row: &MessageRow) -> Result<Self, StoreError> {
        let stored = store.open_message(account, row).await?;
        Ok(Self {
            store: store.clone(),
            stored,
            start: Vec::new(),
            share: Share::default(),
            header_bytes: None,
            structure: None,
        })
    }

    /// Octets of the message.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.stored.size
    }

    /// Unique for the message's content (RFC 8474 EMAILID).
    #[must_use]
    pub fn email_id(&self) -> u64 {
        self.stored.email_id
    }

    /// The header with its empty line, at most [`HEADER_BYTES_MAX`] of it.
    ///
    /// # Errors
    /// The store's.
    pub async fn header(&mut self) -> Result<&[u8], StoreError> {
        let end = self.header_bytes().await?.min(HEADER_BYTES_MAX);
        self.fill(end).await?;
        Ok(&self.start[..index(end)])
    }

    /// Octets of the header with its empty line, however long it is.
    ///
    /// # Errors
    /// The store's.
    pub async fn header_bytes(&mut self) -> Result<u64, StoreError> {
        if let Some(known) = self.header_bytes {
            return Ok(known);
        }
        let found = self.find_header_end().await?;
        self.header_bytes = Some(found);
        Ok(found)
    }

    /// The whole message in memory.
    ///
    /// # Errors
    /// The store's, [`ReadError::TooLong`] or [`ReadError::Busy`].
    pub async fn whole(&mut self) -> Result<&[u8], ReadError> {
        if self.size() > PARSE_BYTES_MAX {
            return Err(ReadError::TooLong);
        }
        self.share.grow(self.size())?;
        self.fill(self.size()).await?;
        Ok(&self.start)
    }

    /// Forgets the octets of a long message, so that nobody holds one while he waits for a peer that does not read.
    pub fn forget_whole(&mut self) {
        if self.start.len() as u64 > HEADER_BYTES_MAX {
            self.start = Vec::new();
            self.share = Share::default();
        }
    }

    /// The message's MIME structure; scanned once.
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub async fn structure(&mut self) -> Result<Rc<Structure>, ReadError> {
        if let Some(known) = &self.structure {
            return Ok(known.clone());
        }
        let scanned = Rc::new(structure::parse(self.whole().await?));
        self.structure = Some(scanned.clone());
        Ok(scanned)
    }

    /// The same within a budget: a long message is scanned in slices, and others get their turns.
    ///
    /// # Errors
    /// [`Spent`]; as [`Self::whole`].
    pub async fn structure_within<P: Pace>(
        &mut self,
        budget: &mut Budget<'_, P>,
    ) -> Result<Result<Rc<Structure>, ReadError>, Spent> {
        if let Some(known) = &self.structure {
            return Ok(Ok(known.clone()));
        }
        let message = match self.whole().await {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        let mut scan = Scan::new(message);
        while budget.timed(|| scan.step()) {
            budget.breathe_if_due().await?;
        }
        let scanned = Rc::new(scan.into_structure());
        self.structure = Some(scanned.clone());
        Ok(Ok(scanned))
    }

    /// The structure, if it was scanned.
    #[must_use]
    pub fn known_structure(&self) -> Option<Rc<Structure>> {
        self.structure.clone()
    }

    /// Uses a structure scanned before from the same message.
    pub fn adopt_structure(&mut self, structure: Rc<Structure>) {
        self.structure = Some(structure);
    }

    /// Reads a short message whole, so that none of its sections needs another read; nothing of a long one.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(&mut self) -> Result<(), StoreError> {
        if self.size() <= FIRST_READ_BYTES {
            self.fill(self.size()).await?;
        }
        Ok(())
    }

    /// Octets of `range` if they are in memory.
    #[must_use]
    pub fn kept(&self, range: Range<u64>) -> Option<&[u8]> {
        let is_kept = range.end <= self.start.len() as u64;
        is_kept.then(|| &self.start[index(range.start)..index(range.end)])
    }

    /// Octets of `range`, which is not longer than [`READ_BYTES_MAX`], from the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<Bytes>, StoreError> {
        self.store.read_message(&self.stored, range).await
    }

    /// Reads on until the first `end` octets are in memory.
    async fn fill(&mut self, end: u64) -> Result<(), StoreError> {
        let end = end.min(self.size());
        while (self.start.len() as u64) < end {
            let from = self.start.len() as u64;
            let least = if from == 0 {
                FIRST_READ_BYTES
            } else {
                READ_BYTES_MAX
            };
            let to = end.min(from + READ_BYTES_MAX).max(from + least).min(self.size());
            // All at once: growing bit by bit would copy a long message again and again, and its last copy takes milliseconds.
            self.start.reserve_exact(index(end.max(to) - from));
            self.store
                .append_message(&self.stored, from..to, &mut self.start)
                .await?;
        }
        Ok(())
    }

    /// Reads the header alone, if nothing of the message was read and its header ends among the octets of one read. Most
    /// headers are a small part of that: lists are made of thousands of them.
    async fn read_header(&mut self) -> Result<Option<u64>, StoreError> {
        if !self.start.is_empty() {
            return Ok(None);
        }
        let mut scan = HeaderScan::default();
        let mut has_ended = false;
        let take = |piece: &[u8]| {
            let end = scan.feed(piece);
            has_ended = end.is_some();
            // No piece is longer than a read.
            end.map_or(piece.len(), index)
        };
        let first = 0..self.size().min(FIRST_READ_BYTES);
        let (store, start) = (&self.store, &mut self.start);
        store
            .append_message_while(&self.stored, first, take, start)
            .await?;
        Ok(has_ended.then_some(self.start.len() as u64))
    }

    /// Scans line by line; beyond [`HEADER_BYTES_MAX`] without keeping what it reads.
    async fn find_header_end(&mut self) -> Result<u64, StoreError> {
        if let Some(end) = self.read_header().await? {
            return Ok(end);
        }
        let mut scan = HeaderScan::default();
        let mut at = 0;
        while at < self.size() {
            if at < HEADER_BYTES_MAX {
                self.fill(at + 1).await?;
                let known = &self.start[index(at)..];
                if let Some(end) = scan.feed(known) {
                    return Ok(at + end);
                }
                at = self.start.len() as u64;
                continue;
            }
            let to = self.size().min(at + READ_BYTES_MAX);
            for piece in self.store.read_message(&self.stored, at..to).await? {
                if let Some(end) = scan.feed(&piece) {
                    return Ok(at + end);
                }
                at += piece.len() as u64;
            }
        }
        Ok(self.size())
    }
}

/// Finds the end of the first empty line in pieces of a message, as `proto::message::header::length` does in one.
#[derive(Debug)]
struct HeaderScan {
    /// Octets of the current line before its end, counted up to 2; CR alone is one that may still be an empty line.
    line: Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    OnlyCr,
    Text,
}

impl Default for HeaderScan {
    fn default() -> Self {
        Self { line: Line::Empty }
    }
}

impl HeaderScan {
    /// Octets of `piece` up to and with the empty line, if it is in there.
    fn feed(&mut self, piece: &[u8]) -> Option<u64> {
        let mut at = 0;
        while at < piece.len() {
            if self.line == Line::Text {
                let end = memchr::memchr(b'\n', &piece[at..])?;
                at += end + 1;
                self.line = Line::Empty;
                continue;
            }
            self.line = match (self.line, piece[at]) {
                (_, b'\n') => return Some(at as u64 + 1),
                (Line::Empty, b'\r') => Line::OnlyCr,
                _ => Line::Text,
            };
            at += 1;
        }
        None
    }
}

/// Positions up to [`PARSE_BYTES_MAX`] fit a `usize`.
fn index(position: u64) -> usize {
    usize::try_from(position).expect("kept octets are in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::header;
    use proptest::prelude::*;

    #[test]
    fn what_is_held_on_a_core_is_bounded_and_given_back() {
        let mut shares: Vec<Share> = (0..5).map(|_| Share::default()).collect();
        for share in &mut shares[..4] {
            share.grow(PARSE_BYTES_MAX).expect("there is room for four");
            share.grow(PARSE_BYTES_MAX).expect("it has it already");
        }
        assert_eq!(shares[4].grow(READ_BYTES_MAX + 1), Err(ReadError::Busy));
        assert_eq!(shares[4].grow(READ_BYTES_MAX), Ok(()));
        shares.remove(0);
        assert_eq!(shares[3].grow(PARSE_BYTES_MAX), Ok(()));
        drop(shares);
        assert_eq!(WHOLE_BYTES.get(), 0);
    }

    proptest! {
        #[test]
        fn the_header_ends_where_the_whole_message_says_however_it_is_cut(
            message in "[a\r\n]{0,40}", cut in 0..40_usize,
        ) {
            let message = message.as_bytes();
            let (first, second) = message.split_at(cut.min(message.len()));
            let mut scan = HeaderScan::default();
            let found = scan
                .feed(first)
                .or_else(|| scan.feed(second).map(|end| end + first.len() as u64))
                .unwrap_or(message.len() as u64);
            prop_assert_eq!(found, header::length(message) as u64);
        }
    }
}
