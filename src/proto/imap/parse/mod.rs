//! Grammar of commands (RFC 9051 §9 and the extensions named in `types`): from the text of one command to a value.
//!
//! Invariants: linear time; recursion at most [`DEPTH_MAX`] deep; a value holds at most what the text holds, times the
//! named limits of its lists; a fault keeps the tag if the tag itself could be read.
//! Failure: [`ParseError`], always the peer's fault.
//! Not here: what is in which state (`core`), literals over the wire (`framing`).

mod account;
mod catenate;
mod cursor;
pub(super) mod fetch;
pub(super) mod mailbox;
mod metadata;
mod multi_search;
mod notify;
mod qresync;
mod search;
mod sets;

use super::types::{Command, CommandBody, NameForm, Tag};
use super::utf7::Utf7Error;
use crate::model::MailboxNameError;
use cursor::{Cursor, Parsed};
pub(crate) use cursor::{is_astring_char, is_atom_char};

/// Deepest nesting of SEARCH keys (NOT, OR, parentheses). No client comes near; the stack of a core must not depend on it.
pub const DEPTH_MAX: usize = 64;

/// Longest tag, octets. RFC 9051 names none; clients use fewer than ten.
pub const TAG_BYTES_MAX: usize = 128;

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else should stand there.
    #[error("Expected {0}")]
    Expected(&'static str),
    /// No such command.
    #[error("Unknown command")]
    UnknownCommand,
    /// Beyond [`DEPTH_MAX`].
    #[error("Nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// Beyond a limit of this folder, which the text names: answered `NO [LIMIT]`, as [`Self::TooDeep`] is.
    #[error("Limit: {0}")]
    Limit(&'static str),
    /// The command is well-formed, a name in it is not in modified UTF-7.
    #[error("Mailbox name: {0}")]
    Encoding(#[from] Utf7Error),
    /// The command is well-formed, a name in it cannot be a mailbox's.
    #[error("Mailbox name: {0}")]
    Name(#[from] MailboxNameError),
    /// CREATE with a use that mailboxes here do not have (RFC 6154 §3).
    #[error("No such special use here")]
    SpecialUse,
}

impl Fault {
    /// True where the grammar was kept and the answer is NO, not BAD.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Expected(_) | Self::UnknownCommand)
    }
}

/// A fault, and whose command it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// `None`: the tag is not readable, and the answer is untagged.
    pub tag: Option<Tag>,
    /// What is wrong.
    pub fault: Fault,
}

/// Reads a command without its last CRLF, names in modified UTF-7. APPEND is not read here, see [`append_head`].
///
/// # Errors
/// The first fault from the left.
pub fn command(text: &[u8]) -> Result<Command, ParseError> {
    command_with(text, NameForm::default())
}

/// As [`command`], names in the form the session uses.
///
/// # Errors
/// The first fault from the left.
pub fn command_with(text: &[u8], names: NameForm) -> Result<Command, ParseError> {
    let mut cursor = Cursor::with_names(text, names);
    let tag = take_tag(&mut cursor).map_err(|fault| ParseError { tag: None, fault })?;
    match body(&mut cursor) {
        Ok(body) => Ok(Command { tag, body }),
        Err(fault) => Err(ParseError {
            tag: Some(tag),
            fault,
        }),
    }
}

/// The tag a command starts with, if it is readable and something follows it.
#[must_use]
pub fn tag(text: &[u8]) -> Option<Tag> {
    take_tag(&mut Cursor::new(text)).ok()
}

/// Does this begin as that command, behind a tag?
#[must_use]
pub fn verb_is(text: &[u8], verb: &[u8]) -> bool {
    let mut cursor = Cursor::new(text);
    take_tag(&mut cursor).is_ok() && cursor.eat_word(verb)
}

pub use catenate::{Line, Parts, PartsEnd, catenate_next};
pub use mailbox::{AppendHead, append_head, append_next};

fn take_tag(cursor: &mut Cursor<'_>) -> Parsed<Tag> {
    let tag = cursor.run(|b| is_astring_char(b) && b != b'+');
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
        return Err(Fault::Expected("a tag"));
    }
    cursor.space()?;
    Ok(Tag::from_slice(tag))
}

fn body(cursor: &mut Cursor<'_>) -> Parsed<CommandBody> {
    let verb = cursor.word("a command")?;
    let by_uid = verb.bytes() == b"UID";
    let verb = if by_uid {
        cursor.space()?;
        cursor.word("COPY, EXPUNGE, FETCH, MOVE, SEARCH, SORT, STORE or THREAD")?
    } else {
        verb
    };
    let parsed = if by_uid {
        message_command(verb.bytes(), true, cursor)
    } else {
        command_without_arguments(verb.bytes())
            .map(Ok)
            .or_else(|| account::command(verb.bytes(), cursor))
            .or_else(|| mailbox::command(verb.bytes(), cursor))
            .or_else(|| message_command(verb.bytes(), false, cursor))
    };
    let parsed = parsed.unwrap_or(Err(Fault::UnknownCommand))?;
    cursor.end()?;
    Ok(parsed)
}

fn command_without_arguments(verb: &[u8]) -> Option<CommandBody> {
    Some(match verb {
        b"CAPABILITY" => CommandBody::Capability,
        b"NOOP" => CommandBody::Noop,
        b"LOGOUT" => CommandBody::Logout,
        b"STARTTLS" => CommandBody::StartTls,
        b"NAMESPACE" => CommandBody::Namespace,
        b"IDLE" => CommandBody::Idle,
        b"CHECK" => CommandBody::Check,
        b"CLOSE" => CommandBody::Close,
        b"UNSELECT" => CommandBody::Unselect,
        b"UNAUTHENTICATE" => CommandBody::Unauthenticate,
        b"EXPUNGE" => CommandBody::Expunge { uids: None },
        _ => return None,
    })
}

/// Commands on messages of the selected mailbox, with and without UID before them.
fn message_command(verb: &[u8], by_uid: bool, cursor: &mut Cursor<'_>) -> Option<Parsed<CommandBody>> {
    Some(match verb {
        b"FETCH" => fetch::fetch(cursor, by_uid),
        b"STORE" => sets::store(cursor, by_uid),
        b"COPY" => {
            sets::copy_or_move(cursor).map(|(set, mailbox)| CommandBody::Copy { set, mailbox, by_uid })
        }
        b"MOVE" => {
            sets::copy_or_move(cursor).map(|(set, mailbox)| CommandBody::Move { set, mailbox, by_uid })
        }
        b"SEARCH" => search::search(cursor, by_uid),
        b"SORT" => search::sort(cursor, by_uid),
        b"THREAD" => search::thread(cursor, by_uid),
        b"ESEARCH" if !by_uid => multi_search::multi_search(cursor),
        b"CANCELUPDATE" if !by_uid => multi_search::cancel_update(cursor),
        b"EXPUNGE" if by_uid => sets::uid_expunge(cursor),
        b"REPLACE" => mailbox::replace_without_literal(cursor, by_uid),
        _ => return None,
    })
}
