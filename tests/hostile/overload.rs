//! More connections than there are descriptors: some are told so, none of it costs CPU, and it is over when they go.

use crate::common::talk::{Smtp, Wire, assert_code, inbox_count};
use crate::common::{PATIENCE, Server, has_client};
use std::fs;
use std::time::{Duration, Instant};

/// CPU time that the process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the server runs");
    // The second field is the name in parentheses; user and system time are fields 14 and 15, in hundredths.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

fn too_many_connections(backend: &str) {
    let mut server = Server::wrapped(
        &["prlimit", "--nofile=300:300", "--"],
        &["--network", backend, "--cores", "2"],
    );
    let mut open: Vec<Smtp> = Vec::new();
    let (mut greeted, mut shed) = (0, 0);
    for _ in 0..400 {
        let mut smtp = Smtp {
            wire: Wire::connect(server.port("smtp")),
        };
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
    // A few come and are turned away, beside one that says nothing: a core that tries again and again uses all of its CPU.
    let before = cpu_time(server.pid());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        let _ = Wire::connect(server.port("smtp")).within(Duration::from_millis(50));
        assert!(open[0].wire.within(Duration::from_millis(50)).is_empty());
    }
    let spent = cpu_time(server.pid()) - before;
    assert!(spent < began.elapsed() / 2, "{backend}: spins, {spent:?} of CPU");
    // Those that were greeted are served all the while.
    open[0].deliver("user1@example.org", "Subject: x\r\n\r\nx\r\n");
    drop(open);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut smtp = Smtp {
            wire: Wire::connect(server.port("smtp")),
        };
        if smtp.reply().starts_with("220") {
            break;
        }
        assert!(Instant::now() < until, "{backend}: did not recover");
    }
    assert!(server.is_running() && inbox_count(&server, "user1") > 0);
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
