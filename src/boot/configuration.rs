//! `ringpost check` and `ringpost config …`.

use super::certificates::Files;
use super::{BootError, backend, privileges};
use crate::cli::serve::{ConfigCommand, ServeArguments};
use crate::config::options::{OPTIONS, find};
use crate::config::{Backend, Config, show};
use crate::directory::embedded::{Database, FILE_NAME};
use crate::directory::orders::{Order, Outcome};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

/// Reads the configuration and all it names; every problem is told. Exit code 2 when there is one.
///
/// # Errors
/// [`BootError::Configuration`] when the file itself has problems.
pub fn check(arguments: &ServeArguments) -> Result<ExitCode, BootError> {
    let (config, _) = Config::load(&arguments.config)?;
    let mut problems = Vec::new();
    if privileges::is_root()
        && !config.server.user.is_empty()
        && let Err(error) = privileges::find_user(&config.server.user)
    {
        problems.push(error.to_string());
    }
    if let Err(why) = Files::of(&config).read() {
        problems.extend(why.lines().map(|line| format!("tls.certificate: {line}")));
    }
    if let Err(why) = check_directory(&config) {
        problems.push(why);
    }
    if let Err(why) = backend::check(&config) {
        problems.push(why);
    }
    if problems.is_empty() {
        print(&format!("{}: good", arguments.config.display()));
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &problems {
        eprintln!("ringpost: {problem}");
    }
    Ok(ExitCode::from(2))
}

fn check_directory(config: &Config) -> Result<(), String> {
    let data = &config.server.data;
    if !data.join(FILE_NAME).exists() {
        return Err(format!(
            "server.data: {} has no accounts in it (`ringpost init {}` makes it)",
            data.display(),
            config.server.domain
        ));
    }
    let mut database = Database::open(data).map_err(|error| error.to_string())?;
    if config.directory.backend != Backend::Embedded {
        return Ok(());
    }
    let order = Order::DomainShow {
        domain: config.server.domain.as_str().to_owned(),
    };
    match database.perform(order) {
        Ok(Outcome::Domains(_)) => Ok(()),
        Ok(_) => Err("the directory answers something else".to_owned()),
        Err(error) => Err(format!("server.domain: {error}")),
    }
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
        let keys: Vec<&str> = OPTIONS.iter().map(|option| option.key).collect();
        return Err(BootError::Admin(format!(
            "there is no option {key}; there are {}",
            keys.join(", ")
        )));
    }
    print(below.join("\n").trim_end());
    Ok(())
}

/// Nobody reading any more is no error.
pub(super) fn print(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
