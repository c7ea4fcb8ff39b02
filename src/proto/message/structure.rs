//! The tree of a message's parts as octet ranges, scanned in one pass.
//!
//! Invariants: ranges lie inside the message, a part's header is directly before its body, children lie inside the body
//! of their parent and do not overlap; part 0 is the message. Nothing of the message is copied: types and parameters
//! are read from the header range when asked for ([`Part::fields`]).
//! Limits: [`NESTING_MAX`], [`PARTS_MAX`], [`BOUNDARY_BYTES_MAX`], [`DELIMITER_COMPARISONS_MAX`]. Time is linear in the
//! message: every octet is looked at a fixed number of times, and only lines that begin with `--` cost more. [`Scan`] can be
//! left after every [`SCAN_SLICE_BYTES`].
//! Failure: none. What cannot be taken apart (no boundary, too deep, too many, no delimiter found) is text.
//!
//! A line is a delimiter if it is `--`, a boundary, perhaps `--`, and white space; nothing more. RFC 2046 §5.1.1 lets a
//! reader match the boundary as a prefix, but then `--a1` ends a part of boundary `a`; composers write the whole line.
//! The line end before a delimiter belongs to it (RFC 2046 §5.1.1). Innermost boundaries match first. A delimiter also
//! ends a header that lacks its empty line. `MIME-Version` is not asked for: much mail lacks it and means MIME.
//!
//! Standards: RFC 2046 §5, RFC 6532 §3.7. Not here: how IMAP numbers parts (`section`), how it shows them (`bodystructure`).

use super::header;
use super::mime::{ContentType, Encoding, MimeFields};
use memchr::memmem;
use std::ops::Range;

/// Levels of multipart, message/rfc822 and message/global taken apart; deeper ones are text. Postfix's mime_nesting_limit.
pub const NESTING_MAX: u8 = 100;
/// Parts told apart; everything behind belongs to the last. Bounds BODYSTRUCTURE and the memory of a structure.
pub const PARTS_MAX: usize = 10_000;
/// Octets of a boundary. RFC 2046 §5.1.1 allows 70; beyond 255 a multipart is text.
pub const BOUNDARY_BYTES_MAX: usize = 255;
/// Comparisons of a line with an open boundary, per message; behind them no delimiter is seen. Some 30 ms. Only
/// millions of short lines with `--` inside many multiparts get here.
pub const DELIMITER_COMPARISONS_MAX: u64 = 4_000_000;

/// What a part is to its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No children; the type is what the header says.
    Leaf,
    /// One or more children.
    Multipart,
    /// message/rfc822 or message/global: one child, the message inside, whose header starts this part's body.
    Message,
    /// A multipart or message that could not be taken apart: to be shown as text/plain.
    Opaque,
}

/// A message or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The header with its empty line. For the message itself and those inside another it is the message's header.
    pub header: Range<usize>,
    /// What follows the header.
    pub body: Range<usize>,
    /// LFs in the body.
    pub lines: u64,
    /// Whether and why there are children.
    pub kind: Kind,
    /// Parts around it.
    pub depth: u8,
    /// A part of a multipart/digest: message/rfc822 unless it says otherwise (RFC 2046 §5.1.5).
    pub is_in_digest: bool,
    /// Indexes into [`Structure::parts`].
    pub children: Vec<u32>,
}

/// A message taken apart. Goes with the octets it was made from; other octets give wrong answers but never a panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    parts: Vec<Part>,
}

impl Structure {
    /// All parts, the message first, every part before its children.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> &Part {
        &self.parts[0]
    }

    /// The `number`th child (1 is the first) of `part`.
    #[must_use]
    pub fn child(&self, part: &Part, number: u32) -> Option<&Part> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.parts.get(*part.children.get(index)? as usize)
    }
}

impl Part {
    /// The octets of the header; empty if `message` is not the one the part was made from.
    #[must_use]
    pub fn header_of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.header.clone()).unwrap_or_default()
    }

    /// The octets of the body; empty if `message` is not the one the part was made from.
    #[must_use]
    pub fn body_of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.body.clone()).unwrap_or_default()
    }

    /// The MIME fields of the header.
    #[must_use]
    pub fn fields<'a>(&self, message: &'a [u8]) -> MimeFields<'a> {
        MimeFields::of(self.header_of(message))
    }

    /// The type to show: that of the header unless the part is [`Kind::Opaque`]; `None` is the default of RFC 2045 §5.2,
    /// text/plain in US-ASCII (or message/rfc822 if [`Kind::Message`]).
    #[must_use]
    pub fn content_type(&self, message: &[u8]) -> Option<ContentType> {
        self.content_type_of(&self.fields(message))
    }

    /// The same, when the fields are at hand.
    #[must_use]
    pub fn content_type_of(&self, fields: &MimeFields<'_>) -> Option<ContentType> {
        match self.kind {
            Kind::Opaque => None,
            _ => fields.content_type(),
        }
    }
}

/// Octets of a message scanned between two chances to yield: some 0.1 ms. A header field that is longer is read whole.
pub const SCAN_SLICE_BYTES: usize = 512 * 1024;

/// What a comparison of a line with a boundary costs, in octets scanned.
const COMPARISON_BYTES: usize = 64;

/// Takes `message` apart.
#[must_use]
pub fn parse(message: &[u8]) -> Structure {
    let mut scan = Scan::new(message);
    while scan.step() {}
    scan.into_structure()
}

/// A message being taken apart, slice by slice.
pub struct Scan<'a>(Scanner<'a>);

impl<'a> Scan<'a> {
    /// At the beginning of `message`.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        let mut scanner = Scanner {
            message,
            parts: Vec::new(),
            open: Vec::new(),
            delimiters: Vec::new(),
            line_starts: memmem::Finder::new(b"\n--"),
            comparisons_left: DELIMITER_COMPARISONS_MAX,
            position: 0,
            is_at_line_start: true,
            lines: 0,
            stage: Stage::Header,
            slice_left: 0,
        };
        scanner.begin_part(false);
        Self(scanner)
    }

    /// Scans about [`SCAN_SLICE_BYTES`] more; false when all is done.
    pub fn step(&mut self) -> bool {
        self.step_by(SCAN_SLICE_BYTES)
    }

    pub(super) fn step_by(&mut self, octets: usize) -> bool {
        self.0.slice_left = octets;
        self.0.run();
        self.0.stage != Stage::Done
    }

    /// After the last step.
    #[must_use]
    pub fn into_structure(self) -> Structure {
        debug_assert!(self.0.stage == Stage::Done);
        Structure { parts: self.0.parts }
    }
}

/// What the position is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The header of the innermost part.
    Header,
    /// A body in which a part may begin.
    Body,
    /// What no part begins in any more.
    Rest,
    /// The end, all parts closed.
    Done,
}

/// What a look for the next part has come to.
enum Sought<T> {
    Found(T),
    /// There is none.
    Nothing,
    /// The slice has ended.
    Later,
}

struct Scanner<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
    /// The part at the position and those around it, outermost first, each with the LFs before its body.
    open: Vec<(u32, u64)>,
    /// Boundaries that may match, outermost first.
    delimiters: Vec<Delimiter>,
    /// Finds the next line that begins with `--`.
    line_starts: memmem::Finder<'static>,
    comparisons_left: u64,
    position: usize,
    /// False only where a slice of a body has ended.
    is_at_line_start: bool,
    /// LFs before the position.
    lines: u64,
    stage: Stage,
    /// Octets yet to be scanned in this slice.
    slice_left: usize,
}

struct Delimiter {
    boundary: Vec<u8>,
    /// Length of `open` up to the multipart.
    open_length: usize,
    is_digest: bool,
}

/// A delimiter line at the position.
struct Hit {
    /// Index into `delimiters`.
    delimiter: usize,
    is_close: bool,
    /// Behind the line.
    end: usize,
}

impl Scanner<'_> {
    fn run(&mut self) {
        while self.slice_left > 0 && self.stage != Stage::Done {
            let stage = self.stage;
            match stage {
                Stage::Header if self.scan_header() => {
                    if self.classify() == Kind::Message {
                        self.begin_part(false);
                    } else {
                        self.stage = Stage::Body;
                    }
                }
                Stage::Body => match self.seek_next_part() {
                    Sought::Found(()) => self.stage = Stage::Header,
                    Sought::Nothing => self.stage = Stage::Rest,
                    Sought::Later => {}
                },
                Stage::Rest => self.scan_rest(),
                Stage::Header | Stage::Done => {}
            }
        }
    }

    fn scan_rest(&mut self) {
        let end = self.message.len();
        self.advance_to(end.min(self.position + self.slice_left));
        if self.position == end {
            self.close_parts(0, end, self.lines);
            self.stage = Stage::Done;
        }
    }

    /// Opens a part at the position, as a child of the innermost open one.
    fn begin_part(&mut self, is_in_digest: bool) {
        let index = u32::try_from(self.parts.len()).unwrap_or(u32::MAX);
        if let Some(&(parent, _)) = self.open.last() {
            self.parts[parent as usize].children.push(index);
        }
        self.parts.push(Part {
            header: self.position..self.position,
            body: self.position..self.position,
            lines: 0,
            kind: Kind::Leaf,
            depth: u8::try_from(self.open.len()).unwrap_or(u8::MAX),
            is_in_digest,
            children: Vec::new(),
        });
        self.open.push((index, self.lines));
    }

    /// Reads on in the header of the innermost part up to its empty line, a delimiter or the end; true when it is there.
    fn scan_header(&mut self) -> bool {
        while self.position < self.message.len() {
            if self.slice_left == 0 {
                return false;
            }
            if self.delimiter_here().is_some() {
                break;
            }
            let end = header::line_end(self.message, self.position);
            let is_blank = header::is_blank(&self.message[self.position..end]);
            self.advance_to(end);
            if is_blank {
                break;
            }
        }
        if let Some((index, lines)) = self.open.last_mut() {
            let part = &mut self.parts[*index as usize];
            part.header.end = self.position;
            part.body = self.position..self.position;
            *lines = self.lines;
        }
        true
    }

    /// Decides what the part whose header was just read is, and opens its boundary.
    fn classify(&mut self) -> Kind {
        let Some(&(index, _)) = self.open.last() else {
            return Kind::Leaf;
        };
        let part = &self.parts[index as usize];
        let fields = part.fields(self.message);
        let content_type = part.content_type_of(&fields);
        let is_multipart = content_type
            .as_ref()
            .is_some_and(|t| t.media_type.eq_ignore_ascii_case(b"multipart"));
        let is_message = content_type
            .as_ref()
            .map_or(part.is_in_digest, ContentType::is_message);
        let is_room = part.depth < NESTING_MAX && self.parts.len() < PARTS_MAX;
        // RFC 6532 §3.7 lets message/global be encoded, which message/rfc822 must not be (RFC 2046 §5.2.1): the message is not in
        // these octets then, and whoever decodes them as the text that they are shown as has it.
        let is_encoded = content_type.as_ref().is_some_and(|t| t.is("message", "global"))
            && matches!(fields.encoding(), Encoding::Base64 | Encoding::QuotedPrintable);
        let boundary = content_type.as_ref().and_then(usable_boundary);
        let kind = match (is_multipart, is_message, boundary) {
            (false, false, _) => Kind::Leaf,
            (false, true, _) if is_room && !is_encoded => Kind::Message,
            (true, _, Some(boundary)) if is_room => {
                self.delimiters.push(Delimiter {
                    boundary: boundary.to_vec(),
                    open_length: self.open.len(),
                    is_digest: content_type.as_ref().is_some_and(|t| t.is("multipart", "digest")),
                });
                Kind::Multipart
            }
            _ => Kind::Opaque,
        };
        self.parts[index as usize].kind = kind;
        kind
    }

    /// Moves to the header of the next part of an open multipart.
    fn seek_next_part(&mut self) -> Sought<()> {
        loop {
            let hit = match self.seek_delimiter() {
                Sought::Found(hit) => hit,
                Sought::Nothing => return Sought::Nothing,
                Sought::Later => return Sought::Later,
            };
            let delimiter = &self.delimiters[hit.delimiter];
            let (open_length, is_digest) = (delimiter.open_length, delimiter.is_digest);
            if !hit.is_close && self.parts.len() >= PARTS_MAX {
                return Sought::Nothing;
            }
            let (end, lines) = self.end_before_position();
            self.close_parts(open_length, end, lines);
            self.advance_to(hit.end);
            self.delimiters
                .truncate(hit.delimiter + usize::from(!hit.is_close));
            if !hit.is_close {
                self.begin_part(is_digest);
                return Sought::Found(());
            }
        }
    }

    /// Moves to the next delimiter line.
    fn seek_delimiter(&mut self) -> Sought<Hit> {
        /// What is looked for, `\n--`, less one: it may be cut by the end of a slice.
        const CUT_BYTES: usize = 2;
        while !self.delimiters.is_empty() && self.comparisons_left > 0 {
            if self.slice_left == 0 {
                return Sought::Later;
            }
            if self.is_at_line_start
                && let Some(hit) = self.delimiter_here()
            {
                return Sought::Found(hit);
            }
            let end = self
                .message
                .len()
                .min(self.position + self.slice_left + CUT_BYTES);
            let ahead = self.line_starts.find(&self.message[self.position..end]);
            self.is_at_line_start = ahead.is_some();
            match ahead {
                Some(ahead) => self.advance_to(self.position + ahead + 1),
                None if end == self.message.len() => return Sought::Nothing,
                None => self.advance_to(end - CUT_BYTES),
            }
        }
        Sought::Nothing
    }

    /// The delimiter line at the position, if it is one.
    fn delimiter_here(&mut self) -> Option<Hit> {
        let after = self.message[self.position..].strip_prefix(b"--")?;
        if self.delimiters.is_empty() || self.comparisons_left == 0 {
            return None;
        }
        // A longer line is no delimiter: padding is a matter of a few blanks.
        let window = &after[..after.len().min(2 * BOUNDARY_BYTES_MAX)];
        let line = match memchr::memchr(b'\n', window) {
            Some(length) => &after[..=length],
            None if window.len() == after.len() => after,
            None => return None,
        };
        let text = line.trim_ascii_end();
        let close = text.strip_suffix(b"--");
        let spent = self.delimiters.len() as u64;
        self.slice_left = self
            .slice_left
            .saturating_sub(self.delimiters.len() * COMPARISON_BYTES);
        self.comparisons_left = self.comparisons_left.saturating_sub(spent);
        let is_open = |d: &Delimiter| d.boundary == text;
        let is_close = |d: &Delimiter| close == Some(d.boundary.as_slice());
        let delimiter = self.delimiters.iter().rposition(|d| is_open(d) || is_close(d))?;
        Some(Hit {
            delimiter,
            is_close: !is_open(&self.delimiters[delimiter]),
            end: self.position + 2 + line.len(),
        })
    }

    /// Where a body that a delimiter at the position ends has its end, and the LFs before it.
    fn end_before_position(&self) -> (usize, u64) {
        let before = &self.message[..self.position];
        match before.strip_suffix(b"\n") {
            Some(text) => (text.strip_suffix(b"\r").unwrap_or(text).len(), self.lines - 1),
            None => (self.position, self.lines),
        }
    }

    /// Ends the innermost parts until `open_length` are left.
    fn close_parts(&mut self, open_length: usize, mut end: usize, mut lines: u64) {
        // A header cut short by the delimiter keeps its line end, so the bodies around it must not end before it.
        if let Some(&(innermost, lines_before)) = self.open.last() {
            let start = self.parts[innermost as usize].body.start;
            if start > end {
                (end, lines) = (start, lines_before);
            }
        }
        for (index, lines_before) in self.open.drain(open_length..) {
            let part = &mut self.parts[index as usize];
            part.body.end = end;
            part.lines = lines - lines_before;
            if part.kind == Kind::Multipart && part.children.is_empty() {
                part.kind = Kind::Opaque;
            }
        }
    }

    fn advance_to(&mut self, position: usize) {
        let passed = &self.message[self.position..position];
        self.slice_left = self.slice_left.saturating_sub(passed.len());
        self.lines += memchr::memchr_iter(b'\n', passed).count() as u64;
        self.position = position;
    }
}

fn usable_boundary(content_type: &ContentType) -> Option<&[u8]> {
    // RFC 2046 §5.1.1: a boundary does not end with white space; a delimiter line may.
    let boundary = content_type.parameter("boundary")?.trim_ascii_end();
    (1..=BOUNDARY_BYTES_MAX)
        .contains(&boundary.len())
        .then_some(boundary)
}
