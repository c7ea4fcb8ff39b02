//! Summaries of new mail, made on each core while it has nothing else to do, so that the first list of a mailbox opens no message;
//! and when those that were made, here or by a command, are written.
//!
//! Why beside deliveries and not in them: under load a core needs its time for mail, and what came too fast is summarised when a
//! client asks first, as ever. A core that waits most of the time can do it from memory, before the mail it needs is forgotten.
//! Invariants: a delivery never waits for it; a busy core does none of it, others give it `TURN_TIME` of each `PAUSE`.
//! Limits: `BUSY_PERCENT_MAX`, `LEFT_FOR_MAX`; those of `mailbox::summarize` and of the store's list of messages that came lately.
//! Not here: making them (`mailbox::summarize`), writing them to files (`store::summaries`).

use crate::mailbox::budget::Pace;
use crate::mailbox::summarize;
use crate::runtime::{self, Load};
use crate::store::{Environment, Store};
use futures_util::future::select;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Between two turns; long enough to tell by what happened in it how busy the core is. Of what comes meanwhile on a core that is not
/// busy the memory of recent mail holds a multiple.
const PAUSE: Duration = Duration::from_millis(20);

/// Computing of one turn: a fifth of a core that has nothing else to do, some four hundred messages.
const TURN_TIME: Duration = Duration::from_millis(5);

/// A core that ran, or wanted to, for more of the last pause than this has no time to spare.
const BUSY_PERCENT_MAX: u64 = 50;

/// How long what was made stays in memory only, where it is lost by a crash.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// The same of what a command has left: a client that lists a mailbox for the first time asks what else it wants to know of it in the
/// next moments, and shall not wait for files.
const LEFT_FOR: Duration = Duration::from_secs(2);

/// A busy core, too, writes it after so much more time: it makes room for others.
const LEFT_FOR_MAX: Duration = Duration::from_secs(10);

struct CorePace;

impl Pace for CorePace {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn computed(&self) -> Option<Duration> {
        runtime::computed()
    }

    async fn breathe(&self) {
        runtime::breathe().await;
    }
}

/// Makes them for as long as the server runs, and says when there is time to write them. Spawn it once on each core.
pub async fn keep_making<E: Environment>(store: Store<E>) {
    let load = Load::of_this_thread();
    let mut made = Since::default();
    let mut left = Since::default();
    loop {
        wait_for_work(&store, made, left).await;
        left.note(store.has_left_summaries());
        if made.is_over(SETTLED_AFTER) {
            store.settle_all_summaries();
            made = Since::default();
        }
        let begun = load.look();
        runtime::sleep(PAUSE).await;
        let has_time = load.percent_since(begun) <= BUSY_PERCENT_MAX;
        if left.is_over(if has_time { LEFT_FOR } else { LEFT_FOR_MAX }) {
            store.settle_left_summaries();
            left = Since::default();
        }
        if has_time && store.has_fresh() {
            summarize::make_fresh(&store, &CorePace, TURN_TIME).await;
            made.note(true);
        }
    }
}

/// Until there is mail, a command has left something, or what was made or left is to be settled.
async fn wait_for_work<E: Environment>(store: &Store<E>, made: Since, left: Since) {
    let rests = [made.rest_of(SETTLED_AFTER), left.rest_of(LEFT_FOR)];
    let came = store.fresh_came(left.is_some());
    match rests.into_iter().flatten().min() {
        Some(rest) => {
            select(pin!(came), pin!(runtime::sleep_if_any(rest))).await;
        }
        None => came.await,
    }
}

/// Since when something waits, if it does.
#[derive(Clone, Copy, Debug, Default)]
struct Since(Option<Instant>);

impl Since {
    /// From now on, if it waits and did not before.
    fn note(&mut self, waits: bool) {
        if waits {
            self.0.get_or_insert_with(Instant::now);
        }
    }

    fn is_some(self) -> bool {
        self.0.is_some()
    }

    fn is_over(self, time: Duration) -> bool {
        self.rest_of(time) == Some(Duration::ZERO)
    }

    fn rest_of(self, time: Duration) -> Option<Duration> {
        self.0.map(|since| time.saturating_sub(since.elapsed()))
    }
}
