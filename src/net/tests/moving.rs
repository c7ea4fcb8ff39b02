//! Connections that move between cores while bytes are in flight.

use super::*;
use crate::net::Detached;
use crate::runtime::{Endpoint, mesh};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Connections moving at once.
const CONNECTIONS: usize = 8;

/// Bytes each of them sends, without waiting for their echo.
const BYTES: usize = 400_000;

/// Bytes echoed on one core before the connection moves on.
const BYTES_PER_STAY: usize = 4_000;

type Moving = Endpoint<Detached, ()>;

/// Echoes a while here, then sends the connection to the other core.
async fn stay(core: Core, end: Rc<Moving>, mut conn: Conn, moves: Arc<AtomicUsize>) {
    let mut echoed = 0;
    while echoed < BYTES_PER_STAY {
        let lease = conn.recv().await.unwrap();
        if lease.is_empty() {
            return conn.close().await;
        }
        echoed += lease.len();
        // So that moves find a receive under way, too.
        if lease.len().is_multiple_of(2) {
            conn.expect_input();
        }
        conn.send(lease.to_vec()).await.unwrap();
    }
    moves.fetch_add(1, Ordering::Relaxed);
    end.call(1 - core.id, conn.detach()).await.unwrap();
}

/// Two cores that hand every connection back and forth. Returns the number of moves.
fn serve_moving(backend: Backend, tls: Option<Arc<ServerConfig>>, client: impl FnOnce(SocketAddr)) -> usize {
    let moves = Arc::new(AtomicUsize::new(0));
    let counter = moves.clone();
    let ends = Arc::new(Mutex::new(
        mesh::<Detached, ()>(2).into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let start = move |core: Core| {
        let end = Rc::new(ends.lock()[core.id].take().unwrap());
        let (serving, counter, tls) = (end.clone(), counter.clone(), tls.clone());
        let (arrivals, arrivals_counter) = (end.clone(), counter.clone());
        spawn_detached("moving", async move {
            let arrive = move |detached| {
                let conn = Conn::attach(detached).unwrap();
                spawn_detached(
                    "stay",
                    stay(core, arrivals.clone(), conn, arrivals_counter.clone()),
                );
                std::future::ready(())
            };
            serving.serve(arrive).await;
        });
        move |mut conn: Conn| -> SessionTask {
            let (end, counter, tls) = (end.clone(), counter.clone(), tls.clone());
            Box::pin(async move {
                if let Some(tls) = tls {
                    conn.start_tls(tls).await.unwrap();
                }
                stay(core, end, conn, counter).await;
            })
        }
    };
    serve(backend, 2, start, client);
    moves.load(Ordering::Relaxed)
}

/// Sends everything in one thread and reads it back in another, so that bytes are under way at every move.
fn send_and_check(mut sender: impl Write + Send + 'static, mut receiver: impl Read, seed: usize) {
    let sent = pattern(BYTES + seed).split_off(seed);
    let bytes = sent.clone();
    let sending = std::thread::spawn(move || {
        for part in bytes.chunks(777) {
            sender.write_all(part).unwrap();
        }
        sender
    });
    let mut back = vec![0; BYTES];
    receiver.read_exact(&mut back).unwrap();
    assert!(back == sent);
    drop(sending.join().unwrap());
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn no_byte_is_lost_when_plain_connections_move() {
    on_each_backend(|backend| {
        let moves = serve_moving(backend, None, |address| {
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|seed| {
                    std::thread::spawn(move || {
                        let stream = connect(address);
                        send_and_check(stream.try_clone().unwrap(), &stream, seed);
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
        });
        // Each receive takes 16 KiB at most, so a stay may be longer than its 4,000 bytes.
        assert!(
            moves >= CONNECTIONS * BYTES / (BYTES_PER_STAY + 16 * 1024),
            "{moves}"
        );
    });
}

/// Connections that send `ahead` bytes in records of `record` each, all of them at once, before they read their echo: as a
/// TLS state has one owner, in one thread.
fn move_encrypted(backend: Backend, ahead: usize, record: usize) {
    let (server, client) = tls_pair(&[], BOTH);
    let echo = move |address, client, seed| {
        let mut stream = connect_tls(address, client);
        let sent = pattern(BYTES + seed).split_off(seed);
        for part in sent.chunks(ahead) {
            for record in part.chunks(record) {
                stream.conn.writer().write_all(record).unwrap();
            }
            stream.flush().unwrap();
            let mut back = vec![0; part.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == part);
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    };
    let moves = serve_moving(backend, Some(server), |address| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|seed| {
                let client = client.clone();
                std::thread::spawn(move || echo(address, client, seed))
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert!(
        moves >= CONNECTIONS * BYTES / (BYTES_PER_STAY + 16 * 1024),
        "{moves}"
    );
}

#[test]
fn no_byte_is_lost_when_tls_connections_move() {
    on_each_backend(|backend| move_encrypted(backend, 30_000, 777));
}

/// So large that what has come of one leaves no room for all that comes next: the rest waits beside the TLS state.
#[test]
fn no_byte_is_lost_when_tls_connections_with_large_records_move() {
    on_each_backend(|backend| move_encrypted(backend, 60_000, 12_000));
}

#[test]
fn a_move_leaks_no_descriptor() {
    // In a process of its own: other tests open and close descriptors all the time.
    const TEST: &str = "net::tests::moving::a_move_leaks_no_descriptor";
    in_own_process(TEST, || {
        on_each_backend(|backend| {
            let mut counts = Vec::new();
            serve_moving(backend, None, |address| {
                let stream = connect(address);
                let echoed = |len: usize| {
                    (&stream).write_all(&pattern(len)).unwrap();
                    (&stream).read_exact(&mut vec![0; len]).unwrap();
                };
                for _ in 0..20 {
                    (0..20).for_each(|_| echoed(BYTES_PER_STAY));
                    counts.push(open_descriptors());
                }
            });
            // A descriptor of a move under way may be counted; 380 leaked ones would show.
            assert!(counts[19] <= counts[0] + 2, "{counts:?}");
        })
    });
}
