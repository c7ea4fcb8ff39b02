//! Where log events go: standard error, as text, or as JSON with `RINGPOST_LOG_FORMAT=json`.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Installs the subscriber; `RINGPOST_LOG` filters (default `info`).
pub fn start() {
    let filter = EnvFilter::try_from_env("RINGPOST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let is_json = std::env::var("RINGPOST_LOG_FORMAT").is_ok_and(|format| format == "json");
    if is_json {
        builder.json().init();
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
    }
}
