//! Plain connections.

use super::*;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

#[test]
fn bytes_come_back_in_order_however_they_are_split() {
    on_each_backend(|backend| {
        serve_one_core(backend, echo, |address| {
            let mut stream = connect(address);
            for part in [1, 2, 3, 100, 16 * 1024 - 1, 16 * 1024, 16 * 1024 + 1, 100_000] {
                let bytes = pattern(part);
                stream.write_all(&bytes).unwrap();
                let mut back = vec![0; part];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, bytes);
            }
            for byte in pattern(200) {
                stream.write_all(&[byte]).unwrap();
                let mut back = [0];
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, [byte]);
            }
        });
    });
}

#[test]
fn big_transfers_flow_both_ways_at_once() {
    on_each_backend(|backend| {
        const LEN: usize = 32 << 20;
        serve_one_core(backend, echo, |address| {
            let mut sender = connect(address);
            let mut receiver = sender.try_clone().unwrap();
            let sending = std::thread::spawn(move || {
                sender.write_all(&pattern(LEN)).unwrap();
                sender.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut back = Vec::new();
            receiver.read_to_end(&mut back).unwrap();
            sending.join().unwrap();
            assert!(back == pattern(LEN));
        });
    });
}

#[test]
fn a_peer_that_does_not_read_holds_up_the_sender_until_the_deadline() {
    on_each_backend(|backend| {
        let (told, tell) = std::sync::mpsc::channel();
        let session = move |mut conn: Conn| {
            let told = told.clone();
            async move {
                conn.set_deadline(Some(Instant::now() + Duration::from_millis(200)));
                // More than any pair of socket buffers holds.
                let error = conn.send(vec![7; 64 << 20]).await.unwrap_err();
                let second = conn.send(vec![7]).await.unwrap_err();
                told.send((error.kind(), second.kind())).unwrap();
            }
        };
        serve_one_core(backend, session, |address| {
            let _stream = connect(address);
            let kinds = tell.recv_timeout(CLIENT_PATIENCE).unwrap();
            assert_eq!(kinds, (ErrorKind::TimedOut, ErrorKind::BrokenPipe));
        });
    });
}

#[test]
fn a_deadline_ends_a_receive_and_can_be_moved() {
    on_each_backend(|backend| {
        let (told, tell) = std::sync::mpsc::channel();
        let session = move |mut conn: Conn| {
            let told = told.clone();
            async move {
                let start = Instant::now();
                // Armed early, moved later, then earlier than what is armed.
                conn.set_deadline(Some(start + Duration::from_millis(50)));
                assert_eq!(conn.recv().await.unwrap_err().kind(), ErrorKind::TimedOut);
                conn.set_deadline(Some(start + Duration::from_secs(100)));
                let pending = crate::runtime::timeout(Duration::from_millis(20), conn.recv()).await;
                assert!(pending.is_none());
                conn.set_deadline(Some(start + Duration::from_millis(150)));
                assert_eq!(conn.recv().await.unwrap_err().kind(), ErrorKind::TimedOut);
                conn.set_deadline(None);
                told.send(Ok(start.elapsed())).unwrap();
                told.send(Err(conn.recv().await.unwrap().to_vec())).unwrap();
            }
        };
        serve_one_core(backend, session, |address| {
            let mut stream = connect(address);
            let elapsed = tell.recv_timeout(CLIENT_PATIENCE).unwrap().unwrap();
            // Far from the 100 s that stood between.
            assert!(
                elapsed >= Duration::from_millis(150) && elapsed < Duration::from_secs(50),
                "{elapsed:?}"
            );
            stream.write_all(b"late").unwrap();
            assert_eq!(tell.recv_timeout(CLIENT_PATIENCE).unwrap().unwrap_err(), b"late");
        });
    });
}

#[test]
fn a_dropped_receive_loses_nothing() {
    on_each_backend(|backend| {
        let session = |mut conn: Conn| async move {
            // Nothing comes before this is said.
            assert!(
                crate::runtime::timeout(Duration::ZERO, conn.recv())
                    .await
                    .is_none()
            );
            conn.send(b"?".to_vec()).await.unwrap();
            let mut received = 0;
            let mut bytes = Vec::new();
            while received < 2000 {
                // A timeout of 0 drops the wait whenever it would be pending.
                match crate::runtime::timeout(Duration::ZERO, conn.recv()).await {
                    Some(lease) => {
                        let lease = lease.unwrap();
                        received += lease.len();
                        bytes.extend_from_slice(&lease);
                    }
                    None => crate::runtime::breathe().await,
                }
            }
            conn.send(bytes).await.unwrap();
            conn.close().await;
        };
        serve_one_core(backend, session, |address| {
            let mut stream = connect(address);
            stream.read_exact(&mut [0]).unwrap();
            let bytes = pattern(2000);
            for part in bytes.chunks(10) {
                stream.write_all(part).unwrap();
            }
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, bytes);
        });
    });
}

#[test]
fn input_at_hand_is_seen_and_the_end_is_not_input() {
    on_each_backend(|backend| {
        let session = |mut conn: Conn| async move {
            assert!(!conn.has_input());
            conn.send(b"?".to_vec()).await.unwrap();
            while !conn.has_input() {
                crate::runtime::breathe().await;
            }
            assert_eq!(&conn.recv().await.unwrap()[..], b"abc");
            assert!(!conn.has_input());
            assert!(conn.recv().await.unwrap().is_empty());
            assert!(!conn.has_input());
            assert!(conn.recv().await.unwrap().is_empty());
            conn.send(b"!".to_vec()).await.unwrap();
        };
        serve_one_core(backend, session, |address| {
            let mut stream = connect(address);
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"abc").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, b"!");
        });
    });
}

#[test]
fn the_last_reply_arrives_although_the_peer_still_sends() {
    on_each_backend(|backend| {
        let session = |mut conn: Conn| async move {
            conn.recv().await.unwrap();
            conn.send(b"421 enough\r\n".to_vec()).await.unwrap();
            conn.close().await;
        };
        serve_one_core(backend, session, |address| {
            let mut stream = connect(address);
            stream.write_all(&vec![1; 200_000]).unwrap();
            let mut back = Vec::new();
            stream.read_to_end(&mut back).unwrap();
            assert_eq!(back, b"421 enough\r\n");
        });
    });
}

/// Counted in bytes, not in time: how long they take depends on who else wants the CPUs.
#[test]
fn a_peer_that_floods_does_not_keep_others_waiting() {
    const FLOOD: usize = 256 << 20;
    on_each_backend(|backend| {
        let (told, tell) = std::sync::mpsc::channel();
        // Swallows without a pause of its own; a neighbour on the same core wants a turn again and again.
        let session = move |mut conn: Conn| {
            let told = told.clone();
            async move {
                let since_turn = Rc::new(Cell::new(0_usize));
                let turn = since_turn.clone();
                spawn_detached("neighbour", async move {
                    loop {
                        crate::runtime::sleep(Duration::from_micros(10)).await;
                        turn.set(0);
                    }
                });
                let (mut swallowed, mut longest) = (0, 0);
                while let Ok(lease) = conn.recv().await {
                    if lease.is_empty() {
                        break;
                    }
                    swallowed += lease.len();
                    since_turn.set(since_turn.get() + lease.len());
                    longest = longest.max(since_turn.get());
                }
                told.send((swallowed, longest)).unwrap();
            }
        };
        serve_one_core(backend, session, |address| {
            let mut stream = connect(address);
            let bytes = vec![0; 1 << 20];
            for _ in 0..FLOOD / bytes.len() {
                stream.write_all(&bytes).unwrap();
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let (swallowed, longest) = tell.recv_timeout(CLIENT_PATIENCE).unwrap();
            assert_eq!(swallowed, FLOOD);
            // A turn after each burst of 256 KiB, or sooner; without the pause after as much as comes in 100 ms.
            assert!(longest <= 1 << 20, "{longest}");
        });
    });
}
