//! The state machine: which event means what in which state.
//!
//! Invariants: input is read in [`State::Command`], [`State::Data`] and [`State::Chunk`] only; every other state waits
//! for the one event it names; after `close` nothing is acted on.

use super::chunking::{Chunk, Chunked};
use super::command::{Command, SyntaxError};
use super::hello::Hello;
use super::reply::{self, AuthRefusal, BeginRefusal, CommitRefusal, RecipientRefusal, Reply};
use super::{data, limits};
use crate::model::{Envelope, ForwardPath, RecipientDsn};
use crate::proto::line::{Line, LineReader};
use crate::proto::sasl::Bindings;
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Exchange, Mechanisms, RESPONSE_BYTES_MAX, Request, TokenRefusal};
use crate::proto::session::{self, Cause, Ending, LineProtocol, Moment};
use crate::proto::{Actions, Consumed, Deadline, Event, Protocol, Receipt};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;

/// What the service does on this port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Receives from other MTAs (port 25). AUTH is not offered here (RFC 8314 §3.3).
    #[default]
    Mta,
    /// Receives for final delivery from this site's own MTAs (LMTP, RFC 2033): LHLO instead of EHLO and HELO, and behind
    /// the end of data one reply for each accepted recipient.
    Lmtp,
    /// Receives from this site's users (RFC 6409, ports 587 and 465), who say by AUTH who they are.
    Submission,
}

/// What the operator decides. One per listener, shared by its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the service does.
    pub role: Role,
    /// This server's name in the greeting and in EHLO.
    pub hostname: String,
    /// Largest message, octets; announced by SIZE.
    pub message_bytes_max: u64,
    /// Whether a certificate is at hand for STARTTLS.
    pub tls_available: bool,
    /// Accepted recipients of one transaction. LMTP keeps this many replies in `wire` at once.
    pub recipients_max: usize,
    /// Refused commands before the session ends with 421.
    pub errors_max: u32,
    /// Unknown recipients before the session ends with 421. `None`: no limit, for peers that are known.
    pub unknown_recipients_max: Option<u32>,
    /// Commands that bring no mail further before the session ends with 421. `None`: no limit, for peers that are known.
    pub idle_commands_max: Option<u32>,
    /// SASL mechanisms for submission. Each connection is offered those that suit it.
    pub mechanisms: Mechanisms,
    /// What whose token is refused is told.
    pub token_refusal: TokenRefusal,
}

impl Config {
    /// The defaults of [`limits`].
    #[must_use]
    pub fn new(hostname: &str) -> Self {
        Self {
            role: Role::Mta,
            hostname: hostname.to_owned(),
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            tls_available: false,
            recipients_max: limits::RECIPIENTS_MAX,
            errors_max: limits::ERRORS_MAX,
            unknown_recipients_max: Some(limits::UNKNOWN_RECIPIENTS_MAX),
            idle_commands_max: Some(limits::IDLE_COMMANDS_MAX),
            mechanisms: Mechanisms::PASSWORDS,
            token_refusal: TokenRefusal::default(),
        }
    }
}

/// What the protocol cannot know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is there room for a message of about this many octets? Asked by MAIL; answered with [`Answer::Begin`].
    MayBegin {
        /// What MAIL's SIZE said.
        declared_size: Option<u64>,
    },
    /// Is [`Smtp::candidate`] acceptable as a recipient of [`Smtp::envelope`]? Answered with [`Answer::Recipient`].
    MayReceive,
    /// What about [`Smtp::take_request`]? Answered with [`Answer::Authenticated`], [`Answer::AuthRefused`] or, to
    /// [`Request::Verifier`], [`Answer::Verifier`], to [`Request::Proof`], [`Answer::Proven`].
    Authenticate,
    /// The end of data was reached and the body is whole: commit it for [`Smtp::envelope`] (or
    /// [`Smtp::take_envelope`]). Answered with [`Answer::Committed`]; by [`Role::Lmtp`] also with
    /// [`Answer::CommittedEach`].
    Commit,
}

/// May a message begin?
pub type BeginVerdict = Result<(), BeginRefusal>;

/// May this forward-path receive?
pub type RecipientVerdict = Result<(), RecipientRefusal>;

/// What the session found out.
#[derive(Clone, Debug)]
pub enum Answer<R> {
    /// To [`Question::MayBegin`].
    Begin(BeginVerdict),
    /// To [`Question::MayReceive`].
    Recipient(RecipientVerdict),
    /// To [`Question::Authenticate`]: who it is, is known now.
    Authenticated,
    /// To [`Question::Authenticate`].
    AuthRefused(AuthRefusal),
    /// To [`Question::Authenticate`]: what is kept of the password, and this side's nonce.
    Verifier(Box<Verifier>, String),
    /// To [`Question::Authenticate`]: whoever has proven the password may log in.
    Proven,
    /// To [`Question::Commit`]: proof, or why there is none. For all recipients.
    Committed(Result<R, CommitRefusal>),
    /// To [`Question::Commit`] of [`Role::Lmtp`]: the same for each accepted forward-path, in their order.
    CommittedEach(Vec<Result<R, CommitRefusal>>),
}

#[derive(Debug)]
pub(super) enum State {
    /// Before [`Event::Opened`].
    Unopened,
    /// The greeting's synchronisation point.
    Greeting,
    /// Reading command lines.
    Command,
    /// EHLO or HELO was read; its synchronisation point.
    Hello,
    /// [`Question::MayBegin`] is open.
    Begin,
    /// [`Question::MayReceive`] is open.
    Recipient,
    /// AUTH was answered 334: the next line is a SASL response.
    Sasl(Exchange),
    /// [`Question::Authenticate`] is open.
    Authenticate(Exchange),
    /// DATA was read; its synchronisation point.
    DataSync,
    /// Between 354 and the end of data.
    Data(data::Receiving),
    /// Inside a BDAT chunk.
    Chunk(Chunk),
    /// [`Question::Commit`] is open.
    Commit {
        /// Replies due behind it, see [`Smtp::replies_due`].
        replies: usize,
    },
    /// STARTTLS was read; its synchronisation point.
    TlsSync,
    /// The handshake is under way.
    Tls,
    /// `close` was said.
    Closed,
}

/// The server's side of one SMTP session. `R` is the proof that a commit is durable.
pub struct Smtp<R> {
    pub(super) config: Arc<Config>,
    pub(super) state: State,
    pub(super) lines: LineReader,
    pub(super) hello: Option<Hello>,
    /// Whether this side of the last TLS handshake has told the peer that it may pipeline.
    pub(super) pipelining_was_offered: bool,
    pub(super) is_tls: bool,
    /// See [`Smtp::with_plaintext`].
    pub(super) allows_plaintext: bool,
    /// The name of the TLS channel.
    pub(super) bindings: Option<Box<Bindings>>,
    pub(super) has_certificate: bool,
    pub(super) is_authenticated: bool,
    /// What [`Question::Authenticate`] is about.
    pub(super) request: Option<Request>,
    pub(super) login_failures: u32,
    /// See [`Smtp::with_xclient`].
    pub(super) takes_xclient: bool,
    /// Who the peer speaks for, by XCLIENT.
    pub(super) client: Option<SocketAddr>,
    /// The mail transaction, from MAIL's 250 on.
    pub(super) transaction: Option<Envelope>,
    /// The forward-path that [`Question::MayReceive`] is about, and what its RCPT asked for.
    pub(super) candidate: Option<(ForwardPath, RecipientDsn)>,
    /// The message that comes in chunks, from the first BDAT on.
    pub(super) chunked: Option<Chunked>,
    pub(super) errors: u32,
    pub(super) unknown_recipients: u32,
    /// Commands that brought no mail further, since the last message taken.
    pub(super) idle_commands: u32,
    ending: Ending,
    receipt: PhantomData<fn(R)>,
}

impl<R: Receipt> Smtp<R> {
    /// A session that has not been opened. For implicit TLS give [`Event::TlsReady`] before [`Event::Opened`].
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            state: State::Unopened,
            lines: LineReader::default(),
            hello: None,
            pipelining_was_offered: false,
            is_tls: false,
            allows_plaintext: false,
            bindings: None,
            has_certificate: false,
            is_authenticated: false,
            request: None,
            login_failures: 0,
            takes_xclient: false,
            client: None,
            transaction: None,
            candidate: None,
            chunked: None,
            errors: 0,
            unknown_recipients: 0,
            idle_commands: 0,
            ending: Ending::default(),
            receipt: PhantomData,
        }
    }

    /// The same session, whose peer is trusted to say by XCLIENT for whom it speaks.
    #[must_use]
    pub fn with_xclient(mut self) -> Self {
        self.takes_xclient = true;
        self
    }

    /// The same session, which takes passwords without TLS. Only where the network is trusted (RFC 8314 §3).
    #[must_use]
    pub fn with_plaintext(mut self, is_allowed: bool) -> Self {
        self.allows_plaintext = is_allowed;
        self
    }

    /// Who the peer speaks for, if XCLIENT has said.
    #[must_use]
    pub fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// What the peer called itself; ASCII without spaces and specials, fit for a trace field.
    #[must_use]
    pub fn hello_name(&self) -> Option<&str> {
        self.hello.as_ref().map(Hello::name)
    }

    /// Whether the peer said EHLO.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.is_extended)
    }

    /// Whether TLS protects the session.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The paths and parameters accepted so far.
    #[must_use]
    pub fn envelope(&self) -> Option<&Envelope> {
        self.transaction.as_ref()
    }

    /// The forward-path that [`Question::MayReceive`] is about.
    #[must_use]
    pub fn candidate(&self) -> Option<&ForwardPath> {
        self.candidate.as_ref().map(|(path, _)| path)
    }

    /// What the RCPT of [`Self::candidate`] asked for.
    #[must_use]
    pub fn candidate_dsn(&self) -> Option<&RecipientDsn> {
        self.candidate.as_ref().map(|(_, dsn)| dsn)
    }

    /// The envelope by value, for a commit. To be taken while [`Question::Commit`] is open.
    pub fn take_envelope(&mut self) -> Option<Envelope> {
        self.transaction.take()
    }

    /// Whether the body octets told so far still belong to a message. Once false, the session drops what it collected;
    /// a next message cannot have begun in the same actions, because a question stands between the two.
    #[must_use]
    pub fn holds_body(&self) -> bool {
        match &self.state {
            State::Data(receiving) => receiving.is_wanted(),
            State::Commit { .. } => true,
            _ => self.chunked.as_ref().is_some_and(Chunked::is_wanted),
        }
    }

    fn take_line(&mut self, rest: &[u8], out: &mut Actions<Question>) -> usize {
        // A token makes a long initial response.
        let bytes_max = if self.is_submission() && !self.is_authenticated {
            RESPONSE_BYTES_MAX
        } else {
            limits::COMMAND_LINE_BYTES_MAX
        };
        let (taken, command) = match self.lines.next(rest, bytes_max) {
            Line::Partial { taken } => return taken,
            Line::TooLong { taken } => (taken, None),
            Line::Whole { content, taken } => (taken, Some(Command::parse(content))),
        };
        self.renew_deadline(out);
        match command {
            None => self.refuse(reply::LINE_TOO_LONG, out),
            Some(Ok(command)) => self.run(command, out),
            Some(Err(error)) => self.refuse_syntax(error, out),
        }
        taken
    }

    fn run(&mut self, command: Command<'_>, out: &mut Actions<Question>) {
        self.idle_commands += u32::from(command.is_idle());
        if self
            .config
            .idle_commands_max
            .is_some_and(|max| self.idle_commands > max)
        {
            return self.close_with(reply::TOO_MANY_IDLE, out);
        }
        match command {
            Command::Lhlo(name) if self.is_lmtp() => self.hello(name, true, out),
            Command::Ehlo(name) if !self.is_lmtp() => self.hello(name, true, out),
            Command::Helo(name) if !self.is_lmtp() => self.hello(name, false, out),
            // The other protocol's greeting must not succeed (RFC 2033 §4.1).
            Command::Lhlo(_) | Command::Ehlo(_) | Command::Helo(_) => {
                self.refuse(reply::UNKNOWN_COMMAND, out);
            }
            Command::Mail(argument) => self.mail(argument, out),
            Command::Rcpt(argument) => self.rcpt(argument, out),
            Command::Data => self.data(out),
            Command::Bdat { bytes, is_last } => self.bdat(bytes, is_last, out),
            Command::Rset => {
                self.reset();
                self.say(reply::OK, out);
            }
            Command::Noop => self.say(reply::OK, out),
            Command::Quit => self.close_with(reply::BYE, out),
            Command::Vrfy(b"") => self.refuse(reply::BAD_ARGUMENTS, out),
            Command::Vrfy(_) => self.say(reply::CANNOT_VERIFY, out),
            Command::Expn => self.refuse(reply::NOT_IMPLEMENTED, out),
            Command::Help => self.say(reply::HELP, out),
            Command::Auth(argument) => self.auth(argument, out),
            Command::XClient(argument) => self.xclient(argument, out),
            Command::StartTls => self.start_tls(out),
            Command::Http => self.close_with(reply::NO_HTTP, out),
        }
    }

    fn refuse_syntax(&mut self, error: SyntaxError, out: &mut Actions<Question>) {
        match error {
            SyntaxError::Octets => self.refuse(reply::BAD_OCTETS, out),
            SyntaxError::Unknown => self.refuse(reply::UNKNOWN_COMMAND, out),
            SyntaxError::NotImplemented => self.refuse(reply::NOT_IMPLEMENTED, out),
            SyntaxError::Arguments => self.refuse(reply::BAD_ARGUMENTS, out),
            SyntaxError::ChunkSize => self.close_with(reply::BAD_CHUNK_SIZE, out),
            SyntaxError::ChunkArguments { bytes } => self.skip_chunk(bytes, 1, reply::BAD_ARGUMENTS, out),
        }
    }

    /// A peer has its time from command to command; one that has to log in first has it once.
    fn renew_deadline(&self, out: &mut Actions<Question>) {
        if !self.is_submission() || self.is_authenticated {
            out.deadline = Some(Deadline::Seconds(limits::COMMAND_SECONDS));
        }
    }

    pub(super) fn say(&mut self, reply: Reply, out: &mut Actions<Question>) {
        out.wire.extend_from_slice(reply);
    }

    pub(super) fn is_lmtp(&self) -> bool {
        self.config.role == Role::Lmtp
    }

    /// Replies the end of data is answered with: one, in LMTP one for each accepted recipient (RFC 2033 §4.2).
    pub(super) fn replies_due(&self) -> usize {
        match &self.transaction {
            Some(envelope) if self.is_lmtp() => envelope.forward_paths.len().max(1),
            _ => 1,
        }
    }

    /// One refusal, said as often as a reply is due; counted once.
    pub(super) fn refuse_each(&mut self, replies: usize, reply: Reply, out: &mut Actions<Question>) {
        for _ in 1..replies {
            self.say(reply, out);
        }
        self.refuse(reply, out);
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

    fn close(&mut self, out: &mut Actions<Question>) {
        self.reset();
        self.state = State::Closed;
        out.close = true;
        out.deadline = None;
    }

    pub(super) fn ask(&mut self, question: Question, state: State, out: &mut Actions<Question>) {
        self.state = state;
        out.question = Some(question);
        // The next deadline is set with the answer: the peer is not to blame for the time that takes.
        out.deadline = None;
    }

    pub(super) fn synchronise(&mut self, state: State, out: &mut Actions<Question>) {
        self.state = state;
        out.synchronise = true;
    }
}

/// True when something must be done before more input is read.
fn is_paused(out: &Actions<Question>) -> bool {
    out.pauses_input(limits::WIRE_BYTES_MAX) || out.body.len() >= limits::BODY_RANGES_MAX
}

impl<R: Receipt> Protocol for Smtp<R> {
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

impl<R: Receipt> LineProtocol for Smtp<R> {
    type Question = Question;
    type Answer = Answer<R>;

    fn ending(&mut self) -> &mut Ending {
        &mut self.ending
    }

    fn moment(&self) -> Moment {
        match self.state {
            State::Closed => Moment::Closed,
            State::Command | State::Sasl(_) => Moment::Boundary,
            // Answered first: a message already handed over is not called back.
            State::Begin | State::Recipient | State::Commit { .. } => Moment::Committing,
            _ => Moment::Elsewhere,
        }
    }

    fn open(&mut self, out: &mut Actions<Question>) {
        if matches!(self.state, State::Unopened) {
            self.synchronise(State::Greeting, out);
        }
    }

    fn take(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let mut at = 0;
        while !is_paused(out) {
            let rest = &input[at..];
            let taken = match self.state {
                State::Command => self.take_line(rest, out),
                State::Sasl(_) => self.take_response(rest, out),
                State::Data(_) => self.take_data(rest, at, out),
                State::Chunk(_) => self.take_chunk(rest, at, out),
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
        let is_due = matches!(
            self.state,
            State::Greeting | State::Hello | State::DataSync | State::TlsSync
        );
        if !is_due {
            // Said twice, or never asked for: nothing hangs on it.
            return;
        }
        self.renew_deadline(out);
        if matches!(self.state, State::Greeting) && self.is_submission() {
            out.deadline = Some(Deadline::Seconds(limits::LOGIN_SECONDS));
        }
        if self.ending.is_shutting_down() {
            return self.close_with(reply::SHUTTING_DOWN, out);
        }
        match (&self.state, is_early) {
            (State::TlsSync, true) => self.close_with(reply::INPUT_BEHIND_STARTTLS, out),
            (_, true) => self.close_with(reply::TALKED_EARLY, out),
            (State::Greeting, _) => self.greet(out),
            (State::Hello, _) => self.answer_hello(out),
            (State::DataSync, _) => self.begin_data(out),
            _ => self.begin_tls(out),
        }
    }

    fn answer(&mut self, answer: Answer<R>, out: &mut Actions<Question>) {
        self.renew_deadline(out);
        if matches!(self.state, State::Authenticate(_))
            && let State::Authenticate(exchange) = std::mem::replace(&mut self.state, State::Command)
        {
            return match answer {
                Answer::Authenticated => self.authenticated(out),
                Answer::AuthRefused(refusal) => self.auth_refused(exchange, refusal, out),
                Answer::Verifier(verifier, nonce) => {
                    self.go_on(exchange, out, |exchange| exchange.verifier(*verifier, &nonce));
                }
                Answer::Proven => self.go_on(exchange, out, Exchange::proven),
                _ => self.close_with(reply::CONFUSED, out),
            };
        }
        match (&self.state, answer) {
            (State::Begin, Answer::Begin(verdict)) => self.begin(verdict, out),
            (State::Recipient, Answer::Recipient(verdict)) => self.recipient(verdict, out),
            (&State::Commit { replies }, Answer::Committed(result)) => {
                self.committed(std::iter::repeat_n(&result, replies), out);
            }
            (&State::Commit { replies }, Answer::CommittedEach(results))
                if self.is_lmtp() && results.len() == replies =>
            {
                self.committed(results.iter(), out);
            }
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
