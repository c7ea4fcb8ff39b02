//! An SMTP or LMTP session: the dialogue of `proto::smtp`, recipients from the directory, one commit per message.
//!
//! Invariants: a message is acknowledged with the store's receipt; a recipient list and the body it goes with belong to
//! one mail transaction; an account named twice gets one copy; in LMTP what keeps one recipient from getting the message
//! keeps no other.
//! Limits: those of `proto::smtp::limits` and `transaction`; a message beyond its `HOPS_MAX` trace fields is a loop (RFC 5321 §6.3), and so
//! is one that says it was delivered to a recipient before (RFC 9228 §4).
//! Failure: what kept the body from being stored is remembered and answered at the end of data, because the dialogue
//! has no earlier place for it.
//! Not here: replies and codes (`proto::smtp::reply`), which core commits (`delivery`).

use super::counted::Counted;
use super::dialogue::{Dialogue, Step};
use super::input::Input;
use super::login::{self, Judgement};
use super::pipe::Pipe;
use super::submission::{self, Ownership};
use super::transaction::{Target, Transaction, begin_refusal, commit_refusal, delivered_to, targets};
use crate::delivery::{AcceptedMessage, Recipient};
use crate::directory::{Targets, Verdict};
use crate::model::{Account, AccountId, ClientProtocol, Envelope};
use crate::node::connections::{Admission, Share};
use crate::node::meters::MailMeters;
use crate::node::{DiscardPermit, Node, SessionId, Settings, TransactionId};
use crate::proto::imap::types::InternalDate;
use crate::proto::message::trace::{self, Hops, Received, Transport};
use crate::proto::smtp::reply::{AuthRefusal, BeginRefusal, CommitRefusal, RecipientRefusal};
use crate::proto::smtp::{self, Answer, BeginVerdict, Config, Question, RecipientVerdict, Role, Smtp};
use crate::proto::{Receipt, ReceiptId};
use crate::store::{BODY_IN_MEMORY_BYTES_MAX, Body, CommitReceipt, StoreError};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Why the peer may be told 250.
#[derive(Clone, Copy, Debug)]
enum Acceptance {
    /// It is durable.
    Stored(CommitReceipt),
    /// The operator asked for a server that throws mail away.
    Discarded(DiscardPermit),
}

impl Receipt for Acceptance {
    fn id(&self) -> ReceiptId {
        match self {
            Self::Stored(receipt) => receipt.id(),
            Self::Discarded(_) => ReceiptId { log: 0, sequence: 0 },
        }
    }
}

/// Target of the log's lines about single messages, so that they can be had without others, or not at all.
pub const MAIL_LOG: &str = "mail";

/// A message for the log.
struct Told {
    from: String,
    accounts: Vec<String>,
    bytes: u64,
}

/// One session.
struct Session<P> {
    node: Rc<Node>,
    id: SessionId,
    role: Role,
    dialogue: Dialogue<Counted<P>, Smtp<Acceptance>>,
    /// Who is logged in, for submission.
    submitter: Option<Arc<Account>>,
    transaction: Transaction,
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
    submitter: Arc<Account>,
}

/// How a session's stay on this core ended.
enum End {
    Closed,
    SubmitterElsewhere(Arc<Account>),
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
    session.submitter = Some(moved.submitter);
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
            submitter: None,
            transaction: Transaction::new(),
            share: admission.share().cloned(),
            transactions: 0,
            began: Instant::now(),
        }
    }

    async fn run_and_close(mut self: Box<Self>) -> Option<Box<Moved<P>>> {
        match self.run().await {
            // Boxed, as is the close: an idle session would hold them as part of its future.
            Ok(End::SubmitterElsewhere(submitter)) => return Box::pin(self.into_moved(submitter)).await,
            Ok(End::Closed) => {}
            Err(error) => {
                tracing::debug!(id = %self.id, peer = %self.dialogue.pipe.peer(), %error, "SMTP connection lost");
            }
        }
        Box::pin(self.dialogue.into_parts().0.close()).await;
        None
    }

    async fn into_moved(mut self: Box<Self>, submitter: Arc<Account>) -> Option<Box<Moved<P>>> {
        // Replies to what was pipelined before AUTH leave from here.
        self.dialogue.flush().await.ok()?;
        let (pipe, protocol, carry) = self.dialogue.into_parts();
        let pipe = pipe.into_inner();
        Some(Box::new(Moved {
            core: self.node.router.owner_of(submitter.id),
            peer: pipe.peer(),
            id: self.id,
            connection: pipe.detach(),
            carry,
            protocol,
            submitter,
        }))
    }

    async fn run(&mut self) -> io::Result<End> {
        loop {
            match self.dialogue.next().await? {
                Step::Body(pieces) => self.take_body(pieces).await,
                Step::Ask(Question::Authenticate) => {
                    let answer = match Box::pin(self.judge()).await {
                        Judgement::Account(account)
                            if self.node.router.owner_of(account.id) != self.node.core.id =>
                        {
                            return Ok(End::SubmitterElsewhere(account));
                        }
                        Judgement::Account(account) => {
                            self.submitter = Some(account);
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

    async fn take_body(&mut self, pieces: SmallVec<[Bytes; 4]>) {
        if !self.dialogue.core.holds_body() {
            // RSET, a fault or a refused chunk: what was collected belongs to no message any more.
            self.transaction.drop_body();
            return;
        }
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
                self.began = Instant::now();
                Answer::Begin(self.may_begin(declared_size.unwrap_or(0)).await)
            }
            Question::Authenticate => Answer::AuthRefused(AuthRefusal::Temporary),
            Question::MayReceive => Answer::Recipient(self.receive().await),
            // On the heap: it is by far the largest part of a session, and an idle one does not need it.
            Question::Commit => {
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

    /// Whether the submitter, where there is one, may send from this reverse-path, and now.
    async fn may_submit(&self) -> BeginVerdict {
        let Some(submitter) = &self.submitter else {
            return Ok(());
        };
        let limits = self.node.settings.submission();
        if !self.node.submitters.may_begin(submitter.id, limits, self.began) {
            return Err(BeginRefusal::TooMany);
        }
        let envelope = self.dialogue.core.envelope();
        // The null reverse-path is nobody's: notifications to be read by programs have it (RFC 8098 §3).
        let Some(address) = envelope.and_then(|envelope| envelope.reverse_path.0.as_ref()) else {
            return Ok(());
        };
        match submission::ownership(&self.node, submitter, address).await {
            Ownership::Own => Ok(()),
            Ownership::Foreign => Err(BeginRefusal::NotOwned),
            Ownership::Unknown => Err(BeginRefusal::Failed),
        }
    }

    async fn may_begin(&self, bytes: u64) -> BeginVerdict {
        if self.submitter.is_some() {
            // On the heap: it is rare, and every session would hold room for it.
            Box::pin(self.may_submit()).await?;
        }
        let wanted = usize::try_from(bytes).map_or(BODY_IN_MEMORY_BYTES_MAX, |bytes| {
            bytes.min(BODY_IN_MEMORY_BYTES_MAX)
        });
        if self.share.as_ref().is_some_and(|share| !share.has_memory(wanted)) {
            return Err(BeginRefusal::NoSpace);
        }
        self.node.store().check_room(bytes).map_err(begin_refusal)
    }

    /// Counts a mail transaction to so many recipients, whose end of data came at `received`.
    fn count_mail(&self, answer: &Answer<Acceptance>, recipients: usize, received: Instant) {
        let meters = self.mail_meters();
        let accepted = match answer {
            Answer::Committed(Ok(_)) => recipients,
            Answer::CommittedEach(outcomes) => outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            _ => 0,
        };
        let micros = received.saturating_duration_since(self.began).as_micros();
        meters
            .receive_time
            .record(u64::try_from(micros).unwrap_or(u64::MAX));
        if accepted > 0 {
            meters.accepted.add(1);
            meters.recipients.add(accepted as u64);
            meters.commit_time.record_since(received);
        }
    }

    fn mail_meters(&self) -> &MailMeters {
        match self.role {
            Role::Lmtp => &self.node.meters.lmtp,
            _ => &self.node.meters.smtp,
        }
    }

    fn transaction_id(&self) -> TransactionId {
        self.id.transaction(self.transactions)
    }

    async fn receive(&mut self) -> RecipientVerdict {
        let path = self
            .dialogue
            .core
            .candidate()
            .ok_or(RecipientRefusal::Temporary)?;
        let verdict = self.node.directory.resolve(path).await;
        if let (Some(submitter), Verdict::Local(_)) = (&self.submitter, &verdict) {
            let limits = self.node.settings.submission();
            if !self
                .node
                .submitters
                .note_recipient(submitter.id, limits, self.began)
            {
                return Err(RecipientRefusal::TooMany);
            }
        }
        match verdict {
            Verdict::Local(targets) => {
                self.check_quota(&targets).await?;
                self.transaction.add(targets)
            }
            Verdict::UnknownUser => Err(RecipientRefusal::UnknownUser),
            Verdict::Disabled => Err(RecipientRefusal::Disabled),
            Verdict::NotLocal => Err(match (&self.submitter, self.node.settings.relays_later) {
                (None, _) => RecipientRefusal::RelayDenied,
                (Some(_), false) => RecipientRefusal::NotSentOn,
                (Some(_), true) => RecipientRefusal::NotSentOnYet,
            }),
            Verdict::Temporary => Err(RecipientRefusal::Temporary),
        }
    }

    /// Whether an account by itself has room for what is to come. An alias is not refused because one of many is full.
    async fn check_quota(&self, targets: &Targets) -> Result<(), RecipientRefusal> {
        let [account] = &targets[..] else { return Ok(()) };
        if account.quota() == crate::model::Quota::NONE {
            return Ok(());
        }
        let envelope = self.dialogue.core.envelope();
        // Of a size that is not told, the least there can be.
        let bytes = envelope.and_then(|envelope| envelope.declared_size).unwrap_or(1);
        match Box::pin(self.node.router.check_room(account, bytes)).await {
            Ok(()) => Ok(()),
            Err(StoreError::OverQuota) => Err(RecipientRefusal::OverQuota),
            Err(_) => Err(RecipientRefusal::Temporary),
        }
    }

    async fn commit(&mut self) -> Answer<Acceptance> {
        let mut transaction = std::mem::replace(&mut self.transaction, Transaction::new());
        let _until_committed = transaction.memory.take();
        let Some(envelope) = self.dialogue.core.take_envelope() else {
            return Answer::Committed(Err(CommitRefusal::Failed));
        };
        self.transactions += 1;
        let hops = match transaction.check(self.role) {
            Ok(hops) => hops,
            Err(refusal) => return Answer::Committed(Err(refusal)),
        };
        let mut fields = Vec::new();
        if let Some(submitter) = &self.submitter {
            let limits = self.node.settings.submission();
            let submitters = &self.node.submitters;
            if !submitters.note_message(submitter.id, limits, self.began) {
                return Answer::Committed(Err(CommitRefusal::TooMany));
            }
            let head = transaction.head.bytes();
            match submission::complete(&self.node, submitter, head, self.transaction_id()).await {
                Ok(missing) => fields = missing,
                Err(refusal) => return Answer::Committed(Err(refusal)),
            }
        }
        if let Some(permit) = self.node.settings.discard {
            return Answer::Committed(Ok(Acceptance::Discarded(permit)));
        }
        match (
            self.accepted(&envelope, transaction, &hops, &fields).await,
            self.role,
        ) {
            (Err(refusal), _) => Answer::Committed(Err(refusal)),
            (Ok((message, _)), Role::Mta | Role::Submission) => {
                let mail = self.told(&envelope, &message);
                let outcome = self.store(message).await;
                self.tell(mail, std::slice::from_ref(&outcome));
                Answer::Committed(outcome)
            }
            (Ok((message, targets)), Role::Lmtp) => {
                let mail = self.told(&envelope, &message);
                let outcomes = self.store_each(message, &targets).await;
                self.tell(mail, &outcomes);
                Answer::CommittedEach(outcomes)
            }
        }
    }

    /// The message ready for delivery and the target of each accepted forward-path, or what keeps all from getting it.
    async fn accepted(
        &self,
        envelope: &Envelope,
        transaction: Transaction,
        hops: &Hops,
        fields: &[u8],
    ) -> Result<(AcceptedMessage, SmallVec<[Target; 1]>), CommitRefusal> {
        let targets = targets(envelope, transaction.targets, hops);
        if self.role != Role::Lmtp && targets.contains(&None) {
            // One reply for all: whoever sends it on into the circle hears of it rather than that a copy is dropped.
            return Err(CommitRefusal::Loop);
        }
        let recipients = self.recipients(envelope, &targets, fields);
        let body = match transaction.body {
            Some(writer) => writer.finish().await.map_err(|e| commit_refusal(&e))?,
            None => Body::from_memory(SmallVec::new()),
        };
        let internal_date = InternalDate {
            at: self.node.now(),
            zone_minutes: 0,
        };
        let message = AcceptedMessage {
            recipients,
            body,
            internal_date,
        };
        Ok((message, targets))
    }

    async fn store(&self, message: AcceptedMessage) -> Result<Acceptance, CommitRefusal> {
        let stored = self.node.router.accept(message).await;
        let receipt = stored.map_err(|error| commit_refusal(&error))?;
        Ok(Acceptance::Stored(receipt))
    }

    /// One outcome for each accepted forward-path.
    async fn store_each(
        &self,
        message: AcceptedMessage,
        targets: &[Target],
    ) -> Vec<Result<Acceptance, CommitRefusal>> {
        let ids: Vec<AccountId> = message.recipients.iter().map(|r| r.account.id).collect();
        let outcomes = self.node.router.accept_each(message).await;
        let outcome_of = |target: &Target| {
            let accounts = target.as_ref().ok_or(CommitRefusal::Loop)?;
            // An alias has taken the message when all its accounts have it.
            let mut all = Err(CommitRefusal::Failed);
            for account in accounts {
                let at = ids.iter().position(|id| *id == account.id);
                all = match at.and_then(|at| outcomes.get(at)) {
                    Some(Ok(receipt)) => Ok(Acceptance::Stored(*receipt)),
                    Some(Err(error)) => return Err(commit_refusal(error)),
                    None => return Err(CommitRefusal::Failed),
                };
            }
            all
        };
        targets.iter().map(outcome_of).collect()
    }

    /// What the log will say of this message, if it is to say anything.
    fn told(&self, envelope: &Envelope, message: &AcceptedMessage) -> Option<Told> {
        tracing::enabled!(target: MAIL_LOG, tracing::Level::INFO).then(|| Told {
            from: envelope
                .reverse_path
                .0
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
            accounts: message
                .recipients
                .iter()
                .map(|r| r.account.id.to_string())
                .collect(),
            bytes: message.body.len(),
        })
    }

    /// One line for each message: from the connection (the first three parts of the id) to the accounts and the commit.
    fn tell(&self, mail: Option<Told>, outcomes: &[Result<Acceptance, CommitRefusal>]) {
        let Some(mail) = mail else { return };
        let receipt = outcomes.iter().flatten().next().map(Receipt::id);
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        tracing::info!(
            target: MAIL_LOG,
            id = %self.transaction_id(),
            peer = %self.dialogue.pipe.peer().ip(),
            from = mail.from,
            accounts = mail.accounts.join(","),
            bytes = mail.bytes,
            receipt = receipt.map(|receipt| receipt.to_string()),
            refused = refused.map(|refusal| format!("{refusal:?}")).next(),
            "mail"
        );
    }

    /// Each account once, with the trace fields of its copy, and `fields` that the message lacks.
    fn recipients(&self, envelope: &Envelope, targets: &[Target], fields: &[u8]) -> Vec<Recipient> {
        let mut recipients: Vec<Recipient> = Vec::with_capacity(targets.len());
        let mut seen = HashSet::with_capacity(targets.len());
        let received = self.received(envelope);
        for (index, (target, path)) in targets.iter().zip(&envelope.forward_paths).enumerate() {
            for account in target.iter().flatten() {
                if !seen.insert(account.id) {
                    continue;
                }
                let mut prefix = Vec::with_capacity(received.len() + 128);
                trace::write_return_path(&envelope.reverse_path, &mut prefix);
                trace::write_delivered_to(delivered_to(path, account), &mut prefix);
                prefix.extend_from_slice(&received);
                prefix.extend_from_slice(fields);
                recipients.push(Recipient {
                    account: account.clone(),
                    prefix,
                    asked: smtp::asked::write(envelope, index).into(),
                });
            }
        }
        recipients
    }

    fn received(&self, envelope: &Envelope) -> Vec<u8> {
        let core = &self.dialogue.core;
        let id = self.transaction_id();
        let mut received = Vec::with_capacity(256);
        let facts = Received {
            helo: core.hello_name().unwrap_or_default().as_bytes(),
            peer: core.client().unwrap_or_else(|| self.dialogue.pipe.peer()).ip(),
            by: &self.node.settings.hostname,
            transport: Transport {
                is_extended: core.is_extended(),
                is_encrypted: core.is_tls(),
                is_utf8: envelope.is_utf8,
                is_lmtp: self.role == Role::Lmtp,
                is_authenticated: self.submitter.is_some(),
            },
            id: format_args!("{id}"),
            sole_recipient: match &envelope.forward_paths[..] {
                [only] => Some(only),
                _ => None,
            },
            at: self.node.now(),
        };
        trace::write_received(&facts, &mut received);
        received
    }
}
