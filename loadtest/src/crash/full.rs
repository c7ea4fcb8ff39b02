//! A full disk: while the server is loaded, a file beside its store takes the room there is, up to a random byte; then
//! it is removed.
//!
//! While it is full, mail must be refused with a 452 or NO that says "later", and what is there must be readable; when
//! it is free again mail must be taken without a restart. Nothing acknowledged may be lost, with and without one.

use super::context::PASSWORD;
use super::options::Options;
use super::server::Server;
use super::verdict::{Outcome, Verdict, nothing_lost};
use super::{judge, load};
use crate::client::{Imap, Smtp};
use crate::oracle::{Findings, Oracle};
use crate::power::disk::Disk;
use crate::power::mount::{self, Kind, Stack};
use crate::random::Random;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Small, but with room for the segments of some cores and what the server keeps free.
const DISK_BYTES: usize = 768 << 20;
/// Room left is below this: less than a segment, and less than what the server keeps in reserve.
const LEFT_BYTES_MAX: u64 = 48 << 20;
/// How long it may take until mail is refused, and until it is taken again.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);
const PROBED: &str = "user4@example.org";

pub fn run(options: &Options, journals: &Path) -> io::Result<Verdict> {
    if !mount::check_machine(Kind::Ext4)? {
        return Ok(Verdict {
            outcome: Outcome::Skipped,
            summary: "disk full: skipped".to_owned(),
        });
    }
    let began = Instant::now();
    let mut random = Random(crate::random::number());
    let mut oracle = Oracle::default();
    let (mut fillings, mut total) = (0, (0, 0));
    while fillings < options.rounds && began.elapsed().as_secs_f64() < options.seconds {
        let stack = Stack::new(Kind::Ext4, Disk::new(DISK_BYTES, false))?;
        let data = stack.directory().join("store");
        let launch = options.launch(journals, true);
        oracle = Oracle::default();
        let mut server = Server::start(&launch, &data)?;
        // The log grows; a new disk before there is no room for mail at all.
        for _ in 0..options.cuts_per_disk.min(options.rounds - fillings) {
            fillings += 1;
            let mut findings = fill(options, journals, &stack, &server, &mut oracle, &mut random)?;
            findings.add(judge::verify(&server, &mut oracle, random.one_in(2))?);
            if findings.faults.is_empty() && random.one_in(3) {
                server.kill()?;
                server = Server::start(&launch, &data)?;
                findings.add(judge::verify(&server, &mut oracle, false)?);
            }
            print!("filling {fillings}: ");
            if !findings.print() {
                return Ok(Verdict {
                    outcome: Outcome::Faulty,
                    summary: format!("disk full: a fault in filling {fillings}"),
                });
            }
            let is_roomy = free_bytes(&stack.directory())? > 320 << 20;
            if !is_roomy {
                break;
            }
        }
        server.end()?;
        total = (total.0 + oracle.acknowledged(), total.1 + oracle.changes());
        oracle = Oracle::default();
    }
    oracle.count(total);
    Ok(Verdict {
        outcome: Outcome::Clean,
        summary: format!(
            "disk full: {fillings} times, refused and taken again each time, {}",
            nothing_lost(&oracle, fillings, "fillings")
        ),
    })
}

/// One filling under load; the server lives on.
fn fill(
    options: &Options,
    journals: &Path,
    stack: &Stack,
    server: &Server,
    oracle: &mut Oracle,
    random: &mut Random,
) -> io::Result<Findings> {
    let journal = journals.join(format!("journal-{:016x}", crate::random::number()));
    let ballast = stack.directory().join("ballast");
    let delay = Duration::from_secs_f64(options.seconds_per_round * random.below(1000) as f64 / 1000.0);
    let left = match random.below(3) {
        0 => 0,
        1 => random.below(1 << 20),
        _ => random.below(LEFT_BYTES_MAX),
    };
    let mut faults = Vec::new();
    let tales = load::until(&options.shape(true), server.addresses, &journal, || {
        thread::sleep(delay);
        let file = take_room(&ballast, left)?;
        if let Err(fault) = refuses(server) {
            faults.push(fault);
        }
        drop(file);
        std::fs::remove_file(&ballast)?;
        if let Err(fault) = accepts(server) {
            faults.push(fault);
        }
        Ok(())
    })?;
    let mut findings = Findings {
        faults,
        ..Findings::default()
    };
    judge::learn(oracle, &journal, tales, &mut findings)?;
    std::fs::remove_file(&journal)?;
    Ok(findings)
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let text = mount::run(
        Command::new("stat")
            .args(["--file-system", "--format=%a %S"])
            .arg(directory),
    )?;
    let mut numbers = text
        .split_whitespace()
        .map(|number| number.parse::<u64>().unwrap_or(0));
    Ok(numbers.next().unwrap_or(0) * numbers.next().unwrap_or(0))
}

/// Takes all room but `left` bytes.
fn take_room(path: &Path, left: u64) -> io::Result<File> {
    let file = File::create(path)?;
    let directory = path.parent().unwrap_or(path);
    let bytes = free_bytes(directory)?.saturating_sub(left) as libc::off_t;
    // SAFETY: the descriptor is open for as long as `file` lives; the call touches no memory.
    let code = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes.max(1)) };
    // The server may have taken some meanwhile: then the disk is as full as it gets.
    if code != 0 && code != libc::ENOSPC {
        return Err(io::Error::from_raw_os_error(code));
    }
    Ok(file)
}

/// Mail must come to be refused, clearly, over SMTP and IMAP, and reading must work.
fn refuses(server: &Server) -> Result<(), String> {
    let until = Instant::now() + NOTICE_TIMEOUT;
    loop {
        let reply = probe(server)?;
        if reply.starts_with("452") {
            break;
        }
        if !reply.starts_with("250") {
            return Err(format!("a full disk was answered: {reply}"));
        }
        if Instant::now() > until {
            return Err("mail is taken while the disk is full".to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    }
    let mut imap = Imap::connect(server.addresses.imap).map_err(|error| error.to_string())?;
    imap.login(PROBED, PASSWORD).map_err(|error| error.to_string())?;
    imap.command("SELECT INBOX").map_err(|error| error.to_string())?;
    let body = b"Subject: no room\r\n\r\nNo room.\r\n";
    // Each core asks for the room that is left in its own time: this one may not have when the other had.
    let refused = loop {
        match imap.append_with_flags("INBOX", "", body) {
            Ok(_) if Instant::now() > until => {
                return Err("APPEND is taken while the disk is full".to_owned());
            }
            Ok(_) => thread::sleep(Duration::from_millis(20)),
            Err(error) => break error.to_string(),
        }
    };
    if !refused.contains(" NO [") {
        return Err(format!("APPEND to a full disk: {refused}"));
    }
    imap.command("FETCH 1:* (UID FLAGS)")
        .map(drop)
        .map_err(|error| format!("reading from a full disk: {error}"))
}

/// Mail must be taken again without a restart.
fn accepts(server: &Server) -> Result<(), String> {
    let until = Instant::now() + NOTICE_TIMEOUT;
    loop {
        let reply = probe(server)?;
        if reply.starts_with("250") {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("the disk is free again, but mail is answered: {reply}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a mail that nobody journals, and returns what it was answered.
fn probe(server: &Server) -> Result<String, String> {
    let send = || -> io::Result<String> {
        let mut smtp = Smtp::connect(server.addresses.smtp)?;
        smtp.hello()?;
        smtp.mail(PROBED, b"Subject: probe\r\n\r\nIs there room?\r\n")
    };
    send().map_err(|error| format!("SMTP while the disk is full or free again: {error}"))
}
