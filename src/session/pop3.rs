//! A POP3 session: the dialogue of `proto::pop3` over a snapshot of the account's INBOX.
//!
//! It begins where the connection was accepted and moves to the account's core when the login succeeds; the answer to
//! the login is given there. Several sessions of one account may be open: each keeps its snapshot, and a message that
//! somebody else expunged is refused, never replaced by another.
//! Invariants: QUIT deletes by UID, so that a message that came later is never touched; nothing is deleted without QUIT.
//! Limits: [`READ_BYTES`] of a message in memory at a time; those of `proto::pop3::limits`.
//! Failure: a message that cannot be read is refused before anything of it is sent; if reading breaks off in the middle
//! the connection is closed, because POP3 has no error there.
//! Not here: replies (`proto::pop3`), accounts and passwords (`auth`).

use super::dialogue::{Dialogue, Step};
use super::input::Input;
use crate::auth::Login;
use crate::model::{Account, AccountId, ClientProtocol, MailboxId, MailboxName};
use crate::net::{Conn, Detached};
use crate::node::{Node, NodeEnvironment};
use crate::proto::pop3::{
    Answer, CommitRefusal, Config, DotStuffer, LoginRefusal, Maildrop, MaildropEntry, Pop3, Question,
    RetrieveRefusal,
};
use crate::proto::sasl::Credentials;
use crate::store::{
    AccountState, Change, CommitReceipt, MailboxState, MessageRow, Store, StoreError, StoredMessage,
};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Octets of a message read and sent at a time.
pub const READ_BYTES: u64 = 128 * 1024;

type Protocol = Pop3<CommitReceipt>;

/// A session on its way to the core that owns its account.
pub struct Moved {
    /// Where to.
    pub core: usize,
    conn: Detached,
    protocol: Protocol,
    carry: Vec<u8>,
    account: Arc<Account>,
}

/// A session before login, or after.
struct Session {
    node: Rc<Node>,
    dialogue: Dialogue<Conn, Protocol>,
    maildrop: Option<OpenMaildrop>,
    /// The message that [`Question::Stream`] will be about.
    opened: Option<StoredMessage>,
}

/// What the snapshot was taken of.
struct OpenMaildrop {
    account: AccountId,
    inbox: MailboxId,
}

/// How a session's stay on this core ended.
enum End {
    Closed,
    LoggedInElsewhere(Arc<Account>),
}

/// Runs a session from its greeting until it ends or wants to move.
pub async fn serve(conn: Conn, node: Rc<Node>) -> Option<Box<Moved>> {
    let config = Config {
        tls_available: true,
        allow_plaintext: node.allows_plaintext(conn.peer().ip()),
        ..Config::default()
    };
    let core = Pop3::new(Arc::new(config));
    let dialogue = Dialogue::open(conn, core, node.tls.clone(), node.drain.shutdown());
    let session = Box::new(Session {
        node,
        dialogue,
        maildrop: None,
        opened: None,
    });
    session.run_and_close().await
}

/// Goes on with a session on the core that owns its account.
pub async fn resume(moved: Moved, node: Rc<Node>) {
    let Ok(conn) = Conn::attach(moved.conn) else {
        return;
    };
    let input = Input::with_carry(moved.carry);
    let dialogue = Dialogue::resume(
        conn,
        moved.protocol,
        input,
        node.tls.clone(),
        node.drain.shutdown(),
    );
    let mut session = Box::new(Session {
        node,
        dialogue,
        maildrop: None,
        opened: None,
    });
    let opened = session.open_maildrop(&moved.account).await;
    session.dialogue.answer(opened);
    // It is where its account is; nothing makes it move again.
    let _ = session.run_and_close().await;
}

impl Session {
    async fn run_and_close(mut self: Box<Self>) -> Option<Box<Moved>> {
        match self.run().await {
            Ok(End::LoggedInElsewhere(account)) => self.into_moved(account).await,
            Ok(End::Closed) => {
                self.dialogue.into_parts().0.close().await;
                None
            }
            Err(error) => {
                tracing::debug!(peer = %self.dialogue.pipe.peer(), %error, "POP3 connection lost");
                None
            }
        }
    }

    async fn into_moved(mut self: Box<Self>, account: Arc<Account>) -> Option<Box<Moved>> {
        // Replies to what was pipelined before the login leave from here.
        self.dialogue.flush().await.ok()?;
        let (conn, protocol, carry) = self.dialogue.into_parts();
        Some(Box::new(Moved {
            core: self.node.router.owner_of(account.id),
            conn: conn.detach(),
            protocol,
            carry,
            account,
        }))
    }

    async fn run(&mut self) -> io::Result<End> {
        loop {
            match self.dialogue.next().await? {
                Step::Body(_) => {}
                Step::Ask(Question::Authenticate(credentials)) => {
                    // What waits longest is the next command; the rest is kept out of the idle session's memory.
                    let answer = match Box::pin(self.log_in(&credentials)).await {
                        Ok(account) if self.node.router.owner_of(account.id) != self.node.core.id => {
                            return Ok(End::LoggedInElsewhere(account));
                        }
                        Ok(account) => Box::pin(self.open_maildrop(&account)).await,
                        Err(refusal) => Answer::LoginRefused(refusal),
                    };
                    self.dialogue.answer(answer);
                }
                Step::Ask(question) => {
                    let answer = Box::pin(self.answer(question)).await?;
                    self.dialogue.answer(answer);
                }
                Step::Ended => return Ok(End::Closed),
            }
        }
    }

    async fn log_in(&self, credentials: &Credentials) -> Result<Arc<Account>, LoginRefusal> {
        // Acting for somebody else is a right that nobody has been given.
        if credentials
            .authorization
            .as_ref()
            .is_some_and(|wanted| **wanted != *credentials.login)
        {
            return Err(LoginRefusal::Credentials);
        }
        match self
            .node
            .authenticator
            .verify(
                credentials.login.as_bytes(),
                credentials.secret.expose(),
                ClientProtocol::Pop3,
            )
            .await
        {
            Login::Authenticated(proof) => Ok(proof.account().clone()),
            Login::Refused => Err(LoginRefusal::Credentials),
            Login::Unavailable => Err(LoginRefusal::Temporary),
        }
    }

    async fn open_maildrop(&mut self, account: &Account) -> Answer<CommitReceipt> {
        let store = self.node.store();
        if store.ensure_account(account.id).await.is_err() {
            return Answer::LoginRefused(LoginRefusal::Temporary);
        }
        match store
            .account(account.id, |state| {
                inbox(state).map(|inbox| (inbox.id, snapshot(inbox)))
            })
            .flatten()
        {
            Some((inbox, maildrop)) => {
                self.maildrop = Some(OpenMaildrop {
                    account: account.id,
                    inbox,
                });
                Answer::Opened(maildrop)
            }
            None => Answer::LoginRefused(LoginRefusal::Temporary),
        }
    }

    async fn answer(&mut self, question: Question) -> io::Result<Answer<CommitReceipt>> {
        Ok(match question {
            Question::Authenticate(_) => Answer::LoginRefused(LoginRefusal::Temporary),
            Question::Retrieve { index, .. } => Answer::Retrieval(self.retrieve(index).await),
            Question::Stream { lines, .. } => {
                self.dialogue.flush().await?;
                Answer::Streamed(self.stream(lines).await?)
            }
            Question::Flush => {
                self.dialogue.flush().await?;
                Answer::Flushed
            }
            Question::Commit { deleted } => Answer::Committed(self.commit(&deleted).await),
        })
    }

    async fn retrieve(&mut self, index: u32) -> Result<(), RetrieveRefusal> {
        let (account, row) = self.row(index).ok_or(RetrieveRefusal::Gone)?;
        match self.node.store().open_message(account, &row).await {
            Ok(message) => {
                self.opened = Some(message);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%account, uid = %row.uid, %error, "message cannot be read");
                Err(RetrieveRefusal::Temporary)
            }
        }
    }

    /// The row of the snapshot's message, if it is still there.
    fn row(&self, index: u32) -> Option<(AccountId, MessageRow)> {
        let open = self.maildrop.as_ref()?;
        let uid = self.dialogue.core.maildrop()?.entries().get(index as usize)?.uid;
        let find = |state: &AccountState| {
            let rows = &state.mailboxes.get(&open.inbox)?.rows;
            rows.binary_search_by_key(&uid, |row| row.uid)
                .ok()
                .map(|at| rows[at])
        };
        Some((open.account, self.node.store().account(open.account, find)??))
    }

    async fn stream(&mut self, lines: Option<u32>) -> io::Result<Result<(), RetrieveRefusal>> {
        let Some(message) = self.opened.take() else {
            return Ok(Err(RetrieveRefusal::Gone));
        };
        let mut stuffer = DotStuffer::new(lines);
        let mut wire = Vec::new();
        let mut at = 0;
        while at < message.size && !stuffer.is_done() {
            let end = message.size.min(at + READ_BYTES);
            let pieces = match read(self.node.store(), &message, at..end).await {
                Ok(pieces) => pieces,
                Err(refusal) => return Ok(Err(refusal)),
            };
            for piece in pieces {
                stuffer.push(&piece, &mut wire);
            }
            wire = self.dialogue.send(wire).await?;
            at = end;
        }
        stuffer.finish(&mut wire);
        self.dialogue.send(wire).await?;
        Ok(Ok(()))
    }

    async fn commit(&self, deleted: &[u32]) -> Result<CommitReceipt, CommitRefusal> {
        let open = self.maildrop.as_ref().ok_or(CommitRefusal::Failed)?;
        let maildrop = self.dialogue.core.maildrop().ok_or(CommitRefusal::Failed)?;
        let uids = deleted
            .iter()
            .filter_map(|&index| maildrop.entries().get(index as usize))
            .map(|e| e.uid)
            .collect();
        let expunge = Change::Expunge {
            mailbox: open.inbox,
            uids,
            only_deleted: false,
        };
        match self.node.store().change(open.account, expunge).await {
            Ok((receipt, _)) => Ok(receipt),
            Err(error) => {
                tracing::warn!(account = %open.account, %error, "POP3 deletions not committed");
                Err(CommitRefusal::Failed)
            }
        }
    }
}

async fn read(
    store: &Store<NodeEnvironment>,
    message: &StoredMessage,
    range: std::ops::Range<u64>,
) -> Result<Vec<bytes::Bytes>, RetrieveRefusal> {
    store
        .read_message(message, range)
        .await
        .map_err(|error: StoreError| {
            tracing::error!(%error, "message broken off");
            RetrieveRefusal::Temporary
        })
}

fn inbox(state: &AccountState) -> Option<&MailboxState> {
    let id = state.names.get(&MailboxName::inbox())?;
    state.mailboxes.get(id)
}

fn snapshot(inbox: &MailboxState) -> Maildrop {
    let entries = inbox
        .rows
        .iter()
        .map(|row| MaildropEntry {
            uid: row.uid,
            size: row.size.saturating_add(row.line_end_octets),
        })
        .collect();
    Maildrop::new(inbox.uid_validity, entries)
}
