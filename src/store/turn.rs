//! Turns: tasks of one core that want the same thing are served in the order they asked.
//!
//! Invariants: one task at a time holds the turn; a task that gives up while it waits leaves the line and loses
//! nobody's turn.
//! Limits: none of its own; sessions bound how many wait.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A line of tasks; the first one has the turn.
#[derive(Debug, Default)]
pub struct Line {
    waiting: RefCell<VecDeque<(u64, Option<Waker>)>>,
    next: Cell<u64>,
}

impl Line {
    /// Joins the end of the line; resolves when it is this task's turn.
    pub fn turn(&self) -> Wait<'_> {
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        self.waiting.borrow_mut().push_back((ticket, None));
        Wait {
            turn: Some(Turn { line: self, ticket }),
        }
    }
}

/// The wait for a turn.
#[derive(Debug)]
pub struct Wait<'a> {
    turn: Option<Turn<'a>>,
}

impl<'a> Future for Wait<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<'a>> {
        let turn = self.turn.as_ref().expect("a wait is not polled after it is over");
        let mut waiting = turn.line.waiting.borrow_mut();
        if waiting.front().is_some_and(|(ticket, _)| *ticket == turn.ticket) {
            drop(waiting);
            return Poll::Ready(self.turn.take().expect("it was there a moment ago"));
        }
        if let Ok(index) = waiting.binary_search_by_key(&turn.ticket, |(ticket, _)| *ticket) {
            waiting[index].1 = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// The turn itself; dropping it passes it on.
#[derive(Debug)]
pub struct Turn<'a> {
    line: &'a Line,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut waiting = self.line.waiting.borrow_mut();
        let Ok(index) = waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) else {
            return;
        };
        waiting.remove(index);
        let first = if index == 0 {
            waiting.front_mut().and_then(|(_, waker)| waker.take())
        } else {
            None
        };
        drop(waiting);
        if let Some(waker) = first {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn turns_come_in_order_and_a_dropped_wait_passes_its_turn_on() {
        let line = Line::default();
        let first = line.turn().now_or_never().expect("the line was empty");
        let mut second = line.turn();
        let mut third = line.turn();
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        drop(first);
        drop(second);
        assert!((&mut third).now_or_never().is_some());
        assert!(line.turn().now_or_never().is_some());
    }
}
