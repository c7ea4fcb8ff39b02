//! Expunged messages brought back from their graves, under new UIDs.
//!
//! Invariants: a grave is opened once; the message is what it was (octets, dates, keywords, email id), but for its UID,
//! its MODSEQ and \Deleted; its body is not written again. What was in a deleted mailbox goes to [`RESTORED`].
//! Failure: what was committed stays; asked again, the rest follows. Quotas are not asked: an admin decides.
//! Not here: how long graves last (`compaction::mark`), the command (`boot::store`).

use super::handle::Store;
use super::options::BATCH_BYTES_MAX;
use super::plan::{Chunks, Planner};
use super::record::MessageRecord;
use super::state::{AccountState, Grave};
use super::{Change, Environment, MailboxState, MessageRow, StoreError};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, Keyword, MailboxId, MailboxName, Uid};
use smallvec::SmallVec;

/// Where messages of deleted mailboxes go.
pub const RESTORED: &str = "Restored";

/// Messages brought back by one commit.
const AT_ONCE: usize = 128;

/// Which graves to open.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of a mailbox that has, or when it was deleted had, this name; `None`: of all.
    pub mailbox: Option<MailboxName>,
    /// Expunged at or after this; `None`: whenever.
    pub since: Option<UnixMillis>,
}

/// One grave to be opened.
#[derive(Clone, Debug)]
struct Opening {
    from: MailboxId,
    row: MessageRow,
    keywords: SmallVec<[Keyword; 2]>,
    /// `None`: its mailbox is gone.
    target: Option<MailboxId>,
}

/// A message on its way back.
pub struct Opened {
    /// Of the grave.
    pub from: MailboxId,
    /// Of the grave.
    pub uid: Uid,
    /// As it will be, but for the numbers that are taken when it is planned.
    pub message: MessageRecord,
}

impl<E: Environment> Store<E> {
    /// Brings messages back. Gives how many; durable on return.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when one cannot be read: what came before it is back. Those of every commit.
    pub async fn undelete(&self, id: AccountId, wanted: &Wanted) -> Result<u64, StoreError> {
        let _pin = self.load(id).await?;
        let openings = self
            .account(id, |account| openings(account, wanted))
            .unwrap_or_default();
        let mut count = 0;
        for some in openings.chunks(AT_ONCE) {
            count += self.open_graves(id, some).await?;
        }
        Ok(count)
    }

    async fn open_graves(&self, id: AccountId, openings: &[Opening]) -> Result<u64, StoreError> {
        let mut opened = Vec::with_capacity(openings.len());
        let mut bytes = 0;
        for opening in openings {
            let target = match opening.target {
                Some(target) => target,
                None => self.restored_mailbox(id).await?,
            };
            let record = self.inner().reader.message_record(id, &opening.row).await?;
            let message = MessageRecord {
                mailbox: target,
                flags: opening.row.flags.without(Flags::DELETED),
                keywords: opening.keywords.clone(),
                // The record may be that of the message it was copied from (RFC 8514 §4.1: when it came into its mailbox).
                save_date: opening.row.save_date,
                key: None,
                ..record
            };
            bytes += bytes_max(&message);
            opened.push(Opened {
                from: opening.from,
                uid: opening.row.uid,
                message,
            });
            if bytes > self.inner().options.batch_bytes_max().min(BATCH_BYTES_MAX) / 2 {
                self.commit_opened(id, std::mem::take(&mut opened), std::mem::take(&mut bytes))
                    .await?;
            }
        }
        self.commit_opened(id, opened, bytes).await?;
        Ok(openings.len() as u64)
    }

    async fn commit_opened(
        &self,
        id: AccountId,
        opened: Vec<Opened>,
        bytes: usize,
    ) -> Result<(), StoreError> {
        if opened.is_empty() {
            return Ok(());
        }
        let plan = |planner: &mut Planner<'_>, _: &[Chunks], _: &[u64]| planner.undelete(id, opened);
        self.inner().commit(bytes, &[], plan).await.map(|_| ())
    }

    async fn restored_mailbox(&self, id: AccountId) -> Result<MailboxId, StoreError> {
        let name = MailboxName::new(RESTORED).expect("it is a valid name");
        let known = self.account(id, |account| account.names.get(&name).copied());
        if let Some(mailbox) = known.flatten() {
            return Ok(mailbox);
        }
        let create = Change::CreateMailbox {
            name: name.clone(),
            special_use: None,
        };
        self.change(id, create).await?;
        let made = self.account(id, |account| account.names.get(&name).copied());
        made.flatten().ok_or(StoreError::NoSuchMailbox)
    }
}

fn bytes_max(message: &MessageRecord) -> usize {
    let keywords: usize = message.keywords.iter().map(|k| k.as_str().len() + 2).sum();
    320 + message.prefix.len() + message.asked.len() + keywords + 12 * message.chunks.len()
}

fn openings(account: &AccountState, wanted: &Wanted) -> Vec<Opening> {
    let is_wanted = |grave: &&Grave| {
        let is_late = wanted.since.is_none_or(|since| grave.at >= since);
        !grave.has_moved && is_late
    };
    let has_name = |name: &MailboxName| {
        let wanted = wanted.mailbox.as_ref();
        wanted.is_none_or(|wanted| wanted.normalized() == name.normalized())
    };
    let mut all = Vec::new();
    let mailboxes = account.names.iter().filter(|(name, _)| has_name(name));
    for (_, id) in mailboxes {
        let mailbox: &MailboxState = &account.mailboxes[id];
        let graves = mailbox.graves.iter().filter(is_wanted);
        all.extend(graves.map(|grave| Opening {
            from: *id,
            row: grave.row,
            keywords: mailbox.keywords_of(grave.row.keywords).cloned().collect(),
            target: Some(*id),
        }));
    }
    for mailbox in account.buried.iter().filter(|mailbox| has_name(&mailbox.name)) {
        let graves = mailbox.graves.iter().filter(is_wanted);
        all.extend(graves.map(|grave| {
            let names = mailbox.keywords.iter().enumerate();
            let own = names.filter(|(index, _)| grave.row.keywords >> index & 1 == 1);
            Opening {
                from: mailbox.id,
                row: grave.row,
                keywords: own.map(|(_, name)| name.clone()).collect(),
                target: None,
            }
        }));
    }
    all
}
