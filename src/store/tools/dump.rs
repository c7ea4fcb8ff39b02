//! `ringpost store dump`: what lies in the log, a line each.
//!
//! Invariants: one line for one record, whatever a peer put into it: text is escaped.

use super::ledger::kind_name;
use super::pieces::Trust;
use super::segments::Segments;
use super::walk::{Event, walk};
use crate::disk::Disk;
use crate::model::{Flags, SegmentId};
use crate::store::OpenError;
use crate::store::frame::{NO_PARTITION, RecordHeader};
use crate::store::record::{CHUNK_PREFIX_BYTES, MessageRecord, Record, kind};
use std::fmt::Write;
use std::ops::ControlFlow;

/// Gives every line to `line` until it says stop; `only` one segment, if asked for.
///
/// # Errors
/// When there is no store to look at, or no such segment in it.
pub async fn dump<D: Disk>(
    disk: D,
    only: Option<SegmentId>,
    line: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<(), OpenError> {
    let segments = Segments::open(disk).await?;
    if let Some(id) = only.filter(|id| !segments.has(*id)) {
        return Err(OpenError::NoSuchSegment(segments.disk.describe(), id));
    }
    let mut has_stopped = false;
    let mut put = |segment: Option<SegmentId>, text: &str| {
        let is_wanted = only.is_none_or(|only| segment == Some(only));
        if is_wanted && !has_stopped {
            has_stopped = line(text).is_break();
        }
    };
    for damage in &segments.damages.kept {
        put(damage.position.map(|p| p.segment), &format!("{damage} DAMAGED"));
    }
    let mut see = |event: Event<'_>| match event {
        Event::Group { position, header } => put(
            Some(position.segment),
            &format!(
                "{position} group {} log={} incarnation={} records={} bytes={} durable_to={}",
                header.sequence,
                header.log,
                header.incarnation,
                header.records,
                header.bytes,
                header.durable_to
            ),
        ),
        Event::Record {
            position,
            header,
            payload,
            trust,
        } => {
            let doubt = if trust == Trust::Weak {
                " (behind lost records)"
            } else {
                ""
            };
            let text = format!("{position} {}{doubt}", describe(&header, payload));
            put(Some(position.segment), &text);
        }
        Event::BadRecord {
            position,
            bytes,
            guess,
        } => {
            let name = guess.and_then(|(header, _)| kind_name(header.kind));
            let name = name.map_or(String::new(), |name| format!(", by its header {name}"));
            put(
                Some(position.segment),
                &format!("{position} DAMAGED {bytes} bytes{name}"),
            );
        }
        Event::Damage(damage) => put(damage.position.map(|p| p.segment), &format!("{damage} DAMAGED")),
        Event::NoSeal { position } => put(Some(position.segment), &format!("{position} no seal")),
        Event::TornTail { position, bytes } => put(
            Some(position.segment),
            &format!("{position} torn tail, {bytes} bytes"),
        ),
    };
    walk(&segments, &mut see, &mut |_, _| {}).await;
    Ok(())
}

fn describe(header: &RecordHeader, payload: &[u8]) -> String {
    let mut text = String::new();
    if header.partition != NO_PARTITION {
        let _ = write!(text, "p{}#{} ", header.partition, header.sequence);
    }
    if header.kind == kind::CHUNK {
        let email_id = payload.first_chunk::<8>().map_or(0, |id| u64::from_le_bytes(*id));
        let index = payload
            .get(8..12)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_le_bytes);
        let octets = payload.len().saturating_sub(CHUNK_PREFIX_BYTES);
        let _ = write!(text, "chunk {index} of {} octets={octets}", place(email_id));
        return text;
    }
    match Record::decode(header.kind, header.partition, payload) {
        Ok(Record::Message(message)) => describe_message(&message, &mut text),
        // The derived form is on one line and escapes what is not printable.
        Ok(record) => {
            let _ = write!(text, "{record:?}");
        }
        Err(why) => {
            let _ = write!(text, "kind {} DAMAGED: {}", header.kind, why.0);
        }
    }
    text
}

fn describe_message(message: &MessageRecord, text: &mut String) {
    let names = Flags::NAMES
        .iter()
        .filter(|(flag, _)| message.flags.contains(*flag));
    let flags: Vec<&str> = names.map(|(_, name)| *name).collect();
    let _ = write!(
        text,
        "message account={} mailbox={} uid={} modseq={} email_id={} octets={} prefix={} flags=[{}] keywords={:?} \
         internal_date_ms={} save_date_ms={}",
        message.account,
        message.mailbox,
        message.uid,
        message.mod_seq,
        place(message.email_id),
        message.size(),
        message.prefix.len(),
        flags.join(" "),
        message.keywords,
        { message.internal_date.at.0 },
        message.save_date.0,
    );
    if let Some((key, index)) = message.key {
        let _ = write!(text, " key={}#{}/{index}", key.partition, key.sequence);
    }
    if !message.asked.is_empty() {
        let _ = write!(text, " asked={:?}", message.asked);
    }
    let _ = write!(text, " chunks=[");
    for (index, chunk) in message.chunks.iter().enumerate() {
        let comma = if index == 0 { "" } else { " " };
        let _ = write!(text, "{comma}{}+{}", chunk.position, chunk.bytes);
    }
    text.push(']');
}

fn place(email_id: u64) -> String {
    format!("{}:{}", email_id >> 32, email_id & 0xffff_ffff)
}
