//! What mail programs ask a domain before they log in: where its servers are and how to speak with them.
//!
//! One door, [`answer`]: a request's method, path, query and body in, a document out; nothing else is looked at, so a page
//! can be asked for by anybody without telling whether an account exists.
//!
//! | path | asked by | file |
//! |---|---|---|
//! | `/mail/config-v1.1.xml`, `/.well-known/autoconfig/mail/config-v1.1.xml` | Thunderbird and its kin | `autoconfig` |
//! | `/autodiscover/autodiscover.xml`, `/autodiscover/autodiscover.json` | Outlook | `autodiscover` |
//! | `/mobileconfig` | Apple's Mail, on request of the user | `mobileconfig` |
//! | `/.well-known/mta-sts.txt` | MTAs that send to us (RFC 8461) | `mta_sts` |
//!
//! Invariants: only encrypted ports are named; an address is shown back only when it is one and its domain is ours; every
//! text of the peer is escaped.
//! Limits: [`BODY_BYTES_MAX`].
//! Not here: HTTP (`admin`), SRV records (the admin puts them into DNS; `init` prints them).

mod autoconfig;
mod autodiscover;
mod mobileconfig;
mod mta_sts;
pub mod records;
mod xml;

pub use autoconfig::PATHS as AUTOCONFIG_PATHS;
pub use mta_sts::{MtaSts, MtaStsMode};

use crate::model::{AddrSpec, Domain};

/// Longest request body that is looked at: Outlook's are below 1 KiB.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

/// Domains that are asked for because of one request: it is about one address.
const DOMAINS_ASKED_MAX: usize = 2;

/// What there is to tell of one host.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The name clients connect to, and that its certificates name.
    pub hostname: Domain,
    /// Domains that are ours, the main one first: what is asked without an address is answered for that one.
    pub domains: Vec<Domain>,
    /// What listens, best first within a protocol.
    pub endpoints: Vec<Endpoint>,
    /// What is promised to senders; `None`: nothing (the page is then not found, as RFC 8461 §3.3 wants it).
    pub mta_sts: Option<MtaSts>,
}

/// One way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub protocol: Protocol,
    pub port: u16,
    pub security: Security,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Imap,
    Pop3,
    /// RFC 6409.
    Submission,
}

/// How it is encrypted. There is no third way: what is not encrypted is not announced (RFC 8314).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// From the first octet.
    Tls,
    StartTls,
}

/// What a peer asks.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub is_post: bool,
    /// Without the query.
    pub path: &'a str,
    /// Behind the question mark, as sent.
    pub query: &'a str,
    pub body: &'a [u8],
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Of HTTP: 200, or 400 when the request is the peer's mistake, or 404.
    pub status: u16,
    pub content_type: &'static str,
    pub text: String,
    /// A name to save it under, if it is meant to be.
    pub file_name: Option<String>,
}

impl Document {
    fn found(content_type: &'static str, text: String) -> Self {
        Self {
            status: 200,
            content_type,
            text,
            file_name: None,
        }
    }

    fn refused(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            text: format!("{text}\n"),
            file_name: None,
        }
    }
}

/// Whether the path is one of this module's.
#[must_use]
pub fn has_page(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let others = [
        autodiscover::POX_PATH,
        autodiscover::JSON_PATH,
        mobileconfig::PATH,
        mta_sts::PATH,
    ];
    AUTOCONFIG_PATHS
        .into_iter()
        .chain(others)
        .any(|page| page == path)
}

/// The document at a path of this module; `None`: the path is somebody else's.
#[must_use]
pub fn answer(offer: &Offer, request: Request<'_>) -> Option<Document> {
    // Outlook varies the case of the path from version to version.
    let path = request.path.to_ascii_lowercase();
    Some(match path.as_str() {
        path if AUTOCONFIG_PATHS.contains(&path) => autoconfig::answer(offer, request),
        autodiscover::POX_PATH => autodiscover::pox(offer, request),
        autodiscover::JSON_PATH => autodiscover::json(offer, request),
        mobileconfig::PATH => mobileconfig::answer(offer, request),
        mta_sts::PATH => mta_sts::answer(offer),
        _ => return None,
    })
}

/// Domains of addresses that a request may be about, a few at most: for whoever cannot list all that are ours.
#[must_use]
pub fn domains_in(request: Request<'_>) -> Vec<Domain> {
    let query = percent_decoded(request.query).unwrap_or_default();
    let path = percent_decoded(request.path).unwrap_or_default();
    let body = String::from_utf8_lossy(request.body);
    let is_between = |c: char| c.is_whitespace() || "<>&=/?\"',;".contains(c);
    let words = [&*query, &*path, &*body]
        .into_iter()
        .flat_map(|text| text.split(is_between));
    let mut domains: Vec<Domain> = Vec::new();
    for address in words.filter_map(|word| AddrSpec::parse(word).ok()) {
        if domains.len() < DOMAINS_ASKED_MAX && !domains.contains(&address.domain) {
            domains.push(address.domain);
        }
    }
    domains
}

/// An address as the peer gave it, if it is one of ours.
fn own_address(offer: &Offer, text: &str) -> Option<AddrSpec> {
    let address = AddrSpec::parse(text.trim()).ok()?;
    offer.domains.contains(&address.domain).then_some(address)
}

/// The value of `name` in a query string, percent-decoded (WHATWG URL §5.1). Names compare without regard to case.
fn query_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    percent_decoded(value)
}

/// `None`: not UTF-8 when decoded.
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (first, hex_pair(behind)) {
            (b'%', Some(octet)) => {
                out.push(octet);
                rest = &behind[2..];
            }
            (b'+', _) => out.push(b' '),
            (other, _) => out.push(*other),
        }
    }
    String::from_utf8(out).ok()
}

fn hex_pair(text: &[u8]) -> Option<u8> {
    let digits: &[u8; 2] = text.first_chunk()?;
    let value = |digit: u8| char::from(digit).to_digit(16);
    u8::try_from(value(digits[0])? * 16 + value(digits[1])?).ok()
}

impl Offer {
    /// The main domain.
    fn main_domain(&self) -> &Domain {
        self.domains.first().unwrap_or(&self.hostname)
    }

    fn endpoints_of(&self, protocol: Protocol) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |e| e.protocol == protocol)
    }
}

#[cfg(test)]
mod tests;
