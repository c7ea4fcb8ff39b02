//! Waiting for time on this core's reactor.
//!
//! Invariants: a wait that is dropped leaves no timer behind; every wait goes through the reactor, so I/O gets in.
//! Not here: deadlines of connections (`net::conn` keeps one timer for all its waits).

use super::activity::at_reactor;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// How long [`breathe`] waits. glommio visits its reactor only when nothing is runnable or every 100 ms, so a task that
/// merely yields runs again before any I/O was looked at; a timer of zero is ready at once and does not wait at all.
/// 2 µs is the shortest wait that reliably reaches the reactor; the wait itself then costs about 5 µs.
const BREATH: Duration = Duration::from_micros(2);

/// How often a breath that is over before it began is doubled: to a millisecond.
const BREATH_DOUBLINGS_MAX: u8 = 9;

/// Waits up to this keep the network driver from napping, which would make them late by a nap. Longer ones may be.
const SHORT: Duration = Duration::from_millis(10);

/// Waits at least `duration`.
pub async fn sleep(duration: Duration) {
    if duration <= SHORT {
        at_reactor(Timer::new(duration)).await;
    } else {
        Timer::new(duration).await;
    }
}

/// Waits, unless there is nothing to wait for.
pub async fn sleep_if_any(duration: Duration) {
    if !duration.is_zero() {
        sleep(duration).await;
    }
}

/// `None`: the time was up first (`task` is dropped). A task that is ready wins over a limit that is over.
pub async fn timeout<T>(limit: Duration, task: impl Future<Output = T>) -> Option<T> {
    match select(pin!(task), Timer::new(limit)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Lets I/O and other tasks in during a long computation: waits on the reactor, unlike a bare yield.
/// Call it after at most 1 ms of computation; `benches/mesh` measures what a neighbour then waits.
pub fn breathe() -> impl Future<Output = ()> {
    at_reactor(Breath {
        timer: Timer::new(BREATH),
        has_waited: false,
        doublings: 0,
    })
}

/// A timer that is over when it is first looked at was no wait: in a slow build, or when the thread had to yield its CPU in
/// between. Nobody would get a turn, so it is taken again, longer.
struct Breath {
    timer: Timer,
    has_waited: bool,
    doublings: u8,
}

impl Future for Breath {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        while Pin::new(&mut self.timer).poll(context).is_ready() {
            if self.has_waited {
                return Poll::Ready(());
            }
            self.doublings = (self.doublings + 1).min(BREATH_DOUBLINGS_MAX);
            self.timer = Timer::new(BREATH * (1 << self.doublings));
        }
        self.has_waited = true;
        Poll::Pending
    }
}
