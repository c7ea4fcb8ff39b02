//! The state that the readable records of a store make, and what is known to be missing: the log, held against the checkpoints.
//!
//! Limits: memory for the state of all accounts.
//! Not here: what one record does to it (`ledger`), bodies (`check`, `salvage` read them through the store's own reader).

use super::Progress;
use super::damage::{Damage, Damages, Mail};
use super::ledger::Ledger;
use super::segments::{Frontiers, Segments};
use super::summaries;
use super::walk::walk;
use crate::disk::{Disk, DiskFile};
use crate::model::{AccountId, LogPosition, MailboxId, SegmentId};
use crate::store::frame::RecordSeed;
use crate::store::reader::LogReader;
use crate::store::state::{AccountState, CoreState, MessageRow};
use crate::store::{OpenError, StoreError, StoredMessage};
use bytes::Bytes;
use std::collections::HashMap;

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
    /// Where the message records lie that the walk has seen, ascending.
    pub(super) applied: Vec<LogPosition>,
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
        ledger.applied.sort_unstable();
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
            applied: ledger.applied,
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
