//! Where log events go: standard error, as text or as JSON, written by a thread of its own.
//!
//! Invariants: no core ever waits for whoever reads the log: a line that finds the queue full is dropped and counted
//! ([`dropped_lines`], in the metrics). Lines still queued are written when the [`LogEnd`] is dropped.
//! Limits: `QUEUED_LINES_MAX`.
//! A session has one id (`id=`) from its connection on, a mail the session's with a number behind it, which is in its trace
//! field as well; target `mail` has one line for each mail, with the accounts and the commit it went to.
//! Not here: what is logged, and at which level.

use crate::cli::LogFormat;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that may wait for the writing thread: at 200 bytes a line 13 MiB, some seconds of one line a mail.
const QUEUED_LINES_MAX: usize = 65_536;

/// What is logged unless `RINGPOST_LOG` says otherwise. One line a mail is for servers; `mail=info` in the variable has it.
const DEFAULT_FILTER: &str = "info,mail=off";

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes what is queued when it is dropped.
pub struct LogEnd(#[expect(dead_code, reason = "kept for its drop")] WorkerGuard);

/// Installs the subscriber; `RINGPOST_LOG` filters.
#[must_use]
pub fn start(format: LogFormat) -> LogEnd {
    let filter = EnvFilter::try_from_env("RINGPOST_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init(),
    }
    LogEnd(guard)
}

/// Lines lost since the start.
#[must_use]
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
