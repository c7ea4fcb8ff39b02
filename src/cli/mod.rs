//! The commands and their arguments.
//!
//! Exit codes: 0 done, 1 it did not work, 2 something about this machine, the arguments or the configuration has to be
//! changed first.
//! Not here: what a command does (`boot`).

pub mod manage;
pub mod serve;
pub mod store;

use crate::base::network::Network;
use crate::model::Pop3Deletion;
use clap::{Parser, Subcommand};
use std::num::NonZeroU16;
use std::path::PathBuf;

/// A mail server on io_uring: SMTP, POP3 and IMAP over a log-structured message store.
#[derive(Debug, Parser)]
#[command(name = "ringpost", version)]
pub struct Arguments {
    /// How events are written to standard error (`RINGPOST_LOG` filters them, as in `info,mail=info`, which has a line for each
    /// mail). Default: text, or what RINGPOST_LOG_FORMAT says.
    #[arg(long, value_enum, value_name = "FORMAT", global = true)]
    pub log_format: Option<LogFormat>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The argument, else the environment's, else text.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        let from_environment = || {
            let format = std::env::var("RINGPOST_LOG_FORMAT").ok()?;
            clap::ValueEnum::from_str(&format, true).ok()
        };
        self.log_format.or_else(from_environment).unwrap_or_default()
    }
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for each event, for people.
    #[default]
    Text,
    /// One JSON object for each event, for programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole server on loopback: one domain, a few accounts, self-signed TLS.
    Demo(DemoArguments),
    /// Set up a host for a domain: configuration, data directory, keys, the first admin; prints the DNS records.
    Init(serve::InitArguments),
    /// Run the server that a configuration file describes.
    Serve(serve::ServeArguments),
    /// Read the configuration and everything it names, and report every problem.
    Check(serve::ServeArguments),
    /// Let the running server read its configuration and certificates again.
    Reload(manage::Place),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(serve::ConfigCommand),
    /// Who has a mailbox.
    Account(manage::AccountArguments),
    /// Addresses that lead to others.
    Alias(manage::AliasArguments),
    /// Domains whose mail is taken.
    Domain(manage::DomainArguments),
    /// Look at a store, verify it, get the mail out of it. Only `check` works beside a running server, and `undelete` through it.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Look at this machine (kernel, io_uring, limits, disk, clock) and with --config at its listeners, certificates and domain; say what is
    /// advised and why. Changes nothing.
    Doctor(DoctorArguments),
}

/// Arguments of `ringpost doctor`.
#[derive(Debug, clap::Args)]
pub struct DoctorArguments {
    /// Where the mail is or will be: its disk is looked at and timed. Default: as the configuration says, or this directory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Also look at what this configuration needs: certificates, the directory of accounts, the domain's DNS records.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ask this name server instead of the machine's.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "config")]
    pub resolver: Option<std::net::SocketAddr>,
    /// A JSON array of findings instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ringpost demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArguments {
    /// Keep the mail here and open it again next time. Default: a fresh temporary directory, removed at a clean exit.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Added to every standard port; `auto` takes free ports.
    #[arg(long, value_name = "N|auto", default_value = "10000")]
    pub port_offset: PortOffset,
    /// How many numbered accounts there are: user1@ … userN@example.org.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub accounts: u32,
    /// Executors to run, one per core. Default: every core this process may use.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub cores: Option<u16>,
    /// Connections from this network come through a proxy and begin with a PROXY header (version 1 or 2), on every port.
    /// May be given more than once.
    #[arg(long, value_name = "CIDR")]
    pub proxy_from: Vec<Network>,
    /// Peers in this network may say by XCLIENT for whom they speak SMTP or LMTP. May be given more than once.
    #[arg(long, value_name = "CIDR")]
    pub xclient_from: Vec<Network>,
    /// Octets of mail that each account may keep. Default: no limit.
    #[arg(long, value_name = "OCTETS")]
    pub quota: Option<u64>,
    /// What becomes of messages that a POP3 client deletes.
    #[arg(long, value_name = "delete|trash|ignore", default_value = "delete", value_parser = pop3_deletion)]
    pub pop3_deletion: Pop3Deletion,
    /// Delete messages that are older than so many days when POP3 logs in. Default: never.
    #[arg(long, value_name = "DAYS")]
    pub pop3_retention_days: Option<NonZeroU16>,
    /// Refuse a POP3 login within so many seconds of the account's last one.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub pop3_login_delay: u32,
    /// Messages that one account may submit in an hour.
    #[arg(long, value_name = "N", default_value_t = u32::MAX)]
    pub submission_messages_per_hour: u32,
    /// Recipients that one account may submit mail to in a day.
    #[arg(long, value_name = "N", default_value_t = u32::MAX)]
    pub submission_recipients_per_day: u32,
    /// Accept mail by SMTP and throw it away. For measuring what the protocol alone costs; nothing is stored.
    #[arg(long)]
    pub discard: bool,
    /// Let the store do in seconds what it does in days: short segments, checkpoints and compaction all the time, accounts that
    /// do not stay in memory, nothing expunged kept. For tests that break it.
    #[arg(long)]
    pub hurried_store: bool,
    /// What moves the bytes of connections: `tcp`, a system call for each receive and send, or `ring`, an io_uring of our own
    /// in each executor (Linux 5.19 or later; `tcp` serves where the kernel refuses it).
    #[arg(long, value_enum, default_value_t = NetworkBackend::Ring)]
    pub network: NetworkBackend,
}

fn pop3_deletion(text: &str) -> Result<Pop3Deletion, String> {
    Pop3Deletion::parse(text).ok_or_else(|| "it is none of delete, trash, ignore".to_owned())
}

/// `--network`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkBackend {
    /// glommio's streams.
    Tcp,
    /// Our own ring.
    Ring,
}

/// `--port-offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortOffset {
    /// Free ports, chosen by the kernel.
    Auto,
    /// Added to the standard port.
    Fixed(u16),
}

impl std::str::FromStr for PortOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// The highest standard port in use is 12525 - 10000.
        const OFFSET_MAX: u16 = u16::MAX - 2525;
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(offset) if offset <= OFFSET_MAX => Ok(Self::Fixed(offset)),
            _ => Err(format!("give a number up to {OFFSET_MAX}, or `auto`")),
        }
    }
}

impl PortOffset {
    /// The port to bind for a service whose standard port is `standard`; 0 asks the kernel for a free one.
    #[must_use]
    pub fn port(self, standard: u16) -> u16 {
        match self {
            Self::Auto => 0,
            Self::Fixed(offset) => standard.saturating_add(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn offsets_that_leave_the_port_range_are_refused() {
        assert_eq!("10000".parse(), Ok(PortOffset::Fixed(10_000)));
        assert_eq!("auto".parse(), Ok(PortOffset::Auto));
        assert!("65000".parse::<PortOffset>().is_err());
        assert!("-1".parse::<PortOffset>().is_err());
        assert_eq!(PortOffset::Fixed(10_000).port(143), 10_143);
    }
}
