//! GETMETADATA and SETMETADATA (RFC 5464), and the METADATA of LIST (RFC 9590).
//!
//! Invariants: SETMETADATA is one durable change, all its entries or none; an entry that was asked for by its name and has
//! no value is answered NIL. Entries of a mailbox go with it when it is renamed and with it when it is deleted; the mailbox
//! that INBOX is renamed to begins with INBOX's, and INBOX keeps them.
//! The server's `/shared` entries are the operator's: [`ADMIN_ENTRY`] is there, none can be set. Its `/private` ones are
//! the account's own. Any entry with a well-formed name is taken, registered or not.
//! Limits: [`METADATA_VALUE_BYTES_MAX`], [`METADATA_ENTRIES_MAX`], [`METADATA_ACCOUNT_BYTES_MAX`]; commands in flight at the
//! same time may exceed the latter two by what they bring.
//! Not here: telling of changes (`notify`).

use super::Services;
use super::link::Link;
use super::naming::Known;
use super::state::{Answered, Session, Stop, no};
use crate::mailbox::uidl::is_hidden;
use crate::model::{MailboxId, MailboxName};
use crate::proto::imap::encode::mailbox::push_metadata_line;
use crate::proto::imap::types::{MetadataDepth, MetadataQuery, NameForm};
use crate::proto::imap::{Code, Completion};
use crate::session::pipe::Pipe;
use crate::store::{AccountChange, AccountState, Change, Metadata};
use bytes::Bytes;
use std::ops::Bound;

/// Longest value, octets. Comments, colours and the settings of programs are far shorter.
pub const METADATA_VALUE_BYTES_MAX: usize = 16 * 1024;

/// Most entries of one mailbox, and of the account itself.
pub const METADATA_ENTRIES_MAX: usize = 256;

/// Octets of all names and values of an account: it is in memory while somebody is logged in.
pub const METADATA_ACCOUNT_BYTES_MAX: usize = 1024 * 1024;

/// Whom to ask about the server (RFC 5464 §6.1.2).
const ADMIN_ENTRY: &str = "/shared/admin";

/// What a query found.
#[derive(Debug, Default)]
struct Found {
    entries: Vec<(String, Option<Bytes>)>,
    /// Octets of the longest value that was left out.
    longest: Option<u64>,
}

impl Found {
    fn push(&mut self, query: &MetadataQuery, name: &str, value: Option<&Bytes>) {
        if self.entries.iter().any(|(known, _)| known == name) {
            return;
        }
        let octets = value.map_or(0, |value| value.len() as u64);
        if query.max_size.is_some_and(|most| octets > most) {
            self.longest = self.longest.max(Some(octets));
            return;
        }
        self.entries.push((name.to_owned(), value.cloned()));
    }
}

fn find(metadata: &Metadata, query: &MetadataQuery) -> Found {
    let mut found = Found::default();
    for name in &query.entries {
        let value = metadata.get(name);
        // What stands for a whole branch is no entry itself.
        if value.is_some() || name.matches('/').count() > 1 {
            found.push(query, name, value);
        }
        if query.depth == MetadataDepth::Zero {
            continue;
        }
        let branch = format!("{name}/");
        let behind = (Bound::Included(branch.as_str()), Bound::Unbounded);
        let below = metadata.range::<str, _>(behind);
        for (below, value) in below.take_while(|(below, _)| below.starts_with(&branch)) {
            let is_child = !below[branch.len()..].contains('/');
            if is_child || query.depth == MetadataDepth::Infinity {
                found.push(query, below, Some(value));
            }
        }
    }
    found
}

/// Writes what of a mailbox's metadata `query` asks for; octets of the longest value that was left out.
pub fn push_found(
    mailbox: Option<&MailboxName>,
    metadata: &Metadata,
    query: &MetadataQuery,
    names: NameForm,
    out: &mut Vec<u8>,
) -> Option<u64> {
    let found = find(metadata, query);
    if !found.entries.is_empty() {
        push_metadata_line(mailbox, &found.entries, names, out);
    }
    found.longest
}

/// The end of a command, with the octets of the longest value left out (RFC 5464 §4.2.1).
pub fn ended(done: Completion, longest: Option<u64>) -> Completion {
    match longest {
        Some(octets) => done.with_code(Code::MetadataLongEntries(octets)),
        None => done,
    }
}

/// What clients said and may ask for.
fn of_clients(metadata: &Metadata) -> impl Iterator<Item = (&String, &bytes::Bytes)> {
    metadata.iter().filter(|(name, _)| !is_hidden(name))
}

fn bytes_of(metadata: &Metadata) -> usize {
    of_clients(metadata)
        .map(|(name, value)| name.len() + value.len())
        .sum()
}

fn metadata_of(account: &AccountState, mailbox: Option<MailboxId>) -> Option<&Metadata> {
    match mailbox {
        Some(id) => Some(&account.mailboxes.get(&id)?.metadata),
        None => Some(&account.metadata),
    }
}

impl<S: Services> Session<S> {
    pub async fn get_metadata<P: Pipe>(
        &self,
        link: &mut Link<P>,
        mailbox: Option<&MailboxName>,
        query: &MetadataQuery,
    ) -> Answered {
        let known = self.annotated(mailbox, link.out())?;
        let id = known.as_ref().map(|known| known.id);
        let mailbox = mailbox.zip(known.as_ref());
        let mailbox = mailbox.map(|(given, known)| self.name_in_response(given, &known.name));
        let names = self.names;
        let longest = self.with_account(|account| {
            let mut metadata = metadata_of(account, id)?.clone();
            if mailbox.is_none() {
                let domain = &self.account.address.domain;
                let admin = format!("mailto:postmaster@{domain}");
                metadata.insert(ADMIN_ENTRY.to_owned(), admin.into());
            }
            Some(push_found(mailbox, &metadata, query, names, link.out()))
        })?;
        link.part_done(&*self.services).await?;
        Ok(match longest {
            Some(longest) => ended(Completion::ok("GETMETADATA completed"), longest),
            None => no(Code::NonExistent, "No such mailbox"),
        })
    }

    pub async fn set_metadata(
        &mut self,
        mailbox: Option<MailboxName>,
        entries: Vec<(String, Option<Vec<u8>>)>,
        out: &mut Vec<u8>,
    ) -> Answered {
        let known = self.annotated(mailbox.as_ref(), out)?;
        let id = known.as_ref().map(|known| known.id);
        if mailbox.is_none() && entries.iter().any(|(name, _)| name.starts_with("/shared/")) {
            return Ok(no(Code::NoPerm, "Only the operator says that to everybody"));
        }
        let values = entries.iter().filter_map(|(_, value)| value.as_ref());
        if values.map(Vec::len).max().unwrap_or(0) > METADATA_VALUE_BYTES_MAX {
            let code = Code::MetadataMaxSize(METADATA_VALUE_BYTES_MAX as u64);
            return Ok(no(code, "The value is too long"));
        }
        self.check_metadata(id, &entries)?;
        let own = AccountChange::Metadata {
            mailbox: known.map(|known| known.name),
            entries: entries.iter().map(|(name, _)| name.clone()).collect(),
        };
        let entries = entries.into_iter();
        let change = Change::SetMetadata {
            mailbox: id,
            entries: entries
                .map(|(name, value)| (name, value.map(Bytes::from)))
                .collect(),
        };
        self.change(change).await?;
        self.note_own_change(own);
        Ok(Completion::ok("SETMETADATA completed"))
    }

    fn annotated(&self, mailbox: Option<&MailboxName>, out: &mut Vec<u8>) -> Result<Option<Known>, Stop> {
        mailbox
            .map(|name| self.mailbox(name, Code::NonExistent, out))
            .transpose()
    }

    /// Is there room for these entries?
    fn check_metadata(
        &self,
        id: Option<MailboxId>,
        entries: &[(String, Option<Vec<u8>>)],
    ) -> Result<(), Stop> {
        let (count, bytes) = self.with_account(|account| {
            let mut after = metadata_of(account, id).cloned().unwrap_or_default();
            let before = bytes_of(&after);
            for (name, value) in entries {
                match value {
                    Some(value) => after.insert(name.clone(), value.clone().into()),
                    None => after.remove(name),
                };
            }
            let of_mailboxes = account
                .mailboxes
                .values()
                .map(|mailbox| bytes_of(&mailbox.metadata));
            let all = of_mailboxes.sum::<usize>() + bytes_of(&account.metadata);
            (of_clients(&after).count(), all - before + bytes_of(&after))
        })?;
        // What only removes or shortens is always let through.
        let adds = entries.iter().any(|(_, value)| value.is_some());
        if adds && count > METADATA_ENTRIES_MAX {
            return Err(no(Code::MetadataTooMany, "There are too many entries").into());
        }
        if adds && bytes > METADATA_ACCOUNT_BYTES_MAX {
            return Err(no(Code::OverQuota, "The account's metadata would be too long").into());
        }
        Ok(())
    }
}
