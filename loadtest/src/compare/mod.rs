//! Ringpost beside others that take the same mail, in one run: the same load on each in turn, over and over, so that a
//! machine that is slow for a while is slow for everybody. Prints medians and ratios; single figures of one machine
//! mean little.
//!
//! Nothing is installed: rivals are taken where they are installed, or from unpacked packages (`--root`), and get a
//! configuration that is thrown away (`scripts/`). All are asked for the same durability; what each does before it says 250
//! is watched (`durability`) and stands in the table.
//! Two rates: *accepted* (250 after the end of data, in the window), and *in the mailbox*: everything that was acknowledged in
//! the turn, divided by the time until the mailboxes held it all. For a server that delivers before it answers they are one.
//! CPU per 1,000 is of the whole turn until the mailboxes hold all, so that work put off is counted.
//! Before its turn each gets some mail for (nearly) every account, so that the making of mailboxes is not measured.
//! Failure: a contender that cannot be started, or that refuses mail, is left out of that row and says so.

mod contender;
mod durability;
mod machine;
mod rows;
mod server;

use crate::process::Usage;
use clap::Args;
use contender::{ALL, Contender, Mailboxes, Root, Start};
use durability::Seen;
use rows::{Row, Shape};
use serde_json::{Value, json};
use server::{Place, Server};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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
    /// Directory on the file system to be measured; a store is made in it for each turn and removed
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Where a rival's packages are unpacked, as postfix=DIR; more than once if they are many. Names: postfix (smtp-sink too),
    /// dovecot, exim, opensmtpd, cyrus, haraka (`npm install -g --prefix DIR/usr Haraka`). What is installed needs none
    #[arg(long, value_name = "NAME=DIR")]
    root: Vec<Root>,
    /// Only these contenders, parted by commas (default: all that can be had): ringpost, ringpost-lmtp, ringpost-tcp, ringpost-discard,
    /// smtp-sink, haraka, postfix, postfix-mdbox, dovecot, dovecot-mdbox, exim, opensmtpd, cyrus
    #[arg(long, value_delimiter = ',')]
    contender: Vec<String>,
    /// Which rows, parted by commas: 10, 100, 500 (connections kept open, 4 KiB), once (one message a connection), 50k (50 KiB),
    /// tls, p99 (latency at half of each one's own rate in the row 100)
    #[arg(long, value_delimiter = ',', default_value = "10,100,500,once,50k,tls,p99")]
    rows: Vec<Row>,
    /// How often each contender has its turn in each row
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds that the mailboxes may take to hold all that was acknowledged; what is missing then is said
    #[arg(long, default_value_t = 120.0)]
    drain_seconds: f64,
    /// Accounts mail is sent to, uniformly. With few of them rivals mostly wait for the lock of a mailbox
    #[arg(long, default_value_t = 200)]
    accounts: u64,
    /// Also write every turn's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One turn's figures.
#[derive(Clone, Copy, Debug)]
struct Turn {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_ms: f64,
    /// Mail in the mailboxes a second; `None`: nothing is stored.
    in_mailbox: Option<f64>,
    /// Acknowledged and not in the mailboxes at the end.
    missing: u64,
}

/// A contender with what it runs from.
struct Entrant {
    contender: Contender,
    trees: Vec<PathBuf>,
    seen: Seen,
}

pub fn main(options: &Options) -> io::Result<bool> {
    let mut entrants = entrants(options)?;
    for line in machine::describe(&options.directory) {
        println!("{line}");
    }
    for entrant in &mut entrants {
        entrant.seen = match look(entrant, options) {
            Ok(seen) => seen,
            Err(error) => {
                eprintln!("{}: {error}", entrant.contender.name);
                continue;
            }
        };
        println!(
            "peer     {:32} {}; {}",
            entrant.contender.title,
            machine::version(&entrant.contender, &options.root, &options.binary),
            entrant.seen.text()
        );
    }
    let mut results = Vec::new();
    let mut rates = BTreeMap::new();
    for row in &options.rows {
        let shape = row.shape();
        let turns = take_turns(options, &entrants, &shape, &rates)?;
        if *row == Row::Hundred {
            for (entrant, turns) in entrants.iter().zip(&turns).filter(|(_, turns)| !turns.is_empty()) {
                rates.insert(entrant.contender.name, median(turns, |turn| turn.per_second));
            }
        }
        print_row(&shape, options, &entrants, &turns);
        results.push(as_json(&shape, &entrants, &turns));
    }
    match &options.json {
        Some(path) => std::fs::write(path, serde_json::to_string_pretty(&results)? + "\n").map(|()| true),
        None => Ok(true),
    }
}

fn entrants(options: &Options) -> io::Result<Vec<Entrant>> {
    // SAFETY: takes no pointer.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mut entrants = Vec::new();
    for name in &options.contender {
        if !ALL.iter().any(|contender| contender.name == name) {
            return Err(io::Error::other(format!("no contender is named {name}")));
        }
    }
    for contender in ALL {
        let is_asked = options.contender.iter().any(|name| name == contender.name);
        if !is_asked && !options.contender.is_empty() {
            continue;
        }
        if !is_root && matches!(contender.start, Start::Script { .. }) {
            eprintln!("{} is left out: its namespace needs root", contender.name);
            continue;
        }
        match contender.trees(&options.root) {
            Ok(trees) => entrants.push(Entrant {
                contender,
                trees,
                seen: Seen::Unknown,
            }),
            Err(lack) => eprintln!("{} is left out: {lack}", contender.name),
        }
    }
    Ok(entrants)
}

fn place<'a>(options: &'a Options, connections: usize) -> Place<'a> {
    Place {
        binary: &options.binary,
        arguments: &options.argument,
        directory: &options.directory,
        connections,
        accounts: options.accounts,
    }
}

fn look(entrant: &Entrant, options: &Options) -> io::Result<Seen> {
    let server = Server::start(&entrant.contender, &entrant.trees, &place(options, 10))?;
    durability::watch(&server, entrant.contender.is_lmtp)
}

fn take_turns(
    options: &Options,
    entrants: &[Entrant],
    shape: &Shape,
    rates: &BTreeMap<&'static str, f64>,
) -> io::Result<Vec<Vec<Turn>>> {
    let mut turns: Vec<Vec<Turn>> = vec![Vec::new(); entrants.len()];
    for round in 0..options.rounds {
        for (entrant, turns) in entrants.iter().zip(&mut turns) {
            let contender = &entrant.contender;
            let rate = rates.get(contender.name).map(|rate| rate / 2.0);
            let is_in = (contender.has_tls || !shape.is_tls) && (rate.is_some() || !shape.is_at_half_rate);
            // One that failed once is not asked again.
            if !is_in || turns.len() < round {
                continue;
            }
            match take_turn(entrant, options, shape, rate) {
                Ok(turn) => {
                    eprintln!(
                        "{} round {}: {:32} {:8.0}/s",
                        shape.name,
                        round + 1,
                        contender.title,
                        turn.per_second
                    );
                    turns.push(turn);
                }
                Err(error) => eprintln!("{} {}: {error}", shape.name, contender.name),
            }
        }
    }
    Ok(turns)
}

fn take_turn(entrant: &Entrant, options: &Options, shape: &Shape, rate: Option<f64>) -> io::Result<Turn> {
    let contender = &entrant.contender;
    let server = Server::start(contender, &entrant.trees, &place(options, shape.connections))?;
    let primed = prime(contender, options, &server)?;
    let report = server.scratch().join("report.json");
    let mut command = load(contender, options, &server)?;
    command
        .args(["--server-pid", &server.pid().to_string()])
        .args(["--seconds", &options.seconds.to_string()])
        .args(shape.arguments());
    if let (true, Some(rate)) = (shape.is_at_half_rate, rate) {
        command.args(["--rate", &rate.to_string()]);
    }
    let (began, before) = (Instant::now(), Usage::of_tree(server.pid())?);
    let status = command
        .arg("--json")
        .arg(&report)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("the load failed: {status}")));
    }
    let mut turn = read_report(&report)?;
    turn.finish(contender, options, &server, primed, began, before)
}

/// Messages for each account before a turn: so many at random leave out one account in twenty.
const PRIMING: u64 = 3;

/// Has nearly every mailbox made, and returns what is in them.
fn prime(contender: &Contender, options: &Options, server: &Server) -> io::Result<u64> {
    let count = options.accounts * PRIMING;
    let status = load(contender, options, server)?
        .args(["--connections=10", "--warmup=0", "--seconds=60", "--size=512"])
        .args(["--count", &count.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("the priming failed: {status}")));
    }
    let until = Instant::now() + Duration::from_secs_f64(options.drain_seconds);
    while let Some(found) = server.messages()? {
        if found >= count || Instant::now() >= until {
            return Ok(found);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(0)
}

fn load(contender: &Contender, options: &Options, server: &Server) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("smtp")
        .args(["--address", &format!("127.0.0.1:{}", server.port)])
        .args(["--accounts", &options.accounts.to_string()]);
    if contender.is_lmtp {
        command.arg("--lmtp");
    }
    Ok(command)
}

/// What the load said, before the mailboxes were looked at.
struct Loaded {
    turn: Turn,
    acknowledged: u64,
}

fn read_report(path: &Path) -> io::Result<Loaded> {
    let report: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let number = |value: &Value| {
        value
            .as_f64()
            .ok_or_else(|| io::Error::other("the report lacks a figure"))
    };
    let acknowledged = number(&report["done"])?;
    if acknowledged == 0.0 {
        return Err(io::Error::other(format!(
            "no message was acknowledged: {}",
            report["failures"]
        )));
    }
    let turn = Turn {
        per_second: number(&report["per_second"])?,
        p50_ms: number(&report["latency_us"]["p50"])? / 1e3,
        p99_ms: number(&report["latency_us"]["p99"])? / 1e3,
        cpu_ms: 0.0,
        in_mailbox: None,
        missing: 0,
    };
    Ok(Loaded {
        turn,
        acknowledged: acknowledged as u64,
    })
}

/// Between two looks at the mailboxes. Each is charged with at most that much too much.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Loaded {
    /// Waits until the mailboxes hold all, and takes what that cost.
    fn finish(
        &mut self,
        contender: &Contender,
        options: &Options,
        server: &Server,
        primed: u64,
        began: Instant,
        before: Usage,
    ) -> io::Result<Turn> {
        let mut turn = self.turn;
        let loaded = began.elapsed();
        let mut delivered = self.acknowledged;
        let mut seconds = loaded.as_secs_f64();
        let until = Instant::now() + Duration::from_secs_f64(options.drain_seconds);
        while let Some(found) = server.messages()? {
            // What was cut off at the end may have been stored as well.
            let found = found.saturating_sub(primed);
            delivered = found.min(self.acknowledged);
            seconds = began.elapsed().as_secs_f64();
            if found >= self.acknowledged || Instant::now() >= until {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        turn.missing = self.acknowledged - delivered;
        turn.in_mailbox = match contender.mailboxes {
            Mailboxes::None => None,
            Mailboxes::Acknowledged => Some(turn.per_second),
            // One that delivers before it answers is not charged with the end of the load, in which nothing is sent.
            _ if contender.is_lmtp && turn.missing == 0 => Some(turn.per_second),
            _ => Some(delivered as f64 / seconds),
        };
        let after = Usage::of_tree(server.pid())?;
        turn.cpu_ms = (after.cpu_seconds - before.cpu_seconds) * 1e6 / delivered.max(1) as f64;
        Ok(turn)
    }
}

fn median(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> f64 {
    let mut values: Vec<f64> = turns.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn print_row(shape: &Shape, options: &Options, entrants: &[Entrant], turns: &[Vec<Turn>]) {
    println!(
        "\n{}; medians of {} alternating turns of {} s",
        shape.title, options.rounds, options.seconds
    );
    println!(
        "| {:32} | {:>10} | {:>14} | {:>8} | {:>8} | {:>15} | {:>17} |",
        "", "accepted/s", "in mailbox/s", "p50 ms", "p99 ms", "CPU ms per 1000", "Ringpost's rate ×"
    );
    println!("|{}|{0}|{0}|{0}|{0}|{0}|{0}|", "---");
    let own = entrants
        .iter()
        .zip(turns)
        .find(|(entrant, turns)| entrant.contender.name == "ringpost" && !turns.is_empty())
        .map(|(_, turns)| median(turns, |turn| turn.per_second));
    for (entrant, turns) in entrants.iter().zip(turns).filter(|(_, turns)| !turns.is_empty()) {
        let accepted = median(turns, |turn| turn.per_second);
        let stored = median(turns, |turn| turn.in_mailbox.unwrap_or(0.0));
        let is_stored = turns.iter().all(|turn| turn.in_mailbox.is_some());
        // Of those that store, what counts is mail in mailboxes.
        let ratio = own.map(|own| own / if is_stored { stored } else { accepted });
        let missing: u64 = turns.iter().map(|turn| turn.missing).sum();
        let unsynced = entrant.seen == Seen::Syncs(0) && is_stored;
        println!(
            "| {:32} | {:>10.0} | {:>14} | {:>8.2} | {:>8.2} | {:>15.1} | {:>17} |{}{}",
            entrant.contender.title,
            accepted,
            if is_stored {
                format!("{stored:.0}")
            } else {
                "–".to_owned()
            },
            median(turns, |turn| turn.p50_ms),
            median(turns, |turn| turn.p99_ms),
            median(turns, |turn| turn.cpu_ms),
            ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            if unsynced { " does not sync" } else { "" },
            if missing > 0 {
                format!(" {missing} not in mailboxes in time")
            } else {
                String::new()
            },
        );
    }
}

fn as_json(shape: &Shape, entrants: &[Entrant], turns: &[Vec<Turn>]) -> Value {
    let of_turn = |turn: &Turn| {
        json!({
            "accepted_per_second": turn.per_second,
            "in_mailbox_per_second": turn.in_mailbox,
            "p50_ms": turn.p50_ms,
            "p99_ms": turn.p99_ms,
            "cpu_ms_per_1000": turn.cpu_ms,
            "missing": turn.missing,
        })
    };
    let of_entrant = |(entrant, turns): (&Entrant, &Vec<Turn>)| {
        json!({
            "contender": entrant.contender.name,
            "before_250": entrant.seen.text(),
            "turns": turns.iter().map(of_turn).collect::<Vec<_>>(),
        })
    };
    json!({
        "row": shape.name,
        "contenders": entrants.iter().zip(turns).map(of_entrant).collect::<Vec<_>>(),
    })
}
