//! The fold of records where some are missing: compaction frees what was said anew later, and a replay must come through.
//!
//! A partition whose sequence has a gap is *broken*: from there on only what is known whole counts, which is nothing.
//! Between its [`Record::PartitionBegins`] and [`Record::PartitionEnds`] every account is said anew and from then on known;
//! at the end all of them are, and the partition is whole again. Whatever lay before the begin was not needed: a gap there
//! is explained. A gap that no such end follows is damage.
//! Invariants: in a partition that is not broken every record is applied, and what is said anew equals what was known
//! (compared in builds with debug assertions); an account that was known when the gap came must be among those said anew.
//! Limits: one account's octets at once.
//! Not here: what a record does (`apply`), which records are missing (`recovery`, `tools::survey`).

use super::SpoolKey;
use super::apply::{Place, apply, apply_beside_account, spool_entry};
use super::codec::Malformed;
use super::record::{Record, kind};
use super::restated;
use super::state::CoreState;
use crate::model::{AccountId, LogPosition, PARTITIONS, SPOOL_PARTITIONS};
use std::collections::HashSet;

/// One fold's account of what is broken.
pub struct Rebuild {
    partitions: Vec<PartitionRebuild>,
}

#[derive(Default)]
struct PartitionRebuild {
    broken: Option<Broken>,
    /// Accounts that records have made so far.
    made: Vec<AccountId>,
    /// Parts of an account that is being said anew.
    parts: Option<(AccountId, u32, Vec<u8>)>,
}

#[derive(Default)]
struct Broken {
    /// Of the record behind the gap, and how many are missing.
    at: Option<(LogPosition, u64)>,
    begun_at: Option<u64>,
    known: HashSet<AccountId>,
}

/// A gap that nothing explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: u16,
    /// Of the record behind it.
    pub position: LogPosition,
    /// Records of the partition that are not there.
    pub missing: u64,
}

impl Default for Rebuild {
    fn default() -> Self {
        let partitions = usize::from(PARTITIONS + SPOOL_PARTITIONS);
        Self {
            partitions: (0..partitions).map(|_| PartitionRebuild::default()).collect(),
        }
    }
}

impl Rebuild {
    /// `missing` records of the partition are not there before the one at `position`, which comes next.
    pub fn gap(&mut self, partition: u16, position: LogPosition, missing: u64) {
        let this = &mut self.partitions[usize::from(partition)];
        this.parts = None;
        let before = this.broken.take().and_then(|broken| broken.at);
        let broken = Broken {
            at: before.or(Some((position, missing))),
            ..Broken::default()
        };
        this.broken = Some(broken);
    }

    /// Is something missing in this partition, not explained so far?
    #[must_use]
    pub fn is_broken(&self, partition: u16) -> bool {
        let this = self.partitions.get(usize::from(partition));
        this.is_some_and(|this| this.broken.is_some())
    }

    /// Is this a change of an account of which something is missing? [`Self::record`] passes it over.
    #[must_use]
    pub fn passes_over(&self, record: &Record) -> bool {
        let this = self.partitions.get(usize::from(record.partition()));
        let Some(broken) = this.and_then(|this| this.broken.as_ref()) else {
            return false;
        };
        let is_said = match record {
            Record::AccountRestated { .. } => true,
            Record::AccountCreated { .. } => broken.begun_at.is_some(),
            _ => false,
        };
        record
            .account()
            .is_some_and(|id| !is_said && !broken.known.contains(&id))
    }

    /// Gaps without an end behind them.
    pub fn unexplained(&self) -> impl Iterator<Item = Gap> + '_ {
        let gap = |(partition, this): (u16, &PartitionRebuild)| {
            let (position, missing) = this.broken.as_ref()?.at?;
            Some(Gap {
                partition,
                position,
                missing,
            })
        };
        (0u16..).zip(&self.partitions).filter_map(gap)
    }

    /// Applies one record as far as its partition is known.
    pub fn record(&mut self, state: &mut CoreState, place: Place, record: &Record) -> Result<(), Malformed> {
        let partition = record.partition();
        let this = &mut self.partitions[usize::from(partition)];
        match record {
            Record::PartitionBegins { .. } => {
                if let Some(broken) = &mut this.broken {
                    broken.begun_at = Some(place.sequence);
                    broken.known = HashSet::new();
                    forget_partition(state, partition);
                }
                Ok(())
            }
            Record::AccountRestated {
                account,
                part,
                is_last,
                octets,
            } => this.restated(state, *account, *part, *is_last, octets),
            Record::ServedRestated { key, index, .. } if this.broken.is_some() => {
                state.served.entry(*key).or_default().push((partition, *index));
                Ok(())
            }
            Record::SpoolRestated { key, payload } if this.broken.is_some() => {
                restore_entry(state, *key, payload)
            }
            Record::PartitionEnds { begun_at, .. } => this.end(*begun_at),
            other => this.change(state, place, other),
        }
    }
}

impl PartitionRebuild {
    fn restated(
        &mut self,
        state: &mut CoreState,
        id: AccountId,
        part: u32,
        is_last: bool,
        octets: &[u8],
    ) -> Result<(), Malformed> {
        let parts = self.parts.take();
        let mut all = match parts {
            Some((of, next, before)) if of == id && next == part => before,
            _ if part == 0 => Vec::new(),
            // The rest of what a crash cut off.
            _ => return Ok(()),
        };
        all.extend_from_slice(octets);
        if !is_last {
            self.parts = Some((id, part + 1, all));
            return Ok(());
        }
        let Some(broken) = &mut self.broken else {
            let is_known = || {
                let known = state.accounts.get(&id);
                known.is_some_and(|known| restated::encode(known) == all)
            };
            // One that is not in memory comes from a checkpoint; it is as its snapshot says.
            let is_cold = state.cold.contains_key(&id);
            if cfg!(debug_assertions) && !is_cold && !is_known() {
                return Err(Malformed("an account is said anew as it was not"));
            }
            return Ok(());
        };
        if broken.begun_at.is_some() {
            assert!(
                !state.cold.contains_key(&id),
                "behind a checkpoint nothing is missing"
            );
            if state.accounts.insert(id, restated::decode(id, &all)?).is_none() {
                self.made.push(id);
            }
            broken.known.insert(id);
        }
        Ok(())
    }

    fn change(&mut self, state: &mut CoreState, place: Place, record: &Record) -> Result<(), Malformed> {
        let is_creation = matches!(record, Record::AccountCreated { .. });
        let Some(broken) = &mut self.broken else {
            self.made.extend(record.account().filter(|_| is_creation));
            return apply(state, place, record).map(|_| ());
        };
        let Some(account) = record.account() else {
            return apply(state, place, record).map(|_| ());
        };
        // What a crash left of an account's parts ends where something else of it comes.
        self.parts = None;
        if is_creation && broken.begun_at.is_some() {
            if state.accounts.remove(&account).is_none() {
                self.made.push(account);
            }
            broken.known.insert(account);
        }
        if broken.known.contains(&account) {
            apply(state, place, record).map(|_| ())
        } else {
            apply_beside_account(state, record);
            Ok(())
        }
    }

    fn end(&mut self, begun_at: u64) -> Result<(), Malformed> {
        let Some(broken) = self.broken.take_if(|broken| broken.begun_at == Some(begun_at)) else {
            return Ok(());
        };
        if self.made.iter().any(|id| !broken.known.contains(id)) {
            return Err(Malformed("an account was not said anew with its partition"));
        }
        Ok(())
    }
}

/// What a partition's begin says anew right behind it.
fn forget_partition(state: &mut CoreState, partition: u16) {
    state.spool.retain(|key, _| key.partition != partition);
    state.served.retain(|_, served| {
        served.retain(|(of, _)| *of != partition);
        !served.is_empty()
    });
}

fn restore_entry(state: &mut CoreState, key: SpoolKey, payload: &[u8]) -> Result<(), Malformed> {
    let record = Record::decode(kind::SPOOL, key.partition, payload)?;
    let entry = spool_entry(key, &record).ok_or(Malformed("not a spool record"))?;
    state.spool.insert(key, entry);
    Ok(())
}
