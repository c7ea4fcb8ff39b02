//! The directory that a configuration names: opened for a server, looked at for `check`.

use super::BootError;
use crate::config::{Backend, Config};
use crate::directory::embedded::Embedded;
use crate::directory::foreign::{Failure, Foreign, Tables};
use crate::directory::{Accounts, ldap, postgres};
use crate::runtime::Control;
use std::sync::Arc;

/// Another directory's tables; `None`: the embedded one is used.
///
/// # Errors
/// What is wrong with its settings or the files they name.
fn tables(config: &Config) -> Result<Option<Arc<dyn Tables>>, String> {
    let timeout = config.directory.manner.timeout;
    Ok(match &config.directory.backend {
        Backend::Embedded => None,
        Backend::Postgres(settings) => Some(Arc::new(postgres::Postgres::new(settings, timeout)?)),
        Backend::Ldap(settings) => Some(Arc::new(ldap::Directory::new(settings, timeout)?)),
    })
}

/// Where the accounts are. One that cannot be reached is no reason not to start: senders hear 451 until it can.
///
/// # Errors
/// Settings or queries that cannot work.
pub fn accounts(config: &Config, embedded: &Embedded, control: &Control) -> Result<Accounts, BootError> {
    let Some(tables) = tables(config).map_err(BootError::Admin)? else {
        return Ok(Accounts::Embedded(embedded.clone()));
    };
    let backend = tables.name();
    match probe(&tables, config, control) {
        Ok(()) => tracing::info!(backend, "accounts are in another directory"),
        Err(Failure::Down(cause)) => {
            tracing::warn!(
                backend,
                cause,
                "the directory does not answer; mail for it waits at its senders"
            );
        }
        Err(Failure::Wrong(cause)) => return Err(BootError::Admin(cause)),
    }
    let manner = config.directory.manner.clone();
    let foreign = Foreign::new(tables, embedded.clone(), control.clone(), manner);
    foreign
        .map(Accounts::Foreign)
        .map_err(BootError::system("entropy"))
}

/// Whether the other directory, if one is used, answers and takes its queries.
///
/// # Errors
/// What keeps it from that.
pub fn check(config: &Config) -> Result<(), String> {
    let Some(tables) = tables(config)? else {
        return Ok(());
    };
    let control = Control::start().map_err(|error| error.to_string())?;
    probe(&tables, config, &control)
        .map_err(|failure| format!("directory.backend {}: {failure}", tables.name()))
}

fn probe(tables: &Arc<dyn Tables>, config: &Config, control: &Control) -> Result<(), Failure> {
    let (tables, timeout) = (tables.clone(), config.directory.manner.timeout);
    let probing = control.run(async move {
        let late = |_| Err(Failure::Down(format!("nothing came within {timeout:?}")));
        tokio::time::timeout(timeout, tables.probe())
            .await
            .unwrap_or_else(late)
    });
    let gone = |error: crate::runtime::ControlGone| Err(Failure::Down(error.to_string()));
    futures_executor::block_on(probing).unwrap_or_else(gone)
}
