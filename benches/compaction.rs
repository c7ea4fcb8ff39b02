//! What passes of compaction cost the mail that comes in meanwhile, and what they give back.
//!
//! `cargo bench --bench compaction [-- DIRECTORY]` (default: the build's temporary directory; it must not be a tmpfs).
//! `RINGPOST_BENCH_MS` sets the length of one measurement (default 3000), `RINGPOST_BENCH_ROUNDS` how many pairs (3),
//! `RINGPOST_BENCH_MIB` how much mail is churned before each measurement (512).
//!
//! One core, one store, 256 producers of 50 KiB each waiting for its receipt. Before *each* measurement as much mail as said
//! is delivered, and then four fifths of everything are expunged, so both of a pair begin with the same to be freed. The
//! accept rate is measured alone and while passes run as a server runs them (`delivery::compaction`, its default pace), in
//! alternating order. Beside it: for which part of the measurement a pass was under way (or the ratio says nothing), what it
//! wrote meanwhile, and how late a task came that wanted to run every millisecond (what stalls the core). A pass may move as
//! much as its pace allows in half a measurement, so that all of its steps are in it. Figures of one run compare with each
//! other only.
//!
//! Measured (2-core VM, ext4, nothing beside it): three pairs of 4 s 0.99, 0.90 and 0.96 of the rate alone, two of 8 s 1.00 and
//! 0.83, with one pass under way all the time. The store grows by what is measured: 8 s need more than 25 GB of disk.

mod common;

use bytes::Bytes;
use common::{RealEnvironment, delivery, number};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use ringpost::delivery::compaction::step_on;
use ringpost::model::{AccountId, Uid};
use ringpost::store::{
    Change, CompactionStep, INBOX_ID, PassReport, Store, StoreOptions, compact, recover_with,
};
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

const PRODUCERS: u64 = 256;
const OCTETS: usize = 50 * 1024;

type RealStore = Store<RealEnvironment>;

async fn produce(
    store: RealStore,
    account: AccountId,
    body: Bytes,
    may_go_on: impl Fn() -> bool,
    count: Rc<Cell<u64>>,
) {
    while may_go_on() {
        store
            .deliver(delivery(account, body.clone()))
            .await
            .expect("the disk takes it");
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

/// Mail comes, and four fifths of everything go.
async fn churn(store: &RealStore, mib: u64) {
    let wanted = mib * 1024 * 1024 / OCTETS as u64;
    deliver_while(store, move |count| count < wanted).await;
    let mut expunged = 0;
    for id in (0..PRODUCERS).map(AccountId) {
        let _pin = store.load(id).await.expect("it is read");
        let uids: Vec<Uid> = store
            .account(id, |account| {
                let uids = account.mailboxes[&INBOX_ID].rows.iter().map(|row| row.uid);
                uids.enumerate()
                    .filter(|(index, _)| index % 5 != 0)
                    .map(|(_, uid)| uid)
                    .collect()
            })
            .unwrap_or_default();
        expunged += uids.len() as u64;
        let change = Change::Expunge {
            mailbox: INBOX_ID,
            uids,
            only_deleted: false,
        };
        store.change(id, change).await.expect("the disk takes it");
    }
    assert!(
        expunged >= wanted / 2,
        "{expunged} of {wanted} messages were expunged"
    );
}

/// What passes did while they ran.
#[derive(Default)]
struct Passes {
    sum: PassReport,
    count: u64,
    /// A pass was under way for so long.
    busy: Duration,
}

async fn passes_until(store: RealStore, is_over: Rc<Cell<bool>>) -> Passes {
    let ask = async |_: usize, step: CompactionStep| step_on(&store, step).await;
    let mut passes = Passes::default();
    while !is_over.get() {
        let began = Instant::now();
        let report = compact(&store, 1, &ask).await.expect("the disk takes it");
        let sum = &mut passes.sum;
        sum.freed += report.freed;
        sum.freed_bytes += report.freed_bytes;
        sum.moved_messages += report.moved_messages;
        sum.moved_bytes += report.moved_bytes;
        sum.restated_bytes += report.restated_bytes;
        if report.freed > 0 {
            passes.count += 1;
            passes.busy += began.elapsed();
        }
        ringpost::runtime::sleep(Duration::from_millis(50)).await;
    }
    passes
}

/// How late a task comes that wants to run every millisecond.
async fn latenesses(is_over: Rc<Cell<bool>>) -> Vec<Duration> {
    let every = Duration::from_millis(1);
    let mut all = Vec::new();
    while !is_over.get() {
        let began = Instant::now();
        ringpost::runtime::sleep(every).await;
        all.push(began.elapsed().saturating_sub(every));
    }
    all.sort_unstable();
    all
}

fn stored_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path.join("segments")).expect("it is there");
    let lens = entries.map(|entry| entry.and_then(|e| e.metadata()).map_or(0, |m| m.len()));
    lens.sum()
}

/// One measurement.
struct Measured {
    accepted_per_second: f64,
    late: Vec<Duration>,
    /// How long it took.
    length: Duration,
    passes: Option<Passes>,
}

impl Measured {
    /// At this part of all.
    fn late_ms(&self, part: f64) -> f64 {
        let index = (self.late.len() as f64 * part) as usize;
        let late = self.late.get(index.min(self.late.len().saturating_sub(1)));
        late.map_or(0.0, |late| late.as_secs_f64() * 1e3)
    }
}

async fn measure_once(store: &RealStore, length: Duration, with_passes: bool) -> Measured {
    let is_over = Rc::new(Cell::new(false));
    let late = glommio::spawn_local(latenesses(is_over.clone())).detach();
    let passes =
        with_passes.then(|| glommio::spawn_local(passes_until(store.clone(), is_over.clone())).detach());
    let began = Instant::now();
    let until = began + length;
    let accepted_per_second = deliver_while(store, move |_| Instant::now() < until).await;
    let length = began.elapsed();
    is_over.set(true);
    let late = late.await.expect("nobody cancels it");
    let passes = match passes {
        Some(passes) => Some(passes.await.expect("nobody cancels it")),
        None => None,
    };
    Measured {
        accepted_per_second,
        late,
        length,
        passes,
    }
}

fn print_pair(round: u64, alone: &Measured, beside: &Measured, path: &Path) {
    let passes = beside.passes.as_ref().expect("passes ran beside it");
    let sum = &passes.sum;
    println!(
        "round {round}: {:.0}/s alone, {:.0}/s beside {} passes under way for {:.1} s of {:.1} (ratio {:.2}); late p99.9 {:.1} ms \
         alone, {:.1} beside, at most {:.1} and {:.1}; freed {} MiB in {} segments, wrote {} MiB of {} messages and {} KiB of \
         accounts; {} MiB after",
        alone.accepted_per_second,
        beside.accepted_per_second,
        passes.count,
        passes.busy.as_secs_f64(),
        beside.length.as_secs_f64(),
        beside.accepted_per_second / alone.accepted_per_second,
        alone.late_ms(0.999),
        beside.late_ms(0.999),
        alone.late_ms(1.0),
        beside.late_ms(1.0),
        sum.freed_bytes >> 20,
        sum.freed,
        sum.moved_bytes >> 20,
        sum.moved_messages,
        sum.restated_bytes >> 10,
        stored_bytes(path) >> 20,
    );
    assert!(sum.freed > 0, "nothing was given back, so nothing was measured");
}

async fn measure(path: PathBuf, rounds: u64, length: Duration, mib: u64) {
    let env = RealEnvironment::new(&path);
    let options = StoreOptions {
        expunged_kept_ms: 0,
        compaction_dead_bytes_min: 0,
        ..StoreOptions::default()
    };
    let options = StoreOptions {
        compaction_pass_bytes: options.compaction_bytes_per_second * length.as_millis() as u64 / 2_000,
        ..options
    };
    let recovered = recover_with(&env, 1, options).await.expect("it opens");
    let seed = recovered.seeds.into_iter().next().expect("one core");
    let store = Store::start(env, seed).await.expect("it starts");
    let writer = glommio::spawn_local(store.clone().run_writer()).detach();
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let (mut alone, mut beside) = (None, None);
        for step in 0..2 {
            churn(&store, mib).await;
            let with_passes = (step + round) % 2 == 1;
            let measured = measure_once(&store, length, with_passes).await;
            if with_passes {
                beside = Some(measured);
            } else {
                alone = Some(measured);
            }
        }
        let (alone, beside) = alone.zip(beside).expect("both were measured");
        ratios.push(beside.accepted_per_second / alone.accepted_per_second);
        print_pair(round, &alone, &beside, &path);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    store.shutdown().await;
    writer.await;
}

fn main() {
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let root = directory.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let length = Duration::from_millis(number("RINGPOST_BENCH_MS", 3000));
    let rounds = number("RINGPOST_BENCH_ROUNDS", 3);
    let mib = number("RINGPOST_BENCH_MIB", 512);
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
