//! Open sessions of one core, and the request that they end.
//!
//! Invariants: a session is counted as long as its [`Seat`] lives, a panic included; asking to drain is not undone.

use crate::base::wait::{Notify, Waiter};
use std::cell::Cell;
use std::rc::Rc;

/// Clones are the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_asked: Cell<bool>,
    sessions: Cell<usize>,
    changed: Notify,
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
        self.0.is_asked.set(true);
        self.0.changed.notify_all();
    }

    /// True once sessions are asked to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.is_asked.get()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.0.sessions.get()
    }

    /// Signalled when sessions are asked to end (and when the last one has); look at [`Drain::is_asked`] then.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        self.0.changed.waiter()
    }

    /// Resolves when sessions are asked to end, at once if they have been already.
    pub async fn asked(&self) {
        let mut waiter = self.0.changed.waiter();
        while !self.is_asked() {
            waiter.changed().await;
        }
    }

    /// Resolves when no session is left.
    pub async fn emptied(&self) {
        let mut waiter: Waiter = self.0.changed.waiter();
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
            inner.changed.notify_all();
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
        assert_eq!(drain.asked().now_or_never(), None);
        assert_eq!(drain.emptied().now_or_never(), None);
        drain.ask();
        assert_eq!(drain.asked().now_or_never(), Some(()));
        drop(first);
        assert_eq!(drain.sessions(), 1);
        drop(second);
        assert_eq!(drain.emptied().now_or_never(), Some(()));
    }
}
