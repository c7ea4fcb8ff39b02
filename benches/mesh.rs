//! What it costs to hand a request to another core, and what a busy neighbour costs.
//!
//! 1. Calls per second and round-trip times between two cores with 1 and 32 calls in flight, over Ringpost's mesh and,
//!    in the same run, over `tokio::sync::mpsc` with a `oneshot` per reply.
//! 2. Round-trip times of a 4-byte ping on a connection of a core that computes meanwhile in slices under 1 ms, with
//!    `breathe()` between the slices and with a bare yield (the trap). Bound asked for: p99 ≤ 5 ms.
//! 3. Ping-pong on idle cores, plain and TLS over glommio's streams, plain over our ring, 1 and 50 connections, as a
//!    baseline for changes of `net`.
//! 4. Memory of an idle connection, the same three.
//!
//! Run: `cargo bench --bench mesh`, or with names of sections: `-- mesh beside ping-pong memory`. Two CPUs at least; figures from a machine that does other things are ratios only.

use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use ringpost::net::{Backend, BoundListener, Conn, Listener};
use ringpost::runtime::{Core, breathe, mesh, run_cores, sleep, spawn_detached};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, oneshot};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Idle connections whose memory is measured.
const IDLE_CONNECTIONS: usize = 2000;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(3);

/// One slice of the busy task: within the rule of at most 1 ms.
const SLICE: Duration = Duration::from_micros(800);

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// From 1 ns to 100 s.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(100_000_000_000, 3).expect("three digits are allowed")
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, idle, address, certificate] = &arguments[..]
        && idle == "idle-clients"
    {
        return be_idle_clients(address.parse().expect("an address"), certificate);
    }
    if let [_, memory, name] = &arguments[..]
        && memory == "idle-memory"
    {
        let servers = [Server::Plain, Server::Ring, Server::Secured];
        let server = servers.into_iter().find(|server| server.name() == name);
        return idle_memory(server.expect("named by the parent"));
    }
    // `cargo test --benches` and `cargo bench -- --test` only want to know that it builds and starts.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    ringpost::runtime::probe(2).expect("io_uring is needed");
    let wanted: Vec<&String> = arguments[1..]
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let sections: [(&str, fn()); 4] = [
        ("mesh", measure_mesh),
        ("beside", measure_beside),
        ("ping-pong", measure_ping_pong),
        ("memory", measure_memory),
    ];
    for (name, measure) in sections {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            measure();
        }
    }
}

fn measure_mesh() {
    println!("mesh: round trips between two cores");
    for in_flight in [1, 32] {
        report_calls("ringpost mesh", in_flight, over_mesh(in_flight));
        report_calls("tokio mpsc + oneshot", in_flight, over_tokio(in_flight));
    }
}

fn measure_beside() {
    println!("ping beside a task that computes in slices of {SLICE:?}");
    for (name, pause) in [("breathe()", Pause::Breathe), ("bare yield (trap)", Pause::Yield)] {
        report_times(name, &ping_beside_computation(pause));
    }
}

fn measure_ping_pong() {
    println!("ping-pong, one core");
    for connections in [1, 50] {
        ping_pong(
            &format!("{connections:>3} connections, bare glommio"),
            connections,
            Server::Bare,
        );
        for server in [Server::Plain, Server::Ring, Server::Secured] {
            let name = format!("{connections:>3} connections, {}", server.name());
            ping_pong(&name, connections, server);
        }
    }
}

fn measure_memory() {
    println!("resident memory per idle connection, of {IDLE_CONNECTIONS}");
    for server in [Server::Plain, Server::Ring, Server::Secured] {
        // In a fresh process, whose allocator keeps nothing of what was measured before.
        let program = std::env::current_exe().expect("running");
        let status = Command::new(program)
            .args(["idle-memory", server.name()])
            .status()
            .expect("runs again");
        assert!(status.success());
    }
}

fn report_calls(name: &str, in_flight: usize, times: Histogram<u64>) {
    let rate = times.len() as f64 / MEASURED.as_secs_f64();
    print!("  {in_flight:>2} in flight, {name:<22} {rate:>9.0} calls/s  ");
    print_quantiles(&times);
}

fn report_times(name: &str, times: &Histogram<u64>) {
    print!("  {name:<22} {:>7} pings  ", times.len());
    print_quantiles(times);
}

fn print_quantiles(times: &Histogram<u64>) {
    let us = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "p50 {:>9.1} µs  p99 {:>9.1} µs  max {:>9.1} µs",
        us(0.5),
        us(0.99),
        us(1.0)
    );
}

/// Keeps `in_flight` calls under way for the time measured.
async fn call_for_a_while(in_flight: usize, call: Rc<dyn Fn() -> Local<()>>) -> Histogram<u64> {
    let times = Rc::new(RefCell::new(histogram()));
    let running = Rc::new(Cell::new(in_flight));
    let until = Instant::now() + MEASURED;
    for _ in 0..in_flight {
        let (times, running, call) = (times.clone(), running.clone(), call.clone());
        spawn_detached("caller", async move {
            while Instant::now() < until {
                let start = Instant::now();
                call().await;
                times
                    .borrow_mut()
                    .saturating_record(start.elapsed().as_nanos() as u64);
            }
            running.set(running.get() - 1);
        });
    }
    while running.get() > 0 {
        sleep(Duration::from_millis(10)).await;
    }
    times.replace(histogram())
}

/// Runs the caller on core 0 and the server on core 1; the server ends when `stop` is called.
fn two_cores(
    main: impl Fn(Core) -> Local<Option<Histogram<u64>>> + Clone + Send + 'static,
) -> Histogram<u64> {
    let results = run_cores(2, main);
    let times = results
        .into_iter()
        .find_map(|result| result.expect("no core fails"));
    times.expect("core 0 measures")
}

fn over_mesh(in_flight: usize) -> Histogram<u64> {
    let ends = Arc::new(Mutex::new(
        mesh::<u64, u64>(2).into_iter().map(Some).collect::<Vec<_>>(),
    ));
    let stop = Arc::new(Notify::new());
    two_cores(move |core| {
        let end = Rc::new(ends.lock()[core.id].take().expect("taken once"));
        let stop = stop.clone();
        Box::pin(async move {
            if core.id == 1 {
                let serving = end.clone();
                spawn_detached(
                    "serve",
                    async move { serving.serve(|n| async move { n + 1 }).await },
                );
                stop.notified().await;
                return None;
            }
            let call: Rc<dyn Fn() -> Local<()>> = Rc::new(move || {
                let end = end.clone();
                Box::pin(async move { assert_eq!(end.call(1, 1).await, Ok(2)) })
            });
            let times = call_for_a_while(in_flight, call).await;
            stop.notify_one();
            Some(times)
        })
    })
}

fn over_tokio(in_flight: usize) -> Histogram<u64> {
    let (sender, receiver) = mpsc::channel::<(u64, oneshot::Sender<u64>)>(4096);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let sender = Arc::new(Mutex::new(Some(sender)));
    two_cores(move |core| {
        let (receiver, sender) = (receiver.clone(), sender.clone());
        Box::pin(async move {
            if core.id == 1 {
                let mut receiver = receiver.lock().take().expect("taken once");
                while let Some((n, reply)) = receiver.recv().await {
                    // A task per request, as the mesh has it.
                    spawn_detached("request", async move {
                        let _ = reply.send(n + 1);
                    });
                }
                return None;
            }
            let sender = sender.lock().take().expect("taken once");
            let call: Rc<dyn Fn() -> Local<()>> = Rc::new(move || {
                let sender = sender.clone();
                Box::pin(async move {
                    let (reply, replied) = oneshot::channel();
                    sender.send((1, reply)).await.expect("served");
                    assert_eq!(replied.await, Ok(2));
                })
            });
            Some(call_for_a_while(in_flight, call).await)
        })
    })
}

#[derive(Clone, Copy)]
enum Pause {
    Breathe,
    Yield,
}

/// A client pings a core on which another task computes.
fn ping_beside_computation(pause: Pause) -> Histogram<u64> {
    let stop = Arc::new(AtomicBool::new(false));
    let computing = stop.clone();
    let beside = move || {
        let stop = computing.clone();
        spawn_detached("computation", async move {
            while !stop.load(Ordering::Relaxed) {
                let slice = Instant::now();
                while slice.elapsed() < SLICE {
                    std::hint::spin_loop();
                }
                match pause {
                    Pause::Breathe => breathe().await,
                    Pause::Yield => yield_once().await,
                }
            }
        });
    };
    serve(Server::Plain, beside, move |address, _| {
        let times = ping(TcpStream::connect(address).expect("served"), MEASURED);
        stop.store(true, Ordering::Relaxed);
        times
    })
}

async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

fn ping(mut stream: impl Read + Write, time: Duration) -> Histogram<u64> {
    let mut times = histogram();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let start = Instant::now();
        stream.write_all(b"ping").expect("served");
        stream.read_exact(&mut [0; 4]).expect("served");
        times.saturating_record(start.elapsed().as_nanos() as u64);
    }
    times
}

/// Rate, times, and the CPU time of the server's core per request.
fn ping_pong(name: &str, connections: usize, server: Server) {
    let secured = server == Server::Secured;
    let core_thread = Arc::new(Mutex::new(0));
    let told = core_thread.clone();
    let beside = move || *told.lock() = thread_id();
    let times = serve(server, beside, move |address, config| {
        let sum = Mutex::new(histogram());
        while *core_thread.lock() == 0 {
            std::thread::yield_now();
        }
        let cpu = || cpu_ns(*core_thread.lock());
        let streams: Vec<_> = (0..connections)
            .map(|_| Client::connect(address, secured.then(|| config.clone())))
            .collect();
        let before = cpu();
        std::thread::scope(|scope| {
            for stream in streams {
                scope.spawn(|| {
                    let times = ping(stream, MEASURED);
                    sum.lock().add(times).expect("the same kind");
                });
            }
        });
        let used = cpu() - before;
        let sum = sum.into_inner();
        let rate = sum.len() as f64 / MEASURED.as_secs_f64();
        print!(
            "  {name:<22} {rate:>8.0}/s  server {:>5.2} µs CPU each  ",
            used as f64 / 1000.0 / sum.len() as f64
        );
        sum
    });
    print_quantiles(&times);
}

enum Client {
    Plain(TcpStream),
    Secured(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

impl Client {
    fn connect(address: SocketAddr, config: Option<Arc<rustls::ClientConfig>>) -> Self {
        let stream = TcpStream::connect(address).expect("served");
        stream.set_nodelay(true).expect("a live socket");
        let Some(config) = config else {
            return Self::Plain(stream);
        };
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let connection = rustls::ClientConnection::new(config, name).expect("a good configuration");
        let mut stream = rustls::StreamOwned::new(connection, stream);
        // The handshake is not measured.
        stream
            .write_all(b"a")
            .and_then(|()| stream.read_exact(&mut [0]))
            .expect("served");
        Self::Secured(Box::new(stream))
    }
}

impl Read for Client {
    fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(space),
            Self::Secured(stream) => stream.read(space),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secured(stream) => stream.write(bytes),
        }
    }
    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secured(stream) => stream.flush(),
        }
    }
}

fn client_config(certificate: &rustls::pki_types::CertificateDer<'static>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a good certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(
        builder
            .expect("a good provider")
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// What answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    /// glommio's listener and stream without Ringpost's layer, as what that layer is measured against.
    Bare,
    Plain,
    /// Plain over our own ring.
    Ring,
    Secured,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare glommio",
            Self::Plain => "plain",
            Self::Ring => "plain over the ring",
            Self::Secured => "TLS",
        }
    }
}

fn serve(
    server: Server,
    beside: impl Fn() + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr, Arc<rustls::ClientConfig>) -> Histogram<u64>,
) -> Histogram<u64> {
    serve_with(server, beside, |address, certificate| {
        client(address, client_config(&certificate))
    })
}

/// An echo server on one core, with `beside` called on it, while `client` runs here.
fn serve_with<T>(
    server: Server,
    beside: impl Fn() + Clone + Send + 'static,
    client: impl FnOnce(SocketAddr, rustls::pki_types::CertificateDer<'static>) -> T,
) -> T {
    let certificate = ringpost::tls::self_signed(&["localhost".to_owned()]).expect("made");
    let own = certificate.chain[0].clone();
    let config = (server == Server::Secured)
        .then(|| ringpost::tls::server_config(certificate, &[]).expect("a good certificate"));

    let bound = BoundListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = bound.local();
    let bound = Arc::new(Mutex::new(Some(bound)));
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let is_bare = server == Server::Bare;
    let backend = if server == Server::Ring {
        Backend::Ring
    } else {
        Backend::Tcp
    };
    let bare = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = if is_bare {
        bare.local_addr().expect("a live socket")
    } else {
        address
    };
    let bare = Arc::new(Mutex::new(Some(bare)));
    let server = std::thread::spawn(move || {
        run_cores(1, move |_| {
            if is_bare {
                let (bare, stopped, beside) = (bare.clone(), stopped.clone(), beside.clone());
                return Box::pin(async move {
                    beside();
                    let socket = bare.lock().take().expect("taken once");
                    spawn_detached("accept", bare_accept(socket));
                    stopped.notified().await;
                }) as Local<()>;
            }
            let bound = bound.lock().take().expect("taken once");
            let (config, stopped, beside) = (config.clone(), stopped.clone(), beside.clone());
            Box::pin(async move {
                beside();
                let listener = Rc::new(Listener::new(bound, backend).expect("a live socket"));
                let accepting = listener.clone();
                spawn_detached("accept", async move {
                    accepting
                        .accept_all(|conn| spawn_detached("echo", echo(conn, config.clone())))
                        .await;
                });
                stopped.notified().await;
                listener.stop();
            })
        })
    });
    let result = client(address, own);
    stop.notify_one();
    for ended in server.join().expect("the server's thread") {
        ended.expect("no core fails");
    }
    result
}

/// The clients are another process, so that only the server's memory is counted.
fn idle_memory(server: Server) {
    let secured = server == Server::Secured;
    let connect = |address: SocketAddr, certificate: &str, count: usize| {
        let mut child = Command::new(std::env::current_exe().expect("running"))
            .args(["idle-clients", &address.to_string(), certificate])
            .env("IDLE_CONNECTIONS", count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs again");
        child
            .stdout
            .as_mut()
            .expect("piped")
            .read_exact(&mut [0])
            .expect("all are connected");
        child
    };
    serve_with(
        server,
        || {},
        |address, certificate| {
            let path = std::env::temp_dir().join(format!("ringpost-bench-{}.der", std::process::id()));
            std::fs::write(&path, certificate).expect("room in the temporary directory");
            let path_text = if secured {
                path.to_str().expect("a plain path")
            } else {
                "plain"
            };
            // What is there once: pools, tables, code.
            let warm = connect(address, path_text, 100);
            let before = resident_bytes();
            let clients = connect(address, path_text, IDLE_CONNECTIONS);
            let after = resident_bytes();
            for mut child in [warm, clients] {
                drop(child.stdin.take());
                child.wait().expect("a child");
            }
            std::fs::remove_file(path).expect("written before");
            let each = after.saturating_sub(before) / IDLE_CONNECTIONS as u64;
            println!("  {:<22} {each} bytes", server.name());
        },
    );
}

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .expect("a number")
        * 4096
}

/// Connects, pings once over each connection, says so, and keeps all open until stdin ends.
fn be_idle_clients(address: SocketAddr, certificate: &str) {
    let count = std::env::var("IDLE_CONNECTIONS")
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a number");
    let config = (certificate != "plain").then(|| {
        let certificate = std::fs::read(certificate).expect("written by the parent");
        client_config(&certificate.into())
    });
    let mut clients: Vec<_> = (0..count)
        .map(|_| Client::connect(address, config.clone()))
        .collect();
    for client in &mut clients {
        client
            .write_all(b"ping")
            .and_then(|()| client.read_exact(&mut [0; 4]))
            .expect("served");
    }
    std::io::stdout()
        .write_all(b"!")
        .and_then(|()| std::io::stdout().flush())
        .expect("the parent listens");
    let _ = std::io::stdin().read(&mut [0]);
}

async fn bare_accept(socket: std::net::TcpListener) {
    // SAFETY: the descriptor is a listening socket and its ownership passes to the listener.
    let listener = unsafe { glommio::net::TcpListener::from_raw_fd(socket.into_raw_fd()) };
    while let Ok(mut stream) = listener.accept().await {
        stream.set_nodelay(true).expect("a live socket");
        spawn_detached("echo", async move {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count) = stream.read(&mut buffer).await
                && count > 0
                && stream.write_all(&buffer[..count]).await.is_ok()
            {}
        });
    }
}

async fn echo(mut conn: Conn, config: Option<Arc<rustls::ServerConfig>>) {
    if let Some(config) = config {
        conn.start_tls(config).await.expect("a good client");
    }
    let mut reply = Vec::new();
    while let Ok(lease) = conn.recv().await {
        if lease.is_empty() {
            break;
        }
        reply.extend_from_slice(&lease);
        drop(lease);
        match conn.send(reply).await {
            Ok(emptied) => reply = emptied,
            Err(_) => break,
        }
    }
}

fn thread_id() -> i32 {
    // SAFETY: gettid has no preconditions.
    unsafe { libc::gettid() }
}

fn cpu_ns(thread: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).expect("the core runs");
    text.split(' ')
        .next()
        .and_then(|ns| ns.parse().ok())
        .expect("a number")
}
