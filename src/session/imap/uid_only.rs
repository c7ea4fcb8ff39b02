//! UIDONLY (RFC 9586): once enabled, message numbers are refused with `BAD [UIDREQUIRED]` and never sent.
//!
//! Not here: UIDFETCH in the place of FETCH and VANISHED in that of EXPUNGE (`changes`).

use crate::proto::imap::types::{CommandBody, SearchKey};
use crate::proto::imap::{Code, Completion};

/// True for a command that names messages by number, or would be answered with numbers (RFC 9586 §3.1–3.6).
pub fn uses_numbers(body: &CommandBody) -> bool {
    match body {
        CommandBody::Fetch(fetch) => !fetch.by_uid,
        CommandBody::Store(store) => !store.by_uid,
        CommandBody::Copy { by_uid, .. } | CommandBody::Move { by_uid, .. } => !by_uid,
        CommandBody::Search(search)
        | CommandBody::MultiSearch { search, .. }
        | CommandBody::Thread { search, .. } => {
            !search.by_uid || search.keys.iter().any(SearchKey::names_numbers)
        }
        _ => false,
    }
}

/// The answer to such a command.
pub fn uid_required() -> Completion {
    Completion::bad("UIDONLY is enabled").with_code(Code::UidRequired)
}
