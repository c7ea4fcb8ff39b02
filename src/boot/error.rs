//! Why the process did not start, or ended badly.

use crate::disk::DiskError;
use crate::runtime::{ExecutorError, ProbeError};
use crate::store::{OpenError, RestoreError};
use std::fmt::Display;
use std::process::ExitCode;

/// Each says whose matter it is by its exit code: 2 for what the admin changes, 1 for the rest.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel or its limits.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A listener.
    #[error(
        "cannot listen for {service}: {cause} (`listen.{service}` in the configuration; --port-offset moves the demo's)"
    )]
    Listen {
        /// Which service.
        service: &'static str,
        /// Names the address.
        cause: std::io::Error,
    },
    /// The data directory.
    #[error("data directory {path}: {cause}")]
    DataDirectory { path: String, cause: String },
    /// A number or address that names no account.
    #[error("account {0}: nobody here has that address; give an account's address, or its number")]
    Account(String),
    /// The configuration file: all of its problems.
    #[error(transparent)]
    Configuration(#[from] crate::config::Problems),
    /// Something else that the admin changes.
    #[error("{0}")]
    Admin(String),
    /// The store in it.
    #[error("{}{}", .0, advice(.0))]
    Store(#[from] OpenError),
    /// The device below it.
    #[error("{}{}", .0, of_disk(.0))]
    Disk(#[from] DiskError),
    /// An executor did not start or did not end well.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A new store could not take what was to be put into it.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Something else of the operating system.
    #[error("{what}: {cause}")]
    System { what: &'static str, cause: String },
}

const FULL: &str = "\nThe file system of the data directory is full: make room there, then start again.";

fn of_disk(error: &DiskError) -> &'static str {
    match error {
        DiskError::NoSpace { .. } => FULL,
        _ => "",
    }
}

/// What the admin does about it.
fn advice(error: &OpenError) -> &'static str {
    match error {
        OpenError::Damaged { .. } | OpenError::NotAStore(..) => {
            "\nTo go on: `ringpost store check DATA` lists what is damaged, and `ringpost store salvage DATA NEW` copies what is \
             whole into a new store, which then takes the place of the old one."
        }
        OpenError::Disk(error) => of_disk(error),
        _ => "",
    }
}

impl BootError {
    /// For `map_err`: `what` of the operating system failed.
    pub fn system<E: Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |cause| Self::System {
            what,
            cause: cause.to_string(),
        }
    }

    /// See the module head of `cli`.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Probe(_)
            | Self::Listen { .. }
            | Self::DataDirectory { .. }
            | Self::Account(_)
            | Self::Configuration(_)
            | Self::Admin(_)
            | Self::Store(_)
            | Self::Restore(RestoreError::Exists(_) | RestoreError::Contradiction(_)) => ExitCode::from(2),
            Self::Disk(_) | Self::Executor(_) | Self::Restore(_) | Self::System { .. } => ExitCode::FAILURE,
        }
    }
}
