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

/// Whether nobody beyond this site can reach this address: loopback, link-local, and what RFC 1918, RFC 6598 (carriers') and
/// RFC 4193 leave to sites.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let is_carriers = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || is_carriers
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
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
    fn private_addresses_are_told_from_those_of_the_world() {
        let is_private = |text: &str| is_private(text.parse().expect("an address"));
        for private in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.254",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(private), "{private}");
        }
        for public in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "100.63.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(public), "{public}");
        }
    }
}
