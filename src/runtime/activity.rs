//! What a core's network driver must know before it lets the thread sleep in the kernel: did other tasks run, and does
//! somebody wait for glommio's reactor, which works only when the thread is given back to glommio?
//!
//! Invariants: [`polls`] rises with each poll of a task made by `spawn_detached`; [`reactor_waits`] is above zero while a wait
//! marked by [`at_reactor`] is under way. Whoever awaits a file, a helper thread of glommio's or a short timer marks it; a
//! wait that is not marked is late by one nap at most.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    static POLLS: Cell<u64> = const { Cell::new(0) };
    static REACTOR_WAITS: Cell<u32> = const { Cell::new(0) };
}

/// Polls of this core's tasks so far.
pub(crate) fn polls() -> u64 {
    POLLS.get()
}

/// Does anybody on this core wait for the reactor?
pub(crate) fn is_reactor_awaited() -> bool {
    REACTOR_WAITS.get() > 0
}

/// A wait for something that only a visit to glommio's reactor completes, to be awaited at once: it counts from here on.
// Not an async function: that would hold the wait twice, as what it captured and as what it awaits.
pub(crate) fn at_reactor<F: Future>(wait: F) -> AtReactor<F> {
    AtReactor {
        wait,
        _mark: ReactorWait::begin(),
    }
}

pin_project_lite::pin_project! {
    /// See [`at_reactor`].
    pub(crate) struct AtReactor<F> {
        #[pin]
        wait: F,
        _mark: ReactorWait,
    }
}

impl<F: Future> Future for AtReactor<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().wait.poll(cx)
    }
}

struct ReactorWait;

impl ReactorWait {
    fn begin() -> Self {
        REACTOR_WAITS.set(REACTOR_WAITS.get() + 1);
        Self
    }
}

impl Drop for ReactorWait {
    fn drop(&mut self) {
        REACTOR_WAITS.set(REACTOR_WAITS.get() - 1);
    }
}

pin_project_lite::pin_project! {
    /// A task whose polls are counted.
    pub(super) struct Counted<F> {
        #[pin]
        task: F,
    }
}

impl<F> Counted<F> {
    pub(super) fn new(task: F) -> Self {
        Self { task }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        POLLS.set(POLLS.get().wrapping_add(1));
        self.project().task.poll(cx)
    }
}
