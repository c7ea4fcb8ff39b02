//! Orders carried out on the tables, each in one transaction.
//!
//! Invariants: an address is an account or an alias, not both; whoever is in a domain keeps it from being deleted; a target
//! that nothing can be delivered to is refused when it is written down, not when mail comes for it, and what aliases, forwarding
//! and catch-alls lead to stays, unless whoever deletes it insists; what would lead to nobody for ever is refused (`reach`).
//! LIMITATION: who gets forwarded mail need not be there yet: an import has accounts in any order.
//! LIMITATION: nothing relays yet, so targets of aliases and forwarding have to be in our own domains.
//! LIMITATION: the mail of a deleted account stays in the log, where nobody reaches it any more.

use super::worded::{
    Result, not_ours, own_key, parse_address, parse_domain, parse_protocols, refuse, refuse_absent,
};
use super::{credentials, lookup, reach};
use crate::directory::orders::{
    AccountSettings, DomainSettings, Hash, NewAccount, Order, OrderError, Outcome,
};
use crate::directory::resolve::{takes_details, without_detail};
use crate::model::{AddrSpec, Pop3Deletion, Protocols, shown};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

/// Accounts of one import: what fits a transaction and a request comfortably.
pub const IMPORT_MAX: usize = 200_000;

/// Of an account, for lists: longer than any person's (ISO/IEC 7813 has 26, passports 39, X.520 64 characters), and what a
/// terminal would take for an order is none.
const NAME_BYTES_MAX: usize = 256;

const LAST_ADMIN: &str = "this is the last admin, and nobody else could use the pages for admins: make another \
    (`ringpost account set ADDRESS --admin true`), or insist with --force";

/// Of those that lead to an address, named when it shall be deleted: what a person reads.
const NAMED_MAX: usize = 10;

/// Carries `order` out at `now` (Unix seconds); nothing has changed when it fails.
pub fn perform(connection: &mut Connection, order: Order, now: i64) -> Result<Outcome> {
    let behavior = if order.changes() {
        rusqlite::TransactionBehavior::Immediate
    } else {
        rusqlite::TransactionBehavior::Deferred
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let outcome = Work {
        to: &transaction,
        now,
    }
    .perform(order)?;
    transaction.commit()?;
    Ok(outcome)
}

/// Carries out an order about the credentials of `account`, wherever that is.
pub fn perform_for(connection: &Connection, account: i64, order: &Order, now: i64) -> Result<Outcome> {
    credentials::perform(connection, account, order, now)
        .unwrap_or_else(|| refuse("that is no order about credentials"))
}

struct Work<'a> {
    to: &'a Transaction<'a>,
    now: i64,
}

impl Work<'_> {
    fn perform(&self, order: Order) -> Result<Outcome> {
        match order {
            Order::DomainAdd { domain, set } => self.add_domain(&domain, &set)?,
            Order::DomainSet { domain, set } => self.set_domain(&self.own_domain(&domain)?, &set)?,
            Order::DomainDelete { domain } => self.delete_domain(&self.own_domain(&domain)?)?,
            Order::DomainAdmin {
                domain,
                address,
                is_admin,
            } => self.set_domain_admin(&self.own_domain(&domain)?, &address, is_admin)?,
            Order::AccountAdd { account } => self.add_account(&account)?,
            Order::AccountSet {
                address,
                set,
                is_forced,
            } => self.keeping_an_admin(is_forced, || self.set_account(self.account_id(&address)?, &set))?,
            Order::AccountPassword {
                address,
                hashes,
                is_forced,
            } => self.keeping_an_admin(is_forced, || {
                self.set_password(self.account_id(&address)?, &hashes)
            })?,
            Order::AccountTotp { ref address, .. }
            | Order::AppPasswordAdd { ref address, .. }
            | Order::AppPasswordDelete { ref address, .. } => {
                let id = self.account_id(address)?;
                return perform_for(self.to, id, &order, self.now);
            }
            Order::AccountDelete { address, is_forced } => self.delete_account(&address, is_forced)?,
            Order::AccountImport { accounts } => return self.import(&accounts),
            Order::AliasAdd { address, targets } => self.add_alias(&address, &targets)?,
            Order::AliasSet { address, targets } => self.set_targets(&self.alias(&address)?, &targets)?,
            Order::AliasDelete { address, is_forced } => self.delete_alias(&address, is_forced)?,
            Order::DomainShow { domain } => return self.show_domain(&self.own_domain(&domain)?),
            Order::DomainList => return Ok(super::views::domains(self.to, None)?),
            Order::AccountShow { address } => {
                self.account_id(&address)?;
                let address = own_key(&parse_address(&address)?);
                return Ok(super::views::accounts(self.to, Some(&address), None, None)?);
            }
            Order::AccountList { domain, limit } => {
                let domain = domain.map(|domain| self.own_domain(&domain)).transpose()?;
                return Ok(super::views::accounts(self.to, None, domain.as_deref(), limit)?);
            }
            Order::AliasShow { address } => {
                let alias = self.alias(&address)?;
                return Ok(super::views::aliases(self.to, Some(&alias), None, None)?);
            }
            Order::AliasList { domain, limit } => {
                let domain = domain.map(|domain| self.own_domain(&domain)).transpose()?;
                return Ok(super::views::aliases(self.to, None, domain.as_deref(), limit)?);
            }
        }
        Ok(Outcome::Done)
    }

    fn show_domain(&self, domain: &str) -> Result<Outcome> {
        Ok(super::views::domains(self.to, Some(domain))?)
    }

    /// A domain that is ours, as it is stored.
    fn own_domain(&self, text: &str) -> Result<String> {
        let domain = parse_domain(text)?;
        if lookup::domain(self.to, domain.as_str())?.is_none() {
            return refuse(not_ours(&domain));
        }
        Ok(domain.as_str().to_owned())
    }

    fn account_id(&self, text: &str) -> Result<i64> {
        let address = own_key(&parse_address(text)?);
        let found: Option<i64> = self
            .to
            .query_row("SELECT id FROM account WHERE address = ?1", [&address], |row| {
                row.get(0)
            })
            .optional()?;
        found.map_or_else(|| refuse(format!("there is no account {}", shown(&address))), Ok)
    }

    fn alias(&self, text: &str) -> Result<String> {
        let address = own_key(&parse_address(text)?);
        let sql = "SELECT 1 FROM alias WHERE address = ?1";
        if !self.to.prepare_cached(sql)?.exists([&address])? {
            return refuse(format!("there is no alias {}", shown(&address)));
        }
        Ok(address)
    }

    /// An address that mail can be delivered to.
    fn target(&self, text: &str) -> Result<String> {
        let address = parse_address(text)?;
        if lookup::domain(self.to, address.domain.as_str())?.is_none() {
            return refuse(format!(
                "{} is not in a domain of this server, and nothing relays mail to others yet",
                address.to_unicode()
            ));
        }
        Ok(own_key(&address))
    }

    /// An address that mail is delivered to: somebody's, also through a detail or a catch-all.
    fn present_target(&self, text: &str) -> Result<String> {
        let target = self.target(text)?;
        let address = parse_address(text)?;
        if self.is_present(&target)? || self.has_stand_in(&address)? {
            return Ok(target);
        }
        refuse_absent(&target)
    }

    fn is_present(&self, address: &str) -> Result<bool> {
        Ok(lookup::address(self.to, address)?.is_some())
    }

    /// As `resolve` finds them.
    fn has_stand_in(&self, address: &AddrSpec) -> Result<bool> {
        let Some(facts) = lookup::domain(self.to, address.domain.as_str())? else {
            return Ok(false);
        };
        if let Some(plain) = without_detail(address, facts.detail_separator)
            && let Some(entry) = lookup::address(self.to, &own_key(&plain))?
            && takes_details(&entry)
        {
            return Ok(true);
        }
        match facts.catch_all {
            Some(catch_all) => self.is_present(&own_key(&catch_all)),
            None => Ok(false),
        }
    }

    /// Nothing leads to `address`.
    fn check_unneeded(&self, address: &str) -> Result<()> {
        let sql = "SELECT 'the alias ' || alias FROM alias_target WHERE target = ?1 \
             UNION ALL SELECT 'the forwarding of ' || a.address FROM forward f JOIN account a ON a.id = f.account \
                WHERE f.target = ?1 AND a.address <> ?1 \
             UNION ALL SELECT 'the catch-all of ' || name FROM domain WHERE catch_all = ?1 LIMIT ?2";
        let mut statement = self.to.prepare_cached(sql)?;
        let limit = i64::try_from(NAMED_MAX + 1).unwrap_or(i64::MAX);
        let mut names: Vec<String> = statement
            .query_map(params![address, limit], |row| {
                Ok(shown(row.get_ref(0)?.as_str()?).into_owned())
            })?
            .collect::<rusqlite::Result<_>>()?;
        if names.is_empty() {
            return Ok(());
        }
        if names.len() > NAMED_MAX {
            names[NAMED_MAX] = "others".to_owned();
        }
        refuse(format!(
            "{} still gets the mail of {}: let them lead elsewhere first (`ringpost alias set`, `account set --forward`, \
             `domain set --catch-all`), or insist with --force",
            shown(address),
            names.join(", ")
        ))
    }

    fn delete_account(&self, address: &str, is_forced: bool) -> Result<()> {
        let id = self.account_id(address)?;
        if !is_forced {
            self.check_unneeded(&own_key(&parse_address(address)?))?;
            self.check_not_last_admin(id)?;
        }
        credentials::forget(self.to, id)?;
        self.to.execute("DELETE FROM account WHERE id = ?1", [id])?;
        Ok(())
    }

    fn delete_alias(&self, address: &str, is_forced: bool) -> Result<()> {
        let alias = self.alias(address)?;
        if !is_forced {
            self.check_unneeded(&alias)?;
        }
        self.to.execute("DELETE FROM alias WHERE address = ?1", [alias])?;
        Ok(())
    }

    /// Makes a change, unless it leaves a site without anybody who looks after it that had somebody.
    fn keeping_an_admin(&self, is_forced: bool, change: impl FnOnce() -> Result<()>) -> Result<()> {
        let had_admin = self.has_admin()?;
        change()?;
        if had_admin && !is_forced && !self.has_admin()? {
            return refuse(LAST_ADMIN);
        }
        Ok(())
    }

    /// Somebody else who can log in looks after the site, or this account never did.
    fn check_not_last_admin(&self, id: i64) -> Result<()> {
        let sql = "SELECT is_admin AND NOT EXISTS \
                (SELECT 1 FROM account WHERE is_admin AND is_enabled AND hash IS NOT NULL AND id <> ?1) \
             FROM account WHERE id = ?1";
        if self.to.query_row(sql, [id], |row| row.get(0))? {
            return refuse(LAST_ADMIN);
        }
        Ok(())
    }

    /// Somebody who can log in looks after the site.
    fn has_admin(&self) -> Result<bool> {
        let sql = "SELECT 1 FROM account WHERE is_admin AND is_enabled AND hash IS NOT NULL";
        Ok(self.to.prepare_cached(sql)?.exists([])?)
    }

    /// An address that nobody has yet, in a domain of ours, and that domain.
    fn free_address(&self, text: &str) -> Result<(String, String)> {
        let address = parse_address(text)?;
        let domain = self.own_domain(address.domain.as_str())?;
        let address = own_key(&address);
        if lookup::address(self.to, &address)?.is_some() {
            return refuse(format!("{} is there already", shown(&address)));
        }
        Ok((address, domain))
    }

    fn add_domain(&self, text: &str, set: &DomainSettings) -> Result<()> {
        let domain = parse_domain(text)?;
        if domain.as_str().starts_with('[') {
            return refuse("an address literal is no domain that people have accounts in");
        }
        domain
            .check_international()
            .or_else(|e| refuse(format!("{text:?}: {e}")))?;
        if lookup::domain(self.to, domain.as_str())?.is_some() {
            return refuse(format!("{} is there already", domain.to_unicode()));
        }
        let sql = "INSERT INTO domain (name, detail_separator, created_at) VALUES (?1, '+', ?2)";
        self.to.execute(sql, params![domain.as_str(), self.now])?;
        self.set_domain(domain.as_str(), set)
    }

    /// Somebody's address as it stands: `resolve` looks for nothing in its place.
    fn catch_all(&self, text: &str) -> Result<String> {
        let target = self.target(text)?;
        if self.is_present(&target)? {
            return Ok(target);
        }
        refuse_absent(&target)
    }

    fn set_domain(&self, domain: &str, set: &DomainSettings) -> Result<()> {
        if let Some(catch_all) = &set.catch_all {
            let target = match catch_all.as_str() {
                "" => None,
                text => Some(self.catch_all(text)?),
            };
            let sql = "UPDATE domain SET catch_all = ?2 WHERE name = ?1";
            self.to.execute(sql, params![domain, target])?;
        }
        if let Some(separator) = &set.detail_separator {
            let mut chars = separator.chars();
            let first = chars.next();
            if chars.next().is_some() || first.is_some_and(|c| c.is_alphanumeric() || c == '@' || c == '"') {
                return refuse(
                    "a separator is one character that is neither letter nor digit, such as + or -",
                );
            }
            let sql = "UPDATE domain SET detail_separator = ?2 WHERE name = ?1";
            self.to.execute(sql, params![domain, first.map(String::from)])?;
        }
        if let Some(keeps_scram) = set.keeps_scram {
            let sql = "UPDATE domain SET keeps_scram = ?2 WHERE name = ?1";
            self.to.execute(sql, params![domain, keeps_scram])?;
            if !keeps_scram {
                let sql = "DELETE FROM scram WHERE account IN (SELECT id FROM account WHERE domain = ?1)";
                self.to.execute(sql, [domain])?;
            }
        }
        Ok(())
    }

    fn delete_domain(&self, domain: &str) -> Result<()> {
        for (table, what) in [("account", "accounts"), ("alias", "aliases")] {
            let sql = format!("SELECT count(*) FROM {table} WHERE domain = ?1");
            let count: i64 = self.to.query_row(&sql, [domain], |row| row.get(0))?;
            if count > 0 {
                return refuse(format!(
                    "{} still has {count} {what}: delete them first",
                    shown(domain)
                ));
            }
        }
        self.to.execute("DELETE FROM domain WHERE name = ?1", [domain])?;
        Ok(())
    }

    fn set_domain_admin(&self, domain: &str, address: &str, is_admin: bool) -> Result<()> {
        let account = self.account_id(address)?;
        let sql = if is_admin {
            "INSERT OR IGNORE INTO domain_admin (domain, account) VALUES (?1, ?2)"
        } else {
            "DELETE FROM domain_admin WHERE domain = ?1 AND account = ?2"
        };
        let changed = self.to.execute(sql, params![domain, account])?;
        if changed == 0 && !is_admin {
            return refuse(format!(
                "{} does not look after {}",
                shown(address),
                shown(domain)
            ));
        }
        Ok(())
    }

    fn add_account(&self, new: &NewAccount) -> Result<()> {
        let (address, domain) = self.free_address(&new.address)?;
        if let Some(id) = new.id {
            self.check_new_id(id)?;
        }
        let sql =
            "INSERT INTO account (id, address, domain, protocols, created_at) VALUES (?1, ?2, ?3, ?4, ?5)";
        let id = new.id.map(u64::cast_signed);
        self.to.execute(
            sql,
            params![id, address, domain, Protocols::ALL.to_string(), self.now],
        )?;
        let id = self.to.last_insert_rowid();
        self.set_account(id, &new.set)?;
        self.set_password(id, &new.hashes)
    }

    /// An id that was given before belongs to that account's mail for ever.
    fn check_new_id(&self, id: u64) -> Result<()> {
        let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'account'";
        let last: Option<i64> = self.to.query_row(sql, [], |row| row.get(0)).optional()?;
        let is_free = i64::try_from(id).is_ok_and(|id| id > last.unwrap_or(0) && id < i64::MAX);
        if !is_free {
            return refuse(format!(
                "the id {id} was given before, or is not a number above 0"
            ));
        }
        Ok(())
    }

    fn set_account(&self, id: i64, set: &AccountSettings) -> Result<()> {
        let column = |name: &str, value: &dyn rusqlite::ToSql| {
            let sql = format!("UPDATE account SET {name} = ?2 WHERE id = ?1");
            self.to.prepare_cached(&sql)?.execute(params![id, value])
        };
        let limit = |value: u64| match value {
            0 => Ok(None),
            some => match i64::try_from(some) {
                Ok(limit) => Ok(Some(limit)),
                Err(_) => refuse("a limit is less than 2^63"),
            },
        };
        if let Some(name) = &set.name {
            if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                return refuse(format!(
                    "a name has up to {NAME_BYTES_MAX} octets and no control characters"
                ));
            }
            column("name", &(!name.is_empty()).then_some(name))?;
        }
        if let Some(is_enabled) = set.is_enabled {
            column("is_enabled", &is_enabled)?;
        }
        if let Some(is_admin) = set.is_admin {
            column("is_admin", &is_admin)?;
        }
        if let Some(protocols) = &set.protocols {
            column("protocols", &parse_protocols(protocols)?.to_string())?;
        }
        if let Some(bytes) = set.quota_bytes {
            column("quota_bytes", &limit(bytes)?)?;
        }
        if let Some(messages) = set.quota_messages {
            column("quota_messages", &limit(messages)?)?;
        }
        if let Some(policy) = &set.pop3_deletion {
            let Some(policy) = Pop3Deletion::parse(policy) else {
                return refuse("POP3 deletion is delete, trash or ignore");
            };
            column("pop3_deletion", &policy.name())?;
        }
        if let Some(days) = set.retention_days {
            column("retention_days", &(days > 0).then_some(days))?;
        }
        if let Some(keeps_copy) = set.keeps_copy {
            column("keeps_copy", &keeps_copy)?;
        }
        if let Some(takes_details) = set.takes_details {
            column("takes_details", &takes_details)?;
        }
        if let Some(forward) = &set.forward {
            self.to.execute("DELETE FROM forward WHERE account = ?1", [id])?;
            for target in forward {
                let sql = "INSERT OR IGNORE INTO forward (account, target) VALUES (?1, ?2)";
                self.to.execute(sql, params![id, self.target(target)?])?;
            }
        }
        let may_close_a_circle =
            set.forward.is_some() || set.keeps_copy.is_some() || set.is_enabled.is_some();
        if may_close_a_circle {
            reach::check_forwarding(self.to, id)?;
        }
        Ok(())
    }

    fn set_password(&self, id: i64, hashes: &[Hash]) -> Result<()> {
        let (mut hash, mut verifiers) = (None, Vec::new());
        for text in hashes.iter().map(|hash| hash.0.as_str()) {
            if text.len() > 1_024 || !text.starts_with('{') || text.chars().any(char::is_control) {
                return refuse("a password hash is {SCHEME} and what belongs to it, up to 1,024 octets");
            }
            if text.starts_with("{SCRAM-") {
                verifiers.push(text);
            } else {
                hash = Some(text);
            }
        }
        let sql = "UPDATE account SET hash = ?2, password_changed_at = ?3 WHERE id = ?1";
        self.to
            .prepare_cached(sql)?
            .execute(params![id, hash, self.now])?;
        // The old ones open the account with the old password.
        self.to
            .prepare_cached("DELETE FROM scram WHERE account = ?1")?
            .execute([id])?;
        for verifier in verifiers {
            let sql = "INSERT INTO scram (account, verifier) VALUES (?1, ?2)";
            self.to.execute(sql, params![id, verifier])?;
        }
        Ok(())
    }

    fn import(&self, accounts: &[NewAccount]) -> Result<Outcome> {
        if accounts.len() > IMPORT_MAX {
            return refuse(format!(
                "one import takes up to {IMPORT_MAX} accounts: split the file"
            ));
        }
        let mut problems = Vec::new();
        for account in accounts {
            match self.add_account(account) {
                Ok(()) => {}
                Err(OrderError::Refused(why)) => problems.push(format!("{}: {why}", account.address)),
                Err(failed) => return Err(failed),
            }
        }
        if !problems.is_empty() {
            return refuse(format!("nothing was imported:\n  {}", problems.join("\n  ")));
        }
        Ok(Outcome::Imported(accounts.len() as u64))
    }

    fn add_alias(&self, address: &str, targets: &[String]) -> Result<()> {
        let (address, domain) = self.free_address(address)?;
        let sql = "INSERT INTO alias (address, domain) VALUES (?1, ?2)";
        self.to.execute(sql, params![address, domain])?;
        self.set_targets(&address, targets)
    }

    fn set_targets(&self, alias: &str, targets: &[String]) -> Result<()> {
        if targets.is_empty() {
            return refuse("an alias leads somewhere: name at least one target");
        }
        if targets.len() > crate::directory::resolve::TARGETS_MAX {
            return refuse("an alias leads to up to 1,000 addresses");
        }
        let before = reach::Faults::of_those_above(self.to, alias)?;
        self.to
            .execute("DELETE FROM alias_target WHERE alias = ?1", [alias])?;
        for target in targets {
            let target = self.present_target(target)?;
            if target == alias {
                return refuse("an alias does not lead to itself");
            }
            let sql = "INSERT OR IGNORE INTO alias_target (alias, target) VALUES (?1, ?2)";
            self.to.execute(sql, params![alias, target])?;
        }
        before.check_no_more(self.to, alias)
    }
}
