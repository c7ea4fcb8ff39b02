//! The crash harness against a toy server: it must pass a correct one, and catch each planted bug, or its figures for
//! the real one mean nothing.

use std::path::Path;
use std::process::Command;

/// Runs `loadtest crash` against the toy with a planted bug. Returns its exit code and output.
fn crash(bug: &str, rounds: u32) -> (Option<i32>, String) {
    let toy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_server.py");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("toy-{bug}-{}", std::process::id()));
    std::fs::create_dir_all(&place).expect("a directory for the toy's data");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            "crash",
            "--seconds-per-round",
            "0.6",
            "--connections",
            "8",
            "--accounts",
            "3",
        ])
        .args([
            "--expunge-above",
            "50",
            "--rounds",
            &rounds.to_string(),
            "--binary",
        ])
        .arg(&toy)
        .arg("--data")
        .arg(place.join("data"))
        .arg("--journals")
        .arg(place.join("journals"))
        .env("FAKE_BUG", bug)
        .output()
        .expect("loadtest starts");
    let _ = std::fs::remove_dir_all(&place);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Kills before a planted bug must have shown. Each comes at a moment of its own, so some show nothing; the first one that
/// does is the last.
const KILLS_MAX: u32 = 100;

fn assert_caught(bug: &str, fault: &str) {
    let (code, output) = crash(bug, KILLS_MAX);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(fault), "{output}");
}

#[test]
fn a_server_that_keeps_its_word_passes() {
    let (code, output) = crash("", 5);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("5 kills"), "{output}");
}

#[test]
fn a_reply_before_the_write_is_caught() {
    // Mail or a change, whichever the kill takes first.
    assert_caught("early", "FAULT");
}

#[test]
fn half_a_message_is_caught() {
    assert_caught("torn", "damaged");
}

#[test]
fn changed_uids_are_caught() {
    assert_caught("uid", "had UID");
}

#[test]
fn doubled_mail_is_caught() {
    assert_caught("twice", "2 times");
}

#[test]
fn forgotten_flags_are_caught() {
    assert_caught("flags", "has flags");
}

#[test]
fn expunged_mail_that_comes_back_is_caught() {
    assert_caught("expunge", "came back");
}

#[test]
fn a_move_that_leaves_the_message_is_caught() {
    assert_caught("copy", "2 times");
}
