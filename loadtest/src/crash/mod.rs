//! Accidents under load, again and again, and after each the proof that nothing acknowledged is gone.
//!
//! Three kinds: the server is killed with -9 (default); the power of its disk is cut, `--power` (see `power`); its disk
//! fills up, `--full`. A round: SMTP load over many connections, users at work over IMAP and POP3; the accident at a
//! random moment; the start, timed from exec to the first 220; everything read back over IMAP (every other round over
//! POP3 too) and judged; now and then a second start, which must change nothing. Large mailboxes are emptied, and stay
//! under the rule that nothing comes back.
//! The journal lies outside the store, in memory-backed /dev/shm where there is one.

mod full;
mod imap_user;
mod judge;
mod load;
mod pop3_user;
mod power;
mod server;

pub use imap_user::flags_of;

use crate::oracle::{Findings, Oracle};
use crate::power::mount::Kind;
use crate::random;
use clap::Args;
use load::Shape;
use server::{Launch, Server};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

#[derive(Args, Debug)]
pub struct Options {
    /// The server: started as `BINARY demo --data DIR --port-offset auto --accounts N`
    #[arg(long)]
    binary: PathBuf,
    /// More arguments of the demo, such as `--argument=--hurried-store`: checkpoints and compaction all the time
    #[arg(long)]
    argument: Vec<String>,
    /// Kills, cuts (of each file system) or fillings
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// No round begins after this many seconds
    #[arg(long, default_value_t = 86_400.0)]
    seconds: f64,
    /// Longest time under load before the accident; the moment is random
    #[arg(long, default_value_t = 2.0)]
    seconds_per_round: f64,
    /// The store; must not exist. A directory beside the current one if absent, removed when nothing was lost
    #[arg(long)]
    data: Option<PathBuf>,
    /// Where the journals are kept; must not exist. In /dev/shm if absent, removed when nothing was lost
    #[arg(long)]
    journals: Option<PathBuf>,
    #[arg(long, default_value_t = 8)]
    accounts: u64,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Octets of a message
    #[arg(long, default_value_t = 2048)]
    size: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 1)]
    recipients: u64,
    /// A mailbox with more messages than this is emptied after it was verified
    #[arg(long, default_value_t = 2000)]
    expunge_above: usize,
    /// Cut the power of a disk with a volatile write cache, with one of these file systems on it. Needs root, /dev/fuse
    /// and loop devices
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    power: Vec<Kind>,
    /// Fill the disk up and free it again. Needs what --power needs
    #[arg(long, conflicts_with = "power")]
    full: bool,
    /// After this many cuts a new disk is made, and a new store
    #[arg(long, default_value_t = 20)]
    cuts_per_disk: u64,
    /// The disk says that it flushed and did nothing: then mail must be lost, or the harness is blind
    #[arg(long, requires = "power")]
    ignore_flushes: bool,
    /// Succeed when a fault was found, fail when there was none: for planted bugs
    #[arg(long)]
    expect_fault: bool,
}

/// What came of one kind of accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Clean,
    Faulty,
    /// The machine cannot do it.
    Skipped,
}

/// One kind of accident's result.
struct Verdict {
    outcome: Outcome,
    summary: String,
}

impl Options {
    fn shape(&self, may_refuse: bool) -> Shape {
        Shape {
            accounts: self.accounts,
            connections: self.connections,
            size: self.size,
            recipients: self.recipients,
            may_refuse,
        }
    }

    fn launch(&self, journals: &Path, is_noisy: bool) -> Launch {
        Launch {
            binary: self.binary.clone(),
            arguments: self.argument.clone(),
            accounts: self.accounts,
            log: is_noisy.then(|| journals.join("server.log")),
        }
    }
}

/// The `crash` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let run = random::number();
    let shm = Path::new("/dev/shm");
    let outside = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    let journals = options
        .journals
        .clone()
        .unwrap_or_else(|| outside.join(format!("loadtest-crash-{run:016x}")));
    std::fs::create_dir(&journals)?;
    let mut verdicts = Vec::new();
    if options.full {
        verdicts.push(full::run(options, &journals)?);
    } else if options.power.is_empty() {
        verdicts.push(kill(options, &journals, run)?);
    }
    for kind in &options.power {
        verdicts.push(power::run(options, *kind, &journals)?);
    }
    let has = |outcome| verdicts.iter().any(|verdict| verdict.outcome == outcome);
    let is_clean = !has(Outcome::Faulty);
    let is_as_expected = !options.expect_fault || !has(Outcome::Clean);
    for verdict in &verdicts {
        println!("{}", verdict.summary);
    }
    if is_clean || options.expect_fault {
        std::fs::remove_dir_all(&journals)?;
    } else {
        println!("kept: the journals in {}", journals.display());
    }
    Ok(if options.expect_fault {
        is_as_expected
    } else {
        is_clean
    })
}

/// `kill -9`, again and again.
fn kill(options: &Options, journals: &Path, run: u64) -> io::Result<Verdict> {
    let data = options
        .data
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("loadtest-crash-{run:016x}")));
    let (shape, launch) = (options.shape(false), options.launch(journals, false));
    let mut oracle = Oracle::default();
    let mut starts = Vec::new();
    let mut server = Server::start(&launch, &data)?;
    let began = std::time::Instant::now();
    for round in 1..=options.rounds {
        if began.elapsed().as_secs_f64() > options.seconds {
            break;
        }
        let journal = journals.join(format!("round-{round}"));
        let delay = options.seconds_per_round * (0.05 + 0.95 * random::fraction());
        let tales = load::until(&shape, server.addresses, &journal, || {
            thread::sleep(Duration::from_secs_f64(delay));
            server.kill()
        })?;
        let mut findings = Findings::default();
        judge::learn(&mut oracle, &journal, tales, &mut findings)?;
        server = Server::start(&launch, &data)?;
        starts.push(server.start);
        findings.add(judge::verify(&server, &mut oracle, round % 2 == 0)?);
        if findings.faults.is_empty() && round % 5 == 0 {
            server.kill()?;
            server = Server::start(&launch, &data)?;
            findings.add(judge::verify(&server, &mut oracle, false)?);
        }
        print!("round {round}: back in {:.0} ms; ", milliseconds(server.start));
        if !findings.print() {
            let summary = format!("{round} kills; kept: the store {}", data.display());
            return Ok(Verdict {
                outcome: Outcome::Faulty,
                summary,
            });
        }
        judge::expunge(&server, &mut oracle, options.expunge_above)?;
    }
    drop(server);
    std::fs::remove_dir_all(&data)?;
    let rounds = starts.len();
    starts.sort();
    let summary = format!(
        "{rounds} kills, {}; restart to 220: median {:.0} ms, longest {:.0} ms",
        nothing_lost(&oracle, rounds as u64, "kills"),
        milliseconds(starts.get(rounds / 2).copied().unwrap_or_default()),
        milliseconds(starts.last().copied().unwrap_or_default()),
    );
    Ok(Verdict {
        outcome: Outcome::Clean,
        summary,
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What a clean run shows, and how far: zero losses in N bound the loss at 3/N (the rule of three).
fn nothing_lost(oracle: &Oracle, accidents: u64, what: &str) -> String {
    format!(
        "{} messages and {} changes acknowledged, 0 lost (95 % confidence: under {:.4} lossy {what} each)",
        oracle.acknowledged(),
        oracle.changes(),
        3.0 / accidents.max(1) as f64
    )
}
