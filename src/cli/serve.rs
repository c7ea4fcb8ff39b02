//! Arguments of the commands that set a host up and run it.

use super::PortOffset;
use clap::{Args, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// Arguments of `ringpost serve` and `ringpost check`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub config: PathBuf,
}

/// Arguments of `ringpost init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// The domain whose mail this host takes.
    pub domain: String,
    /// The configuration file to write.
    #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// The data directory to make.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ringpost")]
    pub data: PathBuf,
    /// This machine's name for others. Default: its own if that is whole, else mail.DOMAIN.
    #[arg(long)]
    pub hostname: Option<String>,
    /// The system user that serves, if this is run as root.
    #[arg(long, default_value = "ringpost")]
    pub user: String,
    /// The first admin's address. Default: admin@DOMAIN.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,
    /// Addresses to listen on. Default: all.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<IpAddr>,
    /// Added to every standard port; `auto` takes free ones at each start.
    #[arg(long, value_name = "N|auto", default_value = "0")]
    pub port_offset: PortOffset,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// `ringpost config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// What an option means, its unit, range and default; without a name all of them.
    Explain { key: Option<String> },
    /// What a file says that is not the default.
    Diff {
        #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
        config: PathBuf,
    },
    /// A commented file with every option.
    Sample,
}
