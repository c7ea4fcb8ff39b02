//! All cores of one process: from recovered seeds to serving, and back to an orderly end.
//!
//! Invariants: no core greets before every core has its log open; no core closes its store before every core is empty,
//! because a session on one may still deliver to another.

use super::listeners::CoreListeners;
use super::signal::StopRequest;
use super::{BootError, CATCH_UP_TIMEOUT, DRAIN_TIMEOUT};
use crate::admin::{self, CoreMeters, Phase, View};
use crate::auth::failures::Failures;
use crate::auth::oauth::Issuer;
use crate::auth::scram::Decoys;
use crate::auth::{self, Authenticator};
use crate::base::buffer::{self, BufferMeters};
use crate::base::clock::SystemClock;
use crate::base::spare;
use crate::delivery::{self, Router, fan_out, warnings};
use crate::directory::{self, Accounts, Directory, PasswordHash};
use crate::disk::file::FileDisk;
use crate::disk::meters::DiskMeters;
use crate::model::Domain;
use crate::net::meters::NetMeters;
use crate::net::{Backend, Conn, Listener};
use crate::node::connections::Connections;
use crate::node::drain::Drain;
use crate::node::logins::Logins;
use crate::node::meters::SessionMeters;
use crate::node::peers::Peers;
use crate::node::submitters::Submitters;
use crate::node::{Node, NodeEnvironment, Protocols, Settings};
use crate::proto::smtp::Role;
use crate::runtime::{self, Control, Core, Endpoint};
use crate::session::{self, Moved, Service};
use crate::store::{self, RESERVE_BYTES, Recovered, Store, StoreOptions, StoreSeed};
use crate::tls::Offers;
use futures_util::future::select;
use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Barrier, mpsc};

/// Everything that is decided before the executors start.
pub struct Plan {
    /// Executors.
    pub cores: usize,
    /// The locked data directory, absolute.
    pub data: PathBuf,
    /// Bound sockets, one list a core.
    pub listeners: Vec<CoreListeners>,
    /// Where health and metrics are asked for, if anywhere.
    pub http: Vec<TcpListener>,
    /// Where they and the pages are, over TLS.
    pub https: Vec<TcpListener>,
    /// Beside health and metrics.
    pub pages: axum::Router,
    /// What moves the bytes of connections.
    pub network: Backend,
    /// Who is here.
    pub directory: directory::Backend,
    /// Where orders about them go; `None`: they are as they are.
    pub accounts: Option<Accounts>,
    /// The domain whose postmaster `<postmaster>` is.
    pub main_domain: Domain,
    /// Certificates.
    pub tls: Offers,
    /// For sessions.
    pub settings: Settings,
    /// Who may read metrics.
    pub readers: admin::Readers,
    /// Logins that failed, wherever.
    pub failures: Arc<Failures>,
    /// For the store of each core.
    pub store: StoreOptions,
    /// Between two passes of compaction; `None`: there are none.
    pub compaction: Option<Duration>,
    /// Orders to bring expunged messages back.
    pub undelete: mpsc::Receiver<delivery::undelete::Order>,
    /// Whose tokens open accounts.
    pub issuer: Option<Arc<Issuer>>,
    /// What is seen of this process.
    pub view: Arc<View>,
    /// The tokio thread.
    pub control: Control,
    /// Resolves when the process is to stop.
    pub stop: StopRequest,
}

/// What `settings` mean for each protocol.
#[must_use]
pub fn protocols(settings: &Settings) -> Protocols {
    let smtp = |role| Arc::new(session::smtp::config(settings, role));
    Protocols {
        smtp: smtp(Role::Mta),
        lmtp: smtp(Role::Lmtp),
        submission: smtp(Role::Submission),
        pop3: Arc::new(session::pop3::config(settings)),
        imap: Arc::new(crate::proto::imap::Config {
            message_bytes_max: settings.message_bytes_max,
            mechanisms: session::login::mechanisms(settings),
            token_refusal: settings.token_refusal.clone().unwrap_or_default(),
            ..settings.imap.clone()
        }),
    }
}

/// What one core takes with it to its thread.
struct CoreParts {
    listeners: CoreListeners,
    seed: StoreSeed,
    deliveries: Endpoint<delivery::request::Request, delivery::request::Reply>,
    moves: Endpoint<Moved, ()>,
}

/// What all cores share; immutable, or a channel.
struct Shared {
    data: PathBuf,
    network: Backend,
    directory: directory::Backend,
    accounts: Option<Accounts>,
    main_domain: Domain,
    dummy: PasswordHash,
    tls: Offers,
    settings: Settings,
    compaction: Option<Duration>,
    decoys: Decoys,
    failures: Arc<Failures>,
    issuer: Option<Arc<Issuer>>,
    peers: Arc<Peers>,
    /// Of each core.
    connections_max: usize,
    control: Control,
    stop: StopRequest,
    parts: Mutex<Vec<Option<CoreParts>>>,
    /// Until a core takes it.
    undelete: Mutex<Option<mpsc::Receiver<delivery::undelete::Order>>>,
    started: Barrier,
    caught_up: Barrier,
    drained: Barrier,
    has_failed: AtomicBool,
    view: Arc<View>,
    when_ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

/// What will be seen of a server whose store is in `data`.
#[must_use]
pub fn view(data: &Path) -> Arc<View> {
    let view = View::new(data.to_owned(), RESERVE_BYTES, super::log::dropped_lines);
    Arc::new(view)
}

/// Recovers the store, serves until asked to stop, and ends in order. `when_ready` runs once, before the first greeting.
///
/// # Errors
/// The first thing that kept a core from starting or ending well.
pub fn run(mut plan: Plan, when_ready: impl FnOnce() + Send + 'static) -> Result<(), BootError> {
    let cores = plan.cores;
    // Already now: whoever asks while the log is read hears that it is.
    plan.serve_web();
    let recovered = recover(&plan.data, cores, plan.store)?;
    tracing::info!(report = ?recovered.report, "store opened");
    let parts = parts(recovered.seeds, std::mem::take(&mut plan.listeners));
    let shared = Arc::new(Shared::new(plan, parts, Box::new(when_ready))?);
    let ends = runtime::run_cores(cores, move |core| run_core(core, shared.clone()));
    ends.into_iter().try_for_each(|end| end?)
}

/// What each core takes with it.
fn parts(seeds: Vec<StoreSeed>, listeners: Vec<CoreListeners>) -> Vec<Option<CoreParts>> {
    let cores = seeds.len();
    let meshes = runtime::mesh(cores).into_iter().zip(runtime::mesh(cores));
    seeds
        .into_iter()
        .zip(listeners)
        .zip(meshes)
        .map(|((seed, listeners), (deliveries, moves))| {
            Some(CoreParts {
                listeners,
                seed,
                deliveries,
                moves,
            })
        })
        .collect()
}

impl Plan {
    fn serve_web(&mut self) {
        for http in self.http.drain(..) {
            let router = admin::router(self.view.clone(), self.readers.clone());
            self.control.spawn(admin::http::serve(http, router));
        }
        for https in self.https.drain(..) {
            let router = admin::router(self.view.clone(), self.readers.clone()).merge(self.pages.clone());
            let serving = admin::http::serve_tls(https, router, self.tls.https.clone());
            self.control.spawn(serving);
        }
    }
}

impl Shared {
    fn new(
        plan: Plan,
        parts: Vec<Option<CoreParts>>,
        when_ready: Box<dyn FnOnce() + Send>,
    ) -> Result<Self, BootError> {
        let cores = plan.cores;
        Ok(Self {
            data: plan.data,
            network: plan.network,
            directory: plan.directory,
            accounts: plan.accounts,
            main_domain: plan.main_domain,
            dummy: dummy_hash()?,
            tls: plan.tls,
            decoys: Decoys::new().map_err(BootError::system("entropy"))?,
            failures: plan.failures,
            issuer: plan.issuer,
            peers: Arc::new(Peers::new(seed()?)),
            connections_max: runtime::connections_max(cores, store::DESCRIPTORS_PER_CORE_MAX),
            settings: plan.settings,
            compaction: plan.compaction,
            control: plan.control,
            stop: plan.stop,
            parts: Mutex::new(parts),
            undelete: Mutex::new(Some(plan.undelete)),
            started: Barrier::new(cores),
            caught_up: Barrier::new(cores),
            drained: Barrier::new(cores),
            has_failed: AtomicBool::new(false),
            view: plan.view,
            when_ready: Mutex::new(Some(when_ready)),
        })
    }
}

/// The hash of a password nobody has.
///
/// # Errors
/// When the system gives no entropy.
pub fn dummy_hash() -> Result<PasswordHash, BootError> {
    auth::scheme::hash(&seed()?.to_le_bytes()).map_err(BootError::system("password hash"))
}

/// An empty table of failed logins.
///
/// # Errors
/// When the system gives no entropy.
pub fn failures() -> Result<Arc<Failures>, BootError> {
    Ok(Arc::new(Failures::new(seed()?)))
}

/// A number nobody can guess.
fn seed() -> Result<u64, BootError> {
    getrandom::u64().map_err(BootError::system("entropy"))
}

fn recover(data: &std::path::Path, cores: usize, options: StoreOptions) -> Result<Recovered, BootError> {
    let data = data.to_owned();
    let ends = runtime::run_cores(1, move |_| {
        let data = data.clone();
        async move {
            let disk = open_disk(&data)?;
            Ok::<_, BootError>(store::recover_with(&NodeEnvironment::new(disk), cores, options).await?)
        }
    });
    ends.into_iter().next().expect("one executor was asked for")?
}

fn open_disk(data: &std::path::Path) -> Result<FileDisk, BootError> {
    FileDisk::new(data).map_err(|e| BootError::DataDirectory {
        path: data.display().to_string(),
        cause: e.to_string(),
    })
}

async fn run_core(core: Core, shared: Arc<Shared>) -> Result<(), BootError> {
    let parts = shared.parts.lock()[core.id]
        .take()
        .expect("each core starts once");
    let started = start_core(core, &shared, parts).await;
    if started.is_err() {
        shared.has_failed.store(true, Ordering::SeqCst);
    }
    shared.started.wait().await;
    let running = started?;
    if shared.has_failed.load(Ordering::SeqCst) {
        return Ok(());
    }
    running.spawn_services();
    let unfinished = fan_out::resume(&running.node.router);
    if runtime::timeout(CATCH_UP_TIMEOUT, unfinished).await.is_none() {
        tracing::warn!(
            core = core.id,
            "serving, while spooled mail is still being delivered"
        );
    }
    shared.caught_up.wait().await;
    if core.id == 0 {
        running.lead(&shared);
    }
    if core.id == 0
        && let Some(announce) = shared.when_ready.lock().take()
    {
        shared.view.set_phase(Phase::Serving);
        crate::base::pages::let_grow();
        announce();
    }
    running.serve_until(&shared).await;
    Ok(())
}

/// Gives back, time and again, what a burst of connections left in this core's pools.
async fn trim_spare_memory() {
    loop {
        runtime::sleep(spare::TRIM_PERIOD).await;
        buffer::trim();
        crate::tls::trim();
    }
}

/// A core whose log is open.
struct RunningCore {
    node: Rc<Node>,
    moves: Rc<Endpoint<Moved, ()>>,
    listeners: Vec<(Service, Rc<Listener>)>,
}

async fn start_core(core: Core, shared: &Shared, parts: CoreParts) -> Result<RunningCore, BootError> {
    let disk = open_disk(&shared.data)?;
    let store = Store::start(NodeEnvironment::new(disk), parts.seed).await?;
    let directory = Directory::new(shared.directory.clone(), shared.main_domain.clone());
    let authenticator = Authenticator::new(
        directory.clone(),
        shared.control.clone(),
        shared.dummy.clone(),
        shared.failures.clone(),
    )
    .map_err(BootError::system("authentication"))?
    .with_issuer(shared.issuer.clone());
    let listeners = parts
        .listeners
        .into_iter()
        .map(|(service, bound)| Ok((service, Rc::new(Listener::new(bound, shared.network)?))))
        .collect::<std::io::Result<_>>()
        .map_err(BootError::system("listeners"))?;
    let node = Rc::new(Node {
        core,
        router: Router::new(core, store, parts.deliveries),
        directory,
        accounts: shared.accounts.clone(),
        authenticator,
        tls: shared.tls.clone(),
        pop3_logins: Logins::default(),
        decoys: shared.decoys.clone(),
        submitters: Submitters::default(),
        sessions: Cell::new(0),
        meters: Arc::new(SessionMeters::default()),
        settings: shared.settings.clone(),
        connections: Connections::new(shared.connections_max, shared.peers.clone()),
        digests: RefCell::default(),
        drain: Drain::new(),
    });
    shared.view.add_core(CoreMeters {
        core: core.id,
        sessions: node.meters.clone(),
        store: node.store().meters(),
        disk: DiskMeters::of_this_core(),
        net: NetMeters::of_this_core(),
        buffers: BufferMeters::of_this_core(),
        deliveries: node.router.meters(),
        moves: parts.moves.meters().clone(),
    });
    Ok(RunningCore {
        node,
        moves: Rc::new(parts.moves),
        listeners,
    })
}

impl RunningCore {
    async fn serve_until(self, shared: &Shared) {
        for (service, listener) in &self.listeners {
            self.spawn_accepting(*service, listener.clone());
        }
        shared.stop.clone().heard().await;
        shared.view.set_phase(Phase::Draining);
        for (_, listener) in &self.listeners {
            listener.stop();
        }
        self.node.drain.ask();
        if runtime::timeout(DRAIN_TIMEOUT, self.node.drain.emptied())
            .await
            .is_none()
        {
            tracing::warn!(
                core = self.node.core.id,
                sessions = self.node.drain.sessions(),
                "sessions cut off"
            );
        }
        shared.drained.wait().await;
        self.moves.close();
        self.node.router.close();
        self.node.store().shutdown().await;
    }

    /// What one core does for all: compaction, and what must not run beside it.
    fn lead(&self, shared: &Shared) {
        let turn = delivery::undelete::Turn::default();
        if let Some(pause) = shared.compaction {
            let router = self.node.router.clone();
            let compacting = delivery::compaction::keep_compacting(router, pause, turn.clone());
            runtime::spawn_detached("compaction", compacting);
        }
        if let Some(orders) = shared.undelete.lock().take() {
            let router = self.node.router.clone();
            let serving = delivery::undelete::serve(router, orders, turn);
            runtime::spawn_detached("undelete orders", serving);
        }
    }

    fn spawn_services(&self) {
        let store = self.node.store().clone();
        runtime::spawn_detached("log writer", store.run_writer());
        let warnings = warnings::serve(
            self.node.store().clone(),
            self.node.directory.postmaster(),
            self.node.settings.hostname.clone(),
            SystemClock,
        );
        let mut stopping = self.node.drain.shutdown().waiter();
        runtime::spawn_detached("quota warnings", async move {
            select(pin!(warnings), pin!(stopping.changed())).await;
        });
        let making = delivery::summaries::keep_making(self.node.store().clone());
        let mut stopping = self.node.drain.shutdown().waiter();
        runtime::spawn_detached("summaries of new mail", async move {
            select(pin!(making), pin!(stopping.changed())).await;
        });
        runtime::spawn_detached("spare memory", trim_spare_memory());
        let router = self.node.router.clone();
        runtime::spawn_detached("delivery requests", async move { router.serve().await });
        let (node, moves) = (self.node.clone(), self.moves.clone());
        runtime::spawn_detached("moved sessions", async move {
            let serving = moves.clone();
            serving
                .serve(move |moved| {
                    session::adopt(&node, &moves, moved);
                    std::future::ready(())
                })
                .await;
        });
    }

    fn spawn_accepting(&self, service: Service, listener: Rc<Listener>) {
        let (node, moves) = (self.node.clone(), self.moves.clone());
        runtime::spawn_detached("accept", async move {
            listener
                .accept_all(move |conn: Conn| session::start(service, conn, &node, &moves))
                .await;
        });
    }
}
