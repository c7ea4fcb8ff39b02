//! Slow peers beside good ones: does a server that holds thousands of connections which hardly move still serve those that do?
//!
//! The good users send mail at a fixed rate over a few connections, first alone, then beside the slow ones; what is told is
//! the ratio of their p99. The slow ones are of three kinds, a third each: silent from the first moment; a command that comes
//! octet by octet; a message that does. Whoever is hung up on comes back at once, as an attacker would, and is counted.
//! Limits: descriptors of this process (raised to the hard limit); one octet a connection every `--drip-seconds`.

use crate::address::resolve;
use crate::driver::Pace;
use crate::idle::raise_descriptors;
use crate::run::Common;
use crate::smtp::{self, Sending};
use clap::Args;
use serde_json::json;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub struct Options {
    /// Where SMTP listens, as host:port
    #[arg(long)]
    address: String,
    /// Slow connections
    #[arg(long, default_value_t = 10_000)]
    slow: usize,
    /// Seconds between two octets of a slow connection
    #[arg(long, default_value_t = 10.0)]
    drip_seconds: f64,
    /// Connections of good users
    #[arg(long, default_value_t = 20)]
    good: usize,
    /// Messages a second of the good users together
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Seconds of each of the two measurements
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[command(flatten)]
    sending: Sending,
    /// The server's process
    #[arg(long)]
    server_pid: Option<u32>,
    /// Exit with 1 when the ratio is above this
    #[arg(long)]
    ratio_max: Option<f64>,
    /// Also write the figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The `slow` command.
pub fn main(options: &Options) -> io::Result<bool> {
    raise_descriptors();
    let address = resolve(&options.address)?;
    let quiet = measure(options)?;
    let stop = AtomicBool::new(false);
    let (open, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let loaded = thread::scope(|scope| {
        scope.spawn(|| drip(address, options, &stop, &open, &lost));
        let until = Instant::now() + Duration::from_secs(60);
        while open.load(Ordering::Relaxed) < options.slow && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
        }
        let loaded = measure(options);
        stop.store(true, Ordering::Relaxed);
        loaded
    })?;
    let ratio = loaded.latency_us.p99 as f64 / quiet.latency_us.p99.max(1) as f64;
    println!(
        "slow connections={} good={} rate={}",
        open.load(Ordering::Relaxed),
        options.good,
        options.rate
    );
    for (name, report) in [("alone", &quiet), ("beside", &loaded)] {
        println!(
            "  {name:12} p50 {:.2} ms  p99 {:.2} ms  max {:.2} ms, {:.0}/s, {} failed",
            report.latency_us.p50 as f64 / 1e3,
            report.latency_us.p99 as f64 / 1e3,
            report.latency_us.max as f64 / 1e3,
            report.per_second,
            report.failure_count
        );
    }
    println!("  p99          × {ratio:.2}");
    println!(
        "  hung up on   {} slow connections, each came back",
        lost.load(Ordering::Relaxed)
    );
    if let Some(path) = &options.json {
        let report = json!({
            "workload": "slow", "ratio": ratio, "alone": quiet, "beside": loaded,
            "slow": open.load(Ordering::Relaxed), "hung_up_on": lost.load(Ordering::Relaxed),
        });
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")?;
    }
    Ok(options.ratio_max.is_none_or(|max| ratio <= max) && loaded.failure_count == 0)
}

fn measure(options: &Options) -> io::Result<crate::stats::Report> {
    let common = Common {
        connections: options.good,
        seconds: options.seconds,
        rate: Some(options.rate),
        server_pid: options.server_pid,
        ..Common::quiet(&options.address)
    };
    smtp::report(&common, &options.sending)
}

/// What a slow connection says, over and over or once.
#[derive(Clone, Copy)]
enum Kind {
    Silent,
    Command,
    Message,
}

struct Slow {
    stream: Option<TcpStream>,
    kind: Kind,
    said: usize,
}

/// The octets of a slow command: it never ends, but for a server's limit.
const COMMAND: &[u8] = b"EHLO a-name-that-takes-its-time.example.net";

/// What goes before a slow message, all at once; a server answers it in time or not, nobody reads.
const ENVELOPE: &[u8] =
    b"EHLO slow.example.net\r\nMAIL FROM:<slow@example.net>\r\nRCPT TO:<user1@example.org>\r\nDATA\r\n";

fn drip(address: SocketAddr, options: &Options, stop: &AtomicBool, open: &AtomicUsize, lost: &AtomicUsize) {
    let mut all: Vec<Slow> = (0..options.slow)
        .map(|index| Slow {
            stream: None,
            kind: [Kind::Silent, Kind::Command, Kind::Message][index % 3],
            said: 0,
        })
        .collect();
    // Octets are spread over the time between two of one connection.
    let mut pace = Pace::new(
        Some(options.slow as f64 / options.drip_seconds.max(0.1)),
        u64::MAX,
    );
    let mut next = 0;
    for slow in &mut all {
        slow.open(address);
        open.fetch_add(usize::from(slow.stream.is_some()), Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
    while !stop.load(Ordering::Relaxed) {
        while pace.take(Instant::now()).is_some() {
            let slow = &mut all[next];
            next = (next + 1) % options.slow;
            let had = slow.stream.is_some();
            if slow.speak().is_err() {
                lost.fetch_add(usize::from(had), Ordering::Relaxed);
                slow.open(address);
            }
            match (had, slow.stream.is_some()) {
                (true, false) => open.fetch_sub(1, Ordering::Relaxed),
                (false, true) => open.fetch_add(1, Ordering::Relaxed),
                _ => 0,
            };
        }
        thread::sleep(Duration::from_millis(2));
    }
}

impl Slow {
    /// Without a connection afterwards if there is none to be had; the next turn tries again.
    fn open(&mut self, address: SocketAddr) {
        self.said = 0;
        self.stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok();
        if let Some(stream) = &self.stream {
            // A write that would block is a fault like any other here.
            let _ = stream.set_nonblocking(true);
        }
    }

    fn speak(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else {
            return Err(ErrorKind::NotConnected.into());
        };
        let (mut reader, mut writer) = (stream, stream);
        let mut replies = [0; 512];
        match reader.read(&mut replies) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        let said = self.said;
        self.said += 1;
        match self.kind {
            Kind::Silent => Ok(()),
            Kind::Command => writer.write_all(&COMMAND[said % COMMAND.len()..][..1]),
            // Command by command: who talks early is no slow peer but a rude one.
            Kind::Message => match ENVELOPE.split_inclusive(|byte| *byte == b'\n').nth(said) {
                Some(command) => writer.write_all(command),
                None => writer.write_all(b"x"),
            },
        }
    }
}
