//! Power cuts: the disk under the store's file system loses its power, and with it what its cache held.
//!
//! One cut: the power goes, at a moment or at the n-th write or flush; the server, which may have gone on answering, is
//! killed; unmount, detach; the power is back; attach, mount (the journal is replayed), `store check`, start, verify.
//! In every fourth the power goes again, during the replay or the start, and leaves blocks of 4 KiB whole then: XFS cannot
//! replay its journal over a block that was torn by the replay before (it trusts the sequence number in the block's first
//! sector).
//! Failure: a store that is damaged or does not open is a finding like lost mail. A file system that does not mount shows
//! nothing about the server: then the test could not be made, unless the disk is one that ignores flushes.

use super::options::Options;
use super::server::{Launch, Server};
use super::verdict::{Outcome, Verdict, milliseconds, nothing_lost};
use super::{judge, load};
use crate::oracle::{Findings, Oracle};
use crate::power::disk::Disk;
use crate::power::mount::{self, Kind, Stack};
use crate::random::{self, Random};
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Most of it is never written, and takes no memory then. XFS wants 300 MiB at least.
const DISK_BYTES: usize = 1 << 30;
/// When the power goes at an operation, it is one of the first so many.
const OPERATIONS_MAX: u64 = 3_000;
/// The same for the second cut.
const SECOND_OPERATIONS_MAX: u64 = 60;
/// How long the server may go on without its disk before it is killed: what it acknowledges then counts.
const AFTERLIFE: Duration = Duration::from_millis(30);

/// What was counted over all disks of one kind.
#[derive(Default)]
struct Tally {
    cuts: u64,
    second_cuts: u64,
    pending_sectors: u64,
    mounted: Vec<Duration>,
    started: Vec<Duration>,
}

pub fn run(options: &Options, kind: Kind, journals: &Path) -> io::Result<Verdict> {
    if !mount::check_machine(kind)? {
        let summary = format!("{}: skipped", kind.name());
        return Ok(Verdict {
            outcome: Outcome::Skipped,
            summary,
        });
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut all = Oracle::default();
    while tally.cuts < options.rounds && began.elapsed().as_secs_f64() < options.seconds {
        let seed = random::number();
        let mut trial = Trial {
            options,
            journals,
            oracle: Oracle::default(),
            random: Random(seed),
            tally: &mut tally,
            began,
        };
        let findings = trial.one_disk(kind)?;
        let summary = (trial.oracle.acknowledged(), trial.oracle.changes());
        if !findings.faults.is_empty() {
            findings.print();
            let summary = format!("{}: a fault after {} cuts, seed {seed}", kind.name(), tally.cuts);
            return Ok(Verdict {
                outcome: Outcome::Faulty,
                summary,
            });
        }
        all.count(summary);
    }
    Ok(Verdict {
        outcome: Outcome::Clean,
        summary: tally.summary(kind, &all),
    })
}

impl Tally {
    fn summary(&mut self, kind: Kind, oracle: &Oracle) -> String {
        self.mounted.sort();
        self.started.sort();
        let median =
            |times: &[Duration]| milliseconds(times.get(times.len() / 2).copied().unwrap_or_default());
        format!(
            "{}: {} power cuts, {} more during replay or start, {} sectors not flushed at a cut (mean), {}; \
             cut to mounted: median {:.0} ms, restart to 220: median {:.0} ms",
            kind.name(),
            self.cuts,
            self.second_cuts,
            self.pending_sectors / self.cuts.max(1),
            nothing_lost(oracle, self.cuts, "cuts"),
            median(&self.mounted),
            median(&self.started),
        )
    }
}

/// One disk's life.
struct Trial<'a> {
    options: &'a Options,
    journals: &'a Path,
    oracle: Oracle,
    random: Random,
    tally: &'a mut Tally,
    began: Instant,
}

impl Trial<'_> {
    fn is_over(&self) -> bool {
        self.tally.cuts >= self.options.rounds || self.began.elapsed().as_secs_f64() > self.options.seconds
    }

    fn one_disk(&mut self, kind: Kind) -> io::Result<Findings> {
        let mut stack = Stack::new(kind, Disk::new(DISK_BYTES, self.options.ignore_flushes))?;
        let data = stack.directory().join("store");
        let launch = self.options.launch(self.journals, true);
        let mut server = Server::start(&launch, &data)?;
        for _ in 0..self.options.cuts_per_disk {
            let mut findings = self.load_and_cut(&stack, server)?;
            server = match self.restart(&mut stack, &data)? {
                Ok(server) => server,
                Err(fault) => {
                    findings.faults.push(fault);
                    return Ok(findings);
                }
            };
            let with_pop3 = self.random.one_in(2);
            findings.add(judge::verify(&server, &mut self.oracle, with_pop3)?);
            let cuts = self.tally.cuts;
            if findings.faults.is_empty() && cuts.is_multiple_of(5) {
                server.kill()?;
                server = Server::start(&launch, &data)?;
                findings.add(judge::verify(&server, &mut self.oracle, false)?);
            }
            if cuts.is_multiple_of(25) || !findings.faults.is_empty() {
                println!("{}: {cuts} cuts", kind.name());
            }
            if !findings.faults.is_empty() || self.is_over() {
                server.end()?;
                return Ok(findings);
            }
            judge::expunge(&server, &mut self.oracle, self.options.expunge_above)?;
        }
        server.end()?;
        Ok(Findings::default())
    }

    fn load_and_cut(&mut self, stack: &Stack, server: Server) -> io::Result<Findings> {
        self.tally.cuts += 1;
        let journal = self.journals.join(format!("journal-{:016x}", random::number()));
        let limit = self.options.seconds_per_round * (0.02 + 0.98 * self.random.below(1000) as f64 / 1000.0);
        let (seed, operations) = (self.random.draw(), 1 + self.random.below(OPERATIONS_MAX));
        let at_operation = self.random.one_in(2);
        let afterlife = self.random.one_in(2);
        let mut pending = 0;
        let tales = load::until(&self.options.shape(true), server.addresses, &journal, || {
            if at_operation {
                stack.disk.lock().cut_after(operations, seed);
            }
            stack.disk.wait_for_cut(Duration::from_secs_f64(limit), seed);
            pending = stack.disk.lock().cut_sectors() as u64;
            if afterlife {
                thread::sleep(AFTERLIFE);
            }
            server.end()
        })?;
        self.tally.pending_sectors += pending;
        let mut findings = Findings::default();
        judge::learn(&mut self.oracle, &journal, tales, &mut findings)?;
        std::fs::remove_file(&journal)?;
        Ok(findings)
    }

    /// The power comes back, perhaps to go once more. The inner error is a fault of what was to survive.
    fn restart(&mut self, stack: &mut Stack, data: &Path) -> io::Result<Result<Server, String>> {
        let launch = self.options.launch(self.journals, true);
        let mut cuts_again = self.random.one_in(4);
        loop {
            let back = Instant::now();
            stack.take_down_and_reset()?;
            if cuts_again {
                let (operations, seed) = (1 + self.random.below(SECOND_OPERATIONS_MAX), self.random.draw());
                let mut disk = stack.disk.lock();
                disk.set_long_sectors(true);
                disk.cut_after(operations, seed);
            }
            let mounted = stack.mount();
            let is_mounted = back.elapsed();
            let started = match mounted {
                Ok(()) => self.check_and_start(&launch, data),
                Err(error) if self.options.ignore_flushes || cuts_again => {
                    Err(format!("the file system does not mount: {error}"))
                }
                Err(error) => return Err(error),
            };
            if cuts_again && stack.disk.lock().is_cut() {
                if let Ok(server) = started {
                    server.end()?;
                }
                self.tally.second_cuts += 1;
                cuts_again = self.random.one_in(3);
                continue;
            }
            // If the second cut has not come by now, it does not.
            let mut disk = stack.disk.lock();
            disk.reset();
            disk.set_long_sectors(false);
            drop(disk);
            if let Ok(server) = &started {
                self.tally.mounted.push(is_mounted);
                self.tally.started.push(server.start);
            }
            return Ok(started);
        }
    }

    fn check_and_start(&self, launch: &Launch, data: &Path) -> Result<Server, String> {
        let checked = Command::new(&launch.binary)
            .args(["store", "check"])
            .arg(data)
            .output()
            .map_err(|error| format!("store check: {error}"))?;
        if checked.status.code() == Some(1) {
            let text = String::from_utf8_lossy(&checked.stdout);
            return Err(format!("store check finds damage:\n{text}"));
        }
        Server::start(launch, data).map_err(|error| format!("the store does not open: {error}"))
    }
}
