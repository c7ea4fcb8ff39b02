//! The end of data: the message is checked, completed, addressed to its accounts and committed.
//!
//! Invariants: one outcome for each accepted forward-path in LMTP, one for all otherwise; an account named twice gets one copy;
//! what is wrong with one recipient keeps the message from no other.
//! Limits: a message beyond `HOPS_MAX` trace fields is a loop (RFC 5321 §6.3), and so is one that says it was delivered to the
//! recipient before (RFC 9228 §4).
//! Failure: a recipient of a loop is left out where others are served under the same reply: the copy that Delivered-To tells of
//! is there. So is one that has gone since RCPT: nobody could read it. Both are said in the log, and refuse the message where
//! nobody else is left. Whom a full mailbox refuses is the rule of `delivery::room`.

use super::Session;
use crate::delivery::{AcceptedMessage, Concerned, Recipient};
use crate::directory::Targets;
use crate::model::{AccountId, Envelope};
use crate::node::DiscardPermit;
use crate::proto::imap::types::InternalDate;
use crate::proto::message::trace::{self, Hops, Received, Transport};
use crate::proto::smtp::reply::CommitRefusal;
use crate::proto::smtp::{self, Answer, Role};
use crate::proto::{Receipt, ReceiptId};
use crate::session::pipe::Pipe;
use crate::session::submission;
use crate::session::transaction::{
    Target, Transaction, commit_refusal, delivered_to, renewed, without_delivered,
};
use crate::store::{Body, CommitReceipt};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};

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
        let targets = self.targets(envelope, transaction.targets, hops).await;
        if self.role != Role::Lmtp {
            leave_out_refused(envelope, &targets)?;
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

    /// Where each accepted forward-path leads by now, or why nobody gets the message by it. The directory's cache knows it
    /// nearly always. What cannot be found out is as it was at RCPT.
    async fn targets(
        &self,
        envelope: &Envelope,
        accepted: SmallVec<[Targets; 1]>,
        hops: &Hops,
    ) -> SmallVec<[Target; 1]> {
        let mut targets = SmallVec::with_capacity(accepted.len());
        for (accounts, path) in accepted.into_iter().zip(&envelope.forward_paths) {
            let now = self.node.directory.resolve(self.meant(path)).await;
            let target = renewed(accounts, now);
            targets.push(target.and_then(|accounts| without_delivered(accounts, path, hops)));
        }
        targets
    }

    async fn store(&self, message: AcceptedMessage) -> Result<Acceptance, CommitRefusal> {
        let stored = self.node.router.accept_for_one_reply(message).await;
        stored
            .map(Acceptance::Stored)
            .map_err(|error| commit_refusal(&error))
    }

    /// One outcome for each accepted forward-path.
    async fn store_each(
        &self,
        message: AcceptedMessage,
        targets: &[Target],
    ) -> Vec<Result<Acceptance, CommitRefusal>> {
        let places: HashMap<AccountId, usize> = (message.recipients.iter().enumerate())
            .map(|(at, recipient)| (recipient.account.id, at))
            .collect();
        let concerned = |accounts: &Targets| -> Concerned {
            let places = accounts.iter().filter_map(|account| places.get(&account.id));
            places.copied().collect()
        };
        let replies: Vec<Concerned> = targets.iter().flatten().map(concerned).collect();
        let mut outcomes = self
            .node
            .router
            .accept_for_replies(message, &replies)
            .await
            .into_iter();
        let outcome_of = |target: &Target| {
            target.as_ref().map_err(Clone::clone)?;
            match outcomes.next() {
                Some(Ok(receipt)) => Ok(Acceptance::Stored(receipt)),
                Some(Err(error)) => Err(commit_refusal(&error)),
                None => Err(CommitRefusal::Failed),
            }
        };
        targets.iter().map(outcome_of).collect()
    }

    /// Each account once, with the trace fields of its copy, and `fields` that the message lacks.
    fn recipients(&self, envelope: &Envelope, targets: &[Target], fields: &[u8]) -> Vec<Recipient> {
        let mut recipients: Vec<Recipient> = Vec::with_capacity(targets.len());
        let mut seen = HashSet::with_capacity(targets.len());
        let received = self.received(envelope);
        for (index, (target, path)) in targets.iter().zip(&envelope.forward_paths).enumerate() {
            for account in target.iter().flat_map(|accounts| accounts.iter()) {
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
                    may_exceed_quota: false,
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

/// Under one reply for all, those who do not get the message are only told of in the log, unless nobody would get it.
fn leave_out_refused(envelope: &Envelope, targets: &[Target]) -> Result<(), CommitRefusal> {
    let refusals = || targets.iter().filter_map(|target| target.as_ref().err());
    if refusals().count() == targets.len() {
        return Err(refusals().next().cloned().unwrap_or(CommitRefusal::Failed));
    }
    for (path, target) in envelope.forward_paths.iter().zip(targets) {
        if let Err(why) = target {
            tracing::info!(recipient = ?path, ?why, "left out of a message that others get");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ForwardPath, RecipientDsn};

    #[test]
    fn under_one_reply_a_recipient_is_refused_only_when_all_are() {
        let mut envelope = Envelope::default();
        for _ in 0..2 {
            envelope.push_recipient(ForwardPath::Postmaster, RecipientDsn::default());
        }
        let (served, looping) = (Ok(Targets::new()), Err(CommitRefusal::DeliveredBefore));
        let gone = Err(CommitRefusal::UnknownUser);
        let refused = |targets: [&Target; 2]| leave_out_refused(&envelope, &targets.map(Clone::clone));
        assert_eq!(refused([&looping, &served]), Ok(()));
        assert_eq!(refused([&served, &gone]), Ok(()));
        assert_eq!(refused([&looping, &looping]), Err(CommitRefusal::DeliveredBefore));
        assert_eq!(refused([&gone, &looping]), Err(CommitRefusal::UnknownUser));
    }
}
