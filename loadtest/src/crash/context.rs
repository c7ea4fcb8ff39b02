//! What everybody who loads the server shares: its shape, its addresses, and the sign that it is over.

use super::server::Addresses;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every account's, in a demo.
pub const PASSWORD: &str = "ringpost";

/// The shape of a load.
#[derive(Clone, Debug)]
pub struct Shape {
    pub accounts: u64,
    pub connections: usize,
    pub size: usize,
    pub recipients: u64,
    /// The server may answer "not now": its disk is gone or full. Otherwise a refusal is a finding.
    pub may_refuse: bool,
}

/// What the users of a load share.
pub struct Context<'a> {
    pub shape: &'a Shape,
    pub addresses: Addresses,
    pub journal: &'a Path,
    pub stop: &'a AtomicBool,
}

impl Context<'_> {
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
