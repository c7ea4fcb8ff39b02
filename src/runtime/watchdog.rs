//! Ends the process when a core hangs.
//!
//! Every core counts heartbeats; one thread looks at the counters. A core that stands still holds every request that
//! other cores sent to it, and glommio is known to sleep with runnable tasks under some settings, so the safe answer is to
//! stop loudly: recovery from the log is the tested path.
//! Invariants: time is measured in the watchdog's *own* wake-ups, so a machine that was stopped and goes on (suspend, a
//! paused virtual machine, SIGSTOP) does not look like a hung core; a core counts from its first beat until it ends.
//! Failure: the message tells a task that computes without a pause from a sleep with work waiting, by the CPU time the
//! thread used meanwhile.

use std::future::Future;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Between two beats of a core.
const BEAT: Duration = Duration::from_millis(200);

/// Between two looks of the watchdog.
const LOOK: Duration = Duration::from_secs(1);

/// Looks without a beat after which the process is ended: 10 s. A slice of computation is 1 ms by rule and a stalled disk
/// does not stop the beats, so this is four orders of magnitude beyond anything legitimate.
const LOOKS_WITHOUT_BEAT_MAX: u32 = 10;

/// One core's counter. Clones are the same counter.
#[derive(Clone, Default)]
pub(super) struct Heart(Arc<Counters>);

#[derive(Default)]
struct Counters {
    beats: AtomicU64,
    /// Kernel thread id, 0 while the core is not running.
    thread: AtomicI32,
}

impl Heart {
    /// Beats on the core that awaits it, for ever.
    pub(super) fn beat(self) -> impl Future<Output = ()> {
        // SAFETY: gettid has no preconditions.
        let thread = unsafe { libc::gettid() };
        async move {
            self.0.thread.store(thread, Ordering::Relaxed);
            loop {
                self.0.beats.fetch_add(1, Ordering::Relaxed);
                super::sleep(BEAT).await;
            }
        }
    }

    /// The core has ended in order.
    pub(super) fn stop(&self) {
        self.0.thread.store(0, Ordering::Relaxed);
    }
}

/// What the watchdog remembers of a core between two looks.
struct Watched {
    heart: Heart,
    beats: u64,
    looks_without_beat: u32,
    cpu_ns_at_last_beat: u64,
}

impl Watched {
    /// Why the process must end, if it must.
    fn look(&mut self, core: usize) -> Option<String> {
        let thread = self.heart.0.thread.load(Ordering::Relaxed);
        let beats = self.heart.0.beats.load(Ordering::Relaxed);
        if thread == 0 || beats != self.beats {
            self.beats = beats;
            self.looks_without_beat = 0;
            self.cpu_ns_at_last_beat = cpu_ns(thread);
            return None;
        }
        self.looks_without_beat += 1;
        if self.looks_without_beat < LOOKS_WITHOUT_BEAT_MAX {
            return None;
        }
        let used_ms = cpu_ns(thread).saturating_sub(self.cpu_ns_at_last_beat) / 1_000_000;
        let hung_ms = u64::from(LOOKS_WITHOUT_BEAT_MAX) * LOOK.as_millis() as u64;
        let cause = if used_ms > hung_ms / 2 {
            "a task computes without letting others in"
        } else {
            "its thread sleeps or is blocked although work is waiting"
        };
        Some(format!(
            "core {core} has not answered for {hung_ms} ms and used {used_ms} ms of CPU meanwhile: {cause}"
        ))
    }
}

/// The watching thread; dropping it ends it.
pub(super) struct Watchdog {
    _stop: mpsc::Sender<()>,
}

impl Watchdog {
    /// Watches `hearts`, in the order of their cores.
    pub(super) fn start(hearts: Vec<Heart>) -> Self {
        let (stop, stopped) = mpsc::channel();
        let watch = move || {
            let mut watched: Vec<_> = hearts
                .into_iter()
                .map(|heart| Watched {
                    heart,
                    beats: 0,
                    looks_without_beat: 0,
                    cpu_ns_at_last_beat: 0,
                })
                .collect();
            while stopped.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout) {
                for (core, watched) in watched.iter_mut().enumerate() {
                    if let Some(cause) = watched.look(core) {
                        // Not through `tracing`: its writer may be what the core is stuck in.
                        eprintln!("ringpost: {cause}; stopping so that the log is replayed");
                        std::process::abort();
                    }
                }
            }
        };
        if let Err(error) = std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)
        {
            tracing::error!(%error, "no thread for the watchdog: a hung core will not be noticed");
        }
        Self { _stop: stop }
    }
}

/// CPU time a thread of this process has used; 0 when it is not there.
fn cpu_ns(thread: i32) -> u64 {
    let path = format!("/proc/self/task/{thread}/schedstat");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
