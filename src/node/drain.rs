//! Open sessions of one core, and the request that they end.
//!
//! Invariants: a session is counted as long as its [`Seat`] lives, a panic included; asking to drain is not undone.

use crate::base::wait::Notify;
use super::shutdown::Shutdown;
use std::cell::Cell;
use std::rc::Rc;

/// Clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shutdown: Shutdown,
    sessions: Cell<usize>,
    emptied: Notify,
}

/// One open session.
#[derive(Debug)]
pub struct Seat(Drain);

impl Drain {
    /// Nobody is here and nobody is asked to go.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a session in, for as long as the seat lives.
    #[must_use]
    pub fn seat(&self) -> Seat {
        self.0.sessions.set(self.0.sessions.get() + 1);
        Seat(self.clone())
    }

    /// Asks every session to end.
    pub fn ask(&self) {
        self.0.shutdown.begin();
    }

    /// True once sessions are asked to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.shutdown.has_begun()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.get()
    }

    /// What sessions listen to.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.0.shutdown
    }

    /// Resolves when no session is left.
    pub async fn emptied(&self) {
        let mut waiter = self.0.emptied.waiter();
        while self.sessions() > 0 {
            waiter.changed().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.sessions.set(inner.sessions.get() - 1);
        if inner.sessions.get() == 0 {
            inner.emptied.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn sessions_are_counted_and_told() {
        let drain = Drain::new();
        let first = drain.seat();
        let second = drain.seat();
        assert!(!drain.is_asked());
        assert_eq!(drain.emptied().now_or_never(), None);
        drain.ask();
        assert!(drain.is_asked() && drain.shutdown().has_begun());
        drop(first);
        assert_eq!(drain.sessions(), 1);
        drop(second);
        assert_eq!(drain.emptied().now_or_never(), Some(()));
    }
}
