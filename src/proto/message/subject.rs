//! The base subject: what SORT and THREAD compare of a Subject field (RFC 5256 §2.1).
//!
//! Invariants: pure; the result is a part of the decoded text; `Re: x`, `[list] Fwd: x (fwd)` and `x` have the same.
//! Limits: [`SUBJECT_BYTES_MAX`]; the steps repeat, each time on a shorter text, so time is at worst its square.
//! Standards: RFC 5256 §2.1, numbers of steps are those there.

/// Octets of a decoded subject that count. Longer ones that agree so far are equal.
pub const SUBJECT_BYTES_MAX: usize = 1_024;

/// The base subject of `text`, encoded-words decoded, white space not yet.
#[must_use]
pub fn base(text: &str) -> String {
    base_of(text).0
}

/// The base subject, and whether something said that the message is a reply or was forwarded (RFC 5256 §2.1).
#[must_use]
pub fn base_of(text: &str) -> (String, bool) {
    let flat = flattened(text);
    let mut rest = flat.as_str();
    let mut is_reply = false;
    loop {
        let shorter = without_trailers(rest);
        is_reply |= shorter.len() != rest.trim_end_matches(' ').len();
        rest = shorter;
        loop {
            let led = without_leader(rest);
            is_reply |= led.len() != rest.trim_start_matches(' ').len();
            let shorter = without_blob(led);
            if shorter.len() == rest.len() {
                break;
            }
            rest = shorter;
        }
        // (6)
        let Some(inner) = strip_prefix(rest, "[fwd:").and_then(|inner| inner.strip_suffix(']')) else {
            return (rest.to_owned(), is_reply);
        };
        is_reply = true;
        rest = inner;
    }
}

/// (1): one space for each run of white space.
fn flattened(text: &str) -> String {
    let mut flat = String::with_capacity(text.len().min(SUBJECT_BYTES_MAX));
    for c in text.chars() {
        let is_space = matches!(c, ' ' | '\t' | '\r' | '\n');
        if is_space && flat.ends_with(' ') {
            continue;
        }
        let c = if is_space { ' ' } else { c };
        if flat.len() + c.len_utf8() > SUBJECT_BYTES_MAX {
            break;
        }
        flat.push(c);
    }
    flat
}

/// (2): `(fwd)` and white space at the end.
fn without_trailers(mut text: &str) -> &str {
    loop {
        text = text.trim_end_matches(' ');
        let Some(at) = text.len().checked_sub("(fwd)".len()) else {
            return text;
        };
        match text.get(at..) {
            Some(end) if end.eq_ignore_ascii_case("(fwd)") => text = &text[..at],
            _ => return text,
        }
    }
}

/// (3): white space, or blobs and `re:`, `fw:`, `fwd:`, which may have a blob before its colon.
fn without_leader(text: &str) -> &str {
    let text = text.trim_start_matches(' ');
    let mut rest = text;
    while let Some(behind) = behind_blob(rest) {
        rest = behind;
    }
    let word = ["fwd", "fw", "re"]
        .iter()
        .find_map(|word| strip_prefix(rest, word));
    let Some(rest) = word.map(|rest| rest.trim_start_matches(' ')) else {
        return text;
    };
    let rest = behind_blob(rest).unwrap_or(rest);
    rest.strip_prefix(':').unwrap_or(text)
}

/// (4): a blob at the start, if something is left without it.
fn without_blob(text: &str) -> &str {
    match behind_blob(text) {
        Some(rest) if !rest.is_empty() => rest,
        _ => text,
    }
}

/// What follows `[…]` and its white space.
fn behind_blob(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('[')?;
    let end = inner.find(['[', ']'])?;
    let rest = inner[end..].strip_prefix(']')?;
    Some(rest.trim_start_matches(' '))
}

/// Without regard to case; `prefix` is ASCII.
fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_replies_and_forwards_add_is_taken_off() {
        for (subject, is) in [
            ("x", "x"),
            ("Re: x", "x"),
            ("RE : re:\tFwd:  x (fwd) (FWD) ", "x"),
            ("[list] Re[2]: [other] x", "x"),
            ("[a][b] fw: x", "x"),
            ("[fwd: Re: [fwd: x]]", "x"),
            ("[only]", "[only]"),
            ("Re: [only]", "[only]"),
            ("[a] [b]", "[b]"),
            ("reply: x", "reply: x"),
            ("re x", "re x"),
            ("[un closed Re: x", "[un closed Re: x"),
            ("a  \r\n b", "a b"),
            ("Re:", ""),
            ("(fwd)", ""),
            ("", ""),
            ("Re: \u{e9}t\u{e9}", "\u{e9}t\u{e9}"),
        ] {
            assert_eq!(base(subject), is, "{subject}");
        }
    }

    #[test]
    fn replies_and_forwards_are_told_from_the_rest() {
        for subject in ["Re: x", "x (fwd)", "[fwd: x]", "[a] fw: x", "re[2]: x "] {
            assert!(base_of(subject).1, "{subject}");
        }
        for subject in ["x", " x ", "[a] x", "reply: x", ""] {
            assert!(!base_of(subject).1, "{subject}");
        }
    }

    #[test]
    fn a_hostile_subject_is_done_at_once() {
        assert_eq!(base(&"[a]".repeat(100_000)).len(), 1);
        assert_eq!(base(&"re:".repeat(100_000)), "r");
        assert_eq!(base(&"[fwd:".repeat(100_000)).len(), SUBJECT_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn the_base_of_a_base_is_itself(text in "([Rr]e|[Ff]wd?|:|\\[|\\]|\\(fwd\\)|[ab\u{e9}]| |\t){0,12}") {
            let once = base(&text);
            prop_assert_eq!(base(&once), once);
        }
    }
}
