//! What a message looks like from outside: its MIME structure, IMAP's digests of it, its sections and searchable text,
//! and the trace fields Ringpost puts in front of it.
//!
//! Everything here is pure: octets in, values or octets out. No I/O, no clock, no panics on any input.
//!
//! Invariants: every range lies inside the message it was made from; a part's ranges lie inside its parent's body;
//! time is linear in the message, memory is bounded by the named limits; a message is never changed, only described.
//!
//! Why a scanner of our own beside mail-parser: IMAP needs octet-exact ranges of every part, also of broken ones, and a
//! bound on nesting. mail-parser 0.11 searches for delimiters anywhere in a line, falls back to decoded copies, nests
//! `message/rfc822` without a limit (each level an owned message, dropped recursively) and merges RFC 2231
//! continuations in quadratic time. So the structure is scanned here, in one pass with a depth limit, and mail-parser
//! decodes what the scan delimits: charsets, base64 and quoted-printable, each fed one bounded piece at a time.
//!
//! Standards: RFC 2045–2047, 2183 and 2231 (MIME), 5322 (header), 3501 §6.4.5 and 9051 §7.5.2 (IMAP's view), 3516 (BINARY),
//! 5321 §4.4 (trace fields).
//! Not here: which message is meant and when it is read (`mailbox`), how FETCH and SEARCH are answered (`session::imap`).

pub mod address;
pub mod binary;
pub mod bodystructure;
pub mod casemap;
pub mod continuations;
pub mod date;
pub mod envelope;
pub mod header;
pub mod html;
pub mod mime;
pub mod nstring;
pub mod parameter;
pub mod preview;
pub mod references;
pub mod search;
pub mod section;
pub mod structure;
pub mod subject;
pub mod trace;
pub mod transfer;
pub mod words;

#[cfg(test)]
mod tests;
