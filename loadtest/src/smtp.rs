//! The SMTP (and LMTP) load: mail transactions over many connections, as fast as the server acknowledges or at a rate.
//!
//! A transaction is MAIL, RCPT…, DATA (in one segment where PIPELINING is offered and wanted), 354, the message, its
//! reply. Latency counts from MAIL to that reply; on a connection's first message, when connections are limited to a
//! number of messages, from connect. In an open loop it counts from the intended moment.
//! Failure: a refused transaction is counted by stage and code, reset, and followed by a pause; a lost connection is
//! counted by its stage and made anew.

use crate::choice::{self, Accounts, MIX};
use crate::driver::{Next, Pace, Wire, Workload};
use crate::journal::Journal;
use crate::message::{MESSAGE_BYTES_MIN, MessageId, Template};
use crate::random;
use crate::run::{self, Common, Finish, Share};
use crate::stats::{Recorder, Report};
use crate::tls::Dialect;
use crate::verify;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    sending: Sending,
    /// When the load is over, check over IMAP at this host:port that everything acknowledged is there, once and unharmed
    #[arg(long, value_name = "HOST:PORT")]
    verify: Option<String>,
    /// Every account's password, for --verify
    #[arg(long, default_value = "ringpost")]
    password: String,
}

/// What is sent, to whom, and how.
#[derive(Args, Clone, Debug)]
pub struct Sending {
    /// Messages sent over a connection before it is closed and made anew; 0: it stays open
    #[arg(long, default_value_t = 0)]
    messages_per_connection: u64,
    /// Octets of a message, header included
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Sizes as in real mail instead (2 KiB to 4 MiB, 60 KiB on average)
    #[arg(long)]
    size_mix: bool,
    /// Recipients' addresses, {} being a number from 1 to --accounts
    #[arg(long, default_value = "user{}@example.org")]
    pub to_pattern: String,
    /// Accounts mail is sent to
    #[arg(long, default_value_t = 8)]
    pub accounts: u64,
    /// Choose accounts by Zipf's law with this exponent (1 is common); 0: uniformly
    #[arg(long, default_value_t = 0.0)]
    zipf: f64,
    /// Recipients of each message
    #[arg(long, default_value_t = 1)]
    recipients: u64,
    /// Send MAIL, RCPT and DATA in one segment where the server offers PIPELINING
    #[arg(long)]
    pipelining: bool,
    /// Speak LMTP (one recipient a message only)
    #[arg(long)]
    lmtp: bool,
    /// Append to this file what was sent and what was acknowledged, for `verify`
    #[arg(long)]
    journal: Option<PathBuf>,
}

/// The `smtp` command.
pub fn main(options: &Options) -> io::Result<bool> {
    publish(options, &options.sending)
}

/// The `lmtp` command.
pub fn lmtp_main(options: &Options) -> io::Result<bool> {
    let sending = Sending {
        lmtp: true,
        ..options.sending.clone()
    };
    publish(options, &sending)
}

fn publish(options: &Options, sending: &Sending) -> io::Result<bool> {
    let Some(imap) = &options.verify else {
        let report = report(&options.common, sending)?;
        options.common.publish(&report)?;
        return Ok(true);
    };
    let own = std::env::temp_dir().join(format!("loadtest-journal-{:016x}", random::number()));
    let journal = sending.journal.clone().unwrap_or_else(|| own.clone());
    let sending = Sending {
        journal: Some(journal.clone()),
        ..sending.clone()
    };
    let report = report(&options.common, &sending)?;
    options.common.publish(&report)?;
    let outcome = verify::check(&journal, imap, None, &options.password);
    if journal == own {
        std::fs::remove_file(own)?;
    }
    outcome
}

/// Runs the load and tells how it went.
pub fn report(common: &Common, options: &Sending) -> io::Result<Report> {
    let accounts = options.accounts.max(1);
    let plan = Plan {
        is_lmtp: options.lmtp,
        is_pipelined: options.pipelining,
        messages_per_connection: options.messages_per_connection,
        to_pattern: options.to_pattern.clone(),
        accounts: Accounts::new(accounts, options.zipf),
        recipients: if options.lmtp {
            1
        } else {
            options.recipients.clamp(1, accounts)
        },
        sizes: if options.size_mix {
            MIX.map(|(size, _)| size).to_vec()
        } else {
            vec![options.size.max(MESSAGE_BYTES_MIN)]
        },
    };
    let (run_id, began) = (random::number(), Instant::now());
    let size = if options.size_mix {
        "mix".to_owned()
    } else {
        plan.sizes[0].to_string()
    };
    let parameters = BTreeMap::from([
        ("size", size),
        ("accounts", accounts.to_string()),
        ("zipf", options.zipf.to_string()),
        ("recipients", plan.recipients.to_string()),
        (
            "messages-per-connection",
            plan.messages_per_connection.to_string(),
        ),
        ("pipelining", plan.is_pipelined.to_string()),
    ]);
    let build = |share: Share| {
        let journal = options
            .journal
            .as_deref()
            .map(|path| Journal::append(path, began))
            .transpose()?;
        Ok(SmtpLoad::new(
            plan.clone(),
            run_id,
            (share.thread, share.threads),
            share.pace,
            share.recorder,
            journal,
        ))
    };
    let (name, dialect) = if options.lmtp {
        ("lmtp", Dialect::Lmtp)
    } else {
        ("smtp", Dialect::Smtp)
    };
    run::run(name, "messages", dialect, common, parameters, build)
}

/// What every connection of a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    pub is_lmtp: bool,
    pub is_pipelined: bool,
    /// 0: a connection is kept for good.
    pub messages_per_connection: u64,
    /// With `{}` in the place of an account's number.
    pub to_pattern: String,
    pub accounts: Accounts,
    pub recipients: u64,
    /// One for all, or those of `choice::MIX`.
    pub sizes: Vec<usize>,
}

impl Plan {
    pub fn account(&self, number: u64) -> String {
        self.to_pattern.replace("{}", &(number + 1).to_string())
    }
}

/// Everything one thread's connections share.
pub struct SmtpLoad {
    plan: Plan,
    /// One for each of the plan's sizes.
    templates: Vec<Template>,
    run: u64,
    counter: u64,
    counter_step: u64,
    pub pace: Pace,
    pub recorder: Recorder,
    pub journal: Option<Journal>,
    in_flight: usize,
    commands: Vec<u8>,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ehlo,
    Idle,
    /// Replies to MAIL, RCPT and DATA that have come.
    Envelope(u64),
    Body,
    Rset,
    Quit,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Stage::Greeting => "greeting",
            Stage::Ehlo => "EHLO",
            Stage::Idle => "idle",
            Stage::Envelope(0) => "MAIL",
            Stage::Envelope(_) => "RCPT or DATA",
            Stage::Body => "end of data",
            Stage::Rset => "RSET",
            Stage::Quit => "QUIT",
        }
    }
}

/// One connection.
pub struct SmtpSession {
    stage: Stage,
    offers_pipelining: bool,
    /// Since when the transaction under way counts, and which message it carries.
    current: Option<(Instant, MessageId)>,
    has_failed: bool,
    done: u64,
    connected_at: Option<Instant>,
    recipients: Vec<String>,
}

impl SmtpLoad {
    /// `thread` of `threads` numbers its messages so that no two threads share a number.
    pub fn new(
        plan: Plan,
        run: u64,
        (thread, threads): (u64, u64),
        pace: Pace,
        recorder: Recorder,
        journal: Option<Journal>,
    ) -> SmtpLoad {
        let templates = plan.sizes.iter().map(|size| Template::new(*size)).collect();
        SmtpLoad {
            plan,
            templates,
            run,
            counter: thread,
            counter_step: threads,
            pace,
            recorder,
            journal,
            in_flight: 0,
            commands: Vec::new(),
        }
    }

    /// Starts a transaction if one is due.
    fn begin(&mut self, session: &mut SmtpSession, wire: &mut Wire) -> Next {
        let limit = self.plan.messages_per_connection;
        if limit > 0 && session.done >= limit {
            session.stage = Stage::Quit;
            wire.send(b"QUIT\r\n");
            return Next::Read;
        }
        session.stage = Stage::Idle;
        let Some(mut since) = self.pace.take(wire.now) else {
            return Next::Rest;
        };
        if let Some(connected_at) = session.connected_at.take()
            && limit > 0
        {
            since = since.min(connected_at);
        }
        let id = MessageId {
            run: self.run,
            counter: self.counter,
        };
        self.counter += self.counter_step;
        session.current = Some((since, id));
        session.has_failed = false;
        session.recipients.clear();
        let (first, accounts) = (
            self.plan.accounts.pick(id.counter ^ id.run),
            self.plan.accounts.count(),
        );
        for offset in 0..self.plan.recipients {
            session
                .recipients
                .push(self.plan.account((first + offset) % accounts));
        }
        self.in_flight += 1;
        if let Some(journal) = &mut self.journal {
            let template = template(&mut self.templates, id);
            let digest = template.digest(id);
            journal.sending(
                id,
                &session.recipients.join(","),
                template.len(),
                &digest,
                wire.now,
            );
        }
        session.stage = Stage::Envelope(0);
        self.send_envelope(session, 0, wire);
        Next::Read
    }

    /// Sends the envelope's commands from `step` on: all of them when pipelined, else that one.
    fn send_envelope(&mut self, session: &SmtpSession, step: u64, wire: &mut Wire) {
        let is_pipelined = self.plan.is_pipelined && session.offers_pipelining;
        let recipients = session.recipients.len() as u64;
        let last = if is_pipelined { recipients + 1 } else { step };
        self.commands.clear();
        for step in step..=last {
            let outcome = if step == 0 {
                self.commands.write_all(b"MAIL FROM:<load@example.net>\r\n")
            } else if step <= recipients {
                write!(
                    self.commands,
                    "RCPT TO:<{}>\r\n",
                    session.recipients[step as usize - 1]
                )
            } else {
                self.commands.write_all(b"DATA\r\n")
            };
            debug_assert!(outcome.is_ok(), "writing to memory does not fail");
        }
        wire.send(&self.commands);
    }

    fn reply(&mut self, session: &mut SmtpSession, line: &[u8], wire: &mut Wire) -> Next {
        let is_positive = matches!(line.first(), Some(b'2' | b'3'));
        match session.stage {
            Stage::Greeting if is_positive => {
                session.stage = Stage::Ehlo;
                let hello: &[u8] = if self.plan.is_lmtp {
                    b"LHLO load.example.net\r\n"
                } else {
                    b"EHLO load.example.net\r\n"
                };
                wire.send(hello);
                Next::Read
            }
            Stage::Ehlo if is_positive => self.begin(session, wire),
            Stage::Greeting | Stage::Ehlo | Stage::Idle => {
                self.count_failure(session, line);
                Next::Abandon
            }
            Stage::Envelope(step) => self.envelope_reply(session, step, line, is_positive, wire),
            Stage::Body => self.final_reply(session, line, is_positive, wire),
            Stage::Rset if is_positive => {
                session.stage = Stage::Idle;
                Next::Pause
            }
            Stage::Rset => Next::Abandon,
            Stage::Quit => Next::Reconnect,
        }
    }

    fn envelope_reply(
        &mut self,
        session: &mut SmtpSession,
        step: u64,
        line: &[u8],
        is_positive: bool,
        wire: &mut Wire,
    ) -> Next {
        let is_pipelined = self.plan.is_pipelined && session.offers_pipelining;
        let is_data = step == session.recipients.len() as u64 + 1;
        if !is_positive && !session.has_failed {
            self.count_failure(session, line);
            session.has_failed = true;
        }
        if is_data && line.starts_with(b"354") {
            session.stage = Stage::Body;
            match session.current {
                Some((_, id)) if !session.has_failed => {
                    wire.send(template(&mut self.templates, id).wire(id));
                }
                // The server waits for a message that must not be one.
                _ => wire.send(b".\r\n"),
            }
            return Next::Read;
        }
        if is_data || (!is_positive && !is_pipelined) {
            return self.give_up(session, line, wire);
        }
        session.stage = Stage::Envelope(step + 1);
        if !is_pipelined {
            self.send_envelope(session, step + 1, wire);
        }
        Next::Read
    }

    fn final_reply(
        &mut self,
        session: &mut SmtpSession,
        line: &[u8],
        is_positive: bool,
        wire: &mut Wire,
    ) -> Next {
        if session.has_failed || !is_positive {
            if !session.has_failed {
                self.count_failure(session, line);
            }
            return self.give_up(session, line, wire);
        }
        if let Some((since, id)) = session.current.take() {
            self.in_flight -= 1;
            self.recorder.done(since, wire.now);
            if let Some(journal) = &mut self.journal {
                journal.answered(id, true, line, wire.now);
            }
        }
        session.done += 1;
        self.begin(session, wire)
    }

    fn give_up(&mut self, session: &mut SmtpSession, line: &[u8], wire: &mut Wire) -> Next {
        if let Some((_, id)) = session.current.take() {
            self.in_flight -= 1;
            if let Some(journal) = &mut self.journal {
                journal.answered(id, false, line, wire.now);
            }
        }
        if line.starts_with(b"421") {
            return Next::Abandon;
        }
        session.stage = Stage::Rset;
        wire.send(b"RSET\r\n");
        Next::Read
    }

    fn count_failure(&mut self, session: &SmtpSession, line: &[u8]) {
        let code = String::from_utf8_lossy(&line[..line.len().min(3)]);
        self.recorder.failed(session.stage.name(), &code);
    }
}

impl Workload for SmtpLoad {
    type Session = SmtpSession;

    fn new_session(&mut self) -> SmtpSession {
        SmtpSession {
            stage: Stage::Greeting,
            offers_pipelining: false,
            current: None,
            has_failed: false,
            done: 0,
            connected_at: None,
            recipients: Vec::new(),
        }
    }

    fn opened(&mut self, session: &mut SmtpSession, now: Instant) {
        *session = SmtpSession {
            connected_at: Some(now),
            ..self.new_session()
        };
    }

    fn input(&mut self, session: &mut SmtpSession, bytes: &[u8], wire: &mut Wire) -> (usize, Next) {
        let mut used = 0;
        let mut next = Next::Read;
        while let Some(length) = memchr::memchr(b'\n', &bytes[used..]) {
            let line = bytes[used..used + length].trim_ascii_end();
            used += length + 1;
            if session.stage == Stage::Ehlo
                && line
                    .get(4..)
                    .is_some_and(|keyword| keyword.eq_ignore_ascii_case(b"PIPELINING"))
            {
                session.offers_pipelining = true;
            }
            if line.get(3) == Some(&b'-') {
                continue;
            }
            next = self.reply(session, line, wire);
            if next != Next::Read {
                break;
            }
        }
        (used, next)
    }

    fn wake(&mut self, session: &mut SmtpSession, wire: &mut Wire) -> Next {
        self.begin(session, wire)
    }

    fn lost(&mut self, session: &mut SmtpSession, error: &io::Error) {
        // A server may hang up on an idle peer, and at QUIT; that fails nothing.
        if session.current.take().is_some() {
            self.in_flight -= 1;
        } else if matches!(session.stage, Stage::Idle | Stage::Quit) {
            return;
        }
        self.recorder.failed(
            session.stage.name(),
            &format!("connection lost ({})", error.kind()),
        );
    }

    fn pace(&mut self) -> &mut Pace {
        &mut self.pace
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Finish for SmtpLoad {
    fn finish(mut self) -> io::Result<Recorder> {
        if let Some(journal) = self.journal.take() {
            journal.close()?;
        }
        Ok(self.recorder)
    }
}

/// The text of message `id`, which has always the same size.
fn template(templates: &mut [Template], id: MessageId) -> &mut Template {
    let index = if templates.len() > 1 {
        choice::size_index(id.counter ^ id.run)
    } else {
        0
    };
    &mut templates[index]
}
