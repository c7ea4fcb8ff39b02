//! Arguments of `ringpost store …`: what an admin does with a store, most of it while no server runs on it.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The commands on a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Verify everything: superblock, segments, every group, record and checksum, every message, and that checkpoints and
    /// snapshots are right and agree with the log. What is derived and costs no mail is told as such; what is wrong with summaries
    /// (segments/*.sum) is a note only: delete them while no server runs, they are made anew from the mail. Changes nothing.
    /// While a server runs on the data directory, what was durable at the beginning is verified beside it, at a limited rate.
    /// Exit code 0: whole; 1: damaged; 2: it is no store, or of a newer version.
    Check(CheckArguments),
    /// How much is there: segments, live bytes, messages, accounts, partitions. Changes nothing.
    Stat(LookArguments),
    /// The records of the log, a line each. Changes nothing.
    Dump(DumpArguments),
    /// Copy all undamaged mail into a new store. The old one is not changed. Then, with no server running, rename the old
    /// directory away and the new one into its place, with everything but STORE, LOCK and segments from the old one (directory.sqlite has the accounts).
    /// EMAILIDs are new, and expunged mail that `undelete` could bring back does not come over: how much is said; if the old store
    /// opens, undelete there first. A salvage that is interrupted leaves a file UNFINISHED in the new directory, which then nothing
    /// opens: remove the directory and salvage again.
    /// Exit code 0: all mail came over; 1: something was damaged; 2: it could not be done, for example for want of room.
    Salvage(SalvageArguments),
    /// Write one account's mail as Maildir or mbox, with flags, dates, UIDs and UIDVALIDITYs, for other programs and for
    /// `import`. The store is not changed. Messages of any size go out. An export that is interrupted leaves a file UNFINISHED,
    /// and `import` refuses it. Exit code 0: all of it; 1: some messages are damaged and were left out, or it could not be written.
    Export(ExportArguments),
    /// Put the mail of a Maildir or of mbox files into a store, as an account that is not there yet. An import that fails or is
    /// killed on the way leaves a part of the account in the store: the same import again goes on from there, with each message once
    /// and the same UIDs, as long as neither the files nor the account were changed; what it finds changed it refuses. Links and other
    /// things that are no files, and files that cannot be read, are passed over and named.
    /// Exit code 0: all of it came in; 1: something was passed over, messages came without some of their keywords, or the store failed; 2: the files or the account are not as they must be.
    Import(ImportArguments),
    /// Bring expunged messages back, under new UIDs, into the mailbox they left; those of deleted mailboxes into
    /// "Restored". A server that runs on the data directory does it itself, and sessions see the messages come in; it may have
    /// to end a pass of compaction first. Quotas are not asked: an account may be over its own afterwards. Exit code 0, also when
    /// there was nothing to bring back; 2: there is no such account or store, or the server refused.
    Undelete(UndeleteArguments),
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MailFormat {
    /// Maildir++ with Dovecot's lists of UIDs and keywords.
    Maildir,
    /// One mboxrd file a mailbox, with X-UID, Status and X-Keywords fields.
    Mbox,
}

/// Arguments of `ringpost store export`.
#[derive(Debug, Args)]
pub struct ExportArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Whose mail: the account's number, or its address.
    #[arg(long, value_name = "N|ADDRESS")]
    pub account: String,
    /// Where it goes: a directory that is empty or not there yet.
    #[arg(long, value_name = "PATH")]
    pub to: PathBuf,
    /// As what.
    #[arg(long, value_enum)]
    pub format: MailFormat,
}

/// Arguments of `ringpost store import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The data directory; a store is made if there is none.
    pub data: PathBuf,
    /// Whose mail it becomes: the account's number, or its address. The store must not have it yet.
    #[arg(long, value_name = "N|ADDRESS")]
    pub account: String,
    /// Where it is: a Maildir, or a directory of *.mbox files.
    #[arg(long, value_name = "PATH")]
    pub from: PathBuf,
    /// As what.
    #[arg(long, value_enum)]
    pub format: MailFormat,
    /// What POP3 called the messages of which the files say nothing (`P` in dovecot-uidlist, `X-UIDL` in mbox): as here
    /// (UIDVALIDITY.UID), or as Dovecot by default (pop3_uidl_format = %08Xu%08Xv), so that nobody's program fetches them again.
    #[arg(long, value_enum, default_value_t = UidlArgument::Own)]
    pub uidl: UidlArgument,
}

/// `--uidl`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UidlArgument {
    Own,
    Dovecot,
}

/// Arguments of `ringpost store undelete`.
#[derive(Debug, Args)]
pub struct UndeleteArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Whose: the address that the account logs in by, or its number, as `check` and `dump` print it. Where the accounts are
    /// in a database or directory of the site's own, an address needs a running server.
    #[arg(long, value_name = "N|ADDRESS")]
    pub account: String,
    /// Only of this mailbox; of a deleted one by the name it had.
    #[arg(long, value_name = "NAME")]
    pub mailbox: Option<String>,
    /// Only what was expunged in the last so many hours.
    #[arg(long, value_name = "HOURS")]
    pub since: Option<u32>,
}

/// Arguments of `ringpost store check`.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Read no more than so many MiB a second; 0: as fast as the disk gives it. Default: 32 beside a running server, otherwise 0.
    #[arg(long, value_name = "MIB")]
    pub rate: Option<u64>,
}

/// A store to look at.
#[derive(Debug, Args)]
pub struct LookArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ringpost store dump`.
#[derive(Debug, Args)]
pub struct DumpArguments {
    /// The data directory.
    pub data: PathBuf,
    /// Only what lies in this segment.
    #[arg(long, value_name = "N")]
    pub segment: Option<u32>,
    /// Stop after this many lines.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// Arguments of `ringpost store salvage`.
#[derive(Debug, Args)]
pub struct SalvageArguments {
    /// The damaged store's data directory.
    pub data: PathBuf,
    /// Where the new store goes: a directory that is empty or not there yet.
    pub new: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}
