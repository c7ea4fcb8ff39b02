//! GETMETADATA and SETMETADATA (RFC 5464), and the METADATA of LIST (RFC 9590).
//!
//! Invariants: SETMETADATA is one durable change, all its entries or none; an entry that was asked for by its name and has
//! no value is answered NIL. Entries of a mailbox go with it when it is renamed and with it when it is deleted; the mailbox
//! that INBOX is renamed to begins with INBOX's, and INBOX keeps them.
//! The server's `/shared` entries are the operator's: [`ADMIN_ENTRY`] is there, none can be set. Its `/private` ones are
//! the account's own. Any entry with a well-formed name is taken, registered or not.
//! Limits: [`METADATA_VALUE_BYTES_MAX`], [`METADATA_ENTRIES_MAX`], [`METADATA_ACCOUNT_BYTES_MAX`]; commands in flight at the
//! same time may exceed the latter two by what they bring.
//! `/private/specialuse` of a mailbox is its special use (`special_use`).
//! Not here: telling of changes (`notify`).

use super::Services;
use super::link::Link;
use super::naming::Known;
use super::special_use;
use super::state::{Answered, Session, Stop, no};
use crate::mailbox::uidl::is_hidden;
use crate::model::{MailboxId, MailboxName, SpecialUse};
use crate::proto::imap::encode::mailbox::push_metadata_line;
use crate::proto::imap::types::{METADATA_VALUE_BYTES_MAX, MetadataDepth, MetadataQuery, NameForm};
use crate::proto::imap::{Code, Completion};
use crate::session::pipe::Pipe;
use crate::store::{AccountChange, AccountState, Change, MailboxState, Metadata};
use bytes::Bytes;
use std::borrow::Cow;
use std::ops::Bound;

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

/// What clients may ask for of a mailbox.
pub fn shown(state: &MailboxState) -> Cow<'_, Metadata> {
    if state.special_use.is_none() && !state.metadata.contains_key(SpecialUse::ENTRY) {
        return Cow::Borrowed(&state.metadata);
    }
    let mut shown = state.metadata.clone();
    // Before it was one with the special use, it was an entry like any other.
    shown.remove(SpecialUse::ENTRY);
    if let Some(role) = state.special_use {
        shown.insert(SpecialUse::ENTRY.to_owned(), role.attribute().into());
    }
    Cow::Owned(shown)
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
            let metadata = match id {
                Some(id) => shown(account.mailboxes.get(&id)?),
                None => Cow::Owned(self.of_server(account)),
            };
            Some(push_found(mailbox, &metadata, query, names, link.out()))
        })?;
        link.part_done(&*self.services).await?;
        Ok(match longest {
            Some(longest) => ended(Completion::ok("GETMETADATA completed"), longest),
            None => no(Code::NonExistent, "No such mailbox"),
        })
    }

    fn of_server(&self, account: &AccountState) -> Metadata {
        let mut metadata = account.metadata.clone();
        let domain = &self.owner.account.address.domain;
        let admin = format!("mailto:postmaster@{domain}");
        metadata.insert(ADMIN_ENTRY.to_owned(), admin.into());
        metadata
    }

    pub async fn set_metadata(
        &mut self,
        mailbox: Option<MailboxName>,
        mut entries: Vec<(String, Option<Vec<u8>>)>,
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
        let special_use = match id {
            Some(_) => special_use::taken_from(&mut entries)?,
            None => None,
        };
        let moved = match (id, special_use) {
            (Some(id), Some(special_use)) => self.uses_changed_by(id, special_use)?,
            _ => Vec::new(),
        };
        self.check_metadata(id, &entries)?;
        let own = AccountChange::Metadata {
            mailbox: known.map(|known| known.name),
            entries: entries.iter().map(|(name, _)| name.clone()).collect(),
        };
        let has_entries = !entries.is_empty();
        let entries = entries.into_iter();
        let change = Change::SetMetadata {
            mailbox: id,
            entries: entries
                .map(|(name, value)| (name, value.map(Bytes::from)))
                .collect(),
            special_use,
        };
        self.change(change).await?;
        self.tell_changed_uses(id, moved, out);
        if has_entries {
            self.note_own_change(own);
        }
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
