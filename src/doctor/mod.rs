//! `ringpost doctor`: what this machine and its domain are like, what is advised, and why. Changes nothing.
//!
//! Invariants: nothing is set; a file is made in the data directory to time its disk, and removed. A finding says what is,
//! what should be, why, and how to look; what cannot be found out is said to be unknown, not to be well.
//! Exit codes: 0 all is well; 1 something is advised; 2 something keeps Ringpost from starting or makes its promises void.
//! Not here: what a configuration says (`boot`); `tuning/` has the settings themselves, each with its way back.

pub mod certificates;
pub mod chain;
pub mod domain;
mod kernel;
pub mod listeners;
mod machine;
mod storage;
mod talk;

use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// It could not be found out.
    Unknown,
    /// It works, and would work better otherwise.
    Advice,
    /// It does not work, or is not safe.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// What is.
    pub found: String,
    /// How much it matters.
    pub verdict: Verdict,
    /// What should be; empty when all is well.
    pub advised: String,
    /// Why.
    pub why: &'static str,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>, why: &'static str) -> Self {
        Self {
            what,
            found: found.into(),
            verdict: Verdict::Good,
            advised: String::new(),
            why,
        }
    }

    fn unknown(what: &'static str, found: impl Into<String>, why: &'static str) -> Self {
        Self {
            verdict: Verdict::Unknown,
            ..Self::good(what, found, why)
        }
    }

    /// The same, but `advised`.
    fn but(self, verdict: Verdict, advised: impl Into<String>) -> Self {
        Self {
            verdict,
            advised: advised.into(),
            ..self
        }
    }
}

/// Looks at everything; `data` is where the store is or will be.
#[must_use]
pub fn examine(data: &Path) -> Vec<Finding> {
    let mut findings = kernel::examine();
    findings.extend(storage::examine(data));
    findings.extend(machine::examine());
    findings
}

/// Whether the directory of accounts does what it should.
#[must_use]
pub fn directory(backend: &str, checked: Result<(), String>) -> Finding {
    let what = "directory";
    let why = "who is here, and whether a password is right; without it senders hear 451";
    match checked {
        Ok(()) => Finding::good(what, backend, why),
        Err(cause) => Finding::good(what, cause, why).but(Verdict::Problem, "one that answers"),
    }
}

/// Prints the findings; the exit code is that of the worst.
#[must_use]
pub fn report(findings: &[Finding], as_json: bool) -> ExitCode {
    if as_json {
        match serde_json::to_string_pretty(findings) {
            Ok(json) => println!("{json}"),
            Err(error) => eprintln!("ringpost: {error}"),
        }
    } else {
        findings.iter().for_each(print);
    }
    exit_code(findings)
}

fn print(finding: &Finding) {
    let sign = match finding.verdict {
        Verdict::Good => "ok     ",
        Verdict::Unknown => "?      ",
        Verdict::Advice => "advice ",
        Verdict::Problem => "PROBLEM",
    };
    println!("{sign}  {:24} {}", finding.what, finding.found);
    if !finding.advised.is_empty() {
        println!("{:35}→ {}", "", finding.advised);
    }
    if finding.verdict != Verdict::Good {
        println!("{:35}  {}", "", finding.why);
    }
}

fn exit_code(findings: &[Finding]) -> ExitCode {
    match findings.iter().map(|finding| finding.verdict).max() {
        Some(Verdict::Problem) => ExitCode::from(2),
        Some(Verdict::Advice) => ExitCode::from(1),
        _ => ExitCode::SUCCESS,
    }
}

/// A file of /proc or /sys, without white space around it.
fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let good = Finding::good("x", "y", "z");
        let advice = good.clone().but(Verdict::Advice, "w");
        let problem = good.clone().but(Verdict::Problem, "w");
        let code = |findings: &[Finding]| format!("{:?}", exit_code(findings));
        assert_eq!(
            code(std::slice::from_ref(&good)),
            format!("{:?}", ExitCode::SUCCESS)
        );
        assert_eq!(
            code(&[advice.clone(), good.clone()]),
            format!("{:?}", ExitCode::from(1))
        );
        assert_eq!(code(&[problem, advice, good]), format!("{:?}", ExitCode::from(2)));
    }

    #[test]
    fn an_examination_leaves_nothing_behind_and_gives_a_reason_for_everything() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let findings = examine(directory.path());
        assert!(findings.len() > 12, "{findings:?}");
        assert!(findings.iter().all(|f| !f.why.is_empty() && !f.found.is_empty()));
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 0, "files were left in the data directory");
        let advised = |f: &&Finding| f.verdict >= Verdict::Advice && f.advised.is_empty();
        assert!(!findings.iter().any(|f| advised(&f)), "{findings:?}");
    }
}
