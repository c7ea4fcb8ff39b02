//! The trace fields Ringpost puts in front of a message, and counting those already there to break loops.
//!
//! Invariants: what is written is whole fields with CRLF ends, folded, free of CR, LF and controls from the peer's text.
//! A `for` clause is written for a single recipient only: with several it would tell each of the others (RFC 5321 §7.2).
//! Limits: [`HELO_BYTES_MAX`]; the loop limit itself is the caller's.
//!
//! Standards: RFC 5321 §4.4 and §6.3, RFC 3848 (protocol names), RFC 6531 §4.3 (UTF8SMTP), RFC 9228 (Delivered-To).
//! Not here: when a message loops (`delivery`), where the prefix is stored (`store`).

use super::{date, header};
use crate::base::clock::UnixMillis;
use crate::model::{AddrSpec, ForwardPath, ReversePath};
use std::collections::HashSet;
use std::io::Write as _;
use std::net::IpAddr;

/// Octets of the peer's HELO name repeated in Received. RFC 5321 §4.5.3.1.2 ends domains at 255.
pub const HELO_BYTES_MAX: usize = 255;

/// How a message came: the `with` clause of Received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// EHLO rather than HELO.
    pub is_extended: bool,
    /// TLS was up.
    pub is_encrypted: bool,
    /// AUTH had succeeded.
    pub is_authenticated: bool,
    /// MAIL had SMTPUTF8.
    pub is_utf8: bool,
    /// LMTP rather than SMTP.
    pub is_lmtp: bool,
}

impl Transport {
    /// The protocol's name as registered (RFC 3848, RFC 6531 §4.3): the base, then `S` for TLS, `A` for AUTH.
    pub fn write_name(self, out: &mut Vec<u8>) {
        let base: &[u8] = match (self.is_lmtp, self.is_utf8, self.is_extended) {
            (true, true, _) => b"UTF8LMTP",
            (true, false, _) => b"LMTP",
            (false, true, _) => b"UTF8SMTP",
            (false, false, true) => b"ESMTP",
            // RFC 3848 has no name for plain SMTP with TLS: STARTTLS needs EHLO.
            (false, false, false) => return out.extend_from_slice(b"SMTP"),
        };
        out.extend_from_slice(base);
        out.extend_from_slice(if self.is_encrypted { b"S" } else { b"" });
        out.extend_from_slice(if self.is_authenticated { b"A" } else { b"" });
    }
}

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// What the peer called itself; its text, not trusted.
    pub helo: &'a [u8],
    /// Where it connected from.
    pub peer: IpAddr,
    /// The receiving host.
    pub by: &'a str,
    /// How.
    pub transport: Transport,
    /// The queue or transaction id.
    pub id: std::fmt::Arguments<'a>,
    /// The recipient, if there is exactly one.
    pub sole_recipient: Option<&'a ForwardPath>,
    /// When.
    pub at: UnixMillis,
}

/// Appends a Received field (RFC 5321 §4.4). Written straight into `out`: every message has one.
pub fn write_received(received: &Received<'_>, out: &mut Vec<u8>) {
    let peer = received.peer.to_canonical();
    let tag = if peer.is_ipv6() { "IPv6:" } else { "" };
    out.extend_from_slice(b"Received: from ");
    write_peer_text(received.helo, out);
    put(
        out,
        format_args!(" ([{tag}{peer}])\r\n\tby {} with ", received.by),
    );
    received.transport.write_name(out);
    put(out, format_args!(" id {}", received.id));
    match received.sole_recipient {
        Some(ForwardPath::Address(address)) => {
            out.extend_from_slice(b"\r\n\tfor <");
            write_address(address, out);
            out.push(b'>');
        }
        Some(ForwardPath::Postmaster) => out.extend_from_slice(b"\r\n\tfor <postmaster>"),
        None => (),
    }
    out.extend_from_slice(b";\r\n\t");
    date::write(received.at, out);
    out.extend_from_slice(b"\r\n");
}

/// Appends a Return-Path field; added at final delivery only (RFC 5321 §4.4).
pub fn write_return_path(path: &ReversePath, out: &mut Vec<u8>) {
    match &path.0 {
        Some(address) => {
            out.extend_from_slice(b"Return-Path: <");
            write_address(address, out);
            out.extend_from_slice(b">\r\n");
        }
        None => out.extend_from_slice(b"Return-Path: <>\r\n"),
    }
}

/// With a local part beyond ASCII the field is an internationalized one already (RFC 6532 §3.2): the domain is then shown as
/// people write it. Any other address stays in ASCII, which every program can read.
fn write_address(address: &AddrSpec, out: &mut Vec<u8>) {
    if address.local_part.as_str().is_ascii() {
        put(out, format_args!("{address}"));
    } else {
        out.extend_from_slice(address.to_unicode().as_bytes());
    }
}

/// Appends a Delivered-To field (RFC 9228).
pub fn write_delivered_to(address: &AddrSpec, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Delivered-To: ");
    write_address(address, out);
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // A Vec takes everything.
    let _ = out.write_fmt(text);
}

/// The peer's text where a domain belongs: whatever could break the field or pass for a part of it becomes `?`.
fn write_peer_text(text: &[u8], out: &mut Vec<u8>) {
    let clipped = super::nstring::clip(text, HELO_BYTES_MAX);
    if clipped.is_empty() {
        out.extend_from_slice(b"unknown");
    }
    let is_harmless = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b) || b >= 0x80;
    out.extend(clipped.iter().map(|&b| if is_harmless(b) { b } else { b'?' }));
}

/// What a header tells about the way the message has gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hops {
    /// Received fields. RFC 5321 §6.3 takes more than 100 for a loop.
    pub received: usize,
    /// From fields. RFC 5322 §3.6 has exactly one; with two, programs disagree about whom a message is from.
    pub from: usize,
    /// Values of Delivered-To fields, in ASCII lower case. A set, so that asking for each of many recipients stays cheap
    /// however many fields a sender made up.
    delivered_to: HashSet<Vec<u8>>,
}

impl Hops {
    /// Whether a Delivered-To field names `address`: the message was here before (RFC 9228 §4).
    #[must_use]
    pub fn was_delivered_to(&self, address: &AddrSpec) -> bool {
        // The text is made only for messages that have such a field at all.
        !self.delivered_to.is_empty() && {
            let names = |text: String| self.delivered_to.contains(text.to_ascii_lowercase().as_bytes());
            // In either form of its domain.
            names(address.to_string()) || names(address.to_unicode())
        }
    }
}

/// Counts the hops in `header` (or in a message: its body is not looked at), linear in the header and without a limit
/// on fields, so that nothing can be hidden behind many.
#[must_use]
pub fn hops(header: &[u8]) -> Hops {
    let mut hops = Hops::default();
    for field in header::fields(header) {
        if field.is("received") {
            hops.received += 1;
        } else if field.is("from") {
            hops.from += 1;
        } else if field.is("delivered-to") {
            let value = header::unfold(field.value).to_ascii_lowercase();
            hops.delivered_to.insert(value);
        }
    }
    hops
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(text: &str) -> AddrSpec {
        AddrSpec::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn received(helo: &[u8], to: Option<&ForwardPath>) -> String {
        let mut out = Vec::new();
        let received = Received {
            helo,
            peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            by: "mx.ringpost.test",
            transport: Transport {
                is_extended: true,
                is_encrypted: true,
                ..Transport::default()
            },
            id: format_args!("1.2F"),
            sole_recipient: to,
            at: UnixMillis(0),
        };
        write_received(&received, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn a_domain_is_written_in_letters_where_the_local_part_is() {
        let written = |text: &str| {
            let mut out = Vec::new();
            write_return_path(&ReversePath(Some(address(text))), &mut out);
            String::from_utf8(out).expect("an address is UTF-8")
        };
        let mut out = Vec::new();
        write_delivered_to(&address("jürgen@exämple.net"), &mut out);
        assert_eq!(out, "Delivered-To: jürgen@exämple.net\r\n".as_bytes());
        assert!(hops(&out).was_delivered_to(&address("jürgen@exämple.net")));
        assert_eq!(
            written("jürgen@exämple.net"),
            "Return-Path: <jürgen@exämple.net>\r\n"
        );
        assert_eq!(
            written("jürgen@xn--exmple-cua.net"),
            "Return-Path: <jürgen@exämple.net>\r\n"
        );
        assert_eq!(
            written("juergen@exämple.net"),
            "Return-Path: <juergen@xn--exmple-cua.net>\r\n"
        );
    }

    #[test]
    fn received_names_a_sole_recipient() {
        let to = ForwardPath::Address(address("u@x.test"));
        assert_eq!(
            received(b"client.test", Some(&to)),
            "Received: from client.test ([192.0.2.7])\r\n\tby mx.ringpost.test with ESMTPS id 1.2F\r\n\
             \tfor <u@x.test>;\r\n\tThu, 1 Jan 1970 00:00:00 +0000\r\n"
        );
        assert!(!received(b"client.test", None).contains("for <"));
    }

    #[test]
    fn the_peers_name_cannot_break_the_field() {
        let field = received(b"x\r\nEvil: 1 (;)\x1b", None);
        assert_eq!(header::fields(field.as_bytes()).count(), 1);
        assert!(field.starts_with("Received: from x??Evil:?1????? ("), "{field}");
        assert!(received(b"", None).starts_with("Received: from unknown ("));
    }

    fn name(transport: Transport) -> String {
        let mut name = Vec::new();
        transport.write_name(&mut name);
        String::from_utf8(name).expect("names are ASCII")
    }

    #[test]
    fn protocol_names_are_the_registered_ones() {
        let esmtp = Transport {
            is_extended: true,
            ..Transport::default()
        };
        let all = Transport {
            is_encrypted: true,
            is_authenticated: true,
            is_utf8: true,
            ..esmtp
        };
        assert_eq!(name(Transport::default()), "SMTP");
        assert_eq!(name(esmtp), "ESMTP");
        assert_eq!(name(all), "UTF8SMTPSA");
        assert_eq!(
            name(Transport {
                is_lmtp: true,
                ..Transport::default()
            }),
            "LMTP"
        );
    }

    #[test]
    fn hops_are_counted_in_the_header_only() {
        let mut message = Vec::new();
        write_return_path(&ReversePath(None), &mut message);
        write_delivered_to(&address("A@x.test"), &mut message);
        message.extend_from_slice(
            b"received: 1\r\nReceived: 2\r\nFROM : a\r\nfrom:\r\n b\r\n\r\nReceived: 3\r\nFrom: c\r\n",
        );
        let hops = hops(&message);
        assert_eq!(hops.received, 2);
        assert_eq!(hops.from, 2, "{hops:?}");
        assert!(hops.was_delivered_to(&address("a@x.test")));
        assert!(!hops.was_delivered_to(&address("b@x.test")));
    }
}
