//! An SMTP or LMTP session: the dialogue of `proto::smtp`, recipients from the directory, one commit per message.
//!
//! Invariants: a message is acknowledged with the store's receipt; a recipient list and the body it goes with belong to
//! one mail transaction; an account named twice gets one copy; in LMTP what keeps one recipient from getting the message
//! keeps no other.
//! Limits: those of `proto::smtp::limits` and `transaction`.
//! Failure: what kept the body from being stored is remembered and answered at the end of data, because the dialogue
//! has no earlier place for it.
//! Not here: replies and codes (`proto::smtp::reply`), which core commits (`delivery`).

mod admit;
mod commit;
mod told;

pub use told::MAIL_LOG;

use commit::Acceptance;

use crate::model::{Account, ClientProtocol, ForwardPath};
use crate::node::connections::{Admission, Share};
use crate::node::{Node, SessionId, Settings, TransactionId};
use crate::proto::smtp::reply::{AuthRefusal, CommitRefusal};
use crate::proto::smtp::{Answer, Config, Question, Role, Smtp};
use crate::session::counted::Counted;
use crate::session::dialogue::{Dialogue, Step};
use crate::session::input::Input;
use crate::session::login::{self, Judgement};
use crate::session::owner::Owner;
use crate::session::pipe::Pipe;
use crate::session::strip::{Kept, Strip};
use crate::session::transaction::Transaction;
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// One session.
struct Session<P> {
    node: Rc<Node>,
    id: SessionId,
    role: Role,
    dialogue: Dialogue<Counted<P>, Smtp<Acceptance>>,
    /// Who is logged in, for submission.
    owner: Option<Owner>,
    /// The same's account, as it was last looked up.
    submitter: Option<Arc<Account>>,
    transaction: Transaction,
    /// Takes out of its header what must not stay there.
    strip: Strip,
    /// What the peer's network may take of this core.
    share: Option<Rc<Share>>,
    /// Mail transactions whose end of data was received.
    transactions: u64,
    /// When the one under way began.
    began: Instant,
}

/// A session on its way to the core that owns its submitter's account. `Send`.
pub struct Moved<P: Pipe> {
    /// Where to.
    pub core: usize,
    /// Who is at the other end.
    pub peer: SocketAddr,
    id: SessionId,
    connection: P::Detached,
    carry: Vec<u8>,
    protocol: Smtp<Acceptance>,
    owner: Owner,
}

/// How a session's stay on this core ended.
enum End {
    Closed,
    SubmitterElsewhere(Box<Owner>),
}

/// A session, until it ends or wants to move.
pub fn serve<P: Pipe>(
    pipe: P,
    id: SessionId,
    config: Arc<Config>,
    node: Rc<Node>,
    admission: &Admission,
) -> impl Future<Output = Option<Box<Moved<P>>>> + use<P> {
    let pipe = Counted::new(pipe, node.meters.clone());
    let role = config.role;
    let mut core = Smtp::new(config).with_plaintext(node.allows_plaintext(pipe.peer().ip()));
    if node.settings.may_xclient(pipe.peer().ip()) {
        core = core.with_xclient();
    }
    let tls = match role {
        Role::Submission => node.tls.submission.clone(),
        Role::Mta | Role::Lmtp => node.tls.smtp.clone(),
    };
    let dialogue = Dialogue::open(pipe, core, tls, node.drain.shutdown());
    // In one allocation, and not once in each future that it is handed through.
    let session = Box::new(Session::new(node, id, role, dialogue, admission));
    session.run_and_close()
}

/// Goes on with a session on the core that owns its submitter's account, where nothing makes it move again. `None`: the
/// connection is lost.
pub fn resume<P: Pipe>(
    moved: Moved<P>,
    node: Rc<Node>,
    admission: &Admission,
) -> Option<impl Future<Output = Option<Box<Moved<P>>>> + use<P>> {
    let pipe = P::attach(moved.connection).ok()?;
    let pipe = Counted::new(pipe, node.meters.clone());
    let input = Input::with_carry(moved.carry);
    let dialogue = Dialogue::resume(
        pipe,
        moved.protocol,
        input,
        node.tls.submission.clone(),
        node.drain.shutdown(),
    );
    let mut session = Box::new(Session::new(
        node,
        moved.id,
        Role::Submission,
        dialogue,
        admission,
    ));
    session.begin(moved.owner);
    session.dialogue.answer(Answer::Authenticated);
    Some(session.run_and_close())
}

/// What the operator's settings mean for the protocol.
#[must_use]
pub fn config(settings: &Settings, role: Role) -> Config {
    let mut config = Config::new(&settings.hostname);
    config.role = role;
    config.message_bytes_max = settings.message_bytes_max;
    config.tls_available = true;
    config.mechanisms = login::mechanisms(settings);
    config.token_refusal = settings.token_refusal.clone().unwrap_or_default();
    // Over LMTP come this site's own MTAs: they ask for whatever the world asked them for.
    // For submission it is known who they are, and their mail is limited by their account.
    if !settings.limit_peers || role != Role::Mta {
        config.unknown_recipients_max = None;
        config.idle_commands_max = None;
    }
    config
}

impl<P: Pipe> Session<P> {
    fn new(
        node: Rc<Node>,
        id: SessionId,
        role: Role,
        dialogue: Dialogue<Counted<P>, Smtp<Acceptance>>,
        admission: &Admission,
    ) -> Self {
        Self {
            node,
            id,
            role,
            dialogue,
            owner: None,
            submitter: None,
            transaction: Transaction::new(),
            strip: Strip::of(role),
            share: admission.share().cloned(),
            transactions: 0,
            began: Instant::now(),
        }
    }

    async fn run_and_close(mut self: Box<Self>) -> Option<Box<Moved<P>>> {
        match self.run().await {
            // Boxed, as is the close: an idle session would hold them as part of its future.
            Ok(End::SubmitterElsewhere(owner)) => return Box::pin(self.into_moved(owner)).await,
            Ok(End::Closed) => {}
            Err(error) => {
                tracing::debug!(id = %self.id, peer = %self.dialogue.pipe.peer(), %error, "SMTP connection lost");
            }
        }
        Box::pin(self.dialogue.into_parts().0.close()).await;
        None
    }

    async fn into_moved(mut self: Box<Self>, owner: Box<Owner>) -> Option<Box<Moved<P>>> {
        // Replies to what was pipelined before AUTH leave from here.
        self.dialogue.flush().await.ok()?;
        let (pipe, protocol, carry) = self.dialogue.into_parts();
        let pipe = pipe.into_inner();
        Some(Box::new(Moved {
            core: self.node.router.owner_of(owner.account.id),
            peer: pipe.peer(),
            id: self.id,
            connection: pipe.detach(),
            carry,
            protocol,
            owner: *owner,
        }))
    }

    async fn run(&mut self) -> io::Result<End> {
        loop {
            match self.dialogue.next().await? {
                Step::Body(pieces) => self.take_body(pieces).await,
                Step::Arrived => {
                    if self.may_be_revoked() {
                        Box::pin(self.renew()).await;
                    }
                }
                Step::Ask(Question::Authenticate) => {
                    let answer = match Box::pin(self.judge()).await {
                        Judgement::Account(owner)
                            if self.node.router.owner_of(owner.account.id) != self.node.core.id =>
                        {
                            return Ok(End::SubmitterElsewhere(owner));
                        }
                        Judgement::Account(owner) => {
                            self.begin(*owner);
                            Answer::Authenticated
                        }
                        Judgement::Verifier(verifier, nonce) => Answer::Verifier(verifier, nonce),
                        Judgement::Proven => Answer::Proven,
                        Judgement::Refused => Answer::AuthRefused(AuthRefusal::Credentials),
                        Judgement::Unavailable => Answer::AuthRefused(AuthRefusal::Temporary),
                    };
                    self.dialogue.answer(answer);
                }
                Step::Ask(question) => {
                    let answer = self.answer(question).await;
                    self.dialogue.answer(answer);
                }
                Step::Ended => return Ok(End::Closed),
            }
        }
    }

    fn begin(&mut self, owner: Owner) {
        self.submitter = Some(owner.account.clone());
        self.owner = Some(owner);
    }

    fn may_be_revoked(&self) -> bool {
        let generation = || self.node.directory.generation();
        let owner = self.owner.as_ref();
        owner.is_some_and(|owner| owner.is_outdated(generation(), Instant::now()))
    }

    /// Looks the submitter up anew, and ends the session if it may not submit any more.
    async fn renew(&mut self) {
        let Some(owner) = &mut self.owner else { return };
        if owner.renew(&self.node.directory).await {
            self.submitter = Some(owner.account.clone());
        } else {
            tracing::info!(id = %self.id, account = %owner.account.id, "a session ends: its account may not submit any more");
            self.dialogue.revoke();
        }
    }

    /// What an idle session holds of it is [`Self::keep`]'s only.
    fn take_body(&mut self, pieces: SmallVec<[Bytes; 4]>) -> impl Future<Output = ()> {
        let mut kept = Kept::new();
        if self.dialogue.core.holds_body() {
            let strip = &mut self.strip;
            kept.extend(pieces.into_iter().flat_map(|piece| strip.push(piece)));
        } else {
            // RSET, a fault or a refused chunk: what was collected belongs to no message any more.
            self.transaction.drop_body();
        }
        self.keep(kept)
    }

    async fn keep(&mut self, pieces: Kept) {
        let store = self.node.store();
        for piece in pieces {
            if !self.transaction.has_memory(piece.len(), self.share.as_ref()) {
                tracing::debug!(peer = %self.dialogue.pipe.peer(), "no memory for one more message");
                self.transaction.fail(CommitRefusal::NoSpace);
            }
            self.transaction.push(piece, || store.body_writer()).await;
        }
    }

    async fn answer(&mut self, question: Question) -> Answer<Acceptance> {
        match question {
            Question::MayBegin { declared_size } => {
                self.transaction = Transaction::new();
                self.strip = Strip::of(self.role);
                self.began = Instant::now();
                Answer::Begin(self.may_begin(declared_size.unwrap_or(0)).await)
            }
            Question::Authenticate => Answer::AuthRefused(AuthRefusal::Temporary),
            Question::MayReceive => Answer::Recipient(self.receive().await),
            // On the heap: it is by far the largest part of a session, and an idle one does not need it.
            Question::Commit => {
                if let Some(held) = self.strip.finish() {
                    Box::pin(self.keep(smallvec![held])).await;
                }
                let (received, recipients) = (Instant::now(), self.transaction.targets.len());
                let answer = Box::pin(self.commit()).await;
                self.count_mail(&answer, recipients, received);
                answer
            }
        }
    }

    async fn judge(&mut self) -> Judgement {
        match self.dialogue.core.take_request() {
            Some(request) => {
                let peer = self
                    .dialogue
                    .core
                    .client()
                    .unwrap_or_else(|| self.dialogue.pipe.peer());
                let caller = self.node.caller(peer.ip(), ClientProtocol::Submission);
                let certificate = self.dialogue.certificate.as_deref();
                login::judge(&self.node, &request, caller, certificate).await
            }
            None => Judgement::Unavailable,
        }
    }

    /// Our postmaster's path for `<postmaster@[address]>` of the address that the peer has connected to (RFC 5321 §4.5.1): who
    /// has no name for this host reaches somebody.
    fn meant<'a>(&self, path: &'a ForwardPath) -> &'a ForwardPath {
        let ForwardPath::Address(address) = path else {
            return path;
        };
        let literal = address.domain.address();
        let is_ours = literal.is_some_and(|at| at == self.dialogue.pipe.local().ip().to_canonical());
        let local_part = address.local_part.as_str();
        if is_ours && local_part.eq_ignore_ascii_case("postmaster") {
            return &ForwardPath::Postmaster;
        }
        path
    }

    fn transaction_id(&self) -> TransactionId {
        self.id.transaction(self.transactions)
    }
}
