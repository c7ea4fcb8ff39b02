//! One run of a load: its threads, its window in time, the progress line, and the report.
//!
//! The threads share nothing but a counter and a stop flag. The main thread sleeps, and reads what the server's
//! processes used at both ends of the window.

use crate::driver::{Driver, Pace, Workload};
use crate::process::{self, Usage};
use crate::scrape;
use crate::stats::{Ends, Recorder, Report, Window};
use crate::tls::{Dialect, Security, TlsMode};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Options that every load has.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Where the server listens, as host:port
    #[arg(long)]
    pub address: String,
    /// Connections kept open at once, over all threads
    #[arg(long, default_value_t = 100)]
    pub connections: usize,
    /// Seconds that count, after the warm-up
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Seconds before counting begins
    #[arg(long, default_value_t = 1.0)]
    pub warmup: f64,
    /// Threads of the generator; one is enough for about 30,000 messages a second
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Units a second, started at fixed moments whatever the server does (open loop); as fast as it answers if absent
    #[arg(long)]
    pub rate: Option<f64>,
    /// Stop after this many units
    #[arg(long)]
    pub count: Option<u64>,
    /// The server's process: its CPU, memory and writes are reported, with those of its descendants
    #[arg(long)]
    pub server_pid: Option<u32>,
    /// TLS from the first octet, or after STARTTLS; certificates are not verified, every handshake is a full one
    #[arg(long, value_enum, default_value_t = TlsMode::None)]
    pub tls: TlsMode,
    /// Ringpost's metrics, as http://host:port/metrics: syncs and commits in a group are reported
    #[arg(long)]
    pub metrics: Option<String>,
    /// Also write the report to this file
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Also write it with plots to this file, which needs nothing else to be looked at
    #[arg(long)]
    pub html: Option<PathBuf>,
    /// No progress line
    #[arg(long)]
    pub quiet: bool,
}

impl Common {
    /// The defaults, for `address`, without a progress line.
    pub fn quiet(address: &str) -> Common {
        Common {
            address: address.to_owned(),
            connections: 100,
            seconds: 10.0,
            warmup: 1.0,
            threads: 1,
            rate: None,
            count: None,
            server_pid: None,
            tls: TlsMode::None,
            metrics: None,
            json: None,
            html: None,
            quiet: true,
        }
    }
}

/// What one thread is given to build its workload from.
pub struct Share {
    pub thread: u64,
    pub threads: u64,
    pub pace: Pace,
    pub recorder: Recorder,
}

/// Something that a finished workload gives back.
pub trait Finish {
    fn finish(self) -> io::Result<Recorder>;
}

pub fn resolve(address: &str) -> io::Result<SocketAddr> {
    let found = address.to_socket_addrs()?.next();
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no address for {address}")))
}

/// Runs a load to its end and returns its report. `build` is called once in each thread.
pub fn run<W, B>(
    workload: &str,
    unit: &'static str,
    dialect: Dialect,
    common: &Common,
    mut parameters: BTreeMap<&'static str, String>,
    build: B,
) -> io::Result<Report>
where
    W: Workload + Finish,
    B: Fn(Share) -> io::Result<W> + Sync,
{
    let address = resolve(&common.address)?;
    let began = Instant::now();
    let window = Window {
        from: began + Duration::from_secs_f64(common.warmup),
        to: began + Duration::from_secs_f64(common.warmup + common.seconds),
    };
    let security = Security::new(common.tls, dialect);
    let progress = Arc::new(AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let threads = common.threads.clamp(1, common.connections.max(1));
    let (recorder, ends, seconds) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (progress, stop, build) = (Arc::clone(&progress), &stop, &build);
                let security = &security;
                scope.spawn(move || {
                    let split = |total: usize| total / threads + usize::from(thread < total % threads);
                    let limit = common
                        .count
                        .map_or(u64::MAX, |count| split(count as usize) as u64);
                    let share = Share {
                        thread: thread as u64,
                        threads: threads as u64,
                        pace: Pace::new(common.rate.map(|rate| rate / threads as f64), limit),
                        recorder: Recorder::new(window, progress),
                    };
                    let driver = Driver::new(
                        build(share)?,
                        address,
                        security.clone(),
                        split(common.connections),
                    )?;
                    driver.run(window.to, stop)?.finish()
                })
            })
            .collect();
        let mut ends = Ends::default();
        let is_finished = || workers.iter().all(|worker| worker.is_finished());
        watch(window.from, &progress, common.quiet, is_finished);
        ends.own.0 = process::own_cpu_seconds();
        let before = common.server_pid.map(Usage::of_tree).transpose();
        let store_before = common.metrics.as_deref().map(scrape::read).transpose()?;
        watch(window.to, &progress, common.quiet, is_finished);
        let seconds = Instant::now()
            .min(window.to)
            .saturating_duration_since(window.from);
        ends.own.1 = process::own_cpu_seconds();
        let after = common.server_pid.map(Usage::of_tree).transpose();
        ends.server = before?.zip(after?);
        let store_after = common.metrics.as_deref().map(scrape::read).transpose()?;
        ends.store = store_before.zip(store_after);
        let mut total = Recorder::new(window, Arc::clone(&progress));
        for worker in workers {
            match worker.join() {
                Ok(recorder) => total.merge(recorder?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        io::Result::Ok((total, ends, seconds.as_secs_f64().max(1e-6)))
    })?;
    parameters.insert("connections", common.connections.to_string());
    if common.tls != TlsMode::None {
        parameters.insert("tls", format!("{:?}", common.tls).to_lowercase());
    }
    if let Some(rate) = common.rate {
        parameters.insert("rate", rate.to_string());
    }
    Ok(Report::new(workload, unit, parameters, &recorder, seconds, &ends))
}

/// Sleeps until `until` or until the workers are done; on a terminal a line tells how it goes.
fn watch(until: Instant, progress: &AtomicU64, is_quiet: bool, is_finished: impl Fn() -> bool) {
    let is_terminal = io::stderr().is_terminal() && !is_quiet;
    let mut last = (Instant::now(), progress.load(Ordering::Relaxed));
    while !is_finished() {
        let now = Instant::now();
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(Duration::from_millis(100)));
        if is_terminal && last.0.elapsed() >= Duration::from_secs(1) {
            let done = progress.load(Ordering::Relaxed);
            let rate = (done - last.1) as f64 / last.0.elapsed().as_secs_f64();
            eprint!("\r{done} done, {rate:.0}/s, {:.0} s left   ", left.as_secs_f64());
            let _ = io::stderr().flush();
            last = (Instant::now(), done);
        }
    }
    if is_terminal {
        eprint!("\r{:60}\r", "");
    }
}
