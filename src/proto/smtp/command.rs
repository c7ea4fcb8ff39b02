//! The grammar of command lines (RFC 5321 §4.1.1): one line in, one [`Command`] out, nothing copied.
//!
//! Invariants: verbs and keywords in any case; trailing spaces are ignored (§4.1.1 asks receivers to tolerate them);
//! parsing allocates nothing.
//! Not here: paths (`path`), parameters (`parameters`), what is allowed when (`server`).

use crate::proto::line;

/// A command as the peer wrote it. The slices are arguments, trimmed, not yet checked beyond the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with its argument.
    Ehlo(&'a [u8]),
    /// HELO with its argument.
    Helo(&'a [u8]),
    /// LHLO with its argument (RFC 2033 §4.1).
    Lhlo(&'a [u8]),
    /// What stands behind `MAIL FROM:`.
    Mail(&'a [u8]),
    /// What stands behind `RCPT TO:`.
    Rcpt(&'a [u8]),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat {
        /// Octets that follow the command line.
        bytes: u64,
        /// Whether this chunk ends the message.
        is_last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, whatever its argument.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY with its argument.
    Vrfy(&'a [u8]),
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH with its mechanism and initial response.
    Auth(&'a [u8]),
    /// XCLIENT with its attributes.
    XClient(&'a [u8]),
    /// An HTTP method: a browser is being used against us.
    Http,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxError {
    /// NUL, bare CR or bare LF in the line.
    Octets,
    /// A verb nobody knows.
    Unknown,
    /// A verb that RFCs define and this server does not serve.
    NotImplemented,
    /// The verb is known, its arguments are not as they should be.
    Arguments,
    /// BDAT whose size is missing or no number: where the chunk ends cannot be known.
    ChunkSize,
    /// BDAT of this size with something else than LAST behind it: the chunk is skipped, then refused.
    ChunkArguments {
        /// Octets to skip.
        bytes: u64,
    },
}

/// Four letters as one number, in lower case.
const fn verb(letters: [u8; 4]) -> u32 {
    u32::from_le_bytes(letters)
}

const EHLO: u32 = verb(*b"ehlo");
const HELO: u32 = verb(*b"helo");
const LHLO: u32 = verb(*b"lhlo");
const MAIL: u32 = verb(*b"mail");
const RCPT: u32 = verb(*b"rcpt");
const DATA: u32 = verb(*b"data");
const BDAT: u32 = verb(*b"bdat");
const RSET: u32 = verb(*b"rset");
const NOOP: u32 = verb(*b"noop");
const QUIT: u32 = verb(*b"quit");
const VRFY: u32 = verb(*b"vrfy");
const EXPN: u32 = verb(*b"expn");
const HELP: u32 = verb(*b"help");
const AUTH: u32 = verb(*b"auth");

/// Verbs of RFC 821 and 1985 that are answered 502 rather than 500.
const NOT_IMPLEMENTED: [u32; 5] = [
    verb(*b"etrn"),
    verb(*b"turn"),
    verb(*b"saml"),
    verb(*b"soml"),
    verb(*b"send"),
];

impl<'a> Command<'a> {
    /// True for commands that bring no mail further: see [`IDLE_COMMANDS_MAX`](super::limits::IDLE_COMMANDS_MAX).
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::Ehlo(_) | Self::Helo(_) | Self::Lhlo(_) | Self::Rset | Self::Noop => true,
            Self::Vrfy(_) | Self::Expn | Self::Help => true,
            Self::Mail(_) | Self::Rcpt(_) | Self::Data | Self::Bdat { .. } | Self::Quit => false,
            // A session has each once; XCLIENT is a trusted proxy's, HTTP ends it.
            Self::StartTls | Self::Auth(_) | Self::XClient(_) | Self::Http => false,
        }
    }

    /// Parses one line, given without its CRLF.
    ///
    /// # Errors
    /// See [`SyntaxError`].
    pub fn parse(text: &'a [u8]) -> Result<Self, SyntaxError> {
        if !line::is_clean(text) {
            // Behind a broken BDAT stands a chunk whose end nobody knows: it must not be read as commands.
            let is_bdat = text
                .get(..4)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"BDAT"));
            return Err(if is_bdat {
                SyntaxError::ChunkSize
            } else {
                SyntaxError::Octets
            });
        }
        let text = trim_end(text);
        let (word, argument) = split_word(text);
        let Ok(letters) = <[u8; 4]>::try_from(word) else {
            return parse_longer(word, argument);
        };
        // Only letters map to lower-case letters under this bit, so nothing but a verb compares equal to one.
        match u32::from_le_bytes(letters) | 0x2020_2020 {
            EHLO => Ok(Self::Ehlo(argument)),
            HELO => Ok(Self::Helo(argument)),
            LHLO => Ok(Self::Lhlo(argument)),
            MAIL => after_keyword(argument, b"FROM:").map(Self::Mail),
            RCPT => after_keyword(argument, b"TO:").map(Self::Rcpt),
            DATA => alone(argument, Self::Data),
            BDAT => parse_bdat(argument),
            RSET => alone(argument, Self::Rset),
            NOOP => Ok(Self::Noop),
            QUIT => alone(argument, Self::Quit),
            VRFY => Ok(Self::Vrfy(argument)),
            EXPN => Ok(Self::Expn),
            HELP => Ok(Self::Help),
            AUTH => Ok(Self::Auth(argument)),
            other if NOT_IMPLEMENTED.contains(&other) => Err(SyntaxError::NotImplemented),
            _ => parse_longer(word, argument),
        }
    }
}

fn parse_longer<'a>(word: &[u8], argument: &'a [u8]) -> Result<Command<'a>, SyntaxError> {
    if word.eq_ignore_ascii_case(b"STARTTLS") {
        return alone(argument, Command::StartTls);
    }
    if word.eq_ignore_ascii_case(b"XCLIENT") {
        return Ok(Command::XClient(argument));
    }
    if line::is_http_method(word) {
        return Ok(Command::Http);
    }
    Err(SyntaxError::Unknown)
}

fn alone<'a>(argument: &[u8], command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    argument
        .is_empty()
        .then_some(command)
        .ok_or(SyntaxError::Arguments)
}

/// What follows `keyword` in `argument`; spaces behind the colon are tolerated, as widely done.
fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], SyntaxError> {
    match argument.split_at_checked(keyword.len()) {
        Some((found, rest)) if found.eq_ignore_ascii_case(keyword) => Ok(trim_start(rest)),
        _ => Err(SyntaxError::Arguments),
    }
}

fn parse_bdat<'a>(argument: &[u8]) -> Result<Command<'a>, SyntaxError> {
    let (size, rest) = split_word(argument);
    let bytes = decimal(size).ok_or(SyntaxError::ChunkSize)?;
    if rest.is_empty() || rest.eq_ignore_ascii_case(b"LAST") {
        return Ok(Command::Bdat {
            bytes,
            is_last: !rest.is_empty(),
        });
    }
    Err(SyntaxError::ChunkArguments { bytes })
}

/// A decimal number without sign that fits 64 bits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// The text up to the first blank, and what follows the blanks.
pub(super) fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(|octet| is_blank(*octet))
        .unwrap_or(text.len());
    (&text[..end], trim_start(&text[end..]))
}

pub(super) fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|octet| is_blank(**octet)).count();
    &text[blanks..]
}

fn trim_end(text: &[u8]) -> &[u8] {
    let blanks = text.iter().rev().take_while(|octet| is_blank(**octet)).count();
    &text[..text.len() - blanks]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_known_in_any_case_and_with_trailing_spaces() {
        assert_eq!(Command::parse(b"dAtA  "), Ok(Command::Data));
        assert_eq!(Command::parse(b"starttls"), Ok(Command::StartTls));
        assert_eq!(Command::parse(b"mail from: <a@b>"), Ok(Command::Mail(b"<a@b>")));
        assert_eq!(Command::parse(b"RCPT TO:<a@b> X"), Ok(Command::Rcpt(b"<a@b> X")));
        assert_eq!(Command::parse(b"EHLO"), Ok(Command::Ehlo(b"")));
        assert_eq!(Command::parse(b"post / HTTP/1.1"), Ok(Command::Http));
    }

    #[test]
    fn what_is_no_command_says_why() {
        for (line, error) in [
            (&b""[..], SyntaxError::Unknown),
            (b" MAIL FROM:<a@b>", SyntaxError::Unknown),
            (b"M\x01IL FROM:<a@b>", SyntaxError::Unknown),
            (b"MAIL", SyntaxError::Arguments),
            (b"MAIL <a@b>", SyntaxError::Arguments),
            (b"DATA now", SyntaxError::Arguments),
            (b"NOOP\0", SyntaxError::Octets),
            (b"NOOP\nMAIL FROM:<a@b>", SyntaxError::Octets),
            (b"ETRN x", SyntaxError::NotImplemented),
        ] {
            assert_eq!(Command::parse(line), Err(error), "{line:?}");
        }
    }

    #[test]
    fn a_chunk_needs_a_size_that_can_be_skipped() {
        let bdat = |bytes, is_last| Ok(Command::Bdat { bytes, is_last });
        assert_eq!(Command::parse(b"BDAT 12 last"), bdat(12, true));
        assert_eq!(Command::parse(b"BDAT 0"), bdat(0, false));
        assert_eq!(
            Command::parse(b"BDAT 18446744073709551615"),
            bdat(u64::MAX, false)
        );
        for line in [
            &b"BDAT"[..],
            b"BDAT 5\0",
            b"BDAT -1",
            b"BDAT +1",
            b"BDAT x LAST",
            b"BDAT 18446744073709551616",
        ] {
            assert_eq!(Command::parse(line), Err(SyntaxError::ChunkSize), "{line:?}");
        }
        assert_eq!(
            Command::parse(b"BDAT 5 LAST LAST"),
            Err(SyntaxError::ChunkArguments { bytes: 5 })
        );
    }
}
