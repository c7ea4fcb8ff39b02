//! `ringpost store …`: the commands on a stopped store, but for `undelete` and `check`, which know a running one as well.
//!
//! Invariants: the directory's lock is held as long as a command works on it, but for those two where a server holds it; `check`, `stat` and `dump` write nothing
//! but the lock's file. Neither executors nor io_uring are needed: everything runs on this thread.
//! Not here: what is looked for (`store::tools`).

use super::console::{ProgressLine, code, print_line};
use super::stopped::{LockedStore, OpenStore, refuse};
use super::{BootError, privileges};
use crate::cli::store::{
    CheckArguments, DumpArguments, ExportArguments, ImportArguments, LookArguments, SalvageArguments,
    StoreCommand, UndeleteArguments,
};
use crate::disk::filling::Filling;
use crate::disk::plain::PlainDisk;
use crate::disk::{SUBDIRECTORY, SUPERBLOCK_NAME};
use crate::model::SegmentId;
use crate::store::tools::{CheckReport, Damage, SalvageReport, StatReport, Survey, dump, salvage, stat};
use futures_executor::block_on;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

/// Damages that are printed one by one; all of them are in the JSON.
const DAMAGES_SHOWN_MAX: usize = 1_000;

/// After a salvage that could not write.
const AGAIN: &str =
    "it is not finished: remove it, and salvage again where there is room (the old store was not changed)";

/// Runs one command.
///
/// # Errors
/// See [`BootError`]; what a command finds wrong with the mail is no error but its exit code.
pub fn run(command: &StoreCommand) -> Result<ExitCode, BootError> {
    // What a command writes is somebody's mail.
    // SAFETY: it changes a number of this process, which no other thread relies on yet.
    unsafe { libc::umask(0o077) };
    become_owner(command)?;
    check_directory(directories(command).0)?;
    match command {
        StoreCommand::Check(arguments) => run_check(arguments),
        StoreCommand::Stat(arguments) => run_stat(arguments),
        StoreCommand::Dump(arguments) => run_dump(arguments),
        StoreCommand::Salvage(arguments) => run_salvage(arguments),
        StoreCommand::Export(arguments) => super::exchange::run_export(arguments),
        StoreCommand::Import(arguments) => super::exchange::run_import(arguments),
        StoreCommand::Undelete(arguments) => super::undelete::run(arguments),
    }
}

/// If this is root, it goes on as whoever the store belongs to: what a command writes there (a lock's file is enough) would
/// otherwise keep the server from its own files. Directories to be filled are made before and given to the same user.
fn become_owner(command: &StoreCommand) -> Result<(), BootError> {
    let (data, fills) = directories(command);
    if !privileges::is_root() || !data.exists() {
        // It is made, or said to be missing, further on.
        return Ok(());
    }
    if let Some(directory) = fills {
        privileges::make_like(directory, data)?;
    }
    privileges::become_owner_of(data)
}

/// The store's, and the one that a command fills.
fn directories(command: &StoreCommand) -> (&Path, Option<&Path>) {
    match command {
        StoreCommand::Check(CheckArguments { data, .. }) | StoreCommand::Stat(LookArguments { data, .. }) => {
            (data, None)
        }
        StoreCommand::Dump(DumpArguments { data, .. })
        | StoreCommand::Import(ImportArguments { data, .. })
        | StoreCommand::Undelete(UndeleteArguments { data, .. }) => (data, None),
        StoreCommand::Salvage(SalvageArguments { data, new, .. }) => (data, Some(new)),
        StoreCommand::Export(ExportArguments { data, to, .. }) => (data, Some(to)),
    }
}

/// What is no directory, or may not be read by this user, is said before anything else is made of it.
fn check_directory(data: &Path) -> Result<(), BootError> {
    use std::io::ErrorKind::PermissionDenied;
    match std::fs::metadata(data) {
        Ok(found) if !found.is_dir() => {
            let what =
                "it is not a directory: give the store's data directory, in which STORE and segments lie";
            return Err(refuse(data, &what));
        }
        Err(cause) if cause.kind() == PermissionDenied => return Err(not_ours(data)),
        _ => {}
    }
    let segments = data.join(SUBDIRECTORY);
    let denied = |read: std::io::Result<()>| read.is_err_and(|cause| cause.kind() == PermissionDenied);
    for directory in [data, &segments] {
        if denied(std::fs::read_dir(directory).map(|_| ()))
            || denied(std::fs::metadata(directory.join(".")).map(|_| ()))
        {
            return Err(not_ours(directory));
        }
    }
    let superblock = data.join(SUPERBLOCK_NAME);
    if denied(std::fs::File::open(&superblock).map(|_| ())) {
        return Err(not_ours(&superblock));
    }
    Ok(())
}

fn not_ours(path: &Path) -> BootError {
    use std::os::unix::fs::MetadataExt as _;
    // SAFETY: the call reads a number of this process.
    let own = unsafe { libc::geteuid() };
    let owner =
        std::fs::metadata(path).map_or_else(|_| "somebody else".to_owned(), |m| format!("user {}", m.uid()));
    let what = format!(
        "user {own} may not read it, it is {owner}'s: run this as the user that the server runs as, or as root"
    );
    refuse(path, &what)
}

fn run_check(arguments: &CheckArguments) -> Result<ExitCode, BootError> {
    let mut line = ProgressLine::new("checking");
    let report = super::check::run(arguments, &mut |done, total| line.tell(done, total))?;
    drop(line);
    if arguments.json {
        print_line(&report.to_json().to_string());
    } else {
        print_check(&report);
    }
    Ok(code(report.is_clean()))
}

fn print_damages(kept: &[Damage], count: u64) {
    for damage in kept.iter().take(DAMAGES_SHOWN_MAX) {
        if !print_line(&damage.to_string()) {
            return;
        }
    }
    let hidden = count.saturating_sub(DAMAGES_SHOWN_MAX as u64);
    if hidden > 0 {
        print_line(&format!("… and {hidden} more"));
    }
}

/// `1 damage`, `2 damages`.
fn counted(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

fn print_check(report: &CheckReport) {
    print_damages(&report.damages.kept, report.damages.count);
    print_damages(&report.derived.kept, report.derived.count);
    for note in &report.notes {
        print_line(&format!("note: {note}"));
    }
    let counts = &report.counts;
    print_line(&format!(
        "{} segments, {} bytes, {} groups, {} records, {} body chunks",
        counts.segments, counts.bytes, counts.groups, counts.records, counts.chunks
    ));
    print_line(&format!(
        "{} accounts, {} messages, {} of them readable",
        report.accounts, report.messages, report.readable
    ));
    print_line(&match (report.damages.count, report.derived.count) {
        (0, 0) => "the store is whole".to_owned(),
        (0, count) => format!(
            "no mail is lost; {} in derived files: remove segments/*.ckp and segments/*.snp while no \
             server runs, and the next start makes them anew from the log",
            counted(count, "damage")
        ),
        (count, _) => {
            let damages = counted(count, "damage");
            format!("{damages}; `ringpost store salvage` copies what is whole into a new store")
        }
    });
}

fn run_stat(arguments: &LookArguments) -> Result<ExitCode, BootError> {
    let store = LockedStore::open(&arguments.data)?;
    let report = {
        let mut line = ProgressLine::new("reading");
        block_on(stat(store.disk, &mut |done, total| line.tell(done, total)))?
    };
    if arguments.json {
        print_line(&report.to_json().to_string());
    } else {
        print_stat(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_stat(report: &StatReport) {
    let counts = &report.counts;
    let rows: [(&str, u64); 21] = [
        ("incarnation", report.incarnation.into()),
        ("segments", counts.segments),
        ("bytes", counts.bytes),
        ("group bytes", counts.group_bytes),
        ("live bytes", report.live_bytes()),
        ("dead bytes", report.dead_bytes()),
        ("freed bytes", report.freed_bytes),
        ("compactions", report.compactions),
        ("torn tail bytes", counts.torn_tail_bytes),
        ("records", counts.records),
        ("accounts", report.accounts),
        ("mailboxes", report.mailboxes),
        ("messages", report.messages),
        ("message bytes", report.message_bytes),
        ("partitions", report.partitions),
        ("spooled", report.spooled),
        ("graves", report.graves),
        ("grave bytes", report.grave_bytes),
        ("summary files", report.summary_files),
        ("summary bytes", report.summary_bytes),
        ("damages", report.damages),
    ];
    for (name, value) in rows {
        print_line(&format!("{name:<16} {value:>16}"));
    }
    print_line(&format!(
        "{:>8} {:>12} {:>12} {:>5} {:>11} {:>4}",
        "segment", "bytes", "live", "live%", "incarnation", "log"
    ));
    for s in &report.segments {
        let percent = (s.live_bytes * 100).checked_div(s.bytes).unwrap_or(0);
        let row = format!(
            "{:>8} {:>12} {:>12} {percent:>5} {:>11} {:>4}",
            s.id, s.bytes, s.live_bytes, s.incarnation, s.log
        );
        if !print_line(&row) {
            return;
        }
    }
}

fn run_dump(arguments: &DumpArguments) -> Result<ExitCode, BootError> {
    let store = LockedStore::open(&arguments.data)?;
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut line = |text: &str| {
        if left == 0 || writeln!(out, "{text}").is_err() {
            return ControlFlow::Break(());
        }
        left -= 1;
        ControlFlow::Continue(())
    };
    block_on(dump(store.disk, arguments.segment.map(SegmentId), &mut line))?;
    let _ = out.flush();
    Ok(ExitCode::SUCCESS)
}

fn run_salvage(arguments: &SalvageArguments) -> Result<ExitCode, BootError> {
    let old = LockedStore::open(&arguments.data)?;
    let is_empty = std::fs::read_dir(&arguments.new).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        return Err(refuse(&arguments.new, &"the new store needs an empty directory"));
    }
    let survey = {
        let mut line = ProgressLine::new("reading");
        block_on(Survey::read(old.disk, &mut |done, total| line.tell(done, total)))?
    };
    let report = fill(&arguments.new, &survey).map_err(|error| {
        BootError::Admin(format!(
            "the new store {}: {error}; {AGAIN}",
            arguments.new.display()
        ))
    })?;
    if arguments.json {
        print_line(&report.to_json().to_string());
    } else {
        print_salvage(&report);
    }
    Ok(code(report.is_complete()))
}

/// Copies into `new`, marked until everything is there.
fn fill(new: &Path, survey: &Survey<PlainDisk>) -> Result<SalvageReport, BootError> {
    std::fs::create_dir_all(new).map_err(|cause| refuse(new, &cause))?;
    let filling = Filling::begin(new, "ringpost store salvage").map_err(|cause| refuse(new, &cause))?;
    let mut open = OpenStore::open_unfinished(new)?;
    let store = open.store.clone();
    let report = {
        let mut line = ProgressLine::new("copying");
        open.run(salvage(survey, &store, &mut |done, total| line.tell(done, total)))?
    };
    drop(store);
    open.close()?;
    filling.finish().map_err(|cause| refuse(new, &cause))?;
    Ok(report)
}

fn print_salvage(report: &SalvageReport) {
    print_damages(&report.damages.kept, report.damages.count);
    print_line(&format!(
        "{} accounts, {} mailboxes, {} messages ({} bytes) are in the new store",
        report.accounts, report.mailboxes, report.messages, report.bytes
    ));
    if report.spooled > 0 {
        let spooled = report.spooled;
        print_line(&format!(
            "{spooled} deliveries that waited in the spool were made"
        ));
    }
    if report.regained > 0 {
        print_line(&format!(
            "{} were found by a checkpoint alone: what was done to them since then did not come over",
            counted(report.regained, "message")
        ));
    }
    print_line(&match report.damages.count {
        0 => "all mail came over".to_owned(),
        count => format!(
            "known to be lost: {}; {} in all",
            counted(report.lost, "message"),
            counted(count, "damage")
        ),
    });
    if report.restorable > 0 {
        print_line(&format!(
            "{} expunged messages that `undelete` could still bring back are not in it: if the old store opens, undelete \
             there first and salvage again",
            report.restorable
        ));
    }
    print_line("EMAILIDs are new; account names and passwords are not part of the store");
}
