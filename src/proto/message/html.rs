//! HTML as its text, for a few words of it.
//!
//! Not a parser: no tree, no styles, and an element is what its tags say. Elements that stand in lines of their own, and cells of
//! tables, are set apart by a space; others leave words whole. What stands in `style`, `script`, `title` and comments is left
//! out. Character references are HTML's, mail-parser has the table of their names; those of numbers that name controls of the
//! C1 range mean windows-1252 (HTML §13.2.5.80).
//!
//! Invariants: linear. Limits: the caller's; `REFERENCE_BYTES_MAX`.
//! Failure: none; what is no tag and no reference is text.
//! LIMITATION: references without their semicolon stay as they are.

use super::words;
use mail_parser::decoders::html::add_html_token;

/// Octets of a reference between `&` and `;`: HTML's longest name has 31.
const REFERENCE_BYTES_MAX: usize = 32;

/// Elements that begin and end a line, and cells, which stand apart.
const BLOCKS: [&str; 56] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "br",
    "caption",
    "center",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "frameset",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hgroup",
    "hr",
    "html",
    "legend",
    "li",
    "listing",
    "main",
    "menu",
    "nav",
    "ol",
    "option",
    "p",
    "plaintext",
    "pre",
    "search",
    "section",
    "select",
    "summary",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "ul",
    "xmp",
];

/// Octets of the longest of their names.
const BLOCK_NAME_BYTES: usize = 10;

/// Elements whose content is not shown.
const HIDDEN: [&str; 3] = ["style", "script", "title"];

/// `html` without what is not text.
#[must_use]
pub fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = memchr::memchr(b'<', rest.as_bytes()) {
        push_text(&rest[..at], &mut text);
        rest = &rest[at..];
        let Some(markup) = Markup::at_start_of(rest) else {
            text.push('<');
            rest = &rest[1..];
            continue;
        };
        if markup.is_block {
            text.push(' ');
        }
        rest = &rest[markup.length..];
    }
    push_text(rest, &mut text);
    text
}

/// A tag with what it hides, a comment, or what else HTML has between `<` and `>`.
struct Markup {
    length: usize,
    is_block: bool,
}

impl Markup {
    /// `html` begins with `<`.
    fn at_start_of(html: &str) -> Option<Self> {
        let octets = html.as_bytes();
        if html.starts_with("<!--") {
            let length = html.find("-->").map_or(html.len(), |at| at + 3);
            return Some(Self {
                length,
                is_block: false,
            });
        }
        let is_end = octets.get(1) == Some(&b'/');
        let name_at = 1 + usize::from(is_end);
        let is_tag = octets.get(name_at).is_some_and(u8::is_ascii_alphabetic);
        // Declarations and the like have no name.
        if !is_tag && !matches!(octets.get(1), Some(b'!' | b'?' | b'/')) {
            return None;
        }
        let name_length = octets[name_at..]
            .iter()
            .take_while(|b| b.is_ascii_alphanumeric())
            .count();
        let name = if is_tag {
            &html[name_at..name_at + name_length]
        } else {
            ""
        };
        let length = tag_length(octets);
        let hidden = HIDDEN
            .iter()
            .find(|hidden| !is_end && name.eq_ignore_ascii_case(hidden));
        Some(Self {
            length: hidden.map_or(length, |hidden| length + behind_end_tag(&html[length..], hidden)),
            is_block: is_block(name),
        })
    }
}

/// Octets up to the `>` that no quoted value of an attribute holds; all of it without one.
fn tag_length(html: &[u8]) -> usize {
    let mut at = 1;
    while let Some(ahead) = memchr::memchr3(b'>', b'"', b'\'', &html[at..]) {
        let here = at + ahead;
        if html[here] == b'>' {
            return here + 1;
        }
        at = here + 1;
        // A quote elsewhere than behind `=` is a slip of the pen.
        if html[..here].trim_ascii_end().ends_with(b"=") {
            match memchr::memchr(html[here], &html[at..]) {
                Some(length) => at += length + 1,
                None => break,
            }
        }
    }
    html.len()
}

fn is_block(name: &str) -> bool {
    if name.len() > BLOCK_NAME_BYTES {
        return false;
    }
    let mut lower = [0; BLOCK_NAME_BYTES];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    BLOCKS
        .binary_search_by(|block| block.as_bytes().cmp(lower))
        .is_ok()
}

/// Octets up to the end of the end tag of the element `name`; all of it without one.
fn behind_end_tag(html: &str, name: &str) -> usize {
    let mut at = 0;
    while let Some(ahead) = html[at..].find("</") {
        at += ahead + 2;
        let is_it = html
            .get(at..at + name.len())
            .is_some_and(|tag| tag.eq_ignore_ascii_case(name));
        if is_it {
            return html[at..].find('>').map_or(html.len(), |end| at + end + 1);
        }
    }
    html.len()
}

/// Text between tags, its references undone.
fn push_text(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = reference_length(rest.as_bytes());
        let taken = length.unwrap_or(1);
        let (reference, behind) = rest.split_at(taken);
        match c1_octet(reference) {
            Some(octet) => out.push_str(&words::to_text(b"windows-1252", &[octet])),
            // An unknown name is left as it is.
            None => add_html_token(out, reference.as_bytes(), false),
        }
        rest = behind;
    }
    out.push_str(rest);
}

/// Octets of the reference at the start of `text`, which begins with `&`.
fn reference_length(text: &[u8]) -> Option<usize> {
    let window = &text[1..text.len().min(REFERENCE_BYTES_MAX + 2)];
    let end = window
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && *b != b'#')?;
    (window[end] == b';').then_some(end + 2)
}

/// What `&#128;` to `&#159;` name.
fn c1_octet(reference: &str) -> Option<u8> {
    let number = reference.strip_prefix("&#")?.strip_suffix(';')?;
    let code = match number.strip_prefix(['x', 'X']) {
        Some(hexadecimal) => u8::from_str_radix(hexadecimal, 16).ok()?,
        None => number.parse().ok()?,
    };
    (0x80..=0x9f).contains(&code).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_blocks_are_sorted_and_short() {
        assert!(BLOCKS.is_sorted());
        assert!(BLOCKS.iter().all(|name| name.len() <= BLOCK_NAME_BYTES));
    }

    #[test]
    fn references_are_undone() {
        for (html, text) in [
            (
                "Gr&uuml;&szlig;e &#8364;5 &euro; &#x20AC;",
                "Gr\u{fc}\u{df}e \u{20ac}5 \u{20ac} \u{20ac}",
            ),
            (
                "&lt;b&gt; &amp;amp; &quot;&apos;&#39;&nbsp;&hellip;",
                "<b> &amp; \"''\u{a0}\u{2026}",
            ),
            ("&#150;&#x93;x&#148;", "\u{2013}\u{201c}x\u{201d}"),
            ("&CounterClockwiseContourIntegral;", "\u{2233}"),
            (
                "a & b &; &nothing; &uuml &#; &#x; &#xg;",
                "a & b &; &nothing; &uuml &#; &#x; &#xg;",
            ),
            (
                "&#1114112; &#xd800; &#99999999999;",
                "\u{fffd} \u{fffd} &#99999999999;",
            ),
            ("AT&T; &&amp;&", "AT&T; &&&"),
        ] {
            assert_eq!(without_tags(html), text, "{html}");
        }
    }

    #[test]
    fn words_stay_whole_and_lines_apart() {
        for (html, text) in [
            ("un<b>believ</b>able", "unbelievable"),
            (
                "<P>one</P><DIV class=x>two</DIV>three<br/>four",
                " one  two three four",
            ),
            ("<tr><td>a<td>b</tr>", "  a b "),
            (
                "a<!-- > b -->c<span title=\"x > y\">d</span>e<o:p></o:p>f",
                "acdef",
            ),
            (
                "a<style>p > b {}</style>b<SCRIPT>if (a < b) x</script >c<title>t</title>d",
                "abcd",
            ),
            ("<head><meta charset=x><title>t</title><body>text", "  text"),
            ("1 < 2 <3 <", "1 < 2 <3 <"),
            ("<!DOCTYPE html><?xml x?>a</ x>b", "ab"),
            ("<a href='it\"s' it's>x</a>", "x"),
            ("<a href=\"never closed>x</a>", ""),
            ("<stylex>a</stylex><abbr>b</abbr>", "ab"),
        ] {
            assert_eq!(without_tags(html), text, "{html}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics_and_text_never_grows(html in "(<|>|/|&|;|#|x|[a-z]{1,3}|=\"|'|style|<!--|-->|&uuml;| |\u{e9}|\r\n){0,40}") {
            prop_assert!(without_tags(&html).len() <= html.len());
        }
    }
}
