//! An account put into a store as it was elsewhere: UIDs, UIDVALIDITYs, UIDNEXTs, MODSEQs, dates and flags kept.
//!
//! Ordinary changes choose these numbers; here the records that say them are written as they are. They pass by the
//! pending view, so nobody else may change the account meanwhile: this is for tools that hold the only handle.
//! Invariants: an account is restored only where there is none; no number of a mailbox (UIDNEXT, HIGHESTMODSEQ) and none
//! of the account (the next UIDVALIDITY, the next mailbox) ends up behind what it was; recipients that shared a body
//! share it again.
//! Not kept: email ids (they are places in the log), and therefore EMAILID.
//! A UID that does not ascend, one without a next one behind it, or a MODSEQ that RFC 7162 has no room for is refused
//! before a record says it: the log would be read with it, and refused, at every start.
//! Limits: one batch of messages in memory ([`BATCH_BYTES`], [`BATCH_MESSAGES_MAX`]); beside it, until the tool ends, where each
//! body lies that others may share: some hundred octets a body.

use super::codec::UidSet;
use super::frame::RECORD_HEADER_BYTES;
use super::handle::Store;
use super::pins::Pin;
use super::plan::{Chunks, Plan, Planner};
use super::record::{MessageRecord, Record, Transferred};
use super::state::{AccountState, INBOX_ID, Metadata};
use super::{Body, BodyWriter, Environment, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, MailboxId, MailboxName, ModSeq, SpecialUse, Uid, UidValidity};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::{BTreeSet, HashMap};

/// Bytes of records and bodies that are committed together.
const BATCH_BYTES: usize = 1024 * 1024;
/// Messages that are committed together.
const BATCH_MESSAGES_MAX: usize = 512;
/// UIDNEXT is a number of 32 bits, too.
pub const UID_MAX: u32 = u32::MAX - 1;
/// RFC 7162 §7 (`mod-sequence-value`: 63 bits), with room for as many changes again.
const MOD_SEQ_MAX: u64 = i64::MAX as u64 / 2;
/// UIDVALIDITYs and numbers of mailboxes are of 32 bits and rise; so many are left for what comes.
const NUMBER_MAX: u32 = u32::MAX - 1_000_000;

/// Everything about an account but its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountImage {
    pub id: AccountId,
    pub mailboxes: Vec<MailboxImage>,
    pub subscriptions: BTreeSet<MailboxName>,
    pub highest_mod_seq: ModSeq,
    /// The account's own.
    pub metadata: Metadata,
    /// The id that the next new mailbox gets, at least.
    pub next_mailbox: u32,
    /// The UIDVALIDITY that the next new mailbox gets, at least.
    pub next_uid_validity: u32,
}

/// Everything about a mailbox but its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxImage {
    pub id: MailboxId,
    pub name: MailboxName,
    pub uid_validity: UidValidity,
    pub uid_next: u32,
    pub special_use: Option<SpecialUse>,
    pub highest_mod_seq: ModSeq,
    pub metadata: Metadata,
}

/// A message without its body.
#[derive(Clone, Debug)]
pub struct MessageImage {
    pub mailbox: MailboxId,
    pub uid: Uid,
    pub mod_seq: ModSeq,
    pub flags: Flags,
    pub keywords: SmallVec<[Keyword; 2]>,
    pub internal_date: InternalDate,
    pub save_date: UnixMillis,
    pub prefix: Bytes,
    /// What the sender asked for besides delivery; see FORMAT.md.
    pub asked: Bytes,
    /// Messages with the same number have the same body; only the first of them brings it.
    pub shared_body: Option<u64>,
}

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

impl AccountImage {
    /// Of an account as it stands.
    #[must_use]
    pub fn of(account: &AccountState) -> Self {
        let image = |mailbox: &super::MailboxState| MailboxImage {
            id: mailbox.id,
            name: mailbox.name.clone(),
            uid_validity: mailbox.uid_validity,
            uid_next: mailbox.uid_next,
            special_use: mailbox.special_use,
            highest_mod_seq: mailbox.highest_mod_seq,
            metadata: mailbox.metadata.clone(),
        };
        let mut mailboxes: Vec<MailboxImage> = account.mailboxes.values().map(image).collect();
        mailboxes.sort_unstable_by_key(|mailbox| mailbox.id);
        Self {
            id: account.id,
            mailboxes,
            subscriptions: account.subscriptions.keys().cloned().collect(),
            highest_mod_seq: account.highest_mod_seq,
            metadata: account.metadata.clone(),
            next_mailbox: account.next_mailbox,
            next_uid_validity: account.next_uid_validity,
        }
    }

    fn check(&self) -> Result<(), RestoreError> {
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for mailbox in &self.mailboxes {
            if !names.insert(&mailbox.name) || !ids.insert(mailbox.id) || mailbox.id.0 == 0 {
                let what = format!("mailbox {} is there twice", mailbox.name);
                return Err(RestoreError::Contradiction(what));
            }
            if mailbox.id.0 > NUMBER_MAX || mailbox.uid_validity.0 == 0 || mailbox.uid_validity.0 > NUMBER_MAX
            {
                let what = format!(
                    "mailbox {}: number {} or UIDVALIDITY {} leaves no room for those to come (up to {NUMBER_MAX})",
                    mailbox.name, mailbox.id, mailbox.uid_validity.0
                );
                return Err(RestoreError::Contradiction(what));
            }
            if mailbox.name.is_inbox() != (mailbox.id == INBOX_ID) || mailbox.uid_next == 0 {
                let what = format!("mailbox {} cannot be number {}", mailbox.name, mailbox.id);
                return Err(RestoreError::Contradiction(what));
            }
        }
        let highest = self.mailboxes.iter().map(|mailbox| mailbox.highest_mod_seq);
        if let Some(wrong) = highest
            .chain([self.highest_mod_seq])
            .find(|seq| seq.0 > MOD_SEQ_MAX)
        {
            let what = format!("HIGHESTMODSEQ {} leaves no room for those to come", wrong.0);
            return Err(RestoreError::Contradiction(what));
        }
        if !ids.contains(&INBOX_ID) {
            return Err(RestoreError::Contradiction("it has no INBOX".to_owned()));
        }
        Ok(())
    }

    /// The records that make the account, without messages.
    fn records(&self) -> Vec<Record> {
        let account = self.id;
        let inbox = self.mailboxes.iter().find(|mailbox| mailbox.id == INBOX_ID);
        let uid_validity = inbox.map_or(1, |mailbox| mailbox.uid_validity.0);
        let start = AccountState::new(account, uid_validity);
        let mut records = vec![Record::AccountCreated {
            account,
            uid_validity,
        }];
        let of = |id: &MailboxId| self.mailboxes.iter().find(|mailbox| mailbox.id == *id);
        let mut standard: Vec<_> = start.mailboxes.values().collect();
        standard.sort_unstable_by_key(|mailbox| mailbox.id);
        let mut renamed = Vec::new();
        for mailbox in standard {
            let id = mailbox.id;
            // One that was made up, or made when others were standard, is made like any other mailbox.
            let is_it = |image: &&MailboxImage| {
                (image.uid_validity, image.special_use) == (mailbox.uid_validity, mailbox.special_use)
            };
            match of(&id).filter(is_it) {
                Some(image) if image.name == mailbox.name => {}
                // In two steps, so that mailboxes can have changed names among each other.
                Some(image) => renamed.push((id, image.name.clone())),
                None => records.push(Record::MailboxDeleted {
                    account,
                    mailbox: id,
                    at: None,
                }),
            }
        }
        for (mailbox, _) in &renamed {
            let name = temporary_name(*mailbox, &self.mailboxes);
            records.push(Record::MailboxRenamed {
                account,
                mailbox: *mailbox,
                name,
            });
        }
        for (mailbox, name) in renamed {
            records.push(Record::MailboxRenamed {
                account,
                mailbox,
                name,
            });
        }
        let is_kept = |image: &MailboxImage| {
            start.mailboxes.get(&image.id).is_some_and(|mailbox| {
                (image.uid_validity, image.special_use) == (mailbox.uid_validity, mailbox.special_use)
            })
        };
        for image in self.mailboxes.iter().filter(|image| !is_kept(image)) {
            records.push(Record::MailboxCreated {
                account,
                mailbox: image.id,
                uid_validity: image.uid_validity.0,
                special_use: image.special_use,
                name: image.name.clone(),
            });
        }
        records.extend(self.number_records(&start));
        records.extend(self.subscription_records(&start));
        records.extend(self.metadata_records());
        records
    }

    /// A mailbox that comes and goes takes the numbers that were given before, so that no new mailbox gets them again.
    fn number_records(&self, start: &AccountState) -> Vec<Record> {
        let ids = self.mailboxes.iter().map(|mailbox| mailbox.id.0 + 1);
        let validities = self.mailboxes.iter().map(|mailbox| mailbox.uid_validity.0 + 1);
        let next_mailbox = ids.max().unwrap_or(0).max(start.next_mailbox);
        let next_uid_validity = validities.max().unwrap_or(0).max(start.next_uid_validity);
        if next_mailbox >= self.next_mailbox && next_uid_validity >= self.next_uid_validity {
            return Vec::new();
        }
        let mailbox = MailboxId(next_mailbox.max(self.next_mailbox.saturating_sub(1)));
        let name = temporary_name(mailbox, &self.mailboxes);
        let account = self.id;
        vec![
            Record::MailboxCreated {
                account,
                mailbox,
                uid_validity: next_uid_validity.max(self.next_uid_validity.saturating_sub(1)),
                special_use: None,
                name,
            },
            Record::MailboxDeleted {
                account,
                mailbox,
                at: None,
            },
        ]
    }

    fn metadata_records(&self) -> Vec<Record> {
        let of_mailboxes = self.mailboxes.iter().map(|m| (Some(m.id), &m.metadata));
        let all = of_mailboxes.chain([(None, &self.metadata)]);
        let entries = all.flat_map(|(mailbox, metadata)| metadata.iter().map(move |entry| (mailbox, entry)));
        // One each: all of them need not fit a batch.
        entries
            .map(|(mailbox, (name, value))| Record::Metadata {
                account: self.id,
                mailbox,
                mod_seq: None,
                entries: vec![(name.clone(), Some(value.clone()))],
            })
            .collect()
    }

    fn subscription_records(&self, start: &AccountState) -> Vec<Record> {
        let record = |name: &MailboxName, subscribed| Record::Subscription {
            account: self.id,
            name: name.clone(),
            subscribed,
        };
        let had = &start.subscriptions;
        let lost = had.keys().filter(|name| !self.subscriptions.contains(*name));
        let new = self.subscriptions.iter().filter(|name| !had.contains_key(*name));
        lost.map(|name| record(name, false))
            .chain(new.map(|name| record(name, true)))
            .collect()
    }
}

fn temporary_name(mailbox: MailboxId, taken: &[MailboxImage]) -> MailboxName {
    (0..)
        .map(|n| MailboxName::new(&format!("ringpost-restore-{mailbox}-{n}")).expect("it is valid"))
        .find(|name| {
            taken
                .iter()
                .all(|mailbox| mailbox.name != *name && !mailbox.name.is_below(name))
        })
        .expect("there are more names than mailboxes")
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
        for records in image.records().chunks(64) {
            self.write(records.to_vec()).await?;
        }
        Ok(())
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
