//! Looking for text in a message, as SEARCH does: in decoded header fields and decoded text parts, without case.
//!
//! Invariants: linear in what is searched; memory is a few times [`SLICE_BYTES`] plus the longest header field, however
//! large the message; a search can be left after every slice and is never obliged to go on.
//! What is searched: HEADER and its kin: the message's own header, encoded-words decoded; FROM, TO, CC and BCC: the
//! addresses too, taken apart and put together again. BODY: the bodies of text parts,
//! transfer encoding and charset undone, and the headers of all parts but the message's own (file names, forwarded
//! subjects). TEXT: both. HTML is searched as written.
//! Case: i;unicode-casemap ([`casemap`], RFC 5051). LIMITATION: text split over two lines is not found; UTF-16 without a
//! byte order mark is read as UTF-8.
//!
//! Standards: RFC 9051 §6.4.4, RFC 5051. Not here: the boolean keys and budgets (`session::imap`).

use super::address::{self, Address, Item};
use super::casemap;
use super::header;
use super::structure::{Kind, Structure};
use super::transfer::Lenient;
use super::words;
use mail_parser::decoders::charsets::map::charset_decoder;
use memchr::memmem;

/// Octets of a message searched between two chances to yield: some 0.2 ms.
pub const SLICE_BYTES: usize = 64 * 1024;

/// The command's charset is not known: `NO [BADCHARSET]` (RFC 9051 §6.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown charset")]
pub struct UnknownCharset;

/// A text to look for, prepared once per command.
#[derive(Clone, Debug)]
pub struct Matcher {
    finder: memmem::Finder<'static>,
}

impl Matcher {
    /// Prepares `needle`, octets in `charset` (UTF-8 if none is named).
    ///
    /// # Errors
    /// [`UnknownCharset`].
    pub fn new(charset: Option<&str>, needle: &[u8]) -> Result<Self, UnknownCharset> {
        let charset = charset.unwrap_or("utf-8").as_bytes();
        let is_known = charset.eq_ignore_ascii_case(b"utf-8") || charset_decoder(charset).is_some();
        if !is_known {
            return Err(UnknownCharset);
        }
        let mut folded = Vec::new();
        casemap::push(&words::to_text(charset, needle), &mut folded);
        Ok(Self {
            finder: memmem::Finder::new(&folded).into_owned(),
        })
    }

    /// True if `text` contains the needle; the empty needle is everywhere.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.is_in_folded(&casemap::folded(text))
    }

    /// True if a field of `header` called `field` contains the needle once encoded-words are decoded.
    #[must_use]
    pub fn is_in_field(&self, header: &[u8], field: &[u8]) -> bool {
        header::fields(header)
            .filter(|f| f.name.eq_ignore_ascii_case(field))
            .any(|f| self.is_in(&words::decode(f.value)))
    }

    /// True if an address of a field called `field` contains the needle when written `name <mailbox@host>`, as the
    /// fields of ENVELOPE hold it (RFC 3501 §6.4.4): without comments and folds, quotes undone.
    #[must_use]
    pub fn is_in_addresses(&self, header: &[u8], field: &[u8]) -> bool {
        header::fields(header)
            .filter(|f| f.name.eq_ignore_ascii_case(field))
            .flat_map(|f| address::items(f.value))
            .any(|item| matches!(item, Item::Address(address) if self.is_in(&address_text(&address))))
    }

    /// True if any field of `header`, name included, contains the needle.
    #[must_use]
    pub fn is_in_header(&self, header: &[u8]) -> bool {
        let mut folded = Vec::new();
        header::fields(header).any(|f| self.is_in_whole_field(&f, &mut folded))
    }

    /// `folded` is memory to work in.
    fn is_in_whole_field(&self, field: &header::Field<'_>, folded: &mut Vec<u8>) -> bool {
        folded.clear();
        if field.name.is_ascii() {
            folded.extend_from_slice(field.name);
            folded.extend_from_slice(b": ");
            if words::push_plain(field.value, folded) {
                folded.make_ascii_uppercase();
                return self.is_in_folded(folded);
            }
        }
        let mut text = String::from_utf8_lossy(field.name).into_owned();
        text.push_str(": ");
        text.push_str(&words::decode(field.value));
        self.is_in(&text)
    }

    fn is_in_folded(&self, folded: &[u8]) -> bool {
        self.finder.find(folded).is_some()
    }
}

fn address_text(address: &Address) -> String {
    let mut text = String::new();
    if let Some(name) = &address.name {
        text.push_str(&words::decode(name));
        text.push(' ');
    }
    text.push('<');
    if address.mailbox != address::MISSING_MAILBOX {
        text.push_str(&String::from_utf8_lossy(&address.mailbox));
    }
    if address.host != address::MISSING_DOMAIN {
        text.push('@');
        text.push_str(&String::from_utf8_lossy(&address.host));
    }
    text.push('>');
    text
}

/// What of a message is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// SEARCH BODY
    Body,
    /// SEARCH TEXT
    Text,
}

/// How a search stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Take another step, perhaps after yielding.
    More,
    /// The text is there.
    Found,
    /// It is not.
    Absent,
}

/// A search through one message, slice by slice.
#[derive(Debug)]
pub struct MessageSearch<'a> {
    structure: &'a Structure,
    message: &'a [u8],
    matcher: &'a Matcher,
    /// The part next to be begun.
    next_part: usize,
    /// Fields of the part's header yet to be searched.
    fields: header::Fields<'a>,
    /// The part's text yet to be searched.
    text: Option<TextReader<'a>>,
    /// The field last searched, folded.
    folded: Vec<u8>,
}

impl<'a> MessageSearch<'a> {
    /// Begins a search for `matcher` in `message`, which `structure` was made from.
    #[must_use]
    pub fn new(structure: &'a Structure, message: &'a [u8], scope: Scope, matcher: &'a Matcher) -> Self {
        let mut search = Self {
            structure,
            message,
            matcher,
            next_part: 0,
            fields: header::fields(b""),
            text: None,
            folded: Vec::new(),
        };
        search.begin_part(scope == Scope::Text);
        search
    }

    /// Searches about [`SLICE_BYTES`] more (a longer header field is searched whole).
    pub fn step(&mut self) -> Progress {
        let mut searched = 0;
        // Slices end at line ends, a little short of the full size: half of it is enough for a step.
        while searched < SLICE_BYTES / 2 {
            if let Some(field) = self.fields.next() {
                searched += field.whole.len();
                if self.matcher.is_in_whole_field(&field, &mut self.folded) {
                    return Progress::Found;
                }
            } else if let Some(text) = &mut self.text {
                searched += text.read(SLICE_BYTES.max(self.matcher.finder.needle().len()));
                if self.matcher.is_in_folded(&text.window) {
                    return Progress::Found;
                }
                text.keep_tail(self.matcher.finder.needle().len().saturating_sub(1));
                if text.is_at_end() {
                    self.text = None;
                }
            } else if self.next_part < self.structure.parts().len() {
                self.begin_part(true);
            } else if self.matcher.finder.needle().is_empty() {
                return Progress::Found;
            } else {
                return Progress::Absent;
            }
        }
        Progress::More
    }

    /// Takes steps to the end.
    pub fn run(mut self) -> bool {
        loop {
            match self.step() {
                Progress::More => (),
                Progress::Found => return true,
                Progress::Absent => return false,
            }
        }
    }

    fn begin_part(&mut self, is_header_searched: bool) {
        let part = &self.structure.parts()[self.next_part];
        self.next_part += 1;
        if is_header_searched {
            self.fields = header::fields(part.header_of(self.message));
        }
        let fields = part.fields(self.message);
        let content_type = part.content_type_of(&fields);
        let is_text = match part.kind {
            Kind::Leaf => content_type
                .as_ref()
                .is_none_or(|t| t.media_type.eq_ignore_ascii_case(b"text")),
            Kind::Opaque => true,
            Kind::Multipart | Kind::Message => false,
        };
        if is_text {
            let charset = content_type.as_ref().and_then(|t| t.parameter("charset"));
            let body = part.body_of(self.message);
            self.text = Some(TextReader::new(body, Lenient::new(fields.encoding()), charset));
        }
    }
}

/// True if BODY finds the needle.
#[must_use]
pub fn body_contains(structure: &Structure, message: &[u8], matcher: &Matcher) -> bool {
    MessageSearch::new(structure, message, Scope::Body, matcher).run()
}

/// True if TEXT finds the needle.
#[must_use]
pub fn text_contains(structure: &Structure, message: &[u8], matcher: &Matcher) -> bool {
    MessageSearch::new(structure, message, Scope::Text, matcher).run()
}

/// A text part's body as folded text, slice by slice.
#[derive(Debug)]
struct TextReader<'a> {
    rest: &'a [u8],
    decoder: Lenient,
    charset: Vec<u8>,
    /// ASCII in the body is ASCII in the text.
    is_plain: bool,
    /// Octets decoded from the transfer encoding, not yet from the charset.
    octets: Vec<u8>,
    /// Folded text: the end of the last slice and the newest.
    window: Vec<u8>,
}

impl<'a> TextReader<'a> {
    fn new(body: &'a [u8], decoder: Lenient, charset: Option<&[u8]>) -> Self {
        let charset = charset.unwrap_or(b"us-ascii");
        Self {
            rest: body,
            is_plain: decoder.is_identity() && words::is_ascii_superset(charset),
            decoder,
            charset: charset.to_vec(),
            octets: Vec::new(),
            window: Vec::new(),
        }
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Adds a slice of up to `bytes_max` to the window; returns how many octets of the body it took. A slice is never
    /// shorter than the needle, or a long needle's overlap of two windows would cost more than the slices.
    fn read(&mut self, bytes_max: usize) -> usize {
        let (piece, rest) = self.rest.split_at(Lenient::piece(self.rest, bytes_max));
        self.rest = rest;
        if self.is_plain && self.octets.is_empty() && piece.is_ascii() {
            casemap::push_ascii(piece, &mut self.window);
            return piece.len();
        }
        self.decoder.decode(piece, &mut self.octets);
        let whole = if rest.is_empty() {
            self.octets.len()
        } else {
            whole_characters(&self.octets)
        };
        casemap::push(
            &words::to_text(&self.charset, &self.octets[..whole]),
            &mut self.window,
        );
        self.octets.drain(..whole);
        piece.len()
    }

    /// Forgets all of the window but `length` octets at its end.
    fn keep_tail(&mut self, length: usize) {
        let forgotten = self.window.len().saturating_sub(length);
        self.window.drain(..forgotten);
    }
}

/// Octets that can be decoded without the rest: up to the last line end (where the stateful charsets return to ASCII,
/// RFC 1468), or, in a very long line, all that is not an unfinished UTF-8 character.
fn whole_characters(octets: &[u8]) -> usize {
    if let Some(at) = memchr::memrchr(b'\n', octets) {
        return at + 1;
    }
    if octets.len() < SLICE_BYTES {
        return 0;
    }
    let is_start = |at: &usize| octets[*at] & 0xC0 != 0x80;
    let last = (octets.len() - 3..octets.len()).rev().find(is_start);
    last.filter(|&at| octets[at] >= 0xC0).unwrap_or(octets.len())
}
