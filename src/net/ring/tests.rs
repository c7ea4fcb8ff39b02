//! What only the ring can get wrong: buffers, cancellation, its end. Everything else is in `net::tests`, for both back ends.

use super::*;
use crate::net::Backend;
use crate::runtime::{run_cores, spawn_detached};
use crate::testing::in_own_process;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// More than there are buffers.
const MANY: usize = 5 * uring::PROVIDED_BUFFERS as usize;

fn on_one_core<F: Future<Output = ()> + 'static>(main: impl Fn() -> F + Clone + Send + 'static) {
    for result in run_cores(1, move |_| main()) {
        result.unwrap();
    }
}

/// A client's end, and the server's descriptor.
fn pair() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    (client, listener.accept().unwrap().0.into())
}

async fn recv(stream: &mut RingStream) -> io::Result<BufLease> {
    poll_fn(|cx| stream.poll_recv(cx)).await
}

async fn send(stream: &mut RingStream, mut bytes: Vec<u8>) -> io::Result<usize> {
    let len = bytes.len();
    poll_fn(|cx| stream.poll_send(cx, &mut bytes, 0..len)).await
}

async fn polled_once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> bool {
    poll_fn(|cx| Poll::Ready(poll(cx).is_ready())).await
}

#[test]
fn more_receives_at_once_than_buffers_all_get_their_bytes() {
    on_one_core(|| async {
        let ring = Ring::of_this_core().unwrap();
        let (mut clients, mut streams): (Vec<_>, Vec<_>) = (0..MANY)
            .map(|_| pair())
            .map(|(client, fd)| (client, RingStream::new(&ring, fd).unwrap()))
            .unzip();
        for round in 0..5 {
            for stream in &mut streams {
                assert!(!polled_once(|cx| stream.poll_recv(cx)).await);
            }
            // All are armed before any byte comes.
            runtime::breathe().await;
            for (number, client) in clients.iter_mut().enumerate() {
                client.write_all(format!("{round}/{number}").as_bytes()).unwrap();
            }
            // Bodies hold what they came in, beyond the number of buffers.
            let mut held = Vec::new();
            for (number, stream) in streams.iter_mut().enumerate() {
                let lease = recv(stream).await.unwrap();
                assert_eq!(&lease[..], format!("{round}/{number}").as_bytes());
                held.push(lease.freeze());
            }
        }
    });
}

#[test]
fn a_kernel_without_deferred_work_serves_too() {
    on_one_core(|| async {
        let bell = runtime::make_event().unwrap();
        let uring = Uring::with_deferred_work(bell.as_fd(), false).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let ring = Ring::start(bell, Doorbell::install().unwrap(), null.into(), uring);
        let (mut client, fd) = pair();
        let mut stream = RingStream::new(&ring, fd).unwrap();
        spawn_detached("echo", async move {
            for _ in 0..1000 {
                let lease = recv(&mut stream).await.unwrap();
                assert_eq!(send(&mut stream, lease.to_vec()).await.unwrap(), 2);
            }
        });
        let (told, tell) = crate::base::oneshot::channel();
        let client = std::thread::spawn(move || {
            for _ in 0..1000 {
                client.write_all(b"ab").unwrap();
                client.read_exact(&mut [0; 2]).unwrap();
            }
            // Behind the last echo: FIN, as the session dropped its stream.
            assert_eq!(client.read(&mut [0]).unwrap(), 0);
        });
        spawn_detached("wait", async move {
            while !client.is_finished() {
                runtime::sleep(Duration::from_millis(1)).await;
            }
            client.join().unwrap();
            told.send(());
        });
        tell.await.unwrap();
    });
}

#[test]
fn a_stream_dropped_with_a_receive_and_a_send_under_way_is_closed() {
    on_one_core(|| async {
        let ring = Ring::of_this_core().unwrap();
        let (mut client, fd) = pair();
        let mut stream = RingStream::new(&ring, fd).unwrap();
        let mut bytes = vec![0; 64 << 20];
        assert!(!polled_once(|cx| stream.poll_recv(cx)).await);
        assert!(!polled_once(|cx| stream.poll_send(cx, &mut bytes, 0..64 << 20)).await);
        runtime::sleep(Duration::from_millis(20)).await;
        drop(stream);
        // FIN behind what had gone out before, while the core lives on.
        let reader = std::thread::spawn(move || client.read_to_end(&mut Vec::new()).unwrap());
        while !reader.is_finished() {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        assert!(reader.join().unwrap() < 64 << 20);
    });
}

#[test]
fn a_socket_taken_off_the_ring_brings_what_was_received() {
    on_one_core(|| async {
        let ring = Ring::of_this_core().unwrap();
        let (mut client, fd) = pair();
        let mut stream = RingStream::new(&ring, fd).unwrap();
        for round in 0..100 {
            assert!(!polled_once(|cx| stream.poll_recv(cx)).await);
            if round % 2 == 0 {
                runtime::breathe().await;
            }
            client.write_all(b"some").unwrap();
            if round % 3 == 0 {
                runtime::breathe().await;
            }
            let (fd, received) = stream.into_parts().unwrap();
            stream = RingStream::new(&ring, fd).unwrap();
            let mut bytes = received.map(|lease| lease.to_vec()).unwrap_or_default();
            while bytes.len() < 4 {
                bytes.extend_from_slice(&recv(&mut stream).await.unwrap());
            }
            assert_eq!(bytes, b"some");
        }
    });
}

#[test]
fn a_receive_that_was_expected_begins_with_the_send() {
    on_one_core(|| async {
        let ring = Ring::of_this_core().unwrap();
        let (mut client, fd) = pair();
        let mut stream = RingStream::new(&ring, fd).unwrap();
        let is_receiving = |stream: &RingStream| ring.with(|all| all.is_receiving(stream.key)).unwrap();
        for round in 0..100_u8 {
            let expects = round % 3 > 0;
            if expects {
                stream.expect_input();
            }
            let mut bytes = vec![round];
            assert!(!polled_once(|cx| stream.poll_send(cx, &mut bytes, 0..1)).await);
            assert_eq!(is_receiving(&stream), expects);
            if round % 3 == 1 {
                // The answer comes before anybody has asked for it, or for the end of the send.
                client.write_all(&[round]).unwrap();
                runtime::breathe().await;
            }
            poll_fn(|cx| stream.poll_send(cx, &mut bytes, 0..1))
                .await
                .unwrap();
            if round % 3 != 1 {
                client.write_all(&[round]).unwrap();
            }
            assert_eq!(&recv(&mut stream).await.unwrap()[..], [round]);
            assert!(!is_receiving(&stream));
            let mut sent = [0];
            client.read_exact(&mut sent).unwrap();
            assert_eq!(sent, [round]);
        }
    });
}

#[test]
fn where_no_ring_can_be_had_the_other_back_end_serves() {
    const TEST: &str = "net::ring::tests::where_no_ring_can_be_had_the_other_back_end_serves";
    in_own_process(TEST, || {
        on_one_core(|| async {
            let mut hoard = Vec::new();
            while let Ok(file) = std::fs::File::open("/dev/null") {
                hoard.push(file);
            }
            assert!(Backend::Ring.ring().is_none());
            drop(hoard);
            // The next core, or a reload, may have more luck.
            assert!(Backend::Ring.ring().is_some());
            assert!(Backend::Tcp.ring().is_none());
        });
    });
}

#[test]
fn the_end_of_a_core_leaves_no_descriptor_behind() {
    const TEST: &str = "net::ring::tests::the_end_of_a_core_leaves_no_descriptor_behind";
    in_own_process(TEST, || {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let end_with_sessions = || {
            on_one_core(|| async {
                let ring = Ring::of_this_core().unwrap();
                for _ in 0..10 {
                    let (client, fd) = pair();
                    let mut stream = RingStream::new(&ring, fd).unwrap();
                    // Never ends: the executor drops it neither.
                    spawn_detached("session", async move {
                        let _ = recv(&mut stream).await;
                    });
                    std::mem::forget(client);
                }
                runtime::sleep(Duration::from_millis(5)).await;
            });
        };
        let bare = || on_one_core(|| async {});
        bare();
        let before = open();
        bare();
        let of_glommio = open() - before;
        end_with_sessions();
        let first = open();
        end_with_sessions();
        let forgotten_clients = 10;
        assert_eq!(open() - first, forgotten_clients + of_glommio);
    });
}

/// The kernel marks deferred work after it has queued it. Work that is run in between leaves its mark behind with nothing to run,
/// and nothing takes it away before more work comes. A driver that believed it turned without end.
#[test]
fn a_mark_of_deferred_work_that_was_run_already_does_not_keep_the_ring_awake() {
    // Of 20,000 rounds, 9 left a mark behind.
    const ROUNDS: usize = 50_000;
    let bell = runtime::make_event().unwrap();
    let mut sockets = Sockets::new(Uring::new(bell.as_fd()).unwrap());
    let (mut client, fd) = pair();
    let key = sockets.add(fd);
    let (ask, asked) = std::sync::mpsc::sync_channel::<()>(0);
    let peer = std::thread::spawn(move || {
        for () in asked {
            client.write_all(b"x").unwrap();
        }
    });
    let mut cx = Context::from_waker(Waker::noop());
    for round in 0..ROUNDS {
        assert!(sockets.poll_recv(key, &mut cx).is_pending());
        ask.send(()).unwrap();
        // Turning always, so that the kernel is often about to run what is just being queued.
        let mut turns = 0_u32;
        while sockets.is_receiving(key) {
            sockets
                .turn_with(&mut Vec::new(), |uring| uring.enter(0))
                .unwrap();
            turns += 1;
            // The peer may want this very CPU.
            if turns > 100 {
                std::thread::yield_now();
            }
        }
        assert!(matches!(sockets.poll_recv(key, &mut cx), Poll::Ready(Ok(lease)) if &lease[..] == b"x"));
        assert!(sockets.may_sleep(), "round {round}: nothing is under way");
        sockets.wake_up();
    }
    drop(ask);
    peer.join().unwrap();
}

/// Another thread answers each question at once or after the nap has begun, and a peer keeps the ring awake now and then. A
/// wake that were lost would leave the core waiting for ever.
#[test]
fn answers_from_other_threads_find_a_core_that_turns_naps_or_sleeps() {
    const QUESTIONS: u64 = 5_000;
    on_one_core(|| async {
        let ring = Ring::of_this_core().unwrap();
        let (mut client, fd) = pair();
        let mut stream = RingStream::new(&ring, fd).unwrap();
        spawn_detached("echo", async move {
            while let Ok(lease) = recv(&mut stream).await {
                if lease.is_empty() || send(&mut stream, lease.to_vec()).await.is_err() {
                    return;
                }
            }
        });
        let peer = std::thread::spawn(move || {
            for round in 0..QUESTIONS / 10 {
                client.write_all(b"x").unwrap();
                client.read_exact(&mut [0]).unwrap();
                // Longer than a nap every now and then.
                if round % 50 == 0 {
                    std::thread::park_timeout(Duration::from_millis(3));
                }
            }
        });
        let control = runtime::Control::start().unwrap();
        for question in 0..QUESTIONS {
            let answer = control.compute(runtime::Share::Local, move || {
                if question % 100 == 0 {
                    std::thread::park_timeout(Duration::from_millis(2));
                }
                question
            });
            assert_eq!(answer.await.unwrap(), question);
        }
        peer.join().unwrap();
    });
}
