//! Compaction in the background: one core leads, now and then, and asks the others over the mesh.
//!
//! Invariants: one pass at a time; what a pass writes on a core is bounded by the second
//! ([`crate::store::StoreOptions::compaction_bytes_per_second`]), so that it takes a known share of the disk from mail.
//! Failure: a pass that fails has freed nothing that is needed; the next one tries again. A store that takes no commits
//! any more is not compacted.
//! Not here: what a pass does (`store::compaction`), the pace of one core's part (`owner`).

pub use super::owner::step_on;

use super::request::{Reply, Request};
use super::router::Router;
use super::undelete::Turn;
use crate::runtime;
use crate::store::{CompactionStep, Environment, PassReport, StoreError, compact};
use std::time::Duration;

/// Between two passes, unless the configuration says otherwise. A look that may be worth it walks over all rows; those not
/// in memory are read.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The wait doubles up to this while there is nothing to free.
pub const LOOK_EVERY_MAX: Duration = Duration::from_secs(60 * 60);

/// Leads passes for as long as the store takes commits, `pause` after each. Spawn it on one core, once all serve requests.
pub async fn keep_compacting<E: Environment>(router: Router<E>, pause: Duration, turn: Turn) {
    let mut wait = pause;
    loop {
        runtime::sleep(wait).await;
        wait = (wait * 2).min(LOOK_EVERY_MAX.max(pause));
        let passed = {
            let _turn = turn.lock().await;
            run(&router).await
        };
        match passed {
            Ok(report) if report.freed > 0 => {
                wait = pause;
                tracing::info!(?report, "compacted");
            }
            Ok(_) => {}
            Err(StoreError::ShuttingDown | StoreError::Failed(_)) => return,
            Err(error) => tracing::warn!(%error, "a pass of compaction ended early"),
        }
    }
}

/// One pass.
///
/// # Errors
/// Any core's.
pub async fn run<E: Environment>(router: &Router<E>) -> Result<PassReport, StoreError> {
    let ask = async |core: usize, step: CompactionStep| {
        if core == router.core() {
            return step_on(router.store(), step).await;
        }
        match router.call(core, Request::Compact(step)).await? {
            Reply::Compacted(answer) => *answer,
            other => unreachable!("a step of compaction was answered with {other:?}"),
        }
    };
    compact(router.store(), router.cores(), &ask).await
}
