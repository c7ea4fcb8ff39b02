//! Where the accounts are, for whoever looks after them: the commands and the pages.
//!
//! Not here: what sessions ask (`Directory`).

use super::Source;
use super::embedded::Embedded;
use super::foreign::Foreign;
use super::orders::{Order, OrderError, Outcome};
use std::sync::Arc;

/// The directory that a configuration names. Clones are the same.
#[derive(Clone, Debug)]
pub enum Accounts {
    /// The one that comes with the server.
    Embedded(Embedded),
    /// The site's own.
    Foreign(Foreign),
}

impl Accounts {
    /// What sessions and pages ask.
    #[must_use]
    pub fn source(&self) -> Arc<dyn Source> {
        match self {
            Self::Embedded(embedded) => Arc::new(embedded.clone()),
            Self::Foreign(foreign) => Arc::new(foreign.clone()),
        }
    }

    /// The other directory that has the accounts and their passwords.
    #[must_use]
    pub fn elsewhere(&self) -> Option<&'static str> {
        match self {
            Self::Embedded(_) => None,
            Self::Foreign(foreign) => Some(foreign.backend()),
        }
    }

    /// Carries one order out. May be awaited on any executor.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub async fn perform(&self, order: Order) -> Result<Outcome, OrderError> {
        match self {
            Self::Embedded(embedded) => embedded.perform(order).await,
            Self::Foreign(foreign) => foreign.perform(order).await,
        }
    }

    /// Takes the step of a code of the second factor of the account `id`; false when that one or a later one was taken before.
    /// It is on the disk when the answer comes.
    ///
    /// # Errors
    /// [`OrderError::Failed`].
    pub async fn take_totp_step(&self, id: u64, step: i64) -> Result<bool, OrderError> {
        match self {
            Self::Embedded(embedded) => embedded.take_totp_step(id, step).await,
            Self::Foreign(foreign) => foreign.take_totp_step(id, step).await,
        }
    }
}
