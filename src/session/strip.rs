//! Header fields that a message must not keep, taken out while it comes.
//!
//! A submitted message loses Bcc and Resent-Bcc, whose whole sense is that nobody sees them (RFC 5322 §3.6.3; RFC 6409 §8 lets
//! a submission server do it), any message its Return-Path: there is one, that of final delivery (RFC 5321 §4.4).
//! Invariants: everything else goes through octet for octet and is not copied, but for the few octets at a seam between two
//! pieces that might begin such a field; any split of the same octets gives the same message; a field goes with its folded
//! lines; behind the header nothing is looked at. What a field is, is what
//! `proto::message::header` says, but that its colon stands on its first line.
//! Limits: `NAME_BYTES_MAX` octets held back.
//! Not here: what the header means (`submission`, `proto::message::trace`).

use crate::proto::smtp::Role;
use bytes::Bytes;
use memchr::memchr;
use smallvec::SmallVec;

/// Of a field's name and the white space behind it that are held until it is known.
const NAME_BYTES_MAX: usize = 32;

/// What is taken out of every message.
const OF_ALL: &[&str] = &["return-path"];

/// What is taken out of a submitted one.
const OF_SUBMITTED: &[&str] = &["bcc", "resent-bcc", "return-path"];

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line, or in what may become the name of a field that goes.
    Name,
    /// In a line that stays or goes, whichever [`Strip::goes`] says.
    Line,
    /// Behind the header.
    Body,
}

/// The header of one message, on its way through.
#[derive(Debug)]
pub struct Strip {
    names: &'static [&'static str],
    place: Place,
    /// The field under way is one that goes, and its folded lines with it.
    goes: bool,
    /// The beginning of a line that came in earlier pieces.
    held: SmallVec<[u8; NAME_BYTES_MAX]>,
}

/// Pieces of what stays.
pub type Kept = SmallVec<[Bytes; 4]>;

/// What the beginning of a line shows.
enum Seen {
    /// Not enough yet.
    Open,
    /// The empty line behind the header.
    End,
    /// It belongs to the field before it.
    Folded,
    /// A line of its own; whether it goes.
    Begun { goes: bool },
}

impl Strip {
    /// For a message that comes to a service of this kind.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self {
            names: match role {
                Role::Submission => OF_SUBMITTED,
                Role::Mta | Role::Lmtp => OF_ALL,
            },
            place: Place::Name,
            goes: false,
            held: SmallVec::new(),
        }
    }

    /// Takes the next piece; what of it and of what was held stays.
    pub fn push(&mut self, piece: Bytes) -> Kept {
        let mut kept = Kept::new();
        if self.place == Place::Body {
            kept.push(piece);
            return kept;
        }
        // Of `piece`, what stays and is not in `kept` yet.
        let (mut from, mut at) = (0, 0);
        while at < piece.len() && self.place != Place::Body {
            if self.place == Place::Line {
                let end = memchr(b'\n', &piece[at..]).map(|end| at + end + 1);
                if end.is_some() {
                    self.place = Place::Name;
                }
                at = end.unwrap_or(piece.len());
                if self.goes {
                    from = at;
                }
                continue;
            }
            let line = at;
            let seen = loop {
                let seen = self.look(&piece[line..at]);
                if !matches!(seen, Seen::Open) || at == piece.len() {
                    break seen;
                }
                at += 1;
            };
            let had_gone = self.goes;
            let goes = match seen {
                Seen::Open => {
                    // The rest of the name comes with the next piece.
                    put(&mut kept, &piece, from, line);
                    self.held.extend_from_slice(&piece[line..]);
                    return kept;
                }
                Seen::End => {
                    self.place = Place::Body;
                    false
                }
                Seen::Folded => {
                    self.place = Place::Line;
                    had_gone
                }
                Seen::Begun { goes } => {
                    self.place = Place::Line;
                    goes
                }
            };
            self.goes = goes;
            if goes {
                put(&mut kept, &piece, from, line);
                from = at;
                self.held.clear();
            } else if !self.held.is_empty() {
                // Only at the very beginning of a piece.
                kept.push(Bytes::copy_from_slice(&self.held));
                self.held.clear();
            }
            // The octet that decided is looked at again: it may end the line.
            if self.place == Place::Line {
                at = at.saturating_sub(1).max(line);
                from = if goes { at } else { from };
            }
        }
        put(&mut kept, &piece, from, piece.len());
        kept
    }

    /// What was held when the message ended: it began no field.
    pub fn finish(&mut self) -> Option<Bytes> {
        let held = std::mem::take(&mut self.held);
        (!held.is_empty()).then(|| Bytes::copy_from_slice(&held))
    }

    /// The line so far: what is held, and `more`.
    fn look(&self, more: &[u8]) -> Seen {
        let mut line: SmallVec<[u8; 2 * NAME_BYTES_MAX]> = SmallVec::from_slice(&self.held);
        line.extend_from_slice(more);
        match line[..] {
            [] | [b'\r'] => return Seen::Open,
            [b'\n', ..] | [b'\r', b'\n', ..] => return Seen::End,
            [b' ' | b'\t', ..] => return Seen::Folded,
            _ => {}
        }
        let Some(colon) = memchr(b':', &line) else {
            let is_open = self.may_become_one(&line);
            return if is_open {
                Seen::Open
            } else {
                Seen::Begun { goes: false }
            };
        };
        let name = line[..colon].trim_ascii_end();
        let is_one = self
            .names
            .iter()
            .any(|one| name.eq_ignore_ascii_case(one.as_bytes()));
        Seen::Begun { goes: is_one }
    }

    fn may_become_one(&self, line: &[u8]) -> bool {
        let is_begun = |one: &str| {
            let (name, behind) = line.split_at(line.len().min(one.len()));
            one.as_bytes()[..name.len()].eq_ignore_ascii_case(name)
                && behind
                    .iter()
                    .all(|octet| octet.is_ascii_whitespace() && *octet != b'\n')
        };
        line.len() < NAME_BYTES_MAX && self.names.iter().any(|one| is_begun(one))
    }
}

fn put(kept: &mut Kept, piece: &Bytes, from: usize, to: usize) {
    if from < to {
        kept.push(piece.slice(from..to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::message::header;
    use proptest::prelude::*;

    fn stripped(role: Role, pieces: &[&[u8]]) -> Vec<u8> {
        let mut strip = Strip::of(role);
        let mut all = Vec::new();
        for piece in pieces {
            for kept in strip.push(Bytes::copy_from_slice(piece)) {
                all.extend_from_slice(&kept);
            }
        }
        all.extend_from_slice(&strip.finish().unwrap_or_default());
        all
    }

    /// By the reader of headers, all at once.
    fn model(role: Role, message: &[u8]) -> Vec<u8> {
        let names = Strip::of(role).names;
        let head = header::length(message);
        let mut all = Vec::new();
        let mut length = 0;
        for field in header::fields(&message[..head]) {
            length += field.whole.len();
            let line = field.whole.split(|octet| *octet == b'\n').next();
            let is_named = line.is_some_and(|line| line.contains(&b':'));
            if !is_named || !names.iter().any(|name| field.is(name)) {
                all.extend_from_slice(field.whole);
            }
        }
        all.extend_from_slice(&message[length..]);
        all
    }

    #[test]
    fn what_nobody_may_see_goes_with_its_folds() {
        let message = b"Return-Path: <x@y>\r\nFrom: a@b\r\nBCC : c@d,\r\n e@f,\r\n\tg@h\r\nBccs: i\r\n\
            Subject: Bcc: no\r\n Bcc: no\r\nresent-bcc:j\r\n\r\nBcc: of the body\r\n";
        let kept = b"From: a@b\r\nBccs: i\r\nSubject: Bcc: no\r\n Bcc: no\r\n\r\nBcc: of the body\r\n";
        assert_eq!(stripped(Role::Submission, &[message]), kept);
        let of_mta = stripped(Role::Mta, &[message]);
        assert_eq!(of_mta, message[b"Return-Path: <x@y>\r\n".len()..]);
    }

    #[test]
    fn a_message_without_such_fields_is_not_copied() {
        let message = Bytes::from_static(b"From: a@b\r\nSubject: c\r\n\r\nbody\r\n");
        let kept = Strip::of(Role::Submission).push(message.clone());
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].as_ptr(), message.as_ptr());
    }

    #[test]
    fn what_is_held_at_the_end_was_no_field() {
        assert_eq!(stripped(Role::Submission, &[b"From: a\r\nBc"]), b"From: a\r\nBc");
        assert_eq!(stripped(Role::Submission, &[b"\r"]), b"\r");
    }

    proptest! {
        #[test]
        fn any_split_gives_what_the_reader_of_headers_would(
            parts in prop::collection::vec(prop::sample::select(vec![
                "Bcc", "bcc", "resent-bcc", "Return-Path", "From", "B", "R", "resent", ":", ": x", " ", "\t", "\r\n", "\r\n",
                "\r\n ", "\n", "\r", "-", "text",
            ]), 0..40),
            cuts in prop::collection::vec(1_usize..9, 1..60),
        ) {
            let message = parts.concat().into_bytes();
            let (mut pieces, mut rest) = (Vec::new(), &message[..]);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            pieces.push(rest);
            for role in [Role::Submission, Role::Mta] {
                prop_assert_eq!(stripped(role, &pieces), model(role, &message));
            }
        }
    }
}
