//! IMAP4rev1 (RFC 3501, read with RFC 9051's clarifications) and IMAP4rev2 (RFC 9051): framing, commands, responses, and the protocol core.
//!
//! [`Imap`] is the core: bytes in, actions and questions out (the contract is in [`crate::proto`]). [`Command`] is what
//! a session executes; [`encode`] is what it writes untagged responses with.
//!
//! A session's loop. The core keeps what it needs of its input, so a slice is never offered twice as a whole; with its
//! questions answered it always takes something, and only a full `wire` makes it stop short.
//!
//! ```text
//! perform: keep input[body ranges], send wire, then
//!     synchronise -> handle(Early if the peer has sent more, else Quiet), perform
//!     start_tls   -> handshake, handle(TlsReady)
//!     question    -> handle(Answer(…)), perform
//!     close       -> send what is left, close
//! handle(Opened), perform
//! for each slice received: until it is empty: taken = handle(Bytes(slice)), perform, slice = slice[taken..]
//! ```
//!
//! Where this and `session::imap` knowingly differ from the RFCs, or choose within them: DEVIATIONS.md beside this file.
//!
//! Not here: what a command does (`mailbox`, `session::imap`), SASL mechanisms beyond PLAIN and LOGIN.
//!
//! [`Command`]: types::Command

pub mod api;
mod append;
pub mod capability;
mod catenate;
pub mod core;
pub mod dates;
mod dialogue;
pub mod encode;
pub mod framing;
pub mod input;
mod login;
pub mod parse;
pub mod sequence;
pub mod types;
pub mod url;
pub mod utf7;

#[cfg(test)]
mod tests;

pub use self::core::Imap;
pub use api::{
    Answer, Appended, Channel, Completion, Config, LoginRefusal, Question, Refusal, Status, Transition,
};
pub use dialogue::MAILBOX_DELETED;
pub use encode::code::Code;
