//! Reads mailboxes back, over IMAP and POP3, and has the oracle judge them.

use crate::address::resolve;
use crate::client::{Imap, Pop3, Response};
use crate::journal;
use crate::message::{self, MessageId};
use crate::oracle::{AccountSeen, Findings, MailboxSeen, Oracle, Seen};
use clap::Args;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Args, Debug)]
pub struct Options {
    /// The journal that `smtp --journal` wrote
    #[arg(long)]
    journal: PathBuf,
    /// Where IMAP listens, as host:port
    #[arg(long)]
    imap: String,
    /// Where POP3 listens; then every message is read over POP3 too
    #[arg(long)]
    pop3: Option<String>,
    /// Every account's password
    #[arg(long, default_value = "ringpost")]
    password: String,
}

/// The `verify` command.
pub fn main(options: &Options) -> io::Result<bool> {
    check(
        &options.journal,
        &options.imap,
        options.pop3.as_deref(),
        &options.password,
    )
}

/// Reads back everything that `journal` says was acknowledged, over IMAP and, if wanted, POP3; true when all of it is there.
pub fn check(journal: &Path, imap: &str, pop3: Option<&str>, password: &str) -> io::Result<bool> {
    let mut oracle = Oracle::new(journal::read(journal)?);
    println!(
        "journal: {} messages to {} accounts",
        oracle.sent(),
        oracle.accounts().len()
    );
    let mut findings = Findings::default();
    let imap = resolve(imap)?;
    let pop3 = pop3.map(resolve).transpose()?;
    for account in oracle.accounts() {
        let seen = read_account(imap, &account, password, &["INBOX"])?;
        oracle.judge(&account, &seen, &mut findings);
        if let (Some(address), Some(inbox)) = (pop3, seen.mailboxes.get("INBOX")) {
            compare_pop3(address, &account, password, inbox, &mut findings)?;
        }
    }
    Ok(findings.print())
}

/// Reads an account: the names of all its mailboxes, and those of `mailboxes` that are there whole.
pub fn read_account(
    address: SocketAddr,
    account: &str,
    password: &str,
    mailboxes: &[&str],
) -> io::Result<AccountSeen> {
    let mut imap = Imap::connect(address)?;
    imap.login(account, password)?;
    let mut seen = AccountSeen {
        names: list(&mut imap)?,
        ..AccountSeen::default()
    };
    for name in mailboxes.iter().filter(|name| seen.names.contains(**name)) {
        let mailbox = read_selected(&mut imap, account, name)?;
        seen.mailboxes.insert((*name).to_owned(), mailbox);
    }
    imap.command("LOGOUT")?;
    Ok(seen)
}

/// Reads one mailbox, if it is there.
pub fn read_mailbox(
    address: SocketAddr,
    account: &str,
    password: &str,
    name: &str,
) -> io::Result<Option<MailboxSeen>> {
    Ok(read_account(address, account, password, &[name])?
        .mailboxes
        .remove(name))
}

fn list(imap: &mut Imap) -> io::Result<BTreeSet<String>> {
    let responses = imap.command("LIST \"\" *")?;
    // The names that are looked for need no quoting beyond quotes.
    let name = |response: &Response| {
        let text = String::from_utf8_lossy(&response.text).into_owned();
        let last = text.rsplit(' ').next()?;
        Some(last.trim_matches('"').to_owned())
    };
    Ok(responses.iter().filter_map(name).collect())
}

fn read_selected(imap: &mut Imap, account: &str, name: &str) -> io::Result<MailboxSeen> {
    let mut mailbox = MailboxSeen::default();
    let mut exists = 0;
    for response in imap.command(&format!("EXAMINE {name}"))? {
        if let Some(value) = response.number("[UIDVALIDITY ") {
            mailbox.uid_validity = value;
        } else if let Some(value) = response.number("[UIDNEXT ") {
            mailbox.uid_next = value;
        } else if let Some(value) = response.number_of("[HIGHESTMODSEQ ") {
            mailbox.highest_mod_seq = value;
        } else if response.text.ends_with(b" EXISTS") {
            exists = response.number("* ").unwrap_or(0);
        }
    }
    if exists > 0 {
        let messages = &mut mailbox.messages;
        imap.command_each("FETCH 1:* (UID FLAGS BODY.PEEK[])", |response| {
            // Other untagged responses may come in between.
            let (Some(uid), Some(text)) = (response.number("UID "), response.literals.first()) else {
                return;
            };
            messages.push(Seen {
                uid,
                flags: response.flags(),
                identity: message::identify(text),
            });
        })?;
    }
    if mailbox.messages.len() < exists as usize {
        let text = format!(
            "{account}: {exists} EXISTS in {name}, but {} were fetched",
            mailbox.messages.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // What came after EXAMINE moved UIDNEXT on.
    let after_last = mailbox.messages.last().map_or(0, |seen| seen.uid + 1);
    mailbox.uid_next = mailbox.uid_next.max(after_last);
    Ok(mailbox)
}

/// POP3 must show the same messages in the same order. Returns the unique-ids it gives them.
pub fn compare_pop3(
    address: SocketAddr,
    account: &str,
    password: &str,
    mailbox: &MailboxSeen,
    findings: &mut Findings,
) -> io::Result<Vec<(MessageId, String)>> {
    let mut pop3 = Pop3::connect(address)?;
    pop3.login(account, password)?;
    let stat = pop3.command("STAT")?;
    let count: usize = stat
        .split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0);
    if count != mailbox.messages.len() {
        findings.faults.push(format!(
            "{account}: {count} over POP3, {} over IMAP",
            mailbox.messages.len()
        ));
    }
    for number in 1..=count.min(mailbox.messages.len()) {
        pop3.command(&format!("RETR {number}"))?;
        if message::identify(&pop3.rest()?) != mailbox.messages[number - 1].identity {
            findings.faults.push(format!(
                "{account}: message {number} differs between POP3 and IMAP"
            ));
        }
    }
    let mut unique_ids = Vec::new();
    for ((_, unique_id), seen) in pop3.unique_ids()?.into_iter().zip(&mailbox.messages) {
        if let Some((id, _)) = seen.identity {
            unique_ids.push((id, unique_id));
        }
    }
    pop3.command("QUIT")?;
    Ok(unique_ids)
}
