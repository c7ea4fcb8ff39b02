//! Logins while more wait than may.

use super::failures::Failures;
use super::{Authenticator, Caller, Login};
use crate::base::fair_queue::Bounds;
use crate::directory::{Backend, Directory, PasswordHash, demo};
use crate::model::{ClientProtocol, Domain};
use crate::runtime::{self, Control, Share};
use futures_util::poll;
use std::pin::pin;
use std::sync::{Arc, Barrier};

fn caller(address: &str) -> Caller {
    Caller {
        protocol: ClientProtocol::Imap,
        peer: Some(address.parse().expect("an address")),
    }
}

fn authenticator(control: Control) -> Authenticator {
    let hash = PasswordHash::new("{PLAIN}right");
    let memory = demo("example.org", 0, std::slice::from_ref(&hash), |_| {}).expect("a domain");
    let main = Domain::new("example.org").expect("a domain");
    let directory = Directory::new(Backend::Memory(Arc::new(memory)), main);
    Authenticator::new(directory, control, hash, Arc::new(Failures::new(7))).expect("entropy")
}

#[test]
fn a_crowded_network_is_put_off_known_or_not_and_another_is_served() {
    let control = Control::with_computers(1, Bounds { share: 1, all: 9 }).expect("threads");
    let begun = Arc::new(Barrier::new(2));
    let gate = Arc::new(Barrier::new(2));
    let results = runtime::run_cores(1, move |_| {
        let (control, begun, gate) = (control.clone(), begun.clone(), gate.clone());
        async move {
            let authenticator = authenticator(control.clone());
            let (has_begun, opened) = (begun.clone(), gate.clone());
            let mut held = pin!(control.compute(Share::Local, move || {
                has_begun.wait();
                opened.wait();
            }));
            assert!(poll!(&mut held).is_pending());
            begun.wait();
            let crowded = Share::from(Some("192.0.2.1".parse().expect("an address")));
            let mut waiting = pin!(control.compute(crowded, || ()));
            assert!(poll!(&mut waiting).is_pending());
            for (login, password) in [("alice", "right"), ("alice", "wrong"), ("nobody", "right")] {
                let login = format!("{login}@example.org");
                let verifying =
                    authenticator.verify(login.as_bytes(), password.as_bytes(), caller("192.0.2.2"));
                let outcome = verifying.await;
                assert!(
                    matches!(outcome, Login::Unavailable),
                    "{login} {password}: {outcome:?}"
                );
            }
            let mut other =
                pin!(authenticator.verify(b"alice@example.org", b"right", caller("198.51.100.7")));
            assert!(poll!(&mut other).is_pending());
            gate.wait();
            assert!(matches!(other.await, Login::Authenticated(_)));
            held.await.expect("it was computed");
            waiting.await.expect("it was computed");
        }
    });
    results
        .into_iter()
        .for_each(|result| result.expect("the core ran"));
}
