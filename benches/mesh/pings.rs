//! Pings of a few octets: to a core that computes meanwhile, and to one that is idle.

use crate::client::Client;
use crate::server::{Server, serve};
use crate::{MEASURED, histogram, print_quantiles};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use ringpost::runtime::{breathe, spawn_detached};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One slice of the busy task: within the rule of at most 1 ms.
const SLICE: Duration = Duration::from_micros(800);

pub fn measure_beside() {
    println!("ping beside a task that computes in slices of {SLICE:?}");
    for (name, pause) in [("breathe()", Pause::Breathe), ("bare yield (trap)", Pause::Yield)] {
        report_times(name, &ping_beside_computation(pause));
    }
}

pub fn measure_alone() {
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

fn report_times(name: &str, times: &Histogram<u64>) {
    print!("  {name:<22} {:>7} pings  ", times.len());
    print_quantiles(times);
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
