//! Maps whose keys are numbers of our own: accounts, mailboxes, waiters, places in the log.
//!
//! Why: a commit looks into a dozen of them, and the standard hasher, which withstands peers who choose keys, was a tenth of
//! what a commit costs its core. Nobody outside chooses these keys; each map is seeded all the same.
//! Not here: maps keyed by what a peer sent, which stay with the standard hasher.

use std::collections::HashMap;

/// A `HashMap` with a fast hash. Made by `default()`.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
