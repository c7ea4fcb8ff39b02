//! From slices of input to complete commands: lines, literals, and the skipping of what is refused.
//!
//! Invariants: only CRLF ends a line; memory held is what was received of one command, never what a literal announces;
//! a command that lies whole in one slice is not copied; after a command nothing is held.
//! Limits: the caller gives [`Limits`] with each slice; a line beyond them is reported once and skipped to its CRLF.
//! A literal is reported where it is announced, and the caller decides: [`Framer::collect`], [`Framer::skip`] or
//! [`Framer::finish`].
//! Standards: RFC 9051 §4.3, RFC 7888.
//! Not here: which literals are acceptable, and the streamed literal of APPEND (`core`, `append`); grammar (`parse`).

use memchr::memchr;

/// Octets at the end of a skipped line that are kept to see whether it announces a literal: `~{`, 20 digits, `+}`, CR.
const SKIPPED_TAIL_BYTES: usize = 32;

/// What a command may cost before it is complete.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of text, CRLFs included, literals not.
    pub text_bytes: usize,
    /// `{n}` at the end of a line announces a literal. False for the lines of AUTHENTICATE and IDLE.
    pub has_literals: bool,
}

/// `{n}` or `{n+}` at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Octets; `None` when the number does not fit 64 bits.
    pub bytes: Option<u64>,
    /// The peer waits for a `+` before it sends them.
    pub is_synchronising: bool,
}

/// What the input came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Nothing yet.
    Partial,
    /// A command without its last CRLF; literals stand in it as they came. Call [`Framer::finish`] when done with it.
    Command(&'a [u8]),
    /// A literal is announced at the end of this text (CRLF included).
    Literal(&'a [u8], Announced),
    /// The text is beyond its limit; this is its beginning. The rest is being skipped.
    TooLong(&'a [u8]),
    /// In a command being skipped, a literal that will come unasked.
    SkippedLiteral(Announced),
    /// What was being skipped has ended.
    Skipped,
}

#[derive(Debug)]
enum Mode {
    Line,
    Literal { left: usize },
    SkipLine { tail: Vec<u8> },
    SkipLiteral { left: u64 },
}

/// Cuts input into commands.
#[derive(Debug)]
pub struct Framer {
    /// The command so far, as it came.
    held: Vec<u8>,
    /// Where in `held` the current line starts (behind the last literal).
    line_start: usize,
    /// Octets of `held` that are literals.
    literal_bytes: usize,
    mode: Mode,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            line_start: 0,
            literal_bytes: 0,
            mode: Mode::Line,
        }
    }
}

impl Framer {
    /// True between commands.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty() && matches!(self.mode, Mode::Line)
    }

    /// Octets of literals collected for the current command.
    #[must_use]
    pub fn literal_bytes(&self) -> usize {
        self.literal_bytes
    }

    /// Octets of memory held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.capacity()
    }

    /// Forgets the current command and its memory; the next byte starts a new one.
    pub fn finish(&mut self) {
        *self = Self::default();
    }

    /// Takes the announced literal into the command.
    pub fn collect(&mut self, bytes: usize) {
        self.mode = Mode::Literal { left: bytes };
        if bytes == 0 {
            self.start_line();
        }
    }

    /// Skips the announced literal, and then the rest of its command.
    pub fn skip(&mut self, bytes: u64) {
        self.finish();
        self.mode = Mode::SkipLiteral { left: bytes };
        if bytes == 0 {
            self.skip_line();
        }
    }

    /// Skips to the end of the current command.
    pub fn skip_line(&mut self) {
        self.finish();
        self.mode = Mode::SkipLine { tail: Vec::new() };
    }

    /// Takes a prefix of `input`: the number of octets taken, and what they came to.
    pub fn advance<'a>(&'a mut self, input: &'a [u8], limits: Limits) -> (usize, Frame<'a>) {
        match &mut self.mode {
            Mode::Line => self.line(input, limits),
            Mode::Literal { left } => {
                let taken = input.len().min(*left);
                *left -= taken;
                let is_whole = *left == 0;
                self.held.extend_from_slice(&input[..taken]);
                self.literal_bytes += taken;
                if is_whole {
                    self.start_line();
                }
                (taken, Frame::Partial)
            }
            Mode::SkipLine { tail } => {
                let (taken, is_ended) = skip_to_line_end(tail, input);
                if !is_ended {
                    return (taken, Frame::Partial);
                }
                let announced = announced(&tail[..tail.len() - 2]).filter(|_| limits.has_literals);
                match announced {
                    Some(announced) if !announced.is_synchronising => {
                        tail.clear();
                        (taken, Frame::SkippedLiteral(announced))
                    }
                    // A synchronising literal is not sent by a peer that has seen its command refused.
                    Some(_) | None => {
                        self.finish();
                        (taken, Frame::Skipped)
                    }
                }
            }
            Mode::SkipLiteral { left } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.skip_line();
                }
                (taken, Frame::Partial)
            }
        }
    }

    fn start_line(&mut self) {
        self.mode = Mode::Line;
        self.line_start = self.held.len();
    }

    fn line<'a>(&'a mut self, input: &'a [u8], limits: Limits) -> (usize, Frame<'a>) {
        let text_bytes = self.held.len() - self.literal_bytes;
        let room = limits.text_bytes.saturating_sub(text_bytes).min(input.len());
        let before = self.held[self.line_start..].last().copied();
        let Some(end) = line_end(before, &input[..room]) else {
            return self.unfinished_line(input, room, text_bytes + room < limits.text_bytes);
        };
        if self.held.is_empty() {
            let text = &input[..end - 2];
            let Some(announced) = announced(text).filter(|_| limits.has_literals) else {
                return (end, Frame::Command(text));
            };
            self.held.extend_from_slice(&input[..end]);
            return (end, Frame::Literal(&self.held, announced));
        }
        self.held.extend_from_slice(&input[..end]);
        let text_end = self.held.len() - 2;
        match announced(&self.held[self.line_start..text_end]).filter(|_| limits.has_literals) {
            Some(announced) => (end, Frame::Literal(&self.held, announced)),
            None => (end, Frame::Command(&self.held[..text_end])),
        }
    }

    /// `has_room`: the limit is not reached. A line is too long as soon as it is, whatever comes: so the octet that
    /// reaches the limit is taken with that verdict.
    fn unfinished_line<'a>(&'a mut self, input: &'a [u8], room: usize, has_room: bool) -> (usize, Frame<'a>) {
        if has_room {
            self.held.extend_from_slice(input);
            return (room, Frame::Partial);
        }
        let mut tail = Vec::with_capacity(SKIPPED_TAIL_BYTES);
        keep_tail(&mut tail, &self.held[self.line_start..]);
        keep_tail(&mut tail, &input[..room]);
        self.mode = Mode::SkipLine { tail };
        self.literal_bytes = 0;
        self.line_start = 0;
        if self.held.is_empty() {
            return (room, Frame::TooLong(&input[..room]));
        }
        // The tag may have come in pieces.
        self.held.extend_from_slice(&input[..room]);
        (room, Frame::TooLong(&self.held))
    }

    /// Frees the text of a command that is being skipped; call after [`Frame::TooLong`].
    pub fn release(&mut self) {
        self.held = Vec::new();
    }
}

/// Where the line ends in `input` (behind its CRLF); `before` is the octet before `input`.
fn line_end(before: Option<u8>, input: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = memchr(b'\n', &input[from..]) {
        let at = from + found;
        let previous = if at == 0 { before } else { Some(input[at - 1]) };
        if previous == Some(b'\r') {
            return Some(at + 1);
        }
        from = at + 1;
    }
    None
}

/// Octets taken, and whether the line has ended; `tail` then ends in CRLF.
fn skip_to_line_end(tail: &mut Vec<u8>, input: &[u8]) -> (usize, bool) {
    let end = line_end(tail.last().copied(), input);
    let taken = end.unwrap_or(input.len());
    keep_tail(tail, &input[..taken]);
    (taken, end.is_some())
}

fn keep_tail(tail: &mut Vec<u8>, more: &[u8]) {
    let more = &more[more.len().saturating_sub(SKIPPED_TAIL_BYTES)..];
    let excess = (tail.len() + more.len()).saturating_sub(SKIPPED_TAIL_BYTES);
    tail.drain(..excess.min(tail.len()));
    tail.extend_from_slice(more);
}

/// The literal that a line (without CRLF) announces at its end.
fn announced(line: &[u8]) -> Option<Announced> {
    let inner = line.strip_suffix(b"}")?;
    let (inner, is_synchronising) = inner
        .strip_suffix(b"+")
        .map_or((inner, true), |inner| (inner, false));
    let digits = inner.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (head, digits) = inner.split_at(inner.len() - digits);
    // A run of digits that fills the tail of a skipped line has no visible brace: it is refused as a number too large.
    let is_cut = head.is_empty() && inner.len() + 4 >= SKIPPED_TAIL_BYTES;
    if digits.is_empty() || !(head.ends_with(b"{") || is_cut) {
        return None;
    }
    let bytes = digits.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some(Announced {
        bytes: bytes.filter(|_| !is_cut),
        is_synchronising,
    })
}
