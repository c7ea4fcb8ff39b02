//! The writer of one core's log: one group at a time, written, synced, applied, answered; the next segment ahead of need.
//!
//! Invariants: a receipt exists only after a sync that began when the group's write had completed (DURABILITY rule 1);
//! records are applied in log order; a segment is offered to the log when its header and its name are durable (rule 4).
//! Failure: the first failed write or sync ends the log: everybody who waits or comes later hears
//! [`StoreError::Failed`], nothing of the group is applied, nothing is tried again (rule 3). No space for a segment is
//! no failure: whoever needs it hears [`StoreError::NoSpace`], and the next commit tries again.
//! Not here: what waits to be written (`log`), checkpoints beside it (`checkpointer`).

use super::apply::apply;
use super::apply_messages::row_of;
use super::frame::GroupHeader;
use super::group::{Batch, Group, Segment};
use super::handle::Inner;
use super::log::Next;
use super::plan::Answer;
use super::record::Record;
use super::segment::{FORMAT_VERSION, SegmentHeader, segment_name};
use super::{CommitReceipt, Environment, Outcome, StoreError};
use crate::base::guard::AbortOnUnwind;
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile, WriteBuffer};
use crate::model::SegmentId;
use crate::proto::ReceiptId;
use futures_util::future::poll_immediate;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which part of a receipt's sequence counts commits; the rest is the incarnation.
const COMMIT_BITS: u32 = 40;

type FileOf<E> = <<E as Environment>::Disk as Disk>::File;

/// Makes a segment and everything about it durable.
pub async fn create_segment<D: Disk>(
    disk: &D,
    next_segment: &AtomicU32,
    segment_bytes: u32,
    header: impl FnOnce(SegmentId) -> SegmentHeader,
) -> Result<Segment<D::File>, DiskError> {
    let id = SegmentId(next_segment.fetch_add(1, Ordering::Relaxed));
    let header = header(id);
    let file = disk.create(&segment_name(id), u64::from(segment_bytes)).await?;
    let mut block = file.buffer(BLOCK_BYTES);
    block.bytes_mut().copy_from_slice(&header.encode());
    file.write_at(Rc::new(block), 0).await?;
    file.sync().await?;
    disk.sync_directory().await?;
    Ok(Segment {
        file,
        id,
        generation: header.generation,
        version: header.version,
        bytes: segment_bytes,
    })
}

impl<E: Environment> Inner<E> {
    /// Writes until shutdown or failure, making segments and checkpoints beside it; ends with a seal and a checkpoint.
    pub async fn write(&self) {
        // Also when this task panics: a shutdown must not wait for it then.
        let _end = Ended(self);
        {
            let groups = std::pin::pin!(self.write_groups());
            let aside = std::pin::pin!(self.work_aside());
            let checkpoints = std::pin::pin!(self.keep_checkpoints());
            let summaries = std::pin::pin!(self.keep_summaries());
            let derived = futures_util::future::select(checkpoints, summaries);
            let beside = futures_util::future::select(aside, derived);
            futures_util::future::select(groups, beside).await;
        }
        self.flush_summaries().await;
        if self.log.borrow().is_sealed {
            self.checkpoint().await;
            self.note_log().await;
        }
    }

    async fn note_log(&self) {
        if let Err(error) = self.log_count.note_sealed(self.env.disk()).await {
            tracing::warn!(%error, "the superblock does not say how many logs there are");
        }
    }

    async fn write_groups(&self) {
        let mut work = self.work.waiter();
        // Of the newest durable group, not applied and answered yet.
        let mut durable = Vec::new();
        loop {
            let group = self.log.borrow_mut().take_group();
            if self.log.borrow().failed.is_some() {
                return self.settle(durable);
            } else if let Some(group) = group {
                self.room.notify_all();
                self.want_segment_ahead();
                // The disk works on this group while the one before it is answered and whoever heard fills the next.
                let mut writing = std::pin::pin!(self.write_group(group));
                let begun = poll_immediate(writing.as_mut()).await;
                self.settle(std::mem::take(&mut durable));
                let written = match begun {
                    Some(written) => written,
                    None => writing.await,
                };
                match written {
                    Ok(batches) => durable = batches,
                    Err(failed) => return self.fail(failed),
                }
            } else if !durable.is_empty() {
                self.settle(std::mem::take(&mut durable));
            } else if self.log.borrow().is_stopping {
                return self.write_seal().await;
            } else {
                work.changed().await;
            }
        }
    }

    fn want_segment_ahead(&self) {
        if self.log.borrow_mut().wants_segment_ahead() {
            self.aside.notify_all();
        }
    }

    /// On error the group's batches have heard of it already.
    async fn write_group(&self, group: Group<FileOf<E>>) -> Result<Vec<Batch>, StoreError> {
        let (store_id, log, incarnation, durable_to) = {
            let log = self.log.borrow();
            (log.store_id, log.number, log.incarnation, log.durable_to)
        };
        let (segment, sequence, end) = (group.segment.clone(), group.sequence, group.end());
        let header = |bytes, records| GroupHeader {
            segment: segment.id,
            generation: segment.generation,
            log,
            incarnation,
            sequence,
            durable_to,
            bytes,
            records,
        };
        let sealed = group.into_parts(header, store_id);
        let buffer = Rc::new(sealed.buffer);
        let position = u64::from(sealed.start);
        let written = segment.file.write_durably(buffer.clone(), position).await;
        if let Err(error) = written {
            let failed = StoreError::Failed(error.to_string());
            answer_all(sealed.batches, &failed);
            return Err(failed);
        }
        self.log
            .borrow_mut()
            .note_durable(segment.generation, end, sequence);
        self.meters.note_durable(end);
        self.checkpoints.note_logged(buffer.bytes().len() as u64);
        self.meters.group_bytes.record(buffer.bytes().len() as u64);
        self.meters.group_commits.record(sealed.batches.len() as u64);
        self.reader.keep_group(segment.id, sealed.start, buffer);
        Ok(sealed.batches)
    }

    /// Applies what is durable now, then tells whom it concerns.
    fn settle(&self, batches: Vec<Batch>) {
        if batches.is_empty() {
            return;
        }
        let outcomes: Vec<Outcome> = batches
            .iter()
            .map(|batch| {
                self.checkpoints.note_applied(batch);
                self.apply_batch(batch)
            })
            .collect();
        let newest = batches.last().expect("there are some").commit;
        self.log.borrow_mut().note_settled(newest);
        self.meters.commits.add(batches.len() as u64);
        self.meter_accounts();
        let touched = batches.iter().flat_map(|batch| &batch.touched);
        self.notify_watchers(touched.map(|(account, _)| *account));
        self.settled.notify_all();
        for (batch, outcome) in batches.into_iter().zip(outcomes) {
            let receipt = self.receipt(batch.commit);
            batch.waiter.send(Ok((receipt, outcome)));
        }
    }

    fn meter_accounts(&self) {
        let state = self.state.borrow();
        let loaded = state.accounts.len();
        self.meters.accounts.set((loaded + state.cold.len()) as i64);
        self.meters.loaded_accounts.set(loaded as i64);
    }

    fn apply_batch(&self, batch: &Batch) -> Outcome {
        let guard = AbortOnUnwind::over("the durable state");
        let mut state = self.state.borrow_mut();
        let mut last = Outcome::Done;
        for entry in &batch.entries {
            self.compaction.note_applied(&entry.record, entry.place);
            last = match apply(&mut state, entry.place, &entry.record) {
                Ok(outcome) => outcome,
                Err(why) => panic!(
                    "a durable record cannot be applied: {} ({:?})",
                    why.0, entry.record
                ),
            };
        }
        let mut pending = self.pending.borrow_mut();
        for entry in &batch.entries {
            let Record::Message(message) = &entry.record else {
                continue;
            };
            if let Some(key) = message.key {
                pending.serving.remove(&key);
            }
            let is_cold = state.cold.contains_key(&message.account);
            self.meters.cold_deliveries.add(u64::from(is_cold));
            if let Ok(row) = row_of(entry.place, message) {
                self.summaries.fresh.note(message.account, row);
            }
        }
        for (account, added) in &batch.touched {
            let durable = state
                .durable(*account)
                .expect("a touched account is durable by now");
            pending.end(*account, *added, durable);
        }
        drop(guard);
        match &batch.answer {
            Answer::Known(outcome) => outcome.clone(),
            Answer::OfLastRecord => last,
        }
    }

    fn receipt(&self, commit: u64) -> CommitReceipt {
        let log = self.log.borrow();
        let sequence = u64::from(log.incarnation) << COMMIT_BITS | commit;
        CommitReceipt::after_sync(ReceiptId {
            log: log.number,
            sequence,
        })
    }

    /// The log takes nothing more; everybody hears why.
    fn fail(&self, failed: StoreError) {
        let waiting = {
            let mut log = self.log.borrow_mut();
            log.failed = Some(failed.clone());
            self.meters.has_failed.set(1);
            log.drain()
        };
        tracing::error!(log = self.core, %failed, "the log failed: commits are refused until a restart");
        answer_all(waiting, &failed);
        self.settled.notify_all();
        self.room.notify_all();
        self.work.notify_all();
    }

    /// A log that was sealed needs no cut at the next start, and damage in its last group is told from a torn tail.
    async fn write_seal(&self) {
        let group = self.log.borrow_mut().seal_group();
        match self.write_group(group).await {
            Ok(_) => self.log.borrow_mut().is_sealed = true,
            Err(failed) => self.fail(failed),
        }
    }

    async fn work_aside(&self) {
        let mut aside = self.aside.waiter();
        loop {
            let wants_segment = matches!(self.log.borrow().next, Next::Wanted);
            if wants_segment {
                self.make_segment().await;
                self.room.notify_all();
            } else if self.wants_free_bytes.replace(false) {
                self.refresh_free_bytes().await;
            } else {
                aside.changed().await;
            }
        }
    }

    async fn make_segment(&self) {
        let (store_id, log, incarnation) = {
            let log = self.log.borrow();
            (log.store_id, log.number, log.incarnation)
        };
        let header = |segment| SegmentHeader {
            version: FORMAT_VERSION,
            store_id,
            segment,
            generation: 1,
            log,
            incarnation,
        };
        let made = create_segment(
            self.env.disk(),
            &self.next_segment,
            self.options.segment_bytes,
            header,
        )
        .await;
        self.refresh_free_bytes().await;
        match made {
            Ok(segment) => {
                self.meters.segments_made.add(1);
                self.reader
                    .know(segment.id, segment.record_seed(), segment.file.clone());
                self.log.borrow_mut().next = Next::Ready(segment);
            }
            Err(DiskError::NoSpace { what }) => {
                self.note_full(&what);
                let mut log = self.log.borrow_mut();
                log.next = Next::None;
                log.refused_segments.0 += 1;
                log.refused_segments.1 = Some(StoreError::NoSpace(what));
            }
            // What is in that file is unknown; nothing refers to it. A disk that fails here fails commits next.
            Err(error) => {
                self.log.borrow_mut().next = Next::None;
                self.fail(StoreError::Failed(error.to_string()));
            }
        }
    }
}

/// Says that the writer has ended, however it did.
struct Ended<'a, E: Environment>(&'a Inner<E>);

impl<E: Environment> Drop for Ended<'_, E> {
    fn drop(&mut self) {
        self.0.has_ended.set(true);
        self.0.ended.notify_all();
        self.0.checkpoints.attempted.notify_all();
    }
}

fn answer_all(batches: Vec<Batch>, failed: &StoreError) {
    for batch in batches {
        batch.waiter.send(Err(failed.clone()));
    }
}
