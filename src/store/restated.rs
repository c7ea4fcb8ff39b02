//! An account as compaction says it anew in the log: all of its durable state, as bytes.
//!
//! Invariants: `decode(encode(a)) == a`, but for change logs and what is recent, which no start keeps; the same account
//! gives the same bytes, so that a replay can compare. Part of the log's format: unlike a checkpoint's, this encoding
//! cannot be changed without a new format version. FORMAT.md has the fields.
//! Rows differ little from the one before: differences as varints take half the bytes of a checkpoint's fixed rows.
//! Limits: about 30 bytes a message. A long account is encoded piece by piece ([`Encoding`]), by whoever sees to it that it does
//! not change meanwhile; it is decoded at once, at a start only.

use super::codec::{Malformed, Reader, put_bytes, put_u8, put_u32, put_u64, put_varint};
use super::record::{keywords, metadata, name, put_keywords, put_metadata, special_use};
use super::state::{AccountState, BuriedMailbox, Grave, KEYWORDS_MAX, MailboxState, MessageRow};
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, Flags, LogPosition, MailboxId, ModSeq, SegmentId, Uid, UidValidity};

/// Fewest bytes that a row takes.
const ROW_BYTES_MIN: usize = 14;

/// The account's bytes.
#[must_use]
pub fn encode(account: &AccountState) -> Vec<u8> {
    let mut out = Vec::new();
    let is_whole = Encoding::default().put_some(account, &mut out, usize::MAX);
    assert!(is_whole, "no account has as many rows");
    out
}

/// An account's bytes made piece by piece, while the account does not change.
#[derive(Default)]
pub struct Encoding {
    at: At,
    before: Before,
}

/// What comes next: of the n-th mailbox by name, or of the n-th deleted one; from the n-th row or grave on.
#[derive(Clone, Copy, Default)]
enum At {
    #[default]
    Head,
    Mailbox(usize),
    Rows(usize, usize),
    Graves(usize, usize),
    Buried(usize),
    BuriedGraves(usize, usize),
    Tail,
    End,
}

impl Encoding {
    /// Appends at most `most` rows or what takes about as long. True: that was all.
    pub fn put_some(&mut self, account: &AccountState, out: &mut Vec<u8>, most: usize) -> bool {
        let mut left = most;
        while left > 0 && !matches!(self.at, At::End) {
            let put = self.put_next(account, out, left);
            left = left.saturating_sub(put.max(1));
        }
        matches!(self.at, At::End)
    }

    /// Gives how many rows or graves were put.
    fn put_next(&mut self, account: &AccountState, out: &mut Vec<u8>, most: usize) -> usize {
        match self.at {
            At::Head => {
                put_head(out, account);
                self.at = At::Mailbox(0);
            }
            At::Mailbox(n) => match mailbox_at(account, n) {
                Some(mailbox) => {
                    put_mailbox(out, mailbox);
                    self.at = At::Rows(n, 0);
                    self.before = Before::default();
                }
                None => {
                    put_varint(out, account.buried.len() as u64);
                    self.at = At::Buried(0);
                }
            },
            At::Rows(n, first) => {
                let mailbox = mailbox_at(account, n).expect("it was there a moment ago");
                let some = part(&mailbox.rows, first, most);
                some.iter().for_each(|row| self.before.put(out, row));
                self.at = At::Rows(n, first + some.len());
                if first + some.len() == mailbox.rows.len() {
                    self.begin_graves(out, &mailbox.graves);
                    self.at = At::Graves(n, 0);
                }
                return some.len();
            }
            At::Graves(n, first) => {
                let mailbox = mailbox_at(account, n).expect("it was there a moment ago");
                let put = self.put_graves(out, &mailbox.graves, first, most);
                let is_end = first + put == mailbox.graves.len();
                self.at = if is_end {
                    At::Mailbox(n + 1)
                } else {
                    At::Graves(n, first + put)
                };
                return put;
            }
            At::Buried(n) => match account.buried.get(n) {
                Some(mailbox) => {
                    put_u32(out, mailbox.id.0);
                    put_bytes(out, mailbox.name.as_str().as_bytes());
                    put_keywords(out, &mailbox.keywords);
                    self.begin_graves(out, &mailbox.graves);
                    self.at = At::BuriedGraves(n, 0);
                }
                None => self.at = At::Tail,
            },
            At::BuriedGraves(n, first) => {
                let graves = &account.buried[n].graves;
                let put = self.put_graves(out, graves, first, most);
                let is_end = first + put == graves.len();
                self.at = if is_end {
                    At::Buried(n + 1)
                } else {
                    At::BuriedGraves(n, first + put)
                };
                return put;
            }
            At::Tail => {
                put_metadata_of_all(out, account);
                self.at = At::End;
            }
            At::End => {}
        }
        0
    }

    fn begin_graves(&mut self, out: &mut Vec<u8>, graves: &[Grave]) {
        put_varint(out, graves.len() as u64);
        self.before = Before::default();
    }

    fn put_graves(&mut self, out: &mut Vec<u8>, graves: &[Grave], first: usize, most: usize) -> usize {
        let some = part(graves, first, most);
        for grave in some {
            self.before.put(out, &grave.row);
            put_u64(out, grave.mod_seq.0);
            put_u64(out, grave.at.0.cast_unsigned());
            put_u8(out, u8::from(grave.has_moved));
        }
        some.len()
    }
}

fn part<T>(all: &[T], first: usize, most: usize) -> &[T] {
    let rest = &all[first..];
    &rest[..rest.len().min(most)]
}

fn mailbox_at(account: &AccountState, n: usize) -> Option<&MailboxState> {
    let id = account.names.values().nth(n)?;
    Some(account.mailboxes.get(id).expect("a name has a mailbox"))
}

fn put_head(out: &mut Vec<u8>, account: &AccountState) {
    put_u64(out, account.highest_mod_seq.0);
    put_u32(out, account.next_mailbox);
    put_u32(out, account.next_uid_validity);
    put_varint(out, account.subscriptions.len() as u64);
    for name in account.subscriptions.keys() {
        put_bytes(out, name.as_str().as_bytes());
    }
    put_varint(out, account.names.len() as u64);
}

/// At the end, and only if there is any: accounts were said anew before there was metadata, and those bytes stay right.
fn put_metadata_of_all(out: &mut Vec<u8>, account: &AccountState) {
    let of_mailboxes = || account.names.values().map(|id| &account.mailboxes[id].metadata);
    if account.metadata.is_empty() && of_mailboxes().all(|metadata| metadata.is_empty()) {
        return;
    }
    put_metadata(out, &account.metadata);
    of_mailboxes().for_each(|metadata| put_metadata(out, metadata));
}

fn take_metadata_of_all(input: &mut Reader<'_>, account: &mut AccountState) -> Result<(), Malformed> {
    if input.is_empty() {
        return Ok(());
    }
    account.metadata = metadata(input)?;
    for id in account.names.values() {
        let mailbox = account.mailboxes.get_mut(id).expect("a name has a mailbox");
        mailbox.metadata = metadata(input)?;
    }
    Ok(())
}

/// Up to its rows.
fn put_mailbox(out: &mut Vec<u8>, mailbox: &MailboxState) {
    put_u32(out, mailbox.id.0);
    put_bytes(out, mailbox.name.as_str().as_bytes());
    put_u32(out, mailbox.uid_validity.0);
    put_u32(out, mailbox.uid_next);
    put_u8(out, mailbox.special_use.map_or(0, |s| s as u8));
    put_u64(out, mailbox.highest_mod_seq.0);
    put_u64(out, mailbox.graves_from.0);
    put_keywords(out, &mailbox.keywords);
    put_varint(out, mailbox.rows.len() as u64);
}

/// See [`encode`].
pub fn decode(id: AccountId, octets: &[u8]) -> Result<AccountState, Malformed> {
    let mut input = Reader::new(octets);
    let mut account = AccountState::empty(id);
    account.highest_mod_seq = ModSeq(input.u64()?);
    account.next_mailbox = input.u32()?;
    account.next_uid_validity = input.u32()?;
    for _ in 0..input.count(2)? {
        account.subscriptions.insert(name(&mut input)?, ());
    }
    for _ in 0..input.count(32)? {
        let mailbox = mailbox(&mut input)?;
        account.bytes_used += mailbox.rows.iter().map(|row| u64::from(row.size)).sum::<u64>();
        let is_new = account.names.insert(mailbox.name.clone(), mailbox.id).is_none();
        if account.mailboxes.insert(mailbox.id, mailbox).is_some() || !is_new {
            return Err(Malformed("a mailbox twice"));
        }
    }
    for _ in 0..input.count(7)? {
        account.buried.push(BuriedMailbox {
            id: MailboxId(input.u32()?),
            name: name(&mut input)?,
            keywords: keywords(&mut input)?.into_vec(),
            graves: graves(&mut input)?,
        });
    }
    take_metadata_of_all(&mut input, &mut account)?;
    input.finish()?;
    Ok(account)
}

fn mailbox(input: &mut Reader<'_>) -> Result<MailboxState, Malformed> {
    let id = MailboxId(input.u32()?);
    let name = name(input)?;
    let uid_validity = UidValidity(input.u32()?);
    let uid_next = input.u32()?;
    let mut mailbox = MailboxState::new(id, name, uid_validity, special_use(input)?);
    mailbox.uid_next = uid_next;
    mailbox.highest_mod_seq = ModSeq(input.u64()?);
    mailbox.graves_from = ModSeq(input.u64()?);
    mailbox.keywords = keywords(input)?.into_vec();
    if mailbox.keywords.len() > KEYWORDS_MAX {
        return Err(Malformed("too many keywords"));
    }
    let count = input.count(ROW_BYTES_MIN)?;
    mailbox.rows.reserve_exact(count);
    let mut before = Before::default();
    let mut last = 0;
    for _ in 0..count {
        let row = before.take(input)?;
        if row.uid.value() <= last || row.uid.value() >= uid_next {
            return Err(Malformed("rows that do not ascend to UIDNEXT"));
        }
        last = row.uid.value();
        mailbox.rows.push(row);
    }
    mailbox.graves = graves(input)?;
    Ok(mailbox)
}

fn graves(input: &mut Reader<'_>) -> Result<Vec<Grave>, Malformed> {
    let count = input.count(ROW_BYTES_MIN + 17)?;
    let mut graves: Vec<Grave> = Vec::with_capacity(count);
    let mut before = Before::default();
    for _ in 0..count {
        let grave = Grave {
            row: before.take(input)?,
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

/// What the next row differs from.
#[derive(Default)]
struct Before {
    uid: u64,
    internal_date: u64,
    save_date: u64,
    mod_seq: u64,
    segment: u64,
}

/// A number as its difference from the one before, small ones of either sign in few bytes.
fn put_difference(out: &mut Vec<u8>, before: &mut u64, value: u64) {
    let difference = value.wrapping_sub(*before).cast_signed();
    put_varint(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
    *before = value;
}

fn difference(input: &mut Reader<'_>, before: &mut u64) -> Result<u64, Malformed> {
    let zigzag = input.varint()?;
    let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
    *before = before.wrapping_add(difference);
    Ok(*before)
}

fn narrow(value: u64) -> Result<u32, Malformed> {
    u32::try_from(value).map_err(|_| Malformed("a number too large"))
}

impl Before {
    fn put(&mut self, out: &mut Vec<u8>, row: &MessageRow) {
        put_difference(out, &mut self.uid, u64::from(row.uid.value()));
        put_u8(out, row.flags.0);
        put_varint(out, row.keywords);
        put_varint(out, u64::from(row.size));
        put_varint(out, u64::from(row.line_end_octets));
        put_difference(
            out,
            &mut self.internal_date,
            row.internal_date_at.0.cast_unsigned(),
        );
        put_varint(out, u64::from(row.internal_date_zone_minutes.cast_unsigned()));
        put_difference(out, &mut self.save_date, row.save_date.0.cast_unsigned());
        put_difference(out, &mut self.mod_seq, row.mod_seq.0);
        put_difference(out, &mut self.segment, u64::from(row.record.segment.0));
        put_varint(out, u64::from(row.record.offset));
        put_varint(out, u64::from(row.record_bytes));
        // The body is nearly always beside its record.
        let mut beside = u64::from(row.record.segment.0);
        put_difference(out, &mut beside, u64::from(row.body_segment.0));
        put_u8(out, u8::from(row.is_body_scattered));
    }

    fn take(&mut self, input: &mut Reader<'_>) -> Result<MessageRow, Malformed> {
        let uid = narrow(difference(input, &mut self.uid)?)?;
        let flags = Flags(input.u8()?);
        let keywords = input.varint()?;
        let size = narrow(input.varint()?)?;
        let line_end_octets = narrow(input.varint()?)?;
        let at = UnixMillis(difference(input, &mut self.internal_date)?.cast_signed());
        let zone = u16::try_from(input.varint()?).map_err(|_| Malformed("a zone too large"))?;
        let save_date = UnixMillis(difference(input, &mut self.save_date)?.cast_signed());
        let mod_seq = ModSeq(difference(input, &mut self.mod_seq)?);
        let segment = narrow(difference(input, &mut self.segment)?)?;
        let offset = narrow(input.varint()?)?;
        let record_bytes = narrow(input.varint()?)?;
        let mut beside = u64::from(segment);
        let body_segment = SegmentId(narrow(difference(input, &mut beside)?)?);
        Ok(MessageRow {
            uid: Uid::new(uid).ok_or(Malformed("UID 0"))?,
            flags,
            keywords,
            size,
            internal_date_at: at,
            internal_date_zone_minutes: zone.cast_signed(),
            save_date,
            mod_seq,
            record: LogPosition {
                segment: SegmentId(segment),
                offset,
            },
            record_bytes,
            body_segment,
            is_body_scattered: input.u8()? != 0,
            line_end_octets,
        })
    }
}
