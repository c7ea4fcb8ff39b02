//! How busy this core is: the part of a stretch of time in which its thread ran, or was ready and waited for a CPU.
//!
//! Both count: a core that shares its CPU with others has no time to spare when they take it.
//! Failure: a kernel that does not tell (no `CONFIG_SCHED_INFO`, no `/proc`) tells at least for how long the thread ran.
//! Not here: what is done with time to spare.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Looks at the thread that made it.
#[derive(Debug)]
pub struct Load {
    /// `/proc/thread-self/schedstat`: nanoseconds it ran, nanoseconds it waited for a CPU, how often it ran.
    schedstat: Option<File>,
}

/// A look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    at: Instant,
    wanted: Duration,
}

impl Load {
    /// Of this thread. The file is the kernel's memory: reading it waits for nothing.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self {
            schedstat: File::open("/proc/thread-self/schedstat").ok(),
        }
    }

    /// Looks now.
    #[must_use]
    pub fn look(&self) -> Look {
        let told = self.schedstat.as_ref().and_then(wanted_of);
        Look {
            at: Instant::now(),
            wanted: told.or_else(computed).unwrap_or_default(),
        }
    }

    /// Percent of the time since that look in which the thread ran or wanted to.
    #[must_use]
    pub fn percent_since(&self, earlier: Look) -> u64 {
        percent_between(earlier, self.look())
    }
}

fn percent_between(earlier: Look, later: Look) -> u64 {
    let passed = later.at.saturating_duration_since(earlier.at).as_nanos().max(1);
    let wanted = later.wanted.saturating_sub(earlier.wanted).as_nanos();
    u64::try_from(wanted * 100 / passed).unwrap_or(u64::MAX).min(100)
}

fn wanted_of(schedstat: &File) -> Option<Duration> {
    let mut text = [0; 96];
    let length = schedstat.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    let mut numbers = text.split_ascii_whitespace().map_while(|n| n.parse::<u64>().ok());
    let (ran, waited) = (numbers.next()?, numbers.next()?);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

/// For how long this thread has run on a CPU so far. `None`: the kernel does not say.
#[must_use]
pub fn computed() -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime(2) writes one timespec, which is ours.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let is_told = failed == 0;
    is_told.then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_the_time_is_told_in_percent() {
        let at = Instant::now();
        let look = |passed_ms, wanted_ms| Look {
            at: at + Duration::from_millis(passed_ms),
            wanted: Duration::from_millis(wanted_ms),
        };
        assert_eq!(percent_between(look(0, 70), look(200, 120)), 25);
        assert_eq!(percent_between(look(0, 70), look(200, 470)), 100);
        assert_eq!(percent_between(look(0, 70), look(0, 70)), 0);
    }

    #[test]
    fn a_thread_that_computes_is_seen_to_and_its_time_only_grows() {
        let load = Load::of_this_thread();
        let begun = load.look();
        let mut last = begun.wanted;
        // Until it is seen: the kernel counts at its own pace.
        while last == begun.wanted {
            std::hint::spin_loop();
            let now = load.look().wanted;
            assert!(now >= last);
            last = now;
        }
        assert!(load.percent_since(begun) > 0);
    }
}
