//! `ringpost check` and `ringpost config …`.

use super::BootError;
use super::console::print;
use super::named::Named;
use crate::cli::serve::{ConfigCommand, ServeArguments};
use crate::config::options::{OPTIONS, find};
use crate::config::{Config, Problems, read, show};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Reads the configuration and all it names; every problem is told, and what else is to be known. Exit code 2 when there is a problem.
///
/// # Errors
/// [`BootError::Configuration`] with all of them.
pub fn check(arguments: &ServeArguments) -> Result<ExitCode, BootError> {
    let path = arguments.config.as_path();
    let (read, mut problems) = Config::examine(path);
    let mut notes = Vec::new();
    if let Some((config, values)) = read {
        let told = Named { path, config, values }.look();
        notes = told.notes;
        problems.extend(told.problems);
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
    }
    for note in notes {
        print(&format!("note: {note}"));
    }
    if problems.is_empty() {
        print(&format!("{}: good", path.display()));
        return Ok(ExitCode::SUCCESS);
    }
    Err(Problems(problems).into())
}

/// `ringpost config …`
///
/// # Errors
/// [`BootError::Configuration`], [`BootError::Admin`] for a key that is none.
pub fn run(command: &ConfigCommand) -> Result<ExitCode, BootError> {
    match command {
        ConfigCommand::Sample => print(show::sample(&BTreeMap::new()).trim_end()),
        ConfigCommand::Diff { config } => {
            let (_, values) = Config::load(config)?;
            print(show::diff(&values).trim_end());
        }
        ConfigCommand::Explain { key: None } => {
            let all: Vec<String> = OPTIONS.iter().map(show::explain).collect();
            print(all.join("\n").trim_end());
        }
        ConfigCommand::Explain { key: Some(key) } => explain(key)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn explain(key: &str) -> Result<(), BootError> {
    if let Some(option) = find(key) {
        print(show::explain(option).trim_end());
        return Ok(());
    }
    let below: Vec<String> = OPTIONS
        .iter()
        .filter(|option| {
            option.key.starts_with(&format!("{key}.")) || option.key.ends_with(&format!(".{key}"))
        })
        .map(show::explain)
        .collect();
    if below.is_empty() {
        let meant = read::alike(key).map(|known| format!("; did you mean {known}?"));
        return Err(BootError::Admin(format!(
            "there is no option {key}{} (`ringpost config explain` explains all)",
            meant.unwrap_or_default()
        )));
    }
    print(below.join("\n").trim_end());
    Ok(())
}
