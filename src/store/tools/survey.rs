//! The state that the readable records of a store make, and what is known to be missing.
//!
//! Invariants: the state is made by the same `apply` as at run time; where a record refers to something whose own
//! record is lost, that is made up first (an account with a new UIDVALIDITY, a mailbox `Recovered-…`) and told.
//! Limits: memory for the state of all accounts.
//! Not here: bodies (`check`, `salvage` read them through the store's own reader).

use super::Progress;
use super::damage::{Damage, Damages, Mail};
use super::pieces::Trust;
use super::regained::UnseenSpool;
use super::segments::{Frontiers, Segments};
use super::summaries;
use super::walk::{Event, walk};
use crate::base::clock::{Clock, SystemClock, UnixMillis};
use crate::disk::{Disk, DiskFile};
use crate::model::{
    AccountId, LogPosition, MailboxId, MailboxName, PARTITIONS, SPOOL_PARTITIONS, SegmentId, UidValidity,
};
use crate::store::apply::{Place, apply};
use crate::store::compaction::Released;
use crate::store::frame::{RecordHeader, RecordSeed};
use crate::store::reader::LogReader;
use crate::store::rebuild::Rebuild;
use crate::store::record::{Record, kind};
use crate::store::state::{AccountState, CoreState, MailboxState, MessageRow};
use crate::store::witnesses::Witnesses;
use crate::store::{OpenError, StoreError, StoredMessage};
use bytes::Bytes;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub segments: u64,
    pub bytes: u64,
    pub groups: u64,
    /// Chunks and seals not counted.
    pub records: u64,
    pub chunks: u64,
    /// Bytes of whole groups.
    pub group_bytes: u64,
    pub torn_tail_bytes: u64,
}

/// One message of the state.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    pub account: AccountId,
    pub mailbox: MailboxId,
    pub row: MessageRow,
}

/// Everything a tool needs to know of a store.
pub struct Survey<D: Disk> {
    pub(super) segments: Segments<D>,
    pub(super) state: CoreState,
    pub(super) sequences: Vec<u64>,
    pub(super) counts: Counts,
    pub(super) damages: Damages,
    /// Of the damages: messages that checkpoints know and the log does not have any more.
    pub(super) lost: u64,
    /// Messages, also waiting ones, of which the log has nothing, and that checkpoints led to.
    pub(super) regained: u64,
    /// Of files that a start makes anew from the log.
    pub(super) derived: Damages,
    /// For people: what is unusual and no damage.
    pub(super) notes: Vec<String>,
    reader: LogReader<D>,
    /// Segments that the reader would not open by itself.
    headerless: HashMap<SegmentId, (RecordSeed, D::File)>,
}

impl<D: Disk> Survey<D> {
    /// Reads the whole store.
    ///
    /// # Errors
    /// When there is no store to read; damage is no error.
    pub async fn read(disk: D, progress: Progress<'_>) -> Result<Self, OpenError> {
        Self::read_up_to(disk, Frontiers::new(), progress).await
    }

    /// Reads a store whose server runs, see `beside`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_up_to(
        disk: D,
        frontiers: Frontiers,
        progress: Progress<'_>,
    ) -> Result<Self, OpenError> {
        let mut segments = Segments::open(disk.clone()).await?;
        segments.frontiers = frontiers;
        let mut ledger = Ledger::new(segments.damages.clone());
        walk(&segments, &mut |event| ledger.see(event), progress).await;
        ledger.tell_unexplained();
        // Beside a server each log is seen as of another moment.
        if segments.frontiers.is_empty() {
            ledger.tell_gone(&segments.released);
        }
        if segments.released.number == 0 && ledger.has_restated && ledger.damages.count > 0 {
            // A crash in the very first pass leaves that, too, and nothing missing.
            let what = "compaction was at work here, and there is no list of what it freed: what is missing may be that";
            ledger
                .damages
                .push(Damage::in_file("segments/*.freed".to_owned(), what));
        }
        let reader = LogReader::new(disk, segments.store_id);
        let files = segments.logs.values().flatten();
        let headerless = files
            .filter(|file| file.is_unreachable)
            .map(|file| (file.id, (file.record_seed(), file.file.clone())))
            .collect();
        let mut counts = ledger.counts;
        counts.segments = segments.logs.values().map(|files| files.len() as u64).sum();
        counts.bytes = segments.bytes;
        let mut notes = ledger.notes;
        // A server that runs makes and removes them all the time.
        if segments.frontiers.is_empty() {
            notes.extend(segments.unneeded());
            let (disk, store_id) = (&segments.disk, segments.store_id);
            notes.extend(summaries::notes(disk, store_id, &segments.summaries).await);
        }
        let mut survey = Self {
            state: ledger.state,
            sequences: ledger.sequences,
            counts,
            damages: ledger.damages,
            lost: 0,
            regained: 0,
            derived: Damages::default(),
            notes,
            segments,
            reader,
            headerless,
        };
        survey.name_mailboxes(&ledger.unnamed);
        survey.compare_with_checkpoints(&ledger.unseen_spool).await;
        if survey.regained > 0 {
            survey.notes.push(format!(
                "{} messages of which the log has nothing are known by a checkpoint; salvage takes those over that are whole",
                survey.regained
            ));
        }
        Ok(survey)
    }

    /// Damage that was found before names of mailboxes were settled.
    fn name_mailboxes(&mut self, unnamed: &HashMap<usize, MailboxId>) {
        for (index, mailbox) in unnamed {
            let Some(mail) = self.damages.kept.get_mut(*index).and_then(|d| d.mail.as_mut()) else {
                continue;
            };
            let known = self.state.accounts.get(&mail.account);
            let name = known.and_then(|account| account.mailboxes.get(mailbox));
            mail.mailbox = Some(name.map_or_else(|| format!("#{mailbox}"), |m| m.name.to_string()));
        }
    }

    /// Every message, by the place of its record.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut all = Vec::new();
        for (id, account) in &self.state.accounts {
            for (mailbox, state) in &account.mailboxes {
                all.extend(state.rows.iter().map(|row| Message {
                    account: *id,
                    mailbox: *mailbox,
                    row: *row,
                }));
            }
        }
        all.sort_unstable_by_key(|m| (m.row.record, m.account, m.mailbox, m.row.uid));
        all
    }

    /// What left its mailbox and can be brought back.
    pub(super) fn graves(&self) -> Vec<MessageRow> {
        let mut all: Vec<MessageRow> = Vec::new();
        for account in self.state.accounts.values() {
            let own = account.mailboxes.values().flat_map(|mailbox| &mailbox.graves);
            let graves = own.chain(account.buried.iter().flat_map(|mailbox| &mailbox.graves));
            all.extend(graves.filter(|grave| !grave.has_moved).map(|grave| grave.row));
        }
        all
    }

    pub(super) fn message_count(&self) -> u64 {
        let mailboxes = self.state.accounts.values().flat_map(|a| a.mailboxes.values());
        mailboxes.map(|mailbox| mailbox.rows.len() as u64).sum()
    }

    fn know(&self, segment: SegmentId) {
        if let Some((seed, file)) = self.headerless.get(&segment) {
            self.reader.know(segment, *seed, file.clone());
        }
    }

    /// Opens a message through the store's own reader.
    pub(super) async fn open(
        &self,
        account: AccountId,
        row: &MessageRow,
    ) -> Result<StoredMessage, StoreError> {
        self.know(row.record.segment);
        self.reader.open_message(account, row).await
    }

    /// What the sender asked for besides delivery; of a message that was just opened it is in memory.
    pub(super) async fn asked(&self, account: AccountId, row: &MessageRow) -> Result<Bytes, StoreError> {
        self.know(row.record.segment);
        Ok(self.reader.message_record(account, row).await?.asked)
    }

    /// Reads a part of it; ask for at most 256 KiB.
    pub(super) async fn read_part(
        &self,
        message: &StoredMessage,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<Bytes>, StoreError> {
        for chunk in &message.chunks {
            self.know(chunk.position.segment);
        }
        self.reader.read_message(message, range).await
    }

    /// All of a message, which is checked before it is given, and what its sender asked for besides delivery.
    ///
    /// # Errors
    /// When it is damaged.
    pub async fn whole(&self, account: AccountId, row: &MessageRow) -> Result<(Vec<u8>, Bytes), StoreError> {
        let message = self.open(account, row).await?;
        let mut octets = Vec::new();
        for part in parts(0, message.size) {
            for piece in self.read_part(&message, part).await? {
                octets.extend_from_slice(&piece);
            }
        }
        Ok((octets, self.asked(account, row).await?))
    }

    /// Who it is, for people.
    pub(super) fn mail(&self, message: &Message) -> Mail {
        let account = self.state.accounts.get(&message.account);
        let mailbox = account.and_then(|account| account.mailboxes.get(&message.mailbox));
        Mail {
            account: message.account,
            mailbox: mailbox.map(|m| m.name.to_string()),
            uid: Some(message.row.uid.value()),
            is_certain: true,
        }
    }
}

/// Bytes read of a message at once.
const PART_BYTES: u64 = 256 * 1024;

/// The parts of a message of `size` octets, from `start` on.
pub(super) fn parts(start: u64, size: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let count = (size - start).div_ceil(PART_BYTES);
    (0..count).map(move |n| start + n * PART_BYTES..size.min(start + (n + 1) * PART_BYTES))
}

/// The state while records come in.
pub(super) struct Ledger {
    pub(super) state: CoreState,
    sequences: Vec<u64>,
    counts: Counts,
    damages: Damages,
    /// Which of the damages name a mailbox by its id only.
    unnamed: HashMap<usize, MailboxId>,
    notes: Vec<String>,
    /// Of the group that is being read: where it begins, and of the newest record there that is sure.
    group: Option<LogPosition>,
    rebuild: Rebuild,
    /// What is wrong with partitions of which something is missing, until they are said anew.
    held: BTreeMap<u16, Vec<(Damage, Option<MailboxId>)>>,
    /// The partition of the record that is being read, if its damages are held.
    holds: Option<u16>,
    /// Compaction has said a partition anew.
    has_restated: bool,
    witnesses: Witnesses,
    pub(super) unseen_spool: UnseenSpool,
    /// Behind the last record of each segment.
    ends: BTreeMap<SegmentId, u32>,
}

impl Ledger {
    fn new(damages: Damages) -> Self {
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
            ends: BTreeMap::new(),
        }
    }

    /// What one log says of another that ends too early; a start does not open the store then.
    fn tell_gone(&mut self, released: &Released) {
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
    fn tell_unexplained(&mut self) {
        for (_, held) in std::mem::take(&mut self.held) {
            for (damage, mailbox) in held {
                self.push(damage, mailbox);
            }
        }
    }

    fn see(&mut self, event: Event<'_>) {
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

/// The state of one account, for those who take it elsewhere.
impl<D: Disk> Survey<D>
where
    D::File: DiskFile,
{
    /// Every account's id, ascending.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountId> {
        let mut ids: Vec<AccountId> = self.state.accounts.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// One account as it stands.
    #[must_use]
    pub fn account(&self, id: AccountId) -> Option<&AccountState> {
        self.state.accounts.get(&id)
    }
}
