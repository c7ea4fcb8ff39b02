//! After the accident: everything is read back and judged, and large mailboxes are emptied.

use super::context::PASSWORD;
use super::imap_user::ARCHIVE;
use super::load::Tales;
use super::server::{Addresses, Server};
use crate::client::Imap;
use crate::journal;
use crate::oracle::{Findings, Oracle};
use crate::verify;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long mail that was acknowledged for several recipients may take to reach the last of them after a restart.
const LATE_LIMIT: Duration = Duration::from_secs(10);
/// The mailboxes that may hold mail.
const MAILBOXES: [&str; 2] = ["INBOX", ARCHIVE];

/// Takes in what a load's users wrote down and were told.
pub fn learn(oracle: &mut Oracle, journal: &Path, tales: Tales, findings: &mut Findings) -> io::Result<()> {
    oracle.add(journal::read(journal)?);
    for (account, told) in tales {
        oracle.tell(&account, told, findings);
    }
    Ok(())
}

/// Judges every account, again while mail to several recipients may be on its way to some.
pub fn verify(server: &Server, oracle: &mut Oracle, with_pop3: bool) -> io::Result<Findings> {
    let until = Instant::now() + LATE_LIMIT;
    loop {
        let mut findings = Findings::default();
        for account in oracle.accounts() {
            judge_account(server.addresses, oracle, &account, with_pop3, &mut findings)?;
        }
        if !findings.may_mend() || Instant::now() > until {
            return Ok(findings);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn judge_account(
    addresses: Addresses,
    oracle: &mut Oracle,
    account: &str,
    with_pop3: bool,
    findings: &mut Findings,
) -> io::Result<()> {
    let seen = verify::read_account(addresses.imap, account, PASSWORD, &MAILBOXES)?;
    oracle.judge(account, &seen, findings);
    if with_pop3 && let Some(inbox) = seen.mailboxes.get("INBOX") {
        let unique_ids = verify::compare_pop3(addresses.pop3, account, PASSWORD, inbox, findings)?;
        oracle.judge_unique_ids(account, &unique_ids, findings);
    }
    Ok(())
}

/// Empties every mailbox with more messages than `limit`; they must stay gone.
pub fn expunge(server: &Server, oracle: &mut Oracle, limit: usize) -> io::Result<()> {
    for account in oracle.accounts() {
        for name in MAILBOXES {
            let mailbox = verify::read_mailbox(server.addresses.imap, &account, PASSWORD, name)?;
            let Some(mailbox) = mailbox.filter(|mailbox| mailbox.messages.len() > limit) else {
                continue;
            };
            let mut imap = Imap::connect(server.addresses.imap)?;
            imap.login(&account, PASSWORD)?;
            imap.command(&format!("SELECT {name}"))?;
            imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
            imap.command("EXPUNGE")?;
            oracle.expunged(&account, &mailbox);
        }
    }
    Ok(())
}
