//! The protocol core: states, what is allowed in each, and the dialogue with the session.
//!
//! [`Imap`] is the door with the type of proof; `Core` is all the rest, which does not depend on it.
//!
//! Invariants: one question at a time, and no input taken while it is open; every complete command gets exactly one
//! tagged response (or one untagged BAD when its tag cannot be read), in order; nothing sent in clear before STARTTLS is
//! acted on after it; an idle connection holds no buffer. The core is `Send`: after login a connection moves with it.
//! Limits: the constants below, and those of `input`.
//! Failure: faults of the peer are BAD or NO, counted, and BYE beyond [`ERRORS_BEFORE_LOGIN_MAX`] or
//! [`ERRORS_IN_A_ROW_MAX`]; an answer that does not fit its question is ours: BYE.
//! Standards: RFC 9051 §3, §6.1, §6.2; RFC 7888; RFC 2177; RFC 4959; RFC 2971; RFC 5530.
//! Not here: from bytes to commands (`input`), commands and answers (`dialogue`), TLS and login (`login`), APPEND
//! (`append`), what commands do (`session::imap`).

use super::api::{Answer, Channel, Config, Question, Status};
use super::append::{Abandoned, Tail};
use super::capability::{self, Situation};
use super::catenate::{Behind, Then};
use super::encode::code::{Code, push_bye_line, push_status_line};
use super::framing::{Announced, Framer};
use super::types::{AppendMessage, NameForm, Tag};
use crate::proto::sasl::{Bindings, Exchange};
use crate::proto::{Actions, Consumed, Deadline, Event, Protocol, Receipt};
use std::marker::PhantomData;
use std::sync::Arc;

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

/// Octets of APPEND's messages that must come in a second on average, behind [`MESSAGE_GRACE_SECONDS`]: a peer that
/// trickles octets cannot hold what it sent in memory for ever. As for DATA.
pub const MESSAGE_BYTES_PER_SECOND_MIN: u64 = 100;

/// Seconds for which the minimum rate does not count yet.
pub const MESSAGE_GRACE_SECONDS: u32 = 60;

/// Longest pause inside a message, paid for by octets that came before it.
pub const MESSAGE_PAUSE_SECONDS: u32 = 180;

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
    /// For LOGIN, or for an exchange.
    AskedLogin {
        tag: Tag,
        exchange: Option<Exchange>,
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
        tail: Tail,
    },
    AppendBody {
        tag: Tag,
        left: u64,
        /// What is due behind it.
        tail: Tail,
    },
    AppendTail {
        tag: Tag,
        tail: Tail,
    },
    /// The line behind a message or a part of one.
    AppendLine {
        tag: Tag,
        behind: Behind,
    },
    /// A message that others follow on the same line.
    AskedFurther {
        tag: Tag,
        further: Vec<AppendMessage>,
        then: Then,
    },
    /// The last part of CATENATE.
    AskedCatenateEnd {
        tag: Tag,
    },
    AskedAppendCommit {
        tag: Tag,
    },
    AskedAppendAbandon {
        tag: Tag,
        why: Abandoned,
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
                | Self::AskedFurther { .. }
                | Self::AskedCatenateEnd { .. }
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
                | Self::AppendLine { .. }
        )
    }
}

/// The core without the type of proof.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: Arc<Config>,
    pub(super) channel: Channel,
    /// The names of the TLS channel. Kept behind the login, because there may be another (UNAUTHENTICATE).
    pub(super) bindings: Option<Box<Bindings>>,
    pub(super) has_certificate: bool,
    pub(super) state: State,
    pub(super) doing: Doing,
    pub(super) framer: Framer,
    pub(super) errors: u32,
    /// How the client writes names, by what it has enabled.
    pub(super) names: NameForm,
    /// Say goodbye, or just close, as soon as the command in progress has its answer.
    pub(super) is_shutting_down: bool,
    pub(super) is_peer_gone: bool,
    /// The deadline of a command, not that of silence, runs.
    pub(super) is_in_command: bool,
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
                bindings: None,
                has_certificate: false,
                state: State::NotAuthenticated,
                doing: Doing::New,
                framer: Framer::default(),
                errors: 0,
                names: NameForm::default(),
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

    /// True where a session may be told that it is over ([`Event::Revoked`]): no command is under way, though the beginning of
    /// one may have come.
    #[must_use]
    pub fn is_between_commands(&self) -> bool {
        matches!(self.core.doing, Doing::Ready | Doing::Idling { .. })
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

    fn name_channel(&mut self, bindings: Bindings, has_certificate: bool) {
        self.core.bindings = bindings.kept(self.core.config.mechanisms);
        self.core.has_certificate = has_certificate;
    }

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
            Event::Revoked => core.revoked(out),
            Event::PeerClosed => core.peer_closed(out),
        }
        Consumed(0)
    }
}

impl Core {
    pub(super) fn opened(&mut self, out: &mut Actions<Question>) {
        if !matches!(self.doing, Doing::New) {
            return self.misused(out);
        }
        // The greeting waits for the answer: bytes that are there before it can only be those of a peer that does not
        // wait for it, and no client that reads it can be taken for one.
        self.doing = Doing::Greeting;
        out.synchronise = true;
        out.deadline = Some(Deadline::Seconds(LOGIN_SECONDS));
    }

    pub(super) fn synchronised(&mut self, is_early: bool, out: &mut Actions<Question>) {
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

    pub(super) fn tls_ready(&mut self) {
        self.channel.is_tls = true;
        self.state = State::NotAuthenticated;
        self.names = NameForm::default();
        self.framer.finish();
        self.doing = Doing::Ready;
    }

    pub(super) fn deadline_passed(&mut self, out: &mut Actions<Question>) {
        // The session bounds the time it takes to answer; the peer's clock starts again after the answer.
        if !self.doing.is_asking() {
            self.bye(None, "Too long without a command", out);
        }
    }

    pub(super) fn shutdown(&mut self, out: &mut Actions<Question>) {
        self.is_shutting_down = true;
        let is_message_coming = matches!(
            self.doing,
            Doing::AppendBody { .. } | Doing::AppendTail { .. } | Doing::AppendLine { .. }
        );
        if !self.doing.is_asking() && !is_message_coming {
            self.bye(None, "The server is shutting down", out);
        }
    }

    /// Told between commands and while the client listens; in the middle of one it does nothing, and is told again.
    pub(super) fn revoked(&mut self, out: &mut Actions<Question>) {
        if matches!(self.doing, Doing::Ready | Doing::Idling { .. }) {
            self.bye(None, "This account may not be used any more", out);
        }
    }

    pub(super) fn peer_closed(&mut self, out: &mut Actions<Question>) {
        self.is_peer_gone = true;
        if !self.doing.is_asking() {
            self.close(out);
        }
    }

    /// An event or an answer that does not fit: our fault, not the peer's.
    pub(super) fn misused(&mut self, out: &mut Actions<Question>) {
        self.bye(Some(&Code::ServerBug), "Internal error", out);
    }

    pub(super) fn bytes(&mut self, input: &[u8], out: &mut Actions<Question>) -> usize {
        let mut taken = 0;
        while taken < input.len() && self.doing.takes_bytes() && out.wire.len() < WIRE_BYTES_SOFT_MAX {
            taken += self.step(&input[taken..], taken, out);
        }
        if let Doing::StartTls { has_more, .. } = &mut self.doing {
            *has_more = taken < input.len();
        }
        self.earn_time(taken, out);
        self.set_deadline(taken > 0, out);
        taken
    }

    pub(super) fn step(&mut self, input: &[u8], offset: usize, out: &mut Actions<Question>) -> usize {
        match std::mem::replace(&mut self.doing, Doing::Ready) {
            Doing::AppendBody { tag, left, tail } => self.append_body((tag, tail), left, input, offset, out),
            Doing::AppendTail { tag, tail } => {
                self.append_tail(tag, tail, input[0], out);
                1
            }
            Doing::AppendLine { tag, behind } => self.append_line(tag, behind, input, out),
            Doing::Sasl { tag, exchange } => self.sasl_line(tag, exchange, input, out),
            Doing::Idling { tag } => self.idle_line(tag, input, out),
            _ => self.command_bytes(input, out),
        }
    }

    /// Before login one deadline covers everything. After it: silence between commands, one for a command that has
    /// begun (not renewed by its octets), one for the next octets of a message.
    pub(super) fn set_deadline(&mut self, has_progress: bool, out: &mut Actions<Question>) {
        if self.state == State::NotAuthenticated || self.doing.is_asking() {
            return;
        }
        let is_in_command = matches!(self.doing, Doing::Ready) && !self.framer.is_empty();
        let seconds = match self.doing {
            Doing::Ready if is_in_command && !self.is_in_command => COMMAND_SECONDS,
            Doing::Ready if !is_in_command && has_progress => SILENCE_SECONDS,
            Doing::Idling { .. } if self.is_in_command => SILENCE_SECONDS,
            _ => return,
        };
        self.is_in_command = is_in_command;
        out.deadline = Some(Deadline::Seconds(seconds));
    }

    /// The deadline of a message that begins.
    pub(super) fn begin_message_deadline(&mut self, out: &mut Actions<Question>) {
        self.is_in_command = true;
        out.deadline = Some(Deadline::Seconds(MESSAGE_GRACE_SECONDS));
    }

    fn earn_time(&self, octets: usize, out: &mut Actions<Question>) {
        if matches!(
            self.doing,
            Doing::AppendBody { .. } | Doing::AppendTail { .. } | Doing::AppendLine { .. }
        ) {
            let rate = MESSAGE_BYTES_PER_SECOND_MIN;
            Deadline::earn(&mut out.deadline, octets, rate, MESSAGE_PAUSE_SECONDS);
        }
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

    pub(super) fn push_untagged_or(
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

    pub(super) fn situation(&self) -> Situation {
        Situation {
            is_tls: self.channel.is_tls,
            is_login_allowed: self.is_login_allowed(),
            sasl: self.sasl_channel(),
            is_authenticated: self.state != State::NotAuthenticated,
        }
    }

    pub(super) fn capability_code(&self) -> Code {
        let mut list = Vec::with_capacity(256);
        capability::push(&self.config, self.situation(), &mut list);
        Code::Capability(list)
    }

    /// Says goodbye once, and closes.
    pub(super) fn bye(&mut self, code: Option<&Code>, text: &str, out: &mut Actions<Question>) {
        if self.state != State::Logout {
            push_bye_line(code, text, &mut out.wire);
        }
        self.close(out);
    }

    pub(super) fn close(&mut self, out: &mut Actions<Question>) {
        self.state = State::Logout;
        self.doing = Doing::Over;
        self.framer.finish();
        out.close = true;
    }
}
