//! One run of a load: its threads, its window in time, the progress line, and the report.
//!
//! The threads share nothing but a counter and a stop flag. The main thread sleeps, and reads what the server's
//! processes used at both ends of the window.

use crate::address::resolve;
use crate::driver::{Driver, Pace, Workload};
use crate::html;
use crate::process::{self, Usage};
use crate::scrape::{self, Store};
use crate::stats::{Ends, Recorder, Report, Window};
use crate::tls::{Dialect, Security, TlsMode};
use clap::Args;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
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

    /// Prints the report and, if asked, writes the JSON and the HTML.
    pub fn publish(&self, report: &Report) -> io::Result<()> {
        report.print();
        if let Some(path) = &self.html {
            std::fs::write(path, html::page(std::slice::from_ref(report)))?;
        }
        match &self.json {
            Some(path) => std::fs::write(path, serde_json::to_string_pretty(report)? + "\n"),
            None => Ok(()),
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
    let run = Run::new(common, dialect)?;
    let (recorder, ends, seconds) = thread::scope(|scope| {
        let (run, build) = (&run, &build);
        let workers: Vec<_> = (0..run.threads)
            .map(|thread| scope.spawn(move || run.work(thread, build)))
            .collect();
        let (ends, seconds) = run.watch(|| workers.iter().all(|worker| worker.is_finished()))?;
        let mut total = run.recorder();
        for worker in workers {
            match worker.join() {
                Ok(recorder) => total.merge(recorder?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        io::Result::Ok((total, ends, seconds))
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

/// What the threads of one run share.
struct Run<'a> {
    common: &'a Common,
    address: SocketAddr,
    security: Option<Security>,
    window: Window,
    threads: usize,
    progress: Arc<AtomicU64>,
    stop: AtomicBool,
}

impl<'a> Run<'a> {
    /// Time counts from here.
    fn new(common: &'a Common, dialect: Dialect) -> io::Result<Run<'a>> {
        let address = resolve(&common.address)?;
        let from = Instant::now() + Duration::from_secs_f64(common.warmup);
        Ok(Run {
            common,
            address,
            security: Security::new(common.tls, dialect),
            window: Window {
                from,
                to: from + Duration::from_secs_f64(common.seconds),
            },
            threads: common.threads.clamp(1, common.connections.max(1)),
            progress: Arc::default(),
            stop: AtomicBool::new(false),
        })
    }

    fn recorder(&self) -> Recorder {
        Recorder::new(self.window, Arc::clone(&self.progress))
    }

    /// One thread's part, to its end.
    fn work<W: Workload + Finish>(
        &self,
        thread: usize,
        build: impl Fn(Share) -> io::Result<W>,
    ) -> io::Result<Recorder> {
        let threads = self.threads;
        let split = |total: usize| total / threads + usize::from(thread < total % threads);
        let count = self.common.count;
        let limit = count.map_or(u64::MAX, |count| split(count as usize) as u64);
        let rate = self.common.rate.map(|rate| rate / threads as f64);
        let workload = build(Share {
            thread: thread as u64,
            threads: threads as u64,
            pace: Pace::new(rate, limit),
            recorder: self.recorder(),
        })?;
        let connections = split(self.common.connections);
        let driver = Driver::new(workload, self.address, self.security.clone(), connections)?;
        driver.run(self.window.to, &self.stop)?.finish()
    }

    /// Sleeps to the window's end; what was used within it, and its length in seconds.
    fn watch(&self, is_finished: impl Fn() -> bool) -> io::Result<(Ends, f64)> {
        let (window, is_quiet) = (self.window, self.common.quiet);
        let mut ends = Ends::default();
        wait(window.from, &self.progress, is_quiet, &is_finished);
        ends.own.0 = process::own_cpu_seconds();
        let (server_before, store_before) = self.used()?;
        wait(window.to, &self.progress, is_quiet, &is_finished);
        let end = Instant::now().min(window.to);
        ends.own.1 = process::own_cpu_seconds();
        let (server_after, store_after) = self.used()?;
        ends.server = server_before.zip(server_after);
        ends.store = store_before.zip(store_after);
        let seconds = end.saturating_duration_since(window.from).as_secs_f64();
        Ok((ends, seconds.max(1e-6)))
    }

    /// What the server's processes and its store have used so far, as far as that is asked for.
    fn used(&self) -> io::Result<(Option<Usage>, Option<Store>)> {
        let server = self.common.server_pid.map(Usage::of_tree).transpose()?;
        let store = self.common.metrics.as_deref().map(scrape::read).transpose()?;
        Ok((server, store))
    }
}

/// Sleeps until `until` or until the workers are done; on a terminal a line tells how it goes.
fn wait(until: Instant, progress: &AtomicU64, is_quiet: bool, is_finished: impl Fn() -> bool) {
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
