//! UIDLs that messages had on the server they came from (RFC 1939 §7): a POP3 program that keeps mail on the server fetches
//! everything again when they change.
//!
//! Kept as entries of the mailbox's metadata whose names no IMAP client can say, because they do not begin with a slash
//! (RFC 5464 §3.2): a list of those that were said, and up to which UID the others follow Dovecot's form.
//! Invariants: a UIDL names one message of its mailbox for ever, because it hangs on a UID; one that could come to name two
//! (said twice, or in the form that messages have here) is not kept, and its message has the form that they have here.
//! Limits: [`LISTED_BYTES_MAX`].
//! Not here: messages without an entry, whose UIDL is `UIDVALIDITY.UID` (`proto::pop3`).

use crate::model::{Uid, UidValidity};
use crate::store::Metadata;
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};

/// Octets of UIDLs that are listed for one mailbox: some 40,000 messages. They are in memory with the account.
pub const LISTED_BYTES_MAX: usize = 1024 * 1024;

/// Octets of one entry.
const ENTRY_BYTES_MAX: usize = 8 * 1024;

/// Longest UIDL.
const UIDL_BYTES_MAX: usize = 70;

/// Of entries with a list; the number of the first UID follows.
const LIST: &str = "pop3-uidl/list/";

/// The UIDVALIDITY and the last UID that follow Dovecot's form.
const DOVECOT: &str = "pop3-uidl/dovecot";

/// Whether an entry is this server's own business and none of a client's.
#[must_use]
pub fn is_hidden(entry: &str) -> bool {
    !entry.starts_with('/')
}

/// Dovecot's default, `%08Xu%08Xv`.
#[must_use]
pub fn of_dovecot(uid: Uid, uid_validity: UidValidity) -> String {
    format!("{:08x}{:08x}", uid.value(), uid_validity.0)
}

/// UIDLs of one mailbox that are not `UIDVALIDITY.UID`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedUidls {
    listed: BTreeMap<u32, Box<str>>,
    /// The UIDVALIDITY, and the last UID.
    dovecot: Option<(UidValidity, u32)>,
}

impl ImportedUidls {
    /// Those of a mailbox.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let mut found = Self::default();
        for (_, value) in metadata
            .range(LIST.to_owned()..)
            .take_while(|(name, _)| name.starts_with(LIST))
        {
            let text = String::from_utf8_lossy(value);
            let pairs = text.lines().filter_map(|line| line.split_once(' '));
            let read = pairs.filter_map(|(uid, uidl)| Some((uid.parse::<u32>().ok()?, uidl.into())));
            found.listed.extend(read);
        }
        found.dovecot = metadata.get(DOVECOT).and_then(|value| {
            let text = std::str::from_utf8(value).ok()?;
            let (validity, last) = text.split_once(' ')?;
            Some((UidValidity(validity.parse().ok()?), last.parse().ok()?))
        });
        found
    }

    /// Lets all messages up to `last` have Dovecot's form that are not listed.
    pub fn follow_dovecot(&mut self, uid_validity: UidValidity, last: u32) {
        self.dovecot = Some((uid_validity, last));
    }

    /// Lists one.
    pub fn push(&mut self, uid: Uid, uidl: &str) {
        self.listed.insert(uid.value(), uidl.into());
    }

    /// The UIDL of a message; `None`: it has the form that messages have here.
    #[must_use]
    pub fn find(&self, uid: Uid) -> Option<String> {
        if let Some(listed) = self.listed.get(&uid.value()) {
            return Some(listed.to_string());
        }
        let (uid_validity, last) = self.dovecot?;
        (uid.value() <= last).then(|| of_dovecot(uid, uid_validity))
    }

    /// Drops those that have the form that messages have here anyway, for their own UID.
    pub fn drop_own(&mut self, own: UidValidity) {
        // Dovecot's form would take their place.
        if self.dovecot.is_none() {
            self.listed
                .retain(|uid, uidl| **uidl != *format!("{}.{uid}", own.0));
        }
    }

    /// Drops what cannot be kept in a mailbox of this UIDVALIDITY; so many were dropped.
    pub fn drop_unusable(&mut self, own: UidValidity) -> u64 {
        let before = self.listed.len();
        let own = format!("{}.", own.0);
        let dovecot = self.dovecot;
        let (mut said, mut room) = (HashSet::new(), LISTED_BYTES_MAX);
        self.listed.retain(|uid, uidl| {
            let is_well_formed = (1..=UIDL_BYTES_MAX).contains(&uidl.len())
                && uidl.bytes().all(|octet| (0x21..=0x7e).contains(&octet));
            let number = uidl.strip_prefix(&own).map(str::parse::<u32>);
            let is_of_another = number.is_some_and(|number| number != Ok(*uid))
                || dovecot.is_some_and(|(validity, _)| {
                    is_of_dovecot(uidl, validity).is_some_and(|other| other != *uid)
                });
            let is_kept = is_well_formed && !is_of_another && uidl.len() + 12 <= room;
            if is_kept && said.insert(uidl.clone()) {
                room -= uidl.len() + 12;
                return true;
            }
            false
        });
        (before - self.listed.len()) as u64
    }

    /// The entries that keep them.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Bytes)> {
        let mut entries = Vec::new();
        let mut open: Option<(u32, String)> = None;
        for (uid, uidl) in &self.listed {
            let (_, text) = open.get_or_insert_with(|| (*uid, String::new()));
            text.push_str(&format!("{uid} {uidl}\n"));
            if text.len() >= ENTRY_BYTES_MAX {
                entries.extend(open.take());
            }
        }
        entries.extend(open);
        let listed = entries
            .into_iter()
            .map(|(first, text)| (format!("{LIST}{first:010}"), Bytes::from(text)));
        let dovecot = self
            .dovecot
            .map(|(validity, last)| (DOVECOT.to_owned(), Bytes::from(format!("{} {last}", validity.0))));
        listed.chain(dovecot).collect()
    }
}

/// The UID that a text of Dovecot's form names.
fn is_of_dovecot(uidl: &str, uid_validity: UidValidity) -> Option<u32> {
    let (uid, validity) = uidl.split_at_checked(8)?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    (validity.len() == 8 && number(validity)? == uid_validity.0)
        .then(|| number(uid))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: u32) -> Uid {
        Uid::new(number).expect("a UID")
    }

    #[test]
    fn what_is_kept_comes_back() {
        let mut uidls = ImportedUidls::default();
        for number in 1..2_000 {
            uidls.push(uid(number), &format!("msg-{number:020}"));
        }
        uidls.follow_dovecot(UidValidity(0x5f00_0001), 3_000);
        assert_eq!(uidls.drop_unusable(UidValidity(9)), 0);
        let mut metadata: Metadata = uidls.entries().into_iter().collect();
        assert!(metadata.len() > 5 && metadata.keys().all(|name| is_hidden(name)));
        metadata.insert("/private/comment".to_owned(), Bytes::from_static(b"x"));
        let found = ImportedUidls::of(&metadata);
        assert_eq!(found, uidls);
        assert_eq!(found.find(uid(7)).as_deref(), Some("msg-00000000000000000007"));
        assert_eq!(found.find(uid(2_500)).as_deref(), Some("000009c45f000001"));
        assert_eq!(found.find(uid(3_001)), None);
    }

    #[test]
    fn what_could_name_two_messages_is_not_kept() {
        let mut uidls = ImportedUidls::default();
        uidls.follow_dovecot(UidValidity(0x10), 100);
        let long = "x".repeat(71);
        for (number, text) in [
            (1, "a"),
            (2, "a"),
            (3, "9.4"),
            (4, "9 4"),
            (5, ""),
            (6, long.as_str()),
            (7, "0000000800000010"),
            (8, "8.4"),
        ] {
            uidls.push(uid(number), text);
        }
        assert_eq!(uidls.drop_unusable(UidValidity(9)), 6);
        assert_eq!(uidls.find(uid(1)).as_deref(), Some("a"));
        assert_eq!(uidls.find(uid(2)).as_deref(), Some("0000000200000010"));
        assert_eq!(uidls.find(uid(8)).as_deref(), Some("8.4"));
    }

    #[test]
    fn a_list_has_an_end() {
        let mut uidls = ImportedUidls::default();
        for number in 1..=30_000 {
            uidls.push(uid(number), &format!("{number:070}"));
        }
        assert!(uidls.drop_unusable(UidValidity(9)) > 10_000);
        let bytes: usize = uidls.entries().iter().map(|(_, value)| value.len()).sum();
        assert!(bytes <= LISTED_BYTES_MAX);
    }
}
