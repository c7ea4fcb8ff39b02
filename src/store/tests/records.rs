//! Every record comes back from its bytes, and no bytes make the decoder panic.

use crate::base::clock::UnixMillis;
use crate::model::{
    AccountId, Flags, Keyword, LogPosition, MailboxId, MailboxName, ModSeq, SegmentId, SpecialUse, Uid,
};
use crate::proto::imap::types::{InternalDate, StoreOperation};
use crate::store::codec::UidSet;
use crate::store::record::{MessageRecord, MovedRecord, Record, SpoolRecipient, StoreRule, Transferred};
use crate::store::{ChunkRef, SpoolKey};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use smallvec::SmallVec;

fn any_name() -> impl Strategy<Value = MailboxName> {
    "[a-zA-Zäß]{1,9}(/[a-z]{1,4}){0,3}".prop_map(|text| MailboxName::new(&text).expect("it is valid"))
}
fn any_date() -> impl Strategy<Value = InternalDate> {
    (any::<i64>(), -1439i16..=1439).prop_map(|(at, zone_minutes)| InternalDate {
        at: UnixMillis(at),
        zone_minutes,
    })
}
fn any_uids() -> impl Strategy<Value = UidSet> {
    vec(1u32.., 0..30).prop_map(|uids| UidSet::new(uids.into_iter().filter_map(Uid::new).collect()))
}
fn any_keywords() -> impl Strategy<Value = SmallVec<[Keyword; 2]>> {
    vec("[$a-zA-Z0-9]{1,20}", 0..4).prop_map(|all| {
        all.iter()
            .map(|text| Keyword::new(text).expect("an atom"))
            .collect()
    })
}
fn any_chunks() -> impl Strategy<Value = SmallVec<[ChunkRef; 1]>> {
    vec(any::<(u32, u32, u32)>(), 0..5).prop_map(|all| {
        let chunk = |(segment, offset, bytes)| {
            let position = LogPosition {
                segment: SegmentId(segment),
                offset,
            };
            ChunkRef { position, bytes }
        };
        all.into_iter().map(chunk).collect()
    })
}

fn asked(number: u32) -> Bytes {
    let octets = number.to_le_bytes();
    Bytes::copy_from_slice(&octets[..number as usize % 5])
}

/// Every kind of record, from the same ingredients.
fn any_record() -> impl Strategy<Value = Record> {
    let numbers = any::<(u64, u32, u32, u64, bool, u16)>();
    let texts = (any_name(), any_keywords(), vec(any::<u8>(), 0..300));
    let rest = (any_uids(), any_chunks(), any_date(), 1u32.., 0u8..32);
    (0..23, numbers, texts, rest).prop_map(|(kind, numbers, texts, rest)| {
        let (a, b, c, d, yes, index) = numbers;
        let (name, keywords, octets) = texts;
        let (uids, chunks, internal_date, uid, flags) = rest;
        let (account, mailbox, mod_seq) = (AccountId(a), MailboxId(b), ModSeq(d));
        let (uid, flags) = (Uid::new(uid).expect("not zero"), Flags(flags));
        let key = SpoolKey {
            partition: index,
            sequence: d,
        };
        let prefix = Bytes::from(octets);
        let at = yes.then_some(internal_date.at);
        match kind {
            0 => Record::AccountCreated {
                account,
                uid_validity: c,
            },
            1 => {
                let special_use = SpecialUse::from_number((c % 6) as u8);
                Record::MailboxCreated {
                    account,
                    mailbox,
                    uid_validity: c,
                    special_use,
                    name,
                }
            }
            2 => Record::MailboxDeleted { account, mailbox, at },
            3 => Record::MailboxRenamed {
                account,
                mailbox,
                name,
            },
            4 => Record::InboxRenamed {
                account,
                to: mailbox,
                mod_seq,
                at,
            },
            5 => Record::Subscription {
                account,
                name,
                subscribed: yes,
            },
            6 => Record::Message(Box::new(MessageRecord {
                account,
                mailbox,
                uid,
                mod_seq,
                email_id: d,
                flags,
                keywords,
                internal_date,
                save_date: internal_date.at,
                line_end_octets: c,
                prefix,
                chunks,
                key: yes.then_some((key, index)),
                asked: asked(b),
            })),
            7 => {
                let operation = [
                    StoreOperation::Replace,
                    StoreOperation::Add,
                    StoreOperation::Remove,
                ][c as usize % 3];
                Record::StoreFlags {
                    account,
                    mailbox,
                    mod_seq,
                    operation,
                    flags,
                    keywords,
                    unchanged_since: yes.then_some(ModSeq(d)),
                    rule: if b % 2 == 0 {
                        StoreRule::OfAll
                    } else {
                        StoreRule::OfChanged
                    },
                    uids,
                }
            }
            8 => Record::Expunge {
                account,
                mailbox,
                mod_seq,
                only_deleted: yes,
                uids,
                at,
            },
            9 => {
                let to = MailboxId(c);
                Record::Transfer {
                    account,
                    from: mailbox,
                    to,
                    mod_seq,
                    moves: yes,
                    first_uid: uid,
                    uids,
                    when: match at {
                        None => Transferred::Undated,
                        Some(at) if d % 2 == 0 => Transferred::Dated(at),
                        Some(at) => Transferred::Saved(at),
                    },
                }
            }
            10 => {
                let recipients = vec![SpoolRecipient {
                    account,
                    mailbox: name,
                    prefix,
                    asked: asked(b),
                }];
                Record::Spool {
                    partition: index,
                    internal_date,
                    line_end_octets: c,
                    chunks,
                    recipients,
                }
            }
            11 => Record::SpoolDone { key },
            12 => Record::SpoolForget {
                partition: c as u16,
                key,
            },
            13 => Record::GravesForgotten {
                account,
                mailbox,
                mod_seq,
            },
            14 => Record::MessageMoved(Box::new(MovedRecord {
                from: LogPosition {
                    segment: SegmentId(b),
                    offset: c,
                },
                rows: vec![(mailbox, uid); usize::from(index % 4)],
                message: MessageRecord {
                    account,
                    mailbox,
                    uid,
                    mod_seq,
                    email_id: d,
                    flags,
                    keywords,
                    internal_date,
                    save_date: internal_date.at,
                    line_end_octets: c,
                    prefix,
                    chunks,
                    key: None,
                    asked: Bytes::new(),
                },
            })),
            15 => Record::PartitionBegins { partition: index },
            16 => Record::AccountRestated {
                account,
                part: b,
                is_last: yes,
                octets: prefix,
            },
            17 => Record::ServedRestated {
                partition: index,
                key,
                index: c as u16,
            },
            18 => Record::SpoolRestated { key, payload: prefix },
            19 => Record::PartitionEnds {
                partition: index,
                begun_at: d,
            },
            20 => Record::Metadata {
                account,
                mailbox: yes.then_some(MailboxId(b | 1)),
                mod_seq: (d % 2 == 0).then_some(mod_seq),
                entries: vec![
                    (name.to_string(), Some(prefix)),
                    ("/private/comment".to_owned(), None),
                ],
            },
            21 => Record::SpecialUseSet {
                account,
                mailbox: yes.then_some(MailboxId(b | 1)),
                special_use: SpecialUse::from_number((c % 6) as u8),
            },
            _ => Record::Seal { by: b },
        }
    })
}

proptest! {
    #[test]
    fn every_record_comes_back_as_it_was_and_no_shorter_one_does(record in any_record(), cut: u16) {
        let mut out = Vec::new();
        record.encode(&mut out);
        prop_assert_eq!(Record::decode(record.kind(), record.partition(), &out), Ok(record.clone()));
        if let Some(len) = usize::from(cut).checked_rem(out.len()) {
            let shorter = Record::decode(record.kind(), record.partition(), &out[..len]);
            // What senders asked for is a tail, there only if anybody did: without it a spool record is another one.
            let is_other = matches!(record, Record::Spool { .. }) && shorter != Ok(record);
            prop_assert!(shorter.is_err() || is_other);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0u8..40, partition: u16, noise in vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(kind, partition, &noise);
    }
}
