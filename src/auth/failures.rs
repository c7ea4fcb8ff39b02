//! Failed logins, by account and network, for the whole process.
//!
//! By both, so that an attacker somewhere else cannot keep the owner out; and by network alone, against one password tried
//! on many accounts.
//! Invariants: no lock, no allocation; a table of fixed size. What it forgets when a bucket is full is the smallest count.
//! Limits: `BUCKETS` × 8 keys; a count halves every [`HALVES_AFTER_MINUTES`].
//! Not here: waiting (`Authenticator`), limits on connections (`node::peers`).

use crate::base::network::network_of;
use crate::model::login_key;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// 1 MiB.
const BUCKETS: usize = 1 << 14;

/// A typing mistake is forgotten in some minutes.
pub const HALVES_AFTER_MINUTES: u32 = 5;

/// After the first failure. Each further one doubles it.
pub const DELAY_FIRST: Duration = Duration::from_millis(500);

/// Longest wait of a login: above it clients give up and try again, which helps nobody.
pub const DELAY_MAX: Duration = Duration::from_secs(15);

/// Failures of one account from one network after which every login of it from there waits, also the right one.
pub const FAILURES_BEFORE_ALL_WAIT: u8 = 6;

/// Failures from one network, over all accounts, that an office of forgetful people may have.
pub const NETWORK_FAILURES_FREE: u8 = 50;

/// What a failure beyond them waits.
pub const NETWORK_DELAY: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; 8]);

/// The table.
#[derive(Debug)]
pub struct Failures {
    seed: u64,
    started: Instant,
    buckets: Box<[Bucket]>,
}

/// What a login is counted under.
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    account: u64,
    network: u64,
}

/// A slot, taken apart: the fingerprint of the key, its count and when it was that.
#[derive(Clone, Copy)]
struct Slot {
    fingerprint: u32,
    count: u8,
    minute: u32,
}

impl Slot {
    fn of(packed: u64) -> Self {
        Self {
            fingerprint: (packed >> 32) as u32,
            count: (packed >> 24) as u8,
            minute: (packed & 0x00ff_ffff) as u32,
        }
    }

    fn packed(self) -> u64 {
        u64::from(self.fingerprint) << 32 | u64::from(self.count) << 24 | u64::from(self.minute & 0x00ff_ffff)
    }

    fn count_at(self, minute: u32) -> u8 {
        let halvings = minute.saturating_sub(self.minute) / HALVES_AFTER_MINUTES;
        self.count.checked_shr(halvings).unwrap_or(0)
    }
}

impl Failures {
    /// An empty table; `seed`: a number nobody can guess.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            started: Instant::now(),
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
        }
    }

    /// Where failures of `login` from `peer` are counted.
    #[must_use]
    pub fn keys(&self, login: &[u8], peer: IpAddr) -> Keys {
        let (address, bits) = network_of(peer).key();
        let network = xxh3_64_with_seed(&[&address.to_le_bytes()[..], &[bits]].concat(), self.seed);
        // Of one account are all spellings of its login.
        let account = match std::str::from_utf8(login) {
            Ok(text) if !text.is_ascii() => login_key(text).into_bytes(),
            _ => login.to_ascii_lowercase(),
        };
        Keys {
            account: xxh3_64_with_seed(&account, network),
            network,
        }
    }

    /// What a login waits before it is looked at.
    #[must_use]
    pub fn delay_before(&self, keys: Keys, now: Instant) -> Duration {
        if self.count(keys.account, now) >= FAILURES_BEFORE_ALL_WAIT {
            DELAY_MAX
        } else {
            Duration::ZERO
        }
    }

    /// Counts a failure; what its answer waits.
    #[must_use]
    pub fn failed(&self, keys: Keys, now: Instant) -> Duration {
        let of_account = self.add(keys.account, now);
        let of_network = self.add(keys.network, now);
        let doublings = u32::from(of_account.saturating_sub(1)).min(10);
        let own = DELAY_FIRST.saturating_mul(1 << doublings).min(DELAY_MAX);
        if of_network > NETWORK_FAILURES_FREE {
            own.max(NETWORK_DELAY)
        } else {
            own
        }
    }

    /// The owner has come: the account's failures from there are forgotten.
    pub fn succeeded(&self, keys: Keys) {
        let wanted = fingerprint(keys.account);
        for slot in &self.bucket(keys.account).0 {
            let packed = slot.load(Ordering::Relaxed);
            if packed != 0 && Slot::of(packed).fingerprint == wanted {
                // Somebody else's change in the same moment wins.
                let _ = slot.compare_exchange(packed, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    fn minute(&self, now: Instant) -> u32 {
        let minutes = now.saturating_duration_since(self.started).as_secs() / 60;
        // 31 years.
        u32::try_from(minutes).unwrap_or(0x00ff_ffff).min(0x00ff_ffff)
    }

    fn bucket(&self, key: u64) -> &Bucket {
        &self.buckets[(key as usize) % BUCKETS]
    }

    fn count(&self, key: u64, now: Instant) -> u8 {
        let (wanted, minute) = (fingerprint(key), self.minute(now));
        let slots = self
            .bucket(key)
            .0
            .iter()
            .map(|slot| Slot::of(slot.load(Ordering::Relaxed)));
        slots
            .filter(|slot| slot.fingerprint == wanted)
            .map(|slot| slot.count_at(minute))
            .max()
            .unwrap_or(0)
    }

    fn add(&self, key: u64, now: Instant) -> u8 {
        let (wanted, minute) = (fingerprint(key), self.minute(now));
        let slots = &self.bucket(key).0;
        loop {
            let read = || slots.iter().map(|slot| (slot, slot.load(Ordering::Relaxed)));
            let own = read().find(|(_, packed)| Slot::of(*packed).fingerprint == wanted);
            let smallest = || read().min_by_key(|(_, packed)| Slot::of(*packed).count_at(minute));
            let Some((slot, packed)) = own.or_else(smallest) else {
                return 1;
            };
            let found = Slot::of(packed);
            let before = if found.fingerprint == wanted {
                found.count_at(minute)
            } else {
                0
            };
            let next = Slot {
                fingerprint: wanted,
                count: before.saturating_add(1),
                minute,
            };
            let exchanged =
                slot.compare_exchange(packed, next.packed(), Ordering::Relaxed, Ordering::Relaxed);
            if exchanged.is_ok() {
                return next.count;
            }
        }
    }
}

/// Never 0, which is a free slot's.
fn fingerprint(key: u64) -> u32 {
    ((key >> 32) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn delays_grow_for_one_account_and_network_and_for_nobody_else() {
        let (table, now) = (Failures::new(7), Instant::now());
        let attacked = table.keys(b"Alice@x.test", address("192.0.2.7"));
        let delays: Vec<u128> = (0..7).map(|_| table.failed(attacked, now).as_millis()).collect();
        assert_eq!(delays, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
        let neighbour = table.keys(b"alice@x.test", address("192.0.2.200"));
        assert_eq!(table.delay_before(neighbour, now), DELAY_MAX);
        let owner = table.keys(b"alice@x.test", address("198.51.100.1"));
        assert_eq!(table.delay_before(owner, now), Duration::ZERO);
        assert_eq!(table.failed(owner, now), DELAY_FIRST);
        let other = table.keys(b"bob@x.test", address("192.0.2.7"));
        assert_eq!(table.failed(other, now), DELAY_FIRST);
    }

    #[test]
    fn failures_are_forgotten_by_time_and_by_success() {
        let (table, now) = (Failures::new(7), Instant::now());
        let keys = table.keys(b"alice@x.test", address("2001:db8::1"));
        for _ in 0..6 {
            let _ = table.failed(keys, now);
        }
        assert_eq!(table.delay_before(keys, now), DELAY_MAX);
        let later = now + Duration::from_secs(u64::from(HALVES_AFTER_MINUTES) * 60 + 60);
        assert_eq!(table.delay_before(keys, later), Duration::ZERO);
        assert_eq!(
            table.failed(keys, later),
            Duration::from_secs(4),
            "half of six, and one"
        );
        table.succeeded(keys);
        assert_eq!(table.failed(keys, later), DELAY_FIRST);
        let tomorrow = now + Duration::from_secs(86_400);
        assert_eq!(table.failed(keys, tomorrow), DELAY_FIRST);
    }

    #[test]
    fn one_password_on_many_accounts_is_slowed_by_network() {
        let (table, now) = (Failures::new(7), Instant::now());
        let delay = |n: u32| {
            let login = format!("user{n}@x.test");
            table.failed(table.keys(login.as_bytes(), address("192.0.2.7")), now)
        };
        let delays: Vec<Duration> = (0..60).map(delay).collect();
        assert_eq!(delays[49], DELAY_FIRST);
        assert_eq!(delays[50], NETWORK_DELAY);
    }

    #[test]
    fn a_flood_of_names_neither_grows_the_table_nor_clears_a_large_count() {
        let (table, now) = (Failures::new(7), Instant::now());
        let keys = table.keys(b"alice@x.test", address("192.0.2.7"));
        for _ in 0..20 {
            let _ = table.failed(keys, now);
        }
        for n in 0..200_000_u32 {
            let keys = Keys {
                account: xxh3_64_with_seed(&n.to_le_bytes(), 1),
                network: 0,
            };
            let _ = table.add(keys.account, now);
        }
        assert_eq!(table.delay_before(keys, now), DELAY_MAX);
    }
}
