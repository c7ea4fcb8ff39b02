//! What a server is under before the accident: SMTP over many connections, and users at work over IMAP and POP3.
//!
//! Every fourth account, from the first, has an IMAP user; every fourth, from the second, a POP3 user; the others only
//! get mail. A user is the only one who changes his account, so what must be there follows from what he was told.

use super::context::{Context, Shape};
use super::imap_user::ImapUser;
use super::pop3_user;
use super::server::Addresses;
use crate::choice::Accounts;
use crate::driver::{Driver, Pace};
use crate::journal::Journal;
use crate::message::MESSAGE_BYTES_MIN;
use crate::oracle::belief::Told;
use crate::random;
use crate::run::Finish;
use crate::smtp::{Plan, SmtpLoad};
use crate::stats::{Recorder, Window};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const TO_PATTERN: &str = "user{}@example.org";
/// Longest a load may run: whoever ends it does so long before.
const LOAD_TIME_MAX: Duration = Duration::from_secs(600);
/// How long a user waits before he connects anew after a refusal.
const PAUSE: Duration = Duration::from_millis(20);

pub fn account(number: u64) -> String {
    TO_PATTERN.replace("{}", &number.to_string())
}

/// What each user was told, by account.
pub type Tales = Vec<(String, Vec<Told>)>;

/// Loads the server until `accident` has happened, and returns what everybody was told.
pub fn until(
    shape: &Shape,
    addresses: Addresses,
    journal: &Path,
    accident: impl FnOnce() -> io::Result<()>,
) -> io::Result<Tales> {
    let stop = AtomicBool::new(false);
    let context = Context {
        shape,
        addresses,
        journal,
        stop: &stop,
    };
    thread::scope(|scope| {
        let context = &context;
        let sender = scope.spawn(|| send(context));
        let users: Vec<_> = (1..=shape.accounts)
            .filter(|number| matches!(number % 4, 1 | 2))
            .map(|number| scope.spawn(move || use_account(context, number)))
            .collect();
        let happened = accident();
        stop.store(true, Ordering::Relaxed);
        sender
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let mut tales = Tales::new();
        for user in users {
            tales.push(
                user.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            );
        }
        happened?;
        Ok(tales)
    })
}

fn send(context: &Context) -> io::Result<()> {
    let began = Instant::now();
    let end = began + LOAD_TIME_MAX;
    let shape = context.shape;
    let plan = Plan {
        is_lmtp: false,
        is_pipelined: true,
        messages_per_connection: 20,
        to_pattern: TO_PATTERN.to_owned(),
        accounts: Accounts::new(shape.accounts.max(1), 0.0),
        recipients: shape.recipients.clamp(1, shape.accounts),
        sizes: vec![shape.size.max(MESSAGE_BYTES_MIN)],
    };
    let recorder = Recorder::new(Window { from: began, to: end }, Arc::default());
    let load = SmtpLoad::new(
        plan,
        random::number(),
        (0, 1),
        Pace::new(None, u64::MAX),
        recorder,
        Some(Journal::append(context.journal, began)?),
    );
    Driver::new(load, context.addresses.smtp, None, shape.connections)?
        .run(end, context.stop)?
        .finish()
        .map(drop)
}

/// One user, who comes back after a refusal or a lost connection until the load is over.
fn use_account(context: &Context, number: u64) -> io::Result<(String, Vec<Told>)> {
    let account = account(number);
    let mut told = Vec::new();
    let mut journal = Journal::append(context.journal, Instant::now())?;
    let mut imap_user = (number % 4 == 1).then(|| ImapUser::new(&account, context.shape.size));
    while !context.is_over() {
        let outcome = match &mut imap_user {
            Some(user) => user.work(context, &mut journal, &mut told),
            None => pop3_user::work(context, &account, &mut told),
        };
        match outcome {
            // A refusal is a finding; a cut connection is what this is about.
            Err(error) if error.kind() == io::ErrorKind::InvalidData && !context.shape.may_refuse => {
                journal.close()?;
                told.push(Told::Fault(format!("was refused: {error}")));
                return Ok((account, told));
            }
            Ok(()) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }
    journal.close()?;
    Ok((account, told))
}
