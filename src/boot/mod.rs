//! Start and ordered stop of the process.
//!
//! Order of starting: probe of the kernel, lock of the data directory, every listener bound, recovery, then executors;
//! only when each of them has its log open is the `ready` line printed and the first greeting sent.
//! Order of stopping: no new connections, sessions finish or say goodbye ([`DRAIN_TIMEOUT`]), every core is empty before
//! any store closes (a session may deliver to another core), the logs are synced, exit 0.
//! Failure: what an admin has to change is said in one message and exits with 2; nothing is left half-started.
//! Not here: what sessions do (`session`).

pub mod backend;
mod certificates;
mod check;
pub mod cluster;
pub mod configuration;
mod console;
pub mod data;
pub mod demo;
pub mod doctor;
pub mod error;
mod exchange;
pub mod import;
pub mod init;
mod issuer;
pub mod listeners;
pub mod log;
mod made;
pub mod manage;
mod named;
mod notify;
pub mod passwords;
mod place;
mod privileges;
pub mod reload;
pub mod serve;
mod settings;
pub mod signal;
mod stopped;
pub mod store;
mod undelete;

pub use error::BootError;
use std::time::Duration;

/// How long a start waits for spooled mail to reach its mailboxes before it greets anybody.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long open sessions may take to finish at a shutdown. systemd's default patience is 90 s.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
