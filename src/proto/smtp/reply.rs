//! Every reply the server gives, in one place (RFC 5321 §4.2, enhanced codes of RFC 3463).
//!
//! Invariants: a reply ends in CRLF and holds none before; the reply that says a message is queued is built from a
//! [`Receipt`]; a refusal has one code, here.
//! Replies to EHLO, HELO, LHLO and the greeting carry no enhanced code (RFC 2034 §4).

use crate::proto::Receipt;
use std::borrow::Cow;
use std::io::Write as _;

/// A whole reply line.
pub type Reply = &'static [u8];

/// Longest text of a refusal by policy, octets: the reply line stays under the 512 of RFC 5321 §4.5.3.1.5.
pub const POLICY_TEXT_BYTES_MAX: usize = 400;

pub(super) const OK: Reply = b"250 2.0.0 Ok\r\n";
pub(super) const SENDER_OK: Reply = b"250 2.1.0 Ok\r\n";
pub(super) const RECIPIENT_OK: Reply = b"250 2.1.5 Ok\r\n";
pub(super) const BYE: Reply = b"221 2.0.0 Bye\r\n";
pub(super) const HELP: Reply = b"214 2.0.0 See RFC 5321\r\n";
pub(super) const READY_FOR_TLS: Reply = b"220 2.0.0 Ready to start TLS\r\n";
pub(super) const SEND_DATA: Reply = b"354 End data with <CR><LF>.<CR><LF>\r\n";
pub(super) const CANNOT_VERIFY: Reply = b"252 2.5.0 Cannot verify, send mail to find out\r\n";

pub(super) const UNKNOWN_COMMAND: Reply = b"500 5.5.2 Command not recognized\r\n";
pub(super) const LINE_TOO_LONG: Reply = b"500 5.5.2 Line too long\r\n";
pub(super) const BAD_OCTETS: Reply = b"501 5.5.2 Command holds NUL, bare CR or bare LF\r\n";
pub(super) const NOT_IMPLEMENTED: Reply = b"502 5.5.1 Command not implemented\r\n";
pub(super) const BAD_ARGUMENTS: Reply = b"501 5.5.4 Syntax error in arguments\r\n";
pub(super) const BAD_HELLO: Reply = b"501 5.5.4 Your host name is needed\r\n";
pub(super) const BAD_CHUNK_SIZE: Reply = b"501 5.5.4 Chunk size unknown, closing\r\n";
pub(super) const HELLO_FIRST: Reply = b"503 5.5.1 Send EHLO or HELO first\r\n";
pub(super) const LHLO_FIRST: Reply = b"503 5.5.1 Send LHLO first\r\n";
pub(super) const NESTED_MAIL: Reply = b"503 5.5.1 Nested MAIL command\r\n";
pub(super) const MAIL_FIRST: Reply = b"503 5.5.1 Send MAIL first\r\n";
pub(super) const NO_RECIPIENTS: Reply = b"503 5.5.1 No valid recipients\r\n";
pub(super) const MIXED_CHUNKS: Reply = b"503 5.5.1 BDAT under way\r\n";
pub(super) const BINARY_NEEDS_CHUNKS: Reply = b"503 5.5.1 BODY=BINARYMIME needs BDAT\r\n";
pub(super) const ALREADY_TLS: Reply = b"503 5.5.1 TLS is already active\r\n";
pub(super) const NO_TLS: Reply = b"502 5.5.1 STARTTLS not offered\r\n";
pub(super) const BAD_SENDER: Reply = b"501 5.1.7 Bad sender address syntax\r\n";
pub(super) const BAD_RECIPIENT: Reply = b"501 5.1.3 Bad recipient address syntax\r\n";
pub(super) const NEEDS_SMTPUTF8: Reply = b"553 5.6.7 Address needs SMTPUTF8 and valid UTF-8\r\n";
pub(super) const UNKNOWN_PARAMETER: Reply = b"555 5.5.4 Parameter not recognized\r\n";
pub(super) const BAD_PARAMETER: Reply = b"501 5.5.4 Bad parameter value\r\n";
pub(super) const TOO_BIG: Reply = b"552 5.3.4 Message size exceeds limit\r\n";
pub(super) const TOO_MANY_RECIPIENTS: Reply = b"452 4.5.3 Too many recipients\r\n";
pub(super) const BARE_LINE_END: Reply = b"550 5.5.2 Message holds a bare CR or bare LF\r\n";
pub(super) const TEXT_LINE_TOO_LONG: Reply = b"500 5.5.2 Message line too long\r\n";

pub(super) const AUTHENTICATED: Reply = b"235 2.7.0 Authentication successful\r\n";
pub(super) const AUTH_FIRST: Reply = b"530 5.7.0 Authentication required\r\n";
pub(super) const STARTTLS_FIRST: Reply = b"530 5.7.0 Must issue a STARTTLS command first\r\n";
pub(super) const AUTH_NEEDS_TLS: Reply = b"538 5.7.11 Encryption required for this mechanism\r\n";
pub(super) const AUTH_NOT_NOW: Reply = b"503 5.5.1 AUTH is not allowed now\r\n";
pub(super) const NO_MECHANISM: Reply = b"504 5.5.4 Mechanism not offered\r\n";
pub(super) const BAD_RESPONSE: Reply = b"501 5.5.2 Bad SASL response\r\n";
pub(super) const AUTH_CANCELLED: Reply = b"501 5.7.0 Authentication cancelled\r\n";
pub(super) const TOO_MANY_FAILURES: Reply = b"421 4.7.0 Too many failed logins\r\n";

pub(super) const XCLIENT_DENIED: Reply = b"550 5.7.0 XCLIENT is not for you\r\n";

pub(super) const TALKED_EARLY: Reply = b"554 5.5.1 Protocol error: input before it was asked for\r\n";
pub(super) const INPUT_BEHIND_STARTTLS: Reply = b"501 5.5.4 Input behind STARTTLS\r\n";
pub(super) const NO_HTTP: Reply = b"421 4.7.0 This is no web server\r\n";
pub(super) const TOO_MANY_ERRORS: Reply = b"421 4.7.0 Too many errors\r\n";
pub(super) const TOO_MANY_UNKNOWN: Reply = b"421 4.7.0 Too many unknown recipients\r\n";
pub(super) const TOO_MANY_IDLE: Reply = b"421 4.7.0 Too many commands without a message\r\n";
pub(super) const TIMED_OUT: Reply = b"421 4.4.2 Timeout\r\n";
pub(super) const SHUTTING_DOWN: Reply = b"421 4.3.2 Service shutting down\r\n";
pub(super) const REVOKED: Reply = b"421 4.7.0 This account may not send any more\r\n";
pub(super) const CONFUSED: Reply = b"421 4.3.0 Internal error\r\n";

/// Why a submitter is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthRefusal {
    /// Wrong name, wrong password, or not for this protocol: told alike.
    Credentials,
    /// It cannot be known now.
    Temporary,
}

/// Why a message may not even begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeginRefusal {
    /// The store has no room for a message of this size.
    NoSpace,
    /// The store takes no commits at present.
    Failed,
    /// The reverse-path is not the submitter's.
    NotOwned,
    /// The submitter has sent as many messages as it may for now.
    TooMany,
}

/// Why a forward-path is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientRefusal {
    /// The domain is ours, the local part is nobody's.
    UnknownUser,
    /// The domain is not ours and the peer may not relay.
    RelayDenied,
    /// The account takes no mail.
    Disabled,
    /// The account has no room now.
    OverQuota,
    /// The account would have no room if it were empty.
    BeyondQuota,
    /// It cannot be known now.
    Temporary,
    /// The domain is not ours, and mail for others is not sent on from here.
    NotSentOn,
    /// The same, and it may be later.
    NotSentOnYet,
    /// The submitter has had as many recipients as it may for now.
    TooMany,
    /// The transaction reaches as many accounts as it may: the rest goes in another one.
    Full,
}

/// Why a message whose end was reached is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitRefusal {
    /// The store has no room.
    NoSpace,
    /// The commit failed, or nobody knows whether it did.
    Failed,
    /// No recipient has room now.
    OverQuota,
    /// No recipient would have room if it were empty.
    BeyondQuota,
    /// Too many trace fields (RFC 5321 §6.3).
    Loop,
    /// It says that it was delivered to the recipient before (RFC 9228 §4).
    DeliveredBefore,
    /// The recipient has gone since RCPT.
    UnknownUser,
    /// More than one From field (RFC 5322 §3.6): readers and filters would disagree about whom it is from.
    ManyFrom,
    /// Larger than allowed, found out at the end.
    TooBig,
    /// The submitter has sent as much as it may, for now.
    TooMany,
    /// Refused for good by policy.
    Rejected {
        /// Enhanced status code of class 5: subject and detail, such as `(7, 1)`.
        status: (u16, u16),
        /// For the sender's human; control characters and octets beyond ASCII are replaced.
        text: Cow<'static, str>,
    },
}

impl AuthRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Credentials => b"535 5.7.8 Authentication credentials invalid\r\n",
            Self::Temporary => b"454 4.7.0 Temporary authentication failure\r\n",
        }
    }
}

impl BeginRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::NoSpace => NO_SPACE,
            Self::Failed => FAILED,
            Self::NotOwned => b"550 5.7.1 Sender address is not yours\r\n",
            Self::TooMany => TOO_MANY_FOR_NOW,
        }
    }
}

impl RecipientRefusal {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::UnknownUser => NO_SUCH_USER,
            Self::RelayDenied => b"554 5.7.1 Relay access denied\r\n",
            Self::Disabled => b"550 5.2.1 Mailbox disabled\r\n",
            Self::OverQuota => OVER_QUOTA,
            Self::BeyondQuota => BEYOND_QUOTA,
            Self::Temporary => FAILED,
            Self::NotSentOn => b"550 5.7.1 Mail for other sites is not sent from here\r\n",
            Self::NotSentOnYet => b"451 4.7.1 Mail for other sites is not sent from here yet\r\n",
            Self::TooMany => TOO_MANY_FOR_NOW,
            Self::Full => TOO_MANY_RECIPIENTS,
        }
    }
}

impl CommitRefusal {
    pub(super) fn write(&self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(match self {
            Self::NoSpace => NO_SPACE,
            Self::Failed => FAILED,
            Self::OverQuota => OVER_QUOTA,
            Self::BeyondQuota => BEYOND_QUOTA,
            Self::Loop => b"554 5.4.6 Too many hops, this message goes in circles\r\n",
            Self::DeliveredBefore => b"554 5.4.6 Mail loop: it was delivered to this address before\r\n",
            Self::UnknownUser => NO_SUCH_USER,
            Self::ManyFrom => b"550 5.6.0 More than one From field\r\n",
            Self::TooBig => TOO_BIG,
            Self::TooMany => TOO_MANY_FOR_NOW,
            Self::Rejected { status, text } => return write_policy(*status, text, wire),
        });
    }
}

const TOO_MANY_FOR_NOW: Reply = b"450 4.7.1 Too much mail from this account, try again later\r\n";
const NO_SPACE: Reply = b"452 4.3.1 Insufficient system storage\r\n";
const FAILED: Reply = b"451 4.3.0 Temporary failure, try again later\r\n";
const OVER_QUOTA: Reply = b"452 4.2.2 Mailbox full\r\n";
const BEYOND_QUOTA: Reply = b"552 5.2.2 Message is larger than the mailbox may ever be\r\n";
const NO_SUCH_USER: Reply = b"550 5.1.1 No such user here\r\n";

fn write_policy((subject, detail): (u16, u16), text: &str, wire: &mut Vec<u8>) {
    put(wire, format_args!("550 5.{subject}.{detail} "));
    let printable = |octet: u8| if matches!(octet, b' '..=b'~') { octet } else { b'?' };
    wire.extend(text.bytes().take(POLICY_TEXT_BYTES_MAX).map(printable));
    wire.extend_from_slice(b"\r\n");
}

/// The one reply that promises a message is safe.
pub(super) fn queued<R: Receipt>(receipt: &R, wire: &mut Vec<u8>) {
    put(wire, format_args!("250 2.0.0 Ok: queued as {}\r\n", receipt.id()));
}

/// The answer to a chunk that is not the last.
pub(super) fn chunk_taken(bytes: u64, wire: &mut Vec<u8>) {
    put(wire, format_args!("250 2.0.0 Ok: {bytes} octets\r\n"));
}

pub(super) fn put(wire: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    wire.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_text_cannot_break_the_reply_line() {
        let mut wire = Vec::new();
        let refusal = CommitRefusal::Rejected {
            status: (7, 1),
            text: format!("no\r\n250 ok ü {}", "x".repeat(600)).into(),
        };
        refusal.write(&mut wire);
        assert!(wire.starts_with(b"550 5.7.1 no??250 ok ?? xxx"));
        assert!(wire.len() <= 512 && wire.ends_with(b"x\r\n"));
        assert_eq!(wire.iter().filter(|octet| **octet == b'\n').count(), 1);
    }
}
