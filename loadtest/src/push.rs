//! How soon a change in one IMAP session is told to others of the same account: one that idles, one that asked by NOTIFY.
//!
//! Each account has three sessions. One makes changes at fixed moments, in turn: mail appended, a flag set, a message moved
//! away; the others must say so unasked. Latency counts from the moment the change is sent, so it holds the change's
//! commit too: that is what a user with two devices sees. With `--smtp` mail is delivered to other accounts all the while.
//! Limits: three threads an account, so a few dozen accounts; a change that is not told within `PATIENCE` ends the run.

use crate::address::resolve;
use crate::client::{Imap, Response};
use crate::run::Common;
use crate::smtp::{self, Sending};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any server may take; what takes longer was lost.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub struct Options {
    /// Where IMAP listens, as host:port
    #[arg(long)]
    address: String,
    /// Where SMTP listens, as host:port: loaded meanwhile
    #[arg(long)]
    smtp: Option<String>,
    /// Messages a second over SMTP; as fast as they are acknowledged if absent
    #[arg(long)]
    rate: Option<f64>,
    /// Connections of that load
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Accounts whose sessions are watched: user1 to userN
    #[arg(long, default_value_t = 8)]
    logins: usize,
    /// Number of the first of them: the load's mail must go to others, or it is taken for what was appended
    #[arg(long, default_value_t = 9)]
    first_login: usize,
    /// Milliseconds from one change to the next of an account
    #[arg(long, default_value_t = 50)]
    interval_ms: u64,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Logins, {} being a number from 1 to --logins
    #[arg(long, default_value = "user{}@example.org")]
    login_pattern: String,
    #[arg(long, default_value = "ringpost")]
    password: String,
    #[command(flatten)]
    sending: Sending,
    /// Exit with 1 when any p99 is above this many milliseconds
    #[arg(long)]
    p99_max_ms: Option<f64>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Latencies in microseconds, by what changed and who was told.
type Latencies = BTreeMap<(&'static str, &'static str), Histogram<u64>>;

/// A change, and what only the response that tells it has in it.
const CHANGES: [(&str, &str); 3] = [("append", " EXISTS"), ("flag", "\\Flagged"), ("move", " EXPUNGE")];
const NOTIFY: &str = "NOTIFY SET (selected (MessageNew (UID) MessageExpunge FlagChange))";
const LETTER: &[u8] = b"Subject: pushed\r\n\r\nA short letter.\r\n";

/// The `push` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let address = resolve(&options.address)?;
    let until = Instant::now() + Duration::from_secs_f64(options.seconds + 1.0);
    let (latencies, load) = thread::scope(|scope| {
        let load = options.smtp.as_ref().map(|smtp| {
            let common = Common {
                connections: options.connections,
                seconds: options.seconds,
                rate: options.rate,
                ..Common::quiet(smtp)
            };
            scope.spawn(move || smtp::report(&common, &options.sending))
        });
        let accounts: Vec<_> = (options.first_login..options.first_login + options.logins)
            .map(|number| {
                let login = options.login_pattern.replace("{}", &number.to_string());
                scope.spawn(move || account(address, &login, options, until))
            })
            .collect();
        let mut latencies = Latencies::new();
        for account in accounts {
            for (kind, histogram) in account.join().expect("a session's thread does not panic")? {
                let total = latencies.entry(kind).or_insert_with(empty);
                total.add(histogram).map_err(io::Error::other)?;
            }
        }
        let load = load.map(|load| load.join().expect("the load's thread does not panic"));
        io::Result::Ok((latencies, load.transpose()?))
    })?;
    print!(
        "push accounts={} interval={} ms",
        options.logins, options.interval_ms
    );
    match &load {
        Some(load) => println!(
            ", beside {:.0} messages/s, {} failed",
            load.per_second, load.failure_count
        ),
        None => println!(", nothing else going on"),
    }
    let mut worst: f64 = 0.0;
    let mut rows = Vec::new();
    for ((change, told), histogram) in &latencies {
        let ms = |share| histogram.value_at_quantile(share) as f64 / 1e3;
        let (p50, p99, max) = (ms(0.5), ms(0.99), histogram.max() as f64 / 1e3);
        println!(
            "  {change:7} → {told:7} p50 {p50:.2} ms  p99 {p99:.2} ms  max {max:.2} ms  ({} changes)",
            histogram.len()
        );
        worst = worst.max(p99);
        rows.push(json!({
            "change": change, "told": told, "count": histogram.len(), "p50_ms": p50, "p99_ms": p99, "max_ms": max,
        }));
    }
    if let Some(path) = &options.json {
        let report = json!({ "workload": "push", "rows": rows, "beside": load });
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(options.p99_max_ms.is_none_or(|max| worst <= max))
}

fn empty() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

/// Makes changes in one account until `until`.
fn account(address: SocketAddr, login: &str, options: &Options, until: Instant) -> io::Result<Latencies> {
    let mut writer = log_in(address, login, &options.password)?;
    let watchers = [
        ("idle", watch(log_in(address, login, &options.password)?, "IDLE")?),
        (
            "notify",
            watch(log_in(address, login, &options.password)?, NOTIFY)?,
        ),
    ];
    let mut latencies = Latencies::new();
    let mut intended = Instant::now();
    for turn in 0.. {
        intended += Duration::from_millis(options.interval_ms);
        if intended > until {
            break;
        }
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        let (change, word) = CHANGES[turn % CHANGES.len()];
        let began = Instant::now();
        match change {
            "append" => drop(writer.append_with_flags("INBOX", "", LETTER)?),
            "flag" => drop(writer.command("STORE * +FLAGS (\\Flagged)")?),
            _ => drop(writer.command("MOVE * Trash")?),
        }
        for (who, told) in &watchers {
            let at = wait_for(told, word, began)?;
            let micros = at.saturating_duration_since(began).as_micros() as u64;
            let histogram = latencies.entry((change, *who)).or_insert_with(empty);
            histogram.record(micros.max(1)).map_err(io::Error::other)?;
        }
    }
    Ok(latencies)
}

fn log_in(address: SocketAddr, login: &str, password: &str) -> io::Result<Imap> {
    let mut imap = Imap::connect(address)?;
    imap.login(login, password)?;
    imap.command("SELECT INBOX")?;
    Ok(imap)
}

/// Has the session told of what happens; a thread notes the moment of each response.
fn watch(mut imap: Imap, command: &str) -> io::Result<Receiver<(Instant, Response)>> {
    imap.begin(command)?;
    // Up to IDLE's continuation or NOTIFY's tagged OK.
    while imap.response()?.text.starts_with(b"* ") {}
    let (sender, told) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(response) = imap.response() {
            if sender.send((Instant::now(), response)).is_err() {
                break;
            }
        }
    });
    Ok(told)
}

/// The moment of the first response after `began` with `word` in it.
fn wait_for(told: &Receiver<(Instant, Response)>, word: &str, began: Instant) -> io::Result<Instant> {
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok((at, response)) if at >= began && response.contains(word) => return Ok(at),
            Ok(_) => {}
            Err(_) => {
                return Err(io::Error::new(
                    ErrorKind::TimedOut,
                    format!("nobody was told of {word}"),
                ));
            }
        }
    }
}
