//! `ringpost store stat`: how much is there, and how much of it lives.

use super::Progress;
use super::pieces::Trust;
use super::segments::Segments;
use super::survey::{Counts, Survey};
use super::walk::{Event, walk};
use crate::disk::Disk;
use crate::model::{LogPosition, SegmentId};
use crate::store::frame::RECORD_HEADER_BYTES;
use crate::store::record::{CHUNK_PREFIX_BYTES, MessageRecord, kind};
use crate::store::{ChunkRef, OpenError};
use std::collections::BTreeMap;

/// One segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStat {
    pub id: u32,
    /// Of the file.
    pub bytes: u64,
    /// Of records that messages in mailboxes, expunged ones that can be brought back and unfinished spool entries need.
    pub live_bytes: u64,
    pub incarnation: u32,
    pub log: u16,
    pub generation: u32,
}

/// A store in numbers.
#[derive(Clone, Debug)]
pub struct StatReport {
    pub store_id: u64,
    /// Milliseconds since the epoch.
    pub created: i64,
    pub incarnation: u32,
    pub counts: Counts,
    pub accounts: u64,
    pub mailboxes: u64,
    pub messages: u64,
    /// Octets of all messages, copies counted again, as quotas count them.
    pub message_bytes: u64,
    /// With at least one record.
    pub partitions: u64,
    pub spooled: u64,
    /// Expunged messages that can be brought back.
    pub graves: u64,
    /// Octets of them.
    pub grave_bytes: u64,
    pub segments: Vec<SegmentStat>,
    /// That compaction has given back so far.
    pub freed_bytes: u64,
    /// Passes in which it did.
    pub compactions: u64,
    /// Files of summaries, which are made anew when they are missing.
    pub summary_files: u64,
    /// Bytes of them.
    pub summary_bytes: u64,
    /// Places that `check` will tell about, its reading of messages aside.
    pub damages: u64,
}

impl StatReport {
    /// Of all segments.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.live_bytes).sum()
    }

    /// Bytes of records, and what is around them, that nobody needs: what compaction may give back.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        self.counts.group_bytes.saturating_sub(self.live_bytes())
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let segment = |s: &SegmentStat| {
            serde_json::json!({
                "id": s.id, "bytes": s.bytes, "live_bytes": s.live_bytes,
                "incarnation": s.incarnation, "log": s.log, "generation": s.generation,
            })
        };
        serde_json::json!({
            "store_id": format!("{:016x}", self.store_id),
            "created_ms": self.created,
            "incarnation": self.incarnation,
            "bytes": self.counts.bytes,
            "group_bytes": self.counts.group_bytes,
            "live_bytes": self.live_bytes(),
            "dead_bytes": self.dead_bytes(),
            "freed_bytes": self.freed_bytes,
            "compactions": self.compactions,
            "groups": self.counts.groups,
            "records": self.counts.records,
            "chunks": self.counts.chunks,
            "accounts": self.accounts,
            "mailboxes": self.mailboxes,
            "messages": self.messages,
            "message_bytes": self.message_bytes,
            "partitions": self.partitions,
            "spooled": self.spooled,
            "graves": self.graves,
            "grave_bytes": self.grave_bytes,
            "torn_tail_bytes": self.counts.torn_tail_bytes,
            "summary_files": self.summary_files,
            "summary_bytes": self.summary_bytes,
            "damages": self.damages,
            "segments": self.segments.iter().map(segment).collect::<Vec<_>>(),
        })
    }
}

/// Reads the log twice: once for the state, once for what the messages in it need.
///
/// # Errors
/// When there is no store to look at.
pub async fn stat<D: Disk>(disk: D, progress: Progress<'_>) -> Result<StatReport, OpenError> {
    let survey = Survey::read(disk, progress).await?;
    let live = live_bytes(&survey, progress).await;
    let accounts = &survey.state.accounts;
    let graves = survey.graves();
    Ok(StatReport {
        store_id: survey.segments.store_id,
        created: survey.segments.superblock.created,
        incarnation: survey.segments.newest,
        counts: survey.counts,
        accounts: accounts.len() as u64,
        mailboxes: accounts.values().map(|a| a.mailboxes.len() as u64).sum(),
        messages: survey.message_count(),
        message_bytes: accounts.values().map(|a| a.bytes_used).sum(),
        partitions: survey.sequences.iter().filter(|last| **last > 0).count() as u64,
        spooled: survey.state.spool.len() as u64,
        graves: graves.len() as u64,
        grave_bytes: graves.iter().map(|row| u64::from(row.size)).sum(),
        segments: segment_stats(&survey.segments, &live),
        freed_bytes: survey.segments.released.freed_bytes,
        compactions: u64::from(survey.segments.released.number),
        summary_files: survey.segments.summaries.len() as u64,
        summary_bytes: survey.segments.summaries.iter().map(|(_, len)| len).sum(),
        damages: survey.damages.count,
    })
}

fn segment_stats<D: Disk>(segments: &Segments<D>, live: &BTreeMap<SegmentId, u64>) -> Vec<SegmentStat> {
    let mut stats = Vec::new();
    for (name, files) in &segments.logs {
        stats.extend(files.iter().map(|file| SegmentStat {
            id: file.id.0,
            bytes: file.len,
            live_bytes: live.get(&file.id).copied().unwrap_or(0),
            incarnation: name.incarnation,
            log: name.log,
            generation: file.generation,
        }));
    }
    stats.sort_unstable_by_key(|stat| stat.id);
    stats
}

/// Bytes of the records that live, by segment.
async fn live_bytes<D: Disk>(survey: &Survey<D>, progress: Progress<'_>) -> BTreeMap<SegmentId, u64> {
    let mut records: Vec<(LogPosition, u32)> = survey
        .messages()
        .iter()
        .map(|message| (message.row.record, message.row.record_bytes))
        .collect();
    let graves = survey.graves();
    records.extend(graves.iter().map(|row| (row.record, row.record_bytes)));
    records.sort_unstable();
    records.dedup();
    let mut chunks: Vec<ChunkRef> = survey
        .state
        .spool
        .values()
        .flat_map(|entry| entry.body.stored_chunks().unwrap_or_default().to_vec())
        .collect();
    let mut see = |event: Event<'_>| {
        let Event::Record {
            position,
            header,
            payload,
            trust: Trust::Sure | Trust::Weak,
        } = event
        else {
            return;
        };
        let is_message = matches!(header.kind, kind::MESSAGE | kind::MESSAGE_MOVED | kind::UNDELETED);
        let is_live = is_message && records.binary_search_by_key(&position, |(at, _)| *at).is_ok();
        if is_live && let Ok(message) = MessageRecord::of_payload(payload) {
            chunks.extend(message.chunks.iter());
        }
    };
    walk(&survey.segments, &mut see, progress).await;
    chunks.sort_unstable_by_key(|chunk| chunk.position);
    chunks.dedup();
    let mut live = BTreeMap::new();
    for (position, bytes) in records {
        *live.entry(position.segment).or_default() += u64::from(bytes);
    }
    for chunk in chunks {
        let bytes = RECORD_HEADER_BYTES + CHUNK_PREFIX_BYTES + chunk.bytes as usize;
        *live.entry(chunk.position.segment).or_default() += bytes as u64;
    }
    live
}
