//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.

#![warn(missing_docs)]
#![allow(missing_docs)]
pub mod auth;
pub mod base;
pub mod delivery;
pub mod directory;
pub mod disk;
pub mod model;
pub mod net;
pub mod proto;
pub mod runtime;
pub mod store;
pub mod tls;
