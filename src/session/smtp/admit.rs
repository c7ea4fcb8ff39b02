//! May this begin, may this recipient be named? What is answered before a message comes.
//!
//! Limits: the submitter's (`node::submitters`), the room of the store, the account's quota, the memory of the peer's network.

use super::Session;
use crate::directory::{Targets, Verdict};
use crate::proto::smtp::reply::{BeginRefusal, RecipientRefusal};
use crate::proto::smtp::{BeginVerdict, RecipientVerdict};
use crate::session::pipe::Pipe;
use crate::session::submission::{self, Ownership};
use crate::session::transaction::begin_refusal;
use crate::store::{BODY_IN_MEMORY_BYTES_MAX, StoreError};

impl<P: Pipe> Session<P> {
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

    pub(super) async fn may_begin(&self, bytes: u64) -> BeginVerdict {
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

    pub(super) async fn receive(&mut self) -> RecipientVerdict {
        let path = self
            .dialogue
            .core
            .candidate()
            .ok_or(RecipientRefusal::Temporary)?;
        let verdict = self.node.directory.resolve(self.meant(path)).await;
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
}
