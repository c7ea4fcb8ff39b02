//! IMAP4rev1 (RFC 3501, read with RFC 9051's clarifications): framing, commands, responses.
//!
//! Not here: what a command does (`mailbox`, `session::imap`).

pub mod types;
