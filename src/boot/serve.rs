//! `ringpost serve`: the server that a configuration file describes.
//!
//! Order: the file is read and checked, ports are bound, root is given up, then the kernel is probed (what root may do says
//! nothing of what its user may), the data directory is locked and opened. Nothing is greeted before all of it is well.

use super::certificates::Keeper;
use super::cluster::{self, Plan};
use super::data::DataDirectory;
use super::notify::Notifier;
use super::reload::{Exchanged, Reloader};
use super::settings::{endpoints, live_settings, mta_sts, offers, settings, store_options};
use super::{BootError, backend, issuer, listeners, privileges, signal};
use crate::acme::{self, challenges::Challenges};
use crate::admin::discovery::{Domains, Found};
use crate::admin::pages::{Pages, Sessions};
use crate::admin::{self, socket};
use crate::auth::failures::Failures;
use crate::cli::serve::ServeArguments;
use crate::config::{self, Config};
use crate::directory::embedded::{self, Database, Embedded};
use crate::directory::{Accounts, Backend};
use crate::net;
use crate::node::Settings;
use crate::runtime::{self, Control};
use crate::tls::Certificates;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// See [`BootError`].
pub fn run(arguments: &ServeArguments) -> Result<(), BootError> {
    let path = absolute(&arguments.config);
    let (config, values) = Config::load(&path)?;
    super::log::set_filter(&config.log_filter);
    let cores = match config.server.cores {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cores => usize::from(cores),
    };
    let (bound, mut ports) = listeners::bind_each(&config.listen, cores)?;
    let http = listeners::bind_web("http", &config.http, &mut ports)?;
    let https = listeners::bind_web("https", &config.https, &mut ports)?;
    let challenges = listeners::bind_web("acme", &config.acme_listen, &mut ports)?;
    privileges::become_user(&config.server.user)?;
    runtime::probe(cores)?;
    let data = open_data(&config)?;
    let system = |what| move |cause: String| BootError::System { what, cause };
    let keeper = Arc::new(Keeper::start(&config)?);
    let certificates = keeper.certificates().clone();
    let tls = offers(&config, &certificates)?;
    let (issuer, token_refusal) = issuer::of(&config)?.unzip();
    let (stop, reloads) = signal::listen().map_err(|e| system("signal handlers")(e.to_string()))?;
    let control = Control::start().map_err(|e| system("control thread")(e.to_string()))?;
    note_backend(&config, &data.path)?;
    let directory =
        Embedded::start(&data.path, control.clone()).map_err(|e| BootError::Admin(e.to_string()))?;
    let accounts = backend::accounts(&config, &directory, &control)?;
    let source = accounts.source();
    let found = Arc::new(Found {
        hostname: config.server.hostname.clone(),
        domains: match config.directory.backend {
            config::Backend::Embedded => Domains::Embedded(directory.clone(), config.server.domain.clone()),
            _ => Domains::Asked(source.clone(), config.server.domain.clone()),
        },
        endpoints: endpoints(&ports),
        mta_sts: RwLock::new(mta_sts(&config)),
        known: Mutex::default(),
    });
    let started = Settings {
        token_refusal,
        ..settings(&config)
    };
    let live = Arc::new(RwLock::new(live_settings(&config, &started)));
    let readers: admin::Readers = Arc::new(RwLock::new(config.web.metrics_from.clone()));
    let reloader = Arc::new(Reloader::new(
        path,
        values,
        Exchanged {
            keeper,
            found: found.clone(),
            readers: readers.clone(),
            live: live.clone(),
            settings: started.clone(),
        },
    ));
    let notifier = Notifier::of_environment();
    control.spawn(notifier.clone().say_when_stopping(stop.clone()));
    control.spawn(reloader.clone().at_signals(reloads, notifier.clone()));
    control.spawn(reloader.clone().watch());
    ask_for_certificates(&config, certificates, challenges, &reloader, &control);
    let listener = socket::bind(&data.path).map_err(|e| system("control socket")(e.to_string()))?;
    let reload: socket::Reload = Arc::new(move || {
        let reloader = reloader.clone();
        Box::pin(async move { reloader.reload() })
    });
    let (restore, undelete) = super::undelete::orders(Backend::Source(source.clone()));
    let view = cluster::view(&data.path);
    let doors = socket::Doors {
        view: Some(view.clone()),
        directory: Some(accounts.clone()),
        reload: Some(reload),
        restore: Some(restore),
    };
    control.spawn(socket::serve(listener, doors));
    let failures = cluster::failures()?;
    let pages =
        admin::discovery::router(found).merge(pages(&config, &accounts, &control, &failures, &ports)?);
    let alive = control.clone();
    let plan = Plan {
        cores,
        data: data.path.clone(),
        listeners: bound,
        http,
        https,
        pages,
        network: match config.server.network.as_str() {
            "tcp" => net::Backend::Tcp,
            _ => net::Backend::Ring,
        },
        directory: Backend::Source(source),
        accounts: Some(accounts),
        main_domain: config.server.domain.clone(),
        tls,
        settings: Settings { live, ..started },
        readers,
        failures,
        store: store_options(&config),
        compaction: config
            .store
            .compaction
            .then(|| Duration::from_secs(config.store.compaction_pause_seconds)),
        undelete,
        issuer,
        view,
        control,
        stop,
    };
    let path = data.path.clone();
    cluster::run(plan, move || {
        announce(&path, &ports);
        notifier.ready();
        // No sign of life is due before that.
        alive.spawn(notifier.keep_alive());
    })?;
    data.close();
    Ok(())
}

/// Asks the issuer that the configuration names, if any, from now on.
fn ask_for_certificates(
    config: &Config,
    certificates: Certificates,
    listeners: Vec<TcpListener>,
    reloader: &Arc<Reloader>,
    control: &Control,
) {
    let challenges = Challenges::new(certificates);
    for listener in listeners {
        control.spawn(admin::http::serve(listener, challenges.router()));
    }
    let Some(settings) = config.acme.clone() else {
        return;
    };
    let files = acme::files::Files::of(&config.server.data);
    let reloader = reloader.clone();
    let installed: acme::Installed = Arc::new(move || reloader.take_issued());
    control.spawn(acme::Client::new(settings, files, challenges, installed).run());
}

/// Those for users and admins.
fn pages(
    config: &Config,
    accounts: &Accounts,
    control: &Control,
    failures: &Arc<Failures>,
    ports: &BTreeMap<&'static str, u16>,
) -> Result<axum::Router, BootError> {
    Ok(admin::pages::router(Arc::new(Pages {
        directory: accounts.clone(),
        source: accounts.source(),
        control: control.clone(),
        failures: failures.clone(),
        limits_loopback: config.limits.loopback,
        dummy: cluster::dummy_hash()?,
        hostname: config.server.hostname.to_string(),
        endpoints: endpoints(ports),
        sessions: Sessions::default(),
    })))
}

fn absolute(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// For commands that are told the data directory and not the configuration.
fn note_backend(config: &Config, data: &Path) -> Result<(), BootError> {
    let backend = &config.directory.backend;
    let elsewhere = (*backend != config::Backend::Embedded).then(|| backend.name());
    let mut database = Database::open(data).map_err(|error| BootError::Admin(error.to_string()))?;
    database
        .leave_to(elsewhere)
        .map_err(|error| BootError::Admin(error.to_string()))
}

/// The data directory, which `init` made: one that appears by a typing mistake in its name would hide all mail.
fn open_data(config: &Config) -> Result<DataDirectory, BootError> {
    let data = &config.server.data;
    if !data.join(embedded::FILE_NAME).exists() {
        return Err(BootError::DataDirectory {
            path: data.display().to_string(),
            cause: format!(
                "it has no accounts in it, or cannot be read (`ringpost init {}` makes one)",
                config.server.domain
            ),
        });
    }
    DataDirectory::open(Some(data))
}

fn announce(data: &std::path::Path, ports: &BTreeMap<&'static str, u16>) {
    let ready = serde_json::json!({ "pid": std::process::id(), "data": data, "ports": ports });
    // Nobody reading is no error.
    let _ = writeln!(std::io::stdout(), "ready {ready}");
}
