//! PREVIEW: the first words of a message (RFC 8970).
//!
//! Invariants: one line of UTF-8 without controls; linear in what is looked at; a message without text has the empty one.
//! What is shown: of the first text/plain part that has text, else of the first text/html part without its tags, the first
//! [`PREVIEW_CHARACTERS_MAX`] characters. Quoted lines (`>`) and white space are left out. Attachments are not looked at.
//! Limits: [`PREVIEW_BODY_BYTES`] of a part, [`PREVIEW_PARTS_MAX`] parts.
//! Not here: when it is not worth reading the message for it (`session::imap::fetch_content`).

use super::structure::{Kind, Part, Structure};
use super::transfer::Lenient;
use super::words;

/// RFC 8970 §3.1: SHOULD be limited to 200 characters.
pub const PREVIEW_CHARACTERS_MAX: usize = 200;
/// Octets of a part, still encoded, that are looked at: HTML mail may begin with some kilobytes of style.
pub const PREVIEW_BODY_BYTES: usize = 32 * 1024;
/// Parts looked at.
pub const PREVIEW_PARTS_MAX: usize = 32;

/// The preview of `message`, which `structure` was made from.
#[must_use]
pub fn of(structure: &Structure, message: &[u8]) -> String {
    let mut html = None;
    for part in structure.parts().iter().take(PREVIEW_PARTS_MAX) {
        if !matches!(part.kind, Kind::Leaf | Kind::Opaque) || is_attachment(part, message) {
            continue;
        }
        let content_type = part.content_type(message);
        let is_plain = content_type.as_ref().is_none_or(|t| t.is("text", "plain"));
        let is_html = content_type.as_ref().is_some_and(|t| t.is("text", "html"));
        if is_plain {
            let text = digest(unquoted(&decoded(part, message)).chars());
            if !text.is_empty() {
                return text;
            }
        } else if is_html && html.is_none() {
            html = Some(digest(without_tags(&decoded(part, message)).chars()));
        }
    }
    html.unwrap_or_default()
}

fn is_attachment(part: &Part, message: &[u8]) -> bool {
    let disposition = part.fields(message).disposition();
    disposition.is_some_and(|d| d.kind.eq_ignore_ascii_case(b"attachment"))
}

fn decoded(part: &Part, message: &[u8]) -> String {
    let body = part.body_of(message);
    let mut octets = Vec::new();
    let piece = &body[..Lenient::piece(body, PREVIEW_BODY_BYTES)];
    Lenient::new(part.fields(message).encoding()).decode(piece, &mut octets);
    let content_type = part.content_type(message);
    let charset = content_type.as_ref().and_then(|t| t.parameter("charset"));
    words::to_text(charset.unwrap_or(b"us-ascii"), &octets)
}

fn unquoted(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('>'));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// White space as single spaces, controls dropped, cut.
fn digest(text: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut is_space_due = false;
    for c in text {
        if c.is_whitespace() {
            is_space_due = count > 0;
            continue;
        }
        // The replacement character at the end may be half a character where the part was cut.
        if c.is_control() || c == char::REPLACEMENT_CHARACTER {
            continue;
        }
        if count + usize::from(is_space_due) >= PREVIEW_CHARACTERS_MAX {
            break;
        }
        if std::mem::take(&mut is_space_due) {
            out.push(' ');
            count += 1;
        }
        out.push(c);
        count += 1;
    }
    out
}

/// HTML as its text: tags become spaces, what stands in `style`, `script`, `head` and comments is left out, the commonest
/// entities are undone. Not an HTML parser: what it takes for a tag, `<` to `>`, is enough for a few words.
fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_entities(&rest[..at], &mut text);
        text.push(' ');
        rest = &rest[at..];
        rest = match hidden_end(rest) {
            Some(end) => end,
            None => rest.find('>').map_or("", |end| &rest[end + 1..]),
        };
    }
    push_entities(rest, &mut text);
    text
}

/// What follows the element or comment at the start of `html`, if it is one that is not shown.
fn hidden_end(html: &str) -> Option<&str> {
    if html.starts_with("<!--") {
        return Some(html.split_once("-->").map_or("", |(_, rest)| rest));
    }
    for name in ["style", "script", "head", "title"] {
        let Some(tag) = html
            .get(1..=name.len())
            .filter(|tag| tag.eq_ignore_ascii_case(name))
        else {
            continue;
        };
        let behind = html[1 + tag.len()..].chars().next();
        if behind.is_some_and(|c| c.is_ascii_alphanumeric()) {
            continue;
        }
        return Some(behind_end_tag(html, name));
    }
    None
}

fn behind_end_tag<'a>(html: &'a str, name: &str) -> &'a str {
    let mut rest = html;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        let is_it = rest
            .get(..name.len())
            .is_some_and(|tag| tag.eq_ignore_ascii_case(name));
        if is_it {
            return rest.find('>').map_or("", |end| &rest[end + 1..]);
        }
    }
    ""
}

fn push_entities(text: &str, out: &mut String) {
    const ENTITIES: [(&str, &str); 6] = [
        ("&nbsp;", " "),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
    ];
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let known = ENTITIES.iter().find(|(entity, _)| rest.starts_with(entity));
        let (entity, character) = known.copied().unwrap_or(("&", "&"));
        out.push_str(character);
        rest = &rest[entity.len()..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::super::structure;
    use super::*;
    use proptest::prelude::*;

    fn preview(message: &str) -> String {
        of(&structure::parse(message.as_bytes()), message.as_bytes())
    }

    #[test]
    fn the_first_words_are_shown() {
        assert_eq!(
            preview("Subject: x\r\n\r\n> quoted\r\n\r\nHello,\r\n  you!\t\x07\r\n"),
            "Hello, you!"
        );
        assert_eq!(preview("Subject: x\r\n\r\n"), "");
        let long = format!("\r\n{}", "word ".repeat(100));
        assert_eq!(preview(&long).chars().count(), 199);
        let umlauts = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            R3LDvMOfZQ==\r\n";
        assert_eq!(preview(umlauts), "Gr\u{fc}\u{df}e");
    }

    #[test]
    fn html_is_shown_without_its_tags_and_only_if_nothing_is_plain() {
        let html = "Content-Type: text/html\r\n\r\n<html><head><style>p {}</style></head><!-- > no -->\
            <p class=\"x\">Fish &amp; <b>chips</b>&nbsp;&unknown;</p><script>if (a < b) x</script>";
        assert_eq!(preview(html), "Fish & chips &unknown;");
        let mixed = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>no\r\n\
            --b\r\nContent-Disposition: attachment\r\n\r\nneither\r\n--b\r\n\r\nyes\r\n--b--\r\n";
        assert_eq!(preview(mixed), "yes");
    }

    proptest! {
        #[test]
        fn whatever_comes_one_short_line_leaves(body in "(<|>|/|&|[a-z]|style|<!--|-->|</head>| |\u{e9}|\r\n){0,40}") {
            let text = preview(&format!("Content-Type: text/html; charset=utf-8\r\n\r\n{body}"));
            prop_assert!(text.chars().count() <= PREVIEW_CHARACTERS_MAX);
            prop_assert!(!text.contains(char::is_control));
        }
    }
}
