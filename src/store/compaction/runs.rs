//! Which groups lie in a victim: what the list of freed segments says of it.
//!
//! Invariants: a segment's groups end where those of the next segment *of its log* begin, and which one that is, is known
//! from ids, never from what can be read: groups of a segment that stays are never claimed for a victim. The last groups of
//! a log are told by their seal.
//! Failure: a victim whose groups cannot be told for certain stays, with a warning.
//! Not here: which are victims (`choose`), the list (`released`).

use super::released::{Released, Run};
use crate::disk::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use crate::model::SegmentId;
use crate::store::checkpoint_state::CoveredSegment;
use crate::store::frame::{GROUP_HEADER_BYTES, GroupHeader, RecordHeader};
use crate::store::handle::Inner;
use crate::store::record::kind;
use crate::store::segment::{SegmentHeader, segment_name};
use crate::store::{Environment, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

/// Every segment that is there, by id: the finished ones, and of each log of this start those behind.
pub(super) type Standing = BTreeMap<SegmentId, CoveredSegment>;

impl<E: Environment> Inner<E> {
    /// Which groups lie in each of the victims. One whose groups cannot be told stays.
    pub(super) async fn runs(
        &self,
        victims: &BTreeSet<SegmentId>,
        standing: &Standing,
    ) -> Result<Vec<Run>, StoreError> {
        let mut runs = Vec::with_capacity(victims.len());
        for id in victims {
            match self.run_of(&standing[id], standing).await? {
                Some(run) => runs.push(run),
                None => {
                    let segment = segment_name(*id);
                    tracing::warn!(segment, "it cannot be told where its groups end: it stays");
                }
            }
        }
        Ok(runs)
    }

    async fn run_of(&self, segment: &CoveredSegment, standing: &Standing) -> Result<Option<Run>, StoreError> {
        let Some(first_group) = self.group_at(segment, BLOCK_BYTES as u32).await? else {
            return Ok(None);
        };
        let next = standing
            .range((Excluded(segment.id), Unbounded))
            .map(|(_, other)| other)
            .find(|other| other.log == segment.log);
        let freed = {
            let released = self.compaction.board.released.lock();
            released.next_behind(segment.log, segment.id).copied()
        };
        let freed = freed.filter(|freed| next.is_none_or(|next| freed.first_segment < next.id));
        let (last_group, has_seal) = match (freed, next) {
            (Some(freed), _) => (freed.first_group.checked_sub(1), false),
            (None, Some(next)) => {
                let behind = self.group_at(next, BLOCK_BYTES as u32).await?;
                (behind.and_then(|behind| behind.checked_sub(1)), false)
            }
            // Of a log of this start something always comes behind a victim; an older one ends with its seal.
            (None, None) => (self.seal_at_end(segment).await?, true),
        };
        let last_group = last_group.filter(|last| first_group <= *last);
        Ok(last_group.map(|last_group| Run {
            log: segment.log,
            first_group,
            last_group,
            first_segment: segment.id,
            last_segment: segment.id,
            has_seal,
        }))
    }

    /// The sequence of the group at `offset`, if it is one of this segment and log.
    async fn group_at(&self, segment: &CoveredSegment, offset: u32) -> Result<Option<u64>, StoreError> {
        let block = self.block(segment.id, offset).await?;
        let header = block.and_then(|block| self.header_of(segment, &block));
        Ok(header.map(|header| header.sequence))
    }

    fn header_of(&self, segment: &CoveredSegment, block: &[u8]) -> Option<GroupHeader> {
        let header = GroupHeader::decode(self.compaction.store_id, block)?;
        let is_ours = header.segment == segment.id
            && header.generation == segment.generation
            && (header.incarnation, header.log) == (segment.log.incarnation, segment.log.log);
        is_ours.then_some(header)
    }

    /// The sequence of the last group, if that is the seal: a group of its own, of one block.
    async fn seal_at_end(&self, segment: &CoveredSegment) -> Result<Option<u64>, StoreError> {
        let Some(offset) = segment.end.checked_sub(BLOCK_BYTES as u32) else {
            return Ok(None);
        };
        let (head, block) = (
            self.block(segment.id, 0).await?,
            self.block(segment.id, offset).await?,
        );
        let (Some(head), Some(block)) = (head, block) else {
            return Ok(None);
        };
        let Some(header) = self.header_of(segment, &block) else {
            return Ok(None);
        };
        let seed = SegmentHeader::decode(&head).map(|head| head.record_seed());
        let is_seal = seed.is_ok_and(|seed| {
            let seed = seed.at(offset + GROUP_HEADER_BYTES as u32);
            let record = RecordHeader::decode(seed, &block[GROUP_HEADER_BYTES..]);
            record.is_ok_and(|(record, _)| record.kind == kind::SEAL)
        });
        Ok((is_seal && header.records == 1).then_some(header.sequence))
    }

    /// A block of a segment; `None`: it cannot be read. One bad sector must not end every pass to come.
    async fn block(&self, segment: SegmentId, offset: u32) -> Result<Option<Vec<u8>>, StoreError> {
        let read = async {
            let file = self.env.disk().open(&segment_name(segment)).await?;
            file.read_at(u64::from(offset), BLOCK_BYTES).await
        };
        match read.await {
            Ok(block) => Ok(Some(block.as_ref().to_vec()).filter(|block| block.len() == BLOCK_BYTES)),
            Err(DiskError::NotFound { .. }) => Ok(None),
            Err(
                error @ DiskError::Io {
                    operation: "read", ..
                },
            ) => {
                tracing::warn!(%error, "a segment's groups cannot be read");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A segment that stays and that `list` takes for freed: it must never be written.
pub(super) fn wrongly_freed(
    list: &Released,
    standing: &Standing,
    victims: &BTreeSet<SegmentId>,
) -> Option<SegmentId> {
    let stays = standing.values().filter(|segment| !victims.contains(&segment.id));
    stays
        .map(|segment| (segment.id, segment.log))
        .find(|(id, log)| list.has(*log, *id))
        .map(|(id, _)| id)
}
