//! What the benchmarks of the store share: the server's disk, mail for it, and numbers from the command's environment.

use bytes::Bytes;
use ringpost::base::clock::{SystemClock, UnixMillis};
use ringpost::disk::file::FileDisk;
use ringpost::model::{AccountId, MailboxName, Quota};
use ringpost::proto::imap::types::InternalDate;
use ringpost::store::{Body, Delivery, Environment, LocalRecipient};
use smallvec::smallvec;
use std::path::Path;

/// A store's environment on a real disk.
#[derive(Clone)]
pub struct RealEnvironment(FileDisk);

impl RealEnvironment {
    pub fn new(directory: &Path) -> Self {
        Self(FileDisk::new(directory).expect("the directory can be made"))
    }
}

impl Environment for RealEnvironment {
    type Disk = FileDisk;
    type Clock = SystemClock;
    fn disk(&self) -> &FileDisk {
        &self.0
    }
    fn clock(&self) -> &SystemClock {
        &SystemClock
    }
    fn random_u64(&self) -> u64 {
        u64::from(std::process::id())
    }
}

/// Mail for one account.
pub fn delivery(account: AccountId, body: Bytes) -> Delivery {
    Delivery {
        recipients: vec![LocalRecipient {
            account,
            mailbox: MailboxName::inbox(),
            prefix: b"Return-Path: <>\r\nDelivered-To: user@example.org\r\n".to_vec(),
            asked: Bytes::new(),
            quota: Quota::NONE,
            may_exceed_quota: false,
        }],
        body: Body::from_memory(smallvec![body]),
        internal_date: InternalDate {
            at: UnixMillis(0),
            zone_minutes: 0,
        },
        key: None,
    }
}

/// The number in an environment variable.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
