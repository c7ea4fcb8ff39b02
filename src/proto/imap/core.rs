//! The protocol core: states, what is allowed in each, and the dialogue with the session.
//!
//! [`Imap`] is the door with the type of proof; [`Core`] is all the rest, which does not depend on it.
//!
//! Invariants: one question at a time, and no input taken while it is open; every complete command gets exactly one
//! tagged response (or one untagged BAD when its tag cannot be read), in order; nothing sent in clear before STARTTLS is
//! acted on after it; an idle connection holds no buffer. The core is `Send`: after login a connection moves with it.
//! Limits: the constants below.
//! Failure: faults of the peer are BAD or NO, counted, and BYE beyond [`ERRORS_BEFORE_LOGIN_MAX`] or
//! [`ERRORS_IN_A_ROW_MAX`]; an answer that does not fit its question is ours: BYE.
//! Standards: RFC 9051 §3, §6.1, §6.2; RFC 7888; RFC 2177; RFC 4959; RFC 2971; RFC 5530.
//! Not here: APPEND (`append`), SASL (`authenticate`), what commands do (`session::imap`).

use super::api::{Answer, Channel, Completion, Config, LoginRefusal, Question, Status, Transition};
use super::append::Tail;
use super::authenticate::{Credentials, Exchange, SASL_RESPONSE_BYTES_MAX, Step};
use super::capability::{self, Situation};
use super::encode::code::{Code, push_bye_line, push_completion_line, push_status_line};
use super::framing::{Announced, Frame, Framer, Limits};
use super::parse::{self, ParseError};
use super::types::{Command, CommandBody, Secret, Tag};
use crate::proto::{Actions, Consumed, Deadline, Event, Protocol, Receipt};
use std::marker::PhantomData;
use std::sync::Arc;

/// Octets of one command's text, literals not counted. RFC 7162 §4 asks for 8,192 at least; clients with long UID sets
/// come near 64 KiB.
pub const COMMAND_TEXT_BYTES_MAX: usize = 64 * 1024;

/// The same before login, where no command is long.
pub const COMMAND_TEXT_BEFORE_LOGIN_BYTES_MAX: usize = 8 * 1024;

/// Octets of all literals of one command but APPEND's message. A mailbox name or a search text is far shorter.
pub const COMMAND_LITERAL_BYTES_MAX: usize = 64 * 1024;

/// Octets of one literal before login: a name or a password.
pub const LITERAL_BEFORE_LOGIN_BYTES_MAX: usize = 1024;

/// Octets of a refused non-synchronising literal that are read and dropped to stay in step; beyond it BYE.
pub const DISCARDED_LITERAL_BYTES_MAX: u64 = 64 * 1024;

/// Faults of a peer that has not logged in, failed logins included, before it is sent away.
pub const ERRORS_BEFORE_LOGIN_MAX: u32 = 5;

/// Faults in a row, no success between, of a peer that has logged in: a client that goes on like this is out of step.
pub const ERRORS_IN_A_ROW_MAX: u32 = 20;

/// Octets of responses after which no more input is taken until they are sent. One command more may be answered.
pub const WIRE_BYTES_SOFT_MAX: usize = 16 * 1024;

/// Seconds from the connection to the login, in total.
pub const LOGIN_SECONDS: u32 = 60;

/// Seconds from a command's first octet to its last, after login.
pub const COMMAND_SECONDS: u32 = 300;

/// Seconds of silence between commands and in IDLE: RFC 9051 §5.4 asks for 30 minutes at least.
pub const SILENCE_SECONDS: u32 = 30 * 60;

/// Seconds without an octet of APPEND's message.
pub const MESSAGE_STALL_SECONDS: u32 = 60;

/// The states of RFC 9051 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Before login.
    NotAuthenticated,
    /// No mailbox selected.
    Authenticated,
    /// A mailbox selected.
    Selected,
    /// Over; nothing is taken any more.
    Logout,
}

/// The step the dialogue is at. `Asked…`: that question is open.
#[derive(Debug)]
pub(super) enum Doing {
    New,
    Greeting,
    Ready,
    Sasl {
        tag: Tag,
        exchange: Exchange,
    },
    StartTls {
        tag: Tag,
        has_more: bool,
    },
    Handshake,
    Idling {
        tag: Tag,
    },
    AskedLogin {
        tag: Tag,
    },
    AskedCommand {
        tag: Tag,
    },
    AskedIdle {
        tag: Tag,
    },
    AskedIdleDone {
        tag: Tag,
        is_garbage: bool,
    },
    AskedAppendBegin {
        tag: Tag,
        announced: Announced,
        bytes: u64,
    },
    AppendBody {
        tag: Tag,
        left: u64,
    },
    AppendTail {
        tag: Tag,
        tail: Tail,
    },
    AskedAppendCommit {
        tag: Tag,
    },
    AskedAppendAbandon {
        tag: Tag,
    },
    Over,
}

impl Doing {
    fn is_asking(&self) -> bool {
        matches!(
            self,
            Self::AskedLogin { .. }
                | Self::AskedCommand { .. }
                | Self::AskedIdle { .. }
                | Self::AskedIdleDone { .. }
                | Self::AskedAppendBegin { .. }
                | Self::AskedAppendCommit { .. }
                | Self::AskedAppendAbandon { .. }
        )
    }

    fn takes_bytes(&self) -> bool {
        matches!(
            self,
            Self::Ready
                | Self::Sasl { .. }
                | Self::Idling { .. }
                | Self::AppendBody { .. }
                | Self::AppendTail { .. }
        )
    }
}

/// The core without the type of proof.
#[derive(Debug)]
pub(super) struct Core {
    config: Arc<Config>,
    channel: Channel,
    state: State,
    pub(super) doing: Doing,
    pub(super) framer: Framer,
    pub(super) errors: u32,
    /// Say goodbye, or just close, as soon as the command in progress has its answer.
    is_shutting_down: bool,
    is_peer_gone: bool,
    /// The deadline of a command, not that of silence, runs.
    is_in_command: bool,
}

/// A server's side of one IMAP session. `R` proves that an appended message is durable.
#[derive(Debug)]
pub struct Imap<R> {
    core: Core,
    receipt: PhantomData<fn() -> R>,
}

impl<R> Imap<R> {
    /// The core of a new connection.
    #[must_use]
    pub fn new(config: Arc<Config>, channel: Channel) -> Self {
        Self {
            core: Core {
                config,
                channel,
                state: State::NotAuthenticated,
                doing: Doing::New,
                framer: Framer::default(),
                errors: 0,
                is_shutting_down: false,
                is_peer_gone: false,
                is_in_command: false,
            },
            receipt: PhantomData,
        }
    }

    /// The state after the last event.
    #[must_use]
    pub fn state(&self) -> State {
        self.core.state
    }

    /// True between [`Answer::Idling`] and the end of IDLE: untagged responses may be sent at any time.
    #[must_use]
    pub fn is_idling(&self) -> bool {
        matches!(self.core.doing, Doing::Idling { .. })
    }

    /// True between commands, with nothing of the next one received: the moment to move the connection.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        matches!(self.core.doing, Doing::Ready) && self.core.framer.is_empty()
    }

    /// Octets of input held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.core.framer.held_bytes()
    }
}

impl<R: Receipt> Protocol for Imap<R> {
    type Question = Question;
    type Answer = Answer<R>;

    fn handle(&mut self, event: Event<'_, Answer<R>>, out: &mut Actions<Question>) -> Consumed {
        let core = &mut self.core;
        match event {
            Event::Bytes(input) => return Consumed(core.bytes(input, out)),
            Event::Answer(answer) => core.answer(answer, out),
            Event::Opened => core.opened(out),
            Event::Early => core.synchronised(true, out),
            Event::Quiet => core.synchronised(false, out),
            Event::TlsReady => core.tls_ready(),
            Event::Deadline => core.deadline_passed(out),
            Event::Shutdown => core.shutdown(out),
            Event::PeerClosed => core.peer_closed(out),
        }
        Consumed(0)
    }
}

impl Core {
    fn opened(&mut self, out: &mut Actions<Question>) {
        if !matches!(self.doing, Doing::New) {
            return self.misused(out);
        }
        // The greeting waits for the answer: bytes that are there before it can only be those of a peer that does not
        // wait for it, and no client that reads it can be taken for one.
        self.doing = Doing::Greeting;
        out.synchronise = true;
        out.deadline = Some(Deadline::Seconds(LOGIN_SECONDS));
    }

    fn synchronised(&mut self, is_early: bool, out: &mut Actions<Question>) {
        match std::mem::replace(&mut self.doing, Doing::Ready) {
            Doing::Greeting if is_early => self.bye(None, "Wait for the greeting", out),
            Doing::Greeting => {
                let code = self.capability_code();
                self.push_tagged(b"*", Status::Ok, Some(&code), "Ringpost ready", out);
            }
            // CVE-2011-0411: what was sent in clear behind STARTTLS may be another's.
            Doing::StartTls { tag, has_more } if is_early || has_more => {
                self.push_tagged(&tag, Status::Bad, None, "Nothing may follow STARTTLS", out);
                self.bye(None, "Plaintext after STARTTLS", out);
            }
            Doing::StartTls { tag, .. } => {
                self.push_tagged(&tag, Status::Ok, None, "Begin TLS negotiation now", out);
                out.start_tls = true;
                self.doing = Doing::Handshake;
            }
            other => {
                self.doing = other;
                self.misused(out);
            }
        }
    }

    fn tls_ready(&mut self) {
        self.channel.is_tls = true;
        self.state = State::NotAuthenticated;
        self.framer.finish();
        self.doing = Doing::Ready;
    }

    fn deadline_passed(&mut self, out: &mut Actions<Question>) {
        // The session bounds the time it takes to answer; the peer's clock starts again after the answer.
        if !self.doing.is_asking() {
            self.bye(None, "Too long without a command", out);
        }
    }

    fn shutdown(&mut self, out: &mut Actions<Question>) {
        self.is_shutting_down = true;
        let is_message_coming = matches!(self.doing, Doing::AppendBody { .. } | Doing::AppendTail { .. });
        if !self.doing.is_asking() && !is_message_coming {
            self.bye(None, "The server is shutting down", out);
        }
    }

    fn peer_closed(&mut self, out: &mut Actions<Question>) {
        self.is_peer_gone = true;
        if !self.doing.is_asking() {
            self.close(out);
        }
    }

    /// An event or an answer that does not fit: our fault, not the peer's.
    fn misused(&mut self, out: &mut Actions<Question>) {
        self.bye(Some(&Code::ServerBug), "Internal error", out);
    }

    fn bytes(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let mut taken = 0;
        while taken < input.len() && self.doing.takes_bytes() && out.wire.len() < WIRE_BYTES_SOFT_MAX {
            taken += self.step(&input[taken..], taken, out);
        }
        if let Doing::StartTls { has_more, .. } = &mut self.doing {
            *has_more = taken < input.len();
        }
        self.set_deadline(taken > 0, out);
        taken
    }

    fn step(&mut self, input: &[u8], offset: usize, out: &mut Actions<Question>) -> usize {
        match std::mem::replace(&mut self.doing, Doing::Ready) {
            Doing::AppendBody { tag, left } => self.append_body(tag, left, input, offset, out),
            Doing::AppendTail { tag, tail } => self.append_tail(tag, tail, input[0], out),
            Doing::Sasl { tag, exchange } => self.sasl_line(tag, exchange, input, out),
            Doing::Idling { tag } => self.idle_line(tag, input, out),
            _ => self.command_bytes(input, out),
        }
    }

    fn limits(&self) -> Limits {
        let text_bytes = if self.state == State::NotAuthenticated {
            COMMAND_TEXT_BEFORE_LOGIN_BYTES_MAX
        } else {
            COMMAND_TEXT_BYTES_MAX
        };
        Limits {
            text_bytes,
            has_literals: true,
        }
    }

    fn command_bytes(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let limits = self.limits();
        let (taken, frame) = self.framer.advance(input, limits);
        match frame {
            Frame::Partial => {}
            Frame::Command(text) => {
                let parsed = parse::command(text);
                let is_foreign = self.state == State::NotAuthenticated && parsed.is_err() && is_http(text);
                self.framer.finish();
                if is_foreign {
                    self.bye(None, "This is an IMAP server", out);
                } else {
                    self.command(parsed, out);
                }
            }
            Frame::Literal(text, announced) => {
                let tag = parse::tag(text);
                let head = parse::append_head(text);
                self.literal(tag, &head, announced, out);
            }
            Frame::TooLong(text) => {
                let tag = parse::tag(text);
                self.framer.release();
                self.push_untagged_or(tag, Status::Bad, None, "The command line is too long", out);
                self.count_error(out);
            }
            Frame::SkippedLiteral(announced) => match announced.bytes {
                Some(bytes) if bytes <= DISCARDED_LITERAL_BYTES_MAX => self.framer.skip(bytes),
                _ => self.bye(Some(&Code::TooBig), "Literal too big", out),
            },
            Frame::Skipped => {}
        }
        taken
    }

    fn literal(
        &mut self,
        tag: Option<Tag>,
        head: &Result<parse::AppendHead, ParseError>,
        announced: Announced,
        out: &mut Actions<Question>,
    ) {
        let Some(bytes) = announced.bytes else {
            self.push_untagged_or(
                tag,
                Status::Bad,
                None,
                "The literal's size is not a 64-bit number",
                out,
            );
            return self.refuse_literal(announced, u64::MAX, 0, out);
        };
        let is_authenticated = self.state != State::NotAuthenticated;
        if is_authenticated && self.append_literal(head, announced, bytes, out) {
            return;
        }
        let room = COMMAND_LITERAL_BYTES_MAX - self.framer.literal_bytes().min(COMMAND_LITERAL_BYTES_MAX);
        let most = if is_authenticated {
            room
        } else {
            room.min(LITERAL_BEFORE_LOGIN_BYTES_MAX)
        };
        match usize::try_from(bytes) {
            Ok(bytes) if bytes <= most => {
                if announced.is_synchronising {
                    out.wire.extend_from_slice(b"+ Ready for literal data\r\n");
                }
                self.framer.collect(bytes);
            }
            _ => {
                self.push_untagged_or(tag, Status::No, Some(&Code::TooBig), "Literal too big", out);
                self.refuse_literal(announced, bytes, DISCARDED_LITERAL_BYTES_MAX, out);
            }
        }
    }

    /// After the response that refuses a command at its literal: forget it, skip what will come anyway (at most `most`
    /// octets), or close because that is too much.
    pub(super) fn refuse_literal(
        &mut self,
        announced: Announced,
        bytes: u64,
        most: u64,
        out: &mut Actions<Question>,
    ) {
        self.count_error(out);
        if announced.is_synchronising {
            self.framer.finish();
        } else if bytes <= most {
            self.framer.skip(bytes);
        } else {
            self.bye(Some(&Code::TooBig), "Literal too big", out);
        }
    }

    fn command(&mut self, parsed: Result<Command, ParseError>, out: &mut Actions<Question>) {
        let Command { tag, body } = match parsed {
            Ok(command) => command,
            Err(error) => {
                self.push_parse_error(&error, out);
                return self.count_error(out);
            }
        };
        if !is_allowed(&body, self.state) {
            self.push_tagged(&tag, Status::Bad, None, "Not in this state", out);
            return self.count_error(out);
        }
        match body {
            CommandBody::Capability => {
                out.wire.extend_from_slice(b"* ");
                capability::push(&self.config, self.situation(), &mut out.wire);
                out.wire.extend_from_slice(b"\r\n");
                self.done(&tag, "CAPABILITY completed", out);
            }
            CommandBody::Id(_) => {
                out.wire.extend_from_slice(b"* ID (\"name\" \"Ringpost\")\r\n");
                self.done(&tag, "ID completed", out);
            }
            CommandBody::Noop if self.state == State::NotAuthenticated => {
                self.done(&tag, "NOOP completed", out)
            }
            CommandBody::Logout => {
                push_bye_line(None, "Logging out", &mut out.wire);
                self.done(&tag, "LOGOUT completed", out);
                self.close(out);
            }
            CommandBody::StartTls => self.start_tls(tag, out),
            CommandBody::Login { login, password } => self.login(tag, login, password, out),
            CommandBody::Authenticate {
                mechanism,
                initial_response,
            } => self.authenticate(tag, &mechanism, initial_response, out),
            CommandBody::Idle => {
                out.question = Some(Question::Idle);
                self.doing = Doing::AskedIdle { tag };
            }
            body => {
                self.doing = Doing::AskedCommand { tag: tag.clone() };
                out.question = Some(Question::Command(Command { tag, body }));
            }
        }
    }

    fn done(&mut self, tag: &Tag, text: &str, out: &mut Actions<Question>) {
        self.push_tagged(tag, Status::Ok, None, text, out);
    }

    fn start_tls(&mut self, tag: Tag, out: &mut Actions<Question>) {
        if self.channel.is_tls || !self.config.is_starttls_offered {
            let text = if self.channel.is_tls {
                "TLS is up already"
            } else {
                "STARTTLS is not offered here"
            };
            self.push_tagged(&tag, Status::Bad, None, text, out);
            return self.count_error(out);
        }
        out.synchronise = true;
        self.doing = Doing::StartTls { tag, has_more: false };
    }

    fn is_login_allowed(&self) -> bool {
        self.channel.is_tls || self.channel.is_plaintext_login_allowed
    }

    fn refuse_plaintext(&mut self, tag: &Tag, out: &mut Actions<Question>) {
        self.push_tagged(
            tag,
            Status::No,
            Some(&Code::PrivacyRequired),
            "Start TLS first",
            out,
        );
        self.count_error(out);
    }

    fn login(&mut self, tag: Tag, login: Vec<u8>, password: Secret, out: &mut Actions<Question>) {
        if !self.is_login_allowed() {
            return self.refuse_plaintext(&tag, out);
        }
        let credentials = Credentials {
            login,
            secret: password,
            authorization: None,
        };
        self.ask_login(tag, credentials, out);
    }

    fn ask_login(&mut self, tag: Tag, credentials: Credentials, out: &mut Actions<Question>) {
        out.question = Some(Question::Authenticate {
            login: credentials.login,
            secret: credentials.secret,
            authorization: credentials.authorization,
        });
        self.doing = Doing::AskedLogin { tag };
    }

    fn authenticate(
        &mut self,
        tag: Tag,
        mechanism: &str,
        initial_response: Option<Vec<u8>>,
        out: &mut Actions<Question>,
    ) {
        if !self.is_login_allowed() {
            return self.refuse_plaintext(&tag, out);
        }
        let Some(exchange) = Exchange::new(mechanism) else {
            self.push_tagged(&tag, Status::No, Some(&Code::Cannot), "No such mechanism", out);
            return self.count_error(out);
        };
        match initial_response {
            Some(response) => self.sasl_step(tag, exchange.initial(&response), out),
            None => self.sasl_step(tag, Step::Challenge(exchange), out),
        }
    }

    fn sasl_step(&mut self, tag: Tag, step: Step, out: &mut Actions<Question>) {
        match step {
            Step::Challenge(exchange) => {
                out.wire.extend_from_slice(b"+ ");
                out.wire.extend_from_slice(exchange.challenge().as_bytes());
                out.wire.extend_from_slice(b"\r\n");
                self.doing = Doing::Sasl { tag, exchange };
            }
            Step::Complete(credentials) => self.ask_login(tag, credentials, out),
            Step::Failed(text) => {
                self.push_tagged(&tag, Status::Bad, None, text, out);
                self.count_error(out);
            }
        }
    }

    fn sasl_line(
        &mut self,
        tag: Tag,
        exchange: Exchange,
        input: &[u8],
        out: &mut Actions<Question>,
    ) -> usize {
        let limits = Limits {
            text_bytes: SASL_RESPONSE_BYTES_MAX,
            has_literals: false,
        };
        let (taken, frame) = self.framer.advance(input, limits);
        let step = match frame {
            Frame::Command(line) => exchange.respond(line),
            Frame::TooLong(_) => {
                self.framer.release();
                self.sasl_step(tag, Step::Failed("The response is too long"), out);
                return taken;
            }
            _ => {
                self.doing = Doing::Sasl { tag, exchange };
                return taken;
            }
        };
        self.framer.finish();
        self.sasl_step(tag, step, out);
        taken
    }

    fn idle_line(&mut self, tag: Tag, input: &[u8], out: &mut Actions<Question>) -> usize {
        let limits = Limits {
            text_bytes: COMMAND_TEXT_BEFORE_LOGIN_BYTES_MAX,
            has_literals: false,
        };
        let (taken, frame) = self.framer.advance(input, limits);
        let is_garbage = match frame {
            Frame::Command(line) => {
                let is_garbage = !line.eq_ignore_ascii_case(b"DONE");
                self.framer.finish();
                is_garbage
            }
            Frame::TooLong(_) => {
                self.framer.release();
                true
            }
            _ => {
                self.doing = Doing::Idling { tag };
                return taken;
            }
        };
        out.question = Some(Question::IdleDone);
        self.doing = Doing::AskedIdleDone { tag, is_garbage };
        taken
    }

    fn answer<R>(&mut self, answer: Answer<R>, out: &mut Actions<Question>) {
        match (std::mem::replace(&mut self.doing, Doing::Ready), answer) {
            (Doing::AskedLogin { tag }, Answer::Authenticated) => {
                self.state = State::Authenticated;
                self.errors = 0;
                let code = self.capability_code();
                self.push_tagged(&tag, Status::Ok, Some(&code), "Logged in", out);
                self.command_ended(out);
            }
            (Doing::AskedLogin { tag }, Answer::Refused(refusal)) => {
                let (code, text) = login_refusal(refusal);
                self.push_tagged(&tag, Status::No, Some(&code), text, out);
                self.count_error(out);
                self.command_ended(out);
            }
            (Doing::AskedCommand { tag } | Doing::AskedIdle { tag }, Answer::Done(completion)) => {
                self.complete(&tag, &completion, out);
            }
            (Doing::AskedIdle { tag }, Answer::Idling) => {
                out.wire.extend_from_slice(b"+ idling\r\n");
                self.doing = Doing::Idling { tag };
                self.command_ended(out);
            }
            (
                Doing::AskedIdleDone {
                    tag,
                    is_garbage: false,
                },
                Answer::Done(completion),
            ) => {
                self.complete(&tag, &completion, out);
            }
            (Doing::AskedIdleDone { tag, .. }, Answer::Done(_)) => {
                self.complete(&tag, &Completion::bad("Expected DONE"), out);
            }
            (
                Doing::AskedAppendBegin {
                    tag,
                    announced,
                    bytes,
                },
                Answer::AppendReady,
            ) => {
                self.append_ready(tag, announced, bytes, out);
                self.set_deadline(true, out);
            }
            (
                Doing::AskedAppendBegin {
                    tag,
                    announced,
                    bytes,
                },
                Answer::AppendRefused(refusal),
            ) => {
                self.append_refused(&tag, &refusal, announced, bytes, out);
            }
            (Doing::AskedAppendCommit { tag }, Answer::Appended(appended)) => {
                self.appended(&tag, &appended, out)
            }
            (Doing::AskedAppendCommit { tag }, Answer::AppendRefused(refusal)) => {
                self.append_failed(&tag, &refusal, out);
            }
            (Doing::AskedAppendAbandon { tag }, Answer::AppendDropped) => self.append_abandoned(&tag, out),
            (Doing::Over, _) => self.doing = Doing::Over,
            _ => self.misused(out),
        }
    }

    fn complete(&mut self, tag: &Tag, completion: &Completion, out: &mut Actions<Question>) {
        push_completion_line(tag, completion, &mut out.wire);
        match completion.transition {
            Transition::Stay => {}
            Transition::Selected => self.state = State::Selected,
            Transition::Unselected => self.state = State::Authenticated,
            Transition::Closed => self.bye(None, "Closing", out),
        }
        match completion.status {
            Status::Ok => self.errors = 0,
            Status::No => {}
            Status::Bad => self.count_error(out),
        }
        self.command_ended(out);
    }

    /// After the answer to a question: what waited for it.
    pub(super) fn command_ended(&mut self, out: &mut Actions<Question>) {
        if self.is_peer_gone {
            self.close(out);
        } else if self.is_shutting_down {
            self.bye(None, "The server is shutting down", out);
        }
        self.is_in_command = true;
        self.set_deadline(true, out);
    }

    /// Before login one deadline covers everything. After it: silence between commands, one for a command that has
    /// begun (not renewed by its octets), one for the next octets of a message.
    fn set_deadline(&mut self, has_progress: bool, out: &mut Actions<Question>) {
        if self.state == State::NotAuthenticated || self.doing.is_asking() {
            return;
        }
        let is_in_command = matches!(self.doing, Doing::Ready) && !self.framer.is_empty();
        let seconds = match self.doing {
            Doing::AppendBody { .. } | Doing::AppendTail { .. } if has_progress => MESSAGE_STALL_SECONDS,
            Doing::Ready if is_in_command && !self.is_in_command => COMMAND_SECONDS,
            Doing::Ready | Doing::Idling { .. } if self.is_in_command && !is_in_command => SILENCE_SECONDS,
            _ => return,
        };
        self.is_in_command = is_in_command || seconds == MESSAGE_STALL_SECONDS;
        out.deadline = Some(Deadline::Seconds(seconds));
    }

    pub(super) fn count_error(&mut self, out: &mut Actions<Question>) {
        self.errors += 1;
        let most = if self.state == State::NotAuthenticated {
            ERRORS_BEFORE_LOGIN_MAX
        } else {
            ERRORS_IN_A_ROW_MAX
        };
        if self.errors >= most {
            self.bye(None, "Too many errors", out);
        }
    }

    pub(super) fn push_parse_error(&mut self, error: &ParseError, out: &mut Actions<Question>) {
        let text = error.fault.to_string();
        let (status, code) = match error.fault {
            parse::Fault::SpecialUse => (Status::No, Some(Code::UseAttr)),
            fault if fault.is_refusal() => (Status::No, Some(Code::Cannot)),
            _ => (Status::Bad, None),
        };
        self.push_untagged_or(error.tag.clone(), status, code.as_ref(), &text, out);
    }

    fn push_untagged_or(
        &mut self,
        tag: Option<Tag>,
        status: Status,
        code: Option<&Code>,
        text: &str,
        out: &mut Actions<Question>,
    ) {
        match tag {
            Some(tag) => self.push_tagged(&tag, status, code, text, out),
            None => self.push_tagged(b"*", Status::Bad, code, text, out),
        }
    }

    pub(super) fn push_tagged(
        &mut self,
        tag: &[u8],
        status: Status,
        code: Option<&Code>,
        text: &str,
        out: &mut Actions<Question>,
    ) {
        push_status_line(tag, status, code, text, &mut out.wire);
    }

    pub(super) fn message_bytes_max(&self) -> u64 {
        self.config.message_bytes_max
    }

    fn situation(&self) -> Situation {
        Situation {
            is_tls: self.channel.is_tls,
            is_login_allowed: self.is_login_allowed(),
            is_authenticated: self.state != State::NotAuthenticated,
        }
    }

    fn capability_code(&self) -> Code {
        let mut list = Vec::with_capacity(256);
        capability::push(&self.config, self.situation(), &mut list);
        Code::Capability(list)
    }

    /// Says goodbye once, and closes.
    fn bye(&mut self, code: Option<&Code>, text: &str, out: &mut Actions<Question>) {
        if self.state != State::Logout {
            push_bye_line(code, text, &mut out.wire);
        }
        self.close(out);
    }

    fn close(&mut self, out: &mut Actions<Question>) {
        self.state = State::Logout;
        self.doing = Doing::Over;
        self.framer.finish();
        out.close = true;
    }
}

/// Which states a command belongs to (RFC 9051 §6).
fn is_allowed(body: &CommandBody, state: State) -> bool {
    match body {
        CommandBody::Capability | CommandBody::Noop | CommandBody::Logout | CommandBody::Id(_) => true,
        CommandBody::StartTls | CommandBody::Authenticate { .. } | CommandBody::Login { .. } => {
            state == State::NotAuthenticated
        }
        CommandBody::Check
        | CommandBody::Close
        | CommandBody::Unselect
        | CommandBody::Expunge { .. }
        | CommandBody::Search(_)
        | CommandBody::Fetch(_)
        | CommandBody::Store(_)
        | CommandBody::Copy { .. }
        | CommandBody::Move { .. } => state == State::Selected,
        _ => matches!(state, State::Authenticated | State::Selected),
    }
}

fn login_refusal(refusal: LoginRefusal) -> (Code, &'static str) {
    match refusal {
        LoginRefusal::AuthenticationFailed => (Code::AuthenticationFailed, "Authentication failed"),
        LoginRefusal::AuthorizationFailed => (Code::AuthorizationFailed, "Authorization failed"),
        LoginRefusal::Unavailable => (Code::Unavailable, "Try again later"),
        LoginRefusal::PrivacyRequired => (Code::PrivacyRequired, "Start TLS first"),
    }
}

/// Verbs of protocols that browsers can be made to speak to a mail port (ALPACA, USENIX Security 2021).
const FOREIGN_VERBS: [&[u8]; 9] = [
    b"GET ",
    b"POST ",
    b"PUT ",
    b"HEAD ",
    b"CONNECT ",
    b"OPTIONS ",
    b"DELETE ",
    b"PATCH ",
    b"PRI ",
];

/// True for a line that starts as an HTTP request does. As a tag such a word is legal: only lines that are no IMAP
/// command are asked about.
fn is_http(text: &[u8]) -> bool {
    FOREIGN_VERBS.iter().any(|verb| text.starts_with(verb))
}
