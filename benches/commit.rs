//! Group commit through the store, beside plain `pwrite` + `fdatasync` of the same octets, in alternating rounds.
//!
//! `cargo bench --bench commit [-- DIRECTORY]` (default: the build's temporary directory; it must not be a tmpfs).
//! `RINGPOST_BENCH_MS` sets the length of one round of one row (default 1000), `RINGPOST_BENCH_ROUNDS` how many (3),
//! `RINGPOST_BENCH_PRODUCERS` picks the rows with one number of producers, `RINGPOST_BENCH_KIB` those with one length of message,
//! `RINGPOST_BENCH_GROUP_KIB` the limit of a group.
//!
//! *store*: N producers, each delivering one message to an account of its own and waiting for its receipt before the
//! next. *plain*: one thread that appends a batch of N records to a growing file with one `pwrite` and one `fdatasync`,
//! which is what a simple group commit of N waiting producers would do. Figures of one run compare with each other only.
//! *fio* (if it is installed): what the disk gives one writer with O_DIRECT in blocks as long as the store's groups were on
//! average in the same round: the same bytes a sync, and as many writes in flight as the store has, which is one
//! (`--iodepth=1 --fdatasync=1`: a write, its fdatasync, then the next write). Once into a file that is only allocated
//! (*fallocated*, what the store's segments are) and once into one that was written before (*written*). Its rate is that of the
//! octets it wrote, so the ratio has the store's headers and padding against it; fio neither copies nor checks what it writes.
//! *core*: what a commit takes of the core's own time, producers included (a message, one look at the clock, a histogram); a disk that is shared moves it less than the rates.
//! For one producer the time of a commit is put beside that of a bare write and fdatasync of 4 KiB, too (`--bs=4k`).

mod common;

use bytes::Bytes;
use common::{RealEnvironment, delivery, number};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use hdrhistogram::Histogram;
use ringpost::disk::meters::DiskMeters;
use ringpost::model::AccountId;
use ringpost::store::{Store, StoreOptions, recover_with};
use std::cell::RefCell;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCERS: [usize; 4] = [1, 16, 256, 2000];
const OCTETS: [usize; 2] = [4 * 1024, 50 * 1024];

/// What one side of one row did over all rounds.
struct Figures {
    commits: u64,
    seconds: f64,
    /// Of the core's thread.
    core_seconds: f64,
    latency_us: Histogram<u64>,
    /// Written to the disk by groups, and in how many syncs.
    written_bytes: u64,
    syncs: u64,
}

impl Figures {
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid");
        Self {
            commits: 0,
            seconds: 0.0,
            core_seconds: 0.0,
            latency_us,
            written_bytes: 0,
            syncs: 0,
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

async fn produce(
    store: Store<RealEnvironment>,
    account: AccountId,
    body: Bytes,
    until: Instant,
    figures: Rc<RefCell<Figures>>,
) {
    // One look at the clock a message: fio takes none of the core's time for its producers.
    let mut began = Instant::now();
    while began < until {
        store
            .deliver(delivery(account, body.clone()))
            .await
            .expect("the disk takes it");
        let ended = Instant::now();
        let mut figures = figures.borrow_mut();
        figures.commits += 1;
        let waited_us = (ended - began).as_micros() as u64;
        figures.latency_us.saturating_record(waited_us);
        began = ended;
    }
}

async fn store_round(path: PathBuf, producers: usize, octets: usize, length: Duration) -> Figures {
    let env = RealEnvironment::new(&path);
    let defaults = StoreOptions::default();
    let group_kib = number("RINGPOST_BENCH_GROUP_KIB", defaults.group_bytes_max as u64 / 1024);
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
    let meters = DiskMeters::of_this_core();
    let before = (meters.written_bytes.value(), meters.sync_time.count());
    let (began, core_began) = (Instant::now(), core_seconds());
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
    {
        let mut figures = figures.borrow_mut();
        figures.seconds = began.elapsed().as_secs_f64();
        figures.core_seconds = core_seconds() - core_began;
        figures.written_bytes = meters.written_bytes.value() - before.0;
        figures.syncs = meters.sync_time.count() - before.1;
    }
    store.shutdown().await;
    writer.await;
    figures.replace(Figures::new())
}

/// What this thread has used of its CPU.
fn core_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = stat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.unwrap_or_default() / 1e9
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
    sum.core_seconds += round.core_seconds;
    sum.written_bytes += round.written_bytes;
    sum.syncs += round.syncs;
    sum.latency_us.add(&round.latency_us).expect("the same bounds");
}

/// Bytes of the files that fio writes: it stops at the end of an allocated one, and begins again in a written one.
const FIO_FILE_MIB: u32 = 1024;

/// What fio measured: bytes a second, and the mean time of one write and sync.
#[derive(Clone, Copy, Default)]
struct Fio {
    bytes_per_second: f64,
    operation_us: f64,
}

/// One writer, `block` bytes a write, an fdatasync after each.
fn run_fio(directory: &Path, block: u64, is_written_before: bool, length: Duration) -> Option<Fio> {
    let mut command = Command::new("fio");
    command.args([
        "--name=log",
        "--rw=write",
        "--direct=1",
        "--fdatasync=1",
        "--ioengine=io_uring",
        "--iodepth=1",
    ]);
    command.args(["--output-format=json", "--unlink=1", "--thread"]);
    command.arg(format!("--bs={block}"));
    command.arg(format!("--size={FIO_FILE_MIB}m"));
    command.arg(format!("--runtime={}ms", length.as_millis()));
    command.arg(format!("--directory={}", directory.display()));
    if is_written_before {
        command.args(["--overwrite=1", "--time_based=1"]);
    } else {
        command.args(["--fallocate=posix"]);
    }
    let output = command.output().ok()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let write = &report["jobs"][0]["write"];
    let (bytes, milliseconds) = (write["io_bytes"].as_f64()?, write["runtime"].as_f64()?);
    let operations = write["total_ios"].as_f64()?;
    Some(Fio {
        bytes_per_second: bytes / milliseconds * 1e3,
        operation_us: milliseconds * 1e3 / operations,
    })
}

/// fio's figures of all rounds of a row, beside the store's.
#[derive(Default)]
struct FioRow {
    fallocated: Vec<Fio>,
    written: Vec<Fio>,
    bare: Vec<Fio>,
}

impl FioRow {
    fn round(&mut self, place: &Path, store: &Figures, producers: usize, length: Duration) {
        const BLOCK: u64 = 4096;
        let block = (store.written_bytes / store.syncs.max(1))
            .next_multiple_of(BLOCK)
            .max(BLOCK);
        self.fallocated.extend(run_fio(place, block, false, length));
        self.written.extend(run_fio(place, block, true, length));
        if producers == 1 {
            self.bare.extend(run_fio(place, BLOCK, false, length));
        }
    }

    fn print(&self, store: &Figures, octets: usize) {
        let mean = |runs: &[Fio], of: fn(&Fio) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        if self.fallocated.is_empty() {
            println!(
                "{:>14} fio   SKIPPED: it is not installed, or does not run here",
                ""
            );
            return;
        }
        let rate = store.rate() * octets as f64;
        for (runs, name) in [(&self.fallocated, "fallocated"), (&self.written, "written")] {
            let fio = mean(runs, |fio| fio.bytes_per_second);
            println!(
                "{:>14} fio   {:>6.0} MB/s in blocks of {} KiB, {name}: ratio {:>6.2}",
                "",
                fio / 1e6,
                store.written_bytes / store.syncs.max(1) / 1024,
                rate / fio
            );
        }
        if !self.bare.is_empty() {
            let (commit, bare) = (store.latency_us.mean(), mean(&self.bare, |fio| fio.operation_us));
            println!(
                "{:>14} a commit takes {commit:.0} us, a bare write and sync of 4 KiB {bare:.0} us: {:.2}",
                "",
                commit / bare
            );
        }
    }
}

fn main() {
    let directory = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with("--"));
    let root = directory.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let length = Duration::from_millis(number("RINGPOST_BENCH_MS", 1000));
    let rounds = number("RINGPOST_BENCH_ROUNDS", 3);
    println!(
        "one core, one log, {rounds} alternating rounds of {length:?}, in {}",
        root.display()
    );
    let only_kib = number("RINGPOST_BENCH_KIB", 0) as usize;
    for octets in OCTETS
        .into_iter()
        .filter(|octets| only_kib == 0 || *octets == only_kib * 1024)
    {
        let only = number("RINGPOST_BENCH_PRODUCERS", 0) as usize;
        for producers in PRODUCERS.into_iter().filter(|count| only == 0 || *count == only) {
            let (mut store, mut plain) = (Figures::new(), Figures::new());
            let mut fio = FioRow::default();
            for _ in 0..rounds {
                let place = tempfile::tempdir_in(&root).expect("a temporary directory");
                let round = run_store(&place.path().join("store"), producers, octets, length);
                add(&mut store, &round);
                fio.round(place.path(), &round, producers, length);
                add(
                    &mut plain,
                    &run_plain(&place.path().join("plain"), producers, octets, length),
                );
            }
            println!(
                "{producers:>4} x {:>2} KiB  store {}  core {:.2} us a commit",
                octets / 1024,
                store.print(octets),
                store.core_seconds * 1e6 / store.commits as f64
            );
            println!("{:>14} plain {}", "", plain.print(octets));
            println!("{:>14} ratio {:>6.2}", "", store.rate() / plain.rate());
            fio.print(&store, octets);
        }
    }
}
