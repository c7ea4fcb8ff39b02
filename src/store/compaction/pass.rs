//! One pass of compaction, led by one core: mark, choose, move, record, release, remove.
//!
//! Invariants: the list of freed segments is written only when every core has said that what it needs of them is durable
//! elsewhere, and no file goes before that list is durable. One pass at a time.
//! Failure: an error of any core ends the pass; what was freed until then stays freed, the rest is tried by the next.
//! Not here: how a core is asked (`delivery::compaction`), what each step does on a core (`mark`, `relocate`, `restate`).

use super::choose::{Growth, Marked, Marks, Victims, choose, may_pay};
use super::released::{Released, Run, file_name};
use super::relocate::Moved;
use super::runs::{Standing, wrongly_freed};
use crate::disk::{Disk, DiskError};
use crate::model::SegmentId;
use crate::store::checkpoint_state::CoveredSegment;
use crate::store::handle::Store;
use crate::store::segment::segment_name;
use crate::store::{Environment, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the leader asks of a core.
#[derive(Clone, Debug)]
pub enum Step {
    /// How much may have died since you last looked?
    Estimate,
    /// What lives where?
    Mark,
    /// Make durable elsewhere what you need of these.
    Move(Arc<BTreeSet<SegmentId>>),
    /// They are freed: let go of them.
    Release(Arc<BTreeSet<SegmentId>>),
    /// Their files are gone.
    Removed(Arc<BTreeSet<SegmentId>>),
}

/// A core's answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To [`Step::Estimate`]: bytes in finished segments of its own log, and what came since it looked.
    Estimated(u64, Option<Growth>),
    /// To [`Step::Mark`]; `None`: not now.
    Marked(Option<Marks>),
    /// To [`Step::Move`].
    Moved(Moved),
    /// To [`Step::Release`]: those that are being read.
    Released(Vec<SegmentId>),
    /// To [`Step::Removed`].
    Done,
}

/// What a pass did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassReport {
    /// Whether anybody looked at what is alive: it was not certain beforehand that too little is dead.
    pub has_looked: bool,
    /// Bytes of all finished segments when it began.
    pub bytes: u64,
    /// How many of them lived.
    pub live_bytes: u64,
    /// Segments freed.
    pub freed: u64,
    /// Bytes of them.
    pub freed_bytes: u64,
    /// Messages written anew.
    pub moved_messages: u64,
    /// Bytes of them.
    pub moved_bytes: u64,
    /// Bytes of accounts said anew.
    pub restated_bytes: u64,
}

/// Bugs that the crash tests must notice.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Files go before the cores have moved what they need.
    FreeBeforeMoving,
    /// Files go before the list says so durably.
    FreeBeforeTheList,
    /// Partitions are not said anew: a change is forgotten, such as an expunge.
    ForgetTheTombstones,
    /// Bodies on their way in do not count.
    ForgetBodiesOnTheirWay,
}

#[cfg(test)]
thread_local! {
    pub static PLANTED: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
    /// How often a crash test's store came to each phase: mark, move, list, release, remove.
    pub static PHASES: std::cell::Cell<[u64; 5]> = const { std::cell::Cell::new([0; 5]) };
}

#[cfg(test)]
fn has_bug(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}

#[cfg(test)]
fn came_to(phase: usize) {
    let mut phases = PHASES.get();
    phases[phase] += 1;
    PHASES.set(phases);
}

fn gauge(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl<E: Environment> Store<E> {
    /// This core's part of a pass. `pace` is told how many bytes were written and waits as long as it likes.
    ///
    /// # Errors
    /// The store's: the pass ends then.
    pub async fn compact_step(&self, step: Step, pace: &impl AsyncFn(u64)) -> Result<Answer, StoreError> {
        let inner = self.inner();
        Ok(match step {
            Step::Estimate => Answer::Estimated(inner.written_bytes(), inner.growth()),
            Step::Mark => Answer::Marked(inner.mark().await?),
            Step::Move(victims) => {
                let mut moved = inner.move_out(&victims, pace).await?;
                // Those that stay because of this core need nothing said anew.
                let last = victims.difference(&moved.kept).last().copied();
                #[cfg(test)]
                if has_bug(PlantedBug::ForgetTheTombstones) {
                    return Ok(Answer::Moved(moved));
                }
                if let Some(last) = last {
                    moved.restated_bytes = inner.restate(last, pace).await?;
                }
                if inner.checkpoints.log_is_read_from().is_none() {
                    return Err(StoreError::Cannot("checkpoints are void since"));
                }
                let written = moved.bytes + moved.restated_bytes;
                inner.meters.compaction_written_bytes.add(written);
                Answer::Moved(moved)
            }
            Step::Release(victims) => {
                inner.compaction.leaving.borrow_mut().extend(victims.iter());
                let stays = |segment: &CoveredSegment| !victims.contains(&segment.id);
                inner.checkpoints.older.borrow_mut().retain(stays);
                inner.log.borrow_mut().written.retain(stays);
                inner.reader.forget(&victims);
                let reads = &inner.compaction.reads;
                Answer::Released(
                    victims
                        .iter()
                        .copied()
                        .filter(|id| reads.is_pinned(*id))
                        .collect(),
                )
            }
            Step::Removed(victims) => {
                let mut leaving = inner.compaction.leaving.borrow_mut();
                leaving.retain(|segment| !victims.contains(segment));
                Answer::Done
            }
        })
    }
}

/// Runs one pass over all `cores` if it pays. `ask` takes a step to a core, this one included.
///
/// # Errors
/// Any core's, or the disk's.
pub async fn compact<E: Environment>(
    store: &Store<E>,
    cores: usize,
    ask: &impl AsyncFn(usize, Step) -> Result<Answer, StoreError>,
) -> Result<PassReport, StoreError> {
    let pass = Pass { store, cores, ask };
    pass.run().await
}

struct Pass<'a, E: Environment, A> {
    store: &'a Store<E>,
    cores: usize,
    ask: &'a A,
}

impl<E: Environment, A: AsyncFn(usize, Step) -> Result<Answer, StoreError>> Pass<'_, E, A> {
    async fn ask_all(&self, step: &Step) -> Result<Vec<Answer>, StoreError> {
        let asked = (0..self.cores).map(|core| (self.ask)(core, step.clone()));
        // All are heard, so that nobody is still at it when a pass ends.
        let answers = futures_util::future::join_all(asked).await;
        answers.into_iter().collect()
    }

    async fn run(&self) -> Result<PassReport, StoreError> {
        let mut report = PassReport::default();
        self.remove_left_over().await?;
        if !self.may_pay().await? {
            return Ok(report);
        }
        report.has_looked = true;
        let Some(marks) = self.mark().await? else {
            return Ok(report);
        };
        let inner = self.store.inner();
        let free_bytes = inner.env.disk().free_bytes().await?;
        let chosen = choose(&marks, &inner.options, free_bytes);
        (report.bytes, report.live_bytes) = (chosen.bytes, chosen.live_bytes);
        inner.compaction.marked.set(Some(Marked {
            bytes: chosen.bytes,
            live_bytes: chosen.live_bytes,
        }));
        let meters = &inner.meters;
        meters.compaction_log_bytes.set(gauge(chosen.bytes));
        meters.compaction_live_bytes.set(gauge(chosen.live_bytes));
        if chosen.segments.is_empty() {
            return Ok(report);
        }
        let mut standing = Standing::new();
        for mark in &marks {
            let all = mark.finished.iter().chain(&mark.behind);
            standing.extend(all.map(|segment| (segment.id, *segment)));
        }
        #[cfg(test)]
        if has_bug(PlantedBug::FreeBeforeMoving) {
            let runs = inner.runs(&chosen.segments, &standing).await?;
            self.free(&chosen.segments, runs, &standing, &mut report).await?;
        }
        let victims = self.move_all(chosen, &mut report).await?;
        let runs = inner.runs(&victims, &standing).await?;
        let victims: BTreeSet<SegmentId> = runs.iter().map(|run| run.first_segment).collect();
        report.freed = victims.len() as u64;
        report.freed_bytes = victims.iter().map(|id| u64::from(standing[id].end)).sum();
        if !victims.is_empty() {
            self.free(&victims, runs, &standing, &mut report).await?;
            meters.compaction_passes.add(1);
            meters.compaction_freed_bytes.add(report.freed_bytes);
        }
        Ok(report)
    }

    /// Can there be enough to free that a look at every account is worth it?
    async fn may_pay(&self) -> Result<bool, StoreError> {
        let inner = self.store.inner();
        let mut finished_bytes = inner.older_bytes();
        let mut growth = Vec::with_capacity(self.cores);
        for answer in self.ask_all(&Step::Estimate).await? {
            let Answer::Estimated(written_bytes, grown) = answer else {
                unreachable!("an estimate was answered with {answer:?}")
            };
            finished_bytes += written_bytes;
            growth.push(grown);
        }
        let marked = inner.compaction.marked.get();
        Ok(may_pay(finished_bytes, marked, &growth, &inner.options))
    }

    async fn mark(&self) -> Result<Option<Vec<Marks>>, StoreError> {
        #[cfg(test)]
        came_to(0);
        let mut marks = Vec::with_capacity(self.cores);
        for answer in self.ask_all(&Step::Mark).await? {
            match answer {
                Answer::Marked(Some(mark)) => marks.push(mark),
                Answer::Marked(None) => return Ok(None),
                other => unreachable!("a mark was answered with {other:?}"),
            }
        }
        #[cfg(test)]
        if has_bug(PlantedBug::ForgetBodiesOnTheirWay) {
            marks.iter_mut().for_each(|mark| mark.pinned.clear());
        }
        Ok(Some(marks))
    }

    /// Gives those that nobody needs any more.
    async fn move_all(
        &self,
        chosen: Victims,
        report: &mut PassReport,
    ) -> Result<BTreeSet<SegmentId>, StoreError> {
        #[cfg(test)]
        came_to(1);
        let mut victims = chosen.segments.clone();
        for answer in self.ask_all(&Step::Move(Arc::new(chosen.segments))).await? {
            let Answer::Moved(moved) = answer else {
                unreachable!("a move was answered with {answer:?}")
            };
            report.moved_messages += moved.messages;
            report.moved_bytes += moved.bytes;
            report.restated_bytes += moved.restated_bytes;
            victims.retain(|segment| !moved.kept.contains(segment));
        }
        Ok(victims)
    }

    /// Records that the victims are freed, has every core let go of them, and removes them.
    async fn free(
        &self,
        victims: &BTreeSet<SegmentId>,
        runs: Vec<Run>,
        standing: &Standing,
        report: &mut PassReport,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        came_to(2);
        #[cfg(test)]
        if has_bug(PlantedBug::FreeBeforeTheList) {
            self.remove(victims).await?;
        }
        let mut list: Released = self.store.inner().compaction.board.released.lock().clone();
        runs.into_iter().for_each(|run| list.add(run));
        if let Some(segment) = wrongly_freed(&list, standing, victims) {
            tracing::error!(
                ?segment,
                "the list of freed segments would name one that stays: not written"
            );
            return Err(StoreError::Cannot("a segment that stays would be freed"));
        }
        self.write_list(list, report.freed_bytes).await?;
        self.release(victims).await
    }

    async fn write_list(&self, mut list: Released, freed_bytes: u64) -> Result<(), StoreError> {
        let inner = self.store.inner();
        if list.number == 0 {
            // With it one that is torn is told from one that was right: before it nothing was freed.
            let first = Released {
                number: 1,
                ..Released::default()
            };
            self.write_over(&first).await?;
            list.number = first.number;
        }
        let before = list.number;
        list.number += 1;
        list.incarnation = inner.compaction.incarnation;
        list.freed_bytes += freed_bytes;
        list.last_segment = inner.next_segment.load(Ordering::Relaxed).saturating_sub(1);
        self.write_over(&list).await?;
        *inner.compaction.board.released.lock() = list;
        // Derived from nothing, but said anew: the next start removes it otherwise.
        let _ = inner.env.disk().remove(&file_name(before)).await;
        Ok(())
    }

    /// Writes a list in place of one of an attempt that failed; that may be durable, and right: what it names was moved.
    async fn write_over(&self, list: &Released) -> Result<(), DiskError> {
        let inner = self.store.inner();
        let disk = inner.env.disk();
        match list.write(disk, inner.compaction.store_id).await {
            Err(DiskError::AlreadyExists { .. }) => {
                disk.remove(&file_name(list.number)).await?;
                list.write(disk, inner.compaction.store_id).await
            }
            written => written,
        }
    }

    /// Has every core let go of what is freed, and removes it; what that fails for is left to the next pass.
    async fn release(&self, victims: &BTreeSet<SegmentId>) -> Result<(), StoreError> {
        let released = self.try_release(victims).await;
        if released.is_err() {
            let mut left = self.store.inner().compaction.board.unremoved.lock();
            left.extend(victims);
        }
        released
    }

    async fn try_release(&self, victims: &BTreeSet<SegmentId>) -> Result<(), StoreError> {
        #[cfg(test)]
        came_to(3);
        let step = Step::Release(Arc::new(victims.clone()));
        let mut removable = victims.clone();
        for answer in self.ask_all(&step).await? {
            let Answer::Released(read) = answer else {
                unreachable!("a release was answered with {answer:?}")
            };
            removable.retain(|segment| !read.contains(segment));
        }
        let left = victims.difference(&removable);
        self.store.inner().compaction.board.unremoved.lock().extend(left);
        self.remove(&removable).await
    }

    /// Tries again what was being read when it was freed.
    async fn remove_left_over(&self) -> Result<(), StoreError> {
        let left = std::mem::take(&mut *self.store.inner().compaction.board.unremoved.lock());
        if left.is_empty() {
            return Ok(());
        }
        self.release(&left).await
    }

    async fn remove(&self, victims: &BTreeSet<SegmentId>) -> Result<(), StoreError> {
        #[cfg(test)]
        came_to(4);
        let disk = self.store.inner().env.disk();
        for id in victims {
            match disk.remove(&segment_name(*id)).await {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        disk.sync_directory().await?;
        self.ask_all(&Step::Removed(Arc::new(victims.clone()))).await?;
        self.store.inner().refresh_free_bytes().await;
        Ok(())
    }
}
