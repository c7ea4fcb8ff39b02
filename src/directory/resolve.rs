//! From a forward-path to the accounts that get the mail: details, catch-alls, forwarding, aliases of aliases.
//!
//! Pure: it looks at what is known and says what is missing, so that the caller can fetch all of it at once and try again.
//! Invariants: an account is named once; an address is looked at once, so a circle ends; the first match wins: the address
//! itself, then without its detail, then `postmaster` of the main domain, then the domain's catch-all.
//! Limits: [`DEPTH_MAX`], [`TARGETS_MAX`].
//! Failure: what the admin has set up wrongly ([`Fault`]) is said in the log and is a 451 to the peer: the mail waits at its
//! sender until it is mended. The embedded directory refuses it when it is written (`embedded::reach`); others cannot. What leads to nobody but
//! names that nobody has is a 550, as those names themselves are: waiting brings nobody back, and the sender hears it at once.
//! Standards: RFC 5321 §3.9 (aliases and lists), §4.5.1 (postmaster), RFC 5233 (details).

use super::cache::Look;
use super::source::{DomainFacts, Entry, Recipient, Unavailable};
use super::{Targets, Verdict, key};
use crate::model::{AddrSpec, Domain, LocalPart};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::Arc;

/// Aliases of aliases followed. Beyond it somebody has made a mistake.
pub const DEPTH_MAX: usize = 20;

/// Addresses that one forward-path leads to, itself not counted: so many an alias may have.
pub const TARGETS_MAX: usize = 1_000;

/// What has to be fetched before there is a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    Domain(Domain),
    Address(AddrSpec),
}

/// What is known, without waiting.
pub trait Known {
    fn domain(&self, domain: &Domain) -> Look<DomainFacts>;
    fn address(&self, address: &AddrSpec) -> Look<Entry>;
}

/// Why there is no verdict yet.
#[derive(Debug, PartialEq, Eq)]
pub enum NotYet {
    Missing(Vec<Missing>),
    Unavailable,
}

impl From<Unavailable> for NotYet {
    fn from(_: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// Why there can be no verdict until the admin changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it leads elsewhere, and nothing relays")]
    Elsewhere,
    #[error("it leads to more than {TARGETS_MAX} addresses, aliases among them counted")]
    TooMany,
    #[error("it goes through more than {DEPTH_MAX} aliases of aliases")]
    TooDeep,
    #[error("it goes in a circle and leads to no account")]
    Circle,
}

/// What keeps mail for `address` from ever being delivered, if something does.
///
/// # Errors
/// What has to be fetched, or cannot be.
pub fn fault(known: &impl Known, main: &Domain, address: &AddrSpec) -> Result<Option<Fault>, NotYet> {
    let expansion = Expansion {
        is_silent: true,
        ..Expansion::new(address)
    };
    expansion.run(known, main).map(Result::err)
}

/// Where mail for `address` goes. `main` is the domain whose postmaster stands in for others'.
pub fn resolve(known: &impl Known, main: &Domain, address: &AddrSpec) -> Result<Verdict, NotYet> {
    if let Some(verdict) = simple(known, main, address)? {
        return Ok(verdict);
    }
    let verdict = Expansion::new(address).run(known, main)?;
    Ok(verdict.unwrap_or(Verdict::Temporary))
}

/// The verdict where there is nothing to expand, which is nearly always, without an allocation.
fn simple(known: &impl Known, main: &Domain, address: &AddrSpec) -> Result<Option<Verdict>, NotYet> {
    Ok(match find(known, main, address)? {
        Place::Elsewhere => Some(Verdict::NotLocal),
        Place::Nobody => Some(Verdict::UnknownUser),
        Place::Here(entry) => match &*entry {
            Entry::Account(to) if !to.account.is_enabled => Some(Verdict::Disabled),
            Entry::Account(to) if to.forward.is_empty() => {
                Some(Verdict::Local(smallvec::smallvec![to.account.clone()]))
            }
            _ => None,
        },
    })
}

enum Place {
    Here(Arc<Entry>),
    Nobody,
    Elsewhere,
}

/// What stands at `address`, details and stand-ins considered.
fn find(known: &impl Known, main: &Domain, address: &AddrSpec) -> Result<Place, NotYet> {
    let Some(domain) = fetch_domain(known, &address.domain)? else {
        return Ok(Place::Elsewhere);
    };
    if let Some(entry) = fetch(known, address)? {
        return Ok(Place::Here(entry));
    }
    if let Some(plain) = without_detail(address, domain.detail_separator)
        && let Some(entry) = fetch(known, &plain)?
        && takes_details(&entry)
    {
        return Ok(Place::Here(entry));
    }
    if is_postmaster(address) && address.domain != *main {
        let stand_in = AddrSpec {
            local_part: address.local_part.clone(),
            domain: main.clone(),
        };
        if let Some(entry) = fetch(known, &stand_in)? {
            return Ok(Place::Here(entry));
        }
    }
    match &domain.catch_all {
        Some(catch_all) => Ok(fetch(known, catch_all)?.map_or(Place::Nobody, Place::Here)),
        None => Ok(Place::Nobody),
    }
}

pub(super) fn fetch_domain(known: &impl Known, domain: &Domain) -> Result<Option<Arc<DomainFacts>>, NotYet> {
    match known.domain(domain) {
        Look::Known(found) => Ok(found?),
        Look::Missing => Err(NotYet::Missing(vec![Missing::Domain(domain.clone())])),
    }
}

pub(super) fn fetch(known: &impl Known, address: &AddrSpec) -> Result<Option<Arc<Entry>>, NotYet> {
    match known.address(address) {
        Look::Known(found) => Ok(found?),
        Look::Missing => Err(NotYet::Missing(vec![Missing::Address(address.clone())])),
    }
}

pub(super) fn takes_details(entry: &Entry) -> bool {
    match entry {
        Entry::Account(to) => to.takes_details,
        Entry::Alias(_) => true,
    }
}

pub(super) fn is_postmaster(address: &AddrSpec) -> bool {
    address.local_part.as_str().eq_ignore_ascii_case("postmaster")
}

pub(super) fn without_detail(address: &AddrSpec, separator: Option<char>) -> Option<AddrSpec> {
    let (plain, _) = address.local_part.as_str().split_once(separator?)?;
    Some(AddrSpec {
        local_part: LocalPart::new(plain).ok()?,
        domain: address.domain.clone(),
    })
}

/// The way through aliases and forwarding, a level at a time.
struct Expansion {
    origin: AddrSpec,
    level: Vec<AddrSpec>,
    seen: HashSet<SmallVec<[u8; 96]>>,
    targets: Targets,
    is_any_disabled: bool,
    is_any_nobody: bool,
    /// Nobody is told what has to be mended.
    is_silent: bool,
}

impl Expansion {
    fn new(origin: &AddrSpec) -> Self {
        Self {
            origin: origin.clone(),
            level: vec![origin.clone()],
            seen: HashSet::from([key(origin)]),
            targets: Targets::new(),
            is_any_disabled: false,
            is_any_nobody: false,
            is_silent: false,
        }
    }

    fn run(mut self, known: &impl Known, main: &Domain) -> Result<Result<Verdict, Fault>, NotYet> {
        for _ in 0..=DEPTH_MAX {
            let (mut next, mut missing) = (Vec::new(), Vec::new());
            for address in std::mem::take(&mut self.level) {
                match find(known, main, &address) {
                    Ok(Place::Here(entry)) => self.take(&address, &entry, &mut next),
                    Ok(Place::Nobody) => {
                        self.is_any_nobody = true;
                        self.complain(&address, &"there is nobody of this name");
                    }
                    Ok(Place::Elsewhere) => {
                        return Ok(Err(self.give_up(&address, Fault::Elsewhere)));
                    }
                    // All that is missing on this level is fetched at once.
                    Err(NotYet::Missing(more)) => missing.extend(more),
                    Err(NotYet::Unavailable) => return Err(NotYet::Unavailable),
                }
            }
            if !missing.is_empty() {
                return Err(NotYet::Missing(missing));
            }
            // The origin is one of those seen.
            if self.seen.len() > TARGETS_MAX + 1 {
                return Ok(Err(self.give_up(&self.origin, Fault::TooMany)));
            }
            if next.is_empty() {
                return Ok(self.verdict());
            }
            self.level = next;
        }
        Ok(Err(self.give_up(&self.origin, Fault::TooDeep)))
    }

    fn take(&mut self, at: &AddrSpec, entry: &Entry, next: &mut Vec<AddrSpec>) {
        let more = match entry {
            Entry::Alias(targets) => targets,
            Entry::Account(to) => {
                self.take_account(to);
                if !to.account.is_enabled {
                    return;
                }
                &to.forward
            }
        };
        for target in more {
            // Somebody who forwards to their own address means their mailbox.
            if let Entry::Account(to) = entry
                && (key(target) == key(at) || key(target) == key(&to.account.address))
            {
                self.add(to);
            } else if self.seen.insert(key(target)) {
                next.push(target.clone());
            }
        }
    }

    fn take_account(&mut self, to: &Recipient) {
        if !to.account.is_enabled {
            self.is_any_disabled = true;
        } else if to.keeps_copy || to.forward.is_empty() {
            self.add(to);
        }
    }

    fn add(&mut self, to: &Recipient) {
        if self.targets.iter().all(|other| other.id != to.account.id) {
            self.targets.push(to.account.clone());
        }
    }

    fn verdict(self) -> Result<Verdict, Fault> {
        if !self.targets.is_empty() {
            return Ok(Verdict::Local(self.targets));
        }
        if self.is_any_disabled {
            return Ok(Verdict::Disabled);
        }
        if self.is_any_nobody {
            return Ok(Verdict::UnknownUser);
        }
        Err(self.give_up(&self.origin, Fault::Circle))
    }

    fn give_up(&self, at: &AddrSpec, fault: Fault) -> Fault {
        self.complain(at, &fault);
        fault
    }

    fn complain(&self, at: &AddrSpec, why: &dyn std::fmt::Display) {
        if !self.is_silent {
            tracing::warn!(alias = %self.origin, target = %at, %why, "an alias or forwarding has to be mended");
        }
    }
}
