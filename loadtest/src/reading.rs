//! What the IMAP and the POP3 load share: who reads, whose turn it is, and the count of the sessions under way.
//!
//! A unit is a session. Its latency counts from connect, in an open loop from the intended moment, to the answer that
//! ends it.
//! Invariant: a session that began is ended once: done, refused or lost.

use crate::driver::Pace;
use crate::run::{Common, Share};
use crate::stats::Recorder;
use clap::Args;
use std::io;
use std::time::Instant;

/// Octets of a refusal that are kept, to tell refusals apart.
const REFUSAL_BYTES_MAX: usize = 40;

/// Who reads.
#[derive(Args, Clone, Debug)]
pub struct Reading {
    /// Logins, {} being a number from 1 to --logins
    #[arg(long, default_value = "user{}@example.org")]
    pub login_pattern: String,
    /// Accounts that log in, in turn
    #[arg(long, default_value_t = 8)]
    pub logins: u64,
    #[arg(long, default_value = "ringpost")]
    pub password: String,
}

/// One thread's share of the sessions.
pub struct Readers {
    reading: Reading,
    turn: u64,
    turn_step: u64,
    pub is_open_loop: bool,
    pub pace: Pace,
    pub recorder: Recorder,
    in_flight: usize,
}

impl Readers {
    pub fn new(reading: &Reading, common: &Common, share: Share) -> Readers {
        Readers {
            reading: reading.clone(),
            turn: share.thread,
            turn_step: share.threads,
            is_open_loop: common.rate.is_some(),
            pace: share.pace,
            recorder: share.recorder,
            in_flight: 0,
        }
    }

    /// Begins a session on a connection made at `connected_at`, if one is due: since when its latency counts.
    pub fn begin(&mut self, connected_at: Instant, now: Instant) -> Option<Instant> {
        let intended = self.pace.take(now)?;
        self.in_flight += 1;
        Some(if self.is_open_loop { intended } else { connected_at })
    }

    /// The next one's login name; no two threads have the same turns.
    pub fn next_login(&mut self) -> String {
        let number = self.turn % self.reading.logins.max(1) + 1;
        self.turn += self.turn_step;
        self.reading.login_pattern.replace("{}", &number.to_string())
    }

    pub fn password(&self) -> &str {
        &self.reading.password
    }

    /// The session, if it began (at `since`), is answered to its end.
    pub fn done(&mut self, since: &mut Option<Instant>, now: Instant) {
        if let Some(since) = since.take() {
            self.in_flight -= 1;
            self.recorder.done(since, now);
        }
    }

    /// Its `command` was answered with a refusal.
    pub fn refused(&mut self, since: &mut Option<Instant>, command: &str, answer: &[u8]) {
        let answer = &answer[..answer.len().min(REFUSAL_BYTES_MAX)];
        self.fail(since, command, &String::from_utf8_lossy(answer));
    }

    /// Its connection was lost while `command` was under way.
    pub fn lost(&mut self, since: &mut Option<Instant>, command: &str, error: &io::Error) {
        self.fail(since, command, &format!("connection lost ({})", error.kind()));
    }

    fn fail(&mut self, since: &mut Option<Instant>, command: &str, why: &str) {
        self.recorder.failed(command, why);
        self.in_flight -= usize::from(since.take().is_some());
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight
    }
}
