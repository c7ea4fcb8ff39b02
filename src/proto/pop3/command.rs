//! The grammar of POP3 command lines (RFC 1939 §3, 5, 6, 7; RFC 2449, 2595, 5034, 6856): one line in, one [`Command`] out.
//!
//! Invariants: keywords in any case; a message number becomes a 0-based index and is never 0 or beyond 32 bits; the
//! argument of PASS is everything behind one space, other arguments lose trailing spaces.

use crate::proto::line;

/// A command as the peer wrote it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// USER with a name.
    User(&'a str),
    /// PASS with a password.
    Pass(&'a [u8]),
    /// AUTH with a mechanism and perhaps an initial response.
    Auth {
        /// Not yet known to be one we have.
        mechanism: &'a [u8],
        /// Base64.
        initial: Option<&'a [u8]>,
    },
    /// CAPA
    Capa,
    /// STLS
    Stls,
    /// STAT
    Stat,
    /// LIST, of one message or all.
    List(Option<u32>),
    /// UIDL, of one message or all.
    Uidl(Option<u32>),
    /// RETR
    Retr(u32),
    /// TOP
    Top {
        /// 0-based.
        index: u32,
        /// Lines of the body.
        lines: u32,
    },
    /// DELE
    Dele(u32),
    /// NOOP
    Noop,
    /// UTF8 (RFC 6856 §2).
    Utf8,
    /// LANG, with a language range or without.
    Lang(Option<&'a [u8]>),
    /// RSET
    Rset,
    /// QUIT
    Quit,
    /// An HTTP method: a browser is being used against us.
    Http,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// NUL, bare CR or bare LF in the line.
    Octets,
    /// No such command here.
    Unknown,
    /// The arguments are not as they should be.
    Arguments,
    /// No message can have this number.
    NoSuchMessage,
}

impl<'a> Command<'a> {
    /// Parses one line, given without its CRLF.
    ///
    /// # Errors
    /// See [`SyntaxError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, SyntaxError> {
        if !line::is_clean(text) {
            return Err(SyntaxError::Octets);
        }
        let (word, rest) = split(text);
        let mut keyword = [0; 4];
        let Some(letters) = keyword.get_mut(..word.len()) else {
            return parse_longer(word);
        };
        letters.copy_from_slice(word);
        keyword.make_ascii_uppercase();
        let argument = rest.trim_ascii();
        match &keyword {
            b"USER" => name(argument).map(Self::User),
            b"PASS" if rest.is_empty() => Err(SyntaxError::Arguments),
            b"PASS" => Ok(Self::Pass(rest)),
            b"AUTH" => auth(argument),
            b"CAPA" => alone(argument, Self::Capa),
            b"STLS" => alone(argument, Self::Stls),
            b"STAT" => alone(argument, Self::Stat),
            b"LIST" => optional_index(argument).map(Self::List),
            b"UIDL" => optional_index(argument).map(Self::Uidl),
            b"RETR" => index(argument).map(Self::Retr),
            b"TOP\0" => top(argument),
            b"DELE" => index(argument).map(Self::Dele),
            b"NOOP" => alone(argument, Self::Noop),
            b"UTF8" => alone(argument, Self::Utf8),
            b"LANG" => Ok(Self::Lang((!argument.is_empty()).then_some(argument))),
            b"RSET" => alone(argument, Self::Rset),
            b"QUIT" => alone(argument, Self::Quit),
            _ => parse_longer(word),
        }
    }
}

fn parse_longer<'a>(word: &[u8]) -> Result<Command<'a>, SyntaxError> {
    let is_http = line::is_http_method(word);
    is_http.then_some(Command::Http).ok_or(SyntaxError::Unknown)
}

/// The text up to the first space, and what follows that one space.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|octet| *octet == b' ') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[]),
    }
}

fn alone<'a>(argument: &[u8], command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    argument
        .is_empty()
        .then_some(command)
        .ok_or(SyntaxError::Arguments)
}

fn name(argument: &[u8]) -> Result<&str, SyntaxError> {
    let name = std::str::from_utf8(argument).map_err(|_| SyntaxError::Arguments)?;
    let is_name = !name.is_empty() && !name.chars().any(char::is_control);
    is_name.then_some(name).ok_or(SyntaxError::Arguments)
}

fn auth(argument: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let (mechanism, initial) = split(argument);
    if mechanism.is_empty() || initial.contains(&b' ') {
        return Err(SyntaxError::Arguments);
    }
    Ok(Command::Auth {
        mechanism,
        initial: (!initial.is_empty()).then_some(initial),
    })
}

fn number(text: &[u8]) -> Result<u32, SyntaxError> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number);
    let text = text.ok_or(SyntaxError::Arguments)?;
    // Digits only, so the one thing that can be wrong is the size.
    text.parse().map_err(|_| SyntaxError::NoSuchMessage)
}

fn index(text: &[u8]) -> Result<u32, SyntaxError> {
    number(text)?.checked_sub(1).ok_or(SyntaxError::NoSuchMessage)
}

fn optional_index(text: &[u8]) -> Result<Option<u32>, SyntaxError> {
    if text.is_empty() {
        return Ok(None);
    }
    index(text).map(Some)
}

fn top(argument: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let (message, lines) = split(argument);
    let index = index(message)?;
    // More lines than can be counted are all lines.
    let lines = match number(lines.trim_ascii()) {
        Err(SyntaxError::NoSuchMessage) => u32::MAX,
        other => other?,
    };
    Ok(Command::Top { index, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_in_any_case() {
        assert!(Command::parse(b"qUiT") == Ok(Command::Quit));
        assert!(Command::parse(b"top 1 0") == Ok(Command::Top { index: 0, lines: 0 }));
        assert!(Command::parse(b"LIST ") == Ok(Command::List(None)));
        assert!(Command::parse(b"UIDL 7") == Ok(Command::Uidl(Some(6))));
        assert!(Command::parse(b"PASS  a b ") == Ok(Command::Pass(b" a b ")));
        assert!(Command::parse(b"USER tim@x.test ") == Ok(Command::User("tim@x.test")));
        assert!(Command::parse(b"CONNECT x:25 HTTP/1.1") == Ok(Command::Http));
    }

    #[test]
    fn what_is_no_command_says_why() {
        for (line, error) in [
            (&b""[..], SyntaxError::Unknown),
            (b"XYZ", SyntaxError::Unknown),
            (b"APOP a b", SyntaxError::Unknown),
            (b"USER a\0b", SyntaxError::Octets),
            (b"USER", SyntaxError::Arguments),
            (b"PASS", SyntaxError::Arguments),
            (b"RETR", SyntaxError::Arguments),
            (b"RETR -1", SyntaxError::Arguments),
            (b"RETR 0", SyntaxError::NoSuchMessage),
            (b"RETR 99999999999999999999", SyntaxError::NoSuchMessage),
            (b"TOP 1", SyntaxError::Arguments),
            (b"TOP 1 -1", SyntaxError::Arguments),
            (b"STAT 1", SyntaxError::Arguments),
        ] {
            assert!(Command::parse(line) == Err(error), "{line:?}");
        }
    }
}
