//! What accounts log in by beside their own password: app passwords, and the second factor of the pages.
//!
//! Kept by the account's id, wherever the account itself is: in the tables here or in another directory, which is only read.
//! An address that another directory gives to somebody else brings none of it along, and an account that moves from here
//! into another directory keeps it, as it keeps its mail.
//! Invariants: a code of the second factor is good once: its step only rises while there is a row.

use super::rows::{protocols_in, unsigned};
use super::worded::{Result, parse_protocols, refuse};
use crate::directory::orders::{AppPasswordView, Hash, NewAppPassword, Order, Outcome};
use crate::directory::{AppPassword, PasswordHash};
use crate::model::AccountId;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What a login is checked against beside the account's own password.
#[derive(Clone, Default)]
pub struct Credentials {
    pub app_passwords: Vec<AppPassword>,
    pub totp_secret: Option<PasswordHash>,
}

/// The same, as it is shown.
#[derive(Clone, Debug, Default)]
pub struct CredentialView {
    pub app_passwords: Vec<AppPasswordView>,
    pub has_totp: bool,
}

/// Those of an account.
pub fn read(connection: &Connection, account: AccountId) -> rusqlite::Result<Credentials> {
    let id = account.0.cast_signed();
    let sql = "SELECT id, hash, protocols, expires_at FROM app_password WHERE account = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let app_password = |row: &Row<'_>| {
        Ok(AppPassword {
            id: unsigned(row, 0)?.unwrap_or_default(),
            hash: PasswordHash::new(row.get::<_, String>(1)?),
            protocols: protocols_in(row, 2)?,
            expires_at: row.get(3)?,
        })
    };
    let app_passwords = statement
        .query_map([id], app_password)?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare_cached("SELECT secret FROM second_factor WHERE account = ?1")?;
    let secret: Option<Option<String>> = statement.query_row([id], |row| row.get(0)).optional()?;
    Ok(Credentials {
        app_passwords,
        totp_secret: secret.flatten().map(PasswordHash::new),
    })
}

/// Those of an account, for lists and pages.
pub fn view(connection: &Connection, account: i64) -> rusqlite::Result<CredentialView> {
    let sql = "SELECT name, protocols, expires_at, created_at, last_used_at FROM app_password
        WHERE account = ?1 ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let view = |row: &Row<'_>| {
        Ok(AppPasswordView {
            name: row.get(0)?,
            protocols: row.get(1)?,
            expires_at: row.get(2)?,
            created_at: row.get(3)?,
            last_used_at: row.get(4)?,
        })
    };
    let app_passwords = statement
        .query_map([account], view)?
        .collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT 1 FROM second_factor WHERE account = ?1 AND secret IS NOT NULL";
    Ok(CredentialView {
        app_passwords,
        has_totp: connection.prepare_cached(sql)?.exists([account])?,
    })
}

/// Carries out an order that is about the credentials of `account`; `None`: it is about something else.
pub fn perform(connection: &Connection, account: i64, order: &Order, now: i64) -> Option<Result<Outcome>> {
    let done = match order {
        Order::AppPasswordAdd { password, .. } => add(connection, account, password, now),
        Order::AppPasswordDelete { name, .. } => delete(connection, account, name),
        Order::AccountTotp { secret, .. } => set_totp(connection, account, secret.as_ref()),
        _ => return None,
    };
    Some(done.map(|()| Outcome::Done))
}

/// Removes all of them, with their account.
pub fn forget(connection: &Connection, account: i64) -> rusqlite::Result<()> {
    for table in ["app_password", "second_factor"] {
        connection.execute(&format!("DELETE FROM {table} WHERE account = ?1"), [account])?;
    }
    Ok(())
}

/// Takes the step of a code; false when that one or a later one was taken before.
pub fn take_step(connection: &Connection, account: i64, step: i64) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO second_factor (account, step) VALUES (?1, ?2)
        ON CONFLICT (account) DO UPDATE SET step = ?2 WHERE coalesce(step, -1) < ?2";
    Ok(connection.execute(sql, [account, step])? == 1)
}

fn add(connection: &Connection, account: i64, new: &NewAppPassword, now: i64) -> Result<()> {
    if new.name.is_empty() || new.name.len() > 100 || new.name.chars().any(char::is_control) {
        return refuse("an app password's name has 1 to 100 octets and no control characters");
    }
    let sql = "SELECT 1 FROM app_password WHERE account = ?1 AND name = ?2";
    if connection
        .prepare_cached(sql)?
        .exists(params![account, new.name])?
    {
        return refuse(format!("there is an app password {} already", new.name));
    }
    let sql = "INSERT INTO app_password (account, name, hash, protocols, expires_at, created_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let protocols = parse_protocols(&new.protocols)?.to_string();
    connection.execute(
        sql,
        params![account, new.name, new.hash.0, protocols, new.expires_at, now],
    )?;
    Ok(())
}

fn delete(connection: &Connection, account: i64, name: &str) -> Result<()> {
    let sql = "DELETE FROM app_password WHERE account = ?1 AND name = ?2";
    match connection.execute(sql, params![account, name])? {
        0 => refuse(format!("there is no app password {name}")),
        _ => Ok(()),
    }
}

/// Without a secret there is no code to be used again; a new one begins with the step its first code took.
fn set_totp(connection: &Connection, account: i64, secret: Option<&Hash>) -> Result<()> {
    match secret {
        None => connection.execute("DELETE FROM second_factor WHERE account = ?1", [account])?,
        Some(secret) => {
            let sql = "INSERT INTO second_factor (account, secret) VALUES (?1, ?2)
                ON CONFLICT (account) DO UPDATE SET secret = ?2";
            connection.execute(sql, params![account, secret.0])?
        }
    };
    Ok(())
}
