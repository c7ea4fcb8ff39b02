//! Dialogues as the RFCs print them, played against a session.
//!
//! A line `C: …` is sent, with the tag it has; lines `S: …` behind it are what comes back, all of it, in this order. In them
//! `~` stands for any text. Several `C:` lines in a row are sent at once: a command with its literals. Lines that begin with
//! `--` are remarks, for the section of the RFC that the dialogue behind them is from.

use super::world::{Client, World};

/// Plays a dialogue; what differs is shown with what came.
pub fn play(world: &mut World, client: &mut Client, dialogue: &str) {
    let mut sent = Vec::new();
    let mut expected: Vec<&str> = Vec::new();
    for line in dialogue.lines().map(str::trim_start).chain(["C: "]) {
        // An empty line has nothing behind its mark.
        let line = match line {
            "C:" => "C: ",
            "S:" => "S: ",
            line => line,
        };
        if let Some(line) = line.strip_prefix("C: ") {
            if !expected.is_empty() {
                compare(world, client, &sent.join("\r\n"), &expected);
                sent.clear();
                expected.clear();
            }
            sent.push(line);
        } else if let Some(line) = line.strip_prefix("S: ") {
            expected.push(line);
        } else {
            assert!(
                line.is_empty() || line.starts_with("--"),
                "no line of a dialogue: {line}"
            );
        }
    }
}

fn compare(world: &mut World, client: &mut Client, sent: &str, expected: &[&str]) {
    client.send(format!("{sent}\r\n"));
    world.run();
    let text = client.read();
    let came: Vec<&str> = text.trim_end_matches("\r\n").split("\r\n").collect();
    let is_same = came.len() == expected.len()
        && came
            .iter()
            .zip(expected)
            .all(|(came, expected)| matches(came, expected));
    assert!(
        is_same,
        "C: {sent}\nexpected\n  {}\ncame\n  {}",
        expected.join("\n  "),
        came.join("\n  ")
    );
}

fn matches(text: &str, pattern: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('~') else {
        return text == pattern;
    };
    let Some(text) = text.strip_prefix(head) else {
        return false;
    };
    (0..=text.len())
        .filter(|at| text.is_char_boundary(*at))
        .any(|at| matches(&text[at..], rest))
}

#[test]
fn a_pattern_matches_what_it_says() {
    for (text, pattern, is_match) in [
        ("* 1 EXISTS", "* 1 EXISTS", true),
        ("* 1 EXISTS", "* ~ EXISTS", true),
        ("* 1 EXISTS", "* ~", true),
        ("* 1 EXISTS", "* 2 ~", false),
        ("* 1 EXISTS", "~RECENT", false),
        ("a OK [X 12] done", "a OK [X ~] ~", true),
    ] {
        assert_eq!(matches(text, pattern), is_match, "{text} {pattern}");
    }
}
