//! Arbitrary octets: nothing panics, ranges hold, what is written is valid. `PROPTEST_CASES` sets how many are tried.

use super::super::search::{Matcher, body_contains, text_contains};
use super::super::structure;
use super::super::{address, binary, date, envelope, header, section, trace, words};
use super::{check_structure, grammar, written};
use crate::proto::imap::types::{Section, SectionText};
use proptest::collection::vec;
use proptest::prelude::*;
use smallvec::SmallVec;

/// Pieces that messages are made of, so that chance reaches the states behind them.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"--a",
    b"--a--",
    b"\r\n--a\r\n",
    b"\r\n--b\r\n",
    b"\r\n--a--\r\n",
    b"--b--\n",
    b"Content-Type: multipart/mixed; boundary=a\r\n",
    b"Content-Type: multipart/digest; boundary=\"b\"\r\n",
    b"content-type: message/rfc822\r\n",
    b"Content-Type: text/plain; charset=utf-16; x=\"\\",
    b"Content-Type: text/html;",
    b"Content-Transfer-Encoding: base64\r\n",
    b"Content-Transfer-Encoding: quoted-printable\r\n",
    b"Content-Disposition: attachment; filename*0*=\xe9",
    b"Content-Language: a, b (c",
    b"Content-Type: multipart/x\r\n",
    b"From: ",
    b"To: g: a@b, \"c\" <@d:e@f>;",
    b"Subject: ",
    b"Date: Fri, 21 Nov 1997",
    b"=?utf-8?q?=C3?=",
    b"=?x?b?",
    b"(",
    b")",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b",",
    b";",
    b":",
    b"=",
    b"\0",
    b"\xc3\xa9",
    b"\xff",
    b" ",
    b"\t",
    b"AAAA=",
];

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => proptest::sample::select(PIECES).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..8),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn text() -> impl Strategy<Value = Option<SectionText>> {
    let names = vec![b"to".to_vec(), b"content-type".to_vec()];
    proptest::sample::select(vec![
        None,
        Some(SectionText::Header),
        Some(SectionText::Text),
        Some(SectionText::Mime),
        Some(SectionText::HeaderFields(names.clone())),
        Some(SectionText::HeaderFieldsNot(names)),
    ])
}

proptest! {
    #[test]
    fn any_message_has_a_sound_structure_and_a_valid_body(message in octets()) {
        let parsed = structure::parse(&message);
        check_structure(&parsed, &message);
        for is_extended in [false, true] {
            let out = written(&parsed, &message, is_extended);
            let checked = grammar::read(&out).and_then(|node| grammar::check_body(&node, is_extended));
            prop_assert_eq!(checked, Ok(()), "{:?}", String::from_utf8_lossy(&out));
        }
    }

    #[test]
    fn slices_of_any_size_give_the_same_structure(message in octets(), size in 1_usize..80) {
        let mut scan = structure::Scan::new(&message);
        while scan.step_by(size) {}
        prop_assert_eq!(scan.into_structure(), structure::parse(&message));
    }

    #[test]
    fn any_header_has_a_valid_envelope(header in octets()) {
        let mut out = Vec::new();
        envelope::write(&header, &mut out);
        let checked = grammar::read(&out).and_then(|node| grammar::check_envelope(&node));
        prop_assert_eq!(checked, Ok(()), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn fields_are_the_header(message in octets()) {
        let length = header::length(&message);
        let joined: Vec<u8> = header::fields(&message).flat_map(|f| f.whole.to_vec()).collect();
        prop_assert!(message[..length].starts_with(&joined));
        prop_assert!(length - joined.len() <= 2);
        prop_assert_eq!(structure::parse(&message).root().header.clone(), 0..length);
    }

    #[test]
    fn any_section_lies_in_the_message(message in octets(), part in vec(0_u32..4, 0..4), text in text()) {
        let parsed = structure::parse(&message);
        let section = Section { part: SmallVec::from_vec(part.clone()), text };
        let found = section::find(&parsed, &message, &section);
        if let Some(section::SectionBytes::Range(range)) = &found {
            prop_assert!(range.start <= range.end && range.end <= message.len());
        }
        if let Some(Ok(decoded)) = binary::find(&parsed, &message, &part) {
            prop_assert!(decoded.len() <= message.len());
        }
    }

    #[test]
    fn other_octets_than_the_structures_own_do_no_harm(message in octets(), other in octets()) {
        let parsed = structure::parse(&message);
        written(&parsed, &other, true);
        let matcher = Matcher::new(None, b"x").expect("UTF-8");
        let _ = text_contains(&parsed, &other, &matcher);
        let section = Section { part: SmallVec::from_slice(&[1]), text: None };
        if let Some(found) = section::find(&parsed, &message, &section) {
            let _ = found.of(&other);
        }
    }

    #[test]
    fn what_stands_in_an_ascii_body_is_found(body in "[ -~]{0,200}", at in 0_usize..200, length in 0_usize..50) {
        let message = format!("A: 1\r\n\r\n{body}");
        let start = at.min(body.len());
        let needle = &body[start..(start + length).min(body.len())];
        let matcher = Matcher::new(None, needle.to_ascii_uppercase().as_bytes()).expect("UTF-8");
        prop_assert!(body_contains(&structure::parse(message.as_bytes()), message.as_bytes(), &matcher));
    }

    #[test]
    fn plain_text_is_searched_as_what_must_be_decoded_is(
        body in "[a-cA-C \\t\\r\\né]{0,120}", needle in "[a-cA-C \\ré]{1,4}",
        charset in proptest::sample::select(vec!["us-ascii", "utf-8", "iso-8859-1", "windows-1252"]),
    ) {
        use base64::Engine;
        let type_field = format!("Content-Type: text/plain; charset={charset}\r\n");
        let plain = format!("{type_field}\r\n{body}");
        let encoded = base64::engine::general_purpose::STANDARD.encode(&body);
        let encoded = format!("{type_field}Content-Transfer-Encoding: base64\r\n\r\n{encoded}");
        let matcher = Matcher::new(None, needle.as_bytes()).expect("UTF-8");
        let is_in = |message: &str| body_contains(&structure::parse(message.as_bytes()), message.as_bytes(), &matcher);
        prop_assert_eq!(is_in(&plain), is_in(&encoded));
    }

    #[test]
    fn searching_anything_for_anything_ends(message in octets(), needle in octets()) {
        if let Ok(matcher) = Matcher::new(None, &needle) {
            let parsed = structure::parse(&message);
            let body = body_contains(&parsed, &message, &matcher);
            prop_assert!(!body || text_contains(&parsed, &message, &matcher));
        }
    }

    #[test]
    fn any_charset_decodes_anything(octets in vec(any::<u8>(), 0..200), charset in proptest::sample::select(vec![
        "utf-7", "utf-16", "utf-16le", "utf-16be", "shift_jis", "iso-2022-jp", "gb18030", "big5", "euc-kr", "koi8-r", "cp850",
    ])) {
        let _ = words::to_text(charset.as_bytes(), &octets);
    }

    #[test]
    fn single_values_never_panic(value in octets()) {
        let _ = date::day(&value);
        let _ = words::decode(&value);
        address::items(&value).count();
        let _ = trace::hops(&value);
    }
}
