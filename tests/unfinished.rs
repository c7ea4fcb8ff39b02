//! A salvage or an export that did not end is never taken for the whole.

mod common;

use common::{binary, demo, run, succeed};
use std::fs;
use std::path::Path;
use std::process::Command;

fn store(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("store").args(arguments);
    command
}

fn refused(command: &mut Command) {
    let output = run(command);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {why}");
    assert!(why.contains("only a part is in it"), "{command:?}: {why}");
}

#[test]
fn what_was_filled_in_part_is_refused_by_every_command() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let of = |name: &str| root.path().join(name).to_str().expect("a plain name").to_owned();
    let (mail, data, new, out, other) = (of("mail"), of("data"), of("new"), of("out"), of("other"));
    for directory in ["cur", "new", "tmp"] {
        fs::create_dir_all(Path::new(&mail).join(directory)).expect("room");
    }
    fs::write(Path::new(&mail).join("cur/1.a:2,S"), "Subject: a\r\n\r\na\r\n").expect("room");
    let import = |data: &str, account: &str, from: &str| {
        store(&[
            "import",
            data,
            "--account",
            account,
            "--from",
            from,
            "--format",
            "maildir",
        ])
    };
    succeed(&mut import(&data, "1", &mail));
    // A command that had nothing to write leaves the log as whole as one that had.
    let again = run(&mut import(&data, "1", &mail));
    assert_eq!(again.status.code(), Some(2));
    let checked = succeed(&mut store(&["check", &data]));
    let checked = String::from_utf8_lossy(&checked).into_owned();
    assert!(!checked.contains("note:"), "{checked}");
    succeed(&mut store(&["salvage", &data, &new]));
    succeed(&mut store(&[
        "export",
        &data,
        "--account",
        "1",
        "--to",
        &out,
        "--format",
        "maildir",
    ]));
    succeed(&mut store(&["check", &new]));
    for filled in [&new, &out] {
        let mark = Path::new(filled).join("UNFINISHED");
        assert!(!mark.exists(), "{filled} is finished");
        // As a kill leaves it.
        fs::write(mark, "x").expect("room");
    }
    refused(&mut store(&["check", &new]));
    refused(&mut store(&["stat", &new]));
    refused(&mut store(&["salvage", &new, &other]));
    refused(&mut store(&["undelete", &new, "--account", "1"]));
    refused(&mut demo(Path::new(&new)));
    refused(&mut import(&new, "9", &mail));
    refused(&mut import(&data, "9", &out));
}
