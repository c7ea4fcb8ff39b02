//! SIGHUP and `ringpost reload`: what a running server takes of a changed configuration.
//!
//! Invariants: a file with a problem changes nothing; connections under way are not touched; what cannot be taken is named,
//! at each reload until the restart that takes it.

use super::BootError;
use super::certificates::{Files, Keeper};
use super::console::print;
use super::notify::Notifier;
use super::place;
use super::settings::{live_settings, mta_sts};
use super::signal::ReloadRequests;
use crate::admin::Readers;
use crate::admin::discovery::Found;
use crate::admin::socket::{self, Answer, Reloaded, Request};
use crate::cli::manage::Place;
use crate::config::option::Reload;
use crate::config::{Config, Values};
use crate::node::{LiveSettings, Settings};
use parking_lot::{Mutex, RwLock};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What can be exchanged, and what the file said before.
#[derive(Debug)]
pub struct Reloader {
    path: PathBuf,
    /// At the start: what is compared for options that wait for the next one.
    started: Values,
    now: Mutex<Values>,
    exchanged: Exchanged,
}

/// What a reload exchanges. Clones are the same, but for the settings, of which only `live` is exchanged.
#[derive(Clone, Debug)]
pub struct Exchanged {
    pub keeper: Arc<Keeper>,
    pub found: Arc<Found>,
    pub readers: Readers,
    pub live: Arc<RwLock<LiveSettings>>,
    /// As at the start: what waits for a restart is of these.
    pub settings: Settings,
}

impl Reloader {
    #[must_use]
    pub fn new(path: PathBuf, values: Values, exchanged: Exchanged) -> Self {
        Self {
            path,
            started: values.clone(),
            now: Mutex::new(values),
            exchanged,
        }
    }

    /// Reads the file and the certificates again.
    #[must_use]
    pub fn reload(&self) -> Reloaded {
        let mut outcome = Reloaded::default();
        let (config, values) = match Config::load(&self.path) {
            Ok(read) => read,
            Err(problems) => {
                outcome.problems = problems.0.iter().map(ToString::to_string).collect();
                return told(outcome);
            }
        };
        match self.exchanged.keeper.reload(Files::of(&config)) {
            Ok(true) => outcome.applied.push("certificates".to_owned()),
            Ok(false) => {}
            Err(why) => {
                outcome.problems = why.lines().map(str::to_owned).collect();
                return told(outcome);
            }
        }
        *self.exchanged.found.mta_sts.write() = mta_sts(&config);
        self.exchanged
            .readers
            .write()
            .clone_from(&config.web.metrics_from);
        *self.exchanged.live.write() = live_settings(&config, &self.exchanged.settings);
        super::log::set_filter(&config.log_filter);
        let before = std::mem::replace(&mut *self.now.lock(), values.clone());
        for change in before.changes(&values) {
            if change.reload == Reload::Live {
                outcome.applied.push(change.key);
            }
        }
        for change in self.started.changes(&values) {
            if change.reload == Reload::Restart {
                outcome.waiting.push(change.key);
            }
        }
        told(outcome)
    }

    /// Uses a certificate that an issuer has sent, by the configuration that was read last: a file that somebody is editing
    /// just now is not read.
    ///
    /// # Errors
    /// What is wrong with the certificates.
    pub fn take_issued(&self) -> Result<(), String> {
        let directory = self.path.parent().unwrap_or(std::path::Path::new("/"));
        let config = Config::from_values(&self.now.lock(), directory);
        self.exchanged.keeper.reload(Files::of(&config)).map(|_| ())
    }

    /// Reloads at each SIGHUP. Only on the control thread.
    pub async fn at_signals(self: Arc<Self>, mut requests: ReloadRequests, notifier: Notifier) {
        loop {
            requests.heard().await;
            notifier.reloading();
            let _ = self.reload();
            notifier.ready();
        }
    }

    /// Looks for changed certificate files. Only on the control thread.
    pub async fn watch(self: Arc<Self>) {
        let every = || Duration::from_secs(self.now.lock().number("tls.watch"));
        self.exchanged.keeper.watch(every).await;
    }
}

fn told(outcome: Reloaded) -> Reloaded {
    if outcome.problems.is_empty() {
        let applied = outcome.applied.join(", ");
        let waiting = outcome.waiting.join(", ");
        tracing::info!(applied, waiting_for_restart = waiting, "configuration read again");
    } else {
        let problems = outcome.problems.join("; ");
        tracing::error!(problems, "the configuration was not taken; what ran goes on");
    }
    outcome
}

/// `ringpost reload`: exit code 2 when the configuration has problems.
///
/// # Errors
/// See [`BootError`].
pub fn ask(place: &Place) -> Result<ExitCode, BootError> {
    let data = place::data_directory(place)?;
    let refuse = |cause: String| BootError::DataDirectory {
        path: data.display().to_string(),
        cause,
    };
    let answer = socket::ask(&data, &Request::Reload).map_err(|error| refuse(error.to_string()))?;
    let outcome = match answer {
        Some(Answer::Reloaded(outcome)) => outcome,
        Some(_) => return Err(refuse("its server answers something else".to_owned())),
        None => return Err(refuse("no server runs on it".to_owned())),
    };
    if place.json {
        print(&serde_json::json!(outcome).to_string());
    } else {
        for key in &outcome.applied {
            print(&format!("taken: {key}"));
        }
        for key in &outcome.waiting {
            print(&format!("waits for a restart: {key}"));
        }
        if outcome == Reloaded::default() {
            print("nothing is different");
        }
        for problem in &outcome.problems {
            eprintln!("ringpost: {problem}");
        }
    }
    Ok(if outcome.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}
