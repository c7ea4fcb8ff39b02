//! Ringpost: a whole mail server in one binary, one io_uring executor per core, over a log-structured message store.
//!
//! The modules, each of which may use only those above it:
//!
//! | module | owns |
//! |---|---|
//! | [`base`] | checksums, clocks, local waiting, receive buffers, short texts |
//! | [`model`] | the nouns of mail: addresses, envelopes, flags, mailbox names, UIDs, positions in the log |
//! | [`proto`] | SMTP, POP3, IMAP, SASL and messages as state machines and parsers without I/O |
//! | [`runtime`] | executors, timers, requests between cores, the control thread, the probe of the kernel |
//! | [`disk`] | what the store needs of a disk, and the real one; the lock on the data directory |
//! | [`sim`] | a simulated disk that loses power |
//! | [`tls`], [`net`] | rustls over our own buffers; connections and listeners |
//! | [`store`] | the log: segments, records, group commit, durable state, recovery |
//! | [`mailbox`] | IMAP's meaning on the store: views, searching, listing |
//! | [`exchange`] | one account's mail as Maildir or mbox, out of a store and into one |
//! | [`directory`], [`auth`] | who is here; who they say they are |
//! | [`discovery`] | what mail programs and senders ask a domain: autoconfiguration, MTA-STS |
//! | [`acme`] | certificates from an issuer |
//! | [`delivery`] | an accepted message to the cores that own its recipients |
//! | [`node`] | what all sessions of one core share |
//! | [`session`] | one protocol, one connection and the services, joined |
//! | [`config`] | the configuration file and the declaration of its options |
//! | [`admin`] | HTTP: health, metrics, pages; orders to the running server |
//! | [`doctor`] | what this machine is like, and what is advised |
//! | [`cli`], [`boot`] | the command line; start and ordered stop |
//!
//! glommio is named in `runtime`, `net`, `disk::file` and its `disk::scribe` only.

pub mod acme;
pub mod admin;
pub mod auth;
pub mod base;
pub mod boot;
pub mod cli;
pub mod config;
pub mod delivery;
pub mod directory;
pub mod discovery;
pub mod disk;
pub mod doctor;
pub mod exchange;
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
