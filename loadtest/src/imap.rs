//! The IMAP load: whole sessions one after another on each connection's place: LOGIN, SELECT, FETCH, LOGOUT.
//!
//! A unit is a session (see `reading`), which ends with the tagged answer of LOGOUT. A session whose command is refused
//! is counted as failed, by command and answer.

use crate::client::literal_length;
use crate::driver::{Next, Pace, Wire, Workload};
use crate::reading::{Readers, Reading};
use crate::run::{self, Common, Finish, Share};
use crate::stats::{Recorder, Report};
use crate::tls::Dialect;
use clap::Args;
use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    reading: Reading,
    /// What is fetched of every message
    #[arg(long, default_value = "FLAGS")]
    items: String,
}

/// The `imap` command.
pub fn main(options: &Options) -> io::Result<bool> {
    let report = report(&options.common, &options.reading, &options.items)?;
    options.common.publish(&report)?;
    Ok(true)
}

/// Runs the load and tells how it went.
pub fn report(common: &Common, reading: &Reading, items: &str) -> io::Result<Report> {
    let parameters = BTreeMap::from([
        ("logins", reading.logins.to_string()),
        ("items", items.to_owned()),
    ]);
    let build = |share: Share| {
        Ok(ImapLoad {
            readers: Readers::new(reading, common, share),
            items: items.to_owned(),
        })
    };
    run::run("imap", "sessions", Dialect::Imap, common, parameters, build)
}

/// Everything one thread's sessions share.
struct ImapLoad {
    readers: Readers,
    items: String,
}

const COMMANDS: [&str; 4] = ["LOGIN", "SELECT", "FETCH", "LOGOUT"];

struct ImapSession {
    has_greeting: bool,
    /// Index in `COMMANDS` of the one that was sent last.
    step: usize,
    since: Option<Instant>,
    connected_at: Instant,
    /// Octets of a literal that are still to come.
    skip: usize,
    is_empty: bool,
}

impl ImapLoad {
    fn begin(&mut self, session: &mut ImapSession, wire: &mut Wire) -> Next {
        session.since = self.readers.begin(session.connected_at, wire.now);
        if session.since.is_none() {
            return Next::Rest;
        }
        session.step = 0;
        self.send(session, wire);
        Next::Read
    }

    fn send(&mut self, session: &ImapSession, wire: &mut Wire) {
        let command = match session.step {
            0 => {
                let login = self.readers.next_login();
                format!("t0 LOGIN \"{login}\" \"{}\"\r\n", self.readers.password())
            }
            1 => "t1 SELECT INBOX\r\n".to_owned(),
            2 => format!("t2 FETCH 1:* ({})\r\n", self.items),
            _ => "t3 LOGOUT\r\n".to_owned(),
        };
        wire.send(command.as_bytes());
    }

    fn line(&mut self, session: &mut ImapSession, line: &[u8], wire: &mut Wire) -> Next {
        if !session.has_greeting {
            session.has_greeting = true;
            return self.begin(session, wire);
        }
        if line == b"* 0 EXISTS" {
            session.is_empty = true;
        }
        let Some(outcome) = tagged(line, session.step) else {
            return Next::Read;
        };
        if !outcome.starts_with(b"OK") {
            let command = COMMANDS[session.step];
            self.readers.refused(&mut session.since, command, outcome);
            return Next::Abandon;
        }
        if session.step == 3 {
            self.readers.done(&mut session.since, wire.now);
            return Next::Reconnect;
        }
        // 1:* of an empty mailbox is an error to some servers.
        session.step += if session.step == 1 && session.is_empty {
            2
        } else {
            1
        };
        self.send(session, wire);
        Next::Read
    }
}

/// The outcome and text of the tagged response to command number `step`.
fn tagged(line: &[u8], step: usize) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"t")?;
    let rest = rest.strip_prefix(&[b'0' + step as u8])?;
    rest.strip_prefix(b" ")
}

impl Workload for ImapLoad {
    type Session = ImapSession;

    fn new_session(&mut self) -> ImapSession {
        ImapSession {
            has_greeting: false,
            step: 0,
            since: None,
            connected_at: Instant::now(),
            skip: 0,
            is_empty: false,
        }
    }

    fn opened(&mut self, session: &mut ImapSession, now: Instant) {
        *session = ImapSession {
            connected_at: now,
            ..self.new_session()
        };
    }

    fn input(&mut self, session: &mut ImapSession, bytes: &[u8], wire: &mut Wire) -> (usize, Next) {
        let mut used = 0;
        while used < bytes.len() {
            let skipped = session.skip.min(bytes.len() - used);
            session.skip -= skipped;
            used += skipped;
            let Some(length) = memchr::memchr(b'\n', &bytes[used..]) else {
                break;
            };
            let line = bytes[used..used + length].trim_ascii_end();
            used += length + 1;
            session.skip = literal_length(line).unwrap_or(0);
            let next = self.line(session, line, wire);
            if next != Next::Read {
                return (used, next);
            }
        }
        (used, Next::Read)
    }

    fn wake(&mut self, session: &mut ImapSession, wire: &mut Wire) -> Next {
        self.begin(session, wire)
    }

    fn lost(&mut self, session: &mut ImapSession, error: &io::Error) {
        // Before any work a server may hang up on an idle peer.
        if session.has_greeting && session.since.is_none() {
            return;
        }
        self.readers
            .lost(&mut session.since, COMMANDS[session.step], error);
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.readers.pace
    }

    fn in_flight(&self) -> usize {
        self.readers.in_flight()
    }
}

impl Finish for ImapLoad {
    fn finish(self) -> io::Result<Recorder> {
        Ok(self.readers.recorder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tag_of_the_command_under_way_ends_it() {
        assert_eq!(tagged(b"t2 OK done", 2), Some(&b"OK done"[..]));
        assert_eq!(tagged(b"t1 OK done", 2), None);
        assert_eq!(tagged(b"* 2 FETCH (FLAGS ())", 2), None);
    }
}
