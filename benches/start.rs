//! How long a start takes, and what it leaves resident: all of the log read, and from checkpoints.
//!
//! `cargo bench --bench start [-- DIRECTORY]` (default: the build's temporary directory; it must not be a tmpfs).
//! `RINGPOST_BENCH_MESSAGES` (default 1000000), `RINGPOST_BENCH_ACCOUNTS` (10000), `RINGPOST_BENCH_OCTETS` of a body (500),
//! `RINGPOST_BENCH_CORES` the start is for (2), `RINGPOST_BENCH_LARGE` (0): so many of the messages go to one account more.
//!
//! The store is filled through the store's own commits, round robin over the accounts, and closed in order. Each start
//! is a process of its own: the time is that of `recover`, the memory the process's resident set after it less that
//! before. The files were written with O_DIRECT and are read so: no page cache helps.
//!
//! A start from checkpoints also loads an account, the large one if there is one: what the first SELECT waits for, and then
//! what the next one does.

mod common;

use bytes::Bytes;
use common::{RealEnvironment, delivery, number};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use ringpost::model::AccountId;
use ringpost::store::{INBOX_ID, Recovered, Store, recover};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Deliveries in flight while the store is filled.
const PRODUCERS: u64 = 2_000;

async fn fill(path: PathBuf) {
    let (messages, accounts) = (
        number("RINGPOST_BENCH_MESSAGES", 1_000_000),
        number("RINGPOST_BENCH_ACCOUNTS", 10_000),
    );
    let large = number("RINGPOST_BENCH_LARGE", 0);
    let body = Bytes::from(vec![b'x'; number("RINGPOST_BENCH_OCTETS", 500) as usize]);
    let env = RealEnvironment::new(&path);
    let recovered = recover(&env, 1).await.expect("it opens");
    let seed = recovered.seeds.into_iter().next().expect("one core");
    let store = Store::start(env, seed).await.expect("it starts");
    let writer = glommio::spawn_local(store.clone().run_writer()).detach();
    let tasks: Vec<_> = (0..PRODUCERS)
        .map(|first| {
            let (store, body) = (store.clone(), body.clone());
            let deliver_all = async move {
                for n in (first..messages).step_by(PRODUCERS as usize) {
                    let is_for_large = large > 0 && n % (messages / large) == 0;
                    let account = AccountId(if is_for_large { accounts } else { n % accounts });
                    let delivery = delivery(account, body.clone());
                    store.deliver(delivery).await.expect("the disk takes it");
                }
            };
            glommio::spawn_local(deliver_all).detach()
        })
        .collect();
    for task in tasks {
        task.await;
    }
    let began = Instant::now();
    store.shutdown().await;
    println!(
        "ordered shutdown, checkpoint included: {:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    writer.await;
    let written = store.meters().checkpoint_bytes_total.value();
    let mail = messages * number("RINGPOST_BENCH_OCTETS", 500);
    println!(
        "{} checkpoints: {:.1} MB written, {:.4} bytes a byte of mail; {} loads, {} evictions",
        store.meters().checkpoints.value(),
        written as f64 / 1e6,
        written as f64 / mail as f64,
        store.meters().account_loads.value(),
        store.meters().account_evictions.value(),
    );
}

/// Kilobytes the process has resident.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it is there");
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .expect("a number")
}

async fn start(path: PathBuf) {
    let env = RealEnvironment::new(&path);
    let before_kb = resident_kb();
    let began = Instant::now();
    let cores = number("RINGPOST_BENCH_CORES", 2) as usize;
    let recovered = recover(&env, cores).await.expect("it opens");
    let seconds = began.elapsed().as_secs_f64();
    let kb = resident_kb().saturating_sub(before_kb);
    let report = &recovered.report;
    let messages = report.messages.max(1);
    println!(
        "{:<16} {:>8.1} ms  {:>6.0} ns/message  {:>8} records read  {:>6.1} MB resident, {:.0} bytes/message",
        if report.checkpoint > 0 {
            "from checkpoints"
        } else {
            "all of the log"
        },
        seconds * 1e3,
        seconds * 1e9 / messages as f64,
        report.records,
        kb as f64 / 1e3,
        kb as f64 * 1024.0 / messages as f64,
    );
    if report.checkpoint > 0 {
        load_one(env, recovered).await;
    }
    println!("  the process: {:.1} MB", resident_kb() as f64 / 1e3);
}

/// What a SELECT waits for: the first one after a start, and one when the account is in use.
async fn load_one(env: RealEnvironment, recovered: Recovered) {
    let accounts = number("RINGPOST_BENCH_ACCOUNTS", 10_000);
    let is_large = number("RINGPOST_BENCH_LARGE", 0) > 0;
    let account = AccountId(if is_large { accounts } else { accounts / 2 });
    let owner = account.partition().core(recovered.seeds.len());
    let seed = recovered.seeds.into_iter().nth(owner).expect("one a core");
    let store = Store::start(env, seed).await.expect("it starts");
    let before_kb = resident_kb();
    let began = Instant::now();
    let pin = store.load(account).await.expect("it is read");
    let cold_ms = began.elapsed().as_secs_f64() * 1e3;
    let kb = resident_kb().saturating_sub(before_kb);
    let began = Instant::now();
    let again = store.load(account).await.expect("it is there");
    let rows = store
        .account(account, |a| a.mailboxes[&INBOX_ID].rows.len())
        .expect("it is there");
    let warm_us = began.elapsed().as_secs_f64() * 1e6;
    println!(
        "  an account of {rows} messages: loaded in {cold_ms:.2} ms, again in {warm_us:.1} µs; {:.1} MB, {:.0} bytes/message",
        kb as f64 / 1e3,
        kb as f64 * 1024.0 / rows.max(1) as f64,
    );
    drop((pin, again));
}

fn on_executor<F: Future<Output = ()> + 'static>(main: impl FnOnce() -> F + Send + 'static) {
    LocalExecutorBuilder::new(Placement::Unbound)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(main)
        .expect("this machine has io_uring")
        .join()
        .expect("the executor ends well");
}

fn start_in_own_process(path: &Path) {
    let program = std::env::current_exe().expect("it runs");
    let status = Command::new(program)
        .arg("--start")
        .arg(path)
        .status()
        .expect("it runs again");
    assert!(status.success());
}

/// Bytes of the files whose name ends so.
fn bytes_of(path: &Path, ending: &str) -> u64 {
    let files = std::fs::read_dir(path.join("segments")).expect("it is there");
    let lens = files.filter_map(|file| {
        let file = file.ok()?;
        let is_one = file.file_name().to_string_lossy().ends_with(ending);
        is_one.then_some(file.metadata().ok()?.len())
    });
    lens.sum()
}

fn remove_checkpoints(path: &Path) {
    for file in std::fs::read_dir(path.join("segments")).expect("it is there") {
        let file = file.expect("it can be listed").path();
        if file
            .extension()
            .is_some_and(|extension| extension == "ckp" || extension == "snp")
        {
            std::fs::remove_file(file).expect("it can be removed");
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, path] = &arguments[..]
        && option == "--start"
    {
        let path = PathBuf::from(path);
        return on_executor(move || start(path));
    }
    let parent = arguments.iter().find(|argument| !argument.starts_with('-'));
    let parent = parent.map_or(env!("CARGO_TARGET_TMPDIR"), String::as_str);
    let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
    let path = directory.path().to_owned();
    let began = Instant::now();
    let filling = path.clone();
    on_executor(move || fill(filling));
    println!(
        "filled in {:.1} s: {:.0} MB of log, {:.1} MB of checkpoint, {:.1} MB of snapshots",
        began.elapsed().as_secs_f64(),
        bytes_of(&path, ".seg") as f64 / 1e6,
        bytes_of(&path, ".ckp") as f64 / 1e6,
        bytes_of(&path, ".snp") as f64 / 1e6,
    );
    for _ in 0..3 {
        start_in_own_process(&path);
    }
    remove_checkpoints(&path);
    for _ in 0..3 {
        start_in_own_process(&path);
    }
}
