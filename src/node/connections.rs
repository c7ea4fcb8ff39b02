//! Open connections of one core, and how many one peer may have of them.
//!
//! A peer is an IPv4 address, or an IPv6 network of `IPV6_PEER_BITS`; it is counted for each port apart, so that the many
//! mail readers behind one address keep nobody from sending.
//! Invariants: a connection is counted as long as its [`Admission`] lives, a panic included; a peer without connections
//! takes no memory.
//! Limits: [`CONNECTIONS_MAX`]; those for a peer are the caller's. All of them for each core: cores share nothing, and the
//! kernel spreads one peer's connections over them.
//! LIMITATION: a session that moved to another core after its login is not counted any more; by then it is known whose it is.
//! Not here: descriptors running out (`net::listener`).

use crate::base::network::Network;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// Connections of one core, whoever they are from. Far above what a core serves well, and at 4 to 8 KiB for an idle one below
/// what would exhaust its memory; beyond it new ones are closed without a word.
pub const CONNECTIONS_MAX: usize = 100_000;

/// What counts as one IPv6 peer: the network a single site gets at the least (RFC 6177), in which it may make up addresses.
const IPV6_PEER_BITS: u8 = 64;

/// One peer on one port.
type Key = (Network, u16);

/// Clones are the same count.
#[derive(Clone, Debug, Default)]
pub struct Connections(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    total: Cell<usize>,
    by_peer: RefCell<HashMap<Key, usize>>,
}

/// One open connection.
#[derive(Debug)]
pub struct Admission {
    connections: Connections,
    peer: Option<Key>,
}

impl Connections {
    /// Counts a connection in; `None` when there are too many.
    #[must_use]
    pub fn admit(&self) -> Option<Admission> {
        let total = self.0.total.get();
        (total < CONNECTIONS_MAX).then(|| {
            self.0.total.set(total + 1);
            Admission {
                connections: self.clone(),
                peer: None,
            }
        })
    }
}

impl Admission {
    /// Says whose connection it is, once that is known; false when that peer has `max` of them on this port already.
    #[must_use]
    pub fn is_within(&mut self, max: usize, peer: IpAddr, port: u16) -> bool {
        let peer = peer.to_canonical();
        let bits = if peer.is_ipv4() { 32 } else { IPV6_PEER_BITS };
        let Some(network) = Network::around(peer, bits) else {
            return false;
        };
        let mut by_peer = self.connections.0.by_peer.borrow_mut();
        let key = (network, port);
        if by_peer.get(&key).is_some_and(|count| *count >= max) {
            return false;
        }
        *by_peer.entry(key).or_default() += 1;
        drop(by_peer);
        let before = self.peer.replace(key);
        self.connections.forget(before);
        true
    }
}

impl Connections {
    fn forget(&self, peer: Option<Key>) {
        let Some(key) = peer else { return };
        let mut by_peer = self.0.by_peer.borrow_mut();
        if let Some(count) = by_peer.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                by_peer.remove(&key);
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let total = &self.connections.0.total;
        total.set(total.get() - 1);
        self.connections.forget(self.peer.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_peer_has_so_many_and_no_more_until_one_goes() {
        let connections = Connections::default();
        let mut open: Vec<Admission> = (0..4).map(|_| connections.admit().expect("room")).collect();
        let peer = address("192.0.2.1");
        assert!(open[0].is_within(2, peer, 25));
        assert!(open[1].is_within(2, address("::ffff:192.0.2.1"), 25));
        assert!(!open[2].is_within(2, peer, 25));
        assert!(open[2].is_within(2, peer, 143), "another port");
        assert!(open[3].is_within(2, address("192.0.2.2"), 25), "another peer");
        drop(open.remove(0));
        let mut next = connections.admit().expect("room");
        assert!(next.is_within(2, peer, 25));
        drop((open, next));
        assert_eq!(connections.0.total.get(), 0);
        assert!(connections.0.by_peer.borrow().is_empty());
    }

    #[test]
    fn an_ipv6_site_is_one_peer() {
        let connections = Connections::default();
        let mut first = connections.admit().expect("room");
        let mut second = connections.admit().expect("room");
        assert!(first.is_within(1, address("2001:db8::1"), 25));
        assert!(!second.is_within(1, address("2001:db8::2:1"), 25));
        assert!(second.is_within(1, address("2001:db8:0:1::1"), 25));
    }

    #[test]
    fn there_is_an_end_to_all() {
        let connections = Connections::default();
        let all: Vec<Option<Admission>> = (0..=CONNECTIONS_MAX).map(|_| connections.admit()).collect();
        assert!(all[..CONNECTIONS_MAX].iter().all(Option::is_some) && all[CONNECTIONS_MAX].is_none());
    }
}
