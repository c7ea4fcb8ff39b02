//! IMAP's ENVELOPE: ten values from a header.
//!
//! Invariants: what is written is one valid `envelope` (RFC 9051 §9) for every input; time is linear in the header.
//! Repeated address fields are joined, of other repeated fields the first counts. Encoded-words stay as they are.
//! Limits: [`ENVELOPE_ADDRESSES_MAX`], [`ENVELOPE_BYTES_MAX`], [`ENVELOPE_TEXT_BYTES_MAX`] and those of `address`.
//! What goes beyond is left out of the digest; the header itself is served whole.
//!
//! Standards: RFC 9051 §7.5.2 (RFC 3501 §7.4.2). Not here: the same fields as search text (`search`).

use super::address::{self, Address, Item};
use super::header::{self, DIGESTED_FIELDS_MAX};
use super::nstring;

/// Addresses shown of all lists together. A list of 100,000 is an attack (CVE-2024-23184); mailing software stays
/// below some hundred a message.
pub const ENVELOPE_ADDRESSES_MAX: usize = 1_000;
/// Octets of output after which no further address is begun. The result is at most this, one address and four texts.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// Octets shown of the date, the subject, in-reply-to and the message id. RFC 5322 lines end at 998.
pub const ENVELOPE_TEXT_BYTES_MAX: usize = 4_096;

/// Values of the address fields in the order ENVELOPE lists them.
const ADDRESS_FIELDS: [&str; 6] = ["from", "sender", "reply-to", "to", "cc", "bcc"];
/// Date, subject, in-reply-to, message-id.
const TEXT_FIELDS: [&str; 4] = ["date", "subject", "in-reply-to", "message-id"];

/// Appends the ENVELOPE of `header`, parentheses included.
pub fn write(header: &[u8], out: &mut Vec<u8>) {
    let mut texts: [Option<&[u8]>; 4] = [None; 4];
    let mut lists: [Vec<&[u8]>; 6] = Default::default();
    for field in header::fields(header).take(DIGESTED_FIELDS_MAX) {
        if let Some(at) = TEXT_FIELDS.iter().position(|name| field.is(name)) {
            texts[at].get_or_insert(field.value);
        } else if let Some(at) = ADDRESS_FIELDS.iter().position(|name| field.is(name)) {
            lists[at].push(field.value);
        }
    }
    let mut writer = Writer {
        budget: Budget {
            addresses_left: ENVELOPE_ADDRESSES_MAX,
            end: out.len() + ENVELOPE_BYTES_MAX,
        },
        out,
    };
    let [date, subject, in_reply_to, message_id] = texts;
    writer.out.push(b'(');
    writer.text(date);
    writer.out.push(b' ');
    writer.text(subject);
    writer.out.push(b' ');
    let from = writer.list(&lists[0]);
    for list in &lists[1..3] {
        // RFC 9051 §7.5.2: an absent or empty Sender or Reply-To is the From.
        writer.out.push(b' ');
        let start = writer.out.len();
        if writer.list(list).is_empty() {
            writer.out.truncate(start);
            writer.repeat(from.clone());
        }
    }
    for list in &lists[3..] {
        writer.out.push(b' ');
        writer.list(list);
    }
    writer.out.push(b' ');
    writer.text(in_reply_to);
    writer.out.push(b' ');
    writer.text(message_id);
    writer.out.push(b')');
}

struct Budget {
    addresses_left: usize,
    /// Position in the output behind which no address begins.
    end: usize,
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    budget: Budget,
}

impl Writer<'_> {
    fn text(&mut self, value: Option<&[u8]>) {
        write_text(value, ENVELOPE_TEXT_BYTES_MAX, self.out);
    }

    /// Writes the addresses of `values`, or NIL; returns where the list stands in the output, empty if NIL.
    fn list(&mut self, values: &[&[u8]]) -> std::ops::Range<usize> {
        let start = self.out.len();
        self.out.push(b'(');
        for item in values.iter().flat_map(|value| address::items(value)) {
            let is_spent = self.budget.addresses_left == 0 || self.out.len() >= self.budget.end;
            if is_spent {
                break;
            }
            self.budget.addresses_left -= 1;
            self.item(&item);
        }
        if self.out.len() == start + 1 {
            self.out.truncate(start);
            self.out.extend_from_slice(b"NIL");
            return start..start;
        }
        self.out.push(b')');
        start..self.out.len()
    }

    /// Writes a list already written once more, as far as the budget goes.
    fn repeat(&mut self, list: std::ops::Range<usize>) {
        let is_room = self.out.len() + list.len() <= self.budget.end;
        if list.is_empty() || !is_room {
            self.out.extend_from_slice(b"NIL");
        } else {
            self.out.extend_from_within(list);
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::GroupStart(name) => {
                self.out.extend_from_slice(b"(NIL NIL ");
                nstring::write_string(name, self.out);
                self.out.extend_from_slice(b" NIL)");
            }
            Item::GroupEnd => self.out.extend_from_slice(b"(NIL NIL NIL NIL)"),
            Item::Address(address) => self.address(address),
        }
    }

    fn address(&mut self, address: &Address) {
        self.out.push(b'(');
        nstring::write(address.name.as_deref(), self.out);
        self.out.push(b' ');
        nstring::write(address.route.as_deref(), self.out);
        self.out.push(b' ');
        nstring::write_string(&address.mailbox, self.out);
        self.out.push(b' ');
        nstring::write_string(&address.host, self.out);
        self.out.push(b')');
    }
}

/// Writes a field's value unfolded and clipped, or NIL.
pub(super) fn write_text(value: Option<&[u8]>, bytes_max: usize, out: &mut Vec<u8>) {
    // Clipped before unfolding: a value of a megabyte is not copied to show four kilobytes.
    let value = value.map(|v| header::unfold(nstring::clip(v.trim_ascii_start(), bytes_max)));
    nstring::write(value.as_deref(), out);
}
