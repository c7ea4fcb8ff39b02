//! The state machine: which event means what in which state.
//!
//! Invariants: input is read in [`State::Command`] and [`State::Sasl`] only; every other state waits for the one event it
//! names; the session is logged in exactly if there is a maildrop.

use super::command::{Command, SyntaxError};
use super::language::Language;
use super::limits;
use super::listing::Listing;
use super::maildrop::{Maildrop, Retention};
use super::reply::{self, CommitRefusal, LoginRefusal, Reply, RetrieveRefusal};
use crate::proto::line::{Line, LineReader};
use crate::proto::sasl::Bindings;
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{self, Channel, Exchange, Mechanisms, Request, TokenRefusal};
use crate::proto::session::{self, Cause, Ending, LineProtocol, Moment};
use crate::proto::{Actions, Consumed, Deadline, Event, Protocol, Receipt};
use std::marker::PhantomData;
use std::sync::Arc;

/// What the operator decides. One per listener, shared by its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether a certificate is at hand for STLS.
    pub tls_available: bool,
    /// SASL mechanisms; PLAIN also stands for USER and PASS. Each connection is offered those that suit it.
    pub mechanisms: Mechanisms,
    /// What whose token is refused is told.
    pub token_refusal: TokenRefusal,
    /// How long messages are kept, if that is the same for every account.
    pub retention: Option<Retention>,
    /// Seconds between two logins of an account; the session keeps it.
    pub login_delay_seconds: u32,
    /// Failed logins before the connection is closed.
    pub login_failures_max: u32,
    /// Refused commands before the connection is closed.
    pub errors_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tls_available: false,
            mechanisms: Mechanisms::PASSWORDS,
            token_refusal: TokenRefusal::default(),
            retention: Some(Retention::Forever),
            login_delay_seconds: 0,
            login_failures_max: limits::LOGIN_FAILURES_MAX,
            errors_max: limits::ERRORS_MAX,
        }
    }
}

/// What the protocol cannot know. No `Debug`: one of them holds a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Question {
    /// Who is this, and what is in the maildrop? Answered with [`Answer::Opened`] or [`Answer::LoginRefused`], to
    /// [`Request::Verifier`] with [`Answer::Verifier`], to [`Request::Proof`] with [`Answer::Proven`].
    Authenticate(Request),
    /// Is the message still there and readable? Answered with [`Answer::Retrieval`], before anything is said of it.
    Retrieve {
        /// 0-based place in [`Maildrop::entries`].
        index: u32,
        /// For TOP.
        lines: Option<u32>,
    },
    /// Send the message, behind what stands in `wire`, of the last [`Question::Retrieve`] through a [`DotStuffer`](super::DotStuffer).
    /// Answered with [`Answer::Streamed`].
    Stream {
        /// As asked before.
        index: u32,
        /// For [`DotStuffer::new`](super::DotStuffer::new).
        lines: Option<u32>,
    },
    /// Send `wire`, then answer [`Answer::Flushed`] at once: the list of a large maildrop is written piece by piece.
    Flush,
    /// Delete these messages of [`Maildrop::entries`] for good. Answered with [`Answer::Committed`].
    Commit {
        /// 0-based, ascending.
        deleted: Vec<u32>,
    },
}

/// What the session found out or did.
pub enum Answer<R> {
    /// Logged in; this is the maildrop.
    Opened(Maildrop),
    /// Not logged in.
    LoginRefused(LoginRefusal),
    /// What is kept of the password, and this side's nonce.
    Verifier(Box<Verifier>, String),
    /// Whoever has proven the password may log in.
    Proven,
    /// Whether the message can be read.
    Retrieval(Result<(), RetrieveRefusal>),
    /// The message was sent whole, or sending broke off and cannot be mended: the connection is closed then, for that
    /// is the only way to say so (RFC 1939 has no error inside a multi-line response).
    Streamed(Result<(), RetrieveRefusal>),
    /// `wire` was sent.
    Flushed,
    /// The deletions are durable, or not; `None`: the operator has messages stay that POP3 deletes.
    Committed(Result<Option<R>, CommitRefusal>),
}

#[derive(Debug)]
pub(super) enum State {
    /// Before [`Event::Opened`].
    Unopened,
    /// Reading command lines.
    Command,
    /// AUTH was answered `+`: the next line is a SASL response.
    Sasl(Exchange),
    /// [`Question::Authenticate`] is open, for USER and PASS or for an exchange.
    Authenticate(Option<Exchange>),
    /// [`Question::Retrieve`] is open.
    Retrieve { index: u32, lines: Option<u32> },
    /// [`Question::Stream`] is open.
    Stream,
    /// [`Question::Flush`] is open.
    List(Listing),
    /// [`Question::Commit`] is open.
    Commit,
    /// STLS was read; its synchronisation point.
    TlsSync,
    /// The handshake is under way.
    Tls,
    /// `close` was said.
    Closed,
}

/// The server's side of one POP3 session. `R` is the proof that a commit is durable.
pub struct Pop3<R> {
    pub(super) config: Arc<Config>,
    pub(super) state: State,
    lines: LineReader,
    pub(super) is_tls: bool,
    /// See [`Pop3::with_plaintext`].
    allows_plaintext: bool,
    /// The name of the TLS channel.
    pub(super) bindings: Option<Box<Bindings>>,
    has_certificate: bool,
    pub(super) language: Language,
    /// From USER.
    pub(super) user: Option<Box<str>>,
    pub(super) maildrop: Option<Maildrop>,
    errors: u32,
    pub(super) login_failures: u32,
    ending: Ending,
    receipt: PhantomData<fn(R)>,
}

impl<R: Receipt> Pop3<R> {
    /// A session that has not been opened. For implicit TLS give [`Event::TlsReady`] before [`Event::Opened`].
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            state: State::Unopened,
            lines: LineReader::default(),
            is_tls: false,
            allows_plaintext: false,
            bindings: None,
            has_certificate: false,
            language: Language::default(),
            user: None,
            maildrop: None,
            errors: 0,
            login_failures: 0,
            ending: Ending::default(),
            receipt: PhantomData,
        }
    }

    /// The same session, which takes passwords without TLS. Only where the network is trusted (RFC 8314 §3).
    #[must_use]
    pub fn with_plaintext(mut self, is_allowed: bool) -> Self {
        self.allows_plaintext = is_allowed;
        self
    }

    /// What the connection has to offer SASL.
    pub(super) fn channel(&self) -> Channel {
        Channel {
            is_private: self.is_tls || self.allows_plaintext,
            has_binding: self.bindings.is_some(),
            has_certificate: self.has_certificate,
        }
    }

    /// The snapshot, once logged in.
    #[must_use]
    pub fn maildrop(&self) -> Option<&Maildrop> {
        self.maildrop.as_ref()
    }

    /// Whether TLS protects the session.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn take_command(&mut self, rest: &[u8], out: &mut Actions<Question>) -> usize {
        let (taken, command) = match self.lines.next(rest, limits::COMMAND_LINE_BYTES_MAX) {
            Line::Partial { taken } => return taken,
            Line::TooLong { taken } => (taken, None),
            Line::Whole { content, taken } => (taken, Some(Command::parse(content))),
        };
        self.renew_idle(out);
        match command {
            None => self.refuse(reply::LINE_TOO_LONG, out),
            Some(Ok(command)) => self.run(command, out),
            Some(Err(SyntaxError::Octets)) => self.refuse(reply::BAD_OCTETS, out),
            Some(Err(SyntaxError::Unknown)) => self.refuse(reply::UNKNOWN_COMMAND, out),
            Some(Err(SyntaxError::Arguments)) => self.refuse(reply::BAD_ARGUMENTS, out),
            Some(Err(SyntaxError::NoSuchMessage)) => self.refuse(reply::NO_SUCH_MESSAGE, out),
        }
        taken
    }

    fn take_response(&mut self, rest: &[u8], out: &mut Actions<Question>) -> usize {
        // The limit of RFC 4954 counts the response without its CRLF.
        match self.lines.next(rest, sasl::RESPONSE_BYTES_MAX + 2) {
            Line::Partial { taken } => taken,
            Line::TooLong { taken } => {
                self.state = State::Command;
                self.refuse(reply::LINE_TOO_LONG, out);
                taken
            }
            Line::Whole { content, taken } => {
                if let State::Sasl(mut exchange) = std::mem::replace(&mut self.state, State::Command) {
                    let step = exchange.respond(content);
                    self.sasl_step(exchange, step, out);
                }
                taken
            }
        }
    }

    fn run(&mut self, command: Command<'_>, out: &mut Actions<Question>) {
        match command {
            Command::Quit => self.quit(out),
            Command::Capa => self.capa(out),
            Command::Http => self.close_with(reply::NO_HTTP, out),
            command if self.maildrop.is_some() => self.run_in_transaction(command, out),
            Command::Utf8 => self.utf8(out),
            Command::Lang(range) => self.lang(range, out),
            Command::User(name) => self.user(name, out),
            Command::Pass(secret) => self.pass(secret, out),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial, out),
            Command::Stls => self.stls(out),
            _ => self.refuse(reply::NOT_NOW, out),
        }
    }

    /// A peer that is logged in has its time from command to command; one that is not has it once.
    pub(super) fn renew_idle(&mut self, out: &mut Actions<Question>) {
        if self.maildrop.is_some() {
            out.deadline = Some(Deadline::Seconds(limits::IDLE_SECONDS));
        }
    }

    pub(super) fn say(&mut self, reply: Reply, out: &mut Actions<Question>) {
        reply.write(self.language, &mut out.wire);
    }

    /// A refusal that counts against the peer.
    pub(super) fn refuse(&mut self, reply: Reply, out: &mut Actions<Question>) {
        self.errors += 1;
        if self.errors > self.config.errors_max {
            return self.close_with(reply::TOO_MANY_ERRORS, out);
        }
        self.say(reply, out);
    }

    pub(super) fn close_with(&mut self, reply: Reply, out: &mut Actions<Question>) {
        self.say(reply, out);
        self.close(out);
    }

    pub(super) fn close(&mut self, out: &mut Actions<Question>) {
        self.state = State::Closed;
        self.user = None;
        out.close = true;
        out.deadline = None;
    }

    pub(super) fn ask(&mut self, question: Question, state: State, out: &mut Actions<Question>) {
        self.state = state;
        out.question = Some(question);
        out.deadline = None;
    }
}

impl<R: Receipt> Protocol for Pop3<R> {
    type Question = Question;
    type Answer = Answer<R>;

    fn handle(&mut self, event: Event<'_, Answer<R>>, out: &mut Actions<Question>) -> Consumed {
        session::handle(self, event, out)
    }

    fn name_channel(&mut self, bindings: Bindings, has_certificate: bool) {
        self.bindings = bindings.kept(self.config.mechanisms);
        self.has_certificate = has_certificate;
    }
}

impl<R: Receipt> LineProtocol for Pop3<R> {
    type Question = Question;
    type Answer = Answer<R>;

    fn ending(&mut self) -> &mut Ending {
        &mut self.ending
    }

    fn moment(&self) -> Moment {
        match self.state {
            State::Closed => Moment::Closed,
            State::Command | State::Sasl(_) => Moment::Boundary,
            State::Commit => Moment::Committing,
            _ => Moment::Elsewhere,
        }
    }

    fn open(&mut self, out: &mut Actions<Question>) {
        if matches!(self.state, State::Unopened) {
            self.greet(out);
        }
    }

    fn take(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let mut at = 0;
        while !out.pauses_input(limits::WIRE_BYTES_MAX) {
            let taken = match self.state {
                State::Command => self.take_command(&input[at..], out),
                State::Sasl(_) => self.take_response(&input[at..], out),
                _ => 0,
            };
            if taken == 0 {
                break;
            }
            at += taken;
        }
        at
    }

    fn settle_sync(&mut self, is_early: bool, out: &mut Actions<Question>) {
        if !matches!(self.state, State::TlsSync) {
            return;
        }
        if is_early {
            // Told the same as if the input had come a moment later, into the handshake, which it would have broken:
            // what a peer sees does not depend on timing, and what it injected is dropped with the connection.
            return self.close_with(reply::BEGIN_TLS, out);
        }
        self.say(reply::BEGIN_TLS, out);
        out.start_tls = true;
        self.state = State::Tls;
    }

    fn answer(&mut self, answer: Answer<R>, out: &mut Actions<Question>) {
        self.renew_idle(out);
        match (std::mem::replace(&mut self.state, State::Command), answer) {
            (State::Authenticate(_), Answer::Opened(maildrop)) => self.opened(maildrop, out),
            (State::Authenticate(exchange), Answer::LoginRefused(refusal)) => {
                self.login_refused(refusal, exchange, out);
            }
            (State::Authenticate(Some(mut exchange)), Answer::Verifier(verifier, nonce)) => {
                let step = exchange.verifier(*verifier, &nonce);
                self.sasl_step(exchange, step, out);
            }
            (State::Authenticate(Some(mut exchange)), Answer::Proven) => {
                let step = exchange.proven();
                self.sasl_step(exchange, step, out);
            }
            (State::Retrieve { index, lines }, Answer::Retrieval(result)) => {
                self.retrieval(index, lines, result, out);
            }
            (State::Stream, Answer::Streamed(Ok(()))) => out.wire.extend_from_slice(reply::LIST_END),
            (State::Stream, Answer::Streamed(Err(_))) => self.close(out),
            (State::List(listing), Answer::Flushed) => self.list_on(listing, out),
            (State::Commit, Answer::Committed(result)) => self.committed(&result, out),
            // Our own fault. The peer must not be told anything that nobody decided.
            _ => self.close_with(reply::CONFUSED, out),
        }
    }

    fn tls_is_ready(&mut self) {
        self.forget_plaintext();
    }

    fn end(&mut self, cause: Cause, out: &mut Actions<Question>) {
        match cause {
            Cause::Deadline => self.close_with(reply::TIMED_OUT, out),
            Cause::Shutdown => self.close_with(reply::SHUTTING_DOWN, out),
            Cause::Revoked => self.close_with(reply::REVOKED, out),
            Cause::Peer => self.close(out),
        }
    }
}
