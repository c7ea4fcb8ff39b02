//! What the `crash` command is told, and what it means for a load and for a start.

use super::context::Shape;
use super::server::Launch;
use crate::power::mount::Kind;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub struct Options {
    /// The server: started as `BINARY demo --data DIR --port-offset auto --accounts N`
    #[arg(long)]
    pub binary: PathBuf,
    /// More arguments of the demo, such as `--argument=--hurried-store`: checkpoints and compaction all the time
    #[arg(long)]
    pub argument: Vec<String>,
    /// Kills, cuts (of each file system) or fillings
    #[arg(long, default_value_t = 10)]
    pub rounds: u64,
    /// No round begins after this many seconds
    #[arg(long, default_value_t = 86_400.0)]
    pub seconds: f64,
    /// Longest time under load before the accident; the moment is random
    #[arg(long, default_value_t = 2.0)]
    pub seconds_per_round: f64,
    /// The store; must not exist. A directory beside the current one if absent, removed when nothing was lost
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where the journals are kept; must not exist. In /dev/shm if absent, removed when nothing was lost
    #[arg(long)]
    pub journals: Option<PathBuf>,
    #[arg(long, default_value_t = 8)]
    pub accounts: u64,
    #[arg(long, default_value_t = 32)]
    pub connections: usize,
    /// Octets of a message
    #[arg(long, default_value_t = 2048)]
    pub size: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 1)]
    pub recipients: u64,
    /// A mailbox with more messages than this is emptied after it was verified
    #[arg(long, default_value_t = 2000)]
    pub expunge_above: usize,
    /// Cut the power of a disk with a volatile write cache, with one of these file systems on it. Needs root, /dev/fuse
    /// and loop devices
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    pub power: Vec<Kind>,
    /// Fill the disk up and free it again. Needs what --power needs
    #[arg(long, conflicts_with = "power")]
    pub full: bool,
    /// After this many cuts a new disk is made, and a new store
    #[arg(long, default_value_t = 20)]
    pub cuts_per_disk: u64,
    /// The disk says that it flushed and did nothing: then mail must be lost, or the harness is blind
    #[arg(long, requires = "power")]
    pub ignore_flushes: bool,
    /// Succeed when a fault was found, fail when there was none: for planted bugs
    #[arg(long)]
    pub expect_fault: bool,
}

impl Options {
    pub fn shape(&self, may_refuse: bool) -> Shape {
        Shape {
            accounts: self.accounts,
            connections: self.connections,
            size: self.size,
            recipients: self.recipients,
            may_refuse,
        }
    }

    pub fn launch(&self, journals: &Path, is_noisy: bool) -> Launch {
        Launch {
            binary: self.binary.clone(),
            arguments: self.argument.clone(),
            accounts: self.accounts,
            log: is_noisy.then(|| journals.join("server.log")),
        }
    }
}
