//! What commands say at a terminal: lines, progress and exit codes.
//!
//! Failure: a reader who has gone away is no error; whoever reads has seen enough.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two signs of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

pub(super) fn code(is_good: bool) -> ExitCode {
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// False when nobody reads any more, which is no error: whoever read has seen enough.
pub(super) fn print_line(text: &str) -> bool {
    writeln!(std::io::stdout(), "{text}").is_ok()
}

/// A line for whoever may read it.
pub(super) fn print(text: &str) {
    let _ = print_line(text);
}

/// A line on a terminal that says how far it is.
pub(super) struct ProgressLine {
    what: &'static str,
    is_shown: bool,
    last: Instant,
}

impl ProgressLine {
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            is_shown: std::io::stderr().is_terminal(),
            last: Instant::now(),
        }
    }

    pub fn tell(&mut self, done: u64, total: u64) {
        const MIB: u64 = 1024 * 1024;
        if self.is_shown && self.last.elapsed() >= PROGRESS_EVERY {
            self.last = Instant::now();
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
            let (done, total) = (done / MIB, total / MIB);
            eprint!("\r{}: {done} of {total} MiB, {percent} %\x1b[K", self.what);
        }
    }

    /// Where nobody knows how many there will be.
    pub fn tell_count(&mut self, done: u64, of_what: &str) {
        if self.is_shown && self.last.elapsed() >= PROGRESS_EVERY {
            self.last = Instant::now();
            eprint!("\r{}: {done} {of_what}\x1b[K", self.what);
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
