//! `kill -9`, again and again: the process is gone at a random moment, what it wrote is not.

use super::options::Options;
use super::server::Server;
use super::verdict::{Outcome, Verdict, milliseconds, nothing_lost};
use super::{judge, load};
use crate::oracle::{Findings, Oracle};
use crate::random;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

pub fn run(options: &Options, journals: &Path) -> io::Result<Verdict> {
    let data = options
        .data
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("loadtest-crash-{:016x}", random::number())));
    let (shape, launch) = (options.shape(false), options.launch(journals, false));
    let mut oracle = Oracle::default();
    let mut starts = Vec::new();
    let mut server = Server::start(&launch, &data)?;
    let began = Instant::now();
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
