//! Address lists of a header as IMAP shows them: name, source route, mailbox, host; nothing decoded.
//!
//! Invariants: one pass, forwards only; text comes out on one line and unquoted; encoded-words stay as they are.
//! Limits: [`ADDRESS_TEXT_BYTES_MAX`] per text; how many addresses are taken is the caller's decision.
//! Failure: none. What is not an address becomes one with [`MISSING_DOMAIN`] or [`MISSING_MAILBOX`] in the empty place,
//! as Dovecot does: an absent host would mean a group (RFC 9051 §7.5.2).
//!
//! Standards: RFC 5322 §3.4 and §4.4. Not here: envelope addresses (`model::address`), IMAP's brackets (`envelope`).

use super::mime::{comment_length, read_quoted};

/// Octets kept of a name, a route, a mailbox or a host. RFC 5321 ends addresses at 320; names of some hundred are seen.
pub const ADDRESS_TEXT_BYTES_MAX: usize = 1_024;
/// Stands where the domain should.
pub const MISSING_DOMAIN: &[u8] = b"MISSING_DOMAIN";
/// Stands where the local part should.
pub const MISSING_MAILBOX: &[u8] = b"MISSING_MAILBOX";

/// What an address list consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// One mailbox.
    Address(Address),
    /// `name:` begins a group.
    GroupStart(Vec<u8>),
    /// `;` ends it.
    GroupEnd,
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// The display name, or the comment that stands for it.
    pub name: Option<Vec<u8>>,
    /// A source route (RFC 5322 §4.4), without its colon.
    pub route: Option<Vec<u8>>,
    /// The local part.
    pub mailbox: Vec<u8>,
    /// The domain.
    pub host: Vec<u8>,
}

/// Iterates over the addresses of a field's value, folds and all.
#[must_use]
pub fn items(value: &[u8]) -> Items<'_> {
    Items {
        rest: value,
        is_in_group: false,
    }
}

/// See [`items`].
#[derive(Clone, Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    is_in_group: bool,
}

/// What was read of an address so far.
#[derive(Default)]
struct Draft {
    /// Words with one space where there was white space: a display name.
    phrase: Text,
    /// The same without white space, up to and behind the first unquoted `@`.
    local: Text,
    domain: Option<Text>,
    comment: Option<Text>,
    angle: Option<Angle>,
    /// White space since the last word.
    is_spaced: bool,
}

/// What stood between `<` and `>`.
#[derive(Default)]
struct Angle {
    route: Option<Text>,
    local: Text,
    domain: Option<Text>,
}

/// Text that stops growing at [`ADDRESS_TEXT_BYTES_MAX`].
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn push(&mut self, b: u8) {
        if self.0.len() < ADDRESS_TEXT_BYTES_MAX && !matches!(b, b'\r' | b'\n') {
            self.0.push(b);
        }
    }

    /// Octets without CR and LF.
    fn push_run(&mut self, run: &[u8]) {
        let room = ADDRESS_TEXT_BYTES_MAX.saturating_sub(self.0.len());
        self.0.extend_from_slice(&run[..run.len().min(room)]);
    }

    fn non_empty(mut self) -> Option<Vec<u8>> {
        self.0.truncate(self.0.trim_ascii_end().len());
        if self.0.first().is_some_and(u8::is_ascii_whitespace) {
            self.0 = self.0.trim_ascii_start().to_vec();
        }
        (!self.0.is_empty()).then_some(self.0)
    }
}

/// Octets that mean nothing but themselves wherever they stand.
fn is_plain(b: u8) -> bool {
    !matches!(
        b,
        b',' | b';' | b':' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'(' | b'<' | b'@' | b'\\'
    )
}

/// The same between `<` and `>`.
fn is_plain_in_angle(b: u8) -> bool {
    !matches!(
        b,
        b'>' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'(' | b'@' | b'\\'
    )
}

/// How many octets at the start are taken together: the first, whatever it is, and plain ones behind it.
fn run_of(text: &[u8], is_plain: impl Fn(u8) -> bool) -> usize {
    let plain = text.iter().skip(1).take_while(|b| is_plain(**b));
    1 + plain.count()
}

impl Iterator for Items<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            let mut draft = Draft::default();
            let separator = self.read(&mut draft);
            if separator == Some(b':') {
                self.skip_one();
                self.is_in_group = true;
                return Some(Item::GroupStart(draft.phrase.non_empty().unwrap_or_default()));
            }
            if !draft.is_empty() {
                return Some(Item::Address(draft.finish()));
            }
            match separator {
                None | Some(b';') if self.is_in_group => {
                    self.skip_one();
                    self.is_in_group = false;
                    return Some(Item::GroupEnd);
                }
                None => return None,
                Some(_) => self.skip_one(),
            }
        }
    }
}

impl Items<'_> {
    /// Reads up to a separator, which is left in place and returned.
    fn read(&mut self, draft: &mut Draft) -> Option<u8> {
        while let Some(&b) = self.rest.first() {
            let taken = match b {
                b',' | b';' => return Some(b),
                b':' if !self.is_in_group && draft.angle.is_none() && draft.domain.is_none() => {
                    return Some(b);
                }
                b' ' | b'\t' | b'\r' | b'\n' => {
                    draft.is_spaced = true;
                    1
                }
                b'"' => read_quoted(self.rest, |b| draft.word(b)),
                b'(' => draft.read_comment(self.rest),
                b'<' if draft.angle.is_none() => draft.read_angle(self.rest),
                b'@' => {
                    draft.at_sign();
                    1
                }
                b'\\' if self.rest.len() > 1 => {
                    draft.word(self.rest[1]);
                    2
                }
                _ => {
                    let run = run_of(self.rest, is_plain);
                    draft.words(&self.rest[..run]);
                    run
                }
            };
            self.rest = &self.rest[taken..];
        }
        None
    }

    fn skip_one(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }
}

impl Draft {
    fn is_empty(&self) -> bool {
        self.angle.is_none() && self.phrase.0.is_empty()
    }

    fn word(&mut self, b: u8) {
        self.space();
        self.phrase.push(b);
        self.domain.as_mut().unwrap_or(&mut self.local).push(b);
    }

    /// Several octets without CR and LF.
    fn words(&mut self, run: &[u8]) {
        self.space();
        self.phrase.push_run(run);
        self.domain.as_mut().unwrap_or(&mut self.local).push_run(run);
    }

    fn space(&mut self) {
        if std::mem::take(&mut self.is_spaced) && !self.phrase.0.is_empty() {
            self.phrase.push(b' ');
        }
    }

    fn at_sign(&mut self) {
        self.word(b'@');
        if self.domain.is_none() {
            self.local.0.pop_if(|b| *b == b'@');
            self.domain = Some(Text::default());
        }
    }

    fn read_comment(&mut self, text: &[u8]) -> usize {
        let length = comment_length(text);
        let mut comment = Text::default();
        let inner = text[1..length].strip_suffix(b")").unwrap_or(&text[1..length]);
        let mut is_escaped = false;
        for &b in inner {
            is_escaped = b == b'\\' && !is_escaped;
            if !is_escaped {
                comment.push(b);
            }
        }
        self.comment = Some(comment);
        self.is_spaced = true;
        length
    }

    fn read_angle(&mut self, text: &[u8]) -> usize {
        let mut angle = Angle::default();
        let mut at = 1;
        while at < text.len() {
            let rest = &text[at..];
            at += match rest[0] {
                b'>' => {
                    at += 1;
                    break;
                }
                b' ' | b'\t' | b'\r' | b'\n' => 1,
                b'"' => read_quoted(rest, |b| angle.target().push(b)),
                b'(' => comment_length(rest),
                b'@' if angle.is_empty() => angle.read_route(rest),
                b'@' if angle.domain.is_none() => {
                    angle.domain = Some(Text::default());
                    1
                }
                b'\\' if rest.len() > 1 => {
                    angle.target().push(rest[1]);
                    2
                }
                _ => {
                    let run = run_of(rest, is_plain_in_angle);
                    angle.target().push_run(&rest[..run]);
                    run
                }
            };
        }
        self.angle = Some(angle);
        self.is_spaced = true;
        at
    }

    fn finish(self) -> Address {
        let comment = self.comment.and_then(Text::non_empty);
        let (name, route, local, domain) = match (self.angle, self.domain) {
            (Some(angle), _) => {
                let name = self.phrase.non_empty().or(comment);
                (name, angle.route, angle.local, angle.domain)
            }
            (None, Some(domain)) => (comment, None, self.local, Some(domain)),
            (None, None) => (comment, None, self.phrase, None),
        };
        Address {
            name,
            route: route.and_then(Text::non_empty),
            mailbox: local.non_empty().unwrap_or_else(|| MISSING_MAILBOX.to_vec()),
            host: domain
                .and_then(Text::non_empty)
                .unwrap_or_else(|| MISSING_DOMAIN.to_vec()),
        }
    }
}

impl Angle {
    fn is_empty(&self) -> bool {
        self.route.is_none() && self.local.0.is_empty() && self.domain.is_none()
    }

    fn target(&mut self) -> &mut Text {
        self.domain.as_mut().unwrap_or(&mut self.local)
    }

    /// Reads `@a,@b:`; without a colon it is a domain whose local part is missing.
    fn read_route(&mut self, text: &[u8]) -> usize {
        let end = text
            .iter()
            .position(|b| matches!(b, b':' | b'>'))
            .unwrap_or(text.len());
        if text.get(end) != Some(&b':') {
            self.domain = Some(Text::default());
            return 1;
        }
        let mut route = Text::default();
        for &b in text[..end].iter().filter(|b| !b.is_ascii_whitespace()) {
            route.push(b);
        }
        self.route = Some(route);
        end + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &str) -> String {
        let text = |t: &[u8]| String::from_utf8_lossy(t).into_owned();
        let shown = items(value.as_bytes()).map(|item| match item {
            Item::GroupStart(name) => format!("{}:", text(&name)),
            Item::GroupEnd => ";".to_owned(),
            Item::Address(a) => format!(
                "{}|{}|{}|{}",
                a.name.map_or_else(|| "-".to_owned(), |n| text(&n)),
                a.route.map_or_else(|| "-".to_owned(), |n| text(&n)),
                text(&a.mailbox),
                text(&a.host)
            ),
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn addresses_of_rfc_5322_appendix_a_are_read() {
        for (value, expected) in [
            (
                "John Doe <jdoe@machine.example>",
                "John Doe|-|jdoe|machine.example",
            ),
            (
                "\"Joe Q. Public\" <john.q.public@example.com>",
                "Joe Q. Public|-|john.q.public|example.com",
            ),
            (
                "Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                "Mary Smith|-|mary|x.test -|-|jdoe|example.org Who?|-|one|y.test",
            ),
            (
                "<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <s@e.net>",
                "-|-|boss|nil.test Giant; \"Big\" Box|-|s|e.net",
            ),
            (
                "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
                "A Group: Ed Jones|-|c|a.test -|-|joe|where.test John|-|jdoe|one.test ;",
            ),
            ("Undisclosed recipients:;", "Undisclosed recipients: ;"),
            (
                "Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                "Pete|-|pete|silly.test",
            ),
            ("jdoe@test   . example", "-|-|jdoe|test.example"),
            (
                "Joe <@node1.test,@node2.test:jdoe@example.org>",
                "Joe|@node1.test,@node2.test|jdoe|example.org",
            ),
            ("\r\n jdoe@x.test (John\r\n Doe)", "John Doe|-|jdoe|x.test"),
        ] {
            assert_eq!(show(value), expected, "{value}");
        }
    }

    #[test]
    fn what_is_no_address_is_shown_as_one() {
        for (value, expected) in [
            ("", ""),
            (" , ,; ", ""),
            ("nobody", "-|-|nobody|MISSING_DOMAIN"),
            ("two words", "-|-|two words|MISSING_DOMAIN"),
            ("<>", "-|-|MISSING_MAILBOX|MISSING_DOMAIN"),
            ("@host", "-|-|MISSING_MAILBOX|host"),
            ("Name <user", "Name|-|user|MISSING_DOMAIN"),
            ("<@host>", "-|-|MISSING_MAILBOX|host"),
            ("a: b@c", "a: -|-|b|c ;"),
            ("a@[IPv6:::1]", "-|-|a|[IPv6:::1]"),
            ("\"unclosed <a@b>", "-|-|unclosed <a@b>|MISSING_DOMAIN"),
            ("\"a b\"@c", "-|-|a b|c"),
            ("(only a comment)", ""),
        ] {
            assert_eq!(show(value), expected, "{value}");
        }
    }

    #[test]
    fn long_texts_are_clipped() {
        let value = format!("{} <{}@x>", "n".repeat(5_000), "m".repeat(5_000));
        let Some(Item::Address(address)) = items(value.as_bytes()).next() else {
            panic!("no address");
        };
        assert_eq!(address.mailbox.len(), ADDRESS_TEXT_BYTES_MAX);
        assert_eq!(address.name.map(|n| n.len()), Some(ADDRESS_TEXT_BYTES_MAX));
    }
}
