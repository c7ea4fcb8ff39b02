//! What mail files have no place for, in one JSON file beside them.
//!
//! Invariants: it says nothing that the files say too, except by what to find them: flags and keywords are theirs, so
//! that a change made by another program there comes over.
//! Failure: a sidecar that cannot be read is an error; somebody who wants the files alone removes it.

use super::invalid;
use crate::base::clock::UnixMillis;
use crate::model::{AccountId, MailboxId, MailboxName, ModSeq, SpecialUse, UidValidity};
use crate::proto::imap::types::InternalDate;
use crate::store::{AccountImage, MailboxImage, Metadata};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The file, in the directory that an export makes.
pub const SIDECAR_NAME: &str = "ringpost.json";
/// Of its format.
const VERSION: u32 = 1;

/// All of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sidecar {
    version: u32,
    account: u64,
    highest_mod_seq: u64,
    next_mailbox: u32,
    next_uid_validity: u32,
    subscriptions: Vec<String>,
    mailboxes: Vec<Mailbox>,
    /// The account's own; octets by entry. Older exports have none, here as below.
    #[serde(default)]
    metadata: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mailbox {
    id: u32,
    name: String,
    /// Of its directory or file, below the export's.
    file: String,
    uid_validity: u32,
    uid_next: u32,
    special_use: u8,
    highest_mod_seq: u64,
    messages: Vec<Message>,
    #[serde(default)]
    metadata: BTreeMap<String, Vec<u8>>,
}

/// What is known of a message beside its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// By which it is found.
    pub uid: u32,
    /// See `MessageRow`.
    pub mod_seq: u64,
    /// Milliseconds since the epoch.
    pub internal_date_ms: i64,
    /// Minutes east of UTC.
    pub zone_minutes: i16,
    /// Milliseconds since the epoch.
    pub save_date_ms: i64,
    /// What the sender asked for besides delivery, as FORMAT.md has it; most mail and older exports have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<u8>,
}

impl Message {
    /// Its INTERNALDATE.
    #[must_use]
    pub fn internal_date(&self) -> InternalDate {
        InternalDate {
            at: UnixMillis(self.internal_date_ms),
            zone_minutes: self.zone_minutes,
        }
    }
}

fn octets_of(metadata: &Metadata) -> BTreeMap<String, Vec<u8>> {
    let entries = metadata.iter();
    entries
        .map(|(name, value)| (name.clone(), value.to_vec()))
        .collect()
}

fn metadata_of(octets: &BTreeMap<String, Vec<u8>>) -> Metadata {
    let entries = octets.iter();
    entries
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect()
}

impl Sidecar {
    /// Of an account without its messages.
    #[must_use]
    pub fn new(image: &AccountImage) -> Self {
        Self {
            version: VERSION,
            account: image.id.0,
            highest_mod_seq: image.highest_mod_seq.0,
            next_mailbox: image.next_mailbox,
            next_uid_validity: image.next_uid_validity,
            subscriptions: image.subscriptions.iter().map(ToString::to_string).collect(),
            mailboxes: Vec::new(),
            metadata: octets_of(&image.metadata),
        }
    }

    /// Adds a mailbox that went to `file`.
    pub fn push(&mut self, image: &MailboxImage, file: String, messages: Vec<Message>) {
        self.mailboxes.push(Mailbox {
            id: image.id.0,
            name: image.name.to_string(),
            file,
            uid_validity: image.uid_validity.0,
            uid_next: image.uid_next,
            special_use: image.special_use.map_or(0, |role| role as u8),
            highest_mod_seq: image.highest_mod_seq.0,
            messages,
            metadata: octets_of(&image.metadata),
        });
    }

    /// Writes it into `directory`.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(SIDECAR_NAME);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        std::fs::File::open(path)?.sync_all()
    }

    /// Reads the one in `directory`; `None`: there is none.
    ///
    /// # Errors
    /// When it is not what [`Self::write`] writes.
    pub fn read(directory: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read(directory.join(SIDECAR_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let sidecar: Self =
            serde_json::from_slice(&text).map_err(|e| invalid(format!("{SIDECAR_NAME}: {e}")))?;
        if sidecar.version == VERSION {
            Ok(Some(sidecar))
        } else {
            Err(invalid(format!(
                "{SIDECAR_NAME} is of version {}",
                sidecar.version
            )))
        }
    }

    /// The account as it was, under the number `id`.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn image(&self, id: AccountId) -> io::Result<AccountImage> {
        let name =
            |text: &String| MailboxName::new(text).map_err(|e| invalid(format!("mailbox {text:?}: {e}")));
        let mailbox = |mailbox: &Mailbox| {
            Ok(MailboxImage {
                id: MailboxId(mailbox.id),
                name: name(&mailbox.name)?,
                uid_validity: UidValidity(mailbox.uid_validity),
                uid_next: mailbox.uid_next,
                special_use: SpecialUse::from_number(mailbox.special_use),
                highest_mod_seq: ModSeq(mailbox.highest_mod_seq),
                metadata: metadata_of(&mailbox.metadata),
            })
        };
        Ok(AccountImage {
            id,
            mailboxes: self.mailboxes.iter().map(mailbox).collect::<io::Result<_>>()?,
            subscriptions: self.subscriptions.iter().map(name).collect::<io::Result<_>>()?,
            highest_mod_seq: ModSeq(self.highest_mod_seq),
            metadata: metadata_of(&self.metadata),
            next_mailbox: self.next_mailbox,
            next_uid_validity: self.next_uid_validity,
        })
    }

    /// The mailbox that went to `file`, and what is known of its messages by UID.
    #[must_use]
    pub fn mailbox(&self, file: &str) -> Option<(MailboxId, BTreeMap<u32, Message>)> {
        let found = self.mailboxes.iter().find(|mailbox| mailbox.file == file)?;
        let messages = found
            .messages
            .iter()
            .map(|message| (message.uid, message.clone()));
        Some((MailboxId(found.id), messages.collect()))
    }
}
