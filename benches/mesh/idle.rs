//! Memory of connections on which nothing happens, counted in a process of its own.

use crate::client::{Client, client_config};
use crate::server::{Server, serve_with};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// Idle connections whose memory is measured.
const IDLE_CONNECTIONS: usize = 2000;

pub fn measure() {
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

/// The clients are another process, so that only the server's memory is counted.
pub fn measure_one(server: Server) {
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
pub fn be_clients(address: SocketAddr, certificate: &str) {
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
