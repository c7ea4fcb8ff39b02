//! Payloads as they are read: every field is checked, nothing is taken on trust.
//!
//! Failure: [`Malformed`] says what is not as it must be; a kind or part of a record that this version does not know is that, too.
//! Not here: the order of fields is that of `encode`; checksums are the frame's (`frame`).

use super::{MessageRecord, MovedRecord, NO_MAILBOX, Record, SpoolRecipient, StoreRule, Transferred, kind};
use crate::base::clock::UnixMillis;
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SegmentId, SpecialUse, Uid,
};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use crate::store::codec::{Malformed, Reader};
use crate::store::state::Metadata;
use crate::store::{ChunkRef, SpoolKey};
use bytes::Bytes;
use smallvec::SmallVec;

impl MessageRecord {
    /// Of the payload of a [`Record::Message`], [`Record::MessageMoved`] or [`Record::Undeleted`].
    pub fn of_payload(payload: &[u8]) -> Result<Self, Malformed> {
        decode_message(&mut Reader::new(payload))
    }
}

impl Record {
    /// Reads a payload of this kind back. `partition` is the one in the record's header.
    pub fn decode(kind: u8, partition: u16, payload: &[u8]) -> Result<Self, Malformed> {
        let mut input = Reader::new(payload);
        let record = Self::fields(kind, partition, &mut input)?;
        input.finish()?;
        if record.partition() != partition {
            return Err(Malformed("it belongs to another partition"));
        }
        Ok(record)
    }

    fn fields(kind: u8, partition: u16, input: &mut Reader<'_>) -> Result<Self, Malformed> {
        let account = |input: &mut Reader<'_>| input.u64().map(AccountId);
        let mailbox = |input: &mut Reader<'_>| input.u32().map(MailboxId);
        let mod_seq = |input: &mut Reader<'_>| input.u64().map(ModSeq);
        // Fields of a struct expression are evaluated in the order written: the order on disk.
        Ok(match kind {
            kind::ACCOUNT_CREATED => Self::AccountCreated {
                account: account(input)?,
                uid_validity: input.u32()?,
            },
            kind::MAILBOX_CREATED => Self::MailboxCreated {
                account: account(input)?,
                mailbox: mailbox(input)?,
                uid_validity: input.u32()?,
                special_use: special_use(input)?,
                name: name(input)?,
            },
            kind::MAILBOX_DELETED | kind::MAILBOX_DELETED_DATED => Self::MailboxDeleted {
                account: account(input)?,
                mailbox: mailbox(input)?,
                at: at(kind, input)?,
            },
            kind::MAILBOX_RENAMED => Self::MailboxRenamed {
                account: account(input)?,
                mailbox: mailbox(input)?,
                name: name(input)?,
            },
            kind::INBOX_RENAMED | kind::INBOX_RENAMED_DATED => Self::InboxRenamed {
                account: account(input)?,
                to: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                at: at(kind, input)?,
            },
            kind::SUBSCRIPTION => {
                let account = account(input)?;
                let subscribed = boolean(input)?;
                Self::Subscription {
                    account,
                    name: name(input)?,
                    subscribed,
                }
            }
            kind::METADATA | kind::METADATA_COUNTED => Self::Metadata {
                account: account(input)?,
                mailbox: Some(mailbox(input)?).filter(|mailbox| *mailbox != NO_MAILBOX),
                mod_seq: match kind {
                    kind::METADATA => None,
                    _ => Some(mod_seq(input)?),
                },
                entries: entries(input)?,
            },
            kind::SPECIAL_USE_SET => Self::SpecialUseSet {
                account: account(input)?,
                mailbox: Some(mailbox(input)?).filter(|mailbox| *mailbox != NO_MAILBOX),
                special_use: special_use(input)?,
            },
            kind::MESSAGE => Self::Message(Box::new(decode_message(input)?)),
            kind::STORE_FLAGS
            | kind::STORE_FLAGS_UNCHANGED
            | kind::STORE_FLAGS_SPARING
            | kind::STORE_FLAGS_SPARING_UNCHANGED => Self::StoreFlags {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                operation: operation(input)?,
                flags: flags(input)?,
                keywords: keywords(input)?,
                unchanged_since: match kind {
                    kind::STORE_FLAGS | kind::STORE_FLAGS_SPARING => None,
                    _ => Some(mod_seq(input)?),
                },
                rule: match kind {
                    kind::STORE_FLAGS | kind::STORE_FLAGS_UNCHANGED => StoreRule::OfAll,
                    _ => StoreRule::OfChanged,
                },
                uids: input.uids()?,
            },
            kind::EXPUNGE | kind::EXPUNGE_DATED => Self::Expunge {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                only_deleted: boolean(input)?,
                uids: input.uids()?,
                at: at(kind, input)?,
            },
            kind::TRANSFER | kind::TRANSFER_DATED | kind::TRANSFER_SAVED => Self::Transfer {
                account: account(input)?,
                from: mailbox(input)?,
                to: mailbox(input)?,
                mod_seq: mod_seq(input)?,
                moves: boolean(input)?,
                first_uid: uid(input)?,
                uids: input.uids()?,
                when: transferred(kind, input)?,
            },
            kind::GRAVES_FORGOTTEN => Self::GravesForgotten {
                account: account(input)?,
                mailbox: mailbox(input)?,
                mod_seq: mod_seq(input)?,
            },
            kind::MESSAGE_MOVED => Self::MessageMoved(Box::new(decode_moved(input)?)),
            kind::PARTITION_BEGINS => Self::PartitionBegins { partition },
            kind::UNDELETED => {
                let message = Box::new(decode_message(input)?);
                Self::Undeleted {
                    mailbox: mailbox(input)?,
                    uid: uid(input)?,
                    message,
                }
            }
            kind::ACCOUNT_RESTATED => Self::AccountRestated {
                account: account(input)?,
                part: input.u32()?,
                is_last: boolean(input)?,
                octets: Bytes::copy_from_slice(input.bytes()?),
            },
            kind::SERVED_RESTATED => Self::ServedRestated {
                partition,
                key: key(input)?,
                index: input.u16()?,
            },
            kind::SPOOL_RESTATED => Self::SpoolRestated {
                key: key(input)?,
                payload: Bytes::copy_from_slice(input.bytes()?),
            },
            kind::PARTITION_ENDS => Self::PartitionEnds {
                partition,
                begun_at: input.u64()?,
            },
            kind::SPOOL => Self::Spool {
                partition,
                internal_date: date(input)?,
                line_end_octets: input.u32()?,
                chunks: chunks(input)?,
                recipients: recipients(input)?,
            },
            kind::SPOOL_DONE => Self::SpoolDone { key: key(input)? },
            kind::SPOOL_FORGET => Self::SpoolForget {
                partition,
                key: key(input)?,
            },
            kind::SEAL => Self::Seal { by: input.u32()? },
            _ => return Err(Malformed("a kind of record this version does not know")),
        })
    }
}

fn entries(input: &mut Reader<'_>) -> Result<Vec<(String, Option<Bytes>)>, Malformed> {
    let count = input.count(2)?;
    let entry = |_| {
        let name = input.text()?.to_owned();
        let value = if boolean(input)? {
            Some(Bytes::copy_from_slice(input.bytes()?))
        } else {
            None
        };
        Ok((name, value))
    };
    (0..count).map(entry).collect()
}

/// See [`put_metadata`].
pub fn metadata(input: &mut Reader<'_>) -> Result<Metadata, Malformed> {
    let count = input.count(2)?;
    let mut metadata = Metadata::new();
    for _ in 0..count {
        let name = input.text()?.to_owned();
        metadata.insert(name, Bytes::copy_from_slice(input.bytes()?));
    }
    if metadata.len() == count {
        Ok(metadata)
    } else {
        Err(Malformed("a metadata entry twice"))
    }
}

fn decode_message(input: &mut Reader<'_>) -> Result<MessageRecord, Malformed> {
    let mut message = MessageRecord {
        account: AccountId(input.u64()?),
        mailbox: MailboxId(input.u32()?),
        uid: uid(input)?,
        mod_seq: ModSeq(input.u64()?),
        email_id: input.u64()?,
        flags: flags(input)?,
        keywords: keywords(input)?,
        internal_date: date(input)?,
        save_date: UnixMillis(input.u64()?.cast_signed()),
        line_end_octets: input.u32()?,
        prefix: Bytes::copy_from_slice(input.bytes()?),
        chunks: chunks(input)?,
        key: None,
        asked: Bytes::new(),
    };
    let parts = input.u8()?;
    if parts > 3 {
        return Err(Malformed("parts of a message record this version does not know"));
    }
    if parts & 1 != 0 {
        message.key = Some((key(input)?, input.u16()?));
    }
    if parts & 2 != 0 {
        message.asked = Bytes::copy_from_slice(input.bytes()?);
    }
    Ok(message)
}

fn decode_moved(input: &mut Reader<'_>) -> Result<MovedRecord, Malformed> {
    let message = decode_message(input)?;
    let segment = SegmentId(input.u32()?);
    let offset = input.u32()?;
    let count = input.count(8)?;
    let rows: Result<_, Malformed> = (0..count)
        .map(|_| Ok((MailboxId(input.u32()?), uid(input)?)))
        .collect();
    Ok(MovedRecord {
        from: LogPosition { segment, offset },
        rows: rows?,
        message,
    })
}

/// When it happened, in the kinds that say it.
fn at(kind: u8, input: &mut Reader<'_>) -> Result<Option<UnixMillis>, Malformed> {
    match kind {
        kind::EXPUNGE_DATED..=kind::MAILBOX_DELETED_DATED => Ok(Some(UnixMillis(input.u64()?.cast_signed()))),
        _ => Ok(None),
    }
}

fn transferred(kind: u8, input: &mut Reader<'_>) -> Result<Transferred, Malformed> {
    Ok(match kind {
        kind::TRANSFER_SAVED => Transferred::Saved(UnixMillis(input.u64()?.cast_signed())),
        _ => at(kind, input)?.map_or(Transferred::Undated, Transferred::Dated),
    })
}

fn boolean(input: &mut Reader<'_>) -> Result<bool, Malformed> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed("neither yes nor no")),
    }
}

fn uid(input: &mut Reader<'_>) -> Result<Uid, Malformed> {
    Uid::new(input.u32()?).ok_or(Malformed("UID 0"))
}

fn flags(input: &mut Reader<'_>) -> Result<Flags, Malformed> {
    let flags = Flags(input.u8()?);
    if Flags::ALL.contains(flags) {
        Ok(flags)
    } else {
        Err(Malformed("an unknown flag"))
    }
}

/// A mailbox name.
pub fn name(input: &mut Reader<'_>) -> Result<MailboxName, Malformed> {
    MailboxName::new(input.text()?).map_err(|_| Malformed("not a mailbox name"))
}

/// A special use; 0 is none.
pub fn special_use(input: &mut Reader<'_>) -> Result<Option<SpecialUse>, Malformed> {
    match input.u8()? {
        0 => Ok(None),
        number => SpecialUse::from_number(number)
            .map(Some)
            .ok_or(Malformed("an unknown special use")),
    }
}

fn operation(input: &mut Reader<'_>) -> Result<StoreOperation, Malformed> {
    match input.u8()? {
        0 => Ok(StoreOperation::Replace),
        1 => Ok(StoreOperation::Add),
        2 => Ok(StoreOperation::Remove),
        _ => Err(Malformed("an unknown operation on flags")),
    }
}

/// A number of keywords and they.
pub fn keywords(input: &mut Reader<'_>) -> Result<SmallVec<[Keyword; 2]>, Malformed> {
    let count = input.count(2)?;
    (0..count)
        .map(|_| Keyword::of_old(input.text()?).map_err(|_| Malformed("not a keyword")))
        .collect()
}

fn date(input: &mut Reader<'_>) -> Result<InternalDate, Malformed> {
    Ok(InternalDate {
        at: UnixMillis(input.u64()?.cast_signed()),
        zone_minutes: input.u16()?.cast_signed(),
    })
}

fn chunks(input: &mut Reader<'_>) -> Result<SmallVec<[ChunkRef; 1]>, Malformed> {
    let count = input.count(12)?;
    let chunk = |_| {
        let segment = SegmentId(input.u32()?);
        let offset = input.u32()?;
        Ok(ChunkRef {
            position: LogPosition { segment, offset },
            bytes: input.u32()?,
        })
    };
    (0..count).map(chunk).collect()
}

fn recipients(input: &mut Reader<'_>) -> Result<Vec<SpoolRecipient>, Malformed> {
    let count = input.count(10)?;
    let mut recipients = Vec::with_capacity(count);
    for _ in 0..count {
        recipients.push(SpoolRecipient {
            account: AccountId(input.u64()?),
            mailbox: name(input)?,
            prefix: Bytes::copy_from_slice(input.bytes()?),
            asked: Bytes::new(),
        });
    }
    if !input.is_empty() {
        for recipient in &mut recipients {
            recipient.asked = Bytes::copy_from_slice(input.bytes()?);
        }
    }
    Ok(recipients)
}

/// A spool key.
pub fn key(input: &mut Reader<'_>) -> Result<SpoolKey, Malformed> {
    Ok(SpoolKey {
        partition: input.u16()?,
        sequence: input.u64()?,
    })
}
