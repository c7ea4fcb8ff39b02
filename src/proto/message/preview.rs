//! PREVIEW: the first words of a message (RFC 8970).
//!
//! Invariants: one line of UTF-8 without controls; linear in what is looked at; a message without text has the empty one.
//! What is shown: of the first text/plain part that has text, else of the first text/html part without its tags, the first
//! [`PREVIEW_CHARACTERS_MAX`] characters. Quoted lines (`>`) and white space are left out. Attachments are not looked at.
//! Limits: [`PREVIEW_BODY_BYTES`] of a part, [`PREVIEW_PARTS_MAX`] parts.
//! Not here: what is text in HTML (`html`), when it is not worth reading the message for it (`session::imap::fetch_content`).

use super::html::without_tags;
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
        // RFC 8970 §3.3: of the text, not of its markup.
        let german =
            "Content-Type: text/html\r\n\r\n<p>Gr&uuml;&szlig;e &#8364;5 un<b>believ</b>able<br>so</p>";
        assert_eq!(preview(german), "Gr\u{fc}\u{df}e \u{20ac}5 unbelievable so");
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
