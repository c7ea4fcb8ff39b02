//! The core against transcripts and against its laws.
//!
//! [`Table`] is a session that answers from a table, so that what the peer sees is a function of what it sends.

mod grammar;
mod hostile;
mod laws;
mod printer;
mod responses;
mod transcripts;

use super::api::{
    Answer, Appended, Channel, Completion, Config, LoginRefusal, Question, Refusal, Transition,
};
use super::encode::code::Code;
use super::types::{Command, CommandBody};
use super::{Imap, core::State};
use crate::model::{Uid, UidValidity};
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Mechanisms, Request};
use crate::proto::{Actions, Event, Protocol, Receipt, ReceiptId};
use std::num::NonZeroU32;
use std::sync::Arc;

/// Proof for tests.
#[derive(Debug)]
pub struct TestReceipt;

impl Receipt for TestReceipt {
    fn id(&self) -> ReceiptId {
        ReceiptId { log: 0, sequence: 1 }
    }
}

/// A session whose answers are a table: alice's password is `secret`, the mailbox `missing` does not exist, `full` is
/// full when a message is to be stored, and a further message of 13 octets is refused.
pub struct Table {
    pub imap: Imap<TestReceipt>,
    out: Actions<Question>,
    /// All that was sent.
    pub wire: Vec<u8>,
    /// Bodies that were committed.
    pub committed: Vec<Vec<u8>>,
    /// Everything done, in an order that must not depend on how the input was split.
    pub trace: Vec<String>,
    body: Vec<u8>,
    /// Those of the same command that came before.
    bodies: Vec<Vec<u8>>,
    mailbox: String,
    pub is_closed: bool,
    pub is_tls_due: bool,
    pub most_held_bytes: usize,
    /// The peer has sent more than is offered.
    pub is_more_coming: bool,
}

impl Table {
    pub fn new(channel: Channel) -> Self {
        let mut table = Self::unopened(channel, Config::default());
        table.event(Event::Opened, false);
        table
    }

    pub fn unopened(channel: Channel, config: Config) -> Self {
        Self {
            imap: Imap::new(Arc::new(config), channel),
            out: Actions::default(),
            wire: Vec::new(),
            committed: Vec::new(),
            trace: Vec::new(),
            body: Vec::new(),
            bodies: Vec::new(),
            mailbox: String::new(),
            is_closed: false,
            is_tls_due: false,
            most_held_bytes: 0,
            is_more_coming: false,
        }
    }

    /// Greeted, over TLS, logged in; what was sent so far is forgotten.
    pub fn logged_in() -> Self {
        let mut table = Self::secure();
        table.send(b"a0 LOGIN alice secret\r\n");
        table.wire.clear();
        table.trace.clear();
        table
    }

    /// Behind the greeting of a server that has these mechanisms, over TLS.
    pub fn with_mechanisms(mechanisms: Mechanisms) -> Self {
        let config = Config {
            mechanisms,
            ..Config::default()
        };
        let channel = Channel {
            is_tls: true,
            is_plaintext_login_allowed: false,
        };
        let mut table = Self::unopened(channel, config);
        table.event(Event::Opened, false);
        table
    }

    pub fn secure() -> Self {
        let mut table = Self::new(Channel {
            is_tls: true,
            is_plaintext_login_allowed: false,
        });
        table.wire.clear();
        table.trace.clear();
        table
    }

    /// Sends `input` in one piece and returns what came back since the last time.
    pub fn exchange(&mut self, input: &[u8]) -> String {
        self.wire.clear();
        self.send(input);
        String::from_utf8_lossy(&self.wire).into_owned()
    }

    pub fn send(&mut self, mut input: &[u8]) {
        while !input.is_empty() && !self.is_closed && !self.is_tls_due {
            let taken = self.offer(input);
            input = &input[taken..];
            // A session may stop at 0: with its questions answered, the core always takes something.
            assert!(taken > 0 || self.is_closed || self.is_tls_due);
        }
    }

    fn offer(&mut self, input: &[u8]) -> usize {
        let taken = self.imap.handle(Event::Bytes(input), &mut self.out).0;
        for range in std::mem::take(&mut self.out.body) {
            self.body.extend_from_slice(&input[range]);
        }
        self.act(taken < input.len() || self.is_more_coming);
        taken
    }

    pub fn event(&mut self, event: Event<'_, Answer<TestReceipt>>, has_more: bool) {
        let _ = self.imap.handle(event, &mut self.out);
        self.act(has_more);
    }

    fn act(&mut self, has_more: bool) {
        self.most_held_bytes = self.most_held_bytes.max(self.imap.held_bytes());
        loop {
            self.wire.append(&mut self.out.wire);
            self.is_closed |= self.out.close;
            self.is_tls_due |= self.out.start_tls;
            let question = self.out.question.take();
            let synchronise = self.out.synchronise;
            self.out.clear();
            if let Some(question) = question {
                self.trace.push(format!("{question:?}"));
                let answer = self.answer(question);
                let _ = self.imap.handle(Event::Answer(answer), &mut self.out);
            } else if synchronise {
                let event = if has_more { Event::Early } else { Event::Quiet };
                let _ = self.imap.handle(event, &mut self.out);
            } else {
                return;
            }
        }
    }

    fn answer(&mut self, question: Question) -> Answer<TestReceipt> {
        match question {
            Question::Authenticate(Request::Verifier { hash, .. }) => {
                // Of RFC 5802 §5.
                let salt = b"A%\xc2G\xe4:\xb1\xe9<m\xffv".to_vec();
                let iterations = NonZeroU32::new(4096).expect("not 0");
                let verifier = Verifier::of_password(hash, "pencil", salt, iterations).expect("letters");
                Answer::Verifier(Box::new(verifier), "3rfcNHYJY1ZVvWVs7j".to_owned())
            }
            Question::Authenticate(Request::Proof(outcome)) if outcome.is_proven() => Answer::Proven,
            Question::Authenticate(Request::Scram(outcome)) if outcome.is_proven() => Answer::Authenticated,
            Question::Authenticate(request) => {
                let is_alice = matches!(&request, Request::Password(credentials)
                    if &*credentials.login == "alice" && credentials.secret.expose() == b"secret");
                if is_alice {
                    Answer::Authenticated
                } else {
                    Answer::Refused(LoginRefusal::AuthenticationFailed)
                }
            }
            Question::Command(command) => Answer::Done(completion(&command)),
            Question::Idle => Answer::Idling,
            Question::IdleDone => Answer::Done(Completion::ok("IDLE completed")),
            Question::AppendBegin(append) => {
                self.mailbox = append.mailbox.to_string();
                if self.mailbox == "missing" {
                    return Answer::AppendRefused(Refusal::new(Code::TryCreate, "No such mailbox"));
                }
                let parts = append.message.catenate;
                self.body
                    .extend(parts.into_iter().flat_map(|parts| parts.urls.concat()));
                Answer::AppendReady
            }
            Question::AppendPart { urls, .. } => {
                self.body.extend(urls.concat());
                if self.body.ends_with(b"/bad") {
                    self.body.clear();
                    return Answer::AppendRefused(Refusal::new(
                        Code::BadUrl(b"/bad".to_vec()),
                        "No such message",
                    ));
                }
                Answer::AppendReady
            }
            Question::AppendNext(message) => {
                if message.size == 13 {
                    self.bodies.clear();
                    self.body.clear();
                    return Answer::AppendRefused(Refusal::new(Code::OverQuota, "No room"));
                }
                self.bodies.push(std::mem::take(&mut self.body));
                let urls = message.catenate.into_iter().flat_map(|parts| parts.urls.concat());
                self.body.extend(urls);
                if self.body.ends_with(b"/bad") {
                    self.bodies.clear();
                    self.body.clear();
                    return Answer::AppendRefused(Refusal::new(
                        Code::BadUrl(b"/bad".to_vec()),
                        "No such message",
                    ));
                }
                Answer::AppendReady
            }
            Question::AppendCommit => {
                let mut bodies = std::mem::take(&mut self.bodies);
                bodies.push(std::mem::take(&mut self.body));
                if self.mailbox == "full" {
                    return Answer::AppendRefused(Refusal::new(Code::OverQuota, "No room"));
                }
                let before = self.committed.len() as u32;
                self.committed.append(&mut bodies);
                let uids = before + 1..=self.committed.len() as u32;
                Answer::Appended(Appended {
                    were_told: false,
                    highest_mod_seq: None,
                    receipt: TestReceipt,
                    uid_validity: UidValidity(7),
                    uids: uids.filter_map(Uid::new).collect(),
                })
            }
            Question::AppendAbandon => {
                self.bodies.clear();
                self.body.clear();
                Answer::AppendDropped
            }
        }
    }
}

fn completion(command: &Command) -> Completion {
    let done = Completion::ok("done");
    match command.body {
        CommandBody::Select { .. } => done
            .with_code(Code::ReadWrite)
            .with_transition(Transition::Selected),
        CommandBody::Examine { .. } => done
            .with_code(Code::ReadOnly)
            .with_transition(Transition::Selected),
        CommandBody::Close | CommandBody::Unselect => done.with_transition(Transition::Unselected),
        _ => done,
    }
}

#[test]
fn the_core_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    // Proof is never held, so even one that may not move leaves the core free to.
    is_send::<Imap<std::rc::Rc<()>>>();
    assert_eq!(
        Table::new(Channel::default()).imap.state(),
        State::NotAuthenticated
    );
}
