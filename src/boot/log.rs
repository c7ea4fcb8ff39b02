//! Where log events go: standard error, as text or as JSON, written by a thread of its own.
//!
//! Invariants: no core ever waits for whoever reads the log: a line that finds the queue full is dropped and counted
//! ([`dropped_lines`], in the metrics). Lines still queued are written when the [`LogEnd`] is dropped.
//! Limits: `QUEUED_LINES_MAX`.
//! A session has one id (`id=`) from its connection on, a mail the session's with a number behind it, which is in its trace
//! field as well; target `mail` has one line for each mail, with the accounts and the commit it went to.
//! Not here: what is logged, and at which level.

use crate::cli::LogFormat;
use crate::config::options::LOG_FILTER;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

/// Lines that may wait for the writing thread: at 200 bytes a line 13 MiB, some seconds of one line a mail.
const QUEUED_LINES_MAX: usize = 65_536;

/// The variable that says what is logged.
const VARIABLE: &str = "RINGPOST_LOG";

/// Exchanges the filter.
static SET_FILTER: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes what is queued when it is dropped.
pub struct LogEnd(#[expect(dead_code, reason = "kept for its drop")] WorkerGuard);

/// Installs the subscriber; `RINGPOST_LOG` filters.
#[must_use]
pub fn start(format: LogFormat) -> LogEnd {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    let _ = DROPPED.set(writer.error_counter());
    let (filter, handle) = reload::Layer::new(filter);
    let _ = SET_FILTER.set(Box::new(move |filter| drop(handle.reload(filter))));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => {
            let is_terminal = std::io::stderr().is_terminal();
            registry
                .with(lines.with_ansi(is_terminal).with_target(false))
                .init();
        }
    }
    LogEnd(guard)
}

/// Logs what `filter` says from now on, unless the variable says something. A filter that cannot be read changes nothing.
pub fn set_filter(filter: &str) {
    let is_fixed = std::env::var_os(VARIABLE).is_some_and(|value| !value.is_empty());
    if let (false, Ok(filter), Some(set)) = (is_fixed, EnvFilter::try_new(filter), SET_FILTER.get()) {
        set(filter);
    }
}

/// Lines lost since the start.
#[must_use]
pub fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |dropped| dropped.dropped_lines() as u64)
}
