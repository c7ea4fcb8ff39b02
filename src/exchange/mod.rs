//! One account's mail as files that other programs read: Maildir (as Dovecot keeps it) or mbox, out of a store and back.
//!
//! What such files have no place for (UIDNEXTs, roles of mailboxes, subscriptions, MODSEQs, the milliseconds and the time
//! zone of INTERNALDATE, when a message was saved) lies in a file beside them, [`SIDECAR_NAME`]; with it an account comes
//! back equal. Without it, from somebody else's files, UIDs and UIDVALIDITYs are taken where they are said and given anew
//! where not.
//! Invariants: octets are written and read as they are in the store, line ends included; UIDLs are kept, those
//! that are made of UIDVALIDITY and UID and those that another server gave (`mailbox::uidl`); EMAILIDs are new after an import.
//! Limits: one message in memory on the way out; on the way in LIMITATION: one mailbox, because those without a UID come last.
//! Not here: reading a store (`store::tools`), writing one (`store::restore`), the commands (`boot::exchange`).

pub mod export;
pub mod import;
mod keyword_room;
pub mod maildir;
pub mod mbox;
pub mod names;
pub mod sidecar;
#[cfg(test)]
mod tests;

use crate::model::{Flags, UidValidity};
use crate::proto::imap::types::InternalDate;
use std::io;
use std::path::{Path, PathBuf};

pub use sidecar::SIDECAR_NAME;

/// A mailbox's numbers as files have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxHead {
    pub name: String,
    /// `None`: to be given anew.
    pub uid_validity: Option<UidValidity>,
    pub uid_next: u32,
    pub keywords: Vec<String>,
}

/// A message as files have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiledMessage {
    /// `None`: to be given anew.
    pub uid: Option<u32>,
    /// What POP3 calls it, where the files say so.
    pub uidl: Option<String>,
    pub flags: Flags,
    pub keywords: Vec<String>,
    pub internal_date: InternalDate,
    pub octets: Vec<u8>,
}

/// Takes an account's mail, mailbox by mailbox, ascending by UID.
pub trait Sink {
    /// The messages that follow are in this mailbox.
    fn begin_mailbox(&mut self, head: &MailboxHead) -> io::Result<()>;
    /// The next message of it.
    fn message(&mut self, message: &FiledMessage) -> io::Result<()>;
    /// There are no more messages in it; all of them are written and synced.
    fn end_mailbox(&mut self) -> io::Result<()>;
}

/// Files that were passed over: the first of them with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// All of them.
    pub count: u64,
    /// For people.
    pub first: Vec<String>,
}

/// Files of [`PassedOver`] that are told one by one.
pub const PASSED_OVER_TOLD_MAX: usize = 20;

impl PassedOver {
    /// One more.
    pub fn push(&mut self, path: &Path, why: impl std::fmt::Display) {
        self.count += 1;
        if self.first.len() < PASSED_OVER_TOLD_MAX {
            self.first.push(format!("{}: {why}", path.display()));
        }
    }
}

/// Gives an account's mail.
pub trait Source {
    /// Every mailbox, in any order, with its place.
    fn mailboxes(&self) -> io::Result<Vec<(MailboxHead, PathBuf)>>;
    /// Hands over every message of the mailbox at `place`, ascending by UID, those without one last, in the same order each
    /// time. What lies there like a message and cannot be read as one is passed over.
    fn messages(
        &self,
        place: &Path,
        passed_over: &mut PassedOver,
        each: &mut dyn FnMut(FiledMessage) -> io::Result<()>,
    ) -> io::Result<()>;
}

/// Which system flags have a letter, in Maildir's names and in mbox's `Status` fields.
pub(crate) const MAILDIR_FLAGS: [(char, Flags); 5] = [
    ('D', Flags::DRAFT),
    ('F', Flags::FLAGGED),
    ('R', Flags::ANSWERED),
    ('S', Flags::SEEN),
    ('T', Flags::DELETED),
];

/// What lies in `root` under a mailbox's name, as `mailbox_of` reads names of files. Ascending by name: numbers are given in this
/// order, and a directory has none.
fn named_places(root: &Path, mailbox_of: fn(&str) -> Option<String>) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(mailbox_of);
        found.extend(name.map(|name| (name, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

/// Longest message that comes in, octets: with CRLF at the end of every line it may be twice as long, and sizes are of 32 bits.
pub const MESSAGE_BYTES_MAX: u64 = i32::MAX as u64;

fn check_size(octets: u64, place: impl FnOnce() -> String) -> io::Result<()> {
    if octets <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    Err(invalid(format!(
        "{}: a message of {octets} octets is too large, {MESSAGE_BYTES_MAX} are the most",
        place()
    )))
}

/// The error with the path it is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

pub(crate) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}
