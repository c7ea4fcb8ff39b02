//! Messages as people send them, with the answers worked out by hand.

use super::super::structure::{self, Kind};
use super::super::{binary, section};
use super::{body_structure, check_structure, crlf, envelope_of};
use crate::proto::imap::types::{Section, SectionText};
use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::response::Response;
use smallvec::SmallVec;

/// The part tree that RFC 9051 §6.4.5 numbers.
const RFC_TREE: &str = "\
From: a@x.test
Content-Type: multipart/mixed; boundary=one

Preamble
--one

1
--one
Content-Type: application/octet-stream

2
--one
Content-Type: message/rfc822

Subject: 3
Content-Type: multipart/mixed; boundary=three

--three

3.1
--three
Content-Type: application/octet-stream

3.2
--three--
--one
Content-Type: multipart/mixed; boundary=four

--four
Content-Type: image/gif

4.1
--four
Content-Type: message/rfc822

Subject: 4.2
Content-Type: multipart/mixed; boundary=fourtwo

--fourtwo

4.2.1
--fourtwo
Content-Type: multipart/alternative; boundary=alt

--alt

4.2.2.1
--alt
Content-Type: text/richtext

4.2.2.2
--alt--
--fourtwo--

--four--
--one--
Epilogue
";

/// `1.2.HEADER` and the like; `FIELDS a b` and `NOT a b` for HEADER.FIELDS and HEADER.FIELDS.NOT.
fn section(text: &str) -> Section {
    let mut part = SmallVec::new();
    let mut rest = text;
    while let Some(number) = rest.split('.').next().and_then(|n| n.parse().ok()) {
        part.push(number);
        rest = rest.split_once('.').map_or("", |(_, rest)| rest);
    }
    let names = |list: &str| list.split(' ').skip(1).map(|n| n.as_bytes().to_vec()).collect();
    let text = match rest {
        "" => None,
        "HEADER" => Some(SectionText::Header),
        "TEXT" => Some(SectionText::Text),
        "MIME" => Some(SectionText::Mime),
        _ if rest.starts_with("FIELDS") => Some(SectionText::HeaderFields(names(rest))),
        _ => Some(SectionText::HeaderFieldsNot(names(rest))),
    };
    Section { part, text }
}

fn fetch(message: &[u8], text: &str) -> Option<String> {
    let structure = structure::parse(message);
    check_structure(&structure, message);
    let found = section::find(&structure, message, &section(text))?;
    Some(String::from_utf8_lossy(found.of(message)).into_owned())
}

#[test]
fn the_sections_of_rfc_9051_are_found() {
    let message = crlf(RFC_TREE);
    for (text, expected) in [
        (
            "HEADER",
            "From: a@x.test\r\nContent-Type: multipart/mixed; boundary=one\r\n\r\n",
        ),
        ("1", "1"),
        ("1.MIME", "\r\n"),
        ("2", "2"),
        ("2.MIME", "Content-Type: application/octet-stream\r\n\r\n"),
        (
            "3.HEADER",
            "Subject: 3\r\nContent-Type: multipart/mixed; boundary=three\r\n\r\n",
        ),
        ("3.FIELDS subject", "Subject: 3\r\n\r\n"),
        ("3.MIME", "Content-Type: message/rfc822\r\n\r\n"),
        ("3.1", "3.1"),
        ("3.2", "3.2"),
        ("4.1", "4.1"),
        ("4.1.MIME", "Content-Type: image/gif\r\n\r\n"),
        (
            "4.2.HEADER",
            "Subject: 4.2\r\nContent-Type: multipart/mixed; boundary=fourtwo\r\n\r\n",
        ),
        ("4.2.1", "4.2.1"),
        ("4.2.2.1", "4.2.2.1"),
        ("4.2.2.2", "4.2.2.2"),
        ("4.2.2.2.MIME", "Content-Type: text/richtext\r\n\r\n"),
    ] {
        assert_eq!(fetch(&message, text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(fetch(&message, "").as_deref(), std::str::from_utf8(&message).ok());
    let inner = fetch(&message, "3.TEXT").unwrap_or_default();
    assert!(
        inner.starts_with("--three\r\n") && inner.ends_with("--three--"),
        "{inner}"
    );
    assert!(
        fetch(&message, "TEXT")
            .unwrap_or_default()
            .ends_with("Epilogue\r\n")
    );
}

#[test]
fn sections_that_do_not_exist_are_none() {
    let message = crlf(RFC_TREE);
    for text in [
        "5",
        "1.1",
        "1.HEADER",
        "1.TEXT",
        "4.HEADER",
        "4.FIELDS a",
        "3.3",
        "4.2.2.3",
        "2.1.MIME",
    ] {
        assert_eq!(fetch(&message, text), None, "{text}");
    }
    let zero = Section {
        part: SmallVec::from_slice(&[0]),
        text: None,
    };
    assert_eq!(section::find(&structure::parse(&message), &message, &zero), None);
}

#[test]
fn a_message_without_parts_has_one() {
    let message = b"A: 1\r\nB: 2\r\n\r\nbody\r\n";
    for (text, expected) in [
        ("1", "body\r\n"),
        ("TEXT", "body\r\n"),
        ("1.MIME", "A: 1\r\nB: 2\r\n\r\n"),
        ("HEADER", "A: 1\r\nB: 2\r\n\r\n"),
    ] {
        assert_eq!(fetch(message, text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(fetch(message, "2"), None);
    assert_eq!(fetch(message, "1.HEADER"), None);
}

#[test]
fn a_message_that_is_a_message_is_its_own_first_part() {
    let message = b"A: outer\r\nContent-Type: message/rfc822\r\n\r\nA: inner\r\n\r\nbody\r\n";
    for (text, expected) in [
        ("HEADER", "A: outer\r\nContent-Type: message/rfc822\r\n\r\n"),
        ("1", "A: inner\r\n\r\nbody\r\n"),
        ("1.HEADER", "A: inner\r\n\r\n"),
        ("1.TEXT", "body\r\n"),
        ("1.1", "body\r\n"),
        ("1.1.MIME", "A: inner\r\n\r\n"),
    ] {
        assert_eq!(fetch(message, text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(fetch(message, "1.1.HEADER"), None);
}

#[test]
fn header_fields_are_filtered_in_order_with_their_folds() {
    let message = b"To: a\r\nSubject: one\r\n two\r\nX-A: 1\r\nTO: b\r\n\r\nTo: body\r\n";
    for (text, expected) in [
        (
            "FIELDS to SUBJECT",
            "To: a\r\nSubject: one\r\n two\r\nTO: b\r\n\r\n",
        ),
        ("FIELDS absent", "\r\n"),
        ("NOT to x-a", "Subject: one\r\n two\r\n\r\n"),
    ] {
        assert_eq!(fetch(message, text).as_deref(), Some(expected), "{text}");
    }
    assert_eq!(fetch(b"To: a", "FIELDS to").as_deref(), Some("To: a\r\n\r\n"));
}

#[test]
fn body_structures_are_written_with_their_extensions() {
    let message = crlf(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed;\n boundary=\"a\n b\"; x=\"q\\\"q\"\n\nPreamble\n\n\
         --a b\nContent-Type: TEXT/html; charset=utf-8\nContent-ID: <i@x.test>\nContent-Description: words of it\n\
         Content-MD5: Q2hlY2s=\nContent-Disposition: attachment; filename=\"a b.html\"\nContent-Language: de, en\n\
         Content-Location: http://x.test/\nContent-Transfer-Encoding: Quoted-Printable\n\n<p>\n\n\
         --a b\nContent-Type: message/rfc822\nContent-Disposition: inline\n\nFrom: B <b@x.test>\nSubject: in\n\nhi\n\n\
         --a b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAA\n--a b--\n",
    );
    assert_eq!(
        body_structure(&message, true),
        "((\"TEXT\" \"html\" (\"charset\" \"utf-8\") \"<i@x.test>\" \"words of it\" \"Quoted-Printable\" 5 1 \
         \"Q2hlY2s=\" (\"attachment\" (\"filename\" \"a b.html\")) (\"de\" \"en\") \"http://x.test/\")\
         (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 39 (NIL \"in\" ((\"B\" NIL \"b\" \"x.test\")) \
         ((\"B\" NIL \"b\" \"x.test\")) ((\"B\" NIL \"b\" \"x.test\")) NIL NIL NIL NIL NIL) \
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1 NIL NIL NIL NIL) 4 \
         NIL (\"inline\" NIL) NIL NIL)\
         (\"image\" \"png\" NIL NIL NIL \"base64\" 4 NIL NIL NIL NIL) \
         \"mixed\" (\"boundary\" \"a b\" \"x\" \"q\\\"q\") NIL NIL NIL)"
    );
    assert_eq!(
        body_structure(&message, false),
        "((\"TEXT\" \"html\" (\"charset\" \"utf-8\") \"<i@x.test>\" \"words of it\" \"Quoted-Printable\" 5 1)\
         (\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 39 (NIL \"in\" ((\"B\" NIL \"b\" \"x.test\")) \
         ((\"B\" NIL \"b\" \"x.test\")) ((\"B\" NIL \"b\" \"x.test\")) NIL NIL NIL NIL NIL) \
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 4 1) 4)\
         (\"image\" \"png\" NIL NIL NIL \"base64\" 4) \"mixed\")"
    );
}

#[test]
fn clients_read_what_is_written() {
    let message = crlf(RFC_TREE);
    let envelope = envelope_of("Subject: é\nFrom: \"A \\\"B\" <@r:a@b>\nTo: g: c@d;\n\n");
    for is_extended in [false, true] {
        let name = if is_extended { "BODYSTRUCTURE" } else { "BODY" };
        let body = body_structure(&message, is_extended);
        let response = format!("* 1 FETCH ({name} {body} ENVELOPE {envelope})\r\n");
        let decoded = ResponseCodec::new().decode(response.as_bytes());
        assert!(
            matches!(decoded, Ok((b"", Response::Data(_)))),
            "{response} {decoded:?}"
        );
    }
}

#[test]
fn what_has_no_structure_is_plain_text() {
    let plain = |octets: usize, lines: usize| {
        format!("(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" {octets} {lines})")
    };
    for (message, octets, lines) in [
        ("", 0, 0),
        ("\r\n", 0, 0),
        ("no header at all\r\n", 0, 0),
        ("\r\nbody\r\n", 6, 1),
        ("A: 1\n\nline\nend", 8, 1),
        ("Content-Type: nonsense\r\n\r\nx\r\n", 3, 1),
        (
            "Content-Type: multipart/mixed\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n",
            17,
            4,
        ),
        (
            "Content-Type: multipart/mixed; boundary=a\r\n\r\nno part\r\n",
            9,
            1,
        ),
    ] {
        check_structure(&structure::parse(message.as_bytes()), message.as_bytes());
        assert_eq!(
            body_structure(message.as_bytes(), false),
            plain(octets, lines),
            "{message:?}"
        );
    }
}

/// Kinds and bodies of the parts, in the order of the message.
fn outline(message: &str) -> Vec<(Kind, String)> {
    let structure = structure::parse(message.as_bytes());
    check_structure(&structure, message.as_bytes());
    let shown = |p: &structure::Part| (p.kind, message[p.body.clone()].to_owned());
    structure.parts().iter().skip(1).map(shown).collect()
}

fn leaves<const N: usize>(bodies: [&str; N]) -> Vec<(Kind, String)> {
    bodies.iter().map(|b| (Kind::Leaf, (*b).to_owned())).collect()
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";

#[test]
fn delimiters_are_found_where_they_are_and_nowhere_else() {
    for (body, bodies) in [
        // A missing closing delimiter.
        ("--a\r\n\r\none\r\n--a\r\n\r\ntwo\r\n", leaves(["one", "two\r\n"])),
        // Padding, and a last line without an end.
        ("--a \t\r\n\r\none\r\n--a--  ", leaves(["one"])),
        // Another boundary that begins like this one, text that looks like it, and the epilogue.
        (
            "--a\r\n\r\n--ab\r\n --a\r\n--a-\r\nx--a\r\n--a--\r\n--a\r\n\r\nno",
            leaves(["--ab\r\n --a\r\n--a-\r\nx--a"]),
        ),
        // LF ends.
        ("--a\n\none\n--a\n\ntwo\n--a--\n", leaves(["one", "two"])),
        // No empty line, an empty part, a part of nothing.
        ("--a\r\nX: 1\r\n--a\r\n\r\n--a\r\n--a--\r\n", leaves(["", "", ""])),
        // Ends right behind a delimiter.
        ("--a\r\n\r\none\r\n--a", leaves(["one", ""])),
    ] {
        assert_eq!(outline(&format!("{MIXED}{body}")), bodies, "{body:?}");
    }
}

#[test]
fn an_outer_delimiter_ends_what_is_open_inside() {
    let message = format!(
        "{MIXED}--a\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\n--ab\r\n\r\none\r\n--a\r\n\r\n--ab\r\n\r\n--a--"
    );
    assert_eq!(
        outline(&message),
        [
            (Kind::Multipart, "--ab\r\n\r\none".to_owned()),
            (Kind::Leaf, "one".to_owned()),
            (Kind::Leaf, "--ab\r\n".to_owned())
        ]
    );
}

#[test]
fn a_header_cut_by_a_delimiter_keeps_its_line() {
    let message = format!("{MIXED}--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n--a--\r\n");
    assert_eq!(
        outline(&message),
        [
            (Kind::Message, "Subject: s\r\n".to_owned()),
            (Kind::Leaf, String::new())
        ]
    );
}

#[test]
fn parts_of_a_digest_are_messages_unless_they_say_otherwise() {
    let message = "Content-Type: multipart/digest; boundary=a\r\n\r\n\
                   --a\r\n\r\nSubject: s\r\n\r\none\r\n--a\r\nContent-Type: text/plain\r\n\r\ntwo\r\n--a--\r\n";
    assert_eq!(
        outline(message),
        [
            (Kind::Message, "Subject: s\r\n\r\none".to_owned()),
            (Kind::Leaf, "one".to_owned()),
            (Kind::Leaf, "two".to_owned())
        ]
    );
    assert!(
        body_structure(message.as_bytes(), false)
            .starts_with("((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 17 (")
    );
}

/// RFC 9051 §9 (body-type-basic must not be RFC822 or GLOBAL), §6.4.5.1; RFC 6532 §3.7.
#[test]
fn a_global_message_is_a_message() {
    let message = "Content-Type: multipart/report; boundary=a\r\n\r\n\
        --a\r\nContent-Type: Message/Global\r\n\r\nSubject: \u{fc}ber\r\n\r\none\r\n\
        --a\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeAoKeA==\r\n--a--\r\n";
    assert_eq!(
        outline(message),
        [
            (Kind::Message, "Subject: \u{fc}ber\r\n\r\none".to_owned()),
            (Kind::Leaf, "one".to_owned()),
            // Encoded, which this type may be: shown as the text that it is once it is decoded.
            (Kind::Opaque, "U3ViamVjdDogeAoKeA==".to_owned()),
        ]
    );
    for (text, expected) in [
        ("1.HEADER", Some("Subject: \u{fc}ber\r\n\r\n")),
        ("1.TEXT", Some("one")),
        ("1.1", Some("one")),
        ("2.HEADER", None),
    ] {
        assert_eq!(fetch(message.as_bytes(), text).as_deref(), expected, "{text}");
    }
    assert_eq!(
        body_structure(message.as_bytes(), false),
        "((\"message\" \"global\" NIL NIL NIL \"7bit\" 21 (NIL {5}\r\n\u{fc}ber NIL NIL NIL NIL NIL NIL NIL NIL) \
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 3 0) 2)\
         (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"base64\" 20 0) \"report\")"
    );
}

#[test]
fn binary_undoes_the_transfer_encoding_of_leaves() {
    let message = "Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        --a\r\nContent-Transfer-Encoding: BASE64\r\n\r\nw6k=\r\n--a\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        =C3=A9=\r\n!\r\n--a\r\nContent-Transfer-Encoding: 8bit\r\n\r\né\r\n--a\r\nContent-Transfer-Encoding: base64\r\n\r\n\
        #\r\n--a\r\nContent-Transfer-Encoding: x-other\r\n\r\nx\r\n--a--\r\n";
    let structure = structure::parse(message.as_bytes());
    let decoded = |number| {
        let found = binary::find(&structure, message.as_bytes(), &[number])?;
        Some(found.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    assert_eq!(decoded(1), Some(Ok("é".to_owned())));
    assert_eq!(decoded(2), Some(Ok("é!".to_owned())));
    assert_eq!(decoded(3), Some(Ok("é".to_owned())));
    // RFC 2045 §6.8: what is outside the alphabet is passed over, but there must be something else.
    assert_eq!(decoded(4), Some(Err(binary::UnknownCte)));
    assert_eq!(decoded(5), Some(Err(binary::UnknownCte)));
    assert_eq!(decoded(6), None);
}

#[test]
fn the_envelope_of_rfc_9051_is_written() {
    // RFC 9051 §8's message.
    let header = "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\nFrom: Terry Gray <gray@cac.washington.edu>\n\
        Subject: IMAP4rev2 WG mtg summary and minutes\nTo: imap@cac.washington.edu\n\
        cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\n\
        Message-Id: <B27397-0100000@cac.washington.ed>\nMIME-Version: 1.0\n\n";
    let gray = "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\"))";
    assert_eq!(
        envelope_of(header),
        format!(
            "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" {gray} {gray} {gray} \
             ((NIL NIL \"imap\" \"cac.washington.edu\")) ((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")\
             (\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL \"<B27397-0100000@cac.washington.ed>\")"
        )
    );
}

#[test]
fn envelopes_default_join_group_and_leave_words_encoded() {
    assert_eq!(envelope_of("\n"), "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)");
    assert_eq!(
        envelope_of(
            "From: a@x (A B)\nSender:\nReply-To: c@x\nTo: g: d@x, e@x;, f@x\nTo: h@x\nBcc: none:;\n\n"
        ),
        "(NIL NIL ((\"A B\" NIL \"a\" \"x\")) ((\"A B\" NIL \"a\" \"x\")) ((NIL NIL \"c\" \"x\")) \
         ((NIL NIL \"g\" NIL)(NIL NIL \"d\" \"x\")(NIL NIL \"e\" \"x\")(NIL NIL NIL NIL)(NIL NIL \"f\" \"x\")\
         (NIL NIL \"h\" \"x\")) NIL ((NIL NIL \"none\" NIL)(NIL NIL NIL NIL)) NIL NIL)"
    );
    assert_eq!(
        envelope_of(
            "Subject: =?utf-8?Q?=C3=A9?=\n\tfolded \"q\"\nSubject: second\nMessage-ID: <1@x>\nIn-Reply-To:\n\n"
        ),
        "(NIL \"=?utf-8?Q?=C3=A9?=\tfolded \\\"q\\\"\" NIL NIL NIL NIL NIL NIL \"\" \"<1@x>\")"
    );
    assert_eq!(
        envelope_of("Subject: é\n\n"),
        "(NIL {2}\r\né NIL NIL NIL NIL NIL NIL NIL NIL)"
    );
}
