//! Checkpoints and snapshots under the admin's eyes: are they as they were written, and do they and the log agree?
//!
//! Two things are told apart. A checkpoint that is right is a *witness*: what it covers was durable once, so where the log
//! has less, that is a loss, also where the log alone looks like one that was cut off. A checkpoint or snapshot that is
//! not right itself costs nothing, because a start makes it anew from the log.
//! Invariants: what a cut of the power leaves behind is no damage: a checkpoint is written into a longer file, which is
//! shortened when it is durable, so one whose last block is zeros was never finished; a header whose slices are not
//! there is one only if its file was shortened. LIMITATION: one that was cut off when it filled its file to the last
//! byte is told as damage; it costs nothing either way.
//! Limits: one account's snapshot at once, beside the heads of all.
//! Not here: which checkpoints a start uses (`checkpoint_load`), the log (`walk`).

use super::damage::{Damage, Damages};
use super::regained::UnseenSpool;
use super::segments::{SegmentFile, Segments};
use super::survey::Survey;
use crate::disk::{BLOCK_BYTES, Disk, DiskFile};
use crate::model::{AccountId, LogPosition, SegmentId};
use crate::store::checkpoint::CheckpointHeader;
use crate::store::checkpoint_load::{Bad, Base, Unusable, load};
use crate::store::cold::Cold;
use crate::store::found::{is_outdated, missing_of_headers};
use crate::store::scan::LogName;
use crate::store::snapshot::{SnapshotName, read_snapshot};
use crate::store::state::AccountState;
use std::collections::HashMap;

/// What says that something of a log was durable.
#[derive(Default)]
pub struct Evidence {
    /// Everything before it.
    pub durable_to: Option<LogPosition>,
    /// All of it.
    pub has_seal: bool,
}

/// What the checkpoints of a store say.
#[derive(Default)]
pub struct Derived {
    base: Option<Base>,
    headers: Vec<CheckpointHeader>,
    damages: Damages,
    notes: Vec<String>,
}

impl Derived {
    /// Reads them; snapshots come later.
    pub async fn load<D: Disk>(disk: &D, store_id: u64, files: &[(String, u64)]) -> Self {
        let loaded = load(disk, store_id, files).await;
        let mut derived = Self {
            base: loaded.base,
            headers: loaded.headers,
            ..Self::default()
        };
        for bad in &loaded.bad {
            let name = bad.name.file();
            let len = files.iter().find(|(file, _)| *file == name);
            derived.tell(disk, bad, len.map_or(0, |(_, len)| *len)).await;
        }
        derived
    }

    async fn tell<D: Disk>(&mut self, disk: &D, bad: &Bad, len: u64) {
        let file = bad.name.file();
        if let Unusable::Snapshot(missing) = bad.why {
            let own = SnapshotName {
                incarnation: bad.name.incarnation,
                number: bad.name.number,
                core: bad.name.core,
            };
            // Both names come with one sync of the directory, and one may have come without it.
            if missing == own && !files_has(disk, &own).await {
                let note = format!("{file} was never finished: {}", bad.why);
                return self.notes.push(note);
            }
            let what = format!("missing, or too short for {file}");
            return self.damages.push(Damage::in_file(missing.file(), what));
        }
        if is_finished(disk, bad, len).await {
            let what = format!("a checkpoint: {}", bad.why);
            self.damages.push(Damage::in_file(file, what));
        } else {
            let note = format!(
                "{file} is not a whole checkpoint: it is being written, or a crash came while it was"
            );
            self.notes.push(note);
        }
    }
}

async fn files_has<D: Disk>(disk: &D, name: &SnapshotName) -> bool {
    disk.open(&name.file()).await.is_ok()
}

/// Was it durable once? See the module.
async fn is_finished<D: Disk>(disk: &D, bad: &Bad, len: u64) -> bool {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    if len == 0 {
        return false;
    }
    let shortened = |header: &CheckpointHeader| len <= u64::from(header.blocks) * BLOCK;
    if bad.header.as_ref().is_some_and(shortened) || !len.is_multiple_of(BLOCK) {
        return true;
    }
    let Ok(file) = disk.open(&bad.name.file()).await else {
        return true;
    };
    match file.read_at(len - BLOCK, BLOCK_BYTES).await {
        Ok(last) => last.as_ref().iter().any(|byte| *byte != 0),
        Err(_) => true,
    }
}

impl<D: Disk> Segments<D> {
    /// What the checkpoints bear witness of.
    pub(super) fn evidence(&self, log: LogName) -> Evidence {
        let of_log = |header: &&CheckpointHeader| {
            header.sequence > 0
                && header.name.incarnation == log.incarnation
                && header.name.core == log.log
                && !self.released.has(log, header.position.segment)
        };
        let headers = || self.derived.headers.iter().filter(of_log);
        let base = self.derived.base.iter();
        let ahead = base.flat_map(|base| base.ahead_in(log));
        let ahead = ahead.filter(|position| !self.released.has(log, position.segment));
        Evidence {
            durable_to: headers().map(|header| header.position).chain(ahead).max(),
            has_seal: headers().any(|header| header.is_sealed),
        }
    }

    fn file(&self, log: LogName, id: SegmentId) -> Option<&SegmentFile<D::File>> {
        self.logs.get(&log)?.iter().find(|file| file.id == id)
    }
}

impl<D: Disk> Survey<D> {
    /// Holds what the log says against the newest checkpoints and the snapshots they refer to.
    pub(super) async fn compare_with_checkpoints(&mut self, unseen_spool: &UnseenSpool) {
        let derived = std::mem::take(&mut self.segments.derived);
        self.derived = derived.damages;
        self.notes.extend(derived.notes);
        self.tell_missing_of(&derived.headers);
        let is_outdated = |base: &Base| is_outdated(base, &self.segments.released);
        let Some(base) = derived.base.filter(|base| !is_outdated(base)) else {
            return;
        };
        self.compare_segments(&base);
        let is_log_whole = self.damages.count == 0;
        if is_log_whole {
            self.compare_sequences(&base);
        }
        let mut known = HashMap::new();
        for (index, damage) in self.damages.kept.iter().enumerate() {
            if let Some(position) = damage.position {
                known.entry(position).or_insert(index);
            }
        }
        let mut ids: Vec<AccountId> = base.state.cold.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let partition = usize::from(id.partition().0);
            let is_current = self.sequences[partition] == base.sequences[partition];
            let must_equal = is_log_whole && is_current && !base.ahead.contains_key(&id);
            self.compare_account(id, &base.state.cold[&id], must_equal, &known)
                .await;
        }
        if self.damages.count > 0 {
            self.regain_spool(&base, unseen_spool);
        }
    }

    /// Also where no core has a whole checkpoint.
    fn tell_missing_of(&mut self, headers: &[CheckpointHeader]) {
        let Segments { logs, released, .. } = &self.segments;
        let missing: Vec<LogPosition> = missing_of_headers(headers, logs, |file| file.id, released).collect();
        for position in missing {
            let what = "the segment is missing up to which a checkpoint saw its log";
            self.damages.push(Damage::at(position, 0, what));
        }
    }

    /// As a start does it before it relies on a checkpoint.
    fn compare_segments(&mut self, base: &Base) {
        for (id, covered) in &base.segments {
            let what = match self.segments.file(covered.log, *id) {
                None if self.segments.released.has(covered.log, *id) => continue,
                None => "this segment is missing, which a checkpoint names",
                Some(file) if file.generation != covered.generation => {
                    "another segment than a checkpoint names"
                }
                Some(file) if file.len < u64::from(covered.end) => {
                    "the end of this segment is gone, which a checkpoint names"
                }
                Some(_) => continue,
            };
            let position = LogPosition {
                segment: *id,
                offset: 0,
            };
            self.damages.push(Damage::at(position, 0, what));
        }
    }

    fn compare_sequences(&mut self, base: &Base) {
        for (partition, (read, covered)) in self.sequences.iter().zip(&base.sequences).enumerate() {
            if read < covered {
                let missing = covered - read;
                let what = format!(
                    "the last {missing} changes of partition {partition} that a checkpoint knows are missing"
                );
                self.damages.push(Damage::nowhere(what));
            }
        }
    }

    async fn compare_account(
        &mut self,
        id: AccountId,
        cold: &Cold,
        must_equal: bool,
        known: &HashMap<LogPosition, usize>,
    ) {
        let read = read_snapshot(&self.segments.disk, self.segments.store_id, id, cold).await;
        let account = match read {
            Ok(account) => account,
            Err((blob, why)) => {
                let what = format!("the snapshot of account {id} at {}: {}", blob.offset(), why.0);
                return self.derived.push(Damage::in_file(blob.file.file(), what));
            }
        };
        let (readable, lost) = self.unseen_rows(&account).await;
        // Of a log that is whole nothing is missing: the snapshot is wrong.
        if self.damages.count > 0 {
            self.regain(&account, &readable);
        }
        if lost.is_empty() && must_equal && !self.is_as_in_log(&account) {
            let file = cold.chain[0].file.file();
            let what = format!("the snapshot of account {id} is not what the log says");
            return self.derived.push(Damage::in_file(file, what));
        }
        self.lost += lost.len() as u64;
        for damage in lost {
            let place = damage.position.and_then(|position| known.get(&position));
            let seen = place.and_then(|index| self.damages.kept.get_mut(*index));
            // A record that is not what was written may have said whose it was, nothing more.
            match seen.filter(|seen| seen.mail.as_ref().is_none_or(|mail| !mail.is_certain)) {
                Some(seen) => seen.mail = damage.mail,
                None => self.damages.push(damage),
            }
        }
    }

    pub(super) fn is_released(&self, segment: SegmentId) -> bool {
        let mut runs = self.segments.released.runs.iter();
        runs.any(|run| run.first_segment <= segment && segment <= run.last_segment)
            && !self
                .segments
                .logs
                .values()
                .flatten()
                .any(|file| file.id == segment)
    }

    fn is_as_in_log(&mut self, account: &AccountState) -> bool {
        let Some(in_log) = self.state.accounts.get_mut(&account.id) else {
            return false;
        };
        // What is for sessions only: no part of what is stored.
        in_log.changes.forget();
        for mailbox in in_log.mailboxes.values_mut() {
            mailbox.changes.forget();
            let of_snapshot = account.mailboxes.get(&mailbox.id);
            mailbox
                .recent_from
                .set(of_snapshot.map_or(0, |mailbox| mailbox.recent_from.get()));
        }
        in_log == account
    }
}
