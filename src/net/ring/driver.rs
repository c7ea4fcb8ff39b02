//! The task that turns the ring: in slices while there is something to do, napping in the ring while more is likely to come
//! soon, asleep on an eventfd that glommio reads otherwise.
//!
//! Why the nap: one call of the kernel submits, sleeps and brings what has come. glommio's own way to sleep and back takes
//! some ten, a barrier on all cores among them, which with few connections was a quarter of what the server did.
//! Invariants: it never sleeps while something is to be submitted, run, reaped or armed again; it never naps while a task of
//! its core is runnable or waits for glommio's reactor (`runtime::is_reactor_awaited`), and a call from another thread ends
//! the nap; it never keeps the reactor waiting for longer than a slice and the tasks it woke, or a nap if nobody is known to
//! wait for it; a turn that completed nothing is followed by another only when another task has run meanwhile, a nap or a
//! caller has brought something, or the reactor was visited.
//! Failure: a panic here would leave every connection of the core waiting for ever, so it ends the process.

use super::Ring;
use crate::base::guard::AbortOnUnwind;
use crate::runtime;
use glommio::io::BufferedFile;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

/// How long the ring turns before the reactor is visited, which glommio does only when nothing is runnable. A driver that
/// kept itself runnable cut commits beside it to 30–50 a second; with slices of 100 µs nothing is late by more.
const SLICE: Duration = Duration::from_micros(100);

/// The slice while nobody is known to wait for the reactor. What does without saying so (timers of more than
/// `runtime::timer`'s short ones) is late by this much.
const LONG_SLICE: Duration = Duration::from_millis(1);

/// Longest nap. Where nothing comes for so long, glommio's way to sleep costs little by comparison, and it sees everything.
const NAP: Duration = Duration::from_millis(1);

/// `bell` is the ring's eventfd, `null` the null device.
pub(super) async fn drive(
    ring: Rc<Ring>,
    bell: ManuallyDrop<BufferedFile>,
    null: ManuallyDrop<BufferedFile>,
) {
    let _guard = AbortOnUnwind::over("the network ring");
    let has_rung = Cell::new(false);
    // One read is always pending; while the bell is off nothing ends it.
    let mut listening = pin!(async {
        loop {
            bell.read_at(0, 8).await.expect("an eventfd can be read");
            has_rung.set(true);
        }
    });
    loop {
        turn_until_idle(&ring, &null).await;
        if !ring.may_sleep() {
            // There is work, but the turn before completed nothing, and the next may not either (a send that goes out in
            // pieces, a mark left behind: see `Uring::is_at_rest`). Turning on without a pause kept the reactor, and with it
            // files and timers, waiting until the watchdog ended the process.
            runtime::breathe().await;
            continue;
        }
        if ring.doorbell.fall_asleep() {
            poll_fn(|cx| {
                let _ = listening.as_mut().poll(cx);
                if has_rung.take() || ring.is_kicked(cx) {
                    return Poll::Ready(());
                }
                Poll::<()>::Pending
            })
            .await;
            ring.doorbell.get_up();
        }
        ring.wake_up();
    }
}

async fn turn_until_idle(ring: &Ring, null: &BufferedFile) {
    let mut visited = Instant::now();
    loop {
        let woken = ring.doorbell.answer();
        let Ok(completed) = ring.turn(0) else {
            // The kernel wants its completions reaped, or has no memory for now.
            runtime::breathe().await;
            visited = Instant::now();
            continue;
        };
        if woken + completed == 0 && !finds_work(ring).await {
            return;
        }
        if visited.elapsed() < slice() {
            yield_once().await;
            continue;
        }
        visit_reactor(null).await;
        visited = Instant::now();
    }
}

fn slice() -> Duration {
    if runtime::is_reactor_awaited() {
        return SLICE;
    }
    LONG_SLICE
}

/// After a turn that completed nothing: does another task run, or has a nap brought something?
async fn finds_work(ring: &Ring) -> bool {
    let polls = runtime::polls();
    yield_once().await;
    // Tasks run in the order they were woken, so whoever was runnable has run before this one came again. Its own poll counts.
    if runtime::polls() > polls + 1 {
        return true;
    }
    if runtime::is_reactor_awaited() {
        return false;
    }
    let completed = ring.nap(NAP).unwrap_or(0);
    completed > 0 || ring.doorbell.answer() > 0
}

/// Lets glommio's reactor work. A read that is done as soon as it is submitted reaches it without putting the thread to sleep;
/// the timer of `runtime::breathe` lost the CPU once a slice on a machine that does other things.
async fn visit_reactor(null: &BufferedFile) {
    if null.read_at(0, 1).await.is_err() {
        runtime::breathe().await;
    }
}

/// Lets the tasks run that were woken.
async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
