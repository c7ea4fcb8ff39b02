//! Message ids in a header: who a message is and which it answers, for THREAD and THREADID.
//!
//! Invariants: linear in the header; an id is compared as the RFC says, octet for octet once quoting is undone, and is
//! kept as a number of 128 bits made from it (two honest ids never have the same one in practice; ids made to collide
//! mis-thread the mail of whoever made them).
//! Limits: [`REFERENCES_MAX`] ids of one message: the last ones, which are the nearest ancestors.
//! Failure: what is not `<left@right>` is passed over.
//! Standards: RFC 5256 §2.1 and §3 (REFERENCES, step 1), RFC 5322 §3.6.4.

use super::header::{self, DIGESTED_FIELDS_MAX};
use xxhash_rust::xxh3::xxh3_128;

/// Ids kept of one References field. Long threads have some hundred.
pub const REFERENCES_MAX: usize = 1_000;

/// A message id, hashed.
pub type IdHash = u128;

/// What a header says of a message's place in a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Its own id.
    pub id: Option<IdHash>,
    /// What it answers, the parent last: References, or else the first id of In-Reply-To.
    pub references: Vec<IdHash>,
}

/// Reads the links of `header`.
#[must_use]
pub fn links(header: &[u8]) -> Links {
    let (mut id, mut references, mut reply) = (None, None, None);
    for field in header::fields(header).take(DIGESTED_FIELDS_MAX) {
        if field.is("message-id") {
            id.get_or_insert(field.value);
        } else if field.is("references") {
            references.get_or_insert(field.value);
        } else if field.is("in-reply-to") {
            reply.get_or_insert(field.value);
        }
    }
    let mut chain = last_ids(references.unwrap_or_default());
    if chain.is_empty() {
        // RFC 5256 §3, 1: only the first valid id of In-Reply-To counts.
        chain.extend(Ids::of(reply.unwrap_or_default()).next());
    }
    Links {
        id: Ids::of(id.unwrap_or_default()).next(),
        references: chain,
    }
}

/// The id that the thread of a message began with: the first it refers to, or its own. Made from its header alone, so it
/// never changes, needs no other message, and is the same wherever the message lies. `None`: it has none and names none.
///
/// The subject has no say, unlike in Gmail and Cyrus, where a reply with another base subject begins a thread. Joining by
/// subject alone would put every "Invoice" into one thread and change ids when mail arrives, which a cached id must not
/// (RFC 8474 §5.2). Parting by subject would be as stable as this, but RFC 5256's base subject knows "Re:" and "Fwd:"
/// only: every "AW:", "SV:" or "Antwort:" of a translated client would fall out of its thread. Who wants threads by subject
/// has THREAD=ORDEREDSUBJECT and REFERENCES.
///
/// LIMITATION: of a message that answers by In-Reply-To only, the parent is taken for the beginning; a reply to a reply
/// whose program writes no References then has a thread of its own, though THREAD, which sees all messages, joins them.
#[must_use]
pub fn root(header: &[u8]) -> Option<IdHash> {
    let links = links(header);
    links.references.first().copied().or(links.id)
}

fn last_ids(value: &[u8]) -> Vec<IdHash> {
    let mut all: Vec<IdHash> = Ids::of(value).collect();
    let surplus = all.len().saturating_sub(REFERENCES_MAX);
    all.drain(..surplus);
    all
}

/// The ids of a value, in order.
struct Ids<'a> {
    rest: &'a [u8],
}

impl<'a> Ids<'a> {
    fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl Iterator for Ids<'_> {
    type Item = IdHash;

    fn next(&mut self) -> Option<IdHash> {
        loop {
            let start = memchr::memchr(b'<', self.rest)? + 1;
            let text = &self.rest[start..];
            // An id that is not closed ends where the next one begins.
            let Some(end) = memchr::memchr2(b'<', b'>', text) else {
                self.rest = &[];
                return None;
            };
            let is_closed = text[end] == b'>';
            self.rest = &text[end + usize::from(is_closed)..];
            if let Some(id) = is_closed.then(|| normalised(&text[..end])).flatten() {
                return Some(xxh3_128(&id));
            }
        }
    }
}

/// `left@right` without quotes, backslashes and white space; `None` if it has no such form. RFC 5256 §2.1: `<"01KF8"@x>`
/// and `<01KF8@x>` are the same.
fn normalised(text: &[u8]) -> Option<Vec<u8>> {
    let mut id = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'"' | b' ' | b'\t' | b'\r' | b'\n' => {}
            b'\\' => id.extend(octets.next()),
            other => id.push(other),
        }
    }
    let at = memchr::memrchr(b'@', &id)?;
    (at > 0 && at + 1 < id.len()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> IdHash {
        xxh3_128(text.as_bytes())
    }

    #[test]
    fn ids_are_compared_without_their_quoting() {
        let found = links(
            b"Message-ID: (mine) <\"01KF8JCEOCBS0045PS\"@xxx.yyy.com>\r\n\
              References: <a@b> <broken <c@\r\n d> no <@x> <y@> <e\r\nIn-Reply-To: <z@z>\r\n\r\n",
        );
        assert_eq!(found.id, Some(id("01KF8JCEOCBS0045PS@xxx.yyy.com")));
        assert_eq!(found.references, [id("a@b"), id("c@d")]);
    }

    #[test]
    fn in_reply_to_stands_in_with_its_first_id() {
        let found = links(b"In-Reply-To: your mail of today <a@b> <c@d>\r\nReferences: none\r\n\r\n");
        assert_eq!(found.references, [id("a@b")]);
        assert_eq!(links(b"\r\n"), Links::default());
    }

    #[test]
    fn a_thread_begins_with_the_first_reference() {
        for (header, expected) in [
            ("Message-ID: <a@x>\r\n", Some("a@x")),
            ("Message-ID: <b@x>\r\nIn-Reply-To: <a@x>\r\n", Some("a@x")),
            (
                "Message-ID: <c@x>\r\nIn-Reply-To: <b@x>\r\nReferences: <a@x>\r\n <b@x>\r\n",
                Some("a@x"),
            ),
            ("References: <a@x>\r\n", Some("a@x")),
            ("Subject: x\r\n", None),
        ] {
            assert_eq!(root(header.as_bytes()), expected.map(id), "{header}");
        }
    }

    #[test]
    fn of_a_hostile_chain_the_nearest_ancestors_are_kept() {
        let chain: String = (0..50_000).map(|n| format!("<{n}@x>")).collect();
        let found = links(format!("References: {chain}\r\n").as_bytes());
        assert_eq!(found.references.len(), REFERENCES_MAX);
        assert_eq!(found.references.last(), Some(&id("49999@x")));
        let unclosed = "<".repeat(1_000_000);
        assert_eq!(
            links(format!("References: {unclosed}\r\n").as_bytes()).references,
            []
        );
    }
}
