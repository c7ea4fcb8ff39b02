//! A POP3 user at work: looks at his maildrop, reads, deletes some, and says QUIT, or hangs up, which deletes nothing.

use super::context::{Context, PASSWORD};
use crate::client::Pop3;
use crate::message::{MessageId, identify_header};
use crate::oracle::belief::{Change, Place, Told};
use crate::random::{self, Random};
use std::io;
use std::thread;
use std::time::Duration;

/// Messages he looks at in one session.
const LOOK_MAX: usize = 12;
/// How long he waits when there is no mail.
const NO_MAIL_PAUSE: Duration = Duration::from_millis(5);

/// Sessions until the load is over or something fails.
pub fn work(context: &Context, account: &str, told: &mut Vec<Told>) -> io::Result<()> {
    let mut random = Random(random::number());
    while !context.is_over() {
        session(context, account, &mut random, told)?;
    }
    Ok(())
}

fn session(context: &Context, account: &str, random: &mut Random, told: &mut Vec<Told>) -> io::Result<()> {
    let mut pop3 = Pop3::connect(context.addresses.pop3)?;
    pop3.login(account, PASSWORD)?;
    let unique_ids = pop3.unique_ids()?;
    if unique_ids.is_empty() {
        thread::sleep(NO_MAIL_PAUSE);
    }
    let mut deleted: Vec<MessageId> = Vec::new();
    for (number, unique_id) in unique_ids.into_iter().take(LOOK_MAX) {
        pop3.command(&format!("TOP {number} 0"))?;
        let Some(id) = identify_header(&pop3.rest()?) else {
            continue;
        };
        told.push(Told::UniqueId { id, unique_id });
        if random.one_in(3) {
            pop3.command(&format!("DELE {number}"))?;
            deleted.push(id);
        }
    }
    if random.one_in(4) {
        // No UPDATE state without QUIT (RFC 1939 §6): nothing is deleted.
        return Ok(());
    }
    let gone = deleted.iter().map(|id| Change::Place(*id, Place::Nowhere));
    told.push(Told::Asked(gone.collect()));
    pop3.command("QUIT")?;
    told.push(Told::Done);
    Ok(())
}
