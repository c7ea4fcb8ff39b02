//! Whose turn a computation is: one thread, held by a gate while others are asked for.

use crate::base::fair_queue::Bounds;
use crate::runtime::compute::{Computers, Share, refused_computations};
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot::{self, error::TryRecvError};

fn network(text: &str) -> Share {
    let address: IpAddr = text.parse().expect("an address");
    Share::from(Some(address))
}

/// One thread that is busy until the gate opens, and what it did after that.
struct Gated {
    computers: Computers,
    gate: Sender<()>,
    done: Arc<Mutex<Vec<String>>>,
    answers: Vec<oneshot::Receiver<()>>,
}

impl Gated {
    fn new(bounds: Bounds) -> Self {
        let computers = Computers::start(1, bounds).expect("a thread");
        let (gate, opened): (Sender<()>, Receiver<()>) = channel();
        let (begun, has_begun) = channel();
        let held = computers.ask(Share::Local, move || {
            begun.send(()).expect("the test waits");
            opened.recv().expect("the test opens it");
        });
        has_begun.recv().expect("the thread has begun");
        Self {
            computers,
            gate,
            done: Arc::default(),
            answers: vec![held],
        }
    }

    fn ask(&self, share: Share, name: impl Into<String>) -> oneshot::Receiver<()> {
        let (done, name) = (self.done.clone(), name.into());
        self.computers.ask(share, move || done.lock().push(name))
    }

    /// Opens the gate; the order in which everything was done.
    fn finish(self) -> Vec<String> {
        self.gate.send(()).expect("the thread waits");
        for answer in self.answers {
            answer.blocking_recv().expect("it was done");
        }
        self.done.lock().clone()
    }
}

#[test]
fn a_login_of_another_network_waits_for_one_of_three_hundred() {
    let mut gated = Gated::new(Bounds { share: 300, all: 400 });
    for n in 0..300 {
        // All over one /24.
        let answer = gated.ask(network(&format!("192.0.2.{}", n % 256)), format!("wrong {n}"));
        gated.answers.push(answer);
    }
    let others = [
        (network("198.51.100.7"), "right"),
        (network("2001:db8:7::1"), "right by IPv6"),
        (Share::Administration, "administration"),
        (Share::Local, "webmail"),
    ];
    for (share, name) in others {
        let answer = gated.ask(share, name);
        gated.answers.push(answer);
    }
    let done = gated.finish();
    assert_eq!(
        done[..6],
        [
            "wrong 0",
            "right",
            "right by IPv6",
            "administration",
            "webmail",
            "wrong 1"
        ]
    );
    let wrong: Vec<String> = (0..300).map(|n| format!("wrong {n}")).collect();
    let of_network: Vec<&String> = done.iter().filter(|name| name.starts_with("wrong")).collect();
    assert_eq!(of_network, wrong.iter().collect::<Vec<_>>(), "in their order");
    assert_eq!(done.len(), 304);
}

#[test]
fn beyond_the_bounds_is_no_place_and_the_greedy_give_theirs_up() {
    let mut gated = Gated::new(Bounds { share: 3, all: 4 });
    let greedy = network("192.0.2.1");
    for name in ["first", "second"] {
        let answer = gated.ask(greedy, name);
        gated.answers.push(answer);
    }
    let mut third = gated.ask(greedy, "third");
    let mut fourth = gated.ask(greedy, "fourth");
    assert_eq!(
        fourth.try_recv(),
        Err(TryRecvError::Closed),
        "as many as one may have"
    );
    assert_eq!(third.try_recv(), Err(TryRecvError::Empty), "it waits");
    for address in ["198.51.100.1", "203.0.113.1"] {
        let answer = gated.ask(network(address), address);
        gated.answers.push(answer);
    }
    assert_eq!(
        third.try_recv(),
        Err(TryRecvError::Closed),
        "its place is another's"
    );
    assert!(refused_computations() >= 2);
    assert_eq!(gated.finish(), ["first", "198.51.100.1", "203.0.113.1", "second"]);
}

#[test]
fn nothing_is_computed_for_those_who_have_gone_and_they_keep_no_place() {
    let mut gated = Gated::new(Bounds { share: 2, all: 2 });
    let share = network("192.0.2.1");
    drop(gated.ask(share, "gone"));
    drop(gated.ask(share, "gone too"));
    let answer = gated.ask(share, "waits");
    gated.answers.push(answer);
    drop(gated.ask(share, "gone later"));
    assert_eq!(gated.finish(), ["waits"]);
}

#[test]
fn the_threads_end_with_the_last_who_could_ask() {
    let computers = Computers::start(2, Bounds { share: 1, all: 1 }).expect("threads");
    let threads = computers.threads();
    let other = computers.clone();
    drop(computers);
    let answer = other.ask(Share::Local, || 7);
    assert_eq!(answer.blocking_recv(), Ok(7), "a clone is left");
    drop(other);
    // Each thread holds it until it ends.
    while threads.strong_count() > 0 {
        std::thread::yield_now();
    }
}
