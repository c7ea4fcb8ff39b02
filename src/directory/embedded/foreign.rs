//! Ids of accounts that another directory keeps.
//!
//! What names an account there (a serial number, an entryUUID) is a text that only means something there; what names it here
//! is a 64-bit number that its mail lies under for ever. The table that leads from one to the other is this server's own.
//! Invariants: an id is given once, to one key or to one embedded account, and a row is never removed: whoever appears under a
//! key again finds their mail, and nobody else does. A key that is new gets the id of the embedded account of the same
//! address, if there is one that nobody has taken over yet: so a site moves its accounts out and keeps its mail.

use crate::model::AccountId;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

type Result<T> = rusqlite::Result<T>;

/// The id that `key` of `backend` has, if it has one.
pub fn find(connection: &Connection, backend: &str, key: &str) -> Result<Option<AccountId>> {
    let sql = "SELECT id FROM foreign_account WHERE backend = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let id = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let found = statement.query_row([backend, key], id).optional()?;
    Ok(found.map(|id| AccountId(id.cast_unsigned())))
}

/// The id that `key` of `backend` has from now on. `address`: the account's, as `directory::key` has it.
pub fn find_or_give(
    connection: &mut Connection,
    backend: &str,
    key: &str,
    address: &str,
    now: i64,
) -> Result<AccountId> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(id) = find(&transaction, backend, key)? {
        return Ok(id);
    }
    let id = match left_behind(&transaction, address)? {
        Some(id) => id,
        None => next(&transaction)?,
    };
    let sql =
        "INSERT INTO foreign_account (id, backend, key, address, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.execute(sql, params![id, backend, key, address, now])?;
    transaction.commit()?;
    Ok(AccountId(id.cast_unsigned()))
}

/// The embedded account of this address, unless its mail is another's already.
fn left_behind(connection: &Connection, address: &str) -> Result<Option<i64>> {
    let sql = "SELECT id FROM account WHERE address = ?1 AND id NOT IN (SELECT id FROM foreign_account)";
    connection.query_row(sql, [address], |row| row.get(0)).optional()
}

/// The next id of all; what the embedded accounts count by goes on behind it.
fn next(connection: &Connection) -> Result<i64> {
    let counter = "SELECT seq FROM sqlite_sequence WHERE name = 'account'";
    let last: Option<i64> = connection.query_row(counter, [], |row| row.get(0)).optional()?;
    let id = last.unwrap_or(0) + 1;
    let sql = if last.is_some() {
        "UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'account'"
    } else {
        "INSERT INTO sqlite_sequence (name, seq) VALUES ('account', ?1)"
    };
    connection.execute(sql, [id])?;
    Ok(id)
}
