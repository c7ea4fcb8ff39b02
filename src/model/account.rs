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

    /// True for the partitions that hold spool records.
    #[must_use]
    pub fn is_spool(self) -> bool {
        (PARTITIONS..PARTITIONS + SPOOL_PARTITIONS).contains(&self.0)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
}
