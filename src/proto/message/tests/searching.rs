//! SEARCH over whole messages.

use super::super::search::{
    Matcher, MessageSearch, Progress, SLICE_BYTES, Scope, UnknownCharset, body_contains, text_contains,
};
use super::super::structure;

fn matcher(needle: &str) -> Matcher {
    Matcher::new(None, needle.as_bytes()).unwrap_or_else(|e| panic!("{needle}: {e}"))
}

fn found(message: &[u8], needle: &str) -> (bool, bool) {
    let structure = structure::parse(message);
    let matcher = matcher(needle);
    (
        body_contains(&structure, message, &matcher),
        text_contains(&structure, message, &matcher),
    )
}

const MESSAGE: &str = "From: =?utf-8?q?J=C3=BCrgen?= <j@x.test>\r\nSubject: Hello\r\n World\r\n\
    Content-Type: multipart/mixed; boundary=a\r\n\r\nPreamble\r\n--a\r\n\
    Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
    Gr=FC=DFe aus K=D6LN, soft=\r\nbreak\r\n--a\r\nContent-Type: text/html; charset=utf-8\r\n\
    Content-Transfer-Encoding: base64\r\n\r\nPHA+0J/RgNC40LLQtdGCPC9wPg==\r\n--a\r\n\
    Content-Type: application/pdf; name=\"Report.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ==\r\n--a\r\n\
    Content-Type: message/rfc822\r\n\r\nSubject: Forwarded\r\n\r\ninner text\r\n--a--\r\n";

#[test]
fn text_is_found_decoded_and_in_any_case() {
    for (needle, expected) in [
        ("grüße aus köln", (true, true)),
        ("GRÜSSE", (false, false)),
        ("SoftBreak", (true, true)),
        ("привет", (true, true)),
        ("ПРИВЕТ</P>", (true, true)),
        ("report.PDF", (true, true)),
        ("forwarded", (true, true)),
        ("INNER TEXT", (true, true)),
        ("hello world", (false, true)),
        ("JÜRGEN", (false, true)),
        ("subject: hello", (false, true)),
        ("preamble", (false, false)),
        ("PHA+", (false, false)),
        ("absent", (false, false)),
        ("", (true, true)),
    ] {
        assert_eq!(found(MESSAGE.as_bytes(), needle), expected, "{needle}");
    }
}

#[test]
fn fields_are_searched_by_name() {
    let header = MESSAGE.as_bytes();
    for (field, needle, expected) in [
        ("FROM", "jürgen", true),
        ("from", "x.TEST", true),
        ("from", "utf-8", false),
        ("subject", "hello world", true),
        ("subject", "forwarded", false),
        ("subject", "", true),
        ("cc", "", false),
    ] {
        assert_eq!(
            matcher(needle).is_in_field(header, field.as_bytes()),
            expected,
            "{field} {needle}"
        );
    }
    assert!(matcher("jürgen").is_in_header(header));
    assert!(!matcher("inner").is_in_header(header));
}

#[test]
fn needles_come_in_the_commands_charset() {
    let latin = Matcher::new(Some("ISO-8859-1"), b"gr\xfc\xdfe").expect("known");
    assert!(latin.is_in("Viele GRÜßE"));
    assert!(Matcher::new(Some("us-ascii"), b"a").is_ok());
    assert_eq!(Matcher::new(Some("x-nonsense"), b"a").err(), Some(UnknownCharset));
    assert_eq!(Matcher::new(Some(""), b"a").err(), Some(UnknownCharset));
}

#[test]
fn a_text_across_slices_is_found_and_steps_are_bounded() {
    for separator in ["", "\n"] {
        let filler = format!("{}{separator}", "é".repeat(50));
        let mut body = filler.repeat(10 * SLICE_BYTES / filler.len());
        let at = body.len() / 2 / filler.len() * filler.len();
        let needle = format!("NEEDLE{}", "x".repeat(SLICE_BYTES + 10));
        body.insert_str(at, &needle);
        let message = format!("Content-Type: text/plain; charset=utf-8\r\n\r\n{body}");
        assert_eq!(found(message.as_bytes(), "needlex"), (true, true));
        assert_eq!(found(message.as_bytes(), &needle), (true, true));
        assert_eq!(found(message.as_bytes(), &format!("{needle}x")), (false, false));

        let structure = structure::parse(message.as_bytes());
        let absent = matcher("absent");
        let mut search = MessageSearch::new(&structure, message.as_bytes(), Scope::Body, &absent);
        let mut steps = 1;
        while search.step() == Progress::More {
            steps += 1;
        }
        assert!(steps > 10, "{steps}");
    }
}
