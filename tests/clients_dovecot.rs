//! The same dialogues to Dovecot and to Ringpost: every answer is the same, or the difference is explained.
//!
//! `differential/*.txt` are the dialogues, `differential/explained.md` the list of differences. A difference that is not
//! in the list fails, and so does one that is listed and no longer there. What fails is printed as the list wants it.

mod common;
#[path = "differential/dialogue.rs"]
mod dialogue;
#[path = "differential/dovecot.rs"]
mod dovecot;
#[path = "differential/explained.rs"]
mod explained;
#[path = "differential/normal.rs"]
mod normal;
#[path = "differential/systematic.rs"]
mod systematic;

use common::{Server, binary};
use dialogue::Dialogue;
use dovecot::Dovecot;
use explained::{Difference, Explained};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const DIALOGUES: &[&str] = &[
    "mailboxes",
    "fetch",
    "structure",
    "flags",
    "search",
    "sort",
    "copy",
    "condstore",
    "errors",
];

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn ringpost() -> Server {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(binary());
    command.args(["demo", "--port-offset", "auto", "--accounts", "20", "--data"]);
    command.arg(directory.path().join("store")).stdin(Stdio::null());
    Server::run(command).keeping(directory)
}

#[test]
fn dovecot_answers_the_same_or_the_list_says_why_not() {
    let Some(dovecot) = Dovecot::start() else { return };
    let server = ringpost();
    let mut explained = Explained::read(&read("explained.md"));
    let mut unexplained = Vec::new();
    let mut compared = 0;
    for (number, name) in (1..).zip(DIALOGUES) {
        let text = read(&format!("{name}.txt"));
        let dialogue = Dialogue { name, text: &text };
        let user = format!("user{number}");
        let theirs = dialogue.run(dovecot.port, &user);
        let ours = dialogue.run(server.port("imap"), &user);
        compared += theirs.len();
        for (theirs, ours) in theirs.into_iter().zip(ours) {
            let difference = Difference::between(dialogue.name, theirs, ours);
            unexplained.extend(difference.filter(|difference| !explained.covers(difference)));
        }
    }
    println!("{compared} answers compared");
    let texts: Vec<String> = unexplained.iter().map(Difference::to_string).collect();
    assert!(
        texts.is_empty(),
        "{} unexplained differences:\n\n{}",
        texts.len(),
        texts.join("\n")
    );
    let stale = explained.unused();
    assert!(stale.is_empty(), "explained, but no longer there: {stale:#?}");
}
