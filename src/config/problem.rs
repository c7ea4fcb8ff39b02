//! What is wrong with a file, said so that it can be mended without looking elsewhere.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// From 1; `None`: it is about something that does not stand in the file.
    pub line: Option<usize>,
    pub key: String,
    /// As it stands there.
    pub found: Option<String>,
    pub expected: String,
    /// What to do; empty when `expected` says it.
    pub hint: String,
}

/// Longest piece of the file that is repeated: a secret pasted into the wrong place should not fill the log.
const FOUND_CHARS_MAX: usize = 60;

impl Problem {
    pub fn of(file: &Path, line: Option<usize>, key: &str) -> Self {
        Self {
            file: file.to_owned(),
            line,
            key: key.to_owned(),
            found: None,
            expected: String::new(),
            hint: String::new(),
        }
    }

    #[must_use]
    pub fn found(mut self, found: impl fmt::Display) -> Self {
        let visible = |c: char| if c.is_control() { '?' } else { c };
        let text: String = found.to_string().trim().chars().map(visible).collect();
        let short: String = text.chars().take(FOUND_CHARS_MAX).collect();
        let dots = if short.len() < text.len() { "…" } else { "" };
        self.found = Some(short + dots);
        self
    }

    #[must_use]
    pub fn expected(mut self, expected: &str, hint: &str) -> Self {
        expected.clone_into(&mut self.expected);
        hint.clone_into(&mut self.hint);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.key)?;
        if let Some(found) = &self.found {
            write!(f, ": found {found}")?;
        }
        if !self.expected.is_empty() {
            write!(f, "; expected {}", self.expected)?;
        }
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// All of them, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{count} problem{s} in the configuration")?;
        for problem in &self.0 {
            write!(f, "\n{problem}")?;
        }
        Ok(())
    }
}
