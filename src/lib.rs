//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.

pub mod base;
pub mod model;
pub mod proto;
pub mod runtime;
pub mod disk;
pub mod sim;
pub mod net;
pub mod tls;
pub mod store;
pub mod mailbox;
pub mod directory;
pub mod auth;
pub mod delivery;
pub mod node;
pub mod session;
pub mod boot;
pub mod cli;
