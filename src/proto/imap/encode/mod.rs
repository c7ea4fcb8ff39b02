//! Response text (RFC 9051 §9): functions that append one element to the bytes to be sent.
//!
//! Invariants: what is appended is well-formed whatever the value holds: a text that is not safe in quotes becomes a
//! literal, a text for people loses its controls. Nothing here ends a line unless its name says `line`.
//! Not here: ENVELOPE and BODYSTRUCTURE (`proto::message` knows them), what is answered when (`session::imap`).

pub mod code;
pub mod mailbox;
pub mod message;

use super::parse::{is_astring_char, is_atom_char};
use super::types::NameForm;
use super::utf7;
use crate::model::MailboxName;
use std::ops::RangeInclusive;

/// Longest text sent quoted, octets. Longer ones go as literals, which clients read without looking for a quote.
pub const QUOTED_BYTES_MAX: usize = 1_000;

/// Appends a number in decimal.
pub fn push_number(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends the head of a literal, `{n}` CRLF; its octets follow, streamed by whoever has them.
pub fn push_literal_head(bytes: u64, out: &mut Vec<u8>) {
    out.push(b'{');
    push_number(bytes, out);
    out.extend_from_slice(b"}\r\n");
}

/// Appends the head of a literal8, `~{n}` CRLF: for BINARY values that have NUL in them (RFC 3516 §4.2).
pub fn push_literal8_head(bytes: u64, out: &mut Vec<u8>) {
    out.push(b'~');
    push_literal_head(bytes, out);
}

/// Appends a `string`: quoted if that is safe, else a literal.
pub fn push_string(text: &[u8], out: &mut Vec<u8>) {
    push_string_if(text.is_ascii(), text, out);
}

/// Appends a `string` to a client that takes UTF-8 in quotes (RFC 9051 §4.3, RFC 6855 §3).
pub fn push_utf8_string(text: &str, out: &mut Vec<u8>) {
    push_string_if(true, text.as_bytes(), out);
}

fn push_string_if(may_be_quoted: bool, text: &[u8], out: &mut Vec<u8>) {
    let is_quotable = may_be_quoted
        && text.len() <= QUOTED_BYTES_MAX
        && text.iter().all(|b| !matches!(b, 0 | b'\r' | b'\n'));
    if !is_quotable {
        push_literal_head(text.len() as u64, out);
        out.extend_from_slice(text);
        return;
    }
    push_quoted(text, out);
}

fn push_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Appends an `nstring`.
pub fn push_nstring(text: Option<&[u8]>, out: &mut Vec<u8>) {
    match text {
        Some(text) => push_string(text, out),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// Appends an `astring`: bare where the grammar allows it.
pub fn push_astring(text: &[u8], out: &mut Vec<u8>) {
    // A bare NIL would be read as no string at all by clients that are not careful.
    let is_bare =
        !text.is_empty() && text.iter().all(|b| is_astring_char(*b)) && !text.eq_ignore_ascii_case(b"NIL");
    if is_bare {
        out.extend_from_slice(text)
    } else {
        push_string(text, out)
    }
}

/// Appends a mailbox name in the form the session uses, quoted unless it is an atom.
pub fn push_mailbox(name: &MailboxName, form: NameForm, out: &mut Vec<u8>) {
    push_mailbox_text(name.as_str(), form, out);
}

/// Appends a name that is not a mailbox's own (a LIST reference, a namespace prefix) in the same way.
pub fn push_mailbox_text(name: &str, form: NameForm, out: &mut Vec<u8>) {
    let is_atom = !name.is_empty() && name.bytes().all(|b| is_atom_char(b) && b != b'&');
    if is_atom {
        push_astring(name.as_bytes(), out);
        return;
    }
    if form == NameForm::Utf8 {
        return push_utf8_string(name, out);
    }
    let mut wire = Vec::with_capacity(name.len() + 8);
    utf7::encode(name, &mut wire);
    push_string(&wire, out);
}

/// Appends text for people: controls and 8-bit octets become `?`, so that one response stays one line.
pub fn push_text(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() {
        // resp-text has at least one character after its space.
        out.push(b'-');
    }
    out.extend(
        text.chars()
            .map(|c| if matches!(c, ' '..='~') { c as u8 } else { b'?' }),
    );
}

/// Appends numbers as a set, in the order given, runs that ascend by one as ranges: `1:3,5`. Nothing for no numbers.
pub fn push_number_set(numbers: impl IntoIterator<Item = u32>, out: &mut Vec<u8>) {
    let mut numbers = numbers.into_iter();
    let Some(first) = numbers.next() else { return };
    let mut run = (first, first);
    for number in numbers {
        if run.1.checked_add(1) == Some(number) {
            run.1 = number;
            continue;
        }
        push_run(run, out);
        out.push(b',');
        run = (number, number);
    }
    push_run(run, out);
}

/// Appends ranges of numbers, neither overlapping nor joined here: `1:3,5`. Nothing for none.
pub fn push_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u32>>, out: &mut Vec<u8>) {
    for (place, range) in ranges.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_run((*range.start(), *range.end()), out);
    }
}

fn push_run((first, last): (u32, u32), out: &mut Vec<u8>) {
    push_number(u64::from(first), out);
    if last != first {
        out.push(b':');
        push_number(u64::from(last), out);
    }
}

/// Appends items with a space between them.
pub(crate) fn push_spaced<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    push: impl Fn(T, &mut Vec<u8>),
) {
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b' ');
        }
        push(item, out);
    }
}
