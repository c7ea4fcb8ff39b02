//! Reads mailboxes back, over IMAP and POP3, and has the oracle judge them.

use crate::client::{Imap, Pop3};
use crate::journal;
use crate::message;
use crate::oracle::{Findings, MailboxSeen, Oracle, Seen};
use crate::run::resolve;
use clap::Args;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    let mut oracle = Oracle::new(journal::read(&options.journal)?);
    println!(
        "journal: {} messages to {} accounts",
        oracle.sent(),
        oracle.accounts().len()
    );
    let mut findings = Findings::default();
    let imap = resolve(&options.imap)?;
    let pop3 = options.pop3.as_deref().map(resolve).transpose()?;
    for account in oracle.accounts() {
        let mailbox = read_imap(imap, &account, &options.password)?;
        oracle.judge(&account, &mailbox, &mut findings);
        if let Some(address) = pop3 {
            compare_pop3(address, &account, &options.password, &mailbox, &mut findings)?;
        }
    }
    Ok(findings.print())
}

/// Reads the whole INBOX of an account.
pub fn read_imap(address: SocketAddr, account: &str, password: &str) -> io::Result<MailboxSeen> {
    let mut imap = Imap::connect(address)?;
    imap.login(account, password)?;
    let mut mailbox = MailboxSeen::default();
    let mut exists = 0;
    for response in imap.command("EXAMINE INBOX")? {
        if let Some(value) = response.number("[UIDVALIDITY ") {
            mailbox.uid_validity = value;
        } else if let Some(value) = response.number("[UIDNEXT ") {
            mailbox.uid_next = value;
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
                is_flagged: response.contains("\\Flagged"),
                identity: message::identify(text),
            });
        })?;
    }
    if mailbox.messages.len() < exists as usize {
        let text = format!(
            "{account}: {exists} EXISTS, but {} were fetched",
            mailbox.messages.len()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    // What came after EXAMINE moved UIDNEXT on.
    let after_last = mailbox.messages.last().map_or(0, |seen| seen.uid + 1);
    mailbox.uid_next = mailbox.uid_next.max(after_last);
    imap.command("LOGOUT")?;
    Ok(mailbox)
}

/// POP3 must show the same messages in the same order.
pub fn compare_pop3(
    address: SocketAddr,
    account: &str,
    password: &str,
    mailbox: &MailboxSeen,
    findings: &mut Findings,
) -> io::Result<()> {
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
    pop3.command("QUIT").map(drop)
}
