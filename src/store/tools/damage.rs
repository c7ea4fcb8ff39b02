//! What is wrong with a store, for people and programs.

use crate::model::{AccountId, LogPosition};
use std::fmt;

/// Damages that are kept one by one; beyond, they are counted only, so that a ruined disk does not fill the memory.
pub const DAMAGES_KEPT_MAX: usize = 100_000;

/// A message, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Whose.
    pub account: AccountId,
    /// The mailbox's name, or `#id` where no name is known.
    pub mailbox: Option<String>,
    /// In that mailbox.
    pub uid: Option<u32>,
    /// False: said by a record whose checksum is wrong.
    pub is_certain: bool,
}

/// One place that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `None`: the superblock, or something that has no place.
    pub position: Option<LogPosition>,
    /// Which file, if it is none of the log.
    pub file: Option<String>,
    /// How far it goes, as far as is known; 0: unknown.
    pub bytes: u64,
    /// For people.
    pub what: String,
    /// Which message that costs.
    pub mail: Option<Mail>,
}

impl Damage {
    /// At `position`.
    #[must_use]
    pub fn at(position: LogPosition, bytes: u64, what: impl Into<String>) -> Self {
        Self {
            position: Some(position),
            file: None,
            bytes,
            what: what.into(),
            mail: None,
        }
    }

    /// Without a place in the log.
    #[must_use]
    pub fn nowhere(what: impl Into<String>) -> Self {
        Self {
            position: None,
            file: None,
            bytes: 0,
            what: what.into(),
            mail: None,
        }
    }

    /// In a file beside the log.
    #[must_use]
    pub fn in_file(file: String, what: impl Into<String>) -> Self {
        Self {
            file: Some(file),
            ..Self::nowhere(what)
        }
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "segment": self.position.map(|p| p.segment.0),
            "offset": self.position.map(|p| p.offset),
            "file": self.file,
            "bytes": self.bytes,
            "what": self.what,
            "account": self.mail.as_ref().map(|m| m.account.0),
            "mailbox": self.mail.as_ref().and_then(|m| m.mailbox.clone()),
            "uid": self.mail.as_ref().and_then(|m| m.uid),
            "certain": self.mail.as_ref().map(|m| m.is_certain),
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.position) {
            (Some(file), _) => f.write_str(file)?,
            (None, Some(position)) => write!(f, "{position}")?,
            (None, None) => f.write_str("store")?,
        }
        // Texts of our own with names of peers in them; an apostrophe is no danger to anybody.
        write!(
            f,
            ": {}",
            self.what.escape_debug().to_string().replace("\\'", "'")
        )?;
        let Some(mail) = &self.mail else { return Ok(()) };
        let verb = if mail.is_certain { ":" } else { ", probably" };
        write!(f, "{verb} account {}", mail.account)?;
        if let Some(mailbox) = &mail.mailbox {
            write!(f, ", mailbox \"{}\"", mailbox.escape_debug())?;
        }
        if let Some(uid) = mail.uid {
            write!(f, ", UID {uid}")?;
        }
        Ok(())
    }
}

/// Damages, the first [`DAMAGES_KEPT_MAX`] of them with their places.
#[derive(Clone, Debug, Default)]
pub struct Damages {
    /// In the order found.
    pub kept: Vec<Damage>,
    /// All of them.
    pub count: u64,
}

impl Damages {
    /// One more.
    pub fn push(&mut self, damage: Damage) {
        self.count += 1;
        if self.kept.len() < DAMAGES_KEPT_MAX {
            self.kept.push(damage);
        }
    }
}
