//! Arguments of `ringpost account|alias|domain …`: who is here. Effective at once in a running server.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Which server is meant.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// The configuration file of the server. Default: /etc/ringpost/ringpost.toml.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Its data directory, instead of a configuration file that names it.
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    pub data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// `ringpost account …`
#[derive(Debug, Args)]
pub struct AccountArguments {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub command: AccountCommand,
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account; its password is asked for.
    Add {
        /// Its address, which is also its login.
        address: String,
        #[command(flatten)]
        password: PasswordSource,
        /// It may look after the whole site.
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        settings: SettingArguments,
    },
    /// All accounts, or those of a domain.
    List {
        #[arg(long)]
        domain: Option<String>,
    },
    /// Everything about one, except secrets.
    Show { address: String },
    /// Change settings; what is not named stays.
    Set {
        address: String,
        #[command(flatten)]
        settings: SettingArguments,
        /// It may look after the whole site, or not any more.
        #[arg(long, value_name = "true|false")]
        admin: Option<bool>,
        /// Also if it is the last admin.
        #[arg(long)]
        force: bool,
    },
    /// Change the password, which is asked for. Sessions under way go on. Refused with --none for the last admin.
    Password {
        address: String,
        #[command(flatten)]
        password: PasswordSource,
        /// All the same: nobody may use the pages for admins then.
        #[arg(long)]
        force: bool,
    },
    /// Let it take mail and log in again.
    Enable { address: String },
    /// Refuse its mail (550 5.2.1) and its logins, end its sessions; keep everything. Refused for the last admin.
    Disable {
        address: String,
        /// All the same: nobody may use the pages for admins then.
        #[arg(long)]
        force: bool,
    },
    /// Remove it. Its id is never used again. Refused while aliases, forwarding or a catch-all lead there, and for the last
    /// admin.
    Delete {
        address: String,
        /// All the same: what leads only there is refused (550 5.1.1) from then on.
        #[arg(long)]
        force: bool,
    },
    /// Make many, all or none: lines of a passwd-file (`address:{SCHEME}hash:…`, as Dovecot has them), or CSV with a head
    /// (address, and any of password, hash, name, quota, protocols, forward, enabled).
    Import {
        file: PathBuf,
        #[arg(long, value_enum, default_value_t = ImportFormat::Passwd)]
        format: ImportFormat,
        /// For names without one.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Make a password for one program, and print it once.
    AppPasswordAdd {
        address: String,
        /// What it is for, such as "phone".
        name: String,
        /// What it opens: imap, pop3, submission, with commas between.
        #[arg(long, default_value = "imap,pop3,submission")]
        protocols: String,
        /// Days after which it opens nothing.
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
    },
    /// Take one back.
    AppPasswordDelete { address: String, name: String },
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportFormat {
    Passwd,
    Csv,
}

/// Where a password comes from; by default it is asked for, twice.
#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read it from the first line of standard input.
    #[arg(long)]
    pub stdin: bool,
    /// Take a hash in `{SCHEME}` notation as it is.
    #[arg(long, value_name = "HASH")]
    pub hash: Option<String>,
    /// None: nobody logs in by a password.
    #[arg(long)]
    pub none: bool,
}

/// What can be said of an account.
#[derive(Debug, Default, Args)]
pub struct SettingArguments {
    /// Whose it is, for lists.
    #[arg(long)]
    pub name: Option<String>,
    /// Bytes of mail it may keep, such as 5G; 0: no limit.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub quota: Option<u64>,
    /// Messages it may keep; 0: no limit.
    #[arg(long, value_name = "N")]
    pub quota_messages: Option<u64>,
    /// What it may log in by: imap, pop3, submission, with commas between.
    #[arg(long)]
    pub protocols: Option<String>,
    /// What POP3's DELE does: delete, trash (move there), or ignore.
    #[arg(long, value_name = "POLICY")]
    pub pop3_deletion: Option<String>,
    /// Days after which mail may be taken away; 0: never.
    #[arg(long, value_name = "DAYS")]
    pub retention_days: Option<u16>,
    /// Who gets its mail too; more than once for several, once and empty for nobody.
    #[arg(long, value_name = "ADDRESS")]
    pub forward: Vec<String>,
    /// Whether it keeps what it forwards.
    #[arg(long, value_name = "true|false")]
    pub keep_copy: Option<bool>,
    /// Whether it gets mail for name+anything.
    #[arg(long, value_name = "true|false")]
    pub details: Option<bool>,
}

fn parse_size(text: &str) -> Result<u64, String> {
    crate::config::option::parse_bytes(text)
        .ok_or_else(|| "a size such as 5G or 500 MiB is wanted".to_owned())
}

/// `ringpost alias …`
#[derive(Debug, Args)]
pub struct AliasArguments {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub command: AliasCommand,
}

/// What can be done with aliases.
#[derive(Debug, Subcommand)]
pub enum AliasCommand {
    /// Let mail for an address reach others.
    Add {
        address: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Let it reach these instead.
    Set {
        address: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Where it leads.
    Show { address: String },
    /// All aliases, or those of a domain.
    List {
        #[arg(long)]
        domain: Option<String>,
    },
    /// Remove it. Refused while others lead there.
    Delete {
        address: String,
        /// All the same: what leads only there is refused (550 5.1.1) from then on.
        #[arg(long)]
        force: bool,
    },
}

/// `ringpost domain …`
#[derive(Debug, Args)]
pub struct DomainArguments {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub command: DomainCommand,
}

/// What can be done with domains.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Take mail for a domain.
    Add {
        domain: String,
        #[command(flatten)]
        settings: DomainSettingArguments,
    },
    /// Change settings; what is not named stays.
    Set {
        domain: String,
        #[command(flatten)]
        settings: DomainSettingArguments,
    },
    /// Everything about one.
    Show { domain: String },
    /// All of them.
    List,
    /// Remove one that nobody is in any more.
    Delete { domain: String },
    /// Let an account, of this domain or another one here, look after this domain's accounts, aliases and quotas by the pages,
    /// and after nothing else.
    Admin {
        domain: String,
        address: String,
        /// Not any more.
        #[arg(long)]
        remove: bool,
    },
}

/// What can be said of a domain.
#[derive(Debug, Default, Args)]
pub struct DomainSettingArguments {
    /// Who gets mail for names that nobody has; empty: nobody, it is refused.
    #[arg(long, value_name = "ADDRESS")]
    pub catch_all: Option<String>,
    /// What separates a name from its detail; empty: there are no details.
    #[arg(long, value_name = "CHARACTER")]
    pub detail_separator: Option<String>,
    /// Whether new passwords get verifiers for SCRAM beside their hashes.
    #[arg(long, value_name = "true|false")]
    pub scram: Option<bool>,
}
