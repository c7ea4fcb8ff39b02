//! `ringpost store undelete`: an order to the server that runs on the data directory, or carried out here when none does.
//!
//! Not here: what it does (`store::undelete`), on which core (`delivery::undelete`).

use super::console::print_line;
use super::stopped::{LockedStore, OpenStore, refuse};
use super::{BootError, exchange};
use crate::admin::socket::{self, Answer, Request, Undelete};
use crate::base::clock::{Clock, SystemClock, UnixMillis};
use crate::cli::store::UndeleteArguments;
use crate::delivery::undelete::{self, Order};
use crate::directory::orders::{self, OrderError, Outcome};
use crate::directory::{Backend, Source, embedded};
use crate::model::{AccountId, MailboxName, login_key};
use crate::store::Wanted;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A running server may have to end a pass of compaction first, and the account may be large.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The ear of a running server for it, which asks `directory` who is meant, and the end that a core takes.
#[must_use]
pub fn orders(directory: Backend) -> (socket::Restore, mpsc::Receiver<Order>) {
    let (sender, receiver) = mpsc::channel(undelete::WAITING_MAX);
    let restore: socket::Restore = Arc::new(move |request| {
        let (directory, sender) = (directory.clone(), sender.clone());
        Box::pin(async move { order(&directory, &sender, request).await })
    });
    (restore, receiver)
}

async fn order(
    directory: &Backend,
    sender: &mpsc::Sender<Order>,
    request: Undelete,
) -> Result<u64, OrderError> {
    let wanted = wanted(&request)?;
    let account = find(directory, &request.account).await?;
    let (answer, restored) = oneshot::channel();
    let order = Order {
        account,
        wanted,
        answer,
    };
    let ends = || OrderError::Failed("the server is coming up or ending".to_owned());
    sender.try_send(order).map_err(|_| ends())?;
    match restored.await.map_err(|_| ends())? {
        Ok(Some(count)) => Ok(count),
        Ok(None) => Err(unknown_in_store(account)),
        Err(error) => Err(OrderError::Failed(error.to_string())),
    }
}

/// By its number, or by whoever logs in by this address.
async fn find(directory: &Backend, text: &str) -> Result<AccountId, OrderError> {
    if let Ok(number) = text.parse() {
        return Ok(AccountId(number));
    }
    let address = login_key(text);
    let asked = match directory {
        Backend::Memory(memory) => memory.login(&address),
        Backend::Source(source) => source.login(&address),
    };
    match asked.await {
        Ok(Some(found)) => Ok(found.account.id),
        Ok(None) => Err(OrderError::Refused(format!("there is no account {text}"))),
        Err(_) => Err(OrderError::Failed("the directory does not answer".to_owned())),
    }
}

fn unknown_in_store(account: AccountId) -> OrderError {
    OrderError::Refused(format!("the store has no mail of account {account}"))
}

fn wanted(request: &Undelete) -> Result<Wanted, OrderError> {
    let mailbox = request.mailbox.as_ref().map(|text| {
        MailboxName::new(text).map_err(|_| OrderError::Refused(format!("{text}: not a mailbox name")))
    });
    Ok(Wanted {
        mailbox: mailbox.transpose()?,
        since: request.since_ms.map(UnixMillis),
    })
}

/// The command.
///
/// # Errors
/// See [`BootError`].
pub fn run(arguments: &UndeleteArguments) -> Result<ExitCode, BootError> {
    let data = arguments.data.as_path();
    let hour_ms = 60 * 60 * 1_000;
    let since = arguments
        .since
        .map(|hours| SystemClock.now().0 - i64::from(hours) * hour_ms);
    let undelete = Undelete {
        account: arguments.account.clone(),
        mailbox: arguments.mailbox.clone(),
        since_ms: since,
    };
    let request = Request::Undelete(undelete);
    let deaf = |error| refuse(data, &format!("its server does not answer: {error}"));
    // One that is stopped would be waited for as long as one that has much to do.
    socket::ask_within(data, &Request::LogEnds, socket::ALIVE_TIMEOUT).map_err(deaf)?;
    let answer = socket::ask_within(data, &request, ANSWER_TIMEOUT).map_err(deaf)?;
    let Request::Undelete(undelete) = request else {
        unreachable!("it was one above")
    };
    let count = match answer {
        Some(Answer::Undeleted(count)) => count,
        Some(Answer::Error(error)) => return Err(refuse(data, &error)),
        Some(_) => return Err(refuse(data, &"its server answers something else")),
        None => here(data, &undelete)?,
    };
    print_line(&format!("{count} messages are back"));
    Ok(ExitCode::SUCCESS)
}

/// With nobody else on the store.
fn here(data: &Path, request: &Undelete) -> Result<u64, BootError> {
    let wanted = wanted(request).map_err(|error| refuse(data, &error))?;
    // Looked at first: opening for writing would make a store where there is none.
    let locked = LockedStore::open(data)?;
    let account = account(data, &request.account)?;
    drop(locked);
    let mut open = OpenStore::open(data)?;
    let store = open.store.clone();
    let restored = open.run(undelete::restore(&store, account, &wanted));
    drop(store);
    open.close()?;
    let restored = restored.map_err(crate::store::RestoreError::Store)?;
    restored.ok_or_else(|| refuse(data, &unknown_in_store(account)))
}

/// By the accounts beside the mail, if they are there; the data directory is locked.
fn account(data: &Path, text: &str) -> Result<AccountId, BootError> {
    if text.parse::<u64>().is_ok() || !data.join(embedded::FILE_NAME).exists() {
        return exchange::account(data, text);
    }
    let failed = |error: &dyn std::fmt::Display| refuse(data, error);
    let mut database = embedded::Database::open(data).map_err(|error| failed(&error))?;
    if let Some(backend) = database.left_to().map_err(|error| failed(&error))? {
        let what = format!("accounts are in {backend}: start the server, or give the account's number");
        return Err(failed(&what));
    }
    let show = orders::Order::AccountShow {
        address: text.to_owned(),
    };
    match database.perform(show).map_err(|error| failed(&error))? {
        Outcome::Accounts(found) if found.len() == 1 => Ok(AccountId(found[0].id)),
        _ => Err(failed(&format!("there is no account {text}"))),
    }
}
