//! Sessions: each joins one protocol core, one connection and the services it needs.
//!
//! Invariants: what a protocol may do is decided by its core; a session only feeds it, answers its questions and sends
//! what it says; nothing of the store is borrowed over a wait.
//! Not here: accepting connections and the limits on them (`net`, `boot`).

pub mod imap;
pub mod input;
pub mod pipe;
pub mod shutdown;
