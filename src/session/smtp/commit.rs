//! The end of data: the message is checked, completed, addressed to its accounts and committed.
//!
//! Invariants: one outcome for each accepted forward-path in LMTP, one for all otherwise; an account named twice gets one copy.
//! Limits: a message beyond `HOPS_MAX` trace fields is a loop (RFC 5321 §6.3), and so is one that says it was delivered to a
//! recipient before (RFC 9228 §4).

use super::Session;
use crate::delivery::{AcceptedMessage, Recipient};
use crate::model::{AccountId, Envelope};
use crate::node::DiscardPermit;
use crate::proto::imap::types::InternalDate;
use crate::proto::message::trace::{self, Hops, Received, Transport};
use crate::proto::smtp::reply::CommitRefusal;
use crate::proto::smtp::{self, Answer, Role};
use crate::proto::{Receipt, ReceiptId};
use crate::session::pipe::Pipe;
use crate::session::submission;
use crate::session::transaction::{Target, Transaction, commit_refusal, delivered_to, targets};
use crate::store::{Body, CommitReceipt};
use smallvec::SmallVec;
use std::collections::HashSet;

/// Why the peer may be told 250.
#[derive(Clone, Copy, Debug)]
pub(super) enum Acceptance {
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

impl<P: Pipe> Session<P> {
    pub(super) async fn commit(&mut self) -> Answer<Acceptance> {
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
