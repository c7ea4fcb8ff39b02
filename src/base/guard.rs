//! A change of shared state is whole or the process ends.
//!
//! A session may die alone, but a store whose in-memory state was changed halfway must not live on: it would acknowledge
//! things that replay will not reproduce. Recovery is the tested path, so aborting is the safe answer.

/// Aborts the process if it is dropped by a panic. Hold it over every change of store, mailbox or directory state.
#[derive(Debug)]
pub struct AbortOnUnwind(&'static str);

impl AbortOnUnwind {
    /// `what` names the change in the last message the process prints.
    #[must_use]
    pub fn over(what: &'static str) -> Self {
        Self(what)
    }
}

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "ringpost: panic while changing {}; stopping so that the log is replayed",
                self.0
            );
            std::process::abort();
        }
    }
}
