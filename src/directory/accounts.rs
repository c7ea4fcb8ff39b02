//! Where the accounts are, for whoever looks after them: the commands and the pages.
//!
//! Not here: what sessions ask (`Directory`).

use super::Source;
use super::embedded::Embedded;
use super::foreign::Foreign;
use super::orders::{Order, OrderError, Outcome, line_of};
use std::sync::Arc;

/// Octets of a reason in the log: an import may have thousands of them.
const REASON_BYTES_MAX: usize = 300;

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

    /// Carries one order of somebody out, and writes into the log who has changed what, or was refused. `by` names whoever asks.
    /// May be awaited on any executor.
    ///
    /// # Errors
    /// [`OrderError`]; nothing has changed then.
    pub async fn perform_for(&self, by: &str, order: Order) -> Result<Outcome, OrderError> {
        let order_told = order.changes().then(|| order.summary());
        let outcome = self.perform(order).await;
        if let Some(order) = order_told {
            match &outcome {
                Ok(_) => tracing::info!(by, order, "an order was carried out"),
                Err(error) => {
                    let why = line_of(&error.to_string(), REASON_BYTES_MAX);
                    tracing::info!(by, order, why, "an order was refused");
                }
            }
        }
        outcome
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
