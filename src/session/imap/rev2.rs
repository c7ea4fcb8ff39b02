//! IMAP4rev2 (RFC 9051) where it differs from IMAP4rev1: for a session that has said `ENABLE IMAP4rev2`.
//!
//! Both are announced, and a session speaks IMAP4rev1 until it enables the other. Then (RFC 9051, appendix E): SEARCH is
//! always answered by ESEARCH (`search`); `\Recent`, RECENT and the UNSEEN of SELECT are not sent, and no message counts
//! as recent (`select`, `changes`); SELECT and EXAMINE are answered with a LIST response; names of mailboxes are UTF-8 in
//! both directions (`proto::imap::types::NameForm`). What rev2 dropped (LSUB, CHECK, the RFC822 items) is still taken,
//! as RFC 9051 appendix A has it of servers that speak both.

use crate::model::MailboxName;
use crate::proto::imap::encode::mailbox::{push_list, push_old_name};
use crate::proto::imap::types::NameForm;
use crate::store::{AccountState, MailboxState};
use smallvec::SmallVec;
use std::ops::Bound;

/// Writes the LIST response of SELECT (RFC 9051 §6.3.2), with the name that the client gave if it is another.
pub fn write_selected(
    account: &AccountState,
    state: &MailboxState,
    given: &MailboxName,
    names: NameForm,
    out: &mut Vec<u8>,
) {
    let mut attributes: SmallVec<[&str; 2]> = SmallVec::new();
    attributes.push(if has_children(account, &state.name) {
        "\\HasChildren"
    } else {
        "\\HasNoChildren"
    });
    attributes.extend(state.special_use.map(|role| role.attribute()));
    push_list("LIST", &attributes, &state.name, names, out);
    if *given != state.name {
        push_old_name(given, names, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn has_children(account: &AccountState, name: &MailboxName) -> bool {
    let behind = (Bound::Excluded(name), Bound::Unbounded);
    // Octets below `/` may stand between a name and what is below it: `a`, `a b`, `a/c`.
    account
        .names
        .range::<MailboxName, _>(behind)
        .take_while(|(other, _)| other.as_str().starts_with(name.as_str()))
        .any(|(other, _)| other.is_below(name))
}
