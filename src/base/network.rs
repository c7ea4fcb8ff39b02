//! A set of IP addresses that begin alike (CIDR, RFC 4632): what an operator writes to say which peers are meant.
//!
//! Invariants: no bit behind the prefix is set; an IPv4 address inside IPv6 counts as the IPv4 address it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses whose first `bits` are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// The network of this many bits that `address` lies in; `None` when the address has fewer.
    #[must_use]
    pub fn around(address: IpAddr, bits: u8) -> Option<Self> {
        let address = address.to_canonical();
        let address = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(
                v4.to_bits() & u32::try_from(mask(32, bits)?).ok()?,
            )),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask(128, bits)?)),
        };
        Some(Self { address, bits })
    }

    /// Its address as a number, an IPv4 address as inside IPv6, and its bits: equal for equal networks, and for a hash.
    #[must_use]
    pub fn key(&self) -> (u128, u8) {
        let (address, is_ipv4) = match self.address {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped().to_bits(), true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        (address, self.bits + if is_ipv4 { 96 } else { 0 })
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::around(address, self.bits).is_some_and(|network| network == *self)
    }
}

/// What counts as one network where peers are limited: what is routed, and so given to one owner, at the least. IPv6: a site
/// (RFC 6177).
const IPV4_NETWORK_BITS: u8 = 24;
const IPV6_NETWORK_BITS: u8 = 48;

/// The network of an IPv4 /24 or an IPv6 /48 that `address` lies in.
///
/// # Panics
/// Never: addresses have that many bits.
#[must_use]
pub fn network_of(address: IpAddr) -> Network {
    let bits = match address.to_canonical() {
        IpAddr::V4(_) => IPV4_NETWORK_BITS,
        IpAddr::V6(_) => IPV6_NETWORK_BITS,
    };
    Network::around(address, bits).expect("an address has that many bits")
}

/// What RFC 6890's registries do not let the whole world reach as one machine, as they are today: this network, private,
/// carriers', loopback, link-local, protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved.
const SPECIAL_IPV4: [([u8; 4], u8); 13] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
];

/// From here on IPv4 has multicast (RFC 5771) and what is reserved (RFC 1112 §4).
const IPV4_MULTICAST: u8 = 224;

/// The part of IPv6 that is given out for machines (RFC 4291 §2.4 as IANA has begun it): 2000::/3. Not in it: loopback, unique
/// local, link-local, multicast, translation, discard, and what nobody has a use for yet.
const IPV6_GIVEN_OUT: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Of those, not for machines: protocol assignments with Teredo (RFC 2928, RFC 4380), documentation (RFC 3849, RFC 9637), 6to4
/// (RFC 3056, whose relays are gone: RFC 7526).
const SPECIAL_IPV6: [([u16; 8], u8); 4] = [
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Whether the world can reach a machine by this address, as far as that can be seen from it.
#[must_use]
pub fn is_global(address: IpAddr) -> bool {
    let lies_in = |network: IpAddr, bits: u8| {
        Network::around(network, bits).is_some_and(|network| network.contains(address))
    };
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_special = SPECIAL_IPV4
                .iter()
                .any(|&(network, bits)| lies_in(network.into(), bits));
            v4.octets()[0] < IPV4_MULTICAST && !is_special
        }
        IpAddr::V6(_) => {
            let (network, bits) = IPV6_GIVEN_OUT;
            let is_special = SPECIAL_IPV6
                .iter()
                .any(|&(network, bits)| lies_in(network.into(), bits));
            lies_in(network.into(), bits) && !is_special
        }
    }
}

/// The first `bits` of `all`; `None` when there are not so many.
fn mask(all: u32, bits: u8) -> Option<u128> {
    let rest = all.checked_sub(bits.into())?;
    let ones = u128::MAX >> (128 - all);
    Some(ones & ones.checked_shl(rest).unwrap_or(0))
}

impl FromStr for Network {
    type Err = String;

    /// `192.0.2.0/24`, `2001:db8::/32`, or an address alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{address}` is no IP address"))?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits
                .parse()
                .map_err(|_| format!("`{bits}` is no number of bits"))?,
            None => all,
        };
        let network = Some(bits)
            .filter(|bits| *bits <= all)
            .and_then(|bits| Self::around(address, bits))
            .ok_or_else(|| format!("an address like {address} has {all} bits"))?;
        if network.address != address {
            return Err(format!("{address} is no network of {bits} bits; {network} is"));
        }
        Ok(network)
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn addresses_are_in_their_networks_and_no_others() {
        for (net, address, is_in) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(network(net).contains(address), is_in, "{net} {address}");
        }
        assert_eq!(network("10.0.0.0/8").to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_no_network_is_explained() {
        for (text, part) in [
            ("x", "no IP address"),
            ("10.0.0.0/33", "32 bits"),
            ("::/129", "128 bits"),
            ("10.0.0.0/300", "no number"),
            ("10.1.2.3/8", "10.0.0.0/8 is"),
            ("10.0.0.0/", "no number"),
        ] {
            let error = text.parse::<Network>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_of_the_world_are_told_from_those_with_a_special_purpose() {
        let is_global = |text: &str| is_global(text.parse().expect("an address"));
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.254",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.255",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "64:ff9b::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2001:db8:ffff::1",
            "2002:808:808::1",
            "3fff:fff::1",
            "4000::1",
            "::ffff:10.0.0.1",
            "::ffff:192.0.2.1",
        ] {
            assert!(!is_global(special), "{special}");
        }
        for global in [
            "1.0.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "100.63.0.1",
            "192.0.1.1",
            "192.0.3.1",
            "198.17.255.255",
            "198.20.0.1",
            "198.51.101.1",
            "203.0.112.1",
            "223.255.255.254",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "2003::1",
            "2600::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_global(global), "{global}");
        }
    }
}
