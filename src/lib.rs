//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.

#![warn(missing_docs)]
#![allow(missing_docs)]
pub mod base;
pub mod disk;
pub mod model;
pub mod net;
pub mod proto;
pub mod runtime;
pub mod sim;
pub mod store;
