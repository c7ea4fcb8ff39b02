//! IMAP semantics on the durable state of the store: views, sets, LIST, STATUS, SEARCH, FETCH plans.
//!
//! Invariants: nothing here waits while it looks at the store, and nothing keeps a reference into it: a session holds a
//! [`view::View`], brought up to date from durable state only (ARCHITECTURE, *Visibility*).
//! Limits: each file names its own; long computations are cut into slices, between which the caller lets others run.
//! Not here: the wire and the order of responses (`session::imap`), grammar (`proto::imap`), MIME (`proto::message`).

pub mod budget;
pub mod digests;
pub mod fuzzy;
pub mod list;
pub mod pattern;
pub mod reader;
pub mod search;
pub mod searching;
pub mod sorting;
pub mod status;
pub mod summarize;
#[cfg(test)]
mod summarize_golden;
pub mod summary;
pub mod threading;
pub mod uidl;
pub mod vanished;
pub mod view;
