//! Who is here: accounts, aliases and domains, and which forward-path reaches whom.
//!
//! Invariants: an answer never depends on time; local parts compare without regard to ASCII case; a `+detail` behind a
//! local part is dropped when no account has the full name; an alias leads to an account, never to another alias.
//! Failure: a directory that cannot tell says so ([`Verdict::Temporary`]) and the peer hears 451; it never guesses.
//! Standards: RFC 5321 §4.5.1 (postmaster is always accepted), RFC 5233 (`+detail`).
//! Not here: passwords (`auth`), what is delivered (`delivery`).

use crate::model::{Account, AccountId, AddrSpec, AddressError, Domain, ForwardPath, LocalPart};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// What the directory says of a forward-path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Mail for it goes to this account.
    Local(Arc<Account>),
    /// The domain is ours, nobody there has this name: 550 5.1.1.
    UnknownUser,
    /// The domain is not ours: relaying, 550 5.7.1.
    NotLocal,
    /// Nobody can say just now: 451 4.3.0.
    Temporary,
}

/// A directory that is complete when it is built and held in memory, as the demo's is.
#[derive(Debug, Default)]
pub struct Directory {
    domains: Vec<Domain>,
    by_address: HashMap<String, Arc<Account>>,
    postmaster: Option<Arc<Account>>,
}

impl Directory {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `domain` ours.
    pub fn add_domain(&mut self, domain: Domain) {
        if !self.domains.contains(&domain) {
            self.domains.push(domain);
        }
    }

    /// Adds an account under its main address.
    pub fn add_account(&mut self, account: Account) {
        self.by_address
            .insert(owned_key(&account.address), Arc::new(account));
    }

    /// Lets mail for `alias` reach the account whose main address is `target`; `false` if there is none.
    pub fn add_alias(&mut self, alias: &AddrSpec, target: &AddrSpec) -> bool {
        let Some(account) = self.find(target) else {
            return false;
        };
        if alias.local_part.as_str().eq_ignore_ascii_case("postmaster") {
            self.postmaster.get_or_insert_with(|| account.clone());
        }
        self.by_address.insert(owned_key(alias), account);
        true
    }

    /// Where mail for `path` goes.
    #[must_use]
    pub fn resolve(&self, path: &ForwardPath) -> Verdict {
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => {
                return self
                    .postmaster
                    .clone()
                    .map_or(Verdict::UnknownUser, Verdict::Local);
            }
        };
        if !self.domains.contains(&address.domain) {
            return Verdict::NotLocal;
        }
        let found = self
            .find(address)
            .or_else(|| without_detail(address).and_then(|plain| self.find(&plain)));
        found.map_or(Verdict::UnknownUser, Verdict::Local)
    }

    /// The account that logs in as `login`, which is its full main address.
    #[must_use]
    pub fn account_by_login(&self, login: &str) -> Option<Arc<Account>> {
        let address = AddrSpec::parse(login).ok()?;
        self.find(&address)
            .filter(|account| key(&account.address) == key(&address))
    }

    fn find(&self, address: &AddrSpec) -> Option<Arc<Account>> {
        let key = key(address);
        self.by_address
            .get(std::str::from_utf8(&key).unwrap_or_default())
            .cloned()
    }
}

/// `local-part@domain`, unquoted, in ASCII lower case; on the stack, because every RCPT looks one up.
fn key(address: &AddrSpec) -> SmallVec<[u8; 96]> {
    let mut key = SmallVec::from_slice(address.local_part.as_str().as_bytes());
    key.push(b'@');
    key.extend_from_slice(address.domain.as_str().as_bytes());
    key.make_ascii_lowercase();
    key
}

fn owned_key(address: &AddrSpec) -> String {
    String::from_utf8_lossy(&key(address)).into_owned()
}

fn without_detail(address: &AddrSpec) -> Option<AddrSpec> {
    let (plain, _) = address.local_part.as_str().split_once('+')?;
    Some(AddrSpec {
        local_part: LocalPart::new(plain).ok()?,
        domain: address.domain.clone(),
    })
}

/// The demo's directory: `alice@`, `bob@` and `user1@` … `user<n>@` of `domain`, `postmaster@` an alias of alice.
/// The ids are fixed, so that a data directory opens again with everything in it.
///
/// # Errors
/// When `domain` is not a domain.
pub fn demo(domain: &str, numbered_accounts: u32) -> Result<Directory, AddressError> {
    /// Ids of the numbered accounts start behind this one.
    const NUMBERED_BASE: u64 = 1000;
    let domain = Domain::new(domain)?;
    let address = |local: &str| {
        Ok(AddrSpec {
            local_part: LocalPart::new(local)?,
            domain: domain.clone(),
        })
    };
    let account = |id, local: &str| {
        Ok::<_, AddressError>(Account {
            id: AccountId(id),
            address: address(local)?,
            quota_bytes: None,
        })
    };
    let mut directory = Directory::new();
    directory.add_domain(domain.clone());
    directory.add_account(account(1, "alice")?);
    directory.add_account(account(2, "bob")?);
    for number in 1..=numbered_accounts {
        directory.add_account(account(
            NUMBERED_BASE + u64::from(number),
            &format!("user{number}"),
        )?);
    }
    directory.add_alias(&address("postmaster")?, &address("alice")?);
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ForwardPath {
        ForwardPath::Address(AddrSpec::parse(text).expect("a test address"))
    }

    fn id_of(verdict: Verdict) -> Option<u64> {
        match verdict {
            Verdict::Local(account) => Some(account.id.0),
            _ => None,
        }
    }

    #[test]
    fn addresses_resolve_by_name_case_detail_and_alias() {
        let directory = demo("example.org", 2).expect("a domain");
        assert_eq!(id_of(directory.resolve(&path("Alice@EXAMPLE.org"))), Some(1));
        assert_eq!(id_of(directory.resolve(&path("bob+lists@example.org"))), Some(2));
        assert_eq!(id_of(directory.resolve(&path("user2@example.org"))), Some(1002));
        assert_eq!(id_of(directory.resolve(&path("postmaster@example.org"))), Some(1));
        assert_eq!(id_of(directory.resolve(&ForwardPath::Postmaster)), Some(1));
    }

    #[test]
    fn strangers_and_other_domains_are_told_apart() {
        let directory = demo("example.org", 2).expect("a domain");
        assert_eq!(
            directory.resolve(&path("user3@example.org")),
            Verdict::UnknownUser
        );
        assert_eq!(
            directory.resolve(&path("alice@elsewhere.example")),
            Verdict::NotLocal
        );
    }

    #[test]
    fn a_login_is_the_full_main_address() {
        let directory = demo("example.org", 0).expect("a domain");
        assert_eq!(
            directory.account_by_login("ALICE@example.org").map(|a| a.id),
            Some(AccountId(1))
        );
        assert_eq!(directory.account_by_login("alice"), None);
        assert_eq!(directory.account_by_login("postmaster@example.org"), None);
        assert_eq!(directory.account_by_login("alice+x@example.org"), None);
    }
}
