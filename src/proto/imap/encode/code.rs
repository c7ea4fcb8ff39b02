//! Response codes and the lines that carry them: tagged responses, untagged OK, NO, BAD, BYE.
//!
//! Standards: RFC 9051 §7.1, RFC 5530, 4315 (APPENDUID, COPYUID), 7162 (MODIFIED, HIGHESTMODSEQ), 8474 (MAILBOXID),
//! 5182 (NOTSAVED), 3516 (UNKNOWN-CTE), 6154 (USEATTR), 9738 (MESSAGELIMIT).

use super::{push_number, push_number_set, push_text};
use crate::model::{Flags, Keyword, MailboxId, ModSeq, SeqNum, Uid, UidValidity};
use crate::proto::imap::api::{Completion, Status};
use std::num::NonZeroU32;

/// A response code, without its brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Code {
    Alert,
    AlreadyExists,
    AppendUid {
        uid_validity: UidValidity,
        uids: Vec<Uid>,
    },
    AuthenticationFailed,
    AuthorizationFailed,
    /// Charsets that are known instead.
    BadCharset(&'static [&'static str]),
    /// RFC 5465 §3.1: events that are known instead.
    BadEvent(&'static [&'static str]),
    /// RFC 4469 §4.1: the URL as it was given.
    BadUrl(Vec<u8>),
    Cannot,
    /// `CAPABILITY …` as [`crate::proto::imap::capability::push`] writes it.
    Capability(Vec<u8>),
    ClientBug,
    /// RFC 7162 §3.2.11: the mailbox selected before is closed.
    Closed,
    /// RFC 4978 §3.
    CompressionActive,
    ContactAdmin,
    /// UIDs in the order of the copies: the n-th of `source` became the n-th of `copies`.
    CopyUid {
        uid_validity: UidValidity,
        source: Vec<Uid>,
        copies: Vec<Uid>,
    },
    Corruption,
    ExpungeIssued,
    HasChildren,
    HighestModSeq(ModSeq),
    /// RFC 9585: how many of how many are done, for the command of this tag.
    InProgress {
        tag: Vec<u8>,
        done: u32,
        goal: u32,
    },
    InUse,
    Limit,
    MailboxId(MailboxId),
    /// RFC 9738 §3.1: the limit, and the lowest UID that the command got to.
    MessageLimit {
        limit: NonZeroU32,
        lowest: Option<Uid>,
    },
    /// RFC 5464 §4.2.1: the longest value that was left out, octets.
    MetadataLongEntries(u64),
    /// RFC 5464 §4.3: the longest value there may be, octets.
    MetadataMaxSize(u64),
    /// RFC 5464 §4.3.
    MetadataTooMany,
    /// RFC 7162 §3.1.3: sequence numbers, or UIDs for UID STORE.
    Modified(Vec<u32>),
    NoModSeq,
    /// RFC 5267 §4.3.1: the search of this tag is not updated.
    NoUpdate(Vec<u8>),
    NoPerm,
    NonExistent,
    /// RFC 5182 §2.1.
    NotSaved,
    /// RFC 5465 §5.8.
    NotificationOverflow,
    OverQuota,
    Parse,
    PermanentFlags {
        flags: Flags,
        keywords: Vec<Keyword>,
        /// `\*`: new keywords may be made.
        may_create: bool,
    },
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    TooBig,
    TryCreate,
    UidNext(u32),
    /// RFC 9586 §3: no message numbers any more.
    UidRequired,
    UidValidity(UidValidity),
    Unavailable,
    UnknownCte,
    /// The first message without `\Seen` (RFC 3501 only).
    Unseen(SeqNum),
    UseAttr,
    /// Anything else, as it stands between the brackets; `]` and controls in it are replaced.
    Other(Vec<u8>),
}

/// Appends `[code]`.
pub fn push_code(code: &Code, out: &mut Vec<u8>) {
    out.push(b'[');
    match code {
        Code::AppendUid { uid_validity, uids } => {
            push_named_number(b"APPENDUID", u64::from(uid_validity.0), out);
            out.push(b' ');
            push_number_set(uids.iter().map(|uid| uid.value()), out);
        }
        Code::CopyUid {
            uid_validity,
            source,
            copies,
        } => {
            push_named_number(b"COPYUID", u64::from(uid_validity.0), out);
            push_uid_sets(source, copies, out);
        }
        Code::BadCharset(known) => {
            out.extend_from_slice(b"BADCHARSET (");
            out.extend_from_slice(known.join(" ").as_bytes());
            out.push(b')');
        }
        Code::BadEvent(known) => {
            out.extend_from_slice(b"BADEVENT (");
            out.extend_from_slice(known.join(" ").as_bytes());
            out.push(b')');
        }
        Code::Capability(list) => out.extend_from_slice(list),
        Code::HighestModSeq(mod_seq) => push_named_number(b"HIGHESTMODSEQ", mod_seq.0, out),
        Code::InProgress { tag, done, goal } => {
            out.extend_from_slice(b"INPROGRESS (");
            super::push_string(tag, out);
            out.push(b' ');
            push_number(u64::from(*done), out);
            out.push(b' ');
            push_number(u64::from(*goal), out);
            out.push(b')');
        }
        Code::MailboxId(id) => {
            out.extend_from_slice(b"MAILBOXID (");
            super::mailbox::push_mailbox_id(*id, out);
            out.push(b')');
        }
        Code::MessageLimit { limit, lowest } => {
            push_named_number(b"MESSAGELIMIT", u64::from(limit.get()), out);
            if let Some(uid) = lowest {
                out.push(b' ');
                push_number(u64::from(uid.value()), out);
            }
        }
        Code::MetadataLongEntries(octets) => push_named_number(b"METADATA LONGENTRIES", *octets, out),
        Code::MetadataMaxSize(octets) => push_named_number(b"METADATA MAXSIZE", *octets, out),
        Code::Modified(numbers) => {
            out.extend_from_slice(b"MODIFIED ");
            push_number_set(numbers.iter().copied(), out);
        }
        Code::NoUpdate(tag) => {
            out.extend_from_slice(b"NOUPDATE ");
            super::push_string(tag, out);
        }
        Code::PermanentFlags {
            flags,
            keywords,
            may_create,
        } => {
            out.extend_from_slice(b"PERMANENTFLAGS ");
            let extra: &[&str] = if *may_create { &["\\*"] } else { &[] };
            super::message::push_flags(*flags, keywords, extra, out);
        }
        Code::UidNext(uid) => push_named_number(b"UIDNEXT", u64::from(*uid), out),
        Code::UidValidity(value) => push_named_number(b"UIDVALIDITY", u64::from(value.0), out),
        Code::Unseen(number) => push_named_number(b"UNSEEN", u64::from(number.value()), out),
        Code::BadUrl(url) => {
            out.extend_from_slice(b"BADURL ");
            push_code_text(url, out);
        }
        Code::Other(text) => push_code_text(text, out),
        plain => out.extend_from_slice(plain_name(plain).as_bytes()),
    }
    out.push(b']');
}

fn push_code_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend(text.iter().map(|b| {
        if b.is_ascii_control() || !b.is_ascii() || *b == b']' {
            b'?'
        } else {
            *b
        }
    }));
}

fn plain_name(code: &Code) -> &'static str {
    match code {
        Code::Alert => "ALERT",
        Code::AlreadyExists => "ALREADYEXISTS",
        Code::AuthenticationFailed => "AUTHENTICATIONFAILED",
        Code::AuthorizationFailed => "AUTHORIZATIONFAILED",
        Code::Cannot => "CANNOT",
        Code::ClientBug => "CLIENTBUG",
        Code::Closed => "CLOSED",
        Code::CompressionActive => "COMPRESSIONACTIVE",
        Code::ContactAdmin => "CONTACTADMIN",
        Code::Corruption => "CORRUPTION",
        Code::ExpungeIssued => "EXPUNGEISSUED",
        Code::HasChildren => "HASCHILDREN",
        Code::InUse => "INUSE",
        Code::Limit => "LIMIT",
        Code::MetadataTooMany => "METADATA TOOMANY",
        Code::NoModSeq => "NOMODSEQ",
        Code::NoPerm => "NOPERM",
        Code::NonExistent => "NONEXISTENT",
        Code::NotSaved => "NOTSAVED",
        Code::NotificationOverflow => "NOTIFICATIONOVERFLOW",
        Code::OverQuota => "OVERQUOTA",
        Code::Parse => "PARSE",
        Code::PrivacyRequired => "PRIVACYREQUIRED",
        Code::ReadOnly => "READ-ONLY",
        Code::ReadWrite => "READ-WRITE",
        Code::ServerBug => "SERVERBUG",
        Code::TooBig => "TOOBIG",
        Code::TryCreate => "TRYCREATE",
        Code::UidRequired => "UIDREQUIRED",
        Code::Unavailable => "UNAVAILABLE",
        Code::UnknownCte => "UNKNOWN-CTE",
        Code::UseAttr => "USEATTR",
        Code::AppendUid { .. }
        | Code::BadCharset(_)
        | Code::BadEvent(_)
        | Code::BadUrl(_)
        | Code::Capability(_)
        | Code::CopyUid { .. }
        | Code::HighestModSeq(_)
        | Code::InProgress { .. }
        | Code::MailboxId(_)
        | Code::MessageLimit { .. }
        | Code::MetadataLongEntries(_)
        | Code::MetadataMaxSize(_)
        | Code::Modified(_)
        | Code::NoUpdate(_)
        | Code::PermanentFlags { .. }
        | Code::UidNext(_)
        | Code::UidValidity(_)
        | Code::Unseen(_)
        | Code::Other(_) => "",
    }
}

fn push_named_number(name: &[u8], value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.push(b' ');
    push_number(value, out);
}

fn push_uid_sets(source: &[Uid], copies: &[Uid], out: &mut Vec<u8>) {
    for set in [source, copies] {
        out.push(b' ');
        push_number_set(set.iter().map(|uid| uid.value()), out);
    }
}

impl Status {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Ok => b"OK",
            Self::No => b"NO",
            Self::Bad => b"BAD",
        }
    }
}

/// Appends `tag STATUS [code] text` CRLF; the tag is `*` for an untagged one.
pub fn push_status_line(tag: &[u8], status: Status, code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    push_line(tag, status.word(), code, text, out);
}

/// Appends a completion as its tagged response, CRLF included.
pub fn push_completion_line(tag: &[u8], completion: &Completion, out: &mut Vec<u8>) {
    push_status_line(
        tag,
        completion.status,
        completion.code.as_ref(),
        &completion.text,
        out,
    );
}

/// Appends `* BYE [code] text` CRLF.
pub fn push_bye_line(code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    push_line(b"*", b"BYE", code, text, out);
}

fn push_line(tag: &[u8], word: &[u8], code: Option<&Code>, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(tag);
    out.push(b' ');
    out.extend_from_slice(word);
    out.push(b' ');
    if let Some(code) = code {
        push_code(code, out);
        out.push(b' ');
    }
    push_text(text, out);
    out.extend_from_slice(b"\r\n");
}
