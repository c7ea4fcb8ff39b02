//! How a long computation is cut into slices: time, turns for others, and a limit on all of it.
//!
//! Invariants: between two breaths a computation takes little more than [`SLICE_TIME`]; beyond [`CPU_BUDGET`] it ends.
//! Limits: [`SLICE_TIME`], [`CPU_BUDGET`], `STEPS_A_LOOK`, `RUN_ITEMS`.
//! Not here: what is computed (`searching`, `sorting`, `threading`).

use std::cmp::Ordering;
use std::future::Future;
use std::time::{Duration, Instant};

/// Computing after which others get a turn (GLOMMIO.md: slices below 1 ms).
pub const SLICE_TIME: Duration = Duration::from_micros(500);

/// Time one command may compute, waits not counted; then `NO [LIMIT]`. What counts is time on a CPU as far as that can be told: a
/// core that others keep from its CPU must not refuse what it answers when it is alone.
pub const CPU_BUDGET: Duration = Duration::from_secs(2);

/// Small steps between two looks at the clock: some ten microseconds.
const STEPS_A_LOOK: u32 = 64;

/// Items sorted or merged before others may get a turn: some hundred microseconds.
const RUN_ITEMS: usize = 2_048;

/// How a long computation tells time and lets others run.
pub trait Pace {
    /// The monotonic clock.
    fn now(&self) -> Instant;
    /// For how long this core's thread has run on a CPU so far. `None`: nobody knows.
    fn computed(&self) -> Option<Duration>;
    /// Lets I/O and other tasks in.
    fn breathe(&self) -> impl Future<Output = ()>;
}

/// The command has computed for [`CPU_BUDGET`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent;

/// Counts the time spent computing.
pub struct Budget<'p, P> {
    pace: &'p P,
    spent: Duration,
    /// The thread's time on a CPU when this began.
    computed_before: Option<Duration>,
    since_breath: Duration,
    steps: u32,
    stepping_since: Option<Instant>,
}

impl<'p, P: Pace> Budget<'p, P> {
    /// Nothing spent.
    pub fn new(pace: &'p P) -> Self {
        Self {
            pace,
            spent: Duration::ZERO,
            computed_before: pace.computed(),
            since_breath: Duration::ZERO,
            steps: 0,
            stepping_since: None,
        }
    }

    /// Does `work` on the budget's time.
    pub fn timed<R>(&mut self, work: impl FnOnce() -> R) -> R {
        let start = self.pace.now();
        let result = work();
        self.add(self.pace.now().saturating_duration_since(start));
        result
    }

    fn add(&mut self, took: Duration) {
        self.spent += took;
        self.since_breath += took;
    }

    /// Between two pieces of [`Self::timed`] work.
    ///
    /// # Errors
    /// [`Spent`].
    pub async fn breathe_if_due(&mut self) -> Result<(), Spent> {
        if self.spent > CPU_BUDGET {
            self.check_computed()?;
        }
        if self.since_breath > SLICE_TIME {
            self.since_breath = Duration::ZERO;
            self.pace.breathe().await;
        }
        Ok(())
    }

    /// The clock also goes on while the thread is kept from its CPU, and to ask for CPU time at each piece would cost more than
    /// many pieces do. So it is asked for when the clock says that the time is up: nobody can have computed for longer than
    /// the thread did, whoever else had turns on it.
    fn check_computed(&mut self) -> Result<(), Spent> {
        let computed = self.computed_before.zip(self.pace.computed());
        let computed = computed.map(|(before, now)| now.saturating_sub(before));
        self.spent = computed.map_or(self.spent, |most| self.spent.min(most));
        if self.spent > CPU_BUDGET {
            Err(Spent)
        } else {
            Ok(())
        }
    }

    /// One of many small steps of a loop that waits for nothing else: looks at the clock now and then.
    ///
    /// # Errors
    /// [`Spent`].
    pub async fn step(&mut self) -> Result<(), Spent> {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS_A_LOOK) {
            return Ok(());
        }
        let now = self.pace.now();
        let since = *self.stepping_since.get_or_insert(now);
        self.add(now.saturating_duration_since(since));
        let had_turn = self.since_breath > SLICE_TIME;
        self.breathe_if_due().await?;
        self.stepping_since = Some(if had_turn { self.pace.now() } else { now });
        Ok(())
    }

    /// Ends a run of [`Self::step`]s: what comes is waiting, or timed otherwise.
    pub fn steps_done(&mut self) {
        self.stepping_since = None;
    }

    /// Sorts by runs, and merges them two by two. Items that `compare` holds equal keep no order: let it hold none so.
    ///
    /// # Errors
    /// [`Spent`].
    pub async fn sort<T>(
        &mut self,
        items: Vec<T>,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Result<Vec<T>, Spent> {
        let mut runs = Vec::with_capacity(items.len().div_ceil(RUN_ITEMS));
        let mut items = items.into_iter();
        loop {
            let mut run: Vec<T> = items.by_ref().take(RUN_ITEMS).collect();
            if run.is_empty() {
                break;
            }
            self.timed(|| run.sort_unstable_by(&compare));
            self.breathe_if_due().await?;
            runs.push(run);
        }
        while runs.len() > 1 {
            let mut merged = Vec::with_capacity(runs.len().div_ceil(2));
            let mut pairs = runs.into_iter();
            while let Some(first) = pairs.next() {
                merged.push(match pairs.next() {
                    Some(second) => self.merge(first, second, &compare).await?,
                    None => first,
                });
            }
            runs = merged;
        }
        Ok(runs.pop().unwrap_or_default())
    }

    async fn merge<T>(
        &mut self,
        first: Vec<T>,
        second: Vec<T>,
        compare: impl Fn(&T, &T) -> Ordering,
    ) -> Result<Vec<T>, Spent> {
        let mut out = Vec::with_capacity(first.len() + second.len());
        let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
        let mut is_more = true;
        while is_more {
            is_more = self.timed(|| {
                for _ in 0..RUN_ITEMS {
                    let takes_first = match (first.peek(), second.peek()) {
                        (Some(a), Some(b)) => compare(a, b) == Ordering::Less,
                        (a, _) => a.is_some(),
                    };
                    let Some(next) = (if takes_first { first.next() } else { second.next() }) else {
                        return false;
                    };
                    out.push(next);
                }
                true
            });
            self.breathe_if_due().await?;
        }
        Ok(out)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::cell::Cell;

    /// Every look at the clock takes `look`; turns are counted.
    pub struct TestPace {
        began: Instant,
        looked: Cell<Duration>,
        pub look: Duration,
        /// One in so many: of the time that passes, the thread has its CPU.
        pub share: u32,
        pub breaths: Cell<u32>,
    }

    impl TestPace {
        pub fn new(look: Duration) -> Self {
            Self {
                began: Instant::now(),
                looked: Cell::default(),
                look,
                share: 1,
                breaths: Cell::new(0),
            }
        }
    }

    impl Pace for TestPace {
        fn now(&self) -> Instant {
            self.looked.set(self.looked.get() + self.look);
            self.began + self.looked.get()
        }
        fn computed(&self) -> Option<Duration> {
            Some(self.looked.get() / self.share)
        }
        async fn breathe(&self) {
            self.breaths.set(self.breaths.get() + 1);
        }
    }

    #[test]
    fn a_long_sort_takes_turns_and_sorts() {
        let pace = TestPace::new(Duration::from_micros(300));
        let mut budget = Budget::new(&pace);
        let items: Vec<u32> = (0..20_000_u32)
            .map(|n| n.wrapping_mul(2_654_435_761) % 9_973)
            .collect();
        let sorted = futures::executor::block_on(budget.sort(items.clone(), Ord::cmp));
        let mut expected = items;
        expected.sort_unstable();
        assert_eq!(sorted, Ok(expected));
        assert!(pace.breaths.get() > 10, "{}", pace.breaths.get());
    }

    fn steps_within_the_budget(pace: &TestPace) -> u32 {
        let mut budget = Budget::new(pace);
        futures::executor::block_on(async {
            let mut taken = 0_u32;
            while budget.step().await.is_ok() {
                taken += 1;
            }
            taken
        })
    }

    #[test]
    fn steps_take_turns_and_end_when_the_time_is_spent() {
        let pace = TestPace::new(Duration::from_millis(1));
        let taken = steps_within_the_budget(&pace);
        assert!(pace.breaths.get() > 500, "{}", pace.breaths.get());
        assert!(taken < 200_000, "{taken}");
    }

    #[test]
    fn a_thread_that_is_kept_from_its_cpu_may_compute_for_as_long() {
        let alone = steps_within_the_budget(&TestPace::new(Duration::from_millis(1)));
        let mut beside_nine = TestPace::new(Duration::from_millis(1));
        beside_nine.share = 10;
        let taken = steps_within_the_budget(&beside_nine);
        // Not ten times as many: time between the steps counts for the thread, too.
        assert!(taken > 4 * alone, "{taken}, alone {alone}");
    }
}
