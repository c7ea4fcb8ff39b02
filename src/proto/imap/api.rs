//! What the core and its session say to each other: questions, answers, completions, settings.
//!
//! Invariants: one question is open at a time; each names the answers it takes; an `OK` to APPEND needs a
//! [`Receipt`](crate::proto::Receipt), because [`Refusal`] has no way to say it.
//! Not here: the wire form of a completion ([`super::encode::code`]).

use super::encode::code::Code;
use super::types::{Append, AppendMessage, Command};
use crate::model::{ModSeq, Uid, UidValidity};
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Mechanisms, Request, TokenRefusal};
use std::borrow::Cow;
use std::num::NonZeroU32;

/// Largest message APPEND accepts unless configured otherwise, in octets: what large providers take, and what
/// APPENDLIMIT (RFC 7889) announces.
pub const MESSAGE_BYTES_MAX_DEFAULT: u64 = 50 * 1024 * 1024;

/// Settings shared by every IMAP connection of a listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// Octets of the largest message APPEND takes; announced as APPENDLIMIT.
    pub message_bytes_max: u64,
    /// Offer STARTTLS on connections without TLS.
    pub is_starttls_offered: bool,
    /// SASL mechanisms; PLAIN also stands for LOGIN. Each connection is offered those that suit it.
    pub mechanisms: Mechanisms,
    /// What whose token is refused is told.
    pub token_refusal: TokenRefusal,
    /// Offer COMPRESS=DEFLATE. It saves a slow line's time, and costs the CPU of deflating, 48 KiB a connection, and what
    /// compression tells of what is compressed together with what an attacker chose (as CRIME did for TLS).
    pub is_compress_offered: bool,
    /// Take non-synchronising literals of any size (LITERAL+); else up to 4,096 octets (LITERAL-, RFC 7888 §5), which
    /// spares the server octets that it would have to read only to drop them.
    pub is_literal_plus: bool,
    /// Most messages that one command works on (MESSAGELIMIT, RFC 9738); `None`: as many as there are. A client that does
    /// not know of it sees a part of a mailbox only.
    pub message_limit: Option<NonZeroU32>,
    /// Announce QUOTASET (RFC 9208): the directory's limits can be set from here. SETQUOTA itself is always taken.
    pub is_quota_settable: bool,
    /// Capabilities not to announce, by name, in any case: for clients that a capability breaks. Hiding does not
    /// disable the command, but for UNAUTHENTICATE (RFC 8437 §8).
    pub hidden_capabilities: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_MAX_DEFAULT,
            is_starttls_offered: true,
            mechanisms: Mechanisms::PASSWORDS,
            token_refusal: TokenRefusal::default(),
            is_compress_offered: true,
            is_literal_plus: true,
            message_limit: None,
            is_quota_settable: false,
            hidden_capabilities: Vec::new(),
        }
    }
}

/// What the connection is when the core is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Channel {
    /// TLS is up already (port 993).
    pub is_tls: bool,
    /// Passwords may be sent without TLS (loopback, where the configuration allows it).
    pub is_plaintext_login_allowed: bool,
}

/// What the core cannot know. The session answers before it offers more bytes.
#[derive(Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives at a time, and commands are nearly all of them"
)]
pub enum Question {
    /// Who is this? Answered by [`Answer::Authenticated`] or [`Answer::Refused`], [`Request::Verifier`] by
    /// [`Answer::Verifier`], [`Request::Proof`] by [`Answer::Proven`].
    Authenticate(Request),
    /// Execute this; write its untagged responses; then [`Answer::Done`].
    Command(Box<Command>),
    /// Start pushing mailbox changes: [`Answer::Idling`] (the core then sends `+ idling`), or [`Answer::Done`] to refuse.
    Idle,
    /// Stop pushing: [`Answer::Done`]. If the client sent garbage instead of DONE, the core answers BAD whatever is said.
    IdleDone,
    /// May this message come? [`Answer::AppendReady`] or [`Answer::AppendRefused`]. After Ready the message comes as
    /// [`Actions::body`](crate::proto::Actions::body), exactly `Append::size` octets.
    AppendBegin(Append),
    /// May this message come too (RFC 3502)? Asked when the one before it has come whole. Answered as
    /// [`Self::AppendBegin`]; a refusal is one of all its messages: drop what was collected.
    AppendNext(AppendMessage),
    /// A further part of the message (RFC 4469): first what these URLs name, then `bytes` octets, none at its end, with NUL in them
    /// only if `is_binary`. Answered as [`Self::AppendBegin`]; a refusal is one of the whole message.
    AppendPart {
        urls: Vec<Vec<u8>>,
        bytes: u64,
        is_binary: bool,
    },
    /// The last message is complete: store them all, or none. [`Answer::Appended`] or [`Answer::AppendRefused`].
    AppendCommit,
    /// The command went wrong after its message: drop what was collected. [`Answer::AppendDropped`].
    AppendAbandon,
}

/// What the session says to the open [`Question`].
#[derive(Debug)]
pub enum Answer<R> {
    /// To [`Question::Authenticate`].
    Authenticated,
    /// To [`Question::Authenticate`].
    Refused(LoginRefusal),
    /// To [`Question::Authenticate`]: what is kept of the password, and this side's nonce.
    Verifier(Box<Verifier>, String),
    /// To [`Question::Authenticate`]: whoever has proven the password may log in.
    Proven,
    /// To [`Question::Command`], [`Question::Idle`], [`Question::IdleDone`].
    Done(Completion),
    /// To [`Question::Idle`].
    Idling,
    /// To [`Question::AppendBegin`] and [`Question::AppendNext`].
    AppendReady,
    /// To [`Question::AppendBegin`], [`Question::AppendNext`] and [`Question::AppendCommit`].
    AppendRefused(Refusal),
    /// To [`Question::AppendCommit`].
    Appended(Appended<R>),
    /// To [`Question::AppendAbandon`].
    AppendDropped,
}

/// Messages that are durable: the only way to a tagged OK for APPEND.
#[derive(Debug)]
pub struct Appended<R> {
    /// The proof.
    pub receipt: R,
    /// Where they went (UIDPLUS, RFC 4315).
    pub uid_validity: UidValidity,
    /// Under which UIDs, in the order they came.
    pub uids: Vec<Uid>,
    /// The session has told them already (RFC 8508 §3.2): the tagged OK does not.
    pub were_told: bool,
    /// How far the client is now that a message was replaced, if it must be told (RFC 7162 §3.2.9).
    pub highest_mod_seq: Option<ModSeq>,
}

/// Why a login is refused; the text is the same for every cause the peer must not tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Wrong login or password.
    AuthenticationFailed,
    /// The authentication identity may not act as the authorization identity.
    AuthorizationFailed,
    /// The directory does not answer; try again.
    Unavailable,
    /// Only over TLS.
    PrivacyRequired,
}

/// A NO (or BAD), with its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// Response code.
    pub code: Option<Code>,
    /// For people.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// `NO [code] text`
    pub fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Some(code),
            text: text.into(),
        }
    }

    /// NO, but for a message number where there are none any more (RFC 9586 §3).
    #[must_use]
    pub fn status(&self) -> Status {
        match self.code {
            Some(Code::UidRequired) => Status::Bad,
            _ => Status::No,
        }
    }
}

/// Outcome of a command (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done.
    No,
    /// Not understood.
    Bad,
}

/// How a command ended; becomes the tagged response.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// OK, NO or BAD.
    pub status: Status,
    /// Response code.
    pub code: Option<Code>,
    /// For people; line breaks and controls are replaced.
    pub text: Cow<'static, str>,
    /// What became of the connection's state.
    pub transition: Transition,
}

/// The state of the connection after a command (RFC 9051 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transition {
    /// As before.
    #[default]
    Stay,
    /// A mailbox is selected.
    Selected,
    /// No mailbox is selected any more (CLOSE, UNSELECT, a SELECT that failed).
    Unselected,
    /// Nobody is logged in any more (UNAUTHENTICATE).
    Unauthenticated,
    /// The selected mailbox is no more: say BYE after the tagged response and close.
    Deleted,
}

impl Completion {
    fn new(status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code: None,
            text: text.into(),
            transition: Transition::Stay,
        }
    }

    /// Done. Not for APPEND: see [`Appended`].
    pub fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Ok, text)
    }

    /// Not done.
    pub fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::No, text)
    }

    /// Not understood, or not now.
    pub fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::Bad, text)
    }

    /// With a response code.
    #[must_use]
    pub fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// With a change of state.
    #[must_use]
    pub fn with_transition(mut self, transition: Transition) -> Self {
        self.transition = transition;
        self
    }
}
