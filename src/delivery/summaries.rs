//! Summaries of new mail, made on each core while it has nothing else to do, so that the first list of a mailbox opens no message.
//!
//! Why beside deliveries and not in them: under load a core needs its time for mail, and what came too fast is summarised when a
//! client asks first, as ever. A core that waits most of the time can do it from memory, before the mail it needs is forgotten.
//! Invariants: a delivery never waits for it; a busy core does none of it, others give it `TURN_TIME` of each `PAUSE`.
//! Limits: `BUSY_PERCENT_MAX`; those of `mailbox::summarize` and of the store's list of messages that came lately.
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

struct CorePace;

impl Pace for CorePace {
    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn breathe(&self) {
        runtime::breathe().await;
    }
}

/// Makes them for as long as the server runs. Spawn it once on each core.
pub async fn keep_making<E: Environment>(store: Store<E>) {
    let load = Load::of_this_thread();
    let mut unsettled_since: Option<Instant> = None;
    loop {
        wait_for_mail(&store, unsettled_since).await;
        if unsettled_since.is_some_and(|since| since.elapsed() >= SETTLED_AFTER) {
            store.settle_all_summaries();
            unsettled_since = None;
        }
        let begun = load.look();
        runtime::sleep(PAUSE).await;
        if store.has_fresh() && load.percent_since(begun) <= BUSY_PERCENT_MAX {
            summarize::make_fresh(&store, &CorePace, TURN_TIME).await;
            unsettled_since.get_or_insert_with(Instant::now);
        }
    }
}

/// Until mail has come, or what was made is to be settled.
async fn wait_for_mail<E: Environment>(store: &Store<E>, unsettled_since: Option<Instant>) {
    let Some(since) = unsettled_since else {
        return store.fresh_came().await;
    };
    let rest = SETTLED_AFTER.saturating_sub(since.elapsed());
    select(pin!(store.fresh_came()), pin!(runtime::sleep_if_any(rest))).await;
}
