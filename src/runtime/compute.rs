//! The threads for long computations, which is password hashing, and whose turn it is.
//!
//! A flood of wrong logins from one network would keep everybody else's waiting behind it; so each network has a share, and
//! the threads go round the shares. An owner waits for one computation of each other network that waits, not for all.
//! Invariants: one share's computations begin in the order they were asked for; what nobody awaits any more is not run.
//! Limits: [`BOUNDS`]. The lock is held for as long as one item is put or taken.
//! Failure: without a place, or by a panic, the caller gets [`NotComputed`] and says that nobody can say just now.
//! LIMITATION: behind a webmail on this machine are all its users, in one share, unless it tells their addresses (PROXY).
//! Not here: how long an answer is made to wait (`auth`), which connections there may be (`node`).

use super::contained;
use crate::base::fair_queue::{Awaited, Bounds, FairQueue};
use crate::base::network::{Network, network_of};
use parking_lot::{Condvar, Mutex};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// Threads for long computations. Password hashing takes tens of ms of CPU and megabytes of cache each; two keep logins
/// flowing while one is slow and leave the cores to the cores.
pub const THREADS: usize = 2;

/// Two threads take about 100 argon2id computations a second: alone, the last of a share waits for 10 s, and the last of all
/// for 40 s, after which mail programs have given up. An office may have 1,000 programs that come back after a restart. Each
/// that waits has a password with it, at most what SASL lets through (12 KiB), and so all have 50 MiB.
pub const BOUNDS: Bounds = Bounds {
    share: 1_000,
    all: 4_096,
};

static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Computations of this process for which there was no place.
#[must_use]
pub fn refused_computations() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// On whose account a computation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Share {
    /// Somebody out there: all of one network have one share, as they have in the limits on logins.
    Network(Network),
    /// Programs of this machine.
    Local,
    /// What administrators do to other people's accounts.
    Administration,
}

impl From<Option<IpAddr>> for Share {
    /// `None`: of this machine.
    fn from(peer: Option<IpAddr>) -> Self {
        peer.map_or(Self::Local, |peer| Self::Network(network_of(peer)))
    }
}

/// There was no place for the computation, or it panicked.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too many passwords are being checked, or one could not be")]
pub struct NotComputed;

trait Computation: Awaited + Send {
    fn run(self: Box<Self>);
}

struct Asked<F, T> {
    task: F,
    answer: oneshot::Sender<T>,
}

impl<F, T> Awaited for Asked<F, T> {
    fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }
}

impl<F: FnOnce() -> T + Send, T: Send> Computation for Asked<F, T> {
    fn run(self: Box<Self>) {
        // Whoever goes while it runs is fine.
        let _ = self.answer.send((self.task)());
    }
}

impl Awaited for Box<dyn Computation> {
    fn is_awaited(&self) -> bool {
        (**self).is_awaited()
    }
}

struct State {
    queue: FairQueue<Share, Box<dyn Computation>>,
    has_ended: bool,
    /// Whether somebody was refused since the queue was last empty.
    is_crowded: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Ends the threads when the last clone of [`Computers`] goes.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.state.lock().has_ended = true;
        self.0.changed.notify_all();
    }
}

/// The threads.
#[derive(Clone)]
pub(super) struct Computers(Arc<End>);

impl Computers {
    pub fn start(threads: usize, bounds: Bounds) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: FairQueue::new(bounds),
                has_ended: false,
                is_crowded: false,
            }),
            changed: Condvar::new(),
        });
        let computers = Self(Arc::new(End(shared.clone())));
        for number in 0..threads {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("compute-{number}"))
                .spawn(move || {
                    while let Some(computation) = shared.next() {
                        contained("computation", || computation.run());
                    }
                })?;
        }
        Ok(computers)
    }

    /// Where the result comes; its sender is gone when there is no place.
    pub fn ask<T: Send + 'static>(
        &self,
        share: Share,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answer, answered) = oneshot::channel();
        self.0.0.put(share, Box::new(Asked { task, answer }));
        answered
    }

    /// What every thread holds.
    #[cfg(test)]
    pub fn threads(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.0.0)
    }
}

impl Shared {
    fn put(&self, share: Share, computation: Box<dyn Computation>) {
        let mut state = self.state.lock();
        let displaced = state.queue.put(share, computation);
        let mut is_news = false;
        if displaced.is_some() {
            REFUSED.fetch_add(1, Ordering::Relaxed);
            is_news = !std::mem::replace(&mut state.is_crowded, true);
        }
        let waiting = state.queue.len();
        drop(state);
        self.changed.notify_one();
        if is_news {
            tracing::warn!(
                ?share,
                waiting,
                "too many passwords to check: some logins are put off"
            );
        }
    }

    /// The next computation; waits for one. `None`: the end.
    fn next(&self) -> Option<Box<dyn Computation>> {
        let mut state = self.state.lock();
        loop {
            if state.has_ended {
                return None;
            }
            if let Some(computation) = state.queue.take() {
                return Some(computation);
            }
            state.is_crowded = false;
            self.changed.wait(&mut state);
        }
    }
}
