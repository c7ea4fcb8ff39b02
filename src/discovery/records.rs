//! The DNS records a domain needs, for `init` to print and for whoever compares them with what is there.
//!
//! Standards: RFC 5321 §5.1 (MX), RFC 7208 (SPF), RFC 6376 and 8463 (DKIM), RFC 7489 (DMARC), RFC 8461 (MTA-STS), RFC 8460
//! (TLSRPT), RFC 6186 and 8314 (SRV).

use super::{Endpoint, Protocol, Security};
use crate::model::Domain;
use std::fmt;
use std::net::IpAddr;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whole, without the dot at the end.
    pub name: String,
    pub kind: &'static str,
    /// As a zone file has it, texts in quotes.
    pub value: String,
    /// What it is for.
    pub purpose: &'static str,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. IN {} {}", self.name, self.kind, self.value)
    }
}

/// A DKIM key as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DkimKey {
    pub selector: String,
    /// `rsa` or `ed25519`.
    pub algorithm: &'static str,
    /// The `p=` of RFC 6376 §3.6.1, base64.
    pub public: String,
}

impl Record {
    fn new(name: impl Into<String>, kind: &'static str, value: String, purpose: &'static str) -> Self {
        Self {
            name: name.into(),
            kind,
            value,
            purpose,
        }
    }

    fn text(name: impl Into<String>, value: &str, purpose: &'static str) -> Self {
        Self::new(name, "TXT", quoted(value), purpose)
    }
}

/// Everything for `domain` on `hostname`.
#[must_use]
pub fn records(
    domain: &Domain,
    hostname: &Domain,
    addresses: &[IpAddr],
    keys: &[DkimKey],
    endpoints: &[Endpoint],
) -> Vec<Record> {
    let mut records: Vec<Record> = addresses.iter().map(|at| address(hostname, *at)).collect();
    records.extend(mail(domain, hostname));
    records.extend(keys.iter().map(|key| signature(domain, key)));
    records.extend(policies(domain));
    records.extend(settings(domain, hostname));
    records.extend(endpoints.iter().map(|at| service(domain, hostname, at)));
    records
}

fn address(hostname: &Domain, address: IpAddr) -> Record {
    let kind = if address.is_ipv4() { "A" } else { "AAAA" };
    Record::new(
        hostname.to_string(),
        kind,
        address.to_string(),
        "where this machine is",
    )
}

/// Who takes mail, and who sends it.
fn mail(domain: &Domain, hostname: &Domain) -> [Record; 2] {
    [
        Record::new(
            domain.to_string(),
            "MX",
            format!("10 {hostname}."),
            "who takes mail for the domain",
        ),
        Record::text(
            domain.to_string(),
            "v=spf1 mx -all",
            "who sends mail of the domain: SPF",
        ),
    ]
}

fn signature(domain: &Domain, key: &DkimKey) -> Record {
    Record::text(
        format!("{}._domainkey.{domain}", key.selector),
        &format!("v=DKIM1; k={}; p={}", key.algorithm, key.public),
        "what its signatures are verified with: DKIM",
    )
}

fn policies(domain: &Domain) -> [Record; 3] {
    [
        Record::text(
            format!("_dmarc.{domain}"),
            &format!("v=DMARC1; p=quarantine; rua=mailto:postmaster@{domain}"),
            "what becomes of mail that is neither: DMARC",
        ),
        Record::text(
            format!("_mta-sts.{domain}"),
            "v=STSv1; id=1",
            "that there is a policy for TLS: MTA-STS (change the id with the policy)",
        ),
        Record::text(
            format!("_smtp._tls.{domain}"),
            &format!("v=TLSRPTv1; rua=mailto:postmaster@{domain}"),
            "who hears of failures of TLS: TLSRPT",
        ),
    ]
}

/// Names that pages of this server are asked for by.
fn settings(domain: &Domain, hostname: &Domain) -> [Record; 3] {
    let alias = |label: &str, purpose| {
        Record::new(
            format!("{label}.{domain}"),
            "CNAME",
            format!("{hostname}."),
            purpose,
        )
    };
    [
        alias("mta-sts", "where that policy is"),
        alias("autoconfig", "how Thunderbird finds its settings"),
        alias("autodiscover", "how Outlook finds its settings"),
    ]
}

fn service(domain: &Domain, hostname: &Domain, endpoint: &Endpoint) -> Record {
    let service = match (endpoint.protocol, endpoint.security) {
        (Protocol::Imap, Security::Tls) => "_imaps",
        (Protocol::Imap, Security::StartTls) => "_imap",
        (Protocol::Pop3, Security::Tls) => "_pop3s",
        (Protocol::Pop3, Security::StartTls) => "_pop3",
        (Protocol::Submission, Security::Tls) => "_submissions",
        (Protocol::Submission, Security::StartTls) => "_submission",
    };
    Record::new(
        format!("{service}._tcp.{domain}"),
        "SRV",
        format!("0 1 {} {hostname}.", endpoint.port),
        "how other programs find their settings",
    )
}

/// A text in pieces of at most 255 octets (RFC 1035 §3.3), which readers put together again.
fn quoted(text: &str) -> String {
    let pieces: Vec<String> = text
        .as_bytes()
        .chunks(255)
        .map(|piece| format!("\"{}\"", String::from_utf8_lossy(piece)))
        .collect();
    pieces.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_has_all_of_them_and_long_texts_come_in_pieces() {
        let domain = |text| Domain::new(text).expect("a domain");
        let key = DkimKey {
            selector: "rsa1".to_owned(),
            algorithm: "rsa",
            public: "A".repeat(392),
        };
        let endpoints = [Endpoint {
            protocol: Protocol::Imap,
            port: 993,
            security: Security::Tls,
        }];
        let addresses = [
            "192.0.2.1".parse().expect("one"),
            "2001:db8::1".parse().expect("one"),
        ];
        let all = records(
            &domain("example.org"),
            &domain("mx.example.org"),
            &addresses,
            &[key],
            &endpoints,
        );
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        for line in [
            "mx.example.org. IN A 192.0.2.1",
            "mx.example.org. IN AAAA 2001:db8::1",
            "example.org. IN MX 10 mx.example.org.",
            "example.org. IN TXT \"v=spf1 mx -all\"",
            "_imaps._tcp.example.org. IN SRV 0 1 993 mx.example.org.",
            "autoconfig.example.org. IN CNAME mx.example.org.",
        ] {
            assert!(lines.iter().any(|other| other == line), "{line} in {lines:#?}");
        }
        let dkim = lines
            .iter()
            .find(|line| line.starts_with("rsa1._domainkey"))
            .expect("it is there");
        let pieces: Vec<&str> = dkim.split('"').skip(1).step_by(2).collect();
        assert!(pieces.len() == 2 && pieces.iter().all(|piece| piece.len() <= 255));
        assert_eq!(pieces.concat(), format!("v=DKIM1; k=rsa; p={}", "A".repeat(392)));
    }
}
