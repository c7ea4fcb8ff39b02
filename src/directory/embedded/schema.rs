//! The tables of the embedded directory, and how an older file becomes a newer one.
//!
//! Invariants: `PRAGMA user_version` is the schema's version; a file of a newer version is refused, never touched.
//! Addresses and domains are stored in ASCII lower case, domains with A-labels, which is also how they are asked for.

use super::canonical;
use rusqlite::Connection;

/// The version this program writes.
pub const VERSION: i64 = 5;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error(
        "its version is {found}, and this ringpost knows versions up to {VERSION}: use the newer ringpost"
    )]
    Newer { found: i64 },
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Version 1.
///
/// `AUTOINCREMENT` is what keeps an account's id from ever being given again, also after the account with the highest one
/// was deleted: its mailboxes may still lie in the log.
const V1: &str = "
CREATE TABLE domain (
    name TEXT PRIMARY KEY,
    catch_all TEXT,                           -- an address; NULL: unknown users are refused
    detail_separator TEXT,                    -- one character; NULL: no details
    keeps_scram INTEGER NOT NULL DEFAULT 0,   -- 1: SCRAM verifiers are kept beside the hash
    created_at INTEGER NOT NULL               -- Unix seconds, as all times here
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    address TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL REFERENCES domain (name),
    name TEXT,                                -- a person's, for lists
    is_enabled INTEGER NOT NULL DEFAULT 1,
    is_admin INTEGER NOT NULL DEFAULT 0,      -- of the whole site
    protocols TEXT NOT NULL,                  -- names with commas between
    quota_bytes INTEGER,                      -- NULL: no limit
    quota_messages INTEGER,
    pop3_deletion TEXT NOT NULL DEFAULT 'delete',
    retention_days INTEGER,
    keeps_copy INTEGER NOT NULL DEFAULT 1,    -- where it forwards
    takes_details INTEGER NOT NULL DEFAULT 1,
    hash TEXT,                                -- {SCHEME}text; NULL: nobody logs in
    totp_secret TEXT,                         -- base32, RFC 6238
    created_at INTEGER NOT NULL,
    password_changed_at INTEGER
) STRICT;
CREATE INDEX account_by_domain ON account (domain);

CREATE TABLE scram (
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    verifier TEXT NOT NULL,                   -- {SCRAM-SHA-256}iterations,salt,stored key,server key
    PRIMARY KEY (account, verifier)
) STRICT, WITHOUT ROWID;

CREATE TABLE forward (
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (account, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE app_password (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    protocols TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    UNIQUE (account, name)
) STRICT;

CREATE TABLE alias (
    address TEXT PRIMARY KEY,
    domain TEXT NOT NULL REFERENCES domain (name)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_by_domain ON alias (domain);

CREATE TABLE alias_target (
    alias TEXT NOT NULL REFERENCES alias (address) ON DELETE CASCADE,
    target TEXT NOT NULL,
    PRIMARY KEY (alias, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE domain_admin (
    domain TEXT NOT NULL REFERENCES domain (name) ON DELETE CASCADE,
    account INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (domain, account)
) STRICT, WITHOUT ROWID;
";

/// Version 2: the 30-second step of the last code of RFC 6238 that was taken; NULL: none. Older ones are refused (§5.2).
const V2: &str = "ALTER TABLE account ADD COLUMN totp_step INTEGER;";

/// Version 3: ids of accounts that another directory keeps (`foreign`).
const V3: &str = "
CREATE TABLE foreign_account (
    id INTEGER PRIMARY KEY,                   -- counted with those of account
    backend TEXT NOT NULL,                    -- whose key it is: postgresql, ldap
    key TEXT NOT NULL,                        -- what names the account there, for ever
    address TEXT NOT NULL,                    -- its address when it was first seen, for admins who search
    created_at INTEGER NOT NULL,
    UNIQUE (backend, key)
) STRICT;
";

/// Version 4: what belongs to an account of any directory is kept by its id alone (`credentials`), and the file says which
/// directory the server used last, for commands that are given nothing but the file.
const V4: &str = "
ALTER TABLE app_password RENAME TO app_password_3;
CREATE TABLE app_password (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,                 -- of account or of foreign_account
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    protocols TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    UNIQUE (account, name)
) STRICT;
INSERT INTO app_password (id, account, name, hash, protocols, expires_at, created_at, last_used_at)
    SELECT id, account, name, hash, protocols, expires_at, created_at, last_used_at FROM app_password_3;
DROP TABLE app_password_3;

CREATE TABLE second_factor (
    account INTEGER PRIMARY KEY,              -- of account or of foreign_account
    secret TEXT,                              -- base32, RFC 6238; NULL: being switched on
    step INTEGER                              -- the 30-second step of the last code that was taken (RFC 6238 section 5.2)
) STRICT;
INSERT INTO second_factor (account, secret, step)
    SELECT id, totp_secret, totp_step FROM account WHERE totp_secret IS NOT NULL;
ALTER TABLE account DROP COLUMN totp_secret;
ALTER TABLE account DROP COLUMN totp_step;

CREATE TABLE left_to (
    backend TEXT NOT NULL                     -- the other directory that has the accounts; no row: they are here
) STRICT;
";

/// Sets a connection up and brings its file to [`VERSION`]. What somebody has to know of it, in words.
pub fn prepare(connection: &mut Connection) -> Result<Vec<String>, SchemaError> {
    // FULL: a change that was reported as made survives a power loss (WAL's default would lose the last ones).
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > VERSION {
        return Err(SchemaError::Newer { found });
    }
    if found < 1 {
        transaction.execute_batch(V1)?;
    }
    if found < 2 {
        transaction.execute_batch(V2)?;
    }
    if found < 3 {
        transaction.execute_batch(V3)?;
    }
    if found < 4 {
        transaction.execute_batch(V4)?;
    }
    let told = if found < 5 {
        canonical::run(&transaction)?
    } else {
        Vec::new()
    };
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(told)
}
