//! POP3, the server's side (RFC 1939), over a snapshot of one mailbox.
//!
//! Owns the dialogue, the numbering and the deletion marks; the session owns the messages. It asks to authenticate, to
//! stream a message, and to commit the deletions.
//!
//! Invariants: message numbers never change within a session; nothing is deleted without QUIT; `+OK` to a QUIT that
//! deletes is built from a [`Receipt`](crate::proto::Receipt) and from nothing else; nothing said in plaintext survives
//! STLS; a deleted message is not shown, listed or read.
//! Synchronisation point: STLS. Input behind it is dropped and the connection closed instead of a handshake.
//! Limits: [`limits`]. Memory: a [`Maildrop`] of eight octets and one bit a message; lists are written piece by piece
//! ([`Question::Flush`]).
//! Failure: `-ERR` with the response codes of RFC 2449 and 3206.
//! Standards: RFC 1939 (without APOP, which needs passwords in clear), 2449 (CAPA), 2595 (STLS), 3206 (response codes),
//! 5034 (AUTH), 6856 (UTF8, LANG), 8314.
//! LIMITATION: a message with UTF-8 in its header is sent as it is to a client that did not say UTF8, where RFC 6856 would
//! have it converted or refused: a refusal would keep programs that know nothing of it from everything behind the message.
//! Not here: who may log in (`directory`), the octets of a message (`session` sends them through [`DotStuffer`]),
//! delays after failed logins (`session`).

mod authorization;
mod command;
mod language;
pub mod limits;
mod listing;
mod maildrop;
mod reply;
mod server;
mod stuffing;
mod transaction;

#[cfg(test)]
mod tests;

pub use command::{Command, SyntaxError};
pub use language::Language;
pub use maildrop::{Maildrop, MaildropEntry, Retention};
pub use reply::{CommitRefusal, LoginRefusal, RetrieveRefusal};
pub use server::{Answer, Config, Pop3, Question};
pub use stuffing::{DotStuffer, OctetCount, octets_as_sent};
