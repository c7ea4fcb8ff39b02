//! Expunged messages brought back while the server runs: one core hears the admin's orders and asks the owner over the mesh.
//!
//! Invariants: never while a pass of compaction runs, and no pass begins meanwhile ([`Turn`]): what is brought back refers
//! to bodies that a pass, which knows the graves only, may be about to free.
//! Limits: [`WAITING_MAX`]. An order waits for the end of a pass.
//! Failure: whoever ordered is told; what was brought back before stays.
//! Not here: what it does (`store::undelete`), who may order it (`admin::socket`).

pub use super::owner::restore;

use super::request::{Reply, Request, Restored};
use super::router::Router;
use crate::model::AccountId;
use crate::store::{Environment, Wanted};
use std::rc::Rc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Orders that wait, at most: as many as the control socket takes connections.
pub const WAITING_MAX: usize = 16;

/// Held by whoever needs that no segment is freed, and by whoever frees them.
pub type Turn = Rc<Mutex<()>>;

/// One account's messages to be brought back.
#[derive(Debug)]
pub struct Order {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub wanted: Wanted,
    /// Who waits for it.
    pub answer: oneshot::Sender<Restored>,
}

/// Carries orders out, one after the other, until nobody can give any. On the core that leads compaction.
pub async fn serve<E: Environment>(router: Router<E>, mut orders: mpsc::Receiver<Order>, turn: Turn) {
    while let Some(order) = orders.recv().await {
        let turn = turn.lock().await;
        let restored = run(&router, order.account, order.wanted).await;
        drop(turn);
        // Whoever waited may have given up; it is done all the same.
        let _ = order.answer.send(restored);
    }
}

async fn run<E: Environment>(router: &Router<E>, account: AccountId, wanted: Wanted) -> Restored {
    let owner = router.owner_of(account);
    if owner == router.core() {
        return restore(router.store(), account, &wanted).await;
    }
    match router.call(owner, Request::Undelete { account, wanted }).await? {
        Reply::Undeleted(restored) => restored,
        other => unreachable!("an order to undelete was answered with {other:?}"),
    }
}
