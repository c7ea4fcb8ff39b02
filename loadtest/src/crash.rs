//! Kills a server with -9 under load, again and again, and verifies after each start that nothing acknowledged is gone.
//!
//! A round: SMTP load over many connections, and one IMAP client that appends and flags; the kill at a random moment;
//! the start, timed from exec to the first 220; everything read back over IMAP (every fourth round over POP3 too) and
//! judged. When mailboxes have grown large they are expunged, and stay under the rule that nothing comes back.
//! The journal lies outside the store, in memory-backed /dev/shm where there is one.
//! What this cannot show: a kill leaves the kernel's page cache in place; a lost power supply does not.

use crate::client::{Imap, Smtp};
use crate::driver::{Driver, Pace};
use crate::journal::{self, Journal};
use crate::message::{MESSAGE_BYTES_MIN, MessageId, Template};
use crate::oracle::{Findings, Oracle, Told};
use crate::random;
use crate::run::Finish;
use crate::smtp::{Plan, SmtpLoad};
use crate::stats::{Recorder, Window};
use crate::verify;
use clap::Args;
use serde::Deserialize;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub struct Options {
    /// The server: started as `BINARY demo --data DIR --port-offset auto --accounts N`
    #[arg(long)]
    binary: PathBuf,
    /// Kills
    #[arg(long, default_value_t = 10)]
    rounds: u64,
    /// Longest time under load before a kill; the moment is random
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
    /// An account with more messages than this is emptied after it was verified
    #[arg(long, default_value_t = 2000)]
    expunge_above: usize,
}

const PASSWORD: &str = "ringpost";
const TO_PATTERN: &str = "user{}@example.org";
/// The number of the account whose owner is also at work over IMAP.
const APPENDER: u64 = 1;
/// A server that is not ready by then is broken.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How long mail that was acknowledged for several recipients may take to reach the last of them after a restart.
const LATE_LIMIT: Duration = Duration::from_secs(10);

/// What the demo prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    ports: Ports,
}

#[derive(Deserialize)]
struct Ports {
    smtp: u16,
    imap: u16,
    pop3: u16,
}

/// A running server.
struct Server {
    child: Child,
    smtp: SocketAddr,
    imap: SocketAddr,
    pop3: SocketAddr,
    /// From exec to the first 220.
    start: Duration,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it is dead and reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(options: &Options, data: &Path) -> io::Result<Server> {
        let began = Instant::now();
        let mut child = Command::new(&options.binary)
            .args([
                "demo",
                "--port-offset",
                "auto",
                "--accounts",
                &options.accounts.to_string(),
                "--data",
            ])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let Some(stdout) = child.stdout.take() else {
            unreachable!("stdout was asked to be piped")
        };
        let (sender, ready) = std::sync::mpsc::channel();
        // Reads on to the end, so that the server never blocks on a full pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(json) = line.strip_prefix("ready ") {
                    let _ = sender.send(json.to_owned());
                }
            }
        });
        let unspecified = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut server = Server {
            child,
            smtp: unspecified,
            imap: unspecified,
            pop3: unspecified,
            start: Duration::ZERO,
        };
        let json = ready
            .recv_timeout(START_TIMEOUT)
            .map_err(|_| io::Error::other("the server ended or printed no ready line"))?;
        let ports = serde_json::from_str::<Ready>(&json)?.ports;
        server.smtp.set_port(ports.smtp);
        server.imap.set_port(ports.imap);
        server.pop3.set_port(ports.pop3);
        Smtp::connect(server.smtp)?;
        server.start = began.elapsed();
        Ok(server)
    }

    fn kill(mut self) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the server ended by itself: {status}")));
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

fn account(number: u64) -> String {
    TO_PATTERN.replace("{}", &number.to_string())
}

/// The `crash` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let run = random::number();
    let data = options
        .data
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("loadtest-crash-{run:016x}")));
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
    let mut oracle = Oracle::default();
    let mut starts = Vec::new();
    let mut server = Server::start(options, &data)?;
    for round in 1..=options.rounds {
        let journal_path = journals.join(format!("round-{round}"));
        let told = load_until_killed(options, server, &journal_path)?;
        oracle.add(journal::read(&journal_path)?);
        oracle.tell(&account(APPENDER), &told);
        server = Server::start(options, &data)?;
        starts.push(server.start);
        let findings = verify_and_expunge(options, &server, &mut oracle, round % 4 == 0)?;
        print!(
            "round {round}: back in {:.0} ms; ",
            server.start.as_secs_f64() * 1e3
        );
        if !findings.print() {
            println!(
                "kept: the store {}, the journals {}",
                data.display(),
                journals.display()
            );
            return Ok(false);
        }
    }
    drop(server);
    std::fs::remove_dir_all(&data)?;
    std::fs::remove_dir_all(&journals)?;
    starts.sort();
    let longest = starts.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
    let median = starts
        .get(starts.len() / 2)
        .copied()
        .unwrap_or_default()
        .as_secs_f64()
        * 1e3;
    println!(
        "{} kills, {} messages acknowledged, 0 lost (95 % confidence: under {:.4} lossy kills each); \
         restart to 220: median {median:.0} ms, longest {longest:.0} ms",
        options.rounds,
        oracle.acknowledged(),
        3.0 / options.rounds.max(1) as f64
    );
    Ok(true)
}

/// Loads the server and kills it at a random moment. Returns what the IMAP client was told.
fn load_until_killed(options: &Options, server: Server, journal: &Path) -> io::Result<Vec<Told>> {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(options.seconds_per_round * 10.0 + 60.0);
    let plan = Plan {
        is_lmtp: false,
        is_pipelined: true,
        messages_per_connection: 20,
        to_pattern: TO_PATTERN.to_owned(),
        accounts: options.accounts,
        recipients: options.recipients.clamp(1, options.accounts),
        size: options.size.max(MESSAGE_BYTES_MIN),
    };
    let (smtp, imap) = (server.smtp, server.imap);
    let delay = options.seconds_per_round * (0.05 + 0.95 * random::fraction());
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let recorder = Recorder::new(Window { from: began, to: end }, Arc::default());
            let journal = Some(Journal::append(journal, began)?);
            let load = SmtpLoad::new(
                plan.clone(),
                random::number(),
                (0, 1),
                Pace::new(None, u64::MAX),
                recorder,
                journal,
            );
            Driver::new(load, smtp, None, options.connections)?
                .run(end, &stop)?
                .finish()
        });
        let user = scope.spawn(|| append_and_flag(imap, &account(APPENDER), plan.size, journal, &stop));
        thread::sleep(Duration::from_secs_f64(delay));
        let killed = server.kill();
        stop.store(true, Ordering::Relaxed);
        let recorder = sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let told = user
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        killed?;
        drop(recorder);
        Ok(told)
    })
}

/// One IMAP client: appends to its INBOX and flags what it appended, until the server is gone.
fn append_and_flag(
    address: SocketAddr,
    account: &str,
    size: usize,
    journal: &Path,
    stop: &AtomicBool,
) -> io::Result<Vec<Told>> {
    let began = Instant::now();
    let mut journal = Journal::append(journal, began)?;
    let mut template = Template::new(size);
    let mut told = Vec::new();
    let run = random::number();
    let mut talk = || -> io::Result<()> {
        let mut imap = Imap::connect(address)?;
        imap.login(account, PASSWORD)?;
        imap.command("SELECT INBOX")?;
        for counter in 0.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let id = MessageId { run, counter };
            let digest = template.digest(id);
            journal.sending(id, account, template.len(), &digest, Instant::now());
            let uid = imap.append("INBOX", template.body(id))?;
            journal.answered(id, true, b"OK", Instant::now());
            let Some(uid) = uid else { continue };
            told.push(Told {
                id,
                uid,
                is_flagged: false,
            });
            imap.command(&format!("UID STORE {uid} +FLAGS (\\Flagged)"))?;
            if let Some(last) = told.last_mut() {
                last.is_flagged = true;
            }
        }
        Ok(())
    };
    match talk() {
        // A refusal is a finding; a cut connection is what this is about.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error),
        _ => journal.close()?,
    }
    Ok(told)
}

/// Verifies every account, again while mail to several recipients may be on its way to some, and empties large ones.
fn verify_and_expunge(
    options: &Options,
    server: &Server,
    oracle: &mut Oracle,
    with_pop3: bool,
) -> io::Result<Findings> {
    let until = Instant::now() + LATE_LIMIT;
    let mut findings = verify_all(server, oracle, with_pop3)?;
    while findings.may_mend() && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
        findings = verify_all(server, oracle, with_pop3)?;
    }
    if !findings.faults.is_empty() {
        return Ok(findings);
    }
    for account in oracle.accounts() {
        let mailbox = verify::read_imap(server.imap, &account, PASSWORD)?;
        if mailbox.messages.len() > options.expunge_above {
            let mut imap = Imap::connect(server.imap)?;
            imap.login(&account, PASSWORD)?;
            imap.command("SELECT INBOX")?;
            imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
            imap.command("EXPUNGE")?;
            oracle.expunged(&account, &mailbox);
        }
    }
    Ok(findings)
}

fn verify_all(server: &Server, oracle: &mut Oracle, with_pop3: bool) -> io::Result<Findings> {
    let mut findings = Findings::default();
    for account in oracle.accounts() {
        let mailbox = verify::read_imap(server.imap, &account, PASSWORD)?;
        oracle.judge(&account, &mailbox, &mut findings);
        if with_pop3 {
            verify::compare_pop3(server.pop3, &account, PASSWORD, &mailbox, &mut findings)?;
        }
    }
    Ok(findings)
}
