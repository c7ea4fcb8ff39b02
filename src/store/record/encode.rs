//! Payloads as they are written.
//!
//! Invariants: `decode` reads back what is written here, field by field in the same order.
//! Not here: what may be in a field (`decode`). FORMAT.md has the fields.

use super::{MessageRecord, MovedRecord, NO_MAILBOX, Record, SpoolRecipient};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Keyword, MailboxId};
use crate::proto::imap::types::InternalDate;
use crate::store::codec::{put_bytes, put_u8, put_u16, put_u32, put_u64, put_uids, put_varint};
use crate::store::state::Metadata;
use crate::store::{ChunkRef, SpoolKey};
use bytes::Bytes;

impl Record {
    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::AccountCreated {
                account,
                uid_validity,
            } => {
                put_u64(out, account.0);
                put_u32(out, *uid_validity);
            }
            Self::MailboxCreated {
                account,
                mailbox,
                uid_validity,
                special_use,
                name,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u32(out, *uid_validity);
                put_u8(out, special_use.map_or(0, |s| s as u8));
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::MailboxDeleted { account, mailbox, at } => {
                put_account_mailbox(out, *account, *mailbox);
                put_at(out, *at);
            }
            Self::MailboxRenamed {
                account,
                mailbox,
                name,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::InboxRenamed {
                account,
                to,
                mod_seq,
                at,
            } => {
                put_account_mailbox(out, *account, *to);
                put_u64(out, mod_seq.0);
                put_at(out, *at);
            }
            Self::Subscription {
                account,
                name,
                subscribed,
            } => {
                put_u64(out, account.0);
                put_u8(out, u8::from(*subscribed));
                put_bytes(out, name.as_str().as_bytes());
            }
            Self::Metadata {
                account,
                mailbox,
                mod_seq,
                entries,
            } => {
                put_account_mailbox(out, *account, mailbox.unwrap_or(NO_MAILBOX));
                if let Some(mod_seq) = mod_seq {
                    put_u64(out, mod_seq.0);
                }
                put_entries(out, entries);
            }
            Self::SpecialUseSet {
                account,
                mailbox,
                special_use,
            } => {
                put_account_mailbox(out, *account, mailbox.unwrap_or(NO_MAILBOX));
                put_u8(out, special_use.map_or(0, |s| s as u8));
            }
            Self::Message(message) => encode_message(message, out),
            Self::StoreFlags {
                account,
                mailbox,
                mod_seq,
                operation,
                flags,
                keywords,
                unchanged_since,
                rule: _,
                uids,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
                put_u8(out, *operation as u8);
                put_u8(out, flags.0);
                put_keywords(out, keywords);
                if let Some(since) = unchanged_since {
                    put_u64(out, since.0);
                }
                put_uids(out, uids);
            }
            Self::Expunge {
                account,
                mailbox,
                mod_seq,
                only_deleted,
                uids,
                at,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
                put_u8(out, u8::from(*only_deleted));
                put_uids(out, uids);
                put_at(out, *at);
            }
            Self::Transfer {
                account,
                from,
                to,
                mod_seq,
                moves,
                first_uid,
                uids,
                when,
            } => {
                put_account_mailbox(out, *account, *from);
                put_u32(out, to.0);
                put_u64(out, mod_seq.0);
                put_u8(out, u8::from(*moves));
                put_u32(out, first_uid.value());
                put_uids(out, uids);
                put_at(out, when.at());
            }
            Self::GravesForgotten {
                account,
                mailbox,
                mod_seq,
            } => {
                put_account_mailbox(out, *account, *mailbox);
                put_u64(out, mod_seq.0);
            }
            Self::MessageMoved(moved) => encode_moved(moved, out),
            Self::PartitionBegins { .. } => {}
            Self::Undeleted {
                mailbox,
                uid,
                message,
            } => {
                encode_message(message, out);
                put_u32(out, mailbox.0);
                put_u32(out, uid.value());
            }
            Self::AccountRestated {
                account,
                part,
                is_last,
                octets,
            } => {
                put_u64(out, account.0);
                put_u32(out, *part);
                put_u8(out, u8::from(*is_last));
                put_bytes(out, octets);
            }
            Self::ServedRestated { key, index, .. } => {
                put_key(out, *key);
                put_u16(out, *index);
            }
            Self::SpoolRestated { key, payload } => {
                put_key(out, *key);
                put_bytes(out, payload);
            }
            Self::PartitionEnds { begun_at, .. } => put_u64(out, *begun_at),
            Self::Spool {
                internal_date,
                line_end_octets,
                chunks,
                recipients,
                ..
            } => {
                put_date(out, *internal_date);
                put_u32(out, *line_end_octets);
                put_chunks(out, chunks);
                put_recipients(out, recipients);
            }
            Self::SpoolDone { key } | Self::SpoolForget { key, .. } => put_key(out, *key),
            Self::Seal { by } => put_u32(out, *by),
        }
    }
}

fn put_entries(out: &mut Vec<u8>, entries: &[(String, Option<Bytes>)]) {
    put_varint(out, entries.len() as u64);
    for (name, value) in entries {
        put_bytes(out, name.as_bytes());
        put_u8(out, u8::from(value.is_some()));
        if let Some(value) = value {
            put_bytes(out, value);
        }
    }
}

/// Appends metadata.
pub fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_varint(out, metadata.len() as u64);
    for (name, value) in metadata {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
}

fn encode_message(message: &MessageRecord, out: &mut Vec<u8>) {
    put_account_mailbox(out, message.account, message.mailbox);
    put_u32(out, message.uid.value());
    put_u64(out, message.mod_seq.0);
    put_u64(out, message.email_id);
    put_u8(out, message.flags.0);
    put_keywords(out, &message.keywords);
    put_date(out, message.internal_date);
    put_u64(out, message.save_date.0.cast_unsigned());
    put_u32(out, message.line_end_octets);
    put_bytes(out, &message.prefix);
    put_chunks(out, &message.chunks);
    put_u8(
        out,
        u8::from(message.key.is_some()) | u8::from(!message.asked.is_empty()) << 1,
    );
    if let Some((key, index)) = message.key {
        put_key(out, key);
        put_u16(out, index);
    }
    if !message.asked.is_empty() {
        put_bytes(out, &message.asked);
    }
}

fn encode_moved(moved: &MovedRecord, out: &mut Vec<u8>) {
    encode_message(&moved.message, out);
    put_u32(out, moved.from.segment.0);
    put_u32(out, moved.from.offset);
    put_varint(out, moved.rows.len() as u64);
    for (mailbox, uid) in &moved.rows {
        put_u32(out, mailbox.0);
        put_u32(out, uid.value());
    }
}

fn put_at(out: &mut Vec<u8>, at: Option<UnixMillis>) {
    if let Some(at) = at {
        put_u64(out, at.0.cast_unsigned());
    }
}

fn put_account_mailbox(out: &mut Vec<u8>, account: AccountId, mailbox: MailboxId) {
    put_u64(out, account.0);
    put_u32(out, mailbox.0);
}

fn put_date(out: &mut Vec<u8>, date: InternalDate) {
    put_u64(out, date.at.0.cast_unsigned());
    put_u16(out, date.zone_minutes.cast_unsigned());
}

/// See [`keywords`].
pub fn put_keywords(out: &mut Vec<u8>, keywords: &[Keyword]) {
    put_varint(out, keywords.len() as u64);
    for keyword in keywords {
        put_bytes(out, keyword.as_str().as_bytes());
    }
}

fn put_chunks(out: &mut Vec<u8>, chunks: &[ChunkRef]) {
    put_varint(out, chunks.len() as u64);
    for chunk in chunks {
        put_u32(out, chunk.position.segment.0);
        put_u32(out, chunk.position.offset);
        put_u32(out, chunk.bytes);
    }
}

fn put_recipients(out: &mut Vec<u8>, recipients: &[SpoolRecipient]) {
    put_varint(out, recipients.len() as u64);
    for recipient in recipients {
        put_u64(out, recipient.account.0);
        put_bytes(out, recipient.mailbox.as_str().as_bytes());
        put_bytes(out, &recipient.prefix);
    }
    if recipients.iter().any(|recipient| !recipient.asked.is_empty()) {
        recipients
            .iter()
            .for_each(|recipient| put_bytes(out, &recipient.asked));
    }
}

/// See [`key`].
pub fn put_key(out: &mut Vec<u8>, key: SpoolKey) {
    put_u16(out, key.partition);
    put_u64(out, key.sequence);
}
