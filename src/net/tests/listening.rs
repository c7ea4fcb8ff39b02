//! Listeners: addresses in use, the stop, running out of descriptors.

use super::*;
use crate::net::listener::EXHAUSTED_BACKOFF;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let other = std::net::TcpListener::bind(loopback()).unwrap();
    let address = other.local_addr().unwrap();
    let error = BoundListener::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("choose another port"),
        "{text}"
    );
}

#[test]
fn cores_share_an_address_and_other_servers_do_not() {
    let ours = BoundListener::bind_all(loopback(), 3).unwrap();
    assert!(ours.iter().all(|bound| bound.local() == ours[0].local()));
    let error = BoundListener::bind_all(ours[0].local(), 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[test]
fn what_waits_in_the_backlog_at_the_stop_is_answered() {
    on_each_backend(|backend| {
        const WAITING: usize = 100;
        let bound = BoundListener::bind(loopback()).unwrap();
        let address = bound.local();
        let mut clients: Vec<_> = (0..WAITING).map(|_| connect(address)).collect();
        let bound = Arc::new(Mutex::new(Some(bound)));
        let results = run_cores(1, move |_| {
            let listener = Listener::new(bound.lock().take().unwrap(), backend).unwrap();
            async move {
                listener.stop();
                let conns = std::cell::RefCell::new(Vec::new());
                listener.accept_all(|conn| conns.borrow_mut().push(conn)).await;
                for mut conn in conns.take() {
                    conn.send(b"421 stopping\r\n".to_vec()).await.unwrap();
                }
            }
        });
        results.into_iter().for_each(|result| result.unwrap());
        for client in &mut clients {
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            assert_eq!(said, "421 stopping\r\n");
        }
    });
}

#[test]
fn accepting_goes_on_after_descriptors_ran_out() {
    const TEST: &str = "net::tests::listening::accepting_goes_on_after_descriptors_ran_out";
    in_own_process(TEST, || {
        let attempts = Attempts::default();
        tracing_subscriber::registry().with(attempts.clone()).init();
        on_each_backend(|backend| {
            serve_one_core(backend, echo, |address| {
                // Every descriptor but one is taken: the client's. The server has none to accept with.
                let mut client = connect(address);
                client.write_all(b"a").unwrap();
                client.read_exact(&mut [0]).unwrap();
                let mut hoard = Vec::new();
                while let Ok(file) = std::fs::File::open("/dev/null") {
                    hoard.push(file);
                }
                hoard.pop();
                let (before, began) = (attempts.count(), Instant::now());
                let mut shed = connect(address);
                // Closed at once instead of waiting for ever.
                assert!(matches!(shed.read(&mut [0]), Ok(0) | Err(_)));
                // It tries again, whether somebody waits or not, and does not spin.
                while attempts.count() < before + 6 {
                    assert!(began.elapsed() < CLIENT_PATIENCE, "it does not try again");
                    std::thread::yield_now();
                }
                let pauses = attempts.count() - before - 1;
                assert!(
                    began.elapsed() >= EXHAUSTED_BACKOFF * pauses,
                    "{pauses} pauses in {:?}",
                    began.elapsed()
                );
                drop(shed);
                hoard.clear();
                let mut client = connect(address);
                client.write_all(b"b").unwrap();
                client.read_exact(&mut [0]).unwrap();
            });
        })
    });
}

/// How often a listener went without a descriptor, as it says in the log.
#[derive(Clone, Default)]
struct Attempts(Arc<AtomicU32>);

impl Attempts {
    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

impl<S: tracing::Subscriber> Layer<S> for Attempts {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let is_wanted = about.target().ends_with("net::listener") && *about.level() == tracing::Level::DEBUG;
        self.0.fetch_add(u32::from(is_wanted), Ordering::SeqCst);
    }
}
