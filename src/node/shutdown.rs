//! "Finish what you are doing": said once per core, heard by every session of it.

use crate::base::wait::{Notify, Waiter};
use std::cell::Cell;
use std::rc::Rc;

/// The signal. Clones are the same signal; it is never taken back.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    has_begun: Cell<bool>,
    notify: Notify,
}

impl Shutdown {
    /// Tells every session.
    pub fn begin(&self) {
        self.0.has_begun.set(true);
        self.0.notify.notify_all();
    }

    /// True from [`Self::begin`] on. Ask before waiting: a [`Waiter`] does not hear what was said before it was made.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.has_begun.get()
    }

    /// Resolves when the shutdown begins.
    #[must_use]
    pub fn waiter(&self) -> Waiter {
        self.0.notify.waiter()
    }
}
