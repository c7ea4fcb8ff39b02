//! The latency of NOOP on one quiet connection: what a user feels while others keep the server busy.
//!
//! Each NOOP has an intended moment, and its latency counts from there, so one that had to wait for a slow one before
//! it is charged with the wait.

use crate::address::resolve;
use crate::client::{Imap, Pop3, Smtp};
use crate::process::{self, Usage};
use crate::stats::{Ends, Recorder, Report, Window};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    Smtp,
    Imap,
    Pop3,
}

#[derive(Args, Debug)]
pub struct Options {
    /// Where the server listens, as host:port
    #[arg(long)]
    address: String,
    #[arg(long, value_enum)]
    protocol: Protocol,
    /// Milliseconds from one NOOP to the next
    #[arg(long, default_value_t = 10)]
    interval_ms: u64,
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// For IMAP and POP3
    #[arg(long, default_value = "user1@example.org")]
    login: String,
    #[arg(long, default_value = "ringpost")]
    password: String,
    /// The server's process: its CPU, memory and writes are reported, with those of its descendants
    #[arg(long)]
    server_pid: Option<u32>,
    /// Also write the report to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The `ping` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let mut noop = connect(options)?;
    let usage = || options.server_pid.map(Usage::of_tree).transpose();
    let began = Instant::now();
    let window = Window {
        from: began,
        to: began + Duration::from_secs_f64(options.seconds),
    };
    let mut recorder = Recorder::new(window, Arc::default());
    let (own, before) = (process::own_cpu_seconds(), usage()?);
    let mut intended = began;
    while intended < window.to {
        thread::sleep(intended.saturating_duration_since(Instant::now()));
        noop()?;
        recorder.done(intended, Instant::now());
        intended += Duration::from_millis(options.interval_ms.max(1));
    }
    let ends = Ends {
        own: (own, process::own_cpu_seconds()),
        server: before.zip(usage()?),
        store: None,
    };
    let parameters = BTreeMap::from([
        ("protocol", format!("{:?}", options.protocol).to_lowercase()),
        ("interval-ms", options.interval_ms.to_string()),
    ]);
    let report = Report::new("ping", "NOOPs", parameters, &recorder, options.seconds, &ends);
    report.print();
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(true)
}

/// Connects, logs in where that is needed, and returns what sends one NOOP and waits for its answer.
fn connect(options: &Options) -> io::Result<Box<dyn FnMut() -> io::Result<()>>> {
    let address = resolve(&options.address)?;
    match options.protocol {
        Protocol::Smtp => {
            let mut smtp = Smtp::connect(address)?;
            smtp.hello()?;
            Ok(Box::new(move || smtp.noop()))
        }
        Protocol::Imap => {
            let mut imap = Imap::connect(address)?;
            imap.login(&options.login, &options.password)?;
            Ok(Box::new(move || imap.command("NOOP").map(drop)))
        }
        Protocol::Pop3 => {
            let mut pop3 = Pop3::connect(address)?;
            pop3.login(&options.login, &options.password)?;
            Ok(Box::new(move || pop3.command("NOOP").map(drop)))
        }
    }
}
