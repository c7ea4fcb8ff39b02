//! The three questions of [`Source`](crate::directory::Source), in SQL.
//!
//! Failure: a row that this program cannot have written (somebody edited the file) is an error like any other, and the
//! peer hears 451: mail is never refused, and nobody let in, by a guess.

use super::credentials;
use super::rows::{address_in, broken, protocols_in, unsigned};
use crate::directory::{DomainFacts, Entry, LoginRecord, PasswordHash, Recipient};
use crate::model::{Account, AccountId, AddrSpec, Pop3Deletion};
use rusqlite::{Connection, OptionalExtension, Row};
use std::sync::Arc;

type Result<T> = rusqlite::Result<T>;

/// Columns of an account, in the order that [`account`] reads them.
pub const ACCOUNT_COLUMNS: &str = "id, address, quota_bytes, quota_messages, is_enabled, protocols, pop3_deletion, \
    retention_days, keeps_copy, takes_details, hash";

/// The account in a row of [`ACCOUNT_COLUMNS`].
pub fn account(row: &Row<'_>) -> Result<Account> {
    let deletion: String = row.get(6)?;
    Ok(Account {
        id: AccountId(unsigned(row, 0)?.unwrap_or_default()),
        address: address_in(row, 1)?,
        quota_bytes: unsigned(row, 2)?,
        quota_messages: unsigned(row, 3)?,
        is_enabled: row.get(4)?,
        protocols: protocols_in(row, 5)?,
        pop3_deletion: Pop3Deletion::parse(&deletion).ok_or_else(|| broken(6, &deletion))?,
        retention_days: row.get(7)?,
    })
}

/// Is this domain ours?
pub fn domain(connection: &Connection, name: &str) -> Result<Option<DomainFacts>> {
    let sql = "SELECT catch_all, detail_separator FROM domain WHERE name = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let facts = |row: &Row<'_>| {
        let separator: Option<String> = row.get(1)?;
        Ok(DomainFacts {
            catch_all: match row.get_ref(0)? {
                rusqlite::types::ValueRef::Null => None,
                _ => Some(address_in(row, 0)?),
            },
            detail_separator: separator.and_then(|text| text.chars().next()),
        })
    };
    statement.query_row([name], facts).optional()
}

/// What stands at this address?
pub fn address(connection: &Connection, address: &str) -> Result<Option<Entry>> {
    if let Some(recipient) = recipient(connection, address)? {
        return Ok(Some(Entry::Account(recipient)));
    }
    let is_alias = connection
        .prepare_cached("SELECT 1 FROM alias WHERE address = ?1")?
        .exists([address])?;
    if !is_alias {
        return Ok(None);
    }
    Ok(Some(Entry::Alias(alias_targets(connection, address)?)))
}

/// Where an alias leads.
pub fn alias_targets(connection: &Connection, alias: &str) -> Result<Vec<AddrSpec>> {
    let sql = "SELECT target FROM alias_target WHERE alias = ?1 ORDER BY target";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([alias], |row| address_in(row, 0))?.collect()
}

/// Where an account's mail goes too.
pub fn forward(connection: &Connection, account: u64) -> Result<Vec<AddrSpec>> {
    let sql = "SELECT target FROM forward WHERE account = ?1 ORDER BY target";
    let mut statement = connection.prepare_cached(sql)?;
    let id = account.cast_signed();
    statement.query_map([id], |row| address_in(row, 0))?.collect()
}

fn recipient(connection: &Connection, address: &str) -> Result<Option<Recipient>> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE address = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement
        .query_row([address], |row| Ok((account(row)?, row.get(8)?, row.get(9)?)))
        .optional()?;
    let Some((account, keeps_copy, takes_details)) = found else {
        return Ok(None);
    };
    Ok(Some(Recipient {
        forward: forward(connection, account.id.0)?,
        account: Arc::new(account),
        keeps_copy,
        takes_details,
    }))
}

/// Who logs in as this?
pub fn login(connection: &Connection, login: &str) -> Result<Option<LoginRecord>> {
    let sql = format!("SELECT {ACCOUNT_COLUMNS} FROM account WHERE address = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let hash = |row: &Row<'_>| -> Result<Option<PasswordHash>> {
        Ok(row.get::<_, Option<String>>(10)?.map(PasswordHash::new))
    };
    let found = statement
        .query_row([login], |row| Ok((account(row)?, hash(row)?)))
        .optional()?;
    let Some((account, hash)) = found else {
        return Ok(None);
    };
    let mut hashes: Vec<PasswordHash> = hash.into_iter().collect();
    hashes.extend(scram(connection, account.id)?);
    let credentials = credentials::read(connection, account.id)?;
    Ok(Some(LoginRecord {
        app_passwords: credentials.app_passwords,
        account: Arc::new(account),
        hashes,
        checked_by: None,
        totp_secret: credentials.totp_secret,
    }))
}

fn scram(connection: &Connection, account: AccountId) -> Result<Vec<PasswordHash>> {
    let mut statement = connection.prepare_cached("SELECT verifier FROM scram WHERE account = ?1")?;
    let verifier = |row: &Row<'_>| Ok(PasswordHash::new(row.get::<_, String>(0)?));
    statement
        .query_map([account.0.cast_signed()], verifier)?
        .collect()
}
