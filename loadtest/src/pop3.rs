//! The POP3 load: whole sessions one after another on each connection's place: USER, PASS, STAT, UIDL, some RETR, QUIT.
//!
//! A unit is a session (see `reading`), which ends with the answer to QUIT.
//! With pipelining (RFC 2449 §6.6) the commands up to STAT go out in one piece, and those after its answer in another.
//! Nothing is deleted, so every session finds the same maildrop.

use crate::driver::{Next, Pace, Wire, Workload};
use crate::reading::{Readers, Reading};
use crate::run::{self, Common, Finish, Share};
use crate::stats::{Recorder, Report};
use crate::tls::Dialect;
use clap::Args;
use std::collections::BTreeMap;
use std::io;
use std::iter;
use std::time::Instant;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    reading: Reading,
    /// Messages fetched in each session, or as many as there are
    #[arg(long, default_value_t = 1)]
    retr: u64,
    /// Send USER, PASS and STAT in one piece, then UIDL, all RETR and QUIT in another
    #[arg(long)]
    pipelining: bool,
}

/// The `pop3` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let report = report(
        &options.common,
        &options.reading,
        options.retr,
        options.pipelining,
    )?;
    options.common.publish(&report)?;
    Ok(true)
}

/// Runs the load and tells how it went.
pub fn report(common: &Common, reading: &Reading, retr: u64, pipelining: bool) -> io::Result<Report> {
    let parameters = BTreeMap::from([
        ("logins", reading.logins.to_string()),
        ("pipelining", pipelining.to_string()),
        ("retr", retr.to_string()),
    ]);
    let build = |share: Share| {
        Ok(Pop3Load {
            readers: Readers::new(reading, common, share),
            retr,
            pipelining,
        })
    };
    run::run("pop3", "sessions", Dialect::Pop3, common, parameters, build)
}

/// Everything one thread's sessions share.
struct Pop3Load {
    readers: Readers,
    retr: u64,
    pipelining: bool,
}

/// The command whose answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    User,
    Pass,
    Stat,
    Uidl,
    Retr(u64),
    Quit,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Greeting => "greeting",
            Step::User => "USER",
            Step::Pass => "PASS",
            Step::Stat => "STAT",
            Step::Uidl => "UIDL",
            Step::Retr(_) => "RETR",
            Step::Quit => "QUIT",
        }
    }

    fn is_multi_line(self) -> bool {
        matches!(self, Step::Uidl | Step::Retr(_))
    }
}

struct Pop3Session {
    step: Step,
    /// True between a multi-line answer's `+OK` and its last dot.
    is_inside: bool,
    messages: u64,
    since: Option<Instant>,
    connected_at: Instant,
}

impl Pop3Load {
    fn begin(&mut self, session: &mut Pop3Session, wire: &mut Wire) -> Next {
        session.since = self.readers.begin(session.connected_at, wire.now);
        if session.since.is_none() {
            return Next::Rest;
        }
        self.ask(session, Step::User, wire);
        Next::Read
    }

    /// `step` is what the session waits for next. Its command is sent now, unless it went out with an earlier one.
    fn ask(&mut self, session: &mut Pop3Session, step: Step, wire: &mut Wire) {
        session.step = step;
        let retrieved = (1..=self.retr.min(session.messages)).map(Step::Retr);
        let together: Vec<Step> = match step {
            _ if !self.pipelining => vec![step],
            Step::User => vec![Step::User, Step::Pass, Step::Stat],
            Step::Uidl => iter::once(step).chain(retrieved).chain([Step::Quit]).collect(),
            _ => return,
        };
        let commands: String = together.into_iter().map(|step| self.command(step)).collect();
        wire.send(commands.as_bytes());
    }

    fn command(&mut self, step: Step) -> String {
        match step {
            Step::User => format!("USER {}\r\n", self.readers.next_login()),
            Step::Pass => format!("PASS {}\r\n", self.readers.password()),
            Step::Retr(number) => format!("RETR {number}\r\n"),
            other => format!("{}\r\n", other.name()),
        }
    }

    fn line(&mut self, session: &mut Pop3Session, line: &[u8], wire: &mut Wire) -> Next {
        if session.is_inside {
            if line != b"." {
                return Next::Read;
            }
            session.is_inside = false;
            return self.advance(session, wire);
        }
        let Some(answer) = line.strip_prefix(b"+OK") else {
            let command = session.step.name();
            self.readers.refused(&mut session.since, command, line);
            return Next::Abandon;
        };
        if session.step.is_multi_line() {
            session.is_inside = true;
            return Next::Read;
        }
        if session.step == Step::Stat {
            let count = String::from_utf8_lossy(answer);
            session.messages = count
                .split_whitespace()
                .next()
                .and_then(|n| n.parse().ok())
                .unwrap_or(0);
        }
        self.advance(session, wire)
    }

    /// The command under way is answered: on to the next.
    fn advance(&mut self, session: &mut Pop3Session, wire: &mut Wire) -> Next {
        let wanted = self.retr.min(session.messages);
        let next = match session.step {
            Step::Greeting => return self.begin(session, wire),
            Step::User => Step::Pass,
            Step::Pass => Step::Stat,
            Step::Stat => Step::Uidl,
            Step::Uidl if wanted > 0 => Step::Retr(1),
            Step::Retr(number) if number < wanted => Step::Retr(number + 1),
            Step::Uidl | Step::Retr(_) => Step::Quit,
            Step::Quit => {
                self.readers.done(&mut session.since, wire.now);
                return Next::Reconnect;
            }
        };
        self.ask(session, next, wire);
        Next::Read
    }
}

impl Workload for Pop3Load {
    type Session = Pop3Session;

    fn new_session(&mut self) -> Pop3Session {
        Pop3Session {
            step: Step::Greeting,
            is_inside: false,
            messages: 0,
            since: None,
            connected_at: Instant::now(),
        }
    }

    fn opened(&mut self, session: &mut Pop3Session, now: Instant) {
        *session = Pop3Session {
            connected_at: now,
            ..self.new_session()
        };
    }

    fn input(&mut self, session: &mut Pop3Session, bytes: &[u8], wire: &mut Wire) -> (usize, Next) {
        let mut used = 0;
        while let Some(length) = memchr::memchr(b'\n', &bytes[used..]) {
            let line = bytes[used..used + length].trim_ascii_end();
            used += length + 1;
            let next = self.line(session, line, wire);
            if next != Next::Read {
                return (used, next);
            }
        }
        (used, Next::Read)
    }

    fn wake(&mut self, session: &mut Pop3Session, wire: &mut Wire) -> Next {
        self.begin(session, wire)
    }

    fn lost(&mut self, session: &mut Pop3Session, error: &io::Error) {
        // Before any work a server may hang up on an idle peer.
        if session.step == Step::Greeting && session.since.is_none() && self.readers.is_open_loop {
            return;
        }
        self.readers.lost(&mut session.since, session.step.name(), error);
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.readers.pace
    }

    fn in_flight(&self) -> usize {
        self.readers.in_flight()
    }
}

impl Finish for Pop3Load {
    fn finish(self) -> io::Result<Recorder> {
        Ok(self.readers.recorder)
    }
}
