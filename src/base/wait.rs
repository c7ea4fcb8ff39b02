//! Waiting inside one core: a condition that tasks of the same thread wait for and wake.
//!
//! Invariants: no allocation while nobody waits; a wake that comes before the wait is not lost, because every
//! `Waiter` remembers the generation it has seen; dropping a waiter deregisters it; registering is O(1), so that tens of
//! thousands of sessions may wait for one condition.
//! Not here: waking across threads (`runtime::mesh`).

use super::id_map::IdMap;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
struct Inner {
    generation: Cell<u64>,
    wakers: RefCell<IdMap<u64, Waker>>,
    next_waiter: Cell<u64>,
}

/// Wakes every task that waits for a change. Clones are the same condition.
#[derive(Clone, Debug, Default)]
pub struct Notify(Rc<Inner>);

impl Notify {
    /// A condition nobody has signalled yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes everyone waiting and everyone whose `Waiter` has not seen this signal yet.
    pub fn notify_all(&self) {
        self.0.generation.set(self.0.generation.get() + 1);
        if self.0.wakers.borrow().is_empty() {
            return;
        }
        let wakers = self.0.wakers.take();
        for waker in wakers.into_values() {
            waker.wake();
        }
    }

    /// True while somebody else holds this condition: a clone of it, or a waiter.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// A waiter that counts every signal from now on.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        let id = self.0.next_waiter.get();
        self.0.next_waiter.set(id + 1);
        Waiter {
            notify: self.clone(),
            seen: self.0.generation.get(),
            id,
        }
    }
}

/// One task's place at a [`Notify`].
#[derive(Debug)]
pub struct Waiter {
    notify: Notify,
    seen: u64,
    id: u64,
}

impl Waiter {
    /// Resolves at the first signal this waiter has not seen; several signals count as one.
    pub fn changed(&mut self) -> Changed<'_> {
        Changed(self)
    }

    fn deregister(&self) {
        let mut wakers = self.notify.0.wakers.borrow_mut();
        if !wakers.is_empty() {
            wakers.remove(&self.id);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.deregister();
    }
}

/// The wait itself; dropping it is safe and loses no signal.
#[derive(Debug)]
pub struct Changed<'a>(&'a mut Waiter);

impl Future for Changed<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waiter = &mut *self.0;
        let now = waiter.notify.0.generation.get();
        if waiter.seen != now {
            waiter.seen = now;
            return Poll::Ready(());
        }
        let mut wakers = waiter.notify.0.wakers.borrow_mut();
        // `clone_from` keeps the waker that is there when it wakes the same task.
        wakers
            .entry(waiter.id)
            .or_insert_with(|| cx.waker().clone())
            .clone_from(cx.waker());
        Poll::Pending
    }
}

/// Lets other tasks run once.
#[derive(Debug, Default)]
pub struct Pause(bool);

impl Pause {
    /// To be awaited.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Future for Pause {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_signal_before_the_wait_is_not_lost() {
        let notify = Notify::new();
        let mut waiter = notify.waiter();
        notify.notify_all();
        assert_eq!(waiter.changed().now_or_never(), Some(()));
        assert_eq!(waiter.changed().now_or_never(), None);
    }

    #[test]
    fn every_waiter_is_woken_and_dropped_ones_leave_nothing_behind() {
        let notify = Notify::new();
        let mut first = notify.waiter();
        let mut second = notify.waiter();
        assert_eq!(first.changed().now_or_never(), None);
        assert_eq!(second.changed().now_or_never(), None);
        drop(second);
        assert_eq!(notify.0.wakers.borrow().len(), 1);
        notify.notify_all();
        assert_eq!(first.changed().now_or_never(), Some(()));
    }
}
