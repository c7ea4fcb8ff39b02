//! An account put into a store as it was elsewhere: UIDs, UIDVALIDITYs, UIDNEXTs, MODSEQs, dates and flags kept.
//!
//! Ordinary changes choose these numbers; here the records that say them are written as they are. They pass by the
//! pending view, so nobody else may change the account meanwhile: this is for tools that hold the only handle.
//! Invariants: an account is restored only where there is none, or where the same restore was begun and not finished; no number of a mailbox (UIDNEXT, HIGHESTMODSEQ) and none
//! of the account (the next UIDVALIDITY, the next mailbox) ends up behind what it was; recipients that shared a body
//! share it again.
//! Not kept: email ids (they are places in the log), and therefore EMAILID.
//! A UID that does not ascend, one without a next one behind it, or a MODSEQ that RFC 7162 has no room for is refused
//! before a record says it: the log would be read with it, and refused, at every start.
//! Failure: what was begun by [`Restorer::begin_repeatable`] is marked in the account ([`UNFINISHED`]) until its end, by when it
//! began, what mailboxes it is to have, and how many of the records that make them are written. Batches are whole or not there,
//! and messages come ascending by UID, so all below a mailbox's UIDNEXT are in: whoever begins again goes on from there.
//! Limits: one batch of messages in memory ([`BATCH_BYTES`], [`BATCH_MESSAGES_MAX`]); beside it, until the tool ends, where each
//! body lies that others may share: some hundred octets a body.

use super::codec::UidSet;
use super::frame::RECORD_HEADER_BYTES;
use super::handle::Store;
use super::image::{AccountImage, MOD_SEQ_MAX, MessageImage, UID_MAX};
use super::pins::Pin;
use super::plan::{Chunks, Plan, Planner};
use super::record::{MessageRecord, Record, Transferred};
use super::state::AccountState;
use super::{Body, BodyWriter, Environment, MessageRow, StoreError};
use crate::base::clock::UnixMillis;
use crate::base::crc32c;
use crate::model::{AccountId, MailboxId, ModSeq, Uid};
use bytes::Bytes;
use std::collections::HashMap;

/// Bytes of records and bodies that are committed together.
const BATCH_BYTES: usize = 1024 * 1024;
/// Messages that are committed together.
const BATCH_MESSAGES_MAX: usize = 512;
/// Records of an account's making that are committed together.
const BATCH_RECORDS: usize = 64;
/// An entry of the account's metadata that no client can name (RFC 5464 §3.2): there as long as a restore is not finished.
pub(super) const UNFINISHED: &str = "restore/unfinished";

/// Why an account was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is one with this id.
    #[error("account {0} is in the store already")]
    Exists(AccountId),
    /// The image contradicts itself.
    #[error("{0}")]
    Contradiction(String),
    /// The store's reasons.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A restore that was begun and is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// When.
    pub at: UnixMillis,
    /// Of the records that make the account.
    crc: u32,
    /// So many of them are written.
    done: usize,
}

impl Begun {
    fn new(at: UnixMillis, records: &[Record]) -> Self {
        Self {
            at,
            crc: checksum(records),
            done: 0,
        }
    }

    fn value(&self) -> Bytes {
        format!("{} {:08x} {}", self.at.0, self.crc, self.done).into()
    }

    fn of(value: &[u8]) -> Option<Self> {
        let mut fields = std::str::from_utf8(value).ok()?.split(' ');
        Some(Self {
            at: UnixMillis(fields.next()?.parse().ok()?),
            crc: u32::from_str_radix(fields.next()?, 16).ok()?,
            done: fields.next()?.parse().ok()?,
        })
    }
}

/// What an unfinished restore has of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Nothing.
    No,
    /// It, or what came in its place since.
    There(MessageRow),
    /// It was there, and somebody has expunged it.
    Gone,
}

/// Restores accounts into one store, one after the other.
pub struct Restorer<E: Environment> {
    store: Store<E>,
    /// Where bodies went that others share.
    shared: HashMap<u64, (Chunks, u32)>,
    batch: Vec<Waiting>,
    batch_bytes: usize,
    /// Of the account being restored.
    pin: Option<Pin>,
    /// The last UID of each of its mailboxes.
    last_uids: HashMap<MailboxId, Option<Uid>>,
}

struct Waiting {
    account: AccountId,
    image: MessageImage,
    body: Option<Body>,
}

impl<E: Environment> Restorer<E> {
    /// Into `store`, which nobody else changes meanwhile.
    #[must_use]
    pub fn new(store: Store<E>) -> Self {
        Self {
            store,
            shared: HashMap::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            pin: None,
            last_uids: HashMap::new(),
        }
    }

    /// Makes the account and its mailboxes. Messages come next, of each mailbox ascending by UID; then
    /// [`Self::end_account`].
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn begin_account(&mut self, image: &AccountImage) -> Result<(), RestoreError> {
        image.check()?;
        self.pin = Some(self.store.load(image.id).await?);
        if self.store.account(image.id, |_| ()).is_some() {
            return Err(RestoreError::Exists(image.id));
        }
        self.last_uids = image.mailboxes.iter().map(|mailbox| (mailbox.id, None)).collect();
        for records in image.records().chunks(BATCH_RECORDS) {
            self.write(records.to_vec()).await?;
        }
        Ok(())
    }

    /// Was the restore of this account begun before? `None`: there is no such account.
    ///
    /// # Errors
    /// [`RestoreError::Exists`] when the account is there and no restore of it is unfinished; the store's.
    pub async fn begun(&mut self, id: AccountId) -> Result<Option<Begun>, RestoreError> {
        self.pin = Some(self.store.load(id).await?);
        let marked = |account: &AccountState| {
            let value = account.metadata.get(UNFINISHED);
            value.and_then(|value| Begun::of(value))
        };
        match self.store.account(id, marked) {
            None => Ok(None),
            Some(None) => Err(RestoreError::Exists(id)),
            Some(begun) => Ok(begun),
        }
    }

    /// As [`Self::begin_account`], so that it can be begun again where it ended, if it does not come to its end: `begun` says
    /// that it was, and then `image` must be equal to the first one's; otherwise it begins at `at`.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn begin_repeatable(
        &mut self,
        image: &AccountImage,
        begun: Option<Begun>,
        at: UnixMillis,
    ) -> Result<(), RestoreError> {
        image.check()?;
        let records = image.records();
        let mut begun = begun.unwrap_or_else(|| Begun::new(at, &records));
        if begun.crc != checksum(&records) || begun.done > records.len() {
            let what = "these are not the mailboxes with which this was begun before: repeat it with what there was then";
            return Err(RestoreError::Contradiction(what.to_owned()));
        }
        for batch in records[begun.done..].chunks(BATCH_RECORDS) {
            begun.done += batch.len();
            let mut batch = batch.to_vec();
            // With the first of them the account is made.
            batch.push(Record::Metadata {
                account: image.id,
                mailbox: None,
                mod_seq: None,
                entries: vec![(UNFINISHED.to_owned(), Some(begun.value()))],
            });
            self.write(batch).await?;
        }
        let last_uid = |account: &AccountState, mailbox: MailboxId| {
            let mailbox = account.mailboxes.get(&mailbox)?;
            Uid::new(mailbox.uid_next - 1)
        };
        let last_uids = |account: &AccountState| {
            let ids = image.mailboxes.iter().map(|mailbox| mailbox.id);
            ids.map(|id| (id, last_uid(account, id))).collect()
        };
        self.last_uids = self.store.account(image.id, last_uids).unwrap_or_default();
        Ok(())
    }

    /// Is this message in from before?
    #[must_use]
    pub fn restored(&self, account: AccountId, mailbox: MailboxId, uid: Uid) -> Restored {
        let of_mailbox = |account: &AccountState| {
            let mailbox = account.mailboxes.get(&mailbox)?;
            if uid.value() >= mailbox.uid_next {
                return None;
            }
            Some(
                mailbox
                    .row(uid)
                    .map_or(Restored::Gone, |row| Restored::There(*row)),
            )
        };
        let found = self.store.account(account, of_mailbox);
        found.flatten().unwrap_or(Restored::No)
    }

    /// Is this body in the store already? Then [`Self::message`] needs none.
    #[must_use]
    pub fn has_body(&self, shared_body: u64) -> bool {
        self.shared.contains_key(&shared_body)
            || self
                .batch
                .iter()
                .any(|waiting| waiting.image.shared_body == Some(shared_body) && waiting.body.is_some())
    }

    /// A writer for a body to be given to [`Self::message`].
    #[must_use]
    pub fn body_writer(&self) -> BodyWriter<E> {
        self.store.body_writer()
    }

    /// Adds a message. It may wait for others; durable after [`Self::end_account`].
    ///
    /// # Errors
    /// A number that the log could not be read with, before anything is written; the store's.
    pub async fn message(
        &mut self,
        account: AccountId,
        image: MessageImage,
        body: Option<Body>,
    ) -> Result<(), RestoreError> {
        self.check(&image)?;
        let body = match body {
            Some(body) => Some(self.store.inner().ready_body(body).await?),
            None => None,
        };
        let bytes = body.as_ref().map_or(0, body_bytes) + image.prefix.len() + image.asked.len() + 512;
        let room = BATCH_BYTES.min(self.store.inner().options.batch_bytes_max() / 4);
        if self.batch_bytes + bytes > room || self.batch.len() == BATCH_MESSAGES_MAX {
            self.flush().await?;
        }
        self.batch_bytes += bytes;
        self.batch.push(Waiting { account, image, body });
        Ok(())
    }

    fn check(&mut self, image: &MessageImage) -> Result<(), RestoreError> {
        let MessageImage {
            mailbox,
            uid,
            mod_seq,
            ..
        } = image;
        let refuse = |what: String| Err(RestoreError::Contradiction(what));
        let Some(last) = self.last_uids.get_mut(mailbox) else {
            return refuse(format!("UID {uid}: there is no mailbox {mailbox}"));
        };
        if let Some(last) = last.filter(|last| last >= uid) {
            return refuse(format!(
                "mailbox {mailbox}: UID {uid} comes behind UID {last}; UIDs ascend"
            ));
        }
        if uid.value() > UID_MAX {
            return refuse(format!(
                "mailbox {mailbox}: UID {uid} leaves no UID for the next message"
            ));
        }
        if mod_seq.0 == 0 || mod_seq.0 > MOD_SEQ_MAX {
            return refuse(format!(
                "mailbox {mailbox}: UID {uid} has MODSEQ {}, which is none",
                mod_seq.0
            ));
        }
        *last = Some(*uid);
        Ok(())
    }

    /// Says one thing more about a mailbox.
    ///
    /// # Errors
    /// The store's.
    pub async fn metadata(
        &mut self,
        account: AccountId,
        mailbox: MailboxId,
        name: String,
        value: Bytes,
    ) -> Result<(), RestoreError> {
        self.write(vec![Record::Metadata {
            account,
            mailbox: Some(mailbox),
            mod_seq: None,
            entries: vec![(name, Some(value))],
        }])
        .await
    }

    /// Brings every number of the account up to where it was.
    ///
    /// # Errors
    /// The store's.
    pub async fn end_account(&mut self, image: &AccountImage) -> Result<(), RestoreError> {
        self.flush().await?;
        let records = self
            .store
            .account(image.id, |account| closing_records(image, account));
        for records in records.unwrap_or_default().chunks(64) {
            self.write(records.to_vec()).await?;
        }
        let is_marked = |account: &AccountState| account.metadata.contains_key(UNFINISHED);
        if self.store.account(image.id, is_marked) == Some(true) {
            let entries = vec![(UNFINISHED.to_owned(), None)];
            self.write(vec![Record::Metadata {
                account: image.id,
                mailbox: None,
                mod_seq: None,
                entries,
            }])
            .await?;
        }
        self.pin = None;
        Ok(())
    }

    async fn write(&self, records: Vec<Record>) -> Result<(), RestoreError> {
        let bytes = records.iter().map(encoded_bytes).sum();
        let plan = |_: &mut Planner<'_>, _: &[Chunks], _: &[u64]| {
            Ok(Plan {
                records: records.into(),
                ..Plan::barrier()
            })
        };
        self.store.inner().commit(bytes, &[], plan).await?;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RestoreError> {
        let mut bodies = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        let mut messages = Vec::new();
        for waiting in std::mem::take(&mut self.batch) {
            let key = waiting.image.shared_body;
            let known = key.and_then(|key| places.get(&key).copied());
            let place = match (known, waiting.body) {
                (Some(place), _) => place,
                (None, Some(body)) => put(&mut bodies, body),
                (None, None) => {
                    let shared = key.and_then(|key| self.shared.get(&key));
                    let (chunks, octets) = shared
                        .ok_or_else(|| RestoreError::Contradiction("a message has no body".to_owned()))?;
                    put(
                        &mut bodies,
                        Body::stored(chunks.to_vec()).with_line_end_octets(*octets),
                    )
                }
            };
            if let Some(key) = key {
                places.insert(key, place);
            }
            messages.push((waiting.account, waiting.image, place));
        }
        self.batch_bytes = 0;
        if messages.is_empty() {
            return Ok(());
        }
        let line_ends: Vec<u32> = bodies.iter().map(Body::line_end_octets).collect();
        let of_message = |(_, image, place): &(AccountId, MessageImage, usize)| {
            let keywords: usize = image.keywords.iter().map(|k| k.as_str().len() + 2).sum();
            256 + image.prefix.len() + image.asked.len() + keywords + refs_bytes(&bodies[*place])
        };
        let bytes = messages.iter().map(of_message).sum();
        let mut put_at: Vec<Chunks> = Vec::new();
        let plan = |_: &mut Planner<'_>, chunks: &[Chunks], _: &[u64]| {
            put_at = chunks.to_vec();
            let record = |(account, image, place): (AccountId, MessageImage, usize)| {
                Record::Message(Box::new(record(account, image, &chunks[place], line_ends[place])))
            };
            Ok(Plan {
                records: messages.into_iter().map(record).collect(),
                ..Plan::barrier()
            })
        };
        self.store.inner().commit(bytes, &bodies, plan).await?;
        for (key, place) in places {
            self.shared
                .insert(key, (put_at[place].clone(), bodies[place].line_end_octets()));
        }
        Ok(())
    }
}

fn put(bodies: &mut Vec<Body>, body: Body) -> usize {
    bodies.push(body);
    bodies.len() - 1
}

/// What a body adds to a batch, generously.
fn body_bytes(body: &Body) -> usize {
    let in_memory = body.stored_chunks().is_none();
    let octets = if in_memory {
        usize::try_from(body.len()).unwrap_or(usize::MAX / 16)
    } else {
        0
    };
    // Chunks are at least 256 octets but for the last one; each has a header and a reference.
    octets + octets / 4 + refs_bytes(body) + 64
}

fn refs_bytes(body: &Body) -> usize {
    let by_len = usize::try_from(body.len() / 256 + 1).unwrap_or(usize::MAX / 16);
    12 * body.stored_chunks().map_or(by_len, <[_]>::len)
}

fn record(account: AccountId, image: MessageImage, chunks: &Chunks, line_end_octets: u32) -> MessageRecord {
    let first = chunks.first().expect("a body has a chunk at least").position;
    MessageRecord {
        account,
        mailbox: image.mailbox,
        uid: image.uid,
        mod_seq: image.mod_seq,
        email_id: u64::from(first.segment.0) << 32 | u64::from(first.offset),
        flags: image.flags,
        keywords: image.keywords,
        internal_date: image.internal_date,
        save_date: image.save_date,
        line_end_octets,
        prefix: image.prefix,
        chunks: chunks.clone(),
        key: None,
        asked: image.asked,
    }
}

fn checksum(records: &[Record]) -> u32 {
    let mut payloads = Vec::new();
    for record in records {
        payloads.push(record.kind());
        record.encode(&mut payloads);
    }
    crc32c(&payloads)
}

fn encoded_bytes(record: &Record) -> usize {
    let mut payload = Vec::new();
    record.encode(&mut payload);
    RECORD_HEADER_BYTES + payload.len()
}

/// Brings UIDNEXT, HIGHESTMODSEQ of mailboxes and of the account up to the image's.
fn closing_records(image: &AccountImage, account: &AccountState) -> Vec<Record> {
    let id = image.id;
    let mut records = Vec::new();
    for wanted in &image.mailboxes {
        let Some(mailbox) = account.mailboxes.get(&wanted.id) else {
            continue;
        };
        // A copy of a UID that is not there burns a UID of the target.
        if mailbox.uid_next < wanted.uid_next
            && let Some(last) = Uid::new(wanted.uid_next - 1)
        {
            records.push(Record::Transfer {
                account: id,
                from: wanted.id,
                to: wanted.id,
                mod_seq: image.highest_mod_seq,
                moves: false,
                first_uid: last,
                uids: UidSet::new(vec![last]),
                when: Transferred::Undated,
            });
        }
        if mailbox.highest_mod_seq < wanted.highest_mod_seq {
            records.push(raised(id, Some(wanted.id), wanted.highest_mod_seq));
        }
    }
    if account.highest_mod_seq < image.highest_mod_seq {
        records.push(raised(id, None, image.highest_mod_seq));
    }
    records
}

/// Metadata without an entry: nothing changes but the number.
fn raised(account: AccountId, mailbox: Option<MailboxId>, mod_seq: ModSeq) -> Record {
    Record::Metadata {
        account,
        mailbox,
        mod_seq: Some(mod_seq),
        entries: Vec::new(),
    }
}
