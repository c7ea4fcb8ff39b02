//! `ringpost store salvage`: everything undamaged out of a damaged store into a new one.
//!
//! Invariants: the old store is not changed; no message comes over of which one octet is not as it was written; UIDs,
//! UIDVALIDITYs, UIDNEXTs and MODSEQs are kept (see `restore`), but for accounts and mailboxes whose own records are
//! lost: they have new ones, so that clients load them anew.
//! What a checkpoint knows and the log does not have any more comes over as the checkpoint has it (`regained`).
//! Not kept: email ids; which recipients were served from a spool entry that is done; expunged mail. A flag, move or
//! expunge whose record is lost did not happen.

use super::Progress;
use super::check::spooled;
use super::damage::{Damage, Damages};
use super::survey::{Message, Survey, parts};
use crate::disk::Disk;
use crate::model::MailboxName;
use crate::store::{
    AccountImage, AccountState, Body, Delivery, Environment, INBOX_ID, LocalRecipient, MessageImage,
    RestoreError, Restorer, Store, StoreError, StoredMessage,
};
use std::collections::BTreeSet;

/// What came over and what did not.
#[derive(Clone, Debug, Default)]
pub struct SalvageReport {
    pub accounts: u64,
    pub mailboxes: u64,
    /// Messages in the new store.
    pub messages: u64,
    /// Octets of them.
    pub bytes: u64,
    /// Deliveries from spool entries that were not finished.
    pub spooled: u64,
    /// Messages that are not in the new store, each with its place, and all other damage.
    pub damages: Damages,
    /// Of those that came over: messages of which the log has nothing, and that a checkpoint led to. Also spooled ones.
    pub regained: u64,
    /// Of the damages: messages known by name that did not come over.
    pub lost: u64,
    /// Expunged messages that could be brought back from the old store; no salvage takes them over.
    pub restorable: u64,
}

impl SalvageReport {
    /// Everything came over.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.damages.count == 0
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "complete": self.is_complete(),
            "accounts": self.accounts,
            "mailboxes": self.mailboxes,
            "messages": self.messages,
            "bytes": self.bytes,
            "spooled": self.spooled,
            "regained": self.regained,
            "lost": self.lost,
            "restorable": self.restorable,
            "damages": self.damages.count,
            "damage": self.damages.kept.iter().map(Damage::to_json).collect::<Vec<_>>(),
        })
    }
}

/// Why a message did not come over.
enum Trouble {
    /// It is damaged.
    Old(StoreError),
    /// The new store cannot take it: the end.
    New(RestoreError),
}

/// Puts what `survey` can read into `store`, which is new.
///
/// # Errors
/// Those of the new store; damage of the old one is no error.
pub async fn salvage<D: Disk, E: Environment>(
    survey: &Survey<D>,
    store: &Store<E>,
    progress: Progress<'_>,
) -> Result<SalvageReport, RestoreError> {
    let mut report = SalvageReport {
        damages: survey.damages.clone(),
        lost: survey.lost,
        regained: survey.regained,
        ..SalvageReport::default()
    };
    let mut restorer = Restorer::new(store.clone());
    let total = survey.state.accounts.values().map(|a| a.bytes_used).sum();
    let mut done = 0;
    for id in survey.accounts() {
        let account = &survey.state.accounts[&id];
        let image = with_one_name_each(AccountImage::of(account));
        restorer.begin_account(&image).await?;
        for mailbox in &image.mailboxes {
            for row in &account.mailboxes[&mailbox.id].rows {
                let message = Message {
                    account: id,
                    mailbox: mailbox.id,
                    row: *row,
                };
                match take_over(survey, &mut restorer, &message).await {
                    Ok(()) => {
                        report.messages += 1;
                        report.bytes += u64::from(row.size);
                    }
                    Err(Trouble::New(error)) => return Err(error),
                    Err(Trouble::Old(why)) => lose(survey, &message, &why, &mut report),
                }
                done += u64::from(row.size);
                progress(done, total);
            }
        }
        restorer.end_account(&image).await?;
        report.restorable += restorable(account);
        report.accounts += 1;
        report.mailboxes += image.mailboxes.len() as u64;
    }
    deliver_spool(survey, store, &mut report).await?;
    Ok(report)
}

/// What `undelete` would bring back.
fn restorable(account: &AccountState) -> u64 {
    let buried = account.buried.iter().flat_map(|mailbox| &mailbox.graves);
    let graves = account.mailboxes.values().flat_map(|mailbox| &mailbox.graves);
    graves.chain(buried).filter(|grave| !grave.has_moved).count() as u64
}

/// After a lost rename two mailboxes may have one name: the later one is told apart by its number.
fn with_one_name_each(mut image: AccountImage) -> AccountImage {
    let mut taken = BTreeSet::new();
    for mailbox in &mut image.mailboxes {
        if mailbox.name.is_inbox() != (mailbox.id == INBOX_ID) || taken.contains(&mailbox.name) {
            let name = format!("Recovered-{}", mailbox.id);
            mailbox.name = MailboxName::new(&name).expect("it is a valid name");
        }
        taken.insert(mailbox.name.clone());
    }
    image
}

fn lose<D: Disk>(survey: &Survey<D>, message: &Message, why: &StoreError, report: &mut SalvageReport) {
    let (position, what) = match why {
        StoreError::Damaged { position, what } => (*position, what.clone()),
        other => (message.row.record, other.to_string()),
    };
    report.lost += 1;
    report.damages.push(Damage {
        mail: Some(survey.mail(message)),
        ..Damage::at(position, 0, format!("a message is lost: {what}"))
    });
}

async fn take_over<D: Disk, E: Environment>(
    survey: &Survey<D>,
    restorer: &mut Restorer<E>,
    message: &Message,
) -> Result<(), Trouble> {
    let stored = survey
        .open(message.account, &message.row)
        .await
        .map_err(Trouble::Old)?;
    let asked = survey.asked(message.account, &message.row).await;
    let asked = asked.map_err(Trouble::Old)?;
    let body = if restorer.has_body(stored.email_id) {
        None
    } else {
        let body = read_body(survey, restorer, &stored).await?;
        Some(body.with_line_end_octets(message.row.line_end_octets))
    };
    let mailbox = &survey.state.accounts[&message.account].mailboxes[&message.mailbox];
    let image = MessageImage {
        mailbox: message.mailbox,
        uid: message.row.uid,
        mod_seq: message.row.mod_seq,
        flags: message.row.flags,
        keywords: mailbox.keywords_of(message.row.keywords).cloned().collect(),
        internal_date: message.row.internal_date(),
        save_date: message.row.save_date,
        prefix: stored.prefix.clone(),
        asked,
        shared_body: Some(stored.email_id),
    };
    restorer
        .message(message.account, image, body)
        .await
        .map_err(Trouble::New)
}

/// The body, every piece checked before it is passed on.
async fn read_body<D: Disk, E: Environment>(
    survey: &Survey<D>,
    restorer: &Restorer<E>,
    stored: &StoredMessage,
) -> Result<Body, Trouble> {
    let mut writer = restorer.body_writer();
    for part in parts(stored.prefix.len() as u64, stored.size) {
        for piece in survey.read_part(stored, part).await.map_err(Trouble::Old)? {
            writer.push(piece).await.map_err(new_store)?;
        }
    }
    writer.finish().await.map_err(new_store)
}

fn new_store(error: StoreError) -> Trouble {
    Trouble::New(RestoreError::Store(error))
}

/// Recipients that were accepted and not served yet get their mail in the new store.
async fn deliver_spool<D: Disk, E: Environment>(
    survey: &Survey<D>,
    store: &Store<E>,
    report: &mut SalvageReport,
) -> Result<(), RestoreError> {
    for entry in survey.state.spool.values() {
        let served = survey.state.served.get(&entry.key);
        let is_served = |index: usize, recipient: &LocalRecipient| {
            let key = (
                recipient.account.partition().0,
                u16::try_from(index).unwrap_or(u16::MAX),
            );
            served.is_some_and(|served| served.contains(&key))
        };
        let recipients: Vec<LocalRecipient> = entry
            .recipients
            .iter()
            .enumerate()
            .filter(|(index, recipient)| !is_served(*index, recipient))
            .map(|(_, recipient)| recipient.clone())
            .collect();
        if recipients.is_empty() {
            continue;
        }
        let restorer = Restorer::new(store.clone());
        let body = match read_body(survey, &restorer, &spooled(entry)).await {
            Ok(body) => body.with_line_end_octets(entry.body.line_end_octets()),
            Err(Trouble::New(error)) => return Err(error),
            Err(Trouble::Old(why)) => {
                report.lost += recipients.len() as u64;
                report.damages.push(Damage::nowhere(format!(
                    "a spooled message for {} recipients is lost: {why}",
                    recipients.len()
                )));
                continue;
            }
        };
        report.spooled += recipients.len() as u64;
        let delivery = Delivery {
            recipients,
            body,
            internal_date: entry.internal_date,
            key: None,
        };
        for part in store.in_parts(delivery) {
            store.deliver(part).await?;
        }
    }
    Ok(())
}
