//! Accidents under load, again and again, and after each the proof that nothing acknowledged is gone.
//!
//! Three kinds: the server is killed with -9 (`kill`, the default); the power of its disk is cut (`power`); its disk
//! fills up (`full`). A round: SMTP load over many connections, users at work over IMAP and POP3; the accident at a
//! random moment; the start, timed from exec to the first 220; everything read back over IMAP (every other round over
//! POP3 too) and judged; now and then a second start, which must change nothing. Large mailboxes are emptied, and stay
//! under the rule that nothing comes back.
//! The journal lies outside the store, in memory-backed /dev/shm where there is one.

mod context;
mod full;
mod imap_user;
mod judge;
mod kill;
mod load;
mod options;
mod pop3_user;
mod power;
mod server;
mod verdict;

pub use options::Options;

use crate::random;
use std::io;
use std::path::Path;
use verdict::Outcome;

/// The `crash` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let shm = Path::new("/dev/shm");
    let outside = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    let journals = options
        .journals
        .clone()
        .unwrap_or_else(|| outside.join(format!("loadtest-crash-{:016x}", random::number())));
    std::fs::create_dir(&journals)?;
    let mut verdicts = Vec::new();
    if options.full {
        verdicts.push(full::run(options, &journals)?);
    } else if options.power.is_empty() {
        verdicts.push(kill::run(options, &journals)?);
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
