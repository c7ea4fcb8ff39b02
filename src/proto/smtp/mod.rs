//! SMTP and LMTP, the server's side (RFC 5321, 2033), from the greeting to the proof that a message is durable.
//!
//! Owns the dialogue: which command may come when, what each reply says, where DATA and BDAT chunks end. It asks whether a
//! message may begin, whether a forward-path is acceptable, and for the commit at the end of data.
//!
//! LMTP differs in two things: LHLO says hello, and behind the end of data (DATA's, or BDAT's LAST) each accepted
//! recipient has a reply of its own, in the order of the RCPTs, the same forward-path twice included.
//!
//! For submission ([`Role::Submission`]) a peer says by AUTH who it is before it may send anything.
//!
//! Invariants: `250` after the end of data is built from a [`Receipt`](crate::proto::Receipt) and from nothing else; no
//! octet that came before a TLS handshake is acted on after it; the reverse- and forward-paths of an [`Envelope`] are
//! those whose commands were answered `250`; a refused chunk is read to its exact end.
//! Synchronisation points: the greeting; STARTTLS; DATA; and EHLO/HELO as long as PIPELINING was never offered, for a
//! peer that pipelines without being offered it does not read our replies (RFC 2920 §3.1). Behind any other command of
//! a HELO session further input is answered in order and not punished: nothing in it can be confused with a body.
//! QUIT answers and closes whatever lies behind it.
//! Limits: [`limits`]. Memory: LMTP's replies to one message, one [`Envelope`] of at most [`limits::RECIPIENTS_MAX`] forward-paths, one HELO name, no body.
//! Failure: every refusal is one line of the table in [`reply`].
//! Standards: RFC 5321, 2033 (LMTP), 1870 (SIZE), 2034 and 3463 (enhanced codes), 2920 (PIPELINING), 3030 (CHUNKING, BINARYMIME), 3207 (STARTTLS),
//! 3461 (DSN), 4954 (AUTH), 6409 (submission), 6152 (8BITMIME), 6531 (SMTPUTF8), 8689 (REQUIRETLS), 9422 (LIMITS).
//! LIMITATION: what DSN and REQUIRETLS ask for is checked and kept with the message ([`asked`]); nothing reports or relays yet.
//! XCLIENT (`xclient`) is taken from peers named by the operator; its synchronisation point is the new greeting.
//! Not here: which recipients exist (`session` asks the directory), the body's octets (`session` keeps them), growing delays and keeping the time (`session`).
//!
//! [`Envelope`]: crate::model::Envelope

pub mod asked;
mod auth;
mod chunking;
mod command;
mod data;
mod hello;
pub mod limits;
pub mod parameters;
mod path;
pub mod reply;
mod server;
mod transaction;
mod xclient;
pub mod xtext;

#[cfg(test)]
mod tests;

pub use command::{Command, SyntaxError};
pub use path::Path;
pub use server::{Answer, BeginVerdict, Config, Question, RecipientVerdict, Role, Smtp};
