//! The task that turns the ring: in slices while there is something to do, asleep on an eventfd that glommio reads.
//!
//! Invariants: it never sleeps while something is to be submitted, run, reaped or armed again; it never keeps glommio's
//! reactor (files, timers, wakes from other threads) waiting for longer than a slice and the tasks it woke; a turn that
//! completed nothing is never followed by another without a visit to the reactor.
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
        poll_fn(|cx| {
            let _ = listening.as_mut().poll(cx);
            if has_rung.take() || ring.is_kicked(cx) {
                return Poll::Ready(());
            }
            Poll::<()>::Pending
        })
        .await;
        ring.wake_up();
    }
}

async fn turn_until_idle(ring: &Ring, null: &BufferedFile) {
    let mut slice = Instant::now();
    loop {
        match ring.turn(0) {
            Ok(0) => return,
            Ok(_) if slice.elapsed() < SLICE => yield_once().await,
            Ok(_) => {
                visit_reactor(null).await;
                slice = Instant::now();
            }
            // The kernel wants its completions reaped, or has no memory for now.
            Err(_) => {
                runtime::breathe().await;
                slice = Instant::now();
            }
        }
    }
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
