//! A POP3 session: the dialogue of `proto::pop3` over a snapshot of the account's INBOX.
//!
//! It begins where the connection was accepted and moves to the account's core when the login succeeds; the answer to
//! the login is given there. Several sessions of one account may be open: each keeps its snapshot, and a message that
//! somebody else expunged is refused, never replaced by another.
//! What DELE comes to is the operator's to say (`model::Account`): a program that fetches and deletes must not empty by accident
//! a mailbox that others read by IMAP. Old messages are deleted at a login, before its snapshot, if the operator says so.
//! Invariants: QUIT deletes by UID, so that a message that came later is never touched; nothing is deleted without QUIT.
//! Limits: [`READ_BYTES`] of a message in memory at a time; those of `proto::pop3::limits`.
//! Failure: a message that cannot be read is refused before anything of it is sent; if reading breaks off in the middle
//! the connection is closed, because POP3 has no error there.
//! Not here: replies (`proto::pop3`), accounts and passwords (`auth`).

use super::dialogue::{Dialogue, Step};
use super::input::Input;
use super::login::{self, Judgement};
use super::owner::Owner;
use crate::auth::Caller;
use crate::mailbox::uidl::ImportedUidls;
use crate::model::{
    Account, AccountId, ClientProtocol, MailboxId, MailboxName, Pop3Deletion, SpecialUse, Uid,
};
use crate::net::{Conn, Detached};
use crate::node::{Node, NodeEnvironment, Settings};
use crate::proto::pop3::{
    Answer, CommitRefusal, Config, DotStuffer, LoginRefusal, Maildrop, MaildropEntry, Pop3, Question,
    Retention, RetrieveRefusal,
};
use crate::proto::sasl::Request;
use crate::store::{
    AccountState, Change, CommitReceipt, MailboxState, MessageRow, Pin, Store, StoreError, StoredMessage,
};
use smallvec::SmallVec;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Octets of a message read and sent at a time.
pub const READ_BYTES: u64 = 128 * 1024;

/// Octets of messages that are read together for a peer who fetches one after the other, as nearly all do: what a peer gets
/// in a few milliseconds, and few of many peers' share of the memory for what was read ahead.
const READ_AHEAD_BYTES: u64 = 256 * 1024;

/// Messages read together at most.
const READ_AHEAD_MESSAGES: usize = 64;

/// Time for a peer to take that many octets: a modem's pace, and not the pace of somebody who wants to be waited for.
pub const PIECE_TIMEOUT: Duration = Duration::from_secs(300);

/// Room for the dots that lines beginning with one get, for bare line ends and for the end: usual mail needs no more, and the
/// buffer grows where it does.
const STUFFING_BYTES: usize = 256;

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1_000;

type Protocol = Pop3<CommitReceipt>;

/// A session on its way to the core that owns its account.
pub struct Moved {
    /// Where to.
    pub core: usize,
    conn: Detached,
    protocol: Protocol,
    carry: Vec<u8>,
    owner: Box<Owner>,
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
    owner: Box<Owner>,
    inbox: MailboxId,
    /// The message that comes after the one retrieved last.
    next: u32,
    /// Messages before this one, from `next` on, were read ahead.
    ahead: u32,
    /// Keeps the account's state in memory, where every command looks at it.
    _pin: Pin,
}

/// How a session's stay on this core ended.
enum End {
    Closed,
    LoggedInElsewhere(Box<Owner>),
}

/// Runs a session from its greeting until it ends or wants to move.
pub fn serve(conn: Conn, node: Rc<Node>) -> impl Future<Output = Option<Box<Moved>>> {
    let core =
        Pop3::new(node.protocol(|all| &all.pop3)).with_plaintext(node.allows_plaintext(conn.peer().ip()));
    let dialogue = Dialogue::open(conn, core, node.tls.pop3.clone(), node.drain.shutdown());
    let session = Box::new(Session {
        node,
        dialogue,
        maildrop: None,
        opened: None,
    });
    session.run_and_close()
}

/// What the operator's settings mean for the protocol.
#[must_use]
pub fn config(settings: &Settings) -> Config {
    Config {
        tls_available: true,
        mechanisms: login::mechanisms(settings),
        token_refusal: settings.token_refusal.clone().unwrap_or_default(),
        retention: settings.retention,
        login_delay_seconds: settings.pop3_login_delay_seconds,
        ..Config::default()
    }
}

fn retention(account: &Account) -> Retention {
    account
        .retention_days
        .map_or(Retention::Forever, |days| Retention::Days(days.into()))
}

/// Goes on with a session on the core that owns its account.
pub fn resume(moved: Moved, node: Rc<Node>) -> Option<impl Future<Output = Option<Box<Moved>>>> {
    let conn = Conn::attach(moved.conn).ok()?;
    let input = Input::with_carry(moved.carry);
    let dialogue = Dialogue::resume(
        conn,
        moved.protocol,
        input,
        node.tls.pop3.clone(),
        node.drain.shutdown(),
    );
    let mut session = Box::new(Session {
        node,
        dialogue,
        maildrop: None,
        opened: None,
    });
    let owner = moved.owner;
    Some(async move {
        let opened = Box::pin(session.open_maildrop(owner)).await;
        session.dialogue.answer(opened);
        session.run_and_close().await
    })
}

impl Session {
    async fn run_and_close(mut self: Box<Self>) -> Option<Box<Moved>> {
        match self.run().await {
            // Boxed, as is the close: an idle session would hold them as part of its future.
            Ok(End::LoggedInElsewhere(owner)) => Box::pin(self.into_moved(owner)).await,
            Ok(End::Closed) => {
                Box::pin(self.dialogue.into_parts().0.close()).await;
                None
            }
            Err(error) => {
                tracing::debug!(peer = %self.dialogue.pipe.peer(), %error, "POP3 connection lost");
                None
            }
        }
    }

    async fn into_moved(mut self: Box<Self>, owner: Box<Owner>) -> Option<Box<Moved>> {
        // Replies to what was pipelined before the login leave from here.
        self.dialogue.flush().await.ok()?;
        let (conn, protocol, carry) = self.dialogue.into_parts();
        Some(Box::new(Moved {
            core: self.node.router.owner_of(owner.account.id),
            conn: conn.detach(),
            protocol,
            carry,
            owner,
        }))
    }

    fn caller(&self) -> Caller {
        self.node
            .caller(self.dialogue.pipe.peer().ip(), ClientProtocol::Pop3)
    }

    async fn judge(&self, request: &Request) -> Judgement {
        let certificate = self.dialogue.certificate.as_deref();
        login::judge(&self.node, request, self.caller(), certificate).await
    }

    async fn run(&mut self) -> io::Result<End> {
        loop {
            match self.dialogue.next().await? {
                Step::Body(_) => {}
                Step::Arrived => {
                    if self.may_be_revoked() {
                        Box::pin(self.renew()).await;
                    }
                }
                Step::Ask(Question::Authenticate(request)) => {
                    // What waits longest is the next command; the rest is kept out of the idle session's memory.
                    let answer = match Box::pin(self.judge(&request)).await {
                        Judgement::Account(owner)
                            if self.node.router.owner_of(owner.account.id) != self.node.core.id =>
                        {
                            return Ok(End::LoggedInElsewhere(owner));
                        }
                        Judgement::Account(owner) => Box::pin(self.open_maildrop(owner)).await,
                        Judgement::Verifier(verifier, nonce) => Answer::Verifier(verifier, nonce),
                        Judgement::Proven => Answer::Proven,
                        Judgement::Refused => Answer::LoginRefused(LoginRefusal::Credentials),
                        Judgement::Unavailable => Answer::LoginRefused(LoginRefusal::Temporary),
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

    fn may_be_revoked(&self) -> bool {
        let generation = || self.node.directory.generation();
        let open = self.maildrop.as_ref();
        open.is_some_and(|open| open.owner.is_outdated(generation(), Instant::now()))
    }

    /// Looks the account up anew, and ends the session, with nothing deleted, if it may not be read by POP3 any more.
    async fn renew(&mut self) {
        let Some(open) = &mut self.maildrop else { return };
        if !open.owner.renew(&self.node.directory).await {
            let account = open.owner.account.id;
            tracing::info!(%account, "a POP3 session ends: its account may not use it any more");
            self.dialogue.revoke();
        }
    }

    async fn open_maildrop(&mut self, owner: Box<Owner>) -> Answer<CommitReceipt> {
        let account = owner.account.clone();
        let node = self.node.clone();
        let seconds = node.protocol(|all| &all.pop3).login_delay_seconds;
        let delay = Duration::from_secs(seconds.into());
        if !node.pop3_logins.note(account.id, delay, Instant::now()) {
            return Answer::LoginRefused(LoginRefusal::TooSoon);
        }
        let store = node.store();
        let pin = match store.load(account.id).await {
            Ok(pin) => pin,
            Err(error) => {
                tracing::warn!(account = %account.id, %error, "no maildrop: the store cannot serve the account");
                return Answer::LoginRefused(LoginRefusal::Temporary);
            }
        };
        if store.ensure_account(account.id).await.is_err() || self.expire(&account).await.is_err() {
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
                    owner,
                    inbox,
                    next: 0,
                    ahead: 0,
                    _pin: pin,
                });
                Answer::Opened(maildrop.with_retention(retention(&account)))
            }
            None => Answer::LoginRefused(LoginRefusal::Temporary),
        }
    }

    /// Deletes what is older than the account's mail is kept, before the snapshot is taken.
    async fn expire(&self, account: &Account) -> Result<(), StoreError> {
        let Some(days) = account.retention_days else {
            return Ok(());
        };
        let oldest = self.node.now().0 - i64::from(days) * MILLIS_PER_DAY;
        let find = |state: &AccountState| {
            let inbox = inbox(state)?;
            let is_old = |row: &&MessageRow| row.save_date.0 < oldest;
            let uids: Vec<Uid> = inbox.rows.iter().filter(is_old).map(|row| row.uid).collect();
            Some((inbox.id, uids)).filter(|(_, uids)| !uids.is_empty())
        };
        let Some((mailbox, uids)) = self.node.store().account(account.id, find).flatten() else {
            return Ok(());
        };
        tracing::debug!(account = %account.id, messages = uids.len(), "messages kept long enough are deleted");
        let expunge = Change::Expunge {
            mailbox,
            uids,
            only_deleted: false,
        };
        self.node.store().change(account.id, expunge).await.map(|_| ())
    }

    async fn answer(&mut self, question: Question) -> io::Result<Answer<CommitReceipt>> {
        Ok(match question {
            Question::Authenticate(_) => Answer::LoginRefused(LoginRefusal::Temporary),
            Question::Retrieve { index, .. } => Answer::Retrieval(self.retrieve(index).await),
            Question::Stream { lines, .. } => Answer::Streamed(self.stream(lines).await?),
            Question::Flush => {
                self.dialogue.flush().await?;
                Answer::Flushed
            }
            Question::Commit { deleted } => Answer::Committed(self.commit(&deleted).await),
        })
    }

    async fn retrieve(&mut self, index: u32) -> Result<(), RetrieveRefusal> {
        let (account, row) = self.row(index).ok_or(RetrieveRefusal::Gone)?;
        if self.is_to_read_ahead(index) && !self.node.store().is_at_hand(&row) {
            self.read_ahead(index).await;
        }
        match self.node.store().open_message(account, &row).await {
            Ok(message) => {
                self.opened = Some(message);
                Ok(())
            }
            // The store's log says which and why.
            Err(_) => Err(RetrieveRefusal::Temporary),
        }
    }

    /// Whether `index` goes on where the last one was, beyond what was read ahead.
    fn is_to_read_ahead(&mut self, index: u32) -> bool {
        let Some(open) = &mut self.maildrop else {
            return false;
        };
        let goes_on = index == std::mem::replace(&mut open.next, index.saturating_add(1));
        if !goes_on {
            open.ahead = 0;
        }
        goes_on && index >= open.ahead
    }

    /// Waited for: begun at half of what was read before, and not waited for, it was often too late, and messages were read twice
    /// (a third more CPU for messages of 50 KiB).
    async fn read_ahead(&mut self, first: u32) {
        let mut bytes = 0;
        let rows: SmallVec<[MessageRow; 32]> = (first..)
            .take(READ_AHEAD_MESSAGES)
            .map_while(|index| self.row(index))
            .map(|(_, row)| row)
            .take_while(|row| {
                bytes += u64::from(row.size);
                bytes <= READ_AHEAD_BYTES
            })
            .collect();
        if let Some(open) = &mut self.maildrop {
            open.ahead = first.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        }
        if rows.len() > 1 {
            self.node.store().read_ahead(rows.iter()).await;
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
        let account = open.owner.account.id;
        Some((account, self.node.store().account(account, find)??))
    }

    /// Puts the message behind the reply that announces it, so that a short one leaves with it in one packet, and with the
    /// answers to further commands if there are any.
    async fn stream(&mut self, lines: Option<u32>) -> io::Result<Result<(), RetrieveRefusal>> {
        let Some(message) = self.opened.take() else {
            return Ok(Err(RetrieveRefusal::Gone));
        };
        let mut stuffer = DotStuffer::new(lines);
        let mut at = 0;
        while at < message.size && !stuffer.is_done() {
            let end = message.size.min(at + READ_BYTES);
            let pieces = match read(self.node.store(), &message, at..end).await {
                Ok(pieces) => pieces,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let wire = self.dialogue.wire();
            wire.reserve(pieces.iter().map(bytes::Bytes::len).sum::<usize>() + STUFFING_BYTES);
            for piece in pieces {
                stuffer.push(&piece, wire);
            }
            at = end;
            if at < message.size {
                self.send_piece().await?;
            }
        }
        stuffer.finish(self.dialogue.wire());
        Ok(Ok(()))
    }

    /// A long message may take longer than a command; each piece of it has its own time.
    async fn send_piece(&mut self) -> io::Result<()> {
        self.dialogue.renew_deadline(PIECE_TIMEOUT);
        self.dialogue.flush().await
    }

    async fn commit(&self, deleted: &[u32]) -> Result<Option<CommitReceipt>, CommitRefusal> {
        let open = self.maildrop.as_ref().ok_or(CommitRefusal::Failed)?;
        let maildrop = self.dialogue.core.maildrop().ok_or(CommitRefusal::Failed)?;
        let uids = deleted
            .iter()
            .filter_map(|&index| maildrop.entries().get(index as usize))
            .map(|e| e.uid)
            .collect();
        // As the directory had it at the last look, not at the login.
        let change = match open.owner.account.pop3_deletion {
            Pop3Deletion::Ignore => return Ok(None),
            Pop3Deletion::Trash => Change::Move {
                from: open.inbox,
                uids,
                to: self.trash(open.owner.account.id).await.map_err(failed)?,
            },
            Pop3Deletion::Delete => Change::Expunge {
                mailbox: open.inbox,
                uids,
                only_deleted: false,
            },
        };
        let changed = self.node.store().change(open.owner.account.id, change).await;
        changed.map(|(receipt, _)| Some(receipt)).map_err(failed)
    }

    /// The mailbox for deleted mail. Whoever has deleted it gets it anew, as a new account does: a program that was told +OK must
    /// find nothing again (RFC 1939 §6).
    async fn trash(&self, account: AccountId) -> Result<MailboxId, StoreError> {
        let store = self.node.store();
        let find = |state: &AccountState| {
            let is_trash = |mailbox: &&MailboxState| mailbox.special_use == Some(SpecialUse::Trash);
            let marked = state.mailboxes.values().find(is_trash).map(|mailbox| mailbox.id);
            marked.or_else(|| state.names.get(&trash_name()).copied())
        };
        let found = || store.account(account, find).flatten();
        if let Some(trash) = found() {
            return Ok(trash);
        }
        let create = Change::CreateMailbox {
            name: trash_name(),
            special_use: Some(SpecialUse::Trash),
        };
        match store.change(account, create).await {
            // Somebody else may have made it meanwhile.
            Ok(_) | Err(StoreError::MailboxExists) => found().ok_or(StoreError::NoSuchMailbox),
            Err(error) => Err(error),
        }
    }
}

/// As a new account's is called.
fn trash_name() -> MailboxName {
    let standard = SpecialUse::STANDARD
        .iter()
        .find(|(role, _)| *role == SpecialUse::Trash);
    let name = standard.map_or("Trash", |(_, name)| name);
    MailboxName::new(name).expect("a word is a name")
}

fn failed(error: StoreError) -> CommitRefusal {
    tracing::warn!(%error, "POP3 deletions not committed");
    CommitRefusal::Failed
}

async fn read(
    store: &Store<NodeEnvironment>,
    message: &StoredMessage,
    range: Range<u64>,
) -> Result<Vec<bytes::Bytes>, RetrieveRefusal> {
    let read = store.read_message(message, range).await;
    read.map_err(|_| RetrieveRefusal::Temporary)
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
    let uidls = ImportedUidls::of(&inbox.metadata);
    let imported = inbox
        .rows
        .iter()
        .filter_map(|row| Some((row.uid, uidls.find(row.uid)?.into())));
    let imported = imported.collect();
    Maildrop::new(inbox.uid_validity, entries).with_uidls(imported)
}
