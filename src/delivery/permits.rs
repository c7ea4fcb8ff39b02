//! How many spool records one core serves at once.

use crate::base::wait::Notify;
use std::cell::Cell;
use std::rc::Rc;

/// Spool records a core serves at once. Beyond it a new one waits before it is written, so that an owner that is slow
/// slows down who sends to it, and the spool stays short.
pub const FAN_OUTS_MAX: usize = 256;

/// How many spool records are being served.
#[derive(Clone, Debug, Default)]
pub struct Permits(Rc<PermitsInner>);

#[derive(Debug, Default)]
struct PermitsInner {
    taken: Cell<usize>,
    returned: Notify,
}

/// One spool record may be served.
#[derive(Debug)]
pub struct Permit(Permits);

impl Permits {
    /// Waits until fewer than [`FAN_OUTS_MAX`] records are being served.
    pub async fn take(&self) -> Permit {
        let mut returned = self.0.returned.waiter();
        while self.0.taken.get() >= FAN_OUTS_MAX {
            returned.changed().await;
        }
        self.0.taken.set(self.0.taken.get() + 1);
        Permit(self.clone())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let inner = &self.0.0;
        inner.taken.set(inner.taken.get() - 1);
        inner.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn beyond_the_limit_a_permit_waits_for_one_that_is_returned() {
        let permits = Permits::default();
        let mut taken: Vec<Permit> = (0..FAN_OUTS_MAX)
            .filter_map(|_| permits.take().now_or_never())
            .collect();
        assert_eq!(taken.len(), FAN_OUTS_MAX);
        let mut waiting = Box::pin(permits.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        taken.pop();
        assert!(waiting.now_or_never().is_some());
    }
}
