//! Commands and answers: which command is the core's and which the session's, and what an answer leads to.
//!
//! Invariants: each question is followed by exactly one answer of its own kinds; the tagged response is written when it
//! comes, so responses stand in the order of the commands.
//! Standards: RFC 9051 §6.1–6.2, RFC 2177, RFC 2971.

use super::api::{Answer, Completion, LoginRefusal, Question, Status, Transition};
use super::capability;
use super::core::{Core, Doing, LOGIN_SECONDS, State};
use super::encode::code::{push_bye_line, push_completion_line};
use super::framing::{Frame, Limits};
use super::input::IDLE_LINE_BYTES_MAX;
use super::parse::ParseError;
use super::types::{Command, CommandBody, NameForm, Tag};
use crate::proto::sasl::Step;
use crate::proto::{Actions, Deadline};

/// Why a session ends whose mailbox another one has deleted.
pub const MAILBOX_DELETED: &str = "The selected mailbox was deleted";

impl Core {
    pub(super) fn command(&mut self, parsed: Result<Command, ParseError>, out: &mut Actions<Question>) {
        let Command { tag, body } = match parsed {
            Ok(command) => command,
            Err(error) => {
                self.push_parse_error(&error, out);
                return self.count_fault(error.fault, out);
            }
        };
        if !is_allowed(&body, self.state) {
            self.push_tagged(&tag, Status::Bad, None, "Not in this state", out);
            return self.count_error(out);
        }
        // RFC 8437 §8: it can be switched off, since a proxy in front of the server may rely on who has logged in.
        if body == CommandBody::Unauthenticate && capability::is_hidden(&self.config, "UNAUTHENTICATE") {
            self.push_tagged(&tag, Status::Bad, None, "UNAUTHENTICATE is not offered", out);
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
            CommandBody::Login { login, password } => self.login(tag, &login, &password, out),
            CommandBody::Authenticate {
                mechanism,
                initial_response,
            } => self.authenticate(tag, &mechanism, initial_response.as_deref(), out),
            CommandBody::Append(append) => self.append_whole(tag, append, out),
            CommandBody::Idle => {
                out.question = Some(Question::Idle);
                self.doing = Doing::AskedIdle { tag };
            }
            body => {
                // The session enables what it is asked to, and answers no more input before.
                if let CommandBody::Enable(capabilities) = &body {
                    self.names = self.names.after_enable(capabilities);
                }
                self.doing = Doing::AskedCommand { tag: tag.clone() };
                out.question = Some(Question::Command(Box::new(Command { tag, body })));
            }
        }
    }

    pub(super) fn done(&mut self, tag: &Tag, text: &str, out: &mut Actions<Question>) {
        self.push_tagged(tag, Status::Ok, None, text, out);
    }

    pub(super) fn idle_line(&mut self, tag: Tag, input: &[u8], out: &mut Actions<Question>) -> usize {
        let limits = Limits {
            text_bytes: IDLE_LINE_BYTES_MAX,
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

    pub(super) fn answer<R>(&mut self, answer: Answer<R>, out: &mut Actions<Question>) {
        match (std::mem::replace(&mut self.doing, Doing::Ready), answer) {
            (Doing::AskedLogin { tag, .. }, Answer::Authenticated) => {
                self.state = State::Authenticated;
                self.errors = 0;
                let code = self.capability_code();
                self.push_tagged(&tag, Status::Ok, Some(&code), "Logged in", out);
                self.command_ended(out);
            }
            (
                Doing::AskedLogin {
                    tag,
                    exchange: Some(mut exchange),
                },
                Answer::Verifier(verifier, nonce),
            ) => {
                let step = exchange.verifier(*verifier, &nonce);
                self.sasl_step(tag, exchange, step, out);
            }
            (
                Doing::AskedLogin {
                    tag,
                    exchange: Some(mut exchange),
                },
                Answer::Proven,
            ) => {
                let step = exchange.proven();
                self.sasl_step(tag, exchange, step, out);
            }
            (Doing::AskedLogin { tag, exchange }, Answer::Refused(refusal)) => {
                // A token that nobody could judge may be a good one.
                if refusal != LoginRefusal::Unavailable
                    && let Some(mut exchange) = exchange
                    && let Some(challenge) = exchange.refused(&self.config.token_refusal)
                {
                    return self.sasl_step(tag, exchange, Step::Challenge(challenge), out);
                }
                let (code, text) = super::login::login_refusal(refusal);
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
                    tail,
                },
                Answer::AppendReady,
            ) => {
                self.append_ready((tag, tail), announced, bytes, out);
                self.begin_message_deadline(out);
            }
            (
                Doing::AskedAppendBegin {
                    tag,
                    announced,
                    bytes,
                    ..
                },
                Answer::AppendRefused(refusal),
            ) => {
                self.append_refused(&tag, &refusal, announced, bytes, out);
            }
            (Doing::AskedFurther { tag, further, then }, Answer::AppendReady) => {
                self.ask_next(tag, further, then, out);
            }
            (Doing::AskedFurther { tag, then, .. }, Answer::AppendRefused(refusal)) => {
                self.line_refused(&tag, &refusal, then, out);
            }
            (Doing::AskedCatenateEnd { tag }, Answer::AppendReady) => {
                out.question = Some(Question::AppendCommit);
                self.doing = Doing::AskedAppendCommit { tag };
            }
            (
                Doing::AskedCatenateEnd { tag } | Doing::AskedAppendCommit { tag },
                Answer::AppendRefused(refusal),
            ) => {
                self.append_failed(&tag, &refusal, out);
            }
            (Doing::AskedAppendCommit { tag }, Answer::Appended(appended)) => {
                self.appended(&tag, &appended, out)
            }
            (Doing::AskedAppendAbandon { tag, why }, Answer::AppendDropped) => {
                self.append_abandoned(&tag, why, out);
            }
            (Doing::Over, _) => self.doing = Doing::Over,
            _ => self.misused(out),
        }
    }

    pub(super) fn complete(&mut self, tag: &Tag, completion: &Completion, out: &mut Actions<Question>) {
        push_completion_line(tag, completion, &mut out.wire);
        match completion.transition {
            Transition::Stay => {}
            Transition::Selected => self.state = State::Selected,
            Transition::Unselected => self.state = State::Authenticated,
            Transition::Unauthenticated => self.unauthenticated(out),
            Transition::Deleted => self.bye(None, MAILBOX_DELETED, out),
        }
        match completion.status {
            Status::Ok => self.errors = 0,
            Status::No => {}
            Status::Bad => self.count_error(out),
        }
        self.command_ended(out);
    }

    /// RFC 8437 §3: as after the greeting, but for TLS.
    fn unauthenticated(&mut self, out: &mut Actions<Question>) {
        self.state = State::NotAuthenticated;
        self.names = NameForm::default();
        out.deadline = Some(Deadline::Seconds(LOGIN_SECONDS));
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
        | CommandBody::CancelUpdate(_)
        | CommandBody::Thread { .. }
        | CommandBody::Fetch(_)
        | CommandBody::Store(_)
        | CommandBody::Copy { .. }
        | CommandBody::Move { .. } => state == State::Selected,
        // RFC 8508 §3.5
        CommandBody::Append(append) if append.replaces.is_some() => state == State::Selected,
        _ => matches!(state, State::Authenticated | State::Selected),
    }
}
