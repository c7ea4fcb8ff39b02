//! The payloads of a checkpoint's slices: accounts, rows, spool, what was served, sequences, segments.
//!
//! Invariants: `decode(encode(x)) == x`, but for change logs, which nobody holds a cursor into after a start; rows are
//! fixed width, so that a million of them is a copy and not a parse.
//! Failure: [`Malformed`]; the whole checkpoint is ignored then.
//! Not here: files and slices (`checkpoint`). FORMAT.md has the fields.

use super::apply::spool_entry;
use super::codec::{Malformed, Reader, put_bytes, put_u8, put_u16, put_u32, put_u64, put_varint};
use super::record::{
    Record, SpoolRecipient, key, keywords, kind, metadata, name, put_key, put_keywords, put_metadata,
    special_use,
};
use super::scan::LogName;
use super::state::{AccountState, BuriedMailbox, Grave, KEYWORDS_MAX, MailboxState, MessageRow, Metadata};
use super::{SpoolEntry, SpoolKey};
use crate::base::clock::UnixMillis;
use crate::model::{
    AccountId, Flags, LogPosition, MailboxId, MailboxName, ModSeq, SegmentId, Uid, UidValidity,
};
use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes of one row.
pub const ROW_BYTES: usize = 64;

/// Bytes of one grave: its row, MODSEQ, date, whether it has moved.
pub const GRAVE_BYTES: usize = ROW_BYTES + 17;

/// A segment with groups that a checkpoint covers: it must still be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoveredSegment {
    /// Its id.
    pub id: SegmentId,
    /// See `segment::SegmentHeader`.
    pub generation: u32,
    /// The log it is part of.
    pub log: LogName,
    /// Behind the last covered group in it: the file is at least as long.
    pub end: u32,
}

/// Appends one.
pub fn put_segment(out: &mut Vec<u8>, segment: &CoveredSegment) {
    put_u32(out, segment.id.0);
    put_u32(out, segment.generation);
    put_u32(out, segment.log.incarnation);
    put_u16(out, segment.log.log);
    put_u32(out, segment.end);
}

/// See [`put_segment`].
pub fn segment(input: &mut Reader<'_>) -> Result<CoveredSegment, Malformed> {
    let id = SegmentId(input.u32()?);
    let generation = input.u32()?;
    let incarnation = input.u32()?;
    let log = LogName {
        incarnation,
        log: input.u16()?,
    };
    let end = input.u32()?;
    Ok(CoveredSegment {
        id,
        generation,
        log,
        end,
    })
}

/// Appends a spool entry: its sequence and the payload its record had.
pub fn put_spool(out: &mut Vec<u8>, entry: &SpoolEntry) {
    put_key(out, entry.key);
    put_bytes(out, &spool_payload(entry));
}

/// The payload that the entry's record had.
#[must_use]
pub fn spool_payload(entry: &SpoolEntry) -> Vec<u8> {
    let recipient = |recipient: &super::LocalRecipient| SpoolRecipient {
        account: recipient.account,
        mailbox: recipient.mailbox.clone(),
        prefix: Bytes::copy_from_slice(&recipient.prefix),
        asked: recipient.asked.clone(),
    };
    let chunks = entry.body.stored_chunks().expect("what is spooled is stored");
    let record = Record::Spool {
        partition: entry.key.partition,
        internal_date: entry.internal_date,
        line_end_octets: entry.body.line_end_octets(),
        chunks: SmallVec::from_slice(chunks),
        recipients: entry.recipients.iter().map(recipient).collect(),
    };
    let mut payload = Vec::new();
    record.encode(&mut payload);
    payload
}

/// See [`put_spool`].
pub fn spool(input: &mut Reader<'_>) -> Result<SpoolEntry, Malformed> {
    let key = key(input)?;
    let record = Record::decode(kind::SPOOL, key.partition, input.bytes()?)?;
    spool_entry(key, &record).ok_or(Malformed("not a spool record"))
}

/// Appends which recipients were served from the entry `key`.
pub fn put_served(out: &mut Vec<u8>, of: SpoolKey, served: &[(u16, u16)]) {
    put_key(out, of);
    put_varint(out, served.len() as u64);
    for (partition, index) in served {
        put_u16(out, *partition);
        put_u16(out, *index);
    }
}

/// See [`put_served`].
#[allow(clippy::type_complexity)] // it is one entry of `CoreState::served`
pub fn served(input: &mut Reader<'_>) -> Result<(SpoolKey, SmallVec<[(u16, u16); 4]>), Malformed> {
    let key = key(input)?;
    let count = input.count(4)?;
    let served: Result<_, Malformed> = (0..count).map(|_| Ok((input.u16()?, input.u16()?))).collect();
    Ok((key, served?))
}

/// About as many bytes as [`put_account`] needs; never much fewer.
pub fn account_bytes(account: &AccountState) -> usize {
    let names: usize = account.subscriptions.keys().map(|n| n.as_str().len() + 2).sum();
    let mailboxes = account.mailboxes.values().map(|mailbox| {
        let keywords: usize = mailbox.keywords.iter().map(|k| k.as_str().len() + 2).sum();
        let rows = mailbox.rows.len() * ROW_BYTES + mailbox.graves.len() * GRAVE_BYTES;
        64 + mailbox.name.as_str().len() + keywords + rows + metadata_bytes(&mailbox.metadata)
    });
    let buried = account.buried.iter().map(|mailbox| {
        let keywords: usize = mailbox.keywords.iter().map(|k| k.as_str().len() + 2).sum();
        24 + mailbox.name.as_str().len() + keywords + mailbox.graves.len() * GRAVE_BYTES
    });
    64 + names + mailboxes.sum::<usize>() + buried.sum::<usize>() + metadata_bytes(&account.metadata)
}

/// As [`account_bytes`], of metadata.
pub fn metadata_bytes(metadata: &Metadata) -> usize {
    let entries = metadata.iter().map(|(name, value)| name.len() + value.len() + 12);
    4 + entries.sum::<usize>()
}

/// Appends one account.
pub fn put_account(out: &mut Vec<u8>, account: &AccountState) {
    put_u64(out, account.id.0);
    put_u64(out, account.highest_mod_seq.0);
    put_u64(out, account.bytes_used);
    put_u32(out, account.next_mailbox);
    put_u32(out, account.next_uid_validity);
    put_varint(out, account.subscriptions.len() as u64);
    for name in account.subscriptions.keys() {
        put_bytes(out, name.as_str().as_bytes());
    }
    put_varint(out, account.names.len() as u64);
    for (name, id) in account.names.iter() {
        let mailbox = account.mailboxes.get(id).expect("a name has a mailbox");
        put_mailbox(out, name, mailbox);
    }
    put_varint(out, account.buried.len() as u64);
    for mailbox in &account.buried {
        put_u32(out, mailbox.id.0);
        put_bytes(out, mailbox.name.as_str().as_bytes());
        put_keywords(out, &mailbox.keywords);
        put_graves(out, &mailbox.graves);
    }
    put_metadata(out, &account.metadata);
}

fn put_graves(out: &mut Vec<u8>, graves: &[Grave]) {
    put_varint(out, graves.len() as u64);
    out.reserve(graves.len() * GRAVE_BYTES);
    for grave in graves {
        out.extend_from_slice(&row_bytes(&grave.row));
        put_u64(out, grave.mod_seq.0);
        put_u64(out, grave.at.0.cast_unsigned());
        put_u8(out, u8::from(grave.has_moved));
    }
}

fn graves(input: &mut Reader<'_>) -> Result<Vec<Grave>, Malformed> {
    let count = input.count(GRAVE_BYTES)?;
    let mut graves: Vec<Grave> = Vec::with_capacity(count);
    for _ in 0..count {
        let bytes = input.take(ROW_BYTES)?.first_chunk().expect("as many were taken");
        let grave = Grave {
            row: row(bytes).ok_or(Malformed("UID 0"))?,
            mod_seq: ModSeq(input.u64()?),
            at: UnixMillis(input.u64()?.cast_signed()),
            has_moved: input.u8()? != 0,
        };
        if graves.last().is_some_and(|last| last.mod_seq > grave.mod_seq) {
            return Err(Malformed("graves that do not rise"));
        }
        graves.push(grave);
    }
    Ok(graves)
}

/// Appends rows, which ascend by UID.
pub fn put_rows(out: &mut Vec<u8>, rows: &[MessageRow]) {
    put_u32(
        out,
        u32::try_from(rows.len()).expect("a row has a UID of its own"),
    );
    out.reserve(rows.len() * ROW_BYTES);
    for row in rows {
        out.extend_from_slice(&row_bytes(row));
    }
}

/// See [`put_rows`].
pub fn rows(input: &mut Reader<'_>) -> Result<Vec<MessageRow>, Malformed> {
    let count = input.u32()? as usize;
    let bytes = input.take(count.saturating_mul(ROW_BYTES))?;
    let (chunks, rest) = bytes.as_chunks::<ROW_BYTES>();
    assert!(rest.is_empty(), "whole rows were taken");
    let mut rows = Vec::with_capacity(count);
    let mut last = 0;
    for bytes in chunks {
        let row = row(bytes).ok_or(Malformed("UID 0"))?;
        if row.uid.value() <= last {
            return Err(Malformed("rows that do not ascend"));
        }
        last = row.uid.value();
        rows.push(row);
    }
    Ok(rows)
}

fn put_mailbox(out: &mut Vec<u8>, name: &MailboxName, mailbox: &MailboxState) {
    put_u32(out, mailbox.id.0);
    put_u32(out, mailbox.uid_validity.0);
    put_u32(out, mailbox.uid_next);
    put_u8(out, mailbox.special_use.map_or(0, |s| s as u8));
    put_u64(out, mailbox.highest_mod_seq.0);
    put_bytes(out, name.as_str().as_bytes());
    put_keywords(out, &mailbox.keywords);
    put_rows(out, &mailbox.rows);
    put_u64(out, mailbox.graves_from.0);
    put_graves(out, &mailbox.graves);
    put_metadata(out, &mailbox.metadata);
}

/// See [`put_account`].
pub fn account(input: &mut Reader<'_>) -> Result<AccountState, Malformed> {
    let mut account = AccountState::empty(AccountId(input.u64()?));
    account.highest_mod_seq = ModSeq(input.u64()?);
    account.bytes_used = input.u64()?;
    account.next_mailbox = input.u32()?;
    account.next_uid_validity = input.u32()?;
    let count = input.count(2)?;
    for _ in 0..count {
        account.subscriptions.insert(name(input)?, ());
    }
    let count = input.count(28)?;
    account.mailboxes.reserve(count);
    for _ in 0..count {
        let mailbox = mailbox(input)?;
        let is_new = account.names.insert(mailbox.name.clone(), mailbox.id).is_none();
        if account.mailboxes.insert(mailbox.id, mailbox).is_some() || !is_new {
            return Err(Malformed("a mailbox twice"));
        }
    }
    let count = input.count(7)?;
    for _ in 0..count {
        account.buried.push(BuriedMailbox {
            id: MailboxId(input.u32()?),
            name: name(input)?,
            keywords: keywords(input)?.into_vec(),
            graves: graves(input)?,
        });
    }
    account.metadata = metadata(input)?;
    Ok(account)
}

fn mailbox(input: &mut Reader<'_>) -> Result<MailboxState, Malformed> {
    let id = MailboxId(input.u32()?);
    let uid_validity = UidValidity(input.u32()?);
    let uid_next = input.u32()?;
    let special_use = special_use(input)?;
    let highest_mod_seq = ModSeq(input.u64()?);
    let mut mailbox = MailboxState::new(id, name(input)?, uid_validity, special_use);
    mailbox.uid_next = uid_next;
    mailbox.highest_mod_seq = highest_mod_seq;
    mailbox.keywords = keywords(input)?.into_vec();
    if mailbox.keywords.len() > KEYWORDS_MAX {
        return Err(Malformed("too many keywords"));
    }
    mailbox.rows = rows(input)?;
    if mailbox.rows.last().is_some_and(|row| row.uid.value() >= uid_next) {
        return Err(Malformed("rows beyond UIDNEXT"));
    }
    mailbox.graves_from = ModSeq(input.u64()?);
    mailbox.graves = graves(input)?;
    mailbox.metadata = metadata(input)?;
    Ok(mailbox)
}

fn row_bytes(row: &MessageRow) -> [u8; ROW_BYTES] {
    let mut out = [0; ROW_BYTES];
    out[0..4].copy_from_slice(&row.uid.value().to_le_bytes());
    out[4] = row.flags.0;
    out[5] = u8::from(row.is_body_scattered);
    out[6..8].copy_from_slice(&row.internal_date_zone_minutes.to_le_bytes());
    out[8..16].copy_from_slice(&row.keywords.to_le_bytes());
    out[16..20].copy_from_slice(&row.size.to_le_bytes());
    out[20..24].copy_from_slice(&row.line_end_octets.to_le_bytes());
    out[24..32].copy_from_slice(&row.internal_date_at.0.to_le_bytes());
    out[32..40].copy_from_slice(&row.save_date.0.to_le_bytes());
    out[40..48].copy_from_slice(&row.mod_seq.0.to_le_bytes());
    out[48..52].copy_from_slice(&row.record.segment.0.to_le_bytes());
    out[52..56].copy_from_slice(&row.record.offset.to_le_bytes());
    out[56..60].copy_from_slice(&row.record_bytes.to_le_bytes());
    out[60..64].copy_from_slice(&row.body_segment.0.to_le_bytes());
    out
}

/// A row of its bytes.
#[cfg(test)]
pub fn row_of(bytes: &[u8]) -> Option<MessageRow> {
    row(bytes.first_chunk()?)
}

fn row(bytes: &[u8; ROW_BYTES]) -> Option<MessageRow> {
    fn at<const N: usize>(bytes: &[u8; ROW_BYTES], at: usize) -> [u8; N] {
        *bytes[at..].first_chunk().expect("it lies within a row")
    }
    Some(MessageRow {
        uid: Uid::new(u32::from_le_bytes(at(bytes, 0)))?,
        flags: Flags(bytes[4]),
        keywords: u64::from_le_bytes(at(bytes, 8)),
        size: u32::from_le_bytes(at(bytes, 16)),
        internal_date_at: UnixMillis(i64::from_le_bytes(at(bytes, 24))),
        internal_date_zone_minutes: i16::from_le_bytes(at(bytes, 6)),
        save_date: UnixMillis(i64::from_le_bytes(at(bytes, 32))),
        mod_seq: ModSeq(u64::from_le_bytes(at(bytes, 40))),
        record: LogPosition {
            segment: SegmentId(u32::from_le_bytes(at(bytes, 48))),
            offset: u32::from_le_bytes(at(bytes, 52)),
        },
        record_bytes: u32::from_le_bytes(at(bytes, 56)),
        body_segment: SegmentId(u32::from_le_bytes(at(bytes, 60))),
        is_body_scattered: bytes[5] != 0,
        line_end_octets: u32::from_le_bytes(at(bytes, 20)),
    })
}
