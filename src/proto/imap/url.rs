//! IMAP URLs of messages and their parts (RFC 5092), as far as CATENATE takes them: relative ones, of the own account.
//!
//! Invariants: what comes out names one message by UID; percent-encoding is undone once, mailbox names are UTF-8.
//! Failure: `None` for whatever else a URL may be, absolute and URLAUTH ones included: the peer hears `NO [BADURL …]`.
//! Standards: RFC 5092 §11, RFC 4469 §3 (what the base is).

use super::parse::fetch::section_text_of;
use super::types::{Partial, Section};
use crate::model::{MailboxName, Uid};

/// A message, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageUrl {
    /// The selected one, if `None`.
    pub mailbox: Option<MailboxName>,
    pub uid_validity: Option<u32>,
    pub uid: Uid,
    /// The message whole, if empty.
    pub section: Section,
    /// To the end, if its length is `u64::MAX`.
    pub partial: Option<Partial>,
}

impl MessageUrl {
    /// Reads `/mailbox;UIDVALIDITY=n/;UID=n/;SECTION=s/;PARTIAL=o.l`, or what follows `/mailbox/` alone. Without the first
    /// slash the mailbox lies beside `selected` (RFC 3986 §5.2), or is of the first level while none is.
    #[must_use]
    pub fn parse(url: &[u8], selected: Option<&MailboxName>) -> Option<Self> {
        let url = std::str::from_utf8(url).ok()?;
        // A mailbox name may have slashes, and no segment of it begins with a bare semicolon.
        let (mailbox, message) = match url.strip_prefix(';') {
            Some(message) => (None, message),
            None => {
                let (mailbox, message) = url.split_once("/;")?;
                (Some(mailbox), message)
            }
        };
        let (mailbox, uid_validity) = match mailbox {
            None => (None, None),
            Some(text) => {
                let (name, validity) = match split_at_ignoring_case(text, ";UIDVALIDITY=") {
                    Some((name, validity)) => (name, Some(number(validity)?)),
                    None => (text, None),
                };
                (Some(resolved(name, selected)?), validity)
            }
        };
        let mut parts = message.split("/;");
        let uid = Uid::new(number(value_of(parts.next()?, "UID=")?)?)?;
        let mut url = Self {
            mailbox,
            uid_validity,
            uid,
            section: Section::default(),
            partial: None,
        };
        let mut part = parts.next();
        if let Some(section) = part.and_then(|part| value_of(part, "SECTION=")) {
            url.section = section_text_of(decoded(section)?.as_bytes())?;
            part = parts.next();
        }
        if let Some(range) = part.and_then(|part| value_of(part, "PARTIAL=")) {
            url.partial = Some(partial(range)?);
            part = parts.next();
        }
        part.is_none().then_some(url)
    }
}

/// The mailbox of a URL's path; `None` for one with a scheme.
fn resolved(path: &str, selected: Option<&MailboxName>) -> Option<MailboxName> {
    let beside = selected.and_then(MailboxName::parent);
    let name = match (path.strip_prefix('/'), beside) {
        (Some(name), _) => decoded(name)?,
        (None, _) if path.split('/').next()?.contains(':') => return None,
        (None, Some(beside)) => format!("{beside}/{}", decoded(path)?),
        (None, None) => decoded(path)?,
    };
    MailboxName::new(&name).ok()
}

fn value_of<'a>(part: &'a str, name: &str) -> Option<&'a str> {
    let (start, value) = part.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
}

fn split_at_ignoring_case<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = text.match_indices(';').map(|(at, _)| at).find(|at| {
        let rest = &text[*at..];
        rest.get(..mark.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(mark))
    })?;
    Some((&text[..at], &text[at + mark.len()..]))
}

fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn partial(text: &str) -> Option<Partial> {
    let (offset, length) = match text.split_once('.') {
        Some((offset, length)) => (offset, number(length).filter(|length| *length > 0)?),
        None => (text, u64::MAX),
    };
    let offset = number(offset)?;
    Some(Partial { offset, length })
}

/// Undoes percent-encoding (RFC 3986 §2.1); controls and what is not UTF-8 in the end are refused.
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            octets.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        octets.push(u8::try_from(high * 16 + low).ok()?);
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::imap::types::SectionText;
    use proptest::prelude::*;

    fn parse(url: &str) -> MessageUrl {
        MessageUrl::parse(url.as_bytes(), None).unwrap_or_else(|| panic!("{url}"))
    }

    #[test]
    fn urls_of_the_rfcs_are_read() {
        // RFC 4469 §3, RFC 5092 §10
        let url = parse("/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER");
        assert_eq!(url.mailbox, Some(MailboxName::new("Drafts").unwrap()));
        assert_eq!((url.uid_validity, url.uid.value()), (Some(385_759_045), 20));
        assert_eq!(url.section.text, Some(SectionText::Header));
        let url = parse("/Lists/%C3%BCber%20uns/;uid=7/;section=1.2.MIME/;partial=0.1024");
        assert_eq!(url.mailbox, Some(MailboxName::new("Lists/über uns").unwrap()));
        assert_eq!(&url.section.part[..], [1, 2]);
        assert_eq!(
            url.partial,
            Some(Partial {
                offset: 0,
                length: 1024
            })
        );
        let url = parse(";UID=3/;PARTIAL=10");
        assert_eq!((url.mailbox, url.partial.unwrap().length), (None, u64::MAX));
        assert_eq!(
            parse("/x/;UID=3/;SECTION=HEADER.FIELDS%20(From%20To)")
                .uid
                .value(),
            3
        );
    }

    #[test]
    fn a_relative_path_begins_beside_the_selected_mailbox() {
        // RFC 4469 §3, RFC 3986 §5.2.3
        let mailbox = |url: &str, selected: Option<&str>| {
            let selected = selected.map(|name| MailboxName::new(name).unwrap());
            let url = MessageUrl::parse(url.as_bytes(), selected.as_ref()).unwrap();
            url.mailbox.unwrap().to_string()
        };
        assert_eq!(mailbox("Drafts/;UID=1", None), "Drafts");
        assert_eq!(mailbox("Drafts/;UID=1", Some("INBOX")), "Drafts");
        assert_eq!(mailbox("rust/;UID=1", Some("Lists/c")), "Lists/rust");
        assert_eq!(mailbox("/rust/;UID=1", Some("Lists/c")), "rust");
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "",
            "/",
            "/INBOX",
            "/INBOX/;UID=0",
            "/INBOX/;UID=x",
            "/INBOX/;UID=+1",
            "imap://host/INBOX/;UID=1",
            "//host/INBOX/;UID=1",
            "/INBOX/;UID=1/;SECTION=",
            "/INBOX/;UID=1/;SECTION=NONE",
            "/INBOX/;UID=1/;PARTIAL=1.0",
            "/INBOX/;UID=1/;X=2",
            "/INBOX/;UID=1;URLAUTH=anonymous:internal",
            "/a%0/;UID=1",
            "/a%00b/;UID=1",
            "/%ff/;UID=1",
            "/INBOX;UIDVALIDITY=x/;UID=1",
        ] {
            assert_eq!(MessageUrl::parse(url.as_bytes(), None), None, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(url in prop::collection::vec(any::<u8>(), 0..60), text in "(/|;UID=|;SECTION=|%|[a-z0-9.]){0,12}") {
            let _ = (MessageUrl::parse(&url, None), MessageUrl::parse(text.as_bytes(), None));
        }
    }
}
