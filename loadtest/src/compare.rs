//! Ringpost beside others that take the same mail, in one run: the same load on each in turn, over and over, so that a
//! machine that is slow for a while is slow for everybody. Prints medians and ratios; single figures of one machine
//! mean little.
//!
//! Contenders: the demo (durable), the demo that discards (what the protocol alone costs in the same code), and
//! Postfix's `smtp-sink` (which only discards) where it is installed. A 250 of the first means synced; of the others
//! nothing.
//! Not here: rivals that store mail; their set-up is a matter of its own.

use clap::Args;
use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub struct Options {
    /// The server: started as `BINARY demo --port-offset auto`
    #[arg(long, default_value = "target/release/ringpost")]
    binary: PathBuf,
    /// More arguments of the demo, such as `--cores=1`
    #[arg(long)]
    argument: Vec<String>,
    /// Directory on the file system to be measured; a store is made in it for each round and removed
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Postfix's smtp-sink
    #[arg(long, default_value = "/usr/sbin/smtp-sink")]
    sink: PathBuf,
    /// How often each contender has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// 0: connections stay open
    #[arg(long, default_value_t = 0)]
    messages_per_connection: u64,
    /// Octets of a message
    #[arg(long, default_value_t = 4096)]
    size: usize,
    #[arg(long, default_value_t = 8)]
    accounts: u64,
}

/// A contender that does not answer by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contender {
    Durable,
    Discarding,
    Sink,
}

impl Contender {
    const ALL: [Contender; 3] = [Contender::Durable, Contender::Discarding, Contender::Sink];

    fn name(self) -> &'static str {
        match self {
            Contender::Durable => "ringpost, durable",
            Contender::Discarding => "ringpost, discarding",
            Contender::Sink => "smtp-sink (discards)",
        }
    }
}

/// One turn's figures.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
}

pub fn main(options: &Options) -> io::Result<bool> {
    let contenders: Vec<Contender> = Contender::ALL
        .into_iter()
        .filter(|&c| c != Contender::Sink || options.sink.exists())
        .collect();
    if !contenders.contains(&Contender::Sink) {
        eprintln!(
            "{} is not installed (Debian: postfix): left out",
            options.sink.display()
        );
    }
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); contenders.len()];
    for round in 0..options.rounds {
        for (contender, turns) in contenders.iter().zip(&mut turns) {
            let turn = take_turn(*contender, options)?;
            eprintln!(
                "round {}: {:22} {:8.0}/s",
                round + 1,
                contender.name(),
                turn.per_second
            );
            turns.push(turn);
        }
    }
    print_table(options, &contenders, &turns);
    Ok(true)
}

fn print_table(options: &Options, contenders: &[Contender], turns: &[Vec<Turn>]) {
    let median = |turns: &[Turn], of: fn(&Turn) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "{} connections, {} octets, {} messages a connection (0: kept open); medians of {} alternating turns of {} s",
        options.connections, options.size, options.messages_per_connection, options.rounds, options.seconds
    );
    println!(
        "{:22} {:>10} {:>9} {:>9} {:>14} {:>7}",
        "", "messages/s", "p50 ms", "p99 ms", "CPU ms per 1000", "ratio"
    );
    let last = turns
        .last()
        .map_or(1.0, |turns| median(turns, |turn| turn.per_second));
    for (contender, turns) in contenders.iter().zip(turns) {
        let rate = median(turns, |turn| turn.per_second);
        println!(
            "{:22} {:>10.0} {:>9.2} {:>9.2} {:>15.1} {:>7.2}",
            contender.name(),
            rate,
            median(turns, |turn| turn.p50_ms),
            median(turns, |turn| turn.p99_ms),
            median(turns, |turn| turn.cpu_ms),
            rate / last
        );
    }
}

fn take_turn(contender: Contender, options: &Options) -> io::Result<Turn> {
    let server = Server::start(contender, options)?;
    let report = server.scratch.join("report.json");
    let status = Command::new(std::env::current_exe()?)
        .arg("smtp")
        .args(["--address", &format!("127.0.0.1:{}", server.port)])
        .args(["--server-pid", &server.child.id().to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .args(["--connections", &options.connections.to_string()])
        .args([
            "--messages-per-connection",
            &options.messages_per_connection.to_string(),
        ])
        .args(["--size", &options.size.to_string()])
        .args(["--accounts", &options.accounts.to_string()])
        .arg("--json")
        .arg(&report)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!(
            "the load on {} failed: {status}",
            contender.name()
        )));
    }
    read_report(&report)
}

fn read_report(path: &Path) -> io::Result<Turn> {
    let report: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let number = |value: &Value| {
        value
            .as_f64()
            .ok_or_else(|| io::Error::other("the report lacks a figure"))
    };
    Ok(Turn {
        per_second: number(&report["per_second"])?,
        p50_ms: number(&report["latency_us"]["p50"])? / 1e3,
        p99_ms: number(&report["latency_us"]["p99"])? / 1e3,
        cpu_ms: number(&report["server"]["cpu_seconds_per_1000"])? * 1e3,
    })
}

/// A running contender and its directory, both gone when this is dropped.
struct Server {
    child: Child,
    port: u16,
    scratch: PathBuf,
}

impl Server {
    fn start(contender: Contender, options: &Options) -> io::Result<Server> {
        let scratch = options
            .directory
            .join(format!("loadtest-compare-{}", std::process::id()));
        std::fs::create_dir_all(&scratch)?;
        let (child, port) = match contender {
            Contender::Sink => start_sink(&options.sink)?,
            Contender::Durable => {
                start_demo(options, &["--data".as_ref(), scratch.join("store").as_os_str()])?
            }
            Contender::Discarding => start_demo(
                options,
                &[
                    "--discard".as_ref(),
                    "--data".as_ref(),
                    scratch.join("store").as_os_str(),
                ],
            )?,
        };
        Ok(Server { child, port, scratch })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // These fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

fn start_demo(options: &Options, arguments: &[&std::ffi::OsStr]) -> io::Result<(Child, u16)> {
    let mut child = Command::new(&options.binary)
        .args([
            "demo",
            "--port-offset",
            "auto",
            "--accounts",
            &options.accounts.to_string(),
        ])
        .args(arguments)
        .args(&options.argument)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| io::Error::other("stdout was asked to be piped"))?;
    for line in BufReader::new(stdout).lines() {
        if let Some(json) = line?.strip_prefix("ready ") {
            let ready: Value = serde_json::from_str(json)?;
            let port = ready["ports"]["smtp"]
                .as_u64()
                .and_then(|port| u16::try_from(port).ok());
            return port
                .map(|port| (child, port))
                .ok_or_else(|| io::Error::other("no port in the ready line"));
        }
    }
    Err(io::Error::other("the server ended before it was ready"))
}

fn start_sink(program: &Path) -> io::Result<(Child, u16)> {
    // smtp-sink cannot choose a free port itself.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let mut command = Command::new(program);
    // SAFETY: takes no pointer.
    if unsafe { libc::geteuid() } == 0 {
        command.args(["-u", "nobody"]);
    }
    let child = command
        .arg(format!("127.0.0.1:{port}"))
        .arg("1024")
        .stdin(Stdio::null())
        .spawn()?;
    let began = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if began.elapsed() > START_TIMEOUT {
            return Err(io::Error::other("smtp-sink does not answer"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok((child, port))
}
