//! Every fixed reply of the POP3 server, with the response codes of RFC 2449 §8 and RFC 3206.

use std::io::Write as _;

/// A whole reply line.
pub(super) type Reply = &'static [u8];

pub(super) const GREETING: Reply = b"+OK Ringpost ready\r\n";
pub(super) const OK: Reply = b"+OK\r\n";
pub(super) const BYE: Reply = b"+OK Bye\r\n";
pub(super) const SEND_PASS: Reply = b"+OK Send PASS\r\n";
pub(super) const CONTINUE: Reply = b"+ \r\n";
pub(super) const BEGIN_TLS: Reply = b"+OK Begin TLS negotiation\r\n";
pub(super) const MARKED: Reply = b"+OK Marked to be deleted\r\n";
pub(super) const TOP_FOLLOWS: Reply = b"+OK Top of message follows\r\n";
pub(super) const LIST_END: Reply = b".\r\n";

pub(super) const LINE_TOO_LONG: Reply = b"-ERR Line too long\r\n";
pub(super) const BAD_OCTETS: Reply = b"-ERR Command holds NUL, bare CR or bare LF\r\n";
pub(super) const UNKNOWN_COMMAND: Reply = b"-ERR Unknown command\r\n";
pub(super) const BAD_ARGUMENTS: Reply = b"-ERR Bad arguments\r\n";
pub(super) const NO_SUCH_MESSAGE: Reply = b"-ERR No such message\r\n";
pub(super) const NOT_NOW: Reply = b"-ERR Not valid in this state\r\n";
pub(super) const USER_FIRST: Reply = b"-ERR Send USER first\r\n";
pub(super) const NEEDS_TLS: Reply = b"-ERR Plaintext login needs TLS, use STLS\r\n";
pub(super) const NO_TLS: Reply = b"-ERR TLS not offered\r\n";
pub(super) const ALREADY_TLS: Reply = b"-ERR TLS is already active\r\n";
pub(super) const NO_MECHANISM: Reply = b"-ERR Mechanism not offered\r\n";
pub(super) const BAD_RESPONSE: Reply = b"-ERR Bad SASL response\r\n";
pub(super) const CANCELLED: Reply = b"-ERR Authentication cancelled\r\n";
pub(super) const NO_HTTP: Reply = b"-ERR This is no web server\r\n";
pub(super) const TOO_MANY_ERRORS: Reply = b"-ERR Too many errors\r\n";
pub(super) const TOO_MANY_FAILURES: Reply = b"-ERR [AUTH] Too many failed logins\r\n";
pub(super) const TIMED_OUT: Reply = b"-ERR Idle for too long\r\n";
pub(super) const SHUTTING_DOWN: Reply = b"-ERR [SYS/TEMP] Server shutting down\r\n";
pub(super) const CONFUSED: Reply = b"-ERR [SYS/TEMP] Internal error\r\n";

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Wrong name or password, told alike.
    Credentials,
    /// Right, but this account may not use POP3.
    Disabled,
    /// The maildrop is locked by another session.
    InUse,
    /// It cannot be known now.
    Temporary,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetrieveRefusal {
    /// Expunged by another session since login.
    Gone,
    /// It cannot be read now.
    Temporary,
}

/// Why deletions are not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitRefusal {
    /// The commit failed, or nobody knows whether it did.
    Failed,
}

impl LoginRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Credentials => b"-ERR [AUTH] Login failed\r\n",
            Self::Disabled => b"-ERR [AUTH] Not allowed for this account\r\n",
            Self::InUse => b"-ERR [IN-USE] Maildrop is in use\r\n",
            Self::Temporary => b"-ERR [SYS/TEMP] Try again later\r\n",
        }
    }
}

impl RetrieveRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Gone => b"-ERR Message is gone\r\n",
            Self::Temporary => b"-ERR [SYS/TEMP] Message cannot be read now\r\n",
        }
    }
}

impl CommitRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Failed => b"-ERR [SYS/TEMP] Messages were not deleted\r\n",
        }
    }
}

pub(super) fn put(wire: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    wire.write_fmt(text).expect("writing to memory does not fail");
}
