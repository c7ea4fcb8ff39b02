//! An account: the owner of mailboxes and credentials, and the partition it lives in.

use super::AddrSpec;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// Partitions of accounts. Fixed when a store is created; independent of the number of cores.
pub const PARTITIONS: u16 = 1024;

/// Partitions of the spool, numbered on from [`PARTITIONS`].
pub const SPOOL_PARTITIONS: u16 = 64;

/// Given once to an account and never reused; renaming an address does not change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u64);

/// The unit of ownership: all accounts whose hash falls in it are served by one core. 0..1024 accounts, 1024..1088 spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u16);

impl AccountId {
    /// The account's partition: XXH3-64 of the id's eight little-endian bytes, mod 1024. Part of the disk format.
    #[must_use]
    pub fn partition(self) -> Partition {
        let hash = xxh3_64(&self.0.to_le_bytes());
        Partition(u16::try_from(hash % u64::from(PARTITIONS)).expect("a remainder of 1024 fits"))
    }
}

impl Partition {
    /// The core that owns this partition on a machine running `cores` executors. Nothing on disk depends on it.
    #[must_use]
    pub fn core(self, cores: usize) -> usize {
        usize::from(self.0) % cores
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A way by which an account's owner comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientProtocol {
    Imap,
    Pop3,
    /// RFC 6409.
    Submission,
}

/// Which of them an account, or one of its app passwords, may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols(u8);

impl ClientProtocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Imap, Self::Pop3, Self::Submission];

    /// As the commands, the configuration and the directory's tables write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Submission => "submission",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Protocols {
    /// Every protocol.
    pub const ALL: Self = Self(0b111);
    /// None: nobody logs in.
    pub const NONE: Self = Self(0);

    /// Whether `protocol` is one of them.
    #[must_use]
    pub const fn allows(self, protocol: ClientProtocol) -> bool {
        self.0 & protocol.bit() != 0
    }

    /// These and `protocol`.
    #[must_use]
    pub const fn with(self, protocol: ClientProtocol) -> Self {
        Self(self.0 | protocol.bit())
    }

    /// Reads names with commas or spaces between: `imap,submission`. Empty: none.
    ///
    /// # Errors
    /// The first word that is no protocol.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut protocols = Self::NONE;
        for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
            let known = ClientProtocol::ALL.into_iter().find(|p| p.name() == word);
            protocols = protocols.with(known.ok_or_else(|| word.to_owned())?);
        }
        Ok(protocols)
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let allowed = ClientProtocol::ALL.into_iter().filter(|p| self.allows(*p));
        for (at, protocol) in allowed.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}", protocol.name())?;
        }
        Ok(())
    }
}

/// What POP3's DELE and QUIT do to the INBOX that IMAP clients see too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pop3Deletion {
    /// Expunge, as RFC 1939 means it.
    #[default]
    Delete,
    /// Move to the Trash mailbox.
    Trash,
    /// Keep it, and say +OK.
    Ignore,
}

impl Pop3Deletion {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Delete, Self::Trash, Self::Ignore];

    /// As it is written everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Trash => "trash",
            Self::Ignore => "ignore",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == text)
    }
}

/// What a session knows of an account once the directory has found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its id for ever.
    pub id: AccountId,
    /// Its main address, which is also its login.
    pub address: AddrSpec,
    /// Bytes of mail it may keep; `None`: no limit.
    pub quota_bytes: Option<u64>,
    /// Messages it may keep; `None`: no limit.
    pub quota_messages: Option<u64>,
    /// False: it takes no mail (550 5.2.1) and nobody logs in.
    pub is_enabled: bool,
    /// What its owner may log in by.
    pub protocols: Protocols,
    /// See the type.
    pub pop3_deletion: Pop3Deletion,
    /// Days after which mail may be taken away (RFC 2449 §6.7, EXPIRE); `None`: never.
    pub retention_days: Option<u16>,
}

/// How much mail there is, or comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Octets.
    pub bytes: u64,
    /// Of all mailboxes; a copy counts again.
    pub messages: u64,
}

impl Usage {
    /// Nothing.
    pub const NONE: Self = Self {
        bytes: 0,
        messages: 0,
    };

    /// One message of so many octets.
    #[must_use]
    pub fn message(bytes: u64) -> Self {
        Self { bytes, messages: 1 }
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.messages = self.messages.saturating_add(more.messages);
    }
}

impl std::ops::Add for Usage {
    type Output = Self;
    fn add(mut self, more: Self) -> Self {
        self += more;
        self
    }
}

/// What an account may keep; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Octets.
    pub bytes: Option<u64>,
    /// See [`Usage::messages`].
    pub messages: Option<u64>,
}

impl Quota {
    /// No limit at all.
    pub const NONE: Self = Self {
        bytes: None,
        messages: None,
    };

    /// What may be kept until so much of it goes, which goes by the same change.
    #[must_use]
    pub fn with_room_of(self, freed: Usage) -> Self {
        Self {
            bytes: self.bytes.map(|most| most.saturating_add(freed.bytes)),
            messages: self.messages.map(|most| most.saturating_add(freed.messages)),
        }
    }

    /// Is that much within it?
    #[must_use]
    pub fn admits(&self, usage: Usage) -> bool {
        self.bytes.is_none_or(|most| usage.bytes <= most)
            && self.messages.is_none_or(|most| usage.messages <= most)
    }
}

impl Account {
    /// What it may keep.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota {
            bytes: self.quota_bytes,
            messages: self.quota_messages,
        }
    }

    /// An account without limits that may do everything.
    #[must_use]
    pub fn new(id: AccountId, address: AddrSpec) -> Self {
        Self {
            id,
            address,
            quota_bytes: None,
            quota_messages: None,
            is_enabled: true,
            protocols: Protocols::ALL,
            pop3_deletion: Pop3Deletion::default(),
            retention_days: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_read_as_they_are_written() {
        for text in ["imap,pop3,submission", "pop3", ""] {
            assert_eq!(Protocols::parse(text).map(|p| p.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Protocols::parse("imap smtp"), Err("smtp".to_owned()));
        assert_eq!(Protocols::parse("submission, imap,pop3"), Ok(Protocols::ALL));
    }
}
