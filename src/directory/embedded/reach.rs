//! Whether what aliases and forwarding lead to can be delivered to, looked at when one of them is written.
//!
//! Invariants: an order that leaves the address it is about, or an alias that leads to it, with a fault of `resolve` is refused;
//! a fault that an alias above had before refuses nothing, so that several can be mended one after the other. A circle that
//! reaches a mailbox on its way is none.
//! Limits: [`ABOVE_MAX`].
//! LIMITATION: what leads there by a detail or a catch-all, and what leads to an account that starts forwarding, is not looked
//! at: where that makes too many or too deep, the log says so when mail comes, which is a 451 until it is mended.

use super::lookup;
use super::rows::address_in;
use super::worded::{Result, own_key, parse_address, refuse};
use crate::directory::cache::Look;
use crate::directory::orders::OrderError;
use crate::directory::resolve::{self, Fault, Known};
use crate::directory::{DomainFacts, Entry, Unavailable};
use crate::model::{AddrSpec, Domain, shown};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Aliases and forwardings looked at that lead to one that changes. Each costs a look at up to a thousand addresses while others
/// wait to write.
const ABOVE_MAX: usize = 100;

/// The tables as `resolve` asks for them.
struct Tables<'a>(&'a Connection);

impl Known for Tables<'_> {
    fn domain(&self, domain: &Domain) -> Look<DomainFacts> {
        let found = lookup::domain(self.0, domain.as_str());
        Look::Known(found.map(|facts| facts.map(Arc::new)).map_err(|_| Unavailable))
    }

    fn address(&self, address: &AddrSpec) -> Look<Entry> {
        let found = lookup::address(self.0, &own_key(address));
        Look::Known(found.map(|entry| entry.map(Arc::new)).map_err(|_| Unavailable))
    }
}

fn fault(connection: &Connection, address: &AddrSpec) -> Result<Option<Fault>> {
    // The main domain matters to addresses of postmasters that nobody has made, which these are not.
    resolve::fault(&Tables(connection), &address.domain, address)
        .map_err(|_| OrderError::Failed("the directory's file: aliases cannot be followed".to_owned()))
}

fn refuse_fault(address: &str, fault: Fault) -> Result<()> {
    let remedy = match fault {
        Fault::Circle => "let one of them lead to somebody, or keep a copy",
        Fault::TooMany => "name fewer; so many are for a list server",
        Fault::TooDeep | Fault::Elsewhere => "let it lead to accounts more directly",
    };
    refuse(format!(
        "mail for {} could never be delivered: {fault}; {remedy}",
        shown(address)
    ))
}

/// Of what can never be delivered, so many are named.
const NAMED_MAX: usize = 10;

/// What other versions have let be, or what became of aliases by other orders; up to [`NAMED_MAX`].
pub fn undeliverable(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT address FROM alias UNION ALL SELECT address FROM account WHERE id IN (SELECT account FROM forward) \
         ORDER BY 1";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut named = Vec::new();
    while let Some(row) = rows.next()? {
        let address = address_in(row, 0)?;
        // What the tables do not tell now is no fault.
        let fault = resolve::fault(&Tables(connection), &address.domain, &address);
        let Ok(Some(fault)) = fault else { continue };
        if named.len() == NAMED_MAX {
            named.push("and others".to_owned());
            break;
        }
        named.push(format!("{}: {fault}", shown(&own_key(&address))));
    }
    Ok(named)
}

/// Refuses the forwarding of the account `id` when nobody would get its mail.
pub fn check_forwarding(connection: &Connection, id: i64) -> Result<()> {
    let sql =
        "SELECT address FROM account WHERE id = ?1 AND EXISTS (SELECT 1 FROM forward WHERE account = id)";
    let found: Option<AddrSpec> = connection
        .prepare_cached(sql)?
        .query_row([id], |row| address_in(row, 0))
        .optional()?;
    let Some(address) = found else { return Ok(()) };
    match fault(connection, &address)? {
        None => Ok(()),
        Some(fault) => refuse_fault(&own_key(&address), fault),
    }
}

/// Faults of the aliases and forwardings that lead to an alias.
pub struct Faults {
    above: Vec<String>,
    faulty: BTreeSet<String>,
}

impl Faults {
    /// As it is before `alias` changes.
    pub fn of_those_above(connection: &Connection, alias: &str) -> Result<Self> {
        let above = above(connection, alias)?;
        let mut faulty = BTreeSet::new();
        for address in &above {
            if fault(connection, &parse_address(address)?)?.is_some() {
                faulty.insert(address.clone());
            }
        }
        Ok(Self { above, faulty })
    }

    /// Refuses a fault of `alias`, and one above it that was not there before.
    pub fn check_no_more(&self, connection: &Connection, alias: &str) -> Result<()> {
        let above = self.above.iter().map(String::as_str);
        let others = above.filter(|address| !self.faulty.contains(*address) && *address != alias);
        for address in std::iter::once(alias).chain(others) {
            if let Some(fault) = fault(connection, &parse_address(address)?)? {
                return refuse_fault(address, fault);
            }
        }
        Ok(())
    }
}

/// What leads to `alias`, the nearest first.
fn above(connection: &Connection, alias: &str) -> Result<Vec<String>> {
    let sql = "SELECT alias FROM alias_target WHERE target = ?1 \
         UNION SELECT address FROM forward JOIN account ON id = account WHERE target = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut seen = BTreeSet::from([alias.to_owned()]);
    let (mut found, mut left) = (Vec::new(), VecDeque::from([alias.to_owned()]));
    while let Some(target) = left.pop_front() {
        let leading = statement.query_map([target], |row| row.get::<_, String>(0))?;
        for address in leading {
            let address = address?;
            if found.len() == ABOVE_MAX {
                return Ok(found);
            }
            if seen.insert(address.clone()) {
                found.push(address.clone());
                left.push_back(address);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{add_account, add_alias, database, done, new_account, refused};
    use super::super::{Database, Order};
    use crate::directory::orders::AccountSettings;
    use crate::directory::resolve::{DEPTH_MAX, TARGETS_MAX};

    fn address(name: &str) -> String {
        format!("{name}@example.org")
    }

    fn alias(name: &str, targets: &[String]) -> Order {
        Order::AliasAdd {
            address: address(name),
            targets: targets.to_vec(),
        }
    }

    fn set(name: &str, targets: &[String]) -> Order {
        Order::AliasSet {
            address: address(name),
            targets: targets.to_vec(),
        }
    }

    fn forwarding(to: &str, keeps_copy: bool) -> AccountSettings {
        AccountSettings {
            forward: Some(vec![address(to)]),
            keeps_copy: Some(keeps_copy),
            ..AccountSettings::default()
        }
    }

    fn with_alice() -> (tempfile::TempDir, Database) {
        let (keep, mut database) = database();
        done(&mut database, add_account("alice@example.org"));
        (keep, database)
    }

    #[test]
    fn an_alias_has_as_many_targets_as_can_be_delivered_to() {
        let (_keep, mut database) = with_alice();
        let details = |count| -> Vec<String> { (0..count).map(|n| address(&format!("alice+{n}"))).collect() };
        done(&mut database, alias("most", &details(TARGETS_MAX)));
        let why = refused(&mut database, alias("more", &details(TARGETS_MAX + 1)));
        assert!(why.contains("1,000"), "{why}");
        // What it leads to counts with what that leads to.
        done(&mut database, alias("half", &details(TARGETS_MAX / 2)));
        let others = (0..TARGETS_MAX / 2).map(|n| address(&format!("alice+other{n}")));
        let both: Vec<String> = others.chain([address("half")]).collect();
        let why = refused(&mut database, alias("both", &both));
        assert!(
            why.contains("both@example.org") && why.contains("1000 addresses"),
            "{why}"
        );
        // And an alias that grows is not the only one that can have too many.
        done(&mut database, alias("small", &details(1)));
        done(
            &mut database,
            alias(
                "above",
                &[details(TARGETS_MAX - 2), vec![address("small")]].concat(),
            ),
        );
        done(&mut database, set("small", &details(2)));
        let others = ["alice+x", "alice+y"].map(address);
        let why = refused(&mut database, set("small", &others));
        assert!(why.contains("mail for above@example.org"), "{why}");
    }

    #[test]
    fn a_chain_of_aliases_is_as_long_as_can_be_followed() {
        let (_keep, mut database) = with_alice();
        let mut last = "alice".to_owned();
        for n in 0..DEPTH_MAX {
            let next = format!("l{n}");
            done(&mut database, alias(&next, &[address(&last)]));
            last = next;
        }
        let why = refused(&mut database, alias("deep", &[address(&last)]));
        assert!(
            why.contains("deep@example.org") && why.contains("more than 20"),
            "{why}"
        );
        done(
            &mut database,
            add_alias("between@example.org", &["alice@example.org"]),
        );
        let why = refused(&mut database, set("l0", &[address("between")]));
        assert!(why.contains("more than 20"), "{why}");
    }

    #[test]
    fn a_circle_without_a_mailbox_is_refused_and_can_be_mended_where_it_is() {
        let (keep, mut database) = with_alice();
        done(&mut database, alias("l1", &[address("alice")]));
        done(&mut database, alias("l2", &[address("l1")]));
        let why = refused(&mut database, set("l1", &[address("l2")]));
        assert!(why.contains("l1@example.org") && why.contains("circle"), "{why}");
        done(&mut database, set("l1", &[address("l2"), address("alice")]));
        let why = refused(&mut database, set("l1", &[address("l2"), address("l1+x")]));
        assert!(why.contains("circle"), "{why}");
        // As an older version let it be.
        let sql = "DELETE FROM alias_target WHERE target = 'alice@example.org';
            INSERT INTO alias (address, domain) VALUES ('l3@example.org', 'example.org');
            INSERT INTO alias_target (alias, target) VALUES ('l2@example.org', 'l3@example.org'),
                ('l3@example.org', 'l2@example.org')";
        database.connection.execute_batch(sql).expect("it is ours");
        let why = refused(&mut database, set("l1", &[address("l3")]));
        assert!(why.contains("l1@example.org"), "{why}");
        let told = Database::undeliverable(keep.path()).expect("it can be read");
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].starts_with("l1@example.org: it goes in a circle"),
            "{told:?}"
        );
        done(&mut database, set("l3", &[address("alice")]));
        done(&mut database, set("l1", &[address("l3")]));
        let told = Database::undeliverable(keep.path()).expect("it can be read");
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn forwarding_in_a_circle_needs_a_copy_on_its_way() {
        let (_keep, mut database) = with_alice();
        let account = |name: &str, set| Order::AccountAdd {
            account: new_account(&address(name), set),
        };
        let change = |name: &str, set| Order::AccountSet {
            address: address(name),
            set,
            is_forced: false,
        };
        done(&mut database, account("bob", forwarding("carol", false)));
        let why = refused(&mut database, account("carol", forwarding("bob", false)));
        assert!(
            why.contains("carol@example.org") && why.contains("circle"),
            "{why}"
        );
        done(&mut database, account("carol", forwarding("bob", true)));
        let no_copy = AccountSettings {
            keeps_copy: Some(false),
            ..AccountSettings::default()
        };
        let why = refused(&mut database, change("carol", no_copy));
        assert!(why.contains("circle"), "{why}");
        // To oneself is to keep it.
        done(&mut database, change("alice", forwarding("alice", false)));
    }
}
