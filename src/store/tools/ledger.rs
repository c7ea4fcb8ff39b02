//! The state of a store while its records come in, one after the other, over damage.
//!
//! Invariants: the state is made by the same `apply` as at run time; where a record refers to something whose own
//! record is lost, that is made up first (an account with a new UIDVALIDITY, a mailbox `Recovered-…`) and told.
//! What is wrong with a partition of which records are missing waits until it is said anew, and is forgotten then.
//! Limits: memory for the state of all accounts.
//! Not here: where records come from (`walk`), what is made of the state (`survey`).

use super::damage::{Damage, Damages, Mail};
use super::pieces::Trust;
use super::regained::UnseenSpool;
use super::survey::Counts;
use super::walk::Event;
use crate::base::clock::{Clock, SystemClock, UnixMillis};
use crate::model::{
    AccountId, LogPosition, MailboxId, MailboxName, PARTITIONS, SPOOL_PARTITIONS, SegmentId, UidValidity,
};
use crate::store::apply::{Place, apply};
use crate::store::compaction::Released;
use crate::store::frame::RecordHeader;
use crate::store::rebuild::Rebuild;
use crate::store::record::{Record, kind};
use crate::store::state::{AccountState, CoreState, MailboxState};
use crate::store::witnesses::Witnesses;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// The state while records come in.
pub(super) struct Ledger {
    pub(super) state: CoreState,
    pub(super) sequences: Vec<u64>,
    pub(super) counts: Counts,
    pub(super) damages: Damages,
    /// Which of the damages name a mailbox by its id only.
    pub(super) unnamed: HashMap<usize, MailboxId>,
    pub(super) notes: Vec<String>,
    /// Of the group that is being read: where it begins, and of the newest record there that is sure.
    group: Option<LogPosition>,
    rebuild: Rebuild,
    /// What is wrong with partitions of which something is missing, until they are said anew.
    held: BTreeMap<u16, Vec<(Damage, Option<MailboxId>)>>,
    /// The partition of the record that is being read, if its damages are held.
    holds: Option<u16>,
    /// Compaction has said a partition anew.
    pub(super) has_restated: bool,
    witnesses: Witnesses,
    pub(super) unseen_spool: UnseenSpool,
    /// Where the message records lie that were applied.
    pub(super) applied: Vec<LogPosition>,
    /// Behind the last record of each segment.
    ends: BTreeMap<SegmentId, u32>,
}

impl Ledger {
    pub(super) fn new(damages: Damages) -> Self {
        Self {
            state: CoreState::default(),
            sequences: vec![0; usize::from(PARTITIONS + SPOOL_PARTITIONS)],
            counts: Counts::default(),
            damages,
            unnamed: HashMap::new(),
            notes: Vec::new(),
            group: None,
            rebuild: Rebuild::default(),
            held: BTreeMap::new(),
            holds: None,
            has_restated: false,
            witnesses: Witnesses::default(),
            unseen_spool: UnseenSpool::default(),
            applied: Vec::new(),
            ends: BTreeMap::new(),
        }
    }

    /// What one log says of another that ends too early; a start does not open the store then.
    pub(super) fn tell_gone(&mut self, released: &Released) {
        let end = |segment: SegmentId| self.ends.get(&segment).copied();
        for (position, what) in self.witnesses.gone(end, released, &self.sequences) {
            self.damages.push(Damage::at(position, 0, what));
        }
    }

    fn note_end(&mut self, position: LogPosition, bytes: u64) {
        let end = u32::try_from(u64::from(position.offset) + bytes).unwrap_or(u32::MAX);
        let known = self.ends.entry(position.segment).or_default();
        *known = end.max(*known);
    }

    /// Gaps that nothing said later explains, and what followed from them.
    pub(super) fn tell_unexplained(&mut self) {
        for (_, held) in std::mem::take(&mut self.held) {
            for (damage, mailbox) in held {
                self.push(damage, mailbox);
            }
        }
    }

    pub(super) fn see(&mut self, event: Event<'_>) {
        match &event {
            Event::Record { position, header, .. } => self.note_end(*position, header.record_bytes() as u64),
            Event::BadRecord { position, bytes, .. } => self.note_end(*position, *bytes),
            _ => {}
        }
        match event {
            Event::Group { position, header } => {
                self.counts.groups += 1;
                self.counts.group_bytes += u64::from(header.bytes);
                self.group = Some(position);
            }
            Event::Damage(damage) => self.damages.push(damage),
            Event::NoSeal { position } => self.notes.push(format!(
                "{position}: this log was not closed in order; nothing can say whether more lay behind"
            )),
            Event::TornTail { position, bytes } => {
                self.counts.torn_tail_bytes += bytes;
                self.notes.push(format!(
                    "{position}: a torn tail of {bytes} bytes, never acknowledged; the next start drops it"
                ));
            }
            Event::BadRecord {
                position,
                bytes,
                guess,
            } => self.bad_record(position, bytes, guess),
            Event::Record { header, .. } if header.kind == kind::CHUNK => self.counts.chunks += 1,
            Event::Record { header, .. } if header.kind == kind::SEAL => {}
            Event::Record {
                position,
                header,
                payload,
                trust,
            } => self.record(position, header, payload, trust),
        }
    }

    fn push(&mut self, damage: Damage, mailbox: Option<MailboxId>) {
        if let Some(partition) = self.holds {
            self.held.entry(partition).or_default().push((damage, mailbox));
            return;
        }
        if let Some(mailbox) = mailbox {
            self.unnamed.insert(self.damages.kept.len(), mailbox);
        }
        self.damages.push(damage);
    }

    fn bad_record(&mut self, position: LogPosition, bytes: u64, guess: Option<(RecordHeader, &[u8])>) {
        let mut damage = Damage::at(position, bytes, "a record is not what was written");
        let mut mailbox = None;
        if let Some((header, payload)) = guess {
            if let Some(name) = kind_name(header.kind) {
                damage.what = format!("a record is not what was written, by its header {name}");
            }
            let payload = payload.get(..header.payload_bytes as usize).unwrap_or(payload);
            let decoded = Record::decode(header.kind, header.partition, payload).ok();
            if let Some((account, of, uid)) = decoded.as_ref().and_then(subject) {
                mailbox = of;
                damage.mail = Some(Mail {
                    account,
                    mailbox: None,
                    uid,
                    is_certain: false,
                });
            }
        }
        self.push(damage, mailbox);
    }

    fn record(&mut self, position: LogPosition, header: RecordHeader, payload: &[u8], trust: Trust) {
        let damage = |what: String| Damage::at(position, header.record_bytes() as u64, what);
        let Some(last) = self.sequences.get_mut(usize::from(header.partition)) else {
            self.damages
                .push(damage("a record of an unknown partition".to_owned()));
            return;
        };
        let missing = header.sequence.checked_sub(*last + 1);
        let Some(missing) = missing else {
            self.damages
                .push(damage("a record that was there before".to_owned()));
            return;
        };
        let record = match Record::decode(header.kind, header.partition, payload) {
            Ok(record) => record,
            Err(why) => {
                self.damages.push(damage(format!("a record: {}", why.0)));
                return;
            }
        };
        if trust == Trust::Weak && !is_self_contained(&record, self.group, position) {
            let what = "not taken: behind lost records only messages with their bodies are";
            self.push(damage(what.to_owned()), None);
            return;
        }
        self.has_restated |= matches!(record, Record::PartitionBegins { .. });
        self.witnesses.note(&record);
        *last = header.sequence;
        let partition = header.partition;
        self.note_spool_done(&record);
        if missing > 0 {
            self.unseen_spool
                .gap(partition, header.sequence - missing..header.sequence);
            self.rebuild.gap(partition, position, missing);
            self.holds = Some(partition);
            let what = format!("{missing} changes of partition {partition} before this one are missing");
            self.push(damage(what), None);
        }
        let place = Place {
            position,
            bytes: u32::try_from(header.record_bytes()).unwrap_or(u32::MAX),
            sequence: header.sequence,
        };
        self.counts.records += 1;
        self.holds = Some(partition).filter(|partition| self.rebuild.is_broken(*partition));
        // Of an account of which something is missing as much is taken as can be made sense of.
        let applied = if self.rebuild.passes_over(&record) {
            self.make_up(position, &record);
            apply(&mut self.state, place, &record).map(|_| ())
        } else {
            self.rebuild.record(&mut self.state, place, &record)
        };
        if !self.rebuild.is_broken(partition) {
            self.held.remove(&partition);
            self.holds = None;
        }
        if applied.is_ok() && matches!(record, Record::Message(_)) {
            self.applied.push(position);
        }
        if let Err(why) = applied {
            let what = format!("a change that contradicts what came before: {}", why.0);
            let (mail, mailbox) = match subject(&record) {
                Some((account, mailbox, uid)) => (
                    Some(Mail {
                        account,
                        mailbox: None,
                        uid,
                        is_certain: true,
                    }),
                    mailbox,
                ),
                None => (None, None),
            };
            self.push(Damage { mail, ..damage(what) }, mailbox);
        }
        self.holds = None;
        self.forget_changes(&record);
    }

    /// No session will ask for them.
    fn forget_changes(&mut self, record: &Record) {
        let Some((account, Some(mailbox), _)) = subject(record) else {
            return;
        };
        if let Some(account) = self.state.accounts.get_mut(&account) {
            account.changes.forget();
            if let Some(mailbox) = account.mailboxes.get_mut(&mailbox) {
                mailbox.changes.forget();
            }
        }
    }

    /// Makes the account and the mailboxes that a record needs and that were lost.
    fn make_up(&mut self, position: LogPosition, record: &Record) {
        if matches!(record, Record::AccountCreated { .. }) {
            return;
        }
        let Some((id, mailbox, _)) = subject(record) else {
            return;
        };
        if let Entry::Vacant(place) = self.state.accounts.entry(id) {
            // What clients knew of it cannot be told any more: a UIDVALIDITY they have not seen.
            place.insert(AccountState::new(id, seconds(SystemClock.now())));
            let what = "the record that created this account is lost";
            self.push_about(position, what, id, None);
        }
        let is_new = matches!(record, Record::MailboxCreated { .. });
        let target = match record {
            Record::Transfer { to, .. } | Record::InboxRenamed { to, .. } => Some(*to),
            _ => None,
        };
        for wanted in mailbox.into_iter().chain(target) {
            if is_new || self.has(id, wanted) {
                continue;
            }
            let account = self.state.accounts.get_mut(&id).expect("it was just made");
            let name = MailboxName::new(&format!("Recovered-{wanted}")).expect("it is a valid name");
            let uid_validity = UidValidity(account.next_uid_validity);
            account.add_mailbox(MailboxState::new(wanted, name, uid_validity, None));
            let what = "the record that created this mailbox is lost";
            self.push_about(position, what, id, Some(wanted));
        }
    }

    fn has(&self, account: AccountId, mailbox: MailboxId) -> bool {
        let known = self.state.accounts.get(&account);
        known.is_some_and(|account| account.mailboxes.contains_key(&mailbox))
    }

    fn push_about(
        &mut self,
        position: LogPosition,
        what: &str,
        account: AccountId,
        mailbox: Option<MailboxId>,
    ) {
        let mail = Some(Mail {
            account,
            mailbox: None,
            uid: None,
            is_certain: true,
        });
        let damage = Damage::at(position, 0, what);
        self.push(Damage { mail, ..damage }, mailbox);
    }
}

fn seconds(at: UnixMillis) -> u32 {
    u32::try_from(at.seconds()).unwrap_or(1).max(1)
}

/// A message whose chunks lie before it in its own group.
fn is_self_contained(record: &Record, group: Option<LogPosition>, position: LogPosition) -> bool {
    let (Record::Message(message), Some(group)) = (record, group) else {
        return false;
    };
    let mut chunks = message.chunks.iter();
    chunks.all(|chunk| chunk.position > group && chunk.position < position)
}

/// Whom a record is about.
pub(super) fn subject(record: &Record) -> Option<(AccountId, Option<MailboxId>, Option<u32>)> {
    match record {
        Record::AccountCreated { account, .. } | Record::Subscription { account, .. } => {
            Some((*account, None, None))
        }
        Record::MailboxCreated { account, mailbox, .. }
        | Record::MailboxDeleted { account, mailbox, .. }
        | Record::GravesForgotten { account, mailbox, .. }
        | Record::MailboxRenamed { account, mailbox, .. }
        | Record::StoreFlags { account, mailbox, .. }
        | Record::Expunge { account, mailbox, .. } => Some((*account, Some(*mailbox), None)),
        Record::InboxRenamed { account, .. } => Some((*account, Some(crate::store::INBOX_ID), None)),
        Record::Transfer { account, from, .. } => Some((*account, Some(*from), None)),
        Record::Message(message) => Some((message.account, Some(message.mailbox), Some(message.uid.value()))),
        Record::Undeleted { message, .. } => {
            Some((message.account, Some(message.mailbox), Some(message.uid.value())))
        }
        Record::MessageMoved(moved) => {
            let message = &moved.message;
            Some((message.account, Some(message.mailbox), Some(message.uid.value())))
        }
        Record::Metadata { account, mailbox, .. } | Record::SpecialUseSet { account, mailbox, .. } => {
            Some((*account, *mailbox, None))
        }
        Record::AccountRestated { account, .. } => Some((*account, None, None)),
        Record::Spool { .. }
        | Record::SpoolDone { .. }
        | Record::SpoolForget { .. }
        | Record::PartitionBegins { .. }
        | Record::ServedRestated { .. }
        | Record::SpoolRestated { .. }
        | Record::PartitionEnds { .. }
        | Record::Seal { .. } => None,
    }
}

/// What people call a kind of record.
pub(super) fn kind_name(kind: u8) -> Option<&'static str> {
    Some(match kind {
        kind::CHUNK => "a piece of a message body",
        kind::ACCOUNT_CREATED => "a new account",
        kind::MAILBOX_CREATED => "a new mailbox",
        kind::MAILBOX_DELETED | kind::MAILBOX_DELETED_DATED => "a deleted mailbox",
        kind::MAILBOX_RENAMED => "a renamed mailbox",
        kind::INBOX_RENAMED | kind::INBOX_RENAMED_DATED => "a renamed INBOX",
        kind::SUBSCRIPTION => "a subscription",
        kind::METADATA | kind::METADATA_COUNTED => "what is said of a mailbox",
        kind::SPECIAL_USE_SET => "a mailbox's special use",
        kind::MESSAGE => "a message",
        kind::STORE_FLAGS
        | kind::STORE_FLAGS_UNCHANGED
        | kind::STORE_FLAGS_SPARING
        | kind::STORE_FLAGS_SPARING_UNCHANGED => "a change of flags",
        kind::EXPUNGE | kind::EXPUNGE_DATED => "an expunge",
        kind::TRANSFER | kind::TRANSFER_DATED | kind::TRANSFER_SAVED => "a copy or move",
        kind::GRAVES_FORGOTTEN => "what was expunged long ago",
        kind::MESSAGE_MOVED => "a message in its new place",
        kind::UNDELETED => "a message brought back",
        kind::PARTITION_BEGINS | kind::PARTITION_ENDS => "a restated partition",
        kind::ACCOUNT_RESTATED => "a restated account",
        kind::SERVED_RESTATED | kind::SPOOL_RESTATED => "a restated part of the spool",
        kind::SPOOL => "a spooled message",
        kind::SPOOL_DONE => "a spooled message that is delivered",
        kind::SPOOL_FORGET => "a spooled message to be forgotten",
        kind::SEAL => "the end of a log",
        _ => return None,
    })
}
