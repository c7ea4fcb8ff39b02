//! What the operator hears of a message: a line of the log, and the meters.

use super::Session;
use super::commit::Acceptance;
use crate::delivery::AcceptedMessage;
use crate::model::Envelope;
use crate::node::meters::MailMeters;
use crate::proto::Receipt;
use crate::proto::smtp::reply::CommitRefusal;
use crate::proto::smtp::{Answer, Role};
use crate::session::pipe::Pipe;
use std::time::Instant;

/// Target of the log's lines about single messages, so that they can be had without others, or not at all.
pub const MAIL_LOG: &str = "mail";

/// A message for the log.
pub(super) struct Told {
    from: String,
    accounts: Vec<String>,
    bytes: u64,
}

impl<P: Pipe> Session<P> {
    /// Counts a mail transaction to so many recipients, whose end of data came at `received`.
    pub(super) fn count_mail(&self, answer: &Answer<Acceptance>, recipients: usize, received: Instant) {
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

    /// What the log will say of this message, if it is to say anything.
    pub(super) fn told(&self, envelope: &Envelope, message: &AcceptedMessage) -> Option<Told> {
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
    pub(super) fn tell(&self, mail: Option<Told>, outcomes: &[Result<Acceptance, CommitRefusal>]) {
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
}
