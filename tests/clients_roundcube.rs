//! Roundcube in a browser: the one client here that people see. A program of its own, so that it runs when no other does.

mod common;

use common::scripts::{has_python_module, python};
use common::{Server, has_client, port, skip_or_fail, succeed};
use std::fs;
use std::path::Path;

/// Debian's packages of Roundcube, PHP and Chromium. Ubuntu has Chromium as a snap only, which containers do not run:
/// there the test is skipped whatever RINGPOST_REQUIRE_CLIENTS says.
fn is_installed() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "ID=debian") {
        println!("SKIPPED: Roundcube and a browser are packages of Debian");
        return false;
    }
    let programs = ["php", "chromium", "chromedriver"];
    programs.iter().all(|program| has_client(program))
        && has_python_module("selenium")
        && (Path::new("/var/lib/roundcube/public_html").is_dir() || skip_or_fail("roundcube-core"))
}

#[test]
fn somebody_reads_searches_moves_and_writes_in_roundcube() {
    if is_installed() {
        let server = Server::start();
        succeed(python("roundcube", &server).env("RINGPOST_WEB", port::reserve().to_string()));
    }
}
