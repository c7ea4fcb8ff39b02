//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.

#![warn(missing_docs)]
#![allow(missing_docs)]
pub mod base;
pub mod disk;
pub mod mailbox;
pub mod model;
pub mod net;
pub mod proto;
pub mod runtime;
pub mod session;
pub mod sim;
pub mod store;
#[cfg(test)]
mod testing;
pub mod tls;
