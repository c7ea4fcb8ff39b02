//! Open connections of one core, and what the networks they come from may take of it.
//!
//! A peer's connections are counted for each port apart, so that the many mail readers behind one address keep nobody
//! from sending; over all cores (`peers`). What one core has, connections and memory for messages, is shared between
//! networks: each may have as much as is still free, so that however many one takes the next finds half as much, and a
//! newcomer is served while the greedy are turned away (dynamic thresholds, Choudhury and Hahne 1998).
//!
//! Invariants: a connection is counted as long as its [`Admission`] lives, a panic included, and its [`Place`] moves with
//! it to another core; a network without connections takes no memory.
//! Limits: [`CONNECTIONS_MAX`] and what the descriptors of the process allow; [`MESSAGE_MEMORY_BYTES_MAX`]; those for a
//! peer are the caller's.
//! Failure: what is too much is refused for now (421, 452), never for good.
//! Not here: descriptors running out all the same (`net::listener`).

use super::peers::{PeerLimits, Peers, Place};
use crate::base::network::{Network, network_of};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// Connections of one core, whoever they are from. Far above what a core serves well, and at 4 to 8 KiB for an idle one below
/// what would exhaust its memory.
pub const CONNECTIONS_MAX: usize = 100_000;

/// Connections of a network that are served however many others there are, as long as there is room at all: what an
/// honest peer needs.
pub const NETWORK_CONNECTIONS_MIN: usize = 20;

/// Memory of one core for messages on their way in, octets: a thousand of the longest that are kept whole in memory.
/// Longer ones are written while they come.
pub const MESSAGE_MEMORY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Memory of a network that it has however little is left for others, as long as there is room at all: some messages.
pub const NETWORK_MEMORY_BYTES_MIN: usize = 1024 * 1024;

/// Peers at a time that are told why they are turned away; further ones are closed without a word.
const FAREWELLS_MAX: usize = 64;

/// Clones are the same count.
#[derive(Clone, Debug)]
pub struct Connections(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    total: Cell<usize>,
    farewells: Cell<usize>,
    message_bytes: Cell<usize>,
    peers: Arc<Peers>,
    networks: RefCell<HashMap<Network, Weak<Share>>>,
}

/// One open connection.
#[derive(Debug)]
pub struct Admission {
    connections: Connections,
    place: Option<Place>,
    share: Option<Rc<Share>>,
}

/// What one network has of this core.
#[derive(Debug)]
pub struct Share {
    connections: Connections,
    network: Network,
    count: Cell<usize>,
    message_bytes: Cell<usize>,
    /// It may take all there is: this site's own, or loopback in the demo.
    is_trusted: bool,
}

/// Somebody is being told why there is no place.
#[derive(Debug)]
pub struct Farewell(Connections);

/// Memory for one message on its way in, given back when dropped.
#[derive(Debug)]
pub struct MessageMemory {
    share: Rc<Share>,
    bytes: usize,
}

impl Connections {
    /// At most `max` on this core; `peers` is the table that all cores share.
    #[must_use]
    pub fn new(max: usize, peers: Arc<Peers>) -> Self {
        Self(Rc::new(Inner {
            max: max.min(CONNECTIONS_MAX),
            total: Cell::new(0),
            farewells: Cell::new(0),
            message_bytes: Cell::new(0),
            peers,
            networks: RefCell::default(),
        }))
    }

    /// Counts a connection in; `None` when there are too many.
    #[must_use]
    pub fn admit(&self) -> Option<Admission> {
        let total = self.0.total.get();
        (total < self.0.max).then(|| self.count_in(None))
    }

    /// Counts a connection in that another core admitted.
    #[must_use]
    pub fn adopt(&self, place: Option<Place>) -> Admission {
        self.count_in(place)
    }

    fn count_in(&self, place: Option<Place>) -> Admission {
        self.0.total.set(self.0.total.get() + 1);
        Admission {
            connections: self.clone(),
            place,
            share: None,
        }
    }

    /// Leave to tell one more peer that there is no place.
    #[must_use]
    pub fn farewell(&self) -> Option<Farewell> {
        let farewells = self.0.farewells.get();
        (farewells < FAREWELLS_MAX).then(|| {
            self.0.farewells.set(farewells + 1);
            Farewell(self.clone())
        })
    }

    fn share(&self, network: Network, is_trusted: bool) -> Rc<Share> {
        let mut networks = self.0.networks.borrow_mut();
        if let Some(share) = networks.get(&network).and_then(Weak::upgrade) {
            return share;
        }
        let share = Rc::new(Share {
            connections: self.clone(),
            network,
            count: Cell::new(0),
            message_bytes: Cell::new(0),
            is_trusted,
        });
        networks.insert(network, Rc::downgrade(&share));
        share
    }
}

impl Admission {
    /// Says whose connection it is, once that is known; false when that peer or its network has too many. `None`: no
    /// limit is meant for it.
    #[must_use]
    pub fn identify(&mut self, limits: Option<PeerLimits>, peer: IpAddr, port: u16) -> bool {
        let share = self.connections.share(network_of(peer), limits.is_none());
        if let Some(limits) = limits {
            if !share.has_place() {
                return false;
            }
            let Some(place) = self.connections.0.peers.take(limits, peer, port) else {
                return false;
            };
            self.place = Some(place);
        }
        share.count.set(share.count.get() + 1);
        self.share = Some(share);
        true
    }

    /// What its network has of this core; `None` before [`Self::identify`].
    #[must_use]
    pub fn share(&self) -> Option<&Rc<Share>> {
        self.share.as_ref()
    }

    /// Its place among its peer's connections, to take along to another core.
    #[must_use]
    pub fn into_place(mut self) -> Option<Place> {
        self.place.take()
    }
}

impl Share {
    /// Whether one more connection of this network is within its share.
    fn has_place(&self) -> bool {
        let inner = &self.connections.0;
        let free = inner.max - inner.total.get().min(inner.max);
        self.count.get() < free.max(NETWORK_CONNECTIONS_MIN)
    }

    /// Whether `bytes` more of messages are within its share of the memory.
    #[must_use]
    pub fn has_memory(&self, bytes: usize) -> bool {
        let free = MESSAGE_MEMORY_BYTES_MAX - self.connections.0.message_bytes.get();
        let own = if self.is_trusted {
            free
        } else {
            free.max(NETWORK_MEMORY_BYTES_MIN)
                .saturating_sub(self.message_bytes.get())
        };
        bytes <= free.min(own)
    }

    /// Memory for a message, none of it taken yet.
    #[must_use]
    pub fn message_memory(self: &Rc<Self>) -> MessageMemory {
        MessageMemory {
            share: self.clone(),
            bytes: 0,
        }
    }
}

impl MessageMemory {
    /// Takes what `bytes` in all need beyond what it has; false, and nothing taken, when that is too much.
    #[must_use]
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if !self.share.has_memory(more) {
            return false;
        }
        self.bytes += more;
        for held in [&self.share.message_bytes, &self.share.connections.0.message_bytes] {
            held.set(held.get() + more);
        }
        true
    }
}

impl Drop for MessageMemory {
    fn drop(&mut self) {
        for held in [&self.share.message_bytes, &self.share.connections.0.message_bytes] {
            held.set(held.get() - self.bytes);
        }
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let farewells = &self.0.0.farewells;
        farewells.set(farewells.get() - 1);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.connections.0.networks.borrow_mut().remove(&self.network);
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let total = &self.connections.0.total;
        total.set(total.get() - 1);
        if let Some(share) = &self.share {
            share.count.set(share.count.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PeerLimits = PeerLimits {
        address: 500,
        network: 1_000,
    };

    fn connections(max: usize) -> Connections {
        Connections::new(max, Arc::new(Peers::new(1)))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Opens as many connections of `network` as it may have.
    fn fill(connections: &Connections, network: u8) -> Vec<Admission> {
        let mut open = Vec::new();
        for n in 0..=255 {
            let Some(mut admission) = connections.admit() else {
                break;
            };
            if !admission.identify(Some(LIMITS), IpAddr::from([192, 0, network, n]), 25) {
                break;
            }
            open.push(admission);
        }
        open
    }

    #[test]
    fn there_is_an_end_to_all() {
        let connections = connections(3);
        let all: Vec<Option<Admission>> = (0..4).map(|_| connections.admit()).collect();
        assert!(all[..3].iter().all(Option::is_some) && all[3].is_none());
        drop(all);
        assert_eq!(connections.0.total.get(), 0);
        let farewells: Vec<_> = (0..=FAREWELLS_MAX).map(|_| connections.farewell()).collect();
        assert!(farewells[FAREWELLS_MAX].is_none() && farewells[0].is_some());
        drop(farewells);
        assert!(connections.farewell().is_some());
    }

    #[test]
    fn a_greedy_network_leaves_room_for_every_other() {
        let connections = connections(200);
        let greedy = fill(&connections, 1);
        assert!((95..=105).contains(&greedy.len()), "{}", greedy.len());
        let second = fill(&connections, 2);
        assert!((45..=55).contains(&second.len()), "{}", second.len());
        let third = fill(&connections, 3);
        assert!(third.len() >= NETWORK_CONNECTIONS_MIN, "{}", third.len());
        assert!(connections.admit().is_some());
        drop((greedy, second, third));
        assert!(connections.0.networks.borrow().is_empty());
        assert_eq!(connections.0.total.get(), 0);
    }

    #[test]
    fn memory_is_shared_and_given_back() {
        const MIB: usize = 1024 * 1024;
        let connections = connections(10);
        let mut admissions: Vec<Admission> = (0..3).map(|_| connections.admit().expect("room")).collect();
        assert!(admissions[0].identify(Some(LIMITS), address("192.0.2.1"), 25));
        assert!(admissions[1].identify(Some(LIMITS), address("198.51.100.1"), 25));
        assert!(admissions[2].identify(None, address("127.0.0.1"), 25));
        let memory = |n: usize| admissions[n].share().expect("identified").message_memory();
        let mut greedy = memory(0);
        assert!(greedy.grow_to(100 * MIB) && greedy.grow_to(100 * MIB));
        assert!(
            greedy.grow_to(127 * MIB) && !greedy.grow_to(130 * MIB),
            "half of it"
        );
        let mut other = memory(1);
        assert!(
            other.grow_to(60 * MIB) && !other.grow_to(70 * MIB),
            "half of the rest"
        );
        let mut trusted = memory(2);
        assert!(
            trusted.grow_to(69 * MIB) && !trusted.grow_to(70 * MIB),
            "all that is left"
        );
        let mut late = memory(0);
        assert!(!late.grow_to(MIB) && !late.grow_to(1));
        drop((greedy, other, trusted));
        assert!(late.grow_to(MIB));
        drop(late);
        assert_eq!(connections.0.message_bytes.get(), 0);
    }

    #[test]
    fn a_place_moves_to_another_core() {
        let peers = Arc::new(Peers::new(1));
        let (here, there) = (Connections::new(9, peers.clone()), Connections::new(9, peers));
        let limits = PeerLimits {
            address: 1,
            network: 1,
        };
        let mut admission = here.admit().expect("room");
        assert!(admission.identify(Some(limits), address("192.0.2.1"), 110));
        let moved = there.adopt(admission.into_place());
        assert_eq!((here.0.total.get(), there.0.total.get()), (0, 1));
        let mut next = here.admit().expect("room");
        assert!(
            !next.identify(Some(limits), address("192.0.2.1"), 110),
            "still counted"
        );
        drop(moved);
        assert!(next.identify(Some(limits), address("192.0.2.1"), 110));
    }
}
