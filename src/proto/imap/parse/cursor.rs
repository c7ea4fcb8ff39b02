//! The lexemes of IMAP (RFC 9051 §9): a place in the text of one command, and what can be read there.
//!
//! Invariants: reading never goes beyond the text; NUL, CR and LF are in no value; a literal's octets are inside the text,
//! because framing put them there.
//! Not here: which lexeme belongs where (the other files of this folder).

use super::Fault;
use crate::proto::imap::types::NameForm;
use std::borrow::Cow;
use std::num::NonZeroU32;

pub(super) type Parsed<T> = Result<T, Fault>;

/// Longest word compared with the keywords of the protocol, octets.
pub(super) const WORD_BYTES_MAX: usize = 32;

/// A keyword in upper case, on the stack; longer words become the empty one, which no keyword is.
pub(super) struct Upper([u8; WORD_BYTES_MAX], usize);

impl Upper {
    pub(super) fn of(word: &[u8]) -> Self {
        let mut upper = [0; WORD_BYTES_MAX];
        let length = if word.len() <= WORD_BYTES_MAX {
            word.len()
        } else {
            0
        };
        upper[..length].copy_from_slice(&word[..length]);
        upper.make_ascii_uppercase();
        Self(upper, length)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

/// ATOM-CHAR: any CHAR but atom-specials.
pub(crate) fn is_atom_char(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

/// ASTRING-CHAR: ATOM-CHAR and `]`.
pub(crate) fn is_astring_char(byte: u8) -> bool {
    is_atom_char(byte) || byte == b']'
}

fn is_list_char(byte: u8) -> bool {
    is_astring_char(byte) || matches!(byte, b'%' | b'*')
}

#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    /// How names of mailboxes are written.
    pub(super) names: NameForm,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self::with_names(text, NameForm::default())
    }

    pub(super) fn with_names(text: &'a [u8], names: NameForm) -> Self {
        Self { text, at: 0, names }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Takes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, byte: u8, what: &'static str) -> Parsed<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(Fault::Expected(what))
        }
    }

    pub(super) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "a space")
    }

    pub(super) fn end(&self) -> Parsed<()> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(Fault::Expected("the end of the command"))
        }
    }

    /// The longest run of such octets, perhaps none.
    pub(super) fn run(&mut self, is_in: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|b| !is_in(*b)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    pub(super) fn atom(&mut self, what: &'static str) -> Parsed<&'a [u8]> {
        let atom = self.run(is_atom_char);
        if atom.is_empty() {
            Err(Fault::Expected(what))
        } else {
            Ok(atom)
        }
    }

    /// An atom as a keyword of the protocol.
    pub(super) fn word(&mut self, what: &'static str) -> Parsed<Upper> {
        self.atom(what).map(Upper::of)
    }

    /// Takes `word` if it is next, in any case, and a space follows, which is left.
    pub(super) fn eat_keyword(&mut self, word: &[u8]) -> bool {
        let rest = self.rest();
        let is_next = rest.get(word.len()) == Some(&b' ') && rest[..word.len()].eq_ignore_ascii_case(word);
        if is_next {
            self.at += word.len();
        }
        is_next
    }

    /// Takes `word SP` if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &[u8]) -> bool {
        let is_next = self.eat_keyword(word);
        self.at += usize::from(is_next);
        is_next
    }

    /// `number64` of RFC 9051, up to 2^63-1.
    pub(super) fn number64(&mut self) -> Parsed<u64> {
        let digits = self.run(|b| b.is_ascii_digit());
        let value = digits.iter().try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        });
        let value = value.filter(|value| !digits.is_empty() && *value <= i64::MAX as u64);
        value.ok_or(Fault::Expected("a number below 2^63"))
    }

    pub(super) fn number(&mut self) -> Parsed<u32> {
        let value = self.number64()?;
        u32::try_from(value).map_err(|_| Fault::Expected("a number below 2^32"))
    }

    pub(super) fn nz_number(&mut self) -> Parsed<NonZeroU32> {
        NonZeroU32::new(self.number()?).ok_or(Fault::Expected("a number from 1 to 4294967295"))
    }

    /// `string`: quoted or literal.
    pub(super) fn string(&mut self) -> Parsed<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => Err(Fault::Expected("a string")),
        }
    }

    pub(super) fn astring(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_astring_char, "a string or an atom")
    }

    pub(super) fn list_mailbox(&mut self) -> Parsed<Cow<'a, [u8]>> {
        self.string_or(is_list_char, "a mailbox pattern")
    }

    fn string_or(&mut self, is_in: impl Fn(u8) -> bool, what: &'static str) -> Parsed<Cow<'a, [u8]>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string();
        }
        let run = self.run(is_in);
        if run.is_empty() {
            Err(Fault::Expected(what))
        } else {
            Ok(Cow::Borrowed(run))
        }
    }

    /// `nstring`; NIL is `None`.
    pub(super) fn nstring(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string().map(Some);
        }
        let word = self.word("a string or NIL")?;
        if word.bytes() == b"NIL" {
            Ok(None)
        } else {
            Err(Fault::Expected("a string or NIL"))
        }
    }

    /// `nstring` or a literal8, which may hold NUL (RFC 3516); NIL is `None`.
    pub(super) fn nstring8(&mut self) -> Parsed<Option<Cow<'a, [u8]>>> {
        if self.eat(b'~') {
            return self.octets().map(|octets| Some(Cow::Borrowed(octets)));
        }
        self.nstring()
    }

    fn quoted(&mut self) -> Parsed<Cow<'a, [u8]>> {
        let body = &self.rest()[1..];
        let mut unescaped = None;
        let mut at = 0;
        loop {
            match body.get(at).copied() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let escaped = body.get(at + 1).copied().filter(|b| matches!(b, b'"' | b'\\'));
                    let escaped = escaped.ok_or(Fault::Expected("'\\\"' or '\\\\' after a backslash"))?;
                    unescaped.get_or_insert_with(|| body[..at].to_vec()).push(escaped);
                    at += 2;
                }
                None | Some(0 | b'\r' | b'\n') => return Err(Fault::Expected("the end of a quoted string")),
                Some(byte) => {
                    if let Some(text) = &mut unescaped {
                        text.push(byte);
                    }
                    at += 1;
                }
            }
        }
        // RFC 6855 §3, RFC 9051 §9: where quoted strings may have more than ASCII in them, it is UTF-8. Before, it should not be
        // there at all, and clients that send it mean what their user typed.
        if self.names == NameForm::Utf8 && std::str::from_utf8(&body[..at]).is_err() {
            return Err(Fault::Expected("UTF-8 in a quoted string"));
        }
        self.at += at + 2;
        Ok(unescaped.map_or(Cow::Borrowed(&body[..at]), Cow::Owned))
    }

    fn literal(&mut self) -> Parsed<&'a [u8]> {
        let octets = self.octets()?;
        if memchr::memchr(0, octets).is_some() {
            return Err(Fault::Expected("a literal without NUL"));
        }
        Ok(octets)
    }

    fn octets(&mut self) -> Parsed<&'a [u8]> {
        self.expect(b'{', "a literal")?;
        let length = self.number64()?;
        let _ = self.eat(b'+');
        let is_announced = self.eat(b'}') && self.eat(b'\r') && self.eat(b'\n');
        let length = usize::try_from(length).ok().filter(|_| is_announced);
        let octets = length.and_then(|length| self.rest().get(..length));
        let octets = octets.ok_or(Fault::Expected("a literal"))?;
        self.at += octets.len();
        Ok(octets)
    }

    /// `"(" item *(SP item) ")"` with at most `most` items; the opening parenthesis is still to come. May be empty
    /// only with `may_be_empty`.
    pub(super) fn list(
        &mut self,
        most: usize,
        may_be_empty: bool,
        mut item: impl FnMut(&mut Self) -> Parsed<()>,
    ) -> Parsed<()> {
        self.expect(b'(', "'('")?;
        if may_be_empty && self.eat(b')') {
            return Ok(());
        }
        for _ in 0..most {
            item(self)?;
            if self.eat(b')') {
                return Ok(());
            }
            self.expect(b' ', "a space or ')'")?;
        }
        Err(Fault::Limit("too many items in a list"))
    }
}
