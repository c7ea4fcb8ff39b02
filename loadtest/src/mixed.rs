//! Mail coming in and mail being read at once: the SMTP, IMAP and POP3 loads beside each other, each with its own report.
//!
//! What is told of the server (`--server-pid`) is told once, by the first.

use crate::reading::Reading;
use crate::run::Common;
use crate::smtp::Sending;
use crate::stats::Report;
use crate::tls::TlsMode;
use crate::{html, imap, pop3, smtp};
use clap::Args;
use std::io;
use std::path::PathBuf;
use std::thread;

#[derive(Args, Debug)]
pub struct Options {
    /// Where SMTP listens, as host:port
    #[arg(long)]
    smtp: String,
    /// Where IMAP listens
    #[arg(long)]
    imap: String,
    /// Where POP3 listens
    #[arg(long)]
    pop3: String,
    /// Connections that send
    #[arg(long, default_value_t = 50)]
    senders: usize,
    /// Messages a second; as fast as they are taken if absent
    #[arg(long)]
    send_rate: Option<f64>,
    /// IMAP sessions at once
    #[arg(long, default_value_t = 20)]
    imap_readers: usize,
    /// POP3 sessions at once
    #[arg(long, default_value_t = 10)]
    pop3_readers: usize,
    /// Seconds that count
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long, value_enum, default_value_t = TlsMode::None)]
    tls: TlsMode,
    #[command(flatten)]
    sending: Sending,
    #[arg(long, default_value = "ringpost")]
    password: String,
    /// The server's process
    #[arg(long)]
    server_pid: Option<u32>,
    /// The server's metrics, as http://host:port/metrics
    #[arg(long)]
    metrics: Option<String>,
    /// Also write the reports to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also write them with plots to this file
    #[arg(long)]
    html: Option<PathBuf>,
}

/// The `mixed` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let common = |address: &str, connections, rate| Common {
        connections,
        seconds: options.seconds,
        rate,
        tls: options.tls,
        ..Common::quiet(address)
    };
    let sending = Common {
        server_pid: options.server_pid,
        metrics: options.metrics.clone(),
        ..common(&options.smtp, options.senders, options.send_rate)
    };
    let reading = Reading {
        login_pattern: options.sending.to_pattern.clone(),
        logins: options.sending.accounts,
        password: options.password.clone(),
    };
    let (imap_common, pop3_common) = (
        common(&options.imap, options.imap_readers, None),
        common(&options.pop3, options.pop3_readers, None),
    );
    let reports: Vec<io::Result<Report>> = thread::scope(|scope| {
        let loads = [
            scope.spawn(|| smtp::report(&sending, &options.sending)),
            scope.spawn(|| imap::report(&imap_common, &reading, "FLAGS")),
            scope.spawn(|| pop3::report(&pop3_common, &reading, 1, false)),
        ];
        loads
            .into_iter()
            .map(|load| {
                load.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let reports = reports.into_iter().collect::<io::Result<Vec<Report>>>()?;
    reports.iter().for_each(Report::print);
    if let Some(path) = &options.html {
        std::fs::write(path, html::page(&reports))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&reports)? + "\n")?;
    }
    Ok(reports.iter().all(|report| report.count > 0))
}
