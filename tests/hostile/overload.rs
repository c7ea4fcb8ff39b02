//! More connections than there are descriptors: some are told so, nobody tries without a pause, and it is over when they go.

use crate::common::talk::{Smtp, Wire, assert_code, inbox_count};
use crate::common::{Server, demo, has_client, wait_until};
use std::process::Command;
use std::time::{Duration, Instant};

const CORES: u128 = 2;

/// Between two attempts of a listener that has no descriptor (`net::listener`).
const PAUSE: Duration = Duration::from_millis(50);

/// A demo that has three hundred descriptors and says each time that it had none.
fn small_server(backend: &str) -> Server {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let demo = demo(&directory.path().join("store"));
    let mut command = Command::new("prlimit");
    command.args(["--nofile=300:300", "--"]).arg(demo.get_program());
    command
        .args(demo.get_args())
        .args(["--network", backend, "--cores", &CORES.to_string()])
        .env("RINGPOST_LOG", "info,ringpost::net::listener=debug");
    Server::run(command).keeping(directory)
}

fn connected(server: &Server) -> Smtp {
    Smtp {
        wire: Wire::connect(server.port("smtp")),
    }
}

fn too_many_connections(backend: &str) {
    let began = Instant::now();
    let mut server = small_server(backend);
    let mut open: Vec<Smtp> = Vec::new();
    let (mut greeted, mut shed) = (0, 0);
    for _ in 0..400 {
        let mut smtp = connected(&server);
        match smtp.reply().get(..3) {
            Some("220") => greeted += 1,
            Some("421") | None => shed += 1,
            other => panic!("{other:?}"),
        }
        open.push(smtp);
    }
    assert!(
        greeted >= 100 && shed >= 100,
        "{backend}: {greeted} greeted, {shed} shed"
    );
    assert_code(&open[0].command("EHLO client.example.net"), "250");
    // A few come and are turned away, beside one that says nothing.
    for _ in 0..10 {
        let _ = connected(&server).wire.within(Duration::from_millis(50));
        assert!(open[0].wire.within(Duration::from_millis(50)).is_empty());
    }
    // Those that were greeted are served all the while.
    open[0].deliver("user1@example.org", "Subject: x\r\n\r\nx\r\n");
    drop(open);
    wait_until("the server has descriptors again", || {
        connected(&server).reply().starts_with("220")
    });
    assert!(server.is_running() && inbox_count(&server, "user1") > 0);
    let log = server.terminate_for_log();
    let attempts = log.matches("connections closed for want of descriptors").count() as u128;
    // Whoever is over the number of connections is told so before that; behind each attempt lies a pause. A core that spins
    // makes thousands more, and uses all of its CPU.
    let most = CORES * (began.elapsed().as_millis() / PAUSE.as_millis() + 1);
    assert!(
        attempts <= most,
        "{backend}: {attempts} attempts, at most {most} with a pause"
    );
}

#[test]
fn more_connections_than_descriptors_are_turned_away_on_the_ring() {
    if has_client("prlimit") {
        too_many_connections("ring");
    }
}

#[test]
fn more_connections_than_descriptors_are_turned_away_on_tcp() {
    if has_client("prlimit") {
        too_many_connections("tcp");
    }
}
