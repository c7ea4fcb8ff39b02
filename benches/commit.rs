//! Group commit through the store, beside plain `pwrite` + `fdatasync` of the same octets, in alternating rounds.
//!
//! `cargo bench --bench commit [-- DIRECTORY]` (default: the build's temporary directory; it must not be a tmpfs).
//! `RINGPOST_BENCH_MS` sets the length of one round of one row (default 1000), `RINGPOST_BENCH_ROUNDS` how many (3),
//! `RINGPOST_BENCH_PRODUCERS` picks the rows with one number of producers, `RINGPOST_BENCH_GROUP_KIB` the limit of a group.
//!
//! *store*: N producers, each delivering one message to an account of its own and waiting for its receipt before the
//! next. *plain*: one thread that appends a batch of N records to a growing file with one `pwrite` and one `fdatasync`,
//! which is what a simple group commit of N waiting producers would do. Figures of one run compare with each other only.

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use hdrhistogram::Histogram;
use ringpost::base::clock::{SystemClock, UnixMillis};
use ringpost::disk::file::FileDisk;
use ringpost::model::{AccountId, MailboxName};
use ringpost::proto::imap::types::InternalDate;
use ringpost::store::{Body, Delivery, Environment, LocalRecipient, Store, StoreOptions, recover_with};
use smallvec::smallvec;
use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const PRODUCERS: [usize; 4] = [1, 16, 256, 2000];
const OCTETS: [usize; 2] = [4 * 1024, 50 * 1024];

#[derive(Clone)]
struct RealEnvironment(FileDisk);

impl Environment for RealEnvironment {
    type Disk = FileDisk;
    type Clock = SystemClock;
    fn disk(&self) -> &FileDisk {
        &self.0
    }
    fn clock(&self) -> &SystemClock {
        &SystemClock
    }
    fn random_u64(&self) -> u64 {
        u64::from(std::process::id())
    }
}

/// What one side of one row did over all rounds.
struct Figures {
    commits: u64,
    seconds: f64,
    latency_us: Histogram<u64>,
}

impl Figures {
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid");
        Self {
            commits: 0,
            seconds: 0.0,
            latency_us,
        }
    }

    fn rate(&self) -> f64 {
        self.commits as f64 / self.seconds
    }

    fn print(&self, octets: usize) -> String {
        format!(
            "{:>8.0}/s {:>6.0} MB/s  p50 {:>6.2} ms  p99 {:>6.2} ms",
            self.rate(),
            self.rate() * octets as f64 / 1e6,
            self.latency_us.value_at_quantile(0.5) as f64 / 1e3,
            self.latency_us.value_at_quantile(0.99) as f64 / 1e3,
        )
    }
}

fn delivery(account: AccountId, body: Bytes) -> Delivery {
    Delivery {
        recipients: vec![LocalRecipient {
            account,
            mailbox: MailboxName::inbox(),
            prefix: b"Return-Path: <>\r\nDelivered-To: user@example.org\r\n".to_vec(),
            asked: bytes::Bytes::new(),
            quota_bytes: None,
        }],
        body: Body::from_memory(smallvec![body]),
        internal_date: InternalDate {
            at: UnixMillis(0),
            zone_minutes: 0,
        },
        key: None,
    }
}

async fn produce(
    store: Store<RealEnvironment>,
    account: AccountId,
    body: Bytes,
    until: Instant,
    figures: Rc<RefCell<Figures>>,
) {
    while Instant::now() < until {
        let began = Instant::now();
        store
            .deliver(delivery(account, body.clone()))
            .await
            .expect("the disk takes it");
        let mut figures = figures.borrow_mut();
        figures.commits += 1;
        figures
            .latency_us
            .saturating_record(began.elapsed().as_micros() as u64);
    }
}

async fn store_round(path: PathBuf, producers: usize, octets: usize, length: Duration) -> Figures {
    let env = RealEnvironment(FileDisk::new(&path).expect("the directory can be made"));
    let defaults = StoreOptions::default();
    let group_kib = from_environment("RINGPOST_BENCH_GROUP_KIB", defaults.group_bytes_max as u64 / 1024);
    let options = StoreOptions {
        group_bytes_max: group_kib as usize * 1024,
        ..defaults
    };
    let recovered = recover_with(&env, 1, options).await.expect("it opens");
    let seed = recovered.seeds.into_iter().next().expect("one core");
    let store = Store::start(env, seed).await.expect("it starts");
    let writer = glommio::spawn_local(store.clone().run_writer()).detach();
    for account in 0..producers as u64 {
        store
            .ensure_account(AccountId(account))
            .await
            .expect("the disk takes it");
    }
    let figures = Rc::new(RefCell::new(Figures::new()));
    let body = Bytes::from(vec![b'x'; octets]);
    let began = Instant::now();
    let tasks: Vec<_> = (0..producers as u64)
        .map(|account| {
            let produce = produce(
                store.clone(),
                AccountId(account),
                body.clone(),
                began + length,
                figures.clone(),
            );
            glommio::spawn_local(produce).detach()
        })
        .collect();
    for task in tasks {
        task.await;
    }
    figures.borrow_mut().seconds = began.elapsed().as_secs_f64();
    store.shutdown().await;
    writer.await;
    figures.replace(Figures::new())
}

fn run_store(path: &Path, producers: usize, octets: usize, length: Duration) -> Figures {
    let path = path.to_owned();
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1024 * 1024)
        .ring_depth(1024)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || store_round(path, producers, octets, length))
        .expect("this machine has io_uring")
        .join()
        .expect("the executor ends well")
}

fn run_plain(path: &Path, producers: usize, octets: usize, length: Duration) -> Figures {
    let file = std::fs::File::create(path).expect("the file can be made");
    let record = vec![b'x'; octets];
    let mut batch = Vec::new();
    let mut figures = Figures::new();
    let (began, mut position) = (Instant::now(), 0);
    while began.elapsed() < length {
        let batch_began = Instant::now();
        // The store copies every body once into its group; so does this.
        batch.clear();
        for _ in 0..producers {
            batch.extend_from_slice(&record);
        }
        file.write_all_at(&batch, position).expect("the disk takes it");
        file.sync_data().expect("the disk takes it");
        position += batch.len() as u64;
        let waited = batch_began.elapsed().as_micros() as u64;
        figures.latency_us.saturating_record_n(waited, producers as u64);
        figures.commits += producers as u64;
    }
    figures.seconds = began.elapsed().as_secs_f64();
    figures
}

fn add(sum: &mut Figures, round: &Figures) {
    sum.commits += round.commits;
    sum.seconds += round.seconds;
    sum.latency_us.add(&round.latency_us).expect("the same bounds");
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn main() {
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let root = directory.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let length = Duration::from_millis(from_environment("RINGPOST_BENCH_MS", 1000));
    let rounds = from_environment("RINGPOST_BENCH_ROUNDS", 3);
    println!(
        "one core, one log, {rounds} alternating rounds of {length:?}, in {}",
        root.display()
    );
    for octets in OCTETS {
        let only = from_environment("RINGPOST_BENCH_PRODUCERS", 0) as usize;
        for producers in PRODUCERS.into_iter().filter(|count| only == 0 || *count == only) {
            let (mut store, mut plain) = (Figures::new(), Figures::new());
            for _ in 0..rounds {
                let place = tempfile::tempdir_in(&root).expect("a temporary directory");
                add(
                    &mut store,
                    &run_store(&place.path().join("store"), producers, octets, length),
                );
                add(
                    &mut plain,
                    &run_plain(&place.path().join("plain"), producers, octets, length),
                );
            }
            println!(
                "{producers:>4} x {:>2} KiB  store {}",
                octets / 1024,
                store.print(octets)
            );
            println!("{:>14} plain {}", "", plain.print(octets));
            println!("{:>14} ratio {:>6.2}", "", store.rate() / plain.rate());
        }
    }
}
