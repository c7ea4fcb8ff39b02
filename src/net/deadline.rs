//! The one deadline of a connection and its one timer.
//!
//! Invariants: setting a deadline stores a moment and touches no timer; a timer exists only once a wait was pending under a
//! deadline, and is armed anew only when it fired too early or stands too late. A session that moves its deadline with each
//! command so costs one timer per deadline length, not one per command.
//! Not here: what a passed deadline means (`conn`).

use glommio::timer::Timer;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    timer: Timer,
    fires_at: Instant,
    /// Whom the timer wakes. A wait from another task, or combined with others by a future that wakes in its own way,
    /// polls with another waker.
    waker: Waker,
}

impl Deadline {
    pub(super) fn get(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn set(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    pub(super) fn has_passed(&self) -> bool {
        self.at.is_some_and(|at| Instant::now() >= at)
    }

    /// Ready once the deadline has passed; until then `cx` is woken by then. Call it when everything else is pending.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let now = Instant::now();
        if now >= at {
            return Poll::Ready(());
        }
        let is_usable = |armed: &Armed| armed.fires_at > now && armed.fires_at <= at;
        if let Some(armed) = self.armed.as_mut().filter(|armed| is_usable(armed)) {
            if !armed.waker.will_wake(cx.waker()) {
                armed.waker.clone_from(cx.waker());
                let _ = Pin::new(&mut armed.timer).poll(cx);
            }
            return Poll::Pending;
        }
        let mut timer = Timer::new(at - now);
        if Pin::new(&mut timer).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.armed = Some(Armed {
            timer,
            fires_at: at,
            waker: cx.waker().clone(),
        });
        Poll::Pending
    }
}
