//! Mail that a checkpoint knows and the log does not have any more: taken from the checkpoint where it can be read, and told
//! as lost where it cannot.
//!
//! The walk comes to a record from the one before it, so it does not see what lies behind a group's header that is gone, or
//! in a mailbox whose own records are. A row of a snapshot says where its message lies, and the record there says by its
//! checksum that it is that one.
//! Invariants: nothing is taken while the log is whole: then it is right, and the snapshot is not. What the log has said of
//! a UID, that it is there, was expunged or was moved, counts before the snapshot. UIDVALIDITY and name of a mailbox whose
//! record is lost are those of the snapshot, so that UIDs stay what they were.
//! What was done to such a message since the checkpoint did not happen, as everything of which the record is lost.
//! Not here: what else checkpoints bear witness of (`derived`).

use super::damage::{Damage, Mail};
use super::ledger::Ledger;
use super::survey::Survey;
use crate::disk::Disk;
use crate::model::{AccountId, LogPosition, MailboxId, MailboxName, PARTITIONS, Uid};
use crate::store::checkpoint_load::Base;
use crate::store::record::Record;
use crate::store::state::{AccountState, FreeBits, MailboxState, MessageRow};
use crate::store::{SpoolKey, StoreError};
use std::collections::HashSet;
use std::ops::Range;

/// Which spool records the walk did not see.
#[derive(Default)]
pub struct UnseenSpool {
    gaps: Vec<(u16, Range<u64>)>,
    /// Entries that were done without having been seen.
    done: HashSet<SpoolKey>,
}

impl UnseenSpool {
    pub fn gap(&mut self, partition: u16, sequences: Range<u64>) {
        if partition >= PARTITIONS {
            self.gaps.push((partition, sequences));
        }
    }

    fn is_waiting(&self, key: SpoolKey, last: u64) -> bool {
        let mut of_partition = self.gaps.iter().filter(|(of, _)| *of == key.partition);
        let is_unseen = key.sequence > last || of_partition.any(|(_, gap)| gap.contains(&key.sequence));
        is_unseen && !self.done.contains(&key)
    }
}

impl Ledger {
    /// One more record, before it is applied.
    pub fn note_spool_done(&mut self, record: &Record) {
        if let Record::SpoolDone { key } = record
            && !self.state.spool.contains_key(key)
        {
            self.unseen_spool.done.insert(*key);
        }
    }
}

/// What the log says of an account's messages.
struct InLog<'a> {
    account: &'a AccountState,
    /// Where records lie that some row or grave refers to.
    records: HashSet<LogPosition>,
    uids: HashSet<(MailboxId, Uid)>,
}

impl<'a> InLog<'a> {
    fn of(account: &'a AccountState) -> Self {
        let mut uids = HashSet::new();
        for (id, mailbox) in &account.mailboxes {
            uids.extend(mailbox.rows.iter().map(|row| (*id, row.uid)));
            uids.extend(mailbox.graves.iter().map(|grave| (*id, grave.row.uid)));
        }
        for buried in &account.buried {
            uids.extend(buried.graves.iter().map(|grave| (buried.id, grave.row.uid)));
        }
        Self {
            account,
            records: account.rows_and_graves().map(|row| row.record).collect(),
            uids,
        }
    }

    /// `was_applied`: the walk saw the message's record. That alone says nothing of a row: the copy that it is may be what was lost.
    fn knows(&self, snapshot: &MailboxState, row: &MessageRow, was_applied: bool) -> bool {
        if self.uids.contains(&(snapshot.id, row.uid)) {
            return true;
        }
        match self.account.mailboxes.get(&snapshot.id) {
            // It may have been expunged and forgotten since the checkpoint.
            Some(mailbox) => was_applied && mailbox.graves_from > snapshot.graves_from,
            // The mailbox was deleted, or its own record is lost.
            None => was_applied || self.records.contains(&row.record),
        }
    }
}

impl<D: Disk> Survey<D> {
    /// Messages that a snapshot knows and the log does not have: those that can be read where the snapshot says, and what
    /// became of the others. What lies in freed segments lives on elsewhere.
    pub(super) async fn unseen_rows(
        &self,
        account: &AccountState,
    ) -> (Vec<(MailboxId, MessageRow)>, Vec<Damage>) {
        let in_log = self.state.accounts.get(&account.id).map(InLog::of);
        let (mut readable, mut lost) = (Vec::new(), Vec::new());
        for (id, mailbox) in &account.mailboxes {
            for row in &mailbox.rows {
                let was_applied = self.applied.binary_search(&row.record).is_ok();
                let is_known = in_log
                    .as_ref()
                    .is_some_and(|in_log| in_log.knows(mailbox, row, was_applied));
                if is_known || self.is_released(row.record.segment) {
                    continue;
                }
                match self.open(account.id, row).await {
                    Ok(_) => readable.push((*id, *row)),
                    Err(why) => lost.push(lost_row(account.id, mailbox, row, &why)),
                }
            }
        }
        (readable, lost)
    }

    /// Adds messages that the log does not have to what it has.
    pub(super) fn regain(&mut self, snapshot: &AccountState, rows: &[(MailboxId, MessageRow)]) {
        if rows.is_empty() {
            return;
        }
        self.regained += rows.len() as u64;
        let accounts = &mut self.state.accounts;
        let account = accounts
            .entry(snapshot.id)
            .or_insert_with(|| without_mail(snapshot));
        account.highest_mod_seq = account.highest_mod_seq.max(snapshot.highest_mod_seq);
        account.next_mailbox = account.next_mailbox.max(snapshot.next_mailbox);
        account.next_uid_validity = account.next_uid_validity.max(snapshot.next_uid_validity);
        for (id, row) in rows {
            let of_snapshot = &snapshot.mailboxes[id];
            let mailbox = same_mailbox(account, of_snapshot);
            let keywords: Vec<_> = of_snapshot.keywords_of(row.keywords).cloned().collect();
            let bits = mailbox.keyword_bits(&keywords, &mut FreeBits::default());
            let row = MessageRow {
                keywords: bits,
                ..*row
            };
            let place = mailbox.rows.partition_point(|other| other.uid < row.uid);
            mailbox.rows.insert(place, row);
            account.bytes_used += u64::from(row.size);
        }
    }

    /// The same for what waited in the spool.
    pub(super) fn regain_spool(&mut self, base: &Base, unseen: &UnseenSpool) {
        for (key, entry) in &base.state.spool {
            let last = self.sequences[usize::from(key.partition)];
            if self.state.spool.contains_key(key) || !unseen.is_waiting(*key, last) {
                continue;
            }
            self.regained += 1;
            self.state.spool.insert(*key, entry.clone());
            let served = base.state.served.get(key).into_iter().flatten();
            self.state.served.entry(*key).or_default().extend(served.copied());
        }
    }
}

fn lost_row(account: AccountId, mailbox: &MailboxState, row: &MessageRow, why: &StoreError) -> Damage {
    let what = format!("a message that a checkpoint knows is lost: {why}");
    Damage {
        mail: Some(Mail {
            account,
            mailbox: Some(mailbox.name.to_string()),
            uid: Some(row.uid.value()),
            is_certain: true,
        }),
        ..Damage::at(row.record, 0, what)
    }
}

fn without_mail(snapshot: &AccountState) -> AccountState {
    let mut account = AccountState::empty(snapshot.id);
    account.subscriptions.clone_from(&snapshot.subscriptions);
    account.metadata.clone_from(&snapshot.metadata);
    let mut mailboxes: Vec<&MailboxState> = snapshot.mailboxes.values().collect();
    mailboxes.sort_unstable_by_key(|mailbox| mailbox.id);
    for mailbox in mailboxes {
        account.add_mailbox(without_rows(mailbox));
    }
    account
}

fn without_rows(snapshot: &MailboxState) -> MailboxState {
    let mut mailbox = MailboxState::new(
        snapshot.id,
        snapshot.name.clone(),
        snapshot.uid_validity,
        snapshot.special_use,
    );
    mailbox.keywords.clone_from(&snapshot.keywords);
    mailbox.metadata.clone_from(&snapshot.metadata);
    mailbox.graves_from = snapshot.graves_from;
    mailbox
}

/// The mailbox as the log has it, made if that has none, with numbers that are not behind the snapshot's.
fn same_mailbox<'a>(account: &'a mut AccountState, snapshot: &MailboxState) -> &'a mut MailboxState {
    let id = snapshot.id;
    let known = account.mailboxes.get(&id).map(|mailbox| mailbox.uid_validity);
    if known != Some(snapshot.uid_validity) {
        let is_free = account
            .names
            .get(&snapshot.name)
            .is_none_or(|holder| *holder == id);
        match known {
            // It was made up: a UIDVALIDITY never changes.
            Some(_) => take_identity(account, snapshot, is_free),
            None => {
                let mut mailbox = without_rows(snapshot);
                if !is_free {
                    let name = format!("Recovered-{id}");
                    mailbox.name = MailboxName::new(&name).expect("it is a valid name");
                }
                account.add_mailbox(mailbox);
            }
        }
    }
    let mailbox = account.mailboxes.get_mut(&id).expect("it was just made");
    mailbox.uid_next = mailbox.uid_next.max(snapshot.uid_next);
    mailbox.highest_mod_seq = mailbox.highest_mod_seq.max(snapshot.highest_mod_seq);
    mailbox
}

fn take_identity(account: &mut AccountState, snapshot: &MailboxState, takes_name: bool) {
    let mailbox = account.mailboxes.get_mut(&snapshot.id).expect("it was asked for");
    mailbox.uid_validity = snapshot.uid_validity;
    mailbox.special_use = snapshot.special_use;
    if takes_name {
        account.names.remove(&mailbox.name);
        mailbox.name = snapshot.name.clone();
        account.names.insert(mailbox.name.clone(), mailbox.id);
    }
}
