//! What a pass of compaction costs the mail that comes in meanwhile, and what it gives back.
//!
//! `cargo bench --bench compaction [-- DIRECTORY]` (default: the build's temporary directory; it must not be a tmpfs).
//! `RINGPOST_BENCH_MS` sets the length of one measurement (default 3000), `RINGPOST_BENCH_ROUNDS` how many pairs (3),
//! `RINGPOST_BENCH_MIB` how much mail is churned before each pair (512).
//!
//! One core, one store, 256 producers of 50 KiB each waiting for its receipt. Before each pair as much mail as said is
//! delivered and four fifths of it expunged; then the accept rate is measured alone and while passes run, in alternating
//! order, at the default pace of compaction. Figures of one run compare with each other only.

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use ringpost::base::clock::{SystemClock, UnixMillis};
use ringpost::disk::file::FileDisk;
use ringpost::model::{AccountId, MailboxName, Uid};
use ringpost::proto::imap::types::InternalDate;
use ringpost::store::{
    Body, Change, CompactionStep, Delivery, Environment, INBOX_ID, LocalRecipient, PassReport, Store,
    StoreOptions, compact, recover_with,
};
use smallvec::smallvec;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const PRODUCERS: u64 = 256;
const OCTETS: usize = 50 * 1024;

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

type RealStore = Store<RealEnvironment>;

async fn produce(
    store: RealStore,
    account: AccountId,
    body: Bytes,
    may_go_on: impl Fn() -> bool,
    count: Rc<Cell<u64>>,
) {
    while may_go_on() {
        let recipient = LocalRecipient {
            account,
            mailbox: MailboxName::inbox(),
            prefix: b"Return-Path: <>\r\n".to_vec(),
            asked: Bytes::new(),
            quota: ringpost::model::Quota::NONE,
        };
        let delivery = Delivery {
            recipients: vec![recipient],
            body: Body::from_memory(smallvec![body.clone()]),
            internal_date: InternalDate {
                at: UnixMillis(0),
                zone_minutes: 0,
            },
            key: None,
        };
        store.deliver(delivery).await.expect("the disk takes it");
        count.set(count.get() + 1);
    }
}

/// Deliveries until `may_go_on` says no; gives how many there were in a second.
async fn deliver_while(store: &RealStore, may_go_on: impl Fn(u64) -> bool + Clone + 'static) -> f64 {
    let body = Bytes::from(vec![b'x'; OCTETS]);
    let (began, count) = (Instant::now(), Rc::new(Cell::new(0)));
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|account| {
            let (may_go_on, seen) = (may_go_on.clone(), count.clone());
            let produce = produce(
                store.clone(),
                AccountId(account),
                body.clone(),
                move || may_go_on(seen.get()),
                count.clone(),
            );
            glommio::spawn_local(produce).detach()
        })
        .collect();
    for task in tasks {
        task.await;
    }
    count.get() as f64 / began.elapsed().as_secs_f64()
}

/// Mail comes, and four fifths of it go.
async fn churn(store: &RealStore, mib: u64) {
    let wanted = mib * 1024 * 1024 / OCTETS as u64;
    deliver_while(store, move |count| count < wanted).await;
    for id in (0..PRODUCERS).map(AccountId) {
        let of = |uid: &Uid| !uid.value().is_multiple_of(5);
        let uids = store.account(id, |a| {
            a.mailboxes[&INBOX_ID]
                .rows
                .iter()
                .map(|row| row.uid)
                .filter(of)
                .collect()
        });
        let change = Change::Expunge {
            mailbox: INBOX_ID,
            uids: uids.unwrap_or_default(),
            only_deleted: false,
        };
        store.change(id, change).await.expect("the disk takes it");
    }
}

async fn passes_until(store: RealStore, is_over: Rc<Cell<bool>>) -> PassReport {
    let rate = store.options().compaction_bytes_per_second;
    let pace =
        async |bytes: u64| ringpost::runtime::sleep(Duration::from_micros(bytes * 1_000_000 / rate)).await;
    let ask = async |_: usize, step: CompactionStep| store.compact_step(step, &pace).await;
    let mut sum = PassReport::default();
    while !is_over.get() {
        let report = compact(&store, 1, &ask).await.expect("the disk takes it");
        sum.freed += report.freed;
        sum.freed_bytes += report.freed_bytes;
        sum.moved_messages += report.moved_messages;
        sum.moved_bytes += report.moved_bytes;
        sum.restated_bytes += report.restated_bytes;
        ringpost::runtime::sleep(Duration::from_millis(50)).await;
    }
    sum
}

fn stored_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path.join("segments")).expect("it is there");
    let lens = entries.map(|entry| entry.and_then(|e| e.metadata()).map_or(0, |m| m.len()));
    lens.sum()
}

async fn measure(path: PathBuf, rounds: u64, length: Duration, mib: u64) {
    let env = RealEnvironment(FileDisk::new(&path).expect("the directory can be made"));
    let options = StoreOptions {
        expunged_kept_ms: 0,
        compaction_dead_bytes_min: 0,
        ..StoreOptions::default()
    };
    let recovered = recover_with(&env, 1, options).await.expect("it opens");
    let seed = recovered.seeds.into_iter().next().expect("one core");
    let store = Store::start(env, seed).await.expect("it starts");
    let writer = glommio::spawn_local(store.clone().run_writer()).detach();
    let mut ratios = Vec::new();
    for round in 0..rounds {
        churn(&store, mib).await;
        let before = stored_bytes(&path);
        let mut rates = [0.0; 2];
        let mut passes = PassReport::default();
        for step in 0..2 {
            let with_passes = (step + round) % 2 == 1;
            let is_over = Rc::new(Cell::new(false));
            let running = with_passes
                .then(|| glommio::spawn_local(passes_until(store.clone(), is_over.clone())).detach());
            let until = Instant::now() + length;
            rates[usize::from(with_passes)] = deliver_while(&store, move |_| Instant::now() < until).await;
            is_over.set(true);
            if let Some(running) = running {
                passes = running.await.expect("nobody cancels it");
            }
        }
        let [alone, beside] = rates;
        ratios.push(beside / alone);
        println!(
            "round {round}: {alone:.0}/s alone, {beside:.0}/s beside passes (ratio {:.2}); freed {} MiB in {} segments, wrote \
             {} MiB of {} messages and {} KiB of accounts; {} MiB before the pair, {} MiB after",
            beside / alone,
            passes.freed_bytes >> 20,
            passes.freed,
            passes.moved_bytes >> 20,
            passes.moved_messages,
            passes.restated_bytes >> 10,
            before >> 20,
            stored_bytes(&path) >> 20,
        );
        assert!(
            passes.freed > 0,
            "nothing was given back, so nothing was measured"
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    churn(&store, 0).await;
    let before = stored_bytes(&path);
    let is_over = Rc::new(Cell::new(false));
    let running = glommio::spawn_local(passes_until(store.clone(), is_over.clone())).detach();
    ringpost::runtime::sleep(length * 3).await;
    is_over.set(true);
    running.await;
    println!(
        "at rest: {} MiB before, {} MiB after",
        before >> 20,
        stored_bytes(&path) >> 20
    );
    store.shutdown().await;
    writer.await;
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
    let length = Duration::from_millis(from_environment("RINGPOST_BENCH_MS", 3000));
    let rounds = from_environment("RINGPOST_BENCH_ROUNDS", 3);
    let mib = from_environment("RINGPOST_BENCH_MIB", 512);
    println!(
        "one core, {PRODUCERS} producers of {} KiB, in {}",
        OCTETS / 1024,
        root.display()
    );
    let place = tempfile::tempdir_in(&root).expect("a temporary directory");
    let path = place.path().join("store");
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1024 * 1024)
        .ring_depth(1024)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || measure(path, rounds, length, mib))
        .expect("this machine has io_uring")
        .join()
        .expect("the executor ends well");
}
