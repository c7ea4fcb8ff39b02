//! SMTP sessions answered from a table: transcripts of dialogues, and the laws of `proto` as properties.

mod laws;
mod transcripts;

use super::reply::{CommitRefusal, RecipientRefusal};
use super::{Answer, Config, Question, Smtp};
use crate::model::{Envelope, ForwardPath};
use crate::proto::testing::{self, TestReceipt};
use std::sync::Arc;

/// A message that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    envelope: Envelope,
    body: Vec<u8>,
}

/// Takes mail for x.test; what its users are like, their names say.
#[derive(Default)]
struct Table {
    messages: Vec<Message>,
    commit_refusal: Option<CommitRefusal>,
}

type Core = Smtp<TestReceipt>;
type Session = testing::Session<Core, Table>;

impl testing::Table<Core> for Table {
    fn answer(
        &mut self,
        core: &mut Core,
        question: Question,
        body: &[u8],
        _: &mut Vec<u8>,
    ) -> Answer<TestReceipt> {
        match question {
            Question::MayBegin { .. } => Answer::Begin(Ok(())),
            Question::MayReceive => Answer::Recipient(may_receive(core.candidate())),
            Question::Commit => Answer::Committed(match self.commit_refusal.clone() {
                Some(refusal) => Err(refusal),
                None => {
                    self.messages.push(Message {
                        envelope: core.take_envelope().expect("a commit has an envelope"),
                        body: body.to_vec(),
                    });
                    Ok(TestReceipt(self.messages.len() as u64))
                }
            }),
        }
    }

    fn holds_body(core: &Core) -> bool {
        core.holds_body()
    }
}

fn may_receive(path: Option<&ForwardPath>) -> Result<(), RecipientRefusal> {
    let ForwardPath::Address(address) = path.expect("a question has a candidate") else {
        return Ok(());
    };
    if address.domain.as_str() != "x.test" {
        return Err(RecipientRefusal::RelayDenied);
    }
    match address.local_part.as_str() {
        "nobody" => Err(RecipientRefusal::UnknownUser),
        "off" => Err(RecipientRefusal::Disabled),
        "full" => Err(RecipientRefusal::OverQuota),
        "later" => Err(RecipientRefusal::Temporary),
        _ => Ok(()),
    }
}

fn config() -> Config {
    Config {
        tls_available: true,
        ..Config::new("mx.test")
    }
}

fn session_with(config: Config) -> Session {
    Session::opened(Smtp::new(Arc::new(config)), Table::default())
}

/// A session behind its greeting.
fn session() -> Session {
    let mut session = session_with(config());
    session.play("S: 220 mx.test ESMTP Ringpost");
    session
}

/// A session behind EHLO.
fn greeted() -> Session {
    let mut session = session();
    session.feed(b"EHLO probe.test\r\n");
    session.replies();
    session
}

/// A session with a recipient.
fn with_envelope() -> Session {
    let mut session = greeted();
    session.feed(b"MAIL FROM:<a@y.test>\r\nRCPT TO:<u@x.test>\r\n");
    session.play("S: 250 2.1.0\nS: 250 2.1.5");
    session
}
