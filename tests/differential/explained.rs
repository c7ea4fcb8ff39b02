//! The list of differences: which answers differ, how, and why that is right.
//!
//! An entry of `explained.md`:
//!
//! ```text
//! ## fetch: A FETCH 1 (RFC822.SIZE)
//! - theirs
//! + ours
//! Why, in words.
//! ```
//!
//! Lines that both sides have are left out. The same command may differ several times in the same way; one entry covers
//! them all.

use super::normal::Exchange;
use super::systematic;
use std::fmt;

/// One answer that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub dialogue: String,
    pub line: String,
    /// Lines of Dovecot's answer that ours has not, and the other way round.
    pub theirs: Vec<String>,
    pub ours: Vec<String>,
}

impl Difference {
    pub fn between(dialogue: &str, theirs: Exchange, ours: Exchange) -> Option<Difference> {
        assert_eq!(theirs.line, ours.line);
        let (theirs, ours) = systematic::reconcile(theirs, ours);
        if theirs.answer == ours.answer {
            return None;
        }
        let only = |left: &[String], right: &[String]| -> Vec<String> {
            let mut rest = right.to_vec();
            let is_missing = |line: &&String| match rest.iter().position(|other| other == *line) {
                Some(place) => {
                    rest.remove(place);
                    false
                }
                None => true,
            };
            left.iter().filter(is_missing).cloned().collect()
        };
        Some(Difference {
            dialogue: dialogue.to_owned(),
            line: theirs.line,
            theirs: only(&theirs.answer, &ours.answer),
            ours: only(&ours.answer, &theirs.answer),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "## {}: {}", self.dialogue, self.line)?;
        self.theirs
            .iter()
            .try_for_each(|line| writeln!(out, "- {line}"))?;
        self.ours.iter().try_for_each(|line| writeln!(out, "+ {line}"))
    }
}

/// The list, and which of its entries were needed.
pub struct Explained {
    entries: Vec<(Difference, bool)>,
}

impl Explained {
    pub fn read(text: &str) -> Explained {
        let sections = text.split("\n## ").skip(1);
        let entries = sections.map(|section| (entry(section), false)).collect();
        Explained { entries }
    }

    pub fn covers(&mut self, difference: &Difference) -> bool {
        let found = self.entries.iter_mut().find(|(entry, _)| entry == difference);
        found.map(|(_, is_used)| *is_used = true).is_some()
    }

    pub fn unused(&self) -> Vec<&Difference> {
        let unused = self.entries.iter().filter(|(_, is_used)| !is_used);
        unused.map(|(entry, _)| entry).collect()
    }
}

#[track_caller]
fn entry(section: &str) -> Difference {
    let mut lines = section.lines();
    let head = lines.next().unwrap_or_default();
    let (dialogue, line) = head
        .split_once(": ")
        .unwrap_or_else(|| panic!("not DIALOGUE: COMMAND: {head}"));
    let mut entry = Difference {
        dialogue: dialogue.to_owned(),
        line: line.to_owned(),
        theirs: Vec::new(),
        ours: Vec::new(),
    };
    let mut has_reason = false;
    for line in lines {
        if let Some(text) = line.strip_prefix("- ") {
            entry.theirs.push(text.to_owned());
        } else if let Some(text) = line.strip_prefix("+ ") {
            entry.ours.push(text.to_owned());
        } else {
            has_reason |= !line.trim().is_empty();
        }
    }
    assert!(has_reason, "no reason is given for {head}");
    entry
}
