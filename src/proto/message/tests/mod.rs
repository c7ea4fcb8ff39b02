//! Tests over whole messages: known structures, numbering, limits, and properties over arbitrary octets.
//!
//! `grammar` is an independent reader of what is written to a client; `examples` compares with outputs worked out by
//! hand from the RFCs; `limits` feeds what attackers send; `properties` feeds anything.

mod examples;
mod grammar;
mod limits;
mod properties;
mod searching;

use super::structure::{self, Structure};
use super::{bodystructure, envelope};

/// The text with CRLF for LF, as SMTP delivers it.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn written(structure: &Structure, message: &[u8], is_extended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    bodystructure::write(structure, message, is_extended, &mut out);
    out
}

/// BODYSTRUCTURE, or BODY.
fn body_structure(message: &[u8], is_extended: bool) -> String {
    let out = written(&structure::parse(message), message, is_extended);
    String::from_utf8_lossy(&out).into_owned()
}

fn envelope_of(header: &str) -> String {
    let mut out = Vec::new();
    envelope::write(&crlf(header), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Checks what [`structure::parse`] promises of its ranges.
fn check_structure(structure: &Structure, message: &[u8]) {
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header.start <= part.header.end, "{index}: {part:?}");
        assert_eq!(part.header.end, part.body.start, "{index}: {part:?}");
        assert!(
            part.body.start <= part.body.end && part.body.end <= message.len(),
            "{index}: {part:?}"
        );
        let lines = message[part.body.clone()].iter().filter(|b| **b == b'\n').count();
        assert_eq!(part.lines, lines as u64, "{index}: {part:?}");
        let mut from = part.body.start;
        for &child in &part.children {
            let child = &structure.parts()[child as usize];
            assert!(
                child.header.start >= from && child.body.end <= part.body.end,
                "{part:?} {child:?}"
            );
            assert_eq!(child.depth, part.depth + 1);
            from = child.body.end;
        }
    }
}
