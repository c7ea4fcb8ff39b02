//! POP3 sessions answered from a table: transcripts of dialogues, and the laws of `proto` as properties.

mod laws;
mod transcripts;

use super::{
    Answer, CommitRefusal, Config, DotStuffer, LoginRefusal, Maildrop, MaildropEntry, Pop3, Question,
    RetrieveRefusal, octets_as_sent,
};
use crate::model::{Uid, UidValidity};
use crate::proto::sasl::scram::Verifier;
use crate::proto::sasl::{Mechanisms, Request};
use crate::proto::testing::{self, TestReceipt};
use std::num::NonZeroU32;
use std::sync::Arc;

/// One account, `tim@x.test` with the password `pass word`.
struct Table {
    messages: Vec<Vec<u8>>,
    gone: Vec<u32>,
    is_broken: bool,
    deleted: Vec<u32>,
}

type Core = Pop3<TestReceipt>;
type Session = testing::Session<Core, Table>;

impl Table {
    fn new(messages: Vec<Vec<u8>>) -> Self {
        Self {
            messages,
            gone: Vec::new(),
            is_broken: false,
            deleted: Vec::new(),
        }
    }

    fn authenticate(&self, request: Request) -> Answer<TestReceipt> {
        let is_tim = match request {
            Request::Password(credentials) => {
                &*credentials.login == "tim@x.test"
                    && credentials.secret.expose() == b"pass word"
                    && credentials.authorization.is_none()
            }
            Request::Token(token) => token.token.expose() == b"good",
            Request::Certificate { authorization } => authorization.is_none(),
            Request::Proof(outcome) if outcome.is_proven() => return Answer::Proven,
            Request::Proof(_) => false,
            Request::Scram(outcome) => outcome.is_proven(),
            Request::Verifier { hash, .. } => {
                let iterations = NonZeroU32::new(4096).expect("not 0");
                // RFC 7677 §3.
                let salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81".to_vec();
                let verifier = Verifier::of_password(hash, "pencil", salt, iterations).expect("letters");
                return Answer::Verifier(Box::new(verifier), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned());
            }
        };
        if is_tim {
            Answer::Opened(self.maildrop())
        } else {
            Answer::LoginRefused(LoginRefusal::Credentials)
        }
    }

    fn maildrop(&self) -> Maildrop {
        let entry = |(index, message): (u32, &Vec<u8>)| MaildropEntry {
            uid: Uid::new(index + 10).expect("not 0"),
            size: u32::try_from(octets_as_sent(message)).expect("small"),
        };
        Maildrop::new(UidValidity(7), (0..).zip(&self.messages).map(entry).collect())
    }
}

impl testing::Table<Core> for Table {
    fn answer(
        &mut self,
        _: &mut Core,
        question: Question,
        _: &[u8],
        wire: &mut Vec<u8>,
    ) -> Answer<TestReceipt> {
        match question {
            Question::Authenticate(request) => self.authenticate(request),
            Question::Retrieve { index, .. } if self.gone.contains(&index) => {
                Answer::Retrieval(Err(RetrieveRefusal::Gone))
            }
            Question::Retrieve { .. } => Answer::Retrieval(Ok(())),
            Question::Stream { .. } if self.is_broken => Answer::Streamed(Err(RetrieveRefusal::Temporary)),
            Question::Stream { index, lines } => {
                let mut stuffer = DotStuffer::new(lines);
                stuffer.push(&self.messages[index as usize], wire);
                stuffer.finish(wire);
                Answer::Streamed(Ok(()))
            }
            Question::Flush => Answer::Flushed,
            Question::Commit { .. } if self.is_broken => Answer::Committed(Err(CommitRefusal::Failed)),
            Question::Commit { deleted } => {
                self.deleted = deleted;
                Answer::Committed(Ok(Some(TestReceipt(1))))
            }
        }
    }

    fn holds_body(_: &Core) -> bool {
        false
    }
}

fn five_messages() -> Vec<Vec<u8>> {
    let message =
        |number| format!("Subject: m{number}\r\n\r\n.dot line\r\nline 2\r\nline 3\r\n").into_bytes();
    (0..5).map(message).collect()
}

fn session_with(config: Config, messages: Vec<Vec<u8>>) -> Session {
    open(Pop3::new(Arc::new(config)), messages)
}

fn open(core: Core, messages: Vec<Vec<u8>>) -> Session {
    let mut session = Session::opened(core, Table::new(messages));
    session.play("S: +OK Ringpost ready");
    session
}

/// A session that takes passwords in plaintext.
fn plaintext_session(config: Config, messages: Vec<Vec<u8>>) -> Session {
    open(Pop3::new(Arc::new(config)).with_plaintext(true), messages)
}

/// A session behind its greeting, where plaintext is allowed.
fn session() -> Session {
    let config = Config {
        tls_available: true,
        ..Config::default()
    };
    plaintext_session(config, five_messages())
}

/// A session that is logged in.
fn logged_in() -> Session {
    let mut session = session();
    session.play("C: USER tim@x.test\nS: +OK\nC: PASS pass word\nS: +OK 5 messages (210 octets)");
    session
}
