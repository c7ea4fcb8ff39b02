//! The body of a message on the wire: the end of DATA, dots undone, line ends checked, octets counted.
//!
//! Invariants: only CRLF.CRLF ends DATA, where the first CRLF may be the one that ended the DATA command
//! (RFC 5321 §4.1.1.4); the dot that begins a line is never part of the body (§4.5.2); every octet is taken when it is
//! offered, and the outcome does not depend on how octets were split into reads: what is undecided at the end of a
//! read is one of four places in a line, kept in one byte.
//! A bare CR or LF makes the whole message refused (SMTP smuggling, CVE-2023-51764 and its kin) but never ends it.
//! Limits: [`TEXT_LINE_BYTES_MAX`]; the size of the message is the caller's.
//! Speed: one `memchr2` a line, 10 GB/s at lines of 76 octets, 55 at 998, where looking at every octet gives 1 (the cases of
//! `benches/parse.rs`, fastest of many short runs; means on a busy machine are a quarter of it). Rejected: `memmem` for
//! the end alone (26 GB/s), which cannot see bare CR and LF; comparing blocks of 256 octets with themselves shifted by
//! one, which vectorises (15 GB/s whatever the lines) and is a second path through every rule.
//! Not here: what is answered (`smtp::data`, `smtp::chunking`).

use memchr::memchr2;
use std::ops::Range;

/// Longest line of a message, octets without CRLF. RFC 5321 §4.5.3.1.6 asks for 998; much mail in the wild is longer and
/// a relay must not split a signed line, so up to 64 KiB is taken. Beyond it no reader can be expected to cope.
pub const TEXT_LINE_BYTES_MAX: u64 = 64 * 1024;

/// What is wrong with a body. The message is refused, after its true end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A CR without LF or an LF without CR.
    pub bare_line_end: bool,
    /// A line beyond [`TEXT_LINE_BYTES_MAX`].
    pub line_too_long: bool,
    /// More octets than the caller allows.
    pub too_big: bool,
}

impl Faults {
    /// Whether anything is wrong.
    #[must_use]
    pub fn any(self) -> bool {
        self.bare_line_end || self.line_too_long || self.too_big
    }
}

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Octets taken from the input.
    pub taken: usize,
    /// The end of DATA lies within them.
    pub is_end: bool,
}

/// Where the next octet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start of a line.
    LineStart,
    /// Somewhere in a line.
    InLine,
    /// Behind a CR.
    AfterCr,
    /// Behind the dot that begins a line.
    AfterDot,
    /// Behind the dot that begins a line, and a CR.
    AfterDotCr,
}

/// Undoes the transparency procedure of DATA and finds its end.
#[derive(Clone, Debug)]
pub struct DataDecoder {
    place: Place,
    /// Octets of the body so far, dots not counted.
    body_bytes: u64,
    bytes_max: u64,
    /// Octets of the current line that lie in earlier reads.
    line_bytes: u64,
    faults: Faults,
}

impl DataDecoder {
    /// A decoder right behind the DATA command, for a message of at most `bytes_max` octets.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            place: Place::LineStart,
            body_bytes: 0,
            bytes_max,
            line_bytes: 0,
            faults: Faults::default(),
        }
    }

    /// What is wrong so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Octets of the body so far.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Takes octets. `body` is told the ranges of `input` that are body, in order; it says whether it has room for
    /// another one after this, and if not the call returns early. Nothing is told once there are faults.
    pub fn decode(&mut self, input: &[u8], mut body: impl FnMut(Range<usize>) -> bool) -> Progress {
        let mut at = 0;
        // The body octets not yet told begin here.
        let mut from = 0;
        // Where the current line began; `line_bytes` counts what of it came before `input`.
        let mut line_from = 0;
        while at < input.len() {
            match self.place {
                Place::InLine => {
                    let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
                        at = input.len();
                        break;
                    };
                    at += found;
                    if input[at] == b'\n' {
                        self.faults.bare_line_end = true;
                        at += 1;
                        continue;
                    }
                    self.check_line(at - line_from);
                    at += 1;
                    // The usual case in one step: CRLF, and no dot behind it.
                    match input.get(at..at + 2) {
                        Some([b'\n', next]) if *next != b'.' => {
                            at += 1;
                            line_from = at;
                            self.line_bytes = 0;
                        }
                        _ => self.place = Place::AfterCr,
                    }
                }
                Place::LineStart => {
                    line_from = at;
                    self.line_bytes = 0;
                    if input[at] != b'.' {
                        self.place = Place::InLine;
                        continue;
                    }
                    self.place = Place::AfterDot;
                    let has_room = self.tell(from..at, &mut body);
                    at += 1;
                    from = at;
                    line_from = at;
                    if !has_room {
                        break;
                    }
                }
                Place::AfterCr if input[at] == b'\n' => {
                    self.place = Place::LineStart;
                    at += 1;
                }
                Place::AfterDot if input[at] == b'\r' => {
                    self.place = Place::AfterDotCr;
                    at += 1;
                    // Either the end of DATA or a bare CR, which loses the message: not body in both cases.
                    from = at;
                }
                Place::AfterDotCr if input[at] == b'\n' => {
                    return Progress {
                        taken: at + 1,
                        is_end: true,
                    };
                }
                Place::AfterDot => self.place = Place::InLine,
                Place::AfterCr | Place::AfterDotCr => {
                    self.faults.bare_line_end = true;
                    self.place = Place::InLine;
                }
            }
        }
        self.line_bytes += (at - line_from) as u64;
        if matches!(self.place, Place::InLine) && self.line_bytes > TEXT_LINE_BYTES_MAX {
            self.faults.line_too_long = true;
        }
        self.tell(from..at, &mut body);
        Progress {
            taken: at,
            is_end: false,
        }
    }

    fn check_line(&mut self, bytes: usize) {
        if self.line_bytes + bytes as u64 > TEXT_LINE_BYTES_MAX {
            self.faults.line_too_long = true;
        }
    }

    fn tell(&mut self, range: Range<usize>, body: &mut impl FnMut(Range<usize>) -> bool) -> bool {
        if range.is_empty() {
            return true;
        }
        self.body_bytes += range.len() as u64;
        self.faults.too_big |= self.body_bytes > self.bytes_max;
        self.faults.any() || body(range)
    }
}

/// Checks the line ends of a body whose length is known beforehand (BDAT, RFC 3030).
#[derive(Clone, Debug, Default)]
pub struct LineEndCheck {
    is_after_cr: bool,
    line_bytes: u64,
    faults: Faults,
}

impl LineEndCheck {
    /// Looks at the next octets of the body.
    pub fn scan(&mut self, input: &[u8]) {
        let mut at = 0;
        while at < input.len() {
            if std::mem::take(&mut self.is_after_cr) {
                match input[at] {
                    b'\n' => at += 1,
                    _ => self.faults.bare_line_end = true,
                }
                continue;
            }
            let Some(found) = memchr2(b'\r', b'\n', &input[at..]) else {
                return self.add_to_line(input.len() - at);
            };
            self.add_to_line(found);
            self.line_bytes = 0;
            match input[at + found] {
                b'\r' => self.is_after_cr = true,
                _ => self.faults.bare_line_end = true,
            }
            at += found + 1;
        }
    }

    fn add_to_line(&mut self, bytes: usize) {
        self.line_bytes += bytes as u64;
        self.faults.line_too_long |= self.line_bytes > TEXT_LINE_BYTES_MAX;
    }

    /// What is wrong so far; a CR at the end of what was seen may still be half of a CRLF.
    #[must_use]
    pub fn so_far(&self) -> Faults {
        self.faults
    }

    /// What is wrong, at the end of the body.
    #[must_use]
    pub fn finish(&self) -> Faults {
        Faults {
            bare_line_end: self.faults.bare_line_end || self.is_after_cr,
            ..self.faults
        }
    }
}

#[cfg(test)]
mod tests;
