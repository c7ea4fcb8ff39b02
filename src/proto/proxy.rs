//! The PROXY protocol, versions 1 and 2: how a load balancer says for whom it opened a connection, before anything else.
//!
//! The parser is given all octets received so far and answers with the header, a fault, or how many more octets may be
//! received without taking any that lie behind the header: those belong to the session, or to its TLS handshake.
//! Invariants: a header has one meaning whatever pieces it came in; no octet behind it is ever asked for.
//! Limits: [`V1_BYTES_MAX`], [`V2_BYTES_MAX`].
//! Failure: whatever is no header is a fault, and the connection is closed without a word: the specification forbids
//! guessing, and a peer that could leave the header away could pass for the proxy itself.
//! Standard: HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2. Extensions (TLVs) are skipped.
//! Not here: whose headers are believed (`node::Settings`), waiting for one (`session::proxied`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, CRLF included (section 2.1).
pub const V1_BYTES_MAX: usize = 107;

/// Extensions of version 2, with the addresses. The specification allows 64 KiB; what is in use (TLS names, network ids)
/// fits into a few hundred.
const V2_PAYLOAD_BYTES_MAX: usize = 1024;

/// Longest header of version 2.
pub const V2_BYTES_MAX: usize = V2_START_BYTES + V2_PAYLOAD_BYTES_MAX;

/// Signature, version and command, family and transport, length of the rest.
const V2_START_BYTES: usize = 16;

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The shortest header there is: `PROXY UNKNOWN` CRLF.
const HEADER_BYTES_MIN: usize = 15;

/// Who is at the other end of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This client.
    Client(SocketAddr),
    /// The proxy itself, to see whether we live (version 2's LOCAL).
    Proxy,
    /// A client whose address the proxy does not know or cannot tell.
    Unknown,
}

/// What was received so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The beginning of a header. Receive at most this many octets (one or more) and come again with all.
    Needs(usize),
    /// A header.
    Whole {
        /// What it says.
        source: Source,
        /// How long it was.
        taken: usize,
    },
    /// No header.
    Fault(Fault),
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It begins with something else.
    #[error("the connection does not begin with a PROXY header")]
    Signature,
    /// Beyond the limits.
    #[error("the PROXY header is too long")]
    TooLong,
    /// It is not written as it should be.
    #[error("the PROXY header is malformed")]
    Syntax,
}

/// Reads the header at the beginning of `input`.
#[must_use]
pub fn parse(input: &[u8]) -> Progress {
    if begins_alike(input, V2_SIGNATURE) {
        return parse_v2(input);
    }
    if begins_alike(input, V1_SIGNATURE) {
        return parse_v1(input);
    }
    Progress::Fault(Fault::Signature)
}

fn begins_alike(input: &[u8], signature: &[u8]) -> bool {
    let count = input.len().min(signature.len());
    input[..count] == signature[..count]
}

fn parse_v1(input: &[u8]) -> Progress {
    let line = &input[..input.len().min(V1_BYTES_MAX)];
    let Some(end) = line.iter().position(|octet| *octet == b'\n') else {
        if line.len() == V1_BYTES_MAX {
            return Progress::Fault(Fault::TooLong);
        }
        // Before the end stand a CR and an LF at the least, behind a CR only the LF.
        let least = if line.ends_with(b"\r") { 1 } else { 2 };
        let least = least.max(HEADER_BYTES_MIN.saturating_sub(line.len()));
        return Progress::Needs(least.min(V1_BYTES_MAX - line.len()));
    };
    let source = line[..end]
        .strip_suffix(b"\r")
        .and_then(|line| std::str::from_utf8(line).ok())
        .and_then(v1_source);
    source.map_or(Progress::Fault(Fault::Syntax), |source| Progress::Whole {
        source,
        taken: end + 1,
    })
}

fn v1_source(line: &str) -> Option<Source> {
    let line = line.strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Source::Unknown);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let (source, _) = match family {
        "TCP4" => {
            let addresses: (Ipv4Addr, Ipv4Addr) = (source.parse().ok()?, destination.parse().ok()?);
            (IpAddr::V4(addresses.0), IpAddr::V4(addresses.1))
        }
        "TCP6" => {
            let addresses: (Ipv6Addr, Ipv6Addr) = (source.parse().ok()?, destination.parse().ok()?);
            (IpAddr::V6(addresses.0), IpAddr::V6(addresses.1))
        }
        _ => return None,
    };
    v1_port(destination_port)?;
    Some(client(source, v1_port(source_port)?))
}

/// A decimal number without sign or leading zeros.
fn v1_port(text: &str) -> Option<u16> {
    let is_number =
        text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    is_number.then(|| text.parse().ok()).flatten()
}

fn parse_v2(input: &[u8]) -> Progress {
    // Refused as soon as it is seen, rather than after a payload of a length that means nothing.
    if input.get(12).is_some_and(|octet| !matches!(octet, 0x20 | 0x21)) {
        return Progress::Fault(Fault::Syntax);
    }
    let Some(&[command, family, high, low]) = input.get(12..V2_START_BYTES) else {
        let least = HEADER_BYTES_MIN
            .checked_sub(input.len())
            .filter(|least| *least > 0);
        return Progress::Needs(least.unwrap_or(V2_START_BYTES - input.len()));
    };
    let payload_bytes = usize::from(u16::from_be_bytes([high, low]));
    if payload_bytes > V2_PAYLOAD_BYTES_MAX {
        return Progress::Fault(Fault::TooLong);
    }
    let taken = V2_START_BYTES + payload_bytes;
    let Some(payload) = input.get(V2_START_BYTES..taken) else {
        return Progress::Needs(taken - input.len());
    };
    let source = if command == 0x20 {
        Some(Source::Proxy)
    } else {
        v2_source(family, payload)
    };
    source.map_or(Progress::Fault(Fault::Syntax), |source| Progress::Whole {
        source,
        taken,
    })
}

/// Addresses stand in the order source, destination, source port, destination port.
fn v2_source(family: u8, payload: &[u8]) -> Option<Source> {
    match family {
        // TCP over IPv4.
        0x11 => {
            let addresses = payload.first_chunk::<12>()?;
            let address: [u8; 4] = *addresses.first_chunk()?;
            Some(client(
                address.into(),
                u16::from_be_bytes([addresses[8], addresses[9]]),
            ))
        }
        // TCP over IPv6.
        0x21 => {
            let addresses = payload.first_chunk::<36>()?;
            let address: [u8; 16] = *addresses.first_chunk()?;
            Some(client(
                address.into(),
                u16::from_be_bytes([addresses[32], addresses[33]]),
            ))
        }
        // Unspecified, or a Unix stream socket: nothing to be told.
        0x00 | 0x31 => Some(Source::Unknown),
        _ => None,
    }
}

fn client(address: IpAddr, port: u16) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a caller does: receives as many octets as it is told it may. Gives the outcome and how many were received.
    fn receive(mut wire: impl Iterator<Item = u8>, pieces: &[usize]) -> (Option<Progress>, usize) {
        let mut received = Vec::new();
        let mut pieces = pieces.iter().copied().chain(std::iter::repeat(usize::MAX));
        loop {
            let Progress::Needs(count) = parse(&received) else {
                return (Some(parse(&received)), received.len());
            };
            assert!(count > 0, "asked for nothing");
            let piece = count.min(pieces.next().unwrap_or(1).max(1));
            let before = received.len();
            received.extend(wire.by_ref().take(piece));
            if received.len() == before {
                return (None, before);
            }
        }
    }

    fn v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        format!(
            "PROXY {family} {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        )
        .into_bytes()
    }

    fn v2(source: SocketAddr, destination: SocketAddr, extensions: &[u8]) -> Vec<u8> {
        let (family, mut payload) = match (source.ip(), destination.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
            (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
            _ => unreachable!("both are of one family"),
        };
        payload.extend(source.port().to_be_bytes());
        payload.extend(destination.port().to_be_bytes());
        payload.extend(extensions);
        header(0x21, family, &payload)
    }

    fn header(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len())
            .expect("tests are short")
            .to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, payload].concat()
    }

    fn whole(octets: &[u8]) -> Progress {
        receive(octets.iter().copied(), &[]).0.expect("an outcome")
    }

    #[test]
    fn examples_of_the_specification() {
        let line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nEHLO a\r\n";
        let source = Source::Client("192.168.0.1:56324".parse().expect("an address"));
        assert_eq!(receive(line.iter().copied(), &[]).1, 47);
        assert_eq!(whole(line), Progress::Whole { source, taken: 47 });
        for text in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x y z\r\n"] {
            let taken = text.len();
            let source = Source::Unknown;
            assert_eq!(whole(text.as_bytes()), Progress::Whole { source, taken });
        }
        let source = Source::Proxy;
        assert_eq!(
            whole(&header(0x20, 0, b"")),
            Progress::Whole { source, taken: 16 }
        );
        let source = Source::Unknown;
        assert_eq!(
            whole(&header(0x21, 0, b"xyz")),
            Progress::Whole { source, taken: 19 }
        );
    }

    #[test]
    fn an_ipv4_client_inside_ipv6_is_what_it_is() {
        let source: SocketAddr = "[::ffff:192.0.2.1]:5".parse().expect("an address");
        let expected = Source::Client("192.0.2.1:5".parse().expect("an address"));
        for octets in [v1(source, source), v2(source, source, b"")] {
            assert!(matches!(whole(&octets), Progress::Whole { source, .. } if source == expected));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let bare = "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n";
        for (octets, fault) in [
            (&b"EHLO a.example\r\n"[..], Fault::Signature),
            (b"proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n", Fault::Signature),
            (b"\x16\x03\x01 a ClientHello", Fault::Signature),
            (bare.as_bytes(), Fault::Syntax),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n", Fault::Syntax),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n", Fault::Syntax),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n", Fault::Syntax),
            (b"PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", Fault::Syntax),
            (b"PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n", Fault::Syntax),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n", Fault::Syntax),
            (b"PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n", Fault::Syntax),
            (b"PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n", Fault::Syntax),
            (b"PROXY UNKNOWNS\r\n", Fault::Syntax),
            (&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(), Fault::TooLong),
            (&header(0x11, 0x11, &[0; 12]), Fault::Syntax),
            (&header(0x22, 0x11, &[0; 12]), Fault::Syntax),
            (&header(0x21, 0x11, &[0; 11]), Fault::Syntax),
            (&header(0x21, 0x21, &[0; 35]), Fault::Syntax),
            (&header(0x21, 0x12, &[0; 12]), Fault::Syntax),
            (&header(0x21, 0x11, &[0; 1025]), Fault::TooLong),
        ] {
            assert_eq!(whole(octets), Progress::Fault(fault), "{octets:?}");
        }
    }

    fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
        prop_oneof![
            any::<([u8; 4], [u8; 4], u16, u16)>()
                .prop_map(|(a, b, p, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
            any::<([u8; 16], [u8; 16], u16, u16)>()
                .prop_map(|(a, b, p, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q)))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_in_any_pieces_and_nothing_behind_it_is_taken(
            (source, destination) in addresses(),
            extensions in proptest::collection::vec(any::<u8>(), 0..200),
            is_v1 in any::<bool>(),
            behind in proptest::collection::vec(any::<u8>(), 0..50),
            pieces in proptest::collection::vec(1usize..40, 0..40),
        ) {
            let octets = if is_v1 { v1(source, destination) } else { v2(source, destination, &extensions) };
            let wire = octets.iter().chain(&behind).copied();
            let (outcome, received) = receive(wire, &pieces);
            let source = client(source.ip(), source.port());
            prop_assert_eq!(outcome, Some(Progress::Whole { source, taken: octets.len() }));
            prop_assert_eq!(received, octets.len());
        }

        #[test]
        fn any_octets_come_to_one_end_within_the_limits(
            start in prop_oneof![
                Just(Vec::new()), Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 1.1.1.1 ".to_vec()),
                Just(V2_SIGNATURE.to_vec()), Just([V2_SIGNATURE, b"\x21\x11"].concat()),
            ],
            rest in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(0)], 0..1500),
            pieces in proptest::collection::vec(1usize..300, 0..60),
        ) {
            let octets = [start, rest].concat();
            let (whole, received) = receive(octets.iter().copied(), &[]);
            let (split, _) = receive(octets.iter().copied(), &pieces);
            prop_assert!(received <= V2_BYTES_MAX);
            // A fault may be seen before more octets are asked for, never another outcome.
            prop_assert_eq!(whole.is_some(), split.is_some());
            if let Some(Progress::Whole { .. }) = whole {
                prop_assert_eq!(whole, split);
            }
            // All at once is the same as well.
            if let Some(Progress::Whole { source, taken }) = whole {
                prop_assert_eq!(parse(&octets), Progress::Whole { source, taken });
            }
        }
    }
}
