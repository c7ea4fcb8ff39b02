//! POP3 sessions answered from a table: transcripts of dialogues, and the laws of `proto` as properties.

mod laws;
mod transcripts;

use super::{
    Answer, CommitRefusal, Config, DotStuffer, LoginRefusal, Maildrop, MaildropEntry, Pop3, Question,
    RetrieveRefusal, octets_as_sent,
};
use crate::model::{Uid, UidValidity};
use crate::proto::testing::{self, TestReceipt};
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
            Question::Authenticate(credentials) => {
                let is_tim =
                    &*credentials.login == "tim@x.test" && credentials.secret.expose() == b"pass word";
                if is_tim && credentials.authorization.is_none() {
                    Answer::Opened(self.maildrop())
                } else {
                    Answer::LoginRefused(LoginRefusal::Credentials)
                }
            }
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
                Answer::Committed(Ok(TestReceipt(1)))
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
    let mut session = Session::opened(Pop3::new(Arc::new(config)), Table::new(messages));
    session.play("S: +OK Ringpost ready");
    session
}

/// A session behind its greeting, where plaintext is allowed.
fn session() -> Session {
    let config = Config {
        tls_available: true,
        allow_plaintext: true,
        ..Config::default()
    };
    session_with(config, five_messages())
}

/// A session that is logged in.
fn logged_in() -> Session {
    let mut session = session();
    session.play("C: USER tim@x.test\nS: +OK\nC: PASS pass word\nS: +OK 5 messages (210 octets)");
    session
}
