//! `ringpost demo`: a whole server on loopback that a new user can send to and read from at once.
//!
//! One domain, `example.org`; accounts `alice@`, `bob@` and `user1@` … , password `ringpost` for all; `postmaster@` is
//! alice. Self-signed TLS; plaintext login is allowed because every peer is on loopback.

use super::cluster::{self, Plan};
use super::data::DataDirectory;
use super::{BootError, listeners, settings, signal};
use crate::admin::discovery::{Domains, Found};
use crate::admin::{self, socket};
use crate::auth::{scheme, scram};
use crate::cli::{DemoArguments, NetworkBackend};
use crate::delivery;
use crate::directory::{self, DEMO_DOMAIN};
use crate::model::{Account, Domain};
use crate::net::Backend;
use crate::node::submitters::SubmissionLimits;
use crate::node::{DiscardPermit, Settings};
use crate::node::{LiveSettings, Protocols};
use crate::proto::pop3::Retention;
use crate::proto::smtp::limits::MESSAGE_BYTES_MAX;
use crate::runtime::{self, Control};
use crate::store::StoreOptions;
use crate::tls;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Every account's password.
pub const PASSWORD: &str = "ringpost";

/// Between two passes of compaction with `--hurried-store`.
const HURRIED_LOOK_EVERY: Duration = Duration::from_millis(200);

/// Runs the demo until SIGTERM or SIGINT.
///
/// # Errors
/// See [`BootError`].
pub fn run(arguments: &DemoArguments) -> Result<(), BootError> {
    let cores = arguments.cores.map_or_else(available_cores, usize::from);
    runtime::probe(cores)?;
    let (listeners, mut ports) =
        listeners::bind_all(IpAddr::V4(Ipv4Addr::LOCALHOST), arguments.port_offset, cores)?;
    let (http, https) =
        listeners::bind_http(IpAddr::V4(Ipv4Addr::LOCALHOST), arguments.port_offset, &mut ports)?;
    let data = DataDirectory::open(arguments.data.as_deref())?;
    let (stop, _) = signal::listen().map_err(BootError::system("signal handlers"))?;
    let control = Control::start().map_err(BootError::system("control thread"))?;
    let directory = directory(arguments)?;
    let listener = socket::bind(&data.path).map_err(BootError::system("control socket"))?;
    let (restore, undelete) = super::undelete::orders(directory.clone());
    let view = cluster::view(&data.path);
    let doors = socket::Doors {
        restore: Some(restore),
        view: Some(view.clone()),
        ..socket::Doors::default()
    };
    control.spawn(socket::serve(listener, doors));
    let plan = Plan {
        cores,
        data: data.path.clone(),
        listeners,
        http,
        https,
        pages: pages(&ports)?,
        network: match arguments.network {
            NetworkBackend::Tcp => Backend::Tcp,
            NetworkBackend::Ring => Backend::Ring,
        },
        directory,
        accounts: None,
        main_domain: main_domain()?,
        tls: self_signed_tls()?,
        settings: settings(arguments),
        readers: admin::default_readers(),
        failures: cluster::failures()?,
        store: if arguments.hurried_store {
            StoreOptions::hurried()
        } else {
            StoreOptions::default()
        },
        compaction: Some(if arguments.hurried_store {
            HURRIED_LOOK_EVERY
        } else {
            delivery::compaction::LOOK_EVERY
        }),
        undelete,
        issuer: None,
        view,
        control,
        stop,
    };
    let greeting = Greeting {
        ports,
        data: data.path.clone(),
        accounts: arguments.accounts,
    };
    cluster::run(plan, move || greeting.print())?;
    data.close();
    Ok(())
}

/// The demo's accounts.
///
/// # Errors
/// [`BootError::System`].
pub fn directory(arguments: &DemoArguments) -> Result<directory::Backend, BootError> {
    let hash = scheme::hash(PASSWORD.as_bytes()).map_err(BootError::system("password hash"))?;
    let mut hashes = vec![hash];
    hashes.extend(scram::hashes(PASSWORD).map_err(BootError::system("password verifiers"))?);
    let shape = |account: &mut Account| {
        account.quota_bytes = arguments.quota;
        account.pop3_deletion = arguments.pop3_deletion;
        account.retention_days = arguments.pop3_retention_days.map(NonZeroU16::get);
    };
    let memory = directory::demo(DEMO_DOMAIN, arguments.accounts, &hashes, shape)
        .map_err(BootError::system("directory"))?;
    Ok(directory::Backend::Memory(Arc::new(memory)))
}

/// [`DEMO_DOMAIN`].
///
/// # Errors
/// None; it is a domain.
pub fn main_domain() -> Result<Domain, BootError> {
    Domain::new(DEMO_DOMAIN).map_err(BootError::system("directory"))
}

/// What the demo's sessions are told.
#[must_use]
pub fn settings(arguments: &DemoArguments) -> Settings {
    let settings = Settings {
        hostname: format!("mx.{DEMO_DOMAIN}"),
        message_bytes_max: MESSAGE_BYTES_MAX,
        offers_scram: true,
        certificate_field: None,
        token_refusal: None,
        retention: Some(
            arguments
                .pop3_retention_days
                .map_or(Retention::Forever, |days| Retention::Days(days.get().into())),
        ),
        relays_later: false,
        imap: crate::proto::imap::Config::default(),
        pop3_login_delay_seconds: arguments.pop3_login_delay,
        limit_peers: false,
        live: Arc::new(RwLock::new(LiveSettings {
            protocols: Protocols::default(),
            allow_plaintext_on_loopback: true,
            submission: SubmissionLimits {
                messages_per_hour: arguments.submission_messages_per_hour,
                recipients_per_day: arguments.submission_recipients_per_day,
            },
            trusted_proxies: arguments.proxy_from.clone(),
            xclient_from: arguments.xclient_from.clone(),
        })),
        discard: DiscardPermit::from_argument(arguments.discard),
    };
    settings.live.write().protocols = cluster::protocols(&settings);
    settings
}

fn available_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A certificate for loopback that nobody vouches for.
///
/// # Errors
/// [`BootError::System`].
pub fn self_signed_tls() -> Result<tls::Offers, BootError> {
    let names = [
        format!("mx.{DEMO_DOMAIN}"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ];
    let system = BootError::system("TLS");
    let certificate = tls::self_signed(&names).map_err(&system)?;
    let certificates = tls::Certificates::new(certificate, Vec::new()).map_err(&system)?;
    tls::Offers::new(&certificates).map_err(&system)
}

/// What mail programs ask for.
fn pages(ports: &BTreeMap<&'static str, u16>) -> Result<axum::Router, BootError> {
    let domain = main_domain()?;
    let found = Found {
        hostname: Domain::new(&format!("mx.{DEMO_DOMAIN}")).unwrap_or_else(|_| domain.clone()),
        domains: Domains::Fixed(vec![domain]),
        endpoints: settings::endpoints(ports),
        mta_sts: RwLock::new(None),
        known: Mutex::default(),
    };
    Ok(admin::discovery::router(Arc::new(found)))
}

/// What a person and a program read when the server is up.
struct Greeting {
    ports: BTreeMap<&'static str, u16>,
    data: PathBuf,
    accounts: u32,
}

impl Greeting {
    fn print(&self) {
        let port = |name: &str| self.ports.get(name).copied().unwrap_or_default();
        let (smtp, pop3, imap) = (port("smtp"), port("pop3"), port("imap"));
        println!(
            "Ringpost demo: mail for {DEMO_DOMAIN} on 127.0.0.1, stored in {}",
            self.data.display()
        );
        println!(
            "  accounts  alice@{DEMO_DOMAIN}, bob@{DEMO_DOMAIN}, user1@ to user{}@{DEMO_DOMAIN}; password: {PASSWORD}",
            self.accounts
        );
        println!(
            "  send      printf 'Subject: hello\\r\\n\\r\\nFirst mail.\\r\\n' | curl -s smtp://127.0.0.1:{smtp} --mail-from me@example.net --mail-rcpt alice@{DEMO_DOMAIN} -T -"
        );
        println!(
            "  read      curl -s -u alice@{DEMO_DOMAIN}:{PASSWORD} 'imap://127.0.0.1:{imap}/INBOX;MAILINDEX=1'"
        );
        println!("            curl -s -u alice@{DEMO_DOMAIN}:{PASSWORD} pop3://127.0.0.1:{pop3}/1");
        println!(
            "  submit    127.0.0.1:{} and {} (STARTTLS), {} (TLS), as an account; to {DEMO_DOMAIN} only",
            port("submission"),
            port("submission-2525"),
            port("submissions")
        );
        println!(
            "  LMTP      127.0.0.1:{}, for an MTA that delivers here",
            port("lmtp")
        );
        println!(
            "  TLS       STARTTLS on these ports; POP3S {}, IMAPS {} (self-signed)",
            port("pop3s"),
            port("imaps")
        );
        println!(
            "  HTTP      http://127.0.0.1:{}/metrics, /health/live, /health/ready",
            port("http")
        );
        println!("  stop      Ctrl-C, or kill -TERM {}", std::process::id());
        let ready = serde_json::json!({ "pid": std::process::id(), "data": self.data, "ports": self.ports });
        println!("ready {ready}");
    }
}
