//! `ringpost account|alias|domain …`: orders from the command line to the running server, or to the files when none runs.

use super::console::print;
use super::passwords::{self, Password};
use super::place::find;
use super::{BootError, backend, import, privileges};
use crate::admin::socket::{self, Answer, Request};
use crate::auth::scheme;
use crate::base::clock::{Clock, SystemClock};
use crate::cli::manage::{
    AccountArguments, AccountCommand, AliasArguments, AliasCommand, DomainArguments, DomainCommand,
    DomainSettingArguments, PasswordSource, Place, SettingArguments,
};
use crate::config::{Backend, Config};
use crate::directory::embedded::{Database, Embedded};
use crate::directory::orders::{
    AccountSettings, AccountView, DomainSettings, Hash, NewAccount, NewAppPassword, Order, OrderError,
    Outcome,
};
use crate::disk::lock::DirectoryLock;
use crate::model::{Domain, shown};
use crate::runtime::Control;
use std::io::BufRead as _;
use std::process::ExitCode;

/// Seconds of a day.
const DAY: i64 = 86_400;

/// `ringpost account …`
///
/// # Errors
/// See [`BootError`].
pub fn account(arguments: AccountArguments) -> Result<ExitCode, BootError> {
    let place = arguments.place;
    let set = |address, set, is_forced| Order::AccountSet {
        address,
        set,
        is_forced,
    };
    let order = match arguments.command {
        AccountCommand::Add {
            address,
            password,
            admin,
            settings,
        } => Order::AccountAdd {
            account: NewAccount {
                hashes: match hashes(&place, &address, &password)? {
                    Ok(hashes) => hashes,
                    Err(error) => return Ok(complain(&place, &error)),
                },
                address,
                set: AccountSettings {
                    is_admin: admin.then_some(true),
                    ..account_settings(settings)
                },
                id: None,
            },
        },
        AccountCommand::Set {
            address,
            settings,
            admin,
            force,
        } => set(
            address,
            AccountSettings {
                is_admin: admin,
                ..account_settings(settings)
            },
            force,
        ),
        AccountCommand::Enable { address } => set(address, enabled(true), false),
        AccountCommand::Disable { address, force } => set(address, enabled(false), force),
        AccountCommand::Password {
            address,
            password,
            force,
        } => Order::AccountPassword {
            is_forced: force,
            hashes: match hashes(&place, &address, &password)? {
                Ok(hashes) => hashes,
                Err(error) => return Ok(complain(&place, &error)),
            },
            address,
        },
        AccountCommand::List { domain } => Order::AccountList { domain, limit: None },
        AccountCommand::Show { address } => return show_one(&place, address),
        AccountCommand::Delete { address, force } => Order::AccountDelete {
            address,
            is_forced: force,
        },
        AccountCommand::Import { file, format, domain } => {
            let domains = match perform(&place, Order::DomainList)? {
                Ok(Outcome::Domains(domains)) => domains,
                Ok(_) => Vec::new(),
                Err(error) => return Ok(complain(&place, &error)),
            };
            let keeps_scram = |domain: &Domain| {
                let mut all = domains.iter().filter(|view| view.keeps_scram);
                all.any(|view| view.domain == domain.as_str())
            };
            Order::AccountImport {
                accounts: import::read(&file, format, domain.as_deref(), keeps_scram)?,
            }
        }
        AccountCommand::AppPasswordAdd {
            address,
            name,
            protocols,
            expires,
        } => return add_app_password(&place, address, name, protocols, expires),
        AccountCommand::AppPasswordDelete { address, name } => Order::AppPasswordDelete { address, name },
    };
    carry_out(&place, order)
}

/// `ringpost alias …`
///
/// # Errors
/// See [`BootError`].
pub fn alias(arguments: AliasArguments) -> Result<ExitCode, BootError> {
    let order = match arguments.command {
        AliasCommand::Add { address, targets } => Order::AliasAdd { address, targets },
        AliasCommand::Set { address, targets } => Order::AliasSet { address, targets },
        AliasCommand::Show { address } => Order::AliasShow { address },
        AliasCommand::List { domain } => Order::AliasList { domain, limit: None },
        AliasCommand::Delete { address, force } => Order::AliasDelete {
            address,
            is_forced: force,
        },
    };
    carry_out(&arguments.place, order)
}

/// `ringpost domain …`
///
/// # Errors
/// See [`BootError`].
pub fn domain(arguments: DomainArguments) -> Result<ExitCode, BootError> {
    let settings = |arguments: DomainSettingArguments| DomainSettings {
        catch_all: arguments.catch_all,
        detail_separator: arguments.detail_separator,
        keeps_scram: arguments.scram,
    };
    let order = match arguments.command {
        DomainCommand::Add {
            domain,
            settings: set,
        } => Order::DomainAdd {
            domain,
            set: settings(set),
        },
        DomainCommand::Set {
            domain,
            settings: set,
        } => Order::DomainSet {
            domain,
            set: settings(set),
        },
        DomainCommand::Show { domain } => Order::DomainShow { domain },
        DomainCommand::List => Order::DomainList,
        DomainCommand::Delete { domain } => Order::DomainDelete { domain },
        DomainCommand::Admin {
            domain,
            address,
            remove,
        } => Order::DomainAdmin {
            domain,
            address,
            is_admin: !remove,
        },
    };
    carry_out(&arguments.place, order)
}

/// Gives the order to the server that is meant, or carries it out here when none runs.
fn perform(place: &Place, order: Order) -> Result<Result<Outcome, OrderError>, BootError> {
    let (data, config) = find(place)?;
    let data = data.as_path();
    let refuse = |cause: String| BootError::DataDirectory {
        path: data.display().to_string(),
        cause,
    };
    let request = Request::Order(order);
    match socket::ask(data, &request)
        .map_err(|error| refuse(format!("its server does not answer: {error}")))?
    {
        Some(Answer::Done(outcome)) => return Ok(Ok(outcome)),
        Some(Answer::Error(error)) => return Ok(Err(error)),
        Some(_) => return Err(refuse("its server answers something else".to_owned())),
        None => {}
    }
    let Request::Order(order) = request else {
        unreachable!("it was one above")
    };
    privileges::become_owner_of(data)?;
    let _lock = DirectoryLock::take(data).map_err(|error| refuse(error.to_string()))?;
    let mut database = Database::open(data).map_err(|error| refuse(error.to_string()))?;
    match config {
        Some(config) if config.directory.backend != Backend::Embedded => {
            drop(database);
            perform_elsewhere(&config, order)
        }
        Some(_) => Ok(database.perform(order)),
        None => match database.left_to() {
            Ok(None) => Ok(database.perform(order)),
            Ok(Some(backend)) => Ok(Err(OrderError::Refused(format!(
                "accounts are in {backend}, as the server that ran here last was configured: name its file with --config"
            )))),
            Err(error) => Ok(Err(error)),
        },
    }
}

/// By the site's own directory, which the configuration says how to reach.
fn perform_elsewhere(config: &Config, order: Order) -> Result<Result<Outcome, OrderError>, BootError> {
    let control = Control::start().map_err(|error| BootError::Admin(error.to_string()))?;
    let embedded = Embedded::start(&config.server.data, control.clone())
        .map_err(|error| BootError::Admin(error.to_string()))?;
    let accounts = backend::accounts(config, &embedded, &control)?;
    Ok(futures_executor::block_on(accounts.perform(order)))
}

/// `account show`: everything about one.
fn show_one(place: &Place, address: String) -> Result<ExitCode, BootError> {
    match perform(place, Order::AccountShow { address })? {
        Ok(Outcome::Accounts(views)) if !place.json => {
            views.iter().for_each(show_account);
            Ok(ExitCode::SUCCESS)
        }
        Ok(outcome) => {
            show(place, &outcome);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(complain(place, &error)),
    }
}

fn carry_out(place: &Place, order: Order) -> Result<ExitCode, BootError> {
    match perform(place, order)? {
        Ok(outcome) => {
            show(place, &outcome);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Ok(complain(place, &error)),
    }
}

fn complain(place: &Place, error: &OrderError) -> ExitCode {
    if place.json {
        print(&serde_json::json!({ "error": error }).to_string());
    } else {
        eprintln!("ringpost: {error}");
    }
    ExitCode::FAILURE
}

/// Nobody reading any more is no error.
fn show(place: &Place, outcome: &Outcome) {
    if place.json {
        // The list itself, for programs; "done" has nothing to tell beyond the exit code.
        let value = match outcome {
            Outcome::Done => serde_json::json!({ "done": true }),
            Outcome::Imported(count) => serde_json::json!({ "imported": count }),
            Outcome::Domains(views) => serde_json::json!(views),
            Outcome::Accounts(views) => serde_json::json!(views),
            Outcome::Aliases(views) => serde_json::json!(views),
        };
        return print(&value.to_string());
    }
    match outcome {
        Outcome::Done => {}
        Outcome::Imported(count) => print(&format!("{count} accounts were made")),
        Outcome::Domains(views) => {
            for view in views {
                let catch_all = view.catch_all.as_deref().map_or("-".into(), shown);
                let admins = all_shown(&view.admins);
                let name = shown(&view.domain);
                let other = if *name == *view.domain {
                    String::new()
                } else {
                    format!(" ({})", view.domain)
                };
                print(&format!(
                    "{name}{other}  {} accounts, {} aliases, catch-all {catch_all}, admins: {admins}",
                    view.accounts, view.aliases
                ));
            }
        }
        Outcome::Aliases(views) => {
            for view in views {
                print(&format!("{}  {}", shown(&view.address), all_shown(&view.targets)));
            }
        }
        Outcome::Accounts(views) => {
            for view in views {
                let state = if view.is_enabled { "" } else { "  disabled" };
                let admin = if view.is_admin { "  admin" } else { "" };
                print(&format!(
                    "{:>8}  {}  {}{admin}{state}",
                    view.id,
                    shown(&view.address),
                    view.protocols
                ));
            }
        }
    }
}

/// Addresses or domains as people read them; programs get them as they are compared (`--json`).
fn all_shown(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| shown(text)).collect();
    texts.join(" ")
}

fn show_account(view: &AccountView) {
    let limit = |value: Option<u64>| value.map_or_else(|| "no limit".to_owned(), |value| value.to_string());
    let rows = [
        ("address", shown(&view.address).into_owned()),
        ("id", view.id.to_string()),
        ("name", view.name.clone().unwrap_or_default()),
        ("enabled", view.is_enabled.to_string()),
        ("admin", view.is_admin.to_string()),
        ("administers", all_shown(&view.administers)),
        ("protocols", view.protocols.clone()),
        ("quota bytes", limit(view.quota_bytes)),
        ("quota messages", limit(view.quota_messages)),
        ("POP3 deletion", view.pop3_deletion.clone()),
        ("retention days", limit(view.retention_days.map(u64::from))),
        ("forward", all_shown(&view.forward)),
        ("keeps a copy", view.keeps_copy.to_string()),
        ("details", view.takes_details.to_string()),
        (
            "password",
            view.password_scheme.clone().unwrap_or_else(|| "none".to_owned()),
        ),
        ("second factor", view.has_totp.to_string()),
    ];
    for (name, value) in rows {
        print(format!("{name:<16} {value}").trim_end());
    }
    for password in &view.app_passwords {
        let used = password.last_used_at.map_or("never".to_owned(), moment);
        let until = password.expires_at.map(|at| format!(", until {}", moment(at)));
        print(&format!(
            "{:<16} {} ({}), last used {used}{}",
            "app password",
            password.name,
            password.protocols,
            until.unwrap_or_default()
        ));
    }
}

/// Unix seconds as people read them.
fn moment(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

fn enabled(is_enabled: bool) -> AccountSettings {
    AccountSettings {
        is_enabled: Some(is_enabled),
        ..AccountSettings::default()
    }
}

fn account_settings(arguments: SettingArguments) -> AccountSettings {
    let forward: Vec<String> = arguments
        .forward
        .iter()
        .filter(|text| !text.is_empty())
        .cloned()
        .collect();
    AccountSettings {
        name: arguments.name,
        is_enabled: None,
        is_admin: None,
        protocols: arguments.protocols,
        quota_bytes: arguments.quota,
        quota_messages: arguments.quota_messages,
        pop3_deletion: arguments.pop3_deletion,
        retention_days: arguments.retention_days,
        keeps_copy: arguments.keep_copy,
        takes_details: arguments.details,
        forward: (!arguments.forward.is_empty()).then_some(forward),
    }
}

/// The hashes to store: of a password that is asked for, read, or given as a hash. Where the account cannot be here, nobody
/// is asked.
fn hashes(
    place: &Place,
    address: &str,
    source: &PasswordSource,
) -> Result<Result<Vec<Hash>, OrderError>, BootError> {
    if source.none {
        return Ok(Ok(Vec::new()));
    }
    let keeps_scram = match keeps_scram(place, address)? {
        Ok(keeps_scram) => keeps_scram,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(hash) = &source.hash {
        if !scheme::is_known(hash) {
            return Err(BootError::Admin(format!(
                "no scheme is known by which a password could be compared with that hash: {{SCHEME}}text, with one of {}",
                scheme::NAMES.join(", ")
            )));
        }
        return Ok(Ok(vec![Hash(hash.clone())]));
    }
    let password = if source.stdin {
        read_password()?
    } else {
        ask_password()?
    };
    let password = Password {
        text: password,
        keeps_scram,
    };
    Ok(Ok(passwords::hash(&password)?))
}

/// Whether the domain of `address` wants verifiers; an address that is none is refused later, with everything else.
fn keeps_scram(place: &Place, address: &str) -> Result<Result<bool, OrderError>, BootError> {
    let Some((_, domain)) = address.rsplit_once('@') else {
        return Ok(Ok(false));
    };
    let order = Order::DomainShow {
        domain: domain.to_owned(),
    };
    let keeps_scram =
        |outcome| matches!(outcome, Outcome::Domains(views) if views.iter().any(|view| view.keeps_scram));
    Ok(perform(place, order)?.map(keeps_scram))
}

fn read_password() -> Result<String, BootError> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| BootError::Admin(format!("standard input: {error}")))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask_password() -> Result<String, BootError> {
    let ask = |what: &str| {
        rpassword::prompt_password(what).map_err(|error| {
            BootError::Admin(format!(
                "no terminal to ask for a password (use --stdin): {error}"
            ))
        })
    };
    let password = ask("Password: ")?;
    if ask("Again: ")? != password {
        return Err(BootError::Admin("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn add_app_password(
    place: &Place,
    address: String,
    name: String,
    protocols: String,
    expires: Option<u32>,
) -> Result<ExitCode, BootError> {
    let system = BootError::system("app password");
    let password = scheme::random_password().map_err(&system)?;
    let hash = scheme::fast_hash(password.as_bytes()).map_err(&system)?;
    let order = Order::AppPasswordAdd {
        address,
        password: NewAppPassword {
            name,
            hash: Hash(hash.expose().to_owned()),
            protocols,
            expires_at: expires.map(|days| SystemClock.now().seconds() + i64::from(days) * DAY),
        },
    };
    match perform(place, order)? {
        Ok(_) if place.json => print(&serde_json::json!({ "password": password }).to_string()),
        Ok(_) => print(&password),
        Err(error) => return Ok(complain(place, &error)),
    }
    Ok(ExitCode::SUCCESS)
}
