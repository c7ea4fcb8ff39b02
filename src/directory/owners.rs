//! Whose an address is: who may send in its name.
//!
//! Not the same as whom its mail reaches: an alias belongs to all whom it names, by aliases of aliases too, and a detail to its
//! account; somebody to whom an account merely forwards, or who gets what is addressed to nobody, owns nothing by that.
//! Limits: those of `resolve`; what leads further is nobody's.

use super::resolve::{
    DEPTH_MAX, Known, NotYet, TARGETS_MAX, fetch, fetch_domain, is_postmaster, takes_details, without_detail,
};
use super::{Backend, Directory, Entry, ROUNDS_MAX, Remembered, Unavailable};
use crate::model::{AccountId, AddrSpec, Domain};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

impl Directory {
    /// Whether `address` is one of this account's.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn owns(&self, account: AccountId, address: &AddrSpec) -> Result<bool, Unavailable> {
        let now = Instant::now();
        for _ in 0..ROUNDS_MAX {
            let missing = match self.attempt_owner(account, address, now) {
                Ok(owns) => return Ok(owns),
                Err(NotYet::Unavailable) => return Err(Unavailable),
                Err(NotYet::Missing(missing)) => missing,
            };
            let fetching: FuturesUnordered<_> = missing.iter().map(|missing| self.load(missing)).collect();
            fetching.collect::<()>().await;
        }
        Err(Unavailable)
    }

    fn attempt_owner(&self, account: AccountId, address: &AddrSpec, now: Instant) -> Result<bool, NotYet> {
        match &self.0.backend {
            Backend::Memory(memory) => owns(&**memory, &self.0.main, account, address),
            Backend::Source(source) => {
                let generation = source.generation();
                self.0.domains.borrow_mut().follow(generation);
                self.0.addresses.borrow_mut().follow(generation);
                owns(&Remembered { of: &self.0, now }, &self.0.main, account, address)
            }
        }
    }
}

fn owns(known: &impl Known, main: &Domain, account: AccountId, address: &AddrSpec) -> Result<bool, NotYet> {
    let mut seen = HashSet::from([address.clone()]);
    let mut level = vec![address.clone()];
    for _ in 0..=DEPTH_MAX {
        let (mut next, mut missing) = (Vec::new(), Vec::new());
        for address in std::mem::take(&mut level) {
            match named(known, main, &address) {
                Ok(Some(entry)) => match &*entry {
                    Entry::Account(to) if to.account.id == account => return Ok(true),
                    Entry::Account(_) => {}
                    Entry::Alias(targets) => {
                        next.extend(targets.iter().filter(|to| seen.insert((*to).clone())).cloned());
                    }
                },
                Ok(None) => {}
                Err(NotYet::Missing(more)) => missing.extend(more),
                Err(NotYet::Unavailable) => return Err(NotYet::Unavailable),
            }
        }
        if !missing.is_empty() {
            return Err(NotYet::Missing(missing));
        }
        if next.is_empty() || seen.len() > TARGETS_MAX {
            return Ok(false);
        }
        level = next;
    }
    Ok(false)
}

/// What bears this name: the address itself, then without its detail, then the main domain's postmaster for another's.
fn named(known: &impl Known, main: &Domain, address: &AddrSpec) -> Result<Option<Arc<Entry>>, NotYet> {
    let Some(domain) = fetch_domain(known, &address.domain)? else {
        return Ok(None);
    };
    if let Some(entry) = fetch(known, address)? {
        return Ok(Some(entry));
    }
    if let Some(plain) = without_detail(address, domain.detail_separator)
        && let Some(entry) = fetch(known, &plain)?
        && takes_details(&entry)
    {
        return Ok(Some(entry));
    }
    if is_postmaster(address) && address.domain != *main {
        let local_part = address.local_part.clone();
        let domain = main.clone();
        return fetch(known, &AddrSpec { local_part, domain });
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{DomainFacts, Memory, Recipient};
    use crate::model::Account;
    use futures::executor::block_on;

    fn address(text: &str) -> AddrSpec {
        AddrSpec::parse(text).expect("an address")
    }

    fn directory() -> Directory {
        let mut memory = Memory::default();
        let catch_all = DomainFacts {
            catch_all: Some(address("bob@x.test")),
            ..DomainFacts::default()
        };
        let domain = |text| Domain::new(text).expect("a domain");
        memory.add_domain(&domain("x.test"), catch_all);
        memory.add_domain(&domain("y.test"), DomainFacts::default());
        for (id, name) in [(1, "alice@x.test"), (2, "bob@x.test")] {
            let account = Arc::new(Account::new(AccountId(id), address(name)));
            let mut recipient = Recipient::new(account);
            if id == 1 {
                recipient.forward = vec![address("bob@x.test")];
            }
            memory.add_account(recipient, &[]);
        }
        memory.add_alias(&address("info@x.test"), vec![address("sales@x.test")]);
        memory.add_alias(
            &address("sales@x.test"),
            vec![address("bob@x.test"), address("info@x.test")],
        );
        memory.add_alias(&address("postmaster@x.test"), vec![address("alice@x.test")]);
        Directory::new(Backend::Memory(Arc::new(memory)), domain("x.test"))
    }

    #[test]
    fn aliases_and_details_are_owned_and_forwarded_mail_is_not() {
        let directory = directory();
        let owned_by =
            |id, text| block_on(directory.owns(AccountId(id), &address(text))).expect("it answers");
        for own in [
            "bob@x.test",
            "BOB@x.test",
            "bob+list@x.test",
            "info@x.test",
            "info+a@x.test",
        ] {
            assert!(owned_by(2, own), "{own}");
        }
        for foreign in [
            "alice@x.test",
            "nobody@x.test",
            "bob@y.test",
            "a@elsewhere.test",
            "postmaster@y.test",
        ] {
            assert!(!owned_by(2, foreign), "{foreign}");
        }
        assert!(owned_by(1, "postmaster@y.test") && owned_by(1, "alice+x@x.test"));
        assert!(!owned_by(1, "info@x.test"));
    }
}
