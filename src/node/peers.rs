//! How many connections each address and each network has to the whole process: a table that all cores share, as they do
//! that of failed logins (`auth::failures`).
//!
//! One address lands on every core (SO_REUSEPORT), so that a limit counted on each core would be a limit times the number
//! of cores, and a session that moved would be lost to it. A table of fixed size, touched when a connection comes and
//! when it goes, and at no other time.
//!
//! Invariants: a [`Place`] counts as long as it lives, on whatever core; what is counted in is counted out; no lock, no
//! allocation, no wait.
//! Layout: buckets of one cache line, eight slots each; a slot is the fingerprint of a key and its count, changed
//! together, and free when the count is 0. A key counted by two cores in the same moment may have two slots of its
//! bucket: their sum is its count.
//! Limits: `BUCKETS` × 8 keys. A key whose bucket is full is not counted, and so not limited: keys are hashed with a
//! random seed, so nobody can fill a bucket on purpose, and at 100,000 connections one in a million is.
//! A limit may be passed by as many as count in the same instant.
//! Not here: which limits there are (`session::service`), what one core's connections may take of it (`connections`).

use crate::base::network::{Network, network_of};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// 2 MiB.
const BUCKETS: usize = 1 << 15;

/// Bits of a slot that count; the others are the fingerprint.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// What counts as one IPv6 address: the network a single site gets at the least (RFC 6177), in which it may make up
/// addresses. An IPv4 address is itself.
const IPV6_ADDRESS_BITS: u8 = 64;

/// One cache line, so that two cores meet only where two keys do.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; 8]);

/// The table.
#[derive(Debug)]
pub struct Peers {
    seed: u64,
    buckets: Box<[Bucket]>,
}

/// How many connections one peer may have on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// From one address.
    pub address: usize,
    /// From one network.
    pub network: usize,
}

/// One connection in the table; it may change cores.
#[derive(Debug)]
pub struct Place {
    peers: Arc<Peers>,
    /// Hashes of what was counted.
    keys: [Option<u64>; 2],
}

/// What counts as the address that `address` is.
fn address_of(address: IpAddr) -> Network {
    let bits = match address.to_canonical() {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => IPV6_ADDRESS_BITS,
    };
    Network::around(address, bits).expect("an address has that many bits")
}

impl Peers {
    /// An empty table; `seed` is random.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
        }
    }

    /// Counts a connection of `address` to `port` in; `None` when it has as many as it may, or its network has.
    #[must_use]
    pub fn take(self: &Arc<Self>, limits: PeerLimits, address: IpAddr, port: u16) -> Option<Place> {
        let mut place = Place {
            peers: self.clone(),
            keys: [None; 2],
        };
        let wanted = [
            (address_of(address), limits.address),
            (network_of(address), limits.network),
        ];
        for (key, (network, max)) in place.keys.iter_mut().zip(wanted) {
            let hash = self.hash(network, port);
            // What was counted before a refusal is counted out by the place's end.
            *key = self.add(hash, max as u64)?.then_some(hash);
        }
        Some(place)
    }

    fn hash(&self, network: Network, port: u16) -> u64 {
        let (address, bits) = network.key();
        let mut key = [0; 19];
        key[..16].copy_from_slice(&address.to_le_bytes());
        key[16] = bits;
        key[17..].copy_from_slice(&port.to_le_bytes());
        xxh3_64_with_seed(&key, self.seed)
    }

    fn bucket(&self, hash: u64) -> (&[AtomicU64; 8], u64) {
        let at = usize::try_from(hash % BUCKETS as u64).expect("smaller than a usize");
        // The low bits chose the bucket; no fingerprint is 0 in a slot that counts, because its count is not.
        (&self.buckets[at].0, hash & !COUNT_MASK)
    }

    /// `None`: there are `max` already. `Some(false)`: no slot is free, nothing was counted.
    fn add(&self, hash: u64, max: u64) -> Option<bool> {
        let (slots, fingerprint) = self.bucket(hash);
        loop {
            let (mut count, mut own, mut free) = (0, None, None);
            for slot in slots {
                let value = slot.load(Ordering::Relaxed);
                if value & COUNT_MASK == 0 {
                    free = free.or(Some((slot, value)));
                } else if value & !COUNT_MASK == fingerprint {
                    count += value & COUNT_MASK;
                    own = Some((slot, value));
                }
            }
            if count >= max.min(COUNT_MASK) {
                return None;
            }
            let (slot, before, after) = match (own, free) {
                (Some((slot, value)), _) => (slot, value, value + 1),
                (None, Some((slot, value))) => (slot, value, fingerprint | 1),
                (None, None) => return Some(false),
            };
            if change(slot, before, after) {
                return Some(true);
            }
        }
    }

    /// Takes back what [`Self::add`] counted.
    fn remove(&self, hash: u64) {
        let (slots, fingerprint) = self.bucket(hash);
        loop {
            // There is one that counts: somebody else's removal may have taken this one's, and left its own.
            for slot in slots {
                let value = slot.load(Ordering::Relaxed);
                if value & COUNT_MASK == 0 || value & !COUNT_MASK != fingerprint {
                    continue;
                }
                let after = if value & COUNT_MASK == 1 { 0 } else { value - 1 };
                if change(slot, value, after) {
                    return;
                }
            }
        }
    }
}

/// Nothing else is published through a slot, so no order is asked for.
fn change(slot: &AtomicU64, before: u64, after: u64) -> bool {
    slot.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        for key in self.keys.iter_mut().filter_map(Option::take) {
            self.peers.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn is_empty(peers: &Peers) -> bool {
        let slots = peers.buckets.iter().flat_map(|bucket| &bucket.0);
        slots.into_iter().all(|slot| slot.load(Ordering::Relaxed) == 0)
    }

    const LIMITS: PeerLimits = PeerLimits {
        address: 2,
        network: 3,
    };

    #[test]
    fn an_address_and_a_network_have_so_many_until_one_goes() {
        let peers = Arc::new(Peers::new(1));
        let take = |text: &str, port| peers.take(LIMITS, address(text), port);
        let first = take("192.0.2.1", 25);
        let second = take("::ffff:192.0.2.1", 25);
        assert!(first.is_some() && second.is_some());
        assert!(take("192.0.2.1", 25).is_none(), "the address has two");
        assert!(take("192.0.2.1", 143).is_some(), "another port");
        let third = take("192.0.2.2", 25);
        assert!(third.is_some(), "another address");
        assert!(take("192.0.2.3", 25).is_none(), "the network has three");
        assert!(take("192.0.3.3", 25).is_some(), "another network");
        drop(first);
        let fourth = take("192.0.2.1", 25);
        assert!(fourth.is_some(), "a refusal left nothing behind");
        drop((second, third, fourth));
        assert!(is_empty(&peers));
    }

    #[test]
    fn an_ipv6_site_is_one_address() {
        let peers = Arc::new(Peers::new(2));
        let take = |text: &str| peers.take(LIMITS, address(text), 25);
        let held = [take("2001:db8::1"), take("2001:db8::2:1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("2001:db8::3").is_none());
        let other = take("2001:db8:0:1::1");
        assert!(other.is_some() && take("2001:db8:0:2::1").is_none(), "one /48");
    }

    #[test]
    fn keys_that_find_no_slot_are_served_and_counted_out() {
        let peers = Arc::new(Peers::new(3));
        let places: Vec<Place> = (0..400_000u32)
            .filter_map(|n| peers.take(LIMITS, IpAddr::V4((n << 8).into()), 25))
            .collect();
        assert_eq!(places.len(), 400_000, "nobody is refused for want of a slot");
        drop(places);
        assert!(is_empty(&peers));
    }

    #[test]
    fn many_threads_pass_no_limit_by_more_than_their_number_and_leave_nothing() {
        const THREADS: usize = 4;
        let peers = Arc::new(Peers::new(4));
        let limits = PeerLimits {
            address: 10,
            network: 1_000,
        };
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for round in 0..20_000 {
                        held.extend(peers.take(limits, address("192.0.2.1"), 25));
                        assert!(held.len() <= 10 + THREADS, "{}", held.len());
                        if round % 3 == 0 {
                            held.clear();
                        }
                    }
                });
            }
        });
        assert!(is_empty(&peers));
        let held: Vec<_> = (0..20)
            .map(|_| peers.take(limits, address("192.0.2.1"), 25))
            .collect();
        assert_eq!(held.iter().filter(|place| place.is_some()).count(), 10);
    }
}
