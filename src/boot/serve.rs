//! `ringpost serve`: the server that a configuration file describes.
//!
//! Order: the file is read and checked, ports are bound, root is given up, then the kernel is probed (what root may do says
//! nothing of what its user may), the data directory is locked and opened. Nothing is greeted before all of it is well.

use super::certificates::Keeper;
use super::cluster::{self, Plan};
use super::data::DataDirectory;
use super::listeners::{self, CoreListeners};
use super::notify::Notifier;
use super::reload::{Exchanged, Reloader};
use super::settings::{endpoints, live_settings, mta_sts, offers, settings, store_options};
use super::{BootError, backend, issuer, privileges, signal};
use crate::acme::{self, challenges::Challenges};
use crate::admin::discovery::{Domains, Found};
use crate::admin::pages::{Pages, Sessions};
use crate::admin::{self, View, socket};
use crate::auth::failures::Failures;
use crate::cli::serve::ServeArguments;
use crate::config::{self, Config};
use crate::delivery::undelete::Order;
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
use tokio::sync::mpsc;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// See [`BootError`].
pub fn run(arguments: &ServeArguments) -> Result<(), BootError> {
    let path = absolute(&arguments.config);
    let (config, values) = Config::load(&path)?;
    super::log::set_filter(&config.log_filter);
    let cores = cores(&config);
    let sockets = Sockets::bind(&config, cores)?;
    privileges::become_user(&config.server.user)?;
    runtime::probe(cores)?;
    let data = open_data(&config)?;
    let keeper = Arc::new(Keeper::start(&config)?);
    let certificates = keeper.certificates().clone();
    let tls = offers(&config, &certificates)?;
    let (issuer, token_refusal) = issuer::of(&config)?.unzip();
    let (stop, reloads) = signal::listen().map_err(BootError::system("signal handlers"))?;
    let control = Control::start().map_err(BootError::system("control thread"))?;
    let accounts = open_accounts(&config, &data.path, &control)?;

    let settings = Settings {
        token_refusal,
        ..settings(&config)
    };
    let exchanged = Exchanged {
        keeper,
        found: Arc::new(found(&config, &accounts, &sockets.ports)),
        readers: Arc::new(RwLock::new(config.web.metrics_from.clone())),
        live: Arc::new(RwLock::new(live_settings(&config, &settings))),
        settings,
    };
    let reloader = Arc::new(Reloader::new(path, values, exchanged.clone()));
    let notifier = Notifier::of_environment();
    control.spawn(notifier.clone().say_when_stopping(stop.clone()));
    control.spawn(reloader.clone().at_signals(reloads, notifier.clone()));
    control.spawn(reloader.clone().watch());
    ask_for_certificates(&config, certificates, sockets.challenges, &reloader, &control);

    let view = cluster::view(&data.path);
    let undelete = open_control_socket(&data.path, &control, &accounts, reloader, &view)?;
    let failures = cluster::failures()?;
    let pages = pages(&config, &accounts, &control, &failures, &sockets.ports)?;
    let plan = Plan {
        cores,
        data: data.path.clone(),
        listeners: sockets.bound,
        http: sockets.http,
        https: sockets.https,
        pages: admin::discovery::router(exchanged.found).merge(pages),
        network: network(&config),
        directory: Backend::Source(accounts.source()),
        accounts: Some(accounts),
        main_domain: config.server.domain.clone(),
        tls,
        settings: Settings {
            live: exchanged.live,
            ..exchanged.settings
        },
        readers: exchanged.readers,
        failures,
        store: store_options(&config),
        compaction: compaction_pause(&config),
        undelete,
        issuer,
        view,
        control: control.clone(),
        stop,
    };
    let (path, ports) = (data.path.clone(), sockets.ports);
    cluster::run(plan, move || {
        announce(&path, &ports);
        notifier.ready();
        // No sign of life is due before that.
        control.spawn(notifier.keep_alive());
    })?;
    data.close();
    Ok(())
}

/// What is listened on, bound while the process may bind it.
struct Sockets {
    bound: Vec<CoreListeners>,
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    /// For the issuer of certificates.
    challenges: Vec<TcpListener>,
    /// By service, the first of each.
    ports: BTreeMap<&'static str, u16>,
}

impl Sockets {
    fn bind(config: &Config, cores: usize) -> Result<Self, BootError> {
        let (bound, mut ports) = listeners::bind_each(&config.listen, cores)?;
        Ok(Self {
            bound,
            http: listeners::bind_web("http", &config.http, &mut ports)?,
            https: listeners::bind_web("https", &config.https, &mut ports)?,
            challenges: listeners::bind_web("acme", &config.acme_listen, &mut ports)?,
            ports,
        })
    }
}

fn cores(config: &Config) -> usize {
    match config.server.cores {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cores => usize::from(cores),
    }
}

fn network(config: &Config) -> net::Backend {
    match config.server.network.as_str() {
        "tcp" => net::Backend::Tcp,
        _ => net::Backend::Ring,
    }
}

fn compaction_pause(config: &Config) -> Option<Duration> {
    let store = &config.store;
    let pause = Duration::from_secs(store.compaction_pause_seconds);
    store.compaction.then_some(pause)
}

/// The accounts, wherever the configuration says that they are.
fn open_accounts(config: &Config, data: &Path, control: &Control) -> Result<Accounts, BootError> {
    note_backend(config, data)?;
    let embedded =
        Embedded::start(data, control.clone()).map_err(|error| BootError::Admin(error.to_string()))?;
    backend::accounts(config, &embedded, control)
}

/// What mail programs are told that look for this server.
fn found(config: &Config, accounts: &Accounts, ports: &BTreeMap<&'static str, u16>) -> Found {
    let main = config.server.domain.clone();
    Found {
        hostname: config.server.hostname.clone(),
        domains: match accounts {
            Accounts::Embedded(embedded) => Domains::Embedded(embedded.clone(), main),
            Accounts::Foreign(_) => Domains::Asked(accounts.source(), main),
        },
        endpoints: endpoints(ports),
        mta_sts: RwLock::new(mta_sts(config)),
        known: Mutex::default(),
    }
}

/// Where commands of this machine are heard. Gives back the orders among them that a core carries out.
fn open_control_socket(
    data: &Path,
    control: &Control,
    accounts: &Accounts,
    reloader: Arc<Reloader>,
    view: &Arc<View>,
) -> Result<mpsc::Receiver<Order>, BootError> {
    let listener = socket::bind(data).map_err(BootError::system("control socket"))?;
    let reload: socket::Reload = Arc::new(move || {
        let reloader = reloader.clone();
        Box::pin(async move { reloader.reload() })
    });
    let (restore, orders) = super::undelete::orders(Backend::Source(accounts.source()));
    let doors = socket::Doors {
        view: Some(view.clone()),
        directory: Some(accounts.clone()),
        reload: Some(reload),
        restore: Some(restore),
    };
    control.spawn(socket::serve(listener, doors));
    Ok(orders)
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
