//! The process on its machine: what `init` makes, which user it becomes, what its manager hears.

use crate::common::site::{Plan, Site};
use crate::common::{PATIENCE, binary, run, signal, succeed};
use crate::users::{Users as _, text};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[test]
fn init_overwrites_nothing() {
    let host = Site::plain();
    assert_eq!(host.told["admin"], "admin@example.org");
    let output = run(&mut Plan::default().init(&host.config(), &host.data()));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("there already"), "{}", text(&output));
    let elsewhere = host.directory.path().join("other.toml");
    let output = run(&mut Plan::default().init(&elsewhere, &host.data()));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("a server's data"), "{}", text(&output));
    assert!(!elsewhere.exists());
    for secret in ["tls/default.key", "directory.sqlite", "dkim/example.org.rsa1.key"] {
        let mode = fs::metadata(host.data().join(secret))
            .expect("init made it")
            .mode();
        assert_eq!(mode & 0o077, 0, "{secret} is for its owner only");
    }
}

#[test]
fn root_is_given_up_after_the_ports_are_bound() {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let has_nobody = fs::read_to_string("/etc/passwd").is_ok_and(|users| users.contains("\nnobody:"));
    if !is_root || !has_nobody {
        println!("SKIPPED: this is not root");
        return;
    }
    let mut host = Site::of(&Plan {
        user: "nobody",
        ..Plan::default()
    });
    host.start();
    let status = fs::read_to_string(format!("/proc/{}/status", host.server().pid())).expect("it runs");
    for name in ["Uid:", "Gid:", "Groups:"] {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("the kernel says it");
        assert!(!line.split_whitespace().skip(1).any(|id| id == "0"), "{line}");
    }
    // Also what a command writes belongs to that user.
    let server = host.take_server();
    assert!(server.terminate().success());
    host.order(&["account", "add", "bob@example.org", "--none"]);
    fs::remove_file(host.data().join("LOCK")).expect("the lock's file is there");
    let (data, saved) = (host.data(), host.directory.path().join("saved"));
    let store = |command: &str, paths: &[&Path]| {
        succeed(Command::new(binary()).args(["store", command]).args(paths));
    };
    store("check", &[&data]);
    store("salvage", &[&data, &saved]);
    assert_nothing_is_roots(&data);
    assert_nothing_is_roots(&saved);
}

#[track_caller]
fn assert_nothing_is_roots(directory: &Path) {
    for entry in fs::read_dir(directory).expect("it is there") {
        let entry = entry.expect("it can be read");
        let facts = entry.metadata().expect("its owner");
        assert_ne!(facts.uid(), 0, "{:?}", entry.path());
        if facts.is_dir() {
            assert_nothing_is_roots(&entry.path());
        }
    }
}

#[test]
fn a_service_manager_is_told_how_the_server_is() {
    let mut host = Site::plain();
    let path = host.directory.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    let (saying, heard) = std::sync::mpsc::channel();
    // A manager reads all the time: what is not read is not told.
    std::thread::spawn(move || {
        let mut octets = [0; 256];
        while let Ok(count) = manager.recv(&mut octets) {
            let said = String::from_utf8_lossy(&octets[..count]).into_owned();
            if saying.send(said).is_err() {
                return;
            }
        }
    });
    host.start_with(|serve| {
        serve
            .env("NOTIFY_SOCKET", &path)
            // Its queue takes some ten lines: so seldom that it is not full, however late this manager reads.
            .env("WATCHDOG_USEC", "2000000")
            .env_remove("WATCHDOG_PID");
    });
    let mut alive = 0;
    let mut hear = |wanted: &str| {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = heard.recv_timeout(PATIENCE).expect("it says something");
            alive += u32::from(said == "WATCHDOG=1");
            if said.starts_with(wanted) {
                return said;
            }
            assert!(Instant::now() < deadline, "{wanted} was not said, but {said}");
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    signal(host.server().pid(), "HUP");
    assert!(hear("RELOADING=1").contains("MONOTONIC_USEC="));
    hear("READY=1");
    signal(host.server().pid(), "TERM");
    hear("STOPPING=1");
    assert!(alive >= 2);
}
