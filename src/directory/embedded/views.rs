//! What the tables hold, for lists and pages. No secrets leave here.

use super::credentials;
use crate::directory::orders::{AccountView, AliasView, DomainView, Outcome};
use rusqlite::{Connection, Row, params};

type Result<T> = rusqlite::Result<T>;

fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(sql)?
        .query_map(parameters, read)?
        .collect()
}

fn texts(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<String>> {
    all(connection, sql, parameters, |row| row.get(0))
}

/// All domains, or one.
pub fn domains(connection: &Connection, domain: Option<&str>) -> Result<Outcome> {
    let sql = "SELECT name, catch_all, detail_separator, keeps_scram,
            (SELECT count(*) FROM account WHERE account.domain = domain.name),
            (SELECT count(*) FROM alias WHERE alias.domain = domain.name)
        FROM domain WHERE ?1 IS NULL OR name = ?1 ORDER BY name";
    let mut views = all(connection, sql, [domain], |row| {
        Ok(DomainView {
            domain: row.get(0)?,
            catch_all: row.get(1)?,
            detail_separator: row.get(2)?,
            keeps_scram: row.get(3)?,
            accounts: row.get::<_, i64>(4)?.cast_unsigned(),
            aliases: row.get::<_, i64>(5)?.cast_unsigned(),
            admins: Vec::new(),
        })
    })?;
    for view in &mut views {
        let sql = "SELECT address FROM account JOIN domain_admin ON account = id
            WHERE domain_admin.domain = ?1 ORDER BY address";
        view.admins = texts(connection, sql, [&view.domain])?;
    }
    Ok(Outcome::Domains(views))
}

/// All accounts, those of a domain, or one.
pub fn accounts(
    connection: &Connection,
    address: Option<&str>,
    domain: Option<&str>,
    limit: Option<u32>,
) -> Result<Outcome> {
    let sql = "SELECT id, address, name, is_enabled, is_admin, protocols, quota_bytes, quota_messages, pop3_deletion,
            retention_days, keeps_copy, takes_details, hash
        FROM account WHERE (?1 IS NULL OR address = ?1) AND (?2 IS NULL OR domain = ?2) ORDER BY address
        LIMIT coalesce(?3, -1)";
    let mut views = all(connection, sql, params![address, domain, limit], account)?;
    for view in &mut views {
        let id = view.id.cast_signed();
        let sql = "SELECT target FROM forward WHERE account = ?1 ORDER BY target";
        view.forward = texts(connection, sql, [id])?;
        let sql = "SELECT domain FROM domain_admin WHERE account = ?1 ORDER BY domain";
        view.administers = texts(connection, sql, [id])?;
        let credentials = credentials::view(connection, id)?;
        view.app_passwords = credentials.app_passwords;
        view.has_totp = credentials.has_totp;
    }
    Ok(Outcome::Accounts(views))
}

fn account(row: &Row<'_>) -> Result<AccountView> {
    let number = |column| {
        let value: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(value.map(i64::cast_unsigned))
    };
    let hash: Option<String> = row.get(12)?;
    let scheme = |hash: &String| Some(hash.strip_prefix('{')?.split_once('}')?.0.to_owned());
    Ok(AccountView {
        id: number(0)?.unwrap_or_default(),
        address: row.get(1)?,
        name: row.get(2)?,
        is_enabled: row.get(3)?,
        is_admin: row.get(4)?,
        protocols: row.get(5)?,
        quota_bytes: number(6)?,
        quota_messages: number(7)?,
        pop3_deletion: row.get(8)?,
        retention_days: row.get(9)?,
        keeps_copy: row.get(10)?,
        takes_details: row.get(11)?,
        forward: Vec::new(),
        password_scheme: hash.as_ref().and_then(scheme),
        has_totp: false,
        app_passwords: Vec::new(),
        administers: Vec::new(),
    })
}

/// All aliases, those of a domain, or one.
pub fn aliases(
    connection: &Connection,
    address: Option<&str>,
    domain: Option<&str>,
    limit: Option<u32>,
) -> Result<Outcome> {
    let sql = "SELECT address FROM alias WHERE (?1 IS NULL OR address = ?1) AND (?2 IS NULL OR domain = ?2)
        ORDER BY address LIMIT coalesce(?3, -1)";
    let addresses = texts(connection, sql, params![address, domain, limit])?;
    let view = |address: String| {
        let sql = "SELECT target FROM alias_target WHERE alias = ?1 ORDER BY target";
        let targets = texts(connection, sql, [&address])?;
        Ok(AliasView { address, targets })
    };
    Ok(Outcome::Aliases(
        addresses.into_iter().map(view).collect::<Result<_>>()?,
    ))
}
