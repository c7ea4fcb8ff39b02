//! What a service for submission does besides receiving (RFC 6409): whose addresses a submitter may use, and the fields
//! that a message must have and its program left out.
//!
//! Invariants: MAIL FROM, From and Sender name the submitter by its address, a detail of it or an alias, and nobody else; so do the
//! newest Resent-From and Resent-Sender in place of From and Sender, which are somebody else's in a message that is sent again
//! (RFC 5322 §3.6.6). What the submitter wrote is not changed, fields are only put before it, but for those of `strip`.
//! Limits: [`AUTHORS_MAX`]; those on an account's mail are `node::submitters`'.
//! Not here: AUTH (`proto::smtp::auth`), the transaction (`smtp`).

use crate::directory::Unavailable;
use crate::model::{Account, AddrSpec, Domain, LocalPart};
use crate::node::Node;
use crate::proto::message::address::{self, Item};
use crate::proto::message::{date, header};
use crate::proto::smtp::reply::CommitRefusal;
use std::fmt::Display;
use std::io::Write as _;

/// Addresses of From and Sender that are looked up; a message has one, seldom two.
pub const AUTHORS_MAX: usize = 10;

/// Whether an address may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It is one of the submitter's.
    Own,
    /// It is somebody else's, or nobody's.
    Foreign,
    /// The directory cannot say.
    Unknown,
}

/// Whose is `address`? An alias is everybody's whom it names, a detail its account's; whoever gets another account's mail because
/// that one forwards it, or all mail that is nobody's, does not write in those names.
pub async fn ownership(node: &Node, submitter: &Account, address: &AddrSpec) -> Ownership {
    if *address == submitter.address {
        return Ownership::Own;
    }
    match node.directory.owns(submitter.id, address).await {
        Ok(true) => Ownership::Own,
        Ok(false) => Ownership::Foreign,
        Err(Unavailable) => Ownership::Unknown,
    }
}

/// Who a header says that the message is from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Authors {
    from: Vec<Option<AddrSpec>>,
    sender: Vec<Option<AddrSpec>>,
    /// Of the first block of Resent fields, which is the newest.
    resent_from: Vec<Option<AddrSpec>>,
    resent_sender: Vec<Option<AddrSpec>>,
    has_date: bool,
    has_message_id: bool,
}

impl Authors {
    /// Whether the message is sent again, and who has to be the submitter.
    fn judged(&self) -> (bool, Vec<&Option<AddrSpec>>) {
        let resent: Vec<_> = self.resent_from.iter().chain(&self.resent_sender).collect();
        if resent.is_empty() {
            return (false, self.from.iter().chain(&self.sender).collect());
        }
        (true, resent)
    }
}

fn authors(head: &[u8]) -> Authors {
    const RESENT: &[u8] = b"resent-";
    let mut authors = Authors::default();
    let (mut in_block, mut is_behind_block) = (false, false);
    for field in header::fields(head) {
        let prefix = field.name.get(..RESENT.len());
        let is_resent = prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(RESENT));
        is_behind_block |= in_block && !is_resent;
        in_block |= is_resent;
        if is_behind_block && is_resent {
            continue;
        }
        if field.is("resent-from") {
            addresses(field.value, &mut authors.resent_from);
        } else if field.is("resent-sender") {
            addresses(field.value, &mut authors.resent_sender);
        } else if field.is("from") {
            addresses(field.value, &mut authors.from);
        } else if field.is("sender") {
            addresses(field.value, &mut authors.sender);
        } else if field.is("date") {
            authors.has_date = true;
        } else if field.is("message-id") {
            authors.has_message_id = true;
        }
    }
    authors
}

/// `None` stands for what is no address: nobody's.
fn addresses(value: &[u8], found: &mut Vec<Option<AddrSpec>>) {
    for item in address::items(value) {
        let Item::Address(author) = item else { continue };
        let text = |octets: &'_ [u8]| {
            let stands_in = octets == address::MISSING_DOMAIN || octets == address::MISSING_MAILBOX;
            let text = std::str::from_utf8(octets).ok().filter(|_| !stands_in);
            text.map(str::to_owned)
        };
        let local_part = text(&author.mailbox).and_then(|local| LocalPart::new(&local).ok());
        let domain = text(&author.host).and_then(|host| Domain::new(&host).ok());
        found.push(
            local_part
                .zip(domain)
                .map(|(local_part, domain)| AddrSpec { local_part, domain }),
        );
        if found.len() > AUTHORS_MAX {
            return;
        }
    }
}

/// The fields to put before a message whose header is `head`, or why it is refused. `id` names the transaction.
pub async fn complete(
    node: &Node,
    submitter: &Account,
    head: &[u8],
    id: impl Display,
) -> Result<Vec<u8>, CommitRefusal> {
    let authors = authors(head);
    let refuse = |status, text: &'static str| CommitRefusal::Rejected {
        status,
        text: text.into(),
    };
    if authors.from.is_empty() {
        return Err(refuse((6, 0), "From is missing, or names nobody"));
    }
    let (is_resent, judged) = authors.judged();
    if judged.len() > AUTHORS_MAX {
        return Err(refuse((6, 0), "Too many authors"));
    }
    for address in judged {
        let Some(address) = address else {
            let text = "From or Sender, or what is Resent of them, holds what is no address";
            return Err(refuse((6, 0), text));
        };
        match ownership(node, submitter, address).await {
            Ownership::Own => {}
            Ownership::Foreign if is_resent => {
                return Err(refuse((7, 1), "Resent-From or Resent-Sender is not your address"));
            }
            Ownership::Foreign => return Err(refuse((7, 1), "From or Sender is not your address")),
            Ownership::Unknown => return Err(CommitRefusal::Failed),
        }
    }
    let mut fields = Vec::new();
    let mut put =
        |text: std::fmt::Arguments<'_>| fields.write_fmt(text).expect("writing to memory does not fail");
    if !is_resent && authors.from.len() > 1 && authors.sender.is_empty() {
        // RFC 5322 §3.6.2: several authors, one who sent it.
        put(format_args!("Sender: <{}>\r\n", submitter.address));
    }
    if !authors.has_date {
        put(format_args!("Date: {}\r\n", date::format(node.now())));
    }
    if !authors.has_message_id {
        put(format_args!("Message-ID: <{id}@{}>\r\n", node.settings.hostname));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(found: &[Option<AddrSpec>]) -> Vec<String> {
        let text = |address: &Option<AddrSpec>| {
            address
                .as_ref()
                .map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        found.iter().map(text).collect()
    }

    #[test]
    fn authors_are_found_in_every_form() {
        let found = authors(
            b"From: \"A, B\" <a@x.test>,\r\n c@x.test (C)\r\nsender: <d@x.test>\r\nDATE: x\r\n\r\nMessage-ID: <y>\r\n",
        );
        assert_eq!(texts(&found.from), ["a@x.test", "c@x.test"]);
        assert_eq!(texts(&found.sender), ["d@x.test"]);
        assert!(found.has_date && !found.has_message_id);
    }

    #[test]
    fn the_newest_resent_block_stands_for_the_authors() {
        let judged = |head: &[u8]| {
            let found = authors(head);
            let (is_resent, judged) = found.judged();
            let judged: Vec<_> = judged.into_iter().cloned().collect();
            (is_resent, texts(&judged))
        };
        let again = judged(
            b"Resent-From: a@x.test\r\nResent-Date: x\r\nResent-Sender: b@x.test\r\nReceived: x\r\n\
            Resent-From: c@x.test\r\nFrom: d@x.test\r\n\r\n",
        );
        assert_eq!(again, (true, vec!["a@x.test".to_owned(), "b@x.test".to_owned()]));
        let once = judged(b"From: d@x.test\r\nSender: e@x.test\r\nResent-To: f@x.test\r\n\r\n");
        assert_eq!(once, (false, vec!["d@x.test".to_owned(), "e@x.test".to_owned()]));
    }

    #[test]
    fn what_is_no_address_is_nobodys() {
        for value in ["nobody", "<@x.test>", "a@", "a@[", "=?utf-8?q?a?= <>"] {
            let found = authors(format!("From: {value}\r\n\r\n").as_bytes());
            assert!(
                found.from.iter().all(Option::is_none),
                "{value}: {:?}",
                found.from
            );
        }
        let many = format!("From: {}\r\n\r\n", "a@x.test, ".repeat(100_000));
        assert_eq!(authors(many.as_bytes()).from.len(), AUTHORS_MAX + 1);
    }
}
