//! What attackers send: results stay within their limits and valid. Times are measured in `benches/message.rs`.

use super::super::bodystructure::BODYSTRUCTURE_BYTES_MAX;
use super::super::envelope::{ENVELOPE_ADDRESSES_MAX, ENVELOPE_BYTES_MAX};
use super::super::mime::PARAMETERS_MAX;
use super::super::structure::{self, Kind, NESTING_MAX, PARTS_MAX, Structure};
use super::{check_structure, envelope_of, grammar, written};

fn parse(message: &[u8]) -> Structure {
    let structure = structure::parse(message);
    check_structure(&structure, message);
    for is_extended in [false, true] {
        let out = written(&structure, message, is_extended);
        let checked = grammar::read(&out).and_then(|node| grammar::check_body(&node, is_extended));
        assert_eq!(checked, Ok(()));
        assert!(
            out.len() <= BODYSTRUCTURE_BYTES_MAX + ENVELOPE_BYTES_MAX * 2 + PARTS_MAX * 150,
            "{}",
            out.len()
        );
    }
    structure
}

fn deepest(structure: &Structure) -> u8 {
    structure.parts().iter().map(|p| p.depth).max().unwrap_or(0)
}

#[test]
fn multiparts_nest_to_the_limit() {
    let mut message = String::new();
    for level in 0..20_000 {
        message.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"
        ));
    }
    let structure = parse(message.as_bytes());
    assert_eq!(deepest(&structure), NESTING_MAX);
    let last = structure.parts().last().expect("a part");
    assert_eq!((last.kind, last.body.end), (Kind::Opaque, message.len()));
}

#[test]
fn messages_nest_to_the_limit() {
    let message = format!(
        "Subject: deep\r\n{}\r\nx\r\n",
        "Content-Type: message/rfc822\r\n\r\n".repeat(5_000)
    );
    let structure = parse(message.as_bytes());
    assert_eq!(structure.parts().len(), usize::from(NESTING_MAX) + 1);
    assert_eq!(structure.parts().last().map(|p| p.kind), Some(Kind::Opaque));
}

#[test]
fn the_last_part_told_apart_has_all_the_rest() {
    let head = "Content-Type: multipart/mixed; boundary=a\r\n\r\n";
    let message = format!("{head}{}", "--a\r\n\r\n".repeat(PARTS_MAX * 3));
    let structure = parse(message.as_bytes());
    assert_eq!(structure.parts().len(), PARTS_MAX);
    assert_eq!(structure.root().children.len(), PARTS_MAX - 1);
    assert_eq!(structure.parts()[PARTS_MAX - 1].body.end, message.len());
}

#[test]
fn a_body_structure_stops_telling_details_at_its_limit() {
    let head = "Content-Type: multipart/digest; boundary=a\r\n\r\n";
    let part = format!(
        "--a\r\n\r\nSubject: {}\r\nTo: {}\r\n\r\n\r\n",
        "s".repeat(2_000),
        "a@b,".repeat(500)
    );
    let message = format!("{head}{}", part.repeat(1_000));
    assert_eq!(parse(message.as_bytes()).parts().len(), 2_001);
}

#[test]
fn parameters_are_counted() {
    let counted = |parameter: &dyn Fn(usize) -> String| {
        let parameters: String = (0..100_000).map(parameter).collect();
        let message = format!("Content-Type: text/plain{parameters}\r\n\r\n");
        let structure = parse(message.as_bytes());
        let content_type = structure.root().content_type(message.as_bytes()).expect("valid");
        let octets = content_type.parameters.iter().map(|p| p.value.len());
        (content_type.parameters.len(), octets.sum::<usize>())
    };
    assert_eq!(counted(&|n| format!(";p{n}=x")), (PARAMETERS_MAX, PARAMETERS_MAX));
    // Pieces of one (RFC 2231 §3) are counted before they are joined.
    assert_eq!(counted(&|n| format!(";p*{n}*=x")), (1, PARAMETERS_MAX));
}

#[test]
fn an_envelope_is_cut_to_its_limits() {
    let many_fields = "To: a@b.test\n".repeat(100_000);
    let one_long_line = format!(
        "Subject: {}\nFrom: {}\n",
        "a".repeat(1_000_000),
        "a@b,".repeat(100_000)
    );
    let long_addresses = format!(
        "From: {}\n",
        format!("\"{}\" <a@b>,", "é".repeat(2_000)).repeat(100)
    );
    for header in [many_fields, one_long_line, long_addresses] {
        let envelope = envelope_of(&format!("{header}\n"));
        let checked = grammar::read(envelope.as_bytes()).and_then(|node| grammar::check_envelope(&node));
        assert_eq!(checked, Ok(()));
        assert!(envelope.len() <= ENVELOPE_BYTES_MAX * 2, "{}", envelope.len());
        assert!(envelope.matches("\"b").count() <= ENVELOPE_ADDRESSES_MAX * 3);
    }
}

#[test]
fn comparisons_with_boundaries_end() {
    let mut message = String::new();
    for level in 0..NESTING_MAX {
        message.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level:03}\r\n\r\n--b{level:03}\r\n"
        ));
    }
    message.push_str("\r\n");
    message.push_str(&"--\n".repeat(400_000));
    // Behind the budget this is no delimiter any more.
    message.push_str("--b000\r\n\r\nlast");
    let structure = parse(message.as_bytes());
    assert_eq!(structure.root().children.len(), 1);
}
