//! SMTP sessions answered from a table: transcripts of dialogues, and the laws of `proto` as properties.

mod laws;
mod lmtp;
mod submission;
mod transcripts;

use super::reply::{AuthRefusal, CommitRefusal, RecipientRefusal};
use super::{Answer, Config, Question, Role, Smtp};
use crate::model::{Envelope, ForwardPath};
use crate::proto::sasl::Request;
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
    /// Answers for each recipient; those whose name begins with `late` turn out to be full.
    answers_each: bool,
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
            Question::Authenticate => authenticate(core.take_request()),
            Question::MayReceive => Answer::Recipient(may_receive(core.candidate())),
            Question::Commit if self.answers_each => self.commit_each(core, body),
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

impl Table {
    fn commit_each(&mut self, core: &mut Core, body: &[u8]) -> Answer<TestReceipt> {
        let envelope = core.take_envelope().expect("a commit has an envelope");
        let receipt = TestReceipt(self.messages.len() as u64 + 1);
        let results = envelope.forward_paths.iter().map(|path| match path {
            ForwardPath::Address(address) if address.local_part.as_str().starts_with("late") => {
                Err(CommitRefusal::OverQuota)
            }
            _ => Ok(receipt),
        });
        let results = results.collect();
        self.messages.push(Message {
            envelope,
            body: body.to_vec(),
        });
        Answer::CommittedEach(results)
    }
}

fn authenticate(request: Option<Request>) -> Answer<TestReceipt> {
    let is_tim = match request {
        Some(Request::Password(credentials)) => {
            &*credentials.login == "tim@x.test" && credentials.secret.expose() == b"pass word"
        }
        Some(Request::Token(token)) => token.token.expose() == b"good",
        _ => false,
    };
    if is_tim {
        Answer::Authenticated
    } else {
        Answer::AuthRefused(AuthRefusal::Credentials)
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

/// An LMTP session behind LHLO.
fn lmtp_session(config: Config) -> Session {
    let config = Config {
        role: Role::Lmtp,
        ..config
    };
    let table = Table {
        answers_each: true,
        ..Table::default()
    };
    let mut session = Session::opened(Smtp::new(Arc::new(config)), table);
    session.play("S: 220 mx.test LMTP Ringpost");
    session.feed(b"LHLO mta.test\r\n");
    session.replies();
    session
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
