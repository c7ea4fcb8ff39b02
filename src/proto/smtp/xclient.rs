//! XCLIENT: a trusted proxy says for whom it speaks (Postfix's XCLIENT_README).
//!
//! Invariants: only a session whose peer the operator named takes the command; what it says replaces what was said before,
//! and the dialogue starts anew with the greeting, as if the client had just connected.
//! A client whose address is not told is at the unspecified address, never at the proxy's.
//! LIMITATION: ADDR and PORT are used; NAME, PROTO, HELO, LOGIN, DESTADDR and DESTPORT are checked and dropped: the client's
//! name comes with the EHLO that follows.

use super::command::{decimal, split_word};
use super::reply;
use super::server::{Question, Smtp, State};
use super::xtext;
use crate::proto::{Actions, Receipt};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What EHLO announces.
pub(super) const OFFER: reply::Reply = b"250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n";

/// Attributes besides ADDR and PORT.
const DROPPED: [&[u8]; 6] = [b"NAME", b"PROTO", b"HELO", b"LOGIN", b"DESTADDR", b"DESTPORT"];

/// Reads `name=value` pairs, one at the least.
fn parse(argument: &[u8]) -> Option<SocketAddr> {
    let mut client = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let mut rest = argument;
    loop {
        let (word, behind) = split_word(rest);
        rest = behind;
        let at = word.iter().position(|octet| *octet == b'=')?;
        let (name, value) = (&word[..at], xtext::decode(&word[at + 1..], false)?);
        let is_told = !matches!(&value[..], b"[UNAVAILABLE]" | b"[TEMPUNAVAIL]");
        if name.eq_ignore_ascii_case(b"ADDR") {
            if is_told {
                client.set_ip(parse_address(&value)?);
            }
        } else if name.eq_ignore_ascii_case(b"PORT") {
            if is_told {
                client.set_port(decimal(&value)?.try_into().ok()?);
            }
        } else if !DROPPED.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return None;
        }
        if rest.is_empty() {
            return Some(client);
        }
    }
}

fn parse_address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    let address = match text.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPV6:") => address.parse::<Ipv6Addr>().ok()?.into(),
        _ => text.parse::<IpAddr>().ok()?,
    };
    Some(address.to_canonical())
}

impl<R: Receipt> Smtp<R> {
    pub(super) fn xclient(&mut self, argument: &[u8], out: &mut Actions<Question>) {
        if !self.takes_xclient {
            return self.refuse(reply::XCLIENT_DENIED, out);
        }
        // A login is the former client's; the filter takes a connection of its own for the next one.
        if self.transaction.is_some() || self.is_authenticated {
            return self.refuse(reply::NESTED_MAIL, out);
        }
        let Some(client) = parse(argument) else {
            return self.refuse(reply::BAD_ARGUMENTS, out);
        };
        self.client = Some(client);
        // The filter may be on loopback; whom it speaks for is judged by its own address.
        self.allows_plaintext &= client.ip().to_canonical().is_loopback();
        self.hello = None;
        self.pipelining_was_offered = false;
        self.errors = 0;
        self.unknown_recipients = 0;
        self.idle_commands = 0;
        self.synchronise(State::Greeting, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, expected) in [
            ("ADDR=192.0.2.1 PORT=25", "192.0.2.1:25"),
            ("addr=IPv6:2001:db8::1 NAME=a.test", "[2001:db8::1]:0"),
            ("ADDR=2001:db8::1", "[2001:db8::1]:0"),
            ("ADDR=::ffff:192.0.2.1", "192.0.2.1:0"),
            ("NAME=[UNAVAILABLE] ADDR=[UNAVAILABLE] PROTO=ESMTP", "0.0.0.0:0"),
            ("HELO=a+20b", "0.0.0.0:0"),
        ] {
            let expected = expected.parse().expect("an address");
            assert_eq!(parse(text.as_bytes()), Some(expected), "{text}");
        }
        for text in [
            "",
            "ADDR",
            "ADDR=",
            "ADDR=x",
            "ADDR=1.2.3",
            "PORT=65536",
            "PORT=-1",
            "COLOUR=red",
            "NAME=a+",
            "ADDR=IPv6:1.2.3.4",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
