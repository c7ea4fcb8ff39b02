//! An account as it is elsewhere, without its messages, and the records that make one like it.
//!
//! Invariants: an image that passes [`AccountImage::check`] makes records that the log can be read with; equal images make equal
//! records, in the same order.
//! Not here: writing them, messages (`restore`).

use super::record::Record;
use super::restore::{RestoreError, UNFINISHED};
use super::state::{AccountState, INBOX_ID, Metadata};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, MailboxId, MailboxName, ModSeq, SpecialUse, Uid, UidValidity};
use crate::proto::imap::types::InternalDate;
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::BTreeSet;

/// UIDNEXT is a number of 32 bits, too.
pub const UID_MAX: u32 = u32::MAX - 1;
/// RFC 7162 §7 (`mod-sequence-value`: 63 bits), with room for as many changes again.
pub(super) const MOD_SEQ_MAX: u64 = i64::MAX as u64 / 2;
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
            metadata: without_mark(&account.metadata),
            next_mailbox: account.next_mailbox,
            next_uid_validity: account.next_uid_validity,
        }
    }

    pub(super) fn check(&self) -> Result<(), RestoreError> {
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
    pub(super) fn records(&self) -> Vec<Record> {
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

/// It is about this store and no other.
fn without_mark(metadata: &Metadata) -> Metadata {
    let mut metadata = metadata.clone();
    metadata.remove(UNFINISHED);
    metadata
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
