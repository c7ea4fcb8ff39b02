//! `ringpost store export` and `import`: one account of a stopped store as Maildir or mbox, and back.
//!
//! Not here: the formats (`exchange`).

use super::BootError;
use super::console::{ProgressLine, code, print_line};
use super::stopped::{LockedStore, OpenStore, refuse};
use crate::base::clock::{Clock, SystemClock};
use crate::cli::store::{ExportArguments, ImportArguments, MailFormat, UidlArgument};
use crate::directory::embedded::{Database, FILE_NAME};
use crate::directory::{self, DEMO_DOMAIN};
use crate::disk::filling::refuse_unfinished;
use crate::exchange::export::export;
use crate::exchange::import::{ImportError, ImportReport, UidlForm, import};
use crate::exchange::{PassedOver, Sink, Source, maildir, mbox, names};
use crate::model::{AccountId, login_key};
use crate::store::Restorer;
use crate::store::tools::Survey;
use futures_executor::block_on;
use std::path::Path;
use std::process::ExitCode;

/// Names a mailbox's file.
type FileOf = fn(&str) -> String;

pub(super) fn run_export(arguments: &ExportArguments) -> Result<ExitCode, BootError> {
    let account = account(&arguments.data, &arguments.account)?;
    let store = LockedStore::open(&arguments.data)?;
    let root = new_directory(&arguments.to)?;
    let survey = {
        let mut line = ProgressLine::new("reading");
        block_on(Survey::read(store.disk, &mut |done, total| {
            line.tell(done, total)
        }))?
    };
    let (mut sink, file_of): (Box<dyn Sink>, FileOf) = match arguments.format {
        MailFormat::Maildir => (Box::new(maildir::Writer::new(root)), names::directory),
        MailFormat::Mbox => (Box::new(mbox::Writer::new(root)), names::mbox_file),
    };
    let report = {
        let mut line = ProgressLine::new("exporting");
        let mut progress = |done, total| line.tell(done, total);
        block_on(export(&survey, account, &mut *sink, root, file_of, &mut progress))
    };
    let report = report.map_err(|cause| of_files("export", &cause))?;
    for lost in &report.lost {
        print_line(&format!("damaged, not exported: {lost}"));
    }
    print_line(&format!(
        "{} mailboxes, {} messages ({} bytes) are in {}",
        report.mailboxes,
        report.messages,
        report.bytes,
        arguments.to.display()
    ));
    Ok(code(report.lost.is_empty()))
}

pub(super) fn run_import(arguments: &ImportArguments) -> Result<ExitCode, BootError> {
    let account = account(&arguments.data, &arguments.account)?;
    let source: Box<dyn Source> = match arguments.format {
        MailFormat::Maildir => Box::new(maildir::Reader::new(&arguments.from)),
        MailFormat::Mbox => Box::new(mbox::Reader::new(&arguments.from)),
    };
    let files = |cause| of_files("import", &cause);
    // Said before a store is made for it.
    refuse_unfinished(&arguments.from).map_err(|cause| refuse(&arguments.from, &cause))?;
    source.mailboxes().map_err(files)?;
    let mut store = OpenStore::open(&arguments.data)?;
    let mut restorer = Restorer::new(store.store.clone());
    let report = {
        let mut line = ProgressLine::new("importing");
        let mut progress = |messages| line.tell_count(messages, "messages");
        let now = SystemClock.now();
        let form = match arguments.uidl {
            UidlArgument::Own => UidlForm::Own,
            UidlArgument::Dovecot => UidlForm::Dovecot,
        };
        store.run(import(
            &mut restorer,
            account,
            &*source,
            &arguments.from,
            now,
            form,
            &mut progress,
        ))
    };
    drop(restorer);
    store.close()?;
    let report = report.map_err(|error| match error {
        ImportError::Files(cause) => files(cause),
        ImportError::Store(cause) => cause.into(),
    })?;
    print_import(&report);
    let is_whole = report.passed_over.count == 0 && report.keywords_lost.count == 0;
    Ok(code(is_whole))
}

fn print_import(report: &ImportReport) {
    print_first("passed over", &report.passed_over, "files");
    print_first("keywords lost", &report.keywords_lost, "messages");
    print_line(&format!(
        "{} mailboxes, {} messages ({} bytes) came in",
        report.mailboxes,
        report.messages - report.gone,
        report.bytes
    ));
    if report.already > 0 {
        print_line(&format!(
            "{} of them were in from an earlier attempt",
            report.already
        ));
    }
    if report.gone > 0 {
        print_line(&format!(
            "{} messages that an earlier attempt brought in, or could not read, are not there now and were left out",
            report.gone
        ));
    }
    if report.uids_lost > 0 {
        print_line(&format!(
            "{} UIDs cannot be kept (none, or not ascending): mail programs see these messages as new",
            report.uids_lost
        ));
    }
    if report.uidls_lost > 0 {
        print_line(&format!(
            "{} UIDLs cannot be kept (said twice, malformed, or too many): POP3 programs see these messages as new",
            report.uidls_lost
        ));
    }
}

fn print_first(what: &str, told: &PassedOver, of: &str) {
    for one in &told.first {
        print_line(&format!("{what}: {one}"));
    }
    if told.count > told.first.len() as u64 {
        print_line(&format!("{what}: {} {of} in all", told.count));
    }
}

/// What is not there, or not as it must be, is the admin's to change; the rest is the machine's.
fn of_files(what: &'static str, cause: &std::io::Error) -> BootError {
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotADirectory, NotFound, PermissionDenied};
    match cause.kind() {
        InvalidData | InvalidInput | NotADirectory | NotFound | PermissionDenied => {
            BootError::Admin(format!("{what}: {cause}"))
        }
        _ => BootError::system(what)(cause),
    }
}

fn new_directory(path: &Path) -> Result<&Path, BootError> {
    std::fs::create_dir_all(path).map_err(|cause| refuse(path, &cause))?;
    let is_empty = std::fs::read_dir(path)
        .map_err(|cause| refuse(path, &cause))?
        .next()
        .is_none();
    if is_empty {
        Ok(path)
    } else {
        Err(refuse(path, &"an export needs an empty directory"))
    }
}

/// A number, or an address that the directory in `data` has; without one, that the demo's has.
pub(super) fn account(data: &Path, text: &str) -> Result<AccountId, BootError> {
    if let Ok(number) = text.parse() {
        return Ok(AccountId(number));
    }
    let address = login_key(text);
    if data.join(FILE_NAME).exists() {
        let found = Database::id_at_rest(data, text).map_err(|cause| refuse(data, &cause))?;
        return found.ok_or_else(|| BootError::Account(text.to_owned()));
    }
    let numbered = address
        .strip_prefix("user")
        .and_then(|rest| rest.split('@').next()?.parse::<u32>().ok());
    let unknown = || BootError::Account(text.to_owned());
    let known = directory::demo(DEMO_DOMAIN, numbered.unwrap_or(0).min(1_000_000), &[], |_| {})
        .map_err(|_| unknown())?;
    match block_on(directory::Source::login(&known, &address)) {
        Ok(Some(found)) => Ok(found.account.id),
        _ => Err(unknown()),
    }
}
