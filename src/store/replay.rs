//! Replay: the records of all logs behind the checkpoints, in order, made into the states of all cores.
//!
//! Invariants: records of a partition come without a gap, or what is missing was said anew (`rebuild`); those of an account
//! that is cold and needs its state wait until the log is read, then all of them in order.
//! Failure: [`OpenError::Damaged`]; [`Unopened::Checkpoints`] when without checkpoints it may be better.
//! Not here: one log (`scan`), what records do (`apply`), what becomes of the states (`recovery`).

use super::OpenError;
use super::apply::{Place, apply, apply_beside_account};
use super::checkpoint::CheckpointHeader;
use super::checkpoint_load::Base;
use super::checkpoint_state::CoveredSegment;
use super::codec::Malformed;
use super::cold::Cold;
use super::compaction::Released;
use super::found::Found;
use super::frame::RecordHeader;
use super::named::Named;
use super::rebuild::Rebuild;
use super::record::Record;
use super::recovery::{Recovered, RecoveryReport, StoreSeed, Unopened};
use super::scan::{LogEnd, LogName, ScanFrom, ScanSegment, scan_log};
use super::snapshot::read_cold;
use super::state::CoreState;
use super::witnesses::Witnesses;
use crate::disk::{Disk, DiskFile};
use crate::model::{AccountId, LogPosition, PARTITIONS, Partition, SPOOL_PARTITIONS, SegmentId};
use std::collections::{BTreeMap, HashMap};

/// The state while records come in.
pub struct Replay {
    /// Records of accounts that have to be read first, which waits until the log is read.
    deferred: HashMap<AccountId, Vec<(Place, Record)>>,
    pub state: CoreState,
    sequences: Vec<u64>,
    pub report: RecoveryReport,
    /// How far the checkpoint covers each log of its incarnation.
    headers: Vec<CheckpointHeader>,
    /// See [`Base::ahead`].
    ahead: HashMap<AccountId, LogPosition>,
    /// Of partitions whose records are not all there any more.
    rebuild: Rebuild,
    /// Records behind the checkpoint are missing: it is older than the one by which they were freed.
    pub is_outdated: bool,
    /// Segments that the records speak of.
    pub named: Named,
    /// What records and checkpoints say of the ends of logs.
    pub witnesses: Witnesses,
}

impl Replay {
    /// Behind a checkpoint, or from nothing.
    pub fn new(base: Option<Base>) -> Self {
        let partitions = usize::from(PARTITIONS + SPOOL_PARTITIONS);
        let base = base.unwrap_or(Base {
            incarnation: 0,
            headers: Vec::new(),
            state: CoreState::default(),
            sequences: vec![0; partitions],
            ahead: HashMap::new(),
            segments: BTreeMap::new(),
        });
        let mut witnesses = Witnesses::default();
        base.ahead.values().for_each(|as_of| witnesses.reached(*as_of));
        Self {
            deferred: HashMap::new(),
            witnesses,
            state: base.state,
            sequences: base.sequences,
            report: RecoveryReport {
                checkpoint: base.incarnation,
                ..RecoveryReport::default()
            },
            headers: base.headers,
            ahead: base.ahead,
            rebuild: Rebuild::default(),
            is_outdated: false,
            named: Named::default(),
        }
    }

    /// All logs, in the order they were written. Gives where each ends.
    pub async fn logs<F: DiskFile>(
        &mut self,
        store_id: u64,
        found: &Found<F>,
        released: &Released,
    ) -> Result<Vec<LogEnd>, OpenError> {
        let mut ends = Vec::new();
        for (name, segments) in &found.logs {
            let end = self.log(store_id, *name, segments, released).await?;
            self.report.torn_tail_bytes += end.torn_bytes;
            check_sealed(*name, &end, found.incarnation)?;
            ends.push(end);
        }
        Ok(ends)
    }

    /// Everything of a log that the checkpoint does not cover.
    async fn log<F: DiskFile>(
        &mut self,
        store_id: u64,
        name: LogName,
        segments: &[ScanSegment<F>],
        released: &Released,
    ) -> Result<LogEnd, OpenError> {
        if name.incarnation > self.report.checkpoint {
            // Later logs lie behind all that any account was taken from.
            self.ahead = HashMap::new();
        }
        let header = self.headers.get(usize::from(name.log)).copied();
        let header =
            header.filter(|header| header.name.incarnation == name.incarnation && header.sequence > 0);
        let from = header.map_or(ScanFrom::BEGINNING, |header| ScanFrom {
            offset: header.position.offset,
            sequence: header.sequence,
        });
        if let Some(header) = header.filter(|header| header.is_sealed) {
            return Ok(LogEnd {
                cut: Some(header.position),
                segment_index: 0,
                sequence: header.sequence,
                is_sealed: true,
                torn_bytes: 0,
                ends: vec![header.position.offset],
            });
        }
        let each = |position, header, payload: &[u8]| self.record(position, header, payload);
        scan_log(store_id, name, segments, released, from, each).await
    }

    /// Records come by incarnation, log and place: for each partition that is the order of (epoch, sequence), because
    /// in one incarnation a partition has one owner, who writes one log.
    fn record(
        &mut self,
        position: LogPosition,
        header: RecordHeader,
        payload: &[u8],
    ) -> Result<(), Malformed> {
        let last = self
            .sequences
            .get_mut(usize::from(header.partition))
            .ok_or(Malformed("an unknown partition"))?;
        let missing = header
            .sequence
            .checked_sub(*last + 1)
            .ok_or(Malformed("a record that was there before"))?;
        *last = header.sequence;
        if missing > 0 && self.report.checkpoint > 0 {
            self.is_outdated = true;
            return Err(Malformed("records behind the checkpoints are missing"));
        }
        if missing > 0 {
            self.rebuild.gap(header.partition, position, missing);
        }
        let record = Record::decode(header.kind, header.partition, payload)?;
        self.named.note(position, &record);
        self.witnesses.note(&record);
        let bytes = u32::try_from(header.record_bytes()).map_err(|_| Malformed("it is too long"))?;
        let place = Place {
            position,
            bytes,
            sequence: header.sequence,
        };
        let as_of = record.account().and_then(|account| self.ahead.get(&account));
        if as_of.is_some_and(|as_of| position < *as_of) {
            apply_beside_account(&mut self.state, &record);
        } else if let Some(account) = self.waits_for_account(&record) {
            apply_beside_account(&mut self.state, &record);
            self.deferred.entry(account).or_default().push((place, record));
        } else {
            self.rebuild.record(&mut self.state, place, &record)?;
        }
        self.report.records += 1;
        Ok(())
    }

    /// Records that are missing must have been said anew.
    pub fn check_explained(&self) -> Result<(), OpenError> {
        match self.rebuild.unexplained().next() {
            None => Ok(()),
            Some(gap) => Err(OpenError::Damaged {
                position: gap.position,
                what: format!(
                    "{} records of partition {} before it are missing",
                    gap.missing, gap.partition
                ),
            }),
        }
    }

    /// What others say was durable must be there; `covered` are the segments with something in them.
    pub fn check_witnesses(
        &self,
        covered: &BTreeMap<SegmentId, CoveredSegment>,
        released: &Released,
    ) -> Result<(), OpenError> {
        let end = |segment: SegmentId| covered.get(&segment).map(|segment| segment.end);
        let mut gone = self.witnesses.gone(end, released, &self.sequences).into_iter();
        match gone.next() {
            None => Ok(()),
            Some((position, what)) => Err(OpenError::Damaged { position, what }),
        }
    }

    /// The account that `record` needs in memory, if it is not.
    fn waits_for_account(&self, record: &Record) -> Option<AccountId> {
        let account = record
            .account()
            .filter(|account| self.state.cold.contains_key(account))?;
        let is_plain = match record {
            Record::Message(message) => Cold::takes(message.mailbox, !message.keywords.is_empty()),
            Record::AccountRestated { .. } => return None,
            _ => false,
        };
        (!is_plain || self.deferred.contains_key(&account)).then_some(account)
    }

    /// Reads the accounts that records of the tail need, and applies these.
    pub async fn load_deferred<D: Disk>(&mut self, disk: &D, store_id: u64) -> Result<(), Unopened> {
        let mut ids: Vec<AccountId> = self.deferred.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let read = read_cold(disk, store_id, id, &self.state.cold[&id]).await;
            self.state
                .admit(read.map_err(|why| Unopened::Checkpoints(why.to_string()))?);
            for (place, record) in self.deferred.remove(&id).expect("it was listed") {
                // What it does beside its account was done in its turn, and is not done twice.
                apply(&mut self.state, place, &record).map_err(|why| OpenError::Damaged {
                    position: place.position,
                    what: why.0.to_owned(),
                })?;
            }
        }
        Ok(())
    }

    /// One seed for each core.
    pub fn finish(
        mut self,
        cores: usize,
        seed: impl Fn(usize, CoreState, Vec<u64>) -> StoreSeed,
    ) -> Recovered {
        let mut states: Vec<CoreState> = (0..cores).map(|_| CoreState::default()).collect();
        for (id, mut account) in std::mem::take(&mut self.state.accounts) {
            account.changes.forget();
            for mailbox in account.mailboxes.values_mut() {
                mailbox.changes.forget();
                self.report.messages += mailbox.rows.len() as u64;
            }
            let state = &mut states[id.partition().core(cores)];
            let kept = self.state.kept.remove(&id);
            state.kept.insert(id, kept.unwrap_or_default());
            state.accounts.insert(id, account);
        }
        for (id, cold) in std::mem::take(&mut self.state.cold) {
            self.report.messages += u64::from(cold.head.messages);
            states[id.partition().core(cores)].cold.insert(id, cold);
        }
        for (key, served) in std::mem::take(&mut self.state.served) {
            // An entry that is done is never fanned out again: its keys have served.
            if !self.state.spool.contains_key(&key) {
                continue;
            }
            for entry in served {
                let core = Partition(entry.0).core(cores);
                states[core].served.entry(key).or_default().push(entry);
            }
        }
        for (key, entry) in std::mem::take(&mut self.state.spool) {
            states[Partition(key.partition).core(cores)]
                .spool
                .insert(key, entry);
        }
        // The order in which several logs were read says nothing.
        for state in &mut states {
            state
                .served
                .values_mut()
                .for_each(|served| served.sort_unstable());
        }
        let sequences = self.sequences;
        let seeds = states
            .into_iter()
            .enumerate()
            .map(|(core, state)| seed(core, state, sequences.clone()))
            .collect();
        Recovered {
            seeds,
            report: self.report,
        }
    }
}

/// An older start's log was sealed by the recovery before the next start: without a seal its end is gone.
fn check_sealed(name: LogName, end: &LogEnd, newest: u32) -> Result<(), OpenError> {
    match end.cut {
        Some(position) if !end.is_sealed && name.incarnation < newest => Err(OpenError::Damaged {
            position,
            what: "the end of this log is gone".to_owned(),
        }),
        _ => Ok(()),
    }
}
