//! Version 5 of the tables: every domain in its one form, A-labels in lower case, whichever way an older version wrote it down.
//!
//! Older versions kept `bücher.example` as it was typed, and who wrote `xn--bcher-kva.example` was told that nobody is here.
//! Where both forms were made, what the world reached (the A-labels) keeps its name.
//! Invariants: no account, mail or password is lost: an account whose address becomes another's gets the next free one
//! (`anna-2@…`) and keeps its number, and so its mail; what led to it still does. All in the transaction of the upgrade.
//! Failure: what is no domain by RFC 5891 stays as it was, which nobody reaches. Both are told in words ([`run`]'s answer).
//! Not here: whoever shows a domain to people (`model::shown`).

use crate::directory::{key, key_text};
use crate::model::{AddrSpec, Domain, LocalPart};
use rusqlite::{Connection, params};
use std::collections::{HashMap, HashSet};

type Result<T> = rusqlite::Result<T>;

/// Brings all rows into the one form; says in words what somebody has to know.
pub fn run(connection: &Connection) -> Result<Vec<String>> {
    // Names that others refer to change before those do.
    connection.pragma_update(None, "defer_foreign_keys", true)?;
    let mut work = Work {
        to: connection,
        moved: HashMap::new(),
        told: Vec::new(),
    };
    work.domains()?;
    work.drop_bridges()?;
    work.accounts()?;
    work.aliases()?;
    work.targets()?;
    for address in work.international("SELECT DISTINCT address FROM foreign_account")? {
        let sql = "UPDATE foreign_account SET address = ?2 WHERE address = ?1";
        connection.execute(sql, params![address, canonical(&address)])?;
    }
    Ok(work.told)
}

struct Work<'a> {
    to: &'a Connection,
    /// Addresses that became another one than their own form.
    moved: HashMap<String, String>,
    told: Vec<String>,
}

/// An address in its one form; what is none stays as it is.
fn canonical(address: &str) -> String {
    AddrSpec::parse(address).map_or_else(
        |_| address.to_owned(),
        |address| key_text(&key(&address)).to_owned(),
    )
}

impl Work<'_> {
    /// Texts of a query that have a domain beyond ASCII.
    fn international(&self, sql: &str) -> Result<Vec<String>> {
        let mut statement = self.to.prepare(sql)?;
        let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
        let is_meant = |text: &String| text.rsplit('@').next().is_some_and(|domain| !domain.is_ascii());
        texts
            .filter(|text| text.as_ref().map_or(true, is_meant))
            .collect()
    }

    fn has(&self, sql: &str, key: &str) -> Result<bool> {
        self.to.prepare_cached(sql)?.exists([key])
    }

    fn is_taken(&self, address: &str) -> Result<bool> {
        Ok(self.has("SELECT 1 FROM account WHERE address = ?1", address)?
            || self.has("SELECT 1 FROM alias WHERE address = ?1", address)?)
    }

    fn domains(&mut self) -> Result<()> {
        for old in self.international("SELECT name FROM domain")? {
            let Ok(new) = Domain::new(&old) else {
                self.told.push(format!(
                    "the domain {old} is none (RFC 5891): nobody reaches its accounts, whose mail `ringpost store export` brings out"
                ));
                continue;
            };
            let new = new.as_str();
            if self.has("SELECT 1 FROM domain WHERE name = ?1", new)? {
                self.join_domains(&old, new)?;
            } else {
                let sql = "INSERT INTO domain (name, catch_all, detail_separator, keeps_scram, created_at) \
                    SELECT ?2, catch_all, detail_separator, keeps_scram, created_at FROM domain WHERE name = ?1";
                self.to.execute(sql, params![old, new])?;
            }
            let admins = "INSERT OR IGNORE INTO domain_admin (domain, account) \
                SELECT ?2, account FROM domain_admin WHERE domain = ?1";
            self.to.execute(admins, params![old, new])?;
            for table in ["account", "alias"] {
                let sql = format!("UPDATE {table} SET domain = ?2 WHERE domain = ?1");
                self.to.execute(&sql, params![old, new])?;
            }
            self.to.execute("DELETE FROM domain WHERE name = ?1", [old])?;
        }
        Ok(())
    }

    /// Settings of `new` win; a catch-all that only `old` had stays, and SCRAM is kept where both kept it.
    fn join_domains(&mut self, old: &str, new: &str) -> Result<()> {
        let sql = "UPDATE domain SET \
            catch_all = coalesce(catch_all, (SELECT catch_all FROM domain WHERE name = ?1)), \
            keeps_scram = keeps_scram AND (SELECT keeps_scram FROM domain WHERE name = ?1) WHERE name = ?2";
        self.to.execute(sql, params![old, new])?;
        let sql = "DELETE FROM scram WHERE account IN (SELECT id FROM account WHERE domain IN (?1, ?2)) \
            AND NOT (SELECT keeps_scram FROM domain WHERE name = ?2)";
        self.to.execute(sql, params![old, new])?;
        self.told.push(format!(
            "{old} and {new} are the same domain: they are one now, with the settings of {new}"
        ));
        Ok(())
    }

    /// An alias that led from one form of an address to the other has nothing left to do.
    fn drop_bridges(&self) -> Result<()> {
        let mut statement = self.to.prepare("SELECT alias, target FROM alias_target")?;
        let pairs =
            statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut bridges = HashSet::new();
        let mut others = HashSet::new();
        for pair in pairs {
            let (alias, target) = pair?;
            if alias != target && canonical(&alias) == canonical(&target) {
                bridges.insert(alias);
            } else {
                others.insert(alias);
            }
        }
        for alias in bridges.difference(&others) {
            self.to.execute("DELETE FROM alias WHERE address = ?1", [alias])?;
        }
        Ok(())
    }

    fn accounts(&mut self) -> Result<()> {
        for old in self.international("SELECT address FROM account ORDER BY id")? {
            let new = self.place(&old, "account")?;
            let sql = "UPDATE account SET address = ?2 WHERE address = ?1";
            self.to.execute(sql, params![old, new])?;
        }
        Ok(())
    }

    fn aliases(&mut self) -> Result<()> {
        for old in self.international("SELECT address FROM alias ORDER BY address")? {
            let wanted = canonical(&old);
            let is_joined = wanted != old && self.has("SELECT 1 FROM alias WHERE address = ?1", &wanted)?;
            let new = if is_joined {
                self.told.push(format!(
                    "the aliases {old} and {wanted} are the same: they are one now, which leads to the targets of both"
                ));
                wanted
            } else {
                self.place(&old, "alias")?
            };
            if new == old {
                continue;
            }
            let sql = "INSERT OR IGNORE INTO alias (address, domain) SELECT ?2, domain FROM alias WHERE address = ?1";
            self.to.execute(sql, params![old, new])?;
            let sql = "INSERT OR IGNORE INTO alias_target (alias, target) SELECT ?2, target FROM alias_target WHERE alias = ?1";
            self.to.execute(sql, params![old, new])?;
            self.to.execute("DELETE FROM alias WHERE address = ?1", [old])?;
        }
        Ok(())
    }

    /// Where `old` is from now on: its own form, or the next free name beside it.
    fn place(&mut self, old: &str, what: &str) -> Result<String> {
        let wanted = canonical(old);
        if wanted == old || !self.is_taken(&wanted)? {
            return Ok(wanted);
        }
        let mut free = wanted.clone();
        for number in 2.. {
            free = beside(&wanted, number);
            if !self.is_taken(&free)? {
                break;
            }
        }
        self.told.push(format!(
            "the {what} {old} is {free} now: {wanted} is the same address, and was another's"
        ));
        self.moved.insert(old.to_owned(), free.clone());
        Ok(free)
    }

    /// Everything that leads somewhere.
    fn targets(&self) -> Result<()> {
        for (table, column) in [
            ("alias_target", "target"),
            ("forward", "target"),
            ("domain", "catch_all"),
        ] {
            let sql = format!("SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL");
            for old in self.international(&sql)? {
                let new = self.moved.get(&old).cloned().unwrap_or_else(|| canonical(&old));
                if new == old {
                    continue;
                }
                // A target that is there in its own form already is not said twice.
                let sql = format!("UPDATE OR IGNORE {table} SET {column} = ?2 WHERE {column} = ?1");
                self.to.execute(&sql, params![old, new])?;
                if table != "domain" {
                    let sql = format!("DELETE FROM {table} WHERE {column} = ?1");
                    self.to.execute(&sql, [old])?;
                }
            }
        }
        // What would lead to itself: the rest of an alias that was a bridge among others.
        self.to
            .execute("DELETE FROM alias_target WHERE alias = target", [])?;
        Ok(())
    }
}

/// `anna-2@…`, as much of the name kept as there is room for.
fn beside(address: &str, number: u32) -> String {
    let Ok(address) = AddrSpec::parse(address) else {
        return format!("{number}-{address}");
    };
    let mut name = address.local_part.as_str().to_owned();
    loop {
        if let Ok(local_part) = LocalPart::new(&format!("{name}-{number}")) {
            let domain = address.domain;
            return key_text(&key(&AddrSpec { local_part, domain })).to_owned();
        }
        if name.pop().is_none() {
            return format!("{number}@{}", address.domain);
        }
    }
}
