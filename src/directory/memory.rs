//! A directory that is complete when it is built and held in memory, as the demo's is.

use super::cache::Look;
use super::resolve::Known;
use super::source::{Asked, DomainFacts, Entry, Found, LoginRecord, PasswordHash, Recipient, Source};
use super::{key, key_text};
use crate::model::{Account, AccountId, AddrSpec, AddressError, Domain, LocalPart};
use std::collections::HashMap;
use std::sync::Arc;

/// Every look-up is answered at once.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    domains: HashMap<String, Arc<DomainFacts>>,
    by_address: HashMap<String, Arc<Entry>>,
    logins: HashMap<String, Arc<LoginRecord>>,
}

impl Memory {
    /// Makes `domain` ours.
    pub fn add_domain(&mut self, domain: &Domain, facts: DomainFacts) {
        self.domains.insert(domain.as_str().to_owned(), Arc::new(facts));
    }

    /// Adds an account, under its main address, that logs in with a password of these hashes.
    pub fn add_account(&mut self, recipient: Recipient, hashes: &[PasswordHash]) {
        let address = key_text(&key(&recipient.account.address)).to_owned();
        let login = LoginRecord {
            account: recipient.account.clone(),
            hashes: hashes.to_vec(),
            app_passwords: Vec::new(),
            checked_by: None,
            totp_secret: None,
        };
        self.logins.insert(address.clone(), Arc::new(login));
        self.by_address
            .insert(address, Arc::new(Entry::Account(recipient)));
    }

    /// Lets mail for `alias` reach `targets`.
    pub fn add_alias(&mut self, alias: &AddrSpec, targets: Vec<AddrSpec>) {
        let alias = key_text(&key(alias)).to_owned();
        self.by_address.insert(alias, Arc::new(Entry::Alias(targets)));
    }

    pub(super) fn login(&self, login: &str) -> Option<Arc<LoginRecord>> {
        self.logins.get(login).cloned()
    }
}

impl Known for Memory {
    fn domain(&self, domain: &Domain) -> Look<DomainFacts> {
        Look::Known(Ok(self.domains.get(domain.as_str()).cloned()))
    }

    fn address(&self, address: &AddrSpec) -> Look<Entry> {
        Look::Known(Ok(self.by_address.get(key_text(&key(address))).cloned()))
    }
}

/// For tests of what stands between a source and its users.
impl Source for Memory {
    fn domain(&self, domain: &str) -> Asked<DomainFacts> {
        now(Ok(self.domains.get(domain).cloned()))
    }

    fn address(&self, address: &str) -> Asked<Entry> {
        now(Ok(self.by_address.get(address).cloned()))
    }

    fn login(&self, login: &str) -> Asked<LoginRecord> {
        now(Ok(Memory::login(self, login)))
    }
}

fn now<T: Send + Sync + 'static>(found: Found<T>) -> Asked<T> {
    Box::pin(std::future::ready(found))
}

/// The domain of the demo's accounts.
pub const DEMO_DOMAIN: &str = "example.org";

/// The demo's directory: `alice@`, `bob@` and `user1@` … `user<n>@` of `domain`, all with the password of
/// `hashes` and made alike by `shape`; `postmaster@` an alias of alice. The ids are fixed, so that a data directory opens again with everything in it.
///
/// # Errors
/// When `domain` is not a domain.
pub fn demo(
    domain: &str,
    numbered_accounts: u32,
    hashes: &[PasswordHash],
    shape: impl Fn(&mut Account),
) -> Result<Memory, AddressError> {
    /// Ids of the numbered accounts start behind this one.
    const NUMBERED_BASE: u64 = 1000;
    let domain = Domain::new(domain)?;
    let address = |local: &str| {
        Ok::<_, AddressError>(AddrSpec {
            local_part: LocalPart::new(local)?,
            domain: domain.clone(),
        })
    };
    let account = |id, local: &str| {
        let mut account = Account::new(AccountId(id), address(local)?);
        shape(&mut account);
        Ok::<_, AddressError>(Recipient::new(Arc::new(account)))
    };
    let mut directory = Memory::default();
    directory.add_domain(&domain, DomainFacts::default());
    directory.add_account(account(1, "alice")?, hashes);
    directory.add_account(account(2, "bob")?, hashes);
    for number in 1..=numbered_accounts {
        let id = NUMBERED_BASE + u64::from(number);
        directory.add_account(account(id, &format!("user{number}"))?, hashes);
    }
    directory.add_alias(&address("postmaster")?, vec![address("alice")?]);
    Ok(directory)
}
