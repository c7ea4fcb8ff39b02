//! One accepted message becomes one commit: on the core that owns its recipients, or of a spool record that names them all.
//!
//! Limits: recipients of one core that are too many for one commit go through the spool too.
//!
//! Not here: whom a full mailbox refuses (`room`), serving the owners from that record (`fan_out`), which core owns whom (`router`).

use super::fan_out;
use super::router::Router;
use crate::model::{Account, MailboxName};
use crate::proto::imap::types::InternalDate;
use crate::store::{Body, CommitReceipt, Delivery, Environment, LocalRecipient, StoreError};
use bytes::Bytes;
use std::sync::Arc;

/// One recipient of an accepted message.
#[derive(Clone, Debug)]
pub struct Recipient {
    /// Who gets it.
    pub account: Arc<Account>,
    /// The trace fields put before this recipient's copy, each line ending in CRLF.
    pub prefix: Vec<u8>,
    /// What the sender asked for besides, see [`asked`](crate::proto::smtp::asked).
    pub asked: Bytes,
    /// It gets its copy although there is no room for it, see `room`.
    pub may_exceed_quota: bool,
}

/// A message whose end of data has been received.
#[derive(Clone, Debug)]
pub struct AcceptedMessage {
    /// At least one, each account once.
    pub recipients: Vec<Recipient>,
    /// What the peer sent, dot-stuffing undone.
    pub body: Body,
    /// When it was received.
    pub internal_date: InternalDate,
}

impl<E: Environment> Router<E> {
    /// Commits a message to all its recipients. Durable on return; an error means that nobody got it.
    ///
    /// # Errors
    /// Those of the store; a core that has gone counts as a failed log.
    pub(super) async fn accept(&self, message: AcceptedMessage) -> Result<CommitReceipt, StoreError> {
        let first_owner = self.owner_of(message.recipients[0].account.id);
        let has_one_owner = message
            .recipients
            .iter()
            .all(|r| self.owner_of(r.account.id) == first_owner);
        let octets = message.recipients.iter().map(|r| r.prefix.len() + r.asked.len());
        let count = message.recipients.len();
        if has_one_owner && self.store().is_one_delivery(count, octets.sum(), &message.body) {
            let recipients = message.recipients.into_iter().map(local_recipient).collect();
            let delivery = Delivery {
                recipients,
                body: message.body,
                internal_date: message.internal_date,
                key: None,
            };
            return self.deliver_on(first_owner, delivery).await;
        }
        self.spool(message).await
    }

    /// Commits a message to as many of its recipients as take it; one outcome for each, in order. If all of them do, it
    /// is one commit, as with [`Self::accept`]. Durable on return for those with a receipt.
    pub(super) async fn accept_each(
        &self,
        message: AcceptedMessage,
    ) -> Vec<Result<CommitReceipt, StoreError>> {
        let count = message.recipients.len();
        match count {
            0 => return Vec::new(),
            1 => return vec![self.accept(message).await],
            _ => {}
        }
        let whole = self.accept(message.clone()).await;
        if !whole.as_ref().is_err_and(concerns_one_recipient) {
            return vec![whole; count];
        }
        // Somebody has no room. Those that say so are left out, so that the others are one commit again.
        let mut outcomes = vec![Err(StoreError::OverQuota); count];
        let mut group = Vec::with_capacity(count);
        for (at, recipient) in message.recipients.iter().enumerate() {
            let bytes = copy_bytes(&message, recipient);
            match self.check_room(&recipient.account, bytes).await {
                Err(error) if !recipient.may_exceed_quota => outcomes[at] = Err(error),
                _ => group.push(at),
            }
        }
        // What is in flight takes room too, and some refusals are not about room: then halves find out who it is.
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop().filter(|group| !group.is_empty()) {
            let part = AcceptedMessage {
                recipients: group.iter().map(|at| message.recipients[*at].clone()).collect(),
                ..message.clone()
            };
            let outcome = self.accept(part).await;
            if group.len() > 1 && outcome.as_ref().is_err_and(concerns_one_recipient) {
                let other_half = group.split_off(group.len() / 2);
                groups.extend([other_half, group]);
                continue;
            }
            for at in group {
                outcomes[at] = outcome.clone();
            }
        }
        outcomes
    }

    async fn spool(&self, message: AcceptedMessage) -> Result<CommitReceipt, StoreError> {
        let permit = self.fan_outs().take().await;
        for recipient in message.recipients.iter().filter(|r| !r.may_exceed_quota) {
            self.check_room(&recipient.account, copy_bytes(&message, recipient))
                .await?;
        }
        let recipients = message.recipients.into_iter().map(local_recipient).collect();
        let (receipt, entry) = self
            .store()
            .spool(recipients, message.body, message.internal_date)
            .await?;
        fan_out::start(self.clone(), entry, permit);
        Ok(receipt)
    }
}

/// Whether a refusal is one recipient's, so that others might be served. Nothing was written then; after any other error
/// that is not known, and trying again might make a second copy.
fn concerns_one_recipient(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::OverQuota | StoreError::BeyondQuota | StoreError::Limit(_)
    )
}

/// What counts against the quota: the trace fields too.
pub(super) fn copy_bytes(message: &AcceptedMessage, recipient: &Recipient) -> u64 {
    message.body.len() + recipient.prefix.len() as u64
}

fn local_recipient(recipient: Recipient) -> LocalRecipient {
    LocalRecipient {
        account: recipient.account.id,
        mailbox: MailboxName::inbox(),
        prefix: recipient.prefix,
        asked: recipient.asked,
        quota: recipient.account.quota(),
        may_exceed_quota: recipient.may_exceed_quota,
    }
}
