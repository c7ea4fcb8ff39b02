//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.

pub mod auth;
pub mod base;
pub mod boot;
pub mod cli;
pub mod delivery;
pub mod directory;
pub mod disk;
pub mod mailbox;
pub mod model;
pub mod net;
pub mod node;
pub mod proto;
pub mod runtime;
pub mod session;
pub mod sim;
pub mod store;
pub mod tls;

#[cfg(test)]
mod testing;
