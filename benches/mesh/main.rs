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
//! Here: which sections run, and how figures are printed.

mod calls;
mod client;
mod idle;
mod pings;
mod server;

use hdrhistogram::Histogram;
use server::Server;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(3);

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
        return idle::be_clients(address.parse().expect("an address"), certificate);
    }
    if let [_, memory, name] = &arguments[..]
        && memory == "idle-memory"
    {
        let servers = [Server::Plain, Server::Ring, Server::Secured];
        let server = servers.into_iter().find(|server| server.name() == name);
        return idle::measure_one(server.expect("named by the parent"));
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
        ("mesh", calls::measure),
        ("beside", pings::measure_beside),
        ("ping-pong", pings::measure_alone),
        ("memory", idle::measure),
    ];
    for (name, measure) in sections {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            measure();
        }
    }
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
