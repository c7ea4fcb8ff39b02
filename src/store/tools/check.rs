//! `ringpost store check`: is everything as it was written, and can every message be read?

use super::Progress;
use super::damage::{Damage, Damages};
use super::segments::Frontiers;
use super::survey::{Counts, Message, Survey, parts};
use crate::disk::Disk;
use crate::model::LogPosition;
use crate::store::{OpenError, SpoolEntry, StoreError, StoredMessage};
use std::collections::HashMap;

/// What was found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// How much was looked at.
    pub counts: Counts,
    /// Accounts with anything in them.
    pub accounts: u64,
    /// Messages in all mailboxes.
    pub messages: u64,
    /// Of those, with every octet.
    pub readable: u64,
    /// What is wrong with what was acknowledged.
    pub damages: Damages,
    /// What is wrong with files that a start makes anew from the log.
    pub derived: Damages,
    /// What is unusual and no damage.
    pub notes: Vec<String>,
}

impl CheckReport {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damages.count == 0 && self.derived.count == 0
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let listed = |damages: &Damages| -> Vec<_> { damages.kept.iter().map(Damage::to_json).collect() };
        serde_json::json!({
            "clean": self.is_clean(),
            "segments": self.counts.segments,
            "bytes": self.counts.bytes,
            "groups": self.counts.groups,
            "records": self.counts.records,
            "chunks": self.counts.chunks,
            "accounts": self.accounts,
            "messages": self.messages,
            "readable": self.readable,
            "torn_tail_bytes": self.counts.torn_tail_bytes,
            "damages": self.damages.count,
            "damage": listed(&self.damages),
            "derived_damages": self.derived.count,
            "derived_damage": listed(&self.derived),
            "notes": self.notes,
        })
    }
}

/// Reads the whole log, compares it with the checkpoints, then reads every message the way the server would.
///
/// # Errors
/// When there is no store to look at; damage is no error.
pub async fn check<D: Disk>(disk: D, progress: Progress<'_>) -> Result<CheckReport, OpenError> {
    check_up_to(disk, Frontiers::new(), progress).await
}

/// The same for a store whose server runs, see [`super::hold_still`]: what was durable at that moment.
///
/// # Errors
/// As [`check`].
pub async fn check_up_to<D: Disk>(
    disk: D,
    frontiers: Frontiers,
    progress: Progress<'_>,
) -> Result<CheckReport, OpenError> {
    let mut survey = Survey::read_up_to(disk, frontiers, progress).await?;
    let messages = survey.messages();
    let readable = read_all(&mut survey, &messages, progress).await;
    read_spool(&mut survey).await;
    Ok(CheckReport {
        counts: survey.counts,
        accounts: survey.state.accounts.len() as u64,
        messages: messages.len() as u64,
        readable,
        damages: survey.damages,
        derived: survey.derived,
        notes: survey.notes,
    })
}

async fn read_all<D: Disk>(survey: &mut Survey<D>, messages: &[Message], progress: Progress<'_>) -> u64 {
    let mut readable = 0;
    let mut known: HashMap<LogPosition, usize> = HashMap::new();
    for (index, damage) in survey.damages.kept.iter().enumerate() {
        if let Some(position) = damage.position {
            known.entry(position).or_insert(index);
        }
    }
    let total = messages.iter().map(|m| u64::from(m.row.size)).sum();
    let mut done = 0;
    for message in messages {
        match read_one(survey, message).await {
            Ok(()) => readable += 1,
            Err(why) => tell(survey, &known, message, &why),
        }
        done += u64::from(message.row.size);
        progress(done, total);
    }
    readable
}

async fn read_one<D: Disk>(survey: &Survey<D>, message: &Message) -> Result<(), StoreError> {
    let stored = survey.open(message.account, &message.row).await?;
    read_whole(survey, &stored).await
}

async fn read_whole<D: Disk>(survey: &Survey<D>, stored: &StoredMessage) -> Result<(), StoreError> {
    for part in parts(0, stored.size) {
        survey.read_part(stored, part).await?;
    }
    Ok(())
}

/// Names the message at a place that is known already, or adds the place.
fn tell<D: Disk>(
    survey: &mut Survey<D>,
    known: &HashMap<LogPosition, usize>,
    message: &Message,
    why: &StoreError,
) {
    let (position, what) = match why {
        StoreError::Damaged { position, what } => (*position, what.clone()),
        other => (message.row.record, other.to_string()),
    };
    let mail = Some(survey.mail(message));
    let seen = known
        .get(&position)
        .and_then(|index| survey.damages.kept.get_mut(*index));
    match seen {
        Some(damage) if damage.mail.as_ref().is_none_or(|mail| !mail.is_certain) => damage.mail = mail,
        _ => {
            let what = format!("a message cannot be read: {what}");
            survey.damages.push(Damage {
                mail,
                ..Damage::at(position, 0, what)
            });
        }
    }
}

async fn read_spool<D: Disk>(survey: &mut Survey<D>) {
    let entries: Vec<SpoolEntry> = survey.state.spool.values().cloned().collect();
    for entry in entries {
        if let Err(why) = read_whole(survey, &spooled(&entry)).await {
            let position = match &why {
                StoreError::Damaged { position, .. } => Some(*position),
                _ => None,
            };
            let what = format!(
                "a spooled message for {} recipients cannot be read: {why}",
                entry.recipients.len()
            );
            survey.damages.push(Damage {
                position,
                ..Damage::nowhere(what)
            });
        }
    }
}

/// The body of a spool entry, as something that can be read.
pub(super) fn spooled(entry: &SpoolEntry) -> StoredMessage {
    let chunks = entry.body.stored_chunks().unwrap_or_default();
    let first = chunks.first().map_or(0, |chunk| {
        u64::from(chunk.position.segment.0) << 32 | u64::from(chunk.position.offset)
    });
    StoredMessage {
        prefix: bytes::Bytes::new(),
        chunks: chunks.into(),
        size: entry.body.len(),
        email_id: first,
        owner: None,
        pins: smallvec::SmallVec::new(),
    }
}
