//! What an order says, read, and how it is refused: in sentences that say what was found and what is wanted.

use crate::directory::orders::OrderError;
use crate::directory::{key, key_text};
use crate::model::{AddrSpec, Domain, Protocols, shown};

/// Of an order, or of a part of one.
pub type Result<T> = std::result::Result<T, OrderError>;

impl From<rusqlite::Error> for OrderError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(format!("the directory's file: {error}"))
    }
}

pub fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(OrderError::Refused(why.into()))
}

pub fn refuse_absent<T>(target: &str) -> Result<T> {
    let target = shown(target);
    refuse(format!(
        "there is nobody at {target}: make it first (`ringpost account add {target}`, or an alias), or look for a mistyped name"
    ))
}

/// What is said of a domain that nobody has added.
#[must_use]
pub fn not_ours(domain: &Domain) -> String {
    let name = domain.to_unicode();
    format!("{name} is not a domain of this server (`ringpost domain add {name}` makes it one)")
}

pub fn parse_address(text: &str) -> Result<AddrSpec> {
    AddrSpec::parse(text).or_else(|e| refuse(format!("{text:?}: {e} (local-part@domain is wanted)")))
}

pub fn parse_domain(text: &str) -> Result<Domain> {
    let dot = if text.ends_with('.') {
        ", without the dot at its end"
    } else {
        ""
    };
    Domain::new(text).or_else(|e| refuse(format!("{text:?}: {e} (a domain is wanted{dot})")))
}

pub fn parse_protocols(text: &str) -> Result<Protocols> {
    Protocols::parse(text)
        .or_else(|word| refuse(format!("{word:?} is no protocol: imap, pop3, submission are")))
}

pub fn own_key(address: &AddrSpec) -> String {
    key_text(&key(address)).to_owned()
}
