//! Dialogues as text: who says what, with the messages they speak of; and their run against one server.
//!
//! ```text
//! # What it is of
//! = letter                      a message, up to a line with a dot; lines end in CRLF
//! Subject: one
//!
//! text
//! .
//! A SELECT INBOX                a session's command; sessions log in when they first speak, X does not
//! A APPEND INBOX %letter        becomes a literal that does not wait
//! A FETCH 1 (FLAGS) (CHANGEDSINCE $modseq)
//! ```
//!
//! `$modseq` and `$validity` stand for the number that this server named last in this session.

use super::normal::{self, Exchange};
use crate::common::PASSWORD;
use crate::common::talk::{Answer, Imap, Wire};
use std::collections::HashMap;

/// One dialogue.
pub struct Dialogue<'a> {
    /// Its file's name without the ending.
    pub name: &'a str,
    pub text: &'a str,
}

struct Session {
    imap: Imap,
    modseq: String,
    validity: String,
}

impl Dialogue<'_> {
    /// The command lines in order, each with what it was answered.
    pub fn run(&self, port: u16, user: &str) -> Vec<Exchange> {
        let mut letters = HashMap::new();
        let mut sessions = HashMap::new();
        let mut exchanges = Vec::new();
        let mut lines = self.text.lines();
        while let Some(line) = lines.next() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("= ") {
                let body: Vec<&str> = lines.by_ref().take_while(|line| *line != ".").collect();
                letters.insert(name.trim(), format!("{}\r\n", body.join("\r\n")));
                continue;
            }
            let (who, command) = line
                .split_once(' ')
                .unwrap_or_else(|| panic!("{}: {line}", self.name));
            let session = sessions
                .entry(who)
                .or_insert_with(|| Session::open(port, (who != "X").then_some(user)));
            // Shown when the test fails, for instance because no answer comes.
            println!("{} on port {port}: {line}", self.name);
            exchanges.push(Exchange {
                line: line.to_owned(),
                answer: session.say(command, &letters),
            });
        }
        exchanges
    }
}

impl Session {
    fn open(port: u16, user: Option<&str>) -> Session {
        let mut wire = Wire::connect(port);
        let greeting = wire.line().unwrap_or_default();
        assert!(greeting.starts_with("* OK"), "{greeting}");
        let mut imap = Imap::over(wire);
        if let Some(user) = user {
            imap.command(&format!("LOGIN {user}@example.org {PASSWORD}")).ok();
        }
        Session {
            imap,
            modseq: "1".to_owned(),
            validity: "1".to_owned(),
        }
    }

    fn say(&mut self, command: &str, letters: &HashMap<&str, String>) -> Vec<String> {
        let mut command = command
            .replace("$modseq", &self.modseq)
            .replace("$validity", &self.validity);
        for (name, text) in letters {
            let literal = format!("{{{}+}}\r\n{text}", text.len());
            command = replace_word(&command, &format!("%{name}"), &literal);
        }
        let answer = self.imap.command(&command);
        self.remember(&answer);
        normal::answer(&answer)
    }

    fn remember(&mut self, answer: &Answer) {
        let texts = answer.untagged.iter().chain([&answer.outcome]);
        for text in texts {
            if let Some(number) = number_behind(text, "HIGHESTMODSEQ ") {
                self.modseq = number;
            } else if let Some(number) = number_behind(text, "MODSEQ (") {
                self.modseq = number;
            }
            if let Some(number) = number_behind(text, "[UIDVALIDITY ") {
                self.validity = number;
            }
        }
    }
}

fn number_behind(text: &str, label: &str) -> Option<String> {
    let (_, rest) = text.split_once(label)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

/// Replaces `word` where no letter, digit or dash follows it.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(word) {
        out.push_str(before);
        let goes_on = after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '-');
        out.push_str(if goes_on { word } else { by });
        rest = after;
    }
    out.push_str(rest);
    out
}
